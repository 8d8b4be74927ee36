"""Text tower of an image and text pair: its files in a model folder, and texts to block t."""

from __future__ import annotations

import gzip
import importlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.core.atomic_files import write_json
from indexer.core.errors import BadModelError, NewerFormatError, WeightsUnavailableError
from indexer.core.native import torch
from indexer.core.regular_files import parse_json, read_small
from indexer.model.backbone import Backbone
from indexer.model.bundle import TEXT, TEXT_CONFIG, TOKENIZER, Bundle
from indexer.model.open_clip_networks import (
    HOW_TO_INSTALL,
    TOKENIZER_CONFIG,
    PairConfig,
    folder_of,
    pair_config,
)
from indexer.model.pretrained_weights import State, read_weights
from indexer.model.tokenizer_check import check_tokenizer

FORMAT = 1
_MOST_CONFIG = 1 << 20
# Gemma's, of 256,000 pieces, has 34 MB.
_MOST_TOKENIZER = 128 << 20
_MOST_LAYERS, _MOST_NUMBER = 256, 1 << 20
# Pieces that a tower reads; published ones read 248 at most.
_MOST_LENGTH = 1024
_CLEANINGS = ("lower", "whitespace", "canonicalize")
# Factor of a cosine in the softmax of a pair that does not say its own.
_SCALE = 1 / 0.07
_MOST_SCALE = 1000.0
# Texts whose vectors are kept, and those that are run together.
_KEPT = 1024
_PORTION = 32
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
    if options or pair.text.get("tokenizer_mode") or cleaning not in _CLEANINGS:
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
        "scale": min(max(scale, 1.0), _MOST_SCALE),
    }
    network = _text_network(pair, tensors, str(where))
    wanted = network.state_dict()
    kept = {key: tensors[key].float().contiguous() for key in wanted}
    _tokenizer(tokenizer, config, str(where))
    return TextTowerFiles(config, tokenizer, kept)


@dataclass(frozen=True)
class TextPieces:
    """What a tokenizer makes of a text: pieces without the marks around them."""

    count: int
    # Whether one stands for what the tokenizer does not know.
    foreign: bool
    # Whether there are more than the tower reads.
    cut: bool


class JointEncoder:
    """Texts to unit vectors of the joint space; safe to call from many threads.

    It runs in torch, float32, on the processor. Raises ``BadModelError`` for files that are none of
    a text tower, ``WeightsUnavailableError`` without the packages that it needs.
    """

    def __init__(self, bundle: Bundle) -> None:
        where = f"model {bundle.path}"
        config = _read_config(bundle.path / TEXT_CONFIG)
        block = bundle.spec.block("t")
        if block is None or config["embed_dim"] != block.dim:
            raise BadModelError(f"{where}: its text tower does not fit block t")
        pair = PairConfig(
            config["architecture"],
            {},
            config["text_cfg"],
            config["embed_dim"],
            config["quick_gelu"],
        )
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(bundle.path / TEXT)
            tokenizer = read_small(bundle.path / TOKENIZER, _MOST_TOKENIZER).decode()
        except (OSError, ValueError, SafetensorError) as error:
            raise BadModelError(f"{where}: its text tower cannot be read: {error}") from error
        self._where = where
        self._network = _text_network(pair, tensors, where)
        self._tokenizer = _tokenizer(tokenizer, config, where)
        self._clean: Callable[[str], str] = _package("open_clip").tokenizer.get_clean_fn(
            config["clean"]
        )
        # Of a cosine in the pair's own softmax.
        self.scale = float(config["scale"])
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self._foreign = None if unknown is None else self._tokenizer.token_to_id(str(unknown))
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def pieces(self, text: str) -> TextPieces:
        """Take a text apart as ``encode`` does."""
        read = self._taken_apart([text])[0]
        own = [
            number
            for number, mark in zip(read.ids, read.special_tokens_mask, strict=True)
            if not mark
        ]
        foreign = self._foreign is not None and self._foreign in own
        return TextPieces(len(own), foreign, bool(read.overflowing))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors float32 [N, dim of block t]; of a long text what the tower reads of it."""
        with self._lock:
            absent = [text for text in dict.fromkeys(texts) if text not in self._known]
            for text, vector in zip(absent, self._run(absent), strict=True):
                self._known[text] = vector
            found = np.stack([self._known[text] for text in texts])
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found

    def _run(self, texts: Sequence[str]) -> list[np.ndarray]:
        vectors: list[np.ndarray] = []
        for start in range(0, len(texts), _PORTION):
            rows = [entry.ids for entry in self._taken_apart(texts[start : start + _PORTION])]
            with torch.inference_mode():
                found = self._network(torch.tensor(rows, dtype=torch.long))
                found = torch.nn.functional.normalize(found.float(), dim=1)
            vectors.extend(found.numpy())
        return vectors

    def _taken_apart(self, texts: Sequence[str]) -> list[Any]:
        """The tokenizer's encodings. Raises ``BadModelError``."""
        try:
            return list(self._tokenizer.encode_batch(list(map(self._clean, texts))))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the package is no Exception, and ends a thread
            raise BadModelError(
                f"{self._where}: its {TOKENIZER} fails at a text: {error}"
            ) from None


