"""Loading of JPEGs: reduced where they are huge, and as far as they go where the end is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.core.errors import BadImageError, UnsupportedFormatError
from indexer.imaging.jpeg_segments import (
    FRAMES,
    OTHER_FRAMES,
    PROGRESSIVE,
    SCAN,
    count_steps,
    read_sampling,
    read_scan,
    read_segments,
)

# A photo larger than the limit may have this many times its pixels: it is decoded at half its size.
REDUCED = 4
# px: no JPEG is decoded to more, whatever the limit
_DECODED = 64_000_000
# scans of a picture whose coefficients are kept until the last one, each a pass over all of it
_MOST_SCANS = 64
# share of the blocks that may be missing at the end of a photo that is still one
_LOST = 1 / 16
# share of a block's px that differ where its data are not there
_DIFFERS = 0.25
_END = b"\xff\xd9"
# Steps of the decoder from which a cut photo is not decoded the four times that it takes.
_CUT_STEPS = 2**28

Opener = Callable[[bytes], Any]


@dataclass(frozen=True)
class JpegFrame:
    """What the headers of a JPEG's first frame say (ISO 10918-1, annex B)."""

    # marker of the frame: 0xC0 baseline, 0xC2 progressive
    kind: int
    bits: int
    width: int
    height: int
    # component -> (horizontal, vertical) sampling factor
    sampling: dict[int, tuple[int, int]]
    # coefficients are kept until the last scan, since no scan holds all of them
    buffered: bool
    scans: int
    # the data are parted by restart markers
    restarts: bool
    # every coefficient of every component stands in some scan, to its last bit
    complete: bool

    @property
    def coefficient_bytes(self) -> int:
        """Memory that libjpeg takes for the coefficients, two bytes each."""
        if not self.buffered:
            return 0
        widest = max(across for across, _ in self.sampling.values())
        tallest = max(down for _, down in self.sampling.values())
        samples = sum(across * down for across, down in self.sampling.values())
        return round(2 * self.width * self.height * samples / (widest * tallest))


@dataclass(frozen=True)
class LoadedJpeg:
    """A loaded JPEG, and the share of it that the file does not hold, 0 where it is whole."""

    image: Any
    lost: float


def check_supported(data: bytes) -> None:
    """Raise ``UnsupportedFormatError`` for a JPEG of a kind that is not read."""
    frame = read_frame(data)
    if frame is None:
        return
    if frame.bits != 8:
        raise UnsupportedFormatError(
            f"JPEGs of {frame.bits} bits a channel are not supported; save the photo with 8 bits"
        )
    if frame.kind in OTHER_FRAMES:
        raise UnsupportedFormatError(
            "lossless and hierarchical JPEGs are not supported; save the photo as baseline JPEG"
        )


def fits(data: bytes, size: tuple[int, int], max_pixels: int) -> bool:
    """Whether a JPEG can be decoded, perhaps reduced, in the memory that the limit allows."""
    width, height = size
    if width * height <= max_pixels:
        return True
    if width * height > REDUCED * max_pixels:
        return False
    frame = read_frame(data)
    if frame is None:
        return False
    if not frame.buffered:
        return True
    # What a picture of just the limit may take: three coefficients and four bytes a pixel.
    return frame.scans <= _MOST_SCANS and frame.coefficient_bytes <= 10 * max_pixels


def coefficient_bytes(data: bytes) -> int:
    """Return the memory for coefficients that are kept until the last scan, 0 where none are."""
    frame = read_frame(data) if count_steps(data) else None
    return 0 if frame is None else frame.coefficient_bytes


def load_jpeg(
    data: bytes, opened: Any, opener: Opener, *, max_pixels: int, shrink_to: int | None
) -> LoadedJpeg:
    """Load a JPEG that was opened from ``data``, at the smallest scale that is asked for or needed.

    Where the file ends early, what is there is loaded, if at most a sixteenth of the blocks is
    missing; their place is filled with the pixels above. Raises what Pillow raises, and
    ``BadImageError`` where more is missing.
    """
    scale = choose_scale(*opened.size, max_pixels=max_pixels, shrink_to=shrink_to)
    wanted = opened.size[0] // scale, opened.size[1] // scale

    def drafted(image: Any) -> Any:
        if scale > 1:
            image.draft(None, wanted)
        return image

    try:
        drafted(opened).load()
    except OSError as error:
        if "truncated" not in str(error):
            raise
        return _load_cut(data, lambda bytes_: drafted(opener(bytes_)), error)
    return LoadedJpeg(opened, 0.0)


