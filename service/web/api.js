// Asking the service: requests with the key where one is needed, problems as errors, progress as a stream of events.
import { button, element } from "./dom.js";
import { t } from "./strings.js";

export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

const BASE = new URL(".", document.baseURI).pathname.replace(/\/$/, ""); // a prefix, where a reverse proxy gives one

/** A path of the service below the page's own, whether or not it already is. */
export const here = (path) => (path.startsWith("/") && !path.startsWith(`${BASE}/`) ? BASE + path : path);

/** The response to a request; anything but success is a `Problem`. Asks for the key where the service wants one. */
export async function ask(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem("key");
    const headers = { ...options.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(here(path), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "offline", t("problem.offline-detail"));
    }
    if (response.ok) return response;
    if (response.status === 401) {
      await enterKey(Boolean(key));
      continue;
    }
    let found = {};
    try {
      found = await response.json();
    } catch { /* not from the service itself: the status says what is known */ }
    throw new Problem(response.status, found.code, found.detail || t("problem.status", { status: response.status }));
  }
}

export const json = async (path, options) => (await ask(path, options)).json();

/** A JSON body as options of a request. */
export const asJson = (body) => ({ headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const post = (path, body, options = {}) => json(path, { method: "POST", ...asJson(body), ...options });

const PLAIN = new Set(["text", "cursor", "collapse", "profile", "version", "group_by", "out_of_stock", "url", "path"]); // form fields that are not JSON text

/** A form: `files` are [field, file]; texts as they stand, all else as JSON text. */
export function form(files, fields = {}) {
  const made = new FormData();
  for (const [name, file] of files) made.append(name, file, file.name || "photo");
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) made.append(name, PLAIN.has(name) ? value : JSON.stringify(value));
  }
  return made;
}

/** Ask about a subject: {file, crop} or {id} or neither (words alone). */
export function question(path, subject, fields = {}, options = {}) {
  const { file, id, crop } = subject;
  if (file) return json(path, { method: "POST", body: form([["image", file]], { ...fields, crop: crop || undefined }), ...options });
  return post(path, { ...(id === undefined ? {} : { product_id: id }), ...fields }, options);
}

/** What people made of an answer; the page goes on whatever becomes of it. */
export const feedback = (requestId, said) => post("/v1/feedback", { request_id: requestId, ...said }, { keepalive: true });

/** The events of a stream, as parsed JSON. Read by fetch, since an EventSource cannot send a key. */
export async function* events(path, signal) {
  const response = await ask(path, { signal, headers: { Accept: "text/event-stream" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value.replaceAll("\r\n", "\n");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (data.length) yield JSON.parse(data.join("\n"));
    }
  }
}

let entering = null;
function enterKey(wrong) {
  entering ??= new Promise((resolve) => {
    const input = element("input", { type: "password", id: "key", autocomplete: "off", required: true });
    const dialog = element("dialog", { "aria-labelledby": "key-title", on: { cancel: (event) => event.preventDefault() } },
      element("form", { on: { submit: (event) => {
        event.preventDefault();
        sessionStorage.setItem("key", input.value.trim());
        dialog.close();
        dialog.remove();
        entering = null;
        resolve();
      } } },
        element("h2", { id: "key-title", textContent: t("key.title") }),
        element("p", { className: "muted", textContent: t("key.kept") }),
        element("label", { htmlFor: "key", textContent: t("key.label") }), input,
        element("p", { className: "wrong", role: "alert", hidden: !wrong, textContent: t("key.wrong") }),
        button(t("key.go"), { type: "submit", quiet: false })));
    document.body.append(dialog);
    dialog.showModal();
  });
  return entering;
}
