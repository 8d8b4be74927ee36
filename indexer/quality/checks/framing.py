"""Framing of the product: its size, place and cut edges, and what is behind it."""

from __future__ import annotations

from scipy import ndimage

from indexer.quality.advice_template import Advice
from indexer.quality.analyzed_photo import AnalyzedPhoto
from indexer.quality.findings import FINDINGS, NEVER, FindingSpec, Floors, Measure, saturate

SIDES = ("left", "top", "right", "bottom")
# Models are cut at the waist or knee below, trousers at the waist above: less bad than at the
# sides.
_SIDE_WEIGHT = {"left": 1.0, "top": 0.6, "right": 1.0, "bottom": 0.25}
# share of the photo's longer side: what is nearer to the edge touches it
_TOUCH = 0.012
# weight of what is only guessed on busy photos
_UNSURE = 0.35


def measure_no_product(photo: AnalyzedPhoto) -> Measure:
    """Return 1 where nothing differs from the background; on busy photos at most 0.6."""
    product = photo.product
    share = float(product.mask.mean())
    if product.box is None:
        return Measure(1.0, {"share": 0.0, "sure": product.sure})
    small = saturate(0.004 / max(share, 1e-6), 1.0)
    vague = 0.0 if product.plain else 0.6 * (1 - 2 * product.sure) ** 2
    return Measure(max(small, vague), {"share": share, "sure": product.sure})


def measure_low_resolution(photo: AnalyzedPhoto) -> Measure:
    """Measure the product's longer side in px of the original, 0.5 at 500 px.

    Where no product is found, that of the photo.
    """
    view, product = photo.view, photo.product
    box = product.box if product.box is not None else (0, 0, view.width, view.height)
    where = view.original(*box)
    longer = float(max(where[2:]))
    evidence = {"longer_side": longer, "width": float(where[2]), "height": float(where[3])}
    return Measure(500.0 / (500.0 + longer), evidence, where)


def measure_cut(photo: AnalyzedPhoto) -> Measure:
    """Measure how much of the product meets the edges of the photo.

    Per side: the length of the mask's contact with the edge as a share of the product's extent
    along it. A cut that goes deep is wide, a sleeve that just touches is narrow. The sides' roots
    are summed, top and bottom counting less.
    """
    product = photo.product
    evidence = dict.fromkeys(SIDES, 0.0)
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
    where = photo.view.original(*product.box)
    return Measure(saturate(total, 0.6), {**evidence, "sides": cut}, where)


def measure_smallness(photo: AnalyzedPhoto) -> Measure:
    """Measure the product's longer side as a share of the photo's side there; 0.5 at 40%."""
    view, product = photo.view, photo.product
    if product.box is None:
        return Measure(1.0, {"share": 0.0})
    _, _, width, height = product.box
    share = max(width / view.width, height / view.height)
    score = 1 / (1 + (share / 0.4) ** 2)
    return Measure(score, {"share": share}, view.original(*product.box))


def measure_off_centre(photo: AnalyzedPhoto) -> Measure:
    """Measure how far the middle of the product's box is from the photo's.

    In shares of the width and of the height.
    """
    view, product = photo.view, photo.product
    if product.box is None:
        return Measure(0.0, {"x": 0.0, "y": 0.0})
    left, top, width, height = product.box
    x, y = (left + width / 2) / view.width - 0.5, (top + height / 2) / view.height - 0.5
    far = max(abs(x), abs(y)) * (1.0 if product.plain else _UNSURE)
    return Measure(saturate(far, 0.15), {"x": x, "y": y}, view.original(*product.box))


def measure_background(photo: AnalyzedPhoto) -> Measure:
    """Measure how busy the background is: strays of colour at the border, edges off the product."""
    view, product = photo.view, photo.product
    outside = ~ndimage.binary_dilation(product.mask, iterations=3)
    edges = float(view.slope[outside].mean()) if outside.sum() > 0.02 * outside.size else 0.0
    score = saturate(product.spread + 2 * edges, 30.0)
    evidence = {"spread": product.spread, "edges": edges, "plain": float(product.plain)}
    return Measure(score, evidence)


FINDINGS.register(
    FindingSpec(
        "no-product",
        measure_no_product,
        floors={"studio": Floors(0.5, 0.8, 0.95), "marketplace": Floors(0.5, 0.8, 0.95)},
        advice=Advice(
            en="No product stands out in the photo: show the product clearly, before a plain "
            "background.",
            zh="照片中看不出商品：请在纯色背景前清晰地展示商品。",
        ),
        place=10,
    )
)
FINDINGS.register(
    FindingSpec(
        "low-resolution",
        measure_low_resolution,
        floors={
            # below 1000, 600, 300 px
            "studio": Floors(0.333, 0.454, 0.625),
            # below 800, 500, 250 px
            "marketplace": Floors(0.384, 0.5, 0.666),
        },
        advice=Advice(
            en="The product is {longer_side} px on its longer side; 1000 px or more let shoppers "
            "zoom, 500 px is the least.",
            zh="商品长边为 {longer_side} 像素；至少需要 500 像素，1000 像素以上买家才能放大查看。",
        ),
        place=20,
    )
)
FINDINGS.register(
    FindingSpec(
        "busy-background",
        measure_background,
        floors={
            "studio": Floors(0.4, 0.7, 0.85),
            "marketplace": Floors(0.7, NEVER, NEVER, 0.2),
        },
        advice=Advice(
            en="The background is busy: put the product before a plain, light one.",
            zh="背景杂乱：请把商品放在纯色浅色背景前。",
        ),
        place=100,
    )
)
FINDINGS.register(
    FindingSpec(
        "product-cut",
        measure_cut,
        floors={
            "studio": Floors(0.4, 0.6, 0.75, 0.8),
            "marketplace": Floors(0.5, 0.72, NEVER, 0.5),
        },
        advice=Advice(
            en="The product is cut by the edge at {sides} of 4 sides: step back so that all of it "
            "is in the photo.",
            zh="商品在 4 条边中的 {sides} 条被画面切断：请后退，把商品拍完整。",
        ),
        place=110,
    )
)
FINDINGS.register(
    FindingSpec(
        "product-too-small",
        measure_smallness,
        floors={
            "studio": Floors(0.4, 0.5, 0.8, 0.8),
            "marketplace": Floors(0.5, 0.64, 0.85, 0.8),
        },
        advice=Advice(
            en="The product fills {share%} of the photo's side; move closer or crop to 80%.",
            zh="商品只占画面边长的 {share%}；请靠近拍摄，或裁剪到约 80%。",
        ),
        place=120,
    )
)
FINDINGS.register(
    FindingSpec(
        "off-centre",
        measure_off_centre,
        floors={
            "studio": Floors(0.35, 0.57, 0.75, 0.4),
            "marketplace": Floors(0.55, 0.7, NEVER, 0.3),
        },
        advice=Advice(
            en="The product is off the middle by {x%} across and {y%} down: move it to the centre.",
            zh="商品偏离中心（水平 {x%}，垂直 {y%}）：请移到画面中央。",
        ),
        place=130,
    )
)
