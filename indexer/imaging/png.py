"""Transparent colours of PNGs, where Pillow reads them as colours of eight bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from indexer.imaging.file_format import open_known

# Of the header: bits a sample, and the colour type.
_BITS, _TYPE = 24, 25
_GREY, _RGB = 0, 2


def is_compared(data: bytes) -> bool:
    """Whether a PNG has RGB of 16 bits, of which one colour may be transparent."""
    return data[_BITS : _TYPE + 1] == bytes((16, _RGB))


def mend_transparency(data: bytes, image: Any) -> Any:
    """Return a loaded PNG with the transparency that its ``tRNS`` chunk means.

    Of 2 or 4 bits of grey the value is stored unscaled; of 16 bits of RGB all bits count, of which
    the picture has kept the upper half.
    """
    value = image.info.get("transparency")
    if value is None or len(data) <= _TYPE:
        return image
    bits, kind = data[_BITS], data[_TYPE]
    if kind == _GREY and bits in (2, 4) and isinstance(value, int):
        image.info["transparency"] = value * 255 // (2**bits - 1)
    elif kind == _RGB and bits == 16 and isinstance(value, tuple):
        lower = open_known(data, "PNG")
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        lower.load()
        clear = np.ones((image.height, image.width), bool)
        for channel, wanted in enumerate(value):
            clear &= np.asarray(image.getchannel(channel)) == wanted >> 8
            clear &= np.asarray(lower.getchannel(channel)) == wanted & 255
        del image.info["transparency"]
        image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    return image
