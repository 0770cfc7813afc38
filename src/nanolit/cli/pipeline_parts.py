"""The parts of a pipeline: what each is called with, what it needs, and whether its result is there, made with the same
settings. Nothing is run here.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanolit.cli.pipeline import PipelineConfig

RECORD = "parts.json"  # what tokenizer and scores were made with; a run's folder says that itself
NOT_OF_THE_RESULT = ("paths", "out", "device", "name")
FROM_SIBLINGS = ("init_from", "tokenizer.path")  # paths, which change when the whole folder is moved


@dataclass(frozen=True)
class FutureTokenizer:
    path: Path
    settings: list[str]

    def known(self) -> list[str]:
        """How many ids it will have, which the size of a model and the length of its training may follow from."""
        from nanolit.cli import hydra_app

        if self.path.exists():
            return []
        section = hydra_app.composed("tokenizer_train", self.settings)["tokenizer"]
        return [f"++model.vocab_size={section['vocab_size']}"]


@dataclass(frozen=True)
class Part:
    """One command, and the file that is there when it has been done."""

    name: str
    stage: str
    command: list[str]  # after `nanolit`
    result: Path
    tokenizer: "FutureTokenizer | None" = None  # that it wants, and that is made by a part before

    @property
    def is_training(self) -> bool:
        return self.command[0] == "train"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All of them, as the command itself will compose them."""
        from nanolit.cli import eval, hydra_app, tokenizer

        match self.command:
            case ["train", *given]:
                return hydra_app.composed("train", [*given, *(self.tokenizer.known() if self.tokenizer else [])])
            case ["eval", *given]:
                return hydra_app.composed("eval", eval.as_hydra_reads(given))
            case ["tokenizer", "eval", *given]:
                return hydra_app.composed("tokenizer_eval", tokenizer.as_hydra_reads(given))
            case ["tokenizer", _, *given]:
                return hydra_app.composed("tokenizer_train", given)
        raise AssertionError(self.command)


def parts_of(pipeline: "PipelineConfig", folder: Path, paths: dict[str, str]) -> list[Part]:
    """All commands, in order."""
    where = [f"paths.data_root={paths['data_root']}", f"paths.out_dir={paths['out_dir']}"]
    parts, begin, future = [], list[str](), None
    tokenizer, told = folder / "tokenizer", folder / "tokenizer_eval"
    if pipeline.tokenizer:
        asked = ["tokenizer", "train", *pipeline.tokenizer, f"out={tokenizer}", *where]
        future = FutureTokenizer(tokenizer / "tokenizer.json", pipeline.tokenizer)
        parts.append(Part("tokenizer", "tokenizer", asked, future.path))
        asked = ["tokenizer", "eval", f"model={tokenizer}", *pipeline.tokenizer_evaluation, f"out={told}", *where]
        parts.append(Part("tokenizer_eval", "tokenizer", asked, told / "tokenizer_eval.json"))
        begin = ["tokenizer=folder", f"tokenizer.path={tokenizer}"]
    for stage in pipeline.wanted:
        run_dir = folder / stage.name
        command = ["train", *stage.train, *begin, *pipeline.training, f"run_dir={run_dir}", *where]
        parts.append(Part(stage.name, stage.name, command, run_dir / "summary.json", future))
        for name, settings in stage.evaluate.items():
            result = run_dir / f"eval_{name}.json"
            asked = ["eval", f"model={run_dir}", *settings, f"out={result}", where[0]]
            parts.append(Part(f"{stage.name}: {name}", stage.name, asked, result))
        begin, future = [f"parent={run_dir}"], None
    return parts


