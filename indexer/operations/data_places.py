"""Places that hold data of a shop: in the home, and what is known of those outside."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from indexer.catalog.store import Catalog
from indexer.core.home import KEYS_FILE, Home, walk_home
from indexer.index.pushed import pushed_folders
from indexer.model.feature_store import cache_folders, is_cache_there
from indexer.operations.made_backups import backups_by_folder, describe_backups
from indexer.operations.set_aside import KEPT_DAYS

_RUN = "an erasure: in the background within erase_within_s, or catalens index erase"


@dataclass(frozen=True)
class DataPlace:
    """One kind of file. ``patterns``: of names at the top of the home, with all that lies below;
    ``ends``: when what it holds goes."""

    name: str
    patterns: tuple[str, ...]
    holds: str
    ends: str = _RUN


PLACES: Sequence[DataPlace] = (
    DataPlace(
        "catalog",
        ("catalog.sqlite3*",),
        "products with titles, tags, attributes and addresses; digests of orders; names of who "
        "changed what; salted digests of deleted ids for 30 days",
        "the delete itself; the file is written anew by an erasure",
    ),
    DataPlace(
        "photos",
        ("photos",),
        "original photos of products, named by content hash",
        "the delete of their last product",
    ),
    DataPlace(
        "thumbnails",
        ("thumbnails",),
        "small copies of products' photos",
        "the delete of their last product",
    ),
    DataPlace(
        "index versions",
        ("indexes", "CURRENT"),
        "numbers of products, vectors of their photos, columns for filters",
    ),
    DataPlace("embeddings", ("embeddings",), "vectors of products' photos"),
    DataPlace("signatures", ("signatures.sqlite3*",), "perceptual hashes of products' photos"),
    DataPlace("keywords", ("keywords.sqlite3*",), "words of titles, tags and attributes"),
    DataPlace(
        "reviews",
        ("reviews.sqlite3*",),
        "reviews, decisions with reasons and names, feedback; small photos of listings under "
        "review",
        "texts of a product: an erasure; photos: review_photos_days, open_review_photos_days; "
        "texts in all: review_texts_days",
    ),
    DataPlace(
        "set aside",
        ("damaged",),
        "what a repair set aside: damaged originals, and files of reviews with all they held",
        f"{KEPT_DAYS} days; what may hold an erased product: an erasure",
    ),
    DataPlace("addresses of photos", ("fetch.sqlite3*",), "where photos were fetched from"),
    DataPlace(
        "memory of imports",
        ("feeds",),
        "digests of feeds' rows, names of photos' files",
    ),
    DataPlace("profiles of feeds", ("profiles",), "names of a feed's columns", "by hand"),
    DataPlace(
        "feeds kept in step",
        ("sync", "start"),
        "addresses of feeds, a copy of each as it came last, what runs reported",
        f"copies and names of products: {_RUN}; the rest: catalens sync remove",
    ),
    DataPlace(
        "jobs",
        ("jobs",),
        "uploads while a job runs, what it reported",
        "uploads: the end of the job; reports: job_days, or an erasure",
    ),
    DataPlace("audits", ("audit",), "what audits found, by numbers of products"),
    DataPlace(
        "models",
        ("models",),
        "weights and labels; classes made from single photos keep their vectors",
        "catalens class remove; index gc",
    ),
    DataPlace(
        "keys",
        (KEYS_FILE, "alert-secret", "cursor-secret"),
        "hashes of keys, names and roles of people and machines; secrets that sign",
        "catalens keys revoke",
    ),
    DataPlace(
        "settings of the shop",
        (
            "home.json",
            "CLOCK",
            "TERMS",
            "moderation.json",
            "duplicates.json",
            "quality.json",
            "glossary.csv",
            "labels.csv",
            "pushed.json",
            "backups.json",
        ),
        "format, terms, thresholds, words, folders of pushed versions and backups; no products",
        "by hand",
    ),
    DataPlace("alerts", ("alerts.json",), "which alerts are on and what they said"),
    DataPlace(
        "locks",
        ("locks",),
        "locks of processes; counts of requests by digests of keys and addresses",
        "counts: minutes",
    ),
    DataPlace(
        "leftovers",
        (".*",),
        "what is being written, and what killed processes left half-written",
        "catalens index gc, a minute later",
    ),
)
UNKNOWN = "unknown files"
_UNKNOWN_PLACE = DataPlace(
    UNKNOWN, (), "files that Catalens does not know; index verify --erased searches them", "by hand"
)


@dataclass(frozen=True)
class FoundPlace:
    """A place as it is now. ``files`` and ``bytes``: None where they are not counted."""

    place: str
    path: str
    holds: str
    ends: str
    files: int | None
    bytes: int | None


def find_places(home: Home, catalog: Catalog) -> list[FoundPlace]:
    """Every place that holds data now: each file of the home, and what is known outside of it.

    Files that belong to no place are one of their own, so that nothing is left out.
    """
    files: dict[str, list[Path]] = {}
    for path in _files(home.path):
        files.setdefault(place_of(path.relative_to(home.path)), []).append(path)
    known = {place.name: place for place in PLACES}
    found = []
    for name in (*known, UNKNOWN):
        if paths := files.get(name):
            place = known.get(name, _UNKNOWN_PLACE)
            tops = sorted({_owner(path.relative_to(home.path).parts[0]) for path in paths})
            size = sum(_size(path) for path in paths)
            shown = ", ".join(str(home.path / top) for top in tops)
            found.append(FoundPlace(name, shown, place.holds, place.ends, len(paths), size))
    return [*found, *_outside(home, catalog)]


def _owner(name: str) -> str:
    """The database that a file beside one is of."""
    return name.removesuffix("-wal").removesuffix("-shm")


def place_of(path: Path) -> str:
    """The name of the place that a file of the home, named from its top, belongs to."""
    top = path.parts[0]
    for place in PLACES:
        if any(fnmatchcase(top, pattern) for pattern in place.patterns):
            return place.name
    return UNKNOWN


def _outside(home: Home, catalog: Catalog) -> Iterator[FoundPlace]:
    for number, cache in enumerate(cache_folders()):
        there = not number or is_cache_seen(cache)  # else its disk is away, and nobody can tell
        features = list(cache.glob("f*.sqlite3"))
        if there and not features:
            continue
        yield FoundPlace(
            "feature cache",
            str(cache),
            "features of photos of all homes and trainings of this user, by content hash",
            "index erase --cache, or delete it: it is computed again",
            len(features) if there else None,
            sum(_size(path) for path in features) if there else None,
        )
    for pushed in pushed_folders(home):
        yield FoundPlace(
            "pushed versions",
            str(pushed),
            "copies of index versions and models, and of homes that pulled them",
            f"index erase --pushed {pushed}; who pulled erases in that home",
            None,
            None,
        )
    folders, count = _referenced(catalog)
    if count:
        yield FoundPlace(
            "referenced photos",
            folders,
            "original photos that were imported by reference",
            "by hand: Catalens never deletes them",
            count,
            None,
        )
    yield FoundPlace(
        "logs",
        "where the service's standard error goes",
        "request paths, in which products are named, and names of who asked; no photos, no texts",
        "your rotation of logs, and that of proxies",
        None,
        None,
    )
    for folder, made in backups_by_folder(home).items():
        yield FoundPlace(
            "backups",
            folder,
            f"{describe_backups(made)}, each all of the home as it was: a product that was erased "
            "since is still in them",
            f"catalens backup {shlex.quote(folder)} --keep N, or delete them; after a restore "
            "erase again",
            None,
            None,
        )
    yield FoundPlace(
        "other backups",
        "where you keep copies of the home",
        "all of the home as it was",
        "your rotation of backups; after a restore erase again",
        None,
        None,
    )


def is_cache_seen(cache: Path) -> bool:
    """``is_cache_there``; False also of one that this user may not look into."""
    with suppress(OSError):
        return is_cache_there(cache)
    return False


def _referenced(catalog: Catalog) -> tuple[str, int]:
    """The folder that all referenced photos lie below, and how many there are."""
    query = "SELECT min(path), max(path), count(*) FROM photos WHERE storage = 'reference'"
    with catalog.database.read() as sql:
        first, last, count = sql.execute(query).fetchone()
    # What the first and the last in order share, all in between share.
    return (os.path.commonpath([first, last]) if count else "", int(count))


def _files(top: Path) -> Iterator[Path]:
    for folder, _, names in walk_home(top):
        yield from (Path(folder, name) for name in sorted(names))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
