// Evidence on a photo: boxes in px of the upright photo, each with the number of what it belongs to in the list.
import { element } from "./dom.js";

/** A photo of `width` x `height` px with `marks` [{box, number, level, label}] drawn over it. */
export function evidence(image, { width, height }, marks) {
  const shot = element("div", { className: "shot" }, image);
  for (const { box, number, level, label } of marks) {
    const [x, y, w, h] = box;
    const mark = element("span", { className: `boxed ${level}`, title: label, "aria-hidden": "true", data: { number } },
      element("span", { className: "number", textContent: String(number) }));
    Object.assign(mark.style, {
      left: `${(100 * x) / width}%`, top: `${(100 * y) / height}%`, width: `${(100 * w) / width}%`, height: `${(100 * h) / height}%`,
    });
    shot.append(mark);
  }
  return shot;
}

/** Point out the mark of the entry that is looked at. */
export function linked(list, shot) {
  const point = (number) => {
    for (const mark of shot.querySelectorAll(".boxed")) mark.classList.toggle("pointed", mark.dataset.number === number);
  };
  for (const item of list.querySelectorAll("[data-number]")) {
    item.addEventListener("pointerenter", () => point(item.dataset.number));
    item.addEventListener("pointerleave", () => point(""));
    item.addEventListener("focusin", () => point(item.dataset.number));
  }
}

export const isBox = (box) => Array.isArray(box) && box.length === 4 && box.every(Number.isFinite) && box[2] > 0 && box[3] > 0;
