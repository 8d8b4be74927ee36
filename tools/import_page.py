"""Page for people about an import, or about what a dry run found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.output import log, print_table

# Kinds of notices that a person is shown, and characters of a value.
_SHOWN = 20
_LONGEST = 60


def show_import(report: dict[str, Any], home: Path) -> None:
    """Print what an import did."""
    _show_counts(report, f"Imported into {home}")
    _show_notices(report)


def show_dry_run(report: dict[str, Any], home: Path) -> None:
    """Print what an import would do, and what the feed's columns become."""
    log(f"profile {report['profile']}: {report['why']}")
    if report["map"]:
        rows = [(column, _short(meaning)) for column, meaning in report["map"].items()]
        print_table(("column", "becomes"), rows, title="Columns")
    for sample in report["samples"]:
        rows = [
            (name, _short(value))
            for name, value in _flat(sample).items()
            if value not in (None, [], {})
        ]
        print_table(("", "as stored"), rows, title=f"Product {sample['product_id']}")
    _show_counts(report, f"Would be imported into {home}")
    _show_notices(report)


def _show_counts(report: dict[str, Any], title: str) -> None:
    counts = report["counts"]
    shown = [(name, report[name]) for name in ("added", "replaced", "unchanged", "deleted")]
    # A photo or a row, not a product: the notices below say which.
    left_out = ("photos or rows left out", counts["skipped"])
    print_table(("products", "count"), [*shown, left_out], title=title)


def _show_notices(report: dict[str, Any]) -> None:
    """Each kind once: its first line, and how many there are."""
    for name, word in (("skipped_by_kind", "skipped"), ("warnings", "note:")):
        kinds = report[name]
        for kind in kinds[:_SHOWN]:
            more = f" (and {kind['count'] - 1} more like it)" if kind["count"] > 1 else ""
            log(f"{word} {kind['where']}: {kind['reason']}{more}")
        if len(kinds) > _SHOWN:
            log(f"... and {len(kinds) - _SHOWN} other kinds; --json lists all")


def _flat(sample: dict[str, Any]) -> dict[str, Any]:
    """One level: fields and attributes by their names."""
    plain = {name: sample[name] for name in ("title", "category", "tags")}
    return {**plain, **sample["fields"], **sample["attributes"], "photos": sample["photos"]}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
