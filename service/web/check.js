// Check a listing: photos of a new product go in; is it fit to publish, and what would make it better.
import { Problem, feedback, form, json } from "./api.js";
import { ICONS, bars, button, complain, element, heading, hush, icon, intake, percent, tell } from "./dom.js";
import { stranger } from "./facts.js";
import { t } from "./strings.js";
import { banner, photoReview } from "./verdict.js";

const MOST = 16; // photos of one listing
const PROFILES = ["", "studio", "marketplace"];
let photos = []; // [{file, url}]; the listing outlives a look at another view
let profile = "";
let answer = null;

/** The two halves of the view as links; `counted` of the queue where it is known. */
export const tabs = (now) => element("nav", { className: "tabs", "aria-label": t("check.tabs") },
  ...[["#/check", "check.new"], ["#/queue", "check.queue"]].map(([href, key]) =>
    element("a", { href, textContent: t(key), "aria-current": href === now ? "page" : null })));

export function mount(root) {
  let stop = new AbortController();
  const chosen = element("ul", { className: "chosen", "aria-label": t("check.chosen") });
  const strict = element("select", { id: "profile", on: { change: () => { profile = strict.value; } } },
    ...PROFILES.map((value) => element("option", { value, selected: value === profile, textContent: t(`profile.${value || "usual"}`) })));
  const run = button(t("check.run"), { quiet: false, on: { click: check } });
  const clear = button(t("check.clear"), { on: { click: () => { forget(); draw(); } } });
  const bar = element("div", { className: "check-bar" },
    element("label", { htmlFor: "profile", textContent: t("check.profile") }), strict, run, clear);
  const result = element("div", { className: "result", "aria-live": "off" });
  root.append(tabs("#/check"), heading(t("check.title")), element("p", { className: "lead", textContent: t("check.lead") }),
    intake({ take, multiple: true, text: t("drop.several"), or: t("drop.or-several"), hint: t("drop.formats") }), chosen, bar, result);
  draw();
  if (answer) show();

  function forget() {
    stop.abort();
    photos.forEach(({ url }) => URL.revokeObjectURL(url));
    photos = [];
    answer = null;
    hush();
  }

  function take(files) {
    if (answer) forget(); // what is dropped on a finished check is a new listing
    const room = MOST - photos.length;
    photos.push(...files.slice(0, room).map((file) => ({ file, url: URL.createObjectURL(file) })));
    if (files.length > room) complain(new Error(t("check.most", { count: MOST })));
    draw();
    run.focus();
  }

  function draw() {
    if (!answer) result.replaceChildren();
    bar.hidden = photos.length === 0;
    chosen.replaceChildren(...photos.map((photo, place) => element("li", {},
      element("img", { src: photo.url, alt: photo.file.name, on: { error: (event) => event.target.replaceWith(photo.file.name) } }),
      button("", { look: "remove", "aria-label": t("check.remove", { name: photo.file.name }), on: { click: () => {
        URL.revokeObjectURL(photo.url);
        photos.splice(place, 1);
        answer = null;
        draw();
      } } }, icon(ICONS.no)))));
  }

  async function check() {
    stop.abort();
    stop = new AbortController();
    hush();
    run.disabled = true;
    result.replaceChildren(element("p", { className: "muted", textContent: t("check.wait") }));
    tell(t("check.wait"));
    try {
      const body = form(photos.map(({ file }) => ["images", file]), { profile: profile || undefined });
      answer = await json("/v1/review", { method: "POST", body, signal: stop.signal });
      show();
      result.querySelector(".verdict h2").focus();
    } catch (error) {
      result.replaceChildren();
      const again = { text: t("again"), action: check };
      complain(error instanceof Problem || error.name === "AbortError" ? error : new Error(String(error.message)), again);
    } finally {
      run.disabled = false;
    }
  }

  function show() {
    const several = answer.photos.length > 1;
    const place = element("div");
    const turn = (number) => {
      const image = element("img", { src: photos[number].url, alt: photos[number].file.name });
      place.replaceChildren(photoReview(answer.photos[number], image, answer.duplicates_complete));
      for (const [at, choice] of [...choices.children].entries()) choice.setAttribute("aria-pressed", String(at === number));
    };
    const choices = element("div", { className: "choices", role: "group", "aria-label": t("check.photos"), hidden: !several },
      ...answer.photos.map((_, number) => button(t("check.photo", { number: number + 1 }), { on: { click: () => turn(number) } })));
    turn(0);
    result.replaceChildren(banner(answer),
      ...(answer.review_id ? [element("p", { className: "muted" }, t("check.waits"), " ", element("a", { href: "#/queue", textContent: t("check.to-queue") }))] : []),
      ...(answer.same_product === false ? [groups(answer.products)] : []),
      element("div", { className: "suggested" },
        element("section", {}, element("h3", { textContent: t("category") }),
          answer.unknown ? stranger(answer)
            : answer.categories.length ? element("ol", { className: "bars" }, ...bars(answer.categories))
              : element("p", { className: "muted", textContent: t("category.none") })),
        element("section", {}, element("h3", { textContent: t("tags") }),
          answer.nearest_kinds && answer.tags.length ? element("p", { className: "muted", textContent: t("tags.look") }) : null,
          answer.tags.length
            ? element("ul", { className: "judged" }, ...answer.tags.map(judged))
            : element("p", { className: "muted", textContent: t(answer.nearest_kinds ? "tags.unknown" : "tags.none") }))),
      choices, place);
  }

  function groups(products) {
    const named = products.map((group) => group.map((number) => number + 1).join(" + ")).join(" | ");
    return element("p", { className: "notice plain", textContent: t("check.different", { groups: named }) });
  }

  /** A suggested tag to be taken or refused, once: what people said is logged for good. */
  function judged(tag) {
    const said = element("span", { className: "muted" });
    const say = (outcome) => async () => {
      choices.forEach((choice) => { choice.disabled = true; });
      try {
        await feedback(answer.request_id, { [outcome]: [tag.tag] });
        tag.said = outcome;
        settle();
      } catch (error) {
        choices.forEach((choice) => { choice.disabled = false; });
        complain(error);
      }
    };
    const choices = [["accepted", ICONS.yes, "tag.accept"], ["rejected", ICONS.no, "tag.reject"]].map(([outcome, drawn, key]) =>
      button("", { look: `judge ${outcome}`, "aria-label": t(key, { tag: tag.tag }), title: t(key, { tag: tag.tag }), on: { click: say(outcome) } }, icon(drawn)));
    const item = element("li", {}, element("span", { textContent: tag.tag }), element("span", { className: "percent", textContent: percent(tag.confidence) }), ...choices, said);
    function settle() {
      if (!tag.said) return;
      choices.forEach((choice) => choice.remove());
      item.className = tag.said;
      said.textContent = t(`tag.${tag.said}`);
      tell(`${tag.tag}: ${said.textContent}`);
    }
    settle();
    return item;
  }

  return {
    show() { document.title = `${t("nav.check")} · Catalens`; },
    take,
    leave() { stop.abort(); },
  };
}
