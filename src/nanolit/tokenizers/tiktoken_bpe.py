"""OpenAI's encodings by name (gpt2, cl100k_base, o200k_base), through tiktoken and its cache; nothing is trained."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import ClassVar

from nanolit.tokenizers.bpe import BPETokenizer

_URL = "https://openaipublic.blob.core.windows.net"
FILES = {
    "gpt2": (f"{_URL}/gpt-2/encodings/main/vocab.bpe", f"{_URL}/gpt-2/encodings/main/encoder.json"),
    "cl100k_base": (f"{_URL}/encodings/cl100k_base.tiktoken",),
    "o200k_base": (f"{_URL}/encodings/o200k_base.tiktoken",),
}
N_IDS = {"gpt2": 50257, "cl100k_base": 100277, "o200k_base": 200019}  # known without the files
_SPACES = r"\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LOWER, _UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
# tiktoken's own patterns have possessive quantifiers, which `tokenizer.json` cannot carry: these older ones are equal.
PATTERNS = {
    "gpt2": rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}",
    "cl100k_base": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{_SPACES}",
    "o200k_base": rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|{_SPACES}",
}


class TiktokenTokenizer(BPETokenizer):
    kind: ClassVar[str] = "tiktoken"

    @classmethod
    def from_name(cls, name: str) -> "TiktokenTokenizer":
        import tiktoken

        if name not in FILES:
            raise ValueError(f"tokenizer.name={name!r}: not known; choose one of {', '.join(FILES)}")
        try:
            encoding = tiktoken.get_encoding(name)
        except (OSError, ValueError) as error:  # no network; or something else came in its place
            places = " and ".join(f"{url} as {_cache_path(url)}" for url in FILES[name])
            raise ValueError(
                f"tokenizer.name={name}: tiktoken cannot get its files ({type(error).__name__}); save {places}, "
                "or point TIKTOKEN_CACHE_DIR to a folder that has them, or choose tokenizer=byte"
            ) from error
        # Private, but the only way to the ranks; the constructor takes them under this name, so they are there to stay.
        return cls(encoding._mergeable_ranks, encoding._special_tokens, PATTERNS[name])


def _cache_path(url: str) -> Path:
    """Where tiktoken looks for the content of `url`."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    return Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache") / hashlib.sha1(url.encode()).hexdigest()
