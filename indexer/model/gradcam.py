"""Grad-CAM heat maps of a category, and of what makes two photos similar, by block.

A ``network`` is a ``model.network.Network`` in eval mode; none of this changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from indexer.core.errors import BadRequestError
from indexer.core.native import torch
from indexer.model.decision_layer import Category, Decision
from indexer.model.network import Heads

# Of networks in use: size of the input -> how the last map lies.
_LAYOUTS: WeakKeyDictionary[Any, dict[tuple[int, ...], Any]] = WeakKeyDictionary()
# Width and height of the first of two views within all that is seen (``inner_share``).
ViewShare = tuple[float, float]
WHOLE: ViewShare = (1.0, 1.0)
# From nothing to most, RGB: dark blue, violet, orange, pale yellow.
_RAMP = np.array([(20, 16, 66), (122, 32, 128), (240, 110, 60), (252, 236, 150)], np.float32)


@dataclass(frozen=True)
class PairHeat:
    """Similarity of two photos by one block, and heat maps of what in each makes it."""

    block: str
    cosine: float
    # float32 [h, w] in [0, 1]
    first: np.ndarray
    # float32 [h, w] in [0, 1]
    second: np.ndarray


def category_direction(network: Any, decision: Decision, category: Category) -> np.ndarray:
    """Return the direction float32 [D] of the embedding that speaks for ``category``.

    It comes from the head and from few-shot rows. Raises ``BadRequestError`` where nothing does.
    """
    rows = [
        entry.weight
        for entry in decision.few_shot
        if entry.category == category.id and entry.kind == "category"
    ]
    if network.spec.head("category"):
        head = network.heads.linear[network.heads.names.index("category")]
        weights = head.weight.detach().cpu().numpy() * Heads.SCALE
        rows += [weights[label] for label in category.trained]
    if not rows:
        raise BadRequestError(f"nothing in this model speaks for {category.label!r}")
    return np.asarray(np.mean(rows, axis=0), np.float32)


def category_map(
    network: Any, photo: Any, direction: np.ndarray, *, share: ViewShare = WHOLE
) -> np.ndarray:
    """Compute the Grad-CAM (Selvaraju et al. 2017) of one photo, float32 [V, 3, H, W].

    ``direction`` [D] is what speaks for the category. Activations are counted from those of an
    empty photo of the same ground: a class that stands for "no texture" would otherwise light up
    all the background. Returns float32 [h, w] in [0, 1], h and w those of the last feature map,
    over the whole input; all 0 where no part of the photo speaks for it. Of a photo that is seen
    twice, the two maps are one, twice as fine, over all of it; ``share``: ``inner_share``.
    """
    with _watched(network, photo, beyond_empty=True) as (embedding, seen):
        return seen.heat(embedding[0] @ torch.from_numpy(direction).to(embedding), share)


def pair_maps(
    network: Any, first: Any, second: Any, *, shares: tuple[ViewShare, ViewShare] = (WHOLE, WHOLE)
) -> list[PairHeat]:
    """Compute what makes two photos similar, one entry per block, from the block's cosine.

    ``shares``: of each as ``category_map`` takes it.

    The gradient is of cos(photo, other) - cos(photo, empty ground): of the cosine alone it vanishes
    where the photos are the same, which have most to show.
    """
    parts = {
        name: _unit_parts(network, photo) for name, photo in (("first", first), ("second", second))
    }
    heats: dict[tuple[str, str], np.ndarray] = {}
    pairs = (("first", "second", first), ("second", "first", second))
    for (mine, other, photo), share in zip(pairs, shares, strict=True):
        empty = _unit_parts(network, _empty(photo))
        with _watched(network, photo) as (embedding, seen):
            for name, part in _split(network, embedding[0]).items():
                heats[mine, name] = seen.heat(
                    part / part.norm().clamp_min(1e-6) @ (parts[other][name] - empty[name]), share
                )
    return [
        PairHeat(
            block=block.name,
            cosine=float(parts["first"][block.name] @ parts["second"][block.name]),
            first=heats["first", block.name],
            second=heats["second", block.name],
        )
        for block in network.spec.blocks
    ]


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Draw ``heat`` [h, w] over uint8 [H, W, 3]: cold parts are dimmed, warm ones glow."""
    height, width = pixels.shape[:2]
    smooth = np.asarray(
        Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC),
        np.float32,
    ).clip(0, 1)
    stops = np.linspace(0, 1, len(_RAMP))
    colour = np.stack(
        [np.interp(smooth, stops, _RAMP[:, channel]) for channel in range(3)], axis=-1
    )
    cover = (0.35 + 0.3 * smooth)[..., None]
    return (pixels * (1 - cover) + colour * cover).round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Grid:
    """Cells of the last feature map, where they do not lie as [1, C, h, w]."""

    height: int
    width: int
    # Of one row per cell (a transformer's tokens, [1, T, C], others before the cells') or of a map
    # with its channels behind.
    tokens: bool

    def fits(self, shape: tuple[int, ...], channels: int) -> bool:
        """Whether a tensor of that shape holds these cells of each view."""
        if self.tokens:
            cells = self.height * self.width
            return len(shape) == 3 and shape[1] >= cells and shape[2] == channels
        return shape[1:] == (self.height, self.width, channels)

    def to_map(self, found: Any) -> Any:
        """Lay ``found`` out as [V, C, h, w]."""
        if not self.tokens:
            return found.permute(0, 3, 1, 2)
        cells = found[:, found.shape[1] - self.height * self.width :]
        return cells.transpose(1, 2).unflatten(2, (self.height, self.width))


