"""What the benchmarks share: arguments, paired repetitions, the table, the machine, one line of JSON. Nothing here
measures or judges.
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import yaml

from nanolit.runtime import devices
from nanolit.runtime.typed import build

Arguments = TypeVar("Arguments")


@dataclass(frozen=True)
class Row:
    """One measured quantity: a value for each repetition."""

    name: str
    unit: str
    values: Sequence[float]
    limit: str = ""  # the promise, as it is written in the README

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def read_arguments(cls: type[Arguments], usage: str | None) -> Arguments:
    """The dataclass `cls` from `key=value` arguments; a mistake is one line and exit code 2."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(usage)
        sys.exit(0)
    try:
        pairs = [argument.partition("=") for argument in sys.argv[1:]]
        if wrong := [key for key, equals, _ in pairs if not equals]:
            raise ValueError(f"{wrong[0]}: write each argument as key=value")
        return build(cls, {key: yaml.safe_load(text) for key, _, text in pairs}, "")
    except ValueError as error:
        stop(str(error))


def stop(message: str) -> Any:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def report(name: str, rows: Sequence[Row], facts: Mapping[str, Any] | None = None) -> None:
    machine, date = devices.describe(), datetime.now().isoformat(timespec="minutes")
    width = max(len(row.name) for row in rows)
    print(f"\n{name}, {date}\n{_machine_line(machine)}\n")
    print(f"{'':<{width}}  {'median':>12}  {'min - max':>25}  {'unit':<8}  limit")
    for row in rows:
        spread = f"{_number(min(row.values))} - {_number(max(row.values))}"
        print(f"{row.name:<{width}}  {_number(row.median):>12}  {spread:>25}  {row.unit:<8}  {row.limit}".rstrip())
    for fact, value in (facts or {}).items():
        print(f"{fact}: {value}")
    results = {
        f"{row.name}, {row.unit}".rstrip(", "): {"unit": row.unit, "median": row.median, "values": list(row.values)}
        for row in rows
    }
    print(
        json.dumps({"benchmark": name, "date": date, "machine": machine, "results": results, **(facts or {})}),
        flush=True,
    )


def _machine_line(machine: Mapping[str, Any]) -> str:
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"])
    cpu = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads"
    return f"{cpu}{', ' + gpus if gpus else ''}; torch {machine['torch']}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
