"""Decoded photos share one budget, whoever asks: questions, reviews, writes, heat maps."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.decode import ImageLimits
from service.engine import Engine, Query
from service.inference.admission import DeadlineExceededError
from service.inference.decoder import PhotoDecoder
from service.products.writer import Draft
from service.settings import Settings

SIDE = 600
HELD = 4 * SIDE * SIDE + 8 * SIDE


def large(number: int) -> bytes:
    """A PNG, which cannot be decoded at a smaller size; each number is another photo."""
    out = io.BytesIO()
    image = Image.new("RGB", (SIDE, SIDE), (number, 90, 200))
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.fixture
def tight(own_home: Path) -> Iterator[Engine]:
    """An engine with room for two large photos that are held, and for two that are decoded."""
    settings = Settings(home=own_home, max_decoded_bytes=50 * SIDE * SIDE // 2, deadline_s=300.0)
    with Engine(settings, watch=False) as engine:
        yield engine


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes held after each decoding of any decoder."""
    found: list[int] = []
    decode = PhotoDecoder.decode

    def measured(self: PhotoDecoder, *arguments, **options):  # type: ignore[no-untyped-def]
        photo = decode(self, *arguments, **options)
        found.append(self.held_bytes)
        return photo

    monkeypatch.setattr(PhotoDecoder, "decode", measured)
    return found


def test_a_review_of_many_large_photos_holds_two_at_most(tight: Engine, peaks: list[int]) -> None:
    """Sixteen of 64 megapixels took 4 GB; the answer is that of any review, and all is let go."""
    tight.prepare_reviews()
    found = tight.review([large(number) for number in range(6)])
    assert len(found.content.products or []) >= 1
    assert len(peaks) == 6
    assert HELD <= max(peaks) <= 2 * HELD
    del found
    gc.collect()
    assert tight.embedder._decoder.held_bytes == 0


def test_a_write_of_many_large_photos_holds_two_at_most(tight: Engine, peaks: list[int]) -> None:
    """Eight were held decoded, and forty requests at once did so."""
    photos = [large(number) for number in range(6)]
    for product in ("one", "two"):
        tight.products.put(product, Draft(photos=tuple(photos)))
        photos = [large(number) for number in range(10, 16)]
    assert len(peaks) == 12
    assert max(peaks) <= 2 * HELD
    gc.collect()
    assert tight.embedder._decoder.held_bytes == 0
    stored = tight.products.get("two").content.images
    assert [image.width for image in stored] == [SIDE] * 6


def test_reviews_writes_and_heat_maps_at_once_are_all_answered(
    tight: Engine, peaks: list[int]
) -> None:
    """None waits for another that waits for it, and together they stay within the budget."""
    tight.prepare_reviews()

    def work(number: int) -> object:
        if number % 3 == 0:
            return tight.review([large(20 * number + place) for place in range(3)])
        if number % 3 == 1:
            draft = Draft(photos=tuple(large(20 * number + place) for place in range(3)))
            return tight.products.put(f"p{number}", draft)
        return tight.explain_pair(Query(image=large(number)), Query(image=large(number + 1)))

    with ThreadPoolExecutor(6) as pool:
        assert all(list(pool.map(work, range(6))))
    assert max(peaks) <= 50 * SIDE * SIDE // 4
    gc.collect()
    assert tight.embedder._decoder.held_bytes == 0


def test_no_room_in_time_is_an_answer_that_says_so() -> None:
    """503, and the memory of the one that waited is as it was."""
    decoder = PhotoDecoder(ImageLimits(), 2 * HELD)
    photo = decoder.decode(large(1), shrink_to=None)
    assert not decoder.roomy
    with pytest.raises(DeadlineExceededError, match="bytes of memory"):
        decoder.decode(large(2), shrink_to=None, within_s=0.05)
    done = threading.Event()

    def wait() -> None:
        assert decoder.decode(large(2), shrink_to=None, within_s=20).pixels.size == (SIDE, SIDE)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not done.wait(0.05)
    del photo
    assert done.wait(20)
    thread.join()
    assert decoder.held_bytes == 0
    assert np.asarray(decoder.decode(large(3), shrink_to=None).pixels)[0, 0].tolist() == [
        3,
        90,
        200,
    ]
