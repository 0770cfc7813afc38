/**
 * What a conversation is, how it is checked when it comes from a file or from the browser's store, and what of it a
 * server is sent.
 *
 * @typedef {{text: string, logprob: number, top: [string, number][]}} Token
 * @typedef {{type: "text"|"python"|"python_output", text: string, tokens?: Token[]}} Part
 * @typedef {{role: "user", text: string, refused?: boolean}} UserMessage refused: no server took it, as one that is too long
 * @typedef {{n_tokens: number, exact: boolean, first_s: number, total_s: number, left_out: number}} Figures
 * @typedef {{role: "assistant", parts: Part[], model: string, plain: boolean, finish: string, figures: Figures|null}} Answer
 * @typedef {UserMessage|Answer} Message
 * @typedef {{id: string, title: string, named: boolean, created: number, updated: number, system: string, messages: Message[]}} Conversation
 */

const FORMAT = "nanolit-conversations";
export const PART_TYPES = ["text", "python", "python_output"];
const FINISHES = ["stop", "length", "cancelled", "lost"];
const MAX_TEXT = 1_000_000;
const MAX_MESSAGES = 10_000;
const UNTITLED = "New conversation";

/** @returns {Conversation} */
export function newConversation(system = "") {
  const now = Date.now();
  return { id: newId(), title: UNTITLED, named: false, created: now, updated: now, system, messages: [] };
}

/** Random. (crypto.randomUUID is missing where the address is neither loopback nor https.) */
export function newId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The title follows the first message until the user gives another. */
export function retitle(conversation) {
  if (conversation.named) return;
  const first = conversation.messages.find((message) => message.role === "user")?.text.trim().replace(/\s+/g, " ");
  conversation.title = !first ? UNTITLED : first.length <= 60 ? first : `${first.slice(0, 60).replace(/\s+\S*$/, "")}…`;
}

/** The words of a message: what is copied, searched and read out. */
export function textOf(message) {
  if (message.role === "user") return message.text;
  return message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");
}

/** An answer as it is read out; only ever grows at its end while the answer does. */
export function spoken(answer) {
  const names = { text: "", python: "Python: ", python_output: "Output: " };
  return answer.parts.map((part) => names[part.type] + part.text).join("\n");
}

/** A few words around the first hit in the texts, "" for a hit in the title alone, null for none. */
export function find(conversation, query) {
  const wanted = query.trim().toLowerCase();
  for (const message of conversation.messages) {
    const parts = message.role === "user" ? [message.text] : message.parts.map((part) => part.text);
    for (const text of parts) {
      const at = text.toLowerCase().indexOf(wanted);
      if (at < 0) continue;
      const from = Math.max(0, at - 24);
      return (from > 0 ? "…" : "") + text.slice(from, at + wanted.length + 60).replace(/\s+/g, " ");
    }
  }
  return conversation.title.toLowerCase().includes(wanted) ? "" : null;
}

/**
 * The messages as a chat model is sent them: in turns, within the server's limits.
 * @param {Conversation} conversation up to and including the message to be answered
 * @param {{max_messages: number, max_message_chars: number, max_total_chars: number}} limits
 * @param {boolean} mayForget may what is too long for the limits be left out?
 * @returns {{messages: object[], left_out: number}} left_out: the oldest ones, that did not fit
 */
export function toMessages(conversation, limits, mayForget) {
  const turns = [];
  const last = conversation.messages.at(-1);
  for (const message of conversation.messages) {
    if (message.refused && message !== last) continue; // with it the next one would be refused too
    const turn = message.role === "user" ? { role: "user", content: message.text } : answerTurn(message);
    // A message that got no answer is joined to the next: user and assistant have to take turns.
    if (turn?.role === "user" && turns.at(-1)?.role === "user") turns.at(-1).content += `\n\n${turn.content}`;
    else if (turn) turns.push(turn);
  }
  const system = conversation.system.trim() ? [{ role: "system", content: conversation.system }] : [];
  let left_out = 0;
  if (mayForget) {
    for (const [i, turn] of turns.entries()) if (nChars([turn]) > limits.max_message_chars) turns[i] = lastOf(turn, limits.max_message_chars);
    const isTooMuch = () => turns.length + system.length > limits.max_messages || nChars([...system, ...turns]) > limits.max_total_chars;
    while (turns.length > 1 && isTooMuch()) left_out += turns.splice(0, 2).length;
  }
  return { messages: [...system, ...turns], left_out };
}

