from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from nanolit.runtime.typed import build, build_arguments, refuse_unread


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"model.inner.rate: got {self.rate}, must be at least 0")


@dataclass(frozen=True)
class Model:
    n_layer: int
    n_embd: int = 8
    tied: bool = True
    kind: Literal["a", "b"] = "a"
    cap: float | None = None
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    names: tuple[str, ...] = ()
    sizes: list[int] = field(default_factory=list)
    extra: dict[str, int] = field(default_factory=dict)
    path: Path | None = None
    either: int | str = 0


def test_every_kind_of_value_arrives_as_annotated() -> None:
    values = {
        "n_layer": 2, "tied": False, "kind": "b", "cap": 30, "inner": {"rate": 2}, "maybe": {"rate": 3},
        "betas": [0, 1], "names": ["x", "y"], "sizes": (1, 2), "extra": {"k": 1}, "path": "here", "either": "s",
    }  # fmt: skip
    built = build(Model, values, "model")
    assert built == Model(
        2, 8, False, "b", 30.0, Inner(2.0), Inner(3.0), (0.0, 1.0), ("x", "y"), [1, 2], {"k": 1}, Path("here"), "s"
    )
    assert isinstance(built.cap, float) and isinstance(built.inner.rate, float) and isinstance(built.betas[0], float)
    assert build(Model, {"n_layer": 1, "cap": None, "maybe": None, "inner": Inner(4.0)}, "model").inner == Inner(4.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layer": 1, "n_embed": 3}, "model.n_embed: no such setting; did you mean model.n_embd?"),
        ({"n_layer": 1, "inner": {"rat": 3}}, "model.inner.rat: no such setting; did you mean model.inner.rate?"),
        ({"n_layer": 1, "maybe": {"rat": 3}}, "model.maybe.rat: no such setting; did you mean model.maybe.rate?"),
        ({"n_layer": 1, "inner": {"zzz": 3}}, "model.inner.zzz: no such setting; allowed here: rate"),
        ({}, "model.n_layer: missing; give it a value (int)"),
        ({"n_layer": "abc"}, "model.n_layer: got 'abc' (str), expected int"),
        ({"n_layer": True}, "model.n_layer: got True (bool), expected int"),
        ({"n_layer": 2.0}, "model.n_layer: got 2.0 (float), expected int"),
        ({"n_layer": 1, "tied": 1}, "model.tied: got 1 (int), expected bool"),
        ({"n_layer": 1, "kind": "c"}, "model.kind: got 'c' (str), expected one of a, b"),
        ({"n_layer": 1, "cap": "x"}, "model.cap: got 'x' (str), expected float or null"),
        ({"n_layer": 1, "cap": True}, "model.cap: got True (bool), expected float or null"),
        ({"n_layer": 1, "betas": [0.9]}, "model.betas: got [0.9] (list), expected a list of 2 (float, float)"),
        ({"n_layer": 1, "names": ["x", 1]}, "model.names[1]: got 1 (int), expected str"),
        ({"n_layer": 1, "names": "xy"}, "model.names: got 'xy' (str), expected a list of str"),
        ({"n_layer": 1, "sizes": [1, "2"]}, "model.sizes[1]: got '2' (str), expected int"),
        ({"n_layer": 1, "extra": {"k": "v"}}, "model.extra.k: got 'v' (str), expected int"),
        ({"n_layer": 1, "inner": 5}, "model.inner: got 5 (int), expected settings (key: value)"),
        ({"n_layer": 1, "inner": {"rate": -1}}, "model.inner.rate: got -1.0, must be at least 0"),
    ],
)
def test_a_wrong_value_names_the_setting(values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        build(Model, values, "model")
    assert str(caught.value) == message


@dataclass(frozen=True)
class Animal:
    kind: str
    name: str = ""
    n_legs: int = 4
    n_wings: int = 2


def test_a_value_that_the_kind_does_not_read_is_refused_unless_it_is_the_default() -> None:
    read_by = {"dog": ("n_legs",), "bird": ("n_wings", "n_legs"), "fish": ()}
    for fine in (Animal("dog", "Rex", 3), Animal("bird", "", 1, 1), Animal("fish", "Nemo", 4, 2)):
        refuse_unread(fine, read_by, "pet")
    with pytest.raises(ValueError) as caught:
        refuse_unread(Animal("fish", n_legs=3), read_by, "pet")
    told = (
        "pet.n_legs=3: pet.kind=fish does not read it, only dog, bird; leave it out, or choose another pet=, as pet=dog"
    )
    assert str(caught.value) == told


class Plain:
    def __init__(self, word: str, n: int = 1, rate: float = 1.0, more: Mapping[str, int] | None = None) -> None:
        pass


class Puzzling:
    def __init__(self, thing: "OnlyForTypeCheckers" = None) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass


def test_the_arguments_of_any_class() -> None:
    given = {"word": "a", "n": 2, "rate": 3, "more": {"x": "not looked at"}}
    assert build_arguments(Plain, given, "task.x") == given | {"rate": 3.0}
    assert build_arguments(Puzzling, {"thing": 1}, "task.x") == {"thing": 1}
    assert build_arguments(Mapping, {}, "task.x") == {}
    for values, told in (
        ({"word": "a", "nn": 2}, r"^task\.x\.nn: no such setting; did you mean n\?$"),
        ({"word": "a", "stop": 2}, r"^task\.x\.stop: no such setting; did you mean step\?$"),
        ({}, r"^task\.x\.word: missing; give it a value \(str\)$"),
        ({"word": None}, r"^task\.x\.word: got None \(NoneType\), expected str$"),
        ({"word": "a", "n": True}, r"^task\.x\.n: got True \(bool\), expected int$"),
    ):
        with pytest.raises(ValueError, match=told):
            build_arguments(Plain, values, "task.x", also=("step",))
