"""Networks that are not ours, through the whole command: trained, evaluated, sampled, saved, resumed, written with."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers")

from nanolit.cli.main import main  # noqa: E402
from nanolit.cli.open_model import open_model  # noqa: E402
from nanolit.inference.generate import generate as write  # noqa: E402
from nanolit.inference.params import SamplingParams  # noqa: E402

LLAMA = [
    *("model=hf_llama", "model.config.num_hidden_layers=1", "model.config.hidden_size=16", "model.block_size=32"),
    *("model.config.num_attention_heads=2", "model.config.num_key_value_heads=1", "model.config.intermediate_size=32"),
]
GPT2 = [
    "model=hf_gpt2",
    "model.config.n_layer=1",
    "model.config.n_embd=16",
    "model.config.n_head=2",
    "model.block_size=32",
]
QWEN = {
    **{"model_type": "qwen3", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8},
    **{"num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": 32},
}


@pytest.fixture
def train(small_run, tmp_path):
    def run(*overrides: str, run_dir: Path = tmp_path / "run") -> int:
        return main(["train", "tokenizer=byte", *small_run, f"run_dir={run_dir}", *overrides])

    return run


def qwen(folder: Path) -> list[str]:
    (folder / "config").mkdir()
    (folder / "config" / "config.json").write_text(json.dumps(QWEN))
    return ["model=hf", f"model.config={folder / 'config'}"]


def metrics(run: Path, key: str) -> list[float]:
    return [r[key] for line in (run / "metrics.jsonl").read_text().splitlines() if key in (r := json.loads(line))]


@pytest.mark.parametrize("name", ["llama", "qwen"])  # of a family of ours, and of none
def test_a_whole_run(train, tmp_path, capfd, name):
    model = LLAMA if name == "llama" else qwen(tmp_path)
    run = tmp_path / "run"
    assert train(*model, "optimizer.lr=1e-2", "trainer.max_steps=8") == 0, capfd.readouterr().err
    losses = metrics(run, "val/loss")
    assert losses[-1] < losses[0] - 0.1
    assert len(list((run / "samples").iterdir())) == 2
    # What it leaves opens in transformers unchanged, with its tokenizer, and writes the same text here and there.
    theirs = transformers.AutoModelForCausalLM.from_pretrained(run / "model", dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "model")
    expected = theirs.generate(
        **tokenizer("Once", return_tensors="pt"), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    capfd.readouterr()
    settings = ["prompt=Once", "temperature=0", "max_new_tokens=20", "device=cpu", "top_k=null"]
    assert main(["generate", f"model={run}", *settings]) == 0
    assert capfd.readouterr().out == tokenizer.decode(expected[0]) + "\n"
    network, own = open_model(run, "cpu")
    texts = [write(network, own, "Once", SamplingParams(40, seed=2), n_samples=n)[0] for n in (1, 3)]
    assert texts[0] == texts[1]


def test_resumed_is_bit_equal(train, tmp_path):
    """GPT-2's configuration has dropout, which must be the same after the interruption."""
    for run, steps in (("whole", (4,)), ("parts", (2, 4))):
        for n in steps:
            assert train(*GPT2, "schedule=constant", f"trainer.max_steps={n}", run_dir=tmp_path / run) == 0
    states = [
        torch.load(tmp_path / run / "checkpoints" / "step_00000004.ckpt", weights_only=True)["state_dict"]
        for run in ("whole", "parts")
    ]
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())
    assert metrics(tmp_path / "whole", "train/loss") == metrics(tmp_path / "parts", "train/loss")


def test_muon_finds_its_way_by_the_names(train, tmp_path, capfd):
    assert train(*LLAMA, "optimizer=muon_small", "trainer.max_steps=8") == 0, capfd.readouterr().err
    losses = metrics(tmp_path / "run", "val/loss")
    assert losses[-1] < losses[0] - 0.1


