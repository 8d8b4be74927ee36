"""Image towers of open_clip by name, ``open_clip:ARCH[.WEIGHTS][?argument=value&...]``."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode

from indexer.core.errors import BadModelError, BadRequestError
from indexer.core.native import torch
from indexer.core.regular_files import parse_json, read_small
from indexer.model.backbone import Backbone, preprocessing
from indexer.model.hub_weights import CARD, HubWeights
from indexer.model.spec import Preprocess, preprocess_fault
from indexer.model.text_packages import HOW_TO_INSTALL

OPEN_CLIP = "open_clip:"
PAIR_CONFIG = "open_clip_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_MOST_CONFIG = 1 << 20
_MOST_PX = 2048
_SIMILAR = 5
# Of a photo's way into the network, where neither a folder nor the registry says otherwise.
_DATA: dict[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


@dataclass(frozen=True)
class _Limit:
    """What an argument of a name may be."""

    kind: type
    least: float
    most: float


# Of a transformer of open_clip's own: with these a name says all of a network that differs from a
# listed one in its size alone.
_ARGUMENTS = {
    "embed_dim": _Limit(int, 2, 1 << 14),
    "head_width": _Limit(int, 1, 1 << 10),
    "image_size": _Limit(int, 16, _MOST_PX),
    "layers": _Limit(int, 1, 1 << 8),
    "mlp_ratio": _Limit(float, 0.1, 64),
    "patch_size": _Limit(int, 1, 1 << 9),
    "quick_gelu": _Limit(bool, 0, 1),
    "width": _Limit(int, 8, 1 << 14),
}
# Those of both towers.
_OF_BOTH = ("embed_dim", "quick_gelu")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
# Parts of a configuration that say how the network was trained, not what it is.
_TRAINING = ("patch_dropout", "timm_model_pretrained", "timm_drop", "timm_drop_path")


@dataclass(frozen=True)
class PairConfig:
    """An image tower and its text tower, as open_clip describes them."""

    arch: str
    # Entries of ``open_clip.model.CLIPVisionCfg`` and ``CLIPTextCfg``.
    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    embed_dim: int
    quick_gelu: bool


class OpenClipWeights(HubWeights):
    """Weights of a pair of towers: a repository of the hub with both in one file."""

    files = ("open_clip_model.safetensors", "model.safetensors")
    beside: ClassVar[tuple[str, ...]] = (PAIR_CONFIG, TOKENIZER, TOKENIZER_CONFIG, CARD)

    @property
    def unnamed(self) -> str:
        arch, tag, _ = _parse(self.backbone)
        tags = _library(OPEN_CLIP).pretrained.list_pretrained_tags_by_model(arch)
        if tag or not tags:
            return "open_clip knows no published ones"
        return f"there are several: name one, as in {OPEN_CLIP}{arch}.TAG ({', '.join(tags)})"


class ImageTower(torch.nn.Module):
    """The image tower of a pair: float32 [N, 3, H, W] to the joint space [N, F].

    Its tensors are named as in a published file of the pair.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, photos: Any) -> Any:
        return self.visual(photos)

    @property
    def _trunk(self) -> Any:
        """The network of timm inside, or the tower itself."""
        return getattr(self.visual, "trunk", self.visual)

    @property
    def blocks(self) -> Any:
        """The layers of a transformer; None where it is none."""
        layers = getattr(self._trunk, "transformer", None)
        return getattr(layers, "resblocks", None) or getattr(self._trunk, "blocks", None)

    def forward_intermediates(self, photos: Any, **options: Any) -> Any:
        """Maps of a photo, as timm's networks give them."""
        return self.visual.forward_intermediates(photos, **options)["image_intermediates"]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of tensors by layer, as timm's networks have them."""
        if self._trunk is not self.visual:
            return {
                name: _beneath("visual.trunk.", found)
                for name, found in self._trunk.group_matcher(coarse=coarse).items()
            }
        if not hasattr(self.visual, "transformer"):
            return {
                "stem": r"^visual\.(?:conv|bn)",
                "blocks": [(r"^visual\.layer(\d+)", None), (r"^visual\.attnpool", (99999,))],
            }
        return {
            "stem": r"^visual\.(?:conv1|class_embedding|positional_embedding|ln_pre)",
            "blocks": [
                (r"^visual\.transformer\.resblocks\.(\d+)", None),
                (r"^visual\.(?:ln_post|proj|attn_pool)", (99999,)),
            ],
        }

    def no_weight_decay(self) -> set[str]:
        """Name the tensors that do not decay, beside vectors."""
        named: set[str] = getattr(self._trunk, "no_weight_decay", set)()
        inside = "visual.trunk." if self._trunk is not self.visual else "visual."
        return {f"{inside}{name}" for name in named}


