"""Paths that a user types."""

import pytest
import torch

from nanolit.inference.load import load
from nanolit.models.config import GPTConfig
from nanolit.models.directory import save_model
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer


def save(folder, vocab_size=257):
    model = GPT(GPTConfig(vocab_size=vocab_size, block_size=8, n_layer=1, n_head=2, n_embd=8))
    save_model(folder, model)
    ByteTokenizer().save(folder)
    return model


def test_a_run_folder_and_its_model_directory_are_the_same(tmp_path):
    model = save(tmp_path / "run" / "model").eval()
    ids = torch.tensor([[1, 2, 3]])
    for path in (tmp_path / "run", tmp_path / "run" / "model", str(tmp_path / "run")):
        loaded, tokenizer = load(path, device="cpu")
        assert torch.equal(loaded(ids), model(ids))
        assert tokenizer.encode("hi") == [104, 105]


def test_what_is_no_model_is_said_with_what_was_found(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"notes.txt is a file; give the folder"):
        load(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"neither a model directory .* found: notes.txt"):
        load(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(ValueError, match="has saved no model yet"):
        load(tmp_path)


def test_a_tokenizer_that_is_too_large_is_refused(tmp_path):
    save(tmp_path, vocab_size=256)
    with pytest.raises(ValueError, match="tokenizer has 257 ids, the model only 256"):
        load(tmp_path, device="cpu")
