"""Banned gallery: example photos, their cut-outs, a photo's crops, and the fitted scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo
from scipy.ndimage import binary_fill_holes, binary_opening

from indexer.core.errors import BadImageError
from indexer.core.regular_files import read_small
from indexer.imaging.decode import MIME, Photo, decode_photo
from indexer.imaging.geometry import Box, scaled_size
from indexer.moderation.detector import DetectorConfig, Text
from indexer.moderation.keypoint_matching import KeypointBank, detect_example
from indexer.moderation.policy import PolicySet
from indexer.moderation.template_matching import (
    AREAS,
    PreparedPhoto,
    TemplateBank,
    canvas_scale,
    prepare_photo,
    prepare_templates,
    template_side,
)
from indexer.moderation.thresholds import Bounds, Rivals

# photos -> float32 [N, D]
Embed = Callable[[Sequence[Photo]], np.ndarray]

MATCHES = ("whole", "symbol", "keypoints", "crops")
# crops cost a pass of the network each; keypoints need a package
DEFAULT_MATCH = ("whole", "symbol")
_MAX_EXAMPLES = 20
_EXTENSIONS = frozenset(f".{name.lower()}" for name in (*MIME, "jpg", "tif", "heif"))
# of each side: the four corners and the middle
_CROP = 0.6
# standard deviation of an example's border, of 255, below which it is a ground to be cut away
_PLAIN = 12.0
# difference from the ground, of 255, that makes a pixel part of the example
_APART = 24.0


@dataclass(frozen=True)
class Example:
    """One photo of a banned gallery; ``name`` is its path relative to the policy file."""

    name: str
    photo: Photo


def _list_photos(value: Any, info: ValidationInfo) -> Any:
    """The files of a folder, or the entries of a list as they are."""
    if isinstance(value, str):
        folder = _folder_of(info) / value
        if not value.strip():
            raise ValueError("must be a text")
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        files = [file for file in folder.iterdir() if file.suffix.lower() in _EXTENSIONS]
        value = sorted(file for file in files if file.is_file())
        if not value:
            raise ValueError(f"{folder} holds no photo")
    elif isinstance(value, dict):
        raise ValueError("must be a text")
    if len(value) > _MAX_EXAMPLES:
        raise ValueError(
            f"has {len(value)} photos, more than {_MAX_EXAMPLES}: keep the most typical ones"
        )
    return value


def _open_example(value: Any, info: ValidationInfo) -> Example:
    """A file, relative to the policy file, as an example."""
    if isinstance(value, Example):
        return value
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("must be a text")
    folder = _folder_of(info)
    file = folder / value
    try:
        photo = decode_photo(read_small(file))
    except OSError as error:
        raise ValueError(f"photo {file} cannot be read: {error.strerror or error}") from error
    except BadImageError as error:
        raise ValueError(f"photo {file}: {error}") from error
    name = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name
    return Example(name, photo)


def _folder_of(info: ValidationInfo) -> Path:
    """The folder of the policy file."""
    return Path((info.context or {}).get("folder", "."))


def _check_match(name: str) -> str:
    if name.casefold() not in MATCHES:
        raise ValueError(f"{str(name)!r} is none of {', '.join(MATCHES)}")
    return name.casefold()


def _without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


class BannedGallery(DetectorConfig):
    """Example photos of what is banned, and the ways in which a photo may match them."""

    examples: Annotated[
        tuple[Annotated[Example, PlainValidator(_open_example)], ...],
        BeforeValidator(_list_photos),
        Field(
            min_length=1,
            validation_alias="photos",
            description="a folder, or a list of files",
        ),
    ]
    match: Annotated[
        tuple[Annotated[Text, AfterValidator(_check_match)], ...],
        AfterValidator(_without_repeats),
        Field(min_length=1),
    ] = DEFAULT_MATCH

    def files(self) -> Iterable[tuple[str, str]]:
        """Name and content hash of each example."""
        return [(example.name, example.photo.content_hash) for example in self.examples]

    @cached_property
    def symbols(self) -> TemplateBank:
        """The examples at every size they are looked for."""
        return prepare_symbols(self.examples)


def galleries_of(policies: PolicySet) -> dict[str, BannedGallery]:
    """The galleries of a policy file, each by its policy's name."""
    rules = ((policy.name, policy.rules.get("gallery")) for policy in policies.policies)
    return {name: rule for name, rule in rules if isinstance(rule, BannedGallery)}


