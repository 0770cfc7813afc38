"""A tokenizer as a folder, and a tokenizer from the configuration.

`tokenizer.json` is in the format of Hugging Face's `tokenizers` for every kind, and it alone carries the vocabulary;
`tokenizer_config.json` says the kind and what `transformers` wants to know. Loading needs no network.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nanolit.runtime.files import atomic_path, read_json, write_json
from nanolit.tokenizers.bpe import BPETokenizer, train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.byte_level import to_bytes
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.tokenizers.tiktoken_bpe import FILES, TiktokenTokenizer
from nanolit.tokenizers.vocabulary import END_OF_TEXT, Vocabulary

BPE_KINDS = {cls.kind: cls for cls in (BPETokenizer, TiktokenTokenizer)}


@dataclass(frozen=True)
class TokenizerConfig:
    """Which tokenizer; `name` is for tiktoken, `vocab_size` and `train_chars` (how much it learns from) are for bpe."""

    kind: Literal["byte", "char", "tiktoken", "bpe"] = "byte"
    name: str | None = None
    vocab_size: int | None = None
    train_chars: int | None = None  # default: 1000 for each id

    def __post_init__(self) -> None:
        if self.kind == "tiktoken" and self.name not in FILES:
            raise ValueError(f"tokenizer.name={self.name}: tokenizer.kind=tiktoken needs one of {', '.join(FILES)}")
        if self.kind == "bpe" and (self.vocab_size is None or self.vocab_size < 257):
            raise ValueError(
                f"tokenizer.vocab_size={self.vocab_size}: tokenizer.kind=bpe needs a number of 257 or more"
            )
        if self.kind != "tiktoken" and self.name is not None:
            raise ValueError(f"tokenizer.name={self.name}: only for tokenizer.kind=tiktoken; leave it out")
        if self.kind != "bpe" and self.vocab_size is not None:
            raise ValueError(f"tokenizer.vocab_size={self.vocab_size}: only for tokenizer.kind=bpe; leave it out")
        if self.kind != "bpe" and self.train_chars is not None:
            raise ValueError(f"tokenizer.train_chars={self.train_chars}: only for tokenizer.kind=bpe; leave it out")
        if self.train_chars is not None and self.train_chars < 1:
            raise ValueError(f"tokenizer.train_chars={self.train_chars}: must be at least 1")
        if self.kind == "bpe" and self.train_chars is None:
            object.__setattr__(self, "train_chars", 1000 * (self.vocab_size or 0))


def build_tokenizer(config: TokenizerConfig, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    """The tokenizer of `config`; `texts` is called only for the kinds that are made from text (char, bpe)."""
    if config.kind == "byte":
        return ByteTokenizer()
    if config.kind == "char":
        return CharTokenizer.from_texts(texts())
    if config.kind == "tiktoken":
        assert config.name is not None
        return TiktokenTokenizer.from_name(config.name)
    assert config.vocab_size is not None and config.train_chars is not None
    return train_bpe(_first_chars(texts(), config.train_chars), config.vocab_size)


def _first_chars(texts: Iterable[str], limit: int) -> Iterator[str]:
    for text in texts:
        yield text[:limit]
        limit -= len(text)
        if limit <= 0:
            return


def save(tokenizer: Vocabulary, folder: Path | str) -> None:
    """Writes the two files into `folder`, which may hold a model too."""
    folder = Path(folder)
    with atomic_path(folder / "tokenizer.json") as temporary:
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
    write_json(folder / "tokenizer_config.json", config)


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """The tokenizer that `save` wrote, checked against its fingerprint."""
    folder = Path(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no {name} in it, so it is not a tokenizer folder; give one that has it")
    config = read_json(folder / "tokenizer_config.json")
    kind = config.get("kind")
    if kind == ByteTokenizer.kind:
        tokenizer: Vocabulary = ByteTokenizer()
    elif kind == CharTokenizer.kind:
        tokenizer = CharTokenizer("".join(_read(folder)["model"]["vocab"]))
    elif kind in BPE_KINDS:
        tokenizer = _load_bpe(BPE_KINDS[kind], _read(folder))
    else:
        kinds = ", ".join((ByteTokenizer.kind, CharTokenizer.kind, *BPE_KINDS))
        raise ValueError(f"{folder}/tokenizer_config.json: kind is {kind!r}; nanolit reads {kinds}")
    if tokenizer.fingerprint != config.get("fingerprint"):
        raise ValueError(
            f"{folder}: tokenizer.json has fingerprint {tokenizer.fingerprint}, tokenizer_config.json says "
            f"{config.get('fingerprint')}; one of them was changed: restore both files"
        )
    return tokenizer


def _load_bpe(cls: type[BPETokenizer], content: dict[str, Any]) -> BPETokenizer:
    specials = {token["content"]: token["id"] for token in content["added_tokens"]}
    vocabulary: dict[str, int] = content["model"]["vocab"]
    ranks = {to_bytes(spelling): rank for spelling, rank in vocabulary.items() if spelling not in specials}
    cuts = [part["pattern"]["Regex"] for part in content["pre_tokenizer"]["pretokenizers"] if part["type"] == "Split"]
    return cls(ranks, specials, cuts[0])


def _read(folder: Path) -> dict[str, Any]:
    content = read_json(folder / "tokenizer.json")
    if not isinstance(content, dict) or "vocab" not in content.get("model", {}):
        raise ValueError(f"{folder}/tokenizer.json: holds no model with a vocabulary; restore the file")
    return content