BERT = "{model_type: bert, is_decoder: true, tie_word_embeddings: false, hidden_size: 16, num_hidden_layers: 1"
MIXTRAL = "{model_type: mixtral, num_key_value_heads: 1, hidden_size: 16, num_hidden_layers: 1, num_local_experts: 2"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (BERT, ["embedding, head and blocks apart by their names", "decoder.weight; take optimizer=adamw"]),
        (MIXTRAL, ["muon takes matrices", "got shape (2, "]),  # all experts in one tensor
    ],
    ids=["bert", "mixtral"],
)
def test_muon_says_where_it_does_not(train, capfd, config, told):
    settings = f"model.config={config}, num_attention_heads: 2, intermediate_size: 32}}"
    model = ["model=hf", settings, "model.block_size=32"]
    assert train(*model, "optimizer=muon_small") == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert all(part in line for part in told), line


@pytest.fixture
def pretrained(tmp_path) -> Path:
    from nanolit.tokenizers.byte import ByteTokenizer

    torch.manual_seed(0)
    settings = transformers.Qwen3Config(**{k: v for k, v in QWEN.items() if k != "model_type"}, vocab_size=257)
    transformers.AutoModelForCausalLM.from_config(settings).save_pretrained(tmp_path / "qwen")
    ByteTokenizer().save(tmp_path / "qwen")
    return tmp_path / "qwen"


def test_a_run_goes_on_when_its_beginning_is_gone(small_run, pretrained, tmp_path):
    from nanolit.tokenizers.byte import ByteTokenizer

    settings = ["train", *small_run, f"init_from={pretrained}", "tokenizer=byte", "model.block_size=16"]
    transformers.GenerationConfig(temperature=0.5, do_sample=True).save_pretrained(pretrained)
    ByteTokenizer().save(pretrained)
    assert main([*settings, f"run_dir={tmp_path / 'whole'}"]) == 0
    assert main([*settings, f"run_dir={tmp_path / 'run'}", "trainer.max_steps=2"]) == 0
    shutil.rmtree(pretrained)
    assert main([*settings, f"run_dir={tmp_path / 'run'}"]) == 0
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        ours, theirs = (tmp_path / run / "model" / name for run in ("run", "whole"))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_fine_tuning_a_family_that_is_not_ours(small_run, pretrained, tmp_path):
    arguments = ["train", *small_run, f"init_from={pretrained}", "model.block_size=16", f"run_dir={tmp_path / 'run'}"]
    assert main([*arguments, "optimizer.lr=0"]) == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (pretrained, tmp_path / "run" / "model"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    network, _ = open_model(tmp_path / "run", "cpu")
    assert network.config.block_size == 16 and network.model.config.model_type == "qwen3"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.dropout=0.1"], "model.dropout: "),
        (["model.block_size=64"], "model.block_size: got 64, the model's configuration allows 1 to 32"),
        (["tokenizer=bpe", "tokenizer.vocab_size=300"], "reads the tokens of its own tokenizer"),
    ],
)
def test_what_a_foreign_model_does_not_take(small_run, pretrained, tmp_path, capfd, overrides, told):
    arguments = [*small_run, f"init_from={pretrained}", f"run_dir={tmp_path / 'run'}", *overrides]
    assert main(["train", *arguments]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert told in line


def test_ours_can_be_computed_by_transformers_too(small_run, tmp_path):
    """model=hf with the weights of a family that is also ours: the same loss before the first step."""
    assert main(["train", "tokenizer=byte", *small_run, *LLAMA, f"run_dir={tmp_path / 'first'}"]) == 0
    losses = []
    for model in ("hf", "pretrained"):
        run = tmp_path / model
        arguments = ["train", *small_run, f"init_from={tmp_path / 'first'}", f"model={model}", f"run_dir={run}"]
        assert main([*arguments, "trainer.max_steps=2"]) == 0
        losses.append(metrics(run, "val/loss"))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model=hf"], "model.config: not given"),
        (["model=hf", "model.config={model_type: lama}"], "did you mean llama?"),
        (["model=hf", "model.blok_size=3"], "blok_size"),
        ([*LLAMA, "model.config.n_layers=2"], "model.config.n_layers: no setting of LlamaConfig"),
        ([*LLAMA, "model.vocab_size=10"], "model.vocab_size: the model has 10 ids, the tokenizer 257"),
        (["model=te_llama3"], "model=te_llama3: needs "),
    ],
)
def test_bad_settings_are_one_line(train, capfd, tmp_path, overrides, told):
    assert train(*overrides) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert told in line
    assert not (tmp_path / "run").exists()
