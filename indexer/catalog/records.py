"""Catalog records: products, tags, photos, changes, and the writes that make them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from indexer.catalog.limits import (
    LONGEST_LEVEL,
    LONGEST_TAG,
    MOST_LEVELS,
    MOST_TAGS,
    check_count,
    check_length,
)
from indexer.catalog.product_fields import NO_FIELDS, ProductFields
from indexer.core.category_path import CategoryPath, parse_path
from indexer.core.errors import BadProductError, CatalensError, DamagedFileError

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
_HASH = re.compile(r"[0-9a-f]{64}")
_DECODER = json.JSONDecoder()


def _encoding() -> Callable[[object], str]:
    """``_ENCODER.encode``, without its making a new encoder in C for every value, which takes as
    long as a product's attributes."""
    make = getattr(json.encoder, "c_make_encoder", None)
    quote = getattr(json.encoder, "c_encode_basestring", None)
    if make is None or quote is None:
        return _ENCODER.encode
    encode = make(None, _ENCODER.default, quote, None, ":", ",", True, False, False)
    return lambda value: "".join(encode(value, 0))


_encode = _encoding()
TAG_SOURCES = ("merchant", "curated", "machine")
PATCHABLE = ("title", "category", "tags", "attributes", "fields")
PhotoStorage = Literal["copy", "reference", "forget"]


@dataclass(frozen=True)
class Tag:
    """A tag and who said it: the merchant's feed, a person who curates, or a model."""

    tag: str
    # One of TAG_SOURCES.
    source: str


@dataclass(frozen=True)
class ProductInput:
    """A product as written.

    ``category``: from the top level to the leaf. ``photos``: content hashes, at least one, the
    first leads. ``attributes``: values as their types ask; None is as good as absent.
    ``sources``: content hash -> the shop's own address of that photo, where it has one.
    """

    product_id: str
    title: str | None
    category: CategoryPath | None
    tags: tuple[Tag, ...]
    attributes: dict[str, Any]
    photos: tuple[str, ...]
    fields: ProductFields = field(default=NO_FIELDS, kw_only=True)
    sources: Mapping[str, str] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Product(ProductInput):
    """A product as stored. ``pid`` and ``photo_ids`` are never reused; ``sequence`` is that of its
    last change."""

    pid: int
    sequence: int
    external_version: int | None
    photo_ids: tuple[int, ...]


@dataclass(frozen=True)
class NewPhoto:
    """A checked photo that a product may refer to. ``width`` and ``height`` in px, upright;
    ``bytes`` is its size."""

    content_hash: str
    format: str
    bytes: int
    width: int
    height: int
    # "forget": its bytes were not kept, only what was made of them.
    storage: PhotoStorage
    # Absolute, of a referenced file; else None.
    path: str | None


@dataclass(frozen=True)
class PhotoRow(NewPhoto):
    """A stored photo. ``photo_id`` is never reused."""

    photo_id: int


@dataclass(frozen=True)
class Change:
    """One entry of the change log."""

    sequence: int
    pid: int
    kind: Literal["put", "patch", "delete"]
    photos_changed: bool


@dataclass(frozen=True)
class Written:
    """What a write did. ``orphaned``: hashes no product uses any
    more, for ``PhotoStore.collect``."""

    # Of this change; of the product's last one where nothing changed.
    sequence: int
    pid: int
    outcome: Literal["added", "replaced", "unchanged", "patched", "deleted"]
    orphaned: tuple[str, ...] = ()
    # The photo ids they had, never given again.
    orphaned_ids: tuple[int, ...] = ()
    # Whether the index is concerned.
    photos_changed: bool = False
    # What was changed beside the product, in words.
    warnings: tuple[str, ...] = ()


def require_written(result: Written | CatalensError) -> Written:
    """The result of a write; its error is raised."""
    if isinstance(result, CatalensError):
        raise result
    return result


@dataclass(frozen=True)
class Put:
    """Add or replace a product. ``photos``: those of its photos that may be new to the catalog.

    ``keep``: names whose stored values stay, whatever ``product`` says: "title", "category",
    "tags", "photos" (then it needs none), names of attributes and of fields; "sources" keeps the
    addresses of those photos for which ``product`` gives none. ``expected_sequence``: as ``Patch``;
    0 where there must be no such product yet.
    """

    product: ProductInput
    photos: Sequence[NewPhoto] = field(default=())
    external_version: int | None = None
    keep: frozenset[str] = frozenset()
    expected_sequence: int | None = None

    @property
    def product_id(self) -> str:
        return self.product.product_id


