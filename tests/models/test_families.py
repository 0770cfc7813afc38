"""Which configuration is of which family, and one line for everything that a family's directory can have wrong.

That the families compute what transformers computes is shown in tests/interop/test_parity.py.
"""

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nanolit.models.config import GPTConfig, RopeScaling
from nanolit.models.directory import load_model, read_config, save_model
from nanolit.models.families import FAMILIES, beside, family_of, read_fields, why_none
from nanolit.models.gpt import GPT
from nanolit.models.links import deinterleave, interleave, swap_halves

SIZE = {"vocab_size": 31, "block_size": 16, "n_layer": 2, "n_head": 4, "n_embd": 32}
GPT2 = GPTConfig(**SIZE)
LLAMA = GPTConfig(**SIZE, norm="rmsnorm", position="rope", mlp="swiglu", n_kv_head=2, bias=False, tie_embeddings=False)
NANOCHAT = GPTConfig(
    **SIZE,
    **{"norm": "rmsnorm_noweight", "position": "rope", "mlp": "relu2", "bias": False, "tie_embeddings": False},
    **{"qk_norm": True, "embed_norm": True, "softcap": 15.0},
)
MEMBERS = {"gpt2": GPT2, "llama": LLAMA, "nanochat": NANOCHAT}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_family_is_found_by_what_the_model_computes(name):
    config = MEMBERS[name]
    found = family_of(config)
    assert found is not None and found.model_type == name
    first_values = {
        "init": "torch",
        "init_std": 0.5,
        "scaled_residual_init": False,
        "dropout": 0.3,
        "vocab_multiple": 64,
    }
    assert family_of(dataclasses.replace(config, **first_values, attention="naive")) is found


@pytest.mark.parametrize(
    ("config", "fields", "reason"),
    [
        (GPT2, {"bigram_rows": 9}, "GPT2LMHeadModel, but for model.bigram_rows=9"),
        (GPT2, {"norm_placement": "post"}, "GPT2LMHeadModel, but for model.norm_placement=post"),
        (GPT2, {"n_kv_head": 2}, "GPT2LMHeadModel, but for model.n_kv_heads=2"),
        (GPT2, {"head_width": 16}, "GPT2LMHeadModel, but for model.head_dim=16"),
        (LLAMA, {"mlp": "relu2"}, "LlamaForCausalLM, but for model.mlp=relu2"),
        (LLAMA, {"attention_scale": 0.5}, "LlamaForCausalLM, but for model.attention_scale=0.5"),
        (LLAMA, {"window_pattern": "SL", "window": 4}, "LlamaForCausalLM, but for model.window_pattern=SL"),
        (
            NANOCHAT,
            {"smear": True, "backout": True},
            "NanoChatForCausalLM, but for model.smear=True, model.backout=True",
        ),
        (NANOCHAT, {"norm": "rmsnorm"}, "NanoChatForCausalLM, but for model.norm=rmsnorm"),
        (NANOCHAT, {"norm_eps": 0.1, "value_embeddings": True}, "but for model.value_embeddings=True"),
    ],
)
def test_what_a_family_cannot_say_is_named(config, fields, reason):
    config = dataclasses.replace(config, **fields)
    assert family_of(config) is None
    assert reason in why_none(config)


