"""Registry of a home's models: stored by version, one of them active."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import structlog

from indexer.core.atomic_files import folder_aside, replace_folder, sha256_file, written_aside
from indexer.core.errors import (
    BadModelError,
    CatalensError,
    DamagedIndexError,
    NewerFormatError,
    UnknownModelError,
)
from indexer.core.file_names import is_plain_name
from indexer.core.home import Home
from indexer.core.manifest import read_manifest
from indexer.core.regular_files import read_json
from indexer.model.bundle import DECISION, MANIFEST, Bundle, load_bundle, write_bundle
from indexer.model.decision_layer import Decision

MEND = "register a good copy of it, which replaces this one: catalens model add FOLDER"

log = structlog.get_logger(__name__)


def register_model(home: Home, path: Path | str) -> Bundle:
    """Copy a model folder into the home, activating nothing; the same model twice is one.

    A damaged copy that lies there is replaced, and so are damaged files of other models that share
    them. Raises ``BadModelError``.
    """
    bundle = load_bundle(path)
    final = home.models / bundle.model_version
    found = whole_model(final)
    if found is None:
        home.make_folder(home.models)
        with folder_aside(final) as aside:
            for name in (MANIFEST, *bundle.checksums):
                shutil.copyfile(bundle.path / name, aside / name)
            replace_folder(aside, final)
        found = load_bundle(final)
    mend_shared_files(home.models, found)
    return found


def whole_model(folder: Path) -> Bundle | None:
    """The model in ``folder``; None where there is none, or it is damaged."""
    try:
        return load_bundle(folder) if folder.is_dir() else None
    except (BadModelError, NewerFormatError):
        return None


def mend_shared_files(models: Path, good: Bundle) -> None:
    """Replace damaged files of the models in ``models`` by those that ``good`` has of the same
    checksum.

    Revisions of a model share its weights as one file, so what damages one damages all.
    """
    whole = {checksum: good.path / name for name, checksum in good.checksums.items()}
    for folder in models.glob("[!.]*"):
        if folder.name == good.model_version:
            continue
        for name, checksum in _named_files(folder).items():
            source = whole.get(checksum)
            path = folder / name
            if source is None or (path.is_file() and sha256_file(path) == checksum):
                continue
            with written_aside(path) as aside:
                shutil.copyfile(source, aside)


def _named_files(folder: Path) -> dict[str, str]:
    """Name -> checksum of a model's files, as its manifest says; empty where that is damaged."""
    try:
        files = read_json(folder / MANIFEST)["files"]
        return {name: known["sha256"] for name, known in files.items() if is_plain_name(name)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def examine_models(home: Home) -> tuple[list[Bundle], dict[str, str]]:
    """The models of the home, by version, and why others cannot be used, by folder."""
    whole = []
    damaged = {}
    for folder in sorted(home.models.glob("[!.]*")) if home.models.is_dir() else ():
        try:
            whole.append(load_bundle(folder))
        except (BadModelError, NewerFormatError) as error:
            damaged[folder.name] = f"{error}; {MEND}"
    return whole, damaged


def registered(home: Home) -> list[Bundle]:
    """Load all models of the home, by version; damaged ones are left out with a log line."""
    whole, damaged = examine_models(home)
    for name, reason in damaged.items():
        log.warning("model left out", model=name, reason=reason)
    return whole


def by_version(home: Home, model_version: str) -> Bundle:
    """Load one registered model. Raises ``UnknownModelError``, ``BadModelError``."""
    folder = home.models / model_version
    if not is_plain_name(model_version) or not folder.is_dir():
        known = (
            [entry.name for entry in sorted(home.models.glob("[!.]*"))]
            if home.models.is_dir()
            else []
        )
        raise UnknownModelError(
            f"no model {model_version!r}; registered: {', '.join(known) or 'none'} (register "
            "one with: catalens model add FOLDER)"
        )
    try:
        return load_bundle(folder)
    except BadModelError as error:
        raise BadModelError(f"{error}; {MEND}") from error


def origin(home: Home, model_version: str) -> str:
    """Return the model version that training wrote and ``model_version`` is a revision of.

    Itself, if it is none or is gone.
    """
    try:
        found = read_json(home.models / model_version / DECISION)["origin"]
    except (OSError, ValueError, KeyError, TypeError):
        return model_version
    return str(found) if found else model_version


def may_hold_classes(folder: Path) -> bool:
    """Whether a model has classes that were made from photos or words, or is a revision of another
    model; also where that cannot be read."""
    try:
        stored = read_json(folder / DECISION)
        return bool(stored["few_shot"]) or stored["origin"] not in (None, folder.name)
    except (OSError, ValueError, KeyError, TypeError, CatalensError):
        return True


def resolve(home: Home, ref: str | Path | None) -> Bundle:
    """Resolve the model that ``index build --model`` means.

    ``ref``: a model folder (registered on the way) or a registered version. Without it: the active
    model, else the only registered one, else the shipped pretrained network; several and none
    active is ``UnknownModelError``, and so are models that index versions need and that are not
    there: their absence does not mean that none was ever trained. Raises ``BadModelError``.
    """
    if ref is not None:
        if (Path(ref) / MANIFEST).is_file() or os.sep in str(ref):
            return register_model(home, ref)
        return by_version(home, str(ref))
    active = home.active()
    if active is not None:
        return by_version(home, active.model_version)
    whole, damaged = examine_models(home)
    for reason in damaged.values():
        raise BadModelError(f"{reason}; or name another model with --model")
    known = _without_exports(whole)
    if not known and (absent := _built_for(home)):
        raise UnknownModelError(
            f"{home.models} is empty, but index versions were built for {', '.join(absent)}: put "
            "it back (a disk that is not mounted looks the same), or register the model again "
            "with: catalens model add FOLDER"
        )
    if len(known) > 1:
        names = ", ".join(bundle.model_version for bundle in known)
        raise UnknownModelError(
            f"several models are registered and none is active: name one with --model ({names})"
        )
    return known[0] if known else pretrained(home)


def _built_for(home: Home) -> list[str]:
    """The models that the home's index versions name."""
    found = set()
    for folder in home.indexes.glob("v*"):
        with suppress(DamagedIndexError, NewerFormatError):
            found.add(read_manifest(folder).model_version)
    return sorted(found)


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
    home.make_folder(home.models)
    with folder_aside(home.models / "pretrained") as aside:
        made = aside / "model"
        write_bundle(made, network, Decision(), metrics={}, training={"recipe": "pretrained"})
        return register_model(home, made)
