"""Backbones of timm by name, ``timm:NAME[.TAG][?argument=value&...]``."""

from __future__ import annotations

import difflib
import importlib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from indexer.core.errors import BadModelError, BadRequestError, CatalensError
from indexer.core.native import torch
from indexer.model.backbone import Backbone, preprocessing
from indexer.model.hub_weights import CONFIG, HubWeights, read_config
from indexer.model.pretrained_weights import State
from indexer.model.spec import Preprocess, preprocess_fault

PREFIX = "timm:"
_MOST_PX = 2048
# What a name may say of the network, with its type. Whatever else a network of timm takes (where it
# gets its weights, how many classes) is no part of a backbone.
_ARGUMENTS: dict[str, type] = {
    "act_layer": str,
    "class_token": bool,
    "drop_path_rate": float,
    "drop_rate": float,
    "dynamic_img_size": bool,
    "global_pool": str,
    "img_size": int,
    "init_values": float,
    "no_embed_class": bool,
    "num_reg_tokens": int,
    "patch_size": int,
    "qk_norm": bool,
    "reg_tokens": int,
    "window_size": int,
}
# What a network that was ever trained has, with room. What others cost is compared with the
# weights.
_LIMITS: dict[str, tuple[float, float]] = {
    "drop_path_rate": (0, 1),
    "drop_rate": (0, 1),
    "img_size": (16, _MOST_PX),
    "init_values": (0, 1000),
    "window_size": (2, 128),
}
_SHORT = {"pool": "global_pool"}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class _DataKind:
    """What an entry of ``config.json`` holds: so many values, each of one of the types."""

    count: int
    types: tuple[type, ...]
    said: str


_RGB = _DataKind(3, (int, float), "three numbers")
_WORD = _DataKind(1, (str,), "a word")
# Parts of ``config.json`` that say how a photo becomes the network's input.
_DATA_KEYS = {
    "input_size": _DataKind(3, (int,), "channels, height and width"),
    "interpolation": _WORD,
    "mean": _RGB,
    "std": _RGB,
    "crop_pct": _DataKind(1, (int, float), "a number"),
    "crop_mode": _WORD,
}
_FILTERS = ("bicubic", "bilinear")
_SIMILAR = 5


@dataclass(frozen=True)
class _Source:
    """A network as its name and its folder describe it."""

    # With the tag of its weights, where there is one.
    model: str
    arguments: Mapping[str, Any]
    # Entries of ``pretrained_cfg`` that replace those of timm's own registry.
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The canonical name: the same network has one name only."""
        query = urlencode({key: _text(self.arguments[key]) for key in sorted(self.arguments)})
        return f"{PREFIX}{self.model}" + (f"?{query}" if query else "")


def find_timm(name: str, weights: Path | None = None) -> Backbone:
    """Return the row of ``timm:NAME[?args]``; nothing is downloaded.

    ``weights``: a folder whose ``config.json`` adds arguments and preprocessing. The row's name is
    canonical: with the tag, and with all arguments. Raises ``BadRequestError`` for a name that timm
    does not know (near ones named), an argument that the network does not take, and preprocessing
    that cannot be had; ``BadModelError`` where the folder is of another network.
    """
    source = _parse(name)
    config = {} if weights is None else read_config(weights)
    if config:
        source = _joined(source, config, weights)
    return _row(source.model, tuple(sorted(source.arguments.items())), _frozen(source.config))


def suggest_timm(name: str) -> str:
    """Name timm's networks that ``name`` may have meant, for the end of a message; else nothing."""
    try:
        found = _similar(name)
    except ImportError:
        return ""
    return f" (did you mean {', '.join(found)}?)" if found else ""


def _parse(name: str) -> _Source:
    base, _, query = name.removeprefix(PREFIX).partition("?")
    base = base.removeprefix("timm/")
    models = importlib.import_module("timm.models")
    current = models.get_deprecated_models().get(base)
    base = current or base
    if not models.is_model(base):
        raise BadRequestError(f"timm has no network {base!r}{suggest_timm(base)}")
    try:
        known = models.get_pretrained_cfg(base)
    except RuntimeError:
        architecture, _, tag = base.partition(".")
        tags = [entry.partition(".")[2] for entry in models.get_arch_pretrained_cfgs(architecture)]
        offered = ", ".join(sorted(filter(None, tags)))
        raise BadRequestError(
            f"timm has no weights {tag!r} of {architecture}; there are: {offered or 'none'}"
        ) from None
    if known is not None and known.tag and "." not in base:
        base = f"{base}.{known.tag}"
    return _Source(base, _arguments(base, dict(parse_qsl(query, keep_blank_values=True))), {})


