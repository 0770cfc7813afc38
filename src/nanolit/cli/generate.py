"""`nanolit generate model=PATH …`: a model directory or a run folder writes text. Overrides are read without Hydra's
grammar, so that a
prompt may hold any character."""

import difflib
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from nanolit.cli.errors import guarded

HELP = """usage: nanolit generate model=PATH [prompt=TEXT | prompt_file=FILE] [key=value …]

PATH is a run folder or a model directory. Without prompt the text comes from standard input, or, in a terminal, is
asked for again and again. Text goes to standard output, everything else to standard error.
"""


@dataclass(frozen=True)
class GenerateConfig:
    """What the command adds to the sampling parameters."""

    model: str  # run folder or model directory
    prompt: str | None = None
    prompt_file: str | None = None
    n_samples: int = 1
    device: str = "auto"
    max_new_tokens: int = 200
    temperature: float = 0.8
    top_k: int | None = 200
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
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
    for field in fields(GenerateConfig):
        default = "required" if field.default is MISSING else f"default {field.default!r}"
        lines.append(f"  {field.name + '=':<20}{default}")
    return "\n".join(lines)


def read_arguments(argv: list[str]) -> GenerateConfig:
    import yaml

    from nanolit.runtime.typed import build

    known = {field.name: field.type for field in fields(GenerateConfig)}
    values: dict[str, Any] = {}
    for argument in argv:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"{argument}: write each argument as key=value; allowed keys: {', '.join(known)}")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ValueError(
                f"{key}: no such setting; {f'did you mean {near[0]}?' if near else 'allowed: ' + ', '.join(known)}"
            )
        is_text = known[key] in (str, str | None)
        value = text if is_text else yaml.safe_load(text)
        values[key] = [value] if key == "stop" and not isinstance(value, list) else value
    if "model" not in values:
        raise ValueError("model: missing; give a run folder or a model directory, model=PATH")
    return build(GenerateConfig, values, "")


def run(config: GenerateConfig) -> int:
    from nanolit.inference.generate import stream
    from nanolit.inference.load import load
    from nanolit.inference.sample import SamplingParams

    names = {field.name for field in fields(SamplingParams)}
    given = {field.name: getattr(config, field.name) for field in fields(config) if field.name in names}
    params = SamplingParams(**given)
    model, tokenizer = load(config.model, device=config.device)
    for prompt in prompts(config):
        for sample in range(config.n_samples):
            if sample:
                print("\n---")
            print(prompt, end="", flush=True)
            for piece in stream(model, tokenizer, prompt, params, row=sample):
                print(piece, end="", flush=True)
            print()
    return 0


def prompts(config: GenerateConfig) -> Iterator[str]:
    """The one prompt that was given, or those that are typed until the input ends."""
    if config.prompt is not None:
        yield config.prompt
    elif config.prompt_file is not None:
        yield Path(config.prompt_file).read_text(encoding="utf-8")
    elif not sys.stdin.isatty():
        yield sys.stdin.read()
    else:
        print("type a beginning (Ctrl-D ends)", file=sys.stderr)
        while True:
            try:
                yield input("> ")
            except EOFError:
                return
