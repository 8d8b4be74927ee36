"""Text tower of an image and text pair: its files in a model folder, and its network."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.core.atomic_files import write_json
from indexer.core.errors import BadModelError, WeightsUnavailableError
from indexer.core.native import torch
from indexer.core.regular_files import parse_json, read_small
from indexer.model.backbone import Backbone
from indexer.model.bundle import TEXT, TEXT_CONFIG, TOKENIZER
from indexer.model.joint_encoder import (
    FORMAT,
    MOST_SCALE,
    MOST_TOKENIZER,
    open_tokenizer,
    parse_tokenizer,
    text_length,
)
from indexer.model.open_clip_networks import (
    TOKENIZER_CONFIG,
    PairConfig,
    folder_of,
    pair_config,
)
from indexer.model.pretrained_weights import State, read_weights
from indexer.model.text_packages import CLEANINGS, load_package

_MOST_LAYERS, _MOST_NUMBER = 256, 1 << 20
# Factor of a cosine in the softmax of a pair that does not say its own.
_SCALE = 1 / 0.07
# The marks around a text, and what is one piece of it before pairs are joined: those of CLIP.
_BEGIN, _END = "<start_of_text>", "<end_of_text>"
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_MERGES = 49152 - 256 - 2


@dataclass(frozen=True)
class TextTowerFiles:
    """The text tower of a pair, as a model folder holds it."""

    config: Mapping[str, Any]
    # The tokenizer, in the JSON of the package ``tokenizers``.
    tokenizer: str
    tensors: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Write the three files into a model folder."""
        from safetensors.torch import save_file

        write_json(folder / TEXT_CONFIG, dict(self.config))
        (folder / TOKENIZER).write_text(self.tokenizer, encoding="utf-8")
        save_file(dict(self.tensors), folder / TEXT)


def read_text_tower(backbone: Backbone, weights: Path | None = None) -> TextTowerFiles | None:
    """Read the text tower that lies beside the image tower of ``backbone``.

    ``weights`` as for ``backbones.build``. None where the file holds an image tower alone. Raises
    ``WeightsUnavailableError`` where its tokenizer is missing, ``BadModelError`` for tensors of
    another network and for a kind of text tower that cannot be had.
    """
    source = backbone.weights
    where = weights or source.local_file()
    if where is None:
        raise WeightsUnavailableError(f"no weights for {backbone.name} on this machine")
    state = read_weights(where, source)
    tensors = _of_text(state)
    if not tensors:
        return None
    pair = pair_config(backbone.name, weights)
    options = dict(pair.text.get("tokenizer_kwargs") or {})
    named = pair.text.get("hf_tokenizer_name")
    cleaning = str(options.pop("clean", "whitespace" if named else "lower"))
    if options or pair.text.get("tokenizer_mode") or cleaning not in CLEANINGS:
        raise BadModelError(
            f"{where}: its tokenizer wants what is not offered: "
            f"{', '.join(options) or pair.text.get('tokenizer_mode') or cleaning}"
        )
    tokenizer, pad = (
        (_clip_tokenizer(), 0) if named is None else _tokenizer_beside(str(named), folder_of(where))
    )
    scale = float(state["logit_scale"].float().exp().mean()) if "logit_scale" in state else _SCALE
    config = {
        "format": FORMAT,
        "architecture": pair.arch,
        "embed_dim": pair.embed_dim,
        "quick_gelu": pair.quick_gelu,
        "text_cfg": dict(pair.text),
        "pad_id": int(pair.text.get("pad_id", 0)) if pad is None else pad,
        "clean": cleaning,
        "scale": min(max(scale, 1.0), MOST_SCALE),
    }
    network = _text_network(pair, tensors, str(where))
    wanted = network.state_dict()
    kept = {key: tensors[key].float().contiguous() for key in wanted}
    open_tokenizer(tokenizer, config, str(where))
    return TextTowerFiles(config, tokenizer, kept)


def _of_text(state: State) -> State:
    """The tensors of the text tower of a published pair, by their names in the tower."""
    inside = {key.removeprefix("text."): one for key, one in state.items() if key[:5] == "text."}
    if inside:
        return inside
    if "token_embedding.weight" not in state:
        return {}
    return {key: one for key, one in state.items() if not key.startswith(("visual.", "logit_"))}


