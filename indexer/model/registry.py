"""Registry of a home's models: stored by version, one of them active."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from indexer.core.atomic_files import publish_folder
from indexer.core.errors import UnknownModelError
from indexer.core.home import Home
from indexer.model.bundle import DECISION, MANIFEST, Bundle, load_bundle, write_bundle
from indexer.model.decision_layer import Decision


def register_model(home: Home, path: Path | str) -> Bundle:
    """Copy a model folder into the home, activating nothing; the same model twice is one.

    Raises ``BadModelError``.
    """
    bundle = load_bundle(path)
    final = home.models / bundle.model_version
    if not final.exists():
        aside = home.models / f".{bundle.model_version}.{os.getpid()}.tmp"
        try:
            shutil.copytree(bundle.path, aside)
            publish_folder(aside, final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return load_bundle(final)


def registered(home: Home) -> list[Bundle]:
    """Load all models of the home, by version. Raises ``BadModelError`` for a damaged one."""
    if not home.models.is_dir():
        return []
    return [
        load_bundle(folder)
        for folder in sorted(home.models.iterdir())
        if not folder.name.startswith(".")
    ]


def by_version(home: Home, model_version: str) -> Bundle:
    """Load one registered model. Raises ``UnknownModelError``, ``BadModelError``."""
    folder = home.models / model_version
    plain = Path(model_version).name == model_version and not model_version.startswith(".")
    if not model_version or not plain or not folder.is_dir():
        known = (
            [entry.name for entry in sorted(home.models.glob("[!.]*"))]
            if home.models.is_dir()
            else []
        )
        raise UnknownModelError(
            f"no model {model_version!r}; registered: {', '.join(known) or 'none'}"
        )
    return load_bundle(folder)


def origin(home: Home, model_version: str) -> str:
    """Return the model version that training wrote and ``model_version`` is a revision of.

    Itself, if it is none or is gone.
    """
    try:
        found = json.loads((home.models / model_version / DECISION).read_text())["origin"]
    except (OSError, ValueError, KeyError, TypeError):
        return model_version
    return str(found) if found else model_version


def resolve(home: Home, ref: str | Path | None) -> Bundle:
    """Resolve the model that ``index build --model`` means.

    ``ref``: a model folder (registered on the way) or a registered version. Without it: the active
    model, else the only registered one, else the shipped pretrained network; several and none
    active is ``UnknownModelError``.
    """
    if ref is not None:
        if (Path(ref) / MANIFEST).is_file() or os.sep in str(ref):
            return register_model(home, ref)
        return by_version(home, str(ref))
    active = home.active()
    if active is not None:
        return by_version(home, active.model_version)
    known = _without_exports(registered(home))
    if len(known) > 1:
        names = ", ".join(bundle.model_version for bundle in known)
        raise UnknownModelError(
            f"several models are registered and none is active: name one with --model ({names})"
        )
    return known[0] if known else pretrained(home)


def _without_exports(bundles: list[Bundle]) -> list[Bundle]:
    """The models but for exported forms of others among them: those are no choice of their own."""
    versions = {bundle.model_version for bundle in bundles}
    return [
        bundle
        for bundle in bundles
        if not (bundle.exported and bundle.training.get("exported_from") in versions)
    ]


def pretrained(home: Home, backbone: str | None = None) -> Bundle:
    """Register a pretrained network without labels: its pooled features are the embedding."""
    from indexer.model.backbones import DEFAULT_BACKBONE
    from indexer.model.network import Network

    network = Network.frozen(backbone or DEFAULT_BACKBONE)
    aside = home.models / f".pretrained.{os.getpid()}"
    try:
        write_bundle(
            aside, network, Decision(), metrics={}, training={"recipe": "pretrained"}, replace=True
        )
        return register_model(home, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
