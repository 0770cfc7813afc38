from types import SimpleNamespace

import pytest

from nanolit.training import cadence
from nanolit.training.cadence import Cadence


def trainer(step: int, world_size: int = 1):
    return SimpleNamespace(global_step=step, world_size=world_size, strategy=SimpleNamespace(broadcast=lambda x: x))


def due_steps(one: Cadence, n: int, tokens_per_step: int = 100) -> list[int]:
    return [step for step in range(1, n + 1) if one.due(trainer(step), tokens_per_step)]


def test_steps():
    assert due_steps(Cadence(every_steps=7), 30) == [7, 14, 21, 28]


def test_tokens_are_due_at_the_step_that_passes_each_multiple():
    assert due_steps(Cadence(every_tokens=250), 10) == [3, 5, 8, 10]


def test_nothing_given_is_never():
    assert due_steps(Cadence(), 100) == []


def test_minutes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(cadence.time, "monotonic", lambda: now[0])
    one = Cadence(every_minutes=1)
    hits = []
    for step in range(1, 13):
        now[0] += 25.0
        if one.due(trainer(step), 1):
            hits.append(step)
    assert hits == [3, 6, 9, 12]


def test_several_processes_ask_the_main_ones_clock_and_seldom(monkeypatch):
    asked = []
    several = trainer(0, world_size=2)
    several.strategy.broadcast = lambda x: asked.append(several.global_step) or True
    one = Cadence(every_minutes=1)
    due = []
    for several.global_step in range(1, 31):
        if one.due(several, 1):
            due.append(several.global_step)
    assert asked == due == [10, 20, 30]


@pytest.mark.parametrize("wrong", [{"every_steps": 0}, {"every_tokens": -5}, {"every_minutes": "often"}])
def test_wrong_values_are_named(wrong):
    with pytest.raises(ValueError, match=r"callbacks\.evaluate\.every_"):
        Cadence(**wrong, where="callbacks.evaluate")
