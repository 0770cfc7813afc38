"""The model: one decoder-only transformer whose family (GPT-2, Llama, nanochat, ...) is a choice of fields (config.py).

It holds no tokenizer, no optimizer and no sampling. Read it from top to bottom; shapes stand at line ends:

B batch   T tokens   C channels (n_embd)   H query heads   K key-value heads   D head width (C / H)   V vocabulary
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanolit.models.attention import Mask, attend, visible
from nanolit.models.config import SMEAR_CHANNELS, VALUE_GATE_CHANNELS, GPTConfig
from nanolit.models.init import init_weights
from nanolit.models.kv_cache import KVCache, SlotCache, SlotRows

IGNORE = -1  # a target that is not to be predicted


# Leaves


class Norm(nn.Module):
    """Layernorm or RMS norm over the channels, with or without weights."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.kind, self.eps, self.shape = config.norm, config.norm_eps, (config.n_embd,)
        with_bias = config.norm == "layernorm" and config.bias
        self.weight = None if config.norm == "rmsnorm_noweight" else nn.Parameter(torch.empty(config.n_embd))
        self.bias = nn.Parameter(torch.empty(config.n_embd)) if with_bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "layernorm":
            return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)
        return F.rms_norm(x, self.shape, self.weight, self.eps)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotary positions: turn each pair (x[d], x[d + D/2]) by its position's angle; x (B,T,heads,D), rope (2,T,1,D), or
    (2,B,T,1,D) for rows that stand at different positions."""
    cos, sin = rope
    return torch.addcmul(x * cos, x.roll(x.size(-1) // 2, dims=-1), sin)


# Blocks


class Context(NamedTuple):
    """What all blocks of one pass share."""

    ids: Tensor  # (B, T)
    rope: Tensor | None  # (2, T, 1, D), or (2, B, T, 1, D)
    masks: Mapping[int | None, Mask | None]  # by window
    cache: KVCache | SlotRows | None
    values: nn.ModuleDict  # by layer: tables of the value embeddings


class Attention(nn.Module):
    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        H, K, D, bias = config.n_head, config.n_kv_heads, config.head_dim, config.has_attention_bias
        self.qkv = nn.Linear(config.n_embd, (H + 2 * K) * D, bias=bias)
        self.out = nn.Linear(H * D, config.n_embd, bias=bias)
        self.window = config.layer_window(layer)
        gated = config.has_value_embedding(layer)
        self.value_gate = nn.Linear(VALUE_GATE_CHANNELS, K, bias=False) if gated else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        B, T, _ = x.shape
        config = self.config
        H, K, D = config.n_head, config.n_kv_heads, config.head_dim
        qk, v = self.qkv(x).view(B, T, H + 2 * K, D).split((H + K, K), dim=2)  # (B, T, H+K, D), (B, T, K, D)
        if self.value_gate is not None:
            gate = 3 * torch.sigmoid(self.value_gate(x[..., :VALUE_GATE_CHANNELS]))  # (B, T, K)
            v = v + gate[..., None] * context.values[str(self.layer)](context.ids).view(B, T, K, D).type_as(v)
        if context.rope is not None:
            qk = rotate(qk, context.rope).type_as(v)  # turned in float32 under autocast
        if config.qk_norm:
            qk = F.rms_norm(qk, (D,), eps=config.norm_eps)
        q, k = qk.split((H, K), dim=2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D), 2 x (B, K, T, D)
        if context.cache is not None:
            k, v = context.cache.update(self.layer, k, v)
        dropout_p = config.dropout if self.training else 0.0
        y = attend(q, k, v, context.masks[self.window], scale=config.attention_scale, dropout_p=dropout_p)
        return self.out(y.transpose(1, 2).reshape(B, T, H * D))


def relu2(x: Tensor) -> Tensor:
    """arXiv 2109.08668"""
    x = F.relu(x)
    return x * x  # half the time of square(), whose gradient is a general power


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu2": relu2,
    "swiglu": F.silu,  # of the gate
}


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C, hidden, bias = config.n_embd, config.hidden, config.has_mlp_bias
        self.activate = ACTIVATIONS[config.mlp]
        self.gate = nn.Linear(C, hidden, bias=bias) if config.mlp == "swiglu" else None
        self.up = nn.Linear(C, hidden, bias=bias)
        self.down = nn.Linear(hidden, C, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)  # (B, T, hidden)
        h = self.activate(h) if self.gate is None else self.activate(self.gate(x)) * h
        return self.down(h)


class Block(nn.Module):
    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.post_norm = config.norm_placement == "post"
        self.branch_scale = (2 * config.n_layer) ** -0.5 if config.scale_attention_branch else 1.0
        self.attention_norm = Norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = Norm(config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if self.post_norm:
            x = self.attention_norm(x + self.branch_scale * self.dropout(self.attention(x, context)))
            return self.mlp_norm(x + self.dropout(self.mlp(x)))
        branch = self.dropout(self.attention(self.attention_norm(x), context))
        x = x + (branch if self.branch_scale == 1.0 else self.branch_scale * branch)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


# The whole


class GPT(nn.Module):
    rope: Tensor | None

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        V, C, L = config.padded_vocab, config.n_embd, config.n_layer
        kv_width = config.n_kv_heads * config.head_dim
        self.token_embedding = nn.Embedding(V, C)
        self.position_embedding = nn.Embedding(config.block_size, C) if config.position == "learned" else None
        self.bigram_embedding = nn.Embedding(config.bigram_rows, C) if config.bigram_rows else None
        with_values = [layer for layer in range(L) if config.has_value_embedding(layer)]
        self.value_embeddings = nn.ModuleDict({str(layer): nn.Embedding(V, kv_width) for layer in with_values})
        self.embed_norm = Norm(config) if config.embed_norm else None
        self.smear_gate = nn.Parameter(torch.empty(SMEAR_CHANNELS)) if config.smear else None
        self.smear_scale = nn.Parameter(torch.empty(1)) if config.smear else None
        self.residual_scale = nn.Parameter(torch.empty(L)) if config.layer_scalars else None
        self.skip_scale = nn.Parameter(torch.empty(L)) if config.layer_scalars else None
        self.backout_scale = nn.Parameter(torch.empty(1)) if config.backout else None
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(L))
        self.windows = sorted({config.layer_window(layer) for layer in range(L)}, key=str)
        self.final_norm = Norm(config)
        # A tied head is the token embedding itself and owns nothing, so no save, load or move can untie it.
        self.head = None if config.tie_embeddings else nn.Linear(C, V, bias=config.head_bias)
        self.register_buffer("rope", None, persistent=False)  # (2, block_size, 1, D), made by init_weights
        self.init_weights()

    def init_weights(self) -> None:
        """Fill every parameter and buffer; needed again after `to_empty` for a model built on the meta device."""
        init_weights(self)

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        cache: KVCache | SlotRows | None = None,
        last_only: bool = False,
        documents: Tensor | None = None,
    ) -> Tensor:
        """With targets (B,T): each token's negative log-likelihood (B,T) in float32, 0 where the target is IGNORE.

        Without: logits (B,T,vocab_size), or (B,1,vocab_size) with `last_only`. A cache goes on from the tokens that it
        has, and takes the new ones in. documents (B,T): the number of each token's document,
        each a text of its own.
        """
        x = self.features(ids, cache, documents)  # (B, T, C)
        if targets is not None:
            return self._nll(x, targets)
        if last_only:
            x = x[:, -1:] if cache is None else cache.last(x)  # (B, 1, C)
        # Rows that only pad the vocabulary compete in the training softmax, as in nanoGPT, but nobody may draw them.
        return self.logits(x)[..., : self.config.vocab_size]

    def _nll(self, x: Tensor, targets: Tensor) -> Tensor:
        """Of what the head reads (B,T,C). Where nothing is asked it reads nothing: most of a conversation, and a small
        model is mostly head. Not on an accelerator, which would have to be waited for to know how many these are.
        """
        asked = targets != IGNORE  # (B, T)
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return nll(self.logits(x), targets)
        found = F.cross_entropy(self.logits(x[asked]), targets[asked], reduction="none")
        return found.new_zeros(targets.shape).masked_scatter(asked, found)

    def score(self, ids: Tensor, targets: Tensor, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """For evaluation, in one pass: negative log-likelihood (B,T), and whether the likeliest token is the target."""
        logits = self.logits(self.features(ids, documents=documents))
        return nll(logits, targets), logits[..., : self.config.vocab_size].argmax(dim=-1) == targets

    def features(self, ids: Tensor, cache: KVCache | SlotRows | None = None, documents: Tensor | None = None) -> Tensor:
        """What the head reads: the residual stream (B,T,C) after all blocks and the final norm."""
        T, config = ids.size(1), self.config
        if config.block_size < T:
            raise ValueError(f"{T} tokens do not fit into block_size={config.block_size}; give the model fewer")
        if documents is not None and cache is not None:
            raise ValueError("documents: a cache goes on with one text; give no cache, or no documents")
        at = slice(0, T) if cache is None else cache.positions(T)  # or an index (B, T)
        rope = None if self.rope is None else self.rope[:, at]  # (2, T, 1, D), or (2, B, T, 1, D)
        sees = partial(
            visible,
            *(T, T if cache is None else cache.seen(T), ids.device),
            at=at if isinstance(at, Tensor) else None,
            documents=documents,
            backend=config.attention,
            dropout_p=config.dropout if self.training else 0.0,
            has_cache=cache is not None,
        )
        masks = {window: sees(window) for window in self.windows}
        context = Context(ids, rope, masks, cache, self.value_embeddings)
        x = start = middle = self.dropout(self.embed(ids, at, cache, documents))  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            if self.residual_scale is not None and self.skip_scale is not None:
                x = self.residual_scale[layer] * x + self.skip_scale[layer] * start
            x = block(x, context)
            if layer == config.n_layer // 2:
                middle = x
        if self.backout_scale is not None:
            x = x - self.backout_scale * middle
        if cache is not None:
            cache.advance(ids)
        return self.final_norm(x)

    def embed(
        self, ids: Tensor, at: slice | Tensor, cache: KVCache | SlotRows | None, documents: Tensor | None = None
    ) -> Tensor:
        goes_on = None if documents is None else continues(documents)  # (B, T)
        x = self.token_embedding(ids)  # (B, T, C)
        if self.position_embedding is not None:
            positions = self.position_embedding.weight[at]  # (T, C), or (B, T, C)
            x = x + (positions if goes_on is None else positions[steps_within(goes_on)])
        if self.bigram_embedding is not None:
            # Before the first token stands id 0. With bigram_rows >= vocab_size^2 each pair has a row of its own.
            first = ids.new_zeros(ids.size(0), 1) if cache is None else cache.last_ids
            before = torch.cat((first, ids[:, :-1]), dim=1)  # (B, T)
            before = before if goes_on is None else before * goes_on
            x = x + self.bigram_embedding((before * self.config.vocab_size + ids) % self.config.bigram_rows)
        if self.embed_norm is not None:
            x = self.embed_norm(x)
        if self.smear_gate is not None and self.smear_scale is not None:
            x = smear(x, self.smear_gate, self.smear_scale, cache, goes_on)
        return x

    def logits(self, x: Tensor) -> Tensor:
        # (B, T, padded vocabulary)
        logits = (F.linear(x, self.token_embedding.weight) if self.head is None else self.head(x)).float()
        if self.config.softcap is not None:
            logits = self.config.softcap * torch.tanh(logits / self.config.softcap)
        return logits

    def new_cache(self, batch: int, max_len: int) -> KVCache:
        weight = self.token_embedding.weight
        return KVCache(self.config, batch, max_len, weight.device, weight.dtype)

    def new_slots(self, n_slots: int, max_len: int) -> SlotCache:
        weight = self.token_embedding.weight
        return SlotCache(self.config, n_slots, max_len, weight.device, weight.dtype)


def smear(
    x: Tensor, gate: Tensor, scale: Tensor, cache: KVCache | SlotRows | None, goes_on: Tensor | None = None
) -> Tensor:
    """Each position takes a gated share of the one before it, as it was before any smearing; the first has none."""
    before = torch.zeros_like(x[:, :1]) if cache is None or cache.last_embedding is None else cache.last_embedding
    if cache is not None:
        cache.remember(x)
    share = scale * torch.sigmoid(x[..., :SMEAR_CHANNELS] @ gate.type_as(x))  # (B, T)
    share = share if goes_on is None else share * goes_on
    return x + share[..., None] * torch.cat((before, x[:, :-1]), dim=1)


def continues(documents: Tensor) -> Tensor:
    """Whether the position before is of the same document (B,T)."""
    return F.pad(documents[:, 1:] == documents[:, :-1], (1, 0))


def steps_within(goes_on: Tensor) -> Tensor:
    """How many positions of its document stand before each (B,T)."""
    at = torch.arange(goes_on.size(1), device=goes_on.device)
    return at - torch.where(goes_on, 0, at).cummax(dim=1).values


def nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each target, (B,T,V) and (B,T) -> (B,T); 0 where the target is IGNORE."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="none").view_as(
        targets
    )
