"""What a file says of AI that made it, in every format that can say it; and nothing else."""

from __future__ import annotations

import random
import struct
import time

import pytest

from indexer.imaging.ai_marks import AiMark, read_ai_mark
from indexer.imaging.decode import decode_photo
from tests.indexer.imaging import marked_files as marked

TRAINED = "trainedAlgorithmicMedia"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIC")
MADE = marked.store(marked.manifest("urn:uuid:1", TRAINED))


@pytest.mark.parametrize("source", [TRAINED, COMPOSITE])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_iptc_s_source_is_read_from_xmp(name: str, source: str) -> None:
    """And the photo is what it is without."""
    for form in ("attribute", "element", "resource"):
        data = marked.with_xmp(name, marked.xmp(marked.TERMS + source, form=form))
        photo = decode_photo(data)
        assert photo.ai_mark == AiMark(source, "iptc")  # type: ignore[arg-type]
        assert photo.ai_mark.whole == (source == TRAINED)
        assert photo.pixels.info == {}


@pytest.mark.parametrize("name", FORMATS)
def test_a_manifest_in_the_file_is_read(name: str) -> None:
    """In the box, chunk, segments, extension or tag that C2PA gives to each format."""
    assert decode_photo(marked.saved(name)).ai_mark is None
    assert decode_photo(marked.with_c2pa(name, MADE)).ai_mark == AiMark(TRAINED, "c2pa")


def test_an_ingredient_is_a_part() -> None:
    """The last manifest is the photo's own; what others say holds for what it was made from."""
    old, own = marked.manifest("urn:uuid:1", TRAINED), marked.manifest("urn:uuid:2", None)
    photo = decode_photo(marked.with_c2pa("JPEG", marked.store(old, own)))
    assert photo.ai_mark == AiMark(COMPOSITE, "c2pa")
    own = marked.manifest("urn:uuid:2", TRAINED)
    other = marked.manifest("urn:uuid:1", "digitalCapture")
    photo = decode_photo(marked.with_c2pa("PNG", marked.store(other, own)))
    assert photo.ai_mark == AiMark(TRAINED, "c2pa")


def test_other_sources_and_other_texts_are_no_mark() -> None:
    """A camera's photo, a caption that speaks of it, a word of its own."""
    captured = marked.xmp(marked.TERMS + "digitalCapture")
    caption = marked.xmp(marked.TERMS + TRAINED, form="caption")
    for packet in (captured, caption, marked.xmp("mine")):
        assert decode_photo(marked.with_xmp("JPEG", packet)).ai_mark is None
    camera = marked.store(marked.manifest("urn:uuid:1", "digitalCapture"))
    assert decode_photo(marked.with_c2pa("JPEG", camera)).ai_mark is None
    assert read_ai_mark("JPEG", b"\xff\xd8DigitalSourceType=trainedAlgorithmicMedia") is None


def test_the_strongest_mark_counts() -> None:
    """Both standards say something: the whole before a part, C2PA before IPTC."""
    part = marked.with_xmp("PNG", marked.xmp(marked.TERMS + COMPOSITE))
    both = part[:33] + marked.chunk(b"caBX", MADE) + part[33:]
    assert read_ai_mark("PNG", both) == AiMark(TRAINED, "c2pa")
    assert decode_photo(marked.with_iptc(COMPOSITE)).ai_mark == AiMark(COMPOSITE, "iptc")


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_marks_refuse_no_photo_and_cost_nothing(name: str) -> None:
    """Flipped bytes anywhere in the file: a mark or none, never an error of ours."""
    data = marked.with_c2pa(name, MADE)
    chance = random.Random(name)
    for _ in range(150):
        found = bytearray(data)
        for _ in range(chance.choice((1, 4))):
            found[chance.randrange(len(found))] = chance.randrange(256)
        mark = read_ai_mark(name, bytes(found[: chance.choice((len(found), 200))]))
        assert mark is None or isinstance(mark, AiMark)


@pytest.mark.parametrize(
    "block",
    [
        b"DigitalSourceType" * 200_000,
        b"DigitalSourceType=" + b"x" * 4_000_000,
        b"digitalsourcetype/" * 200_000,
    ],
)
def test_metadata_made_to_be_slow_are_not(block: bytes) -> None:
    """Megabytes of near misses, as XMP and as boxes within boxes."""
    nested = block
    for _ in range(300):
        nested = marked.superbox("c2pa.actions", nested)
    started = time.process_time()
    assert read_ai_mark("WEBP", marked.with_xmp("WEBP", b"<x:xmpmeta>" + block)) is None
    assert read_ai_mark("PNG", marked.with_c2pa("PNG", nested)) is None
    assert time.process_time() - started < 2


def test_the_same_bytes_named_many_times_are_looked_at_a_few_times() -> None:
    """A small TIFF names one block twenty thousand times, of a kind that no reader counts."""
    block = (b"digitalsourcetype" + b" " * 303) * 400
    count = 20_000
    head = b"II*\0" + struct.pack("<I", 8 + len(block)) + block
    tags = struct.pack("<HHII", 700, 99, len(block), 8) * count
    data = head + struct.pack("<H", count) + tags
    begun = time.process_time()
    assert read_ai_mark("TIFF", data) is None
    assert time.process_time() - begun < 3
