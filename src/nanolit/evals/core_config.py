"""What a user may choose about CORE, checked; here without torch, so that a command can tell of it at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class CoreConfig:
    """Of a section task.NAME that names this as its `_target_`: a bundle of texts to complete, no conversations."""

    bundle: Literal["folder", "village"] = "folder"
    path: Path | None = None  # of a folder: the one with core.yaml, eval_meta_data.csv and eval_data/
    size: int = 100  # of the village: items of each task
    seed: int = 0  # of the village
    tasks: tuple[str, ...] | None = None  # some of the bundle's only, by label; None: all
    max_per_task: int | None = None  # so many items of each, drawn as nanochat draws them; None: all

    def __post_init__(self) -> None:
        if self.bundle == "folder" and self.path is None:
            raise ValueError(
                "path: missing; give the folder with core.yaml, eval_meta_data.csv and eval_data/ (nanochat's "
                "eval_bundle), or take village_core"
            )
        if self.bundle == "village" and self.path is not None:
            raise ValueError(f"path: got {self.path}, but the village writes its own bundle; leave it out")
        if self.tasks is not None and not self.tasks:
            raise ValueError("tasks: got none; name some, or give null for all")
        for name, value in (("size", self.size), ("max_per_task", self.max_per_task)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: got {value}, must be at least 1")
