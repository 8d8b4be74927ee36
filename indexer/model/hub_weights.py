"""Weights of the Hugging Face hub: those on this machine, and fetching them when asked to."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from indexer.core.errors import BadModelError, BadRequestError, WeightsUnavailableError
from indexer.core.regular_files import parse_json, read_small
from indexer.model.pretrained_weights import (
    State,
    WeightsOrigin,
    WeightSource,
    read_state,
    weights_file,
)

CONFIG = "config.json"
CARD = "README.md"
_MOST_CONFIG = 1 << 20
# A commit of a repository, as the cache names its folders.
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubWeights(WeightSource):
    """Weights of a repository of the hub, read from the hub's cache on this machine.

    Nothing is downloaded here: ``fetch`` does, when asked.
    """

    # In messages, as the user named it.
    backbone: str
    # None: nobody publishes weights of this network.
    repo: str | None
    licence: str | None = None

    # A pickle of somebody else's is not read.
    pickles = False
    # What a folder of them holds beside the weights.
    beside: ClassVar[tuple[str, ...]] = (CONFIG, CARD)

    @classmethod
    def of(cls, backbone: str, model: str, config: Mapping[str, Any]) -> HubWeights:
        """Return the source of timm's ``model``, whose ``pretrained_cfg`` is ``config``."""
        repo = config.get("hf_hub_id")
        if repo == "timm/":
            repo = f"timm/{model}"
        licence = config.get("license")
        return cls(backbone, str(repo) if repo else None, str(licence) if licence else None)

    @property
    def label(self) -> str:
        return self.repo or f"no published weights of {self.backbone}"

    @property
    def way(self) -> str:
        return f"catalens model fetch {self.backbone}"

    def local_file(self) -> Path | None:
        """Return the file in the cache: of ``main``, else of the only commit that is there.

        Raises ``WeightsUnavailableError`` where several are and none is ``main``.
        """
        if self.repo is None:
            return None
        folder = _cache() / f"models--{self.repo.replace('/', '--')}"
        found = {
            snapshot.name: file
            for snapshot in sorted(folder.glob("snapshots/*"))
            if (file := _file_in(snapshot, self.files)) is not None
        }
        main = folder / "refs" / "main"
        named = main.read_text().strip() if main.is_file() else ""
        if named in found:
            return found[named]
        if len(found) > 1:
            raise WeightsUnavailableError(
                f"several revisions of {self.repo} are here: {', '.join(found)}; name one with "
                f"--weights {folder / 'snapshots' / 'REVISION'}"
            )
        return next(iter(found.values()), None)

    def load(self, backbone: str) -> State:
        file = self.local_file()
        if file is None:
            raise WeightsUnavailableError(self._absent())
        return read_state(file)

    def origin(self, file: Path) -> WeightsOrigin:
        found = super().origin(file)
        snapshot = file.parent
        of_hub = snapshot.parent.name == "snapshots" and _COMMIT.fullmatch(snapshot.name)
        owner = snapshot.parent.parent.name
        repo = owner.removeprefix("models--").replace("--", "/") if of_hub else None
        licence = _licence(snapshot) or (self.licence if repo == self.repo else None)
        revision = snapshot.name if of_hub else None
        return replace(found, repo=repo, revision=revision, licence=licence)

    def by_hand(self) -> str:
        """Say how weights get to a machine that has no way to the hub."""
        wanted = ", ".join(file for file in self.beside if file != CARD)
        return (
            f"download {wanted} and {self.files[0]} from https://huggingface.co/{self.repo} on a "
            "machine that can, and pass their folder with --weights DIR"
        )

    @property
    def unnamed(self) -> str:
        """Why there is no repository."""
        return "timm knows no published ones"

    def _absent(self) -> str:
        if self.repo is None:
            return (
                f"no weights for {self.backbone}: {self.unnamed}; pass a file or a folder with "
                "--weights PATH"
            )
        return (
            f"no weights for {self.backbone} on this machine: run 'catalens model fetch "
            f"{self.backbone}', or {self.by_hand()}"
        )


@dataclass(frozen=True)
class FetchedWeights:
    """What ``fetch`` brought to this machine."""

    backbone: str
    # Of the hub's cache, with ``config.json`` beside the weights.
    folder: str
    origin: WeightsOrigin
    bytes: int


