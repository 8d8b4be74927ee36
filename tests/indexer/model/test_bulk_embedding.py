"""Many photos to vectors: in order, one broken photo alone, bounded, whichever way the network
runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from indexer.core.errors import BadImageError, CatalensError
from indexer.core.timer import StageTimer
from indexer.imaging.decode import Photo
from indexer.model.bulk_embedding import embed_all
from indexer.model.runtime_base import ParallelRuntime, Runtime
from tests.service.conftest import COLOURS, KINDS, photo

FILES = [photo(kind, colour) for kind in KINDS for colour in COLOURS]


class Hashes(Runtime):
    """A network with one owner, whose vector of a photo is the first bytes of its hash."""

    shrink_to = None
    backbone_digest = ""
    network = None

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, photos: Sequence[Photo]) -> np.ndarray:
        self.batches.append(len(photos))
        return np.stack([vector(photo) for photo in photos])

    def extract_features(self, photos: Sequence[Photo]) -> np.ndarray:
        return self.embed(photos) + 1

    def embed_features(self, features: np.ndarray) -> np.ndarray:
        return features - 1

    def logits(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        return {}


class ParallelHashes(Hashes, ParallelRuntime):
    """The same network, used by two threads."""

    workers = 2

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()

    def to_pixels(self, photo: Photo) -> np.ndarray:
        return vector(photo)

    def extract_photo_features(self, pixels: np.ndarray) -> np.ndarray:
        self.threads.add(threading.current_thread().name)
        time.sleep(0.002)
        return pixels + 1


def vector(photo: Photo) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(photo.content_hash)[:4], np.uint8).astype(np.float32)


@pytest.mark.parametrize("runtime", [Hashes, ParallelHashes])
def test_each_photo_gets_its_own_vector_in_order_and_a_broken_one_fails_alone(
    runtime: type[Hashes],
) -> None:
    files = [*FILES[:5], b"\xff\xd8\xff broken", *FILES[5:], b""]
    embedder = runtime()
    found = list(embed_all(files, lambda data: data, embedder))
    assert [source for source, _ in found] == files
    failed = [place for place, (_, got) in enumerate(found) if isinstance(got, CatalensError)]
    assert failed == [5, len(files) - 1]
    from indexer.imaging.decode import decode_photo

    for source, got in found:
        if not isinstance(got, CatalensError):
            np.testing.assert_array_equal(got, vector(decode_photo(source)))
    if isinstance(embedder, ParallelHashes):
        assert len(embedder.threads) == 2
    else:
        assert embedder.batches[0] == 15  # sixteen read, one of them broken


@pytest.mark.parametrize("runtime", [Hashes, ParallelHashes])
def test_a_file_that_cannot_be_read_is_named_and_other_failures_are_not_hidden(
    runtime: type[Hashes],
) -> None:
    def gone(_: bytes) -> bytes:
        raise FileNotFoundError(2, "No such file")

    def bug(_: bytes) -> bytes:
        raise RuntimeError("bug")

    (pair,) = embed_all(FILES[:1], gone, runtime())
    assert isinstance(pair[1], BadImageError)
    assert "No such file" in str(pair[1])
    with pytest.raises(RuntimeError, match="bug"):
        list(embed_all(FILES[:1], bug, runtime()))


@pytest.mark.parametrize("runtime", [Hashes, ParallelHashes])
def test_no_more_is_read_ahead_than_a_few_photos_whatever_the_catalog(
    runtime: type[Hashes],
) -> None:
    """Memory stays bounded: a consumer that stops leaves the rest of a million photos unread."""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for number in range(10**6):
            taken += 1
            yield FILES[number % len(FILES)]

    stream = embed_all(endless(), lambda data: data, runtime())
    for _ in range(20):
        next(stream)
    assert taken < 80
    stream.close()  # type: ignore[attr-defined]


def test_the_slowest_stage_is_named_with_its_share() -> None:
    timer = StageTimer()
    assert timer.bottleneck() == ""
    timer._seconds.update(read=0.1, decode=0.6, network=0.3)
    assert timer.bottleneck() == "decode 60%"
