"""Packages that nanolit does without until somebody asks for what they do: imported late, and missed in one line."""

import importlib
from typing import Any


def need(package: str, wanted_for: str, extra: str = "hf") -> Any:
    """The imported package; if it is not installed, how to get it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise  # it is there, and something that it needs is not
        raise ValueError(f"{wanted_for}: needs the package {error.name}: pip install 'nanolit[{extra}]'") from error
