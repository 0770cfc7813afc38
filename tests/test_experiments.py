"""Every recipe in conf/ composes into checked settings, says how it is run, and starts; so does every option."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nanolit.cli import hydra_app
from nanolit.cli.main import main
from nanolit.cli.settings import PretrainedModel, Settings, read_settings
from nanolit.models.config import GPTConfig
from nanolit.models.directory import save_model
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.directory import save as save_tokenizer

CONF = Path(__file__).resolve().parent.parent / "conf"
EXPERIMENTS = hydra_app.experiments("train")  # those of evaluation: tests/cli/test_eval.py
OPTIONS = [
    (path.parent.name, path.stem)
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name not in ("experiment", "paths", "task", "pipeline") and not path.stem.startswith("_")
]
# What an option, or an experiment, cannot do without.
OF_RL = ["stage=rl", "init_from=somewhere"]
STAGED = [name for name in EXPERIMENTS if "\nstage: " in (CONF / "experiment" / f"{name}.yaml").read_text()]
STAGED += ["village_choices"]
NEEDS = {
    **{name: ["init_from=somewhere"] for name in STAGED},
    "dpo": ["init_from=somewhere", "data=preferences", "data.source=pairs.jsonl"],
    **{path.stem: OF_RL for path in (CONF / "rl").glob("*.yaml")},
    "preferences": ["data.source=pairs.jsonl"],
    "tasks": ["+task@data.tasks.spelling=spelling"],
    "text": ["data.source=mine.txt"],
    "conversations": ["data.source=mine.jsonl"],
    "tokens": ["data.train=train.bin", "data.val=val.bin"],
    "grokking": ["data=grokking"],
    "char": ["data.append_eot=false"],
    "folder": ["tokenizer.path=somewhere"],
    "pretrained": ["init_from=somewhere"],
    "finetune": ["init_from=somewhere"],
}
SMALL = [
    "data=village",
    "data.documents=60",
    "data.val_documents=5",
    "tokenizer=byte",
    "model.n_layer=1",
    "model.n_embd=16",
    "model.n_head=2",
    "model.block_size=32",
    "batch_size=4",
    "trainer=cpu",
    "trainer.max_steps=2",
    "callbacks.samples.max_new_tokens=4",
]


def compose(run_dir: Path, *overrides: str) -> Settings:
    found: list[Settings] = []

    def read(config) -> int:
        found.append(read_settings(config))
        return 0

    assert hydra_app.run("train", read, [*overrides, f"run_dir={run_dir}"]) == 0
    return found[0]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_and_its_model_can_be_built(name, tmp_path):
    settings = compose(tmp_path, f"experiment={name}", *NEEDS.get(name, []))
    assert settings.run.name == name, "its runs would go to the folder of another"
    if isinstance(settings.model, PretrainedModel):
        assert settings.run.init_from, "its architecture is that of the weights"
        return
    assert isinstance(settings.model, GPTConfig)
    with torch.device("meta"):
        network = GPT(replace(settings.model, vocab_size=settings.tokenizer.vocab_size or 50257))
    assert sum(parameter.numel() for parameter in network.parameters()) > 10_000


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_its_command_and_its_result(name):
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert len(lines) <= 40
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert header[0] == "# @package _global_"
    command = header[1].removeprefix("# ")
    assert command == "python train.py" if name == "quick" else command.startswith(f"python train.py experiment={name}")
    assert len(header) >= 3, "say what it should reach"
    if name != "lr_range_test":  # its result is a curve
        assert any(character.isdigit() for character in "".join(header[2:]))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A model directory of the size of SMALL, for the experiments that begin with weights."""
    folder = tmp_path_factory.mktemp("weights")
    tokenizer = ByteTokenizer()
    save_model(folder, GPT(GPTConfig(vocab_size=tokenizer.vocab_size, block_size=64, n_layer=1, n_head=2, n_embd=16)))
    save_tokenizer(tokenizer, folder)
    return folder


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in STAGED])
def test_an_experiment_starts(name, tmp_path, village_root, weights, capfd):
    begins_with_weights = name in ("finetune", "shakespeare_finetune")
    small = [o for o in SMALL if not (begins_with_weights and o.startswith("model.n_"))]
    small += [f"init_from={weights}"] if begins_with_weights else []
    warmup = [] if name == "lr_range_test" else ["schedule.warmup_steps=0"]
    places = [f"run_dir={tmp_path}", f"paths.data_root={village_root}"]
    assert main(["train", f"experiment={name}", *small, *warmup, *places]) == 0, capfd.readouterr().err
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("finished", 2)
    assert 4 < summary["metrics"]["val/loss"] < 7  # a byte is worth 5.5 nats before anything is learnt


