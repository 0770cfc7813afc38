/** The server from the page's side: what it offers, whether it is there, whether it wants a key. */

import { ServerError, configuration, hasKey, isHealthy, models } from "./api.js";
import { banner, notify } from "./notices.js";
import { preferences } from "./preferences.js";
import { askForKey } from "./settings.js";

const HEALTH_EVERY_MS = 2000;
const LIMITS = { max_messages: 500, max_message_chars: 8000, max_total_chars: 32000 };
export const TITLES = {
  offline: "The server does not answer",
  lost: "The answer broke off",
  busy: "The server is busy",
  key: "The server asks for a key",
  refused: "The server did not accept this",
  failed: "The server failed",
};

export class Connection {
  /** @type {{id: string, chat: boolean, context_length: number}[]} */
  offered = [];
  /** @type {any} */
  #config = null;
  #isWatching = false;
  #changed;

  /** @param {() => void} changed called when what the server offers is known */
  constructor(changed) {
    this.#changed = changed;
  }

  /** The chosen model, else the server's first choice. */
  get model() {
    const named = (name) => this.offered.find(({ id }) => id === name);
    return named(preferences.model) ?? named(this.#config?.model) ?? this.offered[0];
  }

  /** Does it converse, or continue texts? */
  get isChat() {
    return this.model?.chat !== false;
  }

  get limits() {
    return { ...LIMITS, ...this.#config?.limits };
  }

  get defaults() {
    return this.#config?.defaults ?? {};
  }

  get needsKey() {
    return this.#config?.needs_key === true;
  }

  /** Learns what the server offers; again after an error. */
  async open() {
    try {
      this.#config = await configuration();
      if (this.needsKey && !hasKey()) return askForKey("This server answers only with its key.", () => this.open());
      this.offered = await models();
      banner(this.offered.length ? null : "The server offers no model.");
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      if (error.kind === "offline") this.watch();
      else if (error.kind === "key") askForKey(error.message, () => this.open());
      else banner(`${TITLES[error.kind]}: ${error.message}`);
    }
    this.#changed();
  }

  /** Says that the server is away until it is back. */
  async watch() {
    if (this.#isWatching) return;
    this.#isWatching = true;
    let wasAway = false;
    while (!(await isHealthy())) {
      wasAway = true;
      banner("The server does not answer. What you write is kept; this line goes when it is back.");
      await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS));
    }
    this.#isWatching = false;
    banner(null);
    if (wasAway) notify("The server is back.");
    await this.open(); // it may have been started with another model
  }
}
