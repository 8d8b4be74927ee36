"""A process that takes too much memory fails by itself, by name, before the machine does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.core import process_limits
from indexer.core.errors import NoMemoryError
from indexer.core.process_limits import MemoryWatch

LIMITED = """
import resource, sys
from indexer.core import process_limits
process_limits.limit_memory(2 * 2**30)
process_limits.limit_memory(3 * 2**30)
process_limits.limit_memory(None)
print(resource.getrlimit(resource.RLIMIT_DATA)[0])
try:
    bytearray(3 * 2**30)
except MemoryError:
    print("no memory")
print(len(bytearray(2**20)))
"""
GREEDY = """
import sys, time
from indexer.core import process_limits
from indexer.core.errors import NoMemoryError
process_limits.limit_worker()
print(open("/proc/self/oom_score_adj").read().strip(), flush=True)
process_limits.expect_memory("the build", 2**20)
try:
    held = [b"x" * (20 * 2**20) for _ in range(6)]
    time.sleep(30)
except NoMemoryError as error:
    print(error, flush=True)
    if sys.argv[1] == "gentle":
        sys.exit(3)
held.append(b"x" * (60 * 2**20))
while True:
    time.sleep(0.01)
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
    """A later call loosens nothing."""
    assert printed(LIMITED) == [str(2 * 2**30), "no memory", str(2**20)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has this limit")
def test_what_a_command_reads_is_limited_as_a_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit it fails by name, and after it the process is as it was."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setenv(process_limits.JOB_MEMORY, str(2**30))
    with pytest.raises(NoMemoryError, match="setting job_memory"), process_limits.limited_memory():
        bytearray(2**31)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize(
    ("given", "memory", "most"),
    [
        ("", 8 * 2**30, 6 * 2**30),
        ("0", 8 * 2**30, 6 * 2**30),
        ("5000000000", 2**30, 5_000_000_000),
        ("", 2**29, 2**30),
        ("", None, None),
    ],
)
def test_a_worker_s_share(
    monkeypatch: pytest.MonkeyPatch, given: str, memory: int | None, most: int | None
) -> None:
    """The setting, else three quarters; on a small machine a gigabyte is left."""
    monkeypatch.setenv(process_limits.JOB_MEMORY, given)
    monkeypatch.setattr(process_limits, "usable_memory", lambda: memory)
    assert process_limits.worker_memory() == most


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says what is held")
@pytest.mark.parametrize(("way", "code"), [("gentle", 3), ("deaf", process_limits.OVER_MEMORY)])
def test_a_worker_over_its_limit_ends_and_says_why(way: str, code: int) -> None:
    """The work is told first and may tidy up; what does not listen is ended. Either way what, how
    much, and the setting are named, and the system would rather kill this process than others."""
    done = subprocess.run(
        [sys.executable, "-c", GREEDY, way],
        capture_output=True,
        text=True,
        env={**os.environ, process_limits.JOB_MEMORY: "120000000"},
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    score, told = done.stdout.splitlines()
    assert score == "1000"
    for text in [told, done.stderr] if way == "deaf" else [told]:
        assert re.search(r"the build took 0\.[12]\d GB of memory, and may take 0\.12 GB", text), (
            text
        )
        assert "setting job_memory" in text
    if way == "deaf":
        assert done.stderr.startswith("no-memory: ")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What the process is taken to hold, in bytes."""
    monkeypatch.delenv(process_limits.JOB_MEMORY, raising=False)
    monkeypatch.setattr(process_limits, "_status", lambda *_: None)
    before = signal.getsignal(signal.SIGUSR1)
    yield [0]
    signal.signal(signal.SIGUSR1, before)


def test_what_was_estimated_tightens_the_limit(held: list[int]) -> None:
    """Twice the estimate, two gigabytes in any case, and never more than a worker may."""
    left: list[int] = []
    watch = MemoryWatch(100 * 2**30, held=lambda: held[0], leave=left.append)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for need, limit in ((2**20, 2 * 2**30), (5 * 2**30, 10 * 2**30), (80 * 2**30, 100 * 2**30)):
        watch.expect("the build", need)
        held[0] = limit
        watch.look()
        assert watch._told is None
        held[0] = limit + 1
        watch.look()
        assert watch._told is not None
        held[0] = 0
        watch.look()
    assert left == [], "it was told, and listened"


def test_what_needs_more_than_there_is_does_not_begin(
    held: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are mapped, libraries above all, take no memory from anybody."""
    watch = MemoryWatch(2 * 2**30, held=lambda: held[0])
    watch.expect("the build", 2 * 2**30)
    monkeypatch.setattr(process_limits, "_status", lambda *_: 500_000_000)
    watch.expect("the build", 2_600_000_000)
    monkeypatch.setattr(process_limits, "_status", lambda *_: 0)
    with pytest.raises(NoMemoryError, match=r"the build .* 3\.00 GB .* 2\.15 GB .* job_memory"):
        watch.expect("the build", 3_000_000_000)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), True),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_what_libraries_say_without_memory(error: BaseException, is_one: bool) -> None:
    assert process_limits.is_out_of_memory(error) is is_one


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_blocks_go_back_to_the_system() -> None:
    """What eight threads took for large photos does not stay with them."""
    kept, released = (int(printed(KEPT, way)[0]) for way in ("kept", "released"))
    assert released <= kept
    assert released < 80


ROOT = Path(process_limits.__file__).parents[2]
# Files that start processes: each one's work is named with the module that does it, and the
# function there that limits it first.
CHILDREN = {
    "service/background/worker_process.py": [
        ("indexer/operations/jobs.py", "main"),
        ("indexer/operations/compaction.py", "main"),
        ("indexer/operations/erasure.py", "main"),
        ("indexer/operations/sync.py", "main"),
    ],
    "indexer/operations/forget_photos.py": [("indexer/operations/forget_photos.py", "main")],
    "tools/start.py": [("tools/start.py", "follow_page")],
    # Draws the sample catalog, of a size that the program chose.
    "tools/sample/catalog.py": [],
}
_STARTS = re.compile(r"subprocess\.(Popen|run|call|check_\w+)\(|ProcessPoolExecutor\(|os\.fork\(")


def test_each_child_process_has_a_limit_of_memory() -> None:
    """A file that starts processes is in the list, and what it starts limits itself before it
    works; whatever is started as a worker is among them."""
    files = [
        path for part in ("indexer", "service", "tools") for path in (ROOT / part).rglob("*.py")
    ]
    own = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files}
    starting = {
        name
        for name, text in own.items()
        # What measures the program starts it as users do.
        if _STARTS.search(text) and not name.startswith("tools/bench/")
    }
    assert starting == CHILDREN.keys()
    for worker, entry in (pair for pairs in CHILDREN.values() for pair in pairs):
        body = own[worker].partition(f"def {entry}(")[2].partition("\n\n\n")[0]
        assert re.search(r"limit_(worker|import)\(\)", body), worker
    named = re.findall(r"WorkerProcess\(\s*(\w+)\.__name__", "".join(own.values()))
    workers = {Path(worker).stem for worker, _ in CHILDREN["service/background/worker_process.py"]}
    assert set(named) == workers
