"""Photos that are decoded whenever they are asked for, so that many of them take no memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from indexer.imaging.decode import ImageLimits, Photo, decode_photo


class PhotoSequence(Sequence[Photo]):
    """A photo for each of ``readers``, which give its bytes; none is held.

    ``limits`` and ``shrink_to`` as for ``decode_photo``. Asking for one raises what reading and
    decoding raise.
    """

    def __init__(
        self,
        readers: Sequence[Callable[[], bytes]],
        *,
        limits: ImageLimits | None = None,
        shrink_to: int | None = None,
    ) -> None:
        self._readers = readers
        self._limits = limits
        self._shrink_to = shrink_to

    def __len__(self) -> int:
        return len(self._readers)

    @overload
    def __getitem__(self, place: int) -> Photo: ...

    @overload
    def __getitem__(self, place: slice) -> PhotoSequence: ...

    def __getitem__(self, place: int | slice) -> Photo | PhotoSequence:
        found = self._readers[place]
        if isinstance(found, Sequence):
            return PhotoSequence(found, limits=self._limits, shrink_to=self._shrink_to)
        return decode_photo(found(), limits=self._limits, shrink_to=self._shrink_to)
