"""Model specification: the one contract between training and serving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from indexer.core.errors import BadModelError, NewerFormatError
from indexer.imaging.lab_color import WIDTHS

FORMAT = 1
# Of specs with ``shapes`` or ``both``, which a Catalens that knows format 1 alone refuses by name.
LOOKS_FORMAT = 2
# Of specs with a later version of the colour statistics than the first.
COLOURS_FORMAT = 3
# Of specs with a head of ``several`` labels.
LABELS_FORMAT = 4
NUMERICS = ("fp32", "bf16", "int8")
# px, side of an input
_LONGEST = 4096
# What of a photo a network is shown: ``Preprocess.look``.
LOOKS = ("crop", "whole", "rect", "both")
DECODERS = ("full", "draft2", "draft3")
INTERPOLATIONS = ("bicubic", "bilinear", "bicubic-u8", "bilinear-u8")
# Several times what any network has: a width of features or of a block, forms of an input.
_WIDEST = 1 << 16
_MOST_SHAPES = 64
_BLOCKS = ("a", "c", "g", "t")
# Name of the head of tags that no column holds; no attribute can be called so.
FREE_TAGS = "tags"


@dataclass(frozen=True)
class Block:
    """One named part of the embedding: a unit vector of ``dim``, scaled by sqrt(``weight``)."""

    # "a" article and style, "c" colour, "g" general, "t" the space that a text tower shares.
    name: str
    dim: int
    # Weights of all blocks sum to 1.
    weight: float


@dataclass(frozen=True)
class Preprocess:
    """Bytes to network input. Every number is in px or for RGB in [0, 1]."""

    # "full", or "draft2": JPEGs are decoded at the smallest DCT scale that keeps twice the resize
    # side; "draft3": so too, and it is known that white drawings on transparency lie on grey
    decoder: str
    # Short side (keep_aspect) or both sides, px.
    resize: int
    # Centre crop, px.
    crop: int
    # "bicubic" or "bilinear"; with "-u8" boxes lie at whole px (``preprocessing.to_pixels``).
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    keep_aspect: bool
    # Inputs (width, height) in px, of which a photo takes the one nearest to its own form; empty:
    # the square of ``crop`` px for all.
    shapes: tuple[tuple[int, int], ...]
    # Whether a photo is seen twice: its middle square, and all of it, a square with margins.
    # Features are the mean of the unit features of both.
    both: bool

    @property
    def look(self) -> str:
        """One of LOOKS: the middle square with or without a margin cut off, all of the photo, or
        the middle square and all of it."""
        if self.shapes:
            return "rect"
        if self.both:
            return "both"
        return "whole" if self.resize == self.crop else "crop"

    @property
    def views(self) -> int:
        """How many inputs are made of one photo, V."""
        return 2 if self.both else 1

    def to_json(self) -> dict[str, Any]:
        """The fields; of looks that there always were the fields that there always were, so that
        ids stay."""
        fields = asdict(self)
        for name in ("shapes", "both"):
            if not fields[name]:
                del fields[name]
        return fields


def _shape(stored: Any) -> tuple[int, int]:
    width, height = (int(side) for side in stored)
    if not (0 < width <= _LONGEST and 0 < height <= _LONGEST):
        raise ValueError(f"an input of {width} x {height} px is none")
    return width, height


def format_of(preprocess: Preprocess, colours: int, heads: Sequence[Head] = ()) -> int:
    """The least format that can say this preprocessing, version of the colour statistics, and
    heads."""
    if any(head.several for head in heads):
        return LABELS_FORMAT
    if colours > 1:
        return COLOURS_FORMAT
    return LOOKS_FORMAT if preprocess.shapes or preprocess.both else FORMAT


@dataclass(frozen=True)
class Head:
    """A classifier on the embedding: one logit per class id, in this order.

    The classes' names stand in the decision layer.
    """

    # "category", an attribute's name, or "tags" (``FREE_TAGS``).
    name: str
    classes: tuple[int, ...]
    # Whether any number of its classes may be true: each has a sigmoid of its own, calibrated as it
    # is stored. Else one is, by a softmax over them.
    several: bool

    def to_json(self) -> dict[str, Any]:
        """The fields; of one class alone those that there always were, so that ids stay."""
        fields = asdict(self)
        if not self.several:
            del fields["several"]
        return fields


@dataclass(frozen=True)
class ModelSpec:
    """What a model is; no field has a default, so nothing falls back to ImageNet's numbers."""

    format: int
    backbone: str
    # Of the backbone's pooled features.
    feature_dim: int
    # One of NUMERICS: vectors of one index come from one numeric class.
    numeric: str
    preprocess: Preprocess
    blocks: tuple[Block, ...]
    heads: tuple[Head, ...]
    # Version of the colour statistics behind the features, which block c reads.
    colours: int

    @property
    def colour_width(self) -> int:
        """K, how many numbers these statistics are."""
        return WIDTHS[self.colours]

    @property
    def dim(self) -> int:
        """D, the length of the embedding."""
        return sum(block.dim for block in self.blocks)

    def with_preprocess(self, preprocess: Preprocess) -> ModelSpec:
        """The same model on other pixels."""
        found = format_of(preprocess, self.colours, self.heads)
        return replace(self, format=found, preprocess=preprocess)

    def with_colours(self, version: int) -> ModelSpec:
        """The same model with another version of the colour statistics."""
        found = format_of(self.preprocess, version, self.heads)
        return replace(self, format=found, colours=version)

    def with_heads(self, heads: Sequence[Head]) -> ModelSpec:
        """The same model with other heads."""
        found = format_of(self.preprocess, self.colours, heads)
        return replace(self, format=found, heads=tuple(heads))

    @property
    def several(self) -> frozenset[str]:
        """Names of the heads of which several labels may be true."""
        return frozenset(head.name for head in self.heads if head.several)

    def block(self, name: str) -> Block | None:
        return next((block for block in self.blocks if block.name == name), None)

    def block_slice(self, name: str) -> slice:
        """Return where a block lies in the embedding. Raises ``KeyError`` for one it has not."""
        start = 0
        for block in self.blocks:
            if block.name == name:
                return slice(start, start + block.dim)
            start += block.dim
        raise KeyError(name)

    def head(self, name: str) -> Head | None:
        return next((head for head in self.heads if head.name == name), None)

    def embedding_part(self) -> dict[str, Any]:
        """Return all that the vector depends on beside tensors: everything but the heads."""
        whole = self.with_heads(()).to_json()
        del whole["heads"]
        return whole

    def to_json(self) -> dict[str, Any]:
        """The fields; of what there always was the fields that there always were, so that ids
        stay."""
        fields = {
            **asdict(self),
            "preprocess": self.preprocess.to_json(),
            "heads": tuple(head.to_json() for head in self.heads),
        }
        if self.colours == 1:
            del fields["colours"]
        return fields

    @classmethod
    def from_json(cls, stored: Any, *, where: str) -> ModelSpec:
        """Read what ``to_json`` wrote.

        Raises ``BadModelError`` for a missing or an unknown field, ``NewerFormatError``.
        """
        if not isinstance(stored, dict):
            raise BadModelError(f"{where}: not an object")
        found = stored.get("format")
        if isinstance(found, int) and found > LABELS_FORMAT:
            raise NewerFormatError(
                f"{where} has format {found}, this Catalens knows up to {LABELS_FORMAT}: upgrade it"
            )
        try:
            fields = dict(stored)
            pre = dict(fields.pop("preprocess"))
            for triple in ("mean", "std"):
                r, g, b = pre[triple]
                pre[triple] = (float(r), float(g), float(b))
            pre["shapes"] = tuple(_shape(shape) for shape in pre.get("shapes", ()))
            pre.setdefault("both", False)
            blocks = tuple(Block(**block) for block in fields.pop("blocks"))
            heads = tuple(
                Head(head["name"], tuple(head["classes"]), head.get("several", False))
                for head in fields.pop("heads")
            )
            fields.setdefault("colours", 1)
            spec = cls(preprocess=Preprocess(**pre), blocks=blocks, heads=heads, **fields)
        except (TypeError, KeyError, ValueError) as error:
            raise BadModelError(f"{where}: {error}") from error
        if wrong := _fault(spec):
            raise BadModelError(f"{where}: {wrong}")
        return spec


