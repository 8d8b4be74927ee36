"""What decoding a HEIF or AVIF takes is counted from its tables, as often as it is named there."""

from __future__ import annotations

import io
import struct
import time

import pytest
from PIL import Image

from indexer.core.errors import BadImageError, ImageTooLargeError
from indexer.imaging.decode import decode_photo
from indexer.imaging.heif_items import check_items, count_coded_pixels
from tests.indexer.imaging.heif_files import Item, Tables, av1, avif, box, extent, grid, write

SIDE = 4000
PICTURE = SIDE * SIDE
SLICE = struct.pack(">IBBB", 3, 19 << 1, 1, 0x80)


def of_tiles(levels: int, tiles: int, kind: bytes = b"grid") -> bytes:
    """A HEIC of tiles, each as large as the picture, which are made of tiles; all in one column."""
    content = grid(tiles, 1, SIDE, SIDE)
    items = {}
    for level in range(levels):
        for place in range(tiles if level else 1):
            below = 1 + (level + 1) * tiles
            made_of = range(below, below + tiles)
            number = 1 + level * tiles + place
            items[number] = Item(kind, [(0, len(content))], (1,), made_of, inside=True)
    last = {1 + levels * tiles + n: Item(b"hvc1", [(0, len(SLICE))], (1,)) for n in range(tiles)}
    return write(b"heic", Tables(items | last, [extent(SIDE, SIDE)], SLICE, content))


@pytest.mark.parametrize("kind", [b"grid", b"iovl"])
@pytest.mark.parametrize(("levels", "tiles"), [(1, 5), (2, 3), (6, 12)])
def test_tiles_as_large_as_the_picture_are_counted_as_often_as_they_are_named(
    kind: bytes, levels: int, tiles: int
) -> None:
    """250 of them in 15 KB took minutes of four threads; of levels they were as powers."""
    began = time.process_time()
    with pytest.raises(ImageTooLargeError, match=f"{PICTURE * tiles**levels:,} px"):
        count_coded_pixels("HEIC", of_tiles(levels, tiles, kind), (SIDE, SIDE))
    assert time.process_time() - began < 0.5
    assert count_coded_pixels("HEIC", of_tiles(1, 3, kind), (SIDE, SIDE)) == 3 * PICTURE


def test_pictures_that_are_made_of_one_another_are_refused() -> None:
    """A circle has no end."""
    items = {
        1: Item(b"iden", [], (1,), [2]),
        2: Item(b"iden", [], (1,), [1]),
    }
    with pytest.raises(BadImageError, match="one another"):
        count_coded_pixels("HEIC", write(b"heic", Tables(items, [extent(8, 8)])), (8, 8))


@pytest.mark.parametrize("name", ["HEIC", "AVIF"])
def test_pictures_in_pictures_are_refused_before_a_library_follows_them(name: str) -> None:
    """900 pictures of 42 KB, each made of the next, held Python's lock for 1.4 s."""

    def chain(length: int) -> bytes:
        made = {n: Item(b"iden", [], (1,), [n + 1]) for n in range(2, length + 1)}
        last = {length + 1: Item(b"hvc1", [(0, len(SLICE))], (1,))}
        shown = {1: Item(b"hvc1", [(0, len(SLICE))], (1,))}
        return write(b"heic", Tables(shown | made | last, [extent(8, 8)], SLICE))

    check_items(name, chain(9))
    for length in (10, 900):
        # Also where the photo that is shown is none of them.
        with pytest.raises(BadImageError, match="made of one another"):
            check_items(name, chain(length))


def test_frames_of_an_item_are_counted_shown_or_not() -> None:
    """A piece of HEVC may begin any number of pictures before the one that is shown."""
    for frames, slices in ((1, 1), (2, 1), (1, 3)):
        later = struct.pack(">IBBB", 3, 19 << 1, 1, 0)
        data = (SLICE + later * (slices - 1)) * frames
        tables = Tables({1: Item(b"hvc1", [(0, len(data))], (1,))}, [extent(SIDE, SIDE)], data)
        found = count_coded_pixels("HEIC", write(b"heic", tables), (SIDE, SIDE))
        assert found == frames * PICTURE
    tables = Tables({1: Item(b"hvc1", [(0, len(SLICE))] * 9, (1,))}, [extent(SIDE, SIDE)], SLICE)
    with pytest.raises(ImageTooLargeError):
        count_coded_pixels("HEIC", write(b"heic", tables), (SIDE, SIDE))


def test_an_avif_of_many_frames_is_refused_before_one_is_decoded() -> None:
    """Of each photo all frames are decoded and one is shown: 800 bytes for each 64 megapixels."""
    coded = av1(2000, 2000)
    assert decode_photo(avif((2000, 2000), coded)).width == 2000
    began = time.process_time()
    with pytest.raises(ImageTooLargeError, match="4,000,000,000 px"):
        decode_photo(avif((2000, 2000), (coded[0] * 1000, coded[1])))
    assert time.process_time() - began < 0.5


