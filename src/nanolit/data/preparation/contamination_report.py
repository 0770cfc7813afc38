"""`contamination.json` beside the tokens: which evaluation items stand in the text. Nothing is left out for it."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from nanolit.data.preparation import contamination
from nanolit.data.config import DataConfig
from nanolit.data.preparation.contamination import EvalGrams, Found
from nanolit.data.preparation.jobs import BATCH_CHARS, Progress, Tell, Work
from nanolit.data.sources.plan import Job
from nanolit.data.sources.open import open_source
from nanolit.data.preparation.workers import run_jobs
from nanolit.runtime.files import write_json
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer

log = logging.getLogger("nanolit")
Scanned = tuple[Found, int]  # and how many documents there were


def report(data: DataConfig, root: Path, folder: Path, paths: list[Path], n_workers: int | None) -> Iterator[str]:
    """Writes the report for the prepared `folder` and says it in lines."""
    grams = EvalGrams.read(paths)
    plan = open_source(data, root).plan(data.shard_bytes)
    log.info("looking for %s evaluation items in the text", f"{grams.first_items[-1]:,}")
    work = Work(plan, folder, (), append_eot=False, prepend_bos=False, tokens_per_shard=1)
    scanned: dict[int, Scanned] = {}

    def keep(place: int, result: Scanned) -> bool:
        scanned[place] = result
        return False

    run_jobs(partial(scan, grams), work, load_tokenizer(folder / "tokenizer"), plan.jobs, _ignore, n_workers, keep)
    in_order = [scanned[place] for place in sorted(scanned)]
    found = contamination.merged(found for found, _ in in_order)
    told = contamination.report(grams, found, sum(n for _, n in in_order))
    write_json(folder / "contamination.json", told)
    for file in told["files"]:
        yield f"{file['file']}: {file['hit']:,} of {file['searched']:,} items stand in the text ({file['share']:.1%})"
    yield f"the report: {folder / 'contamination.json'}"


def _ignore(progress: Progress) -> None:
    pass


def scan(grams: EvalGrams, work: Work, tokenizer: Tokenizer, job: Job, tell: Tell) -> Scanned:
    found: Found = {}
    n_documents, n_chars, tail = 0, 0, ""
    batch: list[str] = []
    documents: list[int] = []  # whose text each of the batch is
    hit: dict[int, set[int]] = {}  # by document, of those that may go on

    def look() -> None:
        for document, items in zip(documents, grams.hits(batch), strict=True):
            hit.setdefault(document, set()).update(items)
        for document in [document for document in hit if document != n_documents]:
            contamination.note(found, hit.pop(document), f"portion {job.number}, document {document}")
        tell(Progress())
        batch.clear()
        documents.clear()

    for item in work.plan.items(job):
        n_documents += item.begins
        text = work.plan.text(item.content)
        text = text if item.begins else tail + text
        tail = "" if item.ends else grams.tail(text)
        batch.append(text)
        documents.append(n_documents)
        n_chars += len(text)
        if n_chars >= BATCH_CHARS:
            look()
            n_chars = 0
    n_documents += 1  # the last one goes on no more
    look()
    return found, n_documents - 1
