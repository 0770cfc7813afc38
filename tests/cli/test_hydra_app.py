import pytest

from nanolit.cli import hydra_app
from nanolit.cli.train import with_defaults


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("name=plain", "name=plain"),
        ("optimizer.lr=1e-3,3e-4", "optimizer.lr=1e-3,3e-4"),  # a sweep stays a sweep
        ("callbacks.samples.prompt=Once, there: was (a) cat", "callbacks.samples.prompt='Once, there: was (a) cat'"),
        ("callbacks.samples.prompt=it's", r"callbacks.samples.prompt='it\'s'"),
        ("--multirun", "--multirun"),
    ],
)
def test_values_that_the_grammar_rejects_are_quoted(given, expected):
    assert hydra_app.quoted(given) == expected


def test_quick_is_the_default_unless_a_model_or_an_experiment_is_named():
    assert with_defaults([]) == ["experiment=quick"]
    assert with_defaults(["data=text"])[0] == "experiment=quick"
    assert with_defaults(["model=gpt2_124m"]) == ["model=gpt2_124m"]
    assert with_defaults(["experiment=shakespeare_char"]) == ["experiment=shakespeare_char"]


def test_groups_of_the_design_are_there():
    assert {
        "model",
        "data",
        "tokenizer",
        "optimizer",
        "schedule",
        "trainer",
        "logger",
        "callbacks",
        "experiment",
    } <= set(hydra_app.groups())


def test_what_recipes_share_is_no_choice():
    assert {path.stem for path in (hydra_app.config_folder() / "data").glob("_*.yaml")} == {"_loader"}
    assert "_loader" not in hydra_app.option_names("data") and "text" in hydra_app.option_names("data")
