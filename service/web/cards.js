// Photos and cards of products.
import { ask, here } from "./api.js";
import { button, element } from "./dom.js";
import { lang, t } from "./strings.js";

export const address = (id) => `#/product/${encodeURIComponent(id)}`;

/** Where an <img> finds a photo of the service: its address, or its bytes where a key is needed, which <img> cannot send. */
async function source(url) {
  if (!url.startsWith("/") || !sessionStorage.getItem("key")) return here(url);
  return URL.createObjectURL(await (await ask(url)).blob());
}

export function picture(url, alt, width, options = {}) {
  const image = element("img", { alt, loading: "lazy", decoding: "async", ...options });
  const wanted = url.replace(/w=\d+/, `w=${width}`);
  if (!sessionStorage.getItem("key")) image.src = here(wanted);
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

/** A field of the page, or an attribute of that name. */
const field = (product, name) => product[name] ?? product.attributes?.[name];

function money(amount, currency) {
  try {
    return new Intl.NumberFormat(lang(), currency ? { style: "currency", currency } : {}).format(amount);
  } catch { // no currency that the browser knows
    return `${amount} ${currency}`;
  }
}

/** What it costs: of a group from the least to the greatest price. */
function price(product) {
  const { group } = product;
  const currency = field(product, "currency");
  const several = group && group.size > 1 && group.price_min !== null && group.price_min !== group.price_max;
  if (several) return t("price.range", { from: money(group.price_min, currency), to: money(group.price_max, currency) });
  const { sale_price: sale, price: regular } = product.attributes ?? {}; // a shop may have them as attributes
  const amount = product.current_price ?? sale ?? regular;
  return typeof amount === "number" ? money(amount, currency) : "";
}

/** Whether it cannot be bought: of a group none of its products. */
function isOut({ group, ...product }) {
  if (group) return group.in_stock === false;
  return field(product, "availability") === "out_of_stock" || field(product, "in_stock") === false;
}

/** What a shopper asks of a product: which variant, what it costs, whether it is there. */
function offer(product) {
  const variant = field(product, "variant");
  const others = (product.group?.size ?? 1) - 1;
  const kinds = [variant, others > 0 ? t(others === 1 ? "variants.one" : "variants.many", { count: others }) : ""].filter(Boolean);
  const stock = isOut(product) ? "out_of_stock" : field(product, "availability");
  const parts = [];
  if (kinds.length) parts.push(element("p", { className: "kind", textContent: kinds.join(" · ") }));
  const cost = price(product);
  if (cost) parts.push(element("p", { className: "price", textContent: cost }));
  if (["out_of_stock", "preorder", "backorder"].includes(stock)) {
    parts.push(element("p", { className: "stock", textContent: t(`stock.${stock}`) }));
  }
  return parts;
}

/** The product's page in the shop, where it is known. */
function shopLink(product, name) {
  const url = field(product, "url");
  if (typeof url !== "string" || !/^https?:\/\//i.test(url)) return null;
  return element("a", {
    className: "button shop", href: url, target: "_blank", rel: "noopener noreferrer",
    textContent: t("shop.open"), "aria-label": t("shop.open-of", { name }),
  });
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
  words.append(...offer(product));
  words.append(element("p", { className: "more", textContent: t("more-like-this") }));
  const link = element("a", { className: isOut(product) ? "card out" : "card", href: address(product.product_id), data: { id: product.product_id } }, shot, words);
  if (opened) link.addEventListener("click", () => opened(product));
  const item = element("li", {}, link);
  if (why) {
    item.append(button(t("why"), {
      look: "why", "aria-label": t("why.of", { name }), "aria-haspopup": "dialog", on: { click: () => why(product) },
    }));
  }
  const shop = shopLink(product, name);
  if (shop) item.append(shop);
  return item;
}
