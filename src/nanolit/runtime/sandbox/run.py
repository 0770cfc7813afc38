"""Runs a program of a model in a process that can do no harm, and says how it ended. Which layers keep it in, and what
remains possible, is in docs/sandbox.md.
"""

import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from nanolit.runtime.sandbox.system_calls import filter_program

How = Literal["auto", "none"]  # none: a process of its own with limits, and nothing else
Fault = Literal["error", "timeout", "memory", "killed", "left", "output", "disk"]
MAX_OUTPUT_BYTES = 1 << 16
MAX_FILE_BYTES, MAX_OPEN_FILES = 1 << 24, 64
MAX_FOLDER_BYTES, BYTES_OF_ENTRY, LOOK_EVERY_S = 1 << 26, 4096, 0.02
CONFINE = Path(__file__).with_name("confine.py")


@dataclass(frozen=True)
class Outcome:
    """`left`: it ended before its end, by exit or the like."""

    ok: bool
    fault: Fault | None = None
    told: str = ""  # the exception, in one line
    stdout: str = ""
    stderr: str = ""


def run(program: str, *, timeout_s: float = 5.0, memory_mib: int = 256, how: How = "auto") -> Outcome:
    """Runs `program` to its end. Raises ValueError where this machine cannot keep it in."""
    if how == "auto" and (missing := missing_layers()):
        raise ValueError(
            f"sandbox: this machine cannot keep programs from {', '.join(missing)}; run on Linux 6.2 or newer, or give "
            "sandbox=none to run code of the model with nothing but limits of time and memory"
        )
    return _run(program, timeout_s, memory_mib, how)


def run_all(
    programs: Sequence[str], *, timeout_s: float = 5.0, memory_mib: int = 256, how: How = "auto"
) -> list[Outcome]:
    """Several at once, as many as there are cores."""
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda p: run(p, timeout_s=timeout_s, memory_mib=memory_mib, how=how), programs))


@cache
def missing_layers() -> tuple[str, ...]:
    """What cannot be prevented here; asked once, by a program that does nothing."""
    if sys.platform != "linux":
        return ("files, network, processes and signals (not Linux)",)
    told = _run("pass", 20.0, 256, "auto")
    return tuple(json.loads(told.told)) if told.fault == "left" and told.told.startswith("[") else ()


def _run(program: str, timeout_s: float, memory_mib: int, how: How) -> Outcome:
    folder = tempfile.mkdtemp(prefix="nanolit_sandbox_")
    secret = secrets.token_hex(16)
    limits = {
        "RLIMIT_CPU": int(timeout_s) + 1,
        "RLIMIT_AS": memory_mib << 20,
        "RLIMIT_FSIZE": MAX_FILE_BYTES,
        "RLIMIT_NOFILE": MAX_OPEN_FILES,
        "RLIMIT_CORE": 0,
    }
    asked = {"program": program, "secret": secret, "how": how, "folder": folder, "limits": limits}
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(CONFINE), str(write_end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(write_end,),
            cwd=folder,
            env={"PATH": "/usr/bin", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        os.close(write_end)
        try:
            assert process.stdin is not None
            calls = (filter_program() or b"").hex()
            needed = {"readable": _readable(), "calls": calls, "folder_bytes": MAX_FOLDER_BYTES}
            process.stdin.write(json.dumps(asked | needed).encode())
            process.stdin.close()
            ended, out, err, result = _watch(process, read_end, timeout_s, folder)
        finally:
            _kill(process)
        return _outcome(process.returncode, ended, out, err, result, secret)
    finally:
        os.close(read_end)
        shutil.rmtree(folder, ignore_errors=True)


@cache
def _readable() -> list[str]:
    """What the interpreter needs of the disk: itself and its library."""
    paths = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    paths |= {str(Path(sys.base_prefix) / "lib"), "/lib", "/lib64", "/usr/lib", "/usr/lib64"}
    return sorted(paths)


def _watch(
    process: subprocess.Popen[bytes], result_fd: int, timeout_s: float, folder: str
) -> tuple[Fault | None, bytes, bytes, bytes]:
    """Reads what it says until it ends, takes too long, says too much or fills its folder."""
    assert process.stdout is not None and process.stderr is not None
    found = {"out": b"", "err": b"", "result": b""}
    deadline, look_at = time.monotonic() + timeout_s, 0.0
    with selectors.DefaultSelector() as selector:
        for name, file in (("out", process.stdout), ("err", process.stderr), ("result", result_fd)):
            selector.register(file, selectors.EVENT_READ, name)
        while selector.get_map() or process.poll() is None:
            now = time.monotonic()
            if now >= deadline:
                return "timeout", found["out"], found["err"], found["result"]
            if now >= look_at:
                if not _fits(folder):
                    return "disk", found["out"], found["err"], b""
                look_at = time.monotonic() + LOOK_EVERY_S
            if not selector.get_map():  # it has closed what it speaks through, and goes on
                time.sleep(0.001)
                continue
            for key, _ in selector.select(min(deadline - now, LOOK_EVERY_S)):
                chunk = os.read(key.fd, 1 << 14)
                if not chunk:
                    selector.unregister(key.fileobj)
                found[key.data] += chunk
                if len(found[key.data]) > MAX_OUTPUT_BYTES:
                    return "output", found["out"], found["err"], b""
    return None, found["out"], found["err"], found["result"]


def _fits(folder: str) -> bool:
    """Is what lies in the folder less than it may be? Where the kernel keeps it (confine.py), nothing is seen here."""
    n_bytes, folders = 0, [folder]
    while folders and n_bytes <= MAX_FOLDER_BYTES:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    n_bytes += max(status.st_blocks * 512, BYTES_OF_ENTRY)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except FileNotFoundError:
            continue  # it has removed it meanwhile
        except OSError:
            return False  # what is too deep, or closed, to be measured is too much
    return n_bytes <= MAX_FOLDER_BYTES


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.poll()
    process.wait()
    for file in (process.stdout, process.stderr):
        if file is not None:
            file.close()


def _outcome(code: int, ended: Fault | None, out: bytes, err: bytes, result: bytes, secret: str) -> Outcome:
    texts = out.decode(errors="replace"), err.decode(errors="replace")
    if ended is not None:
        return Outcome(False, ended, "", *texts)
    if result == secret.encode() and code == 0:
        return Outcome(True, None, "", *texts)
    try:
        told = json.loads(result) if result else {}
    except json.JSONDecodeError:
        told = {}
    if not isinstance(told, dict):
        told = {}
    if "missing" in told:
        return Outcome(False, "left", json.dumps(told["missing"]), *texts)
    fault = str(told.get("fault", ""))
    if fault.startswith(("SystemExit", "KeyboardInterrupt")):
        return Outcome(False, "left", fault, *texts)
    if fault.startswith("MemoryError"):
        return Outcome(False, "memory", fault, *texts)
    if fault:
        return Outcome(False, "error", fault, *texts)
    if code in (-signal.SIGXCPU, -signal.SIGKILL) and not texts[1]:
        return Outcome(False, "timeout" if code == -signal.SIGXCPU else "killed", "", *texts)
    return Outcome(False, "killed" if code < 0 else "left", "", *texts)
