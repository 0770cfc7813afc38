/** The page: which conversation is shown, what happens when, who tells whom. */

import { Answering } from "./answering.js";
import { ServerError, hasKey } from "./api.js";
import { nextTheme, showTheme } from "./appearance.js";
import { Composer } from "./composer.js";
import { Connection, TITLES } from "./connection.js";
import { newConversation, newId, retitle, spoken } from "./conversation.js";
import { byId, el, icon } from "./dom.js";
import { Announcer, announce, notify } from "./notices.js";
import { prefer, preferences } from "./preferences.js";
import { askForKey, openSettings, openShortcuts } from "./settings.js";
import { listenForShortcuts } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { recall, remember } from "./tab.js";
import { Thread } from "./thread.js";
import { hideCard } from "./tokens.js";
import { counted, exportAll, importFile } from "./transfer.js";

const SAVE_EVERY_MS = 1000;

const store = new Store();
const connection = new Connection(connected);
/** @type {Map<string, Answering>} by conversation: an answer goes on while another conversation is shown */
const running = new Map();
/** @type {Map<string, any>} by conversation: what went wrong last */
const problems = new Map();
let current = newConversation(preferences.system);

const sidebar = new Sidebar({
  list: () => store.list(),
  current: () => current.id,
  isRunning: (id) => running.has(id),
  choose: (id) => show(store.conversations.get(id)),
  rename,
  remove,
});
const composer = new Composer({ send, stop, editLast, command, drafted: (text) => remember("draft", text) });
const thread = new Thread({ edit: resend, again: regenerate, retry, example: begin });

/** Draws everything anew, but for what did not change. */
function refresh() {
  const answering = running.get(current.id);
  const { isChat, limits } = connection;
  if (!answering && current.messages.at(-1)?.role === "user" && !problems.has(current.id)) {
    problems.set(current.id, { title: "No answer yet", text: "This message was left before the first word came.", action: "Ask again", isQuiet: true });
  }
  thread.show(current, { live: answering?.message ?? null, problem: problems.get(current.id) ?? null, isChat });
  byId("title").textContent = current.title;
  document.title = current.messages.length ? `${current.title} · nanolit` : "nanolit";
  composer.isChat = isChat;
  composer.mayBeEmpty = !isChat && current.messages.length > 0;
  composer.maxChars = limits.max_message_chars;
  composer.busy(answering !== undefined);
  composer.refresh();
  sidebar.refresh();
}

function show(conversation) {
  if (!conversation) return;
  current = conversation;
  remember("current", current.id);
  hideCard();
  refresh();
  thread.toEnd();
  if (!sidebar.isDrawer) composer.focus();
}

function startNew() {
  if (current.messages.length || store.conversations.has(current.id)) show(newConversation(preferences.system));
  sidebar.close();
  composer.focus();
}

function begin(text) {
  composer.text = text;
  composer.focus();
}

// ---- asking

/** Sends what was written. @returns {boolean} was it taken? If not, it stays in the box. */
function send(text) {
  if (running.has(current.id)) return false;
  if (!connection.model) {
    // Just opened, or the server was away: it goes off as soon as there is somebody to answer.
    connection.open().then(() => connection.model && composer.text === text && composer.submit());
    return false;
  }
  if (text.trim()) {
    current.messages.push({ role: "user", text });
    retitle(current);
  }
  ask(current);
  return true;
}

