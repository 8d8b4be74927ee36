"""Erasure audit: a search of every byte of a home for traces of a product."""

from __future__ import annotations

import base64
import binascii
import json
import mmap
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from indexer.catalog.deletions import erasable_texts
from indexer.catalog.erased_texts import SHORT_ID
from indexer.catalog.store import Catalog
from indexer.core.errors import BadDataError, CatalensError, UnknownModelError
from indexer.core.home import Home, walk_home
from indexer.core.regular_files import read_json
from indexer.duplicates.hash_store import stored_signatures
from indexer.fetch.state import stored_urls
from indexer.imaging.decode import hash_content
from indexer.index.embedding_store import stored_embeddings
from indexer.index.version import Versions
from indexer.model.feature_store import cache_folders
from indexer.model.registry import by_version
from indexer.operations.class_erasure import class_number, class_removal
from indexer.operations.free_text import living_texts, texts_left
from indexer.operations.garbage_collection import photo_files
from indexer.text.keyword_index import Keywords

TICKET_FORMAT = 1
_VECTOR_BYTES = 1024  # enough of a vector; a longer one may lie in several pages of a database
_PHOTO_BYTES = 64  # from a photo's middle, where no header is
_SAME = 0.9999  # cosine of a vector with itself, stored as halves


@dataclass
class ErasureReport:
    """What is left of a product. ``found`` [{where, what}]: empty where nothing is."""

    product_id: str
    found: list[dict[str, str]] = field(default_factory=list)
    # photos that stay, because another product has them
    shared: list[str] = field(default_factory=list)
    # files, bytes, and what was looked for
    searched: dict[str, Any] = field(default_factory=dict)
    # what the search cannot prove
    notes: list[str] = field(default_factory=list)
    # what lies outside the home, which was not searched
    outside: list[str] = field(default_factory=list)

    def add(self, where: Path | str, what: str) -> None:
        self.found.append({"where": str(where), "what": what})


@dataclass(frozen=True)
class _Pattern:
    what: str
    data: bytes
    # longer texts of other products, and where the id stands in each
    others: tuple[tuple[bytes, int], ...] = ()


def ticket(home: Home, catalog: Catalog, product_id: str) -> dict[str, Any]:
    """What to look for once a product is gone: its hashes, vectors and texts, those included that
    it had before and that are kept. To be kept outside the home.

    Raises ``UnknownProductError``.
    """
    product = catalog.get(product_id)
    rows = catalog.photos_by_id(product.photo_ids)
    vectors: dict[str, dict[str, str]] = {}
    for store in stored_embeddings(home.embeddings):
        ids, halves = store.find(np.array(product.photo_ids, dtype=np.int64))
        vectors[store.embedding_id] = {
            str(photo_id): base64.b64encode(half.tobytes()).decode()
            for photo_id, half in zip(ids.tolist(), halves, strict=True)
        }
    with catalog.database.read() as sql:
        texts = erasable_texts(sql, product.pid)
    return {
        "format": TICKET_FORMAT,
        "product_id": product_id,
        "pid": product.pid,
        "texts": texts,
        "photos": [
            {"photo_id": row.photo_id, "content_hash": row.content_hash, "path": row.path}
            for row in rows.values()
        ],
        "vectors": vectors,
    }


def read_ticket(path: Path, product_id: str) -> dict[str, Any]:
    """A ticket of ``product_id`` back from its file. Raises ``BadDataError`` naming the file."""
    try:
        found = read_json(path)
        if found["format"] > TICKET_FORMAT:
            raise BadDataError(
                f"{path} has format {found['format']}, this Catalens knows up to {TICKET_FORMAT}: "
                "upgrade it"
            )
        if found["product_id"] != product_id:
            raise BadDataError(
                f"{path} is the ticket of product {found['product_id']!r}, not of {product_id!r}"
            )
        [
            (bytes.fromhex(photo["content_hash"]), int(photo["photo_id"]))
            for photo in found["photos"]
        ]
        [
            base64.b64decode(half, validate=True)
            for of in found["vectors"].values()
            for half in of.values()
        ]
        if not all(isinstance(text, str) for text in found.get("texts", ())):
            raise ValueError("its texts are none")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise BadDataError(f"{path} is no erasure ticket: {error}") from error
    return dict(found)


