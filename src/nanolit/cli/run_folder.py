"""The run folder: what was run, where, on what data and with which result. Whoever has the folder can do it again."""

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from datetime import datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from nanolit.runtime.files import atomic_path, read_json, write_json

log = logging.getLogger("nanolit")

# What shapes the loss curve: a run may not go on with another value. (Longer or shorter is allowed, and so is the
# schedule's end with it.)
SHAPING = (
    *(
        "stage",
        "init_from",
        "init_lr_frac",
        "optimizer_state",
        "rl",
        "dpo",
        "lora",
        "resize_vocabulary",
        "model",
        "tokenizer",
        "data",
        "optimizer",
        "schedule",
    ),
    *("seed", "batch_size", "matmul_precision"),
    *("trainer.precision", "trainer.gradient_clip_val", "trainer.gradient_clip_algorithm"),
)
FREE = ("data.loader.num_workers", "schedule.decay_steps")


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    def check_config(self, config: dict[str, Any], force: bool) -> None:
        """Refuse to go on with settings that would bend the loss curve, listing them."""
        before = self.stored_config()
        changes = changed_settings(before, config) if before else []
        if not changes:
            return
        told = ", ".join(f"{key} was {old!r}, now {new!r}" for key, old, new in changes)
        if not force:
            raise ValueError(
                f"run_dir={self.path} holds a run with other settings: {told}. "
                "Choose another run_dir, or force_resume=true"
            )
        log.warning("going on with changed settings: %s", told)

    def stored_config(self) -> dict[str, Any]:
        """What the run began with; empty for a new one."""
        import yaml

        return yaml.safe_load(self.config_path.read_text()) if self.config_path.exists() else {}

    def check_data(self, data: dict[str, Any], force: bool) -> None:
        """The tokens that a run goes on with are those that it began with."""
        path = self.path / "data.json"
        before = read_json(path) if path.exists() else data
        # The source too: what is encoded on the fly has no tokens that could differ.
        if any(before.get(key) != data.get(key) for key in ("source", "marks", "splits")):
            was, now = before["folder"], data["folder"]
            message = f"the tokens of the run in {self.path} were in {was} and differ from those in {now}"
            if not force:
                raise ValueError(f"{message}. Restore the text, choose another run_dir, or force_resume=true")
            log.warning("going on although %s", message)

    def remove_leftovers(self) -> None:
        """What a kill in the middle of writing left under temporary names; an older model/ set aside comes back."""
        aside = sorted(self.path.glob(".model.*-old"))
        if aside and not (self.path / "model").exists():
            aside[-1].rename(self.path / "model")
        for path in [*self.path.glob(".*.tmp*"), *(self.path / "checkpoints").glob(".*.tmp*")]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def write_description(
        self,
        config: dict[str, Any],
        data: dict[str, Any],
        environment: dict[str, Any],
        command: str,
        architecture: dict[str, Any] | None,
    ) -> None:
        import yaml

        with atomic_path(self.config_path) as temporary:
            temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        write_json(self.path / "data.json", data)
        with (self.path / "command.txt").open("a") as file:
            file.write(f"{datetime.now().isoformat(timespec='seconds')}  {command}\n")
        if architecture is not None:
            write_json(self.path / "architecture.json", architecture)
        write_json(self.path / "environment.json", environment | {"run_id": self.run_id} | git_state())

    @cached_property
    def run_id(self) -> str:
        """Names the run to services such as W&B, and stays the same when it is resumed."""
        return self.stored_environment().get("run_id") or uuid.uuid4().hex[:12]

    def stored_environment(self) -> dict[str, Any]:
        """Where the run was started before; empty for a new one."""
        path = self.path / "environment.json"
        return read_json(path) if path.exists() else {}

    def stored_architecture(self) -> dict[str, Any] | None:
        """Of a run that began with weights: the network that its checkpoints fit, so that it goes on without them."""
        path = self.path / "architecture.json"
        return read_json(path) if path.exists() else None

    def stored_tokenizer(self, section: dict[str, Any]) -> Path | None:
        """The copy that the data keeps of the tokenizer which the section `tokenizer` described when the run began."""
        path = self.path / "data.json"
        if not path.exists() or self.stored_config().get("tokenizer") != section:
            return None
        folder = Path(read_json(path)["folder"]) / "tokenizer"
        return folder if folder.is_dir() else None

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_json(self.path / "summary.json", summary)

    def mark_finished(self) -> None:
        """For a run that was killed between its last checkpoint and its summary."""
        path = self.path / "summary.json"
        summary = read_json(path) if path.exists() else {}
        if summary.get("status") != "finished":
            self.write_summary(summary | {"status": "finished", "metrics": last_metrics(self.path / "metrics.jsonl")})

    def remove_if_empty(self) -> None:
        """A command that failed before it began leaves nothing behind."""
        if self.path.is_dir() and {path.name for path in self.path.iterdir()} <= {"run.log"}:
            (self.path / "run.log").unlink(missing_ok=True)
            self.path.rmdir()


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    flat_before, flat_now = dict(_flat(before, "")), dict(_flat(now, ""))
    shaping = [
        key for key in {**flat_before, **flat_now} if key.startswith(tuple(f"{s}." for s in SHAPING)) or key in SHAPING
    ]
    keys = [key for key in shaping if key not in FREE]
    return [(k, flat_before.get(k), flat_now.get(k)) for k in keys if flat_before.get(k) != flat_now.get(k)]


def _flat(value: Any, prefix: str) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def command_line(overrides: list[str]) -> str:
    """The command that starts, or goes on with, one run, as it can be typed."""
    name = Path(sys.argv[0]).name
    start = {"train.py": "python train.py", "__main__.py": "python -m nanolit train"}.get(name, "nanolit train")
    return " ".join([start, *map(shlex.quote, overrides)])


def git_state() -> dict[str, Any]:
    """Commit and uncommitted changes of the code that ran, if it ran from a repository of its own."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return {"git_commit": None, "git_diff": None}

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    return {"git_commit": (git("rev-parse", "HEAD") or "").strip() or None, "git_diff": git("diff", "HEAD")}


def installed_versions() -> dict[str, str | None]:
    """Of what a result may depend on; None: not installed, as transformers need not be."""
    names = ("nanolit", "torch", "lightning", "hydra-core", "numpy", "tokenizers", "transformers")
    found = {name: list(metadata.Distribution.discover(name=name)) for name in names}
    return {name: distributions[0].version if distributions else None for name, distributions in found.items()}


def read_environment() -> dict[str, str]:
    """The variables that change what a run does."""
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "DATA_ROOT", "OUT_DIR", "WORLD_SIZE", "SLURM_JOB_ID")
    return {name: os.environ[name] for name in names if name in os.environ}


def last_metrics(path: Path) -> dict[str, Any]:
    """The newest value of every metric in metrics.jsonl."""
    latest: dict[str, Any] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        latest |= json.loads(line)
    return latest


def to_try(run: Path) -> str:
    """The command that shows what its model can do: chat, or go on with a text."""
    from nanolit.tokenizers.chat import has_chat_tokens
    from nanolit.tokenizers.directory import load_tokenizer

    model = run / "model"
    can_chat = (model / "tokenizer.json").exists() and has_chat_tokens(load_tokenizer(model))
    return f"nanolit {'chat' if can_chat else 'generate'} model={shlex.quote(str(run))}"
