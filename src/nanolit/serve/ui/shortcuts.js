/** The keyboard: what a key does wherever the focus is. settings.js lists them for the user. */

import { openShortcuts } from "./settings.js";

/** @param {{stop: () => any, startNew: () => void, settings: () => void, search: () => void, closeDrawer: () => any, focusInput: () => void}} actions */
export function listenForShortcuts({ stop, startNew, settings, search, closeDrawer, focusInput }) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return; // a dialog closes itself on Escape
    const withControl = (event.ctrlKey || event.metaKey) && !event.altKey;
    const key = event.key?.toLowerCase(); // none when a browser fills a field in
    const isWriting = event.target instanceof HTMLElement && event.target.matches("textarea, input:not([type=checkbox]), select");
    const isPlain = !withControl && !event.altKey && !isWriting;
    let act = null;
    if (key === "escape") act = () => closeDrawer() || stop();
    else if (withControl && event.shiftKey && key === "o") act = startNew;
    else if (withControl && !event.shiftKey && key === "k") act = search;
    else if (withControl && !event.shiftKey && key === ",") act = settings;
    else if (isPlain && key === "/") act = focusInput;
    else if (isPlain && key === "?") act = openShortcuts;
    if (!act) return;
    event.preventDefault();
    act();
  });
}
