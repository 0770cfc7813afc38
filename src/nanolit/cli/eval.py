"""`nanolit eval model=… tasks=[…]`: what a model can do, by its answers; `nanolit eval model=… data=…`: how well it
predicts prepared text.
"""

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from nanolit.cli.arguments import run_composed
from nanolit.evals.asking import AskConfig

HELP = """usage: nanolit eval model=MODEL tasks=[NAME,…] [key=value …]
       nanolit eval model=MODEL data=NAME [key=value …]

  nanolit eval model=runs/mine tasks=[village_quiz,village_math] task.village_math.stop=200
  nanolit eval model=hf:gpt2 tasks=[arc_easy,gsm8k] task.gsm8k.path=gsm8k shots=5 out_items=answers.jsonl
  nanolit eval model=runs/mine tasks=[my_task] --config-dir my_conf      (my_conf/task/my_task.yaml)
  nanolit eval model=runs/mine lm_eval=[arc_easy]
  nanolit eval model=runs/mine data=shakespeare_char
  nanolit eval experiment=eval_gpt2 out=gpt2.json

MODEL is a run folder, a model directory, or a name on the Hugging Face hub (gpt2, org/name, hf:gpt2). The result goes
to standard output, the rest to standard error.

Tasks (docs/tasks.md lists them; docs/evaluation.md says how they are asked). Their own settings are task.NAME.…: path=,
split=, and start=, stop=, step= of the examples.
  tasks=        names of files in conf/task, or in task/ of --config-dir
  template=     chat, completion; default auto: a chat if the model has the tokens for it
  shots=        examples of the task's train split before each question; default 0
  n_samples=    answers to each question that is answered in words; default 1
  temperature=  of these; default 0: the likeliest
  top_k=        draw from the k likeliest tokens only; default null: from all
  max_new_tokens= of an answer; default null: what the task says
  pass_at=      [1,8]: for which k pass@k is told; default 1 and n_samples
  out_items=    a file for every item with its answers, as JSON lines
  lm_eval=      names of tasks of lm-eval (pip install nanolit[eval]), run beside
  lm_eval_path= a folder with YAML files of one's own for it
  lm_eval_limit= so many items of each of them

Data (conf/data): loss in nats per token with its standard error over windows, perplexity, bits per byte, accuracy. The
text must be in the model's own tokens, and what is not prepared yet will be.
  split=        val, train or test (where the data has one); default val
  batches=      so many batches of random windows; default null: the whole split, each token once
  block_size=   tokens of context; default null: all that the model reads
  experiment=   eval_gpt2, eval_gpt2_medium, eval_gpt2_large, eval_gpt2_xl: OpenWebText, as nanoGPT evaluates them

Both
  batch_size=   windows, prompts or answers in one pass; default 8
  seed=         which random windows, the same for every model with the same block size; which shots and samples
  dtype=        float32 (default); bfloat16 and float16: of the weights; of a loss under autocast, over the weights
                as they are stored
  device=       auto (default), cpu, cuda, cuda:N or mps
  out=          a file for the result and all that it depends on, as JSON; of tasks the default is eval.json

The settings of data= and tokenizer= are explained in conf/; debug=true shows the traceback of an error."""

Dtype = Literal["float32", "bfloat16", "float16"]
OF_DATA = ("data", "tokenizer", "experiment", "split", "batches", "block_size")  # what tasks do not read


@dataclass(frozen=True)
class EvalConfig:
    """The settings of the loss that belong to no group."""

    split: Literal["train", "val", "test"] = "val"
    batches: int | None = None
    batch_size: int = 8
    seed: int = 1337
    block_size: int | None = None
    dtype: Dtype = "float32"
    device: str = "auto"
    out: Path | None = None

    def __post_init__(self) -> None:
        for name, otherwise in (("batches", ", or null for the whole split"), ("batch_size", ""), ("block_size", "")):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: got {value}, must be at least 1{otherwise}")
        refuse_folder("out", self.out)


