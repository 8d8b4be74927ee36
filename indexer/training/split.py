"""Split of products into training, validation and test where DATA names none."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from indexer.core.category_path import CategoryPath, format_path
from indexer.duplicates.alignment import SAME, aligned_similarity
from indexer.duplicates.perceptual_hash import (
    is_uniform,
    near_pairs,
    perceptual_codes,
    thumbnail,
)
from indexer.feeds.dataset import DatasetRow
from indexer.imaging.decode import Photo
from indexer.imaging.parallel import decode_all
from indexer.imaging.photo_file import read_photo

# Shares of products up to which a place in its category is training, and validation.
TRAIN_BELOW, VALIDATION_BELOW = 0.70, 0.85
# of 256 bits: copies that were compressed or resized stay within
_NEAR_BITS = 24
_SIDE = 64  # px that photos are decoded at for their signature
_PAIRS = 4096
# photos beyond which copies are not looked for, since every pair is
MOST_COMPARED = 100_000
# of all products; a larger group is a template that many photos share, not copies of one
_LARGEST_GROUP = 0.1


@dataclass(frozen=True)
class _Cluster:
    """Products that stay together."""

    products: tuple[str, ...]
    category: object
    place: float  # in [0, 1), by the seed


def split_products(
    rows: Sequence[DatasetRow], seed: int, *, groups: np.ndarray | None = None
) -> dict[str, str]:
    """Assign every product to train (70%), validation (15%) or test, category by category.

    Products of one group (``groups`` int [N] of the rows, ``near_duplicate_groups``) stay together.
    Within a category products are ordered by SHA-256(seed, product_id) and cut at the shares, from
    a start that is the category's own; so one more product moves only those next to a cut. A
    category of two products or more always has one to train; one of a single product trains, unless
    all are such.
    """
    clusters = _clusters(rows, seed, np.arange(len(rows)) if groups is None else groups)
    strata: dict[object, list[_Cluster]] = defaultdict(list)
    for cluster in clusters:
        strata[cluster.category].append(cluster)
    if all(len(members) == 1 for members in strata.values()):
        strata = {None: clusters}
    split: dict[str, str] = {}
    for category, members in strata.items():
        split.update(_cut(sorted(members, key=lambda one: one.place), _share(seed, repr(category))))
    _give_each_category_training(clusters, rows, split)
    if "validation" not in split.values():
        _give_validation(strata, split)
    return split


def near_duplicate_groups(rows: Sequence[DatasetRow]) -> np.ndarray:
    """Group rows whose photos are copies of one another, compressed or resized; int [N].

    A photo that cannot be read, or is of one colour, is like no other. Of more than
    ``MOST_COMPARED`` photos none are compared.
    """
    alone = np.arange(len(rows))
    if len(rows) > MOST_COMPARED or len(rows) < 2:
        return alone
    places: list[int] = []
    thumbs: list[np.ndarray] = []
    for place, photo in decode_all(
        range(len(rows)), lambda number: read_photo(rows[number].image), shrink_to=_SIDE
    ):
        if isinstance(photo, Photo):
            places.append(place)
            thumbs.append(thumbnail(photo.pixels))
    if len(thumbs) < 2:
        return alone
    seen = np.stack(thumbs)
    plain = is_uniform(seen)
    seen, at = seen[~plain], np.array(places)[~plain]
    if len(seen) < 2:
        return alone
    first, second = _copies(seen)
    count = len(rows)
    links = coo_array((np.ones(len(first)), (at[first], at[second])), shape=(count, count))
    group = np.asarray(connected_components(links, directed=False)[1])
    # A template that a tenth of the photos share makes no copies of them.
    crowded = np.flatnonzero(np.bincount(group) > max(_LARGEST_GROUP * count, 10))
    loose = np.isin(group, crowded)
    group[loose] = count + alone[loose]
    return group


def unjudged_notes(
    rows: Sequence[DatasetRow],
    split: dict[str, str],
    *,
    names: Sequence[str] = ("validation", "test"),
) -> list[str]:
    """Say which trained categories no product of the splits ``names`` can judge."""
    seen: dict[str, set[CategoryPath]] = defaultdict(set)
    for row in rows:
        if row.category:
            seen[split[row.product_id]].add(row.category)
    notes = []
    what = {"validation": "no choice is made by them", "test": "no figure is of them"}
    for name in names:
        missing = sorted(format_path(path) for path in seen["train"] - seen[name])
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            notes.append(
                f"{len(missing)} categories have too few products for a {name} photo, so "
                f"{what[name]}: {', '.join(map(repr, missing[:5]))}{more}"
            )
    return notes


def _copies(thumbs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of thumbnails [N, 32, 32, 3] that show one picture."""
    found = [np.zeros((2, 0), np.int64)]
    for first, second, _ in near_pairs(perceptual_codes(thumbs), _NEAR_BITS):
        for start in range(0, len(first), _PAIRS):
            part = slice(start, start + _PAIRS)
            same = aligned_similarity(thumbs[first[part]], thumbs[second[part]]) >= SAME
            found.append(np.stack([first[part][same], second[part][same]]))
    pairs = np.concatenate(found, axis=1)
    return pairs[0], pairs[1]


