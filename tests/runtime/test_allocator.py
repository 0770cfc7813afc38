import sys

import pytest

from nanolit.runtime.allocator import keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="advice for the C library of Linux")
def test_a_block_that_was_freed_is_not_fetched_from_the_system_again():
    """Page faults of taking and freeing 8 MB over and over, in a process of its own: thousands without, a few with."""
    code = """
import ctypes, resource, sys
from nanolit.runtime.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1); raise SystemExit
libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]
def once():
    block = libc.malloc(40 << 20 if sys.argv[1] == "too large" else 8 << 20); ctypes.memset(block, 1, 8 << 20);
    libc.free(block)
once(); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    import subprocess

    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    kept = faults("keep")
    if kept < 0:
        pytest.skip("this C library has no mallopt")
    assert kept < 500 < faults("too large")


def test_it_says_whether_it_did_anything():
    assert keep_freed_memory() in (True, False)
