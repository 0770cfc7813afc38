"""Without Transformer Engine and its GPUs: what is missing is said, and with a stand-in for their layer, written from
their documentation in plain PyTorch, the network computes what GPT computes.
"""

import sys
import types
from importlib.machinery import ModuleSpec

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nanolit.interop import transformer_engine as te
from nanolit.models.config import GPTConfig
from nanolit.models.directory import load_model, save_model
from nanolit.models.gpt import GPT

SIZES = {"block_size": 16, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 32, "mlp_hidden": 48}


class LayerNormLinear(nn.Module):
    """Holds RMS norm and projections by Transformer Engine's names."""

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.ones(shape)))


class TransformerLayer(nn.Module):
    """Arguments and names of transformer_engine.pytorch.TransformerLayer, as far as they are used. Only on these terms:
    rotation of (d, d + D/2) by the angles given, the gate above what it gates, norms before each part.
    """

    def __init__(self, *, hidden_size, ffn_hidden_size, num_attention_heads, num_gqa_groups, kv_channels, **rest):
        super().__init__()
        assert rest["self_attn_mask_type"] == "causal" and rest["attn_input_format"] == "bshd"
        assert (rest["normalization"], rest["activation"]) == ("RMSNorm", "swiglu")
        assert rest["bias"] is False and rest["fuse_qkv_params"] is False and rest["layer_number"] >= 1
        C, H, K, D = hidden_size, num_attention_heads, num_gqa_groups, kv_channels
        self.heads, self.eps, self.width = (H, K, D), rest["layernorm_epsilon"], C
        self.self_attention = nn.Module()
        self.self_attention.layernorm_qkv = LayerNormLinear(
            layer_norm_weight=(C,), query_weight=(H * D, C), key_weight=(K * D, C), value_weight=(K * D, C)
        )
        self.self_attention.proj = LayerNormLinear(weight=(C, H * D))
        mlp = {"layer_norm_weight": (C,), "fc1_weight": (2 * ffn_hidden_size, C), "fc2_weight": (C, ffn_hidden_size)}
        self.layernorm_mlp = LayerNormLinear(**mlp)
        for name, parameter in self.named_parameters():
            last = name.endswith(("proj.weight", "fc2_weight"))
            if parameter.dim() == 2:
                (rest["output_layer_init_method"] if last else rest["init_method"])(parameter)

    def forward(self, x, rotary_pos_emb):
        (H, K, D), (B, T, C) = self.heads, x.shape
        assert rotary_pos_emb.shape == (T, 1, 1, D)
        angle = rotary_pos_emb.transpose(0, 1)  # (1, T, 1, D)

        def turned(t):
            half = torch.cat((-t[..., D // 2 :], t[..., : D // 2]), dim=-1)
            return t * angle.cos() + half * angle.sin()

        into, mlp = self.self_attention.layernorm_qkv, self.layernorm_mlp
        h = F.rms_norm(x, (C,), into.layer_norm_weight, self.eps)
        q = turned((h @ into.query_weight.T).view(B, T, H, D))
        k = turned((h @ into.key_weight.T).view(B, T, K, D)).repeat_interleave(H // K, dim=2)
        v = (h @ into.value_weight.T).view(B, T, K, D).repeat_interleave(H // K, dim=2)
        scores = torch.einsum("bthd,bshd->bhts", q, k) / D**0.5
        later = torch.ones(T, T, dtype=torch.bool).triu(1)
        mixed = torch.einsum("bhts,bshd->bthd", scores.masked_fill(later, -torch.inf).softmax(-1), v)
        x = x + mixed.reshape(B, T, H * D) @ self.self_attention.proj.weight.T
        gate, up = (F.rms_norm(x, (C,), mlp.layer_norm_weight, self.eps) @ mlp.fc1_weight.T).chunk(2, dim=-1)
        return x + (F.silu(gate) * up) @ mlp.fc2_weight.T


@pytest.fixture
def package(monkeypatch):
    """Theirs, as far as it is used."""
    for name in ("transformer_engine", "transformer_engine.pytorch"):
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["transformer_engine.pytorch"].TransformerLayer = TransformerLayer


@pytest.fixture
def stand_in(package, monkeypatch):
    """And a machine that could run it."""
    monkeypatch.setattr(te, "what_is_missing", lambda: None)


@pytest.fixture
def network(stand_in) -> te.TransformerEngineLlama:
    torch.manual_seed(0)
    return te.build(vocab_size=31, **SIZES)


def ids(length: int) -> torch.Tensor:
    return torch.randint(0, 31, (2, length), generator=torch.Generator().manual_seed(length))


def test_the_package_is_missed_in_one_line(monkeypatch):
    if te.find_spec("transformer_engine"):
        pytest.skip("Transformer Engine is installed here")
    with pytest.raises(ValueError, match=r"^model=te_llama3: needs the package transformer-engine \(pip install"):
        te.build(vocab_size=31, **SIZES)


def test_so_is_the_gpu(package, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="needs a GPU of NVIDIA that PyTorch can use"):
        te.build(vocab_size=31, **SIZES)


def test_the_function_is_that_of_gpt(network):
    same = network.as_gpt().eval()
    assert sum(p.numel() for p in same.parameters()) == sum(p.numel() for p in network.parameters())
    for length in (1, 7, 16):
        torch.testing.assert_close(network(ids(length)), same(ids(length)))
        torch.testing.assert_close(network(ids(length), ids(length)), same(ids(length), ids(length)))
    ours, theirs = network.score(ids(9), ids(9)), same.score(ids(9), ids(9))
    torch.testing.assert_close(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    with pytest.raises(ValueError, match="17 tokens do not fit into block_size=16"):
        network(ids(17))


def test_weights_begin_as_transformer_engine_begins_them(stand_in):
    big = te.build(vocab_size=500, **(SIZES | {"n_embd": 128, "init_std": 0.023}))
    assert big.token_embedding.weight.std().item() == pytest.approx(0.023, rel=0.03)
    assert big.blocks[0].layernorm_mlp.fc2_weight.std().item() == pytest.approx(0.023, rel=0.03)
    assert big.blocks[0].layernorm_mlp.layer_norm_weight.eq(1).all()


def test_what_is_saved_is_a_model_of_the_llama_family(network, tmp_path):
    network.save(tmp_path / "saved", {"nanolit": {"step": 3}})
    assert '"LlamaForCausalLM"' in (tmp_path / "saved" / "config.json").read_text()
    torch.testing.assert_close(load_model(tmp_path / "saved")(ids(16)), network(ids(16)))
    again = te.build(vocab_size=31, weights=tmp_path / "saved", **SIZES)
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in network.state_dict().items())


def test_weights_of_another_shape_or_family_are_refused(network, tmp_path):
    network.save(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"init_from: the weights are of another model: model.n_layer is 2 there"):
        te.build(vocab_size=31, weights=tmp_path / "saved", **(SIZES | {"n_layer": 3}))
    save_model(tmp_path / "gpt2", GPT(GPTConfig(vocab_size=31, block_size=16, n_layer=2, n_head=4, n_embd=32)))
    with pytest.raises(ValueError, match=r"model.norm is layernorm there, given rmsnorm"):
        te.build(vocab_size=31, weights=tmp_path / "gpt2", **SIZES)
    with pytest.raises(ValueError, match=r"model.norm: is rmsnorm in Llama 3"):
        te.build(vocab_size=31, norm="layernorm", **SIZES)


def test_generation_is_what_computing_anew_gives(network, written_anew):
    from nanolit.inference.generate import generate_ids
    from nanolit.inference.params import SamplingParams

    params = SamplingParams(max_new_tokens=40, temperature=1.0, seed=1)
    rows = [list(row) for row in zip(*generate_ids(network, [1, 2, 3], params, rows=(0, 1, 2)), strict=True)]
    assert rows == written_anew(network, [1, 2, 3], params, (0, 1, 2))


def test_documents_are_refused(network):
    for call in (network, network.score):
        with pytest.raises(ValueError, match=r"^data\.loader\.mask_documents: got true"):
            call(ids(9), ids(9), documents=torch.zeros_like(ids(9)))


def test_it_trains(network):
    from nanolit.optim.build import AdamWConfig, MuonConfig, build_optimizer

    tokens = ids(16)
    for config in (AdamWConfig(lr=1e-2), MuonConfig(lr=0.02, embedding_lr=0.01)):
        optimizer = build_optimizer(network.named_parameters(), config)
        before = network(tokens[:, :-1], tokens[:, 1:]).mean()
        for _ in range(8):
            network(tokens[:, :-1], tokens[:, 1:]).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert network(tokens[:, :-1], tokens[:, 1:]).mean() < before - 0.1


def test_the_whole_command(stand_in, small_run, tmp_path, capfd):
    """Trained by their layers, opened without them; and their layers go on from what was saved."""
    from nanolit.cli.main import main
    from nanolit.cli.open_model import open_model

    sizes = [f"model.{name}={value}" for name, value in SIZES.items()]
    run = ["train", *small_run, "model=te_llama3", *sizes, "trainer.max_steps=2"]
    assert main([*run, "tokenizer=byte", "optimizer.lr=1e-2", f"run_dir={tmp_path / 'a'}"]) == 0, capfd.readouterr().err
    kept, _ = open_model(tmp_path / "a", "cpu")
    assert isinstance(kept, GPT)
    assert main([*run, f"init_from={tmp_path / 'a'}", "optimizer.lr=0", f"run_dir={tmp_path / 'b'}"]) == 0
    again, _ = open_model(tmp_path / "b", "cpu")
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in kept.state_dict().items())
