// Long work: how far imports and rebuilds are; each can be cancelled. They run on the service, not in the tab.
import { asJson, events, json } from "./api.js";
import { button, complain, element, tell } from "./dom.js";
import { jobName, resultWords } from "./outcome.js";
import { t } from "./strings.js";

const OVER = new Set(["done", "failed", "cancelled"]);
const EVERY_MS = 2000; // between looks where no events come

/** `done` is called when a job ends: there may be a new version. */
export function jobs(signal, done) {
  const list = element("ul", { className: "jobs" });
  const note = element("p", { className: "muted", hidden: true });
  const rebuild = button(t("jobs.rebuild"), { on: { click: build } });
  const root = element("section", { className: "jobs-part", "aria-labelledby": "jobs-title" },
    element("h2", { id: "jobs-title", textContent: t("jobs.title") }), note, rebuild, list);
  const rows = new Map(); // id -> what shows it
  let timer = 0;

  async function build() {
    tell(t("import.sending"));
    try {
      await json("/v1/indexes", { method: "POST", signal, ...asJson({}) });
      await refresh();
    } catch (error) {
      complain(error.status === 404 ? new Error(t("jobs.missing")) : error);
    }
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const found = await json("/v1/jobs", { signal });
      note.hidden = found.jobs.length > 0;
      note.textContent = t("jobs.none");
      rebuild.hidden = false;
      for (const job of found.jobs) (rows.get(job.job_id) || row(job)).show(job);
      if (found.jobs.some((job) => !OVER.has(job.state))) timer = setTimeout(refresh, EVERY_MS);
    } catch (error) {
      if (error.name === "AbortError") return;
      note.hidden = false;
      rebuild.hidden = error.status === 404;
      note.textContent = error.status === 404 ? t("jobs.missing") : error.message;
    }
  }

  function row(job) {
    const stage = element("span", { className: "muted" });
    const bar = element("progress", { "aria-label": t("jobs.progress", { kind: jobName(job) }) });
    const said = element("p", { className: "muted" });
    const cancel = button(t("jobs.cancel"), { on: { click: async () => {
      cancel.disabled = true;
      try {
        await json(`/v1/jobs/${encodeURIComponent(job.job_id)}`, { method: "DELETE" });
      } catch (error) {
        cancel.disabled = false;
        complain(error);
      }
      refresh();
    } } });
    const item = element("li", { className: "job" },
      element("div", { className: "row" }, element("p", {}, element("strong", { textContent: jobName(job) }), " ", stage), cancel), bar, said);
    list.prepend(item);
    let state = null;
    const made = {
      show(now) {
        item.dataset.state = now.state;
        stage.textContent = [t(`jobs.${now.state}`), now.stage && !OVER.has(now.state) ? now.stage : ""].filter(Boolean).join(" · ");
        bar.hidden = OVER.has(now.state);
        cancel.hidden = bar.hidden || now.state === "cancelling";
        if (now.total) {
          bar.max = now.total;
          bar.value = now.done;
        } else bar.removeAttribute("value");
        said.textContent = now.state === "failed" ? problemText(now.problem) : now.state === "done" ? resultWords(now)
          : now.total ? `${now.done.toLocaleString()} / ${now.total.toLocaleString()}` : "";
        if (state !== null && state !== now.state && OVER.has(now.state)) {
          tell(`${jobName(job)}: ${t(`jobs.${now.state}`)}`);
          done();
        }
        state = now.state;
      },
    };
    rows.set(job.job_id, made);
    if (!OVER.has(job.state)) follow(job.job_id, made);
    return made;
  }

  /** Progress as it happens; where the stream ends early, looking again every few seconds goes on. */
  async function follow(id, made) {
    try {
      for await (const event of events(`/v1/jobs/${encodeURIComponent(id)}/events`, signal)) {
        if (event && event.state) made.show(event);
      }
    } catch { /* see above */ }
  }

  const problemText = (problem) => (typeof problem === "string" ? problem : problem?.detail || t("jobs.failed"));
  return { root, refresh, leave: () => clearTimeout(timer) };
}
