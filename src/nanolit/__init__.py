"""nanolit: train, evaluate and serve GPT-style models.

The few names that a notebook wants; each is imported when it is first used, so that `import nanolit` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from nanolit.inference.generate import generate
    from nanolit.inference.load import load
    from nanolit.inference.params import SamplingParams
    from nanolit.models.gpt import GPT, GPTConfig

_HOMES = {
    "GPT": "nanolit.models.gpt",
    "GPTConfig": "nanolit.models.config",
    "SamplingParams": "nanolit.inference.params",
    "generate": "nanolit.inference.generate",
    "load": "nanolit.inference.load",
}

__all__ = ["GPT", "GPTConfig", "SamplingParams", "__version__", "generate", "load"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nanolit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