class _Activations:
    """Intermediate tensors of a pass: the last feature map, and the pixels of colour statistics."""

    def __init__(self, grid: _Grid | None) -> None:
        self._grid = grid
        # [V, C, h, w], or as ``grid`` says
        self.features: Any = None
        # What features are counted from.
        self.base: Any = 0.0
        # [V, 3, H, W]
        self.pixels: Any = None

    def _to_map(self, found: Any) -> Any:
        return found if self._grid is None else self._grid.to_map(found)

    def heat(self, score: Any, share: ViewShare) -> np.ndarray:
        """Return the parts that raise ``score``, float32 [h, w] in [0, 1]; of two views merged."""
        sources = [source for source in (self.features, self.pixels) if source is not None]
        gradients = torch.autograd.grad(score, sources, retain_graph=True, allow_unused=True)
        by_source = dict(zip(map(id, sources), gradients, strict=True))
        beyond = self._to_map(self.features - self.base)
        grid = beyond.shape[2:]
        heat: Any = torch.zeros((len(beyond), *grid), device=beyond.device)
        gradient: Any = by_source[id(self.features)]
        if gradient is not None:
            channels = self._to_map(gradient).mean((2, 3), keepdim=True)
            heat = heat + (channels * beyond).sum(1)
        gradient = by_source.get(id(self.pixels))
        # A block that reads colours directly: what differs from the ground, to first order.
        if gradient is not None:
            parts = (gradient.nan_to_num() * (self.pixels - _ground(self.pixels))).sum(
                1, keepdim=True
            )
            cells = torch.nn.functional.adaptive_avg_pool2d(parts, grid)[:, 0]
            heat = heat + cells * (parts.numel() / cells.numel())
        warm = heat.detach().clamp_min(0).float().cpu().numpy()
        warm = warm[0] if len(warm) == 1 else _merged(warm[0], warm[1], share)
        return np.asarray(warm / max(float(warm.max()), 1e-12))


def _merged(inner: np.ndarray, outer: np.ndarray, share: ViewShare) -> np.ndarray:
    """Add the map of the first view to that of the square around the photo, twice as fine.

    Heat is by area, so it grows as its view shrinks.
    """
    fine = np.kron(outer, np.ones((2, 2), np.float32))
    width, height = (
        max(1, round(side * part)) for side, part in zip(fine.shape[::-1], share, strict=True)
    )
    small = Image.fromarray(inner).resize((width, height), Image.Resampling.BOX)
    top, left = (fine.shape[0] - height) // 2, (fine.shape[1] - width) // 2
    fine[top : top + height, left : left + width] += (
        np.asarray(small) * fine.size / (height * width)
    )
    return fine


