"""A tokenizer in the metadata of a GGUF file: byte-level BPE, and SentencePiece's BPE where its scores can be told.

llama.cpp cuts text by rules of its own, chosen by name; the names that mean our patterns stand below. What it will do
otherwise than the tokenizer is told in sentences. Kinds that it does not have (characters, words) are refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nanolit.runtime.files import read_json
from nanolit.tokenizers.bpe import SPLIT_PATTERN
from nanolit.tokenizers.origin import CONFIG, TOKENIZER, added_of, merges_of
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.tokenizers.tiktoken_bpe import PATTERNS

# What a text is cut by before merging -> llama.cpp's name for it.
CUTS = {
    PATTERNS["gpt2"]: "gpt-2",
    PATTERNS["cl100k_base"]: "llama-bpe",
    PATTERNS["cl100k_base"].replace("{1,3}", ""): "qwen2",
    PATTERNS["o200k_base"]: "gpt-4o",
    SPLIT_PATTERN: "llama-bpe",
    f"digits, {PATTERNS['gpt2']}": "smollm",
}
INEXACT = {
    PATTERNS[
        "o200k_base"
    ]: "counts no combining marks as letters and tells capitals beyond A to Z from no others where it cuts words",
    SPLIT_PATTERN: "cuts numbers into runs of three digits, the tokenizer into runs of two",
}
# Spellings of parts that cut alike.
ALIKE = {
    "'(?i:[sdmt]|ll|ve|re)|": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|",
    r"\s*[\r\n]|": r"\s*[\r\n]+|",
    "]?+": "]?",
    "]++": "]+",
}
SPACE = "▁"  # SentencePiece's
LOWEST = -1e9  # the score of what should be merged last
SUPPRESS = "tokenizer.ggml.suppress_tokens"  # the package has no name for it yet
REMEDY = "tokenizer=none writes the model without"


@dataclass
class Vocabulary:
    """What the file says of a tokenizer beside its tokens."""

    model: str
    pre: str
    merges: list[str] = field(default_factory=list)
    scores: Mapping[str, float] = field(default_factory=dict)
    add_space_prefix: bool | None = None
    notes: list[str] = field(default_factory=list)


def add_tokenizer(gguf: Any, writer: Any, tokenizer: Tokenizer | None, vocab_size: int, n_rows: int) -> list[str]:
    """Tokens for all `n_rows` of the model's tables, of which `vocab_size` may be drawn; what differs, in sentences."""
    if tokenizer is None:
        writer.add_tokenizer_model("none")
        return []
    if tokenizer.vocab_size > vocab_size:
        raise ValueError(f"tokenizer: has {tokenizer.vocab_size} ids, the model {vocab_size}; give the model's own")
    with TemporaryDirectory() as folder:  # the files say it for every kind of tokenizer
        tokenizer.save(folder)
        content, config = (read_json(Path(folder) / name) for name in (TOKENIZER, CONFIG))
    found = describe(content)
    tokens, types = spellings(content, n_rows)
    if len(set(tokens)) < n_rows:
        raise ValueError(f"tokenizer: two ids have one spelling, which llama.cpp refuses; {REMEDY}")
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType[kind]) for kind in types])
    if found.merges:
        writer.add_token_merges(found.merges)
    if found.scores:
        writer.add_token_scores([found.scores.get(token, LOWEST) for token in tokens])
    if found.add_space_prefix is not None:
        writer.add_add_space_prefix(found.add_space_prefix)
    found.notes += _add_special_ids(writer, tokenizer, content, config, tokens)
    unused = [token_id for token_id, kind in enumerate(types) if kind == "UNUSED"]
    if unused:
        writer.add_key_value(SUPPRESS, unused, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT32)
        found.notes.append(
            f"tokenizer: {len(unused)} of {n_rows} ids stand for no token and are listed as unused [PAD…]; "
            "llama.cpp draws none of them if it is new enough to know suppress_tokens"
        )
    return found.notes


