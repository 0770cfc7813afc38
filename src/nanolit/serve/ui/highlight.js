/** A light hand of colour for code: comments, strings, numbers, keywords. One regular expression per manner of comment. */

import { el } from "./dom.js";

const KEYWORDS = new Set(
  (
    "and as assert async await break case catch class const continue def default del do elif else enum except export extends " +
    "false False finally fn for from func function global if impl import in interface is lambda let match mod mut new " +
    "nil None nonlocal not null or pass pub raise return self static struct super switch this throw true True try type " +
    "typeof undefined use var void while with yield"
  ).split(" "),
);
const HASH = new Set(["python", "py", "bash", "sh", "shell", "yaml", "yml", "toml", "ruby", "rb", "r"]);
const SLASH = new Set(["javascript", "js", "typescript", "ts", "json", "c", "cpp", "c++", "java", "go", "rust", "rs", "css", "swift", "kotlin"]);
const STRING = String.raw`"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|` + "`(?:\\\\.|[^`\\\\])*`?";
const REST = String.raw`(?<number>\b\d[\d_.]*(?:[eE][+-]?\d+)?\b)|(?<word>[\p{L}_$][\p{L}\p{N}_$]*)`;
const MAX_CHARS = 20_000; // longer code stays plain

/**
 * @param {string} code
 * @param {string} language
 * @returns {(Node|string)[]}
 */
export function highlight(code, language) {
  const name = language.toLowerCase();
  const comment = HASH.has(name) ? "#[^\\n]*" : SLASH.has(name) ? "//[^\\n]*|/\\*[\\s\\S]*?(?:\\*/|$)" : null;
  if (!comment || code.length > MAX_CHARS) return [code];
  const pattern = new RegExp(`(?<comment>${comment})|(?<string>${STRING})|${REST}`, "gu");
  const nodes = [];
  let at = 0;
  for (const found of code.matchAll(pattern)) {
    const { comment: isComment, string, number, word } = found.groups;
    const kind = isComment ? "comment" : string ? "string" : number ? "number" : KEYWORDS.has(word) ? "keyword" : null;
    if (!kind) continue;
    nodes.push(code.slice(at, found.index), el("span", { class: `hl-${kind}`, text: found[0] }));
    at = found.index + found[0].length;
  }
  nodes.push(code.slice(at));
  return nodes.filter((node) => node !== "");
}
