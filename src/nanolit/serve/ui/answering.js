/** One answer on its way: asks the server and lets the message grow. Shows nothing; tells whoever listens. */

import { answer } from "./api.js";
import { toMessages, toPrompt } from "./conversation.js";
import { preferences, sampling } from "./preferences.js";

const N_ALTERNATIVES = 5;

export class Answering {
  #control = new AbortController();
  #started = performance.now();
  #first = 0;
  #nChunks = 0;

  /**
   * @param {import("./conversation.js").Conversation} conversation ends with what is to be answered
   * @param {{id: string, chat: boolean, context_length: number}} model
   * @param {Record<string, number>} limits
   * @param {() => void} changed called whenever the message has grown
   */
  constructor(conversation, model, limits, changed) {
    this.conversation = conversation;
    const isChat = model.chat !== false;
    const { messages, left_out } = isChat ? toMessages(conversation, limits, preferences.forget) : { messages: [], left_out: 0 };
    this.path = isChat ? "v1/chat/completions" : "v1/completions";
    this.request = {
      model: model.id,
      ...(isChat ? { messages } : { prompt: toPrompt(conversation) }),
      ...sampling(model.context_length),
      ...(preferences.forget ? { truncate: "left" } : {}),
      ...(preferences.probabilities ? (isChat ? { logprobs: true, top_logprobs: N_ALTERNATIVES } : { logprobs: N_ALTERNATIVES }) : {}),
    };
    this.changed = changed;
    /** @type {import("./conversation.js").Answer} */
    this.message = {
      role: "assistant",
      parts: [],
      model: model.id,
      plain: !isChat,
      finish: "lost", // until the server says otherwise: what a closed tab leaves behind
      figures: { n_tokens: 0, exact: false, first_s: 0, total_s: 0, left_out },
    };
  }

  get isEmpty() {
    return !this.message.parts.some((part) => part.text.trim());
  }

  /** Ends the answer; what came of it stays. */
  stop() {
    this.#control.abort();
  }

  /** Resolves when the answer has ended, also by stop(); rejects with a ServerError. */
  async run() {
    try {
      for await (const event of answer(this.path, this.request, this.#control.signal)) this.#take(event);
      if (this.message.finish === "lost") this.message.finish = "stop";
    } catch (error) {
      if (error?.name !== "AbortError") throw error;
      this.message.finish = "cancelled";
    }
  }

  #take({ type, text, tokens, finish, usage }) {
    const { parts, figures } = this.message;
    if (text || tokens.length || type !== "text") {
      const now = performance.now();
      this.#first ||= now;
      this.#nChunks++;
      if (parts.at(-1)?.type !== type) parts.push({ type, text: "" });
      const part = parts.at(-1);
      part.text += text;
      if (tokens.length) (part.tokens ??= []).push(...tokens);
      figures.first_s = (this.#first - this.#started) / 1000;
      figures.total_s = (now - this.#started) / 1000;
      const nTold = parts.reduce((sum, { tokens: told }) => sum + (told?.length ?? 0), 0);
      figures.exact = nTold > 0;
      figures.n_tokens = nTold || this.#nChunks; // a chunk is a token, mostly
    }
    if (finish) this.message.finish = finish === "length" ? "length" : "stop";
    if (Number.isInteger(usage?.completion_tokens)) {
      figures.n_tokens = usage.completion_tokens;
      figures.exact = true;
    }
    this.changed();
  }
}

const rounded = (value) => value.toFixed(value < 100 ? 1 : 0);

/** "42 tokens, 31.5 per second": tokens per second are those after the first, whose wait is the prompt's. */
export function told(figures) {
  const { n_tokens, exact, first_s, total_s, left_out } = figures;
  const writing_s = total_s - first_s;
  const words = [`${exact ? "" : "about "}${n_tokens} ${n_tokens === 1 ? "token" : "tokens"}`];
  // What came all at once tells nothing of the speed.
  if (n_tokens > 1 && writing_s >= 0.02) words.push(`${rounded((n_tokens - 1) / writing_s)} tokens/s`);
  if (first_s > 0) words.push(`first after ${first_s < 10 ? first_s.toFixed(2) : first_s.toFixed(0)} s`);
  if (left_out > 0) words.push(`the oldest ${left_out} messages were not sent`);
  return words;
}
