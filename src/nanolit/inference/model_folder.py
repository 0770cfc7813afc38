"""A model directory that others can write with: weights, tokenizer, and what `transformers` is to know to generate.

Written in one place, whoever has the model: a run, an import, an export. Whether the folder appears whole or not at all
is for the caller (`runtime.files.atomic_folder`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nanolit.inference.params import TEMPERATURE
from nanolit.runtime.files import write_json
from nanolit.tokenizers.protocol import Tokenizer

GENERATION = "generation_config.json"


def write_folder(
    folder: Path,
    write_weights: Callable[[dict[str, Any]], object],
    n_rows: int,
    tokenizer: Tokenizer | None,
    about: Mapping[str, Any],
    ids: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
) -> None:
    """`write_weights` writes config.json and weights, and puts what it is given into config.json: `ids` (default: the
    tokenizer's) and, as its section `nanolit`, `about`. `n_rows`: of the embedding. `generation`: the settings of a
    model that has its own. Without a tokenizer the folder takes and gives ids only.
    """
    ids = special_ids(tokenizer) if ids is None else ids
    write_weights({**ids, "nanolit": dict(about)})
    if tokenizer is not None:
        tokenizer.save(folder)
    n_ids = n_rows if tokenizer is None else tokenizer.vocab_size
    settings = {**ids, "do_sample": True, "temperature": TEMPERATURE} if generation is None else generation
    write_json(folder / GENERATION, without_idle_rows(settings, n_ids, n_rows))


def special_ids(tokenizer: Tokenizer | None) -> dict[str, int]:
    """By the names of `transformers`. Where nothing must stand before a text, it begins after the end of another."""
    if tokenizer is None:
        return {}
    begin = tokenizer.eot_id if tokenizer.bos_id is None else tokenizer.bos_id
    ids = {"bos_token_id": begin, "eos_token_id": tokenizer.eot_id}
    return {name: token_id for name, token_id in ids.items() if token_id is not None}


def without_idle_rows(generation: Mapping[str, Any], n_ids: int, n_rows: int) -> dict[str, Any]:
    """Rows that no token has only pad the vocabulary; we never draw one, and `transformers` is told not to."""
    idle = {*(generation.get("suppress_tokens") or ()), *range(n_ids, n_rows)}
    return {**generation, "suppress_tokens": sorted(idle)} if idle else dict(generation)
