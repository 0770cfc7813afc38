"""One dial: nanochat's numbers at its published depths, a width for every depth, each derived value optional."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nanolit.cli import depth_dial, hydra_app
from nanolit.cli.main import main
from nanolit.cli.settings import Settings, read_settings, with_vocabulary
from nanolit.cli.train import with_defaults
from nanolit.models.accounting import parameter_counts
from nanolit.models.config import GPTConfig
from nanolit.optim.build import build_optimizer, optimizer_config
from nanolit.optim.schedules import schedule
from nanolit.tokenizers.byte import ByteTokenizer

NANOCHAT = "model=nanochat"


@pytest.fixture
def compose(tmp_path) -> Callable[..., dict[str, Any]]:
    """What `python train.py` with these arguments would be given."""

    def composed(*overrides: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def read(config: dict[str, Any]) -> int:
            found.append(config)
            return 0

        assert hydra_app.run("train", read, with_defaults([*overrides, f"run_dir={tmp_path}"])) == 0
        return found[0]

    return composed


def model_of(settings: Settings) -> GPTConfig:
    assert isinstance(settings.model, GPTConfig) and settings.tokenizer.vocab_size is not None
    return with_vocabulary(settings.model, settings.tokenizer.vocab_size, {})


@pytest.mark.parametrize(
    ("depth", "width", "heads", "parameters", "n_steps"),
    [
        (20, 1280, 10, 560_988_160, 21_400),
        (26, 1664, 13, 1_081_999_360, 41_275),
        (32, 2048, 16, 1_879_048_192, 71_680),
    ],
)
def test_published_depths(compose, depth, width, heads, parameters, n_steps):
    config = compose(NANOCHAT, f"model.depth={depth}")
    settings = read_settings(config)
    model = model_of(settings)
    assert (model.n_layer, model.n_embd, model.n_head, model.head_dim) == (depth, width, heads, 128)
    assert parameter_counts(model)["total"] == parameters
    assert (settings.max_steps, settings.run.batch_size * model.block_size) == (n_steps, 524_288)
    optimizer: Any = settings.optimizer
    assert optimizer.embedding_lr == pytest.approx(0.2 * (768 / width) ** 0.5, rel=1e-12)
    assert optimizer.head_lr == pytest.approx(0.004 * (768 / width) ** 0.5, rel=1e-12)
    assert (optimizer.lr, optimizer.momentum_start, optimizer.momentum, optimizer.momentum_warmup_steps) == (
        *(0.02, 0.85, 0.95, 300),
    )
    assert (optimizer.betas, optimizer.eps, optimizer.weight_decay) == ((0.8, 0.95), 1e-10, 0.0)
    assert settings.trainer["gradient_clip_val"] == 1.0


def test_the_rate_is_flat_for_four_fifths_and_falls_to_zero(compose):
    settings = read_settings(compose(NANOCHAT))
    rate = schedule(settings.schedule, settings.max_steps)
    assert {rate(step) for step in (0, 1, 10_000, 17_120)} == {1.0}
    assert rate(19_260) == pytest.approx(0.5)
    assert 0 < rate(21_399) < 0.001


@pytest.mark.parametrize("depth", [0, -1, 2.0, True, None])
def test_a_depth_is_a_whole_number(depth):
    with pytest.raises(ValueError, match=f"^model.depth: got {depth}, must be a whole number, at least 1$"):
        depth_dial.width(depth)


@pytest.mark.parametrize("depth", range(1, 65))
def test_every_depth_has_a_width_that_a_model_can_have(depth):
    width = depth_dial.width(depth)
    config = GPTConfig(n_layer=depth, n_embd=width, n_head=depth_dial.heads(width), position="rope")
    assert 64 <= config.head_dim <= 128
    assert width == 64 * depth or (width % 128 == 0 and 0 < width - 64 * depth < 128)
    if depth % 2 == 0:
        assert (width, config.head_dim) == (64 * depth, 128)


@pytest.mark.parametrize("depth", [5, 9, 21])
def test_a_depth_at_which_nanochat_stops_takes_the_next_width_and_says_so(compose, depth):
    config = compose(NANOCHAT, f"model.depth={depth}")
    assert config["model"]["n_embd"] == 64 * depth + 64
    note = depth_dial.table(config, n_parameters=10)[-1]
    assert f"64 x {depth} = {64 * depth} channels" in note and f"{64 * depth + 64} do" in note


@pytest.mark.parametrize("depth", [1, 3, 31])
def test_a_width_that_fits_is_left_alone(compose, depth):
    config = compose(NANOCHAT, f"model.depth={depth}")
    assert config["model"]["n_embd"] == 64 * depth
    assert "channels" not in "".join(depth_dial.table(config, n_parameters=10))


def test_every_derived_value_gives_way_to_a_written_one_and_what_follows_from_it_follows(compose):
    by_depth = compose(NANOCHAT)
    assert set(by_depth["by_depth"]) == {
        *("model.n_layer", "model.n_embd", "model.n_head", "batch_size", "trainer.max_steps"),
        *("optimizer.embedding_lr", "optimizer.head_lr"),
    }
    written = {"model.n_layer": 3, "model.n_embd": 512, "model.n_head": 8, "batch_size": 4, "trainer.max_steps": 7}
    written |= {"optimizer.embedding_lr": 0.5, "optimizer.head_lr": 0.25}
    changed = compose(NANOCHAT, *(f"{name}={value}" for name, value in written.items()))
    for name, value in written.items():
        section, _, key = name.rpartition(".")
        assert (changed[section][key] if section else changed[key]) == value
    assert "by_depth" not in changed
    marked = [line for line in depth_dial.table(changed, 10) if "not derived" in line]
    assert [name for name in written if any(f"({name} is set, not derived)" in line for line in marked)] == [*written]
    assert len(marked) == len(written)
    wide = compose(NANOCHAT, "model.n_embd=768")
    assert (wide["model"]["n_head"], wide["optimizer"]["embedding_lr"]) == (6, 0.2)
    assert compose(NANOCHAT, "model.block_size=1024")["batch_size"] == 512
    half = compose(NANOCHAT, "batch_size=128")["trainer"]["max_steps"]
    assert half == 42_800, "fewer tokens a step, as many in all"


def test_the_horizon_can_have_another_ratio_and_counts_the_vocabulary(compose):
    assert compose(NANOCHAT, "trainer.max_steps=${nanochat_steps:10}")["trainer"]["max_steps"] == 10_700
    small = compose(NANOCHAT, "tokenizer.vocab_size=32768")["trainer"]["max_steps"]
    assert small == 20 * (560_988_160 - 2 * 32_768 * 1280) // 524_288


@pytest.mark.parametrize(
    ("tokenizer", "n_ids"),
    [
        (["tokenizer=byte"], 257),
        (["tokenizer=gpt2"], 50257),
        (["tokenizer=cl100k"], 100277),
        (["tokenizer=cl100k", "tokenizer.name=o200k_base"], 200019),
        (["tokenizer=byte", "model.vocab_size=300"], 300),
        (["tokenizer=byte", "+model.vocab_multiple=64"], 320),
        (["tokenizer=char", "data.append_eot=false", "model.vocab_size=100"], 100),
    ],
)
def test_the_horizon_counts_the_ids_of_the_tokenizer_that_is_asked_for(compose, tokenizer, n_ids):
    config = compose(NANOCHAT, "model.depth=2", "model.block_size=64", "batch_size=4", *tokenizer)
    n_parameters = 2 * 12 * 128**2 + 2 * n_ids * 128
    assert config["trainer"]["max_steps"] == 20 * n_parameters // 256
    assert ", 20.0 a parameter" in "\n".join(depth_dial.table(config, n_parameters))


def test_the_horizon_counts_the_ids_of_a_tokenizer_in_a_folder(compose, tmp_path):
    from tokenizers import Tokenizer

    ByteTokenizer().save(tmp_path / "tokenizer")
    larger = Tokenizer.from_file(str(tmp_path / "tokenizer" / "tokenizer.json"))
    larger.add_special_tokens(["<|user|>"])
    larger.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    folder = ["tokenizer=folder", f"tokenizer.path={tmp_path}"]
    config = compose(NANOCHAT, "model.depth=2", "model.block_size=64", "batch_size=4", *folder)
    assert config["trainer"]["max_steps"] == 20 * (2 * 12 * 128**2 + 2 * 258 * 128) // 256


def test_the_later_features_have_nanochats_attention_scale(compose):
    config = compose("model=nanochat_2026")
    assert config == compose("experiment=nanochat", "model=nanochat_2026")
    model = config["model"]
    assert config["by_depth"] and "not derived" not in "".join(depth_dial.table(config, 10)) and model["smear"]
    assert model["attention_scale"] == pytest.approx(1.2 * 1.2 / 128**0.5, rel=1e-12)


def test_the_table_tells_what_follows(compose):
    config = compose(NANOCHAT, "batch_size=8")
    text = "\n".join(depth_dial.table(config, 560_988_160))
    for told in (
        *("model.depth=20", "1,280", "10 of 128", "560,988,160", "16,384 tokens, 8 x 2,048", "684,800: "),
        *("11,219,763,200 tokens, 20.0 a parameter", "0.1549", "0.003098", "(batch_size is set, not derived)"),
    ):
        assert told in text
    assert depth_dial.table(compose("model=gpt2_124m"), 10) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=nanochat", "model.depth=deep"], "model.depth: got 'deep', must be a whole number, at least 1"),
        (["model=nanochat", "batch_size=0"], "batch_size: got 0"),
        (["model=nanochat", "model.wdth=3"], "model.wdth: no such setting"),
        (["model=gpt2_124m", "model.depth=4"], "model.depth=4: this model has no such dial; give model.n_layer"),
        (["model=gpt2_124m", "optimizer=nanochat", "++model.depth=4"], "model.depth=4: this model has no such dial"),
        (
            ["model=nanochat", "tokenizer=char"],
            "tokenizer.kind=char has as many ids as its text will show; give a number",
        ),
        (["model=nanochat", "tokenizer=folder", "tokenizer.path=some/where"], "tokenizer.path=some/where is not in a"),
        (["experiment=nanochat", "model=te_llama3"], "trainer.max_steps: follows from the size of our own models only"),
    ],
)
def test_a_value_that_nothing_can_be_derived_from_is_one_line(arguments, message, capfd, tmp_path):
    assert main(["train", *arguments, f"run_dir={tmp_path / 'run'}"]) == 2
    error = capfd.readouterr().err
    assert message in error and "Traceback" not in error and "interpolation" not in error
    assert not (tmp_path / "run").exists()


def test_a_model_brings_the_experiment_that_is_named_after_it():
    assert with_defaults(["model=nanochat", "data=village"]) == [
        "experiment=nanochat",
        "model=nanochat",
        "data=village",
    ]
    for model in ("gpt2_124m", "keller_124m", "no_such", "gpt2_124m,nanochat_2026"):
        assert with_defaults([f"model={model}"]) == [f"model={model}"]
    assert with_defaults(["model=nanochat_2026"]) == ["experiment=nanochat", "model=nanochat_2026"]
    assert with_defaults(["model=nanochat", "experiment=quick"]) == ["model=nanochat", "experiment=quick"]


def test_a_small_depth_trains_on_the_village(tmp_path, village_root, capfd):
    small = ["model.depth=2", "model.block_size=32", "batch_size=4", "trainer.max_steps=2", "callbacks.samples=null"]
    data = [
        "data=village",
        "data.documents=60",
        "data.val_documents=5",
        "tokenizer=byte",
        f"paths.data_root={village_root}",
    ]
    command = ["train", "model=nanochat", *small, *data, "trainer=cpu", f"run_dir={tmp_path}"]
    assert main(command) == 0
    told = capfd.readouterr().err
    assert "model.depth=2 stands for" in told and "width           128" in told
    assert "(trainer.max_steps is set, not derived)" in told and "(batch_size is set, not derived)" in told
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("finished", 2)
    assert main([argument.replace("max_steps=2", "max_steps=3") for argument in command]) == 0, "goes on"
    assert json.loads((tmp_path / "summary.json").read_text())["step"] == 3


@pytest.mark.parametrize("depth", [4, 20, 32])
@pytest.mark.parametrize("stage", ["mid", "sft", "rl"])
def test_later_stages_have_the_rates_of_pretraining(compose, depth, stage):
    """They find the width in the model that they go on from, pretraining has it from the dial."""
    dialled = compose(NANOCHAT, f"model.depth={depth}")
    later = compose(f"experiment=nanochat_{stage}", "parent=x")
    width = dialled["model"]["n_embd"]
    shapes = {"token_embedding.weight": (9, width), "head.weight": (9, width), "blocks.0.mlp.up.weight": (4, 4)}
    named = [(name, torch.nn.Parameter(torch.zeros(*shape))) for name, shape in shapes.items()]
    rates = []
    for config in (dialled, later):
        optimizer = build_optimizer(named, optimizer_config(config["optimizer"]))
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
    assert rates[0] == pytest.approx(rates[1])
    assert rates[0]["embeddings"] == pytest.approx(0.2 * (width / 768) ** -0.5)
