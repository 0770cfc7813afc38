"""The network against torch's own layers, against its other backend, and against itself with a cache."""

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nanolit.models.config import GPTConfig, RopeScaling
from nanolit.models.gpt import GPT, IGNORE, Context, nll
from nanolit.models.kv_cache import KVCache

KINDS = ("weight", "bias")
TINY = GPTConfig(vocab_size=31, block_size=24, n_layer=2, n_head=4, n_embd=32)
SWITCHES = {
    "gpt2": {},
    "no_bias": {"bias": False},
    "gelu_tanh": {"mlp": "gelu_tanh"},
    "relu2": {"mlp": "relu2"},
    "swiglu": {"mlp": "swiglu"},
    "mlp_hidden": {"mlp_hidden": 48},
    "rmsnorm": {"norm": "rmsnorm"},
    "rmsnorm_noweight": {"norm": "rmsnorm_noweight"},
    "rope": {"position": "rope"},
    "qk_norm": {"qk_norm": True},
    "gqa": {"n_kv_head": 2},
    "mqa": {"n_kv_head": 1},
    "untied": {"tie_embeddings": False},
    "softcap": {"softcap": 3.0},
    "embed_norm": {"embed_norm": True},
    "padded": {"vocab_multiple": 16},
    "bigram": {"bigram_rows": 100},
    "post_norm": {"norm_placement": "post"},
    "head_bias": {"tie_embeddings": False, "head_bias": True},
    "head_width": {"head_width": 12, "n_kv_head": 2},
    "attention_bias": {"bias": False, "attention_bias": True},
    "mlp_bias": {"bias": False, "mlp_bias": True, "mlp": "swiglu"},
    "attention_scale": {"attention_scale": 0.7},
    "attention_branch": {"scale_attention_branch": True},
    "rope_scaling": {"position": "rope", "rope_scaling": RopeScaling(4.0, 1.0, 4.0, 8)},
    "window": {"window_pattern": "SL", "window": 5},
    "layer_scalars": {"layer_scalars": True},
    "value_embeddings": {"value_embeddings": True, "n_kv_head": 2},
    "smear": {"smear": True},
    "backout": {"backout": True},
    "nanochat_late": {
        "norm": "rmsnorm_noweight", "norm_eps": 1e-6, "position": "rope", "mlp": "relu2", "qk_norm": True,
        "bias": False, "embed_norm": True, "tie_embeddings": False, "softcap": 15.0, "n_layer": 4, "n_kv_head": 2,
        "attention_scale": 0.5, "window_pattern": "SSL", "window": 6, "layer_scalars": True, "value_embeddings": True,
        "smear": True, "backout": True,
    },
    "llama": {
        "norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "n_kv_head": 2, "bias": False, "tie_embeddings": False,
    },
    "modern": {
        "norm": "rmsnorm_noweight", "position": "rope", "mlp": "relu2", "qk_norm": True, "bias": False,
        "embed_norm": True, "tie_embeddings": False, "softcap": 15.0, "bigram_rows": 961, "vocab_multiple": 64,
    },
}  # fmt: skip


