// What narrows a search down: values with their counts, ranges of numbers and dates, and how much each block counts.
import { json } from "./api.js";
import { button, element } from "./dom.js";
import { t, words } from "./strings.js";
import { blockName } from "./why.js";

const VALUES = 7; // of each field, before all are asked for
const MOST_VALUES = 100;
const FIELDS = 12; // shown
const NAMED = new Set(["category", "tags", "availability", "brand", "price", "sale_price", "currency", "stock"]); // in the page's language
/** One card for all variants of a product, and one count. */
export const GROUP = "parent";

/** Whether a field holds what it has not told of yet. */
const typed = (input) => input.value !== input.defaultValue || (input === document.activeElement && input.validity.badInput);

/** The panel of filters; `changed` is called when one is set or taken away. */
export function filters(changed) {
  const chosen = new Map(); // field -> Set of values, or {gte, lte}
  const list = element("div", { className: "facets" });
  const clear = button(t("filters.clear"), { hidden: true, on: { click: () => { chosen.clear(); change(); } } });
  const open = element("details", { className: "panel" },
    element("summary", {}, element("h2", { textContent: t("filters") })), list, clear);
  const whole = new Set(); // fields of which all values are shown
  let started = false;
  let counting = null; // the filter whose counts are on their way
  let pressed = false; // a press has begun whose click is still to come: what lies under it stays
  let late = false; // counts came meanwhile
  let untold = false; // a change that `changed` has not been told of

  /** Tell of a change: once for all of one press, of which a field that was typed into comes first and what was hit then. */
  function change() {
    untold = true;
    setTimeout(settle);
  }

  function settle() {
    if (pressed || !open.isConnected) return;
    if (untold) {
      untold = false;
      changed();
    } else catchUp();
  }

  function release() {
    setTimeout(() => { // after the click
      pressed = false;
      settle();
    });
  }

  /** Draw what came while nothing could be drawn. */
  function catchUp() {
    if (!late || held()) return;
    late = false;
    refresh();
  }

  /** Whether drawing anew would take a press its aim or a field what was typed into it. */
  const held = () => pressed || [...list.querySelectorAll(".range input")].some(typed);

  const clauses = (but) => [...chosen].filter(([field]) => field !== but).map(([field, value]) =>
    value instanceof Set ? { field, in: [...value] } : { field, ...value });
  const filter = (but = null) => {
    const must = clauses(but);
    return must.length ? { must } : undefined;
  };

  async function count(but, fields) {
    const query = new URLSearchParams({ limit: String(MOST_VALUES), group_by: GROUP });
    const wanted = filter(but);
    if (wanted) query.set("filter", JSON.stringify(wanted));
    for (const field of fields) query.append("fields", field);
    return json(`/v1/facets?${query}`);
  }

  async function refresh() {
    clear.hidden = chosen.size === 0;
    if (!open.open || !open.offsetParent) return; // nobody looks
    const mine = JSON.stringify(filter()) || "";
    if (counting === mine) return;
    counting = mine;
    try {
      // A field with a choice keeps its other values: it is counted without its own choice.
      const [all, ...own] = await Promise.all([count(null, []), ...[...chosen.keys()].map((field) => count(field, [field]))]);
      if (counting !== mine) return; // another filter by now
      if (held()) {
        late = true;
        return;
      }
      const replaced = new Map(own.map(({ facets }) => [facets[0].field, facets[0]]));
      const usable = all.facets.map((facet) => replaced.get(facet.field) || facet).filter(useful);
      const focused = document.activeElement?.dataset?.facet;
      list.replaceChildren(...usable.slice(0, FIELDS).map(facetBox));
      if (focused) list.querySelector(`[data-facet="${CSS.escape(focused)}"]`)?.focus();
      if (!usable.length) list.replaceChildren(element("p", { className: "muted", textContent: t("filters.none") }));
      started = true;
    } catch (error) {
      if (!started) list.replaceChildren(element("p", { className: "muted", textContent: error.message }));
    } finally {
      if (counting === mine) counting = null;
    }
  }

  const useful = (facet) => chosen.has(facet.field) || (facet.values ? facet.values.length > 0 && facet.values[0].count > 1 : facet.min !== null && facet.min !== facet.max);

  function facetBox(facet) {
    const name = NAMED.has(facet.field) ? t(`field.${facet.field}`) : words(facet.field);
    const box = element("fieldset", {}, element("legend", { textContent: name }));
    if (!facet.values) box.append(range(facet));
    else values(box, facet, name);
    return box;
  }

  /** The commonest values and those that are chosen; all of them at a press, categories then in the order of their tree. */
  function values(box, facet, name) {
    const known = chosen.get(facet.field);
    const all = whole.has(facet.field);
    const shown = all ? [...facet.values] : facet.values.filter(({ value }, place) => place < VALUES || known?.has(value));
    if (all && facet.field === "category") shown.sort((one, other) => String(one.value).localeCompare(String(other.value)));
    box.append(...shown.map((entry) => valueBox(facet.field, entry)));
    if (facet.values.length <= VALUES) return;
    box.append(element("button", {
      type: "button", className: "plain", data: { facet: `${facet.field}:all` },
      textContent: all ? t("filters.fewer") : t("filters.more", { count: facet.values.length, field: name }),
      on: { click: () => {
        if (all) whole.delete(facet.field);
        else whole.add(facet.field);
        refresh();
      } },
    }));
  }

  function valueBox(field, { value, count: number }) {
    const known = chosen.get(field);
    const box = element("input", {
      type: "checkbox", checked: Boolean(known?.has(value)), data: { facet: `${field}=${value}` },
      on: { change: () => {
        const values = chosen.get(field) || new Set();
        if (box.checked) values.add(value);
        else values.delete(value);
        if (values.size) chosen.set(field, values);
        else chosen.delete(field);
        change();
      } },
    });
    return element("label", { className: "value" }, box, element("span", { textContent: field === "availability" ? t(`stock.${value}`) : String(value) }),
      element("span", { className: "count", textContent: number.toLocaleString() }));
  }

  function range(facet) {
    const dates = facet.type === "datetime";
    const known = chosen.get(facet.field) || {};
    const field = (bound, label, shown) => element("label", {}, `${label} `, element("input", {
      type: dates ? "date" : "number", step: "any", placeholder: shown === null ? "" : String(shown), data: { facet: `${facet.field}:${bound}` },
      defaultValue: known[bound] === undefined ? "" : String(known[bound]).slice(0, dates ? 10 : undefined),
      on: { change: (event) => {
        const now = { ...chosen.get(facet.field) };
        const { value } = event.target;
        event.target.defaultValue = value;
        if (value === "") delete now[bound];
        else now[bound] = dates ? (bound === "lte" ? `${value}T23:59:59Z` : `${value}T00:00:00Z`) : Number(value);
        if (Object.keys(now).length) chosen.set(facet.field, now);
        else chosen.delete(facet.field);
        change();
      } },
    }));
    return element("div", { className: "range" }, field("gte", t("filters.from"), facet.min), field("lte", t("filters.to"), facet.max));
  }

  open.addEventListener("toggle", refresh);
  open.addEventListener("pointerdown", ({ button: which }) => {
    if (which !== 0) return;
    pressed = true;
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, release, { once: true });
  });
  list.addEventListener("focusout", () => setTimeout(settle));
  const forget = () => {
    chosen.clear();
    untold = false;
  };
  return { root: open, refresh, filter, clear: forget };
}

