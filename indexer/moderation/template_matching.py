"""Template matching by masked normalised cross-correlation, over many templates at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft2, rfft2

from indexer.imaging.geometry import Box

# px of the square that photos are put on for the search; the area of a photo is _PHOTO squared
CANVAS = 80
_PHOTO = 64.0
# Shares of the photo's area at which an example is looked for. What a match tolerates is a shift of
# a pixel or two, so large examples, which have more pixels, stand closer together.
AREAS = (0.05, 0.068, 0.092, 0.125, 0.165, 0.21, 0.26, 0.32)
# variance (of 255 squared, summed over three channels) below which a place is plain and matches
# nothing
_FLAT = 60.0
# of the canvas: what a template may cover
_LARGEST = 0.9


@dataclass(frozen=True)
class TemplateBank:
    """Examples ready to be looked for in photos, each at all of ``AREAS``. T templates."""

    # complex64 [T, 4, CANVAS, CANVAS // 2 + 1]: of the zero-mean unit template and of its mask
    spectra: np.ndarray
    example: np.ndarray  # int [T]
    size: np.ndarray  # int [T, 2], height and width on the canvas
    inside: np.ndarray  # float32 [T], canvas pixels under the mask


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo ready to be searched."""

    # complex64 [4, CANVAS, CANVAS // 2 + 1]: three channels and their summed squares
    spectrum: np.ndarray
    # height and width on the canvas
    size: tuple[int, int]
    # canvas px per px of the photo
    scale: float


@dataclass(frozen=True)
class TemplateMatch:
    """The place where an example matches best.

    ``score`` in [-1, 1] is the correlation of its colours with the place's; ``box`` in px of the
    photo.
    """

    score: float
    example: int
    box: Box


def canvas_scale(width: int, height: int) -> float:
    """Canvas px per px of a photo.

    Its area becomes that of a square of 64 px, its long side at most the canvas.
    """
    return float(min(_PHOTO / np.sqrt(width * height), CANVAS / max(width, height)))


def template_side(share: float) -> float:
    """Side, in canvas px, of a square that covers ``share`` of a photo's area."""
    return float(_PHOTO * np.sqrt(share))


def prepare_photo(small: np.ndarray, scale: float) -> PreparedPhoto:
    """Transform a photo for ``find_match``.

    ``small`` uint8 [h, w, 3] is already scaled by ``canvas_scale``.
    """
    height, width = small.shape[:2]
    values = small.astype(np.float32)
    # Smaller numbers, smaller errors; a correlation does not feel it.
    values -= values.mean((0, 1))
    canvas = np.zeros((4, CANVAS, CANVAS), np.float32)
    canvas[:3, :height, :width] = values.transpose(2, 0, 1)
    canvas[3, :height, :width] = (values * values).sum(2)
    return PreparedPhoto(rfft2(canvas), (height, width), scale)


def prepare_templates(templates: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> TemplateBank:
    """Transform templates for ``find_match``; one that is flat, or too large, is left out.

    ``templates``: for each example its (pixels float [h, w, 3], mask float [h, w]) at some of
    ``AREAS``.
    """
    spectra: list[np.ndarray] = []
    example: list[int] = []
    size: list[tuple[int, int]] = []
    inside: list[float] = []
    for number, sizes in enumerate(templates):
        for pixels, mask in sizes:
            spectrum = _transform(pixels, mask)
            if spectrum is not None:
                spectra.append(spectrum)
                example.append(number)
                size.append(mask.shape[:2])
                inside.append(float(mask.sum()))
    shape = (0, 4, CANVAS, CANVAS // 2 + 1)
    return TemplateBank(
        np.stack(spectra) if spectra else np.zeros(shape, np.complex64),
        np.array(example, np.int64),
        np.array(size, np.int64).reshape(-1, 2),
        np.array(inside, np.float32),
    )


def _transform(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Spectrum complex64 [4, CANVAS, CANVAS // 2 + 1]; None of a flat or too large template."""
    height, width = mask.shape
    count = float(mask.sum())
    if max(height, width) > _LARGEST * CANVAS or count < 4:
        return None
    weight = mask[..., None]
    centred = (pixels - (pixels * weight).sum((0, 1)) / count) * weight
    length = float(np.sqrt((centred * centred).sum()))
    if length * length < _FLAT * count:
        return None
    canvas = np.zeros((4, CANVAS, CANVAS), np.float32)
    canvas[:3, :height, :width] = (centred / length).transpose(2, 0, 1)
    canvas[3, :height, :width] = mask
    return np.asarray(np.conj(rfft2(canvas)).astype(np.complex64))


def find_match(symbols: TemplateBank, photo: PreparedPhoto) -> TemplateMatch | None:
    """Find the best match of all examples at all sizes and places.

    None where no template fits into the photo.

    Normalised cross-correlation over three colour channels under the template's mask (Lewis 1995,
    "Fast normalized cross-correlation"), by FFT: the photo's transform is shared by all templates.
    """
    height, width = photo.size
    fits = np.flatnonzero((symbols.size[:, 0] <= height) & (symbols.size[:, 1] <= width))
    if not len(fits):
        return None
    spectra = symbols.spectra[fits]
    canvas = (CANVAS, CANVAS)
    count = symbols.inside[fits][:, None, None]
    product = irfft2((spectra[:, :3] * photo.spectrum[:3]).sum(1), s=canvas)
    means = irfft2(spectra[:, 3:] * photo.spectrum[:3], s=canvas)
    squares = irfft2(spectra[:, 3] * photo.spectrum[3], s=canvas)
    spread = np.maximum(squares - (means * means).sum(1) / count, _FLAT * count)
    scores = product / np.sqrt(spread)
    best: tuple[float, int, int, int] | None = None
    for place, (tall, wide) in enumerate(symbols.size[fits].tolist()):
        valid = scores[place, : height - tall + 1, : width - wide + 1]
        top, left = divmod(int(valid.argmax()), valid.shape[1])
        if best is None or valid[top, left] > best[0]:
            best = (float(valid[top, left]), place, top, left)
    if best is None:
        return None
    score, place, top, left = best
    template = fits[place]
    sides = (left, top, int(symbols.size[template, 1]), int(symbols.size[template, 0]))
    x, y, w, h = (round(side / photo.scale) for side in sides)
    return TemplateMatch(min(score, 1.0), int(symbols.example[template]), (x, y, w, h))
