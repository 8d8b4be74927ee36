"""How the product stands in the photo: its size, place and cut edges, and what is behind it."""

from __future__ import annotations

from scipy import ndimage

from indexer.imaging.analysis_view import AnalysisView
from indexer.imaging.foreground import ForegroundProduct
from indexer.quality.findings import Measure, rising

SIDES = ("left", "top", "right", "bottom")
# Models are cut at the waist or knee below, trousers at the waist above: less bad than at the
# sides.
_SIDE_WEIGHT = {"left": 1.0, "top": 0.6, "right": 1.0, "bottom": 0.25}
_TOUCH = 0.012  # of the photo's longer side: nearer to the edge than this is touching it
_UNSURE = 0.35  # weight of what is only guessed on busy photos


def no_product(product: ForegroundProduct) -> Measure:
    """1 where nothing differs from the background; on busy photos, how little stands out, at most
    0.6."""
    share = float(product.mask.mean())
    if product.box is None:
        return Measure(1.0, {"share": 0.0, "sure": product.sure})
    small = rising(0.004 / max(share, 1e-6), 1.0)
    vague = 0.0 if product.plain else 0.6 * (1 - 2 * product.sure) ** 2
    return Measure(max(small, vague), {"share": share, "sure": product.sure})


def low_resolution(view: AnalysisView, product: ForegroundProduct) -> Measure:
    """The product's longer side in px of the original (the photo's where no product is found); 0.5
    at 500 px."""
    box = product.box if product.box is not None else (0, 0, view.width, view.height)
    where = view.original(*box)
    longer = float(max(where[2:]))
    evidence = {"longer_side": longer, "width": float(where[2]), "height": float(where[3])}
    return Measure(500.0 / (500.0 + longer), evidence, where)


def product_cut(view: AnalysisView, product: ForegroundProduct) -> Measure:
    """How much of the product meets the edges of the photo.

    Per side: the length of the mask's contact with the edge as a share of the product's extent
    along it. A cut that goes deep is wide, a sleeve that just touches is narrow. The sides' roots
    are summed, top and bottom counting less.
    """
    evidence = {side: 0.0 for side in SIDES}
    if product.box is None:
        return Measure(0.0, {**evidence, "sides": 0.0})
    mask = product.mask
    thick = max(1, round(_TOUCH * max(mask.shape)))
    rows, columns = max(int(mask.any(1).sum()), 1), max(int(mask.any(0).sum()), 1)
    contact = {
        "left": (mask[:, :thick].any(1).sum(), rows),
        "top": (mask[:thick].any(0).sum(), columns),
        "right": (mask[:, -thick:].any(1).sum(), rows),
        "bottom": (mask[-thick:].any(0).sum(), columns),
    }
    for side, (length, extent) in contact.items():
        evidence[side] = float(length) / extent
    total = sum(_SIDE_WEIGHT[side] * share**0.5 for side, share in evidence.items())
    total *= 1.0 if product.plain else _UNSURE
    cut = float(sum(share > 0.02 for share in evidence.values()))
    return Measure(rising(total, 0.6), {**evidence, "sides": cut}, view.original(*product.box))


def product_too_small(view: AnalysisView, product: ForegroundProduct) -> Measure:
    """The product's longer side as a share of the photo's side there; 0.5 at 40%."""
    if product.box is None:
        return Measure(1.0, {"share": 0.0})
    _, _, width, height = product.box
    share = max(width / view.width, height / view.height)
    score = 1 / (1 + (share / 0.4) ** 2)
    return Measure(score, {"share": share}, view.original(*product.box))


def off_centre(view: AnalysisView, product: ForegroundProduct) -> Measure:
    """How far the middle of the product's box is from the photo's, in shares of the width and
    height."""
    if product.box is None:
        return Measure(0.0, {"x": 0.0, "y": 0.0})
    left, top, width, height = product.box
    x, y = (left + width / 2) / view.width - 0.5, (top + height / 2) / view.height - 0.5
    far = max(abs(x), abs(y)) * (1.0 if product.plain else _UNSURE)
    return Measure(rising(far, 0.15), {"x": x, "y": y}, view.original(*product.box))


def busy_background(view: AnalysisView, product: ForegroundProduct) -> Measure:
    """How much changes behind the product: strays from one colour at the border, and edges outside
    the product."""
    outside = ~ndimage.binary_dilation(product.mask, iterations=3)
    edges = float(view.slope[outside].mean()) if outside.sum() > 0.02 * outside.size else 0.0
    score = rising(product.spread + 2 * edges, 30.0)
    return Measure(score, {"spread": product.spread, "edges": edges, "plain": float(product.plain)})