def still_to_do(parts: Sequence[Part], folder: Path) -> list[Part]:
    """Those whose result is not there. One that was made with other settings is made anew, if it is a score, and
    refused, if others came from it.
    """
    record = read_record(folder)
    undone: dict[str, Part] = {}
    unfinished: Part | None = None
    for part in parts:
        if part.is_training:
            is_done = _has_run(part)
            if unfinished is not None and part.result.with_name("config.yaml").exists():
                raise ValueError(
                    f"pipeline: {part.name} is there, but {unfinished.name}, from which it came, is not finished; "
                    f"remove {part.result.parent} to have it done anew, or choose another run_dir"
                )
        else:
            is_done = part.result.exists() and part.stage not in undone
            before = record.get(part.name)
            if is_done and before is not None and before != comparable(part, folder):
                if part.name == "tokenizer":
                    raise ValueError(_made_otherwise(part, part.result.parent, _difference(before, part, folder)))
                is_done = False
        if not is_done:
            undone[part.name] = part
            if part.is_training or part.name == "tokenizer":
                unfinished = unfinished or part
    return list(undone.values())


def _has_run(part: Part) -> bool:
    """A run that stopped early has a summary too, which says so."""
    from nanolit.cli.run_folder import RunFolder, changed_settings
    from nanolit.cli.settings import with_parent
    from nanolit.cli.train import with_own_tokenizer
    from nanolit.runtime.files import read_json

    if not part.result.exists() or read_json(part.result).get("status") != "finished":
        return False
    before = RunFolder(part.result.parent).stored_config()
    now = with_own_tokenizer(with_parent(part.settings), part.command[1:], before)
    changes = [change for change in changed_settings(before, now) if change[0] not in FROM_SIBLINGS]
    steps = [config["trainer"].get("max_steps") for config in (before, now)]
    if steps[0] != steps[1]:
        changes.append(("trainer.max_steps", *steps))
    if changes:
        told = ", ".join(f"{key} was {old!r}, now {new!r}" for key, old, new in changes)
        raise ValueError(_made_otherwise(part, part.result.parent, told))
    return True


def _made_otherwise(part: Part, folder: Path, told: str) -> str:
    return (
        f"pipeline: {part.name} is done, with other settings: {told}. Choose another run_dir; or remove {folder} and "
        "what came from it, to have them done anew"
    )


def comparable(part: Part, folder: Path) -> dict[str, Any]:
    """What the result follows from, wherever the pipeline's folder stands."""
    own = {key: value for key, value in part.settings.items() if key not in NOT_OF_THE_RESULT}
    plain: dict[str, Any] = json.loads(json.dumps(own, default=str).replace(str(folder), "."))
    return plain


def _difference(before: dict[str, Any], part: Part, folder: Path) -> str:
    now = comparable(part, folder)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return ", ".join(f"{key} was {before.get(key)!r}, now {now.get(key)!r}" for key in changed)


def read_record(folder: Path) -> dict[str, Any]:
    from nanolit.runtime.files import read_json

    path = folder / RECORD
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    return found


def note(part: Part, folder: Path) -> None:
    """That it is done, with these settings."""
    from nanolit.runtime.files import write_json

    if not part.is_training:
        write_json(folder / RECORD, read_record(folder) | {part.name: comparable(part, folder)})


def check(part: Part) -> Any:
    """Its settings, checked like the command itself will."""
    from nanolit.cli import eval
    from nanolit.cli.settings import read_settings, with_parent

    if part.is_training:
        return read_settings(with_parent(part.settings))
    return eval.check(part.settings) if part.command[0] == "eval" else None


def missing_files(part: Part) -> Iterator[str]:
    """What a part will want to read and nobody makes, one line each."""
    from nanolit.evals.core_bundle import is_core

    data = part.settings.get("data") or {}
    sections = {f"task.{name}": section for name, section in (part.settings.get("task") or {}).items()}
    if part.is_training:
        for key in ("tasks", "val_tasks"):
            sections |= {f"data.{key}.{name}": section for name, section in (data.get(key) or {}).items()}
    for where, section in sections.items():
        path = section.get("path")
        if path is not None and not Path(path).exists():
            remedy = "give pipeline.core_bundle=FOLDER" if is_core(section) else "put it there"
            yield f"{part.name}: {where}.path: there is no {path}; {remedy}"
