/** What the user set: theme, model, sampling. Kept in localStorage where the browser allows it, else until the page closes. */

const KEY = "nanolit.preferences";

/** What may be sent to the server; a setting that is not given is left to the server's default. */
export const SAMPLING = {
  temperature: { label: "Temperature", min: 0, max: 2, step: 0.05, hint: "0 always takes the likeliest token; higher is bolder." },
  top_p: { label: "Top-p", min: 0.01, max: 1, step: 0.01, hint: "Draws from the likeliest tokens that make up this share." },
  top_k: { label: "Top-k", min: 1, max: 100000, step: 1, hint: "Draws from this many of the likeliest tokens." },
  max_tokens: { label: "Most tokens", min: 1, max: 100000, step: 1, hint: "An answer ends here at the latest." },
  seed: { label: "Seed", min: 0, max: 2 ** 31 - 1, step: 1, hint: "The same seed and text give the same answer." },
};

const DEFAULTS = { theme: "system", model: "", system: "", probabilities: false, forget: true };

/** @type {Record<string, any>} */
export const preferences = { ...DEFAULTS, ...read() };

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const found = {};
    for (const [name, value] of Object.entries(DEFAULTS)) if (typeof kept?.[name] === typeof value) found[name] = kept[name];
    for (const name of Object.keys(SAMPLING)) if (fault(name, kept?.[name]) === null) found[name] = kept[name];
    return found;
  } catch {
    return {}; // forbidden, or damaged: the defaults
  }
}

/** @param {Record<string, any>} changes undefined removes */
export function prefer(changes) {
  Object.assign(preferences, changes);
  for (const [name, value] of Object.entries(changes)) if (value === undefined) delete preferences[name];
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Full or forbidden: they last until the page closes.
  }
}

/** What is wrong with a value, or null. */
export function fault(name, value) {
  const { label, min, max, step } = SAMPLING[name];
  const isWhole = step >= 1;
  if (typeof value !== "number" || !Number.isFinite(value) || (isWhole && !Number.isInteger(value)) || value < min || value > max) {
    return `${label}: allowed are ${isWhole ? "whole numbers" : "numbers"} from ${min} to ${max}`;
  }
  return null;
}

/** The sampling settings of a request to a model that sees `context_length` tokens: it refuses to write more. */
export function sampling(context_length) {
  const set = Object.fromEntries(Object.keys(SAMPLING).filter((name) => name in preferences).map((name) => [name, preferences[name]]));
  if (set.max_tokens > context_length) set.max_tokens = context_length;
  return set;
}
