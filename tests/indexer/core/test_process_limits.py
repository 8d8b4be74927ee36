"""A process that reads what strangers sent fails by itself before the machine does."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIMITED = """
import resource, sys
from indexer.core import process_limits
process_limits.usable_memory = lambda: 4 * 2**30
process_limits.limit_memory(0.5)
process_limits.limit_memory(0.75)
print(resource.getrlimit(resource.RLIMIT_DATA)[0])
try:
    bytearray(3 * 2**30)
except MemoryError:
    print("no memory")
print(len(bytearray(2**20)))
"""
SMALL = """
import resource
from indexer.core import process_limits
process_limits.usable_memory = lambda: 2**29
process_limits.limit_memory(0.5)
print(resource.getrlimit(resource.RLIMIT_DATA)[0])
"""
KEPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from indexer.core.process_limits import release_freed_memory
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024
def work(number):
    blocks = [bytes(1_000) + bytearray(9 * 2**20) for _ in range(8)]
    return [bytes(500_000) for _ in range(20)][number % 20]
if sys.argv[1] == "released":
    release_freed_memory()
before = resident()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(work, range(64)))
    print(resident() - before)
"""


def printed(code: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is Linux's")
def test_more_than_the_share_raises_and_less_goes_on() -> None:
    """A later call loosens nothing; on a small machine a gigabyte is left."""
    assert printed(LIMITED) == [str(2 * 2**30), "no memory", str(2**20)]
    assert printed(SMALL) == [str(2**30)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_blocks_go_back_to_the_system() -> None:
    """What eight threads took for large photos does not stay with them."""
    kept, released = (int(printed(KEPT, way)[0]) for way in ("kept", "released"))
    assert released <= kept
    assert released < 80