/** Has the last message of a conversation answered. */
async function ask(conversation) {
  const question = conversation.messages.findLast((message) => message.role === "user");
  const answering = new Answering(conversation, connection.model, connection.limits, grown);
  const announcer = new Announcer();
  let isAwaitingFrame = false;
  let saving = 0;
  problems.delete(conversation.id);
  delete question?.refused;
  running.set(conversation.id, answering);
  conversation.updated = Date.now();
  store.save(conversation);
  remember("current", current.id);
  refresh();
  thread.toEnd();
  announce("Answering");

  function grown() {
    if (!answering.isEmpty && !conversation.messages.includes(answering.message)) conversation.messages.push(answering.message);
    saving ||= setTimeout(() => {
      saving = 0;
      keep(conversation);
    }, SAVE_EVERY_MS);
    if (isAwaitingFrame || current !== conversation) return;
    isAwaitingFrame = true; // many tokens may come between two frames
    requestAnimationFrame(() => {
      isAwaitingFrame = false;
      if (running.get(conversation.id) !== answering || current !== conversation) return;
      thread.grow(answering.message);
      announcer.follow(spoken(answering.message));
    });
  }

  try {
    await answering.run();
    if (answering.isEmpty && answering.message.finish !== "cancelled") {
      problems.set(conversation.id, { title: "The model said nothing", text: "It ended its answer at once.", action: "Try again" });
    }
  } catch (error) {
    if (!(error instanceof ServerError)) throw error; // ours
    if (error.kind === "refused" && question) question.refused = true;
    problems.set(conversation.id, problemOf(error, conversation, !answering.isEmpty));
  } finally {
    clearTimeout(saving);
    running.delete(conversation.id);
  }
  conversation.updated = Date.now();
  keep(conversation);
  if (current === conversation) announcer.follow(spoken(answering.message), true);
  refresh();
}

/** Saves what is not deleted. */
function keep(conversation) {
  if (store.conversations.has(conversation.id)) store.save(conversation);
}

/** What to show for an error; begins whatever helps against it. */
function problemOf(error, conversation, hasPart) {
  const { kind, message, retryAfter_s } = error;
  const kept = hasPart ? "What came is kept." : "Your message is kept.";
  if (kind === "offline" || kind === "lost") connection.watch();
  if (kind === "key") askForKey(message, () => connection.open().then(() => current === conversation && retry()));
  return {
    kind,
    title: TITLES[kind],
    text: `${message}${/[.!?]$/.test(message) ? "" : "."} ${kept}`,
    action: kind === "key" ? "Enter the key" : "Try again",
    wait_s: retryAfter_s,
  };
}

function retry() {
  if (problems.get(current.id)?.kind === "key" && !hasKey()) return askForKey(TITLES.key, () => connection.open().then(retry));
  const last = current.messages.at(-1);
  if (running.has(current.id) || !last) return;
  if (last.role === "assistant") regenerate(last);
  else if (connection.model) ask(current);
  else connection.open();
}

/** Ends the answer that is being written, if any; resolves when it has ended. */
async function stop(conversation = current) {
  const answering = running.get(conversation.id);
  answering?.stop();
  while (answering && running.get(conversation.id) === answering) await new Promise((resolve) => setTimeout(resolve, 5));
}

function resend(message, text) {
  restart(message, [{ role: "user", text }], "The conversation goes on from here.");
}

function regenerate(message) {
  restart(message, [], "The answer is replaced.");
}

/** The conversation up to `message`, then `instead`, then a new answer. What was there can be had back. */
async function restart(message, instead, said) {
  const conversation = current;
  await stop(conversation);
  const before = [...conversation.messages];
  const at = before.indexOf(message);
  if (!connection.model) await connection.open();
  if (at < 0 || (!connection.model && !instead.length)) return; // an answer is not given away for none
  conversation.messages = [...before.slice(0, at), ...instead];
  retitle(conversation);
  if (before.length > at + instead.length) notify(said, { action: "Undo", run: () => restore(conversation, before) });
  composer.focus();
  if (connection.model) return ask(conversation);
  store.save(conversation);
  refresh();
}

async function restore(conversation, messages) {
  await stop(conversation);
  conversation.messages = messages;
  problems.delete(conversation.id);
  retitle(conversation);
  store.save(conversation);
  show(conversation);
}

function editLast() {
  const last = current.messages.findLast((message) => message.role === "user");
  if (last) thread.edit(last);
}

/** The commands that set no number: what to say about them; after a ! what was wrong. */
function command(name, rest) {
  switch (name) {
    case "clear":
    case "new":
      startNew();
      return "";
    case "help":
      openShortcuts();
      return "";
    case "system":
      setSystem(rest);
      return rest ? "System prompt set" : "No system prompt";
    case "retry":
      if (!current.messages.length) return "!nothing has been asked yet";
      retry();
      return "";
    default:
      return `!/${name}: no such command; /help lists them, and a space before the / sends it as text`;
  }
}

