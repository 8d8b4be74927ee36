// The products in a photo: numbered boxes over it, and what looks like each. Loaded when it is first asked for.
import { question } from "./api.js";
import { address, picture } from "./cards.js";
import { button, element, tell } from "./dom.js";
import { t } from "./strings.js";

const MOST = 5;
const SHOWN = 6; // products for each

/**
 * Ask for the objects of a photo's `file` and lay their boxes over `image` (in a positioned parent). `chosen` is called
 * with an object's [x, y, w, h], `opened` with a product that is followed. `list` shows all objects with their products.
 */
export async function findObjects(image, file, { filter, chosen, opened, signal }) {
  const found = await question("/v1/objects", { file }, { k: SHOWN, most: MOST, filter }, { signal });
  const layer = element("div", { className: "objects", role: "group", "aria-label": t("objects.boxes") });
  const list = element("ol", { className: "object-list" });
  const buttons = [];

  function choose(place) {
    buttons.forEach((pair, other) => pair.forEach((one) => one.setAttribute("aria-pressed", String(other === place))));
    chosen(found.objects[place].box);
  }

  found.objects.forEach((thing, place) => {
    const [x, y, w, h] = thing.box;
    const number = place + 1;
    const name = thing.category?.label || t("objects.thing");
    const on = { click: () => choose(place) };
    const box = element("button", {
      type: "button", className: "object", "aria-pressed": "false", "aria-label": t("objects.one", { number, name }), on,
    }, element("span", { className: "number", textContent: String(number) }));
    Object.assign(box.style, {
      left: `${(100 * x) / found.width}%`, top: `${(100 * y) / found.height}%`,
      width: `${(100 * w) / found.width}%`, height: `${(100 * h) / found.height}%`,
    });
    const entry = button(name, { look: "object-name", "aria-pressed": "false", on },
      element("span", { className: "number", textContent: String(number) }));
    const thumbs = element("div", { className: "thumbs" }, ...thing.results.map((product) => element("a", {
      href: address(product.product_id), title: product.title || product.product_id, on: { click: () => opened(product, found.request_id) },
    }, picture(product.image_url, product.title || product.product_id, 160))));
    buttons.push([box, entry]);
    layer.append(box);
    list.append(element("li", {}, entry, thumbs));
  });
  if (found.objects.length) image.after(layer);
  tell(found.objects.length ? t("objects.found", { count: found.objects.length }) : t(`objects.${found.reason}`));
  return {
    list,
    said: found.objects.length ? "" : t(`objects.${found.reason}`),
    first: buttons[0]?.[0],
    remove() {
      layer.remove();
      list.remove();
    },
  };
}
