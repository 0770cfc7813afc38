"""What a model costs, from its configuration: parameters, operations, bytes. Nothing here builds or runs a model.

C channels   L layers   T context   V padded vocabulary
"""

from nanolit.models.gpt import GPTConfig


def parameter_counts(config: GPTConfig) -> dict[str, int]:
    """Parameters in all, in tables that are only looked up, and the rest, which every token is multiplied with.

    A tied token embedding is multiplied with as the head, so it counts there: nanoGPT's rule.
    """
    C, V = config.n_embd, config.padded_vocab
    norm = 0 if config.norm == "rmsnorm_noweight" else C * (2 if config.norm == "layernorm" and config.bias else 1)
    n_norms = 2 * config.n_layer + 1 + config.embed_norm
    biases = _qkv_width(config) + C + config.hidden * _n_up(config) + C if config.bias else 0
    embedding = (config.block_size if config.position == "learned" else 0) * C + config.bigram_rows * C
    embedding += 0 if config.tie_embeddings else V * C
    rest = _matrix_parameters(config) + norm * n_norms + biases * config.n_layer
    return {"total": embedding + rest, "embedding": embedding, "non_embedding": rest}


def flops_per_token(config: GPTConfig, context: int) -> float:
    """Training operations per token by PaLM's rule (arXiv 2204.02311, appendix B): 6 N + 12 L C T.

    Attention counts the whole T x T square; a causal kernel skips almost half of it.
    """
    return 6 * parameter_counts(config)["non_embedding"] + 12 * config.n_layer * config.n_embd * context


def activation_bytes(config: GPTConfig, batch: int, context: int, bytes_per_element: int = 4) -> int:
    """About how much memory one forward and backward pass holds at its peak, besides weights, gradients and optimizer.

    Counts what autograd keeps for the layers as written in gpt.py, and three times the float32 logits.
    """
    C = config.n_embd
    qk = (config.n_head + config.n_kv_heads) * config.head_dim
    per_layer = 5 * C + _qkv_width(config)  # two residual streams, two norms, attention's result; queries, keys, values
    per_layer += qk * ((config.position == "rope") + 2 * config.qk_norm)
    per_layer += {"gelu": 2, "gelu_tanh": 2, "relu2": 2, "swiglu": 4}[config.mlp] * config.hidden
    if config.dropout:
        per_layer += 4 * C
    if config.attention == "naive":
        per_layer += 3 * config.n_head * context
    per_token = bytes_per_element * (config.n_layer * per_layer + 3 * C) + 4 * 3 * config.padded_vocab
    return batch * context * per_token


def _qkv_width(config: GPTConfig) -> int:
    return (config.n_head + 2 * config.n_kv_heads) * config.head_dim


def _n_up(config: GPTConfig) -> int:
    return 2 if config.mlp == "swiglu" else 1


def _matrix_parameters(config: GPTConfig) -> int:
    """Weights that every token is multiplied with, the head included."""
    C = config.n_embd
    per_layer = C * _qkv_width(config) + C * C + C * config.hidden * (_n_up(config) + 1)
    return config.n_layer * per_layer + config.padded_vocab * C
