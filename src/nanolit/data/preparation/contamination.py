"""`contamination.json` beside the tokens: which evaluation items stand in the text. Nothing is left out for it."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from nanolit.data.config import DataConfig
from nanolit.data.preparation import eval_grams
from nanolit.data.preparation.eval_grams import EvalGrams, Found
from nanolit.data.preparation.jobs import BATCH_CHARS, Progress, Tell, Work
from nanolit.data.preparation.manifest import is_training
from nanolit.data.preparation.workers import run_jobs
from nanolit.data.sources.open import open_source
from nanolit.data.sources.plan import Job
from nanolit.runtime.files import read_json, write_json
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer

log = logging.getLogger("nanolit")
Scanned = tuple[Found, int]  # and how many documents there were


def report(data: DataConfig, root: Path, folder: Path, grams: EvalGrams, n_workers: int | None) -> Iterator[str]:
    """Writes the report on the training text of the prepared `folder`, and says it in lines."""
    plan = open_source(data, root).plan(data.shard_bytes)
    used = {*read_json(folder / "manifest.json")["jobs"]}
    jobs = [job for job in plan.jobs if is_training(job) and (job.number in used or data.on_the_fly)]
    log.info("looking for %s evaluation items in the text", f"{grams.first_items[-1]:,}")
    work = Work(plan, folder, ("train",), append_eot=False, prepend_bos=False, tokens_per_shard=1)
    scanned: dict[int, Scanned] = {}

    def keep(place: int, result: Scanned) -> bool:
        scanned[place] = result
        return False

    run_jobs(partial(scan, grams), work, load_tokenizer(folder / "tokenizer"), jobs, _ignore, n_workers, keep)
    in_order = [scanned[place] for place in sorted(scanned)]
    found = eval_grams.merged(found for found, _ in in_order)
    told = eval_grams.report(grams, found, sum(n for _, n in in_order))
    write_json(folder / "contamination.json", told)
    beyond = (
        "" if data.max_tokens is None else " (of all jobs that were read: the last one goes on beyond data.max_tokens)"
    )
    for file in told["files"]:
        counts = f"{file['hit']:,} of {file['searched']:,} items ({file['share']:.1%})"
        yield f"{file['file']}: {counts} stand in the training text{beyond}"
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
            eval_grams.note(found, hit.pop(document), f"job {job.number}, document {document}")
        tell(Progress())
        batch.clear()
        documents.clear()

    for item in work.plan.items(job):
        n_documents += item.begins
        if item.split not in work.splits:
            continue
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