def test_a_setting_without_effect_keeps_no_model_out():
    assert family_of(dataclasses.replace(LLAMA, attention_scale=8**-0.5)) is FAMILIES["llama"]
    assert family_of(dataclasses.replace(LLAMA, window_pattern="L")) is FAMILIES["llama"]
    assert family_of(dataclasses.replace(LLAMA, bias=True, attention_bias=False, mlp_bias=False)) is FAMILIES["llama"]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(MEMBERS)),
    eps=st.floats(1e-8, 1e-2),
    base=st.floats(10, 1e6),
    multiple=st.sampled_from([1, 16, 64]),
    tied=st.booleans(),
    bias=st.booleans(),
    mlp_hidden=st.one_of(st.none(), st.integers(1, 99)),
    dropout=st.floats(0, 0.9),
    scaling=st.one_of(st.none(), st.builds(RopeScaling, st.floats(1, 32), st.just(1.0), st.floats(1.5, 9), st.just(8))),
)
def test_writing_and_reading_a_configuration_gives_it_back(
    name, eps, base, multiple, tied, bias, mlp_hidden, dropout, scaling
):
    fields = {"norm_eps": eps, "vocab_multiple": multiple, "tie_embeddings": tied, "mlp_hidden": mlp_hidden}
    fields |= {"dropout": dropout, "bias": bias} | ({} if name == "gpt2" else {"rope_base": base})
    fields |= {"rope_scaling": scaling} if name == "llama" else {}
    fields |= {"mlp_bias": False} if name == "nanochat" else {}
    config = dataclasses.replace(MEMBERS[name], **fields)
    family = family_of(config)
    assert family is FAMILIES[name]
    stored = json.loads(json.dumps([family.write(config), beside(family, config)]))
    assert read_fields(family, *stored) == config


@pytest.mark.parametrize("name", MEMBERS)
def test_a_nanolit_folder_says_how_it_may_be_trained_on(tmp_path, name):
    config = dataclasses.replace(MEMBERS[name], dropout=0.25, init_std=0.5, vocab_multiple=64)
    save_model(tmp_path, GPT(config))
    assert read_config(tmp_path) == config


def test_rows_are_rearranged_exactly():
    x = torch.arange(2 * 6 * 3).view(12, 3)  # two heads of width 6
    assert swap_halves(6)(x)[:6, 0].tolist() == [9, 12, 15, 0, 3, 6]
    assert interleave(6)(x)[:6, 0].tolist() == [0, 9, 3, 12, 6, 15]
    for out, back in ((swap_halves(6), swap_halves(6)), (interleave(6), deinterleave(6))):
        assert torch.equal(back(out(x)), x) and torch.equal(back(out(x[:, 0])), x[:, 0])


# Mistakes


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder, **values):
    about = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(about))


