"use strict";
// Tables: a click on a heading sorts by it; numbers start with the largest.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  [...table.tHead.rows[0].cells].forEach((head, column) => head.addEventListener("click", () => {
    const numeric = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : numeric;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
    });
    body.append(...rows);
  }));
}
// Confusion matrix: the labels of the square under the pointer light up.
const matrix = document.querySelector(".confusion");
matrix?.addEventListener("pointerover", (event) => {
  for (const text of matrix.querySelectorAll(".lit")) text.classList.remove("lit");
  const cell = event.target.closest("g[data-row]");
  if (!cell) return;
  matrix.querySelector(`text[data-row="${cell.dataset.row}"]`).classList.add("lit");
  matrix.querySelector(`text[data-column="${cell.dataset.column}"]`).classList.add("lit");
});
// Map: zoom, move, the photo under the pointer, and photos instead of dots where there is room for them.
const frame = document.querySelector(".map");
if (frame) {
  const { points, columns, side } = JSON.parse(document.getElementById("map-data").textContent);
  const sheet = document.getElementById("map-sheet");
  const svg = frame.querySelector("svg");
  const layer = frame.querySelector(":scope > canvas");
  const tip = frame.querySelector(".tip");
  const dots = [...svg.querySelectorAll("circle")];
  const places = points.map((point) => [15 + 970 * point.x, 15 + 670 * point.y]);
  const toggle = frame.querySelector("[data-photos]");
  let view = { x: 0, y: 0, zoom: 1 }, photos = false, drag = null;

  const tile = (context, index, x, y, size) =>
    context.drawImage(sheet, (index % columns) * side, Math.floor(index / columns) * side, side, side, x, y, size, size);
  const show = () => {
    const [width, height] = [1000 / view.zoom, 700 / view.zoom];
    view.x = Math.min(Math.max(view.x, 0), 1000 - width);
    view.y = Math.min(Math.max(view.y, 0), 700 - height);
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${width} ${height}`);
    for (const dot of dots) dot.setAttribute("r", 4 / view.zoom ** 0.7);
    const ratio = window.devicePixelRatio || 1;
    layer.width = frame.clientWidth * ratio;
    layer.height = frame.clientHeight * ratio;
    const visible = photos || view.zoom >= 4;
    toggle.setAttribute("aria-pressed", String(visible));
    if (!visible) return;
    const context = layer.getContext("2d");
    const scale = (layer.width / 1000) * view.zoom;
    const size = Math.min(side, 20 + 6 * view.zoom) * ratio;
    places.forEach(([px, py], index) => {
      const [x, y] = [(px - view.x) * scale - size / 2, (py - view.y) * scale - size / 2];
      if (x > -size && y > -size && x < layer.width && y < layer.height) tile(context, index, x, y, size);
    });
  };
  const zoom = (factor, cx, cy) => {
    const next = Math.min(Math.max(view.zoom * factor, 1), 24);
    view.x += cx / view.zoom - cx / next;
    view.y += cy / view.zoom - cy / next;
    view.zoom = next;
    show();
  };
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * 1000, ((event.clientY - box.top) / box.height) * 700];
  };
  const point = (event) => {
    const [cx, cy] = at(event);
    const [x, y] = [view.x + cx / view.zoom, view.y + cy / view.zoom];
    let best = -1, least = (14 / view.zoom) ** 2;
    places.forEach(([px, py], index) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [index, distance];
    });
    tip.hidden = best < 0;
    if (best < 0) return;
    const found = points[best];
    const context = tip.querySelector("canvas").getContext("2d");
    context.clearRect(0, 0, 160, 160);
    tile(context, best, 0, 0, 160);
    tip.querySelector("p").textContent = `${found.title}\n${found.label}` + (found.guess ? `\ntaken for ${found.guess}` : "");
    const box = frame.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    tip.style.left = `${left + (left > box.width - 220 ? -208 : 16)}px`;
    tip.style.top = `${Math.max(8, Math.min(top - 60, box.height - tip.offsetHeight - 8))}px`;
  };
  frame.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...at(event));
  }, { passive: false });
  svg.addEventListener("pointerdown", (event) => { drag = { from: at(event), x: view.x, y: view.y }; svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointerup", () => { drag = null; });
  svg.addEventListener("pointermove", (event) => {
    if (!drag) return point(event);
    const [cx, cy] = at(event);
    view.x = drag.x - (cx - drag.from[0]) / view.zoom;
    view.y = drag.y - (cy - drag.from[1]) / view.zoom;
    tip.hidden = true;
    show();
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  for (const button of frame.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => zoom(Number(button.dataset.zoom), 500, 350));
  toggle.addEventListener("click", () => { photos = !photos; show(); });
  window.addEventListener("resize", show);
}