def find_open_clip(name: str, weights: Path | None = None) -> Backbone:
    """Return the row of ``open_clip:NAME[?args]``; nothing is downloaded.

    ``weights``: a folder (or a file in it) whose ``open_clip_config.json`` says what of the network
    differs from the listed one. The row's name is canonical. Raises ``BadRequestError`` for a name
    that open_clip does not know (near ones named) and for what cannot be had, ``BadModelError``
    where the folder is of another network.
    """
    _library(name)
    arch, tag, arguments = _parse(name)
    data: dict[str, Any] = {}
    if weights is not None and (stored := read_pair_config(weights)) is not None:
        arguments = {**_differences(arch, stored["model_cfg"], weights), **arguments}
        data = _data(stored.get("preprocess_cfg") or {}, weights)
    return _row(arch, tag, tuple(sorted(arguments.items())), tuple(sorted(data.items())))


def suggest_open_clip(name: str) -> str:
    """Name architectures that ``name`` may have meant, for the end of a message; else nothing."""
    wanted = re.split(r"[.?]", name.removeprefix(OPEN_CLIP))[0]
    known = {arch.casefold(): arch for arch in _listed()}
    found = difflib.get_close_matches(wanted.casefold(), known, _SIMILAR, cutoff=0.6)
    found = found or [arch for arch in known if wanted.casefold() in arch][:_SIMILAR]
    near = ", ".join(f"{OPEN_CLIP}{known[arch]}" for arch in found)
    return f" (did you mean {near}?)" if near and wanted else ""


def pair_config(name: str, weights: Path | None = None) -> PairConfig:
    """Return what ``name`` is a pair of; ``weights`` as ``find_open_clip``.

    The text tower is that of the folder's description, else of the listed network.
    """
    arch, _, arguments = _parse(name)
    config = _config(arch, arguments)
    stored = None if weights is None else read_pair_config(weights)
    if stored is None:
        return config
    text = stored["model_cfg"].get("text_cfg")
    if not isinstance(text, dict):
        raise BadModelError(f"{weights}: {PAIR_CONFIG} describes no text tower")
    return PairConfig(arch, config.vision, text, config.embed_dim, config.quick_gelu)


def read_pair_config(weights: Path) -> dict[str, Any] | None:
    """Read ``open_clip_config.json`` of a folder, or beside a file; None where there is none.

    Raises ``BadModelError`` for one that cannot be read.
    """
    file = folder_of(weights) / PAIR_CONFIG
    if not file.is_file():
        return None
    try:
        found = parse_json(read_small(file, _MOST_CONFIG))
        if not isinstance(found, dict) or not isinstance(found.get("model_cfg"), dict):
            raise ValueError("it has no model_cfg")
    except (OSError, ValueError, TypeError) as error:
        raise BadModelError(f"{file} is not the description of a pair: {error}") from error
    return found


def folder_of(weights: Path) -> Path:
    """The folder that ``weights`` is, or lies in."""
    return weights if weights.is_dir() else weights.parent


def _library(name: str) -> Any:
    try:
        return importlib.import_module("open_clip")
    except ImportError as error:
        raise BadRequestError(
            f"{name} needs the package open_clip_torch: {HOW_TO_INSTALL}"
        ) from error


def _listed() -> list[str]:
    """Architectures that can be used: those that write captions too are none of ours."""
    library = _library(OPEN_CLIP)
    return [
        arch
        for arch in library.list_models()
        if "multimodal_cfg" not in library.get_model_config(arch)
    ]