def build(**fields) -> GPT:
    """A tiny network in which nothing is zero or one, so that no term can hide."""
    model = GPT(dataclasses.replace(TINY, **fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def tokens(batch: int = 3, length: int = 24) -> torch.Tensor:
    return torch.randint(0, TINY.vocab_size, (batch, length))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# Oracles


def test_equals_torchs_transformer_encoder():
    model = build()
    C = TINY.n_embd
    layer = nn.TransformerEncoderLayer(C, TINY.n_head, 4 * C, 0.0, F.gelu, batch_first=True, norm_first=True)
    oracle = nn.TransformerEncoder(layer, TINY.n_layer, norm=nn.LayerNorm(C), enable_nested_tensor=False).eval()
    for ours, theirs in zip(model.blocks, oracle.layers, strict=True):
        theirs.load_state_dict(
            {
                "self_attn.in_proj_weight": ours.attention.qkv.weight,
                "self_attn.in_proj_bias": ours.attention.qkv.bias,
                "self_attn.out_proj.weight": ours.attention.out.weight,
                "self_attn.out_proj.bias": ours.attention.out.bias,
                "linear1.weight": ours.mlp.up.weight,
                "linear1.bias": ours.mlp.up.bias,
                "linear2.weight": ours.mlp.down.weight,
                "linear2.bias": ours.mlp.down.bias,
                "norm1.weight": ours.attention_norm.weight,
                "norm1.bias": ours.attention_norm.bias,
                "norm2.weight": ours.mlp_norm.weight,
                "norm2.bias": ours.mlp_norm.bias,
            }
        )
    oracle.norm.load_state_dict({"weight": model.final_norm.weight, "bias": model.final_norm.bias})
    ids = tokens()
    x = model.token_embedding(ids) + model.position_embedding(torch.arange(24))
    expected = oracle(x, mask=nn.Transformer.generate_square_subsequent_mask(24)) @ model.token_embedding.weight.T
    torch.testing.assert_close(model(ids), expected, rtol=1e-4, atol=1e-4)


def test_post_norm_equals_torchs_transformer_encoder():
    model = build(norm_placement="post", tie_embeddings=False, head_bias=True)
    C = TINY.n_embd
    layer = nn.TransformerEncoderLayer(C, TINY.n_head, 4 * C, 0.0, F.gelu, batch_first=True, norm_first=False)
    oracle = nn.TransformerEncoder(layer, TINY.n_layer, norm=nn.LayerNorm(C), enable_nested_tensor=False).eval()
    names = {"attention.qkv.": "self_attn.in_proj_", "attention.out.": "self_attn.out_proj.", "mlp.up.": "linear1."}
    names |= {"mlp.down.": "linear2.", "attention_norm.": "norm1.", "mlp_norm.": "norm2."}
    for ours, theirs in zip(model.blocks, oracle.layers, strict=True):
        state = ours.state_dict()
        theirs.load_state_dict({new + kind: state[old + kind] for old, new in names.items() for kind in KINDS})
    oracle.norm.load_state_dict(model.final_norm.state_dict())
    ids = tokens()
    x = model.token_embedding(ids) + model.position_embedding(torch.arange(24))
    expected = model.head(oracle(x, mask=nn.Transformer.generate_square_subsequent_mask(24)))
    torch.testing.assert_close(model(ids), expected, rtol=1e-4, atol=1e-4)


def test_nanochats_late_features_equal_their_formulas():
    """Written out token by token from what nanochat does in 2026."""
    model = build(**SWITCHES["nanochat_late"])
    config, p = model.config, dict(model.named_parameters())
    ids = tokens(1)[0]
    T, H, K, D = 24, 4, 2, 8

    def norm(x):
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()

    def turn(x, t):  # x (heads, D)
        angle = t * 10000.0 ** -(torch.arange(4.0) / 4)
        a, b = x[:, :4], x[:, 4:]
        return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), dim=1)

    plain = norm(p["token_embedding.weight"][ids])  # (T, C)
    x = plain.clone()
    for t in range(1, T):
        x[t] += p["smear_scale"][0] * torch.sigmoid(plain[t, :24] @ p["smear_gate"]) * plain[t - 1]
    start = x
    for layer in range(4):
        x = p["residual_scale"][layer] * x + p["skip_scale"][layer] * start
        h = norm(x)
        q, k, v = (h @ p[f"blocks.{layer}.attention.qkv.weight"].T).split((H * D, K * D, K * D), dim=1)
        q, k, v = q.view(T, H, D), k.view(T, K, D), v.view(T, K, D)
        if layer in (1, 3):
            gate = 3 * torch.sigmoid(h[:, :12] @ p[f"blocks.{layer}.attention.value_gate.weight"].T)  # (T, K)
            v = v + gate[..., None] * p[f"value_embeddings.{layer}.weight"][ids].view(T, K, D)
        q = torch.stack([norm(turn(q[t], t)) for t in range(T)])
        k = torch.stack([norm(turn(k[t], t)) for t in range(T)])
        y = torch.zeros(T, H, D)
        for t in range(T):
            first = max(0, t - 5) if layer in (0, 1) else 0  # SSLS, and the last is always long
            for head in range(H):
                scores = 0.5 * k[first : t + 1, head // 2] @ q[t, head]
                y[t, head] = scores.softmax(0) @ v[first : t + 1, head // 2]
        x = x + y.flatten(1) @ p[f"blocks.{layer}.attention.out.weight"].T
        x = x + F.relu(norm(x) @ p[f"blocks.{layer}.mlp.up.weight"].T) ** 2 @ p[f"blocks.{layer}.mlp.down.weight"].T
        if layer == 2:
            middle = x
    logits = norm(x - p["backout_scale"] * middle) @ p["head.weight"].T
    torch.testing.assert_close(model(ids[None])[0], 15 * torch.tanh(logits / 15), rtol=1e-4, atol=1e-4)
    assert [config.layer_window(layer) for layer in range(4)] == [6, 6, None, None]


def test_llama_attention_equals_the_rule_written_out():
    """Rotary positions pair by pair as complex numbers; a key-value head serves n_head / n_kv_head queries."""
    model = build(**SWITCHES["llama"])
    attention, x = model.blocks[0].attention, torch.randn(2, 9, 32)
    q, k, v = attention.qkv(x).split((32, 16, 16), dim=-1)

    def turned(y, heads):
        y = y.view(2, 9, heads, 8)
        angle = torch.outer(torch.arange(9.0), 10000.0 ** -(torch.arange(4.0) / 4))  # (T, D/2)
        y = torch.complex(y[..., :4], y[..., 4:]) * torch.polar(torch.ones(9, 4), angle)[:, None]
        return torch.cat((y.real, y.imag), dim=-1).transpose(1, 2)

    q, k, v = turned(q, 4), turned(k, 2), v.view(2, 9, 2, 8).transpose(1, 2)
    k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 9, 32)
    ids = torch.zeros(2, 9, dtype=torch.long)
    context = Context(ids, model.rope[:, :9], {None: None}, None, model.value_embeddings)
    actual = attention(x, context)
    torch.testing.assert_close(actual, attention.out(y), rtol=1e-4, atol=1e-5)


def test_the_bigram_table_has_a_row_for_each_pair():
    model = build(bigram_rows=31 * 31)
    ids = torch.tensor([[5, 7, 30]])
    rows = model.bigram_embedding.weight[[0 * 31 + 5, 5 * 31 + 7, 7 * 31 + 30]]
    x = model.token_embedding(ids) + model.position_embedding.weight[:3] + rows
    torch.testing.assert_close(model.embed(ids, slice(0, 3), None), x)


@pytest.mark.parametrize("name", SWITCHES)
def test_backends_agree_with_gradients(name):
    model = build(**SWITCHES[name])
    ids, targets = tokens(), tokens()
    results = {}
    for backend in ("sdpa", "naive", "auto"):
        for block in model.blocks:
            block.attention.config = dataclasses.replace(model.config, attention=backend)
        model.zero_grad()
        nll = model(ids, targets)
        nll.mean().backward()
        results[backend] = nll.detach(), [parameter.grad.clone() for parameter in model.parameters()]
    for backend in ("naive", "auto"):
        torch.testing.assert_close(results["sdpa"], results[backend], rtol=1e-4, atol=1e-5)


# What holds for every family


@pytest.mark.parametrize("name", SWITCHES)
def test_no_token_sees_the_future_and_each_sees_the_past(name):
    model, ids = build(**SWITCHES[name]), tokens(1)
    other = ids.clone()
    other[0, 11] = (other[0, 11] + 1) % 31
    difference = (model(ids) - model(other)).abs().amax(dim=-1)[0]  # (T,)
    assert (difference[:11] == 0).all() and (difference[11:] > 0).all()


@pytest.mark.parametrize("name", SWITCHES)
def test_targets_give_the_cross_entropy_and_score_counts(name):
    model, ids, targets = build(**SWITCHES[name]), tokens(), tokens()
    targets[:, ::3] = IGNORE
    logits = model.logits(model.features(ids))
    expected = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-1, reduction="none")
    nll, correct = model.score(ids, targets)
    for actual in (model(ids, targets), nll):
        torch.testing.assert_close(actual, expected)
        assert actual.dtype == torch.float32 and (actual[:, ::3] == 0).all()
    assert torch.equal(correct, model(ids).argmax(dim=-1) == targets)
    torch.testing.assert_close(model(ids, last_only=True), model(ids)[:, -1:])