@dataclass(frozen=True)
class TaskEvalConfig(AskConfig):
    """The settings of tasks, without those of each."""

    tasks: tuple[str, ...] = ()
    lm_eval: tuple[str, ...] = ()
    lm_eval_path: Path | None = None
    lm_eval_limit: int | None = None
    dtype: Dtype = "float32"
    device: str = "auto"
    out: Path | None = None
    out_items: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        twice = [name for name in self.tasks if self.tasks.count(name) > 1]
        if twice:
            raise ValueError(f"tasks: got {twice[0]} twice; leave it out once, or give it another name (docs/tasks.md)")
        if self.lm_eval_limit is not None and self.lm_eval_limit < 1:
            raise ValueError(f"lm_eval_limit: got {self.lm_eval_limit}, must be at least 1, or null for all")
        if not self.lm_eval and (self.lm_eval_path or self.lm_eval_limit):
            raise ValueError("lm_eval: names no task; give lm_eval=[NAME], or leave lm_eval_path and _limit out")
        for name in ("out", "out_items"):
            refuse_folder(name, getattr(self, name))


def refuse_folder(name: str, path: Path | None) -> None:
    if path is not None and path.is_dir():
        raise ValueError(f"{name}: {path} is a folder; give a file, {name}={path / 'eval.json'}")


def main(argv: list[str] | None = None) -> int:
    return run_composed(as_hydra_reads(sys.argv[1:] if argv is None else argv), HELP, "eval", run)


def as_hydra_reads(argv: list[str]) -> list[str]:
    """`model` names a group there, the one with architectures, so a model's place has another name; and each of `tasks`
    is a file of the group `task`, which becomes a section of its own.
    """
    found = []
    for argument in argv:
        key, equals, value = argument.partition("=")
        if key == "model" and equals:
            found.append(f"model.source={value}")
        elif key in ("tasks", "lm_eval") and equals and value != "null":
            names = [name.strip() for name in value.strip("[]").split(",") if name.strip()]
            found.append(f"{key}=[{','.join(names)}]")
            if key == "tasks":
                given = {other.partition("=")[0].lstrip("+") for other in argv}
                new = [name for name in dict.fromkeys(names) if f"task@task.{name}" not in given]
                found += [f"+task@task.{name}={name}" for name in new]
        else:
            found.append(argument)
    return found


def run(config: dict[str, Any]) -> int:
    from nanolit.runtime import log

    log.setup()
    if config["tasks"] or config["lm_eval"]:
        from nanolit.cli.task_evaluation import TaskEvaluation

        return TaskEvaluation(config).execute()
    from nanolit.cli.evaluation import Evaluation

    return Evaluation(config).execute()


def check(config: dict[str, Any]) -> None:
    """What can be known to be wrong with an evaluation before there is a model."""
    from nanolit.runtime.typed import build

    if config["tasks"] or config["lm_eval"]:
        task_settings(config)
    else:
        build(EvalConfig, {field.name: config[field.name] for field in fields(EvalConfig)}, "")


def task_settings(config: dict[str, Any]) -> TaskEvalConfig:
    """How the tasks are asked; each of the sections in config["task"] must be of one of them."""
    from nanolit.runtime.suggest import suggest
    from nanolit.runtime.typed import build

    own = {key: config[key] for key in (*of_tasks(), "batch_size", "seed", "dtype", "device", "out") if key != "task"}
    settings = build(TaskEvalConfig, own, "")
    for name in config["task"]:
        if name not in settings.tasks:
            raise ValueError(f"task.{name}: is not among tasks=; {suggest(name, settings.tasks, 'task.')}")
    return settings


def of_tasks() -> set[str]:
    """The settings that the loss does not read."""
    return {field.name for field in fields(TaskEvalConfig)} - {field.name for field in fields(EvalConfig)} | {"task"}