@contextmanager
def _watched(
    network: Any, photo: Any, *, beyond_empty: bool = False
) -> Iterator[tuple[Any, _Activations]]:
    """Run one pass with gradients: (embedding [1, D], its activations).

    ``beyond_empty``: features count as far as they differ from those of an empty photo. The last
    feature map is whatever module of the backbone gives the last output with a height and a width;
    so it is found in every family of networks without a table of names. Of a transformer it is what
    its last block takes: what that gives may be read at one token alone.
    """
    grid, channels = _layout(network.backbone, photo[:1])
    seen = _Activations(grid)

    def keep(_: Any, __: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor):
            return
        if grid is None:
            if output.dim() == 4 and min(output.shape[2:]) > 1:
                seen.features = output
        elif not grid.tokens and grid.fits(tuple(output.shape), channels):
            seen.features = output

    def take(_: Any, inputs: tuple[Any, ...]) -> None:
        if grid is not None and grid.fits(tuple(inputs[0].shape), channels):
            seen.features = inputs[0]

    def part(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.pixels = inputs[0].detach().clone().requires_grad_(True)
        return (seen.pixels,)

    hooks = [module.register_forward_hook(keep) for module in network.backbone.modules()]
    blocks = getattr(network.backbone, "blocks", None)
    if grid is not None and grid.tokens and blocks:
        hooks.append(blocks[-1].register_forward_pre_hook(take))
    hooks.append(network.colour.register_forward_pre_hook(part))
    try:
        if beyond_empty:
            with torch.no_grad():
                network(_empty(photo))
            seen.base = 0.0 if seen.features is None else seen.features
        with torch.enable_grad():
            embedding, _ = network(photo.detach().clone().requires_grad_(True))
            if seen.features is None:
                raise _nothing_to_show(network.backbone)
            yield embedding, seen
    finally:
        for hook in hooks:
            hook.remove()


def _layout(backbone: Any, photo: Any) -> tuple[_Grid | None, int]:
    """Find how the last feature map lies in the backbone, and its channels.

    None: as [1, C, h, w]. timm's networks say what their map is (``forward_intermediates``); the
    tensors that pass through tell how it lies. Raises ``BadRequestError`` where neither tells.
    """
    known = _LAYOUTS.setdefault(backbone, {})
    size = tuple(photo.shape)
    if size not in known:
        known[size] = _find_layout(backbone, photo)
    return known[size]


def _find_layout(backbone: Any, photo: Any) -> tuple[_Grid | None, int]:
    if not hasattr(backbone, "forward_intermediates"):
        return None, 0
    shapes: list[tuple[int, ...]] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            shapes.append(tuple(output.shape))

    hooks = [module.register_forward_hook(keep) for module in backbone.modules()]
    try:
        with torch.no_grad():
            found = backbone.forward_intermediates(
                photo, indices=1, output_fmt="NCHW", intermediates_only=True
            )
    finally:
        for hook in hooks:
            hook.remove()
    _, channels, height, width = found[-1].shape
    grids = (_Grid(height, width, tokens=False), _Grid(height, width, tokens=True))
    # The last one tells: a transformer begins with a convolution.
    for shape in reversed(shapes):
        if shape == (1, channels, height, width):
            return None, channels
        for grid in grids:
            if grid.fits(shape, channels):
                return grid, channels
    raise _nothing_to_show(backbone)


def _nothing_to_show(backbone: Any) -> BadRequestError:
    return BadRequestError(
        f"a {type(backbone).__name__} has no map of a photo, so nothing can be shown of it"
    )


def _ground(photo: Any) -> Any:
    """Return the median colour of each view's border, [V, 3, 1, 1]."""
    border = torch.cat(
        [photo[:, :, 0], photo[:, :, -1], photo[:, :, :, 0], photo[:, :, :, -1]], dim=2
    )
    return border.detach().median(dim=2).values[:, :, None, None]


def _empty(photo: Any) -> Any:
    """Return a photo of nothing but the ground, [V, 3, H, W]."""
    return _ground(photo).expand_as(photo).contiguous()


def _split(network: Any, embedding: Any) -> dict[str, Any]:
    """Split an embedding [D]: block name -> its part."""
    sizes = [block.dim for block in network.spec.blocks]
    return {
        block.name: part
        for block, part in zip(network.spec.blocks, embedding.split(sizes), strict=True)
    }


def _unit_parts(network: Any, photo: Any) -> dict[str, Any]:
    with torch.no_grad():
        parts = _split(network, network(photo)[0][0])
        return {name: part / part.norm().clamp_min(1e-6) for name, part in parts.items()}
