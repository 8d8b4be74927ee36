// Building the page: elements whose text is always text, never markup; what is said to people and to screen readers.
import { t } from "./strings.js";

export const $ = (id) => document.getElementById(id);

/** An element. Options are properties or attributes; `on` holds listeners, `data` the data-* attributes. */
export function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === null) continue;
    if (key === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (key === "data") Object.assign(made.dataset, value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A drawn sign beside a text that says the same; hidden from screen readers. */
export const icon = (path) =>
  svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" }, svg("path", { d: path }));
export const ICONS = {
  photo: "M4 6h16v12H4zM8.5 11a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3ZM5 17l5-5 3.5 3.5L16 13l3.5 4",
  camera: "M4 8h3l2-2.5h6L17 8h3v11H4zM12 16.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4Z",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM15.5 15.5 20 20",
  yes: "m5 12.5 4.5 4.5L19 7.5",
  no: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  crop: "M7 3v14h14M3 7h14v14",
};

/** A button; `look` adds classes, `more` stands before the text. */
export const button = (text, options = {}, ...more) => {
  const { quiet = true, look = "", ...rest } = options;
  return element("button", { type: "button", className: `button ${quiet ? "quiet" : ""} ${look}`.trim(), ...rest }, ...more, text);
};

/** A heading of a view: gets the focus when the view is entered. */
export const heading = (text, options = {}) => element("h1", { textContent: text, tabIndex: -1, ...options });

/** Said to screen readers without moving anything. */
export const tell = (text) => { $("status").textContent = text; };

const LEADS = new Set([
  "bad-image", "unsupported-format", "image-too-large", "body-too-large", "no-index", "overloaded", "offline", "not-found",
]);

/** Show what went wrong, in the service's own words, and a way on: {text, action}. An abort is nobody's fault. */
export function complain(error, way = null) {
  if (error.name === "AbortError") return;
  const lead = LEADS.has(error.code) ? t(`problem.${error.code}`) : "";
  $("notice-text").textContent = [lead, error.message].filter(Boolean).join(": ");
  const place = $("notice-actions");
  place.replaceChildren();
  if (way) place.append(button(way.text, { on: { click: () => { hush(); way.action(); } } }));
  place.append(button(t("close"), { on: { click: hush } }));
  $("notice").hidden = false;
}

export const hush = () => { $("notice").hidden = true; };

export const percent = (share) =>
  share >= 0.995 && share < 1 ? ">99%" : share > 0 && share < 0.005 ? "<1%" : `${Math.round(share * 100)}%`;

/** A place where files come in: chosen, dropped on the page (see app.js), or taken by the camera. */
export function intake({ take, multiple = false, text, or, hint }) {
  const chosen = (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    if (files.length) take(files);
  };
  const file = element("input", { type: "file", id: "file", accept: "image/*", multiple, on: { change: chosen } });
  const camera = element("input", { type: "file", id: "camera", accept: "image/*", capture: "environment", on: { change: chosen } });
  return element("div", { className: "intake" },
    element("label", { className: "drop", htmlFor: "file" }, icon(ICONS.photo),
      element("span", {}, element("strong", { textContent: text }), " ",
        element("span", { className: "for-mouse", textContent: or })),
      element("span", { className: "hint", textContent: hint }), file),
    element("label", { className: "button quiet camera", htmlFor: "camera" }, icon(ICONS.camera), t("drop.camera"), camera));
}

/** Placeholders while a list is on its way. */
export const waiting = (list, count) =>
  list.replaceChildren(...Array.from({ length: count }, () => element("li", { className: "waiting", "aria-hidden": "true" })));

export const bars = (entries) => {
  const fills = [];
  const items = entries.map(({ label, path = [], probability, stands_on }) => {
    const fill = element("div", { className: "fill" });
    fills.push([fill, probability]);
    const name = element("span", {}, label);
    const parents = path.slice(0, -1).join(" > ");
    if (parents) name.append(element("span", { className: "parents", textContent: ` · ${parents}` }));
    if (stands_on) name.append(element("span", { className: "parents", textContent: ` · ${t("stands-on.text")}` }));
    return element("li", {}, name, element("span", { className: "percent", textContent: percent(probability) }),
      element("div", { className: "track", "aria-hidden": "true" }, fill));
  });
  requestAnimationFrame(() => fills.forEach(([fill, share]) => { fill.style.width = `${Math.max(share * 100, 0.5)}%`; }));
  return items;
};
