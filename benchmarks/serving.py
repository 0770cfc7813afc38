"""The server as clients see it: many at once against one after the other, how soon the first token comes, and what is
left after a thousand requests of which many go wrong.

    python benchmarks/serving.py [clients=32] [tokens=64] [repeats=3] [requests=1000] [device=cpu] [parts=[…]]

A real `nanolit serve` in a process of its own, with random weights: of GPT-2 124M for speed (parts: throughput,
first_token), of a small network for the thousand (part: harm). Its tokenizer is bytes, its answers have a fixed length.
Promises: the clients together get 3 times the tokens/s of one alone, the first token comes within 1.5 passes of the
prompt, and no slot, thread or memory is lost.
"""

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from reporting import Row, read_arguments, report, stop

from nanolit.inference.load import load
from nanolit.inference.slots import prefill
from nanolit.inference.weights import prepare
from nanolit.models.config import GPTConfig
from nanolit.models.directory import save_model
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer

GPT2 = {"vocab_size": 50257, "block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768}
SMALL = {"vocab_size": 257, "block_size": 256, "n_layer": 2, "n_head": 2, "n_embd": 64}
NO_END = {"256": -100}  # the end of text is never drawn, so that answers have the length that was asked for


@dataclass(frozen=True)
class Arguments:
    clients: int = 32
    tokens: int = 64
    repeats: int = 3
    requests: int = 1000
    device: str = "cpu"
    parts: tuple[str, ...] = ("throughput", "first_token", "harm")


@dataclass
class Server:
    port: int
    pid: int

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as response:
            return json.load(response)

    def worker(self) -> dict[str, Any]:
        return self.get("/stats")["models"][0]["workers"][0]

    def status(self, name: str) -> int:
        """A line of the process's status: VmRSS in KiB, Threads."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


@contextmanager
def serving(folder: Path, device: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "nanolit.cli.main", "serve", f"model={folder}", "port=0", f"device={device}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        if "http://127.0.0.1:" not in line:
            stop(f"the server did not start: {line}")
        yield Server(int(line.split("http://127.0.0.1:")[1].split(";")[0]), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        if process.wait(60) != 0:
            stop(f"the server ended with {process.returncode}")


def make_model(folder: Path, shape: dict[str, int]) -> Path:
    torch.manual_seed(0)
    save_model(folder, GPT(GPTConfig(**shape)))
    ByteTokenizer().save(folder)
    return folder


# One request over a socket of its own, so that it can be broken off anywhere


def message(body: bytes, path: str = "/v1/completions") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def completion(prompt: str, max_tokens: int, seed: int, **more: Any) -> bytes:
    asked = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 1.0, "seed": seed, "logit_bias": NO_END}
    return message(json.dumps({**asked, "stream": True, "stream_options": {"include_usage": True}, **more}).encode())


async def ask(server: Server, sent: bytes) -> tuple[int, float, int]:
    """Status, seconds to the first token, and tokens of a streamed answer."""
    begin, first_s, n_tokens = time.perf_counter(), 0.0, 0
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    status = int((await reader.readline()).split()[1])
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if event.get("choices") and not first_s:
                first_s = time.perf_counter() - begin
            n_tokens = (event.get("usage") or {}).get("completion_tokens", n_tokens)
    writer.close()
    return status, first_s, n_tokens


# Throughput


async def together(server: Server, arguments: Arguments, seed: int) -> tuple[float, list[float]]:
    """Tokens/s of all clients at once, and each one's seconds to the first token."""
    begin = time.perf_counter()
    sent = [completion(f"Client {i} says", arguments.tokens, seed + i) for i in range(arguments.clients)]
    answers = await asyncio.gather(*(ask(server, each) for each in sent))
    return rate(answers, begin, arguments), [first_s for _, first_s, _ in answers]


async def in_a_row(server: Server, arguments: Arguments, seed: int) -> float:
    begin, n = time.perf_counter(), max(1, arguments.clients // 8)
    answers = [await ask(server, completion(f"Client {i} says", arguments.tokens, seed + i)) for i in range(n)]
    return rate(answers, begin, arguments)


def rate(answers: list[tuple[int, float, int]], begin: float, arguments: Arguments) -> float:
    if any(status != 200 or n != arguments.tokens for status, _, n in answers):
        stop(f"requests failed: {Counter((status, n) for status, _, n in answers)}")
    return sum(n for *_, n in answers) / (time.perf_counter() - begin)


async def throughput(server: Server, arguments: Arguments) -> list[Row]:
    await together(server, arguments, 0)
    alone, many, firsts = [], [], []
    for repeat in range(arguments.repeats):
        alone.append(await in_a_row(server, arguments, 1000 * repeat))
        tokens_per_s, first_s = await together(server, arguments, 1000 * repeat)
        many.append(tokens_per_s)
        firsts.append(statistics.quantiles(first_s, n=20)[18])
    return [
        Row("one client after the other", "tokens/s", alone),
        Row(f"{arguments.clients} clients at once", "tokens/s", many),
        Row("at once / one after the other", "", [a / b for a, b in zip(many, alone, strict=True)], ">= 3"),
        Row("p95 of the time to the first token, at once", "s", firsts),
    ]


# The first token


@torch.no_grad()
def pass_s(folder: Path, device: str, prompt: str) -> float:
    model, tokenizer = load(folder, device)
    model = prepare(model)
    ids = torch.tensor([tokenizer.encode(prompt)], device=next(model.parameters()).device)
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        prefill(model, ids).argmax().item()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[2:])


async def first_token(server: Server, folder: Path, arguments: Arguments) -> list[Row]:
    rows = []
    for n in (128, 512):
        ratios, firsts = [], []
        for repeat in range(arguments.repeats + 1):
            prompt = f"{repeat:03}" + "x" * (n - 3)  # never one that the server has seen
            _, first_s, _ = await ask(server, completion(prompt, 4, repeat))
            alone_s = await asyncio.to_thread(pass_s, folder, arguments.device, prompt)
            if repeat:
                firsts.append(first_s)
                ratios.append(first_s / alone_s)
        rows.append(Row(f"first token after a prompt of {n}", "s", firsts))
        rows.append(Row(f"in passes of that prompt ({n})", "", ratios, "<= 1.5"))
    return rows


# Harm


async def break_off(server: Server, sent: bytes, after_s: float) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    await asyncio.sleep(after_s)
    writer.transport.abort()
    return "broken off"


async def kill_client(server: Server, sent: bytes, after_s: float) -> str:
    program = "import socket,sys\ns=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n"
    program += "s.sendall(sys.stdin.buffer.read())\nwhile s.recv(100): pass"
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", program, str(server.port), stdin=asyncio.subprocess.PIPE
    )
    assert client.stdin is not None
    client.stdin.write(sent)
    client.stdin.close()
    await asyncio.sleep(0.05 + after_s)
    if client.returncode is None:
        client.kill()
    await client.wait()
    return "killed"


