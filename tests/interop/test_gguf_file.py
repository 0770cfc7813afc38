"""The GGUF file holds the model: read back with the `gguf` package tensor by tensor and key by key, and computed by
transformers, which opens such files by itself.
"""

import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

gguf = pytest.importorskip("gguf")

from nanolit.interop.gguf_file import gguf_links, write_gguf  # noqa: E402
from nanolit.models.config import GPTConfig, RopeScaling  # noqa: E402
from nanolit.models.gpt import GPT  # noqa: E402
from nanolit.models.links import inward  # noqa: E402
from nanolit.models.tensor_files import Tensors  # noqa: E402

SIZE = {"vocab_size": 67, "block_size": 40, "n_layer": 2, "n_head": 4, "n_embd": 48}
GPT2 = GPTConfig(**SIZE, mlp="gelu_tanh", norm_eps=1e-3)
LLAMA = GPTConfig(
    **SIZE,
    position="rope",
    norm="rmsnorm",
    mlp="swiglu",
    mlp_hidden=80,
    bias=False,
    tie_embeddings=False,
    norm_eps=1e-6,
)
CASES = {
    "gpt2": GPT2,
    "gpt2-untied": replace(GPT2, tie_embeddings=False),
    "gpt2-no-bias": replace(GPT2, bias=False),
    "gpt2-exact-gelu": replace(GPT2, mlp="gelu"),
    "gpt2-narrow-mlp": replace(GPT2, mlp_hidden=40),
    "gpt2-padded": replace(GPT2, vocab_multiple=64),
    "llama": LLAMA,
    "llama-gqa": replace(LLAMA, n_kv_head=2),
    "llama-mqa-tied": replace(LLAMA, n_kv_head=1, tie_embeddings=True),
    "llama-attention-bias": replace(LLAMA, attention_bias=True, n_kv_head=2),
    "llama-mlp-bias": replace(LLAMA, mlp_bias=True),
    "llama-head-width": replace(LLAMA, head_width=20),
    "llama-theta": replace(LLAMA, rope_base=500.0),
    "llama-rope-scaling": replace(LLAMA, rope_base=5e5, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 16)),
}


def random_model(config, seed=0):
    """With weights that make every part matter."""
    torch.manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.05))
    return model


def read(path):
    """Keys and tensors (as torch's, in float32 unless 16 bits wide) of a file."""
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {}
    for tensor in reader.tensors:
        data = torch.from_numpy(np.array(tensor.data))
        if tensor.tensor_type.name == "BF16":
            data = data.view(torch.bfloat16)
        assert list(data.shape) == [int(n) for n in reversed(tensor.shape)]
        tensors[tensor.name] = data
    return keys, tensors


@pytest.fixture(params=CASES)
def written(request, tmp_path):
    model = random_model(CASES[request.param])
    notes = write_gguf(tmp_path / "model.gguf", model.config, Tensors.of(model.state_dict()), name="tiny")
    return model, tmp_path / "model.gguf", notes


def test_every_tensor_comes_back_bit_by_bit(written):
    model, path, _ = written
    config = model.config
    _, tensors = read(path)
    tensors.pop("rope_freqs.weight", None)
    back = inward(Tensors.of(tensors), gguf_links(gguf, config, "gpt2" if config.position == "learned" else "llama"))
    expected = model.state_dict()
    assert back.specs.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(back.get(name), tensor), name


