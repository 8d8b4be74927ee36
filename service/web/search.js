// The search view: a photo, a part of it, a product or words go in; what it is and what looks like it come out.
import { feedback, json, question } from "./api.js";
import { card, picture } from "./cards.js";
import { cropper } from "./crop.js";
import { ICONS, button, complain, element, heading, hush, icon, intake, tell, waiting } from "./dom.js";
import { facts } from "./facts.js";
import { GROUP, filters, weights } from "./filters.js";
import { t } from "./strings.js";
import { showWhy } from "./why.js";

const SHOWN = 24;
const photos = new Map(); // number in the address -> {file, url}; lives as long as the tab
let counted = 0;

export function mount(root, { go, foot }) {
  let stop = new AbortController(); // of all that is asked about the subject
  let searching = new AbortController(); // of the last search about it
  let last = [];
  let subject = null; // {file, url, crop} | {id} | {} for words alone
  let words = "";
  let cursor = null;
  let seen = new Map();
  let box = null; // the crop box while there is one
  let things = null; // the objects in the photo while they are shown

  // ---- what the view is made of
  const start = element("section", { className: "start", "aria-labelledby": "start-title" },
    heading(t("start.title"), { id: "start-title" }), element("p", { className: "lead", textContent: t("start.lead") }),
    intake({ take, text: t("drop.choose"), or: t("drop.or"), hint: t("drop.formats") }));
  const text = element("input", { type: "search", id: "words", name: "words", maxLength: 2000, placeholder: t("words.example"), autocomplete: "off" });
  const wordForm = element("form", { className: "words-form", role: "search", on: { submit: asked } },
    element("label", { className: "sr-only", htmlFor: "words", textContent: t("words.label") }), text,
    button(t("words.go"), { type: "submit" }, icon(ICONS.search)));
  const figure = element("div", { className: "figure" });
  const cropping = button(t("crop.start"), { hidden: true, "aria-pressed": "false", on: { click: toggleCrop } }, icon(ICONS.crop));
  const finding = button(t("objects.find"), { hidden: true, "aria-pressed": "false", on: { click: toggleObjects } }, icon(ICONS.search));
  const objects = element("div", { className: "objects-found", hidden: true });
  const again = intakeButton();
  const kind = element("p", { className: "eyebrow" });
  const title = heading("", { id: "query-title" });
  const sub = element("p", { className: "muted" });
  const known = facts({ cards: () => grid.querySelectorAll(".card"), seen: (id) => seen.get(id) });
  const query = element("section", { className: "query", "aria-labelledby": "query-title", hidden: true },
    element("div", {}, figure, element("div", { className: "figure-actions" }, cropping, finding, again), objects),
    element("div", { className: "facts" }, kind, title, sub, known.root));
  const narrowed = filters(() => search());
  const counts = weights(() => search());
  const side = element("aside", { className: "side", "aria-label": t("side"), hidden: true }, narrowed.root, counts.root);
  const gridTitle = element("h2", { className: "grid-title", id: "grid-title" });
  const note = element("p", { className: "muted", role: "status" });
  const grid = element("ul", { className: "grid", id: "grid" });
  const empty = element("p", { className: "muted", hidden: true });
  const more = button(t("more"), { look: "load-more", hidden: true, on: { click: () => search({ next: true }) } });
  const results = element("div", { className: "results" }, side,
    element("section", { className: "found", "aria-labelledby": "grid-title" }, gridTitle, note, grid, empty, more));
  root.append(start, wordForm, query, results);
  if (matchMedia("(min-width: 901px)").matches) narrowed.root.open = true;

  function intakeButton() {
    const input = element("input", { type: "file", accept: "image/*", id: "again", on: { change: (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      take(files);
    } } });
    return element("label", { className: "button quiet file-button", htmlFor: "again" }, icon(ICONS.photo), t("photo.new"), input);
  }

  // ---- ways in
  function take(files) {
    if (!files[0]) return;
    counted += 1;
    photos.set(counted, { file: files[0], url: URL.createObjectURL(files[0]) });
    go(`#/photo/${counted}`);
  }

  function asked(event) {
    event.preventDefault();
    words = text.value.trim();
    if (subject && (subject.file || subject.id !== undefined)) search();
    else if (words) go(`#/words/${encodeURIComponent(words)}`);
    else go("#/");
  }

  const choose = () => (query.hidden ? start.querySelector("input[type=file]") : again.querySelector("input")).click();

  function begin(next, { words: kept = "" } = {}) {
    stop.abort();
    searching.abort();
    stop = new AbortController();
    withoutPart();
    hush();
    subject = next;
    words = kept;
    text.value = kept;
    cursor = null;
    narrowed.clear();
    empty.hidden = more.hidden = true;
    note.textContent = "";
    const about = Boolean(next && (next.file || next.id !== undefined));
    start.hidden = next !== null;
    query.hidden = !about;
    side.hidden = next === null;
    cropping.hidden = finding.hidden = true;
    figure.replaceChildren();
  }

  function show(parts) {
    last = parts;
    const [view, rest] = parts;
    if (view === "photo") return showPhoto(Number(rest));
    if (view === "product" && rest) return showProduct(rest);
    if (view === "words" && rest) return showWords(rest);
    return showStart();
  }

  async function showStart() {
    begin(null);
    document.title = "Catalens";
    gridTitle.textContent = t("grid.start");
    waiting(grid, 12);
    const { signal } = stop;
    try {
      const found = await json(`/v1/products?limit=${SHOWN}`, { signal });
      grid.replaceChildren(...found.products.map((product) => card(product)));
      performance.mark("catalens-shown");
      empty.hidden = found.products.length > 0;
      empty.textContent = t("grid.no-products");
      foot(found, t("products.count", { count: found.total.toLocaleString() }));
    } catch (error) {
      grid.replaceChildren();
      complain(error, { text: t("again"), action: showStart });
    }
  }

  async function showPhoto(number) {
    const photo = photos.get(number);
    if (!photo) return go("#/", true); // after a reload the photo is gone
    begin({ ...photo, crop: null });
    kind.textContent = t("query.looks-like");
    title.textContent = t("query.your-photo");
    sub.textContent = photo.file.name;
    const image = element("img", { alt: t("query.your-photo-alt"), src: photo.url, on: {
      load: () => { cropping.hidden = finding.hidden = false; },
      error: () => image.remove(), // not every browser shows every format the service reads
    } });
    figure.append(element("div", { className: "shot" }, image));
    return everything();
  }

  async function showProduct(id) {
    begin({ id });
    kind.textContent = t("query.catalog");
    title.textContent = id;
    sub.textContent = "";
    json(`/v1/products/${encodeURIComponent(id)}`, { signal: stop.signal }).then((product) => {
      title.textContent = product.title || product.product_id;
      document.title = `${title.textContent} · Catalens`;
      const parts = [product.title ? product.product_id : "", product.category || "", ...product.tags.map((tag) => tag.tag)];
      sub.textContent = [...new Set(parts)].filter(Boolean).join(" · ");
      const shot = product.images[0];
      if (shot) figure.replaceChildren(element("div", { className: "shot" },
        picture(shot.image_url, t("query.photo-of", { name: title.textContent }), 640, { loading: "eager" })));
    }).catch(() => {}); // the search below says what is wrong
    return everything();
  }

  function showWords(asking) {
    begin({}, { words: asking });
    document.title = `${asking} · Catalens`;
    gridTitle.textContent = t("grid.words", { words: asking });
    return search();
  }

  /**
   * A new photo, part of it, or product. A photo without words is sent once: `/v1/describe` says what it is, too. Else the
   * search goes first, since it embeds what the others then find done.
   */
  async function everything() {
    document.title = `${title.textContent} · Catalens`;
    gridTitle.textContent = t("grid.similar");
    known.wait();
    const now = subject;
    const { signal } = stop;
    let described = null;
    const once = now.file && !words;
    const done = await search(once ? { path: "/v1/describe", answered: (found) => { described = found; } } : {});
    if (now !== subject) return;
    if (done === false) {
      query.hidden = true;
      return;
    }
    try {
      const named = described ? known.show(described) : await known.fill(now, { signal });
      if (now.file && now === subject) headline(named);
    } catch { /* another subject came */ }
  }

  /** What the photo shows, in large letters: a category, or that it is no kind the shop knows. */
  function headline(named) {
    if (!named?.label && !named?.unknown) return;
    kind.textContent = t(named.unknown ? "query.your-photo" : "query.looks-like");
    title.textContent = named.unknown ? t("query.unknown") : named.label;
    document.title = `${title.textContent} · Catalens`;
  }

  /** True when answered, false when it failed, null when a newer one came between. */
  async function search({ next = false, path = "/v1/search", answered = () => {} } = {}) {
    if (!next) {
      searching.abort();
      searching = new AbortController();
      cursor = null;
      waiting(grid, 12);
    }
    const { signal } = searching;
    const asking = subject;
    const first = subject.file ? "image" : "product_id";
    const both = Boolean(words) && (subject.file || subject.id !== undefined);
    counts.both(both);
    hush();
    more.disabled = true;
    tell(t("looking"));
    try {
      const found = await question(path, subject, {
        k: SHOWN, group_by: GROUP, filter: narrowed.filter(), text: words || undefined, cursor: cursor || undefined, ...counts.chosen(first),
      }, { signal });
      answered(found);
      cursor = found.next_cursor;
      const opened = (product) => feedback(found.request_id, { clicked: [product.product_id] }).catch(() => {});
      if (!next) seen = new Map();
      for (const result of found.results) seen.set(result.product_id, result);
      const cards = found.results.map((result) => card(result, { why: words && !both ? null : (product) => showWhy(asking, product), opened }));
      if (next) grid.append(...cards);
      else grid.replaceChildren(...cards);
      if (next) cards[0]?.querySelector("a").focus();
      empty.hidden = grid.children.length > 0;
      empty.textContent = narrowed.filter() ? t("grid.none-pass")
        : words && !both ? t("grid.no-words", { words }) : t("grid.nothing-else");
      more.hidden = !cursor;
      note.textContent = found.unknown_words?.length ? t("words.unknown", { words: found.unknown_words.join(", ") }) : "";
      foot(found, t("answered", { ms: Math.round(found.timings_ms.total) }));
      tell(t("found", { count: grid.children.length }));
      if (!next) {
        narrowed.refresh();
        offerBlocks();
      }
      return true;
    } catch (error) {
      if (error.name === "AbortError") return null;
      tell("");
      if (!next) grid.replaceChildren();
      complain(error, wayOn(error));
      return false;
    } finally {
      more.disabled = false;
    }
  }

  function wayOn(error) {
    if (error.code === "cursor-gone") return { text: t("begin-again"), action: () => search() };
    if (words && error.status === 422) {
      const without = subject.file || subject.id !== undefined;
      return { text: t(without ? "words.without" : "words.other"), action: () => {
        words = text.value = "";
        if (without) search();
        else text.focus();
      } };
    }
    if (subject.crop && error.status === 422) return { text: t("crop.stop"), action: wholePhoto };
    if (subject.file && [413, 415, 422].includes(error.status)) return { text: t("photo.other"), action: choose };
    if (error.status === 404) return { text: t("start.back"), action: () => go("#/") };
    return { text: t("again"), action: () => (query.hidden ? show(last) : search()) };
  }

  let offered = false;
  async function offerBlocks() {
    if (offered) return;
    offered = true;
    try {
      counts.offer((await json("/v1/indexes")).blocks || {});
    } catch {
      offered = false; // sliders are an extra: asked for again with the next search
    }
  }

  // ---- a part of the photo
  function look(area) {
    subject = { ...subject, crop: area };
    everything();
  }

  function pressed(which, on, text) {
    which.setAttribute("aria-pressed", String(on));
    which.lastChild.textContent = t(on ? "crop.stop" : text);
  }

  /** Neither a crop box nor boxes of objects lie over the photo. */
  function withoutPart() {
    box?.remove();
    things?.remove();
    box = things = null;
    objects.hidden = true;
    pressed(cropping, false, "crop.start");
    pressed(finding, false, "objects.find");
  }

  function wholePhoto() {
    withoutPart();
    if (subject.crop) look(null);
  }

  function toggleCrop() {
    if (box) return wholePhoto();
    withoutPart();
    pressed(cropping, true, "crop.start");
    box = cropper(figure.querySelector("img"), look, subject.crop);
    return box.box.focus({ preventScroll: true });
  }

  async function toggleObjects() {
    if (things) return wholePhoto();
    const now = subject.file;
    finding.disabled = true;
    hush();
    tell(t("looking"));
    try {
      const { findObjects } = await import("./objects.js");
      const opened = (product, id) => feedback(id, { clicked: [product.product_id] }).catch(() => {});
      const found = await findObjects(figure.querySelector("img"), now, { filter: narrowed.filter(), chosen: look, opened, signal: stop.signal });
      if (subject?.file !== now) return found.remove();
      if (box) wholePhoto();
      things = found;
      pressed(finding, true, "objects.find");
      objects.replaceChildren(found.said ? element("p", { className: "muted", textContent: found.said }) : found.list);
      objects.hidden = false;
      return found.first?.focus({ preventScroll: true });
    } catch (error) {
      tell("");
      return complain(error, { text: t("again"), action: toggleObjects });
    } finally {
      finding.disabled = false;
    }
  }

  return {
    show,
    take,
    leave() {
      stop.abort();
      searching.abort();
      withoutPart();
    },
  };
}
