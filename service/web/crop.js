// A box on a photo: drawn, moved and sized with mouse, finger or keyboard; told in px of the upright photo.
import { element, tell } from "./dom.js";
import { t } from "./strings.js";

const LEAST = 8; // px of the photo, either side
const STEP = 0.02; // of the photo's side, for each press of an arrow key

const within = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * Lay a box over `image` (in a positioned parent), at `start` [x, y, w, h] where given. `changed` is called with such a
 * box once it rests.
 */
export function cropper(image, changed, start = null) {
  const wide = image.naturalWidth;
  const high = image.naturalHeight;
  const box = element("button", { type: "button", className: "crop-box", "aria-label": t("crop.box"), title: t("crop.keys") });
  const layer = element("div", { className: "crop" }, box);
  for (const corner of ["nw", "ne", "sw", "se"]) box.append(element("span", { className: `grip ${corner}`, data: { corner } }));
  let [x, y, w, h] = start || [0.2 * wide, 0.2 * high, 0.6 * wide, 0.6 * high];
  let drag = null;
  let resting = 0;

  function place() {
    w = within(w, Math.min(LEAST, wide), wide);
    h = within(h, Math.min(LEAST, high), high);
    x = within(x, 0, wide - w);
    y = within(y, 0, high - h);
    Object.assign(box.style, {
      left: `${(x / wide) * 100}%`, top: `${(y / high) * 100}%`, width: `${(w / wide) * 100}%`, height: `${(h / high) * 100}%`,
    });
  }

  function rounded() {
    const left = Math.floor(x);
    const top = Math.floor(y);
    return [left, top, Math.min(Math.max(Math.round(w), 1), wide - left), Math.min(Math.max(Math.round(h), 1), high - top)];
  }

  function rest(wait) {
    clearTimeout(resting);
    resting = setTimeout(() => {
      const now = rounded();
      tell(t("crop.said", { x: now[0], y: now[1], w: now[2], h: now[3] }));
      changed(now);
    }, wait);
  }

  function point(event) {
    const seen = layer.getBoundingClientRect();
    return [
      within(((event.clientX - seen.left) / seen.width) * wide, 0, wide),
      within(((event.clientY - seen.top) / seen.height) * high, 0, high),
    ];
  }

  layer.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    layer.setPointerCapture(event.pointerId);
    const [px, py] = point(event);
    const { corner } = event.target.dataset;
    if (corner) drag = { fixed: [corner.includes("w") ? x + w : x, corner.includes("n") ? y + h : y] };
    else if (box.contains(event.target)) drag = { offset: [px - x, py - y] };
    else drag = { fixed: [px, py] };
    box.focus({ preventScroll: true });
    event.preventDefault();
  });
  layer.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [px, py] = point(event);
    if (drag.offset) [x, y] = [px - drag.offset[0], py - drag.offset[1]];
    else {
      const [fx, fy] = drag.fixed;
      [x, y, w, h] = [Math.min(fx, px), Math.min(fy, py), Math.abs(px - fx), Math.abs(py - fy)];
    }
    place();
  });
  const dropped = () => {
    if (!drag) return;
    drag = null;
    rest(0);
  };
  layer.addEventListener("pointerup", dropped);
  layer.addEventListener("pointercancel", dropped);
  box.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    if (event.shiftKey) {
      w += dx * STEP * wide;
      h += dy * STEP * high;
    } else {
      x += dx * STEP * wide;
      y += dy * STEP * high;
    }
    place();
    rest(500);
  });
  place();
  image.after(layer);
  rest(0);
  return {
    box,
    remove() {
      clearTimeout(resting);
      layer.remove();
    },
  };
}
