/** Light, dark or as the system has it: the button that goes through the three. theme.js sets it at the next start. */

import { byId, icon } from "./dom.js";
import { prefer, preferences } from "./preferences.js";

const LABELS = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
const ICONS = { system: "system", light: "sun", dark: "moon" };

export function showTheme() {
  const theme = preferences.theme in LABELS ? preferences.theme : "system";
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const button = byId("theme");
  button.replaceChildren(icon(ICONS[theme]));
  button.title = LABELS[theme];
  button.setAttribute("aria-label", LABELS[theme]);
}

export function nextTheme() {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  // After the system's comes the other one, so that the first press shows something.
  const order = isDark ? ["system", "light", "dark"] : ["system", "dark", "light"];
  prefer({ theme: order[(order.indexOf(preferences.theme) + 1) % order.length] });
  showTheme();
}
