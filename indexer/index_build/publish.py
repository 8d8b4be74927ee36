"""Last stages of an index build: index, fit tags and text, publish the version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.catalog.filters import facts_of
from indexer.catalog.store import Catalog
from indexer.classification.unknown_refit import catalog_neighbourhood, refit_unknown
from indexer.core.home import Home
from indexer.core.progress import OnStage, no_progress
from indexer.core.timer import StageTimer
from indexer.index.filter_columns import FilterColumns
from indexer.index.tuning import Tuned, build_tuned
from indexer.index.version import Versions
from indexer.index.version_files import NewVersion
from indexer.model.bundle import Bundle
from indexer.model.spec import Block
from indexer.tagging.refit import refit_tags
from indexer.text.fit_joint_share import with_joint_share
from indexer.text.fit_text_tower import described, fit_tower


@dataclass(frozen=True)
class VersionContent:
    """What a version is made of: rows with their vectors, and where they come from."""

    rows: np.ndarray  # int64 [N, 2]: pid, photo_id
    vectors: np.ndarray  # float16 [N, D], unit
    last_sequence: int
    embedding_id: str
    model_version: str
    source: Mapping[str, Any]


@dataclass(frozen=True)
class IndexOptions:
    """How the index is built; as ``tuning.build_tuned`` takes them."""

    recall: float
    recipe: str | None = None
    device: str = "cpu"
    memory: int | None = None
    queries: np.ndarray | None = None  # float [A, D], in which the recall must hold too


def publish_version(
    home: Home,
    catalog: Catalog,
    bundle: Bundle | None,
    content: VersionContent,
    options: IndexOptions,
    *,
    fit_unknown: bool = True,
    progress: OnStage = no_progress,
    timer: StageTimer | None = None,
) -> tuple[str, Tuned]:
    """Build an index of ``content`` and publish it as a new version.

    Everything that a version holds beside rows and vectors is made here, from the catalog as it is
    now, so a build and a rewrite make the same. Without a ``bundle`` (its model is gone) tags are
    left to the model and text to keywords. ``fit_unknown``: whether the version has its own rule
    for unknown kinds; the rewrite of one from before there were any has none either, since with it
    it would answer otherwise.
    """
    timer = timer or StageTimer()
    count = len(content.rows)
    blocks: Sequence[Block] = bundle.spec.blocks if bundle is not None else ()
    progress("build", 0, count)
    tuned = build_tuned(
        content.vectors,
        recall=options.recall,
        recipe=options.recipe,
        device=options.device,
        memory=options.memory,
        query_vectors=options.queries,
        blocks=blocks,
    )
    progress("build", count, count)
    timer.lap("build")
    progress("tags", 0, 1)
    fitted: dict[str, Any] = {"tag_rule": None, "tower": None, "unknown": None, "around": None}
    if bundle is not None:
        fitted["tag_rule"] = refit_tags(catalog, bundle, content.rows, content.vectors)
        if fit_unknown:
            around = catalog_neighbourhood(bundle, content.rows, content.vectors)
            fitted["unknown"] = refit_unknown(
                catalog, bundle, content.rows, content.vectors, around=around
            )
            fitted["around"] = None if around is None else around.column
        told = described(catalog, content.rows, content.vectors)
        fitted["tower"] = with_joint_share(fit_tower(told, blocks), told, bundle)
    progress("tags", 1, 1)
    timer.lap("tags")
    progress("publish", 0, 1)
    version = _publish(home, catalog, content, tuned, fitted)
    progress("publish", 1, 1)
    return version, tuned


def _publish(
    home: Home, catalog: Catalog, content: VersionContent, tuned: Tuned, fitted: Mapping[str, Any]
) -> str:
    # Read now, not with the rows: a product that changed since `last_sequence` is judged by the
    # log anyway.
    facts = map(facts_of, catalog.iterate())
    types = catalog.filter_types()
    columns = FilterColumns.build(facts, np.unique(content.rows[:, 0]), types)
    source = {
        "stamp": catalog.change_log.stamp(content.last_sequence),
        "erased_through": content.last_sequence,
        **content.source,
    }
    new = NewVersion(
        index=tuned.index,
        vectors=content.vectors,
        rows=content.rows,
        embedding_id=content.embedding_id,
        model_version=content.model_version,
        last_sequence=content.last_sequence,
        recipe=tuned.index.recipe,
        params=tuned.params,
        recall=tuned.recall,
        columns=columns,
        source=source,
        **fitted,
    )
    return Versions(home).publish(new)
