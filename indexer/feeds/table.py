"""Table: a feed's records as they stand in its file, and the lines that are none."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from indexer.core.errors import BadDataError
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.notice import Notice

# Notices of one kind that are kept; the others are counted.
MOST_NOTICES = 10_000
# Columns that a feed may have.
MOST_COLUMNS = 5_000
# Characters of a column's name; none of an attribute may have as many.
LONGEST_COLUMN = 1_000
# Records that a feed may have, of which some bytes are held each; a few bytes can hold any number.
MOST_RECORDS = 10_000_000
# Characters of one record; longer ones are lost lines.
MOST_RECORD = 4 << 20
# Lost lines after which a sample of a feed ends.
_MOST_OF_SAMPLE = 1_000


@dataclass(slots=True)
class Record:
    """One row, object or element of a feed: column to value; a column may be absent.

    Values of a table whose cells are text are text (a repeated column or element: a list of texts).
    Else they are what JSON and Parquet hold, objects and lists included.
    """

    # "products.csv:17" as an editor counts lines, "products.parquet row 3".
    where: str
    values: dict[str, Any]


@dataclass
class LostLines:
    """Lines that gave no record, and what can be told of them.

    ``id_columns`` and ``image_columns`` name the columns that say which product a broken line
    speaks of, the first that the table has.
    """

    id_columns: tuple[str, ...] = ("product_id",)
    image_columns: tuple[str, ...] = ("image",)
    # The first ``MOST_NOTICES``; ``count`` counts all.
    skipped: list[Notice] = field(default_factory=list)
    count: int = 0
    # Lines that gave their record, but not all they say.
    warnings: list[Notice] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    # Images of lines that name no id.
    images: list[str] = field(default_factory=list)
    # Where the others stand.
    unnamed: list[str] = field(default_factory=list)

    def lose(
        self,
        where: str,
        reason: str,
        ids: Sequence[str] = (),
        images: Sequence[str] = (),
        code: str = "broken-line",
    ) -> None:
        """Skip a line that names one of ``ids``, or where there are none one of ``images``, as far
        as can be told."""
        self.count += 1
        if len(self.skipped) < MOST_NOTICES:
            self.skipped.append(Notice(where, reason, code))
        self.ids.extend(ids)
        self.images.extend(images)
        if not ids and not images and len(self.unnamed) < MOST_NOTICES:
            self.unnamed.append(where)

    def cut_off(self, where: str) -> None:
        """Note that the file ends at ``where`` before its end: what else it would have named cannot
        be told."""
        if where not in self.unnamed:
            self.unnamed.append(where)

    def warn(self, notice: Notice) -> None:
        """Keep a notice about a record that was given."""
        if len(self.warnings) < MOST_NOTICES:
            self.warnings.append(notice)

    def named_by(
        self, cells: Sequence[str], columns: Sequence[str], root: Path
    ) -> tuple[list[str], list[str]]:
        """What may be the product id of a record with too many or too few cells, and where that may
        be blank its image.

        Neither where it cannot be told: of an open quote that took in other lines, of a line that
        may end within its id.
        """
        if any("\n" in cell or "\r" in cell for cell in cells):
            return [], []
        spare = len(cells) - len(columns)

        # A delimiter too many or too few may stand on either side of the column.
        def places(at: int) -> Sequence[str]:
            return cells[max(at + min(spare, 0), 0) : at + max(spare, 0) + 1]

        id_at = _first(self.id_columns, columns)
        ids = places(id_at) if id_at is not None else []
        if id_at is not None and id_at + 1 < len(cells) and all(map(str.strip, ids)):
            return list(ids), []
        image_at = _first(self.image_columns, columns)
        candidates = places(image_at if image_at is not None else len(cells))
        images = [cell for cell in candidates if cell.strip() and _is_file(root, cell)]
        return ([cell for cell in ids if cell.strip()] if images else []), images


class _TooManyLostError(Exception):
    """More lost lines than a sample takes."""


class _FewLostLines(LostLines):
    """Lost lines of a sample, which ends where there are too many."""

    def lose(self, *args: Any, **options: Any) -> None:
        self.count += 1
        if self.count > _MOST_OF_SAMPLE:
            raise _TooManyLostError


def _first(names: Sequence[str], columns: Sequence[str]) -> int | None:
    for name in names:
        if name in columns:
            return columns.index(name)
    return None


def _is_file(root: Path, cell: str) -> bool:
    try:
        return os.path.isfile(root / cell)
    except ValueError:
        return False


class Table(ABC):
    """A feed that was recognised: its columns, and its records as often as they are asked for.

    ``columns`` are those of the header; where a format has none, those of the first records, and
    the list grows as further ones are met. ``notices`` say what was guessed or left out as a whole.
    """

    # The format's name ("csv", "xml"), and whether values were cells of text.
    format: str
    text: bool

    def __init__(self, source: FeedFile) -> None:
        self.source = source
        self.name = source.name
        self.root = source.path.parent
        self.columns: list[str] = []
        self.notices: list[Notice] = []
        # Rows above the header, as some shops' templates have them.
        self.preamble: list[list[str]] = []

    @abstractmethod
    def records(self, lost: LostLines) -> Iterator[Record]:
        """Read the file anew, one record at a time; lines that give none go to ``lost``.

        Raises ``BadDataError`` where the file cannot be read any more.
        """

    def sample(self, count: int) -> None:
        """Read the first ``count`` records for the columns that they have."""
        with suppress(_TooManyLostError):
            for _ in islice(self.records(_FewLostLines()), count):
                continue

    def notice(self, reason: str, code: str, *, line: int | None = None) -> None:
        """Note what was guessed or left out, once for the whole feed."""
        where = self.name if line is None else f"{self.name}:{line}"
        self.notices.append(Notice(where, reason, code))


def check_count(name: str, count: int) -> None:
    """Raise ``BadDataError`` where a feed has more records than are read."""
    if count > MOST_RECORDS:
        raise BadDataError(
            f"{name} has more than {MOST_RECORDS:,} records: import it in several parts"
        )


@dataclass(frozen=True)
class ReadOptions:
    """What the user says of a feed's form; None where it is to be found."""

    encoding: str | None = None
    delimiter: str | None = None
