// The page: a photo or a product goes in; category, tags and similar products come out. No library, no outside request.

const SHOWN = 24;
const $ = (id) => document.getElementById(id);
const photos = new Map(); // number in the address -> {file, url}; lives as long as the tab
let counted = 0;
let turn = 0; // which view is being loaded; answers of earlier ones are dropped
let seen = new Map(); // product id -> what a tag's supporters need to be shown

// ---- asking the service

class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

async function ask(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem("key");
    const headers = { ...options.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "offline", "The service does not answer. Is it running?");
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
    throw new Problem(response.status, found.code, found.detail || `The service answered ${response.status}.`);
  }
}

let entering = null;
function enterKey(wrong) {
  if (entering) return entering;
  $("key-wrong").hidden = !wrong;
  $("key").value = "";
  $("key-dialog").showModal();
  entering = new Promise((resolve) => {
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem("key", $("key").value.trim());
      $("key-dialog").close();
      entering = null;
      resolve();
    };
  });
  return entering;
}
$("key-dialog").addEventListener("cancel", (event) => event.preventDefault());

const json = async (path, options) => (await ask(path, options)).json();

function question(path, subject, fields = {}) {
  if (subject.file) {
    const form = new FormData();
    form.append("image", subject.file, subject.file.name || "photo");
    for (const [name, value] of Object.entries(fields)) form.append(name, JSON.stringify(value));
    return json(path, { method: "POST", body: form });
  }
  return json(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ product_id: subject.id, ...fields }),
  });
}

// ---- building elements; text is always text, never markup

function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function picture(url, alt, width) {
  const image = element("img", { alt, loading: "lazy", decoding: "async" });
  const address = url.replace(/w=\d+/, `w=${width}`);
  if (!sessionStorage.getItem("key")) image.src = address;
  else {
    // An <img> sends no key, so its bytes are fetched.
    ask(address)
      .then((response) => response.blob())
      .then((blob) => {
        image.onload = () => URL.revokeObjectURL(image.src);
        image.src = URL.createObjectURL(blob);
      })
      .catch(() => {});
  }
  return image;
}

const address = (id) => `#/product/${encodeURIComponent(id)}`;
const percent = (share) => (share >= 0.995 && share < 1 ? ">99%" : share > 0 && share < 0.01 ? "<1%" : `${Math.round(share * 100)}%`);

function card(product) {
  const image = product.image_url || product.images?.[0]?.image_url || "";
  const shot = element("div", { className: "photo" });
  if (image) shot.append(picture(image, "", 320));
  if (product.score !== undefined) {
    shot.append(
      element("span", { className: "score", title: "Similarity, 1 is the same photo" },
        element("span", { className: "sr-only", textContent: "similarity " }), product.score.toFixed(2)),
    );
  }
  const words = element("div", { className: "words" },
    element("p", { className: "title", textContent: product.title || product.product_id }));
  const path = product.category_path || [];
  if (path.length) words.append(element("p", { className: "kind", textContent: path.at(-1), title: path.join(" > ") }));
  const link = element("a", { className: "card", href: address(product.product_id) }, shot, words);
  link.dataset.id = product.product_id;
  return element("li", {}, link);
}

function waiting(list, count) {
  list.replaceChildren(...Array.from({ length: count }, () => element("li", { className: "waiting", "aria-hidden": "true" })));
}

const tell = (text) => { $("status").textContent = text; };

function complain(error) {
  if (error.name === "AbortError") return;
  const words = {
    "bad-image": "That file cannot be read as a photo",
    "unsupported-format": "That kind of file is not supported",
    "image-too-large": "That photo is too large",
    "body-too-large": "That photo is too large",
    "no-index": "The catalog is not indexed yet",
    overloaded: "The service is busy just now",
  };
  const lead = words[error.code];
  $("notice-text").textContent = lead ? `${lead}: ${error.message}` : error.message;
  const [again, action] = lead && error.status !== 503 ? ["Choose another photo", pick] : ["Try again", route];
  $("retry").textContent = again;
  $("retry").onclick = action;
  $("notice").hidden = false;
}

// ---- the views

function reset({ start }) {
  turn += 1;
  $("notice").hidden = true;
  $("start").hidden = !start;
  $("query").hidden = start;
  $("again").hidden = start;
  $("grid-empty").hidden = true;
  $("results").hidden = $("category").hidden = $("tagging").hidden = false;
  hideSupport();
  return turn;
}

