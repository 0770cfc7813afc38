"""A tokenizer as a folder, and a tokenizer from the configuration.

`tokenizer.json` is in the format of Hugging Face's `tokenizers` for every kind, and it alone carries the vocabulary;
`tokenizer_config.json` says the kind and what `transformers` wants to know. A folder that nanolit did not write is read
too, with or without the second file. Loading needs no network.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nanolit.runtime.files import atomic_path, write_json
from nanolit.runtime.typed import refuse_unread
from nanolit.tokenizers.bpe import SPLIT_PATTERN, BPETokenizer, train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.chat import chat_template, has_chat_tokens
from nanolit.tokenizers.hugging_face import READ_ALIKE, WrappedTokenizer, ranks_and_pattern, tiktoken_agrees
from nanolit.tokenizers.origin import CONFIG, TOKENIZER, Origin, n_ids, read_origin, words_of
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.tokenizers.tiktoken_bpe import FILES, N_IDS, PATTERNS, TiktokenTokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS, END_OF_TEXT, Vocabulary
from nanolit.tokenizers.words import WordTokenizer, arithmetic_tokenizer, grokking_tokenizer

log = logging.getLogger("nanolit")

BPE_KINDS = {cls.kind: cls for cls in (BPETokenizer, TiktokenTokenizer)}
KINDS = (ByteTokenizer.kind, CharTokenizer.kind, WordTokenizer.kind, *BPE_KINDS, WrappedTokenizer.kind)


NAMED_PATTERNS = {"gpt2": PATTERNS["gpt2"], "gpt4": PATTERNS["cl100k_base"], "gpt4o": PATTERNS["o200k_base"]}
SPECIALS = {"end_of_text": (END_OF_TEXT,), "chat": CHAT_SPECIALS}
MAX_TRAIN_CHARS = 2**31 - 1  # the trainer counts pairs in 32 bits

READ_BY = {
    "byte": (),
    "char": ("characters",),
    "tiktoken": ("name",),
    "bpe": ("vocab_size", "train_chars", "max_document_chars", "specials", "pattern"),
    "folder": ("path",),
    "grokking": ("modulus",),
    "arithmetic": (),
}


@dataclass(frozen=True)
class TokenizerConfig:
    kind: Literal["byte", "char", "tiktoken", "bpe", "folder", "grokking", "arithmetic"] = "byte"
    name: str | None = None  # of an encoding of tiktoken's
    path: str | None = None  # of a tokenizer, a model, a run, prepared data, or a folder of Hugging Face's
    characters: str | None = None  # in the order of their ids (nanoGPT's itos, joined); None: those of the text, sorted
    modulus: int | None = None  # whose numbers are words
    # A BPE is trained: its ids in all, what it learns from, and what it is made of
    vocab_size: int | None = None
    train_chars: int | None = None  # None: 1000 for each id
    max_document_chars: int | None = None  # of one document; who gives the text keeps to it
    specials: Literal["end_of_text", "chat"] = "end_of_text"  # which stand last; chat: nanochat's nine
    pattern: str | None = None  # cuts text before merging: None (ours), gpt2, gpt4, gpt4o, or a regular expression

    def __post_init__(self) -> None:
        if self.characters is not None:  # a shell hands over \n as two characters
            for spelt, meant in ((r"\n", "\n"), (r"\t", "\t"), (r"\r", "\r")):
                object.__setattr__(self, "characters", self.characters.replace(spelt, meant))
        refuse_unread(self, READ_BY, "tokenizer")
        if self.kind == "tiktoken" and self.name not in FILES:
            raise ValueError(f"tokenizer.name={self.name}: tokenizer.kind=tiktoken needs one of {', '.join(FILES)}")
        if self.kind == "folder" and not self.path:
            raise ValueError("tokenizer.path: not given; say which folder has the tokenizer, for example a model's")
        if self.kind == "grokking" and (self.modulus is None or self.modulus < 2):
            raise ValueError(
                f"tokenizer.modulus={self.modulus}: must be the number that data.modulus is, for example 97"
            )
        if self.kind == "bpe":
            self._complete_bpe()

    def _complete_bpe(self) -> None:
        least = 256 + len(SPECIALS[self.specials])
        if self.vocab_size is None or self.vocab_size < least:
            raise ValueError(
                f"tokenizer.vocab_size={self.vocab_size}: tokenizer.kind=bpe needs a number of {least} or more "
                "(256 bytes and the special tokens)"
            )
        if self.train_chars is None:
            object.__setattr__(self, "train_chars", min(1000 * self.vocab_size, MAX_TRAIN_CHARS))
        for key, value in (("train_chars", self.train_chars), ("max_document_chars", self.max_document_chars)):
            if value is not None and not 1 <= value <= MAX_TRAIN_CHARS:
                raise ValueError(f"tokenizer.{key}={value}: must be from 1 to {MAX_TRAIN_CHARS:,}")
        pattern = SPLIT_PATTERN if self.pattern is None else NAMED_PATTERNS.get(self.pattern, self.pattern)
        if not READ_ALIKE.fullmatch(pattern):
            raise ValueError(
                f"tokenizer.pattern={self.pattern}: not a pattern that tiktoken and transformers are known to read "
                f"alike; take {', '.join(NAMED_PATTERNS)}, or vary one of them, for example {SPLIT_PATTERN}"
            )
        object.__setattr__(self, "pattern", pattern)


def identity(config: TokenizerConfig) -> dict[str, Any]:
    """What decides the tokenizer, besides the text that it learns from, as plain JSON: of a folder its content."""
    if config.kind == "folder":
        assert config.path is not None
        try:
            origin, _ = read_origin(tokenizer_folder(config.path))
        except ValueError as error:
            raise ValueError(f"tokenizer.path: {error}") from error
        return {"kind": "folder", "content": origin.digest}
    return {"kind": config.kind, **{key: getattr(config, key) for key in READ_BY[config.kind]}}


def size_before_text(config: TokenizerConfig) -> int | None:
    """How many ids the tokenizer of `config` will have; None where its text, or a download, would have to say."""
    if config.kind == "byte":
        return ByteTokenizer().vocab_size
    if config.kind == "tiktoken":
        assert config.name is not None
        return N_IDS[config.name]
    if config.kind == "folder":
        assert config.path is not None
        folder = tokenizer_folder(config.path)
        return n_ids(folder) if (folder / TOKENIZER).is_file() else None
    if config.kind in ("grokking", "arithmetic") or config.characters:
        return build_tokenizer(config, tuple).vocab_size
    return config.vocab_size  # of bpe: text with few pairs that repeat gives fewer


def build_tokenizer(config: TokenizerConfig, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    """The tokenizer of `config`; `texts` is called only for the kinds that are made from text (char, bpe)."""
    match config.kind:
        case "byte":
            return ByteTokenizer()
        case "char" if config.characters:
            return CharTokenizer(config.characters, in_order=True)
        case "char":
            return CharTokenizer.from_texts(texts())
        case "tiktoken":
            assert config.name is not None
            return TiktokenTokenizer.from_name(config.name)
        case "folder":
            assert config.path is not None
            return load_tokenizer(tokenizer_folder(config.path))
        case "grokking":
            assert config.modulus is not None
            return grokking_tokenizer(config.modulus)
        case "arithmetic":
            return arithmetic_tokenizer()
    assert config.vocab_size is not None and config.pattern is not None
    return train_bpe(learnt(texts(), config), config.vocab_size, config.pattern, SPECIALS[config.specials])


def learnt(texts: Iterable[str], config: TokenizerConfig) -> Iterator[str]:
    """What a BPE learns from."""
    left = config.train_chars
    assert left is not None
    for text in texts:
        yield (part := text[:left])
        left -= len(part)
        if left <= 0:
            return


def save(tokenizer: Vocabulary, folder: Path | str) -> None:
    """Writes the files into `folder`, which may hold a model too; a tokenizer that was read keeps what it came with."""
    folder = Path(folder)
    if tokenizer.origin is not None:
        tokenizer.origin.write(folder, tokenizer.kind, tokenizer.fingerprint)
        return
    begin, end = tokenizer.name_of(tokenizer.bos_id), tokenizer.name_of(tokenizer.eot_id)
    config = {
        "kind": tokenizer.kind,
        "fingerprint": tokenizer.fingerprint,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end if end == END_OF_TEXT else begin,
        "eos_token": end,
        "clean_up_tokenization_spaces": False,
    }
    if has_chat_tokens(tokenizer):
        config["chat_template"] = chat_template()
    write_json(folder / CONFIG, config)
    with atomic_path(folder / TOKENIZER) as temporary:  # the last: where it is, the tokenizer is whole
        temporary.write_text(tokenizer.to_hugging_face().to_str(pretty=True), encoding="utf-8")


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """The tokenizer that `save` wrote, checked against its fingerprint, or one of Hugging Face's making.

    A fingerprint that differs is an error, but for kind hugging_face a warning: LlamaTokenizer of transformers, for
    one, writes rules other than those that it read.
    """
    origin, content = read_origin(folder)
    try:
        tokenizer = _make(origin, content)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    if origin.kind is not None and tokenizer.fingerprint != origin.fingerprint:
        found = (
            f"{folder}: tokenizer.json has fingerprint {tokenizer.fingerprint}, tokenizer_config.json says "
            f"{origin.fingerprint}; one of them was changed"
        )
        if origin.kind != WrappedTokenizer.kind:
            raise ValueError(
                f"{found}: restore both files, or take kind and fingerprint out of tokenizer_config.json to read "
                "tokenizer.json as it is"
            )
        log.warning("%s, as by saving from transformers; tokenizer.json counts", found)
    tokenizer.remember(origin)
    return tokenizer


def _make(origin: Origin, content: dict[str, Any]) -> Vocabulary:
    if origin.kind == ByteTokenizer.kind:
        return ByteTokenizer()
    if origin.kind == CharTokenizer.kind:
        return CharTokenizer("".join(words_of(content)), in_order=True)
    if origin.kind == WordTokenizer.kind:
        return WordTokenizer(words_of(content), origin.specials, origin.bos_id)
    if origin.kind == WrappedTokenizer.kind:
        return WrappedTokenizer(origin, content)
    if origin.kind is not None and origin.kind not in BPE_KINDS:
        raise ValueError(f"tokenizer_config.json: kind is {origin.kind!r}; nanolit reads {', '.join(KINDS)}")
    found = ranks_and_pattern(content, origin.specials)
    if origin.kind is not None:
        if found is None:
            raise ValueError(f"tokenizer.json: not a byte-level BPE, as its kind {origin.kind} says; restore the file")
        return BPE_KINDS[origin.kind](found[0], origin.specials, found[1])
    if found is not None and tiktoken_agrees(content["model"], *found):
        return BPETokenizer(found[0], origin.specials, found[1])
    return WrappedTokenizer(origin, content)


def tokenizer_folder(path: Path | str) -> Path:
    """Where the tokenizer lies that `path` means: a tokenizer or model folder, a run folder, prepared data."""
    for folder in (Path(path), Path(path) / "model", Path(path) / "tokenizer"):
        if (folder / TOKENIZER).is_file():
            return folder
    return Path(path)  # load_tokenizer says what is wrong with it
