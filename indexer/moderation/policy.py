"""The policy file: what a shop prohibits, and by which detectors it is found; checked whole when it
is loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from indexer.core.errors import BadImageError, BadPolicyError
from indexer.imaging.decode import MIME, Photo, decode_photo
from indexer.moderation.thresholds import Bounds

FORMAT = 1
DETECTORS = ("nudity", "gallery", "categories", "tags", "codes", "text")
MATCHES = ("whole", "symbol", "crops")
DEFAULT_MATCH = ("whole", "symbol")  # crops cost a pass of the network each
DEFAULT_BOUNDS = Bounds(0.5, 0.9)
_MOST_EXAMPLES = 20
_EXTENSIONS = frozenset(f".{name.lower()}" for name in (*MIME, "jpg", "tif", "heif"))
# As zxing-cpp names them.
_CODE_FORMATS = (
    "QRCode",
    "MicroQRCode",
    "RMQRCode",
    "DataMatrix",
    "Aztec",
    "PDF417",
    "MicroPDF417",
    "MaxiCode",
    "EAN13",
    "EAN8",
    "UPCA",
    "UPCE",
    "ISBN",
    "Code39",
    "Code93",
    "Code128",
    "ITF",
    "ITF14",
    "Codabar",
    "DataBar",
    "DataBarExp",
    "DataBarLtd",
)


@dataclass(frozen=True)
class Example:
    """One photo of a banned gallery."""

    name: str  # relative to the policy file
    photo: Photo


@dataclass(frozen=True)
class BannedGallery:
    examples: tuple[Example, ...]
    match: tuple[str, ...]  # of MATCHES


@dataclass(frozen=True)
class Listed:
    """Banned categories (labels, or paths with all below them) or tags, and the probabilities that
    count."""

    names: tuple[str, ...]
    bounds: Bounds


@dataclass(frozen=True)
class Codes:
    """All QR and bar codes but those of an allowed format or whose text an allowed pattern matches
    whole."""

    allow_formats: frozenset[str]
    allow_text: tuple[re.Pattern[str], ...]


@dataclass(frozen=True)
class Text:
    words: tuple[str, ...]  # found in any case, spaces aside
    patterns: tuple[re.Pattern[str], ...]  # found anywhere in a line, in any case
    bounds: Bounds  # of the reader's confidence in the line


@dataclass(frozen=True)
class Policy:
    name: str
    action: Literal["review", "block"]  # the strictest answer it may give
    nudity: Bounds | None = None
    gallery: BannedGallery | None = None
    categories: Listed | None = None
    tags: Listed | None = None
    codes: Codes | None = None
    text: Text | None = None

    @property
    def detectors(self) -> tuple[str, ...]:
        """Names of those it uses."""
        return tuple(name for name in DETECTORS if getattr(self, name) is not None)


@dataclass(frozen=True)
class PolicySet:
    """``policy_version``: SHA-256 (hex) of the file's bytes and of every gallery photo's."""

    path: Path
    policy_version: str
    policies: tuple[Policy, ...]


def load_policies(path: Path | str) -> PolicySet:
    """Read and check a policy file with its galleries. Raises ``BadPolicyError`` naming the file,
    the line and the key."""
    path = Path(path)
    try:
        data = path.read_bytes()
        root = yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise BadPolicyError(
            f"policy file {path} cannot be read: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadPolicyError(f"policy file {path} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise BadPolicyError(
            f"policy file {path}{line}: {getattr(error, 'problem', None) or 'not YAML'}"
        ) from error
    if root is None:
        raise BadPolicyError(f"policy file {path} is empty")
    top = _Part(root, path, "").fields("version", "policies")
    if "version" not in top or "policies" not in top:
        raise BadPolicyError(f"policy file {path}: it needs the keys version and policies")
    if top["version"].scalar() != FORMAT:
        raise top["version"].bad(f"must be {FORMAT}")
    digest = hashlib.sha256(data)
    policies = tuple(_policy(name, part) for name, part in top["policies"].fields().items())
    if not policies:
        raise top["policies"].bad("names no policy")
    for policy in policies:
        for example in policy.gallery.examples if policy.gallery else ():
            digest.update(f"\n{policy.name}\0{example.name}\0{example.photo.content_hash}".encode())
    return PolicySet(path, digest.hexdigest(), policies)


class _Part:
    """A piece of the file that knows where it stands, so that every complaint can say so."""

    def __init__(self, node: Any, path: Path, where: str) -> None:
        self.node, self.path, self.where = node, path, where

    def bad(self, reason: str) -> BadPolicyError:
        where = f" {self.where}" if self.where else ""
        return BadPolicyError(
            f"policy file {self.path}, line {self.node.start_mark.line + 1}:{where} {reason}"
        )

    def fields(self, *known: str) -> dict[str, _Part]:
        """The values by key; with ``known`` another key is an error."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.bad("must be keys with values")
        found: dict[str, _Part] = {}
        for key, value in self.node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            part = _Part(value, self.path, f"{self.where}.{name}" if self.where else name)
            if not name or name in found:
                raise _Part(key, self.path, part.where).bad(
                    "stands there twice" if name else "is no name"
                )
            if known and name not in known:
                raise _Part(key, self.path, part.where).bad(
                    f"unknown key (known: {', '.join(known)})"
                )
            found[name] = part
        return found

    def scalar(self) -> Any:
        """A single value as YAML reads it."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.bad("must be a single value")
        try:
            return yaml.constructor.SafeConstructor().construct_object(self.node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.bad("is not a value that YAML knows") from error

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode) or not self.node.value.strip():
            raise self.bad("must be a text")
        return str(self.node.value)

    def parts(self) -> list[_Part]:
        """The entries of a list that is not empty."""
        if not isinstance(self.node, yaml.SequenceNode) or not self.node.value:
            raise self.bad("must be a list with at least one entry")
        return [_Part(node, self.path, self.where) for node in self.node.value]

    def texts(self) -> tuple[str, ...]:
        return tuple(part.text() for part in self.parts())

    def choices(self, known: Iterable[str]) -> tuple[str, ...]:
        """Texts out of ``known``, in any case, as they are written there."""
        names = {name.casefold(): name for name in known}
        for part in self.parts():
            if part.text().casefold() not in names:
                raise part.bad(f"{part.text()!r} is none of {', '.join(names.values())}")
        return tuple(names[text.casefold()] for text in self.texts())

    def patterns(self) -> tuple[re.Pattern[str], ...]:
        found = []
        for part in self.parts():
            try:
                found.append(re.compile(part.text(), re.IGNORECASE))
            except re.error as error:
                raise part.bad(f"{part.text()!r} is no regular expression: {error}") from error
        return tuple(found)

    def share(self) -> float:
        value = self.scalar()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.bad(f"must be a number from 0 to 1, not {self.node.value!r}")
        return float(value)


def _policy(name: str, part: _Part) -> Policy:
    given = part.fields("action", *DETECTORS)
    action = given.pop("action", None)
    limit = action.text() if action else "block"
    if action and limit not in ("review", "block"):
        raise action.bad(f"must be review or block, not {limit!r}")
    if not given:
        raise part.bad(f"has no detector (there are: {', '.join(DETECTORS)})")
    nudity, gallery, categories, tags, codes, text = (given.get(detector) for detector in DETECTORS)
    return Policy(
        name,
        "review" if limit == "review" else "block",
        nudity=_bounds(nudity, nudity.fields("review", "block")) if nudity else None,
        gallery=_gallery(gallery) if gallery else None,
        categories=_listed(categories) if categories else None,
        tags=_listed(tags) if tags else None,
        codes=_codes(codes) if codes else None,
        text=_text(text) if text else None,
    )


def _bounds(part: _Part, given: dict[str, _Part]) -> Bounds:
    review = given["review"].share() if "review" in given else DEFAULT_BOUNDS.review
    block = given["block"].share() if "block" in given else max(DEFAULT_BOUNDS.block or 1.0, review)
    if not 0 < review <= block:
        raise part.bad(
            f"review must be above 0 and at most block: they are {review:g} and {block:g}"
        )
    return Bounds(review, block)


def _listed(part: _Part) -> Listed:
    if isinstance(part.node, yaml.SequenceNode):
        return Listed(part.texts(), DEFAULT_BOUNDS)
    given = part.fields("names", "review", "block")
    if "names" not in given:
        raise part.bad("needs names")
    return Listed(given["names"].texts(), _bounds(part, given))


def _codes(part: _Part) -> Codes:
    given = part.fields("allow_formats", "allow_text")
    formats = given["allow_formats"].choices(_CODE_FORMATS) if "allow_formats" in given else ()
    return Codes(
        frozenset(formats), given["allow_text"].patterns() if "allow_text" in given else ()
    )


def _text(part: _Part) -> Text:
    given = part.fields("words", "patterns", "review", "block")
    if not {"words", "patterns"} & set(given):
        raise part.bad("needs words or patterns")
    words = given["words"].texts() if "words" in given else ()
    return Text(
        words, given["patterns"].patterns() if "patterns" in given else (), _bounds(part, given)
    )


def _gallery(part: _Part) -> BannedGallery:
    given = part.fields("photos", "match")
    if "photos" not in given:
        raise part.bad("needs photos: a folder, or a list of files")
    photos = given["photos"]
    beside = photos.path.parent
    if isinstance(photos.node, yaml.SequenceNode):
        files = [(entry, beside / entry.text()) for entry in photos.parts()]
    else:
        folder = beside / photos.text()
        if not folder.is_dir():
            raise photos.bad(f"{folder} is not a folder")
        kept = sorted(
            file
            for file in folder.iterdir()
            if file.suffix.lower() in _EXTENSIONS and file.is_file()
        )
        if not kept:
            raise photos.bad(f"{folder} holds no photo")
        files = [(photos, file) for file in kept]
    if len(files) > _MOST_EXAMPLES:
        raise photos.bad(
            f"has {len(files)} photos, more than {_MOST_EXAMPLES}: keep the most typical ones"
        )
    examples = []
    for entry, file in files:
        try:
            photo = decode_photo(file.read_bytes())
        except OSError as error:
            raise entry.bad(f"photo {file} cannot be read: {error.strerror or error}") from error
        except BadImageError as error:
            raise entry.bad(f"photo {file}: {error}") from error
        name = file.relative_to(beside).as_posix() if file.is_relative_to(beside) else file.name
        examples.append(Example(name, photo))
    match = given["match"].choices(MATCHES) if "match" in given else DEFAULT_MATCH
    return BannedGallery(tuple(examples), tuple(dict.fromkeys(match)))
