"""Report of an import: what was done, what was left out and why, in words and by kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

from indexer.feeds.notice import Notice

# Notices that are kept one by one, the first lines that a kind keeps, and the most kinds.
_KEPT = 1000
_FIRST = 5
_MOST_KINDS = 500
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\S*\d\S*")
# Of notices about photos by address where nothing may be fetched.
ADDRESS = "photo-address"


@dataclass
class NoticeKind:
    """Notices that say the same of different lines. ``lines``: the first of them."""

    code: str
    column: str | None
    count: int
    lines: list[Notice]

    def to_json(self) -> dict[str, Any]:
        """The first notice with the count and further lines."""
        return {
            **asdict(self.lines[0]),
            "count": self.count,
            "lines": [asdict(notice) for notice in self.lines],
        }


class Notices(Sequence[Notice]):
    """Notices in their order: the first thousand one by one, all of them counted by kind.

    So a feed with a million wrong lines takes no more memory than one with a thousand.
    """

    def __init__(self, notices: Iterable[Notice] = ()) -> None:
        self._kept: list[Notice] = []
        self._kinds: dict[tuple[str, str | None], NoticeKind] = {}
        # All, kept or not.
        self.total = 0
        self.extend(notices)

    def append(self, notice: Notice) -> None:
        """Add one."""
        self.total += 1
        if len(self._kept) < _KEPT:
            self._kept.append(notice)
        code = notice.code or _VARIABLE.sub("*", notice.reason)
        key = (code, notice.column)
        if key not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            key = ("", None)
        kind = self._kinds.get(key)
        if kind is None:
            self._kinds[key] = NoticeKind(notice.code, notice.column, 1, [notice])
            return
        kind.count += 1
        if len(kind.lines) < _FIRST:
            kind.lines.append(notice)

    def extend(self, notices: Iterable[Notice]) -> None:
        """Add several."""
        for notice in notices:
            self.append(notice)

    def __iadd__(self, notices: Iterable[Notice]) -> Notices:
        self.extend(notices)
        return self

    def kinds(self) -> list[NoticeKind]:
        """By kind, the first seen first."""
        return list(self._kinds.values())

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Notice]:
        return iter(self._kept)

    @overload
    def __getitem__(self, place: int) -> Notice: ...
    @overload
    def __getitem__(self, place: slice) -> list[Notice]: ...
    def __getitem__(self, place: int | slice) -> Notice | list[Notice]:
        return self._kept[place]

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Notices) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Notices({self._kept!r})"


@dataclass
class ImportReport:
    """What an import did, or with ``dry_run`` would do: numbers of products, and what was left out.

    ``map``: column of the feed -> what it becomes. ``samples``: three products as they will be
    stored. ``columns``: the map with roles and examples. These of a dry run only.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    deleted: int = 0
    # Rows, products and photos that were left out.
    skipped: Notices = field(default_factory=Notices)
    # What was taken, but not all it says.
    warnings: Notices = field(default_factory=Notices)
    dry_run: bool = False
    # Which profile the feed was read by, and why that one.
    profile: str = ""
    why: str = ""
    map: Any = None
    samples: list[dict[str, Any]] = field(default_factory=list)
    columns: list[dict[str, Any]] = field(default_factory=list)
    # The name under which a corrected map was kept for the next import.
    saved_profile: str | None = None
    # Of the whole feed.
    rows: int = 0
    products: int = 0
    photos: int = 0
    # Requests for photos by address that were sent.
    photo_requests: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """All numbers by name."""
        names = ("rows", "products", "photos", "added", "replaced", "unchanged", "deleted")
        return {
            **{name: getattr(self, name) for name in names},
            "skipped": self.skipped.total,
            "warnings": self.warnings.total,
        }

    @property
    def failure(self) -> str | None:
        """Why nothing at all was added, replaced or unchanged, and what to do; None where something
        was."""
        if self.added or self.replaced or self.unchanged or self.deleted:
            return None
        would = "would be" if self.dry_run else "was"
        kinds = sorted(self.skipped.kinds(), key=lambda kind: -kind.count)
        if not kinds:
            return f"nothing {would} imported: the feed names no product"
        most = kinds[0]
        if most.code == ADDRESS:
            return (
                f"nothing {would} imported: the photos are addresses ({most.count}): add --fetch, "
                "and they are fetched"
            )
        first = most.lines[0]
        return (
            f"nothing {would} imported; left out: {self.skipped.total}, most often "
            f"({most.count}) as {first.where}: {first.reason}"
        )

    def to_json(self) -> dict[str, Any]:
        """The report as commands and jobs answer it; ``warnings`` by kind, with counts and first
        lines."""
        found: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("added", "replaced", "unchanged", "deleted", "dry_run", "profile", "why")
        }
        found |= {
            "counts": self.counts,
            "failure": self.failure,
            "skipped": [asdict(notice) for notice in self.skipped],
            "skipped_by_kind": [kind.to_json() for kind in self.skipped.kinds()],
            "warnings": [kind.to_json() for kind in self.warnings.kinds()],
        }
        if self.dry_run:
            found |= {"map": self.map, "samples": self.samples, "columns": self.columns}
        if self.saved_profile is not None:
            found["saved_profile"] = self.saved_profile
        return found
