// The review queue: listings that ask for a person, each with its evidence, to be approved or rejected with a reason.
import { ask, json, post } from "./api.js";
import { tabs } from "./check.js";
import { bars, button, complain, element, heading, hush, percent, tell } from "./dom.js";
import { t, words } from "./strings.js";
import { banner, photoReview } from "./verdict.js";

const STATES = ["open", "approved", "rejected"];

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
    precision, choices, list, empty, more);

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
    return [
      tile(t("queue.tag-precision"), tags.precision, tags.accepted + tags.rejected),
      ...Object.entries(policies).map(([policy, counts]) =>
        tile(t("queue.policy-precision", { policy: words(policy) }), counts.precision, counts.rejected + counts.approved)),
    ];
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
    const opened = new Date(queued.opened);
    return element("li", { className: "queued" },
      element("p", { className: "muted" }, Number.isNaN(opened.getTime()) ? queued.opened : opened.toLocaleString(document.documentElement.lang)),
      banner(review, { means: false }), photos, place,
      review.categories.length ? element("details", {}, element("summary", { textContent: t("category") }), element("ol", { className: "bars" }, ...bars(review.categories))) : null,
      queued.decided ? decided(queued) : decision(queued));
  }

  const decided = (queued) => element("p", { className: `decided ${queued.state}` },
    element("strong", { textContent: t(`queue.${queued.state}`) }), queued.decided.reason ? `: ${queued.decided.reason}` : "");

  function decision(queued) {
    const name = `reason-${queued.review_id}`;
    const why = element("input", { id: name, maxLength: 2000, autocomplete: "off" });
    const decide = (outcome) => async () => {
      hush();
      choices_.forEach((choice) => { choice.disabled = true; });
      try {
        const now = await post(`/v1/reviews/${encodeURIComponent(queued.review_id)}:decide`, { decision: outcome, reason: why.value });
        row.replaceWith(decided(now));
        tell(t(`queue.${now.state}`));
      } catch (error) {
        choices_.forEach((choice) => { choice.disabled = false; });
        // Someone else was faster: the list is what is true now.
        complain(error, error.status === 409 ? { text: t("queue.reload"), action: fetchAll } : null);
      }
    };
    const choices_ = [
      button(t("queue.approve"), { on: { click: decide("approve") } }),
      button(t("queue.reject"), { look: "danger", on: { click: decide("reject") } }),
    ];
    const row = element("div", { className: "decide" }, element("label", { htmlFor: name, textContent: t("queue.reason") }), why, ...choices_);
    return row;
  }

  return {
    show() {
      document.title = `${t("queue.title")} · Catalens`;
      fetchAll();
    },
    leave() { stop.abort(); },
  };
}
