import itertools
import math
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanolit.optim.schedules import READ_BY, ScheduleConfig, schedule


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # nanoGPT: (it + 1) / (warmup + 1), then a cosine to the minimum at decay_steps, constant after it.
        (
            {"kind": "cosine", "warmup_steps": 9, "min_ratio": 0.1, "decay_steps": 89},
            {0: 0.1, 4: 0.5, 8: 0.9, 9: 1.0, 49: 0.55, 89: 0.1, 99: 0.1},
        ),
        ({"kind": "cosine"}, {0: 1.0, 50: 0.5, 100: 0.0}),
        ({"kind": "linear", "warmup_steps": 20, "min_ratio": 0.2}, {0: 1 / 21, 20: 1.0, 60: 0.6, 100: 0.2, 120: 0.2}),
        ({"kind": "constant", "warmup_steps": 4}, {0: 0.2, 3: 0.8, 4: 1.0, 99: 1.0}),
        (
            {"kind": "wsd", "warmup_steps": 4, "cooldown_fraction": 0.4},
            {0: 0.2, 4: 1.0, 60: 1.0, 70: 0.75, 99: 0.025, 100: 0.0},
        ),
        ({"kind": "wsd", "cooldown_fraction": 0.0}, {0: 1.0, 99: 1.0}),
        ({"kind": "lr_range_test", "range_coeff": 8.0}, {0: math.exp(-4), 50: 1.0, 100: math.exp(4)}),
        ({"kind": "lr_range_test", "range_coeff": 8.0, "warmup_steps": 4}, {0: math.exp(-4) / 5, 50: 1.0}),
    ],
)
def test_exact_values(config: dict[str, Any], expected: dict[int, float]) -> None:
    multiplier = schedule(ScheduleConfig(**config), max_steps=100)
    assert {step: multiplier(step) for step in expected} == pytest.approx(expected, abs=1e-12)


@given(
    kind=st.sampled_from(["cosine", "linear", "wsd", "constant"]),
    warmup_steps=st.integers(0, 30),
    max_steps=st.integers(31, 200),
    min_ratio=st.floats(0, 1),
    cooldown_fraction=st.floats(0, 1),
)
def test_up_in_the_warmup_never_up_after_it_and_inside_the_range(
    kind: Any, warmup_steps: int, max_steps: int, min_ratio: float, cooldown_fraction: float
) -> None:
    given = {"min_ratio": min_ratio, "cooldown_fraction": cooldown_fraction}
    config = ScheduleConfig(kind, warmup_steps, **{key: given[key] for key in given if key in READ_BY[kind]})
    values = [schedule(config, max_steps)(step) for step in range(max_steps + 5)]
    assert all(0 <= value <= 1 for value in values)
    after = values[warmup_steps:]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(after)) and after[-1] >= config.min_ratio - 1e-12
    if kind != "wsd":
        assert values[warmup_steps] == 1 and values[:warmup_steps] == sorted(values[:warmup_steps])


def test_a_schedule_pickles_and_drives_lambda_lr() -> None:
    multiplier = schedule(ScheduleConfig("linear", warmup_steps=1), max_steps=4)
    assert pickle.loads(pickle.dumps(multiplier))(2) == multiplier(2)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([3 * multiplier(step) for step in range(4)])


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"min_ratio": 1.5}, "min_ratio"),
        ({"kind": "wsd", "cooldown_fraction": -0.1}, "cooldown_fraction"),
        ({"warmup_steps": 10, "decay_steps": 10}, "warmup_steps"),
    ],
)
def test_impossible_numbers_name_the_setting(config: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=rf"^schedule\.{key}: got "):
        ScheduleConfig(**config)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"kind": "constant", "min_ratio": 0.1}, "min_ratio"),
        ({"kind": "wsd", "decay_steps": 50}, "decay_steps"),
        ({"kind": "cosine", "cooldown_fraction": 0.1}, "cooldown_fraction"),
        ({"kind": "linear", "range_coeff": 1.0}, "range_coeff"),
        ({"kind": "lr_range_test", "min_ratio": 0.1}, "min_ratio"),
    ],
)
def test_a_setting_that_the_curve_does_not_read_is_refused(config: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=rf"^schedule\.{key}=.*: schedule\.kind={config['kind']} does not read it"):
        ScheduleConfig(**config)


def test_a_warmup_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"schedule\.warmup_steps: got 100, must be below the run's 50 steps"):
        schedule(ScheduleConfig(warmup_steps=100), max_steps=50)
