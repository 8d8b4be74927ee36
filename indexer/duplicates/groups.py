"""Groups of products that repeat each other, over a whole catalog."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from indexer.catalog.families import Families
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import SkippedPhoto
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadRequestError, NoIndexError
from indexer.core.home import Home
from indexer.core.progress import OnStage, no_progress
from indexer.duplicates.hash_store import SignatureStore, load_signatures, sign_photos
from indexer.duplicates.pairs import (
    NearSamePairs,
    NeighbourPairs,
    PhotoPairs,
    near_same_pairs,
    neighbour_pairs,
    same_product_pairs,
)
from indexer.duplicates.perceptual_hash import KINDS
from indexer.duplicates.print_difference import PrintComparison
from indexer.duplicates.print_limit import PRINTS_DIFFER
from indexer.duplicates.product_threshold import fit_product_rule, photo_holders
from indexer.duplicates.same_product import ProductRule
from indexer.index.version import Versions
from indexer.index.version_files import IndexVersion
from indexer.model.bundle import Bundle
from indexer.model.registry import by_version
from indexer.model.runtime_base import Runtime


@dataclass(frozen=True)
class RepeatGroup:
    """Products that show the same, one of each parent's variants. ``photos[0]`` is what all others
    repeat."""

    kind: str
    products: list[str]
    # photo (content hash), products, score, evidence; the first has no score, and of
    # ``same_photo`` there is one
    photos: list[dict[str, Any]]


@dataclass
class Repeats:
    """Result of ``find_groups``: groups by kind, then largest first."""

    groups: list[RepeatGroup] = field(default_factory=list)
    # Groups of ``same_product`` that ``rule`` does not claim.
    suggestions: list[RepeatGroup] = field(default_factory=list)
    # Of the catalog.
    photos: int = 0
    # Photos that were given a signature by this run.
    signed: int = 0
    # Photos of one colour, compared by their bytes alone.
    flat: int = 0
    skipped: list[SkippedPhoto] = field(default_factory=list)
    rule: ProductRule | None = None
    # What could not be found, and why.
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _GroupSearch:
    """What all kinds are found with."""

    home: Home
    catalog: Catalog
    # int64 [N, 2] of the catalog: pid, photo_id
    rows: np.ndarray
    # Photo id -> pids.
    holders: dict[int, list[int]]
    families: Families
    kinds: Sequence[str]
    progress: OnStage
    embedder: Callable[[Bundle], Runtime] | None
    print_limit: float


def find_groups(
    home: Home,
    *,
    kinds: Sequence[str] = KINDS,
    embedder: Callable[[Bundle], Runtime] | None = None,
    progress: OnStage | None = None,
    print_limit: float = PRINTS_DIFFER,
) -> Repeats:
    """Find every repeat in the catalog.

    Variants of one parent repeat nothing of each other. Signatures are made once for each photo and
    kept. ``same_product``, and crops among
    ``near_same_photo``, need the active index; what was written since it was built is compared by
    signature alone, and ``notes`` say so. ``embedder`` opens the network where the threshold has to
    be fitted on re-captured photos; without it that is left out. ``print_limit``: how much the
    prints on one mock-up differ from which they are two. Raises ``BadRequestError`` for an unknown
    kind, ``NoIndexError`` where ``same_product`` alone is asked for and there is none.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise BadRequestError(f"unknown kind {kind!r}: use {', '.join(KINDS)}")
    found = Repeats()
    with open_catalog(home) as catalog:
        _, rows = catalog.entries()
        holders = photo_holders(rows)
        families = Families.read(catalog, np.unique(rows[:, 0]).tolist())
        search = _GroupSearch(
            home,
            catalog,
            rows,
            holders,
            families,
            kinds,
            progress or no_progress,
            embedder,
            print_limit,
        )
        found.photos = len(search.holders)
        version, bundle = _active(home) if set(kinds) - {"same_photo"} else (None, None)
        if version is None and set(kinds) == {"same_product"}:
            raise NoIndexError("same_product needs an index: catalens index build --activate")
        if "same_photo" in kinds:
            found.groups += _same_photo_groups(search)
        if set(kinds) != {"same_photo"}:
            _find_similar(search, found, version, bundle)
    found.groups.sort(key=_order)
    return found


def _order(group: RepeatGroup) -> tuple[int, int, list[str]]:
    return KINDS.index(group.kind), -len(group.products), group.products


def _same_photo_groups(search: _GroupSearch) -> list[RepeatGroup]:
    """Group the products that have one photo, byte by byte."""
    shared: list[tuple[list[int], list[dict[str, Any]]]] = []
    for photo_id, pids in search.holders.items():
        if search.families.several(pids):
            shared.append(([photo_id], [{}]))
    return _named_groups(search, "same_photo", shared)


def _find_similar(
    search: _GroupSearch, found: Repeats, version: IndexVersion | None, bundle: Bundle | None
) -> None:
    """Add the groups of the kinds that equal bytes do not show."""
    neighbours = None
    if version is not None and bundle is not None:
        neighbours = neighbour_pairs(version, bundle, partial(search.progress, "neighbours"))
    _note_missing(search, found, version)
    near_same = _near_same(search, found, neighbours)
    if "near_same_photo" in search.kinds:
        found.groups += _star_groups(search, "near_same_photo", near_same.same)
    if "same_product" not in search.kinds or neighbours is None or version is None:
        return
    network = None
    if search.embedder is not None and bundle is not None:
        network = partial(search.embedder, bundle)
    near = near_same.same.as_set()
    found.rule = fit_product_rule(
        search.home, search.catalog, version, near, network, search.families
    )
    if found.rule.threshold is None:
        found.notes.append(f"same_product is not claimed: {found.rule.reason}")
        return
    pairs = same_product_pairs(neighbours, found.rule, near | near_same.other_prints)
    groups = _star_groups(search, "same_product", pairs)
    if found.rule.is_claimed:
        found.groups += groups
    elif groups:
        found.suggestions = sorted(groups, key=_order)
        found.notes.append(f"same_product is suggested, not claimed: {found.rule.reason}")


