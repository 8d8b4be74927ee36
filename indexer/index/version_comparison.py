"""Comparison of two index versions: what changes where one serves instead of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.catalog.store import Catalog
from indexer.core.category_path import format_path
from indexer.core.errors import CatalensError, DamagedIndexError
from indexer.core.home import Active, Home
from indexer.core.manifest import Manifest
from indexer.core.regular_files import read_json
from indexer.index.version import Versions
from indexer.index.version_files import ROWS, TAGS
from indexer.model.registry import by_version
from indexer.model.tag_rule import TagRule

# Names that a comparison lists of each kind.
LISTED = 50


@dataclass(frozen=True)
class VersionFacts:
    """What a version and its model can. ``recall`` of the index and ``accuracy`` on the validation
    photos as they were measured, None where they were not."""

    version: str
    model_version: str
    categories: int
    tags: int
    products: int
    recall: float | None
    accuracy: float | None


@dataclass(frozen=True)
class NameChanges:
    """Names that go and names that come: the first of each, and how many."""

    lost: list[str]
    lost_count: int
    gained: list[str]
    gained_count: int

    @classmethod
    def between(cls, before: set[str], after: set[str]) -> NameChanges:
        """Sorted by name."""
        lost = sorted(before - after)
        gained = sorted(after - before)
        return cls(lost[:LISTED], len(lost), gained[:LISTED], len(gained))


@dataclass(frozen=True)
class VersionComparison:
    """What changes where ``then`` serves instead of ``now``, None where nothing serves.

    ``products_missing``: products of the catalog that the version was built without: they can be
    found once their photos are embedded for its model, right after the switch. ``warnings``: what
    gets worse, by code: no-categories, fewer-categories, fewer-tags, products-missing,
    lower-recall, lower-accuracy.
    """

    now: VersionFacts | None
    then: VersionFacts
    categories: NameChanges
    tags: NameChanges
    products_missing: int
    warnings: list[str]


@dataclass(frozen=True)
class _Abilities:
    facts: VersionFacts
    categories: set[str]
    tags: set[str]


_NOTHING: frozenset[str] = frozenset()


def compare_versions(
    home: Home,
    catalog: Catalog,
    version: str,
    *,
    on_step: Callable[[], object] = lambda: None,
) -> VersionComparison:
    """What changes where ``version`` is activated now; nothing is opened for searching.

    ``on_step`` is called between what each version has, and may raise. Raises
    ``UnknownVersionError``, ``DamagedIndexError``, ``UnknownModelError``.
    """
    versions = Versions(home)
    manifest = versions.manifest(version)
    then = _abilities(versions, manifest, versions.pair_of(manifest))
    on_step()
    now = _serving(versions)
    on_step()
    missing = _missing(versions, manifest, catalog)
    on_step()
    categories = NameChanges.between(set(now.categories if now else _NOTHING), then.categories)
    tags = NameChanges.between(set(now.tags if now else _NOTHING), then.tags)
    facts = now.facts if now else None
    warnings = _warnings(facts, then.facts, categories, tags, missing)
    return VersionComparison(facts, then.facts, categories, tags, missing, warnings)


def _serving(versions: Versions) -> _Abilities | None:
    """What serves; None where nothing does, or it cannot be read: then activating mends it."""
    try:
        active = versions.home.active()
        if active is None:
            return None
        return _abilities(versions, versions.manifest(active.index_version), active)
    except CatalensError:
        return None


def _abilities(versions: Versions, manifest: Manifest, pair: Active) -> _Abilities:
    bundle = by_version(versions.home, pair.model_version)
    decision = bundle.decision
    categories = {format_path(category.path) for category in decision.categories}
    rule = _tag_rule(versions, manifest) or decision.tag_rule
    tags = set(rule.seen) if rule else set(decision.tag_heads)
    tags |= {entry.tag for entry in decision.few_shot if entry.tag is not None}
    facts = VersionFacts(
        manifest.version,
        pair.model_version,
        len(categories),
        len(tags),
        int(manifest.counts.get("products", 0)),
        _share(manifest.recall, "at_10"),
        _share(bundle.metrics.get("validation"), "accuracy"),
    )
    return _Abilities(facts, categories, tags)


def _tag_rule(versions: Versions, manifest: Manifest) -> TagRule | None:
    if TAGS not in manifest.files:
        return None
    try:
        return TagRule.from_json(read_json(versions.folder / manifest.version / TAGS))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _share(figures: Any, name: str) -> float | None:
    found = figures.get(name) if isinstance(figures, dict) else None
    return float(found) if isinstance(found, int | float) else None


def _missing(versions: Versions, manifest: Manifest, catalog: Catalog) -> int:
    file = versions.folder / manifest.version / ROWS
    try:
        held = np.unique(np.load(file, mmap_mode="r")[:, 0])
    except (OSError, ValueError, IndexError) as error:
        raise DamagedIndexError(
            f"index version {manifest.version}: {ROWS} cannot be read: {error}"
        ) from error
    return int((~np.isin(catalog.change_log.living().pids, held)).sum())


def _warnings(
    now: VersionFacts | None,
    then: VersionFacts,
    categories: NameChanges,
    tags: NameChanges,
    missing: int,
) -> list[str]:
    found = []
    if categories.lost_count:
        found.append("fewer-categories" if then.categories else "no-categories")
    if tags.lost_count:
        found.append("fewer-tags")
    if missing:
        found.append("products-missing")
    for name in ("recall", "accuracy"):
        before = getattr(now, name, None)
        after = getattr(then, name)
        if before is not None and after is not None and after < before:
            found.append(f"lower-{name}")
    return found
