// The catalog as a map on a canvas: alike products near each other; zoom, pan, and choose one with mouse, finger or keys.
import { json } from "./api.js";
import { address, load, picture } from "./cards.js";
import { button, element, tell } from "./dom.js";
import { t } from "./strings.js";

const CELL = 50; // px between thumbnails, so that they do not cover each other
const THUMB = 46;
const DOT = 3.5;
const MOST_ZOOM = 40;
// Told apart in light and dark, and by people who see fewer colours (after Okabe and Ito).
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7ae6", "#7f8c8d"];

export function catalogMap(signal) {
  const canvas = element("canvas", { className: "map", tabIndex: 0, role: "application", "aria-labelledby": "map-title", "aria-describedby": "map-help" });
  const chosenBox = element("div", { className: "map-chosen", "aria-live": "polite" });
  const legend = element("ul", { className: "legend" });
  const note = element("p", { className: "muted" });
  const zoomBy = (factor) => () => zoom(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
  const root = element("section", { className: "map-part", "aria-labelledby": "map-title" },
    element("div", { className: "row" }, element("h2", { id: "map-title", textContent: t("map.title") }),
      element("div", { className: "choices" },
        button("+", { "aria-label": t("map.in"), on: { click: zoomBy(1.6) } }), button("−", { "aria-label": t("map.out"), on: { click: zoomBy(1 / 1.6) } }),
        button(t("map.whole"), { on: { click: () => { view = { x: 0, y: 0, k: 1 }; draw(); } } }))),
    element("p", { className: "muted", id: "map-help", textContent: t("map.help") }), canvas, chosenBox, legend, note);
  let points = [];
  let view = { x: 0, y: 0, k: 1 }; // the middle, in the map's own units, and how much larger than the whole
  let chosen = null;
  let asked = 0;
  const thumbs = new Map(); // address -> image, or null while it is on its way
  const pen = canvas.getContext("2d");

  // ---- from the map's units ([-1, 1], upwards) to px and back
  const unit = () => (canvas.clientWidth / 2 - THUMB) * view.k;
  const flat = () => (canvas.clientHeight / 2 - THUMB) * view.k;
  const at = (point) => [canvas.clientWidth / 2 + (point.x - view.x) * unit(), canvas.clientHeight / 2 - (point.y - view.y) * flat()];
  const keep = () => {
    view.k = Math.min(Math.max(view.k, 1), MOST_ZOOM);
    view.x = Math.min(Math.max(view.x, -1), 1);
    view.y = Math.min(Math.max(view.y, -1), 1);
  };

  function zoom(factor, px, py) {
    const before = [view.x + (px - canvas.clientWidth / 2) / unit(), view.y - (py - canvas.clientHeight / 2) / flat()];
    view.k *= factor;
    keep();
    view.x = before[0] - (px - canvas.clientWidth / 2) / unit();
    view.y = before[1] + (py - canvas.clientHeight / 2) / flat();
    keep();
    draw();
  }

  function draw() {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(paint);
  }

  function paint() {
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    if (!wide) return;
    const dense = Math.min(devicePixelRatio || 1, 2);
    if (canvas.width !== Math.round(wide * dense) || canvas.height !== Math.round(high * dense)) {
      canvas.width = Math.round(wide * dense);
      canvas.height = Math.round(high * dense);
    }
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, wide, high);
    const style = getComputedStyle(canvas);
    const placed = new Map(); // cell -> the middle of its thumbnail
    const free = (px, py) => {
      const [column, row] = [Math.floor(px / CELL), Math.floor(py / CELL)];
      for (let x = column - 1; x <= column + 1; x += 1) {
        for (let y = row - 1; y <= row + 1; y += 1) {
          const other = placed.get(`${x},${y}`);
          if (other && Math.abs(other[0] - px) < CELL && Math.abs(other[1] - py) < CELL) return false;
        }
      }
      placed.set(`${column},${row}`, [px, py]);
      return true;
    };
    const shown = [];
    for (const point of points) {
      const [px, py] = at(point);
      if (px < -THUMB || py < -THUMB || px > wide + THUMB || py > high + THUMB) continue;
      if (free(px, py)) shown.push([point, px, py]);
      else {
        pen.fillStyle = point.colour;
        pen.beginPath();
        pen.arc(px, py, DOT, 0, 2 * Math.PI);
        pen.fill();
      }
    }
    for (const [point, px, py] of shown) thumb(point, px, py, style);
    if (chosen) {
      const [px, py] = at(chosen);
      thumb(chosen, px, py, style, true);
    }
  }

  function thumb(point, px, py, style, marked = false) {
    const side = marked ? THUMB * 1.35 : THUMB;
    const image = thumbs.get(point.image_url);
    if (image === undefined) {
      thumbs.set(point.image_url, null);
      load(point.image_url, 160).then((found) => { thumbs.set(point.image_url, found); draw(); }).catch(() => {});
    }
    pen.fillStyle = style.getPropertyValue("--tile") || "#fff";
    pen.strokeStyle = marked ? style.color : point.colour;
    pen.lineWidth = marked ? 3 : 2;
    pen.beginPath();
    pen.roundRect(px - side / 2, py - side / 2, side, side, 8);
    pen.fill();
    if (image) {
      const scale = (side - 4) / Math.max(image.naturalWidth, image.naturalHeight);
      const [w, h] = [image.naturalWidth * scale, image.naturalHeight * scale];
      pen.drawImage(image, px - w / 2, py - h / 2, w, h);
    }
    pen.stroke();
  }

  // ---- choosing
  function choose(point) {
    chosen = point;
    const name = point ? point.title || point.product_id : "";
    chosenBox.replaceChildren(...(point ? [
      picture(point.image_url, "", 160),
      element("div", {}, element("p", {}, element("strong", { textContent: name })),
        element("p", { className: "muted", textContent: (point.category_path || []).join(" > ") }),
        element("a", { href: address(point.product_id), textContent: t("map.open") })),
    ] : []));
    draw();
  }

  function nearest(px, py, within) {
    let [best, least] = [null, within ** 2];
    for (const point of points) {
      const [x, y] = at(point);
      const far = (x - px) ** 2 + (y - py) ** 2;
      if (far < least) [best, least] = [point, far];
    }
    return best;
  }

  /** The nearest product in a direction from the chosen one: more ahead than aside. */
  function step(dx, dy) {
    if (!chosen) return choose(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity));
    const [x, y] = at(chosen);
    let [best, least] = [null, Infinity];
    for (const point of points) {
      const [px, py] = at(point);
      const ahead = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (ahead > 0.5 && aside <= ahead && ahead + 2 * aside < least) [best, least] = [point, ahead + 2 * aside];
    }
    if (!best) return undefined;
    const [px, py] = at(best);
    if (px < 20 || py < 20 || px > canvas.clientWidth - 20 || py > canvas.clientHeight - 20) [view.x, view.y] = [best.x, best.y];
    return choose(best);
  }

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (ARROWS[event.key]) step(...ARROWS[event.key]);
    else if (event.key === "+" || event.key === "=") zoomBy(1.6)();
    else if (event.key === "-") zoomBy(1 / 1.6)();
    else if (event.key === "0") { view = { x: 0, y: 0, k: 1 }; draw(); }
    else if (event.key === "Enter" && chosen) location.hash = address(chosen.product_id);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("wheel", (event) => {
    // Only a map that was asked for takes the wheel; else the page scrolls on.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (fingers.size === 1) moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    const apart = (one) => Math.max(Math.hypot(one[0] - other[0], one[1] - other[1]), 1);
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (other) zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    else {
      view.x -= (now[0] - before[0]) / unit();
      view.y += (now[1] - before[1]) / flat();
      keep();
      draw();
    }
    fingers.set(event.pointerId, now);
  });
  const lifted = (event) => {
    const alone = fingers.size === 1 && fingers.delete(event.pointerId);
    fingers.delete(event.pointerId);
    if (alone && moved < 6 && event.type === "pointerup") choose(nearest(event.offsetX, event.offsetY, 40));
  };
  canvas.addEventListener("pointerup", lifted);
  canvas.addEventListener("pointercancel", lifted);
  const watcher = new ResizeObserver(draw);
  watcher.observe(canvas);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw);

  async function refresh() {
    try {
      const found = await json("/v1/map", { signal });
      const kinds = new Map();
      for (const point of found.points) {
        const kind = point.category_path?.[Math.max(point.category_path.length - 2, 0)] ?? t("map.no-category");
        kinds.set(kind, (kinds.get(kind) || 0) + 1);
      }
      const ranked = [...kinds].sort((one, other) => other[1] - one[1]).map(([kind]) => kind);
      const colour = (kind) => COLOURS[Math.min(ranked.indexOf(kind), COLOURS.length - 1)];
      points = found.points.map((point) => ({ ...point, colour: colour(point.category_path?.[Math.max(point.category_path.length - 2, 0)] ?? t("map.no-category")) }));
      legend.replaceChildren(...ranked.slice(0, COLOURS.length).map((kind, place) => {
        const swatch = element("span", { className: "swatch", "aria-hidden": "true" });
        swatch.style.background = COLOURS[place];
        return element("li", {}, swatch, place === COLOURS.length - 1 && ranked.length > COLOURS.length ? t("map.others") : kind);
      }));
      note.textContent = t("map.note", { shown: points.length.toLocaleString(), total: found.total.toLocaleString(), share: `${Math.round(found.explained * 100)}%` });
      canvas.dataset.points = String(points.length);
      tell("");
      choose(null);
    } catch (error) {
      if (error.name !== "AbortError") note.textContent = error.message;
    }
  }

  return {
    root,
    refresh,
    leave() {
      watcher.disconnect();
      scheme.removeEventListener("change", draw);
    },
  };
}
