"""Loading of TIFFs: which kinds Pillow reads right, and a plain reader for some of the others."""

from __future__ import annotations

import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImagePalette, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from indexer.core.errors import BadImageError, ImageTooLargeError, UnsupportedFormatError
from indexer.imaging.jpeg_segments import MOST_STEPS, count_steps
from indexer.imaging.orientation import UPRIGHT

_RAW = 1
_DEFLATE = (8, 32946)
_JPEG = 7
# what the libtiff of Pillow's wheels decodes: Huffman, fax, LZW, JPEG, PackBits, LZMA, Zstandard
_READ = (_RAW, *_DEFLATE, 2, 3, 4, 5, 7, 32773, 34925, 50000)
_GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = (0, 1), 2, 3, 5, 6, 8
_COLOURS = {0: 1, 1: 1, _RGB: 3, _CMYK: 4, _YCBCR: 3, _LAB: 3}
# bytes of samples for a pixel of the limit: 16-bit CMYK with one channel more
_PIXEL_BYTES = 10
# px that a block may have in any picture, all blocks together, and times the picture's; bytes that
# all may have, and times the file's.
_FREE_BLOCK = 2**22
_FREE_BLOCKS = 2**25
_FREE_BYTES = 2**20
_MOST_BLOCK = 4
# bytes of samples that are turned into pixels at a time
_PORTION = 8 * 2**20
# raw modes of big-endian numbers -> of the machine's own
_NATIVE = {"F;32BF": "F;32NF", "I;32BS": "I;32NS", "I;16BS": "I;16NS"}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}


@dataclass(frozen=True)
class TiffBlocks:
    """How a TIFF's picture is cut: strips or tiles, of ``down`` x ``across`` px each.

    ``planes``: how many pictures of one channel there are. ``offsets`` and ``lengths``: where each
    block lies in the file, as many as it names.
    """

    down: int
    across: int
    planes: int
    compression: int
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class TiffKind:
    """What the first directory of a TIFF says of its pixels (TIFF 6.0)."""

    order: str
    width: int
    height: int
    photometric: int
    compression: int
    bits: tuple[int, ...]
    # 1 unsigned, 2 signed, 3 float
    numbers: tuple[int, ...]
    planes: bool
    predictor: int
    # what samples beyond the colours are: 0 unknown, 1 premultiplied opacity, 2 opacity
    extra: tuple[int, ...]
    blocks: TiffBlocks
    orientation: int
    subsampled: bool
    colours: tuple[int, ...]
    profile: bytes | None

    @property
    def samples(self) -> int:
        """Samples a pixel, with those beyond its colours."""
        return len(self.bits)

    def describe(self) -> str:
        """What kind it is, in words for people."""
        names = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
        kind = names.get(self.photometric, f"photometric {self.photometric}")
        number = {2: " signed", 3: " float"}.get(self.numbers[0] if self.numbers else 1, "")
        layout = ", in planes" if self.planes else ""
        return (
            f"{kind}, {self.samples} x {max(self.bits)} bits{number}{layout}, "
            f"compression {self.compression}"
        )


def read_kind(data: bytes) -> TiffKind | None:
    """Read the first directory; None where it is damaged or says nothing of pixels."""
    big = data[2:3] in (b"+",) or data[3:4] == b"+"
    try:
        head = data[: 16 if big else 8]
        directory = ImageFileDirectory_v2(head)
        file = io.BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        return _kind(directory, ">" if head[:2] == b"MM" else "<")
    except Exception:
        # Whatever a damaged directory makes of it: Pillow's own message is the better one.
        return None


def _kind(tags: Any, order: str) -> TiffKind:
    width, height = int(tags[256]), int(tags[257])
    samples = int(tags.get(277, 1))
    bits = _numbers(tags, 258, (1,))
    kinds = _numbers(tags, 339, (1,))
    if not 0 < samples <= 64 or width < 1 or height < 1:
        raise ValueError("no picture")
    profile = tags.get(34675)
    return TiffKind(
        order=order,
        width=width,
        height=height,
        photometric=int(tags.get(262, 0)),
        compression=int(tags.get(259, _RAW)),
        bits=bits * samples if len(bits) == 1 else bits,
        numbers=kinds * samples if len(kinds) == 1 else kinds,
        planes=int(tags.get(284, 1)) == 2,
        predictor=int(tags.get(317, 1)),
        extra=_numbers(tags, 338),
        blocks=blocks_of(tags, (width, height)),
        orientation=int(tags.get(274, 1)),
        subsampled=int(tags.get(262, 0)) == _YCBCR and _numbers(tags, 530, (2, 2)) != (1, 1),
        colours=_numbers(tags, 320),
        profile=profile if isinstance(profile, bytes) else None,
    )


