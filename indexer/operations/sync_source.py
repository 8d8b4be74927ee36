"""Sources of a home: feeds that are kept in step, and the history of their runs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, TypeAdapter, ValidationError

from indexer.core.atomic_files import (
    close_file,
    read_sealed_json,
    remove_asides,
    remove_entry,
    storage_failure,
    write_atomic,
    write_sealed_json,
)
from indexer.core.errors import BadHomeError, BadRequestError, NotFoundError
from indexer.core.home import Home
from indexer.core.printable import is_utf8, plain_line

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_PERIOD = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SUFFIX = re.compile(r"\.(csv|tsv|txt|jsonl|ndjson|json|parquet|xml|rss|atom|xlsx|zip)(\.gz)?$")
_SHORTEST_S = 10.0
_LONGEST_S = 31 * 86_400.0
# Runs that are remembered.
_KEPT = 200
# A run begins no later than now; one that does was made by a clock that was wrong.
_SLACK_S = 60.0

# What a damaged file could hold instead is nothing to count with.
Seconds = Annotated[float, Field(allow_inf_nan=False)]
SyncOutcome = Literal["done", "unchanged", "held", "failed"]


class UnknownSourceError(NotFoundError):
    """No feed of that name is kept in step."""

    code = "unknown-source"


@dataclass(frozen=True)
class SyncSource:
    """A feed that is kept in step.

    ``feed``: a path or an address. ``only``: the fields and attributes that it owns, of products
    that another source makes; None: whole products. ``join``: the column by which its rows find
    their product. ``deletes``: products that the feed lacks are deleted.
    """

    name: str
    feed: Annotated[str, Field(min_length=1)]
    every_s: Annotated[Seconds, Field(gt=0)]
    join: str | None = None
    only: tuple[str, ...] | None = None
    profile: str = "auto"
    encoding: str | None = None
    delimiter: str | None = None
    currency: str | None = None
    taxonomy_file: str | None = None
    photos_root: str | None = None
    photos: Literal["copy", "reference", "forget"] = "copy"
    fetch: bool = False
    deletes: bool = False
    created: Seconds = 0.0

    @property
    def is_url(self) -> bool:
        return self.feed.lower().startswith(("http://", "https://"))


@dataclass(frozen=True)
class SyncRun:
    """One run of a source. Times in seconds since 1970.

    ``photos_asked`` counts requests for photos; ``photos_failed`` photos that could not be had.
    """

    started: Seconds
    ended: Seconds
    outcome: SyncOutcome
    reason: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    photos_asked: int = 0
    photos_failed: int = 0
    warnings: list[str] = field(default_factory=list)


def parse_period(text: str) -> float:
    """Seconds of ``90s``, ``15m``, ``1h``, ``1d`` or ``1w``. Raises ``BadRequestError``.

    >>> parse_period("15m"), parse_period("1.5h")
    (900.0, 5400.0)
    """
    found = _PERIOD.fullmatch(text.strip().lower())
    if found is None:
        raise BadRequestError(f"{text!r} is no period: write one like 15m, 1h or 1d")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise BadRequestError(f"a period of {text} is too short or too long: from 10s to 31d")
    return seconds


class SyncSources:
    """The sources of one home, each in a file of its own below ``sync/``."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.folder = home.path / "sync"

    def all(self) -> list[SyncSource]:
        """All sources that can be read, by name."""
        return [found for found in self._read() if isinstance(found, SyncSource)]

    def damaged(self) -> list[BadHomeError]:
        """Of files that are none: which, and what to do."""
        return [found for found in self._read() if isinstance(found, BadHomeError)]

    def has(self, name: str) -> bool:
        """Whether a feed of that name is kept in step. Raises ``BadRequestError``."""
        return self._file(name).exists()

    def check_name(self, name: str) -> None:
        """Raise ``BadRequestError`` for a name that is none."""
        self._file(name)

    def get(self, name: str) -> SyncSource:
        """One source. Raises ``UnknownSourceError``, ``BadHomeError`` for a damaged file."""
        path = self._file(name)
        try:
            close_file(path)
            source: SyncSource = _source_type().validate_python(read_sealed_json(path))
            if source.name != name:
                raise ValueError(f"it is of a feed {source.name[:40]!a}")
            return source
        except FileNotFoundError:
            # By their files: reading them would ask here again for one that leads nowhere.
            there = ", ".join(self._names()) or "none"
            raise UnknownSourceError(
                f"no feed {name!r} is kept in step; there are: {there}"
            ) from None
        except (OSError, ValueError) as error:
            raise BadHomeError(
                f"{path} cannot be read ({_said(error)}): delete it, and add the feed again "
                "(catalens sync add)"
            ) from error

    def add(self, source: SyncSource) -> None:
        """Store a source; one of its name is replaced. Raises ``BadRequestError`` for a name that
        is none, and for a path that is no UTF-8, ``StorageError``."""
        path = self._file(source.name)
        for place in (source.feed, source.photos_root or "", source.taxonomy_file or ""):
            if not is_utf8(place):
                raise BadRequestError(
                    f"{plain_line(place)} holds bytes that are no UTF-8, so that it cannot be kept "
                    "in step: give it another name"
                )
        try:
            self._home.make_folder(self.folder)
            write_sealed_json(path, asdict(source), private=True)
            # Of an address with another suffix.
            for copy in self.folder.glob(f"{source.name}.feed.*"):
                if copy != self.copy_of(source):
                    remove_entry(copy)
        except OSError as error:
            raise storage_failure(path, error) from error

    def remove(self, name: str) -> None:
        """Forget a source with its history and its copy of the feed; products stay. Raises
        ``UnknownSourceError``."""
        path = self._file(name)
        if not path.exists():
            self.get(name)  # raises
        remove_asides(self.folder / name)
        for rest in self.folder.glob(f"{name}.*"):
            if rest != path:
                remove_entry(rest)
        # At the end: after a kill it can be removed again.
        path.unlink(missing_ok=True)

    def makers(self) -> list[str]:
        """The names of feeds that make products, and so make one again that was erased here and is
        still listed there: a tombstone refuses older versions only, and rows have none."""
        return [source.name for source in self.all() if source.only is None]

    def returns(self) -> list[str]:
        """Sentences on what may bring a deleted id back; empty where nothing is kept in step."""
        makers = self.makers()
        others = [source.name for source in self.all() if source.only is not None]
        said = []
        if makers:
            said.append(
                f"kept in step with: {', '.join(makers)}; a feed that still lists a deleted id "
                "makes the product again at its next run, so take it out of the feed first"
            )
        if others:
            said.append(
                f"fields are kept in step with: {', '.join(others)}; a feed that still lists a "
                "deleted id brings it back into its copy and the reports of its runs, so take it "
                "out of the feed first"
            )
        return said

    # -- history

    def runs(self, name: str) -> list[SyncRun]:
        """The remembered runs, the newest first."""
        path = self._history(name)
        try:
            close_file(path)
            lines = path.read_bytes().splitlines()
        except OSError:
            return []
        found = []
        for line in reversed(lines):
            try:
                found.append(_run_type().validate_json(line))
            except ValueError:
                # A line that a power cut left half-written.
                continue
        return found

    def add_run(self, name: str, run: SyncRun) -> None:
        """Remember a run; the oldest are forgotten."""
        kept: Sequence[SyncRun] = [run, *self.runs(name)][:_KEPT]
        lines = [json.dumps(asdict(entry), ensure_ascii=False) for entry in reversed(kept)]
        path = self._history(name)
        try:
            write_atomic(path, ("\n".join(lines) + "\n").encode(), private=True)
        except OSError as error:
            raise storage_failure(path, error) from error

    def next_due(self, source: SyncSource) -> float:
        """When it is to run next, in seconds since 1970."""
        runs = self.runs(source.name)
        if not runs or runs[0].started > time.time() + _SLACK_S:
            return 0.0
        return runs[0].started + source.every_s

    def silent_since(self, source: SyncSource, now: float | None = None) -> float | None:
        """Since when the feed was not read for more than twice its period; None where it was."""
        now = time.time() if now is None else now
        good = [
            run.ended
            for run in self.runs(source.name)
            if run.outcome in ("done", "unchanged") and run.ended <= now + _SLACK_S
        ]
        last = good[0] if good else source.created
        return last if now - last > 2 * source.every_s else None

    # -- files

    def copy_of(self, source: SyncSource) -> Path:
        """Where the feed of an address lies, once it was fetched; its suffix helps to read it."""
        name = unquote(urlsplit(source.feed).path).rpartition("/")[2].lower()
        found = _SUFFIX.search(name)
        # As a table, unless it looks like something else.
        return self.folder / f"{source.name}.feed{found.group() if found else '.txt'}"

    def state_of(self, name: str) -> Path:
        """Where the tags of the last answer to a request for the feed lie."""
        return self.folder / f"{name}.state.json"

    def _history(self, name: str) -> Path:
        return self.folder / f"{name}.runs.jsonl"

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BadRequestError(
                f"{name!r} cannot name a feed: use up to 40 small letters, digits, - and _"
            )
        return self.folder / f"{name}.json"

    def _names(self) -> list[str]:
        """Of all files that are a source's, in order."""
        found = (path.stem for path in self.folder.glob("*.json"))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def _read(self) -> Iterator[SyncSource | BadHomeError]:
        for name in self._names():
            try:
                yield self.get(name)
            except BadHomeError as error:
                yield error
            except (NotFoundError, BadRequestError):
                # Removed this moment, or a file of somebody else's.
                continue


@cache
def _source_type() -> TypeAdapter[SyncSource]:
    return TypeAdapter(SyncSource)


@cache
def _run_type() -> TypeAdapter[SyncRun]:
    return TypeAdapter(SyncRun)


def _said(error: Exception) -> str:
    """Why a file cannot be read, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return ": ".join([*map(str, first["loc"]), first["msg"]])
    return str(getattr(error, "strerror", None) or error)