function setSystem(text) {
  current.system = text;
  prefer({ system: text });
  keep(current);
}

// ---- conversations

function rename(id, title) {
  const conversation = store.conversations.get(id);
  if (!conversation) return; // another tab deleted it
  Object.assign(conversation, { title, named: true });
  store.save(conversation);
  refresh();
}

function remove(id) {
  const conversation = store.conversations.get(id);
  if (!conversation) return;
  stop(conversation);
  store.remove(id);
  if (id === current.id) current = newConversation(preferences.system);
  refresh();
  const bring = () => {
    store.save(conversation);
    show(conversation);
  };
  notify(`“${conversation.title}” is deleted.`, { action: "Undo", run: bring });
}

function removeAll() {
  const all = store.list();
  for (const conversation of all) {
    stop(conversation);
    store.remove(conversation.id);
  }
  show(newConversation(preferences.system));
  const bring = () => {
    for (const conversation of all) store.save(conversation);
    refresh();
  };
  notify(`${counted(all.length)} deleted.`, all.length ? { action: "Undo", run: bring } : {});
}

/** Another tab wrote or deleted a conversation. */
function changedElsewhere(id) {
  const answering = running.get(id);
  problems.delete(id);
  if (answering && store.conversations.has(id)) {
    // It is being answered here too: from now on there are two, and neither tab writes over the other's.
    running.delete(id);
    answering.conversation.id = newId();
    running.set(answering.conversation.id, answering);
    store.save(answering.conversation);
    remember("current", current.id);
    notify(`Another tab changed “${answering.conversation.title}”: what is written here goes into a copy.`);
  } else {
    answering?.stop();
    if (id === current.id) current = store.conversations.get(id) ?? newConversation(preferences.system);
  }
  refresh();
}

// ---- the page itself

/** What the server offers is known, or that it is away. */
function connected() {
  const { offered, model } = connection;
  const select = /** @type {HTMLSelectElement} */ (byId("model"));
  const name = byId("model-name");
  select.hidden = offered.length < 2;
  name.hidden = offered.length !== 1;
  name.textContent = name.title = model?.id ?? "";
  select.replaceChildren(...offered.map(({ id }) => el("option", { value: id, text: id })));
  if (model) select.value = model.id;
  refresh();
}

function settings() {
  const { defaults, isChat, needsKey } = connection;
  const onKey = () => askForKey("The key of this server.", () => connection.open());
  openSettings({ system: current.system, defaults, isChat, needsKey, onSystem: setSystem, onClear: removeAll, onKey });
}

function listen() {
  const on = (id, event, listener) => byId(id).addEventListener(event, listener);
  on("new-chat", "click", startNew);
  on("open-settings", "click", settings);
  on("show-shortcuts", "click", openShortcuts);
  on("theme", "click", nextTheme);
  on("export", "click", () => exportAll(store));
  on("import", "click", () => byId("import-file").click());
  on("import-file", "change", async (event) => {
    const [file] = event.target.files;
    if (file) await importFile(store, file);
    event.target.value = ""; // so that the same file can be chosen again
    refresh();
  });
  on("model", "change", (event) => {
    prefer({ model: event.target.value });
    refresh();
  });
  listenForShortcuts({
    stop: () => running.has(current.id) && stop(),
    startNew,
    settings,
    search: () => sidebar.searchNow(),
    closeDrawer: () => sidebar.isOpen && (sidebar.close(), true),
    focusInput: () => composer.focus(),
  });
}

async function start() {
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-icon]"))) node.prepend(icon(node.dataset.icon));
  showTheme();
  listen();
  store.onproblem = (line) => notify(line);
  store.onchange = changedElsewhere;
  await store.open();
  composer.text = recall("draft");
  show(store.conversations.get(recall("current")) ?? current);
  composer.focus();
  await connection.open();
}

addEventListener("pagehide", () => {
  for (const { conversation } of running.values()) keep(conversation);
});

start();
