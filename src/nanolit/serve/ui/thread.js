/** The conversation in the middle: its messages, what went wrong, and what to begin with when there is nothing. */

import { byId, el, icon } from "./dom.js";
import { AnswerView, UserView } from "./message.js";

const EXAMPLES = {
  chat: [
    ["A story", "Tell me a short story about a girl who crosses a bridge to visit her friend."],
    ["Arithmetic", "A baker sells 14 rolls at 3 coins each. How many coins is that?"],
    ["Spelling", "How many times does the letter r stand in \"strawberry\"?"],
    ["A rhyme", "Write a rhyme in which everybody jumps over a puddle."],
  ],
  text: [
    ["A story", "In Thimbleford lived a boy called Tomas, who was ten years old."],
    ["Neighbours", "Selma, the mother of Yara, is a carpenter and works in"],
    ["A market day", "On market day the baker sold"],
    ["A rhyme", "\"Moo,\" said Greta. \"Quack,\" said Bram."],
  ],
};

export class Thread {
  #views = new WeakMap();
  #nodes = byId("thread");
  #scroller = byId("scroller");
  #toEnd = byId("to-end");
  #follows = true;

  /** @param {{edit: Function, again: Function, retry: Function, example: (text: string) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.#scroller.addEventListener("scroll", () => {
      const left = this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight;
      this.#follows = left < 60;
      this.#toEnd.hidden = left < 200;
    });
    this.#toEnd.addEventListener("click", () => this.toEnd(true));
    const observer = new ResizeObserver(() => this.#follows && this.toEnd());
    observer.observe(this.#nodes);
    observer.observe(this.#scroller);
  }

  /**
   * @param {import("./conversation.js").Conversation} conversation
   * @param {{live: object|null, problem: any, isChat: boolean}} now the answer that is being written, what went wrong
   */
  show(conversation, { live, problem, isChat }) {
    this.#nodes.classList.toggle("text", !isChat);
    const messages = live && !conversation.messages.includes(live) ? [...conversation.messages, live] : conversation.messages;
    const nodes = messages.map((message) => this.#view(message, message === live).node);
    if (!messages.length) nodes.push(this.#empty(isChat));
    if (problem) nodes.push(this.#problem(problem));
    // What is there stays where it is, with its focus, selection and scroll position.
    for (const [i, node] of nodes.entries()) if (this.#nodes.children[i] !== node) this.#nodes.insertBefore(node, this.#nodes.children[i] ?? null);
    while (this.#nodes.childElementCount > nodes.length) this.#nodes.lastElementChild.remove();
  }

  /** Redraws the answer that is being written, and nothing else. */
  grow(live) {
    this.#view(live, true);
  }

  #view(message, isLive) {
    let view = this.#views.get(message);
    if (!view) {
      view = message.role === "user" ? new UserView(message, this.actions) : new AnswerView(message, this.actions);
      this.#views.set(message, view);
      view.update(isLive);
    } else if (isLive || view.node.classList.contains("live")) {
      view.update(isLive);
    }
    return view;
  }

  edit(message) {
    this.#views.get(message)?.edit();
  }

  toEnd(isSmooth = false) {
    this.#follows = true;
    if (this.#nodes.querySelector(".empty")) return; // its beginning is what matters
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#scroller.scrollTo({ top: this.#scroller.scrollHeight, behavior: isSmooth && !isCalm ? "smooth" : "instant" });
  }

  #empty(isChat) {
    const examples = EXAMPLES[isChat ? "chat" : "text"].map(([name, text]) =>
      el("li", {}, el("button", { type: "button", class: "example", on: { click: () => this.actions.example(text) } }, el("strong", { text: name }), el("span", { text }))),
    );
    const lead = isChat
      ? "Ask something, or begin with one of these."
      : "This model has not learnt to converse: it continues whatever text you begin.";
    return el("div", { class: "empty" }, el("h2", { text: isChat ? "What shall we talk about?" : "Begin a text" }), el("p", { text: lead }), el("ul", { class: "examples", role: "list" }, ...examples));
  }

  /** @param {{title: string, text: string, action?: string, wait_s?: number, isQuiet?: boolean}} problem */
  #problem(problem) {
    problem.node ??= this.#problemNode(problem);
    return problem.node;
  }

  #problemNode({ title, text, action, wait_s, isQuiet }) {
    const button = action ? el("button", { type: "button", class: isQuiet ? "quiet-button" : "accent-button", text: action, on: { click: () => this.actions.retry() } }) : null;
    const node = el("div", { class: isQuiet ? "problem quiet" : "problem", role: isQuiet ? "status" : "alert" }, icon("alert"), el("div", {}, el("strong", { text: title }), el("p", { text })), button);
    if (button && wait_s) countDown(button, action, wait_s);
    return node;
  }
}

/** The button says how long the server asked to wait, and waits. */
function countDown(button, action, wait_s) {
  const until = Date.now() + wait_s * 1000;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `${action} in ${left} s` : action;
    if (left > 0) setTimeout(tick, 250);
  };
  tick();
}
