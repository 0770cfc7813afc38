/** All conversations to a file, and back. */

import { exported, imported, newConversation } from "./conversation.js";
import { el } from "./dom.js";
import { notify } from "./notices.js";

const MAX_FILE_MB = 64;

/** @param {import("./store.js").Store} store */
export function exportAll(store) {
  const all = store.list();
  if (!all.length) return notify("There is no conversation to export yet.");
  const url = URL.createObjectURL(new Blob([exported(all)], { type: "application/json" }));
  el("a", { href: url, download: `nanolit-conversations-${new Date().toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * What the file has and the store has not. A conversation that went on differently here is kept beside the file's.
 * @param {import("./store.js").Store} store
 * @param {File} file
 */
export async function importFile(store, file) {
  const size_MB = Math.ceil(file.size / 2 ** 20);
  if (size_MB > MAX_FILE_MB) return notify(`Not imported: the file has ${size_MB} MB, allowed are ${MAX_FILE_MB}.`);
  let found;
  try {
    found = imported(await file.text());
  } catch (error) {
    return notify(`Not imported: ${error.message}.`);
  }
  let nNew = 0;
  for (const conversation of found.conversations) {
    const mine = store.conversations.get(conversation.id);
    if (mine && JSON.stringify(mine.messages) === JSON.stringify(conversation.messages)) continue;
    if (mine) conversation.id = newConversation().id;
    await store.save(conversation);
    nNew++;
  }
  const told = [`${counted(nNew)} imported`];
  const nKnown = found.conversations.length - nNew;
  if (nKnown) told.push(`${nKnown} already here`);
  if (found.faults.length) told.push(`${found.faults.length} left out (${found.faults[0]})`);
  notify(`${told.join(", ")}.`);
}

export const counted = (n) => `${n} ${n === 1 ? "conversation" : "conversations"}`;