def describe(content: dict[str, Any]) -> Vocabulary:
    """How llama.cpp is to read the tokenizer.json `content`; ValueError if it cannot."""
    model, decoder = content["model"], content.get("decoder") or {}
    kind = model.get("type", "BPE" if "merges" in model else "of an unknown kind")
    if kind == "BPE" and model.get("byte_fallback"):
        found = _sentence_piece(content)
    elif kind == "BPE" and decoder.get("type") == "ByteLevel":
        found = _byte_level(content)
    else:
        raise ValueError(
            f"tokenizer: llama.cpp reads byte-level BPE and SentencePiece's BPE, and this is {kind}; {REMEDY}"
        )
    if any(token.get(key) for token in added_of(content) for key in ("lstrip", "rstrip", "single_word")):
        found.notes.append("tokenizer: has tokens that take in the spaces beside them, which they do not in llama.cpp")
    return found


def spellings(content: dict[str, Any], n_rows: int) -> tuple[list[str], list[str]]:
    """Each id's token and its type, by GGUF's name; ids that stand for nothing are UNUSED."""
    model = content["model"]
    by_id = {token_id: (token, "NORMAL") for token, token_id in model["vocab"].items()}
    if model.get("byte_fallback"):
        by_id |= {i: (token, "BYTE") for i, (token, _) in by_id.items() if re.fullmatch("<0x[0-9A-F]{2}>", token)}
    for token in added_of(content):
        text = token["content"]
        if model.get("byte_fallback") and not token["special"]:
            text = text.replace(SPACE, " ")  # llama.cpp looks for it in the text as it was given
        by_id[token["id"]] = (text, "CONTROL" if token["special"] else "USER_DEFINED")
    if model.get("byte_fallback") and model.get("unk_token") in model["vocab"]:
        by_id[model["vocab"][model["unk_token"]]] = (model["unk_token"], "UNKNOWN")
    pairs = [by_id.get(i, (f"[PAD{i}]", "UNUSED")) for i in range(n_rows)]
    return [token for token, _ in pairs], [kind for _, kind in pairs]


# Byte-level BPE


def _byte_level(content: dict[str, Any]) -> Vocabulary:
    found = Vocabulary("gpt2", "default", [f"{left} {right}" for left, right in merges_of(content["model"])])
    if content.get("normalizer"):
        found.notes.append(f"tokenizer: llama.cpp leaves out its normalizer, {content['normalizer'].get('type')}")
    if not found.merges:  # bytes, however a text is cut
        found.pre = "gpt-2"
        # llama.cpp insists on a list and the package writes none that is empty; no text has two such symbols.
        found.merges = ["<none> <none>"]
        return found
    cut, prefixes = _cut(content.get("pre_tokenizer") or {})
    if prefixes:
        found.notes.append("tokenizer: puts a space before every text, which llama.cpp does not: write it yourself")
    found.pre = CUTS.get(cut, "default")
    if cut not in CUTS:
        found.notes.append(
            "tokenizer: llama.cpp has no rule that cuts text as this one does and takes its default, so that some "
            f"texts become other tokens than the model has learnt; the rule is {cut or 'not to cut'}"
        )
    elif cut in INEXACT:
        found.notes.append(f"tokenizer: llama.cpp {INEXACT[cut]}; such texts become other tokens")
    return found


def _cut(pre_tokenizer: dict[str, Any]) -> tuple[str, bool]:
    """By what a text is cut, as CUTS spells it, and whether a space is put before it."""
    rules, prefixes = [], False
    for part in pre_tokenizer.get("pretokenizers", [pre_tokenizer]):
        if part.get("type") == "ByteLevel":
            prefixes = prefixes or part.get("add_prefix_space", True)
            rules += [PATTERNS["gpt2"]] if part.get("use_regex", True) else []
        elif part.get("type") == "Digits" and part.get("individual_digits"):
            rules.append("digits")
        elif part.get("type") == "Split" and part.get("behavior") == "Isolated" and not part.get("invert"):
            rules.append(part["pattern"].get("Regex", "a string"))
        else:
            rules.append(str(part.get("type")))
    cut = ", ".join(rules)
    for spelling, plain in ALIKE.items():
        cut = cut.replace(spelling, plain)
    return cut, prefixes


