"""Feed file: bytes of a feed, unpacked while they are read where it is gzipped."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import IO, Any

from indexer.core.contained_files import contained_path, open_contained
from indexer.core.errors import BadDataError
from indexer.core.regular_files import held_bytes

# Bytes of a feed, packed or not: reading them costs by the byte, whether a disk holds them or not.
MOST_BYTES = 64 << 30
# Bytes from which a packed file must have a plausible ratio, and that ratio.
FREE_BYTES = 64 << 20
MOST_RATIO = 250
_GZIP = b"\x1f\x8b"
# Zero bytes in a row that no text has in any encoding: a hole of a file, or a copy that broke off.
_MOST_ZEROS = 1 << 20
# Steps of few bytes, each of which costs as much as one of many: names and padding of gzip's parts.
_FREE_STEPS = 1 << 16
_STEP_BYTES = 1 << 10
_FEW_BYTES = 256


class FeedFile:
    """A feed on disk. ``name`` and ``suffix`` are those of what is in a gzip file.

    ``within``: the folder that it lies in, whatever links are put there meanwhile.
    """

    def __init__(self, path: Path, within: Path | None = None) -> None:
        self.path = path if within is None else contained_path(within, path) or path
        self._within = within
        try:
            with self._open() as file:
                size = os.fstat(file.fileno()).st_size
                # A packed feed may stand for so much for each byte that somebody sent.
                self.held = held_bytes(file)
                self.gzipped = file.read(2) == _GZIP
        except OSError as error:
            raise BadDataError(f"{path} cannot be read: {error.strerror or error}") from error
        if size > MOST_BYTES:
            raise BadDataError(
                f"{path} has {size >> 30} GiB; feeds are read up to {MOST_BYTES >> 30} GiB: part it"
            )
        name = path.name
        if self.gzipped and name.lower().endswith((".gz", ".gzip")):
            name = name.rpartition(".")[0]
        self.name = name
        self.suffix = Path(name).suffix.lower()
        # Why a gzip file could not be read to its end, once that was met.
        self.damage: str | None = None

    def most_unpacked(self) -> int:
        """The bytes or characters that a packed feed may stand for."""
        return min(max(FREE_BYTES, MOST_RATIO * self.held), MOST_BYTES)

    def refuse_unpacked(self, instead: str = "unpack it yourself") -> BadDataError:
        """What is raised for a feed that stands for more than ``most_unpacked``."""
        return BadDataError(
            f"{self.path} unpacks to more than {MOST_RATIO} times its size, or than "
            f"{MOST_BYTES >> 30} GiB, as no feed does: {instead} if you trust it"
        )

    def open(self) -> IO[bytes]:
        """The bytes from the beginning. Raises ``BadDataError``."""
        try:
            file = self._open()
        except OSError as error:
            raise BadDataError(f"{self.path} cannot be read: {error.strerror or error}") from error
        if not self.gzipped:
            return file
        return io.BufferedReader(_Unpacked(self, file), 1 << 17)

    def open_text(self) -> IO[bytes]:
        """As ``open``; reading raises ``BadDataError`` at a stretch that no text has."""
        return io.BufferedReader(_Text(self, self.open()), 1 << 17)

    def _open(self) -> IO[bytes]:
        if self._within is None:
            return self.path.open("rb")
        return open_contained(self._within, self.path)

    def head(self, size: int) -> bytes:
        """The first bytes, at most ``size``."""
        with self.open() as file:
            return read_all(file, size)


def read_all(file: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, fewer only at the end; pipes and unpackers may give less at once."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Text(io.RawIOBase):
    """Bytes of a text. A hole of a file is gigabytes that nobody sent."""

    def __init__(self, feed: FeedFile, file: IO[bytes]) -> None:
        self._feed = feed
        self._file = file
        self._zeros = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._file.read1(len(buffer))  # type: ignore[attr-defined]
        buffer[: len(part)] = part
        self._zeros = 0 if part.strip(b"\0") else self._zeros + len(part)
        if self._zeros > _MOST_ZEROS:
            raise BadDataError(
                f"{self._feed.path} holds more than {_MOST_ZEROS >> 20} MiB of zero bytes in a "
                "row, as no text does: was it copied whole?"
            )
        return len(part)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Packed:
    """A gzip file, which ends where it has far too many parts for what they hold, or padding."""

    def __init__(self, feed: FeedFile, file: IO[bytes]) -> None:
        self._feed = feed
        self._file = file
        self._left = _FREE_STEPS * _STEP_BYTES

    def read(self, size: int) -> bytes:
        part = self._file.read(size)
        self._left += len(part) if size > _FEW_BYTES else -_STEP_BYTES
        if self._left < 0:
            self._feed.damage = (
                "is a damaged gzip file (endless padding, or parts that hold nothing): what "
                "follows is not read"
            )
            return b""
        return part

    def close(self) -> None:
        self._file.close()


class _Unpacked(io.RawIOBase):
    """Bytes of a gzip file up to where it is damaged; one that unpacks to far more than feeds do is
    refused."""

    def __init__(self, feed: FeedFile, file: IO[bytes]) -> None:
        self._feed = feed
        self._packed = file
        packed: Any = _Packed(feed, file)
        self._file = gzip.GzipFile(fileobj=packed)
        self._left = feed.most_unpacked()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            # What one step gives: an error behind it would take back what was read before.
            part = self._file.read1(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            self._feed.damage = self._feed.damage or (
                f"is a damaged gzip file ({error}): what follows cannot be read"
            )
            return 0
        buffer[: len(part)] = part
        self._left -= len(part)
        if self._left < 0:
            raise self._feed.refuse_unpacked()
        return len(part)

    def close(self) -> None:
        self._file.close()
        self._packed.close()
        super().close()
