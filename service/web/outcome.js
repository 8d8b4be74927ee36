// What long work did, in words.
import { t, words } from "./strings.js";

const DONE = ["added", "replaced", "unchanged", "deleted"];

/** "6 products added. 2 left out." */
export function importWords(result) {
  const said = DONE.filter((name) => result[name]).map((name) => counted(`outcome.${name}`, result[name]));
  const left = result.counts?.skipped ?? result.skipped_total ?? 0;
  if (!said.length) said.push(t("outcome.nothing"));
  if (left) said.push(counted("outcome.skipped", left));
  return said.join(" ");
}

/** A text by its count: `key.one` or `key.many`. */
export const counted = (key, count) => t(count === 1 ? `${key}.one` : `${key}.many`, { count: count.toLocaleString() });

/** The result of any job. */
export function resultWords(job) {
  const { result } = job;
  if (!result || typeof result !== "object") return "";
  if (job.kind === "import" && "added" in result) return result.dry_run ? t("outcome.looked") : importWords(result);
  return Object.entries(result).map(([key, value]) => (Array.isArray(value) ? [key, value.length] : [key, value]))
    .filter(([, value]) => ["number", "string"].includes(typeof value)).map(([key, value]) => `${words(key)} ${value}`).join(" · ");
}

/** What a job is called. */
export const jobName = (job) => t(job.kind === "build" ? "jobs.build" : job.options?.dry_run ? "jobs.look" : "jobs.import");