def find_traces(
    home: Home,
    catalog: Catalog,
    product_id: str,
    *,
    ticket: dict[str, Any] | None = None,
    photos: Sequence[Path] = (),
) -> ErasureReport:
    """Search the whole home for a product that was deleted.

    Every file is searched for the id in its spellings, and with a ``ticket`` or the ``photos``
    themselves for content hashes, photo bytes and vectors (float16 and float32), leaving out photos
    that another product has. Without either, index rows, vectors, photo files and thumbnails that
    belong to no product at all are found all the same. Raises ``BadDataError`` for a photo that
    cannot be read.

    Not for a process that serves the home: reading a database's bytes lets go of the locks that
    SQLite holds on it.
    """
    traces = ErasureReport(product_id, outside=_outside(ticket))
    if catalog.pid(product_id) is not None:
        traces.add("catalog.sqlite3", "the product itself: it was not deleted")
    ownerless(home, catalog, traces)
    patterns = _id_patterns(home, catalog, product_id, traces)
    patterns += _photo_patterns(catalog, ticket, photos, traces)
    _look_in_classes(home, ticket, traces)
    _look_in_texts(home, catalog, ticket, traces)
    files = size = 0
    for path in _files(home.path):
        where = path.relative_to(home.path)
        for pattern in patterns:
            if pattern.what != "vector" and pattern.data in os.fsencode(str(where)):
                traces.add(where, f"{pattern.what}, in the file's name")
        files += 1
        size += _search(path, where, patterns, traces)
    kinds = list(dict.fromkeys(pattern.what for pattern in patterns))
    kinds += ["texts"] if ticket and ticket.get("texts") else []
    traces.searched = {"files": files, "bytes": size, "for": kinds}
    return traces


def ownerless(home: Home, catalog: Catalog, traces: ErasureReport) -> None:
    """Add index rows, vectors, photos and thumbnails that no product has; whose they were is not
    known."""
    versions = Versions(home)
    read = []
    for name in versions.names():
        try:
            read.append((name, np.load(versions.folder / name / "rows.npy", mmap_mode="r")))
        except (OSError, ValueError) as error:
            traces.notes.append(f"index version {name} cannot be read ({error}): remove it")
    stores = [(store.path, store.ids(), "vectors") for store in stored_embeddings(home.embeddings)]
    with stored_signatures(home) as signatures:
        if signatures is not None:
            stores.append((signatures.path, signatures.ids(), "signatures"))
    keywords = Keywords(home, catalog)
    worded = keywords.pids() if keywords.path.exists() else np.empty(0, np.int64)
    keywords.close()
    files = list(photo_files(home))
    living = catalog.change_log.living()
    orphans = catalog.change_log.orphans()
    for name, rows in read:
        if dead := int(living.dead_rows(np.array(rows)).sum()):
            traces.add(Path("indexes", name), f"{dead} rows of deleted products or photos")
    for path, ids, what in stores:
        if dead := len(living.deleted(ids)):
            traces.add(path.relative_to(home.path), f"{dead} {what} of deleted photos")
    if dead := len(np.setdiff1d(worded, living.pids, assume_unique=True)):
        traces.add(keywords.path.relative_to(home.path), f"words of {dead} deleted products")
    hashes = {row.content_hash for row in catalog.photos_by_id(living.photo_ids.tolist()).values()}
    with stored_urls(home.fetch_file) as state:
        if dead := len(state.hashes() - hashes) if state is not None else 0:
            traces.add(home.fetch_file.relative_to(home.path), f"addresses of {dead} photos")
    originals = {path.name for path in files if path.is_relative_to(home.photos)}
    strays = originals - hashes - orphans
    for path in files:
        if path.name[:64] not in hashes | strays and path.exists():
            traces.add(path.relative_to(home.path), "a photo that no product has")
    if strays:
        traces.notes.append(
            f"{len(strays)} photos have no product, and no deletion of them was recorded (first: "
            f"{min(strays)}): they "
            "were left alone, so only a ticket or a photo can tell whether they were the product's"
        )


