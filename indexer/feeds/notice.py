"""Notice about a line of a feed: what was left out or changed, where, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Notice:
    """A row or photo that was left out (or, among warnings, a value that was), and why."""

    # "products.csv:17" as an editor counts lines, "products.parquet row 3", or a photo's path.
    where: str
    # What is wrong, and what was done, in words.
    reason: str
    # The kind of notice, the same for all like it ("odd-price"); "" where it has no kind yet.
    code: str = ""
    column: str | None = None
    # As the feed has it, shortened.
    value: str | None = None