MISTAKES = {
    "gpt2-missing": (
        GPT2,
        lambda f: change_weights(f, lambda t: t.pop("transformer.h.1.attn.c_attn.weight")),
        "is no GPT2LMHeadModel of its config.json: transformer.h.1.attn.c_attn.weight is missing, [32, 96] expected",
    ),
    "gpt2-extra": (
        GPT2,
        lambda f: change_weights(f, lambda t: t.update({"transformer.h.2.ln_1.weight": torch.zeros(32)})),
        "transformer.h.2.ln_1.weight [32] is unknown",
    ),
    "llama-misshaped": (
        LLAMA,
        lambda f: change_weights(
            f, lambda t: t.update({"model.layers.0.self_attn.k_proj.weight": torch.zeros(32, 32)})
        ),
        "is no LlamaForCausalLM of its config.json: model.layers.0.self_attn.k_proj.weight is [32, 32], "
        "[16, 32] expected",
    ),
    "nanochat-missing": (
        NANOCHAT,
        lambda f: change_weights(f, lambda t: t.pop("lm_head.weight")),
        "is no NanoChatForCausalLM of its config.json: lm_head.weight is missing, [31, 32] expected",
    ),
    "config-against-weights": (
        LLAMA,
        lambda f: change_config(f, intermediate_size=100, nanolit={}),
        "mlp.gate_proj.weight is [128, 32], [100, 32] expected",
    ),
    "layers-against-weights": (LLAMA, lambda f: change_config(f, num_hidden_layers=1), "layers.1."),
    "untied-copy": (
        GPT2,
        lambda f: change_weights(f, lambda t: t.update({"lm_head.weight": torch.ones(31, 32)})),
        "tie_word_embeddings is true, but lm_head.weight differs from transformer.wte.weight",
    ),
    "biases-that-were-zero": (
        dataclasses.replace(GPT2, bias=False),
        lambda f: change_weights(f, lambda t: t["transformer.ln_f.bias"].add_(1)),
        "transformer.ln_f.bias is not zero, although the configuration says model.bias=false",
    ),
    "section-against-the-rest": (
        LLAMA,
        lambda f: change_config(f, nanolit={"fields": {"n_layer": 3}}),
        "contradicts itself: n_layer is 2 there and 3 in its section nanolit",
    ),
    "activation": (GPT2, lambda f: change_config(f, activation_function="mish"), "activation_function: got 'mish'"),
    "not-silu": (LLAMA, lambda f: change_config(f, hidden_act="gelu"), "hidden_act: got 'gelu', expected silu"),
    "rope": (
        LLAMA,
        lambda f: change_config(f, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}),
        "rope_type: got 'yarn', expected default or llama3",
    ),
    "scaled-by-layer": (
        GPT2,
        lambda f: change_config(f, scale_attn_by_inverse_layer_idx=True),
        "scale_attn_by_inverse_layer_idx: got True, nanolit computes only False",
    ),
    "no-width": (LLAMA, lambda f: change_config(f, hidden_size=None), "config.json (written by nanolit 0.1.0, this is"),
    "text-for-a-number": (LLAMA, lambda f: change_config(f, num_hidden_layers="two"), "n_layer: got 'two' (str)"),
    "int64": (
        GPT2,
        lambda f: change_weights(f, lambda t: t.update({"transformer.ln_f.weight": torch.ones(32, dtype=torch.int64)})),
        "transformer.ln_f.weight is int64, a floating type expected",
    ),
    "no-version": (
        LLAMA,
        lambda f: change_config(f, hidden_size=None, nanolit={"step": 3}),
        "config.json: hidden_size",
    ),
    "index-of-numbers": (
        GPT2,
        lambda f: (
            (f / "model.safetensors").unlink(),
            (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": 5}}'),
        ),
        "model.safetensors.index.json: weight_map.a: got 5, expected the name of a file",
    ),
    "unknown-family": (GPT2, lambda f: change_config(f, model_type="mamba"), "model_type is 'mamba'"),
}


DEEP = {"num_hidden_layers": 10**9, "nanolit": {}}
MISTYPED = [
    *((config, {"rope_parameters": value}) for config in (LLAMA, NANOCHAT) for value in (5, "llama3", [1])),
    *((LLAMA, {"rope_scaling": 5}), (LLAMA, {"hidden_act": [1]}), (NANOCHAT, {"hidden_act": {"a": 1}})),
    *((LLAMA, {"rope_parameters": {"rope_type": [1]}}), (LLAMA, {"head_dim": "a"}), (LLAMA, {"head_dim": [1]})),
    *((GPT2, {"activation_function": ["x"]}), (GPT2, {"model_type": ["llama"]}), (GPT2, {"model_type": 5})),
    *((NANOCHAT, {"final_logit_softcapping": "a"}), (LLAMA, {"mlp_bias": "a"}), (GPT2, {"nanolit": {"fields": [1]}})),
    *((GPT2, {"nanolit": value}) for value in (5, "hi", [1])),
    *((LLAMA, DEEP), (NANOCHAT, DEEP), (GPT2, {"n_layer": 10**9, "nanolit": {}})),
    (dataclasses.replace(GPT2, bigram_rows=9), {"config": {"n_layer": 10**9}}),
]


@pytest.mark.parametrize(("config", "values"), MISTYPED, ids=str)
def test_a_damaged_config_is_one_line_at_once(tmp_path, config, values):
    save_model(tmp_path, GPT(config))
    change_config(tmp_path, **values)
    with pytest.raises(ValueError) as error:
        load_model(tmp_path)
    assert type(error.value) is ValueError and "\n" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_one_line_that_names_family_tensor_and_shape(tmp_path, name):
    config, spoil, message = MISTAKES[name]
    save_model(tmp_path, GPT(config))
    spoil(tmp_path)
    with pytest.raises(ValueError) as error:
        load_model(tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value) and str(tmp_path) in str(error.value)
