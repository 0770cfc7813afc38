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
from nanolit.tokenizers.bpe import BPETokenizer, train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.hugging_face import WrappedTokenizer, ranks_and_pattern, tiktoken_agrees
from nanolit.tokenizers.origin import CONFIG, TOKENIZER, Origin, n_ids, read_origin
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.tokenizers.tiktoken_bpe import FILES, N_IDS, TiktokenTokenizer
from nanolit.tokenizers.vocabulary import END_OF_TEXT, Vocabulary

log = logging.getLogger("nanolit")

BPE_KINDS = {cls.kind: cls for cls in (BPETokenizer, TiktokenTokenizer)}
KINDS = (ByteTokenizer.kind, CharTokenizer.kind, *BPE_KINDS, WrappedTokenizer.kind)
READ_BY = {
    "byte": (),
    "char": (),
    "tiktoken": ("name",),
    "bpe": ("vocab_size", "train_chars"),
    "folder": ("path",),
}


@dataclass(frozen=True)
class TokenizerConfig:
    """Which tokenizer: `name` is for tiktoken, `path` for folder (a model, a run, Hugging Face), `vocab_size` and
    `train_chars` (how much it learns from) are for bpe.
    """

    kind: Literal["byte", "char", "tiktoken", "bpe", "folder"] = "byte"
    name: str | None = None
    path: str | None = None
    vocab_size: int | None = None
    train_chars: int | None = None  # default: 1000 for each id

    def __post_init__(self) -> None:
        refuse_unread(self, READ_BY, "tokenizer")
        if self.kind == "tiktoken" and self.name not in FILES:
            raise ValueError(f"tokenizer.name={self.name}: tokenizer.kind=tiktoken needs one of {', '.join(FILES)}")
        if self.kind == "folder" and not self.path:
            raise ValueError("tokenizer.path: not given; say which folder has the tokenizer, for example a model's")
        if self.kind == "bpe" and (self.vocab_size is None or self.vocab_size < 257):
            raise ValueError(
                f"tokenizer.vocab_size={self.vocab_size}: tokenizer.kind=bpe needs a number of 257 or more"
            )
        if self.train_chars is not None and self.train_chars < 1:
            raise ValueError(f"tokenizer.train_chars={self.train_chars}: must be at least 1")
        if self.kind == "bpe" and self.train_chars is None:
            object.__setattr__(self, "train_chars", 1000 * (self.vocab_size or 0))


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
    return config.vocab_size  # of bpe: text with few pairs that repeat gives fewer


def build_tokenizer(config: TokenizerConfig, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    """The tokenizer of `config`; `texts` is called only for the kinds that are made from text (char, bpe)."""
    if config.kind == "byte":
        return ByteTokenizer()
    if config.kind == "char":
        return CharTokenizer.from_texts(texts())
    if config.kind == "tiktoken":
        assert config.name is not None
        return TiktokenTokenizer.from_name(config.name)
    if config.kind == "folder":
        assert config.path is not None
        return load_tokenizer(tokenizer_folder(config.path))
    assert config.vocab_size is not None and config.train_chars is not None
    return train_bpe(_first_chars(texts(), config.train_chars), config.vocab_size)


def _first_chars(texts: Iterable[str], limit: int) -> Iterator[str]:
    for text in texts:
        yield text[:limit]
        limit -= len(text)
        if limit <= 0:
            return


def save(tokenizer: Vocabulary, folder: Path | str) -> None:
    """Writes the files into `folder`, which may hold a model too; a tokenizer that was read keeps what it came with."""
    folder = Path(folder)
    if tokenizer.origin is not None:
        tokenizer.origin.write(folder, tokenizer.kind, tokenizer.fingerprint)
        return
    with atomic_path(folder / TOKENIZER) as temporary:
        temporary.write_text(tokenizer.to_hugging_face().to_str(pretty=True), encoding="utf-8")
    end_of_text = END_OF_TEXT if tokenizer.eot_id is not None else None
    config = {
        "kind": tokenizer.kind,
        "fingerprint": tokenizer.fingerprint,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end_of_text,
        "eos_token": end_of_text,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / CONFIG, config)


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
        return CharTokenizer("".join(content["model"]["vocab"]))
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
