"""Bulk embedding of photos: reading, decoding and the network overlap, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.core.errors import CatalensError
from indexer.core.native import THREADS
from indexer.core.timer import StageTimer
from indexer.imaging.decode import ImageLimits, Photo, decode_photo, file_limits
from indexer.imaging.parallel import DecodedT, SourceT, decoding_threads, held_bytes, in_order
from indexer.model.runtime_base import ParallelRuntime, Runtime

# Photos given at once to a network that has one owner, while the next ones are decoded.
_BATCH = 16
# Bytes of decoded photos from which no more are added to a batch.
_BATCH_BYTES = 128 * 2**20


def embed_all(
    sources: Iterable[SourceT],
    read: Callable[[SourceT], bytes],
    embedder: Runtime,
    *,
    limits: ImageLimits | None = None,
    timer: StageTimer | None = None,
) -> Iterator[tuple[SourceT, np.ndarray | CatalensError]]:
    """Yield each source with the embedding float32 [D] of its photo, or why it has none; in order.

    A ``ParallelRuntime`` runs in as many threads as it has ``workers``, each of which reads,
    decodes and passes one photo after another: no stage waits for another one. A network with one
    owner gets batches, while other threads decode ahead.
    """
    timer = timer or StageTimer()
    allowed = limits or file_limits()

    def decode(source: SourceT) -> Photo:
        with timer.stage("read"):
            data = read(source)
        with timer.stage("decode"):
            return decode_photo(data, limits=allowed, shrink_to=embedder.shrink_to)

    if isinstance(embedder, ParallelRuntime):
        return _embed_in_threads(sources, decode, embedder, timer)
    decoded = in_order(sources, decode, workers=decoding_threads(min(4, THREADS)))
    return _in_batches(decoded, embedder.embed, timer)


def _embed_in_threads(
    sources: Iterable[SourceT],
    decode: Callable[[SourceT], Photo],
    embedder: ParallelRuntime,
    timer: StageTimer,
) -> Iterator[tuple[SourceT, np.ndarray | CatalensError]]:
    def extract(source: SourceT) -> np.ndarray:
        photo = decode(source)
        with timer.stage("decode"):
            pixels = embedder.to_pixels(photo)
        with timer.stage("network"):
            return embedder.extract_photo_features(pixels)

    features = in_order(sources, extract, workers=embedder.workers)
    # One BLAS thread for each caller: small products of several threads wait for a shared team.
    with threadpool_limits(1, "blas"):
        yield from _in_batches(
            features, lambda rows: embedder.embed_features(np.stack(rows)), timer
        )


def _in_batches(
    pairs: Iterable[tuple[SourceT, DecodedT | CatalensError]],
    finish: Callable[[list[DecodedT]], np.ndarray],
    timer: StageTimer,
) -> Iterator[tuple[SourceT, np.ndarray | CatalensError]]:
    """Call ``finish`` with up to ``_BATCH`` at once, fewer where they are large; failures pass
    through in their places."""
    held: list[tuple[SourceT, DecodedT | CatalensError]] = []

    def flush() -> Iterator[tuple[SourceT, np.ndarray | CatalensError]]:
        good = [found for _, found in held if not isinstance(found, CatalensError)]
        with timer.stage("network"):
            vectors = iter(finish(good) if good else ())
        for source, found in held:
            yield source, found if isinstance(found, CatalensError) else next(vectors)
        held.clear()

    size = 0
    for pair in pairs:
        held.append(pair)
        size += held_bytes(pair[1])
        if len(held) == _BATCH or size > _BATCH_BYTES:
            yield from flush()
            size = 0
    yield from flush()
