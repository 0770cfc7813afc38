"""What a best model is judged by, and what its folder tells other tools."""

import json

import pytest

from nanolit.training.callbacks import BestModel, Evaluate
from nanolit.training.callbacks.best_model import MONITORS


def test_every_monitor_is_measured(bench):
    module = bench.fit(max_steps=2, callbacks=(Evaluate(),)).module
    assert set(MONITORS) <= module.evaluation.keys()


@pytest.mark.parametrize("monitor", ["val/los", "val/accuracy", "train/loss"])
def test_what_is_not_measured_or_better_when_higher_is_refused_at_once(monitor):
    with pytest.raises(ValueError, match=rf"got '{monitor}', must be one of val/loss, val/ppl, val/bpb"):
        BestModel(monitor)


def test_the_folder_says_how_to_write_with_the_model(bench):
    bench.fit(max_steps=2, callbacks=(BestModel(),))
    told = json.loads((bench.folder / "model" / "generation_config.json").read_text())
    assert (told["bos_token_id"], told["eos_token_id"], told["do_sample"]) == (256, 256, True)
    about = json.loads((bench.folder / "model" / "config.json").read_text())
    assert (about["bos_token_id"], about["eos_token_id"], about["nanolit"]["step"]) == (256, 256, 2)
