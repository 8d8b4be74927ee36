// The review queue: listings that ask for a person, each with its evidence, to be approved or rejected with a reason;
// a decision can be undone. Keys, while the focus is nowhere else: A approves, R goes to the reason.
import { ask, json, post } from "./api.js";
import { tabs } from "./check.js";
import { bars, button, complain, element, heading, hush, percent, tell } from "./dom.js";
import { stranger } from "./facts.js";
import { t, words } from "./strings.js";
import { banner, photoReview } from "./verdict.js";

const STATES = ["open", "approved", "rejected"];
const LEAST_JUDGED = 20;

export function mount(root) {
  let stop = new AbortController();
  let state = "open";
  let after = null;
  const choices = element("div", { className: "choices", role: "group", "aria-label": t("queue.state") },
    ...STATES.map((name) => button(t(`queue.${name}`), { data: { state: name }, on: { click: () => { state = name; fetchAll(); } } })));
  const list = element("ul", { className: "reviews" });
  const empty = element("p", { className: "muted", hidden: true });
  const more = button(t("more"), { look: "load-more", hidden: true, on: { click: () => page() } });
  const precision = element("div", { className: "tiles" });
  root.append(tabs("#/queue"), heading(t("queue.title")), element("p", { className: "lead", textContent: t("queue.lead") }),
    element("p", { className: "muted for-mouse keys", textContent: t("queue.keys") }), choices, list, empty, more, precision);

  function fetchAll() {
    stop.abort();
    stop = new AbortController();
    after = null;
    list.replaceChildren();
    for (const choice of choices.children) choice.setAttribute("aria-pressed", String(choice.dataset.state === state));
    return page();
  }

  async function page() {
    hush();
    const query = new URLSearchParams({ state, limit: "12", ...(after ? { after } : {}) });
    const { signal } = stop;
    try {
      const found = await json(`/v1/reviews?${query}`, { signal });
      after = found.next_after;
      more.hidden = !after;
      list.append(...found.reviews.map(entry));
      empty.hidden = list.children.length > 0;
      empty.textContent = t(`queue.none-${state}`);
      for (const choice of choices.children) {
        choice.textContent = `${t(`queue.${choice.dataset.state}`)} (${found.counts[choice.dataset.state] ?? 0})`;
      }
      precision.replaceChildren(...tiles(found.precision));
    } catch (error) {
      complain(error, { text: t("again"), action: fetchAll });
    }
  }

  function tiles({ tags, policies }) {
    const tile = (label, value, of) => element("div", { className: "tile" },
      element("p", { className: "muted", textContent: label }),
      element("p", { className: "value", textContent: value === null ? "–" : percent(value) }),
      element("p", { className: "muted", textContent: t("queue.judged", { count: of }) }));
    // Of a few nothing can be told.
    const all = [
      [t("queue.tag-precision"), tags.precision, tags.accepted + tags.rejected],
      ...Object.entries(policies).map(([policy, counts]) =>
        [t("queue.policy-precision", { policy: words(policy) }), counts.precision, counts.rejected + counts.approved]),
    ];
    return all.filter(([, , count]) => count >= LEAST_JUDGED).map((entry) => tile(...entry));
  }

  function entry(queued) {
    const { review } = queued;
    const place = element("div");
    const turn = async (number) => {
      const image = element("img", { alt: t("queue.photo", { number: number + 1 }) });
      place.replaceChildren(photoReview(review.photos[number], image, review.duplicates_complete));
      try {
        // By fetch: an <img> sends no key, and one that is gone shall say so.
        const url = URL.createObjectURL(await (await ask(`/v1/reviews/${queued.review_id}/photos/${number}`, { signal: stop.signal })).blob());
        image.onload = () => URL.revokeObjectURL(url);
        image.src = url;
      } catch (error) {
        if (error.name !== "AbortError") image.replaceWith(element("p", { className: "muted no-preview", textContent: t("queue.no-preview") }));
      }
    };
    const photos = element("div", { className: "choices", hidden: review.photos.length < 2 },
      ...review.photos.map((_, number) => button(t("check.photo", { number: number + 1 }), { on: { click: () => turn(number) } })));
    turn(0);
    return element("li", { className: "queued", tabIndex: -1 },
      element("div", { className: "listing" },
        element("h2", { textContent: queued.title || queued.external_id || t("queue.nameless") }),
        element("p", { className: "muted" }, ...called(queued), t("queue.since", { at: moment(queued.opened) }))),
      banner(review, { means: false }), photos, place,
      review.unknown ? stranger(review)
        : review.categories.length ? element("details", {}, element("summary", { textContent: t("category") }), element("ol", { className: "bars" }, ...bars(review.categories))) : null,
      queued.decided ? decided(queued) : decision(queued));
  }

  // Its id where it comes from, with a link where it is a product of the catalog.
  function called(queued) {
    const id = queued.external_id || queued.product_id;
    if (!id) return [];
    const name = queued.product_id
      ? element("a", { href: `#/product/${encodeURIComponent(queued.product_id)}`, textContent: id })
      : element("span", { textContent: id });
    return [name, " · "];
  }

  function decided(queued) {
    const { by, reason } = queued.decided;
    const undo = button(t("queue.undo"), { "aria-label": t("queue.undo-of", { name: queued.title || queued.external_id || t("queue.nameless") }), on: { click: async () => {
      hush();
      undo.disabled = true;
      try {
        const now = await post(`/v1/reviews/${encodeURIComponent(queued.review_id)}:undo?entry=${queued.decided.entry}`);
        const row = decision(now);
        part.replaceWith(row);
        row.closest("li")?.focus();
        tell(t("queue.undone"));
      } catch (error) {
        undo.disabled = false;
        complain(error, error.status === 409 ? { text: t("queue.reload"), action: fetchAll } : null);
      }
    } } });
    const part = element("div", { className: `decided ${queued.state}` },
      element("p", {}, element("strong", { textContent: by ? t(`queue.${queued.state}-by`, { by }) : t(`queue.${queued.state}`) }), reason ? `: ${reason}` : ""), undo);
    return part;
  }

  function decision(queued) {
    const name = `reason-${queued.review_id}`;
    const why = element("input", { id: name, maxLength: 2000, autocomplete: "off", "aria-describedby": `${name}-asked` });
    const asked = element("p", { id: `${name}-asked`, className: "wrong", hidden: true, textContent: t("queue.reason-asked") });
    const decide = (outcome) => async () => {
      hush();
      asked.hidden = outcome !== "reject" || why.value.trim() !== "";
      if (!asked.hidden) {
        why.focus();
        return;
      }
      choices_.forEach((choice) => { choice.disabled = true; });
      try {
        const now = await post(`/v1/reviews/${encodeURIComponent(queued.review_id)}:decide`, { decision: outcome, reason: why.value });
        const item = row.closest("li");
        row.replaceWith(decided(now));
        tell(t(`queue.${now.state}`));
        current(item)?.focus();
      } catch (error) {
        choices_.forEach((choice) => { choice.disabled = false; });
        // Someone else was faster: the list is what is true now.
        complain(error, error.status === 409 ? { text: t("queue.reload"), action: fetchAll } : null);
      }
    };
    const choices_ = [
      button(t("queue.approve"), { data: { key: "a" }, "aria-keyshortcuts": "A", on: { click: decide("approve") } }),
      button(t("queue.reject"), { look: "danger", data: { key: "r" }, "aria-keyshortcuts": "R", on: { click: decide("reject") } }),
    ];
    why.addEventListener("keydown", (event) => { if (event.key === "Enter" && why.value.trim()) decide("reject")(); });
    const row = element("div", { className: "decide" }, element("label", { htmlFor: name, textContent: t("queue.reason") }), why, ...choices_, asked);
    return row;
  }

  /** The review that keys are about: the one with the focus, or the next that waits. */
  function current(from = document.activeElement?.closest?.("li.queued")) {
    const waiting = [...list.children].filter((item) => item.querySelector(".decide"));
    if (!from) return waiting[0];
    return waiting.find((item) => item === from) ?? waiting.find((item) => from.compareDocumentPosition(item) & Node.DOCUMENT_POSITION_FOLLOWING) ?? waiting[0];
  }

  function keyed(event) {
    const at = document.activeElement;
    if (at !== document.body && !root.contains(at)) return;
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || at.closest("input, textarea, select")) return;
    const item = current();
    const choice = item?.querySelector(`.decide [data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!choice || choice.disabled) return;
    event.preventDefault();
    item.scrollIntoView({ block: "nearest" });
    choice.click();
  }

  const moment = (text) => {
    const at = new Date(text);
    return Number.isNaN(at.getTime()) ? text : at.toLocaleString(document.documentElement.lang);
  };

  return {
    show() {
      document.title = `${t("queue.title")} · Catalens`;
      document.addEventListener("keydown", keyed);
      fetchAll();
    },
    leave() {
      stop.abort();
      document.removeEventListener("keydown", keyed);
    },
  };
}
