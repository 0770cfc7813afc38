"""What a model is: the fields of `GPTConfig`. Every family is a choice of them, and nothing here asks for its name."""

from dataclasses import dataclass
from typing import Literal

from nanolit.models.attention import Backend

VALUE_GATE_CHANNELS, SMEAR_CHANNELS = 12, 24  # of the stream, read by the gates of value_embeddings and smear


@dataclass(frozen=True)
class RopeScaling:
    """How Llama 3.1 stretches rotary positions: long wavelengths by `factor`, short ones not at all."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_block_size: int

    def __post_init__(self) -> None:
        if not self.factor >= 1 or self.original_block_size < 1 or not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"model.rope_scaling: got {self}; needs factor >= 1, 0 < low_freq_factor < high_freq_factor and "
                "original_block_size >= 1"
            )


@dataclass(frozen=True)
class GPTConfig:
    """What a model is. The defaults are GPT-2 (124M); every other family is a change of fields."""

    # Size
    vocab_size: int = 50257
    vocab_multiple: int = 1  # embedding rows are rounded up to it: kernels like multiples of 64
    block_size: int = 1024
    n_layer: int = 12
    n_head: int = 12
    n_kv_head: int | None = None  # fewer than n_head: grouped-query attention (arXiv 2305.13245); None: n_head
    n_embd: int = 768
    head_width: int | None = None  # None: n_embd / n_head
    mlp_hidden: int | None = None  # None: 4 n_embd; swiglu has a third matrix, so 8/3 n_embd rounded up to 64
    # Parts
    mlp: Literal["gelu", "gelu_tanh", "relu2", "swiglu"] = "gelu"
    norm: Literal["layernorm", "rmsnorm", "rmsnorm_noweight"] = "layernorm"
    norm_eps: float = 1e-5
    norm_placement: Literal["pre", "post"] = "pre"  # post: after each addition, as in the first transformer
    embed_norm: bool = False  # a norm right after the embeddings
    position: Literal["learned", "rope"] = "learned"
    rope_base: float = 10000.0
    rope_scaling: RopeScaling | None = None
    bias: bool = True  # of linear layers and of layernorm
    attention_bias: bool | None = None  # None: as `bias`
    mlp_bias: bool | None = None  # None: as `bias`
    tie_embeddings: bool = True
    head_bias: bool = False  # of an untied head
    softcap: float | None = None  # logits -> softcap * tanh(logits / softcap)
    dropout: float = 0.0
    # Attention
    attention: Backend = "auto"
    qk_norm: bool = False  # weightless RMS norm of each query and key
    attention_scale: float | None = None  # factor of q.k; None: 1 / sqrt(head width)
    scale_attention_branch: bool = False  # attention's result times 1 / sqrt(2 n_layer)
    window_pattern: str | None = (
        None  # "SSSL", repeated over the layers: S sees only `window` tokens, L and the last all
    )
    window: int | None = None  # tokens; None: the present one and a quarter of block_size, rounded up to 128
    # Shortcuts, all of nanochat and modded-nanogpt
    layer_scalars: bool = False  # before each block the stream becomes a * stream + b * embedding, a and b learned
    value_embeddings: bool = (
        False  # every other layer, the last included, adds a gated table of the token to its values
    )
    smear: bool = False  # each embedding takes a gated share of the one before it
    backout: bool = False  # the end subtracts a learned share of what the middle layer gave
    bigram_rows: int = 0  # rows of a hashed (previous, current) token table added to the embedding; 0: none
    # First values
    init: Literal["normal", "fan_in", "torch"] = "normal"  # N(0, init_std); nanochat's by shape; PyTorch's defaults
    init_std: float = 0.02
    scaled_residual_init: bool = True
    zero_init_projections: bool = False  # every block starts as the identity, an untied head as the uniform guess

    def __post_init__(self) -> None:
        for name in ("vocab_size", "vocab_multiple", "block_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, must be at least 1")
        if self.head_width is None and self.n_embd % self.n_head:
            raise ValueError(
                f"model.n_embd: got {self.n_embd}, must be a multiple of model.n_head={self.n_head}; "
                f"the next one is {-(-self.n_embd // self.n_head) * self.n_head}, or give model.head_width"
            )
        if self.n_kv_head is not None and (self.n_kv_head < 1 or self.n_head % self.n_kv_head):
            raise ValueError(f"model.n_kv_head: got {self.n_kv_head}, must divide model.n_head={self.n_head}")
        for name in ("mlp_hidden", "head_width", "window"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, must be at least 1, or null for the usual")
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(
                f"model.position=rope rotates pairs and needs an even head width; got n_embd / n_head = {self.head_dim}"
            )
        if self.window_pattern is not None and (not self.window_pattern or set(self.window_pattern) - set("SL")):
            raise ValueError(
                f"model.window_pattern: got {self.window_pattern!r}, must be made of S (short) and L (long), as SSSL"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout: got {self.dropout}, must be at least 0 and below 1")
        for name in ("norm_eps", "rope_base", "init_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, must be positive")
        for name in ("softcap", "attention_scale"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"model.{name}: got {getattr(self, name)}, must be positive, or null")
        if self.bigram_rows < 0:
            raise ValueError(f"model.bigram_rows: got {self.bigram_rows}, must be at least 0 (0: no bigram table)")
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        """A value that would do nothing, or cannot."""
        idle = (
            (self.rope_scaling is not None and self.position != "rope", "rope_scaling: needs model.position=rope"),
            (
                self.head_bias and self.tie_embeddings,
                "head_bias: a tied head has none; needs model.tie_embeddings=false",
            ),
            (self.window is not None and self.window_pattern is None, "window: needs model.window_pattern, as SSSL"),
            (self.smear and self.n_embd < SMEAR_CHANNELS, f"smear: needs model.n_embd of at least {SMEAR_CHANNELS}"),
            (
                self.value_embeddings and self.n_embd < VALUE_GATE_CHANNELS,
                f"value_embeddings: needs model.n_embd of at least {VALUE_GATE_CHANNELS}",
            ),
        )
        for is_wrong, problem in idle:
            if is_wrong:
                raise ValueError(f"model.{problem}")

    @property
    def head_dim(self) -> int:
        return self.head_width or self.n_embd // self.n_head

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

    @property
    def has_attention_bias(self) -> bool:
        return self.bias if self.attention_bias is None else self.attention_bias

    @property
    def has_mlp_bias(self) -> bool:
        return self.bias if self.mlp_bias is None else self.mlp_bias

    def has_value_embedding(self, layer: int) -> bool:
        return self.value_embeddings and layer % 2 == (self.n_layer - 1) % 2

    def layer_window(self, layer: int) -> int | None:
        """How many tokens a query of this layer sees, itself included; None: all before it."""
        if self.window_pattern is None or layer == self.n_layer - 1:
            return None
        is_short = self.window_pattern[layer % len(self.window_pattern)] == "S"
        return self.short_window if is_short and self.short_window < self.block_size else None

    @property
    def short_window(self) -> int:
        return self.window or -(-self.block_size // (4 * 128)) * 128 + 1
