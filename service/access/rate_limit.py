"""Rate limits: token buckets in one file of the home, which all its processes share."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.core.atomic_files import make_folder
from indexer.core.errors import ReadOnlyError
from indexer.core.file_owner import open_owned
from indexer.core.home import Home

# How many seconds' worth of requests may come at once.
BURST_S = 10.0

# Whoever holds the file reads and writes one set of it: a few microseconds. How long a request
# waits for that, how long nobody asks again where it was in vain, and how long a start waits.
_WAIT_S = 0.005
_HELD_S = 0.1
# How often the log tells of it.
_TOLD_S = 60.0
_OPENED_S = 2.0
_AGAIN_S = 0.0005

# The file: a head, then sets of slots; a name has its set by its hash, and in it any slot. So it
# never grows, and costs the same for any number of addresses.
_HEAD = struct.Struct("<8s16s")
_MAGIC = b"catlims1"
_SLOT = struct.Struct("<8sdd")  # hash of the name, tokens, seconds since 1970
_SLOTS = 8
_SETS = 4096
_SET_BYTES = _SLOTS * _SLOT.size
_SIZE = _HEAD.size + _SETS * _SET_BYTES


@dataclass(frozen=True)
class RateLimit:
    """Whose limit it is: ``name`` in its ``kind``, at ``rate`` requests a second."""

    kind: str
    name: str
    rate: float


class RateLimiter:
    """Counts requests. Safe to call from many threads and processes.

    Where the home cannot be written, each process counts for itself, in memory. So it does for a
    moment where another process holds the file, for it may be stopped: whoever accepts connections
    asks here, and waits for nobody. It goes on from what the file last said, and the file from the
    lesser of both.
    """

    def __init__(self, home: Home, log: Any) -> None:
        self._lock = threading.Lock()
        self._log = log
        # The file as this process last saw each set, and what it counted alone since.
        self._memory = bytearray(_SIZE)
        # Until when another process is taken to hold the file, and when the log may tell of it.
        self._held_until = 0.0
        self._told_after = 0.0
        self._file = -1
        self._salt = os.urandom(16)
        try:
            self._file = _open_file(home.path / "locks" / "limits")
            self._salt = self._read_salt()
        except (OSError, ReadOnlyError) as error:
            self._fall_back(error)

    def take(self, limit: RateLimit) -> float:
        """Count one request: 0.0 where it is within the limit, else the seconds to wait."""
        digest = hashlib.blake2b(
            f"{limit.kind}\0{limit.name}".encode(), key=self._salt, digest_size=16
        ).digest()
        place = _HEAD.size + int.from_bytes(digest[8:], "little") % _SETS * _SET_BYTES
        with self._lock:
            if self._file >= 0 and time.monotonic() >= self._held_until:
                try:
                    return self._take_shared(place, digest[:8], limit.rate)
                except BlockingIOError:
                    self._note_held()
                except OSError as error:
                    self._fall_back(error)
            slots = self._memory[place : place + _SET_BYTES]
            wait_s = _take(slots, digest[:8], limit.rate, time.time())
            self._memory[place : place + _SET_BYTES] = slots
            return wait_s

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _take_shared(self, place: int, name: bytes, rate: float) -> float:
        _lock_file(self._file, _WAIT_S)
        try:
            slots = bytearray(os.pread(self._file, _SET_BYTES, place))
            slots.extend(bytes(_SET_BYTES - len(slots)))
            now = time.time()
            known = _tokens(self._memory[place : place + _SET_BYTES], name, rate, now)
            wait_s = _take(slots, name, rate, now, known)
            os.pwrite(self._file, slots, place)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._memory[place : place + _SET_BYTES] = slots
        return wait_s

    def _note_held(self) -> None:
        now = time.monotonic()
        self._held_until = now + _HELD_S
        if now >= self._told_after:
            self._told_after = now + _TOLD_S
            self._log.warning("limits are held by another process")

    def _read_salt(self) -> bytes:
        magic, salt = _HEAD.unpack(os.pread(self._file, _HEAD.size, 0))
        assert magic == _MAGIC
        return bytes(salt)

    def _fall_back(self, error: Exception) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._log.warning("limits are counted by this process alone", error=str(error))


def _lock_file(file: int, wait_s: float) -> None:
    """Raise ``BlockingIOError`` where another process holds the file for longer than ``wait_s``."""
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _open_file(path: Path) -> int:
    """Open the file, made whole first where it is not: a hole in it could not be filled later on a
    full disk."""
    make_folder(path.parent, below=path.parent.parent)
    file = open_owned(path, os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # A stopped process may hold one that is whole, for as long as it likes.
        if not _is_whole(file):
            _lock_file(file, _OPENED_S)
            if not _is_whole(file):
                os.ftruncate(file, 0)
                data = _HEAD.pack(_MAGIC, os.urandom(16)) + bytes(_SETS * _SET_BYTES)
                if os.pwrite(file, data, 0) != len(data):
                    raise OSError(f"{path}: not written in full")
            fcntl.flock(file, fcntl.LOCK_UN)
    except BaseException:
        os.close(file)
        raise
    return file


def _is_whole(file: int) -> bool:
    return os.fstat(file).st_size == _SIZE and os.pread(file, 8, 0) == _MAGIC


def _take(
    slots: bytearray, name: bytes, rate: float, now: float, most: float = float("inf")
) -> float:
    """Take a token from the bucket of ``name`` among ``slots``, which holds ``most`` at most, or
    say how long to wait.

    A name that is new takes the slot that was unused for longest.
    """
    oldest_at = 0
    oldest = float("inf")
    for at in range(0, _SET_BYTES, _SLOT.size):
        held, _, since = _SLOT.unpack_from(slots, at)
        if held == name:
            break
        if since < oldest:
            oldest_at, oldest = at, since
    else:
        at = oldest_at
    tokens = min(_tokens(slots, name, rate, now), most)
    wait_s = 0.0 if tokens >= 1 else (1 - tokens) / rate
    if not wait_s:
        tokens -= 1
    _SLOT.pack_into(slots, at, name, tokens, now)
    return wait_s


def _tokens(slots: bytearray, name: bytes, rate: float, now: float) -> float:
    """How many tokens the bucket of ``name`` among ``slots`` holds now; a full one where it is
    none of them."""
    capacity = max(1.0, BURST_S * rate)
    for at in range(0, _SET_BYTES, _SLOT.size):
        held, tokens, since = _SLOT.unpack_from(slots, at)
        if held == name:
            break
    else:
        return capacity
    # A clock that was set back, or a damaged slot, locks nobody out.
    if not 0 <= now - since < 1e9 or not 0 <= tokens <= capacity:
        tokens, since = min(max(tokens, 0.0), capacity) if tokens == tokens else capacity, now
    return float(min(capacity, tokens + (now - since) * rate))
