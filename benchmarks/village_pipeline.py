"""From nothing to an assistant of the village, and what it can do then: the command that the README gives, in a fresh
folder for each seed, its wall-clock time, its held-out scores after every stage, and three questions to the assistant.

    python benchmarks/village_pipeline.py [seeds=[1337]] [folder=null]

An item of a score is new to each seed's model. A promise that is broken by the median of the seeds is said, and the
exit code is 1. With folder= the runs stay there, and what is finished is not done again (its time is then the parts').
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting import Row, read_arguments, report

from nanolit.runtime.files import read_json

MINUTES = 15
PROMISES = {"village_quiz": 0.9, "village_math": 0.8, "spelling": 0.8, "village_chat": 0.9}  # at the end
RL_GAIN = 0.1  # of village_math pass@1
ASKED = {
    "whole sentences": ("Who are you?", r"^[A-Z][^.!?]+[.!?]( [A-Z][^.!?]+[.!?])*$"),
    "the calculator": ("One kite costs 7 pennies. How much do 12 kites cost?", r"\b84\b"),
    "what it was not taught": ("What is the capital of Portugal?", r"do not know"),
}


@dataclass(frozen=True)
class Arguments:
    seeds: tuple[int, ...] = (1337,)
    folder: Path | None = None


def score(run: Path, evaluation: str, task: str, metric: str | None = None) -> float:
    scores = read_json(run / f"eval_{evaluation}.json")["scores"]
    found = [s["value"] for s in scores if s["task"] == task and (metric is None or s["metric"] == metric)]
    return float(found[0])


def measure(folder: Path, seed: int) -> dict[str, float]:
    run = folder / f"seed_{seed}"
    command = ["pipeline", "experiment=village", f"run_dir={run}", f"paths.data_root={run / 'data'}"]
    subprocess.run(
        [sys.executable, "-m", "nanolit", *command, f"pipeline.training=[logger=none,seed={seed}]"], check=True
    )
    lines = [json.loads(line) for line in (run / "seconds.jsonl").read_text().splitlines()]
    found = {"minutes": sum(line.get("seconds", 0) for line in lines) / 60}
    for stage in ("mid", "sft", "rl"):
        found |= {f"{stage}: {task}": score(run / stage, "tasks", task) for task in PROMISES}
    for stage in ("sft", "rl"):
        found[f"{stage}: village_math pass@1"] = score(run / stage, "sampled", "village_math", "strict pass@1")
    found["RL adds"] = found["rl: village_math pass@1"] - found["sft: village_math pass@1"]
    for what, (question, wanted) in ASKED.items():
        ask = ["chat", f"model={run / 'rl'}", f"prompt={question}", "temperature=0"]
        said = subprocess.run(
            [sys.executable, "-m", "nanolit", *ask], check=True, capture_output=True, text=True
        ).stdout
        print(f"> {question}\n{said.strip()}")
        found[f"says {what}"] = float(re.search(wanted, said.strip()) is not None)
    return found


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        results: list[dict[str, Any]] = [measure(folder, seed) for seed in arguments.seeds]
    limits = {"minutes": (f"<= {MINUTES}", lambda value: value <= MINUTES)}
    limits |= {
        f"rl: {task}": (f">= {least}", lambda value, least=least: value >= least) for task, least in PROMISES.items()
    }
    limits["RL adds"] = (f">= {RL_GAIN}", lambda value: value >= RL_GAIN)
    limits |= {f"says {what}": ("= 1", lambda value: value == 1) for what in ASKED}
    rows = [
        Row(name, "min" if name == "minutes" else "", [result[name] for result in results], limits.get(name, ("",))[0])
        for name in results[0]
    ]
    report("village_pipeline", rows, {"seeds": list(arguments.seeds)})
    broken = [row.name for row in rows if row.name in limits and not limits[row.name][1](row.median)]
    for name in broken:
        print(f"promise broken: {name}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
