"""`nanolit train`: from a composed configuration to a run folder, as a list of steps. Any interruption is resumed by
the same command.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from nanolit.cli.errors import guarded

log = logging.getLogger("nanolit")

WORKER_CONFIG = (
    "NANOLIT_WORKER_CONFIG"  # path of a composed configuration; set for the processes that the Trainer starts
)
EXAMPLES = """examples:
  python train.py                                     experiment=quick: the village, under a minute on two CPU cores
  python train.py data=text data.source=FOLDER        the quick model on your own files
  python train.py experiment=shakespeare_char_cpu     tiny Shakespeare by characters
  python train.py model=gpt2_124m data=owt trainer=ddp
  python train.py model=nanochat model.depth=20 trainer=ddp      nanochat at any depth: the rest follows
  python train.py init_from=gpt2 data=text data.source=FOLDER    go on with OpenAI's weights on your own files
  python train.py model=hf model.config=FOLDER data=owt          any causal language model of transformers
  python train.py optimizer.lr=1e-3,3e-4 seed=1,2 --multirun
  python train.py run_dir=runs/mine                   again with the same run_dir: goes on where it stopped"""


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if worker_config := os.environ.get(WORKER_CONFIG):
        return guarded(lambda: train_worker(Path(worker_config)), debug=True)
    if {"-h", "--help"} & set(argv):
        print(help_text())
        return 0
    debug = "debug=true" in argv
    argv = with_defaults([argument for argument in argv if argument not in ("debug=true", "debug=false")])

    def command() -> int:
        from nanolit.cli import hydra_app

        return hydra_app.run("train", train, argv, debug)

    return guarded(command, debug)


def with_defaults(argv: list[str]) -> list[str]:
    """Whoever names neither an experiment nor a model gets the quick one, whatever else is changed; a model that an
    experiment is named after brings it along, and so does a model built on that one. Weights to begin with bring
    their architecture and experiment=finetune, or the one that is named after the stage.
    """
    from nanolit.cli import hydra_app

    named = {key.lstrip("+"): value for key, _, value in (argument.partition("=") for argument in argv)}
    stage = named.get("stage", "pretrain")
    if stage != "pretrain" or {named.get("init_from", "null"), named.get("parent", "null")} != {"null"}:
        known = hydra_app.experiments("train")
        brought = {"experiment": stage if stage in known else "finetune", "model": "pretrained"}
        return [*(f"{key}={value}" for key, value in brought.items() if key not in named), *argv]
    if "experiment" in named:
        return argv
    known = hydra_app.experiments("train")
    experiment = (
        next((name for name in built_on(named["model"]) if name in known), None) if "model" in named else "quick"
    )
    return [f"experiment={experiment}", *argv] if experiment else argv


def built_on(model: str) -> Iterator[str]:
    """The model's preset, the one that its defaults begin with, and so on. What is no preset has none."""
    import yaml

    from nanolit.cli import hydra_app

    while True:
        yield model
        path = hydra_app.config_folder() / "model" / f"{model}.yaml"
        first = (yaml.safe_load(path.read_text()) or {}).get("defaults", []) if path.is_file() else []
        if not first or not isinstance(first[0], str) or first[0] == "_self_":
            return
        model = first[0]


def with_own_tokenizer(config: dict[str, Any], overrides: list[str], before: dict[str, Any]) -> dict[str, Any]:
    """Weights have a tokenizer of their own. It takes the place of one that a data recipe would make from its text, and
    that could never be theirs; one that is named, or that a recipe fetches, stays and must be the same.
    `before` is what the run began with, if it goes on: the weights may be gone by now.
    """
    source, kind = config.get("init_from"), config["tokenizer"].get("kind")
    is_named = any(override.lstrip("+").startswith("tokenizer") for override in overrides)
    if source is None or is_named or kind not in ("bpe", "char"):
        return config
    if before.get("init_from") == source:
        return config | {"tokenizer": before["tokenizer"]}
    folders = [folder for folder in (Path(source), Path(source) / "model") if (folder / "config.json").is_file()]
    if folders and not (folders[0] / "tokenizer.json").is_file():
        return config
    log.info("tokenizer: that of %s=%s", "init_from" if config.get("parent") is None else "parent", source)
    return config | {"tokenizer": {"kind": "folder", "path": source}}


def help_text() -> str:
    from nanolit.cli import hydra_app

    lines = [
        "usage: python train.py [GROUP=CHOICE …] [key=value …] [--multirun] [--cfg job]",
        "",
        EXAMPLES,
        "",
        "groups:",
    ]
    for group in hydra_app.groups():
        names = hydra_app.experiments("train") if group == "experiment" else hydra_app.option_names(group)
        lines.append(f"  {group + '=':<14}{', '.join(names)}")
    return "\n".join(
        [*lines, "", "--cfg job prints every setting of this command line; debug=true shows the traceback of an error."]
    )


def train(config: dict[str, Any]) -> int:
    """One run in this process, and in those that its Trainer starts."""
    from nanolit.cli.run_folder import RunFolder
    from nanolit.runtime import dist
    from nanolit.runtime import log as logs
    from nanolit.runtime.files import in_use

    folder = RunFolder(Path(config["run_dir"]))
    logs.setup()
    log.info("%s in %s", config["name"], folder.path)  # at once; the next lines import for some seconds
    try:
        from nanolit.cli.hydra_app import job_overrides
        from nanolit.cli.settings import read_settings, with_parent

        config = with_own_tokenizer(with_parent(config), job_overrides(), folder.stored_config())
        settings = read_settings(config)
        folder.check_config(config, settings.run.force_resume)
        if folder.path.exists() and not folder.path.is_dir():
            raise ValueError(f"run_dir: {folder.path} is a file; choose another run_dir")
        folder.path.mkdir(parents=True, exist_ok=True)
        with in_use(folder.path, "run_dir") if dist.is_main() else nullcontext():
            logs.setup(folder.path / "run.log")
            from nanolit.cli.training_run import TrainingRun

            return TrainingRun(settings, config, folder).execute()
    except Exception as error:
        log.debug("failed", exc_info=error)  # reaches run.log, if there is one by now
        raise
    finally:
        logs.close()
        folder.remove_if_empty()


def train_worker(config_path: Path) -> int:
    """Another process of a run: the configuration was composed once, by the first, and is only read here."""
    import yaml

    return train(yaml.safe_load(config_path.read_text()))
