"""What commands print: JSON's own types, tables without markup, progress lines that tell rate and
time left."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from indexer.feeds.import_report import Notices
from indexer.feeds.notice import Notice
from tools.output import log, print_result, print_table, say, stages, to_plain


@dataclass(frozen=True)
class Inner:
    path: Path
    share: np.float32


@dataclass(frozen=True)
class Named:
    def to_json(self) -> dict[str, object]:
        return {"own": Inner(Path("x"), np.float32(0.5))}


def test_answers_are_plain_json() -> None:
    """Dataclasses, paths, tuples, numpy arrays and a type's own form all become JSON's types."""
    found = to_plain(
        {"a": Inner(Path("p/q"), np.float32(0.25)), "b": (1, {2}), "c": np.arange(2), "d": Named()}
    )
    expected = {
        "a": {"path": "p/q", "share": 0.25},
        "b": [1, [2]],
        "c": [0, 1],
        "d": {"own": {"path": "x", "share": 0.5}},
    }
    assert found == expected
    assert json.loads(json.dumps(found)) == expected


def test_any_sequence_is_a_list() -> None:
    """Such as the notices of an import, which are no list of Python's."""
    notices = Notices([Notice("a.csv:2", "is odd", "odd")])
    assert to_plain({"skipped": notices}) == {"skipped": [to_plain(notices[0])]}
    assert json.loads(json.dumps(to_plain([notices, range(2), "ab"])))[1:] == [[0, 1], "ab"]


def test_answer_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """With ``as_json`` the document alone is printed, in readable Unicode; otherwise the human form
    alone."""
    print_result({"id": "鞋/1"}, True, lambda _: pytest.fail("human form printed"))
    out = capsys.readouterr().out
    assert json.loads(out) == {"id": "鞋/1"}
    assert "鞋" in out
    print_result({"id": "1"}, False, lambda found: print(found["id"]))
    assert capsys.readouterr().out == "1\n"


def test_not_a_number_is_never_printed_as_json() -> None:
    """NaN is no JSON: it fails loudly instead of breaking whoever reads."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_result({"x": float("nan")}, True, print)


def test_table_shows_ids_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """An id that looks like markup is printed as it is; None is a dash; numbers stand right."""
    print_table(("id", "count"), [("[red]x[/red]", 1), ("b", 1234), ("c", None)], title="Things")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Things"
    assert lines[2].split() == ["[red]x[/red]", "1"]
    assert lines[3].split() == ["b", "1,234"]
    assert lines[4].split() == ["c", "-"]
    assert lines[2].index("1") == lines[3].index("4")  # the last digits stand below each other


def test_progress_lines_tell_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Off a terminal: nothing for ten seconds, then a line with rate and time left, one at the end,
    none after it."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with stages() as report:
        report("photos", 0, 100)
        now = 105.0
        report("photos", 10, 100)
        assert capsys.readouterr().err == ""
        now = 110.0
        report("photos", 20, 100)
        assert capsys.readouterr().err == "photos: 20 of 100, 2.0/s, 40 s left\n"
        now = 150.0
        report("photos", 100, 100)
        report("photos", 100, 100)
        assert capsys.readouterr().err == "photos: 100 of 100, 2.0/s\n"
        report("epochs", 3, 3)
        assert capsys.readouterr().err == "epochs: 3 of 3\n"


def test_progress_says_what_takes_most_of_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    with stages() as callback:
        callback("embed", 64, 64, "network 71%")
    assert "embed: 64 of 64" in (said := capsys.readouterr().err)
    assert said.rstrip().endswith("most of it network 71%")


def test_nothing_that_is_printed_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """A title with control sequences reaches tables, lines, logs and JSON as text."""
    title = "red\x1b[2J\x9b1m\u202eshirt\r"
    print_table(("title",), [(title,), ([title, 1],)], title=title)
    log(f"note: {title}")
    say(title)
    print_result({"title": title}, True, say)
    print_result({"title": title}, False, lambda found: say(found["title"]))
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "shirt" in text
        assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(out[out.index("{") : out.index("}") + 1]) == {"title": title}


def test_commands_print_by_these_functions_alone() -> None:
    """``click.echo`` and ``print`` show what is in a text, whatever it is."""
    folder = Path(__file__).parents[2] / "tools"
    pattern = re.compile(
        r"\bclick\.echo\((?!\)|found\[\"key\"\])|"
        r"\bclick\.secho\((?!found\[\"recommendation\"\])|^\s*print\(",
        flags=re.MULTILINE,
    )
    files = [*folder.glob("commands/*.py"), folder / "doctor.py", folder / "demo.py"]
    assert [path.name for path in files if pattern.search(path.read_text(encoding="utf-8"))] == []
