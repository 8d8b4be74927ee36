"""Parallel decoding of many photos ahead of the network, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from indexer.core.container import usable_memory
from indexer.core.errors import BadImageError, CatalensError
from indexer.core.native import THREADS
from indexer.imaging.decode import ImageLimits, Photo, decode_photo, file_limits

SourceT = TypeVar("SourceT")
DecodedT = TypeVar("DecodedT")
# decoded photos that wait for the network
_AHEAD = 16
# bytes of results that wait: beyond, nothing more is begun
_MOST_HELD = 256 * 2**20
# bytes that the largest photo takes while it is decoded, with its copies
_LARGEST = 512 * 2**20


def decoding_threads(most: int) -> int:
    """Return how many photos to decode at once: ``most``, or fewer where memory is short; never 0.

    Half of the memory that this process may use holds the largest photos of all threads.
    """
    memory = usable_memory()
    return max(1, most if memory is None else min(most, memory // 2 // _LARGEST))


def held_bytes(result: object) -> int:
    """Return the bytes of a decoded photo, or what an array or another result says as ``nbytes``; 0
    of anything else."""
    if isinstance(result, Photo):
        return 4 * result.pixels.width * result.pixels.height
    return int(getattr(result, "nbytes", 0))


def _held(waiting: Iterable[tuple[object, Future[DecodedT]]]) -> int:
    """Bytes of the results that are there and wait."""
    return sum(held_bytes(one.result()) for _, one in waiting if one.done() and not one.exception())


def decode_all(
    sources: Iterable[SourceT],
    read: Callable[[SourceT], bytes],
    *,
    limits: ImageLimits | None = None,
    shrink_to: int | None = None,
) -> Iterator[tuple[SourceT, Photo | CatalensError]]:
    """Yield each source with its photo, or with the reason why it has none; in order.

    Pillow decodes outside the GIL.
    """

    allowed = limits or file_limits()

    def one(source: SourceT) -> Photo:
        return decode_photo(read(source), limits=allowed, shrink_to=shrink_to)

    return in_order(sources, one, workers=decoding_threads(min(4, THREADS)))


def in_order(
    sources: Iterable[SourceT],
    work: Callable[[SourceT], DecodedT],
    *,
    workers: int,
    ahead: int = _AHEAD,
) -> Iterator[tuple[SourceT, DecodedT | CatalensError]]:
    """Yield each source with what ``work`` makes of it, or with why it could not; in order.

    ``work`` runs in ``workers`` threads; 0: in the calling one, with its priority. At most
    ``ahead`` results wait, fewer where they are large photos. Other failures than
    ``CatalensError`` and ``OSError`` are raised.
    """

    def one(source: SourceT) -> DecodedT | CatalensError:
        try:
            return work(source)
        except CatalensError as error:
            return error
        except OSError as error:
            return BadImageError(f"cannot be read: {error.strerror or error}")

    if not workers:
        yield from ((source, one(source)) for source in sources)
        return
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[tuple[SourceT, Future[DecodedT | CatalensError]]] = deque()
        for source in sources:
            waiting.append((source, pool.submit(one, source)))
            while waiting and (len(waiting) > ahead or _held(waiting) > _MOST_HELD):
                first, future = waiting.popleft()
                yield first, future.result()
                del future
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
