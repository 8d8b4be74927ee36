"""Photo decoder: uploads to pixels, as many at once as there are cores and memory for."""

from __future__ import annotations

from indexer.core.errors import NoMemoryError
from indexer.core.memory_budget import MemoryBudget, decoding_budget, photo_memory
from indexer.imaging.decode import ImageLimits, Photo, decode_photo
from service.inference.admission import DeadlineExceededError

# Where the caller names no time: a write, which has no deadline.
_PATIENCE_S = 30.0


class PhotoDecoder:
    """Decodes within the limits of the settings; safe to call from many threads.

    ``memory``: bytes that photos may take, half of it while they are decoded and half of it while
    anybody holds them; None: by the machine's memory. A decoded photo gives its bytes back when it
    is dropped. So who holds one asks ``roomy`` before it decodes another, and lets go of the first
    where there is no room: two that hold and wait would wait for each other.
    """

    def __init__(self, limits: ImageLimits, memory: int | None = None) -> None:
        self._limits = limits
        half = (memory or photo_memory()) // 2
        decoding_budget().total = half
        self._held = MemoryBudget(half)

    @property
    def roomy(self) -> bool:
        """Whether a photo may be decoded beside one that is held."""
        return self._held.roomy

    @property
    def held_bytes(self) -> int:
        """Bytes of the decoded photos that are held now."""
        return self._held.taken

    def decode(
        self,
        data: bytes,
        *,
        shrink_to: int | None,
        content_hash: str | None = None,
        within_s: float | None = None,
    ) -> Photo:
        """The photo, shrunk as the network takes it.

        Raises ``BadImageError``, and ``DeadlineExceededError`` where neither a core nor memory is
        free ``within_s``.
        """
        try:
            return decode_photo(
                data,
                limits=self._limits,
                shrink_to=shrink_to,
                hashed=content_hash,
                memory=self._held,
                within_s=_PATIENCE_S if within_s is None else within_s,
            )
        except NoMemoryError as error:
            raise DeadlineExceededError(
                f"no time to decode the photo before its deadline: {error}"
            ) from error