def fetch(
    source: HubWeights, *, revision: str | None = None, endpoint: str | None = None
) -> FetchedWeights:
    """Download the weights of ``source`` into the hub's cache.

    ``revision``: a commit, branch or tag (None: ``main``); what is recorded is always the commit.
    ``endpoint``: another hub than huggingface.co. Raises ``WeightsUnavailableError`` that says what
    to do where the hub cannot be reached, wants a licence accepted, or has no safetensors.
    """
    if source.repo is None:
        raise BadRequestError(f"no weights for {source.backbone} to fetch: {source.unnamed}")
    hub = importlib.import_module("huggingface_hub")
    where = f"{source.repo}@{revision or 'main'}"
    try:
        info = hub.HfApi(endpoint=endpoint).model_info(source.repo, revision=revision)
        offered = [entry.rfilename for entry in info.siblings or ()]
        name = next((file for file in source.files if file in offered), None)
        if name is None:
            raise WeightsUnavailableError(
                f"{where} has no {source.files[0]} (it has: {', '.join(offered[:8])}): other "
                "formats may hold code and are not read"
            )
        beside = [file for file in source.beside if file in offered]
        paths = [
            Path(hub.hf_hub_download(source.repo, file, revision=info.sha, endpoint=endpoint))
            for file in (*beside, name)
        ]
    except WeightsUnavailableError:
        raise
    # The client raises its own errors, those of its HTTP library, and of the disk.
    except Exception as error:
        raise WeightsUnavailableError(_failed(source, where, error)) from error
    file = paths[-1]
    origin = source.origin(file)
    return FetchedWeights(source.backbone, str(file.parent), origin, file.stat().st_size)


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a folder: ``pretrained_cfg`` with ``architecture`` and
    ``model_args``; empty where there is none.

    Raises ``BadModelError`` for one that cannot be read.
    """
    file = folder / CONFIG
    if not file.is_file():
        return {}
    try:
        stored = parse_json(read_small(file, _MOST_CONFIG))
        if not isinstance(stored, dict):
            raise ValueError("not an object")
        found = {**stored.get("pretrained_cfg", {})}
        for key in ("architecture", "model_args"):
            if key in stored:
                found[key] = stored[key]
    except (OSError, ValueError, TypeError) as error:
        raise BadModelError(f"{file} is not the description of a network: {error}") from error
    return found


def _failed(source: HubWeights, where: str, error: Exception) -> str:
    repo = source.repo or ""
    kind = type(error).__name__
    ways = {
        "GatedRepoError": "its owner wants the licence accepted: open "
        f"https://huggingface.co/{repo}, accept it, set HF_TOKEN to a token of that account and "
        "fetch again",
        "RepositoryNotFoundError": "the hub has no such repository, or not for everybody",
        "RevisionNotFoundError": "it has no such revision",
        "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set",
    }
    reason = ways.get(kind)
    if reason is None:
        lines = str(error).strip().splitlines() or [kind]
        reason = f"{kind}: {lines[0][:200]}"
    return f"cannot fetch {where}: {reason}; or {source.by_hand()}"


def cached_networks() -> list[str]:
    """Names of timm's networks that the cache of the hub holds, as ``--backbone`` takes them."""
    prefix = "models--timm--"
    try:
        folders = sorted(entry.name for entry in _cache().iterdir())
    except OSError:
        return []
    return [f"timm:{name.removeprefix(prefix)}" for name in folders if name.startswith(prefix)]


def _cache() -> Path:
    return Path(importlib.import_module("huggingface_hub.constants").HF_HUB_CACHE)


def _file_in(folder: Path, files: tuple[str, ...]) -> Path | None:
    try:
        return weights_file(folder, files)
    except WeightsUnavailableError:
        return None


def _licence(folder: Path) -> str | None:
    """Read the licence that a folder states: in the head of its card, else in ``config.json``."""
    card = folder / CARD
    if card.is_file() and card.stat().st_size <= _MOST_CONFIG:
        head = card.read_text(encoding="utf-8", errors="replace").split("---", 2)
        found = re.search(r"^license(?:_name)?:\s*(\S+)", head[1], re.M) if len(head) > 2 else None
        if found is not None:
            return found[1].strip("'\"")
    stated = read_config(folder).get("license")
    return str(stated) if stated else None
