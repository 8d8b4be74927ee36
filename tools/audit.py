"""Audit of a catalog: what is likely wrong in it, product by product, as a page and a table."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import Product
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.atomic_files import make_folder, write_atomic, write_sealed_json, written_aside
from indexer.core.category_path import format_path
from indexer.core.csv_text import CsvWriter
from indexer.core.errors import CatalensError
from indexer.core.file_owner import open_owned
from indexer.core.home import Home
from indexer.core.native import THREADS
from indexer.core.progress import OnStage
from indexer.duplicates.groups import find_groups
from indexer.feeds.values.spreadsheet_cells import harmless
from indexer.imaging.parallel import in_order
from indexer.model.open_runtime import open_embedder
from indexer.operations.audit_findings import read_findings, state_line
from indexer.quality.findings import Finding
from indexer.quality.profiles import profile as quality_profile
from indexer.quality.shop_percentiles import ShopQuality
from service.engine import Engine
from service.review.quality_check import SHOP_QUALITY

KINDS = (
    "prohibited",
    "category",
    "tag-missing",
    "tag-doubtful",
    "photo",
    "duplicate",
    "unreadable",
)
_NEIGHBOURS, _OF_KIND = 10, 5  # most similar products that tags and categories are compared with
_ELSEWHERE, _HERE = (
    4,
    1,
)  # a category is doubtful where that many of 5 have another one, at most so many its own
_SURE = 0.8  # a tag is missing where this confident, doubtful where no neighbour has it
_COMMON = 20  # products with a tag from which on a neighbour would be expected to have it
_SHOWN = 200  # entries of one kind on the page; the CSV has them all


@dataclass(frozen=True)
class Entry:
    """One thing to look at. ``score`` in [0, 1], higher is worse; ``detail`` is a sentence."""

    kind: str
    pid: int
    code: str
    score: float
    detail: str


@dataclass
class Audit:
    """What was found, and how many products were looked at."""

    products: int = 0
    resumed: int = 0  # of them as an earlier run had found them
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be told

    def counts(self) -> dict[str, int]:
        found = Counter(entry.kind for entry in self.entries)
        return {kind: found[kind] for kind in KINDS}


class AuditedProduct(NamedTuple):
    """What one product showed."""

    entries: list[Entry]
    photos: list[list[tuple[str, float]]]


def audit(engine: Engine, *, progress: OnStage | None = None, profile: str | None = None) -> Audit:
    """Look at every product with a photo in the index, and at its duplicates.

    What was found is kept in the home by product, its last change, model, index and policies: a run
    that was interrupted goes on, and one after few changes looks at these only. How the shop's own
    photos score is written into the home, for later reviews to stand beside. Raises as
    ``SearchEngine.review`` for what concerns all products; a product whose photo cannot be read is
    an entry.
    """
    if profile is not None:
        quality_profile(profile)  # else each product would fail for it
    home, snapshot = engine.home, engine.ready()
    report = Audit()
    scores: list[list[tuple[str, float]]] = []
    with open_catalog(home) as catalog, _Kept(home, profile, catalog) as kept:
        given = catalog.given_tags()
        common = Counter(tag for tags in given.values() for tag in set(tags))
        total = len(catalog)
        versions = f"{snapshot.model_version} {snapshot.index_version} {engine.policy_version}"

        def look(product: Product) -> tuple[AuditedProduct, bool]:
            """What the product showed, and whether an earlier run had found it."""
            seen = kept.find(product.pid, f"{product.sequence} {versions}")
            return (
                (seen, True)
                if seen
                else (_look(engine, catalog, product, given, common, profile), False)
            )

        for product, found in in_order(catalog.iterate(), look, workers=THREADS):
            if isinstance(found, CatalensError):
                raise found
            seen, resumed = found
            if resumed:
                report.resumed += 1
            elif not any(entry.kind == "unreadable" for entry in seen.entries):
                # Those may be mended, and their reason may name a photo.
                kept.add(product.pid, f"{product.sequence} {versions}", seen)
            report.entries += seen.entries
            scores += seen.photos
            report.products += 1
            if progress:
                progress("products", report.products, total)
        report.entries += _duplicates(home, catalog, report, progress)
    if scores:
        measured = ShopQuality.measured(_findings(scores)).as_json()
        write_sealed_json(home.path / SHOP_QUALITY, measured)
    return report


def _findings(scores: list[list[tuple[str, float]]]) -> Iterator[list[Finding]]:
    for photo in scores:
        yield [Finding(code, score, "ok", {}, None, {}) for code, score in photo]


def _duplicates(
    home: Home, catalog: Catalog, report: Audit, progress: OnStage | None
) -> Iterator[Entry]:
    found = find_groups(home, embedder=open_embedder, progress=progress)
    report.notes += found.notes
    for group in found.groups:
        pids = catalog.pids(group.products)
        for photo in group.photos:
            for product_id in photo["products"]:
                pid = pids.get(product_id)
                others = [other for other in group.products if other != product_id]
                # Of variants of one parent the first stands for all.
                if pid is not None and others and product_id in group.products:
                    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
                    detail = f"{group.kind.replace('_', ' ')} as {others[0]}{more}"
                    yield Entry("duplicate", pid, group.kind, photo.get("score", 1.0), detail)


def _look(
    engine: Engine,
    catalog: Catalog,
    product: Product,
    given: dict[int, list[str]],
    common: Counter[str],
    profile: str | None,
) -> AuditedProduct:
    """Everything but duplicates, which are looked for in the whole catalog at once."""
    try:
        name = product.product_id
        seen = engine.review([], product_id=name, profile=profile, queue=False).to_json()
        near = engine.similar(name, k=_NEIGHBOURS).to_json()["results"]
    except CatalensError as error:
        return AuditedProduct([Entry("unreadable", product.pid, error.code, 1.0, str(error))], [])
    photos = []
    for photo in seen["photos"]:
        findings = photo["quality"]["findings"]
        photos.append([(finding["code"], finding["score"]) for finding in findings])
    return AuditedProduct(list(_entries(catalog, product, seen, near, given, common)), photos)


def _entries(
    catalog: Catalog,
    product: Product,
    seen: dict[str, Any],
    near: list[dict[str, Any]],
    given: dict[int, list[str]],
    common: Counter[str],
) -> Iterator[Entry]:
    pid = product.pid
    for result in seen["prohibited"]:
        if result["decision"] != "allow":
            detail = f"policy {result['policy']} says {result['decision']}"
            yield Entry("prohibited", pid, result["policy"], result["score"], detail)
    if product.category:
        kinds = [format_path(row["category_path"] or ()) for row in near[:_OF_KIND]]
        votes, own = Counter(kinds), format_path(product.category)
        other, count = next(
            ((path, n) for path, n in votes.most_common() if path and path != own), ("", 0)
        )
        if count >= _ELSEWHERE and votes[own] <= _HERE:
            detail = f"{own}, but {count} of the {len(kinds)} most similar products are {other}"
            yield Entry("category", pid, other, count / len(kinds), detail)
    tags = set(given.get(pid, ()))
    neighbours = catalog.pids(row["product_id"] for row in near).values()
    around = {tag for other_pid in neighbours for tag in given.get(other_pid, ())}
    for tag in seen["tags"]:
        if tag["tag"] not in tags and tag["confidence"] >= _SURE:
            detail = f"{tag['tag']} is missing (confidence {tag['confidence']:.2f})"
            yield Entry("tag-missing", pid, tag["tag"], tag["confidence"], detail)
    for name in sorted(tags - around) if near else ():
        if common[name] >= _COMMON:
            detail = (
                f"{name}: none of the {len(near)} most similar products has it, of the catalog "
                f"{common[name]} do"
            )
            yield Entry("tag-doubtful", pid, name, min(1.0, common[name] / (10 * _COMMON)), detail)
    for finding in seen["quality"]["findings"]:
        if finding["level"] in ("warning", "fail"):
            yield Entry("photo", pid, finding["code"], finding["score"], finding["advice"]["en"])


def _scores(photo: list[Any]) -> list[tuple[str, float]]:
    """A photo's findings as kept: code, score. Raises ``ValueError`` where it is something else."""
    return [(code, score) for code, score in photo]


