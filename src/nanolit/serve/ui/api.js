/** The server, as the page sees it: OpenAI's API and the page's own configuration. Addresses are relative to the page. */

import { PART_TYPES } from "./conversation.js";
import { recall, remember } from "./tab.js";

export class ServerError extends Error {
  /**
   * @param {"offline"|"lost"|"busy"|"key"|"refused"|"failed"} kind
   * @param {string} message for the user
   */
  constructor(kind, message, retryAfter_s = 0) {
    super(message);
    this.kind = kind;
    this.retryAfter_s = retryAfter_s;
  }
}

let key = recall("key"); // forgotten with the tab

export const hasKey = () => key !== "";

export function setKey(value) {
  key = value;
  remember("key", value);
}

/** @returns {Promise<{model: string, models: string[], needs_key: boolean, limits: Record<string, number>, defaults: Record<string, any>}>} */
export const configuration = () => get("ui/config.json");

/** @returns {Promise<{id: string, chat: boolean, context_length: number}[]>} */
export async function models() {
  const found = (await get("v1/models"))?.data;
  return Array.isArray(found) ? found.filter((model) => typeof model?.id === "string") : [];
}

/** Does the server answer? */
export async function isHealthy() {
  try {
    return (await fetch("health", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

async function get(path) {
  const response = await send(path, {});
  try {
    return await response.json();
  } catch {
    throw new ServerError("failed", `The server's answer to ${path} is not JSON.`);
  }
}

async function send(path, options) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (error?.name === "AbortError") throw error;
    throw new ServerError("offline", "It may be stopped, or still starting.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const words = await response.json().then((body) => body?.error?.message, () => null);
  const said = typeof words === "string" && words ? words : `${response.status} ${response.statusText}`.trim();
  if (response.status === 401) return new ServerError("key", said);
  if (response.status === 429 || response.status === 503) {
    const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    return new ServerError("busy", said, Math.min(Math.max(seconds || 5, 1), 3600));
  }
  return new ServerError(response.status < 500 ? "refused" : "failed", said);
}

/**
 * Sends a request and gives what comes back, event by event.
 * @param {string} path v1/chat/completions or v1/completions
 * @param {object} request without stream
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{type: string, text: string, tokens: import("./conversation.js").Token[], finish: string|null, usage: any}>}
 */
export async function* answer(path, request, signal) {
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } });
  const response = await send(path, { method: "POST", body, signal, headers: { "Content-Type": "application/json" } });
  let isWhole = false;
  try {
    for await (const data of serverSentEvents(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(chunk.error.code === "stopping" ? "lost" : "failed", String(chunk.error.message ?? "The server broke off."));
      const event = eventOf(chunk);
      isWhole ||= event.finish !== null;
      yield event;
    }
  } catch (error) {
    if (error?.name === "AbortError" || error instanceof ServerError) throw error;
    throw new ServerError("lost", "The connection broke off.");
  }
  if (!isWhole) throw new ServerError("lost", "The connection broke off.");
}

/** The data of each event of a stream. */
async function* serverSentEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } finally {
    reader.cancel().catch(() => {}); // leaving early closes the connection, which is how the server learns of it
  }
}

/** One chunk of either kind, in one shape. */
function eventOf(chunk) {
  const choice = chunk.choices?.[0];
  const delta = choice?.delta ?? {};
  const part = delta.part ?? { type: "text", text: delta.content ?? choice?.text ?? "" };
  return {
    type: PART_TYPES.includes(part.type) ? part.type : "text",
    text: String(part.text ?? ""),
    tokens: tokensOf(choice?.logprobs),
    finish: choice?.finish_reason ?? null,
    usage: chunk.usage ?? null,
  };
}

/** Log-probabilities as chat tells them, or as completions do (parallel lists). */
function tokensOf(logprobs) {
  if (Array.isArray(logprobs?.content)) {
    return logprobs.content.map((entry) => ({
      text: shown(entry),
      logprob: finite(entry.logprob),
      top: (entry.top_logprobs ?? []).map((other) => [shown(other), finite(other.logprob)]),
    }));
  }
  if (Array.isArray(logprobs?.tokens)) {
    return logprobs.tokens.map((text, i) => ({
      text: String(text),
      logprob: finite(logprobs.token_logprobs?.[i]),
      top: Object.entries(logprobs.top_logprobs?.[i] ?? {})
        .map(([other, logprob]) => /** @type {[string, number]} */ ([other, finite(logprob)]))
        .sort((a, b) => b[1] - a[1]),
    }));
  }
  return [];
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** A token's text; the bytes in hexadecimal where it is a part of a character. */
function shown(entry) {
  if (!Array.isArray(entry.bytes)) return String(entry.token);
  try {
    return decoder.decode(new Uint8Array(entry.bytes));
  } catch {
    return `<${entry.bytes.map((byte) => Number(byte).toString(16).padStart(2, "0")).join(" ")}>`;
  }
}

const finite = (value) => (Number.isFinite(value) ? value : -100); // what JSON cannot say is -infinity
