"""Export of feedback as a manifest to train from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.catalog.records import Product, photo_file
from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import written_aside
from indexer.core.category_path import format_path
from indexer.core.csv_text import CsvWriter
from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.feeds.values.spreadsheet_cells import harmless
from indexer.reviews.store import open_reviews

_COLUMNS = ("product_id", "image", "title", "category", "tags")


@dataclass
class ExportReport:
    """What an export wrote, and why feedback was left out."""

    products: int = 0
    rows: int = 0
    feedback: int = 0
    # Reason -> entries.
    skipped: dict[str, int] = field(default_factory=dict)


def export_feedback(home: Home, out: Path) -> ExportReport:
    """Write a manifest (CSV) of the products that feedback names, their tags and categories as
    people left them.

    Tags are those of the merchant and curator, with what was accepted or added and without what was
    rejected; the last word on a tag counts. Feedback without a stored product has no photo to learn
    from and is counted as skipped. Raises ``BadDataError`` where there is nothing to write.
    """
    report = ExportReport()
    given: dict[int, list[dict[str, Any]]] = {}
    skipped: Counter[str] = Counter()
    with open_catalog(home) as catalog, open_reviews(home, catalog) as reviews:
        for _, entry in reviews.feedback():
            report.feedback += 1
            if "foreign" in entry:
                skipped["it is on a product of another catalog, or of one put back since"] += 1
            elif entry["pid"] is None:
                skipped["no product_id was given with it"] += 1
            elif not (
                entry["accepted"] or entry["rejected"] or entry["added"] or entry["category"]
            ):
                skipped["clicks only"] += 1
            else:
                given.setdefault(entry["pid"], []).append(entry)
    with open_catalog(home) as catalog:
        products = catalog.by_pids(given)
        rows = catalog.photos_by_id(
            [photo_id for product in products.values() for photo_id in product.photo_ids]
        )
    skipped["its product was deleted since"] = sum(
        len(entries) for pid, entries in given.items() if pid not in products
    )
    report.skipped = {reason: count for reason, count in skipped.items() if count}
    report.products = len(products)
    if not products:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in report.skipped.items())
        raise BadDataError(
            f"there is no feedback to train from ({report.feedback} entries"
            f"{f': {reasons}' if reasons else ''})"
        )
    with (
        written_aside(Path(out), private=True) as aside,
        aside.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = CsvWriter(stream, line_end="\r\n")
        writer.writerow(_COLUMNS)
        for pid, product in products.items():
            category, tags = _final_labels(product, given[pid])
            for photo_id in product.photo_ids:
                row = rows.get(photo_id)
                if row is None:
                    continue
                path = Path(row.path) if row.path else photo_file(home.photos, row.content_hash)
                labels = (product.title or "", format_path(category or ()), "|".join(tags))
                writer.writerow(map(harmless, (product.product_id, str(path), *labels)))
                report.rows += 1
    return report


def _final_labels(
    product: Product, entries: list[dict[str, Any]]
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Return category and tags of a product after all feedback on it, in order."""
    tags = dict.fromkeys(tag.tag for tag in product.tags if tag.source != "machine")
    category = product.category
    for entry in entries:
        for tag in (*entry["accepted"], *entry["added"]):
            tags[tag] = None
        for tag in entry["rejected"]:
            tags.pop(tag, None)
        category = tuple(entry["category"]) if entry["category"] else category
    return category, list(tags)
