// Index versions: what each can, activation after a look at what changes, and the way back.
import { json, post } from "./api.js";
import { button, complain, element, hush, percent, tell } from "./dom.js";
import { t } from "./strings.js";

const LISTED = 12; // names shown at once

export function versions({ signal, foot, changed }) {
  const list = element("ul", { className: "versions" });
  const back = button(t("studio.rollback"), { hidden: true });
  const root = element("section", { className: "versions-part", "aria-labelledby": "versions-title" },
    element("div", { className: "row" }, element("h2", { id: "versions-title", textContent: t("studio.versions") }), back), list);

  async function refresh() {
    try {
      const found = await json("/v1/indexes", { signal });
      const all = [...found.indexes].sort((one, other) => other.version.localeCompare(one.version));
      list.replaceChildren(...all.map(entry));
      if (!all.length) list.replaceChildren(element("li", { className: "muted", textContent: t("studio.no-versions") }));
      // What served before, which need not be the next older number.
      back.hidden = !found.previous;
      back.disabled = false;
      if (found.previous) {
        const now = all.find((version) => version.active)?.version;
        back.textContent = t("studio.rollback-to", { version: found.previous });
        back.onclick = () => turn(found.previous, () => post("/v1/indexes:rollback", { instead_of: now }, { signal }));
      }
      foot(found, "");
    } catch (error) {
      complain(error, { text: t("again"), action: refresh });
    }
  }

  function entry(version) {
    const recall = share(version.recall?.at_10);
    const facts = [
      t("products.count", { count: (version.counts.products ?? 0).toLocaleString() }),
      moment(version.created),
      t("studio.model", { model: version.model_version }),
      recall ? t("studio.recall", { share: recall }) : "",
    ];
    return element("li", { className: version.active ? "version active" : "version" },
      element("div", {}, element("p", {}, element("strong", { textContent: version.version }),
        version.active ? element("span", { className: "badge", textContent: t("studio.active") }) : null),
      element("p", { className: "muted", textContent: facts.filter(Boolean).join(" · ") }),
      version.activated?.at ? element("p", { className: "muted", textContent: since(version.activated) }) : null),
      version.active ? null : button(t("studio.activate"), {
        "aria-label": t("studio.activate-one", { version: version.version }), "aria-haspopup": "dialog",
        on: { click: () => propose(version.version) },
      }));
  }

  const since = ({ at, by }) =>
    by ? t("studio.activated-by", { at: moment(at), by }) : t("studio.activated", { at: moment(at) });

  /** What would change, and the question whether that is meant. */
  async function propose(version) {
    hush();
    try {
      const found = await json(`/v1/indexes/${encodeURIComponent(version)}/comparison`, { signal });
      ask(found, () => turn(version, () => post(`/v1/indexes/${encodeURIComponent(version)}:activate`, undefined, { signal })));
    } catch (error) {
      complain(error, { text: t("again"), action: () => propose(version) });
    }
  }

  async function turn(version, send) {
    hush();
    for (const choice of root.querySelectorAll("button")) choice.disabled = true;
    tell(t("studio.switching", { version }));
    try {
      await send();
      tell(t("studio.switched", { version }));
    } catch (error) {
      complain(error, error.status === 412 ? null : { text: t("again"), action: () => turn(version, send) });
    }
    await refresh();
    changed();
  }

  return { root, refresh };
}

function ask(found, go) {
  const { now, then } = found;
  const dialog = element("dialog", { className: "comparison", "aria-labelledby": "comparison-title", on: { close: () => dialog.remove() } },
    element("h2", { id: "comparison-title", textContent: t("compare.title", { version: then.version }) }),
    warnings(found),
    element("table", { className: "compared" },
      element("thead", {}, element("tr", {}, element("td"), column(now ? t("compare.now", { version: now.version }) : t("compare.nothing")),
        column(t("compare.then", { version: then.version })))),
      element("tbody", {}, ...["categories", "tags", "products", "recall", "accuracy", "model_version"].map((name) => row(name, now, then)))),
    names("categories", found.categories), names("tags", found.tags),
    element("div", { className: "choices" },
      button(t("compare.cancel"), { autofocus: true, on: { click: () => dialog.close() } }),
      button(t("studio.activate-one", { version: then.version }), {
        quiet: false, on: { click: () => { dialog.close(); go(); } },
      })));
  document.body.append(dialog);
  dialog.showModal();
}

const column = (text) => element("th", { scope: "col", textContent: text });

function row(name, now, then) {
  const show = (facts) => {
    const value = facts?.[name];
    if (value === null || value === undefined) return "–";
    return name === "recall" || name === "accuracy" ? share(value) : value.toLocaleString();
  };
  return element("tr", {}, element("th", { scope: "row", textContent: t(`compare.${name}`) }),
    element("td", { textContent: show(now) }), element("td", { textContent: show(then) }));
}

/** What is lost by serving another version. */
export function warnings(found) {
  const counts = { "products-missing": found.products_missing, "fewer-categories": found.categories.lost_count, "fewer-tags": found.tags.lost_count };
  if (!found.warnings.length) return element("p", { className: "muted", textContent: t("compare.no-warnings") });
  return element("ul", { className: "warnings" }, ...found.warnings.map((code) =>
    element("li", { textContent: t(`compare.warning.${code}`, { count: (counts[code] ?? 0).toLocaleString() }) })));
}

function names(kind, changes) {
  const parts = [["lost", changes.lost, changes.lost_count], ["gained", changes.gained, changes.gained_count]].filter(([, , count]) => count);
  if (!parts.length) return null;
  return element("details", {}, element("summary", { textContent: t(`compare.names.${kind}`) }),
    ...parts.map(([which, shown, count]) => element("p", {},
      element("strong", { textContent: t(`compare.${which}`, { count: count.toLocaleString() }) }), " ",
      shown.slice(0, LISTED).join(", ") + (count > LISTED ? " …" : ""))));
}

// Of 0.994 no rounding shall make a whole.
const share = (value) => (typeof value === "number" ? percent(Math.floor(value * 1000) / 1000) : "");

function moment(value) {
  const at = new Date(typeof value === "number" ? value * 1000 : value);
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleString(document.documentElement.lang);
}
