"""Limits on the memory that a process takes, and on what it keeps of it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from indexer.core.container import usable_memory
from indexer.core.errors import NoMemoryError

# The service's setting, which its workers find in their environment.
JOB_MEMORY = "CATALENS_JOB_MEMORY"
# Exit code of a worker that could not be ended more gently.
OVER_MEMORY = 79
# of the memory, for a worker
_SHARE = 0.75
# The least that is left to a worker: below, nothing could be done on a small machine.
_LEAST = 2**30
# times what work says that it needs: an estimate is no promise
_MARGIN = 2.0
_LEAST_EXPECTED = 2**31
# Address space that libraries write to later or never: stacks, tables, buffers.
_UNTOUCHED = 2**31
_WATCH_S = 0.05
# How long work may take to end by itself, and how far beyond its limit it may get meanwhile.
_PATIENCE_S = 10.0
_FAR = 1.25
# Out of memory's killer takes the process with the highest number first.
_FIRST_TO_GO = "1000"
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
# How libraries in C++ say that there is no memory.
_REFUSED = ("bad_alloc", "can't allocate memory", "Cannot allocate memory")
# malloc.h of glibc
_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
_KEPT_BLOCK = 8 * 2**20


def worker_memory() -> int | None:
    """Return the bytes that a worker may take: the setting ``job_memory``, else three quarters of
    the machine's or the container's memory, but 1 GiB in any case; None where it is not known."""
    given = os.environ.get(JOB_MEMORY, "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    memory = usable_memory()
    return None if memory is None else max(round(memory * _SHARE), _LEAST)


def limit_memory(most: int | None) -> None:
    """Let this process write to no more than ``most`` bytes of memory.

    What goes beyond raises ``MemoryError`` here, instead of taking the memory of the service that
    started it. Counts address space that can be written to, not files that are read through a map.
    Linux only; a tighter limit stays.
    """
    if most is None or not sys.platform.startswith("linux"):
        return
    import resource

    wanted = most
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    for limit in (soft, hard):
        if limit != resource.RLIM_INFINITY:
            wanted = min(wanted, limit)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


@contextmanager
def limited_memory() -> Iterator[None]:
    """Inside, this process takes no more memory than a worker may.

    For a command that a person started, which reads what strangers sent. Raises ``NoMemoryError``.
    """
    try:
        import resource
    except ImportError:  # Windows
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit_memory(worker_memory())
    try:
        yield
    except MemoryError as error:
        raise NoMemoryError(
            f"more memory would be needed than may be taken ({_reason()}): {_ADVICE}"
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def limit_import() -> None:
    """Limit a worker that reads what strangers sent: the first byte too much is refused."""
    _go_first()
    limit_memory(worker_memory())


def limit_worker() -> None:
    """Limit a worker that builds, compacts or erases: what it holds is watched.

    A limit on address space would count what CUDA and torch reserve and never touch; without a
    GPU there is one too, so much wider, against one huge allocation.
    """
    global _watch
    _go_first()
    most = worker_memory()
    if most is None or not sys.platform.startswith("linux"):
        return
    if not any(Path(driver).exists() for driver in _GPU_DRIVERS):
        limit_memory(most + _UNTOUCHED)
    _watch = MemoryWatch(most)
    _watch.start()


def expect_memory(what: str, need: int) -> None:
    """Say that ``what``, which begins, is estimated to take ``need`` bytes in all.

    In a worker its limit is twice that from now on, where that is less. Raises ``NoMemoryError``
    where a worker may not take so much. Elsewhere nothing happens.
    """
    if _watch is not None:
        _watch.expect(what, need)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the system refused memory, as Python or a library says it."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _REFUSED)


class MemoryWatch:
    """A thread that ends the work of this process where it holds more memory than it may.

    The work gets a ``NoMemoryError`` in the main thread, and tidies up. What does not end by that
    (a library that calculates for minutes) is ended with the message on stderr and the exit code
    ``OVER_MEMORY``. ``start`` is called in the main thread.
    """

    def __init__(
        self,
        most: int,
        *,
        held: Callable[[], int | None] | None = None,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._most = most
        self._limit = most
        self._what = "the work"
        self._why = _reason()
        self._held = held or held_memory
        self._leave = leave
        self._told: float | None = None
        self._raised = True
        self._message = ""
        self._done = threading.Event()

    def start(self) -> None:
        """Watch until the process ends."""
        signal.signal(signal.SIGUSR1, self._raise)
        threading.Thread(target=self._run, name="memory", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._done.set()

    def expect(self, what: str, need: int) -> None:
        """As ``expect_memory``."""
        # Pages of libraries and of versions, which the system takes back when it needs them.
        need -= min(_status("RssFile:") or 0, need)
        if need > self._most:
            raise NoMemoryError(
                f"{what} is estimated to take {_size(need)} of memory, and a worker may take "
                f"{_size(self._most)} ({_reason()}): {_ADVICE}"
            )
        self._what = what
        self._limit = self._most
        wanted = max(round(_MARGIN * need), _LEAST_EXPECTED)
        if wanted < self._most and not os.environ.get(JOB_MEMORY, "").strip("0"):
            self._limit = wanted
            self._why = f"twice the {_size(need)} that it was estimated to take"

    def look(self) -> None:
        """Measure once, and act."""
        held = self._held()
        if held is None or held <= self._limit:
            self._told = None
            return
        self._message = (
            f"{self._what} took {_size(held)} of memory, and may take {_size(self._limit)} "
            f"({self._why}): {_ADVICE}"
        )
        now = time.monotonic()
        if self._told is None:
            self._told = now
            self._raised = False
        elif now - self._told > _PATIENCE_S or held > _FAR * self._limit:
            print(f"{NoMemoryError.code}: {self._message}", file=sys.stderr, flush=True)
            self._leave(OVER_MEMORY)
        if not self._raised:
            # Again and again: one that comes just before a long call is seen after it.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def _run(self) -> None:
        while not self._done.wait(_WATCH_S):
            self.look()

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        if not self._raised:
            self._raised = True
            raise NoMemoryError(self._message)


_watch: MemoryWatch | None = None
_ADVICE = (
    "give the machine or the container more memory, or a worker more of it by the setting "
    "job_memory (bytes); nothing was changed by halves"
)


def held_memory() -> int | None:
    """Return the bytes that this process holds for itself, in memory or swapped out, without files
    that it maps; None where the system does not say (Linux does)."""
    return _status("RssAnon:", "VmSwap:")


def _status(*names: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/self/status").read_text().splitlines()
        named = [line.split() for line in lines if line.startswith(names)]
        if named:
            return sum(int(words[1]) for words in named) * 1024
    return None


def release_freed_memory() -> None:
    """Let freed blocks of 8 MiB and more go back to the system at once (glibc; elsewhere nothing).

    glibc raises this bound by itself, up to 32 MiB, with each such block that is freed. Then what
    photos took stays with the process, in pieces.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _KEPT_BLOCK)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BLOCK)


def _go_first() -> None:
    """Where the machine or the container runs out of memory, this process is killed and not the
    service that answers."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


def _reason() -> str:
    if os.environ.get(JOB_MEMORY, "").strip("0"):
        return "setting job_memory"
    return "three quarters of the memory of the machine or the container"


def _size(count: int) -> str:
    return f"{count / 1e9:,.2f} GB"
