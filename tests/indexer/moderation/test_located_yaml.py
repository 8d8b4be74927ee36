"""YAML with lines: data as it is written, places found, and what is no data named."""

from __future__ import annotations

import pytest

from indexer.moderation.located_yaml import LocatedYaml, YamlMistakeError, YamlScalar, parse_yaml

TEXT = """\
a: 012
b:
  c:
  - yes
  - d: [1, 2]
"""


def parsed(text: str) -> LocatedYaml:
    document = parse_yaml(text)
    assert document is not None
    return document


def test_values_stay_as_written_and_can_be_read() -> None:
    """A scalar is its text; ``value`` is what YAML makes of it."""
    data = parsed(TEXT).data
    assert data == {"a": "012", "b": {"c": ["yes", {"d": ["1", "2"]}]}}
    values = [data["a"], *data["b"]["c"][:1]]
    assert all(isinstance(value, YamlScalar) for value in values)
    assert [value.value for value in values] == [10, True]


@pytest.mark.parametrize(
    ("loc", "key", "line", "names"),
    [
        ((), False, 1, []),
        (("a",), False, 1, ["a"]),
        (("b", "c"), False, 4, ["b", "c"]),
        (("b", "c"), True, 3, ["b", "c"]),
        (("b", "c", 1, "d", 0), False, 5, ["b", "c", "d"]),
        (("b", "other", "c", 0), False, 4, ["b", "c"]),
        (("b", "gone"), False, 3, ["b"]),
        (("b", "c", 9), False, 4, ["b", "c"]),
    ],
)
def test_a_place_has_its_line(
    loc: tuple[str | int, ...], key: bool, line: int, names: list[str]
) -> None:
    """Of the value or of its key; a name that is not there is passed over."""
    assert parsed(TEXT).locate(loc, key=key) == (line, names)


def test_an_alias_is_the_same_object_and_may_name_itself() -> None:
    """Aliases cost nothing, however often they are nested, and a circle is no endless walk."""
    data = parsed("a: &a [x]\nb: [*a, *a]\nc: &c {d: *c}\n").data
    assert data["b"][0] is data["b"][1] is data["a"]
    assert data["c"]["d"] is data["c"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "stands there twice"),
        ("a: 1\n? [b]\n: 2\n", 2, "is no name"),
        ("a: [1\n", 2, "expected"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("[" * 5000, 0, "nested too deeply"),
        ('a: "\\U00110000"\n', 0, "not YAML"),
        ('a: "\\UFFFFFFFF"\n', 0, "not YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\na: 1\n", 0, "not YAML"),
    ],
)
def test_what_is_no_data_is_named(text: str, line: int, reason: str) -> None:
    """Keys that stand twice or are no names, and broken YAML."""
    with pytest.raises(YamlMistakeError, match=reason) as caught:
        parse_yaml(text)
    assert caught.value.line == line


def test_nothing_is_none() -> None:
    """An empty file has no document."""
    assert parse_yaml("# a remark\n") is None
