"""A model of transformers as our network: their numbers, through our contract."""

import json
from dataclasses import replace

import pytest
import torch

transformers = pytest.importorskip("transformers")

from nanolit.inference.generate import generate_ids  # noqa: E402
from nanolit.inference.params import SamplingParams  # noqa: E402
from nanolit.interop.causal_lm import CausalLM, build, nearest  # noqa: E402
from nanolit.models.accounting import flops_per_token, parameter_counts  # noqa: E402

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 24}
SETTINGS = {
    "llama": {**SIZE, "model_type": "llama", "num_key_value_heads": 2, "intermediate_size": 64},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24},
    "qwen3": {**SIZE, "model_type": "qwen3", "num_key_value_heads": 2, "intermediate_size": 64, "head_dim": 16},
    "mistral": {
        **{**SIZE, "model_type": "mistral", "num_key_value_heads": 2, "intermediate_size": 64, "sliding_window": 8}
    },
    "gpt_neox": {**SIZE, "model_type": "gpt_neox", "intermediate_size": 64},
    "mixtral": {
        **{**SIZE, "model_type": "mixtral", "num_key_value_heads": 2, "intermediate_size": 64, "num_local_experts": 4}
    },
    "mamba": {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
}
V = 61


@pytest.fixture(params=SETTINGS)
def network(request) -> CausalLM:
    """With weights that make the text wander."""
    torch.manual_seed(0)
    network = build(V, SETTINGS[request.param], block_size=24).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def ids(length: int, rows: int = 2) -> torch.Tensor:
    return torch.randint(0, V, (rows, length), generator=torch.Generator().manual_seed(length))


def test_the_loss_is_their_own(network):
    tokens = ids(20)
    theirs = network.model(input_ids=tokens, labels=tokens).loss
    if getattr(network.model.config, "output_router_logits", False):
        pytest.fail("a router's loss would be in theirs")
    targets = torch.full_like(tokens, -1)
    targets[:, :-1] = tokens[:, 1:]
    nll = network(tokens, targets)  # (B, T)
    assert nll.shape == (2, 20) and nll[:, -1].eq(0).all() and nll.dtype == torch.float32
    torch.testing.assert_close(nll.sum() / (2 * 19), theirs)
    scored, correct = network.score(tokens, targets)
    torch.testing.assert_close(scored, nll)
    assert torch.equal(correct, network.model(input_ids=tokens).logits.argmax(-1) == targets)


def test_so_are_the_gradients(network):
    tokens = ids(20)
    network.model(input_ids=tokens, labels=tokens).loss.backward()
    theirs = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    (network(tokens[:, :-1], tokens[:, 1:]).sum() / (2 * 19)).backward()
    assert theirs
    for name, parameter in network.named_parameters():
        if name in theirs:
            torch.testing.assert_close(parameter.grad, theirs[name], rtol=1e-4, atol=1e-6)