@pytest.mark.parametrize("name", ["gpt2", "llama", "modern", "window", "bigram", "smear", "nanochat_late", "post_norm"])
@settings(max_examples=15, deadline=None)
@given(parts=st.lists(st.integers(1, 9), min_size=1, max_size=6).filter(lambda parts: sum(parts) <= 24))
def test_cached_logits_equal_uncached_however_the_text_is_cut(name, parts):
    model, ids = build(**SWITCHES[name]), tokens(2, sum(parts))
    with torch.no_grad():
        cache = KVCache(model.config, batch=2, max_len=sum(parts))
        ends = list(itertools.accumulate(parts))
        pieces = [model(ids[:, end - n : end], cache=cache) for n, end in zip(parts, ends, strict=True)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), rtol=1e-4, atol=1e-4)
    assert cache.length == sum(parts)


@pytest.mark.parametrize("name", SWITCHES)
@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=7).filter(lambda lengths: sum(lengths) <= 24))
def test_documents_of_one_row_are_computed_as_if_each_stood_alone(name, lengths):
    model, T = build(**SWITCHES[name]), sum(lengths)
    ids, targets = tokens(2, T), tokens(2, T)
    targets[:, ::5] = IGNORE
    documents = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).expand(2, T)
    with torch.no_grad():
        together = model(ids, targets, documents=documents)
        parts = zip(ids.split(lengths, dim=1), targets.split(lengths, dim=1), strict=True)
        alone = torch.cat([model(*part) for part in parts], dim=1)
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.score(ids, targets, documents)[0], alone, rtol=1e-5, atol=1e-5)
        if len(lengths) > 1 and lengths[1] > 1:
            assert not torch.allclose(model(ids), model(ids, documents=documents), atol=1e-3)


