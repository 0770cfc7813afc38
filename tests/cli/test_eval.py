"""`nanolit eval` as a user meets it: the number that training wrote, the number that transformers gives, and one line
for whatever cannot be.
"""

import hashlib
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nanolit.cli import hydra_app
from nanolit.cli.eval import HELP, EvalConfig, as_hydra_reads
from nanolit.cli.evaluation import Evaluation, choose_batches
from nanolit.cli.main import main
from nanolit.data.prepared import Prepared
from nanolit.datamodules.pretrain import LoaderConfig
from nanolit.tokenizers.byte import ByteTokenizer

EXPERIMENTS = hydra_app.experiments("eval")
PUBLISHED = {  # nanoGPT's README: parameters, and the loss on its validation split of OpenWebText
    "eval_gpt2": ("gpt2", "124M", "3.12"),
    "eval_gpt2_medium": ("gpt2-medium", "350M", "2.84"),
    "eval_gpt2_large": ("gpt2-large", "774M", "2.67"),
    "eval_gpt2_xl": ("gpt2-xl", "1558M", "2.54"),
}
VILLAGE = ["data=village", "data.documents=60", "data.val_documents=5", "tokenizer=bpe", "tokenizer.vocab_size=300"]
BLOCK_SIZE = 32
EOT = 256  # of the byte tokenizer


@pytest.fixture(autouse=True)
def one_place_for_data(village_root, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(village_root))


@pytest.fixture
def evaluate(tmp_path, capfd):
    """The result of a command line, as JSON, and what it printed."""

    def run(*arguments: object) -> tuple[dict, str]:
        out = tmp_path / "out" / "result.json"
        code = main(["eval", *map(str, arguments), f"out={out}"])
        told = capfd.readouterr()
        assert code == 0, told.err
        assert [path.name for path in out.parent.iterdir()] == ["result.json"], "nothing is left over"
        return json.loads(out.read_text()), told.out

    return run


def refused(capfd, code: int, *told: str) -> None:
    captured = capfd.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert code == 2, captured.err
    assert len(lines) == 1 and "Traceback" not in captured.err + captured.out, captured.err
    for part in told:
        assert part in lines[0], lines[0]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, village_root) -> Path:
    """A little run on the village, with what its last evaluation found in summary.json."""
    folder = tmp_path_factory.mktemp("run")
    size = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", f"model.block_size={BLOCK_SIZE}", "batch_size=4"]
    steps = ["trainer=cpu", "trainer.max_steps=8", "schedule.warmup_steps=0", "callbacks.samples.n_samples=0"]
    places = [f"run_dir={folder}", f"paths.data_root={village_root}", "logger=none"]
    assert main(["train", "experiment=quick", *VILLAGE, *size, *steps, *places]) == 0
    return folder


# A model of transformers, on a text of which every token is known here


@pytest.fixture(scope="module")
def text_file(tmp_path_factory) -> Path:
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text("".join(draw.choices("abc de\n", k=7000)))
    return path


@pytest.fixture
def own_text(text_file) -> list[str]:
    return ["data=text", f"data.source={text_file}", "tokenizer=byte"]


@pytest.fixture(scope="module")
def val_ids(text_file) -> torch.Tensor:
    """The last tenth of the text in bytes, and the end of the document."""
    text = text_file.read_text()
    return torch.tensor([*text[int(len(text) * 0.9) :].encode(), EOT])


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """A GPT-2 with random weights that are not small, and the folder that transformers saved it in."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"n_positions": BLOCK_SIZE, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=257, **size)).eval()
    model.transformer.wte.weight.data[list(b"abc de\n")] *= 5  # some of its guesses are right
    folder = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    ByteTokenizer().save(folder)
    return model, folder


def token_losses(model, ids: torch.Tensor, block_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every token but the first, one block after the other, as transformers and torch see it."""
    losses, correct = [], []
    for start in range(0, len(ids) - 1, block_size):
        window = ids[start : start + block_size + 1]
        with torch.no_grad():
            logits = model(window[None, :-1]).logits[0]  # (T, V)
        losses.append(F.cross_entropy(logits.double(), window[1:], reduction="none"))
        correct.append(logits.argmax(-1) == window[1:])
    return torch.cat(losses), torch.cat(correct)


