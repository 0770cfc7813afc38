/** Messages as nodes: the user's with copy and edit, an answer with its parts, figures, copy and regenerate. */

import { told } from "./answering.js";
import { textOf } from "./conversation.js";
import { copyText, el, iconButton } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { preferences } from "./preferences.js";
import { TokenView } from "./tokens.js";

const ENDS = {
  length: "ended at the most tokens allowed",
  cancelled: "stopped",
  lost: "broken off",
};

/**
 * @typedef {{edit: (message: any, text: string) => void, again: (message: any) => void}} Actions
 */

export class UserView {
  node = el("article", { class: "message user", "aria-label": "You" });

  /**
   * @param {import("./conversation.js").UserMessage} message
   * @param {Actions} actions
   */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.#read();
  }

  update() {}

  /** Shows the message. */
  #read() {
    const copy = iconButton("copy", "Copy message", () => copyText(this.message.text, copy));
    const edit = iconButton("edit", "Edit and send again", () => this.edit());
    this.node.replaceChildren(
      el("div", { class: "bubble" }, el("p", { class: "said", text: this.message.text })),
      el("div", { class: "actions" }, copy, edit),
    );
  }

  /** Shows a box with its text. Sending it begins the conversation anew from here. */
  edit() {
    const area = el("textarea", { "aria-label": "Edit message", rows: String(Math.min(12, this.message.text.split("\n").length + 1)) });
    area.value = this.message.text;
    const back = () => {
      this.#read();
      this.node.querySelector(".actions button:last-child")?.focus();
    };
    const send = () => {
      if (!area.value.trim()) return;
      this.#read(); // the message itself stays as it is: it comes back with Undo
      this.actions.edit(this.message, area.value);
    };
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        back();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    const buttons = el(
      "div",
      { class: "edit-buttons" },
      el("button", { type: "button", class: "quiet-button", text: "Cancel", on: { click: back } }),
      el("button", { type: "button", class: "accent-button", text: "Send", on: { click: send } }),
    );
    this.node.replaceChildren(el("div", { class: "editor" }, area, buttons));
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

export class AnswerView {
  node = el("article", { class: "message answer", "aria-label": "Answer" });
  #body = el("div", { class: "parts" });
  #figures = el("p", { class: "figures" });
  #actions = el("div", { class: "actions" });
  #parts = /** @type {{type: string, node: HTMLElement, update: (part: any) => void}[]} */ ([]);
  #byTokens = preferences.probabilities;
  #toggle = null;

  /**
   * @param {import("./conversation.js").Answer} message
   * @param {Actions} actions
   */
  constructor(message, actions) {
    this.message = message;
    const copy = iconButton("copy", "Copy answer", () => copyText(textOf(message), copy));
    const again = iconButton("again", "Regenerate this answer", () => actions.again(message));
    this.#actions.append(copy, again);
    this.node.append(this.#body, el("div", { class: "foot" }, this.#actions, this.#figures));
  }

  /** @param {boolean} isLive is the answer still being written? */
  update(isLive) {
    const { parts, figures, finish } = this.message;
    const hasTokens = parts.some((part) => part.tokens?.length);
    if (hasTokens && !this.#toggle) this.#addToggle();
    for (const [i, part] of parts.entries()) {
      this.#parts[i] ??= this.#append(part, parts[i - 1]);
      this.#parts[i].update(part);
    }
    this.node.classList.toggle("live", isLive);
    this.node.setAttribute("aria-busy", String(isLive));
    this.#body.classList.toggle("waiting", isLive && !parts.length);
    const words = figures && (parts.length || !isLive) ? told(figures) : [];
    const end = isLive ? null : ENDS[finish];
    this.#figures.title = this.message.model;
    this.#figures.replaceChildren(...[...words, end].filter(Boolean).map((text) => el("span", { text })));
  }

  #append(part, previous) {
    const view = partView(part, this.message.plain, this.#byTokens);
    // What a call said stands in the call's own frame.
    const frame = part.type === "python_output" && previous?.type === "python" ? this.#body.lastElementChild : this.#body;
    frame.append(view.node);
    return { type: part.type, ...view };
  }

  #addToggle() {
    const flip = () => {
      this.#byTokens = !this.#byTokens;
      this.#toggle.setAttribute("aria-pressed", String(this.#byTokens));
      this.#parts = [];
      this.#body.replaceChildren();
      this.update(this.node.classList.contains("live"));
    };
    this.#toggle = iconButton("bars", "Token probabilities", flip, { "aria-pressed": String(this.#byTokens) });
    this.#actions.append(this.#toggle);
  }
}

/** @returns {{node: HTMLElement, update: (part: any) => void}} */
function partView(part, isPlain, byTokens) {
  if (part.type === "python") return toolView("Python", "call");
  if (part.type === "python_output") return outputView();
  if (byTokens && part.tokens?.length) {
    const view = new TokenView();
    return { node: view.node, update: ({ tokens }) => view.update(tokens) };
  }
  if (isPlain) {
    const node = el("p", { class: "said" });
    return { node, update: ({ text }) => grow(node, text.replace(/^ /, "")) }; // it begins a line here
  }
  const view = new MarkdownView();
  return { node: view.node, update: ({ text }) => view.update(text) };
}

function toolView(label, kind) {
  const code = el("code");
  const node = el(
    "figure",
    { class: `tool ${kind}`, "aria-label": "Tool call" },
    el("figcaption", { text: label }),
    el("pre", { tabindex: "0", role: "region", "aria-label": "What the tool was asked" }, code),
  );
  return { node, update: ({ text }) => grow(code, text) };
}

function outputView() {
  const samp = el("samp");
  const node = el("div", { class: "tool-output", role: "group", "aria-label": "What the tool said" }, el("span", { class: "tool-arrow", text: "Output" }), samp);
  return { node, update: ({ text }) => grow(samp, text || "(nothing)") };
}

function grow(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
