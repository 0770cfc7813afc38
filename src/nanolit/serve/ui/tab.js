/** What lasts as long as the tab: over a reload, not beyond. */

/** @param {string} name @param {string} value "" forgets it */
export function remember(name, value) {
  try {
    if (value) sessionStorage.setItem(`nanolit.${name}`, value);
    else sessionStorage.removeItem(`nanolit.${name}`);
  } catch {
    // Forbidden or full: a reload forgets it.
  }
}

/** @returns {string} "" for what is not known */
export function recall(name) {
  try {
    return sessionStorage.getItem(`nanolit.${name}`) ?? "";
  } catch {
    return "";
  }
}