def _fault(spec: ModelSpec) -> str | None:
    """What of a spec no network has: anybody can write one, and memory is taken by its numbers."""
    if spec.numeric not in NUMERICS:
        return f"numeric class {ascii(spec.numeric)[:40]} is none of {', '.join(NUMERICS)}"
    if type(spec.colours) is not int or spec.colours not in WIDTHS:
        return f"colours {ascii(spec.colours)[:40]} are no version of the colour statistics"
    if not all(type(head.several) is bool for head in spec.heads):
        return "several of a head is neither true nor false"
    if spec.format != format_of(spec.preprocess, spec.colours, spec.heads):
        return f"format {ascii(spec.format)[:40]} does not fit its preprocessing, colours and heads"
    if not isinstance(spec.backbone, str) or not _is_number(spec.feature_dim, _WIDEST):
        return "backbone or feature_dim is none"
    names = [block.name for block in spec.blocks]
    if not all(name in _BLOCKS for name in names) or len(set(names)) < len(names):
        return f"blocks are not {', '.join(_BLOCKS)}, each once"
    if "g" not in names or not all(_is_number(block.dim, _WIDEST) for block in spec.blocks):
        return "block g is missing, or a dim is none"
    if any(block.name == "t" and block.dim != spec.feature_dim for block in spec.blocks):
        return "block t is not as wide as the features"
    weights = [block.weight for block in spec.blocks]
    if not all(isinstance(one, (int, float)) and one >= 0 for one in weights) or not (
        abs(sum(weights) - 1.0) <= 1e-6
    ):
        return "block weights must sum to 1"
    heads = [head.name for head in spec.heads]
    if not all(isinstance(name, str) for name in heads) or len(set(heads)) < len(heads):
        return "heads have no names, or one twice"
    if not all(type(number) is int for head in spec.heads for number in head.classes):
        return "classes of a head are no numbers"
    return preprocess_fault(spec.preprocess)


def preprocess_fault(pre: Preprocess) -> str | None:
    """What of a preprocessing none is; None where nothing is wrong."""
    if pre.decoder not in DECODERS or pre.interpolation not in INTERPOLATIONS:
        return "decoder or interpolation is not known"
    if not _is_number(pre.resize, _LONGEST) or not _is_number(pre.crop, _LONGEST):
        return f"resize and crop must be 1 to {_LONGEST:,} px"
    if len(pre.shapes) > _MOST_SHAPES:
        return f"it has more than {_MOST_SHAPES} forms of input"
    if type(pre.keep_aspect) is not bool or type(pre.both) is not bool:
        return "keep_aspect or both is neither true nor false"
    if pre.both and pre.shapes:
        return "a photo seen twice has no forms of input"
    if not all(math.isfinite(value) for value in (*pre.mean, *pre.std)) or min(pre.std) <= 0:
        return "mean or std are no numbers to divide by"
    return None


def _is_number(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most
