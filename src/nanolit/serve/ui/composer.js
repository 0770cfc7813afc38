/** The box for the next message: grows with its text, sends with Enter, understands a few commands. */

import { byId } from "./dom.js";
import { SAMPLING, fault, prefer } from "./preferences.js";

/** Command -> the setting that it sets. */
const SETS = { temperature: "temperature", topk: "top_k", top_k: "top_k", topp: "top_p", top_p: "top_p", max: "max_tokens", max_tokens: "max_tokens", seed: "seed" };
export const COMMANDS = {
  "/temperature 0.5": "set the temperature",
  "/topk 40, /topp 0.9": "draw from fewer tokens",
  "/max 200": "set the most tokens of an answer",
  "/seed 7": "the same answer every time (/seed alone: a new one)",
  "/system TEXT": "set the system prompt of this conversation",
  "/retry": "regenerate the last answer",
  "/clear, /new": "begin a new conversation",
  "/help": "show this list",
};
const HAS_KEYBOARD = matchMedia("(hover: hover) and (pointer: fine)");

export class Composer {
  #input = /** @type {HTMLTextAreaElement} */ (byId("input"));
  #send = /** @type {HTMLButtonElement} */ (byId("send"));
  #stop = /** @type {HTMLButtonElement} */ (byId("stop"));
  #hint = byId("hint");
  maxChars = Infinity;
  isChat = true;
  mayBeEmpty = false; // a text may be continued without a word more

  /**
   * @param {{send: (text: string) => boolean, stop: () => void, editLast: () => void, command: (name: string, rest: string) => string,
   *   drafted: (text: string) => void}} actions send: was it taken?
   */
  constructor(actions) {
    this.actions = actions;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.#stop.addEventListener("click", () => actions.stop());
    this.#input.addEventListener("input", () => this.#changed());
    this.#input.addEventListener("keydown", (event) => this.#onKey(event));
    this.refresh();
  }

  get text() {
    return this.#input.value;
  }

  set text(value) {
    this.#input.value = value;
    this.#changed();
  }

  #changed() {
    this.refresh();
    this.actions.drafted(this.text);
  }

  focus() {
    this.#input.focus();
  }

  /** @param {boolean} isBusy is an answer being written? */
  busy(isBusy) {
    const hadFocus = [this.#send, this.#stop].includes(/** @type {any} */ (document.activeElement));
    this.#send.hidden = isBusy;
    this.#stop.hidden = !isBusy;
    // Not into the box where that would bring up a keyboard on the screen.
    if (hadFocus && (isBusy || HAS_KEYBOARD.matches)) (isBusy ? this.#stop : this.#input).focus();
  }

  /** Says something under the box, until the text changes. */
  say(text, isFault = false) {
    this.#hint.textContent = text;
    this.#hint.classList.toggle("fault", isFault);
    if (isFault) this.#hint.setAttribute("role", "alert");
    else this.#hint.removeAttribute("role");
  }

  refresh() {
    this.#input.style.height = "auto";
    this.#input.style.height = `${Math.min(this.#input.scrollHeight, Math.round(innerHeight * 0.4))}px`;
    const over = [...this.text].length - this.maxChars;
    this.#input.placeholder = this.isChat ? "Write a message" : this.mayBeEmpty ? "Write on, or let the model go on" : "Begin a text";
    this.#send.disabled = over > 0 || !(this.text.trim() || this.mayBeEmpty);
    if (over > 0) this.say(`${over} characters too many: a message may have ${this.maxChars}`, true);
    else this.say(HAS_KEYBOARD.matches ? "Enter sends, Shift+Enter begins a new line, /help lists commands and shortcuts" : "");
  }

  submit() {
    if (this.#send.disabled || this.#send.hidden) return;
    const command = /^\/([a-z_]+)(?:\s+([\s\S]*))?$/i.exec(this.text.trimEnd());
    if (!command) {
      if (this.actions.send(this.text)) this.text = "";
      return;
    }
    const answer = this.#command(command[1].toLowerCase(), (command[2] ?? "").trim());
    if (answer.startsWith("!")) {
      this.say(answer.slice(1), true); // the text stays, to be mended
      return;
    }
    this.text = "";
    if (answer) this.say(answer);
  }

  /** What to say about a command; begins with ! where it was not understood. */
  #command(name, rest) {
    const setting = SETS[name];
    if (!setting) return this.actions.command(name, rest);
    const { label } = SAMPLING[setting];
    if (rest === "") {
      prefer({ [setting]: undefined });
      return `${label}: the server's default`;
    }
    const value = Number(rest);
    const wrong = fault(setting, value);
    if (wrong) return `!${wrong}`;
    prefer({ [setting]: value });
    return `${label}: ${value}`;
  }

  #onKey(event) {
    if (event.isComposing) return; // Enter may choose a character
    if (event.key === "Enter" && !event.shiftKey && (HAS_KEYBOARD.matches || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "ArrowUp" && this.text === "") {
      event.preventDefault();
      this.actions.editLast();
    }
  }
}