@pytest.mark.parametrize("block_size", [BLOCK_SIZE, 7])
def test_a_whole_split_equals_transformers(evaluate, hugging_face, own_text, val_ids, block_size):
    model, folder = hugging_face
    cropped = [] if block_size == BLOCK_SIZE else [f"block_size={block_size}"]
    found, printed = evaluate(f"model={folder}", *own_text, *cropped)
    losses, correct = token_losses(model, val_ids, block_size)
    result = found["result"]
    assert result["n_tokens"] == len(losses) == len(val_ids) - 1
    assert result["n_windows"] == math.ceil(len(losses) / block_size)
    assert result["loss"] == pytest.approx(losses.mean().item(), rel=1e-6)
    assert result["ppl"] == pytest.approx(losses.mean().exp().item(), rel=1e-5)
    assert result["accuracy"] == pytest.approx(correct.double().mean().item())
    assert 0 < result["accuracy"] < 1
    is_text = val_ids[1:] != EOT  # each is one byte
    assert result["n_bytes"] == is_text.sum()
    assert result["bpb"] == pytest.approx(losses[is_text].mean().item() / math.log(2), rel=1e-6)
    assert f"{losses.mean().item():.4f}" in printed


@pytest.mark.parametrize("family", ["Llama", "GPTNeoX"])
def test_other_families_equal_transformers_too(evaluate, own_text, val_ids, tmp_path, family):
    """One that is a `GPT` of ours, and one that only transformers computes."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    more = {"vocab_size": 257, "max_position_embeddings": BLOCK_SIZE, "initializer_range": 0.3}
    config = getattr(transformers, f"{family}Config")(**size, **more)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    model.save_pretrained(tmp_path / "model")
    ByteTokenizer().save(tmp_path / "model")
    result = evaluate(f"model={tmp_path / 'model'}", *own_text)[0]["result"]
    losses, correct = token_losses(model, val_ids, BLOCK_SIZE)
    assert result["loss"] == pytest.approx(losses.mean().item(), rel=1e-6)
    assert result["accuracy"] == pytest.approx(correct.double().mean().item())


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_changes_nothing_of_a_whole_split(evaluate, hugging_face, own_text, val_ids, batch_size):
    model, folder = hugging_face
    result = evaluate(f"model={folder}", *own_text, f"batch_size={batch_size}")[0]["result"]
    assert result["loss"] == pytest.approx(token_losses(model, val_ids, BLOCK_SIZE)[0].mean().item(), rel=1e-6)
    assert result["n_tokens"] == len(val_ids) - 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_dtype_gives_nearly_the_loss_of_float32(evaluate, hugging_face, own_text, dtype):
    exact, narrow = (
        evaluate(f"model={hugging_face[1]}", *own_text, f"dtype={name}")[0]["result"]["loss"]
        for name in ("float32", dtype)
    )
    assert narrow == pytest.approx(exact, rel=0.02) and narrow != exact


# A run of ours


def test_the_loss_is_the_one_that_training_wrote(evaluate, run_folder):
    wrote = json.loads((run_folder / "summary.json").read_text())["metrics"]
    for model in (run_folder, run_folder / "model"):
        result = evaluate(f"model={model}", *VILLAGE)[0]["result"]
        for name in ("loss", "ppl", "bpb", "accuracy"):
            assert result[name] == pytest.approx(wrote[f"val/{name}"], rel=1e-6), name


def test_the_train_split_is_another_text(evaluate, run_folder, village_root):
    val, train = (evaluate(f"model={run_folder}", *VILLAGE, f"split={split}")[0] for split in ("val", "train"))
    splits = json.loads((Path(train["data"]["folder"]) / "manifest.json").read_text())["splits"]
    assert train["result"]["n_tokens"] == splits["train"]["tokens"] - 1
    assert val["result"]["n_tokens"] == splits["val"]["tokens"] - 1


def test_random_batches_are_drawn_by_their_seed(evaluate, run_folder):
    drawn = [f"model={run_folder}", *VILLAGE, "batches=4", "batch_size=3"]
    first, again, other, whole = (
        evaluate(*drawn, *more)[0]["result"] for more in ([], [], ["seed=7"], ["batches=null"])
    )
    assert first["loss"] == again["loss"] != other["loss"]
    assert (first["n_windows"], first["n_tokens"]) == (12, 12 * BLOCK_SIZE)
    for result in (first, other):
        assert abs(result["loss"] - whole["loss"]) < 5 * result["standard_error"], "an estimate of the whole split"


def test_random_windows_are_pieces_of_the_split_and_do_not_follow_the_model(run_folder, evaluate):
    folder = Path(evaluate(f"model={run_folder}", *VILLAGE)[0]["data"]["folder"])
    prepared = Prepared.open(folder)
    settings = EvalConfig(batches=5, batch_size=3)
    batches, n = choose_batches(settings, prepared, 8, LoaderConfig())
    again, _ = choose_batches(settings, prepared, 8, LoaderConfig())
    text = " ".join(map(str, prepared.shards("val")[0].tokens.tolist()))
    starts = set()
    for i in range(n):
        assert torch.equal(batches[i]["inputs"], again[i]["inputs"])
        for row in torch.cat((batches[i]["inputs"], batches[i]["targets"][:, -1:]), dim=1).tolist():
            assert " ".join(map(str, row)) in text
            starts.add(tuple(row))
    assert n == 5 and len(starts) == 15, "no window comes twice"


def test_the_file_says_all_that_the_result_depends_on(evaluate, run_folder):
    found, printed = evaluate(f"model={run_folder}", *VILLAGE, "batches=2", "block_size=16", "dtype=bfloat16")
    weights = run_folder / "model" / "model.safetensors"
    assert found["model"]["source"] == str(run_folder)
    assert found["model"]["files"]["model.safetensors"] == {
        "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    manifest = Path(found["data"]["folder"]) / "manifest.json"
    assert found["data"]["manifest_sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    wanted = {"split": "val", "batches": 2, "batch_size": 8, "seed": 1337, "block_size": 16, "dtype": "bfloat16"}
    assert wanted.items() <= found["settings"].items()
    assert found["settings"]["device"] in ("cpu", "cuda", "mps")
    assert found["versions"]["torch"] == torch.__version__
    assert f"{found['model']['parameters']:,} parameters" in printed
    assert "16 of 16 tokens" in printed and "2 random batches, seed 1337" in printed


def test_what_is_not_known_is_null(evaluate, hugging_face, tmp_path):
    """One window: no standard error. And JSON has no NaN."""
    (tmp_path / "short.txt").write_text("abcdefgh" * 20)
    data = ["data=text", f"data.source={tmp_path / 'short.txt'}", "tokenizer=byte"]
    found, printed = evaluate(f"model={hugging_face[1]}", *data, "block_size=16", "data.val_fraction=0.1")
    assert found["result"]["n_windows"] == 1 and found["result"]["standard_error"] is None
    assert "nan" in printed


def test_several_models_are_a_sweep(run_folder, capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("OUT_DIR", str(tmp_path))
    assert main(["eval", "-m", f"model={run_folder},{run_folder / 'model'}", *VILLAGE]) == 0
    out = capfd.readouterr().out
    assert out.count("nats per token") == 2 and f"{run_folder / 'model'}, " in out


def test_long_work_says_how_far_it_is(run_folder, capfd, monkeypatch):
    monkeypatch.setattr("nanolit.cli.evaluation.REPORT_EVERY_S", 0.0)
    assert main(["eval", f"model={run_folder}", *VILLAGE, "batches=3"]) == 0
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("batch ")]
    assert [line.split(":")[0] for line in told] == ["batch 1 of 3", "batch 2 of 3", "batch 3 of 3"]
    assert all("tokens/s" in line and "s left" in line for line in told)


# Tokenizers


def test_text_in_other_tokens_is_refused_before_it_is_tokenized(run_folder, capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    model = run_folder / "model"
    code = main(["eval", f"model={run_folder}", *VILLAGE[:3], "tokenizer=byte"])
    refused(capfd, code, "kind byte (257 ids", "bpe, 300 ids", f"tokenizer=folder tokenizer.path={model}")
    assert not list((tmp_path / "root").glob("village*"))


def test_prepared_text_in_other_tokens_is_refused(run_folder, capfd):
    assert main(["prepare", *VILLAGE[:3], "tokenizer=byte"]) == 0
    capfd.readouterr()
    refused(capfd, main(["eval", f"model={run_folder}", *VILLAGE[:3], "tokenizer=byte"]), "tokenizer: ", "257", "300")


def test_the_remedy_for_other_tokens_works(run_folder, own_text, evaluate):
    remedy = ["tokenizer=folder", f"tokenizer.path={run_folder / 'model'}"]
    found, _ = evaluate(f"model={run_folder}", *own_text[:2], *remedy)
    assert found["data"]["tokenizer"]["vocab_size"] == 300 and found["result"]["n_tokens"] > 100


# The recipes


def compose(*overrides: str) -> Evaluation:
    found: list[Evaluation] = []

    def read(config) -> int:
        found.append(Evaluation(config))
        return 0

    assert hydra_app.run("eval", read, as_hydra_reads([*overrides])) == 0
    return found[0]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_nanogpts(name):
    evaluation = compose(f"experiment={name}")
    source, size, loss = PUBLISHED[name]
    assert evaluation.source == source
    assert (evaluation.data.dataset, evaluation.settings.split) == ("Skylion007/openwebtext", "val")
    assert (evaluation.settings.batches, evaluation.settings.batch_size) == (500, 8)
    assert evaluation.tokenizer.name == "gpt2"
    header = (hydra_app.config_folder() / "experiment" / f"{name}.yaml").read_text().splitlines()[:3]
    assert header[:2] == ["# @package _global_", f"# nanolit eval experiment={name}"]
    assert size in header[2] and loss in header[2]


def test_every_experiment_is_told():
    assert set(EXPERIMENTS) == set(PUBLISHED)
    assert all(name in HELP for name in EXPERIMENTS)


def test_an_experiment_runs_on_its_data(evaluate, tiktoken_cache, tmp_path):
    """A tiny GPT-2 with OpenAI's vocabulary on rows as OpenWebText has them."""
    transformers = pytest.importorskip("transformers")
    import datasets

    from nanolit.tokenizers.tiktoken_bpe import TiktokenTokenizer

    size = {"n_positions": 16, "n_embd": 4, "n_layer": 1, "n_head": 1}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**size)).save_pretrained(tmp_path / "gpt2")
    TiktokenTokenizer.from_name("gpt2").save(tmp_path / "gpt2")
    rows = [f"Text number {i} of the open web, which is long." for i in range(200)]
    datasets.Dataset.from_dict({"text": rows}).save_to_disk(str(tmp_path / "owt"))
    places = [f"model={tmp_path / 'gpt2'}", f"data.source={tmp_path / 'owt'}", "data.val_fraction=0.5"]
    found, _ = evaluate("experiment=eval_gpt2", *places, "batches=20")
    assert found["result"]["n_tokens"] == 20 * 8 * 16
    assert found["result"]["loss"] == pytest.approx(math.log(50257), abs=0.1), "as good as a guess"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_without_a_network_it_says_what_to_fetch(name, capfd, monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    refused(capfd, main(["eval", f"experiment={name}"]), PUBLISHED[name][0], "https://huggingface.co/")


def test_experiments_belong_to_their_command(capfd, tmp_path):
    refused(capfd, main(["eval", "experiment=quick"]), "experiment=quick", "python train.py experiment=quick")
    code = main(["train", "experiment=eval_gpt2", f"run_dir={tmp_path / 'run'}"])
    refused(capfd, code, "experiment=eval_gpt2", "nanolit eval experiment=eval_gpt2")
    refused(capfd, main(["eval", "experiment=eval_gpt"]), "did you mean eval_gpt2?")
    assert not set(EXPERIMENTS) & set(hydra_app.experiments("train"))


# Bad input


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("batches=0", ["batches: got 0, must be at least 1, or null for the whole split"]),
        ("batches=1.5", ["batches", "1.5"]),
        ("batches=100000", ["batches: 100000 of 8 windows", "batches=null"]),
        ("batch_size=0", ["batch_size: got 0, must be at least 1"]),
        ("batch_size=null", ["batch_size", "expected int"]),
        ("block_size=0", ["block_size: got 0"]),
        (f"block_size={BLOCK_SIZE + 1}", ["block_size: got 33, the model reads at most 32 tokens"]),
        ("split=dev", ["split: got 'dev'", "train, val, test"]),
        ("split=test", ["split: ", "has no test split in tokens, only train, val"]),
        ("dtype=fp16", ["dtype: got 'fp16'", "float32, bfloat16, float16"]),
        ("device=gpu", ["device: got 'gpu'"]),
        ("batchsize=3", ["batchsize", "did you mean batch_size?"]),
        ("bathces=3", ["did you mean batches?"]),
        ("model.n_layer=3", ["model.n_layer", "block_size="]),
        ("model=null", ["model: missing"]),
        ("model=nowhere/at/all", ["nowhere/at/all"]),
        ("tokenizer=bite", ["did you mean byte?"]),
        ("data.documents=0", ["data.documents"]),
        ("out=.", ["out: . is a folder"]),
    ],
)
def test_settings(capfd, run_folder, override, told):
    refused(capfd, main(["eval", f"model={run_folder}", *VILLAGE, override]), *told)


