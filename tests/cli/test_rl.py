"""Reinforcement learning from the command line: it learns, it goes on bit for bit, a split changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nanolit.cli.main import main

COLOURS = ("red", "green", "blue", "black")
TASK = """
from nanolit.tasks.choices import Choices
from nanolit.tasks.rows import Rows
from nanolit.tasks.task import Example, Task, question_and_answer


class Colour(Task):
    kind = "generative"
    max_new_tokens = 12

    def __init__(self, wanted: str = "blue") -> None:
        self.wanted = wanted

    def __len__(self) -> int:
        return 3

    def example(self, index: int) -> Example:
        return Example(question_and_answer("Which colour?" + "?" * index, self.wanted))

    def evaluate(self, example: Example, said: str) -> bool:
        return said == self.wanted


class Talk(Colour):
    kind = "chat"


class Lettered(Choices):
    def __init__(self, wanted: str = "A") -> None:
        super().__init__(Rows([wanted] * 3, (), None))

    def example(self, index: int) -> Example:
        answer = self._rows.rows[index]
        return Example(question_and_answer("Which colour?", answer), ("A", "B"), answer)
"""
SMALL = [
    *("model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=48", "tokenizer=bpe_chat"),
    *("tokenizer.vocab_size=270", "trainer=cpu", "logger=none", "callbacks.samples.n_samples=0"),
]


def train(*arguments: str) -> int:
    return main(["train", *arguments])


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    """Asked for a colour, it names one of four, each as often as the others."""
    root = tmp_path_factory.mktemp("colours")
    rows = [{"prompt": "Which colour?" + "?" * (i % 3), "completion": COLOURS[i % 4]} for i in range(120)]
    (root / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:12]))
    (root / "my_colours.py").write_text(TASK)
    sys.path.insert(0, str(root))
    data = ["data=conversations", f"data.source={root}/*.jsonl", f"paths.data_root={root}/data"]
    steps = ["trainer.max_steps=150", "callbacks.evaluate.every_steps=150", "batch_size=8", "optimizer.lr=3e-3"]
    run = ["experiment=quick", "optimizer=adamw", f"run_dir={root}/sft"]
    assert train(*run, *SMALL, *data, *steps) == 0
    yield root / "sft"
    sys.path.remove(str(root))


def rl(parent: Path, run_dir: Path, *more: str, steps: int = 25) -> int:
    return train(*rl_command(parent, run_dir, *more, steps=steps))


def rl_command(parent: Path, run_dir: Path, *more: str, steps: int = 25) -> list[str]:
    asked = ["data=tasks", "data.tasks.colour._target_=my_colours.Colour"]
    told = [
        "trainer=cpu",
        "logger=none",
        "batch_size=48",
        "rl.max_new_tokens=12",
        "optimizer.lr=3e-3",
        "init_lr_frac=1",
    ]
    end = ["schedule=constant", "schedule.warmup_steps=0", f"trainer.max_steps={steps}"]
    return ["stage=rl", f"parent={parent}", f"run_dir={run_dir}", *asked, *told, *end, *more]


def records(run: Path) -> list[dict]:
    unlike = ("seconds", "perf/step_ms")
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in unlike} for line in lines]


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = sorted((run / "checkpoints").glob("*.ckpt"))[-1]
    return torch.load(newest, weights_only=True)["state_dict"]


def test_the_policy_learns_what_is_rewarded(parent, tmp_path, capsys):
    assert rl(parent, tmp_path / "rl", "schedule=linear", steps=80) == 0
    told = records(tmp_path / "rl")
    assert told[0]["rl/reward"] < 0.5 and told[-1]["rl/reward"] > 0.95
    assert told[-1]["rl/cut_off"] < 0.05, "the token that ends an answer is learnt too"
    assert max(line["rl/logprob_gap_max"] for line in told) < 1e-3, "sampler and trainer are one"
    assert told[0]["rl/pass@1"] == pytest.approx(told[0]["rl/reward"]) and told[0]["rl/pass@16"] > 0.9
    assert told[-1]["rl/entropy"] < told[0]["rl/entropy"] and told[0]["rl/zero_variance"] < 0.1
    assert "reward" in capsys.readouterr().out
    assert "colour: Which colour?" in (tmp_path / "rl" / "samples" / "step_00000020.txt").read_text()
    environment = json.loads((tmp_path / "rl" / "environment.json").read_text())
    assert [run["stage"] for run in environment["lineage"]] == ["pretrain"]
    assert (tmp_path / "rl" / "model" / "config.json").exists()


def test_questions_may_be_asked_in_their_order(parent, tmp_path):
    """Three questions a step, which are all there are."""
    assert rl(parent, tmp_path / "rl", "data.order_of_tasks=sequence", "callbacks.samples.every_steps=1", steps=2) == 0
    for step in (1, 2):
        told = (tmp_path / "rl" / "samples" / f"step_{step:08}.txt").read_text()
        assert told.index("Which colour?\n") < told.index("Which colour??\n") < told.index("Which colour???\n")


def test_text_in_sequence_is_not_shuffled_again(parent, tmp_path, capsys):
    asked = ["data=tasks", "+task@data.tasks.quiz=village_quiz", "+task@data.val_tasks.quiz=village_quiz"]
    more = ["data.order_of_tasks=sequence", "tokenizer=folder", f"tokenizer.path={parent}", "trainer=cpu"]
    assert train("stage=sft", f"parent={parent}", f"run_dir={tmp_path / 'sft'}", "logger=none", *asked, *more) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: data.order_of_tasks: got sequence, but data.loader.shuffle=true with packing=")
    assert error.endswith("give data.loader.shuffle=false data.loader.packing=stream")


def test_choices_may_be_answered_in_free_text(parent, tmp_path):
    """The policy names colours, which are no letters: wrong, like any other answer."""
    assert rl(parent, tmp_path / "rl", "data.tasks.colour._target_=my_colours.Lettered", steps=2) == 0
    assert [line["rl/reward"] for line in records(tmp_path / "rl")] == [0.0, 0.0]


@pytest.mark.parametrize(
    "more",
    [
        ("rl=reinforce",),
        ("rl=grpo", "rl.updates_per_rollout=2"),
        ("rl=dr_grpo",),
        ("rl=dapo",),
        ("rl=grpo", "lora.rank=4", "lora.dropout=0.1"),
    ],
    ids=lambda more: "-".join(more[:2]),
)
def test_it_goes_on_bit_for_bit(parent, tmp_path, more):
    """Stopped at step 3: with two updates of each rollout that is in the middle of one."""
    assert rl(parent, tmp_path / "whole", *more, steps=6) == 0
    assert rl(parent, tmp_path / "cut", *more, steps=3) == 0
    assert rl(parent, tmp_path / "cut", *more, steps=6) == 0
    assert records(tmp_path / "whole") == records(tmp_path / "cut")
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_two_processes_go_on_bit_for_bit(parent, tmp_path):
    """In the middle of a rollout, of which each has a half; and they ask and draw what one process does."""
    both = ("trainer.strategy=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    more = ("rl=grpo", "rl.updates_per_rollout=2", "optimizer.lr=1e-4", "batch_size=64")
    folders = [str(parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    for name, steps, those in (("one", 4, ()), ("whole", 4, both), ("cut", 3, both), ("cut", 4, both)):
        command = [
            sys.executable,
            "-m",
            "nanolit",
            "train",
            *rl_command(parent, tmp_path / name, *more, *those, steps=steps),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert records(tmp_path / "whole") == records(tmp_path / "cut")
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    for one, two in zip(records(tmp_path / "one"), records(tmp_path / "whole"), strict=True):
        assert two["optim/grad_norm"] == pytest.approx(one["optim/grad_norm"], rel=1e-4)
        assert two.get("rl/reward") == pytest.approx(one.get("rl/reward"))


@pytest.mark.parametrize("name", ["reinforce", "grpo", "dr_grpo"])
def test_micro_batches_change_nothing_but_rounding(parent, tmp_path, name):
    more = (f"rl={name}", "optimizer.lr=1e-5")
    assert rl(parent, tmp_path / "one", *more, "micro_batch_size=48", steps=1) == 0
    assert rl(parent, tmp_path / "many", *more, "micro_batch_size=6", steps=1) == 0
    one, many = records(tmp_path / "one")[0], records(tmp_path / "many")[0]
    assert one["optim/grad_norm"] == pytest.approx(many["optim/grad_norm"], rel=1e-5)
    assert one["rl/reward"] == many["rl/reward"]


def test_lora_draws_with_what_it_has_learnt(parent, tmp_path):
    """The engine has the thin matrices too: else it would stay at the parent, and the two would part. (Of rewards
    nothing is asked: through the head of this parent, which stays, no hidden state makes a "b" likelier than 0.58.)
    """
    assert rl(parent, tmp_path / "rl", "rl=grpo", "lora.rank=4", steps=20) == 0
    told = records(tmp_path / "rl")
    assert told[-1]["rl/kl"] > 0.01, "it is not the parent any more"
    assert max(line["rl/logprob_gap_max"] for line in told) < 1e-3
    assert (tmp_path / "rl" / "model" / "adapter" / "adapter_config.json").exists()
    assert not (tmp_path / "rl" / "reference" / "adapter").exists(), "the reference is the parent, whole"


def test_the_first_step_changes_nothing_of_the_ratio(parent, tmp_path):
    """Clipped objectives begin at a ratio of 1, and the divergence from the parent at 0."""
    assert rl(parent, tmp_path / "rl", "rl=grpo", steps=2) == 0
    first, second = records(tmp_path / "rl")
    assert first["rl/logprob_gap_max"] < 1e-3 and first["rl/clipped"] == 0
    assert 0 <= first["rl/kl"] < 1e-6 < second["rl/kl"]
    assert (tmp_path / "rl" / "reference" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("data.tasks.colour._target_=my_colours.Talk",), "data.tasks.colour: its answers have no reward"),
        (("data.tasks.colour._target_=my_colours.None",), "cannot be imported"),
        (("+data.tasks.colour.wnated=red",), "task.colour.wnated: no such setting; did you mean wanted?"),
        (("batch_size=40",), "batch_size: got 40 answers a step, must be a multiple of rl.n_samples=16"),
        (("data=village",), "stage=rl asks questions of tasks"),
        (("data.order_of_tasks=backwards",), "data.order_of_tasks: got 'backwards'"),
        (("rl.clip_hihg=0.1",), "rl.clip_hihg: no such setting"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1],
)
def test_faults_are_one_line(parent, tmp_path, capsys, more, told):
    arguments = ["data=tasks", "data.tasks.colour._target_=my_colours.Colour"]
    if more[0] == "data=village":
        arguments = []
    run = ["stage=rl", f"parent={parent}", f"run_dir={tmp_path / 'rl'}", "trainer=cpu", "logger=none"]
    assert train(*run, *arguments, *more) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and told in error
    assert not (tmp_path / "rl" / "checkpoints").exists()


def test_a_parent_without_chat_tokens_is_refused(base_model, tmp_path, capsys, parent):
    assert rl(base_model, tmp_path / "rl") == 2
    assert "has a tokenizer without chat tokens" in capsys.readouterr().err


def test_a_stage_without_parent_is_refused(tmp_path, capsys):
    assert train("stage=sft", "data=conversations", "data.source=x.jsonl", f"run_dir={tmp_path / 'sft'}") == 2
    assert "parent: not given; stage=sft goes on from a model, give parent=RUN" in capsys.readouterr().err
    assert train("experiment=quick", "+rl.n_samples=3", f"run_dir={tmp_path / 'quick'}") == 2
    assert "rl: stage=pretrain does not read it" in capsys.readouterr().err
