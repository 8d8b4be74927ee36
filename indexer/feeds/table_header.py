"""Header of a table of rows: which row it is, its columns, and those that stand twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from indexer.feeds.values.spreadsheet_cells import unharmed

# Rows of which one may be the header.
_FIRST_ROWS = 8
# Names that templates of marketplaces give their columns for machines, below those for people.
_ANCHORS = re.compile(
    r"(item_sku|sku|item_name|feed_product_type|product_type|brand_name|external_product_id"
    r"|contribution_sku|main_image_url|standard_price|image_link|item_group_id|parent_sku"
    r"|product_id|availability|record_action|brand|title|quantity|price)([#\[.].*)?"
)
_MACHINE_NAME = re.compile(r"(::)?[a-z][a-z0-9_]*([#\[.].*)?")
# Columns that may stand several times, as shops' own specifications have it.
_REPEATABLE = frozenset(
    {
        "additional_image_link",
        "bullet_point",
        "product_highlight",
        "product_detail",
        "promotion_id",
        "shipping",
    }
)


@dataclass(frozen=True)
class Header:
    """A header row. ``cells`` are its names with blanks, as wide as a row; ``columns`` each name
    once."""

    # Its place among the rows.
    at: int
    cells: list[str]
    columns: list[str]
    # Rows above it that say something.
    preamble: list[list[str]] = field(default_factory=list)
    # Reason and code of each.
    notices: list[tuple[str, str]] = field(default_factory=list)

    @property
    def plain(self) -> bool:
        """Whether each cell of a row has a name of its own."""
        return len(self.cells) == len(self.columns)

    def values(self, cells: Sequence[str]) -> dict[str, Any]:
        """A row's cells by column; of a column that stands twice the first that is not blank, or
        all of one that may be repeated."""
        values: dict[str, Any] = {}
        for name, cell in zip(self.cells, cells, strict=False):
            if not name:
                continue
            old = values.get(name)
            if not old or (isinstance(old, str) and not old.strip()):
                values[name] = cell
            elif name in _REPEATABLE and cell.strip() and cell != old:
                values[name] = [*old, cell] if isinstance(old, list) else [old, cell]
        return values


def find_header(rows: Sequence[Sequence[str]]) -> Header:
    """The header among a table's first rows: the row for machines where a template has one, else
    the first row that is not a line of text above the table."""
    at = _row_of_header(rows)
    row = rows[at] if rows else []
    cells = [unharmed(name.strip().strip("\ufeff\u200b").strip()) for name in row]
    above = [list(row) for row in rows[:at] if "".join(row).strip()]
    notices = []
    if above:
        notices.append(
            (
                f"has rows above the header, left out: {len(above)}; the header is row {at + 1} "
                f"({', '.join(name for name in cells if name)[:60]}...)",
                "rows-above-header",
            )
        )
    named = [name for name in cells if name]
    columns = list(dict.fromkeys(named))
    for name, count in Counter(named).items():
        if count > 1:
            places = [str(place) for place, cell in enumerate(cells, 1) if cell == name]
            kept = "all are" if name in _REPEATABLE else "the first that is not blank is"
            notices.append(
                (
                    f"has the column {name!r} {count} times (columns {' and '.join(places)}): "
                    f"{kept} read",
                    "column-twice",
                )
            )
    return Header(at, cells, columns, above, notices)


def _row_of_header(rows: Sequence[Sequence[str]]) -> int:
    first = rows[:_FIRST_ROWS]
    machine = [at for at, row in enumerate(first) if _is_for_machines(row)]
    if machine:
        return machine[0]
    width = Counter(len(row) for row in rows if row).most_common(1)[0][0] if any(rows) else 0
    for at, row in enumerate(first):
        named = sum(bool(cell.strip()) for cell in row)
        if named >= max(1, 0.5 * width) or (width < 3 and named):
            return at
    return 0


def _is_for_machines(row: Sequence[str]) -> bool:
    names = [cell.strip() for cell in row if cell.strip()]
    return (
        len(names) >= 2
        and sum(bool(_ANCHORS.fullmatch(name)) for name in names) >= 2
        and sum(bool(_MACHINE_NAME.fullmatch(name)) for name in names) >= 0.9 * len(names)
    )
