// A plain script in the head, not a module: it sets the remembered theme before anything is painted.
"use strict";
(() => {
  let theme = null;
  try {
    theme = JSON.parse(localStorage.getItem("nanolit.preferences") ?? "{}").theme;
  } catch {
    // Storage is forbidden or holds something else: the system's theme will do.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
