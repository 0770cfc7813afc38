"""A section task.NAME that asks CORE's texts (evals/core.py), opened: from a folder, or as the village writes them."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nanolit.evals.core_config import CoreConfig
from nanolit.evals.icl_bundle import Bundle, open_bundle
from nanolit.runtime.files import sha256_file
from nanolit.runtime.typed import build
from nanolit.village.core_items import write_bundle

TARGET = f"{CoreConfig.__module__}.{CoreConfig.__qualname__}"


@dataclass(frozen=True)
class Core:
    bundle: Bundle
    config: CoreConfig
    hashes: dict[str, str]  # of its files, which need not be there any more


def is_core(section: dict[str, Any]) -> bool:
    return section.get("_target_") == TARGET


def open_core(name: str, section: dict[str, Any]) -> Core:
    try:
        config = build(CoreConfig, {key: value for key, value in section.items() if key != "_target_"}, "")
        if config.path is not None:
            return _read(config.path, config)
        with TemporaryDirectory() as temporary:
            write_bundle(Path(temporary) / "bundle", config.size, config.seed)
            return _read(Path(temporary) / "bundle", config)
    except ValueError as error:
        raise ValueError(f"task.{name}.{error}") from error


def _read(folder: Path, config: CoreConfig) -> Core:
    bundle = open_bundle(folder, config.tasks)
    return Core(bundle, config, {file.name: sha256_file(file) for file in bundle.files})