async function showStart() {
  const mine = reset({ start: true });
  document.title = "Catalens";
  $("grid-title").textContent = "Or start from a product";
  waiting($("grid"), 12);
  try {
    const found = await json(`/v1/products?limit=${SHOWN}`);
    if (mine !== turn) return;
    $("grid").replaceChildren(...found.products.map(card));
    $("grid-empty").hidden = found.products.length > 0;
    $("grid-empty").textContent = "The catalog has no products yet.";
    about(found, `${found.total.toLocaleString()} products`);
  } catch (error) {
    if (mine !== turn) return;
    $("grid").replaceChildren();
    complain(error);
  }
}

function about(found, first) {
  $("about").textContent = [first, `index ${found.index_version}`, `model ${found.model_version}`].filter(Boolean).join(" · ");
}

function showPicture(image) {
  image.addEventListener("error", () => image.remove()); // not every browser shows every format the service reads
  $("figure").replaceChildren(image);
}

async function showPhoto(number) {
  const photo = photos.get(number);
  if (!photo) {
    location.replace("#/"); // after a reload the photo is gone
    return;
  }
  const mine = reset({ start: false });
  showPicture(element("img", { alt: "The photo you chose", src: photo.url }));
  $("query-kind").textContent = "Looks like";
  $("query-title").textContent = "Your photo";
  $("query-sub").textContent = photo.file.name;
  await answerAll(mine, { file: photo.file });
}

async function showProduct(id) {
  const mine = reset({ start: false });
  $("figure").replaceChildren();
  $("query-kind").textContent = "From the catalog";
  $("query-title").textContent = id;
  $("query-sub").textContent = "";
  json(`/v1/products/${encodeURIComponent(id)}`)
    .then((product) => {
      if (mine !== turn) return;
      $("query-title").textContent = product.title || product.product_id;
      document.title = `${product.title || product.product_id} · Catalens`;
      const known = [product.title ? product.product_id : "", product.category || "", ...product.tags.map((tag) => tag.tag)];
      $("query-sub").textContent = [...new Set(known)].filter(Boolean).join(" · ");
      const shot = product.images[0];
      if (!shot) return;
      const image = picture(shot.image_url, `Photo of ${product.title || product.product_id}`, 640);
      image.loading = "eager";
      showPicture(image);
    })
    .catch(() => {}); // the search below says what is wrong
  await answerAll(mine, { id });
}

async function answerAll(mine, subject) {
  document.title = `${$("query-title").textContent} · Catalens`;
  $("grid-title").textContent = "Similar products";
  $("no-categories").hidden = $("no-tags").hidden = true;
  waiting($("categories"), 3);
  waiting($("tags"), 4);
  waiting($("grid"), 12);
  tell("Looking");
  window.scrollTo({ top: 0 });
  $("query-title").focus({ preventScroll: true });
  try {
    // The search goes first: it embeds the photo, which the other two then find done.
    const found = await question("/v1/search", subject, { k: SHOWN });
    if (mine !== turn) return;
    seen = new Map(found.results.map((result) => [result.product_id, result]));
    $("grid").replaceChildren(...found.results.map(card));
    $("grid-empty").hidden = found.results.length > 0;
    $("grid-empty").textContent = "Nothing else is in the catalog yet.";
    about(found, `answered in ${Math.round(found.timings_ms.total)} ms`);
    tell(`${found.results.length} similar products`);
  } catch (error) {
    if (mine !== turn) return;
    $("results").hidden = $("category").hidden = $("tagging").hidden = true;
    $("query-kind").textContent = "No answer";
    tell("");
    complain(error);
    return;
  }
  await Promise.all([showCategories(mine, subject), showTags(mine, subject)]);
}

async function showCategories(mine, subject) {
  const list = $("categories");
  try {
    const found = await question("/v1/classify", subject);
    if (mine !== turn) return;
    if (subject.file && found.categories.length) {
      $("query-title").textContent = found.categories[0].label;
      document.title = `${found.categories[0].label} · Catalens`;
    }
    const fills = [];
    list.replaceChildren(...found.categories.map(({ label, path, probability }) => {
      const fill = element("div", { className: "fill" });
      fills.push([fill, probability]);
      const name = element("span", {}, label);
      const parents = path.slice(0, -1).join(" > ");
      if (parents) name.append(element("span", { className: "parents", textContent: ` · ${parents}` }));
      return element("li", {}, name, element("span", { className: "percent", textContent: percent(probability) }),
        element("div", { className: "track", "aria-hidden": "true" }, fill));
    }));
    requestAnimationFrame(() => fills.forEach(([fill, share]) => { fill.style.width = `${Math.max(share * 100, 0.5)}%`; }));
  } catch (error) {
    if (mine !== turn) return;
    list.replaceChildren();
    if (subject.file) $("query-kind").textContent = "Your photo";
    $("no-categories").hidden = false;
    $("no-categories").textContent = error.code === "no-categories" ? "This model was not trained on categories." : error.message;
  }
}

