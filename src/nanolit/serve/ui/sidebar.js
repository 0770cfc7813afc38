/** The list of conversations: search, rename, delete; a drawer where the window is narrow. */

import { find } from "./conversation.js";
import { byId, el, icon, iconButton } from "./dom.js";

const NARROW = matchMedia("(max-width: 860px)");

export class Sidebar {
  #node = byId("sidebar");
  #list = byId("conversations");
  #search = /** @type {HTMLInputElement} */ (byId("search"));
  #open = byId("open-sidebar");
  #backdrop = byId("backdrop");
  #renaming = "";

  /**
   * @param {{list: () => any[], current: () => string, isRunning: (id: string) => boolean, choose: (id: string) => void,
   *   rename: (id: string, title: string) => void, remove: (id: string) => void}} source
   */
  constructor(source) {
    this.source = source;
    this.#search.addEventListener("input", () => this.refresh());
    this.#search.addEventListener("keydown", (event) => {
      const first = /** @type {HTMLElement|null} */ (this.#list.querySelector(".conversation-open"));
      if ((event.key === "ArrowDown" || event.key === "Enter") && first) {
        event.preventDefault();
        if (event.key === "Enter") first.click();
        else first.focus();
      } else if (event.key === "Escape" && this.#search.value) {
        event.stopPropagation();
        this.#search.value = "";
        this.refresh();
      }
    });
    this.#list.addEventListener("keydown", (event) => this.#walk(event));
    this.#open.addEventListener("click", () => this.open());
    byId("close-sidebar").addEventListener("click", () => this.close());
    this.#backdrop.addEventListener("click", () => this.close());
    NARROW.addEventListener("change", () => this.close());
    this.close();
  }

  get isDrawer() {
    return NARROW.matches;
  }

  get isOpen() {
    return this.#node.classList.contains("open");
  }

  open() {
    this.#show(true);
    if (this.isDrawer) byId("new-chat").focus();
  }

  close() {
    const hadFocus = this.#node.contains(document.activeElement);
    this.#show(false);
    if (this.isDrawer && hadFocus) this.#open.focus();
  }

  #show(isOpen) {
    const isShown = isOpen && this.isDrawer;
    this.#node.classList.toggle("open", isShown);
    this.#node.inert = this.isDrawer && !isOpen;
    document.querySelector("main").inert = isShown;
    this.#backdrop.hidden = !isShown;
    this.#open.setAttribute("aria-expanded", String(isShown));
  }

  searchNow() {
    this.open();
    this.#search.focus();
    this.#search.select();
  }

  refresh() {
    if (this.#renaming) return; // would take the box away in the middle of a word
    const query = this.#search.value.trim();
    const nodes = [];
    let heading = "";
    let list = null;
    for (const conversation of this.source.list()) {
      const hit = query ? find(conversation, query) : "";
      if (hit === null) continue;
      const when = query ? "Found" : age(conversation.updated);
      if (when !== heading) {
        heading = when;
        list = el("ul", { role: "list" });
        nodes.push(el("h2", { text: heading }), list);
      }
      list.append(this.#item(conversation, hit, query));
    }
    if (!nodes.length) nodes.push(el("p", { class: "nothing", text: query ? "No conversation says that." : "Conversations stay in this browser and appear here." }));
    const focused = /** @type {HTMLElement|null} */ (document.activeElement)?.dataset?.focusId;
    this.#list.replaceChildren(...nodes);
    if (focused) /** @type {HTMLElement|null} */ (this.#list.querySelector(`[data-focus-id="${CSS.escape(focused)}"]`))?.focus();
  }

  #item(conversation, hit, query) {
    const { id, title } = conversation;
    const isCurrent = id === this.source.current();
    const open = el(
      "button",
      { type: "button", class: "conversation-open", "aria-current": isCurrent ? "page" : null, "data-focus-id": id, title },
      el("span", { class: "conversation-title" }, ...marked(title, query)),
      hit ? el("span", { class: "hit" }, ...marked(hit, query)) : null,
    );
    open.addEventListener("click", () => {
      this.source.choose(id);
      this.close();
    });
    if (this.source.isRunning(id)) open.prepend(el("span", { class: "running", role: "img", "aria-label": "answering" }));
    const item = el("li", { class: "conversation" }, open);
    item.append(
      iconButton("edit", `Rename ${title}`, () => this.#rename(item, conversation), { title: "Rename" }),
      iconButton("trash", `Delete ${title}`, () => this.#remove(item, id), { title: "Delete" }),
    );
    return item;
  }

  #remove(item, id) {
    const buttons = [...this.#list.querySelectorAll(".conversation-open")];
    const at = buttons.indexOf(item.querySelector(".conversation-open"));
    this.source.remove(id);
    const left = /** @type {HTMLElement[]} */ ([...this.#list.querySelectorAll(".conversation-open")]);
    (left[Math.min(at, left.length - 1)] ?? byId("new-chat")).focus();
  }

  #rename(item, { id, title }) {
    const input = el("input", { type: "text", "aria-label": "New title", maxlength: "200", class: "rename" });
    input.value = title;
    this.#renaming = id;
    const done = (isKept) => {
      if (!this.#renaming) return;
      this.#renaming = "";
      if (isKept && input.value.trim()) this.source.rename(id, input.value.trim());
      this.refresh();
      /** @type {HTMLElement|null} */ (this.#list.querySelector(`[data-focus-id="${CSS.escape(id)}"]`))?.focus();
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      done(event.key === "Enter");
    });
    input.addEventListener("blur", () => done(true));
    item.replaceChildren(icon("edit"), input);
    input.select();
    input.focus();
  }

  #walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.classList.contains("conversation-open")) return;
    event.preventDefault();
    const buttons = /** @type {HTMLElement[]} */ ([...this.#list.querySelectorAll(".conversation-open")]);
    const next = buttons.indexOf(event.target) + step;
    (next < 0 ? this.#search : buttons[Math.min(next, buttons.length - 1)]).focus();
  }
}

/** `text` with what was searched for marked. */
function marked(text, query) {
  const at = query ? text.toLowerCase().indexOf(query.toLowerCase()) : -1;
  if (at < 0) return [text];
  return [text.slice(0, at), el("mark", { text: text.slice(at, at + query.length) }), text.slice(at + query.length)];
}

function age(moment) {
  const days = Math.floor((new Date().setHours(0, 0, 0, 0) - new Date(moment).setHours(0, 0, 0, 0)) / 86_400_000);
  return days <= 0 ? "Today" : days === 1 ? "Yesterday" : days < 7 ? "This week" : days < 31 ? "This month" : "Earlier";
}
