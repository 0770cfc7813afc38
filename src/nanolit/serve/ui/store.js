/**
 * The conversations, kept in this browser (IndexedDB). The map in memory is what the page works with; every change is
 * written through, and told to other tabs. Where the browser gives no store the page works on from memory and says so.
 */

import { checked } from "./conversation.js";

const NAME = "nanolit";
const TABLE = "conversations";

export class Store {
  /** @type {Map<string, import("./conversation.js").Conversation>} */
  conversations = new Map();
  /** Called with one line when something could not be kept. */
  onproblem = (_line) => {};
  /** Called with the id of a conversation that another tab changed. */
  onchange = (_id) => {};
  /** @type {IDBDatabase|null} */
  #database = null;
  #tabs = "BroadcastChannel" in window ? new BroadcastChannel(NAME) : null;

  async open() {
    try {
      this.#database = await promised(openRequest());
      const values = await promised(this.#database.transaction(TABLE).objectStore(TABLE).getAll());
      this.#take(values);
    } catch (error) {
      this.onproblem(`The browser does not keep conversations here (${error?.message ?? error}). Export what you need before you close the page.`);
    }
    if (this.#tabs) this.#tabs.onmessage = (event) => this.#reload(event.data);
  }

  #take(values) {
    let nDamaged = 0;
    for (const value of values) {
      try {
        const conversation = checked(value);
        this.conversations.set(conversation.id, conversation);
      } catch {
        nDamaged++; // stays in the store: it may be a later version's
      }
    }
    if (nDamaged) this.onproblem(`${nDamaged} kept ${nDamaged === 1 ? "conversation" : "conversations"} could not be read and ${nDamaged === 1 ? "is" : "are"} not shown.`);
  }

  async #reload(id) {
    if (!this.#database || typeof id !== "string") return;
    const value = await promised(this.#database.transaction(TABLE).objectStore(TABLE).get(id));
    const before = this.conversations.get(id)?.messages ?? [];
    if (value === undefined) this.conversations.delete(id);
    else this.#take([value]);
    const now = this.conversations.get(id);
    // A user's message that did not change stays the same object, and with it an editor that is open on it.
    if (now) now.messages = now.messages.map((message, i) => (message.role === "user" && message.text === before[i]?.text ? before[i] : message));
    this.onchange(id);
  }

  /** Newest first. */
  list() {
    return [...this.conversations.values()].sort((a, b) => b.updated - a.updated);
  }

  async save(conversation) {
    this.conversations.set(conversation.id, conversation);
    try {
      await this.#write((table) => table.put(structuredClone(conversation)));
    } catch (error) {
      if (error?.name !== "QuotaExceededError") return this.#failed(error);
      try {
        await this.#write((table) => table.put(withoutProbabilities(conversation))); // the bulk, and the least missed
      } catch (again) {
        return this.#failed(again);
      }
    }
    this.#tabs?.postMessage(conversation.id);
  }

  async remove(id) {
    this.conversations.delete(id);
    try {
      await this.#write((table) => table.delete(id));
      this.#tabs?.postMessage(id);
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error) {
    const isFull = error?.name === "QuotaExceededError";
    this.onproblem(
      isFull
        ? "The browser's storage is full: this conversation lasts until the page is closed. Export it, or delete others."
        : `This conversation could not be kept (${error?.message ?? error}). Export it before you close the page.`,
    );
  }

  /** Resolves when the change is on disk. */
  #write(change) {
    if (!this.#database) return Promise.resolve(); // said at the start
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(TABLE, "readwrite");
      transaction.oncomplete = () => resolve(undefined);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? new Error("the store refused"));
      change(transaction.objectStore(TABLE));
    });
  }
}

function openRequest() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "id" });
  return request;
}

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    if ("onblocked" in request) request.onblocked = () => reject(new Error("another tab holds an older store"));
  });
}

function withoutProbabilities(conversation) {
  const bare = ({ type, text }) => ({ type, text });
  return {
    ...conversation,
    messages: conversation.messages.map((message) => (message.role === "user" ? message : { ...message, parts: message.parts.map(bare) })),
  };
}