/** What an answer is in the next request; null for one without a word. */
function answerTurn(answer) {
  const parts = [];
  for (const { type, text } of answer.parts) {
    // A stopped answer may end in a call without code; and an output stands after its call or not at all.
    const isMeant = { text: text !== "", python: text.trim() !== "", python_output: parts.at(-1)?.type === "python" }[type];
    if (isMeant) parts.push({ type, text });
  }
  const content = parts.filter(({ type }) => type === "text").map(({ text }) => text).join("");
  if (parts.every(({ type }) => type === "text")) return content.trim() ? { role: "assistant", content } : null;
  return { role: "assistant", content, parts };
}

/** As the server counts: characters, whatever they weigh. */
const nChars = (turns) => turns.flatMap(({ content, parts }) => parts?.map(({ text }) => text) ?? [content]).reduce((sum, text) => sum + [...text].length, 0);

const lastOf = ({ role, content, parts }, n) => ({ role, content: [...(content.trim() ? content : parts.map(({ text }) => text).join("\n"))].slice(-n).join("") });

/** All the text so far, for a model that only continues texts. */
export const toPrompt = (conversation) => conversation.messages.map(textOf).join("");

/** A file's content: everything that was given. */
export function exported(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, exported: new Date().toISOString(), conversations }, null, 1);
}

/**
 * Reads an exported file. Damaged conversations are left out and told; a file that is something else throws.
 * @returns {{conversations: Conversation[], faults: string[]}}
 */
export function imported(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("this file is not JSON; choose one that this page exported");
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error("this file holds no conversations of nanolit; choose one that this page exported");
  }
  if (file.version !== 1) throw new Error(`the file is of version ${String(file.version).slice(0, 20)}, this page reads version 1`);
  const conversations = [];
  const faults = [];
  for (const [i, value] of file.conversations.entries()) {
    try {
      conversations.push(checked(value));
    } catch (error) {
      faults.push(`conversation ${i + 1}: ${error.message}`);
    }
  }
  return { conversations, faults };
}

/**
 * A conversation made of the known fields alone, each of the right kind.
 * @returns {Conversation}
 */
export function checked(value) {
  if (typeof value !== "object" || value === null) throw new Error("is no object");
  const messages = value.messages;
  if (!Array.isArray(messages) || messages.length > MAX_MESSAGES) throw new Error("has no list of messages");
  if (typeof value.id !== "string" || !/^[0-9a-f]{24}$/.test(value.id)) throw new Error("has no id");
  return {
    id: value.id,
    title: string(value.title ?? UNTITLED, "title").slice(0, 200) || UNTITLED,
    named: value.named === true,
    created: moment(value.created),
    updated: moment(value.updated),
    system: string(value.system ?? "", "system"),
    messages: messages.map((message, i) => checkedMessage(message, `message ${i + 1}`)),
  };
}

function checkedMessage(value, where) {
  if (value?.role === "user") {
    return { role: "user", text: string(value.text, where), ...(value.refused === true ? { refused: true } : {}) };
  }
  if (value?.role !== "assistant" || !Array.isArray(value.parts)) throw new Error(`${where} is of no known kind`);
  return {
    role: "assistant",
    parts: value.parts.map((part) => checkedPart(part, where)),
    model: string(value.model ?? "", where).slice(0, 300),
    plain: value.plain === true,
    finish: FINISHES.includes(value.finish) ? value.finish : "lost",
    figures: checkedFigures(value.figures),
  };
}

function checkedPart(part, where) {
  if (!PART_TYPES.includes(part?.type)) throw new Error(`${where} has a part of no known type`);
  const tokens = Array.isArray(part.tokens) ? part.tokens.map((token) => checkedToken(token, where)) : null;
  return { type: part.type, text: string(part.text, where), ...(tokens ? { tokens } : {}) };
}

function checkedToken(token, where) {
  const top = Array.isArray(token?.top) ? token.top.slice(0, 20) : [];
  return {
    text: string(token?.text, where),
    logprob: logprob(token.logprob, where),
    top: top.map((pair) => [string(pair?.[0], where), logprob(pair[1], where)]),
  };
}

function checkedFigures(value) {
  if (typeof value !== "object" || value === null) return null;
  const of = (name) => (Number.isFinite(value[name]) && value[name] >= 0 ? value[name] : 0);
  return { n_tokens: of("n_tokens"), exact: value.exact === true, first_s: of("first_s"), total_s: of("total_s"), left_out: of("left_out") };
}

function string(value, where) {
  if (typeof value !== "string" || value.length > MAX_TEXT) throw new Error(`${where} is no text`);
  return value;
}

function logprob(value, where) {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Error(`${where} has a token without a probability`);
  return Math.min(value, 0);
}

const moment = (value) => (Number.isFinite(value) && value > 0 && value < 8.64e15 ? value : Date.now());
