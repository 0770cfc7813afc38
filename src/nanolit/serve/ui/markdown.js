/** Markdown blocks to nodes, and a view that redraws only what changed while an answer streams in. */

import { copyText, el, icon } from "./dom.js";
import { highlight } from "./highlight.js";
import { inline } from "./inline.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])\s*(?:\1\s*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const MAX_DEPTH = 6; // quotes in lists in quotes …: deeper ones are text

/**
 * @typedef {{kind: string, source: string, [key: string]: any}} Block
 * @param {string} text
 * @returns {Block[]}
 */
export function parse(text, depth = 0) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const [block, end] = blockAt(lines, at, depth);
    blocks.push({ ...block, source: `${block.kind}\n${lines.slice(at, end).join("\n")}` });
    at = end;
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  let found;
  if ((found = FENCE.exec(line))) return fenced(lines, at, found[1], found[2]);
  if ((found = HEADING.exec(line))) return [{ kind: "heading", level: found[1].length, text: found[2] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (QUOTE.test(line) && depth < MAX_DEPTH) return quote(lines, at, depth);
  if (ITEM.test(line) && depth < MAX_DEPTH) return list(lines, at, depth);
  if (line.includes("|") && TABLE_RULE.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) return table(lines, at);
  return paragraph(lines, at, depth);
}

function fenced(lines, at, fence, info) {
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}\\s*$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end++;
  const language = /^[\w+#.-]{1,24}/.exec(info.trim())?.[0] ?? "";
  return [{ kind: "code", language, text: lines.slice(at + 1, end).join("\n") }, Math.min(end + 1, lines.length)];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [{ kind: "quote", blocks: parse(inner.join("\n"), depth + 1) }, end];
}

function list(lines, at, depth) {
  const isOrdered = (marker) => /\d/.test(marker);
  const first = ITEM.exec(lines[at]);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const found = ITEM.exec(lines[end]);
    if (!found || isOrdered(found[2]) !== isOrdered(first[2]) || RULE.test(lines[end])) break;
    const width = found[0].length;
    const item = [lines[end].slice(width)];
    end++;
    while (end < lines.length) {
      const line = lines[end];
      const isBlank = !line.trim();
      const indent = line.length - line.trimStart().length;
      if (isBlank && !/^\s/.test(lines[end + 1] ?? "")) break;
      if (!isBlank && indent < 2 && (ITEM.test(line) || !lines[end - 1].trim() || interrupts(line))) break;
      item.push(line.slice(Math.min(indent, width)));
      end++;
    }
    items.push(parse(item.join("\n"), depth + 1));
    if (!lines[end]?.trim() && ITEM.test(lines[end + 1] ?? "")) end++; // items may stand apart
  }
  return [{ kind: "list", start: isOrdered(first[2]) ? Number.parseInt(first[2], 10) : null, items }, end];
}

function table(lines, at) {
  const cells = (line) =>
    line
      .trim()
      .replace(/^\||(?<!\\)\|$/g, "")
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replace(/\\\|/g, "|"));
  const aligns = cells(lines[at + 1]).map((cell) =>
    cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "end") : "start",
  );
  let end = at + 2;
  while (end < lines.length && lines[end].trim() && lines[end].includes("|")) end++;
  return [{ kind: "table", head: cells(lines[at]), aligns, rows: lines.slice(at + 2, end).map(cells) }, end];
}

function paragraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !interrupts(lines[end], depth)) end++;
  return [{ kind: "paragraph", text: lines.slice(at, end).join("\n") }, end];
}

function interrupts(line, depth = 0) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || (depth < MAX_DEPTH && (QUOTE.test(line) || ITEM.test(line)));
}

/** @param {Block} block */
function draw(block) {
  switch (block.kind) {
    case "code":
      return codeBlock(block.text, block.language);
    case "heading": // below the page's own headings, whatever the answer says
      return el("p", { role: "heading", "aria-level": Math.min(block.level + 2, 6), class: `h${block.level}` }, ...inline(block.text));
    case "rule":
      return el("hr");
    case "quote":
      return el("blockquote", {}, ...block.blocks.map(draw));
    case "list": {
      const items = block.items.map((blocks) => el("li", {}, ...drawItem(blocks)));
      return block.start === null ? el("ul", {}, ...items) : el("ol", { start: block.start }, ...items);
    }
    case "table":
      return drawTable(block);
    default:
      return el("p", {}, ...withBreaks(block.text));
  }
}

/** An item that begins with a paragraph shows it without a paragraph's space. */
function drawItem(blocks) {
  const [first, ...rest] = blocks;
  return first?.kind === "paragraph" ? [...withBreaks(first.text), ...rest.map(draw)] : blocks.map(draw);
}

/** Lines stay lines: models that write verse mean them. */
function withBreaks(text) {
  const nodes = inline(text.replace(/^[ \t]+/gm, ""));
  for (const node of nodes) if (node.nodeType === Node.TEXT_NODE) node.data = node.data.replace(/(\\| {2,})\n/g, "\n");
  return nodes; // .prose p has white-space: pre-line
}

function drawTable({ head, aligns, rows }) {
  const row = (cells, tag) =>
    el("tr", {}, ...head.map((_, i) => el(tag, { class: `align-${aligns[i] ?? "start"}`, scope: tag === "th" ? "col" : null }, ...inline(cells[i] ?? ""))));
  const body = el("table", {}, el("thead", {}, row(head, "th")), el("tbody", {}, ...rows.map((cells) => row(cells, "td"))));
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, body);
}

function codeBlock(text, language) {
  const copy = el("button", { type: "button", class: "code-copy", "aria-label": "Copy this code", title: "Copy this code" }, icon("copy"));
  copy.addEventListener("click", () => copyText(text, copy));
  return el(
    "figure",
    { class: "code" },
    el("figcaption", {}, el("span", { text: language || "text" }), copy),
    el("pre", { tabindex: "0", role: "region", "aria-label": language ? `Code in ${language}` : "Code" }, el("code", {}, ...highlight(text, language))),
  );
}

/** Shows a text that grows. Blocks whose source did not change keep their nodes, and with them the reader's selection. */
export class MarkdownView {
  node = el("div", { class: "prose" });
  #drawn = /** @type {{source: string, node: Node}[]} */ ([]);
  #text = "";

  /** @param {string} text */
  update(text) {
    if (text === this.#text) return;
    this.#text = text;
    const blocks = parse(text);
    let same = 0;
    while (same < blocks.length && same < this.#drawn.length && blocks[same].source === this.#drawn[same].source) same++;
    for (const { node } of this.#drawn.splice(same)) node.parentNode?.removeChild(node);
    for (const block of blocks.slice(same)) {
      const node = draw(block);
      this.node.append(node);
      this.#drawn.push({ source: block.source, node });
    }
  }
}
