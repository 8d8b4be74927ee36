// A product list from a shop: chosen, looked at, its columns corrected, imported. Nothing is stored before "Import".
import { asJson, events, form, json } from "./api.js";
import { button, element, tell } from "./dom.js";
import { importWords } from "./outcome.js";
import { columnTable, noticeList, sampleCards, tiles } from "./preview.js";
import { t } from "./strings.js";

const OVER = new Set(["done", "failed", "cancelled"]);
const EVERY_MS = 1500; // between looks where no events come

/** `begun` is called with each job that was started, `done` when products have changed. */
export function imports(signal, begun, done) {
  const file = element("input", { type: "file", id: "archive", accept: ".csv,.tsv,.txt,.xml,.rss,.json,.jsonl,.ndjson,.parquet,.xlsx,.gz,.zip", on: { change: fresh } });
  const address = element("input", { type: "text", id: "archive-url", inputMode: "url", autocomplete: "off", placeholder: "https://", on: { input: fresh } });
  const path = element("input", { type: "text", id: "archive-path", autocomplete: "off", placeholder: "shop.csv", on: { input: fresh } });
  const addressPart = element("div", { className: "field", hidden: true },
    element("label", { htmlFor: "archive-url", textContent: t("import.url") }), address);
  const pathPart = element("div", { className: "field", hidden: true },
    element("label", { htmlFor: "archive-path", textContent: t("import.path") }), path);
  const kind = element("select", { id: "import-profile", on: { change: () => { asked.profile = kind.value; changes = Object.create(null); found.hidden = true; } } });
  const kindPart = element("div", { className: "field", hidden: true },
    element("label", { htmlFor: "import-profile", textContent: t("import.profile") }), kind);
  const look = button(t("import.look"), { type: "submit", quiet: false });
  const wrong = problemLine();
  const start = element("form", { className: "import", on: { submit: (event) => { event.preventDefault(); check(look, wrong); } } },
    element("div", { className: "field" },
      element("label", { htmlFor: "archive", textContent: t("import.file") }), file,
      element("p", { className: "hint", textContent: t("import.formats") })),
    addressPart, pathPart, kindPart, element("div", { className: "way" }, look, wrong));
  const bar = element("progress", { "aria-label": t("import.progress"), hidden: true });
  const stage = element("p", { className: "muted", hidden: true });
  const found = element("div", { className: "found", hidden: true });
  const root = element("section", { className: "imports-part", "aria-labelledby": "imports-title" },
    element("h2", { id: "imports-title", textContent: t("import.title") }),
    element("p", { className: "muted", textContent: t("import.lead") }), start, bar, stage, found);

  let offer = { folders: false, addresses: false, profiles: [], meanings: [], max_body_bytes: Infinity };
  let changes = Object.create(null); // column -> meaning that was chosen instead
  let asked = { profile: "auto", fetch: true, sync: false, accept: false };

  async function refresh() {
    try {
      offer = await json("/v1/imports", { signal });
      addressPart.hidden = !offer.addresses;
      pathPart.hidden = !offer.folders;
      root.hidden = false;
    } catch (error) {
      root.hidden = error.status === 404 || error.status === 405;
    }
  }

  function fresh() {
    changes = Object.create(null);
    asked = { profile: "auto", fetch: true, sync: false, accept: false };
    found.hidden = kindPart.hidden = wrong.hidden = true;
  }

  /** The kinds of export to choose from, once one was found or none could be told. */
  function showKinds(name) {
    kind.replaceChildren(
      element("option", { value: "auto", textContent: name ? t("import.auto", { name }) : t("import.by-itself") }),
      ...offer.profiles.map((one) => element("option", { value: one.name, textContent: one.own ? t("import.own", { name: one.name }) : one.name, selected: one.name === asked.profile })));
    kindPart.hidden = false;
  }

  /** Send what was chosen; the job. */
  async function send(dryRun) {
    const chosen = file.files[0];
    const url = address.value.trim();
    const folder = path.value.trim();
    if (!chosen && !url && !folder) throw new Error(t("import.nothing"));
    if (chosen && chosen.size > offer.max_body_bytes) {
      throw new Error(t("import.too-large", { size: megabytes(chosen.size), most: megabytes(offer.max_body_bytes) }));
    }
    const fields = { map: changes, dry_run: dryRun, profile: asked.profile, sync: asked.sync, accept: asked.accept };
    if (offer.addresses) fields.fetch = asked.fetch;
    const options = chosen ? { body: form([["archive", chosen]], fields) } : asJson(url ? { url, ...fields } : { path: folder, ...fields });
    const job = await json("/v1/imports", { method: "POST", signal, ...options });
    begun(job);
    return job;
  }

  /** Send and follow to the end; what it came to. Problems are thrown. */
  async function run(dryRun, press) {
    press.disabled = true;
    bar.hidden = stage.hidden = false;
    bar.removeAttribute("value");
    stage.textContent = t("import.sending");
    tell(stage.textContent);
    try {
      const job = await ended((await send(dryRun)).job_id);
      if (job.state === "failed") throw Object.assign(new Error(job.problem?.detail || t("jobs.failed")), { code: job.problem?.code });
      if (job.state === "cancelled") throw new Error(t("import.cancelled"));
      return job.result;
    } finally {
      press.disabled = false;
      bar.hidden = stage.hidden = true;
    }
  }

  async function ended(id) {
    const where = `/v1/jobs/${encodeURIComponent(id)}`;
    let job = null;
    try {
      for await (const event of events(`${where}/events`, signal)) {
        job = event;
        show(job);
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
    }
    while (!job || !OVER.has(job.state)) {
      if (job) await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
      job = await json(where, { signal });
      show(job);
    }
    return job;
  }

  function show(job) {
    stage.textContent = job.total > 0 ? t("import.at", { done: job.done.toLocaleString(), total: job.total.toLocaleString() }) : t(`jobs.${job.state}`);
    if (job.total > 0) {
      bar.max = job.total;
      bar.value = job.done;
    } else bar.removeAttribute("value");
  }

  async function check(press, line) {
    line.hidden = true;
    try {
      const result = await run(true, press);
      preview(result);
    } catch (error) {
      if (error.code === "bad-data" || error.code === "no-profile") showKinds("");
      fail(error, line);
    }
  }

  async function bring(press, line) {
    line.hidden = true;
    try {
      const result = await run(false, press);
      if (result.failure) throw new Error(failureWords(result));
      report(result);
      done();
    } catch (error) {
      fail(error, line);
    }
  }

  function fail(error, line) {
    if (error.name === "AbortError") return;
    line.textContent = error.message;
    line.hidden = false;
    line.focus();
  }

  /** Why nothing would come in, in the words of a page: there are no options of a command here. */
  function failureWords(result) {
    const photos = (result.skipped_by_kind || []).some((kind) => kind.code === "photo-address");
    if (!photos || (offer.addresses && asked.fetch)) return result.failure;
    return t(offer.addresses ? "import.tick-fetch" : "import.no-fetch");
  }

  function preview(result) {
    const title = element("h3", { textContent: t("import.found"), tabIndex: -1 });
    showKinds(result.profile);
    const line = problemLine();
    const again = button(t("import.again"), { hidden: true, on: { click: () => check(again, line) } });
    const changed = () => { again.hidden = false; };
    const press = button(t("import.go"), { quiet: false, on: { click: () => bring(press, line) } });
    const held = result.warnings.some((kind) => kind.code === "feed-held");
    const ticks = element("div", { className: "choices" },
      offer.addresses ? tick("fetch", t("import.fetch")) : null, tick("sync", t("import.sync"), changed), held ? tick("accept", t("import.accept")) : null);
    const table = columnTable(result.columns || [], offer.meanings, changes, (column, meaning) => {
      if (meaning) changes[column] = meaning;
      else delete changes[column];
      changed();
    });
    found.replaceChildren(title,
      element("p", { textContent: t("import.profile-found", { name: result.profile, why: result.why }) }),
      element("h4", { textContent: t("import.columns") }), table,
      element("div", { className: "way" }, again),
      element("h4", { textContent: t("import.samples") }), sampleCards(result.samples || []),
      element("h4", { textContent: t("import.changes") }), tiles(result),
      ...noticeList(result), ticks,
      result.failure ? element("p", { className: "wrong", textContent: failureWords(result) }) : "",
      element("div", { className: "way" }, press, line));
    found.hidden = false;
    title.focus();
    tell(t("import.looked"));
  }

  function tick(name, text, changed = () => {}) {
    const box = element("input", { type: "checkbox", checked: asked[name], on: { change: () => { asked[name] = box.checked; changed(); } } });
    return element("label", {}, box, text);
  }

  function report(result) {
    const title = element("h3", { textContent: importWords(result), tabIndex: -1 });
    found.replaceChildren(title,
      result.saved_profile ? element("p", { className: "muted", textContent: t("import.saved", { name: result.saved_profile }) }) : "",
      ...noticeList(result),
      element("div", { className: "way" }, element("a", { className: "button quiet", href: "#/", textContent: t("import.see") })));
    start.reset();
    changes = Object.create(null);
    title.focus();
    tell(title.textContent);
  }

  return { root, refresh };
}

const problemLine = () => element("p", { className: "wrong", role: "alert", tabIndex: -1, hidden: true });
const megabytes = (bytes) => (bytes / 2 ** 20).toLocaleString(undefined, { maximumFractionDigits: 1 });
