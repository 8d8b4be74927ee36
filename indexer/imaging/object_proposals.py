"""Object proposals: boxes in a busy photo that may show products, and which of them do.

Boxes come from pixels alone: what no path of small colour steps joins to the border (geodesic
saliency, Wei et al. 2012), and what is unlike the border's commonest colours, each cut at several
thresholds. How alike a box's embedding is to the catalog's products then says which boxes show one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from indexer.imaging.foreground import otsu_threshold
from indexer.imaging.geometry import Box, intersection, iou, scaled_size
from indexer.imaging.lab_color import to_lab

# boxes that are worth a pass of the network
MOST = 16
# products whose mean cosine says how alike a box is to the catalog
NEAREST = 3
# products whose own nearest ones say what is usual
SAMPLE = 200

# px of the copy in which boxes are looked for, about
_AREA = 110 * 110
# thresholds, of Otsu's
_CUTS = (0.5, 0.75, 1.0, 1.4, 2.0)
_BORDER_COLOURS = 12
# quantile of the border's own colour steps: smaller ones are texture and cost a path nothing
_QUIET = 0.5
# what a step costs a path at least, in Lab units
_STEP = 0.02
# least and greatest share of the photo that a thing covers
_LEAST = 0.004
_MOST = 0.95
# times as long as wide
_LONGEST = 5.0
# in Lab units: what stands out less is noise
_CLEAR = 5.0
# IoU from which on two proposals are one
_REPEATED = 0.8
# IoU, and share of the smaller box, from which on two boxes are one object
_SAME = 0.3
_INSIDE = 0.5
# worth of a box by the root of its share of the photo: a part is as alike as the whole
_LARGE = 0.2
# how far below the usual cosine the best box, and each other one, may be
_FIRST = 0.11
_OTHERS = 0.025
# quantile of the catalog's own cosines that counts as usual
_USUAL = 0.02


@dataclass(frozen=True)
class Chosen:
    """A box that shows an object: its place among those given.

    ``score`` is its mean cosine to the nearest products.
    """

    place: int
    score: float


def propose_regions(image: Image.Image) -> list[Box]:
    """Propose at most ``MOST`` boxes of things in an upright RGB photo, and last all of it.

    In px of ``image``.
    """
    width, height = image.size
    size = scaled_size(image.size, min(1.0, (_AREA / (width * height)) ** 0.5))
    small = np.asarray(image.resize(size, Image.Resampling.BOX), np.float32) / np.float32(255)
    found: list[Box] = []
    if min(size) >= 8:
        lab = to_lab(small)
        maps = (_apart(lab), _unlike_border(to_lab(ndimage.uniform_filter(small, (3, 3, 1)))))
        for salience in maps:
            found += [box for box in _cut(salience) if _is_new(box, found)]
    across, down = width / size[0], height / size[1]
    boxes: list[Box] = []
    for x, y, w, h in found[:MOST]:
        left, top = round(x * across), round(y * down)
        wide, tall = round((x + w) * across) - left, round((y + h) * down) - top
        boxes.append((left, top, max(1, wide), max(1, tall)))
    return [*boxes, (0, 0, width, height)]


def select_objects(
    boxes: Sequence[Box], closeness: np.ndarray, usual: float, *, limit: int
) -> list[Chosen]:
    """Select the boxes of ``propose_regions`` that show products, best first, no two the same.

    Returns at most ``limit``.
    ``closeness`` [N]: mean cosine of each box to its ``NEAREST`` products, ``usual``: see
    ``in_catalog_similarity``. The whole photo is chosen only where no part of it is.
    """
    whole = len(boxes) - 1
    area = boxes[whole][2] * boxes[whole][3]
    worth = closeness + _LARGE * np.sqrt([w * h / area for _, _, w, h in boxes])
    worth[whole] = closeness[whole]
    found: list[Chosen] = []
    for place in np.argsort(-worth[:whole], kind="stable").tolist():
        least = usual - (_OTHERS if found else _FIRST)
        taken = [boxes[other.place] for other in found]
        if closeness[place] >= least and not any(_one(boxes[place], box) for box in taken):
            found.append(Chosen(place, float(closeness[place])))
            if len(found) == limit:
                break
    if not found and closeness[whole] >= usual - _OTHERS:
        found.append(Chosen(whole, float(closeness[whole])))
    return found


def in_catalog_similarity(cosines: np.ndarray) -> float:
    """How alike the catalog's products are to each other, as a cosine; -1 where there are none.

    ``cosines`` [N, up to NEAREST] of some to their nearest ones.
    """
    return float(np.quantile(cosines.mean(axis=1), _USUAL)) if cosines.size else -1.0


def _is_new(box: Box, others: Sequence[Box]) -> bool:
    """Whether a box is none of some others."""
    return all(iou(box, other) < _REPEATED for other in others)


def _one(box: Box, other: Box) -> bool:
    """Whether two boxes show one object, or part of it."""
    smaller = min(box[2] * box[3], other[2] * other[3])
    return iou(box, other) >= _SAME or intersection(box, other) >= _INSIDE * smaller


def _apart(lab: np.ndarray) -> np.ndarray:
    """Length [h, w] of the cheapest path through colour steps from the border to each px.

    ``lab`` [h, w, 3].
    """
    height, width = lab.shape[:2]
    place = np.arange(height * width).reshape(height, width)
    across = np.sqrt(np.square(lab[:, 1:] - lab[:, :-1]).sum(axis=2))
    down = np.sqrt(np.square(lab[1:] - lab[:-1]).sum(axis=2))
    rim = max(2, height // 12)
    border = (across[:rim], across[-rim:], down[:, :rim], down[:, -rim:])
    quiet = np.quantile(np.concatenate([part.ravel() for part in border]), _QUIET)
    cost = np.maximum(np.concatenate([across.ravel(), down.ravel()]) - quiet, 0) + _STEP
    ends = (
        np.concatenate([place[:, :-1].ravel(), place[:-1].ravel()]),
        np.concatenate([place[:, 1:].ravel(), place[1:].ravel()]),
    )
    graph = csr_matrix((cost, ends), shape=(height * width, height * width))
    start = np.unique(np.concatenate([place[0], place[-1], place[:, 0], place[:, -1]]))
    found = dijkstra(graph, directed=False, indices=start, min_only=True)
    return np.asarray(found, np.float32).reshape(height, width)


def _unlike_border(lab: np.ndarray) -> np.ndarray:
    """Distance [h, w] of each px of ``lab`` [h, w, 3] to the border's nearest common colour."""
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    cells, cell, counts = np.unique(
        (border / 12).round(), axis=0, return_inverse=True, return_counts=True
    )
    cell = cell.ravel()
    distance = np.full(lab.shape[:2], np.inf, np.float32)
    for number in np.argsort(-counts, kind="stable")[: min(_BORDER_COLOURS, len(cells))]:
        distance = np.minimum(
            distance, np.square(lab - border[cell == number].mean(axis=0)).sum(axis=2)
        )
    return np.sqrt(distance)


def _cut(salience: np.ndarray) -> list[Box]:
    """Boxes of the connected parts above several thresholds.

    The lowest threshold first, of each the largest part first.
    """
    boxes: list[Box] = []
    middle, _ = otsu_threshold(salience)
    for share in _CUTS:
        mask = ndimage.binary_opening(
            ndimage.binary_closing(salience > max(middle * share, _CLEAR))
        )
        labels, _ = ndimage.label(mask)
        sizes = np.bincount(labels.ravel(), minlength=2)[1:]
        parts = ndimage.find_objects(labels)
        for number in np.argsort(-sizes, kind="stable").tolist():
            if not parts or not _LEAST <= sizes[number] / mask.size <= _MOST:
                continue
            rows, columns = parts[number]
            box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            if max(box[2:]) <= _LONGEST * min(box[2:]) and _is_new(box, boxes):
                boxes.append(box)
    return boxes
