// What a photo or a product is: its categories, and suggested tags with the products that speak for each.
import { json, question } from "./api.js";
import { address, picture } from "./cards.js";
import { bars, element, percent, waiting } from "./dom.js";
import { t } from "./strings.js";

/** What is said in place of a category: that the kind is not known, and which kinds are nearest. */
export function stranger(found) {
  const kinds = found.nearest_kinds || found.categories.slice(0, 3); // an older index version names categories all the same
  return element("div", { className: "stranger" }, element("p", { textContent: t("category.unknown") }),
    kinds.length ? element("p", { className: "muted" }, t("category.nearest"), ...kinds.flatMap((kind, place) => [place ? ", " : " ",
      element("a", { href: `#/words/${encodeURIComponent(kind.label)}`, title: kind.path.join(" > "), textContent: kind.label })])) : null);
}

/** Both sections; `cards()` gives the product cards on the page, `seen(id)` a result known by its id. */
export function facts({ cards, seen }) {
  const categories = element("ol", { className: "bars", id: "categories" });
  const noCategories = element("div", { className: "muted", hidden: true });
  const tags = element("ul", { className: "tags", id: "tags" });
  const noTags = element("p", { className: "muted", hidden: true });
  const supportTitle = element("p", { className: "muted", "aria-live": "polite" });
  const supporters = element("ul", { className: "thumbs", id: "supporters" });
  const support = element("div", { className: "support", id: "support", hidden: true }, supportTitle, supporters);
  const root = element("div", { className: "fact-list" },
    element("section", {}, element("h2", { textContent: t("category") }), categories, noCategories),
    element("section", {}, element("h2", { textContent: t("tags") }), tags, noTags, support));

  function hide() {
    support.hidden = true;
    for (const shown of tags.querySelectorAll(".tag")) {
      shown.setAttribute("aria-expanded", "false");
      delete shown.dataset.pressed;
    }
    for (const link of cards()) {
      link.classList.remove("supports");
      link.closest("ul").classList.remove("faded");
    }
  }

  function show(button, tag) {
    hide();
    button.setAttribute("aria-expanded", "true");
    support.hidden = false;
    supportTitle.textContent = t(tag.neighbours.length === 1 ? "support.one" : "support.many", { tag: tag.tag, count: tag.neighbours.length });
    const ids = new Set(tag.neighbours.map((near) => near.product_id));
    supporters.replaceChildren(...tag.neighbours.slice(0, 8).map(supporter));
    for (const link of cards()) {
      link.classList.toggle("supports", ids.has(link.dataset.id));
      link.closest("ul").classList.add("faded");
    }
  }

  function supporter(near) {
    const known = seen(near.product_id);
    const name = known?.title || near.product_id;
    const link = element("a", { href: address(near.product_id), title: `${name} (${near.score.toFixed(2)})` });
    if (known) link.append(picture(known.image_url, name, 160));
    else {
      json(`/v1/products/${encodeURIComponent(near.product_id)}`)
        .then((product) => link.replaceChildren(picture(product.images[0].image_url, product.title || name, 160)))
        .catch(() => { link.textContent = name; });
    }
    return element("li", {}, link);
  }

  root.addEventListener("pointerleave", () => { if (!tags.querySelector("[data-pressed]")) hide(); });
  root.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  function showCategories(found) {
    categories.replaceChildren(...(found.unknown ? [] : bars(found.categories)));
    noCategories.hidden = found.categories.length > 0 && !found.unknown;
    noCategories.replaceChildren(found.unknown ? stranger(found) : t("category.none"));
    return { unknown: Boolean(found.unknown), label: found.unknown ? null : found.categories[0]?.label ?? null };
  }

  function showTags(found) {
    tags.replaceChildren(...found.tags.map((tag) => {
      const made = element("button", {
        type: "button", className: "tag", "aria-expanded": "false", "aria-controls": "support",
      }, tag.tag, element("span", { className: "percent", textContent: percent(tag.confidence) }));
      // A pointer that hovers gets it at once; keyboard and touch by pressing.
      made.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") show(made, tag); });
      made.addEventListener("click", () => {
        if (made.getAttribute("aria-expanded") === "true" && made.dataset.pressed) hide();
        else {
          show(made, tag);
          made.dataset.pressed = "yes";
        }
      });
      return element("li", {}, made);
    }));
    const withheld = found.unknown && !found.categories?.length;
    noTags.hidden = found.tags.length > 0 && !withheld;
    noTags.textContent = t(!withheld ? "tags.none" : found.tags.length ? "tags.look" : "tags.unknown");
  }

  async function fillCategories(subject, options) {
    noCategories.hidden = true;
    try {
      return showCategories(await question("/v1/classify", subject, {}, options));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      categories.replaceChildren();
      noCategories.hidden = false;
      noCategories.textContent = error.code === "no-categories" ? t("category.none") : error.message;
      return null;
    }
  }

  async function fillTags(subject, options) {
    noTags.hidden = true;
    try {
      showTags(await question("/v1/tags", subject, {}, options));
    } catch (error) {
      if (error.name === "AbortError") throw error;
      tags.replaceChildren();
      noTags.hidden = false;
      noTags.textContent = error.message;
    }
  }

  return {
    root,
    wait() {
      hide();
      waiting(categories, 3);
      waiting(tags, 4);
    },
    /** Both, as `/v1/describe` says them; the label of the most probable category, and whether the kind is unknown. */
    show(found) {
      showTags(found);
      return showCategories(found);
    },
    /** Ask for both; as `show`, or null. */
    async fill(subject, options) {
      const [named] = await Promise.all([fillCategories(subject, options), fillTags(subject, options)]);
      return named;
    },
  };
}
