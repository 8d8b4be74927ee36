"""Folds of train and validation photos: repeats together, kinds spread evenly, test unread."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from indexer.core.category_path import format_path
from indexer.core.csv_text import CsvWriter
from indexer.core.errors import CatalensError
from indexer.duplicates.alignment import SAME, aligned_similarity
from indexer.duplicates.hash_store import Signatures
from indexer.duplicates.perceptual_hash import NEAR_BITS, coarse_match, near_pairs, thumbnail
from indexer.feeds.dataset import DatasetRow
from indexer.imaging.parallel import decode_all
from indexer.training.problem import read_problem

FOLDS = 5
# of the photos: two are held out, the next one is for validation, seven teach
_PARTS = 10
# px that photos are decoded to at least, before they become thumbnails
_DECODED = 64
_PORTION = 4096
_COLUMNS = ("product_id", "image", "title", "category", "tags", "split")


@dataclass(frozen=True)
class FoldData:
    """Photos that are no test photos, and the part of ten that each belongs to; N each."""

    rows: list[DatasetRow]
    part: np.ndarray  # int [N], 0 to 9
    # str [N], the first product that a photo's product repeats or is: one group, one part
    group: np.ndarray

    def split(self, fold: int) -> np.ndarray:
        """Name each photo's split in ``fold`` (0 to 4), str [N]."""
        held_out = self.part // (_PARTS // FOLDS) == fold
        judges = self.part == (fold + 1) * (_PARTS // FOLDS) % _PARTS
        return np.where(held_out, "test", np.where(judges, "validation", "train"))

    def of(self, kept: np.ndarray) -> FoldData:
        """Select the photos that ``kept`` (bool [N]) marks."""
        rows = [row for row, keep in zip(self.rows, kept, strict=True) if keep]
        return FoldData(rows, self.part[kept], self.group[kept])

    def digest(self) -> str:
        """Name which photo is in which part."""
        text = "\n".join(
            f"{key} {part}" for key, part in zip(photo_keys(self.rows), self.part, strict=True)
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def photo_keys(rows: Sequence[DatasetRow]) -> list[str]:
    """Name photos by product and file, as any commit does."""
    return [f"{row.product_id} {row.image.name}" for row in rows]


def read_folds(data: Path, *, photos: int = 0) -> FoldData:
    """Read the train and validation photos of ``data`` into ten parts.

    Products, and products with nearly the same photo, stand in one part; kinds are spread evenly.
    ``photos``: keep whole groups drawn by seed 0 until so many photos (0: all).
    """
    problem = read_problem(data, 0)
    rows = [row for row in problem.rows if problem.split[row.product_id] != "test"]
    group = _groups(rows)
    found = FoldData(rows, _spread(rows, group), group)
    if not photos or photos >= len(rows):
        return found
    names = np.unique(group)
    order = {name: place for place, name in enumerate(np.random.default_rng(0).permutation(names))}
    ranked = np.array([order[name] for name in group])
    last = np.sort(ranked)[photos - 1]
    return found.of(ranked <= last)


def thin_to_tail(rows: Sequence[DatasetRow], split: np.ndarray, seed: int) -> np.ndarray:
    """Mark photos to keep, bool [N], so that train and validation have few of most kinds.

    The kinds in an order drawn by ``seed``; the r-th keeps 1 / r of its products (at least four),
    of held-out photos all.
    """
    rng = np.random.default_rng(seed)
    kinds = sorted({format_path(row.category) for row in rows if row.category})
    rank = {kind: place + 1 for place, kind in enumerate(rng.permutation(kinds))}
    kept = split == "test"
    for name in ("train", "validation"):
        for kind in kinds:
            mine = [
                number
                for number, row in enumerate(rows)
                if split[number] == name and row.category and format_path(row.category) == kind
            ]
            count = min(len(mine), max(round(len(mine) / rank[kind]), 4))
            kept[rng.permutation(mine)[:count].astype(int)] = True
    return kept


def write_manifest(path: Path, rows: Sequence[DatasetRow], split: Sequence[str]) -> Path:
    """Write a CSV that ``train`` reads, with all that the data says and these splits."""
    names = sorted({name for row in rows for name in row.attributes})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvWriter(stream)
        writer.writerow((*_COLUMNS, *names))
        for row, where in zip(rows, split, strict=True):
            category = format_path(row.category) if row.category else ""
            first = (row.product_id, row.image.absolute(), row.title or "", category)
            values = [row.attributes.get(name, "") for name in names]
            writer.writerow((*first, "|".join(row.tags), where, *values))
    return path


def _groups(rows: Sequence[DatasetRow]) -> np.ndarray:
    """Name each photo's group, str [N]: its product, and products of which a photo is the same."""
    names = sorted({row.product_id for row in rows})
    number = {name: place for place, name in enumerate(names)}
    product = np.array([number[row.product_id] for row in rows])
    pairs = product[_repeats(rows)]
    ones = np.ones(len(pairs))
    links = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    first: dict[int, str] = {}
    for place, name in enumerate(names):
        first.setdefault(int(component[place]), name)
    return np.array([first[int(component[place])] for place in product], str)


def _repeats(rows: Sequence[DatasetRow]) -> np.ndarray:
    """Find pairs of nearly the same photo, int [n, 2]: as ``duplicates`` does without a model."""
    numbers = []
    thumbs = []
    decoded = decode_all(
        range(len(rows)), lambda number: rows[number].image.read_bytes(), shrink_to=_DECODED
    )
    for number, photo in decoded:
        if not isinstance(photo, CatalensError):
            numbers.append(number)
            thumbs.append(thumbnail(photo.pixels))
    pictures = np.stack(thumbs)
    signatures = Signatures.compute(np.arange(len(thumbs)), pictures)
    at = signatures.ids
    found = [np.empty((0, 2), np.int64)]
    for queries, turn in ((None, 1), (signatures.mirrored, -1)):
        coarse = signatures.coarse[:, :, ::turn]
        for first, second, _ in near_pairs(
            signatures.codes, NEAR_BITS, queries=queries, portion=1024
        ):
            kept = coarse_match(coarse[first], signatures.coarse[second]) & (first < second)
            pairs = np.stack([at[first[kept]], at[second[kept]]], 1)
            for start in range(0, len(pairs), _PORTION):
                some = pairs[start : start + _PORTION]
                alike = aligned_similarity(pictures[some[:, 0]][:, :, ::turn], pictures[some[:, 1]])
                found.append(some[alike >= SAME])
    return np.array(numbers)[np.concatenate(found)]


def _spread(rows: Sequence[DatasetRow], group: np.ndarray) -> np.ndarray:
    """Choose each photo's part, int [N]: groups whole, kinds and photos spread evenly."""
    photos: dict[str, list[int]] = {}
    for number, name in enumerate(group.tolist()):
        photos.setdefault(name, []).append(number)
    names = sorted(photos)
    drawn = np.random.default_rng(0).permutation(len(names))
    order = sorted(drawn.tolist(), key=lambda place: -len(photos[names[place]]))
    total = np.zeros(_PARTS, np.int64)
    by_kind: dict[str, np.ndarray] = {}
    part = np.zeros(len(rows), np.int64)
    for place in order:
        mine = photos[names[place]]
        category = rows[mine[0]].category
        kind = format_path(category) if category else ""
        count = by_kind.setdefault(kind, np.zeros(_PARTS, np.int64))
        chosen = int(np.lexsort((total, count))[0])
        part[mine] = chosen
        count[chosen] += len(mine)
        total[chosen] += len(mine)
    return part