class _Kept:
    """What earlier runs found, in ``audit/NAME.jsonl`` of the home; products stand in
    it as pids."""

    def __init__(self, home: Home, profile: str | None, catalog: Catalog) -> None:
        self._home = home
        self._path = home.path / "audit" / f"{profile or 'default'}.jsonl"
        self._history = catalog.change_log
        self._known: dict[int, tuple[str, AuditedProduct]] = {}

    def __enter__(self) -> _Kept:
        self._home.make_folder(self._path.parent)
        for pid, line in read_findings(self._path, self._history).items():
            try:
                _, key, rows, photos = line
                scores = [_scores(photo) for photo in photos]
                self._known[pid] = (key, AuditedProduct([Entry(*row) for row in rows], scores))
            except (ValueError, TypeError):
                # Of another release.
                continue
        handle = open_owned(self._path, os.O_WRONLY | os.O_APPEND, 0o666)
        self._file = os.fdopen(handle, "a", encoding="utf-8")
        # Behind half a line, if there is one.
        self._file.write(f"\n{state_line(self._history)}\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.write(f"{state_line(self._history)}\n")
        self._file.close()

    def find(self, pid: int, key: str) -> AuditedProduct | None:
        known = self._known.get(pid)
        return known[1] if known is not None and known[0] == key else None

    def add(self, pid: int, key: str, seen: AuditedProduct) -> None:
        rows = [
            [entry.kind, entry.pid, entry.code, entry.score, entry.detail] for entry in seen.entries
        ]
        self._file.write(json.dumps([pid, key, rows, seen.photos], ensure_ascii=False) + "\n")
        self._file.flush()


def write_page(report: Audit, home: Home, folder: Path) -> tuple[Path, Path]:
    """``audit.html`` (one file, no outside request) and ``audit.csv`` in
    ``folder``; their paths."""
    make_folder(folder)
    with open_catalog(home) as catalog:
        ranked = sorted(
            report.entries, key=lambda entry: (KINDS.index(entry.kind), -entry.score, entry.pid)
        )
        names = catalog.ids_of({entry.pid for entry in ranked})
        table = folder / "audit.csv"
        with (
            written_aside(table) as aside,
            aside.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = CsvWriter(stream, line_end="\r\n")
            writer.writerow(("kind", "product_id", "code", "score", "detail"))
            for entry in ranked:
                if entry.pid in names:
                    writer.writerow(
                        (
                            entry.kind,
                            harmless(names[entry.pid]),
                            harmless(entry.code),
                            round(entry.score, 4),
                            harmless(entry.detail),
                        )
                    )
        sections = []
        photos = PhotoStore(home)
        for kind in KINDS:
            found = [entry for entry in ranked if entry.kind == kind and entry.pid in names]
            products = catalog.by_pids({entry.pid for entry in found[:_SHOWN]})
            rows = [
                {
                    "product_id": names[entry.pid],
                    "title": products[entry.pid].title,
                    "code": entry.code,
                    "score": entry.score,
                    "detail": entry.detail,
                    "photo": _thumbnail(catalog, photos, products[entry.pid]),
                }
                for entry in found[:_SHOWN]
                if entry.pid in products
            ]
            sections.append({"kind": kind, "total": len(found), "rows": rows})
    environment = Environment(
        loader=PackageLoader("tools"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.get_template("audit.html").render(
        report=report, sections=sections, counts=report.counts()
    )
    page = folder / "audit.html"
    write_atomic(page, html.encode())
    return page, table


def _thumbnail(catalog: Catalog, photos: PhotoStore, product: Product) -> str | None:
    row = catalog.photo(product.photos[0]) if product.photos else None
    try:
        data = photos.thumbnail(row, 160) if row else b""
    except CatalensError:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" if data else None
