"""One evaluation of a trained model: model, data in its tokens, batches, sums, result. The steps in order."""

import logging
import math
import re
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanolit.cli.eval import EvalConfig, of_tasks
from nanolit.cli.hydra_app import job_overrides
from nanolit.cli.open_model import MODEL_WANTED, hashes, locate, open_model
from nanolit.cli.run_folder import installed_versions
from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.data.serving.batches import BatchPlan, EvalBatches, MicroBatches
from nanolit.data.serving.packing import evaluation_rows
from nanolit.data.serving.windows import TokenWindows
from nanolit.datamodules.pretrain import LoaderConfig
from nanolit.evals.loss import LossReport, evaluate, metrics
from nanolit.runtime import allocator, devices
from nanolit.runtime.files import sha256_file, write_json
from nanolit.runtime.seeds import derive
from nanolit.runtime.typed import build
from nanolit.tokenizers.directory import TokenizerConfig, load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer

REPORT_EVERY_S = 5.0

log = logging.getLogger("nanolit")


class Evaluation:
    def __init__(self, config: dict[str, Any]) -> None:
        groups = {"paths", "model", "tokenizer", "data", *of_tasks()}
        refuse_settings(
            of_tasks(), "is a setting of tasks, and none are named; give tasks=[NAME,…] too, or leave it out"
        )
        data = dict(config["data"])
        self.loader = build(LoaderConfig, data.pop("loader", {}), "data.loader")
        self.settings = build(EvalConfig, {key: value for key, value in config.items() if key not in groups}, "")
        self.data = build(DataConfig, data, "data")
        self.tokenizer = build(TokenizerConfig, config["tokenizer"], "tokenizer")
        self.data_root = Path(config["paths"]["data_root"])
        self.source = model_source(config["model"])
        self.device = devices.pick_device(self.settings.device)

    def execute(self) -> int:
        """The exit code of the command."""
        settings = self.settings
        allocator.keep_freed_memory()
        folder = locate(self.source)
        prepared = self.prepare_data(folder)
        # Under autocast the weights stay as they are stored: a large model in bfloat16 need not fit in float32.
        autocast = None if settings.dtype == "float32" else getattr(torch, settings.dtype)
        network, _ = open_model(self.source, str(self.device), None if autocast else torch.float32)
        block_size = choose_block_size(settings.block_size, network.config.block_size)
        batches, n_batches = choose_batches(settings, prepared, block_size, self.loader)
        byte_lengths = torch.from_numpy(prepared.tokenizer.byte_lengths())
        served = (batches[i] for i in range(n_batches))
        report = evaluate(network, served, byte_lengths, self.device, autocast, log_progress(n_batches))
        if not math.isfinite(report.loss):
            remedy = "give dtype=float32" if settings.dtype == "float16" else "its weights are damaged, get them anew"
            raise ValueError(f"model: {self.source} has a loss of {report.loss} in {settings.dtype}; {remedy}")
        n_parameters = sum(parameter.numel() for parameter in network.parameters())
        print(table(self.source, n_parameters, prepared, settings, block_size, report), flush=True)
        if settings.out:
            model = {"source": self.source, "folder": str(folder), "parameters": n_parameters, "files": hashes(folder)}
            used = asdict(settings) | {"block_size": block_size, "device": str(self.device), "out": str(settings.out)}
            write_json(settings.out, description(report, model, prepared, used))
            log.info("written to %s", settings.out)
        return 0

    def prepare_data(self, model: Path) -> Prepared:
        """The text in the model's tokens. A tokenizer that a recipe makes from its text gives way to the model's own;
        one that is named, or that a recipe fetches, must be the same: other tokens would be another data set.
        """
        wanted = load_tokenizer(model)
        is_named = any(override.lstrip("+").startswith("tokenizer") for override in job_overrides())

        def accept(found: Tokenizer) -> None:
            if found.fingerprint != wanted.fingerprint:
                raise OtherTokens(
                    f"tokenizer: data.name={self.data.name} is in tokens of a tokenizer of kind {found.kind} "
                    f"({found.vocab_size} ids, fingerprint {found.fingerprint[:12]}), {self.source} reads those of "
                    f"another ({wanted.kind}, {wanted.vocab_size} ids, {wanted.fingerprint[:12]}); give the settings "
                    f"that its data had, or tokenizer=folder tokenizer.path={model}"
                )

        def open_prepared(tokenizer: TokenizerConfig) -> Prepared:
            prepared = Prepared.open(prepare(self.data, tokenizer, self.data_root, accept=accept))
            accept(prepared.tokenizer)
            return prepared

        try:
            return open_prepared(self.tokenizer)
        except OtherTokens:
            if is_named or self.tokenizer.kind not in ("bpe", "char"):
                raise
            log.info("tokenizer: that of model=%s", self.source)
            return open_prepared(TokenizerConfig(kind="folder", path=str(model)))


def refuse_settings(names: Collection[str], why: str) -> None:
    """Of the settings that were given on the command line: none may do nothing."""
    for override in job_overrides():
        key = override.lstrip("+~").partition("=")[0]
        if re.split("[.@]", key)[0] in names:
            raise ValueError(f"{key}: {why}")


