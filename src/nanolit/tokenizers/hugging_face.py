"""Tokenizers that come as a tokenizer.json of other people's making; nothing is trained here.

A byte-level BPE that tiktoken encodes with the same ids becomes our `BPETokenizer`, which is several times as fast.
Everything else (SentencePiece's BPE and Unigram, words, normalized text, several cuts) is encoded by the `tokenizers`
library itself, and may lose what such a tokenizer loses: `decode(encode(text))` need not be `text`.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nanolit.tokenizers.byte_level import to_bytes, to_characters
from nanolit.tokenizers.origin import Origin, added_of, merges_of, open_library
from nanolit.tokenizers.tiktoken_bpe import PATTERNS
from nanolit.tokenizers.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer

# Settings that decide ids and that older files leave out, with what is then meant.
UNSAID = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "use_regex": True, "split": True}

BYTE = re.compile("<0x([0-9A-F]{2})>")  # SentencePiece's spelling of a byte

# --- byte-level BPE --------------------------------------------------------------------------------------------------

# Split patterns that tiktoken's regex engine and the one of `tokenizers` read alike, part by part. They leave out no
# character, because tiktoken would drop it, and have no possessive interval like {1,3}+, which only one engine knows.
_O200K_LETTERS = PATTERNS["o200k_base"].partition(r"|\p{N}")[0]
_PARTS = (
    ("", r"'s|'t|'re|'ve|'m|'ll|'d|", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|", r"'(?i:[sdmt]|ll|ve|re)|"),
    (r" ?\p{L}+|", r"[^\r\n\p{L}\p{N}]?\p{L}+|", r"[^\r\n\p{L}\p{N}]?+\p{L}+|", f"{_O200K_LETTERS}|"),
    (r" ?\p{N}+|", r"\p{N}+|", r"\p{N}|", r"\p{N}{1,2}|", r"\p{N}{1,3}|"),
    (r" ?[^\s\p{L}\p{N}]+", r" ?[^\s\p{L}\p{N}]++"),
    ("|", r"[\r\n]*|", r"[\r\n/]*|"),
    ("", r"\s*[\r\n]+|", r"\s*[\r\n]|"),
    (r"\s+(?!\S)|\s+",),
)
READ_ALIKE = re.compile("".join(f"(?:{'|'.join(map(re.escape, part))})" for part in _PARTS))


def ranks_and_pattern(content: dict[str, Any], specials: dict[str, int]) -> tuple[dict[bytes, int], str] | None:
    """What a `BPETokenizer` is made of, if the tokenizer.json `content` is a byte-level BPE of all bytes; else None."""
    model, decoder = content["model"], content.get("decoder") or {}
    pattern = _split_pattern(content.get("pre_tokenizer") or {})
    if not isinstance(model["vocab"], dict) or "merges" not in model or pattern is None:
        return None
    if content.get("normalizer") or decoder.get("type") != "ByteLevel":
        return None
    if any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")):
        return None
    if any(not token["special"] and token["content"] not in specials for token in added_of(content)):
        return None  # such a token stands for its spelling wherever a text has it: tiktoken knows no such thing
    try:
        ranks = {to_bytes(spelling): rank for spelling, rank in model["vocab"].items() if spelling not in specials}
    except KeyError:  # a character that stands for no byte
        return None
    has_all_bytes = all(bytes([byte]) in ranks for byte in range(256))
    return (ranks, pattern) if has_all_bytes and len(set(ranks.values())) == len(ranks) else None


def _split_pattern(pre_tokenizer: dict[str, Any]) -> str | None:
    parts = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    match [{**UNSAID, **part} for part in parts]:
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return PATTERNS["gpt2"]  # which the library has built in
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return pattern
    return None


def tiktoken_agrees(model: dict[str, Any], ranks: dict[bytes, int], pattern: str) -> bool:
    """Does tiktoken, which merges whatever makes a token, lowest id first, give the ids of this BPE for every text?

    It does if the merges come in the order of the ids that they make, and each token, taken as a text, is merged to
    itself: then the two parts from which tiktoken makes a token are always a pair that the file lists too. Where the
    file says `ignore_merges`, tokens may also be out of reach of both, and found only as a whole piece of text.
    """
    from tokenizers import models

    spellings = {to_characters(token): rank for token, rank in ranks.items()}
    merges = list(merges_of(model))
    made = [spellings.get(left + right, -1) for left, right in merges]
    if not READ_ALIKE.fullmatch(pattern) or made != sorted(made) or -1 in made:
        return False
    merger = models.BPE(vocab=model["vocab"], merges=merges)
    n_parts = {len(merger.tokenize(spelling)) for spelling in spellings}
    return n_parts == {1} or (model.get("ignore_merges", False) and 2 not in n_parts)


# --- everything else -------------------------------------------------------------------------------------------------


class WrappedTokenizer(Vocabulary):
    """What the `tokenizers` library reads, encoded by it, without the tokens that the file adds around a text.

    SentencePiece's tokenizers write a space before a text: `encode("a b")` are the bytes " a b", one more than the text
    has, and `decode` drops it. A continuation keeps its space, as it belongs between the prompt and what follows.
    """

    kind: ClassVar[str] = "hugging_face"
    puts_before: bool = True

    def __init__(self, origin: Origin, content: dict[str, Any]) -> None:
        # Words and Unigram find a special token's name in a text like any other piece, whatever the library is told.
        # So here the names have an ending that no text can know.
        self._ending = secrets.token_hex(16)
        self._library = open_library(json.dumps(_renamed(content, origin.specials, self._ending)))
        self._library.encode_special_tokens = True
        super().__init__(_token_bytes(self._library, content.get("decoder"), origin.specials), origin.specials)
        self._identity = _identity(content, origin.specials)
        self.remember(origin)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the parts of tokenizer.json that decide ids; other settings mean other ids, for all it knows."""
        return self._identity

    def encode(self, text: str) -> list[int]:
        with _one_line_errors():
            return self._library.encode(_clean(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        with _one_line_errors():
            encodings = self._library.encode_batch_fast([*map(_clean, texts)], add_special_tokens=False)
        dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.uint32
        return [np.array(encoding.ids, dtype=dtype) for encoding in encodings]

    def encode_rest(self, text: str) -> np.ndarray:
        """SentencePiece's space stands before the first text only: the rest is encoded behind a text, whose ids go."""
        befores = ("a", "0", ".", "\n") if text[:1].isspace() else ("a\n", ".\n", "\n")  # cut at spaces and line ends
        for before in befores:
            first, both = self.encode_batch([before, before + text])
            if len(both) >= len(first) and (both[: len(first)] == first).all():
                return both[len(first) :]
        return self.encode_batch([text])[0]  # every ending would be merged with its beginning

    def decode(self, ids: Iterable[int]) -> str:
        return self._library.decode(self._known(ids), skip_special_tokens=False).replace(self._ending, "")

    def to_hugging_face(self) -> "HuggingFaceTokenizer":
        assert self.origin is not None
        return open_library(self.origin.text)


def _clean(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode()  # "replace": a lone surrogate has no UTF-8


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the library has no narrower one
        raise ValueError(f"the tokenizer cannot encode this text ({error}); leave out what it does not know") from error


def _renamed(content: dict[str, Any], specials: dict[str, int], ending: str) -> dict[str, Any]:
    """`content` with `ending` at the names of special tokens, and without what changes more than the ids of a text."""
    model = dict(content["model"])
    names = {name: name + ending for name in specials}
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): token_id for piece, token_id in model["vocab"].items()}
    else:
        model["vocab"] = [(names.get(piece, piece), score) for piece, score in model["vocab"]]
    if model.get("unk_token") is not None:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    added = [{**token, "content": names.get(token["content"], token["content"])} for token in added_of(content)]
    dropped = dict.fromkeys(("truncation", "padding", "post_processor"))
    return {**content, **dropped, "model": model, "added_tokens": added}


def _token_bytes(
    library: "HuggingFaceTokenizer", decoder: dict[str, Any] | None, specials: dict[str, int]
) -> list[bytes]:
    """What each token adds to a text that has begun: asked of the library, except for bytes of a character."""
    kinds = {part["type"] for part in (decoder or {}).get("decoders", [decoder or {"type": None}])}
    spellings = {token_id: spelling for spelling, token_id in library.get_vocab().items()}
    tokens = [b""] * (max([*spellings, *specials.values()]) + 1)
    plain = sorted(spellings.keys() - set(specials.values()))
    if "ByteLevel" in kinds:
        for i in plain:
            tokens[i] = _bytes_or_text(spellings[i])
        return tokens
    begun = next((i for i in plain if library.decode([i]).isalnum()), None)
    before = [] if begun is None else [begun]
    n_before = len(library.decode(before))
    for i, text in zip(plain, library.decode_batch([[*before, i] for i in plain]), strict=True):
        byte = BYTE.fullmatch(spellings[i]) if "ByteFallback" in kinds else None
        tokens[i] = bytes.fromhex(byte[1]) if byte else text[n_before:].encode()
    return tokens


def _bytes_or_text(spelling: str) -> bytes:
    try:
        return to_bytes(spelling)
    except KeyError:  # an added token with, for example, real spaces in it
        return spelling.encode()


def _identity(content: dict[str, Any], specials: dict[str, int]) -> str:
    """Hash of what decides ids, where older and newer spellings of the same file are one."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        if not isinstance(value, dict):
            return value
        said = {key: plain(item) for key, item in value.items() if item not in (None, "", UNSAID.get(key))}
        return {key: item for key, item in said.items() if key != "trim_offsets"}  # which decides no id

    model, vocabulary = content["model"], content["model"]["vocab"]
    if isinstance(vocabulary, list):  # of scores that the library itself may write with another last digit
        vocabulary = [[piece, f"{score:.6g}"] for piece, score in vocabulary]
    settings = {key: value for key, value in model.items() if key not in ("type", "vocab", "merges")}
    added = [token for token in added_of(content) if not token["special"]]
    rules = plain([settings, content.get("normalizer"), content.get("pre_tokenizer"), added])
    parts = [rules, vocabulary, list(merges_of(model)), specials]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
