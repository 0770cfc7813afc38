"""`nanolit COMMAND key=value …`: finds the command and nothing else, so that help is instant."""

import importlib
import os
import sys

from nanolit.cli.train import WORKER_CONFIG
from nanolit.runtime.suggest import suggest

COMMANDS = {
    "train": "train a model, or go on with a run (the same as python train.py)",
    "prepare": "turn text into token shards: nanolit prepare data=text data.source=FOLDER",
    "data": "look at prepared data: nanolit data inspect data=NAME, nanolit data stats folder=PATH",
    "tokenizer": "train one, or compare it: nanolit tokenizer train data=NAME out=DIR",
    "generate": "let a model write: nanolit generate model=RUN prompt='Once'",
    "chat": "talk with a model: nanolit chat model=RUN",
    "serve": "an OpenAI-compatible server and a web page: nanolit serve model=RUN",
    "import": "make a model directory of another's model: nanolit import source=gpt2 out=models/gpt2",
    "export": "write a model for transformers or llama.cpp: nanolit export model=RUN to=[hf,gguf] out=DIR",
    "eval": "measure how well a model predicts text, or answers: nanolit eval model=RUN tasks=[NAME]",
    "pipeline": "from nothing to an assistant, with a report: nanolit pipeline experiment=village",
}
MODULES = {"import": "import_model", "export": "export_model"}  # where the command's name cannot be the module's


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if WORKER_CONFIG in os.environ:  # Lightning starts further processes with what is left of the arguments
        argv = ["train"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if argv[0] == "--version":
        from nanolit import __version__

        print(f"nanolit {__version__}")
        return 0
    command, rest = argv[0], argv[1:]
    if command not in COMMANDS:
        print(f"error: no command {command!r}; {suggest(command, COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"nanolit.cli.{MODULES.get(command, command)}").main(rest)


def help_text() -> str:
    lines = ["usage: nanolit COMMAND [key=value …]", ""]
    lines += [f"  {name:<10} {what}" for name, what in COMMANDS.items()]
    return "\n".join([*lines, "", "nanolit COMMAND --help tells more; debug=true shows the traceback of an error."])


if __name__ == "__main__":
    sys.exit(main())