def test_no_model(capfd):
    refused(capfd, main(["eval", *VILLAGE]), "model: missing", "model=gpt2")


def test_a_split_shorter_than_a_window(capfd, hugging_face, tmp_path):
    (tmp_path / "short.txt").write_text("abcdefgh" * 10)
    data = ["data=text", f"data.source={tmp_path / 'short.txt'}", "tokenizer=byte"]
    refused(
        capfd, main(["eval", f"model={hugging_face[1]}", *data]), "block_size: ", "9 tokens", "block_size=8 or less"
    )
    assert main(["eval", f"model={hugging_face[1]}", *data, "block_size=8"]) == 0


def test_damaged_weights_are_no_result(capfd, hugging_face, own_text, tmp_path):
    model, _ = hugging_face
    spoilt = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    spoilt["transformer.h.0.mlp.c_fc.bias"][0] = math.nan
    type(model)(model.config).save_pretrained(tmp_path / "spoilt", state_dict=spoilt)
    ByteTokenizer().save(tmp_path / "spoilt")
    refused(capfd, main(["eval", f"model={tmp_path / 'spoilt'}", *own_text]), "a loss of nan in float32")


def test_help_is_instant():
    code = (
        "import sys; from nanolit.cli.main import main; main(['eval', '--help']); "
        "sys.exit(bool({'torch', 'numpy', 'hydra', 'transformers', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"{name}=" in done.stdout for name in EvalConfig.__dataclass_fields__)
