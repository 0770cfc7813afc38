"""What lies beside the weights, for tools that are not ours."""

import json
import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from nanolit.inference.model_folder import special_ids, without_idle_rows, write_folder
from nanolit.models.config import GPTConfig
from nanolit.models.directory import save_model, write_model
from nanolit.models.families import FAMILIES
from nanolit.models.gpt import GPT
from nanolit.models.links import inward, outward
from nanolit.models.tensor_files import Tensors
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer

TINY = GPTConfig(vocab_size=257, vocab_multiple=64, block_size=16, n_layer=1, n_head=2, n_embd=16)


def write(folder, tokenizer, config=TINY, **options):
    model = GPT(config)
    folder.mkdir()
    write_folder(folder, lambda extra: save_model(folder, model, extra), config.padded_vocab, tokenizer, {}, **options)
    return json.loads((folder / "config.json").read_text()), json.loads((folder / "generation_config.json").read_text())


@dataclass
class WithBegin:
    eot_id: int | None = 7
    bos_id: int | None = 3


def test_special_ids_are_the_tokenizers():
    assert special_ids(ByteTokenizer()) == {"bos_token_id": 256, "eos_token_id": 256}
    assert special_ids(WithBegin()) == {"bos_token_id": 3, "eos_token_id": 7}
    assert special_ids(WithBegin(eot_id=None, bos_id=None)) == special_ids(None) == {}


def test_rows_that_no_token_has_are_told(tmp_path):
    config, generation = write(tmp_path / "padded", ByteTokenizer())
    assert config["vocab_size"] == 320 and generation["suppress_tokens"] == list(range(257, 320))
    assert (config["eos_token_id"], generation["eos_token_id"], generation["do_sample"]) == (256, 256, True)
    _, generation = write(tmp_path / "full", ByteTokenizer(), replace(TINY, vocab_multiple=1))
    assert "suppress_tokens" not in generation
    # A tokenizer that is smaller than the model's own vocabulary leaves rows idle too.
    _, generation = write(tmp_path / "small", CharTokenizer("abc"))
    assert generation["suppress_tokens"] == list(range(3, 320)) and "eos_token_id" not in generation


def test_what_the_model_itself_says_goes_first(tmp_path):
    own = {"eos_token_id": [1, 2], "top_p": 0.9, "suppress_tokens": [5]}
    config, generation = write(tmp_path / "own", ByteTokenizer(), ids={"eos_token_id": [1, 2]}, generation=own)
    assert config["eos_token_id"] == [1, 2] and config["bos_token_id"] is None
    assert generation == {**own, "suppress_tokens": [5, *range(257, 320)]}
    assert without_idle_rows(own, 9, 9) == own


@torch.no_grad()
def test_transformers_never_draws_such_a_row(tmp_path):
    """Their logits win everywhere; with them suppressed the text is what our model says without them."""
    transformers = pytest.importorskip("transformers")
    model = GPT(TINY).eval()
    model.token_embedding.weight[257:] = model.token_embedding.weight[:63] * 3
    (folder := tmp_path / "model").mkdir()
    write_folder(folder, lambda extra: save_model(folder, model, extra), TINY.padded_vocab, ByteTokenizer(), {})
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    prompt = torch.tensor([[1, 2, 3]])
    assert theirs(prompt).logits[0, -1].argmax() >= 257
    written = theirs.generate(prompt, max_new_tokens=8, do_sample=True, min_new_tokens=8, temperature=5.0)
    assert (written < 257).all() and written.shape == (1, 11)


def test_one_tensor_is_held_at_a_time(tmp_path):
    """The longer check, of memory itself, is in tests/cli/test_import.py."""
    alive, most = weakref.WeakSet(), 0
    theirs = outward(Tensors.of(GPT(TINY).state_dict()), FAMILIES["gpt2"].links(TINY))

    def get(name):
        nonlocal most
        tensor = theirs.get(name).clone()
        alive.add(tensor)
        most = max(most, len(alive))
        return tensor

    write_model(tmp_path, TINY, inward(Tensors(theirs.specs, get), FAMILIES["gpt2"].links(TINY)), max_shard_bytes=9999)
    assert most <= 2, "the last one is let go when the next one is there"