def _clusters(rows: Sequence[DatasetRow], seed: int, groups: np.ndarray) -> list[_Cluster]:
    """Join products over shared groups; each cluster has its products' commonest category."""
    number: dict[str, int] = {}
    for row in rows:
        number.setdefault(row.product_id, len(number))
    product = np.array([number[row.product_id] for row in rows], np.int64)
    _, group = np.unique(groups, return_inverse=True)
    size = len(number) + (int(group.max()) + 1 if len(group) else 0)
    links = coo_array((np.ones(len(rows)), (product, len(number) + group)), shape=(size, size))
    joined = connected_components(links, directed=False)[1][: len(number)]
    category = {row.product_id: row.category for row in rows}
    members: dict[int, list[str]] = defaultdict(list)
    for name, place in number.items():
        members[int(joined[place])].append(name)
    found = []
    for products in members.values():
        counts = Counter(category[name] for name in products)
        commonest = min(counts, key=lambda path: (-counts[path], repr(path)))
        first = min(_share(seed, name) for name in products)
        found.append(_Cluster(tuple(products), commonest, first))
    return found


def _cut(members: Sequence[_Cluster], start: float) -> dict[str, str]:
    """Assign the clusters of one category, in their order, from ``start`` in [0, 1) on."""
    if len(members) == 1:
        return dict.fromkeys(members[0].products, "train")
    total = sum(len(one.products) for one in members)
    before = 0
    split: dict[str, str] = {}
    for one in members:
        place = (before + start * len(one.products)) / total
        before += len(one.products)
        name = (
            "train" if place < TRAIN_BELOW else "validation" if place < VALIDATION_BELOW else "test"
        )
        split.update(dict.fromkeys(one.products, name))
    return split


def _give_each_category_training(
    clusters: Sequence[_Cluster], rows: Sequence[DatasetRow], split: dict[str, str]
) -> None:
    """Move a cluster to train for each category of two products or more that has none there."""
    category = {row.product_id: row.category for row in rows}
    counts = Counter(path for path in category.values() if path)
    trained = {category[name] for name, split_name in split.items() if split_name == "train"}
    for cluster in sorted(clusters, key=lambda one: one.place):
        here = {category[name] for name in cluster.products}
        if any(path is not None and counts[path] > 1 for path in here - trained):
            split.update(dict.fromkeys(cluster.products, "train"))
            trained |= here


def _give_validation(strata: dict[object, list[_Cluster]], split: dict[str, str]) -> None:
    """Move one of the largest category's training clusters to validation, where others stay."""
    taught: list[list[_Cluster]] = []
    for members in strata.values():
        taught.append([one for one in members if split[one.products[0]] == "train"])
    most = max(taught, key=len, default=[])
    if len(most) > 2:
        last = max(most, key=lambda one: one.place)
        split.update(dict.fromkeys(last.products, "validation"))


def _share(seed: int, name: str) -> float:
    """A number in [0, 1) that hangs on the seed and the name alone."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