def test_the_size_of_an_avif_is_that_of_its_frames_too() -> None:
    """A picture of 36 megapixels said that it has 64 x 64 px, and was decoded unasked."""
    with pytest.raises(ImageTooLargeError, match="36,000,000 px"):
        decode_photo(avif((64, 64), av1(6000, 6000)))


def test_the_first_sample_of_a_sequence_is_counted() -> None:
    """An animation is decoded to its first frame; a first sample of all frames, to all of them."""
    shown = [Image.new("RGB", (600, 600), (place * 9, 9, 9)) for place in range(12)]
    out = io.BytesIO()
    shown[0].save(out, "AVIF", save_all=True, append_images=shown[1:], speed=10)
    data = out.getvalue()
    assert count_coded_pixels("AVIF", data, (600, 600)) == 600 * 600
    assert decode_photo(data).width == 600
    sizes = data.index(b"stsz") + 16
    all_bytes = len(data) - data.index(b"mdat") - 4
    liar = data[:sizes] + struct.pack(">I", all_bytes) + data[sizes + 4 :]
    assert count_coded_pixels("AVIF", liar, (6000, 6000)) >= 12 * 600 * 600


def test_opacity_is_counted() -> None:
    """It is a picture of its own, named by an auxiliary reference."""
    out = io.BytesIO()
    Image.new("RGBA", (300, 200), (1, 2, 3, 4)).save(out, "AVIF", speed=10)
    assert count_coded_pixels("AVIF", out.getvalue(), (300, 200)) == 2 * 300 * 200


def test_metadata_that_are_copied_for_each_picture_are_counted() -> None:
    """5 MB for 199 pictures took a gigabyte, and as much as any number of pictures asks for."""
    size = 2**20
    pictures = {n: Item(b"hvc1", [(0, len(SLICE))], (1,)) for n in range(1, 100)}
    exif = {100: Item(b"Exif", [(0, size)])}
    each = (b"cdsc", 100, range(1, 100))
    content = SLICE + bytes(size)
    honest = Tables(pictures | exif, [extent(8, 8)], content, references=[(b"cdsc", 100, [1])])
    check_items("HEIC", write(b"heic", honest))
    named = Tables(pictures | exif, [extent(8, 8)], content, references=[each])
    described = {n: Item(b"hvc1", [(0, len(SLICE))], (1, 2)) for n in pictures}
    profile = box(b"colr", b"prof" + bytes(size))
    shared = Tables(described, [extent(8, 8), profile], SLICE)
    copies = Tables(
        {1: pictures[1]} | {n: Item(b"Exif", [(0, size)]) for n in range(2, 100)},
        [extent(8, 8)],
        content,
        references=[(b"cdsc", n, [1]) for n in range(2, 100)],
    )
    for tables in (named, shared, copies):
        with pytest.raises(BadImageError, match="far too many pictures"):
            check_items("HEIC", write(b"heic", tables))


def test_a_table_or_an_item_that_is_there_twice_is_refused() -> None:
    """One library takes the first and another the last: what is counted is what is decoded."""
    item = Item(b"hvc1", [(0, len(SLICE))], (1,))
    twice = Tables({1: item}, [extent(8, 8)], SLICE, more=[box(b"iprp", b"")])
    with pytest.raises(BadImageError, match="two boxes iprp"):
        check_items("HEIC", write(b"heic", twice))
    hidden = box(b"moov", box(b"trak", box(b"mdia", 2 * box(b"minf", b""))))
    with pytest.raises(BadImageError, match="two boxes minf"):
        check_items("HEIC", write(b"heic", Tables({1: item}, [extent(8, 8)], SLICE)) + hidden)
    sound = write(b"heic", Tables({1: item, 2: item}, [extent(8, 8)], SLICE))
    check_items("HEIC", sound)
    entry = struct.pack(">HH4s", 2, 0, b"hvc1")
    with pytest.raises(BadImageError, match="two items 1"):
        check_items("HEIC", sound.replace(entry, struct.pack(">HH4s", 1, 0, b"hvc1")))


def test_an_item_that_lies_in_two_places_is_refused() -> None:
    """One library takes the first place and another both."""
    item = Item(b"hvc1", [(0, len(SLICE))], (1,))
    sound = write(b"heic", Tables({1: item, 2: item}, [extent(8, 8)], SLICE))
    place, again = (struct.pack(">HHHH", number, 0, 0, 1) for number in (2, 1))
    assert sound.count(place) == 1
    with pytest.raises(BadImageError, match="twice where item 1"):
        check_items("HEIC", sound.replace(place, again))
