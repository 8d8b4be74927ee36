// The studio: what a merchant looks after. Versions, long work, what was done, the map of the catalog, the numbers.
import { actions } from "./actions.js";
import { element, heading } from "./dom.js";
import { imports } from "./imports.js";
import { jobs } from "./jobs.js";
import { catalogMap } from "./map.js";
import { numbers } from "./metrics.js";
import { t } from "./strings.js";
import { versions } from "./versions.js";

export function mount(root, { foot }) {
  const stop = new AbortController();
  const chart = catalogMap(stop.signal);
  const served = versions({ signal: stop.signal, foot, changed: () => { chart.refresh(); done.refresh(); } });
  const work = jobs(stop.signal, () => { served.refresh(); done.refresh(); });
  const done = actions({ signal: stop.signal, changed: () => { served.refresh(); chart.refresh(); }, started: work.refresh });
  const parts = [chart, work, done, numbers(stop.signal)];
  const intake = imports(stop.signal, () => work.refresh(), served.refresh);
  root.append(heading(t("studio.title")), element("p", { className: "lead", textContent: t("studio.lead") }),
    element("div", { className: "studio" }, intake.root, served.root, ...parts.map((part) => part.root)));

  return {
    show() {
      document.title = `${t("nav.studio")} · Catalens`;
      served.refresh();
      intake.refresh();
      parts.forEach((part) => part.refresh());
    },
    leave() {
      stop.abort();
      parts.forEach((part) => part.leave?.());
    },
  };
}
