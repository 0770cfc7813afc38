"""`nanolit eval model=… data=…`: how well a trained model predicts prepared text. It scores no answers and asks no
questions: that is the business of tasks.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nanolit.cli.arguments import run_composed

HELP = """usage: nanolit eval model=MODEL data=NAME [key=value …]

  nanolit eval model=runs/mine data=shakespeare_char
  nanolit eval model=gpt2 data=text data.source=my_folder tokenizer=gpt2
  nanolit eval experiment=eval_gpt2 out=gpt2.json

MODEL is a run folder, a model directory, or a name on the Hugging Face hub (gpt2, org/name). data, tokenizer and paths
are the groups that training has; the text must be in the model's own tokens, and what is not prepared yet will be.
Loss (nats per token, with its standard error over windows), perplexity, bits per byte and accuracy go to standard
output, the rest to standard error.

  split=        val, train or test (where the data has one); default val
  batches=      so many batches of random windows; default null: the whole split, each token once
  batch_size=   windows in one pass; default 8
  seed=         which random windows; default 1337, the same windows for every model with the same block size
  block_size=   tokens of context; default null: all that the model reads
  dtype=        float32 (default); bfloat16 and float16 compute under autocast, over the weights as they are stored
  device=       auto (default), cpu, cuda, cuda:N or mps
  out=          a file for the result and all that it depends on, as JSON
  experiment=   eval_gpt2, eval_gpt2_medium, eval_gpt2_large, eval_gpt2_xl: OpenWebText, as nanoGPT evaluates them

The settings of data= and tokenizer= are explained in conf/; debug=true shows the traceback of an error."""


@dataclass(frozen=True)
class EvalConfig:
    """The settings that belong to no group."""

    split: Literal["train", "val", "test"] = "val"
    batches: int | None = None
    batch_size: int = 8
    seed: int = 1337
    block_size: int | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"
    out: Path | None = None

    def __post_init__(self) -> None:
        for name, otherwise in (("batches", ", or null for the whole split"), ("batch_size", ""), ("block_size", "")):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: got {value}, must be at least 1{otherwise}")
        if self.out is not None and self.out.is_dir():
            raise ValueError(f"out: {self.out} is a folder; give a file, out={self.out / 'eval.json'}")


def main(argv: list[str] | None = None) -> int:
    return run_composed(as_hydra_reads(sys.argv[1:] if argv is None else argv), HELP, "eval", run)


def as_hydra_reads(argv: list[str]) -> list[str]:
    """`model` names a group there, the one with architectures, so a model's place has another name."""
    return [f"model.source={a.removeprefix('model=')}" if a.startswith("model=") else a for a in argv]


def run(config: dict[str, Any]) -> int:
    from nanolit.cli.evaluation import Evaluation
    from nanolit.runtime import log

    log.setup()
    return Evaluation(config).execute()