@dataclass(frozen=True)
class FittedGallery:
    """What fitting found for one gallery.

    ``bounds`` by match; of ``whole`` and ``crops`` in nats, as ``scores``; a match without any
    could not be fitted.

    A gallery that is matched neither whole nor in crops needs no vectors: then ``examples`` is
    [0, D] and ``weight`` all zeros. ``keypoints``: the examples' points, where it is matched by
    them and they could be found on the machine that fitted it.
    """

    weight: np.ndarray  # float32 [D]
    bias: float
    rivals: Rivals
    examples: np.ndarray  # float32 [n, D]
    bounds: dict[str, Bounds]
    keypoints: KeypointBank | None = None

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Log odds float [N] of the gallery's kind against the catalog's, of embeddings [N, D]."""
        return np.asarray(vectors @ self.weight + self.bias - self.rivals.score(vectors))


class PhotoCrops:
    """Crops of one photo, embedded when they are first asked for; for one thread at a time."""

    def __init__(self, photo: Photo, embed: Embed) -> None:
        self._photo = photo
        self._embed = embed

    @cached_property
    def embedded(self) -> tuple[np.ndarray, list[Box]]:
        """Vectors float32 [N, D] of the crops, and their boxes in px of ``Photo.pixels``."""
        crops = crop_corners(self._photo)
        return self._embed([part for _, part in crops]), [box for box, _ in crops]


def crop_corners(photo: Photo) -> list[tuple[Box, Photo]]:
    """Crop the four corners and the middle, 0.6 of each side.

    A photo of fewer than 2 px a side has no crop but itself.
    """
    width, height = photo.pixels.size
    wide, tall = max(1, round(_CROP * width)), max(1, round(_CROP * height))
    right, low = width - wide, height - tall
    places = dict.fromkeys([(0, 0), (right, 0), (0, low), (right, low), (right // 2, low // 2)])
    found = []
    for left, top in places:
        part = photo.pixels.crop((left, top, left + wide, top + tall))
        crop = Photo(part, photo.format, wide, tall, photo.content_hash)
        found.append(((left, top, wide, tall), crop))
    return found


def prepare_for_symbols(photo: Photo) -> PreparedPhoto:
    """Scale and transform a photo for ``find_match``."""
    pixels = photo.pixels
    scale = canvas_scale(*pixels.size)
    size = scaled_size(pixels.size, scale)
    small = pixels.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    return prepare_photo(np.asarray(small), scale)


def prepare_symbols(examples: Sequence[Example]) -> TemplateBank:
    """Cut the ground away from a gallery's examples and scale each to every size of the search."""
    templates = []
    for example in examples:
        pixels, mask = cut_out(example.photo.pixels)
        templates.append([_sized(pixels, mask, share) for share in AREAS])
    return prepare_templates(templates)


def prepare_keypoints(examples: Sequence[Example]) -> KeypointBank:
    """Find the points of a gallery's examples, less what lies on their plain ground."""
    cuts = [cut_out(example.photo.pixels) for example in examples]
    return KeypointBank(tuple(detect_example(pixels, mask) for pixels, mask in cuts))


def cut_out(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Cut out what stands on an example's plain ground, or all of it without such a ground.

    Returns its pixels float32 [h, w, 3] and their mask float32 [h, w].
    """
    pixels = np.asarray(image, np.float32)
    whole = np.ones(pixels.shape[:2], np.float32)
    edge = max(1, min(image.size) // 50)
    sides = (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    ground = np.median(border, axis=0)
    if float(np.sqrt(((border - ground) ** 2).mean())) > _PLAIN:
        return pixels, whole
    apart = binary_opening(np.abs(pixels - ground).max(2) > _APART, np.ones((3, 3)))
    shape = binary_opening(binary_fill_holes(apart), np.ones((3, 3)))
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    if shape.mean() < 0.02:
        return pixels, whole
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return pixels[window], shape[window].astype(np.float32)


def _sized(pixels: np.ndarray, mask: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A cut-out at the size at which it covers ``share`` of a photo on the canvas."""
    scale = template_side(share) / mask.size**0.5
    size = scaled_size((mask.shape[1], mask.shape[0]), scale)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    small = Image.fromarray(pixels.astype(np.uint8)).resize(size, how)
    shape = Image.fromarray((mask * 255).astype(np.uint8)).resize(size, how)
    return np.asarray(small, np.float32), (np.asarray(shape) > 127).astype(np.float32)
