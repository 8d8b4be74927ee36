// What a dry run of an import found: columns and their meanings, products as they will be stored, what is odd.
import { element, icon, ICONS } from "./dom.js";
import { lang, t } from "./strings.js";

/** A table of columns; `choose` is called with a column and the meaning that it was given, or "" for the one found. */
export function columnTable(columns, meanings, changes, choose) {
  const head = ["import.column", "import.example", "import.meaning"].map((key) => element("th", { scope: "col", textContent: t(key) }));
  const rows = columns.map(({ column, meaning, becomes, example }) => {
    const given = column in changes ? changes[column] : meaning || "";
    const select = element("select", { "aria-label": t("import.meaning-of", { column }) },
      meaning ? null : element("option", { value: "", textContent: t("import.as-found", { becomes }), selected: !given }),
      ...meanings.map((one) => element("option", { value: one, textContent: t(`role.${one}`), selected: one === given })));
    select.addEventListener("change", () => {
      choose(column, select.value);
      select.classList.add("changed");
    });
    if (column in changes) select.classList.add("changed");
    return element("tr", {}, element("th", { scope: "row", textContent: column }),
      element("td", { className: "example", textContent: example || "" }), element("td", {}, select));
  });
  return element("div", { className: "scroll", tabIndex: 0, role: "group", "aria-label": t("import.columns") },
    element("table", { className: "columns" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
}

function money(amount, currency) {
  try {
    return new Intl.NumberFormat(lang(), currency ? { style: "currency", currency } : { minimumFractionDigits: 2 }).format(amount);
  } catch { // no currency that the browser knows
    return `${amount} ${currency}`;
  }
}

const text = (value) => (Array.isArray(value) ? value.join(", ") : String(value));
const plain = (code) => String(code).replaceAll("_", " ");
const last = (source) => source.split(/[?#]/)[0].split(/[\\/]/).pop() || source;

/** Products of the feed, as they will be stored. */
export function sampleCards(samples) {
  return element("ul", { className: "samples" }, ...samples.map((sample) => {
    const { price, sale_price: sale, currency, ...fields } = sample.fields;
    const facts = [
      [t("role.id"), sample.product_id],
      [t("role.category"), sample.category],
      [t("role.price"), price === undefined ? "" : money(price, currency)],
      [t("role.sale_price"), sale === undefined ? "" : money(sale, currency)],
      [t("role.tags"), sample.tags.join(", ")],
      ...Object.entries(fields).map(([name, value]) => [plain(t(`role.${name}`).replace(/^role\./, "")), name === "availability" ? plain(value) : value]),
      ...Object.entries(sample.attributes).map(([name, value]) => [plain(name), value]),
    ].filter(([, value]) => value !== null && value !== undefined && value !== "" && typeof value !== "object" || Array.isArray(value));
    const photos = sample.photos.length ? sample.photos.map(last).join(", ") : t("import.no-photo");
    return element("li", { className: "sample" },
      element("p", { className: "title", textContent: sample.title || sample.product_id }),
      element("p", { className: "muted photo-names" }, icon(ICONS.photo), photos),
      element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: text(value) })])));
  }));
}

/** How many products are new, changed and gone. */
export function tiles(result) {
  const shown = [["new", result.added], ["changed", result.replaced], ["same", result.unchanged], ["gone", result.deleted], ["left-out", result.counts.skipped]];
  return element("div", { className: "tiles" }, ...shown.map(([name, count]) => element("div", { className: "tile" },
    element("p", { className: "muted", textContent: t(`import.${name}`) }), element("p", { className: "value", textContent: (count ?? 0).toLocaleString() }))));
}

/** What was left out and what is odd, by kind: a count, the first of its kind, more lines to unfold. */
export function noticeList(result) {
  const lists = [["import.left-out-why", result.skipped_by_kind], ["import.warnings", result.warnings]];
  return lists.filter(([, kinds]) => kinds?.length).flatMap(([key, kinds]) => [
    element("h4", { textContent: t(key) }),
    element("ul", { className: "finding-list" }, ...kinds.map((kind) => {
      const first = element("p", {}, element("strong", { textContent: `${kind.count.toLocaleString()} × ` }), `${kind.where}: ${kind.reason}`);
      const more = (kind.lines || []).slice(1);
      return element("li", { className: "finding warning" }, first, more.length
        ? element("details", {}, element("summary", { textContent: t("import.more-lines") }),
          element("ul", {}, ...more.map((line) => element("li", { className: "muted", textContent: `${line.where}: ${line.reason}` })))) : null);
    })),
  ]);
}
