"""What `nanolit data stats` tells: a table, histograms, and on request both as files."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from nanolit.cli.data import StatsConfig
from nanolit.data.config import Split
from nanolit.data.documents import Documents
from nanolit.data.prepared import Prepared
from nanolit.data.statistics import PERCENTILES, count_ids, distribution, n_supervised
from nanolit.report.histogram import bars, log_edges, save_plot
from nanolit.runtime.files import write_json

REPORT_EVERY_S = 2.0

log = logging.getLogger("nanolit")


def tell(prepared: Prepared, settings: StatsConfig) -> int:
    splits: list[Any] = [settings.split] if settings.split else list(prepared.splits)
    lengths = {split: Documents(prepared.shards(split)).lengths for split in splits}
    lengths = {split: found for split, found in lengths.items() if found.any()}
    if not lengths:
        raise ValueError(f"split={settings.split}: {prepared.folder} has no tokens in it; give another")
    facts = {split: facts_of(prepared, split, found) for split, found in lengths.items()}
    known = prepared.manifest["tokenizer"]
    print(f"{prepared.folder}, {known['kind']} tokenizer with {known['vocab_size']:,} ids\n")
    print(table({split: rows_of(found) for split, found in facts.items()}))
    found_lengths = [found["lengths"] for found in facts.values()]
    edges = log_edges(min(found["min"] for found in found_lengths), max(found["max"] for found in found_lengths))
    counts = {split: np.histogram(found, edges)[0] for split, found in lengths.items()}
    for split, found in counts.items():
        print(f"\nlength of documents in {split}, in tokens")
        print(bars(found, edges), flush=True)
    if settings.count_ids:
        print()
        for split, told in facts.items():
            told["ids_never_used"] = never_used(prepared, split, told["tokens"])
            print(f"{split}: {told['ids_never_used']:,} of {known['vocab_size']:,} ids never occur")
    if settings.out is not None:
        save(settings.out, prepared, facts, counts, edges)
    return 0


def facts_of(prepared: Prepared, split: Split, lengths: np.ndarray) -> dict[str, Any]:
    """What can be said without reading a token; null where it is not known."""
    n_tokens, n_bytes = int(lengths.sum()), prepared.manifest["splits"][split]["bytes"]
    return {
        "documents": len(lengths),
        "tokens": n_tokens,
        "bytes": n_bytes,
        "bytes_per_token": None if n_bytes is None else n_bytes / n_tokens,
        "supervised_share": n_supervised(prepared.shards(split)) / n_tokens,
        "lengths": distribution(lengths),
    }


def rows_of(facts: dict[str, Any]) -> dict[str, str]:
    """A column of the table, by what its rows are called."""
    lengths, n_bytes = facts["lengths"], facts["bytes"]
    rows = {
        "documents": f"{facts['documents']:,}",
        "tokens": f"{facts['tokens']:,}",
        "bytes of text": "unknown" if n_bytes is None else f"{n_bytes:,}",
        "bytes per token": "unknown" if n_bytes is None else f"{facts['bytes_per_token']:.3f}",
        "tokens that are learnt": f"{facts['supervised_share']:.1%}",
    }
    rows |= {f"length, {name}": f"{lengths[name]:,}" for name in PERCENTILES}
    rows["length, mean"] = f"{lengths['mean']:,.1f}"
    return rows | {f"longer than {size:,}": f"{share:.2%}" for size, share in lengths["longer_than"].items()}


def table(columns: dict[str, dict[str, str]]) -> str:
    names = list(next(iter(columns.values())))
    first = max(map(len, names))
    widths = {head: max(len(head), *map(len, column.values())) for head, column in columns.items()}
    lines = [" " * first + "".join(f"  {head:>{widths[head]}}" for head in columns)]
    for name in names:
        lines.append(f"{name:<{first}}" + "".join(f"  {columns[head][name]:>{widths[head]}}" for head in columns))
    return "\n".join(lines)


def never_used(prepared: Prepared, split: Split, n_tokens: int) -> int:
    """Reads the split, and says every few seconds how far it is."""
    started_at = told_at = time.monotonic()

    def progress(n_read: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= REPORT_EVERY_S:
            told_at = time.monotonic()
            left_s = (told_at - started_at) * (n_tokens / n_read - 1)
            log.info("counting the ids of %s: %.0f%%, %.0f s left", split, 100 * n_read / n_tokens, left_s)

    counts = count_ids(prepared.shards(split), prepared.manifest["tokenizer"]["vocab_size"], progress)
    return int((counts == 0).sum())


def save(
    out: Path, prepared: Prepared, facts: dict[str, dict[str, Any]], counts: dict[str, np.ndarray], edges: np.ndarray
) -> None:
    """`stats.json` and `lengths.png` in the folder `out`."""
    histograms = {split: {"edges": edges.tolist(), "documents": found.tolist()} for split, found in counts.items()}
    told = {split: found | {"histogram": histograms[split]} for split, found in facts.items()}
    about = {"folder": str(prepared.folder), "tokenizer": prepared.manifest["tokenizer"]}
    write_json(out / "stats.json", {**about, "splits": told})
    named = {f"{split}, {facts[split]['documents']:,} documents": found for split, found in counts.items()}
    save_plot(
        out / "lengths.png",
        named,
        edges,
        f"Length of documents in {prepared.folder.name}",
        "length of a document, tokens",
    )
    print(f"\nstats.json and lengths.png are in {out}")
