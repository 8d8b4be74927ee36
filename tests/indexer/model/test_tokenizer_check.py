"""A tokenizer of somebody else makes little of a little text, or is refused by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from indexer.core.errors import BadModelError
from indexer.model import joint_encoder, joint_text
from indexer.model.tokenizer_check import check_tokenizer

CONFIG = {"text_cfg": {}, "pad_id": 0}


def tokenizer(**parts: Any) -> str:
    """CLIP's own, with other steps."""
    return json.dumps({**json.loads(joint_text._clip_tokenizer()), **parts})


def replaced(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def packed(*texts: bytes) -> str:
    """A table of SentencePiece: an empty trie, and texts."""
    return base64.b64encode((0).to_bytes(4, "little") + b"\0".join([*texts, b""])).decode()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        # Each doubles the letter: a terabyte of one.
        (
            {"normalizer": {"type": "Sequence", "normalizers": [replaced("a", "aa")] * 40}},
            "at most 16 are run",
        ),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [replaced("a", "a" * 99)] * 3}},
            "970,299 bytes of one|1,940,598 bytes of one|3,881,196 bytes of one",
        ),
        ({"normalizer": replaced("a", "a" * 5000)}, "bytes of one"),
        (
            {"normalizer": {"type": "Precompiled", "precompiled_charsmap": packed(b"b" * 9000)}},
            "bytes of one",
        ),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}] * 13}},
            "bytes of one",
        ),
        (
            {"post_processor": {"type": "TemplateProcessing", "single": [{}] * 99, "pair": []}},
            "99 pieces around",
        ),
        ({"normalizer": [1]}, "steps are none"),
    ],
)
def test_steps_that_make_much_of_little_are_refused(parts: dict[str, Any], words: str) -> None:
    """Before any text is read, with what is too much of it."""
    with pytest.raises(BadModelError, match=words):
        joint_encoder.open_tokenizer(tokenizer(**parts), CONFIG, "a model")


def test_steps_of_published_tokenizers_pass() -> None:
    """Those of CLIP's as the hub has it, of SigLIP's and of Gemma's."""
    space = {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}
    clip = {"type": "Sequence", "normalizers": [{"type": "NFC"}, space, {"type": "Lowercase"}]}
    check_tokenizer(tokenizer(normalizer=clip))
    table = {"type": "Precompiled", "precompiled_charsmap": packed(b"x" * 33, b"y")}
    mark = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}
    siglip = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, table, mark]}
    check_tokenizer(tokenizer(normalizer=siglip, pre_tokenizer={"type": "Metaspace"}))
    check_tokenizer(tokenizer(normalizer=replaced(" ", "\u2581"), pre_tokenizer=None))


def test_a_panic_of_the_package_is_a_refusal(capfd: pytest.CaptureFixture[str]) -> None:
    """It is no ``Exception`` and would end the thread that answers: where the file is read, and
    where a text is taken apart."""
    empty = {"type": "Precompiled", "precompiled_charsmap": ""}
    with pytest.raises(BadModelError, match="Cannot parse precompiled_charsmap"):
        joint_encoder.open_tokenizer(tokenizer(normalizer=empty), CONFIG, "a model")
    slow = {"type": "Replace", "pattern": {"Regex": "(a+)+$b"}, "content": ""}
    encoder = object.__new__(joint_encoder.JointEncoder)
    encoder._tokenizer = joint_encoder.open_tokenizer(tokenizer(normalizer=slow), CONFIG, "a model")
    encoder._clean, encoder._where, encoder._foreign = str, "a model", None
    with pytest.raises(BadModelError, match=r"a model: its tokenizer\.json fails at a text"):
        encoder.pieces("a" * 200)
    capfd.readouterr()
