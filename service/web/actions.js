// What was done and by whom: imports, batches, maps of categories, activations, decisions. Each can be undone, once it
// was said what that changes; afterwards, what stayed as it was and why.
import { json, post } from "./api.js";
import { button, complain, element, hush, tell } from "./dom.js";
import { counted } from "./outcome.js";
import { t } from "./strings.js";
import { warnings } from "./versions.js";
import { role } from "./who.js";

const MOST = 200; // of one answer
const SHOWN = 6; // before more are asked for
const NAMED = 12; // values that stay, named at once

/**
 * `changed` is called when an undo was made: products, versions or categories may be others; `started` when a long one
 * became a job.
 */
export function actions({ signal, changed, started }) {
  const list = element("ul", { className: "done-list" });
  const none = element("p", { className: "muted", hidden: true, textContent: t("actions.none") });
  const outcome = element("div", { className: "undone", hidden: true });
  const more = button(t("more"), { hidden: true, on: { click: () => { limit = Infinity; draw(); } } });
  const writes = element("input", { type: "checkbox", id: "single-writes", on: { change: () => refresh() } });
  const root = element("section", { className: "actions-part", "aria-labelledby": "actions-title", hidden: true },
    element("div", { className: "row" }, element("h2", { id: "actions-title", textContent: t("actions.title") }),
      element("label", { className: "value", htmlFor: "single-writes" }, writes, element("span", { textContent: t("actions.writes") }))),
    outcome, none, list, more);
  let found = [];
  let limit = SHOWN;
  let may = false;

  async function refresh() {
    try {
      const mine = await role();
      root.hidden = mine === "search";
      if (root.hidden) return;
      may = mine === "admin";
      found = (await json(`/v1/actions?limit=${MOST}&writes=${writes.checked}`, { signal })).actions;
      draw();
    } catch (error) {
      complain(error, { text: t("again"), action: refresh });
    }
  }

  function draw() {
    none.hidden = found.length > 0;
    list.replaceChildren(...found.slice(0, limit).map(entry));
    more.hidden = found.length <= limit;
  }

  function entry(action) {
    const facts = [action.by ? t("actions.by", { by: action.by }) : "", moment(action.at), ...products(action)];
    const state = action.state === "undoable" ? "" : t(`actions.${action.state}`);
    return element("li", { className: "done", data: { kind: action.kind, state: action.state } },
      element("div", {}, element("p", {}, element("strong", { textContent: t(`action.${action.kind}`) }), about(action)),
        element("p", { className: "muted", textContent: [...facts, state].filter(Boolean).join(" · ") })),
      may && action.state === "undoable" ? button(t("actions.undo"), {
        "aria-label": t("actions.undo-of", { what: called(action) }), "aria-haspopup": "dialog", on: { click: () => propose(action) },
      }) : null);
  }

  /** What an undo would change, and the question whether that is meant. */
  async function propose(action) {
    hush();
    lock(true);
    tell(t("looking"));
    try {
      const path = `/v1/actions/${encodeURIComponent(action.name)}:undo`;
      const would = await post(path, { dry_run: true }, { signal });
      question(action, would, await details(action), () => undo(action, path));
    } catch (error) {
      complain(error, { text: t("again"), action: () => propose(action) });
      if (error.status === 404 || error.status === 409) refresh();
    } finally {
      lock(false);
    }
  }

  /** What the question shows beside: what another version lacks, or which listing was decided on. */
  async function details(action) {
    if (action.kind === "activation") {
      const [before] = action.note.split(" -> ");
      const compared = await json(`/v1/indexes/${encodeURIComponent(before)}/comparison`, { signal });
      return compared.warnings.length ? warnings(compared) : null;
    }
    if (action.kind !== "decision") return null;
    const queued = await json(`/v1/reviews/${encodeURIComponent(action.note.split(" ")[1])}`, { signal });
    return element("p", {}, element("strong", { textContent: queued.title || queued.external_id || queued.product_id || t("queue.nameless") }),
      queued.decided?.reason ? ` · ${queued.decided.reason}` : "");
  }

  async function undo(action, path) {
    hush();
    lock(true);
    tell(t("actions.undoing"));
    try {
      const done = await post(path, { background: true }, { signal });
      if (done.job_id) {
        tell(t("actions.started"));
        started();
        return;
      }
      const title = element("h3", { tabIndex: -1, textContent: t("actions.is-undone", { what: called(action) }) });
      outcome.replaceChildren(title, ...consequences(action, done, "did"),
        element("div", { className: "way" }, button(t("close"), { on: { click: () => { outcome.hidden = true; } } })));
      outcome.hidden = false;
      title.focus();
      changed();
    } catch (error) {
      // Somebody else was faster: the list is what is true now.
      complain(error);
    } finally {
      await refresh();
      lock(false);
    }
  }

  function lock(busy) {
    for (const choice of list.querySelectorAll("button")) choice.disabled = busy;
  }

  return { root, refresh };
}

