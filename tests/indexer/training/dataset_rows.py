"""Rows of a data set that no file stands behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexer.feeds.dataset import DatasetRow


def rows_with(count: int | None = None, **columns: list[Any]) -> list[DatasetRow]:
    """One product a row; ``columns``: attributes, of which None is absent."""
    number = len(next(iter(columns.values()))) if count is None else count
    return [
        DatasetRow(
            f"row {n}",
            f"p{n}",
            Path(f"{n}.jpg"),
            None,
            ("c",),
            (),
            None,
            {name: values[n] for name, values in columns.items() if values[n] is not None},
        )  # type: ignore[misc]
        for n in range(number)
    ]
