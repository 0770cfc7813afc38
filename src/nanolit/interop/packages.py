"""Packages that nanolit does without until somebody asks for what they do: imported late, missed in one line."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def need(package: str, wanted_for: str, extra: str = "hf") -> Any:
    """The imported package; if it is not installed, how to get it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise  # it is there, and something that it needs is not
        raise ValueError(f"{wanted_for}: needs the package {error.name}: pip install 'nanolit[{extra}]'") from error


@contextmanager
def plain_words() -> Iterator[None]:
    """The bars and tables of transformers stand between our lines, and we tell what they tell."""
    from transformers.utils import logging

    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()
