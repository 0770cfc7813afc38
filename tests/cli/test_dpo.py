"""DPO, and LoRA, from the command line: what is preferred becomes likelier, a split changes nothing, a run goes on, and
its model opens elsewhere. The formula is tests/training/test_preference.py's.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from nanolit.cli.main import main
from nanolit.data.sources.preferences import parse
from nanolit.datamodules.preferences import as_batch
from nanolit.inference.load import load
from nanolit.runtime.files import read_json

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


@torch.no_grad()
def test_what_lora_learnt_opens_elsewhere_and_is_a_parent(root, tmp_path, capsys):
    """Merged in transformers and GGUF; alone in PEFT, beside the parent; and a further stage goes on from it."""
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    shape = [
        "model=gpt2",
        "model.vocab_size=320",
        "model.n_layer=1",
        "model.n_head=2",
        "model.n_embd=32",
        "model.block_size=64",
    ]
    base = ["tokenizer=folder", f"tokenizer.path={root / 'sft' / 'model'}", "trainer=cpu", "logger=none"]
    data = ["data=conversations", f"data.source={root}/[tv]*.jsonl", f"paths.data_root={root}/data"]
    few = ["callbacks.samples.n_samples=0", "batch_size=8", "trainer.max_steps=4", "callbacks.evaluate.every_steps=4"]
    assert train(*shape, *base, *data, *few, "schedule=constant", f"run_dir={tmp_path / 'base'}") == 0
    lora = ["lora.rank=4", "lora.alpha=32", "optimizer.lr=2e-2", f"parent={tmp_path / 'base'}"]
    assert dpo(root, tmp_path / "dpo", *lora, steps=8) == 0
    told = capsys.readouterr()
    assert "lora: 4 matrices of rank 4, " in told.out + told.err
    model, _ = load(tmp_path / "dpo" / "model")
    ids = torch.randint(model.config.vocab_size, (2, 30), generator=torch.Generator().manual_seed(0))
    expected = model(ids)
    whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "dpo" / "model")
    assert torch.allclose(whole(ids).logits[..., : expected.size(-1)], expected, atol=1e-5)
    added = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "dpo" / "model" / "adapter")  # finds the parent
    assert torch.allclose(added(ids).logits[..., : expected.size(-1)], expected, atol=1e-5)
    with added.disable_adapter():
        assert not torch.allclose(added(ids).logits[..., : expected.size(-1)], expected, atol=1e-3)
    assert main(["export", f"model={tmp_path / 'dpo'}", "to=gguf", f"out={tmp_path / 'gguf'}"]) == 0
    assert dpo(root, tmp_path / "next", f"parent={tmp_path / 'dpo'}", steps=1) == 0
    lineage = read_json(tmp_path / "next" / "environment.json")["lineage"]
    assert [entry["stage"] for entry in lineage] == ["pretrain", "dpo"]


def test_fine_tuning_by_lora(root, tmp_path):
    """The same module and shards as without; it begins at its parent's loss and ends below."""
    asked = ["stage=sft", f"parent={root / 'sft'}", "lora.rank=4", "trainer=cpu", "logger=none", "schedule=constant"]
    data = ["data=conversations", f"data.source={root}/[tv]*.jsonl", f"paths.data_root={root}/data", "batch_size=8"]
    tokenizer = ["tokenizer=folder", f"tokenizer.path={root / 'sft' / 'model'}", "model=pretrained", "optimizer=adamw"]
    steps = ["trainer.max_steps=20", "callbacks.evaluate.every_steps=20", "callbacks.evaluate.at_start=true"]
    more = ["optimizer.lr=1e-2", "callbacks.samples.n_samples=0"]
    assert train(*asked, *data, *tokenizer, *steps, *more, f"run_dir={tmp_path / 'more'}") == 0
    before, after = ([r for r in records(path) if "val/loss" in r] for path in (root / "sft", tmp_path / "more"))
    assert after[0]["val/loss"] == pytest.approx(min(r["val/loss"] for r in before), abs=1e-6)
    assert after[-1]["val/loss"] < after[0]["val/loss"]
    state = torch.load(sorted((tmp_path / "more" / "checkpoints").glob("*.ckpt"))[-1], weights_only=True)
    shapes = [tensor["exp_avg"].shape for tensor in state["optimizer_states"][0]["state"].values()]
    assert shapes and all(4 in shape for shape in shapes), "moments of the thin matrices only"