def blocks_of(tags: Any, size: tuple[int, int]) -> TiffBlocks:
    """Return how a picture of this width and height is cut, by its directory."""
    width, height = size
    if 322 in tags:
        down, across = int(tags[323]), int(tags[322])
    else:
        down, across = min(int(tags.get(278, height)), height), width
    return TiffBlocks(
        down=down,
        across=across,
        planes=max(int(tags.get(277, 1)), 1) if int(tags.get(284, 1)) == 2 else 1,
        compression=int(tags.get(259, _RAW)),
        offsets=_numbers(tags, 324 if 322 in tags else 273),
        lengths=_numbers(tags, 325 if 322 in tags else 279),
    )


def _numbers(tags: Any, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    found = tags.get(tag, default)
    return tuple(int(value) for value in (found if isinstance(found, tuple) else (found,)))


def misread(kind: TiffKind) -> bool:
    """Whether Pillow is known to give other pixels for this kind, without a word."""
    if kind.planes and kind.compression == _RAW and max(kind.bits) > 8:
        return True
    if kind.planes and kind.photometric == _LAB:
        return True
    return kind.photometric == _YCBCR and kind.compression not in (_RAW, 6, 7)


def check_blocks(blocks: TiffBlocks, size: tuple[int, int], data: bytes) -> None:
    """Raise for blocks that are far larger than the picture, width and height, or than the file.

    Each is unpacked whole, also those that are named beyond the picture; and all may be the same
    bytes. Raises ``ImageTooLargeError`` and ``BadImageError``.
    """
    down, across = blocks.down, blocks.across
    pixels = size[0] * size[1]
    if down < 1 or across < 1:
        raise BadImageError("damaged TIFF: its blocks have no size")
    if down * across > max(_FREE_BLOCK, _MOST_BLOCK * pixels):
        raise ImageTooLargeError(
            f"the TIFF has blocks of {across} x {down} px, far larger than its picture"
        )
    needed = -(-size[0] // across) * -(-size[1] // down)
    count = max(needed, -(-len(blocks.offsets) // blocks.planes))
    if count * down * across > max(_FREE_BLOCKS, _MOST_BLOCK * pixels):
        raise ImageTooLargeError(
            f"the TIFF has {count:,} blocks of {across} x {down} px, far more than its picture"
        )
    if sum(blocks.lengths) > max(_FREE_BYTES, _MOST_BLOCK * len(data)):
        raise BadImageError("damaged TIFF: its blocks name far more bytes than the file has")
    if blocks.compression == _JPEG:
        _check_scans(blocks, data)


def _check_scans(blocks: TiffBlocks, data: bytes) -> None:
    """Raise ``BadImageError`` for JPEGs, one a block, whose scans take longer than a photo's."""
    if len(blocks.lengths) < len(blocks.offsets):
        raise BadImageError("damaged TIFF: it does not say how long its JPEGs are")
    steps = 0
    places = Counter(zip(blocks.offsets, blocks.lengths, strict=False))
    for (offset, length), times in places.items():
        if offset and not length:
            raise BadImageError("damaged TIFF: it does not say how long its JPEGs are")
        steps += times * count_steps(data[offset : offset + length])
        if steps > MOST_STEPS:
            raise BadImageError(
                "the TIFF has JPEGs of many scans, which take too long to decode; save it with "
                "another compression"
            )


def mend_opened(image: Any, kind: TiffKind) -> None:
    """Mend what Pillow misunderstands of an opened TIFF, before it is loaded.

    Palettes that were written with 8 bits instead of 16, and the order of bytes of wide numbers
    that libtiff has already turned.
    """
    image.tile = [
        tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
        if tile.codec_name == "libtiff"
        else tile
        for tile in image.tile
    ]
    if kind.photometric == _PALETTE and kind.colours and 0 < max(kind.colours) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(kind.colours))


def check_whole(kind: TiffKind, data: bytes) -> None:
    """Raise ``BadImageError`` where the file ends before its pixels do."""
    if not kind.blocks.offsets or len(kind.blocks.offsets) != len(kind.blocks.lengths):
        raise BadImageError("damaged TIFF: it does not say where its pixels are")
    if max(map(sum, zip(kind.blocks.offsets, kind.blocks.lengths, strict=True))) > len(data):
        raise BadImageError("truncated TIFF: the file ends before the image does")


def load_unread(kind: TiffKind, data: bytes, max_pixels: int, error: Exception) -> Image.Image:
    """Read a TIFF that Pillow did not, or raise why it is not read.

    ``error``: what Pillow said. Where it opened the file, its pixels may be damaged.
    """
    opened = not isinstance(error, UnidentifiedImageError) and "raw mode" not in str(error)
    try:
        return load_samples(kind, data, max_pixels)
    except UnsupportedFormatError:
        if opened and kind.compression in _READ:
            raise error from None
        raise


def unsupported(kind: TiffKind) -> UnsupportedFormatError:
    """The error for a whole TIFF of a kind that is not read."""
    return UnsupportedFormatError(
        f"this kind of TIFF is not supported ({kind.describe()}); save it with 8 bits a channel, "
        "or as PNG or JPEG"
    )


def load_samples(kind: TiffKind, data: bytes, max_pixels: int) -> Image.Image:
    """Read a TIFF without Pillow: 8 or 16 bits, unsigned, raw or deflated, in any layout.

    Raises ``UnsupportedFormatError`` for other kinds, ``BadImageError`` for damage.
    """
    check_whole(kind, data)
    colours = _COLOURS.get(kind.photometric, 0)
    plain = kind.compression in (_RAW, *_DEFLATE) and kind.predictor in (1, 2)
    same = set(kind.bits) in ({8}, {16}) and set(kind.numbers) == {1}
    extra = kind.samples - colours
    if not (plain and same) or not colours or extra < 0 or kind.subsampled:
        raise unsupported(kind)
    if kind.photometric == _LAB and kind.bits[0] != 8:
        raise unsupported(kind)
    depth = kind.bits[0] // 8
    each = 1 if kind.planes else kind.samples
    widest = max(kind.blocks.down * kind.blocks.across, kind.width * kind.height)
    if widest * each * depth > _PIXEL_BYTES * max_pixels:
        raise ImageTooLargeError(
            f"the TIFF has blocks of {kind.blocks.across} x {kind.blocks.down} px, "
            f"{each} x {kind.bits[0]} bits each"
        )
    opacity = extra > 0 and kind.extra[:1] in ((1,), (2,))
    kept = colours + opacity
    if opacity and kind.photometric not in (*_GREY, _RGB):
        kept = colours
    pixels = np.zeros((kind.height, kind.width, kept), np.uint8)
    for plane, top, left, values in _blocks(kind, data, kept):
        part = pixels[top : top + len(values), left : left + values.shape[1]]
        wide = values[: len(part), : part.shape[1]]
        if kind.planes:
            part[..., plane] = wide[..., 0]
        else:
            part[:] = wide[..., :kept]
    return _picture(kind, pixels, colours)


def _blocks(
    kind: TiffKind, data: bytes, most_planes: int
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Yield plane, top, left and the samples uint8 [rows, columns, samples] of each block.

    Of more planes than ``most_planes`` only the first are read.
    """
    depth = kind.bits[0] // 8
    each = 1 if kind.planes else kind.samples
    down, across = kind.blocks.down, kind.blocks.across
    rows, columns = -(-kind.height // down), -(-kind.width // across)
    planes = kind.samples if kind.planes else 1
    if len(kind.blocks.offsets) < planes * rows * columns:
        raise BadImageError("damaged TIFF: blocks of its pixels are missing")
    tiled = columns > 1 or across != kind.width
    for number in range(min(planes, most_planes) * rows * columns):
        plane, place = divmod(number, rows * columns)
        top, left = place // columns * down, place % columns * across
        tall = down if tiled else min(down, kind.height - top)
        start = kind.blocks.offsets[number]
        raw = data[start : start + kind.blocks.lengths[number]]
        row = top
        for part in _portions(kind, raw, tall, across * each * depth):
            values = np.frombuffer(part, f"{kind.order}u{depth}").reshape(-1, across, each)
            values = values.astype(f"u{depth}")
            if kind.predictor == 2:
                values = np.cumsum(values, 1, dtype=values.dtype)
            if depth == 2:
                # the upper half, as Pillow takes it
                values = (values >> 8).astype(np.uint8)
            yield plane, row, left, values
            row += len(values)


def _portions(kind: TiffKind, raw: bytes, rows: int, width: int) -> Iterator[bytes]:
    """Yield the bytes of a block, some rows of ``width`` bytes at a time.

    Raises ``BadImageError`` where it ends before its ``rows`` do, or is damaged.
    """
    most = max(_PORTION // width, 1)
    unpacker = None if kind.compression == _RAW else zlib.decompressobj()
    for done in range(0, rows, most):
        size = min(most, rows - done) * width
        if unpacker is None:
            part = raw[done * width : done * width + size]
        else:
            try:
                part = unpacker.decompress(raw, size)
            except zlib.error as error:
                raise BadImageError(f"damaged TIFF: {error}") from error
            raw = unpacker.unconsumed_tail
        if len(part) < size:
            raise BadImageError("truncated TIFF: a block of its pixels ends early")
        yield part


def _picture(kind: TiffKind, pixels: np.ndarray, colours: int) -> Image.Image:
    """The samples as an upright picture, with the profile that the file carries."""
    height, width, kept = pixels.shape
    if kind.photometric == 0:
        pixels[..., 0] = 255 - pixels[..., 0]
    if kind.photometric == _LAB:
        # a and b are signed, which Pillow minds in reading the bytes
        mode = "LAB"
    elif kind.photometric == _YCBCR:
        mode = "YCbCr"
    elif kept > colours:
        mode = {2: "LA", 4: "RGBA"}[kept]
        if kind.extra[0] == 1:
            mode = {"LA": "La", "RGBA": "RGBa"}[mode]
    else:
        mode = _MODES[kept]
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
    if kind.orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[kind.orientation])
    if kind.profile is not None:
        image.info["icc_profile"] = kind.profile
    return image
