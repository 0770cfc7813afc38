"""Our model is theirs: for each family and each of its switches a random model of transformers comes in with equal
logits, gradients and greedy text, and goes out again bit for bit.
"""

import json

import pytest
import torch
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers")

from nanolit.inference.generate import generate_ids  # noqa: E402
from nanolit.inference.params import SamplingParams  # noqa: E402
from nanolit.models.directory import load_model, save_model  # noqa: E402
from nanolit.models.families import FAMILIES  # noqa: E402
from nanolit.models.links import outward  # noqa: E402
from nanolit.models.tensor_files import Tensors  # noqa: E402

V, BLOCK = 67, 96
GPT2 = {"vocab_size": V, "n_positions": BLOCK, "n_layer": 3, "n_head": 4, "n_embd": 48}
LLAMA = {
    **{"vocab_size": V, "max_position_embeddings": BLOCK, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"hidden_size": 48, "intermediate_size": 80, "num_key_value_heads": 4},
}
STRETCHED = {
    **{"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 32,
}
CASES = {
    "gpt2": ("GPT2", GPT2),
    "gpt2-untied": ("GPT2", GPT2 | {"tie_word_embeddings": False}),
    "gpt2-exact-gelu": ("GPT2", GPT2 | {"activation_function": "gelu"}),
    "gpt2-narrow-mlp": ("GPT2", GPT2 | {"n_inner": 40, "layer_norm_epsilon": 1e-3}),
    "gpt2-without-biases": ("GPT2", GPT2),  # zeros there, none here
    "llama": ("Llama", LLAMA),
    "llama-gqa": ("Llama", LLAMA | {"num_key_value_heads": 2}),
    "llama-mqa-tied": ("Llama", LLAMA | {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "llama-attention-bias": ("Llama", LLAMA | {"attention_bias": True, "num_key_value_heads": 2}),
    "llama-mlp-bias": ("Llama", LLAMA | {"mlp_bias": True}),
    "llama-head-width": ("Llama", LLAMA | {"head_dim": 20}),
    "llama-theta": ("Llama", LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    "llama-rope-scaling": ("Llama", LLAMA | {"rope_parameters": STRETCHED}),
    "nanochat": ("NanoChat", LLAMA),
    "nanochat-gqa": ("NanoChat", LLAMA | {"num_key_value_heads": 2}),
    "nanochat-tied-uncapped": ("NanoChat", LLAMA | {"tie_word_embeddings": True, "final_logit_softcapping": None}),
    "nanochat-bias": ("NanoChat", LLAMA | {"attention_bias": True, "hidden_act": "gelu"}),
}


def hugging_face_model(family, settings, seed=0):
    """With weights that make every part matter: the usual first values hide mistakes behind small numbers."""
    config = getattr(transformers, f"{family}Config")(
        **settings, bos_token_id=None, eos_token_id=None, pad_token_id=None
    )
    name = {"GPT2": "GPT2LMHeadModel"}.get(family, f"{family}ForCausalLM")
    torch.manual_seed(seed)
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.05))
    return model


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    """Theirs, ours, and the folder that theirs was saved in."""
    theirs = hugging_face_model(*CASES[request.param])
    folder = tmp_path_factory.mktemp("theirs")
    if request.param == "gpt2-without-biases":
        with torch.no_grad():
            [parameter.zero_() for name, parameter in theirs.named_parameters() if name.endswith("bias")]
        theirs.config.nanolit = {"fields": {"bias": False}}
    theirs.save_pretrained(folder)
    return theirs, load_model(folder), folder


def prompts(n=3, length=BLOCK):
    return torch.randint(0, V, (n, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_logits_are_equal_at_every_length(pair):
    theirs, ours, _ = pair
    ids = prompts()
    for length in range(1, BLOCK + 1):
        difference = (ours(ids[:, :length]) - theirs(ids[:, :length]).logits).abs().max()
        assert difference <= 1e-4, f"length {length}: {difference}"


def test_gradients_of_the_loss_are_equal(pair):
    theirs, ours, _ = pair
    ids = prompts(2, 33)
    theirs.zero_grad()
    ours.zero_grad()
    loss = theirs(ids, labels=ids).loss
    loss.backward()
    mine = ours(ids[:, :-1], ids[:, 1:]).mean()
    mine.backward()
    torch.testing.assert_close(mine, loss, rtol=0, atol=1e-5)
    family = FAMILIES[theirs.config.model_type]
    gradients = outward(Tensors.of({name: p.grad for name, p in ours.named_parameters()}), family.links(ours.config))
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    assert gradients.specs.keys() == expected.keys()
    for name, gradient in expected.items():
        if name.endswith("bias") and not ours.config.bias and theirs.config.model_type == "gpt2":
            continue  # theirs would learn it, ours has none
        torch.testing.assert_close(gradients.get(name), gradient, rtol=0, atol=1e-4)


def test_the_way_out_is_bit_equal(pair, tmp_path):
    theirs, ours, folder = pair
    save_model(tmp_path, ours)
    expected, found = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    again, info = type(theirs).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    told, wanted = again.config.to_dict(), theirs.config.to_dict()
    same = ("vocab_size", "hidden_act", "activation_function", "num_key_value_heads", "attention_bias", "mlp_bias")
    same += ("tie_word_embeddings", "rope_parameters", "final_logit_softcapping", "layer_norm_epsilon", "rms_norm_eps")
    assert {key: told.get(key) for key in same} == {key: wanted.get(key) for key in same}


def test_greedy_text_is_equal_token_by_token(pair):
    theirs, ours, _ = pair
    prompt = prompts(1, 7)
    expected = theirs.generate(prompt, max_new_tokens=64, do_sample=False)[0, 7:].tolist()
    params = SamplingParams(max_new_tokens=64, temperature=0.0)
    found = [token for (token,) in generate_ids(ours, prompt[0].tolist(), params)]
    assert found == expected
    assert len(set(found)) > 3, "a text that repeats itself shows little"


SWITCHES = {
    "gpt2": ("bias", "tie_embeddings", "mlp", "mlp_hidden"),
    "llama": ("grouped", "tie_embeddings", "attention_bias", "mlp_bias", "head_width", "rope_base", "rope_scaling"),
    "nanochat": ("grouped", "tie_embeddings", "attention_bias", "softcap", "mlp"),
}


def test_every_family_and_each_of_its_switches_is_among_the_cases():
    seen = {(family, switch): set() for family, switches in SWITCHES.items() for switch in switches}
    for name, (family, settings) in CASES.items():
        told = getattr(transformers, f"{family}Config")(**settings)
        config = FAMILIES[told.model_type].read(told.to_dict())
        values = vars(config) | {"grouped": config.n_kv_heads < config.n_head}
        values |= {"bias": False} if name == "gpt2-without-biases" else {}
        for switch in SWITCHES[told.model_type]:
            seen[told.model_type, switch].add(values[switch])
    assert all(len(values) > 1 for values in seen.values()), seen
    assert {family for family, _ in seen} == set(FAMILIES)


# What only our side has


@pytest.mark.parametrize("tied", [True, False])
def test_gpt2_without_biases_has_zeros_in_transformers(tmp_path, tied):
    from nanolit.models.config import GPTConfig
    from nanolit.models.gpt import GPT

    config = GPTConfig(V, 64, BLOCK, n_layer=2, n_head=4, n_embd=48, bias=False, tie_embeddings=tied)
    model = GPT(config).eval()
    save_model(tmp_path, model)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ == "GPT2LMHeadModel"
    ids = prompts()
    torch.testing.assert_close(theirs(ids).logits[..., :V], model(ids), rtol=0, atol=1e-4)
    again = load_model(tmp_path)
    assert again.config == config and again.state_dict().keys() == model.state_dict().keys()


def test_a_file_of_older_transformers_is_read(tmp_path):
    """rope_theta and rope_scaling at the top, torch_dtype, buffers among the weights, names of the bare model."""
    from safetensors.torch import save_file

    theirs = hugging_face_model("Llama", LLAMA | {"rope_parameters": STRETCHED})
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "torch_dtype": config.pop("dtype")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ids = prompts()
    torch.testing.assert_close(load_model(tmp_path)(ids), theirs(ids).logits, rtol=0, atol=1e-4)

    theirs = hugging_face_model("GPT2", GPT2)
    theirs.save_pretrained(tmp_path)
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(tmp_path / "model.safetensors").items()}
    tensors |= {"h.0.attn.bias": torch.ones(1, 1, BLOCK, BLOCK), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_file(tensors, tmp_path / "model.safetensors")
    torch.testing.assert_close(load_model(tmp_path)(ids), theirs(ids).logits, rtol=0, atol=1e-4)
