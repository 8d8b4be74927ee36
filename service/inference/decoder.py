"""Photo decoder: uploads to pixels, as many at once as there are cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from indexer.core.container import usable_cores
from indexer.imaging.decode import ImageLimits, Photo, decode_photo
from indexer.imaging.parallel import decoding_threads
from service.inference.admission import DeadlineExceededError


class PhotoDecoder:
    """Decodes within the limits of the settings; safe to call from many threads.

    A decoded photo may take 200 MB, so as many at once as can work, not as many as there are
    requests.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._places = threading.BoundedSemaphore(max(2, decoding_threads(usable_cores())))

    @contextmanager
    def place(self, *, within_s: float | None = None) -> Iterator[None]:
        """Hold one of the places. Raises ``DeadlineExceededError`` where none is free in time."""
        if not self._places.acquire(timeout=within_s):
            raise DeadlineExceededError(
                "no time to decode the photo before its deadline: try again shortly"
            )
        try:
            yield
        finally:
            self._places.release()

    def decode(
        self,
        data: bytes,
        *,
        shrink_to: int | None,
        content_hash: str | None = None,
        within_s: float | None = None,
    ) -> Photo:
        """The photo, shrunk as the network takes it. Raises ``BadImageError`` and as ``place``."""
        with self.place(within_s=within_s):
            return decode_photo(data, limits=self._limits, shrink_to=shrink_to, hashed=content_hash)