def choose_scale(width: int, height: int, *, max_pixels: int, shrink_to: int | None) -> int:
    """Return 1, 2, 4 or 8: by how much to reduce a JPEG while it is decoded.

    The most that leaves the short side twice ``shrink_to`` px, or what the limit makes needful.
    """
    short = min(width, height)
    asked = 1 if shrink_to is None else max(short // (2 * shrink_to), 1)
    scale = max(factor for factor in (1, 2, 4, 8) if factor <= asked)
    most = min(max_pixels, _DECODED)
    while scale < 8 and -(-width // scale) * -(-height // scale) > most and short >= 2 * scale:
        scale *= 2
    return scale


def _load_cut(data: bytes, opener: Opener, error: OSError) -> LoadedJpeg:
    """Load a JPEG whose end is missing, as far as it goes.

    Blocks whose data are missing come out one way where the end mark follows, and another where
    junk does: so the two pictures differ in those blocks, whatever the photo shows.
    """
    frame = read_frame(data)
    if frame is None or not frame.complete or count_steps(data) > _CUT_STEPS:
        raise error
    image = opener(data + _END)
    image.load()
    whole = data.rstrip(b"\xff")
    differs: Any = None
    for junk in _junk(whole, frame):
        other = opener(whole + junk + _END)
        other.load()
        found = _differing_blocks(image, other, frame)
        differs = found if differs is None else differs | found
    lost = np.flatnonzero(differs)
    if not len(lost):
        return LoadedJpeg(image, 0.0)
    first = int(lost[0])
    share = 1 - first / differs.size
    if share > _LOST:
        raise BadImageError(
            f"truncated JPEG: the file ends before the image does ({share:.0%} of it are missing)"
        )
    if not frame.buffered:
        _fill(image, frame, first // differs.shape[1], first % differs.shape[1])
    return LoadedJpeg(image, share)


def _junk(data: bytes, frame: JpegFrame) -> Iterator[bytes]:
    """Yield several sequences that could follow ``data``, and would be other blocks."""
    for seed in (0, 1):
        yield np.random.default_rng(seed).integers(0, 255, 4096, np.uint8).tobytes()
    if frame.restarts:
        # Where a restart is due, all up to its marker is skipped.
        last = max((data.rfind(bytes((0xFF, 0xD0 + number))), number) for number in range(8))
        following = (last[1] + 1) % 8 if last[0] >= 0 else 0
        junk = np.random.default_rng(2).integers(0, 255, 4096, np.uint8).tobytes()
        yield bytes((0xFF, 0xD0 + following)) + junk


def _block(image: Any, frame: JpegFrame) -> tuple[float, float]:
    """Width and height in px of what one unit of data covers in a loaded, perhaps reduced image."""
    across = 8 * max(factor for factor, _ in frame.sampling.values())
    down = 8 * max(factor for _, factor in frame.sampling.values())
    scale = round(frame.width / image.width)
    return across / scale, down / scale


def _differing_blocks(first: Any, second: Any, frame: JpegFrame) -> np.ndarray:
    """Mark the blocks in which two pictures of one size differ, bool [rows, columns]."""
    across, down = _block(first, frame)
    width, height = first.size
    rows, columns = -(-height // max(int(down), 1)), -(-width // max(int(across), 1))
    edges = (np.arange(columns) * across).astype(int)
    counts = np.diff([*edges, width])
    found = np.zeros((rows, columns), bool)
    for row in range(rows):
        box = (0, int(row * down), width, min(int((row + 1) * down), height))
        one, other = (np.atleast_3d(np.asarray(side.crop(box))) for side in (first, second))
        unlike = (one != other).any(-1)
        share = np.add.reduceat(unlike.sum(0), edges) / (counts * len(unlike))
        # The last scan of a progressive picture refines it: little differs where it is missing.
        found[row] = share > (0.0 if frame.buffered else _DIFFERS)
    return found


def _fill(image: Any, frame: JpegFrame, row: int, column: int) -> None:
    """Fill a picture from a block on, in place, with the pixels above; beside it in the first."""
    across, down = _block(image, frame)
    left, top = int(column * across), int(row * down)
    bottom = min(int((row + 1) * down), image.height)
    if top:
        line = image.crop((0, top - 1, image.width, top))
        part = line.crop((left, 0, image.width, 1))
        image.paste(part.resize((image.width - left, bottom - top)), (left, top))
        if bottom < image.height:
            image.paste(line.resize((image.width, image.height - bottom)), (0, bottom))
    elif left:
        line = image.crop((left - 1, 0, left, bottom))
        image.paste(line.resize((image.width - left, bottom)), (left, 0))


def read_frame(data: bytes) -> JpegFrame | None:
    """Read the headers of a JPEG's first frame; None where there is none, or it makes no sense."""
    kind = bits = width = height = scans = 0
    sampling: dict[int, tuple[int, int]] = {}
    buffered = restarts = False
    # component -> for each coefficient how many of its low bits are still to come
    missing: dict[int, np.ndarray] = {}
    for segment in read_segments(data):
        marker, body = segment.marker, segment.body
        if marker in FRAMES or marker in OTHER_FRAMES:
            if sampling or not (sampling := read_sampling(body)):
                break
            kind, bits = marker, body[0]
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            missing = {name: np.full(64, 16) for name in sampling}
        elif marker == 0xDD:
            restarts = any(body[:2])
        elif marker == SCAN:
            scan = read_scan(kind, body) if sampling else None
            if scan is None:
                break
            scans += 1
            buffered = buffered or kind in PROGRESSIVE or len(scan.components) < len(sampling)
            for name in scan.components:
                if name in missing:
                    missing[name][scan.first : scan.last + 1] = scan.low
    if not sampling or not all(across and down for across, down in sampling.values()):
        return None
    complete = scans > 0 and not any(left.any() for left in missing.values())
    return JpegFrame(kind, bits, width, height, sampling, buffered, scans, restarts, complete)