def tower_of(config: Mapping[str, Any], tensors: State, where: str) -> Any:
    """Build the text tower that ``text.json`` describes. Raises ``BadModelError``."""
    pair = PairConfig(
        config["architecture"],
        {},
        config["text_cfg"],
        config["embed_dim"],
        config["quick_gelu"],
    )
    return _text_network(pair, tensors, where)


def _text_network(pair: PairConfig, tensors: State, where: str) -> Any:
    """Build the text tower with ``tensors``, in eval mode.

    Its numbers are compared with them before any memory is taken. Raises ``BadModelError``.
    """
    if pair.text.get("hf_model_name"):
        raise BadModelError(
            f"{where}: its text tower is {ascii(pair.text['hf_model_name'])[:100]} of the package "
            "transformers, which is not read: train with --no-text-tower, or take another network"
        )
    _check_numbers(pair, where)
    model = load_package("open_clip.model")

    def build(device: str) -> Any:
        with torch.device(device):
            return model._build_text_tower(pair.embed_dim, dict(pair.text), pair.quick_gelu).eval()

    try:
        expected = {key: tuple(one.shape) for key, one in build("meta").state_dict().items()}
    except Exception as error:  # whatever it likes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BadModelError(f"{where}: its text tower cannot be built: {reason}") from error
    for key, shape in expected.items():
        found = tuple(tensors[key].shape) if key in tensors else None
        if found != shape:
            said = "missing" if found is None else f"{list(found)}, not {list(shape)}"
            raise BadModelError(f"{where}: not the text tower of {pair.arch}: {key} is {said}")
        if not torch.isfinite(tensors[key]).all():
            raise BadModelError(f"{where}: {key} holds what is no finite number")
    network = build("cpu")
    network.load_state_dict({key: tensors[key].float() for key in expected}, strict=True)
    return network


def _check_numbers(pair: PairConfig, where: str) -> None:
    layers = pair.text.get("layers", 12)
    numbers = [one for one in pair.text.values() if type(one) is int]
    if type(layers) is not int or not 1 <= layers <= _MOST_LAYERS:
        raise BadModelError(f"{where}: a text tower of {ascii(layers)[:40]} layers is none")
    text_length(pair.text, where)
    if max(numbers, default=0) > _MOST_NUMBER:
        raise BadModelError(f"{where}: a text tower of {max(numbers):,} of anything is none")


def _tokenizer_beside(named: str, folder: Path) -> tuple[str, int | None]:
    """The tokenizer of a folder, and the id that it fills up with, where it says so."""
    file = folder / TOKENIZER
    if not file.is_file():
        raise WeightsUnavailableError(
            f"{folder} has no {TOKENIZER}, which the text tower needs: download it and "
            f"{TOKENIZER_CONFIG} from https://huggingface.co/{named} into that folder, or train "
            "with --no-text-tower"
        )
    try:
        text = read_small(file, MOST_TOKENIZER).decode()
        about = folder / TOKENIZER_CONFIG
        said = parse_json(read_small(about, MOST_TOKENIZER)) if about.is_file() else {}
        mark = said.get("pad_token")
        mark = mark.get("content") if isinstance(mark, dict) else mark
        if mark is None:
            filled = parse_json(text).get("padding") or {}
            return text, filled.get("pad_id")
        return text, parse_tokenizer(text).token_to_id(str(mark))
    except Exception as error:  # of the package's own kinds too
        raise BadModelError(f"{file} is no tokenizer: {error}") from error


def _clip_tokenizer() -> str:
    """CLIP's own tokenizer (byte pairs, Radford et al. 2021), of open_clip's list of pairs."""
    library = load_package("tokenizers")
    own = load_package("open_clip.tokenizer")
    with gzip.open(own.default_bpe()) as file:
        lines = file.read().decode("utf-8").split("\n")[1 : _MERGES + 1]
    pairs = [tuple(line.split()) for line in lines]
    single = list(own.bytes_to_unicode().values())
    pieces = [*single, *(f"{one}</w>" for one in single), *(a + b for a, b in pairs), _BEGIN, _END]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    found = library.Tokenizer(library.models.BPE(vocabulary, pairs, end_of_word_suffix="</w>"))
    split = library.pre_tokenizers
    found.pre_tokenizer = split.Sequence(
        [
            split.Split(library.Regex(_PIECES), "removed", invert=True),
            split.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    marks = [(mark, vocabulary[mark]) for mark in (_BEGIN, _END)]
    found.post_processor = library.processors.TemplateProcessing(
        single=f"{_BEGIN} $A {_END}", special_tokens=marks
    )
    return str(found.to_str())
