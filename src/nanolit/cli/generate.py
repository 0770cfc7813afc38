"""`nanolit generate model=PATH …`: a model directory or a run folder writes text. Arguments are read without Hydra's
grammar, so that a prompt may hold any character.
"""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from nanolit.cli.errors import guarded
from nanolit.inference.params import TEMPERATURE, SamplingParams
from nanolit.runtime.suggest import suggest

HELP = """usage: nanolit generate model=PATH [prompt=TEXT | prompt_file=FILE] [key=value …]

PATH is a run folder or a model directory. Without prompt the text comes from standard input, or, in a terminal, is
asked for again and again. Text goes to standard output, everything else to standard error. prompt= and stop= are taken
as they stand; several strings to stop at are a list, stop='[User:, "\\n\\n"]'.
"""


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(SamplingParams):
    """The settings of sampling, some with a default of the command's own, and where text comes from."""

    model: str  # run folder or model directory
    prompt: str | None = None
    prompt_file: str | None = None
    n_samples: int = 1
    device: str = "auto"
    max_new_tokens: int = 200
    temperature: float = TEMPERATURE
    top_k: int | None = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt is not None and self.prompt_file is not None:
            raise ValueError("prompt and prompt_file were both given; give one of them")
        if self.n_samples < 1:
            raise ValueError(f"n_samples: got {self.n_samples}, must be at least 1")


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(argv):
        print(help_text())
        return 0
    debug = "debug=true" in argv
    return guarded(lambda: run(read_arguments([a for a in argv if a != "debug=true"])), debug)


def help_text() -> str:
    lines = [HELP]
    for field in sorted(fields(GenerateConfig), key=lambda field: field.default is not MISSING):
        default: Any = field.default
        shown = {None: "null", (): "none"}.get(default, default)
        lines.append(f"  {field.name + '=':<20}{'required' if default is MISSING else f'default {shown}'}")
    return "\n".join(lines)


def read_arguments(argv: list[str]) -> GenerateConfig:
    from nanolit.runtime.typed import build

    hints = {field.name: field.type for field in fields(GenerateConfig)}
    values: dict[str, Any] = {}
    for argument in argv:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"{argument}: write each argument as key=value; allowed keys: {', '.join(hints)}")
        if key not in hints:
            raise ValueError(f"{key}: no such setting; {suggest(key, hints)}")
        values[key] = read_strings(text) if key == "stop" else read_value(hints[key], text)
    if "model" not in values:
        raise ValueError("model: missing; give a run folder or a model directory, model=PATH")
    return build(GenerateConfig, values, "")


def read_value(hint: Any, text: str) -> Any:
    """The number that the annotation asks for, or None; a text as it stands, also one that should be a number: then
    `build` says so.
    """
    wanted = get_args(hint) or (hint,)
    if str in wanted:
        return text
    if text == "null" and type(None) in wanted:
        return None
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


def run(config: GenerateConfig) -> int:
    from nanolit.inference.generate import stream
    from nanolit.inference.load import load

    model, tokenizer = load(config.model, device=config.device)
    for prompt in prompts(config):
        for sample in range(config.n_samples):
            if sample:
                print("\n---")
            print(prompt, end="", flush=True)
            for piece in stream(model, tokenizer, prompt, config, row=sample):
                print(piece, end="", flush=True)
            print()
    return 0


def prompts(config: GenerateConfig) -> Iterator[str]:
    """The one prompt that was given, or those that are typed until the input ends."""
    if config.prompt is not None:
        yield config.prompt
    elif config.prompt_file is not None:
        try:
            yield Path(config.prompt_file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"prompt_file: {config.prompt_file} is not UTF-8 text ({error}); convert it") from error
    elif not sys.stdin.isatty():
        yield sys.stdin.read()
    else:
        print("type a beginning (Ctrl-D ends)", file=sys.stderr)
        while True:
            print("> ", end="", file=sys.stderr, flush=True)
            try:
                yield input()
            except EOFError:
                return
