"""The whole catalog's repeats in groups, and the threshold of ``same_product`` fitted on the
catalog itself."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import SkippedPhoto
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.atomic_files import storage_failure, write_json
from indexer.core.errors import BadRequestError, NoIndexError, ReadOnlyError, StorageError
from indexer.core.home import Home
from indexer.core.progress import OnStage
from indexer.duplicates.alignment import SAME, aligned_similarity, compare
from indexer.duplicates.detect import NEAREST
from indexer.duplicates.hash_store import Signatures, SignatureStore, load_signatures, sign_photos
from indexer.duplicates.perceptual_hash import KINDS, NEAR_BITS, coarse_match, near_pairs
from indexer.duplicates.same_product import (
    LEAST_PHOTOS,
    NEAR_COSINE,
    ProductRule,
    block_cosines,
    product_rule,
)
from indexer.index.recapture_queries import reshots
from indexer.index.version import IndexVersion, Versions
from indexer.model.bundle import Bundle
from indexer.model.registry import by_version
from indexer.model.runtime_base import Runtime

_RULES = "duplicates.json"
_RULES_FORMAT = 1
_ASKED = 512  # photos that the threshold is fitted with, where products have several
_RESHOT = 200  # where they do not, photos that are shot again, which takes the network
_QUERIES, _PAIRS = 256, 8192


@dataclass(frozen=True)
class RepeatGroup:
    """Products that show the same. ``photos[0]`` is what all others repeat; of ``same_photo`` there
    is one."""

    kind: str
    products: list[str]
    photos: list[
        dict[str, Any]
    ]  # photo (content hash), products, score, evidence; no score of the first


@dataclass
class Repeats:
    """What ``find_groups`` found: ``groups`` by kind, then largest first; ``notes`` say what could
    not be told."""

    groups: list[RepeatGroup] = field(default_factory=list)
    photos: int = 0  # of the catalog
    signed: int = 0  # photos that were given a signature by this run
    flat: int = 0  # photos of one colour, compared by their bytes alone
    skipped: list[SkippedPhoto] = field(default_factory=list)
    rule: ProductRule | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of photos, the smaller id first, and what speaks for them; NaN and -1 where it was not
    measured."""

    ids: np.ndarray  # int64 [n, 2]
    scores: np.ndarray  # float [n], what the pair is ranked by
    evidence: list[dict[str, Any]]


