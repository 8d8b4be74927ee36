// A review as people read it: the verdict, what is wrong and how to mend it, what it repeats, what forbids it.
import { address, picture } from "./cards.js";
import { element, percent } from "./dom.js";
import { evidence, isBox, linked } from "./evidence.js";
import { lang, t, words } from "./strings.js";

/** The verdict with its reasons; `means`: also what follows from it. */
export function banner(review, { means = true } = {}) {
  return element("div", { className: `verdict ${review.verdict}` },
    element("h2", { tabIndex: -1, textContent: t(`verdict.${review.verdict}`) }),
    means ? element("p", { textContent: t(`verdict.${review.verdict}.means`) }) : null,
    review.reasons.length
      ? element("ul", { className: "reasons" }, ...review.reasons.map((code) => element("li", { textContent: reason(code) })))
      : null);
}

/** `quality:blurred` and the like in the page's language; a name the page does not know is shown as words. */
export function reason(code) {
  const [kind, ...rest] = code.split(":");
  const about = rest.join(":");
  const whole = t(`reason.${code}`);
  if (whole !== `reason.${code}`) return whole;
  return t(`reason.${kind}`) === `reason.${kind}` ? words(code) : t(`reason.${kind}`, { about: name(about) });
}

const name = (code) => {
  const known = t(`code.${code}`);
  return known === `code.${code}` ? words(code) : known;
};

/** One photo of a review beside what was found on it; `image` is an <img> of it in any size. */
export function photoReview(photo, image, complete = true) {
  const marks = [];
  let number = 0;
  const numbered = (boxes, level, label) => {
    const drawn = boxes.filter(isBox);
    if (!drawn.length) return null;
    number += 1;
    marks.push(...drawn.map((box) => ({ box, number, level, label })));
    return number;
  };
  const poor = photo.quality.findings.filter((finding) => finding.level !== "ok");
  const fine = photo.quality.findings.filter((finding) => finding.level === "ok");
  const alarms = photo.prohibited.filter((found) => found.decision !== "allow");
  const list = element("div", { className: "findings" },
    section(t("check.prohibited"), alarms.map((found) => alarm(found, numbered)), photo.prohibited.length ? t("check.allowed") : t("check.no-policies")),
    section(t("check.quality", { score: percent(photo.quality.score) }), poor.map((finding) => found(finding, numbered)), t("check.fine")),
    section(t("check.duplicates"), photo.duplicates.map(repeat), t(complete ? "check.no-duplicates" : "check.duplicates-wait")),
    photo.possible_duplicates ? section(t("check.possible"), photo.possible_duplicates.map(repeat)) : "");
  if (fine.length) {
    list.append(element("details", {}, element("summary", { textContent: t("check.fine-too", { count: fine.length }) }),
      element("p", { className: "muted", textContent: fine.map((finding) => name(finding.code)).join(", ") })));
  }
  const shot = evidence(image, photo, marks);
  linked(list, shot);
  return element("div", { className: "reviewed" }, element("div", { className: "figure" }, shot), list);
}

function section(title, items, otherwise) {
  return element("section", {}, element("h3", { textContent: title }),
    items.length ? element("ul", { className: "finding-list" }, ...items) : element("p", { className: "muted", textContent: otherwise }));
}

const badge = (number, level) => (number === null ? null : element("span", { className: `number ${level}`, "aria-hidden": "true", textContent: String(number) }));

function found(finding, numbered) {
  const number = numbered([finding.box], finding.level, name(finding.code));
  const more = finding.percentile === null || finding.percentile === undefined ? "" : ` · ${t("check.percentile", { share: percent(finding.percentile) })}`;
  return element("li", { className: `finding ${finding.level}`, data: number === null ? {} : { number } },
    element("p", {}, badge(number, finding.level), element("strong", { textContent: name(finding.code) }), " ",
      element("span", { className: "muted", textContent: `${t(`level.${finding.level}`)}${more}` })),
    element("p", { textContent: finding.advice[lang()] || finding.advice.en || "" }), numbers(finding.evidence));
}

function alarm(found_, numbered) {
  const number = numbered(found_.evidence.map((item) => item.box), found_.decision === "block" ? "fail" : "warning", found_.policy);
  return element("li", { className: `finding ${found_.decision === "block" ? "fail" : "warning"}`, data: number === null ? {} : { number } },
    element("p", {}, badge(number, found_.decision === "block" ? "fail" : "warning"), element("strong", { textContent: words(found_.policy) }), " ",
      element("span", { className: "muted", textContent: `${t(`decision.${found_.decision}`)} · ${found_.score.toFixed(2)}` })),
    ...found_.evidence.map(numbers));
}

/** The plain values of an evidence, as they are named there. */
function numbers(evidence_) {
  const plain = Object.entries(evidence_).filter(([key, value]) => key !== "photo" && ["number", "string", "boolean"].includes(typeof value));
  if (!plain.length) return null;
  return element("p", { className: "muted numbers", textContent: plain
    .map(([key, value]) => `${words(key)} ${typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(3) : value}`).join(" · ") });
}

function repeat(found_) {
  const known = found_.product_id !== null;
  const shown = element("span", { className: "thumb" }, known && found_.image_url ? picture(found_.image_url, "", 160) : null);
  const text = element("span", {}, element("strong", { textContent: t(`kind.${found_.kind}`) }), element("br"),
    known ? found_.product_id : t("check.erased"), " ", element("span", { className: "muted", textContent: found_.score.toFixed(2) }));
  return element("li", { className: "repeat" }, known
    ? element("a", { href: address(found_.product_id) }, shown, text)
    : element("span", { className: "gone" }, shown, text));
}
