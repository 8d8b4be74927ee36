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


def printed(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is Linux's")
def test_more_than_the_share_raises_and_less_goes_on() -> None:
    """A later call loosens nothing; on a small machine a gigabyte is left."""
    assert printed(LIMITED) == [str(2 * 2**30), "no memory", str(2**20)]
    assert printed(SMALL) == [str(2**30)]