def find_groups(
    home: Home,
    *,
    kinds: Sequence[str] = KINDS,
    embedder: Callable[[Bundle], Runtime] | None = None,
    progress: OnStage | None = None,
) -> Repeats:
    """Every repeat in the catalog.

    Signatures are made once for each photo and kept. ``same_product``, and crops among
    ``near_same_photo``, need the active index; what was written since it was built is compared by
    signature alone, and ``notes`` say so. ``embedder`` opens the network where the threshold has to
    be fitted on re-shot photos; without it that is left out. Raises ``BadRequestError`` for an
    unknown kind, ``NoIndexError`` where ``same_product`` alone is asked for and there is none.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise BadRequestError(f"unknown kind {kind!r}: use {', '.join(KINDS)}")
    hear = progress or (lambda stage, done, total, note="": None)
    found = Repeats()
    with open_catalog(home) as catalog:
        _, rows = catalog.entries()
        holders = _holders(rows)
        found.photos = len(holders)
        version, bundle = _active(home) if set(kinds) - {"same_photo"} else (None, None)
        if version is None and set(kinds) == {"same_product"}:
            raise NoIndexError("same_product needs an index: catalens index build --activate")
        if "same_photo" in kinds:
            found.groups += _named(
                catalog,
                "same_photo",
                [([i], [{}]) for i in holders if len(holders[i]) > 1],
                holders,
            )
        if set(kinds) == {"same_photo"}:
            return found
        neighbours = (
            _neighbours(version, bundle, partial(hear, "neighbours"))
            if version and bundle
            else None
        )
        _note_missing(found, version, rows, kinds)
        with closing(SignatureStore(home)) as store:
            before = len(store.ids())
            photos = PhotoStore(home)
            found.skipped = sign_photos(
                catalog, photos, store, rows[:, 1], progress=partial(hear, "signatures")
            )
            found.signed = len(store.ids()) - before
            known = np.intersect1d(store.ids(), rows[:, 1])
            signatures = load_signatures(store).only(rows[:, 1])
            found.flat = len(known) - len(signatures.ids)
            same = _near_same(signatures, store, neighbours, partial(hear, "pairs"))
        if "near_same_photo" in kinds:
            found.groups += _groups(catalog, "near_same_photo", same, holders)
        if "same_product" in kinds and neighbours is not None and version and bundle:
            taken = set(map(tuple, same.ids.tolist()))
            network = None if embedder is None else partial(embedder, bundle)
            rule = _rule(home, catalog, photos, version, bundle, rows, taken, network)
            found.rule = rule
            if rule.threshold is None:
                found.notes.append(f"same_product is not claimed: {rule.reason}")
            else:
                found.groups += _groups(
                    catalog, "same_product", _alike(neighbours, rule, taken), holders
                )
    found.groups.sort(
        key=lambda group: (KINDS.index(group.kind), -len(group.products), group.products)
    )
    return found


def load_rule(home: Home, embedding_id: str) -> ProductRule | None:
    """The threshold of ``same_product`` that ``find_groups`` fitted last for this embedding; None
    before."""
    stored = _stored_rules(home).get(embedding_id)
    return None if stored is None else ProductRule(**stored)


def _stored_rules(home: Home) -> dict[str, Any]:
    try:
        found = json.loads((home.path / _RULES).read_text())
        return dict(found["rules"]) if found["format"] == _RULES_FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # derived: it is fitted again


def _holders(rows: np.ndarray) -> dict[int, list[int]]:
    held: defaultdict[int, set[int]] = defaultdict(set)
    for pid, photo_id in rows.tolist():
        held[photo_id].add(pid)
    return {photo_id: sorted(pids) for photo_id, pids in held.items()}


def _active(home: Home) -> tuple[IndexVersion | None, Bundle | None]:
    active = home.active()
    if active is None:
        return None, None
    return Versions(home).open(active.index_version, device="cpu"), by_version(
        home, active.model_version
    )


def _note_missing(
    found: Repeats, version: IndexVersion | None, rows: np.ndarray, kinds: Sequence[str]
) -> None:
    if version is None:
        what = (
            "crops are"
            if "same_product" not in kinds
            else "crops and products photographed differently are"
        )
        found.notes.append(
            f"there is no active index: {what} not found (catalens index build --activate)"
        )
        return
    newer = len(np.setdiff1d(rows[:, 1], version.rows[:, 1]))
    if newer:
        found.notes.append(
            f"{newer} photos are newer than the index and were compared by signature alone"
        )


# -- pairs


@dataclass(frozen=True)
class _Neighbours:
    ids: np.ndarray  # int64 [n, 2] of photos, the smaller first, each pair once
    cosine: np.ndarray  # float32 [n], of the whole embedding
    general: np.ndarray  # float32 [n], of block g


def _neighbours(version: IndexVersion, bundle: Bundle, hear: Callable[..., None]) -> _Neighbours:
    """Each photo with the nearest others by embedding."""
    photo_of = np.asarray(version.rows[:, 1])
    first = np.unique(photo_of, return_index=True)[1]
    ids, cosine, general = [], [], []
    columns = bundle.spec.columns("g")
    for start in range(0, len(first), _QUERIES):
        asked = first[start : start + _QUERIES]
        vectors = version.index.vectors(asked)
        hits = version.index.search(vectors, NEAREST + 1)
        at = np.repeat(np.arange(len(asked)), [len(hit) for hit in hits])
        there = np.concatenate([hit.rows for hit in hits])
        ids.append(np.stack([photo_of[asked[at]], photo_of[there]], 1))
        cosine.append(np.concatenate([hit.scores for hit in hits]))
        general.append(block_cosines(vectors[at], version.index.vectors(there), columns))
        hear(min(start + _QUERIES, len(first)), len(first))
    if not ids:
        return _Neighbours(
            np.empty((0, 2), np.int64), np.empty(0, np.float32), np.empty(0, np.float32)
        )
    pairs = np.sort(np.concatenate(ids), axis=1)
    kept, place = np.unique(pairs, axis=0, return_index=True)
    place = place[kept[:, 0] != kept[:, 1]]
    return _Neighbours(pairs[place], np.concatenate(cosine)[place], np.concatenate(general)[place])


def _near_same(
    signatures: Signatures,
    store: SignatureStore,
    neighbours: _Neighbours | None,
    hear: Callable[..., None],
) -> _Pairs:
    """Pairs that are nearly one photo: by their codes, and crops by their embeddings."""
    judged: dict[tuple[int, int], tuple[float, dict[str, Any]]] = {}

    def note(
        ids: np.ndarray, agreement: np.ndarray, mirrored: np.ndarray, **more: np.ndarray
    ) -> None:
        for at in np.flatnonzero(agreement >= SAME).tolist():
            a, b = sorted(ids[at].tolist())
            score, evidence = judged.get((a, b), (0.0, {"hamming": None, "cosine": None}))
            evidence = evidence | {name: values[at].item() for name, values in more.items()}
            if agreement[at] > score:
                score = float(agreement[at])
                evidence |= {"agreement": score, "threshold": SAME, "mirrored": bool(mirrored[at])}
            judged[a, b] = score, evidence

    for places, distance, mirrored in _by_code(signatures, hear):
        ids = signatures.ids[places]
        first, second = _thumbs(store, ids)
        if mirrored:
            first = first[:, :, ::-1]
        note(ids, aligned_similarity(first, second), np.full(len(ids), mirrored), hamming=distance)
    if neighbours is not None:
        close = np.flatnonzero(
            (neighbours.general >= NEAR_COSINE)
            & np.isin(neighbours.ids, signatures.ids).all(axis=1)
        )
        for start in range(0, len(close), _PAIRS):
            part = close[start : start + _PAIRS]
            overlap = compare(*_thumbs(store, neighbours.ids[part]))
            note(
                neighbours.ids[part],
                overlap.agreement,
                overlap.mirrored,
                cosine=neighbours.general[part],
            )
            hear(len(signatures.ids), len(signatures.ids))
    ordered = sorted(judged)
    return _Pairs(
        np.array(ordered, np.int64).reshape(-1, 2),
        np.array([judged[pair][0] for pair in ordered]),
        [judged[pair][1] for pair in ordered],
    )


def _by_code(
    signatures: Signatures, hear: Callable[..., None]
) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Pairs with near codes that are roughly the same: (places int64 [n, 2], distances [n], is the
    first mirrored)."""
    total, done = len(signatures.ids), 0
    for mirrored in (False, True):
        queries = signatures.mirrored if mirrored else None
        coarse = signatures.coarse[:, :, ::-1] if mirrored else signatures.coarse
        for first, second, distance in near_pairs(
            signatures.codes, NEAR_BITS, queries=queries, portion=1024
        ):
            for start in range(0, len(first), _PAIRS):
                a, b, far = (side[start : start + _PAIRS] for side in (first, second, distance))
                kept = coarse_match(coarse[a], signatures.coarse[b]) & (a < b)
                if kept.any():
                    yield np.stack([a[kept], b[kept]], 1), far[kept], mirrored
            done += 1024
            hear(min(done // 2, total), total)


def _thumbs(store: SignatureStore, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, place = np.unique(pairs, return_inverse=True)
    thumbs = store.get(unique)[1]
    place = place.reshape(pairs.shape)
    return thumbs[place[:, 0]], thumbs[place[:, 1]]


def _alike(neighbours: _Neighbours, rule: ProductRule, taken: set[tuple[int, int]]) -> _Pairs:
    """Pairs of one product by the rule, but for those that are nearly one photo."""
    kept = [
        at
        for at in np.flatnonzero(neighbours.cosine >= rule.threshold).tolist()
        if tuple(neighbours.ids[at].tolist()) not in taken
    ]
    cosine = neighbours.cosine[kept]
    evidence = [
        {"cosine": float(one), "threshold": rule.threshold, "precision": rule.precision}
        for one in cosine
    ]
    return _Pairs(neighbours.ids[kept], cosine, evidence)


# -- the threshold of same_product


def _rule(
    home: Home,
    catalog: Catalog,
    photos: PhotoStore,
    version: IndexVersion,
    bundle: Bundle,
    rows: np.ndarray,
    taken: set[tuple[int, int]],
    network: Callable[[], Runtime] | None,
) -> ProductRule:
    """The stored rule of this index version, or a new one, stored with its numbers."""
    stored, name = _stored_rules(home), version.manifest.version
    known = load_rule(home, bundle.embedding_id)
    if known is not None and known.version == name:
        return known
    asked, vectors, own, where = _several_photos(version)
    if len(asked) < LEAST_PHOTOS:
        if network is None:
            return ProductRule(
                None, f"only {len(asked)} products have several photos", photos=len(asked)
            )
        of_index = np.unique(version.rows[:, 1])
        asked, vectors = reshots(catalog, photos, network(), of_index, most=_RESHOT)
        place = {photo_id: row for row, photo_id in enumerate(version.rows[:, 1].tolist())}
        stored_rows = [place[photo_id] for photo_id in asked.tolist()]
        own = (vectors * version.index.vectors(stored_rows)).sum(1) if len(asked) else np.empty(0)
        where = "photos shot again"
    rule = product_rule(own, _others(version, asked, vectors, taken), positives=where)
    rule = replace(rule, version=name)
    stored[bundle.embedding_id] = asdict(rule)
    try:
        write_json(home.path / _RULES, {"format": _RULES_FORMAT, "rules": stored})
    except OSError as error:
        failure = storage_failure(home.path / _RULES, error)
        if not isinstance(failure, ReadOnlyError):
            raise StorageError(str(failure)) from error
    return rule


def _several_photos(version: IndexVersion) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """(photo ids, their vectors, cosine to the nearest other photo of the same product, what was
    used)."""
    pids, counts = np.unique(version.rows[:, 0], return_counts=True)
    chosen = np.random.default_rng(0).permutation(pids[counts > 1])[:_ASKED]
    ids, vectors, own = [], [], []
    for pid in chosen.tolist():
        start = int(np.searchsorted(version.rows[:, 0], pid))
        stop = int(np.searchsorted(version.rows[:, 0], pid, side="right"))
        held = version.index.vectors(np.arange(start, stop))
        ids.append(int(version.rows[start, 1]))
        vectors.append(held[0])
        own.append(float((held[1:] @ held[0]).max()))
    stacked = np.stack(vectors) if vectors else np.empty((0, version.manifest.dim), np.float32)
    return np.array(ids, np.int64), stacked, np.array(own), "photos of one product"


def _others(
    version: IndexVersion, asked: np.ndarray, vectors: np.ndarray, taken: set[tuple[int, int]]
) -> np.ndarray:
    """Cosine of each question to the nearest photo of other products that is not nearly its own
    photo."""
    if not len(asked):
        return np.empty(0)
    holders = _holders(np.asarray(version.rows))
    found = []
    for photo_id, hit in zip(asked.tolist(), version.index.search(vectors, 32), strict=True):
        own, nearest = set(holders[photo_id]), -1.0
        for row, score in zip(hit.rows.tolist(), hit.scores.tolist(), strict=True):
            pid, other = version.rows[row].tolist()
            pair = (min(photo_id, other), max(photo_id, other))
            if pid not in own and other != photo_id and pair not in taken:
                nearest = score
                break
        found.append(nearest)
    return np.array(found)


# -- groups with names


def _groups(
    catalog: Catalog, kind: str, pairs: _Pairs, holders: dict[int, list[int]]
) -> list[RepeatGroup]:
    """Pairs between different products as groups; a product's own photos are no repeats of each
    other."""
    between = [
        at
        for at, (a, b) in enumerate(pairs.ids.tolist())
        if a in holders and b in holders and (holders[a] != holders[b] or len(holders[a]) > 1)
    ]
    ids = pairs.ids[between]
    grouped = []
    for star in star_cluster(ids[:, 0], ids[:, 1], pairs.scores[between]):
        facts = [
            {"score": float(pairs.scores[between[pair]]), "evidence": pairs.evidence[between[pair]]}
            for pair in star.pairs
        ]
        grouped.append(([star.centre, *star.members], [{}, *facts]))
    return _named(catalog, kind, grouped, holders)


def _named(
    catalog: Catalog,
    kind: str,
    groups: Sequence[tuple[list[int], list[dict[str, Any]]]],
    holders: dict[int, list[int]],
) -> list[RepeatGroup]:
    """Groups of photo ids with their products; of what was deleted meanwhile nothing is said."""
    wanted = {photo_id for ids, _ in groups for photo_id in ids}
    hashes = catalog.photos_by_id(wanted)
    names = catalog.ids_of({pid for photo_id in wanted for pid in holders[photo_id]})
    found = []
    for ids, facts in groups:
        photos = [
            {
                "photo": hashes[photo_id].content_hash,
                "products": [names[pid] for pid in holders[photo_id] if pid in names],
                **more,
            }
            for photo_id, more in zip(ids, facts, strict=True)
            if photo_id in hashes
        ]
        products = list(dict.fromkeys(name for photo in photos for name in photo["products"]))
        if len(products) > 1:
            found.append(RepeatGroup(kind, products, photos))
    return found


@dataclass(frozen=True)
class StarCluster:
    """A photo and all that directly repeat it: places among the pairs' nodes."""

    centre: int
    members: tuple[int, ...]  # without the centre, nearest first
    pairs: tuple[int, ...]  # of each member its pair with the centre


def star_cluster(first: np.ndarray, second: np.ndarray, scores: np.ndarray) -> list[StarCluster]:
    """Pairs as groups, so that each pair's two are together in one and no chain makes a group.

    In a connected component a repeats b and b repeats c, but a may be nothing like c. So the photo
    with most pairs left takes these and makes a group, until none is left; a photo may stand in
    several groups.
    """
    around: dict[int, dict[int, int]] = {}
    for pair, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        around.setdefault(a, {})[b] = pair
        around.setdefault(b, {})[a] = pair
    found, waiting = [], [(-len(left), node) for node, left in around.items()]
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
        for one in (
            centre,
            *members,
        ):  # pairs within the group stand in it, whoever they are between
            for other in around[one].keys() & {centre, *members}:
                del around[one][other], around[other][one]
    return found
