"""`nanolit chat model=MODEL …`: a conversation in the terminal, or one answer. Arguments are read without Hydra's
grammar, so that a prompt may hold any character.
"""

import io
import os
import signal
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from nanolit.cli.arguments import list_settings, read_arguments, run_command
from nanolit.cli.open_model import MODEL_WANTED, WriterConfig
from nanolit.inference.params import TEMPERATURE, EngineSettings, SamplingParams

if TYPE_CHECKING:
    from nanolit.inference.worker import Worker
    from nanolit.serve.dialogue import Answerer

HELP = """usage: nanolit chat model=MODEL [prompt=TEXT] [key=value …]

MODEL is a run folder, a model directory, a folder of Hugging Face, or a name on its hub, with nanochat's chat tokens.
In a terminal messages are asked for again and again, and /help tells the commands. With prompt=, or with standard input
from a file or a pipe, one answer is given. Answers go to standard output, everything else to standard error. system= is
what the model is told before everything. With seed= the same conversation gives the same answers, each from a seed of
its own.
"""


@dataclass(frozen=True, kw_only=True)
class ChatConfig(WriterConfig, SamplingParams):
    """The settings of sampling, some with a default of the command's own, and what is talked about."""

    prompt: str | None = None
    system: str | None = None
    max_new_tokens: int = 512
    temperature: float = TEMPERATURE
    top_k: int | None = 50

    def __post_init__(self) -> None:
        SamplingParams.__post_init__(self)
        for name in ("prompt", "system"):
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise ValueError(f"{name}: is empty; give some text, or leave it out")


def main(argv: list[str] | None = None) -> int:
    return run_command(argv, f"{HELP}\n{list_settings(ChatConfig)}", read, run)


def read(argv: list[str]) -> ChatConfig:
    missing = {"model": MODEL_WANTED}
    return read_arguments(ChatConfig, argv, missing, lists=("stop",))


def run(config: ChatConfig) -> int:
    prompt = config.prompt if config.prompt is not None or sys.stdin.isatty() else piped()
    worker = open_worker(config)
    try:
        return talk(config, worker, prompt)
    finally:
        worker.close()


def piped() -> str:
    """All of standard input as one message, without the end of its last line."""
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input: is not UTF-8 text ({error}); convert it") from error
    if not text.strip():
        raise ValueError("standard input: is empty; send a message, or give prompt=TEXT")
    return text.rstrip("\n")


def open_worker(config: ChatConfig) -> "Worker":
    from nanolit.cli.open_model import locate
    from nanolit.inference.worker import Worker
    from nanolit.tokenizers.chat import has_chat_tokens
    from nanolit.tokenizers.directory import load_tokenizer

    folder = locate(config.model)
    if not has_chat_tokens(load_tokenizer(folder)):  # told before the weights are read
        raise ValueError(
            f"model: {config.model} is a base model, without chat tokens, and cannot chat; let it go on with a text: "
            f"nanolit generate model={config.model}"
        )
    model, tokenizer, draft = config.open()
    return Worker(model, tokenizer, settings=EngineSettings(n_slots=1), draft=draft)


def talk(config: ChatConfig, worker: "Answerer", prompt: str | None) -> int:
    from nanolit.serve.dialogue import Dialogue
    from nanolit.serve.terminal import Terminal

    params = SamplingParams(**{field.name: getattr(config, field.name) for field in fields(SamplingParams)})
    tolerate_other_encodings()
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    terminal = Terminal(Dialogue(worker, params, config.system), sys.stdout, sys.stderr, colour)
    if prompt is not None:
        return {"error": 1, "cancelled": 128 + signal.SIGINT}.get(terminal.answer(prompt) or "", 0)
    terminal.notice(f"{config.model}, {worker.block_size} tokens; /help tells the commands, Ctrl-D leaves")
    terminal.converse()
    return 0


def tolerate_other_encodings() -> None:
    """A terminal that cannot show a character shows \\u65e5, and what it types wrongly is U+FFFD: no reason to end."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
