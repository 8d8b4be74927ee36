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

/** "2 products have again what they had." */
export function undoWords(result) {
  const tense = result.dry_run ? "would" : "did";
  const said = ["restored", "removed", "erased"].filter((name) => result[name]).map((name) => counted(`undo.${tense}.${name}`, result[name]));
  return said.length ? said : [t(`undo.${tense}.nothing`)];
}

/** The result of any job. */
export function resultWords(job) {
  const { result } = job;
  if (!result || typeof result !== "object") return "";
  if (job.kind === "import" && "added" in result) return result.dry_run ? t("outcome.looked") : importWords(result);
  if (job.kind === "undo") return undoWords(result).join(" ");
  return Object.entries(result).map(([key, value]) => (Array.isArray(value) ? [key, value.length] : [key, value]))
    .filter(([, value]) => ["number", "string"].includes(typeof value)).map(([key, value]) => `${words(key)} ${value}`).join(" · ");
}

/** What a job is called. */
export const jobName = (job) => t(["build", "undo"].includes(job.kind) ? `jobs.${job.kind}` : job.options?.dry_run ? "jobs.look" : "jobs.import");