/** Sliders for the blocks the model has, and for photo against words where both are asked. */
export function weights(changed) {
  const sliders = element("div", { className: "sliders" });
  const mixing = element("div", { className: "sliders", hidden: true });
  const reset = button(t("weights.reset"), { hidden: true, on: { click: () => {
    for (const [name, share] of Object.entries(usual)) set(name, share);
    reset.hidden = true;
    changed();
  } } });
  const root = element("details", { className: "panel", hidden: true },
    element("summary", {}, element("h2", { textContent: t("weights") })), sliders, mixing, reset);
  let usual = {};
  const inputs = new Map();
  const set = (name, share) => {
    inputs.get(name).value = Math.round(share * 100);
    say(inputs.get(name));
  };
  const say = (input) => { input.nextElementSibling.textContent = `${input.value}%`; };

  function slider(label, value, moved) {
    const input = element("input", { type: "range", min: 0, max: 100, step: 5, value: Math.round(value * 100), on: {
      input: () => say(input),
      change: moved,
    } });
    return [element("label", { className: "slider" }, element("span", { textContent: label }), input,
      element("output", { textContent: `${Math.round(value * 100)}%` })), input];
  }

  const [mixLabel, mixInput] = slider(t("weights.words"), 0.5, () => changed());
  mixing.append(mixLabel);

  return {
    root,
    /** Of the model that serves: {block: weight}. */
    offer(blocks) {
      usual = blocks;
      inputs.clear();
      sliders.replaceChildren();
      if (Object.keys(blocks).length < 2) return;
      for (const [name, share] of Object.entries(blocks)) {
        const [label, input] = slider(blockName(name), share, () => {
          reset.hidden = false;
          changed();
        });
        inputs.set(name, input);
        sliders.append(label);
      }
      root.hidden = false;
    },
    /** Whether words stand beside a photo or a product. */
    both(there) {
      mixing.hidden = !there;
      if (there) root.hidden = false;
    },
    /** What a search is sent: nothing where nothing was changed. */
    chosen(first) {
      const sent = {};
      if (!reset.hidden) {
        const now = Object.fromEntries([...inputs].map(([name, input]) => [name, Number(input.value) / 100]));
        if (Object.values(now).some((share) => share > 0)) sent.weights = now;
      }
      if (!mixing.hidden && mixInput.value !== "50") {
        const words = Number(mixInput.value) / 100;
        sent.mix = { [first]: 1 - words, text: words };
      }
      return sent;
    },
  };
}