# SentencePiece's BPE


def _sentence_piece(content: dict[str, Any]) -> Vocabulary:
    """Text with ▁ for spaces, merged as a whole; bytes for characters that are no token."""
    normalizer, cutter = content.get("normalizer") or {}, content.get("pre_tokenizer") or {}
    steps = [*normalizer.get("normalizers", [normalizer]), *cutter.get("pretokenizers", [cutter])]
    prefixes, keeps_space = False, False
    for step in filter(None, steps):
        match step:
            case {"type": "Prepend", "prepend": "▁"}:
                prefixes = True
            case {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}:
                pass
            case {"type": "Metaspace", "replacement": "▁", "split": False}:
                keeps_space = prefixes = step.get("prepend_scheme", "always") != "never"
            case _:
                raise ValueError(
                    f"tokenizer: its step {step.get('type')} is none that llama.cpp takes before merging; {REMEDY}"
                )
    found = Vocabulary("llama", "default", scores=_scores(content), add_space_prefix=prefixes)
    if keeps_space:
        found.notes.append(
            "tokenizer: llama.cpp puts a space before every text, also before one that begins with a space"
        )
    return found


def _scores(content: dict[str, Any]) -> dict[str, float]:
    """llama.cpp merges the neighbours whose union has the highest score, `tokenizers` the pair that is listed first.

    That is the same where all pairs that make a token are listed, and in one place, as in what SentencePiece made.
    """
    vocabulary, merges = content["model"]["vocab"], list(merges_of(content["model"]))
    is_added = {token["content"] for token in added_of(content)}
    scores: dict[str, float] = {}
    last = ""
    for left, right in merges:
        if left + right in scores and left + right != last:
            raise ValueError(
                f"tokenizer: pairs that make {last!r} stand among others, which no scores can say; {REMEDY}"
            )
        last = left + right
        scores.setdefault(last, -float(len(scores)))
    pairs = set(merges)
    for token in vocabulary.keys() - is_added:
        for left, right in ((token[:i], token[i:]) for i in range(1, len(token))):
            if left in vocabulary and right in vocabulary and (left, right) not in pairs:
                raise ValueError(
                    f"tokenizer: never merges {left!r} and {right!r}, though {token!r} is a token; llama.cpp would, so "
                    f"texts would become other tokens; {REMEDY}"
                )
    missing = [f"<0x{byte:02X}>" for byte in range(256) if f"<0x{byte:02X}>" not in vocabulary]
    if missing:
        raise ValueError(f"tokenizer: has no token for the byte {missing[0]}, which llama.cpp needs; {REMEDY}")
    return scores


# Special tokens


def _add_special_ids(
    writer: Any, tokenizer: Tokenizer, content: dict[str, Any], config: dict[str, Any], tokens: list[str]
) -> list[str]:
    ids = content["model"]["vocab"] | {token["content"]: token["id"] for token in added_of(content)}
    told = {key: config.get(f"{key}_token") for key in ("bos", "pad", "unk")}
    named = {key: ids.get(name["content"] if isinstance(name, dict) else name) for key, name in told.items() if name}
    end = tokenizer.eot_id
    begin = next((i for i in (tokenizer.bos_id, named.get("bos"), end) if i is not None), None)
    for add, token_id in (
        (writer.add_bos_token_id, begin),
        (writer.add_eos_token_id, end),
        (writer.add_unk_token_id, named.get("unk")),
        (writer.add_pad_token_id, named.get("pad")),
    ):
        if token_id is not None:
            add(token_id)
    writer.add_add_bos_token(tokenizer.bos_id is not None)
    if config.get("chat_template"):
        writer.add_chat_template(config["chat_template"])
    if end is not None:
        return []
    assumed = 2 if content["model"].get("byte_fallback") else 11
    if assumed >= len(tokens):
        return []
    return [f"tokenizer: names no end of text, and llama.cpp takes id {assumed}, {tokens[assumed]!r}, for one"]
