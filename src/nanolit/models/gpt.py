"""The model: one decoder-only transformer whose family (GPT-2, Llama, nanochat, ...) is a choice of fields.

It holds no tokenizer, no optimizer and no sampling. Read it from top to bottom; shapes stand at line ends:

B batch   T tokens   C channels (n_embd)   H query heads   K key-value heads   D head width (C / H)   V vocabulary
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanolit.models.attention import attend
from nanolit.models.init import init_weights
from nanolit.models.kv_cache import KVCache

IGNORE = -1  # a target that is not to be predicted


@dataclass(frozen=True)
class GPTConfig:
    """What a model is. The defaults are GPT-2 (124M); every other family is a change of fields."""

    vocab_size: int = 50257
    vocab_multiple: int = 1  # embedding rows are rounded up to it: kernels like multiples of 64
    block_size: int = 1024
    n_layer: int = 12
    n_head: int = 12
    n_kv_head: int | None = None  # fewer than n_head: grouped-query attention (arXiv 2305.13245); None: n_head
    n_embd: int = 768
    mlp: Literal["gelu", "gelu_tanh", "relu2", "swiglu"] = "gelu"
    mlp_hidden: int | None = None  # None: 4 n_embd; swiglu has a third matrix, so 8/3 n_embd rounded up to 64
    norm: Literal["layernorm", "rmsnorm", "rmsnorm_noweight"] = "layernorm"
    norm_eps: float = 1e-5
    position: Literal["learned", "rope"] = "learned"
    rope_base: float = 10000.0
    qk_norm: bool = False  # weightless RMS norm of each query and key
    bias: bool = True  # of linear layers and of layernorm
    dropout: float = 0.0
    tie_embeddings: bool = True
    softcap: float | None = None  # logits -> softcap * tanh(logits / softcap)
    embed_norm: bool = False  # a norm right after the embeddings
    zero_init_projections: bool = False  # every block starts as the identity, an untied head as the uniform guess
    init_std: float = 0.02
    scaled_residual_init: bool = True
    attention: Literal["auto", "sdpa", "naive"] = "auto"
    bigram_rows: int = 0  # rows of a hashed (previous, current) token table added to the embedding; 0: none

    def __post_init__(self) -> None:
        for name in ("vocab_size", "vocab_multiple", "block_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, must be at least 1")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"model.n_embd: got {self.n_embd}, must be a multiple of model.n_head={self.n_head}; "
                f"the next one is {-(-self.n_embd // self.n_head) * self.n_head}"
            )
        if self.n_kv_head is not None and (self.n_kv_head < 1 or self.n_head % self.n_kv_head):
            raise ValueError(f"model.n_kv_head: got {self.n_kv_head}, must divide model.n_head={self.n_head}")
        if self.mlp_hidden is not None and self.mlp_hidden < 1:
            raise ValueError(
                f"model.mlp_hidden: got {self.mlp_hidden}, must be at least 1, or null for the usual width"
            )
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(
                f"model.position=rope rotates pairs and needs an even head width; got n_embd / n_head = {self.head_dim}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout: got {self.dropout}, must be at least 0 and below 1")
        for name in ("norm_eps", "rope_base", "init_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, must be positive")
        if self.softcap is not None and not self.softcap > 0:
            raise ValueError(f"model.softcap: got {self.softcap}, must be positive, or null for none")
        if self.bigram_rows < 0:
            raise ValueError(f"model.bigram_rows: got {self.bigram_rows}, must be at least 0 (0: no bigram table)")

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def n_kv_heads(self) -> int:
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def hidden(self) -> int:
        if self.mlp_hidden is not None:
            return self.mlp_hidden
        return -(-8 * self.n_embd // (3 * 64)) * 64 if self.mlp == "swiglu" else 4 * self.n_embd

    @property
    def padded_vocab(self) -> int:
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple


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
    """Rotary positions: turn each pair (x[d], x[d + D/2]) by its position's angle; x (B,T,heads,D), rope (2,T,1,D)."""
    cos, sin = rope
    return torch.addcmul(x * cos, x.roll(x.size(-1) // 2, dims=-1), sin)


# Blocks


class Attention(nn.Module):
    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.qkv = nn.Linear(config.n_embd, (config.n_head + 2 * config.n_kv_heads) * config.head_dim, bias=config.bias)
        self.out = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor, rope: Tensor | None, cache: KVCache | None) -> Tensor:
        B, T, C = x.shape
        H, K, D = self.config.n_head, self.config.n_kv_heads, self.config.head_dim
        qk, v = self.qkv(x).view(B, T, H + 2 * K, D).split((H + K, K), dim=2)  # (B, T, H+K, D), (B, T, K, D)
        if rope is not None:
            qk = rotate(qk, rope).type_as(v)  # turned in float32 under autocast
        if self.config.qk_norm:
            qk = F.rms_norm(qk, (D,), eps=self.config.norm_eps)
        q, k = qk.split((H, K), dim=2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D), 2 x (B, K, T, D)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        y = attend(q, k, v, dropout_p=self.config.dropout if self.training else 0.0, backend=self.config.attention)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.kind = config.mlp
        self.gate = nn.Linear(config.n_embd, config.hidden, bias=config.bias) if config.mlp == "swiglu" else None
        self.up = nn.Linear(config.n_embd, config.hidden, bias=config.bias)
        self.down = nn.Linear(config.hidden, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)  # (B, T, hidden)
        if self.gate is not None:
            h = F.silu(self.gate(x)) * h
        elif self.kind == "relu2":  # arXiv 2109.08668
            h = F.relu(h)
            h = h * h  # half the time of square(), whose gradient is a general power
        else:
            h = F.gelu(h, approximate="tanh" if self.kind == "gelu_tanh" else "none")
        return self.down(h)


class Block(nn.Module):
    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = Norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = Norm(config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rope: Tensor | None, cache: KVCache | None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), rope, cache))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


