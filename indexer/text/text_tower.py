"""Text encoder with a closed vocabulary, into the embedding space of the photos."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from indexer.core.errors import DamagedIndexError, NewerFormatError
from indexer.core.regular_files import parse_json
from indexer.text.tokenizer import features, tokens, words

FORMAT = 1
# Of the softmax over cosines by which a tower learns.
TEMPERATURE = 0.05


class TextEncoder(Protocol):
    """Text to the space of the photos. The tower is one; a model of the CLIP kind, where its
    weights exist, another."""

    def encode(self, text: str) -> np.ndarray | None:
        """A unit vector float32 [D] that can be compared with embeddings; None where it knows
        nothing of the text."""

    def knows(self, word: str) -> bool:
        """Whether a word (as ``words`` gives it) has a meaning here. An open
        vocabulary knows all."""

    def colour(self, text: str) -> str | None:
        """The value of the colour attribute that ``text`` (folded words, joined by a space) is;
        None if it is none."""


@dataclass(frozen=True)
class TextTower:
    """TF-IDF of words and pairs of words times a matrix, plus a bias, scaled to unit length."""

    # Word, or pair of words -> row of the weights.
    vocabulary: dict[str, int]
    idf: np.ndarray  # float32 [V]
    weights: np.ndarray  # float16 [V, D]
    bias: np.ndarray  # float32 [D]: what any product looks like
    # Folded words -> the attribute's value, "navy blue" -> "Navy Blue"
    colours: dict[str, str]
    # How much the text tower of a pair counts beside this one, in [0, 1]; None: not chosen.
    joint_share: float | None = None

    def knows(self, word: str) -> bool:
        """As ``TextEncoder.knows``."""
        return any(token in self.vocabulary for token in tokens(word))

    def colour(self, text: str) -> str | None:
        """As ``TextEncoder.colour``."""
        return self.colours.get(text)

    def encode(self, text: str) -> np.ndarray | None:
        """As ``TextEncoder.encode``."""
        places, values = weigh(features(words(text)), self.vocabulary, self.idf)
        if not len(places):
            return None
        vector = values @ self.weights[places].astype(np.float32) + self.bias
        length = float(np.linalg.norm(vector))
        return None if length < 1e-6 else (vector / length).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        from safetensors.numpy import save_file

        arrays = {"idf": self.idf, "weights": self.weights, "bias": self.bias}
        listed = sorted(self.vocabulary, key=lambda word: self.vocabulary[word])
        about = {"format": FORMAT, "vocabulary": listed, "colours": self.colours}
        if self.joint_share is not None:
            about["joint_share"] = self.joint_share
        save_file(arrays, path, metadata={"tower": json.dumps(about, ensure_ascii=False)})

    @classmethod
    def open(cls, path: Path) -> TextTower:
        """Raises ``DamagedIndexError`` naming the file, ``NewerFormatError``."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as stored:
                about: dict[str, Any] = parse_json(stored.metadata()["tower"])
                if about["format"] > FORMAT:
                    raise NewerFormatError(
                        f"{path} has format {about['format']}, this Catalens knows up to {FORMAT}"
                    )
                idf, weights, bias = (
                    stored.get_tensor(name) for name in ("idf", "weights", "bias")
                )
            vocabulary = {str(word): place for place, word in enumerate(about["vocabulary"])}
            colours = {str(text): str(value) for text, value in about["colours"].items()}
            share = about.get("joint_share")
            if share is not None and not 0 <= float(share) <= 1:
                raise ValueError(f"joint_share is {share}")
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DamagedIndexError(f"{path} cannot be read: {error!r}") from error
        if weights.shape != (len(vocabulary), len(bias)) or idf.shape != (len(vocabulary),):
            raise DamagedIndexError(
                f"{path}: {len(vocabulary)} words, weights {list(weights.shape)}, bias "
                f"{list(bias.shape)}"
            )
        if not all(np.isfinite(numbers).all() for numbers in (idf, weights, bias)):
            raise DamagedIndexError(f"{path} holds what is no finite number")
        return cls(vocabulary, idf, weights, bias, colours, None if share is None else float(share))


def weigh(
    found: Sequence[str], vocabulary: dict[str, int], idf: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of a text's features the places in the vocabulary and their TF-IDF (1 + ln tf) * idf, of unit
    length."""
    counts = Counter(vocabulary[feature] for feature in found if feature in vocabulary)
    places = np.fromiter(counts, np.int64, len(counts))
    values = (
        (1 + np.log(np.fromiter(counts.values(), np.float64, len(counts)))) * idf[places]
    ).astype(np.float32)
    return places, values / max(float(np.linalg.norm(values)), 1e-9)
