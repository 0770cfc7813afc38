"""What a model costs, from its configuration: parameters, operations, bytes. Nothing here builds or runs a model.

C channels   L layers   H query heads   K key-value heads   D head width   T context   V padded vocabulary
"""

from nanolit.models.config import SMEAR_CHANNELS, VALUE_GATE_CHANNELS, GPTConfig


def parameter_counts(config: GPTConfig) -> dict[str, int]:
    """Parameters in all, in tables that are only looked up, and the rest, which every token is multiplied with.

    A tied token embedding is multiplied with as the head, so it counts there: nanoGPT's rule.
    """
    C, L, V = config.n_embd, config.n_layer, config.padded_vocab
    norm = 0 if config.norm == "rmsnorm_noweight" else C * (2 if config.norm == "layernorm" and config.bias else 1)
    per_layer = _matrices_of_a_layer(config) + 2 * norm
    per_layer += (_qkv_width(config) + C) * config.has_attention_bias
    per_layer += (config.hidden * _n_up(config) + C) * config.has_mlp_bias
    rest = L * per_layer + norm * (1 + config.embed_norm) + V * C + V * config.head_bias
    rest += _n_value_layers(config) * VALUE_GATE_CHANNELS * config.n_kv_heads
    rest += (SMEAR_CHANNELS + 1) * config.smear + 2 * L * config.layer_scalars + config.backout
    embedding = (config.block_size if config.position == "learned" else 0) * C + config.bigram_rows * C
    embedding += _n_value_layers(config) * V * config.n_kv_heads * config.head_dim
    embedding += 0 if config.tie_embeddings else V * C
    return {"total": embedding + rest, "embedding": embedding, "non_embedding": rest}


def flops_per_token(config: GPTConfig, context: int) -> float:
    """Training operations per token by PaLM's rule (arXiv 2204.02311, appendix B): 6 N + 12 H D (T of each layer).

    Attention counts the whole T x T square, of which a causal kernel skips almost half; a layer with a window counts no
    more keys than the window has.
    """
    windows = (config.layer_window(layer) for layer in range(config.n_layer))
    keys = sum(context if window is None else min(window, context) for window in windows)
    return 6 * parameter_counts(config)["non_embedding"] + 12 * config.n_head * config.head_dim * keys


def activation_bytes(config: GPTConfig, batch: int, context: int, bytes_per_element: int = 4) -> int:
    """About how much memory one forward and backward pass holds at its peak, besides weights, gradients and optimizer.

    Counts what autograd keeps for the layers as written in gpt.py, and three times the float32 logits.
    """
    C, L = config.n_embd, config.n_layer
    qk = (config.n_head + config.n_kv_heads) * config.head_dim
    # Two residual streams and two norms; attention's result; queries, keys, values.
    per_layer = 4 * C + config.n_head * config.head_dim + _qkv_width(config)
    per_layer += qk * ((config.position == "rope") + 2 * config.qk_norm)
    per_layer += {"gelu": 2, "gelu_tanh": 2, "relu2": 2, "swiglu": 4}[config.mlp] * config.hidden
    per_layer += C * config.layer_scalars
    if config.dropout:
        per_layer += 4 * C
    if config.attention == "naive":
        per_layer += 3 * config.n_head * context
    values = _n_value_layers(config) * 2 * config.n_kv_heads * config.head_dim  # what a table gave, and the sum with it
    start = C * (3 + config.embed_norm + 3 * config.smear + config.backout)
    per_token = bytes_per_element * (L * per_layer + values + start) + 4 * 3 * config.padded_vocab
    # SDPA keeps a window's mask as numbers in each such layer, one square for the whole batch.
    n_masks = sum(config.layer_window(layer) is not None for layer in range(L)) * (config.attention != "naive")
    return batch * context * per_token + bytes_per_element * n_masks * context * context


def _qkv_width(config: GPTConfig) -> int:
    return (config.n_head + 2 * config.n_kv_heads) * config.head_dim


def _n_up(config: GPTConfig) -> int:
    return 2 if config.mlp == "swiglu" else 1


def _n_value_layers(config: GPTConfig) -> int:
    return sum(config.has_value_embedding(layer) for layer in range(config.n_layer))


def _matrices_of_a_layer(config: GPTConfig) -> int:
    C, heads = config.n_embd, config.n_head * config.head_dim
    return C * _qkv_width(config) + heads * C + C * config.hidden * (_n_up(config) + 1)
