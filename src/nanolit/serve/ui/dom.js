/** Building the page out of nodes. Text only ever becomes a text node, so nothing that a model or a file says is markup. */

const SVG = "http://www.w3.org/2000/svg"; // a namespace's name, never fetched

/** 20 by 20, drawn with a pen. */
const ICONS = {
  plus: "M10 4v12M4 10h12",
  search: "M9 4a5 5 0 1 0 0 10A5 5 0 0 0 9 4Zm4 9 4 4",
  sliders: "M3 6h7m4 0h3M12 4v4M3 14h3m4 0h7M8 12v4",
  menu: "M3 5.5h14M3 10h14M3 14.5h14",
  close: "M5 5l10 10M15 5 5 15",
  copy: "M7.5 7.5h8v9h-8zM12.5 7V3.5h-8v9H7",
  check: "M4 10.5l4 4 8-9",
  edit: "M4 16l1-4 8.5-8.5 3 3L8 15ZM12 5l3 3",
  again: "M16 5v4h-4M15.7 9A6 6 0 1 0 16 12",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10.5h6.6L14 6",
  send: "M10 16V4M5 9l5-5 5 5",
  stop: "M6 6h8v8H6z",
  down: "M10 4v12M5 11l5 5 5-5",
  download: "M10 3v10M6 9.5l4 4 4-4M4 16.5h12",
  upload: "M10 13.5v-10M6 7l4-4 4 4M4 16.5h12",
  keyboard: "M2.5 5.5h15v9h-15zM5.5 8.5h.01M8.5 8.5h.01M11.5 8.5h.01M14.5 8.5h.01M6.5 11.7h7",
  alert: "M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM10 6.5v4.5M10 13.5h.01",
  bars: "M4 16V9M8 16V4M12 16v-5M16 16V7",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7ZM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16 12A7 7 0 0 1 8 4a6.5 6.5 0 1 0 8 8Z",
  system: "M3 4.5h14v9H3zM7 16.5h6M10 13.5v3",
};

/**
 * A new element. `props`: class, text, on (event name -> listener), and attributes; a value of null or false is left out.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node|string|null|undefined)} children
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon and is called `label`. */
export function iconButton(name, label, click, props = {}) {
  const button = el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, ...props }, icon(name));
  button.addEventListener("click", click);
  return button;
}

export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** Copies, and lets `button` show for a moment that it has. */
export async function copyText(text, button) {
  if (button.dataset.copied) return; // still saying so
  button.dataset.copied = "true";
  const copied = await toClipboard(text);
  const before = [...button.childNodes];
  const label = button.getAttribute("aria-label");
  button.replaceChildren(icon(copied ? "check" : "close"));
  button.setAttribute("aria-label", copied ? "Copied" : "The browser did not allow copying");
  setTimeout(() => {
    button.replaceChildren(...before);
    delete button.dataset.copied;
    if (label === null) button.removeAttribute("aria-label");
    else button.setAttribute("aria-label", label);
  }, 1400);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard's interface is missing where the address is neither loopback nor https: the old way, then.
    const area = el("textarea", { class: "visually-hidden", "aria-hidden": "true" });
    area.value = text;
    const focused = document.activeElement;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return copied;
  }
}