def test_documents_need_the_whole_text():
    model = build()
    with pytest.raises(ValueError, match="documents: a cache goes on with one text"):
        model(tokens(), cache=model.new_cache(3, 24), documents=torch.zeros(3, 24, dtype=torch.long))


@pytest.mark.parametrize("name", SWITCHES)
def test_a_meta_model_is_filled_by_init_weights_as_a_direct_one(name):
    config = dataclasses.replace(TINY, **SWITCHES[name])
    direct = GPT(config)
    with torch.device("meta"):
        model = GPT(config)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in itertools.chain(model.parameters(), model.buffers()):
            tensor.fill_(float("nan"))
    for filled in (direct, model):
        torch.manual_seed(5)
        filled.init_weights()
    ours = dict(model.named_parameters()) | dict(model.named_buffers())
    theirs = dict(direct.named_parameters()) | dict(direct.named_buffers())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["gpt2", "llama", "modern", "nanochat_late"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_runs_under_autocast_and_in_low_precision(name, dtype):
    model, ids, targets = build(**SWITCHES[name]), tokens(), tokens()
    exact = model(ids, targets)
    with torch.autocast("cpu", dtype=dtype):
        nll = model(ids, targets)
        cache = KVCache(model.config, batch=3, max_len=24)
        torch.testing.assert_close(model(ids, cache=cache), model(ids), rtol=0.1, atol=0.2)
    nll.mean().backward()
    assert nll.dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    torch.testing.assert_close(nll, exact, rtol=0.05, atol=0.15)
    torch.testing.assert_close(model.to(dtype)(ids, targets), exact, rtol=0.05, atol=0.15)


def test_dropout_acts_in_training_only():
    model = build(dropout=0.5)
    ids = tokens()
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


def test_padding_rows_train_but_give_no_logits():
    model, ids, targets = build(vocab_multiple=16), tokens(), tokens()
    assert model.token_embedding.weight.shape[0] == 32 and model(ids).shape[-1] == 31
    before = model(ids, targets)
    with torch.no_grad():
        model.token_embedding.weight[31] *= 9
    assert (model(ids, targets) != before).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_embd": 30}, "model.n_embd: got 30, must be a multiple of model.n_head=4; the next one is 32"),
        ({"n_kv_head": 3}, "model.n_kv_head: got 3"),
        ({"n_kv_head": 0}, "model.n_kv_head: got 0"),
        ({"n_layer": 0}, "model.n_layer: got 0"),
        ({"vocab_size": 0}, "model.vocab_size: got 0"),
        ({"dropout": 1.0}, "model.dropout: got 1.0"),
        ({"softcap": 0.0}, "model.softcap: got 0.0"),
        ({"bigram_rows": -1}, "model.bigram_rows: got -1"),
        ({"norm_eps": 0.0}, "model.norm_eps: got 0.0"),
        ({"mlp_hidden": 0}, "model.mlp_hidden: got 0"),
        ({"n_embd": 20, "position": "rope"}, "model.position=rope"),
        ({"head_width": 0}, "model.head_width: got 0"),
        ({"window": 4}, "model.window: needs model.window_pattern"),
        ({"window_pattern": "SXL"}, "model.window_pattern: got 'SXL'"),
        ({"window_pattern": ""}, "model.window_pattern: got ''"),
        ({"head_bias": True}, "model.head_bias: a tied head has none"),
        ({"rope_scaling": RopeScaling(8.0, 1.0, 4.0, 8)}, "model.rope_scaling: needs model.position=rope"),
        ({"smear": True, "n_embd": 20}, "model.smear: needs model.n_embd of at least 24"),
        ({"value_embeddings": True, "n_embd": 8}, "model.value_embeddings: needs model.n_embd of at least 12"),
        ({"attention_scale": -1.0}, "model.attention_scale: got -1.0"),
    ],
)
def test_a_wrong_setting_is_named(fields, message):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(TINY, **fields)
    assert str(error.value).startswith(message)


def test_too_many_tokens_are_refused():
    with pytest.raises(ValueError, match="25 tokens do not fit into block_size=24"):
        build()(tokens(1, 25))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_where_nothing_is_asked_the_head_reads_nothing(tie, share):
    """On a CPU only the positions with a target are computed: losses and gradients stay those of all positions."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=50, block_size=16, n_layer=1, n_head=2, n_embd=16, tie_embeddings=tie))
    ids, targets = torch.randint(50, (3, 16)), torch.randint(50, (3, 16))
    targets[torch.rand(3, 16) >= share] = IGNORE
    found = []
    for losses in (lambda: model(ids, targets), lambda: nll(model.logits(model.features(ids)), targets)):
        model.zero_grad()
        loss = losses()
        loss.sum().backward()
        found.append((loss, torch.cat([p.grad.flatten() for p in model.parameters()])))
    torch.testing.assert_close(found[0], found[1])
    assert found[0][0].shape == (3, 16) and bool((found[0][0] > 0).any()) == (share > 0)
