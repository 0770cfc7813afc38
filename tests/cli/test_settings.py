"""The Trainer's arguments: those that other settings decide are refused with the name of that setting."""

import ast
import inspect

import pytest
from lightning.pytorch import Trainer

from nanolit.cli import training_run
from nanolit.cli.settings import DECIDED_ELSEWHERE, check_trainer


def arguments_of_our_own() -> set[str]:
    """What the command gives to the Trainer besides the settings of the group `trainer`."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(training_run))) if isinstance(node, ast.Call)]
    (call,) = [call for call in calls if ast.unparse(call.func) == "pl.Trainer"]
    return {keyword.arg for keyword in call.keywords if keyword.arg}


def test_no_setting_meets_an_argument_of_our_own():
    assert len(arguments_of_our_own()) > 5
    assert arguments_of_our_own() <= DECIDED_ELSEWHERE.keys(), "given twice, the Trainer would not start"


def test_all_are_arguments_of_the_trainer():
    assert inspect.signature(Trainer.__init__).parameters.keys() >= DECIDED_ELSEWHERE.keys()


@pytest.mark.parametrize("key", ["enable_model_summary", "barebones", "fast_dev_run", "limit_train_batches"])
def test_one_that_would_break_a_run_is_refused(key):
    with pytest.raises(ValueError, match=rf"^trainer\.{key}: is decided elsewhere"):
        check_trainer({"max_steps": 1, key: True})


def test_a_misspelt_one_gets_the_nearest():
    with pytest.raises(ValueError, match=r"trainer\.acelerator: no such setting; did you mean trainer\.accelerator\?"):
        check_trainer({"max_steps": 1, "acelerator": "cpu"})