# -- what to look for


def _spellings(text: str) -> Iterator[bytes]:
    """How a text may stand in a file: plain, in a URL, and once or twice in escapes, JSON's or
    those of a message."""
    forms = {text}
    for _ in range(2):
        forms |= {escaped for form in forms for escaped in _escaped(form)}
    yield from dict.fromkeys([text.encode(), *(form.encode() for form in sorted(forms))])
    yield quote(text, safe="").encode()


def _escaped(text: str) -> Iterator[str]:
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    slashed = text.replace("\\", "\\\\")
    # Python escapes a quote where the whole has both kinds.
    for form in (slashed, slashed.replace("'", "\\'")):
        yield form
        yield form.encode("ascii", "backslashreplace").decode()


def _id_patterns(
    home: Home, catalog: Catalog, product_id: str, traces: ErasureReport
) -> list[_Pattern]:
    plain = product_id.encode()
    held = list(living_texts(home, catalog, product_id))
    if catalog.pid(product_id) is not None:
        # Its own.
        held.remove(product_id)
    texts = set(held)
    if product_id in texts:
        traces.notes.append(
            f"{product_id!r} is also a text of other products or of a model (a tag, say): finding "
            "it proves nothing, "
            "so only a ticket or a photo can"
        )
        return []
    if len(plain) < SHORT_ID:
        traces.notes.append(
            f"the id {product_id!r} is short: it was looked for as a whole value, not inside of "
            "others"
        )
        # SQLite's record of the unique index over ids: header, id, number
        serial = 13 + 2 * len(plain)
        found = [_Pattern("id", bytes([3, serial, kind]) + plain) for kind in (1, 2, 3, 4, 5, 6, 9)]
        return found + [
            _Pattern("id", b'"' + spelling + b'"')
            for spelling in dict.fromkeys(_spellings(product_id))
        ]
    longer = {spelling for text in texts for spelling in _spellings(text)}
    patterns = []
    for spelling in dict.fromkeys(_spellings(product_id)):
        others = tuple(
            (text, at.start())
            for text in sorted(longer)
            for at in re.finditer(re.escape(spelling), text)
        )
        patterns.append(_Pattern("id", spelling, others))
    return patterns


