"""The policy file: what it says is what is loaded, and every mistake is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core.errors import BadPolicyError
from indexer.moderation.policy import load_policies
from indexer.moderation.thresholds import Bounds
from tests.indexer.moderation import drawn

WHOLE = """\
  nudity:
    nudity: {review: 0.4, block: 0.8}
  flags:
    action: review
    gallery: {photos: banned, match: [symbol, whole]}
  goods:
    categories: {names: [Knives, Home > Weapons], review: 0.3}
    tags: [replica]
  contact:
    codes: {allow_formats: [ean13], allow_text: ['https://shop\\.example/.*']}
    text: {words: [微信, WeChat], patterns: ['\\d{11}']}
"""


def test_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """Every key of the format reaches its place, defaults where nothing is said."""
    loaded = load_policies(drawn.write(tmp_path, WHOLE, photos=3))
    nudity, flags, goods, contact = loaded.policies
    assert [one.name for one in loaded.policies] == ["nudity", "flags", "goods", "contact"]
    assert (nudity.action, nudity.nudity, nudity.detectors) == (
        "block",
        Bounds(0.4, 0.8),
        ("nudity",),
    )
    assert flags.action == "review"
    assert flags.gallery is not None
    assert [one.name for one in flags.gallery.examples] == [
        "banned/0.png",
        "banned/1.png",
        "banned/2.png",
    ]
    assert flags.gallery.match == ("symbol", "whole")
    assert goods.categories is not None
    assert goods.categories.names == ("Knives", "Home > Weapons")
    assert goods.categories.bounds == Bounds(0.3, 0.9)
    assert goods.tags is not None
    assert goods.tags.names == ("replica",)
    assert contact.codes is not None
    assert contact.codes.allow_formats == {"EAN13"}
    assert contact.text is not None
    assert contact.text.words == ("微信", "WeChat")
    assert contact.detectors == ("codes", "text")


def test_version_follows_the_content(tmp_path: Path) -> None:
    """The version changes with the file's text and with a gallery photo's bytes, and with nothing
    else."""
    file = drawn.write(tmp_path, WHOLE, photos=3)
    first = load_policies(file).policy_version
    assert load_policies(file).policy_version == first
    drawn.example(9).save(tmp_path / "banned" / "1.png")
    second = load_policies(file).policy_version
    assert second != first
    file.write_text(file.read_text(encoding="utf-8") + "# a remark\n", encoding="utf-8")
    assert load_policies(file).policy_version not in (first, second)


@pytest.mark.parametrize(
    ("policies", "wanted"),
    [
        (
            "  a:\n    nudty: {}\n",
            r"line 4: policies\.a\.nudty unknown key \(known: action, nudity",
        ),
        (
            "  a:\n    nudity: {review: 0.3, blok: 1}\n",
            r"line 4: policies\.a\.nudity\.blok unknown key",
        ),
        (
            "  a:\n    nudity: {review: 1.5}\n",
            r"line 4: policies\.a\.nudity\.review must be a number from 0 to 1",
        ),
        (
            "  a:\n    nudity: {review: yes}\n",
            r"policies\.a\.nudity\.review must be a number .*'yes'",
        ),
        (
            "  a:\n    nudity: {review: 0.8, block: 0.5}\n",
            r"policies\.a\.nudity review must be .* at most block",
        ),
        (
            "  a:\n    action: deny\n    tags: [x]\n",
            r"line 4: policies\.a\.action must be review or block",
        ),
        ("  a:\n    action: block\n", r"policies\.a has no detector"),
        ("  a:\n    tags: []\n", r"policies\.a\.tags must be"),
        ("  a:\n    tags: [x]\n    tags: [y]\n", r"line 5: policies\.a\.tags stands there twice"),
        (
            "  a:\n    text:\n      patterns:\n      - ok\n      - '('\n",
            r"line 7: policies\.a\.text\.patterns .*no reg",
        ),
        ("  a:\n    text: {}\n", r"policies\.a\.text needs words or patterns"),
        (
            "  a:\n    codes: {allow_formats: [EAN14]}\n",
            r"line 4: .*allow_formats 'EAN14' is none of QRCode",
        ),
        (
            "  a:\n    gallery: {photos: nowhere}\n",
            r"policies\.a\.gallery\.photos .*nowhere is not a folder",
        ),
        (
            "  a:\n    gallery: {photos: [gone.jpg]}\n",
            r"line 4: policies\.a\.gallery\.photos photo .*gone\.jpg cannot",
        ),
        ("  a:\n    gallery: {match: [whole]}\n", r"policies\.a\.gallery needs photos"),
        ("  a: [b\n", r"line \d+: "),
        ("  a: 3\n", r"policies\.a must be keys with values"),
    ],
)
def test_mistake_is_named(tmp_path: Path, policies: str, wanted: str) -> None:
    """File, line, policy and key of a mistake stand in the error."""
    file = drawn.write(tmp_path, policies)
    with pytest.raises(BadPolicyError, match=wanted) as caught:
        load_policies(file)
    assert str(file) in str(caught.value)


def test_unreadable_gallery_photo_is_named(tmp_path: Path) -> None:
    """A gallery photo that is no image is an error that names it, its policy and the line."""
    file = drawn.write(tmp_path, "  flags:\n    gallery: {photos: banned}\n", photos=2)
    (tmp_path / "banned" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    with pytest.raises(
        BadPolicyError,
        match=r"line 4: policies\.flags\.gallery\.photos photo .*broken\.jpg: .*JPEG",
    ):
        load_policies(file)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"version: 2\npolicies: {a: {tags: [x]}}", b"policies: {}"]
)
def test_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty, binary or newer file, and one without a version, are refused by name."""
    file = tmp_path / "policy.yaml"
    file.write_bytes(content)
    with pytest.raises(BadPolicyError, match=r"policy\.yaml"):
        load_policies(file)
