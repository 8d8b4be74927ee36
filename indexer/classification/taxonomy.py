"""Taxonomy edits: renames, merges and moves of categories in model and catalog at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from indexer.catalog.records import Patch, Product, Written, category_path
from indexer.catalog.store import Catalog
from indexer.core.actor import doing
from indexer.core.category_path import CategoryPath, format_path
from indexer.core.errors import BadDataError, BadProductError, CatalensError, ChangedError
from indexer.core.home import Home
from indexer.core.regular_files import read_small
from indexer.index.active_model import serve_decision
from indexer.model.decision_layer import Category, Decision
from indexer.model.registry import by_version

# Rounds for products that are written while the map is applied.
_TRIES = 5


@dataclass(frozen=True)
class Renamed:
    """A category of the model: its stable id, and its path before and after. ``into``: the id it
    was merged into."""

    id: int
    before: CategoryPath
    after: CategoryPath
    into: int | None = None


@dataclass(frozen=True)
class TaxonomyReport:
    """What ``taxonomy apply`` did, or would do."""

    dry_run: bool
    categories: list[Renamed]
    products: int  # whose stored category changed
    unknown: list[CategoryPath]  # ``from`` paths that neither the model nor a product has
    model_version: str | None  # that serves afterwards

    def to_json(self) -> dict[str, Any]:
        def text(path: CategoryPath) -> str:
            return format_path(path)

        rows = [
            {**asdict(row), "before": text(row.before), "after": text(row.after)}
            for row in self.categories
        ]
        return {
            **asdict(self),
            "categories": rows,
            "unknown": [text(path) for path in self.unknown],
        }


class TaxonomyMap:
    """Where each path goes: the longest ``from`` that a path is, or begins with, is replaced by its
    ``to``."""

    def __init__(self, moves: Mapping[CategoryPath, CategoryPath]) -> None:
        self.moves = dict(moves)

    def source(self, path: CategoryPath) -> CategoryPath | None:
        """The ``from`` that applies to ``path``."""
        heads = (path[:length] for length in range(len(path), 0, -1))
        return next((head for head in heads if head in self.moves), None)

    def __call__(self, path: CategoryPath) -> CategoryPath:
        source = self.source(path)
        return path if source is None else self.moves[source] + path[len(source) :]


def known_paths(home: Home, catalog: Catalog) -> set[CategoryPath]:
    """The categories of the active model and of products, and all that lies above them."""
    active = home.active()
    categories = by_version(home, active.model_version).decision.categories if active else ()
    paths = catalog.categories() | {category.path for category in categories}
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def read_map(file: Path, known: Container[CategoryPath] = ()) -> TaxonomyMap:
    """The CSV's rows ``from,to``. Raises ``BadDataError`` naming the line: empty path, two ways,
    cycle, chain.

    A path that is moved away cannot be a place to move to: applying a map twice must be applying it
    once, so that a run that was interrupted can be repeated. Paths are taken as written; only a
    ``to`` that is not ``known`` loses the spaces around its levels. A ``from`` would mean "Hats" by
    "Hats " once that is moved away.
    """
    moves: dict[CategoryPath, CategoryPath] = {}
    lines: dict[CategoryPath, int] = {}
    try:
        with io.StringIO(read_small(file).decode("utf-8-sig"), newline="") as stream:
            reader = csv.DictReader(stream)
            if not {"from", "to"} <= set(reader.fieldnames or ()):
                raise BadDataError(f"{file} needs the columns from,to")
            for row in reader:
                before, after = (
                    _path(row[name], f"{file}, line {reader.line_num}: {name}")
                    for name in ("from", "to")
                )
                after = after if after in known else tuple(level.strip() for level in after)
                if moves.get(before, after) != after:
                    raise BadDataError(
                        f"{file}, line {reader.line_num}: {_text(before)!r} has another to in line "
                        f"{lines[before]}"
                    )
                if before != after:
                    moves[before] = after
                    lines[before] = reader.line_num
    except OSError as error:
        raise BadDataError(f"{file} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadDataError(f"{file} is not a CSV file in UTF-8: {error}") from error
    mapped = TaxonomyMap(moves)
    for before, after in moves.items():
        if mapped(after) != after:
            where = f"{file}, line {lines[before]}"
            met = mapped.source(after) or ()
            kind = "a cycle" if _returns(mapped, before) else "a chain"
            raise BadDataError(
                f"{where}: {_text(before)!r} goes to {_text(after)!r}, which line {lines[met]} "
                f"moves on: {kind}; "
                "use one final place, or two maps one after the other"
            )
    return mapped


def apply_taxonomy(
    home: Home, catalog: Catalog, moves: TaxonomyMap, *, dry_run: bool = False
) -> TaxonomyReport:
    """Change the stored categories of products and the active model's labels; ids, vectors and
    weights stay.

    Categories that come to one path are merged: the one that stood there keeps its id, else the
    lowest id stays; their probabilities add up. The catalog changes in one transaction, each
    product with an entry in the change log that touches no vector; then the model. A crash between
    the two is mended by applying the map again.
    """
    with home.lock("decision", wait_s=30.0), doing("taxonomy", f"{len(moves.moves)} moves"):
        active = home.active()
        bundle = by_version(home, active.model_version) if active else None
        before = bundle.decision if bundle else Decision()
        after, renamed = relabel(before, moves)
        used = {moves.source(category.path) for category in before.categories}
        moved = _move_products(catalog, moves, used, dry_run)
        if not dry_run and active and bundle and renamed:
            catalog.actions.keep_decision(before.grouping(), after.grouping())
            bundle = serve_decision(home, active, bundle, after)
        return TaxonomyReport(
            dry_run=dry_run,
            categories=renamed,
            products=moved,
            unknown=[path for path in moves.moves if path not in used],
            model_version=bundle.model_version if bundle else None,
        )


def _move_products(
    catalog: Catalog, moves: TaxonomyMap, used: set[CategoryPath | None], dry_run: bool
) -> int:
    """Move the products' categories; how many. ``used`` gets the paths that some had.

    Each is moved from the very state that it was read in: what somebody wrote meanwhile is looked
    at again. All that was read is written in one transaction.
    """
    moved = 0
    found: Iterable[Product] = catalog.iterate()
    for _ in range(_TRIES):
        writes = []
        for product in found:
            if product.category is None:
                continue
            used.add(moves.source(product.category))
            new = moves(product.category)
            if new != product.category:
                patch = Patch(
                    product.product_id, {"category": new}, expected_sequence=product.sequence
                )
                writes.append(patch)
        if dry_run:
            return len(writes)
        results = catalog.apply(writes)
        moved += sum(isinstance(result, Written) for result in results)
        changed = []
        for write, result in zip(writes, results, strict=True):
            if isinstance(result, ChangedError):
                changed.append(write.product_id)
            elif isinstance(result, CatalensError):
                raise result
        pids = catalog.pids(changed).values()
        if not pids:
            return moved
        found = catalog.by_pids(pids).values()
    raise ChangedError(
        f"{len(pids)} products were changed again and again while the map was applied: apply it "
        "once more"
    )


def relabel(decision: Decision, moves: TaxonomyMap) -> tuple[Decision, list[Renamed]]:
    """Apply ``moves`` to a decision layer; returns it and what changed in it."""
    homes: dict[CategoryPath, list[Category]] = {}
    for category in decision.categories:
        homes.setdefault(moves(category.path), []).append(category)
    kept: dict[int, Category] = {}
    into: dict[int, int] = {}
    for path, members in homes.items():
        stays = next(
            (member for member in members if member.path == path),
            min(members, key=lambda one: one.id),
        )
        labels = sorted(label for member in members for label in member.trained)
        kept[stays.id] = Category(stays.id, path, tuple(labels))
        into.update({member.id: stays.id for member in members})
    renamed = [
        Renamed(
            category.id,
            category.path,
            moves(category.path),
            into[category.id] if into[category.id] != category.id else None,
        )
        for category in decision.categories
        if moves(category.path) != category.path
    ]
    changed = replace(
        decision,
        categories=tuple(
            kept[category.id] for category in decision.categories if category.id in kept
        ),
        few_shot=tuple(
            entry if entry.category is None else replace(entry, category=into[entry.category])
            for entry in decision.few_shot
        ),
    )
    return changed, renamed


def _returns(moves: TaxonomyMap, start: CategoryPath) -> bool:
    """Return whether following ``moves`` from ``start`` never ends."""
    seen = {start}
    path = moves(start)
    while moves(path) != path:
        path = moves(path)
        if path in seen or len(path) > 64:
            return True
        seen.add(path)
    return False


def _path(value: str | None, where: str) -> CategoryPath:
    try:
        path = category_path(value)
    except BadProductError as error:
        raise BadDataError(f"{where}: {error}") from error
    if path is None:
        raise BadDataError(f"{where} is empty")
    return path


def _text(path: CategoryPath) -> str:
    return format_path(path)