def test_logits_all_at_once_the_last_only_and_piece_by_piece(network):
    tokens = ids(20)
    whole = network.model(input_ids=tokens).logits
    torch.testing.assert_close(network(tokens), whole)
    torch.testing.assert_close(network(tokens, last_only=True), whole[:, -1:])
    cache = network.new_cache(2, 24)
    parts = [network(part, cache=cache) for part in tokens.split((7, 1, 12), dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_text_is_theirs_and_what_computing_anew_gives(network, written_anew):
    """Their own `generate`, greedily; ours as well where the window has to move, which theirs cannot do."""
    prompt, greedy = ids(6, rows=1), SamplingParams(max_new_tokens=18, temperature=0)
    expected = network.model.generate(
        prompt, max_new_tokens=18, do_sample=False, eos_token_id=None, pad_token_id=0, attention_mask=prompt * 0 + 1
    )[0, 6:]
    assert [token for (token,) in generate_ids(network, prompt[0].tolist(), greedy)] == expected.tolist()
    sampled = SamplingParams(max_new_tokens=30, temperature=1.0, seed=1)
    rows = [list(row) for row in zip(*generate_ids(network, prompt[0].tolist(), sampled, rows=range(3)), strict=True)]
    assert rows == written_anew(network, prompt[0].tolist(), sampled, range(3))
    assert len({row[0] for row in rows}) > 1


def test_too_many_tokens(network):
    with pytest.raises(ValueError, match="25 tokens do not fit into block_size=24"):
        network(ids(25))
    cache = network.new_cache(2, 24)
    network(ids(16), cache=cache)
    with pytest.raises(ValueError, match="25 tokens do not fit into block_size=24"):
        network(ids(9), cache=cache)


def test_a_saved_network_is_one_of_transformers_and_comes_back(network, tmp_path):
    network.save(tmp_path / "model", {"eos_token_id": 7, "nanolit": {"step": 3}})
    about = json.loads((tmp_path / "model" / "config.json").read_text())
    assert about["eos_token_id"] == 7 and about["nanolit"]["step"] == 3
    tokens = ids(20)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    assert torch.equal(theirs(input_ids=tokens).logits, network(tokens))
    again = CausalLM.load(tmp_path / "model").eval()
    assert torch.equal(again(tokens), network(tokens)) and again.config == network.config
    assert {p.dtype for p in CausalLM.load(tmp_path / "model", torch.bfloat16).parameters()} == {torch.bfloat16}


def test_weights_are_strict_both_ways(tmp_path):
    from safetensors.torch import load_file, save_file

    build(V, SETTINGS["llama"]).save(tmp_path)
    path = tmp_path / "model.safetensors"
    whole, raw = load_file(path), path.read_bytes()
    name = "model.layers.1.mlp.up_proj.weight"
    changes = {
        "missing": {n: t for n, t in whole.items() if n != name},
        "unexpected": {**whole, "model.extra.weight": torch.zeros(2)},
        "mismatched": {**whole, name: torch.zeros(3, 3)},
    }
    for kind, tensors in changes.items():
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(ValueError) as error:
            CausalLM.load(tmp_path)
        assert kind in str(error.value) and ("extra" in str(error.value) or name in str(error.value))
        assert "\n" not in str(error.value)
    path.write_bytes(raw[:-10])
    with pytest.raises(ValueError, match="safetensors"):
        CausalLM.load(tmp_path)


def test_new_rows_are_the_mean_and_old_ids_as_they_were(network):
    tokens, before = ids(12), network(ids(12))
    tables = [layer.weight.clone() for layer in (network.model.get_input_embeddings(),)]
    network.resize_vocabulary(70)
    assert network.config.vocab_size == 70
    torch.testing.assert_close(network(tokens)[..., :V], before)
    table = network.model.get_input_embeddings().weight
    assert torch.equal(table[:V], tables[0])
    torch.testing.assert_close(table[V:], tables[0].mean(0).expand(9, -1))
    head = network.model.get_output_embeddings().weight
    torch.testing.assert_close(head[V:], head[:V].mean(0).expand(9, -1))
    network.resize_vocabulary(10)
    assert network.config.vocab_size == 70, "a smaller vocabulary keeps the rows"


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3"])
def test_the_nearest_configuration_costs_about_as_much(name):
    network = build(V, SETTINGS[name])
    assert (network.config.block_size, network.config.vocab_size) == (24, V)
    n = sum(parameter.numel() for parameter in network.parameters())
    assert parameter_counts(network.config)["total"] == pytest.approx(n, rel=0.03)
    assert flops_per_token(network.config, 24) > 6 * n * 0.5


def test_what_configurations_say_of_length_and_dropout():
    gpt2 = transformers.GPT2Config(n_positions=64, attn_pdrop=0.3, resid_pdrop=0.0, embd_pdrop=0.0)
    assert nearest(gpt2).dropout == 0.3 and nearest(gpt2, 32).block_size == 32
    assert nearest(transformers.LlamaConfig()).dropout == 0.0
    with pytest.raises(ValueError, match=r"model.block_size: got 65, the model's configuration allows 1 to 64"):
        nearest(gpt2, 65)
    with pytest.raises(ValueError, match=r"model.block_size: this model's configuration names no longest text"):
        nearest(transformers.MambaConfig())


def test_a_configuration_may_be_a_folder_a_file_or_a_name_on_the_hub(tmp_path, monkeypatch):
    settings = transformers.LlamaConfig(**{k: v for k, v in SETTINGS["llama"].items() if k != "model_type"})
    settings.save_pretrained(tmp_path)
    monkeypatch.setattr("nanolit.interop.hub.config_file", lambda name: tmp_path / "config.json")
    shapes = {name: p.shape for name, p in build(V, SETTINGS["llama"]).named_parameters()}
    for config in (str(tmp_path), str(tmp_path / "config.json"), "org/name"):
        network = build(V, config)
        assert {name: p.shape for name, p in network.named_parameters()} == shapes
        assert network.model.config.pad_token_id is None, "of another tokenizer"


def test_block_size_of_new_weights_is_free():
    assert build(V, SETTINGS["gpt2"], block_size=100)(ids(100)).shape == (2, 100, V)


def test_a_vocabulary_that_is_asked_for_may_be_larger_never_smaller():
    assert build(V, {**SETTINGS["llama"], "vocab_size": 64}).config.vocab_size == 64
    with pytest.raises(ValueError, match=r"model.config.vocab_size: got 60, the tokenizer has 61"):
        build(V, {**SETTINGS["llama"], "vocab_size": 60})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "model.config: not given"),
        ({"n_layer": 2}, "model.config.model_type: got None"),
        ({"model_type": "lama"}, "model.config.model_type: got 'lama', which transformers does not know; did you mean"),
        ({"model_type": "vit"}, "transformers has no causal language model of type vit"),
        ({**SIZE, "model_type": "bert", "intermediate_size": 64}, "bert sees the tokens that it is to predict"),
        ({"model_type": "llama", "n_layers": 2}, "model.config.n_layers: no setting of LlamaConfig; did you mean"),
        ({"model_type": "llama", "hidden_size": "wide"}, "model.config: "),
        ("no/where/at/all", "model.config: no no/where/at/all here"),
        ("org/name", "model.config: no org/name here, and on the Hugging Face hub: "),
    ],
)
def test_a_bad_configuration_is_one_line(config, told):
    with pytest.raises(ValueError) as error:
        build(V, config)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_saved_model_that_looks_ahead_is_refused(tmp_path):
    settings = transformers.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=V)
    transformers.BertLMHeadModel(settings).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"sees the tokens that it is to predict"):
        CausalLM.load(tmp_path)


def test_documents_are_refused(network):
    for call in (network, network.score):
        with pytest.raises(ValueError, match=r"^data\.loader\.mask_documents: got true, but this network cannot keep"):
            call(ids(20), ids(20), documents=torch.zeros(2, 20, dtype=torch.long))


def test_writing_leaves_a_network_that_training_can_go_on_with(tmp_path):
    """Positions that stretch with the text are made anew in a pass, and kept."""
    stretched = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    sizes = {"vocab_size": 67, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    shape = {"num_attention_heads": 2, "max_position_embeddings": 48, "rope_parameters": stretched}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **shape)).save_pretrained(tmp_path)
    network = CausalLM.load(tmp_path, None)
    network.config = replace(network.config, block_size=96)
    list(generate_ids(network, [1, 2, 3], SamplingParams(max_new_tokens=60, temperature=0.0)))
    assert not any(buffer.is_inference() for buffer in network.buffers())
    ids = torch.randint(67, (1, 60))
    network.train()(ids, targets=ids).mean().backward()