function question(action, would, details, go) {
  const dialog = element("dialog", { className: "comparison", "aria-labelledby": "undo-title", on: { close: () => dialog.remove() } },
    element("h2", { id: "undo-title", textContent: t("actions.ask", { what: called(action) }) }),
    element("p", { className: "muted", textContent: [action.by ? t("actions.by", { by: action.by }) : "", moment(action.at)].filter(Boolean).join(" · ") }),
    ...consequences(action, would, "would"), details,
    element("div", { className: "choices" },
      button(t("compare.cancel"), { autofocus: true, on: { click: () => dialog.close() } }),
      button(t("actions.undo"), { quiet: false, on: { click: () => { dialog.close(); go(); } } })));
  document.body.append(dialog);
  dialog.showModal();
}

/** What an undo would do or did, line by line; what goes for good stands out. */
function consequences(action, result, tense) {
  const lines = ["restored", "removed", "erased"].filter((name) => result[name]).map((name) =>
    element("li", { className: name === "removed" ? "wrong" : "", textContent: counted(`undo.${tense}.${name}`, result[name]) }));
  if (action.kind === "activation") {
    const [before, after] = action.note.split(" -> ");
    lines.push(element("li", { textContent: t(`undo.${tense}.activation`, { before, after }) }));
  } else if (action.kind === "decision") lines.push(element("li", { textContent: t(`undo.${tense}.decision`) }));
  else if (!result.restored && !result.removed) lines.push(element("li", { textContent: t(`undo.${tense}.nothing`) }));
  if (action.kind === "taxonomy" && tense === "would") lines.push(element("li", { textContent: t("undo.would.categories") }));
  const stays = result.skipped_count ? [
    element("p", {}, element("strong", { textContent: t("undo.stays", { count: result.skipped_count.toLocaleString() }) })),
    element("ul", { className: "stays" }, ...result.skipped.slice(0, NAMED).map(kept)),
    result.skipped_count > NAMED ? element("p", { className: "muted", textContent: t("undo.stays-more", { count: (result.skipped_count - NAMED).toLocaleString() }) }) : null,
  ].filter(Boolean) : [];
  return [element("ul", { className: "consequences" }, ...lines), ...stays];
}

function kept({ product_id: id, part, reason }) {
  const [kind, ...rest] = part.split("/");
  const name = rest.length ? rest.join("/") : part ? t(`undo.part.${kind.replaceAll(" ", "-")}`) : t("undo.part.product");
  return element("li", {}, id ? element("a", { href: `#/product/${encodeURIComponent(id)}`, textContent: id, on: { click: (event) => event.target.closest("dialog")?.close() } }) : null,
    `${id ? " · " : ""}${name} · ${t(`undo.reason.${reason}`)}`);
}

const products = (action) => ["changed", "added", "erased"].filter((name) => action[name])
  .map((name) => t(`actions.${name}`, { count: action[name].toLocaleString() }));

/** " of what": a file, versions, or the kind of what an undo took back. */
function about(action) {
  const text = action.kind === "undo" ? t(`action.${action.note}`)
    : action.kind === "activation" ? action.note.replace(" -> ", " → ")
    : action.kind === "decision" ? decision(action.note) : action.note;
  return text ? ` · ${text}` : "";
}

function decision(note) {
  const [state, review] = note.split(" ");
  return `${t(`queue.${state}`)} · ${review.slice(0, 8)}`;
}

const called = (action) => `${t(`action.${action.kind}`)}${about(action)}`;

function moment(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleString(document.documentElement.lang);
}
