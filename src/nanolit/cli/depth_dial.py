"""nanochat's one dial: what follows from `model.depth`, as resolvers for conf/, and the table in which a run tells it.

Nothing here sets a value. Each derived one stands in conf/ as an interpolation, and gives way to any that is written.
"""

import re
from collections.abc import Iterator
from typing import Any

HEAD_WIDTH = 128
CHANNELS_PER_LAYER = 64
REFERENCE_WIDTH = 768  # at which nanochat found the rates of embeddings and head
BY_DEPTH = re.compile(r"\$\{(nanochat_|model\.depth)")


def register() -> None:
    from omegaconf import OmegaConf

    for name, resolver in (
        ("nanochat_width", width),
        ("nanochat_heads", heads),
        ("nanochat_attention_scale", attention_scale),
        ("nanochat_rate", rate),
        ("nanochat_batch", batch_size),
        ("nanochat_steps", steps),
    ):
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def width(depth: int) -> int:
    """64 channels a layer. Where they do not divide into heads with pairs to rotate, the next multiple of 128."""
    channels = CHANNELS_PER_LAYER * _whole("model.depth", depth)
    fits = channels % heads(channels) == 0 and channels // heads(channels) % 2 == 0
    return channels if fits else heads(channels) * HEAD_WIDTH


def heads(n_embd: int) -> int:
    return -(-_whole("model.n_embd", n_embd) // HEAD_WIDTH)


def attention_scale(factor: float, n_embd: int, n_head: int) -> float:
    return factor * (_whole("model.n_embd", n_embd) / _whole("model.n_head", n_head)) ** -0.5


def rate(base: float, n_embd: int) -> float:
    return base * (_whole("model.n_embd", n_embd) / REFERENCE_WIDTH) ** -0.5


def batch_size(tokens: int, block_size: int) -> int:
    """Sequences in so many tokens."""
    return max(1, tokens // _whole("model.block_size", block_size))


def steps(tokens_per_parameter: float, *, _root_: Any) -> int:
    """Optimizer steps that see so many tokens for each parameter, tables and all.

    The vocabulary is the one that the tokenizer will have, as far as that is known before it has read a text.
    """
    from omegaconf import OmegaConf

    from nanolit.models.accounting import parameter_counts
    from nanolit.models.config import GPTConfig
    from nanolit.runtime.typed import build
    from nanolit.tokenizers.directory import TokenizerConfig, size_before_text

    model: Any = OmegaConf.to_container(_root_.model, resolve=True)
    if "n_layer" not in model or "_target_" in model:
        raise ValueError("trainer.max_steps: follows from the size of our own models only; give a number of steps")
    if "vocab_size" not in model:
        section: Any = OmegaConf.to_container(_root_.tokenizer, resolve=True)
        tokenizer = build(TokenizerConfig, section, "tokenizer")
        n_ids = size_before_text(tokenizer)
        if n_ids is None:
            what = f"tokenizer.path={tokenizer.path}" if tokenizer.path else f"tokenizer.kind={tokenizer.kind}"
            why = "is not in a folder here" if tokenizer.path else "has as many ids as its text will show"
            raise ValueError(
                f"trainer.max_steps: follows from the size of the model, and {what} {why}; give a number of steps"
            )
        model["vocab_size"] = n_ids
    config = build(GPTConfig, without_dial(model), "model")
    tokens = int(tokens_per_parameter * parameter_counts(config)["total"])
    return max(1, tokens // (_whole("batch_size", _root_.batch_size) * config.block_size))


def _whole(name: str, value: Any) -> int:
    """A resolver is called before the dataclasses check their values."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: got {value!r}, must be a whole number, at least 1")
    return value


def without_dial(model: dict[str, Any]) -> dict[str, Any]:
    """The section `model` without the key that other values are derived from and no model has."""
    return {name: value for name, value in model.items() if name != "depth"}


def followers(raw: Any, prefix: str = "") -> Iterator[str]:
    """The settings whose value still is what conf/ derives; `raw` is a configuration with its interpolations."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield from followers(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(raw, str) and BY_DEPTH.search(raw):
        yield prefix


def check(raw: dict[str, Any], overrides: list[str]) -> None:
    """A depth that nothing in the model follows would do nothing. `+` stands before a key that no file has."""
    given = [override for override in overrides if override.lstrip("+").startswith("model.depth=")]
    if any(override.startswith("+") for override in given) and not any(
        name.startswith("model.") for name in followers(raw)
    ):
        raise ValueError(f"{given[0].lstrip('+')}: this model has no such dial; give model.n_layer, or model=nanochat")


def table(config: dict[str, Any], n_parameters: int) -> list[str]:
    """What a run with a dial tells at its start; empty for others. `config` has its `followers` under "by_depth"."""
    model, optimizer = config["model"], config["optimizer"]
    if "depth" not in model:
        return []
    n_steps, n_embd, n_head = config["trainer"]["max_steps"], model["n_embd"], model["n_head"]
    tokens_per_step = config["batch_size"] * model["block_size"]
    by_tokens = f"{n_steps * tokens_per_step:,} tokens, {n_steps * tokens_per_step / n_parameters:.1f} a parameter"
    rows: list[tuple[str, str | None, str]] = [  # label, setting (None: no one's choice), value
        ("layers", "model.n_layer", f"{model['n_layer']}"),
        ("width", "model.n_embd", f"{n_embd:,}"),
        ("heads", "model.n_head", f"{n_head} of {model.get('head_width') or n_embd // n_head}"),
        ("parameters", None, f"{n_parameters:,}"),
        ("batch", "batch_size", f"{tokens_per_step:,} tokens, {config['batch_size']} x {model['block_size']:,}"),
        ("steps", "trainer.max_steps", f"{n_steps:,}: {by_tokens}"),
    ]
    for label, name in (("matrix rate", "lr"), ("embedding rate", "embedding_lr"), ("head rate", "head_lr")):
        if name in optimizer:
            rows.append((label, None if name == "lr" else f"optimizer.{name}", f"{optimizer[name]:.4g}"))
    lines = [f"model.depth={model['depth']} stands for"]
    for label, setting, value in rows:
        is_set = setting is not None and setting not in config.get("by_depth", [])
        lines.append(f"  {label:<14}  {value}" + (f"   ({setting} is set, not derived)" if is_set else ""))
    plain = CHANNELS_PER_LAYER * model["depth"]
    if n_embd != plain and "model.n_embd" in config.get("by_depth", []):
        lines.append(f"  {CHANNELS_PER_LAYER} x {model['depth']} = {plain} channels make no even heads; {n_embd} do")
    return lines
