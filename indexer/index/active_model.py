"""The active model and its decision layer, switched with the index."""

from __future__ import annotations

from dataclasses import replace

from indexer.core.errors import NoIndexError
from indexer.core.home import Active, Home
from indexer.index.version import Versions
from indexer.model.bundle import Bundle, write_revision
from indexer.model.decision_layer import Decision
from indexer.model.registry import by_version


def serve_decision(home: Home, active: Active, bundle: Bundle, decision: Decision) -> Bundle:
    """Store ``bundle`` with ``decision`` as a new model and serve it with the active index.

    Call it under the lock "decision".
    """
    origin = bundle.decision.origin or bundle.model_version
    new = write_revision(
        bundle, replace(decision, origin=origin, revision=decision.revision + 1), home.models
    )
    Versions(home).switch_model(new.model_version, instead_of=active)
    return new


def active_model(home: Home) -> tuple[Active, Bundle]:
    """Load what is active: index and model by name, and the model. Raises ``NoIndexError``."""
    active = home.active()
    if active is None:
        raise NoIndexError("no index version is active: run catalens index build --activate")
    return active, by_version(home, active.model_version)