def _arguments(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check and convert arguments of a network. Raises ``BadRequestError`` that names one."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = _SHORT.get(key, key)
        kind = _ARGUMENTS.get(name)
        if kind is None:
            raise BadRequestError(
                f"{PREFIX}{model} takes no argument {key!r}; there are: {', '.join(_ARGUMENTS)}"
            )
        try:
            found[name] = _TRUTH[str(value).lower()] if kind is bool else kind(value)
        except (ValueError, KeyError, TypeError, OverflowError):
            raise BadRequestError(
                f"{PREFIX}{model}: {key}={ascii(value)[:100]} is no {kind.__name__}"
            ) from None
    for name, (least, most) in _LIMITS.items():
        if name in found and not least <= found[name] <= most:
            unit = " px" if name == "img_size" else ""
            raise BadRequestError(
                f"{PREFIX}{model}: {name}={found[name]} is not from {least} to {most}{unit}"
            )
    return found


def _joined(source: _Source, config: Mapping[str, Any], folder: Path | None) -> _Source:
    """Add what the ``config.json`` of a folder says; the name's own arguments go first."""
    architecture = source.model.partition(".")[0]
    named = str(config.get("architecture", architecture))
    if named != architecture:
        raise BadModelError(
            f"{folder} holds a {named}, not a {architecture}: use --backbone {PREFIX}{named}"
        )
    stored = config.get("model_args") or {}
    if not isinstance(stored, dict):
        raise BadModelError(f"{folder}: model_args of its {CONFIG} are no object")
    # A list of two equal sides is one number here.
    plain = {
        key: value[0] if isinstance(value, list) and value == value[:1] * len(value) else value
        for key, value in stored.items()
        if value is not None and value != []
    }
    plain = {key: value for key, value in plain.items() if key not in ("num_classes", "in_chans")}
    arguments = {**_arguments(source.model, plain), **source.arguments}
    return _Source(source.model, arguments, _data(config, folder))


def _data(config: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The preprocessing of a ``config.json``. Raises ``BadModelError`` for values of other kinds:
    anybody can write one."""
    found = {key: config[key] for key in _DATA_KEYS if config.get(key) is not None}
    for key, value in found.items():
        kind = _DATA_KEYS[key]
        values = value if kind.count > 1 else [value]
        fits = isinstance(values, list) and len(values) == kind.count
        if not fits or not all(type(one) in kind.types for one in values):
            raise BadModelError(
                f"{folder}: {key} of its {CONFIG} is {ascii(value)[:100]}, not {kind.said}"
            )
    return found


def _frozen(config: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (key, tuple(value) if isinstance(value, list) else value)
        for key, value in sorted(config.items())
    )


@lru_cache(maxsize=32)
def _row(
    model: str, arguments: tuple[tuple[str, Any], ...], config: tuple[tuple[str, Any], ...]
) -> Backbone:
    source = _Source(model, dict(arguments), dict(config))
    # Shapes alone: no memory, no time.
    network = _create(source, device="meta")
    preprocess = _preprocess(source, network)
    stride = _stride(network)
    return Backbone(
        name=source.name,
        feature_dim=_width(source, network, preprocess.crop),
        preprocess=preprocess,
        # On shapes alone where the caller asks for that.
        make=lambda: _create(source, device=str(torch.get_default_device())),
        weights=HubWeights.of(source.name, model, network.pretrained_cfg),
        any_shape=_takes(network, preprocess.crop, preprocess.crop + 2 * stride)
        and _takes(network, preprocess.crop - stride, preprocess.crop),
        stride=stride,
        drops=True,
        elements=sum(held.numel() for held in (*network.parameters(), *network.buffers())),
        convert=_convert,
    )


def _create(source: _Source, *, device: str) -> Any:
    """Build the network without its classifier, with random weights, in eval mode."""
    timm = importlib.import_module("timm")
    arguments = dict(source.arguments)
    known = timm.models.get_pretrained_cfg(source.model)
    fixed = known is not None and known.fixed_input_size
    # Of others the size is the photo's alone, see ``_preprocess``.
    if not fixed:
        arguments.pop("img_size", None)
    # Where a network can take other sizes it does: training shows smaller photos first.
    attempts = [{"dynamic_img_size": True, **arguments}, arguments] if fixed else [arguments]
    for number, attempt in enumerate(attempts):
        try:
            with torch.device(device):
                return timm.create_model(
                    source.model, pretrained=False, num_classes=0, **attempt
                ).eval()
        # A network raises whatever it likes at arguments that it did not expect.
        except Exception as error:
            if number + 1 == len(attempts) or not isinstance(error, TypeError):
                raise BadRequestError(f"{source.name} cannot be built: {_reason(error)}") from error
    raise BadRequestError(f"{source.name} cannot be built")


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _preprocess(source: _Source, network: Any) -> Preprocess:
    """Read the network's own preprocessing.

    Raises ``BadRequestError`` that names what cannot be had.
    """
    data = importlib.import_module("timm.data")
    found = data.resolve_model_data_config(
        network, pretrained_cfg={**network.pretrained_cfg, **source.config}
    )
    channels, height, width = found["input_size"]
    if size := source.arguments.get("img_size"):
        height = width = size
    wrong = {
        f"input of {channels} channels": channels != 3,
        f"input of {height} x {width} px": height != width,
        f"interpolation {found['interpolation']!r}": found["interpolation"] not in _FILTERS,
        f"crop_mode {found['crop_mode']!r}": found["crop_mode"] not in ("center", "squash"),
        f"crop_pct {found['crop_pct']}": not 0 < float(found["crop_pct"]) <= 1,
        "mean or std that are not of RGB": {len(found["mean"]), len(found["std"])} != {3},
    }
    refused = [reason for reason, holds in wrong.items() if holds]
    if refused:
        raise BadRequestError(
            f"{source.name} wants preprocessing that is not offered: {', '.join(refused)}"
        )
    red, green, blue = (float(value) for value in found["mean"])
    deviations = tuple(float(value) for value in found["std"])
    made = preprocessing(
        height,
        math.floor(height / float(found["crop_pct"])),
        mean=(red, green, blue),
        std=(deviations[0], deviations[1], deviations[2]),
        interpolation=found["interpolation"],
        keep_aspect=found["crop_mode"] == "center",
    )
    if wrong_number := preprocess_fault(made):
        raise BadRequestError(
            f"{source.name} wants preprocessing that is not offered: {wrong_number}"
        )
    return made


def _width(source: _Source, network: Any, side: int) -> int:
    """Measure the width of the pooled features, on shapes alone.

    Raises ``BadRequestError`` for a network that does not pool.
    """
    try:
        with torch.no_grad():
            shape = network(torch.zeros(1, 3, side, side, device="meta")).shape
    except Exception as error:  # whatever the network likes
        raise BadRequestError(
            f"{source.name} cannot see photos of {side} px: {_reason(error)}"
        ) from error
    if len(shape) != 2 or shape[1] < 2:
        raise BadRequestError(
            f"{source.name} gives {list(shape)}, not one row of features a photo: choose another "
            "?pool="
        )
    return int(shape[1])


def _takes(network: Any, height: int, width: int) -> bool:
    """Whether the network takes photos of that shape, tried on shapes alone."""
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, height, width, device="meta"))
    except Exception:  # whatever the network likes
        return False
    return height > 0


def _stride(network: Any) -> int:
    levels = getattr(network, "feature_info", None) or [{}]
    last = levels[-1] if isinstance(levels, (list, tuple)) else {}
    return max(int(last.get("reduction", 32)), 1)


def _convert(network: Any, state: State) -> State:
    """Bring a published state dict to ``network`` by timm's own filter of its architecture.

    Raises ``BadModelError`` where that does not know what to do with it.
    """
    architecture = network.pretrained_cfg["architecture"]
    models = importlib.import_module("timm.models")
    home = sys.modules[models.model_entrypoint(architecture).__module__]
    change = getattr(home, "checkpoint_filter_fn", None)
    if change is None:
        return state
    try:
        try:
            found: State = change(dict(state), network)
        except TypeError:
            found = change(dict(state))
    except CatalensError:
        raise
    # A filter meets tensors of somebody else's network: it raises whatever it likes.
    except Exception as error:
        raise BadModelError(
            f"these are not weights of {architecture}: {type(error).__name__}: {error}"
        ) from error
    return found


def _similar(name: str) -> list[str]:
    models = importlib.import_module("timm.models")
    wanted = name.removeprefix(PREFIX).partition("?")[0].partition(".")[0]
    known = models.list_models()
    found = difflib.get_close_matches(wanted, known, _SIMILAR, cutoff=0.7)
    if not found and len(wanted) >= 4:
        found = [entry for entry in known if wanted in entry][:_SIMILAR]
    return [f"{PREFIX}{entry}" for entry in found]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
