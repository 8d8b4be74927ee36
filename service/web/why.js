// Why two photos are similar: what in each of them speaks for it, as a pair of heat maps, block by block.
import { json, question } from "./api.js";
import { load } from "./cards.js";
import { button, element } from "./dom.js";
import { t } from "./strings.js";

const SIDE = 460; // px of a drawing

/** The name of an embedding's block in the page's language. */
export const blockName = (block) => {
  const key = `block.${block}`;
  const found = t(key);
  return found === key ? block : found;
};

/** Show the dialog for `product` beside `subject`: {file, crop, url} or {id}. */
export async function showWhy(subject, product) {
  const name = product.title || product.product_id;
  const body = element("div", { className: "why-body" }, element("p", { className: "muted", textContent: t("why.wait") }));
  const dialog = element("dialog", { className: "wide", "aria-labelledby": "why-title", on: { close: () => { stop.abort(); dialog.remove(); } } },
    element("h2", { id: "why-title", textContent: t("why.of", { name }) }), body,
    button(t("close"), { on: { click: () => dialog.close() } }));
  const stop = new AbortController();
  document.body.append(dialog);
  dialog.showModal();
  try {
    const first = subject.id === undefined ? null : await stored(subject.id, stop.signal);
    const second = await stored(product.product_id, stop.signal);
    const found = await question("/v1/explain", subject, { with: { product_id: product.product_id } }, { signal: stop.signal });
    const left = first ? await load(first.url) : await load(subject.url);
    const size = first ? first.size : subject.crop ? subject.crop.slice(2) : [left.naturalWidth, left.naturalHeight];
    draw(body, found.maps, [
      { image: left, size, crop: first ? null : subject.crop, name: t("why.yours") },
      { image: await load(second.url), size: second.size, crop: null, name },
    ]);
  } catch (error) {
    if (error.name !== "AbortError") body.replaceChildren(element("p", { className: "wrong", role: "alert", textContent: error.message || t("why.none") }));
  }
}

async function stored(id, signal) {
  const product = await json(`/v1/products/${encodeURIComponent(id)}`, { signal });
  const shot = product.images[0];
  return { url: shot.image_url, size: [shot.width, shot.height] };
}

function draw(body, maps, sides) {
  const blocks = [...new Set(maps.map((map) => map.block))];
  const figures = element("div", { className: "pair" });
  const chosen = (block) => {
    const shown = ["image", "with"].map((photo) => maps.find((map) => map.block === block && map.photo === photo));
    figures.replaceChildren(...shown.map((map, place) => element("figure", {},
      heat(sides[place], map), element("figcaption", { textContent: sides[place].name }))));
  };
  const choices = element("fieldset", { className: "choices" }, element("legend", { textContent: t("why.part") }),
    ...blocks.map((block, place) => {
      const score = maps.find((map) => map.block === block).score;
      return element("label", {},
        element("input", { type: "radio", name: "block", checked: !place, on: { change: () => chosen(block) } }),
        `${block === null ? t("why.all") : blockName(block)} `, element("span", { className: "muted", textContent: score.toFixed(2) }));
    }));
  chosen(blocks[0]);
  body.replaceChildren(choices, figures, element("p", { className: "muted", textContent: t("why.help") }));
}

/** The photo (or the chosen part of it) with the map over it; the map's box is in px of the upright photo. */
function heat({ image, size, crop, name }, map) {
  const scale = SIDE / Math.max(...size);
  const canvas = element("canvas", {
    width: Math.max(1, Math.round(size[0] * scale)), height: Math.max(1, Math.round(size[1] * scale)),
    role: "img", "aria-label": t("why.drawn", { name }),
  });
  const pen = canvas.getContext("2d");
  const from = crop || [0, 0, image.naturalWidth, image.naturalHeight];
  pen.drawImage(image, ...from, 0, 0, canvas.width, canvas.height);
  const rows = map.heat.length;
  const columns = map.heat[0].length;
  const small = element("canvas", { width: columns, height: rows });
  const ink = small.getContext("2d");
  const pixels = ink.createImageData(columns, rows);
  map.heat.flat().forEach((value, place) => pixels.data.set([255, 80 + 120 * value, 0, Math.round(210 * Math.min(value, 1))], place * 4));
  ink.putImageData(pixels, 0, 0);
  pen.fillStyle = "rgb(8 16 20 / 38%)"; // so that what speaks for it stands out
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const [x, y, w, h] = map.box.map((value) => value * scale);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, x, y, w, h);
  return canvas;
}
