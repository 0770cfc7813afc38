"""How many bytes a token stands for, text by text, against other tokenizers. No table and no plot: figures only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nanolit.tokenizers.protocol import Tokenizer

OURS = "ours"


@dataclass(frozen=True)
class Compression:
    """Of one text. `n_tokens` has `OURS` and the others by name."""

    text: str  # its name
    n_bytes: int
    n_tokens: Mapping[str, int]
    round_trip: bool  # ours decodes to the same text

    @property
    def bytes_per_token(self) -> dict[str, float]:
        return {name: self.n_bytes / n for name, n in self.n_tokens.items()}

    @property
    def difference_percent(self) -> dict[str, float]:
        """How many tokens fewer ours are than each other's, in percent of the other's."""
        ours = self.n_tokens[OURS]
        return {name: 100 * (n - ours) / n for name, n in self.n_tokens.items() if name != OURS}


def compress(name: str, text: str, ours: Tokenizer, others: Mapping[str, Tokenizer]) -> Compression:
    ids = ours.encode(text)
    n_tokens = {OURS: len(ids), **{other: len(tokenizer.encode(text)) for other, tokenizer in others.items()}}
    return Compression(name, len(text.encode()), n_tokens, ours.decode(ids) == text)


def beginning(texts: Iterable[str], n_chars: int) -> str:
    """The first characters of all texts, as one."""
    parts: list[str] = []
    for text in texts:
        parts.append(text[:n_chars])
        n_chars -= len(parts[-1])
        if n_chars <= 0:
            break
    return "".join(parts)