BAD = [b"{", b"[]", b'{"prompt": 3}', b'{"max_tokens": -1}', b'{"temperature": 1e400}', b"\xff\xfe", b"x" * 2_000_000]


async def harm_once(server: Server, i: int, dice: random.Random) -> str:
    sent = completion("ab" * dice.randrange(1, 100), dice.randrange(1, 100), i, n=dice.randrange(1, 4))
    kind = dice.random()
    if kind < 0.05:
        return await kill_client(server, sent, dice.random() * 0.2)
    if kind < 0.35:
        return await break_off(server, sent[: dice.choice([20, 200, len(sent)])], dice.random() * 0.3)
    if kind < 0.55:
        status, *_ = await ask(server, message(dice.choice(BAD)))
        return f"refused with {status}"
    status, *_ = await ask(server, sent)
    return f"answered with {status}"


async def harm(server: Server, n: int, seed: int) -> Counter[str]:
    dice, at_once = random.Random(seed), asyncio.Semaphore(24)

    async def one(i: int) -> str:
        async with at_once:
            try:
                return await harm_once(server, i, random.Random(dice.random()))
            except ConnectionError:  # a body that is too long is refused before it has been sent
                return "refused with a closed connection"

    return Counter(await asyncio.gather(*(one(i) for i in range(n))))


async def leaks(server: Server, arguments: Arguments) -> list[Row]:
    await ask(server, completion("Once", 10, 0))
    threads = server.status("Threads")
    await harm(server, max(300, arguments.requests // 2), 1)  # buffers, threads and oneDNN's kernels are there then
    await settled(server)
    memory, pool = server.status("VmRSS"), min(32, (os.cpu_count() or 1) + 4)  # the size that asyncio gives its own
    outcomes = await harm(server, arguments.requests, 2)
    worker = await settled(server)
    failed = sum(n for outcome, n in outcomes.items() if "with 5" in outcome or outcome == "answered with 429")
    print(f"{arguments.requests} requests: {dict(outcomes)}")
    grown_mib = (server.status("VmRSS") - memory) / 1024
    files = sum(1 for _ in Path(f"/proc/{server.pid}/fd").iterdir())
    return [
        Row("requests that failed by the server's fault", "", [failed], "0"),
        Row("slots still taken, answers still waiting", "", [worker["running"] + worker["waiting"]], "0"),
        Row("threads more than the first answer took", "", [server.status("Threads") - threads], f"<= {pool}"),
        Row("memory more than before", "MiB", [grown_mib], "< 20"),
        Row("open files", "", [files], "< 40"),
    ]


async def settled(server: Server) -> dict[str, Any]:
    for _ in range(200):
        worker = server.worker()
        if worker["running"] == worker["waiting"] == 0:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)  # sockets are being closed
    return server.worker()


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        if {"throughput", "first_token"} & set(arguments.parts):
            folder = make_model(Path(scratch) / "gpt2", GPT2)
            with serving(folder, arguments.device) as server:
                if "throughput" in arguments.parts:
                    rows += asyncio.run(throughput(server, arguments))
                if "first_token" in arguments.parts:
                    rows += asyncio.run(first_token(server, folder, arguments))
        if "harm" in arguments.parts:
            with serving(make_model(Path(scratch) / "small", SMALL), arguments.device) as server:
                rows += asyncio.run(leaks(server, arguments))
    facts = {"clients": arguments.clients, "tokens each": arguments.tokens, "device": arguments.device}
    report("serving", rows, facts)


if __name__ == "__main__":
    main()