def of_stage(stage: str, folder: Path) -> list[str]:
    """Little to learn from, of the kind that the stage wants."""
    if stage == "dpo":
        pairs = [{"prompt": f"{i}?", "chosen": f"{i}!", "rejected": "no"} for i in range(40)]
        (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        return ["data=preferences", f"data.source={folder / 'pairs.jsonl'}"]
    if stage == "rl":
        return ["data=village_rl", "data.tasks.village_math.max_steps=1", "rl.max_new_tokens=8", "rl.n_samples=2"]
    names = ("village_chat", "village_quiz", "village_math", "spelling")
    sizes = [f"data.{part}.{name}.size={size}" for part, size in (("tasks", 40), ("val_tasks", 10)) for name in names]
    return ["data=village_mid" if stage == "midtrain" else "data=village_sft", *sizes]


@pytest.mark.parametrize("name", STAGED)
def test_a_stage_starts(name, tmp_path, village_root, chat_model, capfd):
    settings = compose(tmp_path, f"experiment={name}", *NEEDS[name])
    small = ["batch_size=4", "trainer=cpu", "trainer.max_steps=2", "callbacks.samples.max_new_tokens=4", "logger=none"]
    small += ["~callbacks.task_scores"] if "task_scores" in settings.callbacks else []  # of tasks on the hub
    small += ["schedule.warmup_steps=0"] if settings.schedule.warmup_steps > 2 else []
    places = [f"run_dir={tmp_path / 'run'}", f"paths.data_root={village_root}", f"parent={chat_model}"]
    learnt = of_stage(settings.run.stage, tmp_path)
    assert main(["train", f"experiment={name}", *learnt, *small, *places]) == 0, capfd.readouterr().err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("finished", 2)


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_an_option_composes(group, name, tmp_path):
    compose(tmp_path, f"{group}={name}", *NEEDS.get(name, []))


def test_several_loggers(tmp_path):
    settings = compose(tmp_path, "experiment=quick", "logger=[tensorboard,csv]")
    assert set(settings.logger) == {"tensorboard", "csv"}


def test_debug_overfit_learns_its_batch_by_heart(tmp_path, village_root, capfd):
    places = [f"run_dir={tmp_path}", f"paths.data_root={village_root}"]
    size = ["model.n_embd=32", "trainer.max_steps=120", "callbacks.evaluate.every_steps=120", "logger=none"]
    assert main(["train", "experiment=quick", "debug=overfit", *SMALL, *size, *places]) == 0, capfd.readouterr().err
    metrics = json.loads((tmp_path / "summary.json").read_text())["metrics"]
    assert metrics["train/loss"] < 0.1
    assert metrics["val/loss"] > 2, "the rest of the text is not known"


def test_debug_limit_and_profile(tmp_path, village_root, capfd):
    places = [f"paths.data_root={village_root}"]
    small = [override for override in SMALL if not override.startswith(("trainer.max", "callbacks"))]
    for debug in ("limit", "profile"):
        run = [f"debug={debug}", f"run_dir={tmp_path / debug}"]
        assert main(["train", "experiment=quick", *small, *run, *places]) == 0, capfd.readouterr().err
    steps = [json.loads(line)["step"] for line in (tmp_path / "limit" / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 20
    assert sorted(path.stem for path in (tmp_path / "limit" / "samples").iterdir()) == [
        "step_00000010",
        "step_00000020",
    ]
    assert any(
        "self_cpu" in path.read_text().lower().replace(" ", "_")
        for path in (tmp_path / "profile").glob("*profile*.txt")
    )