@pytest.mark.parametrize("written", [name for name in CASES if name.startswith("llama")], indirect=True)
def test_rows_of_queries_and_keys_are_neighbours(written):
    """llama.cpp turns rows 2i and 2i + 1 of a head by one angle, we turn rows i and i + D/2."""
    model, path, _ = written
    config = model.config
    _, tensors = read(path)
    D, qkv = config.head_dim, model.blocks[1].attention.qkv.weight
    for name, n_heads, first in (("attn_q", config.n_head, 0), ("attn_k", config.n_kv_heads, config.n_head * D)):
        theirs = tensors[f"blk.1.{name}.weight"]
        assert len(theirs) == n_heads * D
        for head in range(n_heads):
            for i in range(D // 2):
                row = first + head * D + i
                assert torch.equal(theirs[head * D + 2 * i], qkv[row])
                assert torch.equal(theirs[head * D + 2 * i + 1], qkv[row + D // 2])
    start = (config.n_head + config.n_kv_heads) * D
    assert torch.equal(tensors["blk.1.attn_v.weight"], qkv[start:])


def test_keys_are_those_of_llama_cpps_converter(written):
    model, path, _ = written
    config = model.config
    keys, tensors = read(path)
    keys = {name: value for name, value in keys.items() if not name.startswith("GGUF.")}
    arch = "gpt2" if config.position == "learned" else "llama"
    expected = {
        "general.architecture": arch,
        "general.type": "model",
        "general.name": "tiny",
        "general.size_label": gguf.size_label(sum(t.numel() for t in tensors.values()), 0, 0, 0),
        "general.quantization_version": 2,
        "general.file_type": 0,
        "vocab_size": 128 if config.vocab_multiple == 64 else 67,
        "context_length": 40,
        "embedding_length": 48,
        "block_count": 2,
        "feed_forward_length": config.mlp_hidden or 192,
        "attention.head_count": 4,
        "tokenizer.ggml.model": "none",
    }
    if arch == "gpt2":
        expected["attention.layer_norm_epsilon"] = pytest.approx(1e-3)
    else:
        expected |= {
            "attention.head_count_kv": config.n_kv_head or 4,
            "attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
            "rope.dimension_count": config.head_width or 12,
            "rope.freq_base": config.rope_base,
        }
    if config.head_width:
        expected |= {"attention.key_length": 20, "attention.value_length": 20}
    assert keys == {n if n.startswith(("general.", "tokenizer.")) else f"{arch}.{n}": v for n, v in expected.items()}
    assert ("output.weight" in tensors) == (not config.tie_embeddings)
    assert ("rope_freqs.weight" in tensors) == (config.rope_scaling is not None)


@torch.no_grad()
def test_transformers_computes_the_same_from_the_file(written):
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model, path, _ = written
    config = model.config
    told = load_gguf_checkpoint(path)["config"]
    if told["model_type"] == "gpt2":  # of GPT-2 transformers reads these from the file's tokenizer, or not at all
        told |= {
            "vocab_size": config.padded_vocab,
            "n_positions": told["n_ctx"],
            "n_inner": told["feed_forward_length"],
        }
        told["activation_function"] = {"gelu": "gelu", "gelu_tanh": "gelu_new"}[config.mlp]
    else:  # and of Llama these never
        told |= {"attention_bias": config.has_attention_bias, "mlp_bias": config.has_mlp_bias}
        if scaling := config.rope_scaling:
            told["rope_parameters"] = {
                **{"rope_type": "llama3", "rope_theta": told["rope_theta"], "factor": scaling.factor},
                **{"low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor},
                "original_max_position_embeddings": scaling.original_block_size,
            }
    kind = {"gpt2": "GPT2", "llama": "Llama"}[told.pop("model_type")]
    settings = getattr(transformers, f"{kind}Config")(**told, bos_token_id=None, eos_token_id=None)
    theirs = getattr(transformers, "GPT2LMHeadModel" if kind == "GPT2" else "LlamaForCausalLM")(settings).eval()
    loaded = load_gguf_checkpoint(path, return_tensors=True, model_to_load=theirs)["tensors"]
    report = theirs.load_state_dict(loaded, strict=False)
    assert set(report.missing_keys) == ({"lm_head.weight"} if config.tie_embeddings else set())
    assert not report.unexpected_keys
    ids = torch.randint(0, 67, (3, 40), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(theirs(ids).logits[..., :67], model(ids), rtol=0, atol=1e-4)


def test_rope_factors_are_what_transformers_divides_by(tmp_path):
    pytest.importorskip("transformers")
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    settings = LlamaConfig(
        hidden_size=256, num_attention_heads=4, rope_parameters=rope | {"original_max_position_embeddings": 8192}
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](settings, "cpu")
    config = replace(LLAMA, n_embd=256, rope_base=5e5, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 8192))
    write_gguf(tmp_path / "m.gguf", config, Tensors.of(GPT(config).state_dict()), name="m", dtype="float16")
    factors = read(tmp_path / "m.gguf")[1]["rope_freqs.weight"]
    plain = 5e5 ** -(torch.arange(0, 64, 2) / 64)
    assert factors.dtype == torch.float32 and factors.min() == 1 and factors.max() == 8
    torch.testing.assert_close(factors, plain / scaled, rtol=1e-5, atol=0)


@pytest.mark.parametrize("config", [GPT2, replace(LLAMA, n_kv_head=2, attention_bias=True)], ids=["gpt2", "llama"])
@pytest.mark.parametrize(("name", "file_type"), [("float32", 0), ("float16", 1), ("bfloat16", 32)])
def test_matrices_have_the_wanted_precision_and_the_rest_is_exact(tmp_path, config, name, file_type):
    model = random_model(config)
    path = tmp_path / "model.gguf"
    write_gguf(path, config, Tensors.of(model.state_dict()), name="tiny")
    _, exact = read(path)
    write_gguf(path, config, Tensors.of(model.state_dict()), name="tiny", dtype=name)
    keys, tensors = read(path)
    assert keys["general.file_type"] == file_type
    assert tensors.keys() == exact.keys()
    for key, tensor in tensors.items():
        is_matrix = tensor.dim() > 1 and key != "position_embd.weight"
        assert tensor.dtype == (getattr(torch, name) if is_matrix else torch.float32), key
        assert torch.equal(tensor, exact[key].to(tensor.dtype)), key


def test_weights_in_half_precision_are_read_as_they_are(tmp_path):
    model = random_model(LLAMA).bfloat16()
    write_gguf(tmp_path / "m.gguf", LLAMA, Tensors.of(model.state_dict()), name="m", dtype="bfloat16")
    _, tensors = read(tmp_path / "m.gguf")
    assert torch.equal(tensors["blk.0.ffn_up.weight"], model.blocks[0].mlp.up.weight)
    assert torch.equal(tensors["output_norm.weight"], model.final_norm.weight.float())


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
    model = random_model(LLAMA)
    stored, alive, most = model.state_dict(), weakref.WeakSet(), 0

    def get(name):
        nonlocal most
        tensor = stored[name].clone()
        alive.add(tensor)
        most = max(most, len(alive))
        return tensor

    write_gguf(tmp_path / "m.gguf", LLAMA, Tensors(Tensors.of(stored).specs, get), name="m", dtype="float16")
    assert most <= 2  # the next is made while the last one's name still holds it


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (replace(GPT2, softcap=15.0), "nearest is gpt2, but for model.softcap=15.0"),
        (replace(GPT2, mlp="relu2"), "nearest is gpt2, but for model.mlp=relu2; to=hf can write it"),
        (replace(GPT2, bigram_rows=10), "nearest is gpt2, but for model.bigram_rows=10"),
        (replace(GPT2, n_kv_head=2), "nearest is gpt2, but for model.n_kv_heads=2"),
        (replace(LLAMA, window_pattern="SL", window=8), "nearest is llama, but for model.window_pattern=SL"),
        (
            replace(LLAMA, softcap=15.0, qk_norm=True),
            "nearest is llama, but for model.softcap=15.0, model.qk_norm=True",
        ),
        (replace(LLAMA, head_bias=True), "nearest is llama, but for model.head_bias=True"),
        (
            replace(LLAMA, norm="rmsnorm_noweight", mlp="relu2", qk_norm=True, embed_norm=True, softcap=15.0),
            "nearest is llama, but for model.mlp=relu2, model.norm=rmsnorm_noweight, model.embed_norm=True, "
            "model.softcap=15.0, model.qk_norm=True; to=hf can write it",  # nanochat
        ),
    ],
)
def test_what_llama_cpp_does_not_compute_is_refused(tmp_path, config, told):
    with pytest.raises(ValueError, match=r"^to=gguf: llama\.cpp computes GPT-2 and Llama") as caught:
        write_gguf(tmp_path / "m.gguf", config, Tensors.of(GPT(config).state_dict()), name="m")
    assert str(caught.value).endswith(told) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_gelu_is_told_and_nothing_else(written):
    model, _, notes = written
    assert [note.partition(":")[0] for note in notes] == (
        [f"model.mlp={model.config.mlp}"] if model.config.mlp != "swiglu" else []
    )
    assert ("tanh approximation" in "".join(notes)) == (model.config.mlp == "gelu")


def test_what_float16_cannot_hold_is_an_error_and_leaves_the_old_file(tmp_path):
    model = random_model(GPT2)
    path = tmp_path / "m.gguf"
    write_gguf(path, GPT2, Tensors.of(model.state_dict()), name="m")
    before = path.read_bytes()
    model.blocks[1].mlp.up.weight.data[3, 4] = 7e4
    with pytest.raises(ValueError, match=r"blk\.1\.ffn_up\.weight holds 7e\+04, beyond float16; .*bfloat16"):
        write_gguf(path, GPT2, Tensors.of(model.state_dict()), name="m", dtype="float16")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    write_gguf(path, GPT2, Tensors.of(model.state_dict()), name="m", dtype="bfloat16")


def test_an_unknown_precision_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"dtype: got 'int8', to=gguf writes float32, float16, bfloat16"):
        write_gguf(tmp_path / "m.gguf", GPT2, Tensors.of(GPT(GPT2).state_dict()), name="m", dtype="int8")


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"needs the package gguf: pip install"):
        write_gguf(tmp_path / "m.gguf", GPT2, Tensors.of(GPT(GPT2).state_dict()), name="m")