@dataclass(frozen=True)
class Patch:
    """Change fields, never photos.

    ``title`` and ``category``: None clears. ``tags``: texts, which replace the merchant's.
    ``attributes`` and ``fields``: merged by name, None removes one. ``expected_sequence``: the
    product's last change as it was read; where another came since, ``ChangedError``.
    """

    product_id: str
    changes: Mapping[str, Any]
    external_version: int | None = None
    expected_sequence: int | None = None


@dataclass(frozen=True)
class Delete:
    """Erase a product. ``expected_sequence``: as ``Patch``."""

    product_id: str
    external_version: int | None = None
    expected_sequence: int | None = None


Write = Put | Patch | Delete


def category_path(value: object) -> CategoryPath | None:
    """``"A > B"`` or a sequence of levels as a path; nothing or blank text is None. Raises
    ``BadProductError``."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    levels = parse_path(value) if isinstance(value, str) else value
    if (
        not isinstance(levels, Sequence)
        or not levels
        or not all(isinstance(level, str) for level in levels)
    ):
        raise BadProductError(
            f"category must be text like 'A > B' or a list of levels, got {value!a}"
        )
    if not all(level.strip() for level in levels):
        raise BadProductError(f"category {value!a} has an empty level")
    check_count("levels of a category", len(levels), MOST_LEVELS)
    for level in levels:
        check_length("a level of a category", check_text("category", level), LONGEST_LEVEL)
    return tuple(levels)


def check_text(what: str, value: object) -> str:
    """``value`` if it is text that can be stored. Raises ``BadProductError``."""
    if not isinstance(value, str):
        raise BadProductError(f"{what} must be text, got {value!a}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadProductError(f"{what} is not valid Unicode: {value!a}") from error
    return value


def checked_tags(tags: Sequence[Tag | str]) -> list[tuple[str, str]]:
    """(tag, source) pairs without repetitions, in order; plain texts are the merchant's. Raises
    ``BadProductError``."""
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise BadProductError(f"tags must be a list of texts, got {tags!a}")
    pairs: dict[tuple[str, str], None] = {}
    for given in tags:
        tag, source = (given.tag, given.source) if isinstance(given, Tag) else (given, "merchant")
        if source not in TAG_SOURCES:
            raise BadProductError(f"tag source {source!a} is none of {', '.join(TAG_SOURCES)}")
        if not check_text("a tag", tag).strip():
            raise BadProductError("a tag is empty")
        check_length("a tag", tag, LONGEST_TAG)
        pairs[tag, source] = None
    check_count("tags", len(pairs), MOST_TAGS)
    return list(pairs)


def dump(value: object) -> str:
    """One text per value, so that stored values compare as text."""
    return _encode(value)


def load(text: str) -> Any:
    """The value that ``dump`` made a text of. Raises ``ValueError``."""
    value, end = _DECODER.raw_decode(text)
    return value if end == len(text) else json.loads(text)


def photo_file(photos: Path, content_hash: str) -> Path:
    """Where the copy of a photo lies below the home's folder of photos.

    Raises ``DamagedFileError`` for a hash that is none: a catalog of somebody else may hold
    ``../``, and what lies there is read, restored and deleted.
    """
    if not isinstance(content_hash, str) or not _HASH.fullmatch(content_hash):
        raise DamagedFileError(
            f"the catalog names a photo {ascii(content_hash)[:80]}, which is no SHA-256: it is "
            "damaged, or was made by somebody else; restore a backup that you made (catalens "
            "restore)"
        )
    return photos / content_hash[:2] / content_hash[2:4] / content_hash


@dataclass(frozen=True)
class SkippedPhoto:
    """A photo that could not be read; its entries are left out, the rest goes on."""

    photo_id: int
    # None: the photo left the catalog meanwhile.
    content_hash: str | None
    reason: str


MAX_ID = 256
_NO_BREAK = "\u00a0\u2007\u202f"


def bad_product_id(product_id: str) -> str | None:
    """Why this text cannot be a product id, or None if it can: printable, 1 to 256 characters, not
    ``.`` or ``..``, no no-break space at an end, where nobody sees it and an import drops it."""
    if not product_id.strip():
        return "the product id is empty"
    if product_id in (".", ".."):
        return f"the product id cannot be {product_id!r}"
    if len(product_id) > MAX_ID:
        return f"the product id has {len(product_id)} characters, more than {MAX_ID}"
    if product_id[0] in _NO_BREAK or product_id[-1] in _NO_BREAK:
        return f"the product id {product_id!a} has a no-break space at an end"
    # A wide or no-break space counts as printable, unlike for Python.
    if not all(
        char.isprintable() or (char.isspace() and char > "\x9f" and char not in "\u2028\u2029")
        for char in product_id
    ):
        return f"the product id {product_id!a} is not printable text"
    return None