async function showTags(mine, subject) {
  const list = $("tags");
  try {
    const found = await question("/v1/tags", subject);
    if (mine !== turn) return;
    list.replaceChildren(...found.tags.map((tag) => {
      const button = element("button", { type: "button", className: "tag", "aria-expanded": "false", "aria-controls": "support" },
        tag.tag, element("span", { className: "percent", textContent: percent(tag.confidence) }));
      // A pointer that hovers gets it at once; keyboard and touch by pressing.
      button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") support(button, tag); });
      button.addEventListener("click", () => {
        if (button.getAttribute("aria-expanded") === "true" && button.dataset.pressed) hideSupport();
        else {
          support(button, tag);
          button.dataset.pressed = "yes";
        }
      });
      return element("li", {}, button);
    }));
    $("no-tags").hidden = found.tags.length > 0;
    $("no-tags").textContent = "The products nearby carry no tags in common.";
  } catch (error) {
    if (mine !== turn) return;
    list.replaceChildren();
    $("no-tags").hidden = false;
    $("no-tags").textContent = error.message;
  }
}

function hideSupport() {
  $("support").hidden = true;
  for (const button of document.querySelectorAll(".tag")) {
    button.setAttribute("aria-expanded", "false");
    delete button.dataset.pressed;
  }
  $("grid").classList.remove("faded");
  for (const link of document.querySelectorAll(".card.supports")) link.classList.remove("supports");
}

function support(button, tag) {
  hideSupport();
  button.setAttribute("aria-expanded", "true");
  $("support").hidden = false;
  const count = tag.neighbours.length;
  $("support-title").textContent = `“${tag.tag}” because ${count} similar ${count === 1 ? "product has" : "products have"} it`;
  const ids = new Set(tag.neighbours.map((near) => near.product_id));
  $("supporters").replaceChildren(...tag.neighbours.slice(0, 8).map((near) => {
    const known = seen.get(near.product_id);
    const link = element("a", { href: address(near.product_id), title: `${known?.title || near.product_id} (${near.score.toFixed(2)})` });
    const name = known?.title || near.product_id;
    if (known) link.append(picture(known.image_url, name, 160));
    else {
      json(`/v1/products/${encodeURIComponent(near.product_id)}`)
        .then((product) => { if (product.images[0]) link.replaceChildren(picture(product.images[0].image_url, name, 160)); })
        .catch(() => { link.textContent = name; });
    }
    return element("li", {}, link);
  }));
  $("grid").classList.add("faded");
  for (const link of document.querySelectorAll("#grid .card")) link.classList.toggle("supports", ids.has(link.dataset.id));
}
$("query").addEventListener("pointerleave", () => {
  if (!document.querySelector(".tag[data-pressed]")) hideSupport();
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideSupport(); });

// ---- ways in: the address, a chosen file, a dropped one, a pasted one

function route() {
  const [, view, rest] = location.hash.split(/^#\/([a-z]*)\/?/);
  try {
    if (view === "photo") showPhoto(Number(rest));
    else if (view === "product" && rest) showProduct(decodeURIComponent(rest));
    else showStart();
  } catch {
    location.replace("#/");
  }
}

function take(file) {
  if (!file) return;
  counted += 1;
  photos.set(counted, { file, url: URL.createObjectURL(file) });
  location.hash = `#/photo/${counted}`;
}

const pick = () => { $("file").value = ""; $("file").click(); };
$("file").addEventListener("change", () => take($("file").files[0]));
$("again").addEventListener("click", pick);
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files || [])].find((found) => found.type.startsWith("image/"));
  if (file) take(file);
});
let depth = 0; // dragenter and dragleave also come from children
document.addEventListener("dragenter", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  depth += 1;
  $("curtain").hidden = false;
});
document.addEventListener("dragleave", () => {
  depth = Math.max(0, depth - 1);
  if (!depth) $("curtain").hidden = true;
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("curtain").hidden = true;
  take(event.dataTransfer.files[0]);
});
window.addEventListener("hashchange", route);
route();
