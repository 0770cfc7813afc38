"""DPO, and LoRA, from the command line: what is preferred becomes likelier, a split changes nothing, a run goes on."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nanolit.cli.main import main
from nanolit.data.sources.preferences import parse
from nanolit.datamodules.preferences import as_batch
from nanolit.inference.load import load
from nanolit.training.preference import DPOConfig, dpo_losses

QUESTIONS = ["Say hello!", "What is the time?", "Who is there?", "How are you?", "Is it late?", "Where am I?"]
GOOD, BAD = ("Gladly: {}", "With pleasure: {}"), ("No {}", "Go away {}")


def train(*arguments: str) -> int:
    return main(["train", *arguments])


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A parent that answers politely or rudely, each half of the time, and pairs that prefer the polite answers."""
    root = tmp_path_factory.mktemp("dpo")
    rows, pairs = [], []
    for i in range(200):
        question, thing = QUESTIONS[i % 6], f"{i % 17}{chr(97 + i % 23)}"
        good, bad = GOOD[i % 2].format(thing), BAD[i // 2 % 2].format(thing)
        rows.append({"prompt": question, "completion": (good, bad)[i // 3 % 2]})
        pairs.append({"prompt": question, "chosen": good, "rejected": bad})
    for name, found in (("train", rows), ("val", rows[:12])):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    (root / "pairs.json").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    shape = ["model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=64", "tokenizer=bpe_chat"]
    small = ["tokenizer.vocab_size=270", "trainer=cpu", "logger=none", "callbacks.samples.n_samples=0", "batch_size=8"]
    data = ["data=conversations", f"data.source={root}/[tv]*.jsonl", f"paths.data_root={root}/data"]
    steps = ["trainer.max_steps=120", "callbacks.evaluate.every_steps=120", "optimizer=adamw", "optimizer.lr=3e-3"]
    assert train("experiment=quick", f"run_dir={root}/sft", *shape, *small, *data, *steps) == 0
    return root


def dpo(root: Path, run_dir: Path, *more: str, steps: int = 30) -> int:
    asked = ["stage=dpo", f"parent={root / 'sft'}", "data=preferences", f"data.source={root / 'pairs.json'}"]
    how = ["trainer=cpu", "logger=none", "callbacks.samples.n_samples=0", "optimizer.lr=1e-3", "init_lr_frac=1"]
    size = ["batch_size=16", "callbacks.metrics.every_steps=1", f"trainer.max_steps={steps}", "schedule=constant"]
    return train(*asked, *how, *size, "schedule.warmup_steps=0", f"run_dir={run_dir}", *more)


def records(run: Path) -> list[dict]:
    unlike = ("seconds", "perf/step_ms")
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in unlike} for line in lines]


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
def test_what_is_preferred_becomes_likelier(root, tmp_path, capsys, lora):
    more = ["lora.rank=4", "optimizer.lr=1e-2"] if lora else []
    assert dpo(root, tmp_path / "dpo", *more) == 0
    told = records(tmp_path / "dpo")
    before = next(line for line in told if "val/loss" in line)
    assert before["val/loss"] == pytest.approx(0.6931, abs=1e-3) and abs(before["val/margin"]) < 1e-4
    assert told[-1]["val/accuracy"] > 0.95 and told[-1]["val/loss"] < 0.5 and told[-1]["val/margin"] > 0.5
    first = next(line for line in told if "train/loss" in line)
    assert first["train/loss"] == pytest.approx(0.6931, abs=1e-3)
    assert "the better answer ahead in" in capsys.readouterr().out
    model, _ = load(tmp_path / "dpo" / "model")  # a plain one, LoRA or not
    assert sum("lora" in name for name, _ in model.named_parameters()) == 0
    assert (tmp_path / "dpo" / "model" / "adapter" / "adapter_model.safetensors").exists() == lora
    assert (tmp_path / "dpo" / "reference").exists() != lora, "with LoRA the parent is the network itself without"


@pytest.mark.parametrize("more", [[], ["lora.rank=4", "lora.dropout=0.1"]], ids=["whole", "lora"])
def test_it_goes_on_bit_for_bit(root, tmp_path, more):
    assert dpo(root, tmp_path / "whole", *more, steps=6) == 0
    assert dpo(root, tmp_path / "cut", *more, steps=3) == 0
    assert dpo(root, tmp_path / "cut", *more, steps=6) == 0
    of_training = [[r for r in records(tmp_path / n) if "train/loss" in r] for n in ("whole", "cut")]
    assert of_training[0] == of_training[1]
    whole, cut = (
        torch.load(sorted((tmp_path / n / "checkpoints").glob("*.ckpt"))[-1], weights_only=True)["state_dict"]
        for n in ("whole", "cut")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_micro_batches_change_nothing_but_rounding(root, tmp_path):
    for name, size in (("one", 16), ("many", 2)):
        assert dpo(root, tmp_path / name, f"micro_batch_size={size}", steps=2) == 0
    one, many = ([r for r in records(tmp_path / n) if "train/loss" in r][-1] for n in ("one", "many"))
    assert one["train/loss"] == pytest.approx(many["train/loss"], rel=1e-5)
    assert one["optim/grad_norm"] == pytest.approx(many["optim/grad_norm"], rel=1e-4)


def test_the_loss_is_the_papers():
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 2, 5, dtype=torch.float64)
    policy.requires_grad_(True)
    for beta, smoothing in ((0.1, 0.0), (0.5, 0.2)):
        logits = beta * ((policy[0] - reference[0]) - (policy[1] - reference[1]))
        expected = (-F.logsigmoid(logits) * (1 - smoothing) - F.logsigmoid(-logits) * smoothing).mean()
        gains = policy - reference
        loss = dpo_losses(gains[0] - gains[1], DPOConfig(beta, smoothing)).mean()
        assert torch.allclose(loss, expected)
        ours, theirs = torch.autograd.grad(loss, policy, retain_graph=True), torch.autograd.grad(expected, policy)
        assert torch.allclose(ours[0], theirs[0])


def test_only_the_answer_is_compared():
    row = lambda ids, mask: (torch.tensor(ids).numpy(), torch.tensor(mask, dtype=torch.bool).numpy())  # noqa: E731
    batch = as_batch([(row([1, 2, 3, 4], [0, 0, 1, 1]), row([1, 2, 5], [0, 0, 1]))])
    assert batch["inputs"].tolist() == [[1, 2, 3], [1, 2, 0]]
    assert batch["targets"].tolist() == [[-1, 3, 4], [-1, 5, -1]]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "a", "chosen": "b"}, "give its rejected"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "are the same answer"),
        ({"prompt": "a", "chosen": 3, "rejected": "b"}, "chosen: got a number"),
        ({"chosen": "b", "rejected": "c"}, ""),
        ([1], "got an array"),
        (
            {
                "chosen": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
                "rejected": [{"role": "user", "content": "z"}, {"role": "assistant", "content": "w"}],
            },
            "answer different questions",
        ),
        ({"prompt": "a", "chosen": "b", "rejected": [{"role": "pirate", "content": "c"}]}, "role is 'pirate'"),
    ],
    ids=str,
)
def test_a_corrupt_pair_is_one_line(row, told):
    with pytest.raises(ValueError) as error:
        parse(row, "pairs.jsonl:7")
    assert str(error.value).startswith("pairs.jsonl:7: ") and told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["data.source=nowhere.json"], "data.source: there is no file nowhere.json"),
        (["data=village"], "stage=dpo compares answers; give data=preferences"),
        (["lora.rank=0"], "lora.rank: got 0"),
        (["lora.rnk=3"], "lora.rnk: no such setting"),
        (["lora.rank=4", "optimizer=muon"], "lora: optimizer.kind=muon"),
        (["dpo.beta=0"], "dpo.beta"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1],
)
def test_faults_are_one_line(root, tmp_path, capsys, more, told):
    arguments = ["stage=dpo", f"parent={root / 'sft'}", "trainer=cpu", f"run_dir={tmp_path / 'dpo'}"]
    if "data=village" not in more:
        arguments += ["data=preferences", f"data.source={root / 'pairs.json'}"]
    assert train(*arguments, *more) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and told in error


def test_a_parent_without_chat_tokens_is_refused(root, base_model, tmp_path, capsys):
    data = ["data=preferences", f"data.source={root / 'pairs.json'}"]
    assert train("stage=dpo", f"parent={base_model}", *data, "trainer=cpu", f"run_dir={tmp_path / 'dpo'}") == 2
    assert "has a tokenizer without chat tokens" in capsys.readouterr().err
