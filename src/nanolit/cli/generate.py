"""`nanolit generate model=MODEL …`: a run, a model directory or a model on the hub writes text. Arguments are read
without Hydra's grammar, so that a prompt may hold any character.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nanolit.cli.arguments import list_settings, read_arguments, run_command
from nanolit.cli.open_model import MODEL_WANTED, WriterConfig
from nanolit.inference.params import TEMPERATURE, SamplingParams

HELP = """usage: nanolit generate model=MODEL [prompt=TEXT | prompt_file=FILE] [key=value …]

MODEL is a run folder, a model directory, a folder of Hugging Face, or a name on its hub (gpt2, gpt2-xl, ORG/NAME).
weights=auto takes its weights as they are stored, laid out for the processor; bfloat16 and int8 are faster, and round.
Without prompt the text comes from standard input, or, in a terminal, is asked for again and again. Text goes to
standard output, everything else to standard error. prompt= and stop= are taken as they stand; several strings to stop
at are a list, stop='[User:, "\\n\\n"]'.
"""


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(WriterConfig, SamplingParams):
    """The settings of sampling, some with a default of the command's own, and where text comes from."""

    prompt: str | None = None
    prompt_file: str | None = None
    n_samples: int = 1
    max_new_tokens: int = 200
    temperature: float = TEMPERATURE
    top_k: int | None = 200

    def __post_init__(self) -> None:
        SamplingParams.__post_init__(self)
        if self.prompt is not None and self.prompt_file is not None:
            raise ValueError("prompt and prompt_file were both given; give one of them")
        if self.n_samples < 1:
            raise ValueError(f"n_samples: got {self.n_samples}, must be at least 1")


def main(argv: list[str] | None = None) -> int:
    return run_command(argv, f"{HELP}\n{list_settings(GenerateConfig)}", read, run)


def read(argv: list[str]) -> GenerateConfig:
    missing = {"model": MODEL_WANTED}
    return read_arguments(GenerateConfig, argv, missing, lists=("stop",))


def run(config: GenerateConfig) -> int:
    from nanolit.inference.generate import pieces
    from nanolit.serve.terminal import printable

    shown = printable if sys.stdout.isatty() else str  # a model's text shall not steer the terminal
    model, tokenizer, draft = config.open()
    for prompt in prompts(config):
        later = [prompt] + [f"\n---\n{prompt}"] * (config.n_samples - 1)  # they are written at once, one is shown
        print(later[0], end="", flush=True)
        for i, text in pieces(model, tokenizer, prompt, config, range(config.n_samples), draft):
            if i == 0:
                print(shown(text), end="", flush=True)
            else:
                later[i] += shown(text)
        print("", *later[1:], sep="\n")
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
