"""The policy file: what it says is what is loaded, and every mistake is named with its line."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import pytest

from indexer.core.errors import BadPolicyError
from indexer.moderation.detectors.codes import CodesRule
from indexer.moderation.detectors.nudity import NudityRule
from indexer.moderation.detectors.text import TextRule
from indexer.moderation.gallery import galleries_of
from indexer.moderation.named_rule import NamedRule
from indexer.moderation.policy import Policy, load_policies
from indexer.moderation.thresholds import Bounds
from tests.indexer.moderation import drawn

RuleT = TypeVar("RuleT")

# A bitmap of one red pixel, written by hand.
BITMAP = bytes.fromhex(
    "424d3a000000000000003600000028000000010000000100000001001800000000000400"
    "0000130b0000130b000000000000000000000000ff00"
)

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


def rule_of(policy: Policy, detector: str, kind: type[RuleT]) -> RuleT:
    """A detector's section of a policy, of the kind it must be."""
    rule = policy.rules[detector]
    assert isinstance(rule, kind)
    return rule


def test_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """Every key of the format reaches its place, defaults where nothing is said."""
    loaded = load_policies(drawn.write(tmp_path, WHOLE, photos=3))
    nudity, flags, goods, contact = loaded.policies
    assert [one.name for one in loaded.policies] == ["nudity", "flags", "goods", "contact"]
    assert nudity.action == "block"
    assert nudity.detectors == ("nudity",)
    assert rule_of(nudity, "nudity", NudityRule).bounds == Bounds(0.4, 0.8)
    assert flags.action == "review"
    gallery = galleries_of(loaded)["flags"]
    assert [one.name for one in gallery.examples] == [
        "banned/0.png",
        "banned/1.png",
        "banned/2.png",
    ]
    assert gallery.match == ("symbol", "whole")
    categories = rule_of(goods, "categories", NamedRule)
    assert categories.names == ("Knives", "Home > Weapons")
    assert categories.bounds == Bounds(0.3, 0.9)
    tags = rule_of(goods, "tags", NamedRule)
    assert tags.names == ("replica",)
    assert tags.bounds == Bounds(0.5, 0.9)
    assert rule_of(contact, "codes", CodesRule).allow_formats == {"EAN13"}
    assert rule_of(contact, "text", TextRule).words == ("微信", "WeChat")
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


def test_version_of_an_unchanged_file_stays(tmp_path: Path) -> None:
    """Fitted galleries are stored under it, so an update of this package must not change it."""
    file = drawn.write(tmp_path, "  a:\n    gallery: {photos: banned}\n")
    (tmp_path / "banned").mkdir()
    (tmp_path / "banned" / "one.bmp").write_bytes(BITMAP)
    expected = "e3de047e55466cb971467cf1b13514f55c695f309312114f10708a9c1e94d3e4"
    assert load_policies(file).policy_version == expected


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
        ("  a:\n    nudity:\n", r"line 4: policies\.a\.nudity must be keys with values"),
        ("  a:\n    tags: {review: 0.4}\n", r"line 4: policies\.a\.tags needs names"),
        ("  a:\n    tags:\n    - x\n    - [y]\n", r"line 6: policies\.a\.tags must be a text"),
        (
            "  a:\n    codes: {allow_formats: EAN13}\n",
            r"policies\.a\.codes\.allow_formats must be a list",
        ),
        ("  a:\n    nudity: {review: '0.5'}\n", r"review must be a number .*'0\.5'"),
        ("  a:\n    nudity: {review: [1]}\n", r"review must be a single value"),
        (
            "  a: {nudity: {review: !!python/object:os.system x}}\n",
            r"review is not a value that YAML knows",
        ),
        ("  a: &a\n    nudity: *a\n", r"line 4: policies\.a\.nudity\.nudity unknown key"),
        ("  b:\n    tags: []\n  a:\n    nudity: {review: 2}\n", r"line 4: policies\.b\.tags"),
        ("  ? [a]\n  : {tags: [x]}\n", r"line 3: policies is no name"),
        (
            "  a:\n    tags:\n      review: 0.3\n      naems: [x]\n",
            r"line 6: policies\.a\.tags\.naems unknown key \(known: review, block, names\)",
        ),
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
    "content", [b"", b"\xff\xfe\x00", b"version: 3\npolicies: {a: {tags: [x]}}", b"policies: {}"]
)
def test_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty, binary or newer file, and one without a version, are refused by name."""
    file = tmp_path / "policy.yaml"
    file.write_bytes(content)
    with pytest.raises(BadPolicyError, match=r"policy\.yaml"):
        load_policies(file)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("!!bool x", "is not a value that YAML knows"),
        ("!!timestamp x", "is not a value that YAML knows"),
        ("1" + ":1" * 200 + ".0", "is not a value that YAML knows"),
        ("!!int x", "is not a value that YAML knows"),
        ("!!int ''", "is not a value that YAML knows"),
        ("!!float x", "is not a value that YAML knows"),
        ("9" * 5000, "is not a value that YAML knows"),
        ("true", "must be 1"),
        ("1.0", "must be 1"),
        ("'1'", "must be 1"),
    ],
)
def test_a_version_that_is_no_whole_number_is_refused(
    tmp_path: Path, version: str, said: str
) -> None:
    """With file and line, whatever the tag; what only equals 1 is not 1."""
    file = tmp_path / "policy.yaml"
    file.write_text(f"# mine\nversion: {version}\npolicies: {{a: {{tags: [x]}}}}\n")
    with pytest.raises(BadPolicyError) as caught:
        load_policies(file)
    assert f"{file}, line 2: version {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "budget"),
    [("1", None), ("2", 0.005), ("2\nfalse_alarms: 0.02", 0.02)],
)
def test_galleries_share_a_budget_since_the_second_version(
    tmp_path: Path, version: str, budget: float | None
) -> None:
    """A file of before means what it meant: each gallery its own budget."""
    text = "  flags:\n    gallery: {photos: banned}\n"
    assert load_policies(drawn.write(tmp_path, text, 2, version=version)).false_alarms == budget


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("1\nfalse_alarms: 0.02", "line 2: false_alarms needs version: 2"),
        ("2\nfalse_alarms: 0", "must be a share above 0 and at most 0.1, not '0'"),
        ("2\nfalse_alarms: 0.5", "must be a share above 0 and at most 0.1, not '0.5'"),
        ("2\nfalse_alarms: yes", "must be a share above 0 and at most 0.1, not 'True'"),
        ("2\nfalse_alarms: [1]", "must be a single value"),
    ],
)
def test_a_budget_that_is_none_is_refused(tmp_path: Path, version: str, reason: str) -> None:
    """By file, line and key."""
    text = "  flags:\n    gallery: {photos: banned}\n"
    with pytest.raises(BadPolicyError, match=reason):
        load_policies(drawn.write(tmp_path, text, 2, version=version))
