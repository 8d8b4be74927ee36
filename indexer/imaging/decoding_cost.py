"""Memory that decoding a photo takes, known from its header."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.imaging import jpeg
from indexer.imaging.png import is_compared

# Bytes of a decoded pixel, as Pillow keeps it.
_PIXEL = 4
# Bytes of a row beside its pixels: where it is. Of a photo one pixel wide that is most of it.
_ROW = 8
# Pictures that are held at the peak.
_PICTURES = 3
# Bytes for each pixel at the peak: the picture, what it becomes, and a turned copy or a strip. The
# libraries of some formats hold more copies, of two bytes a colour where a file has more than 8
# bits: measured so, of all colours in full (4:4:4), an AVIF also turned and with film grain.
_PEAK = 10
_PEAKS = {"WEBP": 18, "AVIF": 22, "HEIC": 16}
# Bytes for each pixel of a tile, a frame or an opacity beyond the picture's own.
_CODED = 10
# A PNG of 16 bits of RGB with a transparent colour is read twice, and compared.
_COMPARED_PEAK = 18
# A JPEG without its end is decoded several times.
_CUT_PEAK = 18
_TAIL = 1024


@dataclass(frozen=True)
class DecodingCost:
    """Bytes: of the photo that comes out, and at the peak until then, that photo included."""

    decoded: int
    peak: int


def decoding_cost(
    name: str,
    data: bytes,
    size: tuple[int, int],
    *,
    max_pixels: int,
    shrink_to: int | None,
    coded: int = 0,
) -> DecodingCost:
    """Tell what decoding a file of a known format and size, width and height in px, takes.

    ``coded``: pixels of its tiles, frames and opacity together, where it has such.
    """
    width, height = size
    if name != "JPEG":
        pixels = width * height
        rows = _ROW * height
        peak = _COMPARED_PEAK if name == "PNG" and is_compared(data) else _PEAKS.get(name, _PEAK)
        more = _CODED * max(coded - pixels, 0)
        return DecodingCost(_PIXEL * pixels + rows, peak * pixels + more + _PICTURES * rows)
    scale = jpeg.choose_scale(width, height, max_pixels=max_pixels, shrink_to=shrink_to)
    pixels = -(-width // scale) * -(-height // scale)
    peak = _PEAK if b"\xff\xd9" in data[-_TAIL:] else _CUT_PEAK
    return DecodingCost(_PIXEL * pixels, peak * pixels + jpeg.coefficient_bytes(data))
