"""The process in which code of a model runs: it gives up what it may do, layer by layer, and then runs the program that
stands on its standard input. Started by run.py as a script, in a fresh interpreter; it imports nothing of ours.

The last thing it does after the program has run to its end is to write a secret to a pipe: whoever leaves by exit, or
is killed, has not. The secret is in this process's memory, so a program that sets out to find it can.
"""

import ctypes
import json
import os
import resource
import struct
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_CLONE_FLAGS = 0x10000000 | 0x40000000 | 0x08000000 | 0x04000000  # user, network, IPC and host name of its own
_CLONE_MOUNTS = 0x00020000
_PRIVATE, _NO_SUID_DEVICES_PROGRAMS = 0x40000 | 0x4000, 2 | 4 | 8
_MAX_FILES = 4096
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ, _READ_FILE, _WRITE_FILE = 1 | 4 | 8, 4, 2
MISSING, FAULT = 70, 71  # exit codes: a layer is missing, the program raised


class _Libc:
    def __init__(self) -> None:
        self.lib = ctypes.CDLL(None, use_errno=True)

    def prctl(self, option: int, *arguments: object) -> bool:
        padded = [*arguments, *[0] * (4 - len(arguments))]
        return self.lib.prctl(option, *padded) == 0

    def call(self, number: int, *arguments: object) -> int:
        return self.lib.syscall(ctypes.c_long(number), *arguments)


def main() -> None:
    result_fd = int(sys.argv[1])
    os.set_inheritable(result_fd, False)
    asked = json.load(sys.stdin)
    with open(os.devnull) as nothing:  # noqa: PTH123  (pathlib takes 10 ms of every start)
        os.dup2(nothing.fileno(), 0)
    _limit(asked["limits"])
    if asked["how"] == "auto":
        calls = bytes.fromhex(asked["calls"])
        missing = _confine(asked["folder"], asked["folder_bytes"], asked["readable"], calls)
        if missing:
            os.write(result_fd, json.dumps({"missing": missing}).encode())
            os._exit(MISSING)
    _run(asked["program"], asked["secret"].encode(), result_fd)


def _run(program: str, secret: bytes, result_fd: int) -> None:
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  whatever it raises, and however it leaves, is its outcome
        told = f"{type(error).__name__}: {error}"[:500]
        os.write(result_fd, json.dumps({"fault": told}).encode())
        os._exit(FAULT)
    os.write(result_fd, secret)
    os._exit(0)  # nothing that it has registered for the end is run


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def _confine(folder: str, folder_bytes: int, readable: list[str], calls: bytes) -> list[str]:
    """Which layers could not be had, of those that must be."""
    libc = _Libc()
    libc.prctl(_PR_SET_PDEATHSIG, 9)
    uid, gid = os.getuid(), os.getgid()
    if libc.lib.unshare(_CLONE_FLAGS) == 0:  # where it is allowed; the filter below keeps the network away too
        _in_memory(libc, folder, folder_bytes, uid, gid)  # else run.py, which watches the folder, bounds it
    libc.prctl(_PR_SET_DUMPABLE, 0)
    if not libc.prctl(_PR_SET_NO_NEW_PRIVS, 1):
        return ["no_new_privs"]
    missing = [] if _landlock(libc, folder, readable) else ["files (Landlock)"]
    _drop_capabilities(libc)
    if not _filter(libc, calls):
        missing.append("network, processes and signals (seccomp)")
    return missing


def _in_memory(libc: _Libc, folder: str, n_bytes: int, uid: int, gid: int) -> None:
    """Puts a disk of so many bytes over the folder, which only this process sees, and which goes when it goes."""
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  without them nobody could own a file there
                file.write(text)
    except OSError:
        return
    if libc.lib.unshare(_CLONE_MOUNTS) or libc.lib.mount(None, b"/", None, ctypes.c_ulong(_PRIVATE), None):
        return
    told = f"size={n_bytes},nr_inodes={_MAX_FILES},mode=700".encode()
    flags = ctypes.c_ulong(_NO_SUID_DEVICES_PROGRAMS)
    if libc.lib.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, told) == 0:
        os.chdir(folder)


def _landlock(libc: _Libc, folder: str, readable: list[str]) -> bool:
    """Only `folder` can be written, only that and `readable` can be read."""
    version = libc.call(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 3:  # before, files could be cut short
        return False
    files = (1 << 15) - 1 if version < 5 else (1 << 16) - 1
    network, scoped = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = struct.pack("=QQQ", files, network, scoped)[:size]
    ruleset = libc.call(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    rules = [(folder, files), *((path, _READ) for path in readable)]
    rules += [("/dev/null", _READ_FILE | _WRITE_FILE), ("/dev/urandom", _READ_FILE)]
    for path, rights in rules:
        try:
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # what is not there cannot be read
        allowed = rights if os.path.isdir(path) else rights & (_READ_FILE | _WRITE_FILE | 1)  # noqa: PTH112
        rule = struct.pack("=Qi", allowed, at)
        ok = libc.call(_LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0)) == 0
        os.close(at)
        if not ok:
            return False
    ok = libc.call(_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
    os.close(ruleset)
    return ok


def _drop_capabilities(libc: _Libc) -> None:
    for number in range(64):
        libc.prctl(_PR_CAPBSET_DROP, number)
    header, nothing = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    libc.lib.capset(header, nothing)


def _filter(libc: _Libc, program: bytes) -> bool:
    class Program(ctypes.Structure):
        _fields_ = (("n", ctypes.c_ushort), ("lines", ctypes.c_char_p))

    lines = ctypes.create_string_buffer(program, len(program))
    told = Program(len(program) // 8, ctypes.cast(lines, ctypes.c_char_p))
    return bool(program) and libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(told))


if __name__ == "__main__":
    main()