def _photo_patterns(
    catalog: Catalog, ticket: dict[str, Any] | None, photos: Sequence[Path], traces: ErasureReport
) -> list[_Pattern]:
    hashes: dict[str, set[str]] = {
        photo["content_hash"]: {str(photo["photo_id"])} for photo in _photos(ticket)
    }
    patterns = []
    for path in photos:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadDataError(f"photo {path} cannot be read: {error.strerror or error}") from error
        digest = hash_content(data)
        hashes.setdefault(digest, set())
        if catalog.photo(digest) is None:
            middle = max(0, len(data) // 2 - _PHOTO_BYTES // 2)
            patterns.append(_Pattern("photo", data[middle : middle + _PHOTO_BYTES]))
    kept = {digest for digest in hashes if catalog.photo(digest) is not None}
    traces.shared = sorted(kept)
    for digest in set(hashes) - kept:
        patterns += [
            _Pattern("content hash", digest.encode()),
            _Pattern("content hash", bytes.fromhex(digest)),
        ]
    gone = {photo_id for digest, ids in hashes.items() if digest not in kept for photo_id in ids}
    for half in _vectors(ticket, gone):
        patterns += [
            _Pattern("vector", half.astype(kind).tobytes()[:_VECTOR_BYTES])
            for kind in ("<f2", "<f4")
        ]
    return patterns


def _photos(ticket: dict[str, Any] | None) -> list[dict[str, Any]]:
    return list(ticket["photos"]) if ticket else []


def _vectors(
    ticket: dict[str, Any] | None, photo_ids: set[str], embedding_id: str | None = None
) -> list[np.ndarray]:
    stored = ticket["vectors"] if ticket else {}
    return [
        np.frombuffer(base64.b64decode(half), dtype="<f2")
        for of, vectors in stored.items()
        for photo_id, half in vectors.items()
        if photo_id in photo_ids and embedding_id in (None, of)
    ]


def _look_in_classes(home: Home, ticket: dict[str, Any] | None, traces: ErasureReport) -> None:
    """Classes made from one photo keep its vector, in float32 that no ticket has byte for byte."""
    shared = set(traces.shared)
    gone = {
        str(photo["photo_id"]) for photo in _photos(ticket) if photo["content_hash"] not in shared
    }
    for path in sorted(home.models.glob("[!.]*")) if gone else ():
        try:
            bundle = by_version(home, path.name)
        except (CatalensError, UnknownModelError) as error:
            traces.notes.append(f"model {path.name} cannot be read ({error})")
            continue
        known = _vectors(ticket, gone, bundle.embedding_id)
        for entry in bundle.decision.few_shot:
            if any(float(entry.prototype @ half.astype(np.float32)) > _SAME for half in known):
                name = entry.tag or next(
                    c.label for c in bundle.decision.categories if c.id == entry.category
                )
                mend = class_removal(home, path.name, class_number(entry))
                traces.add(
                    Path("models", path.name),
                    f"class {name!r} was made from its photo: {mend}",
                )


def _look_in_texts(
    home: Home, catalog: Catalog, ticket: dict[str, Any] | None, traces: ErasureReport
) -> None:
    """Free text is searched for what the product said, as an erasure searches it."""
    texts = None if ticket is None else ticket.get("texts")
    if texts is None:
        traces.notes.append(
            "its title, tags and values were not looked for in reviews and histories: only a "
            "ticket of this release knows them"
        )
        return
    for path, count in texts_left(home, catalog, texts).items():
        entries = "1 entry" if count == 1 else f"{count:,} entries"
        traces.add(path.relative_to(home.path), f"its title, tags or values in {entries}")


# -- looking


def _files(top: Path) -> Iterator[Path]:
    for folder, _, names in walk_home(top):
        is_top = Path(folder) == top
        yield from (
            path
            for name in sorted(names)
            if (path := Path(folder, name)).is_file() and (is_top or not path.is_symlink())
        )


def _search(path: Path, where: Path, patterns: Sequence[_Pattern], traces: ErasureReport) -> int:
    """Search one file; returns its size."""
    try:
        size = path.stat().st_size
        if not size:
            return 0
        with (
            path.open("rb") as stream,
            closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)) as data,
        ):
            reported: set[str] = set()
            for pattern in patterns:
                if pattern.what not in reported and _holds(data.find, data, pattern):
                    reported.add(pattern.what)
                    traces.add(where, pattern.what)
            return size
    except FileNotFoundError:
        return 0  # a temporary file that was finished meanwhile


def _holds(find: Callable[[bytes, int], int], data: mmap.mmap, pattern: _Pattern) -> bool:
    """Whether the pattern stands anywhere but inside a longer text of another product."""
    at = find(pattern.data, 0)
    while at >= 0:
        if not any(
            data[max(at - before, 0) : at - before + len(text)] == text
            for text, before in pattern.others
        ):
            return True
        at = find(pattern.data, at + 1)
    return False


def _outside(ticket: dict[str, Any] | None) -> list[str]:
    try:
        cache = ", ".join(map(str, cache_folders()))
    except CatalensError as error:
        cache = str(error)
    listed = [
        "backups and copies of the home, and homes that pulled its versions",
        "folders that index versions were pushed to: catalens index erase --pushed DIR",
        "weights of models that were trained on its photos, here and elsewhere (they hold no "
        "photo)",
        f"features cached by trainings, named by content hash: {cache} (catalens index erase "
        "--cache)",
        "logs of the service, which name products in request paths, and of proxies before it",
        "shared caches of browsers and proxies that were given its thumbnails",
    ]
    originals = [photo["path"] for photo in _photos(ticket) if photo.get("path")]
    return [
        *listed,
        *(f"the original photo, which was imported by reference: {path}" for path in originals),
    ]