def _near_same(
    search: _GroupSearch, found: Repeats, neighbours: NeighbourPairs | None
) -> NearSamePairs:
    """Sign what has no signature yet and compare all photos of the catalog."""
    photo_ids = search.rows[:, 1]
    with closing(SignatureStore(search.home, search.catalog)) as store:
        before = len(store.ids())
        found.skipped = sign_photos(
            search.catalog,
            PhotoStore(search.home),
            store,
            photo_ids,
            progress=partial(search.progress, "signatures"),
        )
        found.signed = len(store.ids()) - before
        known = np.intersect1d(store.ids(), photo_ids)
        signatures = load_signatures(store).only(photo_ids)
        found.flat = len(known) - len(signatures.ids)
        prints = PrintComparison(search.catalog, PhotoStore(search.home), search.print_limit)
        progress = partial(search.progress, "pairs")
        return near_same_pairs(signatures, store, neighbours, progress, prints)


def _active(home: Home) -> tuple[IndexVersion | None, Bundle | None]:
    active = home.active()
    if active is None:
        return None, None
    version = Versions(home).open(active.index_version, device="cpu")
    return version, by_version(home, active.model_version)


def _note_missing(search: _GroupSearch, found: Repeats, version: IndexVersion | None) -> None:
    if version is None:
        what = "crops and products photographed differently are"
        if "same_product" not in search.kinds:
            what = "crops are"
        found.notes.append(
            f"there is no active index: {what} not found (catalens index build --activate)"
        )
        return
    newer = len(np.setdiff1d(search.rows[:, 1], version.rows[:, 1]))
    if newer:
        found.notes.append(
            f"{newer} photos are newer than the index and were compared by signature alone"
        )


def _star_groups(search: _GroupSearch, kind: str, pairs: PhotoPairs) -> list[RepeatGroup]:
    """Group pairs between different products; photos of one product and of its variants are no
    repeats."""
    holders, families = search.holders, search.families
    between = [
        at
        for at, (a, b) in enumerate(pairs.ids.tolist())
        if a in holders and b in holders and families.several((*holders[a], *holders[b]))
    ]
    ids = pairs.ids[between]
    grouped: list[tuple[list[int], list[dict[str, Any]]]] = []
    for star in star_cluster(ids[:, 0], ids[:, 1], pairs.scores[between]):
        places = [between[pair] for pair in star.pairs]
        facts = [
            {"score": float(pairs.scores[place]), "evidence": pairs.evidence[place]}
            for place in places
        ]
        grouped.append(([star.centre, *star.members], [{}, *facts]))
    return _named_groups(search, kind, grouped)


def _named_groups(
    search: _GroupSearch, kind: str, groups: Sequence[tuple[list[int], list[dict[str, Any]]]]
) -> list[RepeatGroup]:
    """Name the products of groups of photo ids, without what was deleted meanwhile."""
    photo_ids: set[int] = set()
    for ids, _ in groups:
        photo_ids.update(ids)
    pids: set[int] = set()
    for photo_id in photo_ids:
        pids.update(search.holders[photo_id])
    hashes = search.catalog.photos_by_id(photo_ids)
    names = search.catalog.ids_of(pids)
    found = []
    for ids, facts in groups:
        photos = []
        holding: list[int] = []
        for photo_id, more in zip(ids, facts, strict=True):
            if photo_id not in hashes:
                continue
            known = [pid for pid in search.holders[photo_id] if pid in names]
            one_each = search.families.one_each(known)
            products = [names[pid] for pid in one_each]
            photos.append({"photo": hashes[photo_id].content_hash, "products": products, **more})
            holding += one_each
        together = search.families.one_each(holding)
        if len(together) > 1:
            found.append(RepeatGroup(kind, [names[pid] for pid in together], photos))
    return found


@dataclass(frozen=True)
class StarCluster:
    """A photo and all that directly repeat it: places among the pairs' nodes."""

    centre: int
    # Without the centre, nearest first.
    members: tuple[int, ...]
    # Of each member its pair with the centre.
    pairs: tuple[int, ...]


def star_cluster(first: np.ndarray, second: np.ndarray, scores: np.ndarray) -> list[StarCluster]:
    """Group pairs so that each pair's two are together in one group, and no chain makes a group.

    In a connected component a repeats b and b repeats c, but a may be nothing like c. So the photo
    with most pairs left takes these and makes a group, until none is left; a photo may stand in
    several groups.
    """
    around: dict[int, dict[int, int]] = {}
    for pair, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        around.setdefault(a, {})[b] = pair
        around.setdefault(b, {})[a] = pair
    found: list[StarCluster] = []
    waiting = [(-len(left), node) for node, left in around.items()]
    heapq.heapify(waiting)
    while waiting:
        size, centre = heapq.heappop(waiting)
        left = around[centre]
        if len(left) < -size:  # others took some of its pairs: it waits for its turn
            if left:
                heapq.heappush(waiting, (-len(left), centre))
            continue
        members = sorted(left, key=lambda other: (-float(scores[left[other]]), other))
        found.append(StarCluster(centre, tuple(members), tuple(left[other] for other in members)))
        # Pairs within the group stand in it, whoever they are between.
        together = {centre, *members}
        for one in (centre, *members):
            for other in around[one].keys() & together:
                del around[one][other]
                del around[other][one]
    return found
