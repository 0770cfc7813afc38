/** The sheet of settings, the question for a key, the list of shortcuts: the page's three dialogs. */

import { hasKey, setKey } from "./api.js";
import { COMMANDS } from "./composer.js";
import { byId, el, iconButton } from "./dom.js";
import { SAMPLING, fault, prefer, preferences } from "./preferences.js";

const SHORTCUTS = {
  Enter: "send the message",
  "Shift+Enter": "new line",
  Escape: "stop the answer, close what is open",
  "Ctrl+Shift+O": "new conversation",
  "Ctrl+K": "search the conversations",
  "Ctrl+,": "settings",
  "/": "go to the message box",
  "↑ in the empty box": "edit the last message",
  "?": "this list",
};

/** @param {HTMLDialogElement} dialog */
function open(dialog, ...content) {
  dialog.replaceChildren(...content);
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close(); // a click beside it
  };
  dialog.onclose = () => dialog.replaceChildren();
  dialog.showModal();
}

const head = (id, title, dialog) => el("div", { class: "dialog-head" }, el("h2", { id, text: title }), iconButton("close", "Close", () => dialog.close()));

/**
 * @param {{system: string, defaults: Record<string, any>, isChat: boolean, needsKey: boolean, onSystem: (text: string) => void,
 *   onClear: () => void, onKey: () => void}} now
 */
export function openSettings({ system, defaults, isChat, needsKey, onSystem, onClear, onKey }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("settings"));
  const area = el("textarea", { id: "system", rows: "4", maxlength: "8000", placeholder: "None", "aria-describedby": "system-hint" });
  area.value = system;
  area.addEventListener("input", () => onSystem(area.value));
  const rows = Object.keys(SAMPLING).map((name) => samplingRow(name, defaults[name]));
  const reset = el("button", { type: "button", class: "quiet-button", text: "Use the server's settings" });
  reset.addEventListener("click", () => {
    prefer(Object.fromEntries(Object.keys(SAMPLING).map((name) => [name, undefined])));
    for (const row of rows) row.refresh();
  });
  const clear = el("button", { type: "button", class: "quiet-button danger", text: "Delete all conversations" });
  clear.addEventListener("click", () => {
    dialog.close();
    onClear();
  });
  const keyButton = el("button", { type: "button", class: "quiet-button", text: hasKey() ? "Change or forget the key" : "Enter a key" });
  keyButton.addEventListener("click", () => {
    dialog.close();
    onKey();
  });
  open(
    dialog,
    head("settings-title", "Settings", dialog),
    el(
      "div",
      { class: "dialog-body" },
      isChat
        ? section("System prompt", el("label", { for: "system", class: "visually-hidden", text: "System prompt" }), area, el("p", { id: "system-hint", class: "setting-hint", text: "Stands before the first message of this conversation; new ones begin with it." }))
        : null,
      section("Sampling", ...rows.map((row) => row.node), reset),
      section(
        "Answers",
        checkbox("probabilities", "Token probabilities", "Asks for them with each answer and shows it token by token."),
        checkbox("forget", "Forget the oldest messages", "When a conversation outgrows the model, the oldest turns are not sent; otherwise the server refuses."),
      ),
      section("This browser", clear, needsKey || hasKey() ? keyButton : null),
    ),
  );
}

const section = (title, ...children) => el("section", { "aria-label": title }, el("h3", { text: title }), ...children);

function checkbox(name, label, hint) {
  const box = el("input", { type: "checkbox", id: name, "aria-describedby": `${name}-hint` });
  box.checked = preferences[name];
  box.addEventListener("change", () => prefer({ [name]: box.checked }));
  return el("div", { class: "check" }, box, el("label", { for: name, text: label }), el("p", { id: `${name}-hint`, class: "setting-hint", text: hint }));
}

/** A number, with a slider where its range is small. Empty means: the server's. */
function samplingRow(name, byServer) {
  const { label, min, max, step, hint } = SAMPLING[name];
  const told = byServer ?? (name === "seed" ? "random" : name === "temperature" ? 1 : "off");
  const field = el("input", { type: "number", id: name, min, max, step, placeholder: String(told), inputmode: "decimal", "aria-describedby": `${name}-hint` });
  const slider = step < 1 ? el("input", { type: "range", min, max, step, "aria-label": `${label}, slider`, tabindex: "-1" }) : null;
  const said = el("p", { id: `${name}-hint`, class: "setting-hint" });
  const refresh = () => {
    field.value = preferences[name] ?? "";
    show(null);
  };
  const show = (wrong) => {
    said.textContent = wrong ?? hint;
    said.classList.toggle("fault", wrong !== null);
    field.setAttribute("aria-invalid", String(wrong !== null));
    if (slider && wrong === null) slider.value = String(preferences[name] ?? (typeof told === "number" ? told : max));
  };
  field.addEventListener("input", () => {
    const isBroken = field.validity.badInput; // "1e": its value reads as empty
    const wrong = isBroken ? fault(name, NaN) : field.value === "" ? null : fault(name, Number(field.value));
    if (wrong === null) prefer({ [name]: field.value === "" ? undefined : Number(field.value) });
    show(wrong);
  });
  slider?.addEventListener("input", () => {
    prefer({ [name]: Number(slider.value) });
    refresh();
  });
  refresh();
  const node = el("div", { class: "setting" }, el("label", { for: name, text: label }), slider, field, said);
  return { node, refresh };
}

/** Asks for the server's key. @param {(isGiven: boolean) => void} then */
export function askForKey(said, then) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("key-dialog"));
  if (dialog.open) return;
  const field = el("input", { type: "password", id: "key", autocomplete: "off", "aria-describedby": "key-hint" });
  const forget = hasKey() ? el("button", { type: "button", class: "quiet-button", text: "Forget the key" }) : null;
  forget?.addEventListener("click", () => {
    setKey("");
    dialog.close();
  });
  const form = el(
    "form",
    { class: "dialog-body" },
    el("p", { text: said }),
    el("label", { for: "key", text: "Key" }),
    field,
    el("p", { id: "key-hint", class: "setting-hint", text: "Kept until this tab is closed, and sent to this server only." }),
    el("div", { class: "edit-buttons" }, forget, el("button", { type: "submit", class: "accent-button", text: "Use this key" })),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = field.value.trim();
    if (!key) return field.focus();
    if (!/^[\x21-\x7e]+$/.test(key)) return field.setCustomValidity("a key has no spaces and no accents"), field.reportValidity();
    setKey(key);
    dialog.close();
    then(true);
  });
  field.addEventListener("input", () => field.setCustomValidity(""));
  open(dialog, head("key-title", "The server asks for a key", dialog), form);
  field.focus();
}

export function openShortcuts() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("shortcuts"));
  const rows = (entries, tag) => el("dl", {}, ...Object.entries(entries).flatMap(([key, text]) => [el("dt", {}, el(tag, { text: key })), el("dd", { text })]));
  open(
    dialog,
    head("shortcuts-title", "Shortcuts", dialog),
    el("div", { class: "dialog-body" }, rows(SHORTCUTS, "kbd"), el("h3", { text: "Commands in the message box" }), rows(COMMANDS, "code")),
  );
}
