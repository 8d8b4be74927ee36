"""Margins around pictures, in the colour of their edge."""

from __future__ import annotations

import numpy as np
from PIL import Image

from indexer.imaging.geometry import scaled_size

# px, and times the picture's own: a larger square is not made
_LARGE_SQUARE = 4096**2
_FAR_LARGER = 4
# px, side of the one that is made instead: far more than a network reads
_SHRUNK = 1024


def edge_color(image: Image.Image) -> tuple[int, int, int]:
    """The median colour of an RGB picture's edge."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (round(float(value)) for value in np.median(edge, axis=0))
    return red, green, blue


def pad_to_square(image: Image.Image) -> Image.Image:
    """Pad an RGB picture to a square in the median colour of its edge.

    A network reads the middle square; of a tall dress's box that is the waist. What is long and
    thin is made smaller first where its square would be far larger than itself.
    """
    width, height = image.size
    if width == height:
        return image
    if max(width, height) ** 2 > max(_LARGE_SQUARE, _FAR_LARGER * width * height):
        factor = _SHRUNK / max(width, height)
        width, height = scaled_size(image.size, factor)
        image = image.resize((width, height), Image.Resampling.BOX)
    side = max(width, height)
    out = Image.new("RGB", (side, side), edge_color(image))
    out.paste(image, ((side - width) // 2, (side - height) // 2))
    return out
