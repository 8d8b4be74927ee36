"""Many photos decoded ahead of the network, in order and with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from indexer.errors import BadImage, CatalensError
from indexer.images import ImageLimits, Photo, decode

Source = TypeVar("Source")
_AHEAD = 16  # decoded photos that wait for the network


def decode_all(
    sources: Iterable[Source],
    read: Callable[[Source], bytes],
    *,
    limits: ImageLimits | None = None,
    shrink_to: int | None = None,
) -> Iterator[tuple[Source, Photo | CatalensError]]:
    """Each source with its photo, or with the reason why it has none; in order. Pillow decodes outside the GIL."""

    def one(source: Source) -> Photo | CatalensError:
        try:
            return decode(read(source), limits=limits or ImageLimits(), shrink_to=shrink_to)
        except CatalensError as error:
            return error
        except OSError as error:
            return BadImage(f"cannot be read: {error.strerror or error}")

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        waiting: deque[tuple[Source, Future[Photo | CatalensError]]] = deque()
        for source in sources:
            waiting.append((source, pool.submit(one, source)))
            if len(waiting) > _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
