"""A model as the commands open it that let it write: in which weights, and with which draft."""

import pytest
import torch

from nanolit.cli.main import main
from nanolit.cli.open_model import WriterConfig
from nanolit.inference.generate import generate
from nanolit.inference.params import SamplingParams
from nanolit.inference.weights import is_packed
from nanolit.models.config import GPTConfig
from nanolit.models.directory import save_model
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer

GREEDY = SamplingParams(max_new_tokens=20, temperature=0.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name, n_embd, tokenizer in (
        ("large", 128, ByteTokenizer()),
        ("small", 16, ByteTokenizer()),
        ("chars", 16, CharTokenizer("ab")),
    ):
        torch.manual_seed(0)
        save_model(root / name, GPT(GPTConfig(257, block_size=64, n_layer=2, n_head=2, n_embd=n_embd)))
        tokenizer.save(root / name)
    return root


@pytest.mark.parametrize("weights", ["auto", "stored", "float32", "bfloat16", "int8"])
def test_each_kind_of_weights_writes(folders, weights):
    model, tokenizer, draft = WriterConfig(model=str(folders / "large"), device="cpu", weights=weights).open()
    plain, *_ = WriterConfig(model=str(folders / "large"), device="cpu", weights="stored").open()
    text = generate(model, tokenizer, "Once", GREEDY)[0]
    can_be_packed = weights != "bfloat16" or torch.ops.mkldnn._is_mkldnn_bf16_supported()  # not on every CPU
    assert draft is None and is_packed(model) == (weights != "stored" and can_be_packed)
    if weights in ("auto", "stored", "float32"):
        assert text == generate(plain, tokenizer, "Once", GREEDY)[0]
    ids = torch.tensor([tokenizer.encode("Once upon")])
    error = (model(ids).float() - plain(ids)).norm() / plain(ids).norm()
    assert error < {"bfloat16": 0.02, "int8": 0.05}.get(weights, 1e-5)


def test_a_draft_changes_nothing_but_the_speed(folders, capsys):
    command = ["generate", f"model={folders / 'large'}", "device=cpu", "prompt=Once", "seed=3", "n_samples=2"]
    assert main([*command, "max_new_tokens=30"]) == 0
    alone = capsys.readouterr().out
    assert main([*command, "max_new_tokens=30", f"draft={folders / 'small'}"]) == 0
    assert capsys.readouterr().out == alone


def test_what_cannot_be_is_one_line(folders, capsys, monkeypatch):
    command = ["generate", f"model={folders / 'large'}", "device=cpu", "prompt=Once"]
    assert main([*command, f"draft={folders / 'chars'}"]) == 2
    assert "cuts text into other tokens than the model" in capsys.readouterr().err
    monkeypatch.setattr("nanolit.inference.weights._has_int8_products", lambda: False)
    assert main([*command, "weights=int8"]) == 2
    assert "has no products on this CPU; use bfloat16" in capsys.readouterr().err
    assert main([*command, "weights=int4"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: weights: got 'int4'") and told.count("\n") == 1
