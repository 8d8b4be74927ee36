"""Many photos to vectors: reading, decoding and the network overlap, in order and with bounded
memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.core.errors import CatalensError
from indexer.core.native import THREADS
from indexer.core.timer import StageTimer
from indexer.imaging.decode import ImageLimits, Photo, decode_photo
from indexer.imaging.parallel import DecodedT, SourceT, in_order

_BATCH = 16  # photos given at once to a network that has one owner, while the next ones are decoded


class PhotoEmbedder(Protocol):
    """What is needed of ``indexer.model.torch_runtime.TorchRuntime``."""

    @property
    def shrink_to(self) -> int | None: ...

    @property
    def workers(self) -> int: ...

    def embed(self, photos: Sequence[Photo]) -> np.ndarray: ...

    def pixels(self, photo: Photo) -> np.ndarray: ...

    def describe_beside(self, pixels: np.ndarray) -> np.ndarray: ...

    def embed_features(self, features: np.ndarray) -> np.ndarray: ...


def embed_all(
    sources: Iterable[SourceT],
    read: Callable[[SourceT], bytes],
    embedder: PhotoEmbedder,
    *,
    limits: ImageLimits | None = None,
    timer: StageTimer | None = None,
) -> Iterator[tuple[SourceT, np.ndarray | CatalensError]]:
    """Each source with the embedding float32 [D] of its photo, or with the reason why it has none;
    in order.

    A network with ``workers`` runs in as many threads, each of which reads, decodes and looks at
    one photo after another: no stage waits for another one. A network with one owner gets batches,
    while other threads decode ahead.
    """
    timer = timer or StageTimer()
    allowed = limits or ImageLimits()

    def decoded(source: SourceT) -> Photo:
        with timer.stage("read"):
            data = read(source)
        with timer.stage("decode"):
            return decode_photo(data, limits=allowed, shrink_to=embedder.shrink_to)

    def described(source: SourceT) -> np.ndarray:
        photo = decoded(source)
        with timer.stage("decode"):
            pixels = embedder.pixels(photo)
        with timer.stage("network"):
            return embedder.describe_beside(pixels)

    if embedder.workers:
        seen = in_order(sources, described, workers=embedder.workers)
        return _unshared(
            _in_batches(seen, lambda rows: embedder.embed_features(np.stack(rows)), timer)
        )
    return _in_batches(in_order(sources, decoded, workers=min(4, THREADS)), embedder.embed, timer)


def _unshared(found: Iterator[DecodedT]) -> Iterator[DecodedT]:
    """The same, with one BLAS thread for each caller: small products of several threads wait for a
    shared team."""
    with threadpool_limits(1, "blas"):
        yield from found


def _in_batches(
    pairs: Iterable[tuple[SourceT, DecodedT | CatalensError]],
    finish: Callable[[list[DecodedT]], np.ndarray],
    timer: StageTimer,
) -> Iterator[tuple[SourceT, np.ndarray | CatalensError]]:
    """``finish`` makes vectors of several at once."""
    held: list[tuple[SourceT, DecodedT | CatalensError]] = []

    def flush() -> Iterator[tuple[SourceT, np.ndarray | CatalensError]]:
        good = [found for _, found in held if not isinstance(found, CatalensError)]
        with timer.stage("network"):
            vectors = iter(finish(good) if good else ())
        for source, found in held:
            yield source, found if isinstance(found, CatalensError) else next(vectors)
        held.clear()

    for pair in pairs:
        held.append(pair)
        if len(held) == _BATCH:
            yield from flush()
    yield from flush()
