// Who asks: the name and the role of the key, in the page's header; a click forgets the key.
import { json } from "./api.js";
import { $ } from "./dom.js";
import { t } from "./strings.js";

let found = null; // {name, role}

/** The role of whoever asks; null where the service does not say. */
export async function role() {
  if (!found) await ask();
  return found?.role ?? null;
}

/** Write it in the page's language. */
export function show() {
  const place = $("who");
  place.hidden = !found?.name;
  if (place.hidden) return;
  place.textContent = t("who", { name: found.name, role: t(`who.${found.role}`) });
  const kept = sessionStorage.getItem("key") !== null; // else a proxy sends the key
  place.disabled = !kept;
  place.title = kept ? t("who.leave") : "";
}

/** Ask the service. */
export async function ask() {
  try {
    found = await json("/v1/whoami");
  } catch {
    return; // a name is an extra
  }
  show();
}

$("who").addEventListener("click", () => {
  sessionStorage.removeItem("key");
  location.reload();
});