class OtherTokens(ValueError):
    """The data is in the tokens of another tokenizer than the model's."""


def model_source(model: dict[str, Any]) -> str:
    for key in model:
        if key != "source":
            raise ValueError(
                f"model.{key}: a saved model keeps its shape; leave it out (block_size= crops the context)"
            )
    if model["source"] is None:
        raise ValueError(f"model: missing; {MODEL_WANTED}")
    return str(model["source"])


def choose_block_size(wanted: int | None, reads: int) -> int:
    if wanted is not None and wanted > reads:
        raise ValueError(f"block_size: got {wanted}, the model reads at most {reads} tokens; give that or less")
    return wanted or reads


def choose_batches(
    settings: EvalConfig, prepared: Prepared, block_size: int, loader: LoaderConfig
) -> tuple[EvalBatches | MicroBatches, int]:
    """Where the batches come from, and how many to take."""
    shards = prepared.shards(settings.split)
    n_tokens = sum(shard.header.n_tokens for shard in shards)
    if n_tokens <= block_size and not prepared.is_supervised:
        raise ValueError(
            f"block_size: the split {settings.split} of {prepared.folder} has {n_tokens} tokens, too few for a window "
            f"of {block_size} and its last target; give block_size={n_tokens - 1} or less, or more text"
        )
    masks, delimiter = loader.mask_documents, prepared.delimiter
    if settings.batches is None:
        rows = evaluation_rows(
            shards,
            block_size,
            loader.packing,
            mask_documents=masks,
            delimiter=delimiter,
            name=f"the split {settings.split}",
        )
        whole = EvalBatches(rows, min(settings.batch_size, len(rows)))
        return whole, len(whole)
    if prepared.is_supervised:
        raise ValueError("batches: random windows would cut examples, which the loss mask is of; leave it out")
    # They may begin at any token, as nanoGPT's.
    windows = TokenWindows(shards, block_size, stride=1, mask_documents=masks, delimiter=delimiter)
    if settings.batches * settings.batch_size > len(windows):
        raise ValueError(
            f"batches: {settings.batches} of {settings.batch_size} windows are more than the {len(windows)} of the "
            f"split {settings.split}; give fewer, or batches=null for the whole split"
        )
    plan = BatchPlan(settings.batch_size, settings.batch_size)
    drawn = MicroBatches(windows, plan, derive(settings.seed, "eval"))  # not those that a training began with
    return drawn, settings.batches


def log_progress(n_batches: int) -> Callable[[int, Tensor], None]:
    """A line every few seconds; only then is the device waited for."""
    started_at = told_at = time.monotonic()

    def progress(n_done: int, sums: Tensor) -> None:
        nonlocal told_at
        if time.monotonic() - told_at < REPORT_EVERY_S:
            return
        loss, n_tokens = metrics(sums)["loss"], int(sums[1])
        told_at = time.monotonic()
        seconds = told_at - started_at
        speed, left_s = n_tokens / seconds, seconds / n_done * (n_batches - n_done)
        log.info("batch %d of %d: loss %.4f, %.0f tokens/s, %.0f s left", n_done, n_batches, loss, speed, left_s)

    return progress


def table(
    source: str, n_parameters: int, prepared: Prepared, settings: EvalConfig, block_size: int, report: LossReport
) -> str:
    which = f"{settings.batches} random batches, seed {settings.seed}" if settings.batches else "the whole split"
    rows = {
        "model": f"{source}, {n_parameters:,} parameters",
        "data": f"{settings.split} of {prepared.folder}, {which}",
        "windows": f"{report.n_windows:,} of {block_size} tokens, {report.n_tokens:,} tokens predicted",
        "loss": f"{report.loss:.4f} nats per token, standard error {report.standard_error:.4f} over windows",
        "perplexity": f"{report.ppl:.4f}",
        "bits/byte": f"{report.bpb:.4f}",
        "accuracy": f"{report.accuracy:.4f}",
        **({} if math.isnan(report.exact) else {"exact": f"{report.exact:.4f} of the examples right in every token"}),
        "speed": f"{report.tokens_per_s:,.0f} tokens/s, {report.seconds:.1f} s in {settings.dtype}",
    }
    return "\n".join(f"{name:<12}{value}" for name, value in rows.items())


def description(
    report: LossReport, model: dict[str, Any], prepared: Prepared, settings: dict[str, Any]
) -> dict[str, Any]:
    """The result and what it depends on, as JSON; what is not known (bits per byte without text) is null."""
    result = asdict(report) | {"tokens_per_s": report.tokens_per_s}
    manifest = {"manifest_sha256": sha256_file(prepared.folder / "manifest.json")}
    return {
        "result": {key: None if math.isnan(value) else value for key, value in result.items()},
        "model": model,
        "data": {"folder": str(prepared.folder), **manifest, "tokenizer": prepared.manifest["tokenizer"]},
        "settings": settings,
        "machine": devices.describe(),
        "versions": installed_versions(),
    }
