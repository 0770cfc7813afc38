"""Whatever a user names as a model: found, recognised, opened; and one line where that cannot be."""

import io
import json

import pytest
import torch

from nanolit.cli.main import main
from nanolit.cli.open_model import is_foreign, locate, open_model
from nanolit.inference.load import load
from nanolit.models.config import GPTConfig
from nanolit.models.directory import save_model
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer

LLAMA = {"norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "bias": False, "tie_embeddings": False}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "run" / "model", GPT(GPTConfig(257, 1, 16, 1, 2, n_embd=16, **LLAMA)))
    ByteTokenizer().save(tmp_path / "run" / "model")
    return tmp_path / "run" / "model"


def test_a_run_a_directory_and_a_name_on_the_hub(folder, monkeypatch):
    assert locate(folder) == locate(folder.parent) == locate(str(folder)) == folder
    asked = []
    monkeypatch.setattr("nanolit.interop.hub.snapshot", lambda name: asked.append(name) or folder)
    assert locate("gpt2-xl") == locate("org/name") == folder
    assert asked == ["gpt2-xl", "org/name"]


def test_a_folder_goes_before_a_name_and_a_mistyped_path_is_none(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nanolit.interop.hub.snapshot", lambda name: pytest.fail("nobody meant the hub"))
    folder.parent.rename(tmp_path / "gpt2")
    assert locate("gpt2").samefile(tmp_path / "gpt2" / "model")
    with pytest.raises(ValueError, match=r"^init_from: gpt2/modell does not exist"):
        locate("gpt2/modell", "init_from")
    with pytest.raises(ValueError, match=r"^model: gpt3 does not exist"):
        locate("gpt3")


def test_what_the_hub_does_not_have_is_said_with_both_meanings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def refuse(name):
        raise ValueError(f"{name}: not on this machine")

    monkeypatch.setattr("nanolit.interop.hub.snapshot", refuse)
    with pytest.raises(ValueError, match=r"^model: there is no folder a/b, and on the Hugging Face hub: a/b: not on"):
        locate("a/b")


def test_ours_is_opened_as_ever(folder):
    network, tokenizer = open_model(folder.parent, "cpu")
    ids = torch.tensor([tokenizer.encode("Once")])
    assert isinstance(network, GPT) and not network.training
    assert torch.equal(network(ids), load(folder, "cpu")[0](ids))
    assert {p.dtype for p in open_model(folder, "cpu", torch.bfloat16)[0].parameters()} == {torch.bfloat16}


def test_a_family_that_is_not_ours_is_computed_by_transformers(folder, tmp_path):
    transformers = pytest.importorskip("transformers")
    settings = transformers.Qwen3Config(
        **{"vocab_size": 257, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8},
        **{"num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": 16},
    )
    theirs = transformers.AutoModelForCausalLM.from_config(settings).eval()
    theirs.save_pretrained(tmp_path / "qwen")
    ByteTokenizer().save(tmp_path / "qwen")
    assert is_foreign(tmp_path / "qwen") and not is_foreign(folder)
    network, _ = open_model(tmp_path / "qwen", "cpu")
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(network(ids), theirs(ids).logits) and not network.training
    theirs.resize_token_embeddings(100)
    theirs.save_pretrained(tmp_path / "qwen")
    with pytest.raises(ValueError, match="tokenizer has 257 ids, the model only 100"):
        open_model(tmp_path / "qwen", "cpu")


def test_a_variant_that_we_do_not_compute_is_computed_by_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    yarn = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
    settings = transformers.LlamaConfig(
        **{"vocab_size": 257, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"intermediate_size": 32, "max_position_embeddings": 64, "rope_parameters": yarn},
    )
    theirs = transformers.AutoModelForCausalLM.from_config(settings).eval()
    theirs.save_pretrained(tmp_path)
    ByteTokenizer().save(tmp_path)
    network, _ = open_model(tmp_path, "cpu")
    ids = torch.randint(0, 257, (2, 60))
    assert not isinstance(network, GPT) and torch.equal(network(ids), theirs(ids).logits)


def test_pickled_weights_are_not_opened(folder, capfd):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert main(["generate", f"model={folder}", "prompt=a"]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert f"nanolit import source={folder} out=DIR converts it" in line and "pickle" in line


def test_an_unknown_type_without_transformers_names_the_package(folder, monkeypatch, capfd):
    import sys

    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"model_type": "qwen3"}))
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["generate", f"model={folder}", "prompt=a"]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert "needs the package transformers: pip install 'nanolit[hf]'" in line


def test_code_that_lies_beside_weights_is_never_run(tmp_path, monkeypatch):
    """transformers asks on the terminal whether it should, and takes a y for an answer."""
    pytest.importorskip("transformers")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\n"))
    about = {"model_type": "mything", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n")
    (tmp_path / "model.safetensors").write_bytes(b"")
    ByteTokenizer().save(tmp_path)
    with pytest.raises(ValueError, match="brings code of its own"):
        open_model(tmp_path, "cpu")
    assert not (tmp_path / "ran").exists()
