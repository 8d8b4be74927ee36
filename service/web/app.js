// The page's frame: which view the address names, the language, and photos that are dropped or pasted anywhere.
import { $, element, hush, tell } from "./dom.js";
import * as search from "./search.js";
import { LANGUAGES, lang, setLang, t } from "./strings.js";
import * as who from "./who.js";

// The first view comes with the page; the others when they are asked for.
const VIEWS = {
  search: async () => search,
  check: () => import("./check.js"),
  queue: () => import("./queue.js"),
  studio: () => import("./studio.js"),
};
let current = null; // {name, view}
let turn = 0; // of the newest address; a view that loads late for an older one is dropped

const context = {
  /** Go to another address; in its place in the history where `instead`. */
  go(hash, instead = false) {
    if (instead) location.replace(hash);
    else if (location.hash === hash || (hash === "#/" && !location.hash)) route();
    else location.hash = hash;
  },
  /** The line at the foot: what answered. */
  foot(found, first) {
    $("about").textContent = [first, found.index_version && t("foot.index", { version: found.index_version }),
      found.model_version && t("foot.model", { version: found.model_version })].filter(Boolean).join(" · ");
  },
};

function where() {
  const [, view, rest] = location.hash.match(/^#\/([a-z]*)\/?(.*)$/s) || ["", "", ""];
  try {
    return [Object.hasOwn(VIEWS, view) ? view : "search", [view, decodeURIComponent(rest)]];
  } catch {
    return ["search", ["", ""]]; // an address that is no text
  }
}

async function route() {
  turn += 1;
  const mine = turn;
  const [name, parts] = where();
  const entered = current !== null;
  hush();
  if (current?.name !== name) {
    let module;
    try {
      module = await VIEWS[name]();
    } catch {
      $("notice-text").textContent = t("problem.offline-detail");
      $("notice").hidden = false;
      return;
    }
    if (mine !== turn) return;
    current?.view.leave();
    $("view").replaceChildren();
    current = { name, view: module.mount($("view"), context) };
    const [section] = { queue: ["check"] }[name] || [name];
    for (const link of document.querySelectorAll("[data-view]")) {
      if (link.dataset.view === section) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
  current.view.show(parts);
  if (entered) {
    window.scrollTo({ top: 0 });
    [...$("view").querySelectorAll("h1")].find((title) => title.offsetParent)?.focus({ preventScroll: true });
  }
}

/** Write the frame in the page's language; views are made anew. */
function write() {
  document.documentElement.lang = lang();
  for (const place of document.querySelectorAll("[data-t]")) place.textContent = t(place.dataset.t);
  $("language").setAttribute("aria-label", t("language"));
  document.querySelector("nav.views").setAttribute("aria-label", t("nav"));
  who.show();
}

$("language").append(...Object.entries(LANGUAGES).map(([code, name]) => element("option", { value: code, textContent: name, selected: code === lang(), lang: code })));
$("language").addEventListener("change", () => {
  setLang($("language").value);
  write();
  current?.view.leave();
  current = null;
  $("view").replaceChildren();
  route();
});
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });

// ---- photos from anywhere; a view that takes none hands them to the search
function take(files) {
  const images = files.filter((file) => file.type.startsWith("image/") || !file.type);
  if (!images.length) return;
  if (current?.view.take) current.view.take(images);
  else {
    location.hash = "#/";
    setTimeout(async () => { await route(); current.view.take(images); });
  }
}
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files || [])];
  if (files.some((file) => file.type.startsWith("image/"))) take(files);
});
let depth = 0; // dragenter and dragleave also come from children
document.addEventListener("dragenter", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  depth += 1;
  $("curtain").hidden = false;
});
document.addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  if (!depth) $("curtain").hidden = true;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("curtain").hidden = true;
  take([...event.dataTransfer.files]);
});

window.addEventListener("hashchange", () => { route(); });
write();
tell("");
who.ask();
await route();
performance.mark("catalens-interactive");
