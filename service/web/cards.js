// Photos and cards of products.
import { ask } from "./api.js";
import { button, element } from "./dom.js";
import { t } from "./strings.js";

export const address = (id) => `#/product/${encodeURIComponent(id)}`;

/** Where an <img> finds a photo of the service: its address, or its bytes where a key is needed, which <img> cannot send. */
async function source(url) {
  if (!url.startsWith("/") || !sessionStorage.getItem("key")) return url;
  return URL.createObjectURL(await (await ask(url)).blob());
}

export function picture(url, alt, width, options = {}) {
  const image = element("img", { alt, loading: "lazy", decoding: "async", ...options });
  const wanted = url.replace(/w=\d+/, `w=${width}`);
  if (!sessionStorage.getItem("key")) image.src = wanted;
  else {
    image.loading = "eager"; // a lazy image whose bytes are freed after loading would never show
    source(wanted).then((found) => {
      image.onload = () => URL.revokeObjectURL(found);
      image.src = found;
    }).catch(() => {});
  }
  return image;
}

/** A loaded image, to be drawn. */
export async function load(url, width = 640) {
  const image = new Image();
  image.src = await source(url.replace(/w=\d+/, `w=${width}`));
  await image.decode();
  return image;
}

/** One product; `why` is called with it where similarity can be explained, `opened` when it is followed. */
export function card(product, { why = null, opened = null } = {}) {
  const url = product.image_url || product.images?.[0]?.image_url || "";
  const shot = element("div", { className: "photo" });
  if (url) shot.append(picture(url, "", 320));
  if (product.score !== undefined) {
    shot.append(element("span", { className: "score", title: t("score.title") },
      element("span", { className: "sr-only", textContent: `${t("score.said")} ` }), product.score.toFixed(2)));
  }
  const name = product.title || product.product_id;
  const words = element("div", { className: "words" }, element("p", { className: "title", textContent: name }));
  const path = product.category_path || [];
  if (path.length) words.append(element("p", { className: "kind", textContent: path.at(-1), title: path.join(" > ") }));
  words.append(element("p", { className: "more", textContent: t("more-like-this") }));
  const link = element("a", { className: "card", href: address(product.product_id), data: { id: product.product_id } }, shot, words);
  if (opened) link.addEventListener("click", () => opened(product));
  const item = element("li", {}, link);
  if (why) {
    item.append(button(t("why"), {
      look: "why", "aria-label": t("why.of", { name }), "aria-haspopup": "dialog", on: { click: () => why(product) },
    }));
  }
  return item;
}
