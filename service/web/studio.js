// The studio: what a merchant looks after. Versions, long work, the map of the catalog, the numbers.
import { json, post } from "./api.js";
import { button, complain, element, heading, hush, percent, tell } from "./dom.js";
import { imports } from "./imports.js";
import { jobs } from "./jobs.js";
import { catalogMap } from "./map.js";
import { numbers } from "./metrics.js";
import { t } from "./strings.js";

export function mount(root, { foot }) {
  const stop = new AbortController();
  const list = element("ul", { className: "versions" });
  const back = button(t("studio.rollback"), { hidden: true });
  const work = jobs(stop.signal, refresh);
  const parts = [catalogMap(stop.signal), work, numbers(stop.signal)];
  const intake = imports(stop.signal, () => work.refresh(), refresh);
  root.append(heading(t("studio.title")), element("p", { className: "lead", textContent: t("studio.lead") }),
    element("div", { className: "studio" }, intake.root,
      element("section", { className: "versions-part", "aria-labelledby": "versions-title" },
        element("div", { className: "row" }, element("h2", { id: "versions-title", textContent: t("studio.versions") }), back), list),
      ...parts.map((part) => part.root)));

  async function refresh() {
    try {
      const found = await json("/v1/indexes", { signal: stop.signal });
      const versions = [...found.indexes].sort((one, other) => other.version.localeCompare(one.version));
      list.replaceChildren(...versions.map(entry));
      if (!versions.length) list.replaceChildren(element("li", { className: "muted", textContent: t("studio.no-versions") }));
      const now = versions.findIndex((version) => version.active);
      const before = now < 0 ? undefined : versions[now + 1];
      back.hidden = !before;
      if (before) {
        back.textContent = t("studio.rollback-to", { version: before.version });
        back.onclick = () => activate(before.version);
      }
      foot(found, "");
    } catch (error) {
      complain(error, { text: t("again"), action: refresh });
    }
  }

  function entry(version) {
    const made = new Date(typeof version.created === "number" ? version.created * 1000 : version.created);
    const facts = [
      t("products.count", { count: (version.counts.products ?? 0).toLocaleString() }),
      Number.isNaN(made.getTime()) ? "" : made.toLocaleString(document.documentElement.lang),
      t("studio.model", { model: version.model_version }),
      typeof version.recall === "number" ? t("studio.recall", { share: percent(version.recall) }) : "",
    ];
    return element("li", { className: version.active ? "version active" : "version" },
      element("div", {}, element("p", {}, element("strong", { textContent: version.version }),
        version.active ? element("span", { className: "badge", textContent: t("studio.active") }) : null),
      element("p", { className: "muted", textContent: facts.filter(Boolean).join(" · ") })),
      version.active ? null : button(t("studio.activate"), {
        "aria-label": t("studio.activate-one", { version: version.version }), on: { click: () => activate(version.version) },
      }));
  }

  async function activate(version) {
    hush();
    for (const choice of root.querySelectorAll(".versions-part button")) choice.disabled = true;
    tell(t("studio.switching", { version }));
    try {
      await post(`/v1/indexes/${encodeURIComponent(version)}:activate`, undefined, { signal: stop.signal });
      tell(t("studio.switched", { version }));
    } catch (error) {
      complain(error, { text: t("again"), action: () => activate(version) });
    }
    back.disabled = false;
    await refresh();
    parts[0].refresh();
  }

  return {
    show() {
      document.title = `${t("nav.studio")} · Catalens`;
      refresh();
      intake.refresh();
      parts.forEach((part) => part.refresh());
    },
    leave() {
      stop.abort();
      parts.forEach((part) => part.leave?.());
    },
  };
}
