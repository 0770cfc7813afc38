/**
 * An answer token by token, shaded by how unlikely each was. One stop of the Tab key; arrow keys walk the tokens; the
 * card with the alternatives follows mouse and focus.
 */

import { byId, el } from "./dom.js";

const MANY = 3000; // tokens in the page; longer answers show their beginning

export class TokenView {
  node = el("div", { class: "tokens", role: "listbox", "aria-label": "Tokens of this answer. Arrow keys walk them." });
  #tokens = /** @type {import("./conversation.js").Token[]} */ ([]);

  constructor() {
    this.node.addEventListener("keydown", (event) => this.#walk(event));
    this.node.addEventListener("focusin", (event) => this.#show(event.target));
    this.node.addEventListener("focusout", hideCard);
    this.node.addEventListener("mouseover", (event) => this.#show(event.target));
    this.node.addEventListener("mouseout", hideCard);
    this.node.addEventListener("click", (event) => event.target instanceof HTMLElement && event.target.focus());
  }

  /** @param {import("./conversation.js").Token[]} tokens those shown before, and more */
  update(tokens) {
    this.#tokens = tokens;
    for (let i = this.node.childElementCount; i < Math.min(tokens.length, MANY); i++) {
      const { text, logprob } = tokens[i];
      const node = el("span", {
        class: "token",
        role: "option",
        "aria-selected": "false",
        tabindex: i === 0 ? "0" : "-1",
        "data-index": i,
        "aria-label": `${spoken(text)}, ${percent(logprob)}`,
        text,
      });
      node.style.setProperty("--surprise", `${Math.round(70 * (1 - Math.exp(logprob)))}%`);
      this.node.append(node);
    }
  }

  #walk(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    const at = indexOf(event.target);
    if (step === undefined || at === null) return;
    event.preventDefault();
    const next = this.node.children[Math.min(Math.max(at + step, 0), this.node.childElementCount - 1)];
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  #show(target) {
    const at = indexOf(target);
    if (at !== null) showCard(target, this.#tokens[at]);
  }
}

function indexOf(target) {
  const index = target instanceof HTMLElement ? target.dataset.index : undefined;
  return index === undefined ? null : Number(index);
}

function showCard(target, token) {
  const card = byId("token-card");
  const rows = token.top.map(([text, logprob]) =>
    el(
      "tr",
      { class: text === token.text ? "chosen" : null },
      el("td", {}, el("code", { text: visible(text) })),
      el("td", { text: percent(logprob) }),
      el("td", { class: "bar-cell" }, bar(logprob)),
    ),
  );
  const table = rows.length ? el("table", {}, el("caption", { text: "Likeliest here" }), el("tbody", {}, ...rows)) : null;
  card.replaceChildren(el("p", {}, el("code", { text: visible(token.text) }), ` ${percent(token.logprob)}`), table ?? "");
  card.hidden = false;
  const at = target.getClientRects()[0];
  const { width, height } = card.getBoundingClientRect();
  const below = at.bottom + 8 + height < innerHeight;
  card.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  card.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - height - 6)}px`;
}

export function hideCard() {
  byId("token-card").hidden = true;
}

function bar(logprob) {
  const node = el("span", { class: "bar" });
  node.style.width = `${(100 * Math.exp(logprob)).toFixed(1)}%`;
  return node;
}

function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  return share >= 99.95 ? "100 %" : share >= 0.1 ? `${share.toFixed(1)} %` : "under 0.1 %";
}

const visible = (text) => text.replaceAll(" ", "·").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "(nothing)";
const spoken = (text) => (text === " " ? "space" : text.trim() || (text.includes("\n") ? "new line" : "blank"));
