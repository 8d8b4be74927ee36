"""Texts to vectors of the space that an image and text pair shares. Needs no torch of its own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from indexer.core.errors import BadModelError, NewerFormatError
from indexer.core.regular_files import parse_json, read_small
from indexer.model.bundle import TEXT, TEXT_CONFIG, TEXT_PROBES, TOKENIZER, Bundle
from indexer.model.openvino_runtime import cosines
from indexer.model.text_graph import LEAST_COSINE, PROBES, TextGraph, open_text_graph
from indexer.model.text_packages import CLEANINGS, cleaner, load_package
from indexer.model.tokenizer_check import check_tokenizer

log = structlog.get_logger(__name__)

FORMAT = 1
_MOST_CONFIG = 1 << 20
# Gemma's, of 256,000 pieces, has 34 MB.
MOST_TOKENIZER = 128 << 20
MOST_SCALE = 1000.0
# Texts whose vectors are kept, and those that are run together.
_KEPT = 1024
# Pieces that a tower reads; published ones read 248 at most.
_MOST_LENGTH = 1024
_PORTION = 32


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

    Of an exported model it runs in OpenVINO and needs no torch, else in torch; float32, on the
    processor. ``graph`` False: in torch. Raises ``BadModelError`` for files that are none of a text
    tower, ``WeightsUnavailableError`` without the packages that it needs.
    """

    def __init__(self, bundle: Bundle, *, graph: bool = True) -> None:
        where = f"model {bundle.path}"
        config = _read_config(bundle.path / TEXT_CONFIG)
        block = bundle.spec.block("t")
        if block is None or config["embed_dim"] != block.dim:
            raise BadModelError(f"{where}: its text tower does not fit block t")
        length = text_length(config["text_cfg"], where)
        try:
            tokenizer = read_small(bundle.path / TOKENIZER, MOST_TOKENIZER).decode()
        except (OSError, ValueError) as error:
            raise BadModelError(f"{where}: its text tower cannot be read: {error}") from error
        self._where = where
        self._tokenizer = open_tokenizer(tokenizer, config, where)
        self._clean = cleaner(config["clean"])
        own = open_text_graph(bundle, length, block.dim) if graph else None
        self._graph = own if own is not None and self._is_own(own, bundle) else None
        self._network: Any = None if self._graph is not None else _tower(bundle, config, where)
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

    def probe_rows(self) -> np.ndarray:
        """The pieces int64 [P, L] of the texts that a graph of the tower is known again by."""
        return np.array([entry.ids for entry in self._taken_apart(PROBES)], np.int64)

    def _is_own(self, graph: TextGraph, bundle: Bundle) -> bool:
        """Whether the graph gives here what the tower gave where it was exported."""
        found, kept = graph.encode(self.probe_rows()), bundle.text_probes()
        if kept.shape != found.shape:
            raise BadModelError(f"{self._where}: its {TEXT_PROBES} are of another text tower")
        alike = cosines(found, kept)
        if np.all(alike >= LEAST_COSINE):
            return True
        log.warning("the graph of a text tower gives other vectors here: torch runs it, slower")
        return False

    def _run(self, texts: Sequence[str]) -> list[np.ndarray]:
        vectors: list[np.ndarray] = []
        for start in range(0, len(texts), _PORTION):
            rows = [entry.ids for entry in self._taken_apart(texts[start : start + _PORTION])]
            vectors.extend(self.encode_rows(np.array(rows, np.int64)))
        return vectors

    def encode_rows(self, rows: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [N, D] of pieces int64 [N, L]."""
        if self._graph is not None:
            return self._graph.encode(rows)
        from indexer.core.native import torch

        with torch.inference_mode():
            found = self._network(torch.from_numpy(rows)).float()
        return np.asarray(torch.nn.functional.normalize(found, dim=1).numpy())

    @property
    def network(self) -> Any:
        """The tower in torch; None where a graph stands for it."""
        return self._network

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


def _tower(bundle: Bundle, config: Mapping[str, Any], where: str) -> Any:
    """The tower in torch. Raises ``BadModelError``."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from indexer.model.joint_text import tower_of

    try:
        tensors = load_file(bundle.path / TEXT)
    except (OSError, ValueError, SafetensorError) as error:
        raise BadModelError(f"{where}: its text tower cannot be read: {error}") from error
    return tower_of(config, tensors, where)


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
        if wrong or found["clean"] not in CLEANINGS or not 1 <= found["scale"] <= MOST_SCALE:
            raise ValueError(f"{', '.join(wrong) or 'clean or scale'} is none")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModelError(f"{file} does not describe a text tower: {error}") from error
    return dict(found)


def text_length(text: Mapping[str, Any], where: str) -> int:
    """How many pieces a tower reads, by its ``text_cfg``. Raises ``BadModelError``."""
    length = text.get("context_length", 77)
    # Its square is the size of a mask that no file holds.
    if type(length) is not int or not 1 <= length <= _MOST_LENGTH:
        raise BadModelError(
            f"{where}: a text tower that reads {ascii(length)[:40]} pieces is none; at most "
            f"{_MOST_LENGTH:,}"
        )
    return length


def open_tokenizer(text: str, config: Mapping[str, Any], where: str) -> Any:
    """A tokenizer that gives rows of the tower's length. Raises ``BadModelError``."""
    length = config["text_cfg"].get("context_length", 77)
    known = config["text_cfg"].get("vocab_size", 49408)
    if type(known) is not int:
        raise BadModelError(f"{where}: a text tower of {ascii(known)[:40]} pieces is none")
    try:
        found = parse_tokenizer(text)
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


def parse_tokenizer(text: str) -> Any:
    """The tokenizer in a JSON text. Raises ``ValueError``, and what the package raises."""
    check_tokenizer(text)
    library = load_package("tokenizers")
    try:
        return library.Tokenizer.from_str(text)
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the package is no Exception
        raise ValueError(str(error)) from None