def _parse(name: str) -> tuple[str, str | None, dict[str, Any]]:
    """Split a name: the architecture, the tag of its weights, its arguments."""
    library = _library(name)
    base, _, query = name.removeprefix(OPEN_CLIP).partition("?")
    arch, _, tag = base.partition(".")
    if arch not in _listed():
        raise BadRequestError(f"open_clip has no network {arch!r}{suggest_open_clip(arch)}")
    tags = library.pretrained.list_pretrained_tags_by_model(arch)
    if tag and tag not in tags:
        raise BadRequestError(
            f"open_clip has no weights {tag!r} of {arch}; there are: {', '.join(tags) or 'none'}"
        )
    if not tag and len(tags) == 1:
        tag = tags[0]
    return arch, tag or None, _arguments(arch, dict(parse_qsl(query, keep_blank_values=True)))


def _arguments(arch: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check and convert arguments of a network. Raises ``BadRequestError`` that names one."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        limit = _ARGUMENTS.get(key)
        if limit is None:
            raise BadRequestError(
                f"{OPEN_CLIP}{arch} takes no argument {key!r}; there are: {', '.join(_ARGUMENTS)}"
            )
        try:
            kind = limit.kind
            found[key] = _TRUTH[str(value).lower()] if kind is bool else kind(value)
        except (ValueError, KeyError, TypeError, OverflowError):
            raise BadRequestError(
                f"{OPEN_CLIP}{arch}: {key}={ascii(value)[:100]} is no {limit.kind.__name__}"
            ) from None
        if not limit.least <= found[key] <= limit.most:
            raise BadRequestError(
                f"{OPEN_CLIP}{arch}: {key}={found[key]} is not from {limit.least} to {limit.most}"
            )
    vision = _library(OPEN_CLIP).get_model_config(arch)["vision_cfg"]
    fixed = vision.get("timm_model_name") or isinstance(vision.get("layers"), list)
    if found and fixed:
        raise BadRequestError(
            f"{OPEN_CLIP}{arch} has one size: it takes no argument {min(found)!r}"
        )
    return found


def _config(arch: str, arguments: Mapping[str, Any]) -> PairConfig:
    """The pair of a listed architecture with ``arguments`` in place of its own."""
    known = _library(OPEN_CLIP).get_model_config(arch)
    sizes = {key: value for key, value in arguments.items() if key not in _OF_BOTH}
    return PairConfig(
        arch,
        {**known["vision_cfg"], **sizes, "timm_model_pretrained": False, "output_tokens": False},
        known["text_cfg"],
        int(arguments.get("embed_dim", known["embed_dim"])),
        bool(arguments.get("quick_gelu", known.get("quick_gelu", False))),
    )


def _differences(arch: str, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Arguments that make the listed ``arch`` the network of a folder's ``model_cfg``.

    Raises ``BadModelError`` that names what no argument says.
    """
    listed = _config(arch, {})
    vision = config.get("vision_cfg")
    if not isinstance(vision, dict):
        raise BadModelError(f"{folder}: {PAIR_CONFIG} describes no image tower")
    own = {**_vision(vision, folder), "embed_dim": config.get("embed_dim")}
    own["quick_gelu"] = bool(config.get("quick_gelu", False))
    theirs = {**_vision(listed.vision, folder), "embed_dim": listed.embed_dim}
    theirs["quick_gelu"] = listed.quick_gelu
    found = {key: value for key, value in own.items() if value != theirs[key]}
    unsaid = [key for key in found if key not in _ARGUMENTS]
    if unsaid:
        key = unsaid[0]
        raise BadModelError(
            f"{folder} is another network than {OPEN_CLIP}{arch}: its {key} is "
            f"{ascii(own[key])[:100]}, not {theirs[key]!r}"
        )
    return _arguments(arch, found)


def _vision(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """All entries of an image tower, those that are not given too."""
    config = importlib.import_module("open_clip.model").CLIPVisionCfg
    try:
        found = asdict(config(**given))
    except TypeError as error:
        raise BadModelError(f"{folder}: {PAIR_CONFIG}: {error}") from error
    return {key: value for key, value in found.items() if key not in (*_TRAINING, "output_tokens")}


def _data(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """How a folder says that photos are prepared. Raises ``BadModelError`` for no such thing."""
    found: dict[str, Any] = {}
    for key in ("mean", "std"):
        if key in given:
            values = given[key]
            numbers = isinstance(values, list) and len(values) == 3
            if not numbers or not all(type(one) in (int, float) for one in values):
                raise BadModelError(f"{folder}: {key} of {PAIR_CONFIG} is not three numbers")
            found[key] = tuple(values)
    for key in ("interpolation", "resize_mode"):
        if key in given:
            if not isinstance(given[key], str):
                raise BadModelError(f"{folder}: {key} of {PAIR_CONFIG} is no word")
            found[key] = given[key]
    return found


@lru_cache(maxsize=32)
def _row(
    arch: str,
    tag: str | None,
    arguments: tuple[tuple[str, Any], ...],
    data: tuple[tuple[str, Any], ...],
) -> Backbone:
    config = _config(arch, dict(arguments))
    query = urlencode({key: _text(value) for key, value in arguments})
    name = f"{OPEN_CLIP}{arch}" + (f".{tag}" if tag else "") + (f"?{query}" if query else "")
    published = {} if tag is None else _library(name).pretrained.get_pretrained_cfg(arch, tag)
    # Shapes alone: no memory, no time.
    network = _create(name, config, device="meta")
    side = _side(name, config)
    preprocess = _preprocess(name, side, {**_DATA, **published, **dict(data)})
    repo = "/".join(str(published.get("hf_hub") or "").split("/")[:2])
    return Backbone(
        name=name,
        feature_dim=_width(name, network, side),
        preprocess=preprocess,
        # On shapes alone where the caller asks for that.
        make=lambda: _create(name, config, device=str(torch.get_default_device())),
        weights=OpenClipWeights(name, repo or None),
        any_shape=False,
        stride=int(config.vision.get("patch_size") or 32),
        drops=True,
        elements=sum(held.numel() for held in (*network.parameters(), *network.buffers())),
        joint=True,
    )


def _create(name: str, config: PairConfig, *, device: str) -> Any:
    """Build the image tower with random weights, in eval mode."""
    model = importlib.import_module("open_clip.model")
    try:
        with torch.device(device):
            visual = model._build_vision_tower(
                config.embed_dim, dict(config.vision), config.quick_gelu
            )
    # It raises whatever it likes at numbers that it did not expect.
    except Exception as error:
        raise BadRequestError(f"{name} cannot be built: {_reason(error)}") from error
    return ImageTower(visual).eval()


def _side(name: str, config: PairConfig) -> int:
    size = config.vision.get("image_size", 224)
    if isinstance(size, (list, tuple)):
        if len(set(size)) != 1:
            raise BadRequestError(f"{name} wants photos of {size} px, which are not square")
        size = size[0]
    if type(size) is not int or not 16 <= size <= _MOST_PX:
        raise BadRequestError(f"{name} wants photos of {ascii(size)[:40]} px")
    return size


def _preprocess(name: str, side: int, found: Mapping[str, Any]) -> Preprocess:
    """Raises ``BadRequestError`` that names what cannot be had."""
    wrong = {
        f"interpolation {found['interpolation']!r}": found["interpolation"]
        not in ("bicubic", "bilinear"),
        f"resize_mode {found['resize_mode']!r}": found["resize_mode"] not in ("shortest", "squash"),
    }
    refused = [reason for reason, holds in wrong.items() if holds]
    if not refused:
        mean, std = (tuple(map(float, found[key])) for key in ("mean", "std"))
        made = preprocessing(
            side,
            side,
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
            interpolation=found["interpolation"],
            keep_aspect=found["resize_mode"] == "shortest",
        )
        if (fault := preprocess_fault(made)) is None:
            return made
        refused = [fault]
    raise BadRequestError(f"{name} wants preprocessing that is not offered: {', '.join(refused)}")


def _width(name: str, network: Any, side: int) -> int:
    """Measure the width of the joint space, on shapes alone."""
    try:
        with torch.no_grad():
            shape = network(torch.zeros(1, 3, side, side, device="meta")).shape
    except Exception as error:  # whatever the network likes
        raise BadRequestError(f"{name} cannot see photos of {side} px: {_reason(error)}") from error
    if len(shape) != 2 or shape[1] < 2:
        raise BadRequestError(f"{name} gives {list(shape)}, not one row of features a photo")
    return int(shape[1])


def _beneath(prefix: str, found: Any) -> Any:
    """Patterns of a network of timm as those of a tower that holds it as ``prefix``."""
    if isinstance(found, str):
        return f"^{re.escape(prefix)}(?:{found.replace('^', '')})"
    if isinstance(found, (list, tuple)):
        return type(found)(_beneath(prefix, one) for one in found)
    return found


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