# The whole


class GPT(nn.Module):
    rope: Tensor | None

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        V, C = config.padded_vocab, config.n_embd
        self.token_embedding = nn.Embedding(V, C)
        self.position_embedding = nn.Embedding(config.block_size, C) if config.position == "learned" else None
        self.bigram_embedding = nn.Embedding(config.bigram_rows, C) if config.bigram_rows else None
        self.embed_norm = Norm(config) if config.embed_norm else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.final_norm = Norm(config)
        # A tied head is the token embedding itself and owns nothing, so no save, load or move can untie it.
        self.head = None if config.tie_embeddings else nn.Linear(C, V, bias=False)
        self.register_buffer("rope", None, persistent=False)  # (2, block_size, 1, D), made by init_weights
        self.init_weights()

    def init_weights(self) -> None:
        """Fill every parameter and buffer; needed again after `to_empty` for a model built on the meta device."""
        init_weights(self)

    def forward(
        self, ids: Tensor, targets: Tensor | None = None, cache: KVCache | None = None, last_only: bool = False
    ) -> Tensor:
        """With targets (B,T): each token's negative log-likelihood (B,T) in float32, 0 where the target is IGNORE.

        Without: logits (B,T,vocab_size), or (B,1,vocab_size) with `last_only`. A cache goes on from the tokens that it
        has, and takes the new ones in.
        """
        x = self.features(ids, cache)  # (B, T, C)
        if targets is not None:
            return nll(self.logits(x), targets)
        # Rows that only pad the vocabulary compete in the training softmax, as in nanoGPT, but nobody may draw them.
        return self.logits(x[:, -1:] if last_only else x)[..., : self.config.vocab_size]

    def score(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """For evaluation, in one pass: negative log-likelihood (B,T), and whether the likeliest token is the target."""
        logits = self.logits(self.features(ids))
        return nll(logits, targets), logits[..., : self.config.vocab_size].argmax(dim=-1) == targets

    def features(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """What the head reads: the residual stream (B,T,C) after all blocks and the final norm."""
        T = ids.size(1)
        if self.config.block_size < T:
            raise ValueError(f"{T} tokens do not fit into block_size={self.config.block_size}; give the model fewer")
        at = slice(0, T) if cache is None else cache.positions(T)
        x = self.dropout(self.embed(ids, at, cache))  # (B, T, C)
        rope = None if self.rope is None else self.rope[:, at]  # (2, T, 1, D)
        for block in self.blocks:
            x = block(x, rope, cache)
        if cache is not None:
            cache.advance(ids)
        return self.final_norm(x)

    def embed(self, ids: Tensor, at: slice, cache: KVCache | None) -> Tensor:
        x = self.token_embedding(ids)  # (B, T, C)
        if self.position_embedding is not None:
            x = x + self.position_embedding.weight[at]  # (T, C)
        if self.bigram_embedding is not None:
            # Before the first token stands id 0. With bigram_rows >= vocab_size^2 each pair has a row of its own.
            before = ids.new_zeros(ids.size(0), 1) if cache is None else cache.last_ids
            pair = torch.cat((before, ids[:, :-1]), dim=1) * self.config.vocab_size + ids  # (B, T)
            x = x + self.bigram_embedding(pair % self.config.bigram_rows)
        return x if self.embed_norm is None else self.embed_norm(x)

    def logits(self, x: Tensor) -> Tensor:
        weight = self.token_embedding.weight if self.head is None else self.head.weight
        logits = F.linear(x, weight).float()  # (B, T, padded vocabulary)
        if self.config.softcap is not None:
            logits = self.config.softcap * torch.tanh(logits / self.config.softcap)
        return logits


def nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each target, (B,T,V) and (B,T) -> (B,T); 0 where the target is IGNORE."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="none").view_as(
        targets
    )
