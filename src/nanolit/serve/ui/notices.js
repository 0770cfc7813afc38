/** What the page tells: short notices that may be undone, the banner over the conversation, words for screen readers. */

import { byId, el, iconButton } from "./dom.js";

const SHOWN_MS = 9000;

/**
 * @param {string} text
 * @param {{action?: string, run?: () => void}} [offer] a button beside it, such as Undo
 */
export function notify(text, { action, run } = {}) {
  const close = () => node.remove();
  const button = action ? el("button", { type: "button", class: "link-button", text: action }) : null;
  button?.addEventListener("click", () => {
    close();
    run?.();
  });
  const node = el("div", { class: "notice" }, el("p", { text }), button, iconButton("close", "Dismiss", close));
  const list = byId("notices");
  while (list.childElementCount >= 3) list.firstElementChild?.remove();
  list.append(node);
  // Not while it is being read or reached for.
  const leave = () => (node.matches(":hover, :focus-within") ? setTimeout(leave, 1500) : close());
  setTimeout(leave, SHOWN_MS);
}

/** One line over the conversation, until it is replaced by another or by null. */
export function banner(text) {
  const node = byId("banner");
  node.hidden = text === null;
  node.textContent = text ?? "";
}

/** Reads an answer out sentence by sentence as it comes: token by token nobody could follow. */
export class Announcer {
  #said = 0;

  /** @param {string} text the answer so far */
  follow(text, isWhole = false) {
    const fresh = text.slice(this.#said);
    const end = isWhole ? fresh.length : Math.max(fresh.lastIndexOf(". "), fresh.lastIndexOf("\n"), fresh.lastIndexOf("? "), fresh.lastIndexOf("! ")) + 1;
    if (end <= 0) return;
    this.#said += end;
    announce(fresh.slice(0, end).trim());
  }
}

export function announce(text) {
  if (!text) return;
  const list = byId("announcer");
  while (list.childElementCount > 20) list.firstElementChild?.remove();
  list.append(el("p", { text }));
}
