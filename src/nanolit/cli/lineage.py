"""Where a run comes from: the chain of its ancestors, and the optimizer's state of its parent. Weights are network.py's
business.
"""

from pathlib import Path
from typing import Any

import torch

from nanolit.cli.run_folder import RunFolder
from nanolit.runtime.files import read_json
from nanolit.training.callbacks.checkpoint import newest_valid


def ancestors(parent: str) -> list[dict[str, Any]]:
    """The oldest first, each as it told of itself; one entry that only names it for a model that is no run of ours."""
    folder = RunFolder(Path(parent))
    config, summary = folder.stored_config(), folder.path / "summary.json"
    if not config:
        return [{"source": parent}]
    told = read_json(summary) if summary.exists() else {}
    this = {
        "source": str(folder.path.absolute()),
        "name": config["name"],
        "stage": config["stage"],
        "run_id": folder.stored_environment().get("run_id"),
        "step": told.get("step"),
        "tokens": told.get("tokens"),
    }
    return [*folder.stored_environment().get("lineage", []), this]


def optimizer_state(parent: str) -> dict[str, Any]:
    """Of the parent's last checkpoint."""
    newest = newest_valid(Path(parent)) if Path(parent).is_dir() else None
    if newest is None:
        raise ValueError(
            f"optimizer_state=kept: {parent} has no checkpoint, which alone keeps the optimizer's state; give a run "
            "folder as parent, or optimizer_state=fresh"
        )
    return torch.load(newest.path, map_location="cpu", weights_only=True, mmap=True)["optimizer_states"][0]
