"""Arguments `key=value` without Hydra's grammar, for commands whose texts may hold any character; the keys are the
fields of a dataclass. Texts are taken as they stand, numbers as Python reads them.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from nanolit.cli.errors import guarded
from nanolit.runtime.suggest import suggest

if TYPE_CHECKING:
    from nanolit.data.config import DataConfig
    from nanolit.tokenizers.directory import TokenizerConfig

T = TypeVar("T")


def run_command(argv: list[str] | None, help_text: str, read: Callable[[list[str]], T], run: Callable[[T], int]) -> int:
    """The frame of a command: help, debug=true, and every error as one line."""
    argv = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(argv):
        print(help_text)
        return 0
    return guarded(lambda: run(read([a for a in argv if a != "debug=true"])), "debug=true" in argv)


def run_composed(argv: list[str] | None, help_text: str, config_name: str, run: Callable[[dict[str, Any]], int]) -> int:
    """The same for a command whose arguments Hydra composes with conf/."""
    argv = sys.argv[1:] if argv is None else argv
    debug = "debug=true" in argv

    def compose(given: list[str]) -> int:
        from nanolit.cli import hydra_app

        return hydra_app.run(config_name, run, given, debug)

    return run_command(argv, help_text, list, compose)


def data_settings(config: dict[str, Any]) -> "tuple[DataConfig, TokenizerConfig, Path]":
    """What to prepare, in which tokens, and where; how it is served (data.loader) is another's business."""
    from nanolit.data.config import DataConfig
    from nanolit.runtime.typed import build
    from nanolit.tokenizers.directory import TokenizerConfig

    data = build(DataConfig, {key: value for key, value in config["data"].items() if key != "loader"}, "data")
    return data, build(TokenizerConfig, config["tokenizer"], "tokenizer"), Path(config["paths"]["data_root"])


def list_settings(cls: type) -> str:
    """One line for each: what must be given first."""
    lines = []
    for field in sorted(fields(cls), key=lambda field: field.default is not MISSING):
        default: Any = field.default
        shown = ", ".join(default) if isinstance(default, tuple) else str(default)
        shown = {"None": "null", "": "none", "True": "true", "False": "false"}.get(shown, shown)
        lines.append(f"  {field.name + '=':<20}{'required' if default is MISSING else f'default {shown}'}")
    return "\n".join(lines)


def read_arguments(
    cls: type[T], argv: list[str], missing: Mapping[str, str] | None = None, lists: Collection[str] = ()
) -> T:
    """`missing`: what to say of a setting that must be given; `lists`: those that may be lists of strings."""
    from nanolit.runtime.typed import build

    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for argument in argv:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"{argument}: write each argument as key=value; allowed keys: {', '.join(hints)}")
        if key not in hints:
            raise ValueError(f"{key}: no such setting; {suggest(key, hints)}")
        values[key] = read_strings(text) if key in lists else read_value(hints[key], text)
    for key, remedy in (missing or {}).items():
        if key not in values:
            raise ValueError(f"{key}: missing; {remedy}")
    return build(cls, values, "")


def read_value(hint: Any, text: str) -> Any:
    """The number or word that the annotation asks for, or None; a text as it stands, also one that should be a number:
    then `build` says so.
    """
    wanted = get_args(hint) or (hint,)
    if str in wanted:
        return text
    if text == "null" and type(None) in wanted:
        return None
    if bool in wanted:
        return {"true": True, "false": False}.get(text, text)
    number = float if float in wanted else int
    try:
        return number(text)
    except ValueError:
        return text


def read_strings(text: str) -> list[str]:
    """`text` itself, whatever it is made of, unless it is a YAML list of strings."""
    import yaml

    if text.startswith("["):
        try:
            items = yaml.load(text, Loader=yaml.BaseLoader)  # this loader knows strings only: no and 3 are words
        except yaml.YAMLError:
            return [text]
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return items
    return [text]
