"""Figures for Prometheus in its text format (version 0.0.4), which is simple enough not to need its library."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nanolit.serve.served import Models

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
Labels = tuple[tuple[str, str], ...]


class Histogram:
    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(BOUNDS_S) + 1), 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total += seconds

    def lines(self, name: str) -> Iterator[str]:
        n = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            n += count
            yield f'{name}_bucket{{le="{bound}"}} {n}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {n}"


class Metrics:
    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # by route and status
        self.first_token, self.duration = Histogram(), Histogram()

    def text(self, models: Models) -> str:
        counted = [((("route", route), ("status", str(n))), count) for (route, n), count in self.requests.items()]
        lines = list(_family("requests_total", "counter", "Requests by route and status.", counted))
        for name, kind, told, attribute in WORKERS:
            lines += _family(name, kind, told, _of_workers(models, attribute))
        for name, told, histogram in (
            ("time_to_first_token_seconds", "From a request to the first token of its answer.", self.first_token),
            ("request_duration_seconds", "Of requests for text that were answered.", self.duration),
        ):
            lines += _family(name, "histogram", told, ())
            lines += histogram.lines(f"nanolit_{name}")
        return "\n".join([*lines, ""])


WORKERS = (
    ("generated_tokens_total", "counter", "Tokens written.", "generated_tokens"),
    ("prompt_tokens_total", "counter", "Tokens of prompts.", "prompt_tokens"),
    ("cached_tokens_total", "counter", "Tokens of prompts that did not have to be computed.", "cached_tokens"),
    ("waiting", "gauge", "Requests in the queue.", "waiting"),
    ("running", "gauge", "Answers being written.", "running"),
    ("slots", "gauge", "Answers that can be written at once.", "slots"),
)


def _of_workers(models: Models, attribute: str) -> Iterator[tuple[Labels, float]]:
    for model in models:
        for i, worker in enumerate(model.workers):
            labels = (("model", model.id), ("worker", str(i)), ("device", worker.name))
            yield labels, getattr(worker.stats(), attribute)


def _family(name: str, kind: str, told: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield f"# HELP nanolit_{name} {told}"
    yield f"# TYPE nanolit_{name} {kind}"
    for labels, value in samples:
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
        yield f"nanolit_{name}{{{shown}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Counted:
    """Counts what the application answers; with `is_told` a line about each, which says nothing of its content."""

    def __init__(self, app: ASGIApp, metrics: Metrics, is_told: bool) -> None:
        self.app, self.metrics, self.is_told = app, metrics, is_told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begin, status = time.perf_counter(), 499  # nothing sent: the client had gone

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests[route, status] += 1
            seconds = time.perf_counter() - begin
            if route.endswith("completions") and status == 200:
                self.metrics.duration.observe(seconds)
            if self.is_told:
                who = (scope.get("client") or ("?",))[0]
                print(f"{who} {scope['method']} {scope['path'][:200]!r} {status} {seconds:.3f} s", flush=True)
        return None