def _of_text(state: State) -> State:
    """The tensors of the text tower of a published pair, by their names in the tower."""
    inside = {key.removeprefix("text."): one for key, one in state.items() if key[:5] == "text."}
    if inside:
        return inside
    if "token_embedding.weight" not in state:
        return {}
    return {key: one for key, one in state.items() if not key.startswith(("visual.", "logit_"))}


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
    model = _package("open_clip.model")

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
    length = pair.text.get("context_length", 77)
    numbers = [one for one in pair.text.values() if type(one) is int]
    if type(layers) is not int or not 1 <= layers <= _MOST_LAYERS:
        raise BadModelError(f"{where}: a text tower of {ascii(layers)[:40]} layers is none")
    # Its square is the size of a mask that no file holds.
    if type(length) is not int or not 1 <= length <= _MOST_LENGTH:
        raise BadModelError(
            f"{where}: a text tower that reads {ascii(length)[:40]} pieces is none; at most "
            f"{_MOST_LENGTH:,}"
        )
    if max(numbers, default=0) > _MOST_NUMBER:
        raise BadModelError(f"{where}: a text tower of {max(numbers):,} of anything is none")


def _read_config(file: Path) -> dict[str, Any]:
    """Read ``text.json``. Raises ``BadModelError``, ``NewerFormatError``."""
    try:
        found = parse_json(read_small(file, _MOST_CONFIG))
        if found["format"] > FORMAT:
            raise NewerFormatError(
                f"{file} has format {found['format']}, this Catalens knows up to {FORMAT}: upgrade"
            )
        kinds = {"architecture": str, "embed_dim": int, "quick_gelu": bool, "text_cfg": dict}
        kinds |= {"pad_id": int, "clean": str, "scale": float}
        wrong = [key for key, kind in kinds.items() if type(found[key]) is not kind]
        if wrong or found["clean"] not in _CLEANINGS or not 1 <= found["scale"] <= _MOST_SCALE:
            raise ValueError(f"{', '.join(wrong) or 'clean or scale'} is none")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModelError(f"{file} does not describe a text tower: {error}") from error
    return dict(found)


def _tokenizer(text: str, config: Mapping[str, Any], where: str) -> Any:
    """A tokenizer that gives rows of the tower's length. Raises ``BadModelError``."""
    length = config["text_cfg"].get("context_length", 77)
    known = config["text_cfg"].get("vocab_size", 49408)
    try:
        found = _parse_tokenizer(text)
        found.enable_truncation(max_length=length)
        found.enable_padding(length=length, pad_id=config["pad_id"], pad_token="")
        size = found.get_vocab_size(with_added_tokens=True)
    except Exception as error:  # of its own kinds
        raise BadModelError(f"{where}: its {TOKENIZER} cannot be read: {error}") from error
    if max(size, config["pad_id"] + 1) > known:
        raise BadModelError(
            f"{where}: its {TOKENIZER} has {size:,} pieces, the text tower knows {known:,}: it is "
            "another network's"
        )
    return found


def _parse_tokenizer(text: str) -> Any:
    """The tokenizer in a JSON text. Raises ``ValueError``, and what the package raises."""
    check_tokenizer(text)
    library = _package("tokenizers")
    try:
        return library.Tokenizer.from_str(text)
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the package is no Exception
        raise ValueError(str(error)) from None


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
        text = read_small(file, _MOST_TOKENIZER).decode()
        about = folder / TOKENIZER_CONFIG
        said = parse_json(read_small(about, _MOST_TOKENIZER)) if about.is_file() else {}
        mark = said.get("pad_token")
        mark = mark.get("content") if isinstance(mark, dict) else mark
        if mark is None:
            filled = parse_json(text).get("padding") or {}
            return text, filled.get("pad_id")
        return text, _parse_tokenizer(text).token_to_id(str(mark))
    except Exception as error:  # of the package's own kinds too
        raise BadModelError(f"{file} is no tokenizer: {error}") from error


def _clip_tokenizer() -> str:
    """CLIP's own tokenizer (byte pairs, Radford et al. 2021), of open_clip's list of pairs."""
    library = _package("tokenizers")
    own = _package("open_clip.tokenizer")
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


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WeightsUnavailableError(
            f"a text tower needs the package {name.partition('.')[0]}: {HOW_TO_INSTALL}"
        ) from error
