"""What `nanolit eval tasks=…` tells: a table, a file with all that the scores depend on, a file of every item."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nanolit.cli.eval import TaskEvalConfig
from nanolit.cli.run_folder import installed_versions
from nanolit.evals.chat_core import Mean
from nanolit.evals.score import Score
from nanolit.runtime import devices
from nanolit.runtime.files import atomic_path, write_json

log = logging.getLogger("nanolit")


@dataclass
class Told:
    """What came out, as far as it has come."""

    scores: list[Score] = field(default_factory=list)
    means: list[Mean] = field(default_factory=list)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)  # by name: what was asked
    notes: list[str] = field(default_factory=list)  # printed below the table
    items: list[dict[str, Any]] = field(default_factory=list)
    lm_eval: list[dict[str, Any]] = field(default_factory=list)  # its scores

    def add(
        self,
        name: str,
        scores: Sequence[Score],
        section: dict[str, Any],
        files: dict[str, str],  # and their hashes
        seconds: float,
        **counts: int,
    ) -> None:
        self.scores += scores
        self.tasks[name] = {"settings": section, "files": files, **counts, "seconds": round(seconds, 3)}
        if n := counts.get("cropped"):
            self.notes.append(f"{name}: {n} prompts lost their beginning, they are longer than the model reads")
        if n := counts.get("cut_off"):
            self.notes.append(f"{name}: {n} answers had not ended when there was no room for more")


COLUMNS = f"{'task':<32}{'metric':<20}{'score':>8}{'error':>8}{'centred':>9}{'items':>7}{'shots':>7}  template"
NUMBERS = (("value", 8, ".4f"), ("standard_error", 8, ".4f"), ("centred", 9, ".4f"), ("n", 7, ""), ("shots", 7, ""))


def table(model: str, told: Told) -> str:
    lines = [f"{'model':<32}{model}", *([COLUMNS] if told.scores else [])]
    lines += [row(score.as_json()) for score in told.scores]
    for mean in told.means:
        lines.append(f"{mean.name:<52}{'' if mean.value is None else f'{mean.value:>8.4f}'}  {mean.told}")
    if told.lm_eval:
        lines += ["lm-eval", *([] if told.scores else [COLUMNS]), *map(row, told.lm_eval)]
    return "\n".join([*lines, *told.notes])


def row(score: dict[str, Any]) -> str:
    cells = [(score.get(key), width, form) for key, width, form in NUMBERS]
    told = "".join(f"{'' if value is None else format(value, form):>{width}}" for value, width, form in cells)
    return f"{score['task']:<32}{score['metric']:<20}{told}  {score['template'].partition(',')[0].partition(':')[0]}"


def write(told: Told, model: dict[str, Any], device: str, settings: TaskEvalConfig) -> None:
    assert settings.out is not None
    asked = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()}
    versions = installed_versions() | ({"lm_eval": version("lm_eval")} if told.lm_eval else {})
    result = {
        # JSON has no NaN, and one item has no standard error.
        "scores": [{k: None if v != v else v for k, v in score.as_json().items()} for score in told.scores],
        "means": [asdict(mean) for mean in told.means],
        "tasks": told.tasks,
        "lm_eval": told.lm_eval,
        "model": model,
        "settings": asked | {"device": device},
        "machine": devices.describe(),
        "versions": versions,
    }
    write_json(settings.out, result)
    log.info("written to %s", settings.out)
    if settings.out_items is not None:
        with atomic_path(settings.out_items) as temporary:
            lines = (json.dumps(item, ensure_ascii=False) + "\n" for item in told.items)
            temporary.write_text("".join(lines), encoding="utf-8")
        log.info("every item is in %s", settings.out_items)
