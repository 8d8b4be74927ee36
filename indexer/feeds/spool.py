"""Spool of objects on disk: what does not fit into memory between two passes of an import."""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, Self, TypeVar

from indexer.core.atomic_files import storage_failure

Spooled = TypeVar("Spooled")
_BUFFER = 1 << 20


class Spool(Generic[Spooled]):
    """Objects in the order they were added, read back by number.

    In a file without a name, which the system removes with the process, however that ends. Holds
    eight bytes of memory for each object. Every failure of the disk is a ``StorageError``.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(buffering=_BUFFER, dir=folder)  # noqa: SIM115
        except OSError as error:
            raise storage_failure(folder or Path(tempfile.gettempdir()), error) from error
        self._ends = array("Q", [0])
        self._flushed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, value: Spooled) -> int:
        """Add an object; returns its number."""
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        try:
            self._file.write(data)
        except OSError as error:
            raise storage_failure(self._folder or Path(tempfile.gettempdir()), error) from error
        self._flushed = False
        self._ends.append(self._ends[-1] + len(data))
        return len(self) - 1

    def __getitem__(self, number: int) -> Spooled:
        if not 0 <= number < len(self):
            raise IndexError(number)
        if not self._flushed:
            self._file.flush()
            self._flushed = True
        start = self._ends[number]
        data = os.pread(self._file.fileno(), self._ends[number + 1] - start, start)
        value: Spooled = pickle.loads(data)
        return value

    def __iter__(self) -> Iterator[Spooled]:
        return (self[number] for number in range(len(self)))
