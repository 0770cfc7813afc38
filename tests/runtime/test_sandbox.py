"""Programs that try to get out: each is stopped, leaves nothing behind, and none passes for one that ran to its end."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from nanolit.runtime.sandbox import Outcome, missing_layers, run, run_all
from nanolit.runtime.sandbox import run as run_function

run_module = sys.modules["nanolit.runtime.sandbox.run"]
# Not of the whole file: that it refuses matters most where it cannot be had.
needs_sandbox = pytest.mark.skipif(bool(missing_layers()), reason=f"needs {missing_layers()}")

HONEST = {
    "arithmetic": "assert 2 + 2 == 4",
    "output": "print('hello')",
    "modules": "import json, re, math, random, itertools, collections, functools, datetime, heapq, typing",
    "threads": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
    "own files": "import os; open('a', 'w').write('x'); os.mkdir('d'); os.rename('a', 'd/a'); open('d/a').read()",
    "clock and chance": "import time, random, os; time.time(); random.random(); os.urandom(4)",
}
SYSCALL = "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
ESCAPES = {
    "read a file": "open('/etc/passwd').read()",
    "read the repository": f"open({str(Path(__file__))!r}).read()",
    "list folders": "import os; os.listdir('/')",
    "list the home": "import os; os.listdir(os.path.expanduser('~'))",
    "read through a link": "import os; os.symlink('/etc/passwd', 'p'); open('p').read()",
    "read through a hard link": "import os; os.link('/etc/passwd', 'p'); open('p').read()",
    "write elsewhere": "open('/tmp/nanolit_escape', 'w').write('x')",
    "write to shared memory": "open('/dev/shm/nanolit_escape', 'w').write('x')",
    "delete elsewhere": "import os; os.unlink('/tmp/nanolit_target_PID')",
    "cut short elsewhere": "import os; os.truncate('/tmp/nanolit_target_PID', 0)",
    "rename elsewhere": "import os; os.rename('/tmp/nanolit_target_PID', 'mine')",
    "change modes": "import os; os.chmod('/tmp/nanolit_target_PID', 0o777)",
    "change times": "import os; os.utime('/tmp/nanolit_target_PID', (0, 0))",
    "change owners": "import os; os.chown('/tmp/nanolit_target_PID', 1, 1)",
    "set attributes": "import os; os.setxattr('/tmp/nanolit_target_PID', 'user.a', b'x')",
    "make a device": "import os; os.mknod('disk', 0o60600, os.makedev(8, 0))",
    "its environment": "assert 'NANOLIT_SECRET' in __import__('os').environ",
    "another's environment": "open('/proc/1/environ').read()",
    "its parent's memory": "import os; open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    "its own memory map": "open('/proc/self/maps').read()",
    "a TCP socket": "import socket; socket.socket()",
    "a UDP socket": "import socket; socket.socket(type=socket.SOCK_DGRAM)",
    "a Unix socket": "import socket; socket.socket(socket.AF_UNIX)",
    "a netlink socket": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a pair of sockets": "import socket; socket.socketpair()",
    "the web": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:1')",
    "a fork": "import os; os.fork()",
    "a fork bomb": "import os\nwhile True: os.fork()",
    "a child": "import subprocess; subprocess.run(['/bin/true'])",
    "a shell": "import os; assert os.system('true') == 0",
    "itself as another program": "import os; os.execv('/bin/sh', ['sh', '-c', 'true'])",
    "multiprocessing": "import multiprocessing as m; p = m.Process(target=print); p.start()",
    "kill its parent": "import os; os.kill(os.getppid(), 9)",
    "kill all": "import os; os.kill(-1, 9)",
    "signal a group": "import os; os.killpg(os.getpgid(os.getppid()), 15)",
    "ptrace": SYSCALL + "assert libc.ptrace(16, __import__('os').getppid(), 0, 0) == 0",
    "unshare": SYSCALL + "assert libc.unshare(0x10000000) == 0",
    "mount": SYSCALL + "assert libc.mount(b'none', b'.', b'tmpfs', 0, None) == 0",
    "chroot": "import os; os.chroot('.')",
    "keys": SYSCALL + "assert libc.syscall(250, 0, -3, 0) >= 0",
    "bpf": SYSCALL + "assert libc.syscall(321, 0, 0, 0) >= 0",
    "io_uring": SYSCALL + "assert libc.syscall(425, 8, ctypes.create_string_buffer(120)) >= 0",
    "perf": SYSCALL + "assert libc.syscall(298, ctypes.create_string_buffer(112), 0, -1, -1, 0) >= 0",
    "userfaultfd": SYSCALL + "assert libc.syscall(323, 0) >= 0",
    "memfd": SYSCALL + "assert libc.syscall(319, b'x', 0) >= 0",
    "process_vm_readv": SYSCALL + "assert libc.syscall(310, 1, 0, 0, 0, 0, 0) >= 0",
    "clone3": SYSCALL + "assert libc.syscall(435, 0, 0) >= 0",
    "clone of a process": SYSCALL + "assert libc.syscall(56, 17, 0, 0, 0, 0) >= 0",
    "numbers of x32": SYSCALL + "assert libc.syscall(0x40000000 + 41, 2, 1, 0) >= 0",
    "reboot": SYSCALL + "assert libc.syscall(169, 0xfee1dead, 672274793, 0, 0) == 0",
    "higher limits": "import resource as r; r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY))",
    "its standard input": "assert input()",
}
LEAVING = {
    "exit": "import sys; sys.exit(0)",
    "a hard exit": "import os; os._exit(0)",
    "leaving": "raise SystemExit",
    "at its end": "import atexit; atexit.register(lambda: print('late')); raise SystemExit(0)",
    "a fake result": "import os\nfor fd in range(3, 9):\n try: os.write(fd, b'0')\n except OSError: 0\nos._exit(0)",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "deep recursion": "import sys; sys.setrecursionlimit(10**8)\ndef f(): f()\nf()",
    "an interrupt": "raise KeyboardInterrupt",
    "an exception of its own": "class Fine(BaseException): pass\nraise Fine",
}


@pytest.fixture(autouse=True)
def nothing_stays_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOLIT_SECRET", "x")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # so that other processes of the tests do not interfere
    target = Path(f"/tmp/nanolit_target_{os.getpid()}")
    target.write_text("whole")
    children = _children()
    yield
    assert not list(tmp_path.glob("nanolit_sandbox_*"))
    assert _children() <= children
    assert target.read_text() == "whole" and target.stat().st_mode & 0o777 != 0o777
    assert not Path("/tmp/nanolit_escape").exists() and not Path("/dev/shm/nanolit_escape").exists()
    target.unlink()


def _children() -> set[str]:
    listed = subprocess.run(["ps", "-A", "-o", "ppid=,pid=,args="], capture_output=True, text=True).stdout.splitlines()
    ours = (str(os.getpid()), "1")  # a daemon would be the first process's
    return {line for line in listed if "confine.py" in line and line.split()[0] in ours}


@needs_sandbox
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_runs_to_its_end(name):
    outcome = run(HONEST[name], timeout_s=20)
    assert outcome.ok and outcome.fault is None, outcome
    assert (outcome.stdout == "hello\n") == (name == "output")


@needs_sandbox
@pytest.mark.parametrize("name", ESCAPES)
def test_who_tries_to_get_out_is_stopped(name):
    outcome = run(ESCAPES[name].replace("PID", str(os.getpid())), timeout_s=20)
    assert not outcome.ok and outcome.fault in ("error", "killed"), outcome


@needs_sandbox
@pytest.mark.parametrize("name", LEAVING)
def test_who_leaves_early_has_not_passed(name):
    outcome = run(LEAVING[name], timeout_s=20)
    assert not outcome.ok and outcome.fault in ("left", "error", "killed", "memory"), outcome
    assert "late" not in outcome.stdout


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("while True: pass", "timeout"),
        ("import time; time.sleep(60)", "timeout"),
        ("import signal\nfor s in (15, 24): signal.signal(s, signal.SIG_IGN)\nwhile True: pass", "timeout"),
        ("import threading as t\ndef f():\n while True: 0\nx = t.Thread(target=f); x.start(); x.join()", "timeout"),
        ("x = bytearray(10**10)", "memory"),
        ("x = []\nwhile True: x.append(bytes(10**7))", "memory"),
        ("while True: print('x' * 1000)", "output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", "output"),
        ("f = open('big', 'wb')\nwhile True: f.write(bytes(10**6))", "error"),
        ("files = [open('/dev/null') for _ in range(200)]", "error"),
        ("10**10**9", "timeout"),
    ],
    ids=str,
)  # fmt: skip
def test_time_memory_and_output_are_bounded(program, fault):
    t0 = time.monotonic()
    outcome = run(program, timeout_s=2)
    assert not outcome.ok and (outcome.fault == fault or (fault == "timeout" and outcome.fault == "memory")), outcome
    assert time.monotonic() - t0 < 8 and len(outcome.stdout) < 10**6


MANY_FILES = "for i in range(100): print(i, flush=True); open(f'f{i}', 'wb').write(bytes(10 << 20))"
CLOSE = "import os\nfor fd in range(1, 9):\n try: os.close(fd)\n except OSError: 0"
WAYS_TO_FILL = {
    "files": MANY_FILES,
    "folders": f"import os; os.makedirs('a/b'); os.chdir('a/b')\n{MANY_FILES}",
    "in silence": f"print(0, flush=True)\n{CLOSE}\n{MANY_FILES.replace('print(i, flush=True); ', '')}\nwhile True: 0",
    "empty files": "for i in range(10**6): i % 999 or print(i, flush=True); open(f'f{i}', 'w').close()",
    "a deep hole": "import os\n"
    "for i in range(10**5): i % 99 or print(i, flush=True); os.mkdir('d' * 99); os.chdir('d' * 99)",
}


@pytest.mark.parametrize("way", WAYS_TO_FILL)
@pytest.mark.parametrize("how", ["kernel", "watched", "none"])
def test_its_folder_is_bounded_in_sum(how, way, monkeypatch, tmp_path):
    """By a disk of its own where the kernel gives one, else by who has started it, who looks every 20 ms."""
    if how != "none" and missing_layers():
        pytest.skip(f"needs {missing_layers()}")
    if how == "watched":
        changed = run_module.CONFINE.read_text().replace("_CLONE_MOUNTS = 0x00020000", "_CLONE_MOUNTS = -1")
        (tmp_path / "confine.py").write_text(changed)
        monkeypatch.setattr(run_module, "CONFINE", tmp_path / "confine.py")
    mounts = Path("/proc/mounts").read_text() if sys.platform == "linux" else ""
    outcome = run(WAYS_TO_FILL[way], timeout_s=20, how="none" if how == "none" else "auto")
    is_full = how == "kernel" and outcome.fault == "error" and "No space left" in outcome.told
    assert outcome.fault == "disk" or is_full, outcome
    assert sys.platform != "linux" or Path("/proc/mounts").read_text() == mounts
    written = int(outcome.stdout.split()[-1])
    assert written < (60 if "empty" not in way and "hole" not in way else 10**5)


@needs_sandbox
def test_many_at_once_and_each_its_own():
    outcomes = run_all([f"assert {i} % 3; print({i})" for i in range(12)], timeout_s=30)
    assert [outcome.ok for outcome in outcomes] == [i % 3 != 0 for i in range(12)]
    assert [outcome.stdout for outcome in outcomes if outcome.ok] == [f"{i}\n" for i in range(12) if i % 3]


def test_where_it_cannot_be_kept_in_it_is_refused(monkeypatch):
    monkeypatch.setattr(run_module, "missing_layers", lambda: ("files (Landlock)",))
    with pytest.raises(ValueError, match=r"^sandbox: this machine cannot keep programs from files") as error:
        run_function("pass")
    assert "sandbox=none" in str(error.value)
    assert run_function("print(1)", how="none").ok
    assert run_function("while True: pass", how="none", timeout_s=1).fault == "timeout"


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
@pytest.mark.parametrize("broken", ["444", pytest.param("prctl", marks=needs_sandbox)])
def test_a_layer_that_is_missing_is_found_out(broken, monkeypatch, tmp_path):
    """A kernel without Landlock, or one that takes no filter, played by a script with one line changed."""
    text = run_module.CONFINE.read_text()
    changed = (
        text.replace("_LANDLOCK_CREATE, _LANDLOCK_ADD", "_LANDLOCK_CREATE_, _LANDLOCK_ADD").replace(
            "_READ, _READ_FILE,", "_LANDLOCK_CREATE = 4444\n_READ, _READ_FILE,"
        )
        if broken == "444"
        else text.replace("_PR_SET_SECCOMP, 2,", "9999, 2,")
    )
    assert changed != text
    (tmp_path / "confine.py").write_text(changed)
    monkeypatch.setattr(run_module, "CONFINE", tmp_path / "confine.py")
    missing_layers.cache_clear()
    try:
        (told,) = missing_layers()
        assert told == ("files (Landlock)" if broken == "444" else "network, processes and signals (seccomp)")
        with pytest.raises(ValueError, match="cannot keep programs from"):
            run_function("pass")
    finally:
        monkeypatch.undo()
        missing_layers.cache_clear()


@needs_sandbox
def test_it_starts_in_no_time():
    run("pass")
    t0 = time.monotonic()
    assert all(run("pass") == Outcome(True) for _ in range(5))
    assert (time.monotonic() - t0) / 5 < 1.0
