// The service's own numbers, read from /metrics: how much is asked, how long it takes, what waits, how often people agree.
import { ask } from "./api.js";
import { element, percent, svg } from "./dom.js";
import { t } from "./strings.js";

const EVERY_MS = 5000;
const KEPT = 60; // looks in the curve

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Prometheus text as [{name, labels, value}]. */
export function parse(text) {
  const found = [];
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] || "").matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c))]));
    found.push({ name: match[1], labels, value: match[3] === "+Inf" ? Infinity : Number(match[3]) });
  }
  return found;
}

/** The value below which `share` of a histogram lies, interpolated in its bucket; `buckets` [[edge, count so far]]. */
export function quantile(buckets, share) {
  const ranked = [...buckets].sort((one, other) => one[0] - other[0]);
  const total = ranked.at(-1)?.[1] || 0;
  if (!total) return null;
  let [edge, below] = [0, 0];
  for (const [upper, count] of ranked) {
    if (count >= share * total) return upper === Infinity ? edge : edge + ((upper - edge) * (share * total - below)) / Math.max(count - below, 1);
    [edge, below] = [upper, count];
  }
  return edge;
}

/** What the tiles and the table show. */
export function summary(samples) {
  const one = (name) => samples.find((sample) => sample.name === name)?.value ?? null;
  const routes = new Map();
  for (const { name, labels, value } of samples) {
    if (!name.startsWith("catalens_request_seconds") || !labels.route?.startsWith("/v1/")) continue;
    const key = `${labels.method} ${labels.route}`;
    const entry = routes.get(key) || { route: key, count: 0, failed: 0, buckets: new Map() };
    routes.set(key, entry);
    if (name.endsWith("_count")) {
      entry.count += value;
      if (Number(labels.status) >= 500) entry.failed += value;
    } else if (name.endsWith("_bucket")) {
      const edge = labels.le === "+Inf" ? Infinity : Number(labels.le);
      entry.buckets.set(edge, (entry.buckets.get(edge) || 0) + value);
    }
  }
  const all = [...routes.values()].sort((first, second) => second.count - first.count);
  return {
    requests: all.reduce((sum, entry) => sum + entry.count, 0),
    failed: all.reduce((sum, entry) => sum + entry.failed, 0),
    routes: all.map((entry) => ({ ...entry, p50: quantile(entry.buckets, 0.5), p95: quantile(entry.buckets, 0.95) })),
    waiting: one("catalens_queue_waiting"),
    limit: one("catalens_queue_limit"),
    products: one("catalens_products"),
    delta: one("catalens_delta_photos"),
    tagPrecision: one("catalens_tag_precision"),
    memory: one("process_resident_memory_bytes"),
    reviews: samples.find(({ name, labels }) => name === "catalens_reviews" && labels.state === "open")?.value ?? null,
  };
}

export function numbers(signal) {
  const tiles = element("div", { className: "tiles" });
  const curve = element("div", { className: "curve" });
  const rows = element("tbody");
  const note = element("p", { className: "muted", hidden: true });
  const root = element("section", { className: "numbers-part", "aria-labelledby": "numbers-title" },
    element("h2", { id: "numbers-title", textContent: t("numbers.title") }), note, tiles, curve,
    element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "numbers-title" }, element("table", {},
      element("thead", {}, element("tr", {}, ...["route", "count", "p50", "p95", "failed"].map((key) => element("th", { scope: "col", textContent: t(`numbers.${key}`) })))), rows)));
  const rates = []; // requests a second between two looks
  let last = null;
  let timer = 0;

  const ms = (seconds) => (seconds === null ? "–" : seconds < 0.01 ? `${(seconds * 1000).toFixed(1)} ms` : `${Math.round(seconds * 1000)} ms`);
  const tile = (key, value) => element("div", { className: "tile" }, element("p", { className: "muted", textContent: t(`numbers.${key}`) }), element("p", { className: "value", textContent: value }));

  async function refresh() {
    clearTimeout(timer);
    try {
      const now = summary(parse(await (await ask("/metrics", { signal })).text()));
      const time = performance.now();
      if (last) {
        rates.push(Math.max(0, (now.requests - last.requests) / ((time - last.time) / 1000)));
        if (rates.length > KEPT) rates.shift();
      }
      last = { requests: now.requests, time };
      const shown = (value) => (value === null ? "–" : value.toLocaleString());
      tiles.replaceChildren(
        tile("requests", shown(now.requests)), tile("errors", now.requests ? percent(now.failed / now.requests) : "–"),
        tile("waiting", now.limit === null ? "–" : `${now.waiting} / ${now.limit}`), tile("products", shown(now.products)), tile("delta", shown(now.delta)),
        tile("tag-precision", now.tagPrecision === null ? "–" : percent(now.tagPrecision)), tile("reviews", shown(now.reviews)),
        tile("memory", now.memory === null ? "–" : `${Math.round(now.memory / 1e6)} MB`));
      rows.replaceChildren(...now.routes.map((entry) => element("tr", {}, element("th", { scope: "row", textContent: entry.route.replace(/<(?:\w+:)?(\w+)>/g, "{$1}") }),
        ...[shown(entry.count), ms(entry.p50), ms(entry.p95), shown(entry.failed)].map((value) => element("td", { textContent: value })))));
      drawn();
      note.hidden = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      note.hidden = false;
      note.textContent = error.message;
    }
    timer = setTimeout(refresh, EVERY_MS);
  }

  function drawn() {
    if (rates.length < 2) return;
    const most = Math.max(...rates, 0.1);
    const line = rates.map((rate, place) => `${((place / (KEPT - 1)) * 600).toFixed(1)},${(58 - (rate / most) * 52).toFixed(1)}`).join(" ");
    curve.replaceChildren(svg("svg", { viewBox: "0 0 600 60", preserveAspectRatio: "none", role: "img", "aria-label": t("numbers.curve", { most: most.toFixed(1) }) },
      svg("polyline", { points: line })), element("p", { className: "muted", textContent: t("numbers.curve", { most: most.toFixed(1) }) }));
  }

  return { root, refresh, leave: () => clearTimeout(timer) };
}
