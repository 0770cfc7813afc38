"""What a pipeline's folder says of itself, as sections of names and values: nanochat's, where there is something to
tell. Reads JSON that the parts have written, and judges nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = "seconds.jsonl"
# Columns of the summary, as nanochat calls the stages
TITLES = {
    "base": "Base model",
    "mid": "Midtraining",
    "choices": "Choices",
    "sft": "SFT",
    "dpo": "DPO",
    "rl": "Reinforcement learning",
}


@dataclass
class Section:
    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # by name: (step, value)
    text: str = ""  # preformatted


@dataclass
class Report:
    title: str
    head: list[tuple[str, str]]
    sections: list[Section]
    columns: list[str]  # of the summary
    summary: list[tuple[str, list[str]]]
    total: list[tuple[str, str]]


def gather(folder: Path, name: str, stages: Sequence[str], dollars_per_hour: float | None) -> Report:
    parts = _lines(folder / SECONDS)
    head = _head(folder / stages[0], parts)
    sections = _tokenizer(folder)
    evaluations = {stage: _evaluations(folder / stage) for stage in stages}
    for stage in stages:
        title = TITLES.get(stage, stage)
        sections.append(_training(f"{title} training" if stage == "base" else title, folder / stage))
        for what, result in evaluations[stage].items():
            sections.append(_evaluation(f"{title}: {what}", result))
    ended = [part for part in parts if "seconds" in part]
    seconds = sum(part["seconds"] for part in ended)
    n_killed = len(parts) - 2 * len(ended)  # each begins with a line of its own
    beside = f", and what {n_killed} part(s) took that were killed" if n_killed > 0 else ""
    total = [("wall-clock time", duration(seconds) + beside)]
    if dollars_per_hour is None:
        total.append(("cost", "not known; pipeline.dollars_per_hour= is what the machine costs"))
    else:
        total.append(("cost", f"${seconds / 3600 * dollars_per_hour:,.2f} at ${dollars_per_hour:g} an hour"))
    columns, summary = _summary(stages, evaluations)
    return Report(name, head, [s for s in sections if s.rows or s.scores or s.text], columns, summary, total)


def _head(first: Path, parts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    from datetime import datetime

    environment = _json(first / "environment.json")
    gpus = [gpu["name"] for gpu in environment.get("gpus", [])]
    packages = environment.get("packages", {})
    rows = [
        ("begun", datetime.fromtimestamp(parts[0]["begun"]).isoformat(" ", "minutes") if parts else ""),
        ("machine", ", ".join(filter(None, [environment.get("cpu"), f"{environment.get('cores')} cores", *gpus]))),
        ("memory", f"{(environment.get('memory_bytes') or 0) / 2**30:.0f} GiB"),
        ("system", environment.get("platform", "")),
        ("software", ", ".join(f"{key} {value}" for key, value in packages.items() if value)),
        ("commit", (environment.get("git_commit") or "none") + (" and changes" if environment.get("git_diff") else "")),
    ]
    return [(key, str(value)) for key, value in rows if value]


def _tokenizer(folder: Path) -> list[Section]:
    found = []
    config = _json(folder / "tokenizer" / "tokenizer_config.json")
    if config:
        n_ids = len(_json(folder / "tokenizer" / "tokenizer.json").get("model", {}).get("vocab", {}))
        rows = [("kind", str(config.get("kind"))), ("ids", f"{n_ids:,}"), ("fingerprint", config["fingerprint"][:16])]
        found.append(Section("Tokenizer training", rows))
    told = _json(folder / "tokenizer_eval" / "tokenizer_eval.json")
    if told:
        found.append(Section("Tokenizer evaluation", text=_compression(told["texts"])))
    return found


def _compression(texts: list[dict[str, Any]]) -> str:
    """Bytes for each token, of ours and of others, and by how much ours needs fewer tokens."""
    others = list(texts[0]["difference_percent"])
    lines = [f"{'bytes for each token':<22}{'ours':>8}" + "".join(f"{name:>14}" for name in others)]
    for text in texts:
        ratios = text["bytes_per_token"]
        ours = next(value for name, value in ratios.items() if name not in others)
        compared = (f"{ratios[name]:.2f} ({text['difference_percent'][name]:+.0f} %)" for name in others)
        lines.append(f"{text['text']:<22}{ours:>8.2f}" + "".join(f"{shown:>14}" for shown in compared))
    return "\n".join(lines)


def _training(title: str, run: Path) -> Section:
    config, summary = _yaml(run / "config.yaml"), _json(run / "summary.json")
    records = _lines(run / "metrics.jsonl")
    latest: dict[str, Any] = summary.get("metrics", {})
    rows = [
        ("command", (run / "command.txt").read_text().splitlines()[0].partition("  ")[2]),
        ("steps", f"{summary.get('step', 0):,} of {config.get('batch_size')} sequences"),
        ("tokens", f"{summary.get('tokens', 0):,}" + (" at most" if "rl/reward" in latest else "")),
        ("training time", duration(summary.get("train_seconds") or 0)),
        ("learning rate", f"begins at {config.get('init_lr_frac', 1):g} of the optimizer's"),
    ]
    shown = ("val/loss", "val/bpb", "val/accuracy", "rl/reward", "rl/pass@1", "rl/pass@8", "rl/logprob_gap")
    rows += [(key, f"{latest[key]:.4g}") for key in shown if key in latest]
    rows += [(key, f"{latest[key]:.3g}") for key in ("perf/tok_per_s", "perf/mfu", "perf/step_ms") if key in latest]
    wanted = ("rl/reward", "rl/entropy") if "rl/reward" in latest else ("train/loss", "val/loss")
    curves = {key: [(r["step"], r[key]) for r in records if key in r] for key in wanted}
    samples = sorted((run / "samples").glob("*.txt"))
    text = samples[-1].read_text(encoding="utf-8")[:1500] if samples else ""
    return Section(title, rows, curves={key: points for key, points in curves.items() if len(points) > 1}, text=text)


def _evaluations(run: Path) -> dict[str, dict[str, Any]]:
    return {path.stem.removeprefix("eval_"): _json(path) for path in sorted(run.glob("eval_*.json"))}


def _evaluation(title: str, result: dict[str, Any]) -> Section:
    if "scores" in result:
        rows = [(name, f"{value:.4f}") for name, value in means_of(result).items()]
        return Section(title, rows, scores=result["scores"])
    told = result["result"]
    shown = ("loss", "standard_error", "bpb", "accuracy", "n_tokens")
    return Section(title, [(key, f"{told[key]:,.6g}") for key in shown if told.get(key) is not None])


def _summary(
    stages: Sequence[str], evaluations: dict[str, dict[str, dict[str, Any]]]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """A row for each task, a column for each stage that was scored; the first metric of a task is its score."""
    values: dict[str, dict[str, str]] = {}
    for stage in stages:
        for result in evaluations[stage].values():
            first = {
                score["task"]: score for score in reversed(result.get("scores", []))
            }  # a task's score stands first
            for task, score in reversed(first.items()):
                name = task if score["metric"] in ("accuracy", "strict") else f"{task} {score['metric']}"
                values.setdefault(name, {})[stage] = f"{score['value']:.1%}"
            for name, value in means_of(result).items():
                values.setdefault(name, {})[stage] = f"{value:.4f}"
            if bpb := (result.get("result") or {}).get("bpb"):
                values.setdefault("bits per byte", {})[stage] = f"{bpb:.4f}"
    scored = [stage for stage in stages if any(stage in found for found in values.values())]
    rows = [(name, [found.get(stage, "-") for stage in scored]) for name, found in values.items()]
    return [stage.upper() for stage in scored], rows


def means_of(result: dict[str, Any]) -> dict[str, float]:
    return {mean["name"]: mean["value"] for mean in result.get("means", []) if mean["value"] is not None}


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _yaml(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.endswith("}"):  # a kill may have cut the last one
            found.append(json.loads(line))
    return found
