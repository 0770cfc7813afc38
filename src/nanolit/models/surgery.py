"""Another configuration for the same weights: fewer positions, more vocabulary, other dropout.

Pure functions: each gives a new model, and the one that it is given stays as it is. Tensors that do not change are
shared, not copied, so that a model of several gigabytes is not held twice. No layers are added or removed here.

V vocabulary   C channels
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nanolit.models.config import GPTConfig
from nanolit.models.families import function
from nanolit.models.gpt import GPT
from nanolit.models.init import init_buffers
from nanolit.runtime.typed import build

MAY_CHANGE = ("dropout", "attention", "block_size")  # what the same weights allow to be different
VOCABULARY_TABLES = ("token_embedding.weight", "head.weight", "head.bias", "value_embeddings.")


def reconfigured(model: GPT, tensors: Mapping[str, Tensor] | None = None, **fields: Any) -> GPT:
    """The same weights, but for those in `tensors`, under a configuration in which `fields` are different."""
    with torch.device("meta"):
        other = GPT(replace(model.config, **fields))
    other.load_state_dict({**model.state_dict(), **(tensors or {})}, assign=True)
    init_buffers(other, next(model.parameters()).device)
    return other.train(model.training)


def agreed(config: GPTConfig, given: Mapping[str, Any]) -> GPTConfig:
    """The configuration of weights, in which `given` has changed what may change; all else in it must be as it is.

    First values (init_std and its like) may be anything: the weights have theirs.
    """
    asked = {name: value for name, value in given.items() if name not in MAY_CHANGE}
    if not _is_same(config, asked):
        wrong = [name for name, value in asked.items() if not _is_same(config, {name: value})] or list(asked)
        told = [f"model.{name} is {getattr(config, name, 'unknown')} there, given {asked[name]}" for name in wrong]
        more = f" (and {len(told) - 6} more)" if len(told) > 6 else ""
        raise ValueError(
            f"init_from: the weights are of another model: {', '.join(told[:6])}{more}; leave these out, or take "
            f"model=pretrained. Only model.{', model.'.join(MAY_CHANGE)} may be changed"
        )
    wanted = build(GPTConfig, {**vars(config), **{n: value for n, value in given.items() if n in MAY_CHANGE}}, "model")
    return replace(with_block_size(config, wanted.block_size), dropout=wanted.dropout, attention=wanted.attention)


def _is_same(config: GPTConfig, asked: Mapping[str, Any]) -> bool:
    """Would a model with these values compute the same, and have the same ids?"""
    try:
        other = build(GPTConfig, {**vars(config), **asked}, "model")
    except ValueError:
        return False
    return function(other) == function(config) and other.vocab_size == config.vocab_size


def adapted(model: GPT, given: Mapping[str, Any]) -> GPT:
    """The model with the changes that `given` asks for, as far as its weights allow them."""
    config = agreed(model.config, given)
    if config.block_size < model.config.block_size:
        model = crop_block_size(model, config.block_size)
    elif config.block_size > model.config.block_size:
        model = extend_block_size(model, config.block_size)
    return reconfigured(model, dropout=config.dropout, attention=config.attention)


def with_block_size(config: GPTConfig, block_size: int) -> GPTConfig:
    """The configuration for another number of positions; short windows stay as long as they were."""
    windows = [window for layer in range(config.n_layer) if (window := config.layer_window(layer))]
    return replace(config, block_size=block_size, window=config.window or min(windows, default=None))


def crop_block_size(model: GPT, block_size: int) -> GPT:
    """The model for at most `block_size` positions: on texts that short it computes what it did."""
    before = model.config.block_size
    if not 1 <= block_size <= before:
        raise ValueError(f"model.block_size: got {block_size}, must be from 1 to the {before} that the weights have")
    cut = {}
    if model.position_embedding is not None:
        cut["position_embedding.weight"] = model.position_embedding.weight.detach()[:block_size].clone()
    return reconfigured(model, cut, **vars(with_block_size(model.config, block_size)))


def extend_block_size(model: GPT, block_size: int) -> GPT:
    """More positions than the weights were trained with; rotary ones can be computed, learned ones cannot."""
    if model.position_embedding is not None:
        raise ValueError(
            f"model.block_size: got {block_size}, but the weights have learned {model.config.block_size} positions and "
            f"no more; give at most {model.config.block_size}"
        )
    return reconfigured(model, **vars(with_block_size(model.config, block_size)))


def resize_vocabulary(model: GPT, vocab_size: int) -> GPT:
    """A vocabulary of `vocab_size` ids: every new row, also one that only pads, is the mean of the old ids' rows.

    With the mean a new token begins as likely as a typical one, and without a direction of its own. A smaller
    vocabulary than the model's needs no change: rows that no text asks for do no harm.
    """
    before = model.config.vocab_size
    if vocab_size <= before:
        return model
    if model.config.bigram_rows:
        raise ValueError(
            f"resize_vocabulary: got {vocab_size} ids for {before}, but the rows of model.bigram_rows belong to pairs "
            "of the old ids; such a model cannot take more"
        )
    n_rows = replace(model.config, vocab_size=vocab_size).padded_vocab
    tables = {name: table for name, table in model.state_dict().items() if name.startswith(VOCABULARY_TABLES)}
    return reconfigured(
        model, {name: _longer(table, before, n_rows) for name, table in tables.items()}, vocab_size=vocab_size
    )


def _longer(table: Tensor, n_ids: int, n_rows: int) -> Tensor:
    """`table` (V, ...) with its first `n_ids` rows, and their mean for each row after them."""
    mean = table[:n_ids].float().mean(dim=0, keepdim=True).to(table.dtype)  # (1, ...)
    return torch.cat((table[:n_ids], mean.expand(n_rows - n_ids, *table.shape[1:])))
