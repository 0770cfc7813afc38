/** Inline Markdown to nodes: code, emphasis, links. No HTML: a tag in the text is text. */

import { el } from "./dom.js";

const SAFE_LINK = /^(https?:\/\/[^\s/]|mailto:[^\s])/i;
const BARE_LINK = /^https?:\/\/[^\s<>"'`]+/i;
const SPECIAL = /[\\`*_~[!<h]/g; // where something may begin; all between is plain text
const MARKS = ["***", "**", "*", "___", "__", "_", "~~"];
const TAGS = { "**": "strong", __: "strong", "*": "em", _: "em", "~~": "del" };
const MAX_DEPTH = 8;

/**
 * @param {string} text
 * @returns {Node[]}
 */
export function inline(text, depth = 0) {
  if (depth > MAX_DEPTH) return [document.createTextNode(text)];
  const nodes = [];
  const hopeless = new Set(); // marks that are known to have no end from here on: keeps "****…" linear
  let plain = "";
  const push = (node) => {
    if (plain) nodes.push(document.createTextNode(plain));
    plain = "";
    nodes.push(node);
  };
  let at = 0;
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const next = SPECIAL.exec(text)?.index ?? text.length;
    plain += text.slice(at, next);
    if (next === text.length) break;
    const found = beginsAt(text, next, hopeless, depth);
    if (typeof found.node === "string") plain += found.node;
    else push(found.node);
    at = found.end;
  }
  if (plain) nodes.push(document.createTextNode(plain));
  return nodes;
}

/** What begins at `at`: a node or plain text, and where it ends. */
function beginsAt(text, at, hopeless, depth) {
  const char = text[at];
  const itself = { node: char, end: at + 1 };
  if (char === "\\") {
    const escaped = text[at + 1] ?? "";
    return /[!-/:-@[-`{-~]/.test(escaped) ? { node: escaped, end: at + 2 } : itself;
  }
  if (char === "`") return code(text, at, hopeless);
  if (char === "[") return link(text, at, at, depth, hopeless) ?? itself;
  if (char === "!") return (text[at + 1] === "[" && link(text, at, at + 1, depth, hopeless)) || itself; // an image is never fetched
  if (char === "<") return angleLink(text, at) ?? itself;
  if (char === "h") return bareLink(text, at) ?? itself;
  return emphasis(text, at, hopeless, depth);
}

function code(text, at, hopeless) {
  const fence = /^`+/.exec(text.slice(at, at + 64))[0];
  if (!hopeless.has(fence)) {
    for (let end = text.indexOf(fence, at + fence.length); end >= 0; end = text.indexOf(fence, end)) {
      const run = /^`+/.exec(text.slice(end))[0].length;
      if (run === fence.length) {
        const content = text.slice(at + fence.length, end).replace(/^ (.*\S.*) $/s, "$1");
        return { node: el("code", { text: content }), end: end + run };
      }
      end += run;
    }
    hopeless.add(fence);
  }
  return { node: fence, end: at + fence.length };
}

function emphasis(text, at, hopeless, depth) {
  const mark = MARKS.find((candidate) => text.startsWith(candidate, at));
  if (!mark) return { node: text[at], end: at + 1 };
  const as_text = { node: mark, end: at + mark.length };
  const after = text[at + mark.length] ?? " ";
  const inWord = mark[0] === "_" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? " "); // snake_case is no emphasis
  if (hopeless.has(mark) || inWord || /\s/.test(after)) return as_text;
  for (let end = text.indexOf(mark, at + mark.length + 1); end >= 0; end = text.indexOf(mark, end + 1)) {
    const isClosing = !/\s/.test(text[end - 1]) && text[end - 1] !== "\\" && closes(text, end, mark);
    if (!isClosing) continue;
    const children = inline(text.slice(at + mark.length, end), depth + 1);
    const node =
      mark.length === 3 ? el("strong", {}, el("em", {}, ...children)) : el(TAGS[mark], {}, ...children);
    return { node, end: end + mark.length };
  }
  hopeless.add(mark);
  return as_text;
}

function closes(text, end, mark) {
  const char = mark[0];
  const isWhole = text[end + mark.length] !== char && (mark.length === 3 || text[end - 1] !== char);
  // "**a *b***": the last of three closes the outer one.
  const endsRun = mark.length === 2 && text[end + 2] !== char;
  const inWord = char === "_" && /[\p{L}\p{N}]/u.test(text[end + mark.length] ?? " ");
  return (isWhole || endsRun) && !inWord;
}

function link(text, at, bracket, depth, hopeless) {
  if (hopeless.has("](")) return null;
  const middle = text.indexOf("](", bracket);
  if (middle < 0) hopeless.add("](");
  if (middle < 0 || middle - bracket > 1000 || text.slice(bracket + 1, middle).includes("\n\n")) return null;
  const found = /^\]\(\s*<?([^\s<>]*?)>?(?:\s+"[^"]*")?\s*\)/.exec(balanced(text, middle + 1));
  if (!found) return null;
  const label = text.slice(bracket + 1, middle);
  const end = middle + found[0].length;
  // A target that is neither web nor mail (javascript:, data:, file:, a path) stays what was written.
  if (!SAFE_LINK.test(found[1])) return { node: text.slice(at, end), end };
  return { node: anchor(found[1], inline(label.slice(0, 1000), depth + 1), label), end };
}

/** "](" and on, as far as the parenthesis that closes the first one. */
function balanced(text, open) {
  let level = 0;
  for (let i = open; i < Math.min(text.length, open + 2000); i++) {
    if (text[i] === "(") level++;
    if (text[i] === ")" && --level === 0) return text.slice(open - 1, i + 1);
  }
  return "";
}

function angleLink(text, at) {
  const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i.exec(text.slice(at, at + 2000));
  return found && SAFE_LINK.test(found[1])
    ? { node: anchor(found[1], [found[1]], found[1]), end: at + found[0].length }
    : null;
}

function bareLink(text, at) {
  if (at > 0 && /[\p{L}\p{N}]/u.test(text[at - 1])) return null;
  const found = BARE_LINK.exec(text.slice(at, at + 2000));
  const url = found?.[0].replace(/[.,;:!?*_~)\]]+$/, "");
  return url && SAFE_LINK.test(url) ? { node: anchor(url, [url], url), end: at + url.length } : null;
}

/** A link says where it goes: beside a label that is not the address stands the host. */
function anchor(url, children, label) {
  let host;
  try {
    const parsed = new URL(url);
    if (!["http:", "https:", "mailto:"].includes(parsed.protocol)) return label;
    host = parsed.protocol === "mailto:" ? parsed.pathname : parsed.host;
  } catch {
    return label; // no address at all
  }
  const node = el("a", { href: url, rel: "noopener noreferrer nofollow", target: "_blank", title: url }, ...children);
  if (label === url || label === host) return node;
  return el("span", {}, node, el("span", { class: "link-host", text: ` (${host})` }));
}