def test_without_its_parent_a_run_goes_on(root, tmp_path, capsys):
    shutil.copytree(root / "sft", tmp_path / "parent")
    more = [f"parent={tmp_path / 'parent'}"]
    assert dpo(root, tmp_path / "run", *more, steps=2) == 0
    assert dpo(root, tmp_path / "like", *more, steps=4) == 0
    shutil.rmtree(tmp_path / "parent")
    assert dpo(root, tmp_path / "run", *more, steps=4) == 0
    one, other = ([r for r in records(tmp_path / n) if "train/loss" in r] for n in ("run", "like"))
    assert one == other
    shutil.rmtree(tmp_path / "run" / "reference")
    capsys.readouterr()
    assert dpo(root, tmp_path / "run", *more, steps=5) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "reference: is gone, the run is measured from it" in error


def test_a_parent_that_changes_before_the_first_checkpoint_is_taken_anew(root, tmp_path):
    """What a start that came to nothing left in the run folder is of the other parent."""
    run = tmp_path / "run"
    assert dpo(root, tmp_path / "other", steps=20) == 0
    shutil.copytree(tmp_path / "other" / "model", run / "reference")
    assert dpo(root, run, "callbacks.evaluate.at_start=true", steps=1) == 0
    assert abs(next(r for r in records(run) if "val/margin" in r)["val/margin"]) < 1e-4


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
        (
            {"chosen": "b", "rejected": "c"},
            "prompt: not given, and chosen is a text; give the question that it answers",
        ),
        ({"prompt": "", "chosen": "b", "rejected": "c"}, "message 1: content: is empty"),
        ({"prompt": "a", "chosen": [{"role": "user", "content": "b"}], "rejected": "c"}, "message 2"),
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
        (["data.source=FOLDER/empty.jsonl"], "empty.jsonl has no rows"),
        (["data.source=FOLDER/broken.jsonl"], "broken.jsonl:2: is no JSON"),
        (["data.source=FOLDER/latin.jsonl"], "latin.jsonl:1: is no UTF-8"),
        (["data.source=FOLDER/single.jsonl"], "of 1 pairs none is in the split "),
        (["data.source=FOLDER/long.jsonl"], "fits into model.block_size=64"),
        (["lora.rank=4", "optimizer_state=kept"], "optimizer_state=kept: what lora adds is new"),
        (["lora.rank=4", "lora.targets=[head]"], "lora.targets: got 'head', allowed: qkv, out, up, down, gate"),
        (["lora.rank=4", "lora.targets=[gate]"], "lora.targets: got gate, this network has"),
        (["data=village"], "stage=dpo compares answers; give data=preferences"),
        (["lora.rank=0"], "lora.rank: got 0"),
        (["lora.rnk=3"], "lora.rnk: no such setting"),
        (["lora.rank=4", "optimizer=muon"], "lora: optimizer.kind=muon"),
        (["dpo.beta=0"], "dpo.beta"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1],
)
def test_faults_are_one_line(root, tmp_path, capsys, more, told):
    row, long = {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": "b " * 99, "rejected": "c"}
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text(json.dumps(row) + '\n{"prompt": ')
    (tmp_path / "latin.jsonl").write_bytes(json.dumps(row | {"chosen": "é"}, ensure_ascii=False).encode("latin-1"))
    (tmp_path / "single.jsonl").write_text(json.dumps(row))
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(long | {"prompt": f"{i}"}) + "\n" for i in range(99)))
    more = [value.replace("FOLDER", str(tmp_path)) for value in more]
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
