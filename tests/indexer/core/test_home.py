"""Homes: made where nothing else lies, whatever a killed or a simultaneous start left there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from indexer.core.atomic_files import os, write_json
from indexer.core.errors import BadHomeError, ReplacedFileError
from indexer.core.home import Active, Home
from indexer.index.activation import PastActivation


def test_a_start_killed_before_its_marker_stood_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between writing the marker aside and renaming it, or seen then by another process:
    made all the same."""

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(
        Path, "unlink", lambda self, missing_ok=False: None
    )  # a kill cleans up nothing
    with pytest.raises(SystemExit):
        Home.create(tmp_path / "home")
    monkeypatch.undo()
    assert [entry.suffix for entry in (tmp_path / "home").iterdir()] == [".tmp"]
    assert Home.create(tmp_path / "home").active() is None


@pytest.mark.parametrize("again", ["nothing", "a folder", "another home"])
def test_what_takes_the_place_of_a_home_is_not_it(tmp_path: Path, again: str) -> None:
    """Moved, deleted, unmounted, or another one: nothing is made there, nor is it taken for a home
    that holds nothing yet."""
    home = Home.create(tmp_path / "home")
    home.make_folder(home.photos / "ab" / "cd")
    home.path.rename(tmp_path / "elsewhere")
    if again == "a folder":
        home.path.mkdir()
    elif again == "another home":
        Home.create(home.path)
    before = sorted(tmp_path.rglob("*"))
    for use in (
        home.require,
        lambda: home.make_folder(home.photos / "ab"),
        lambda: home.lock("publish"),
        lambda: home.mark("reviews"),
        lambda: home.has_mark("reviews"),
        home.active,
    ):
        with pytest.raises(ReplacedFileError, match="not the home that this process opened"):
            use()
    assert sorted(tmp_path.rglob("*")) == before
    assert Home(tmp_path / "elsewhere").active() is None


@pytest.mark.parametrize("name", ["photo.jpg", ".git", "home.json.bak"])
def test_a_folder_with_anything_else_in_it_is_refused(tmp_path: Path, name: str) -> None:
    """A home is never made among somebody's files."""
    (tmp_path / name).touch()
    with pytest.raises(BadHomeError, match="is not a catalens home"):
        Home.create(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "1"}', '{"format": 0}', "no JSON"])
def test_a_damaged_marker_is_named(tmp_path: Path, content: str) -> None:
    """Whatever ``home.json`` holds, the reason names the file in plain words."""
    (tmp_path / "home.json").write_text(content)
    said = "has no usable format number|is not readable: (Expecting|it holds no object)"
    with pytest.raises(BadHomeError, match=rf"home\.json ({said})"):
        Home(tmp_path)


def test_a_new_home_is_its_owner_s_alone(tmp_path: Path) -> None:
    """Whatever the process's mask: keys and photos lie in it. A folder that was there, open to
    everybody as folders are, is closed; one that a group shares stays so."""
    before = os.umask(0o022)
    try:
        assert Home.create(tmp_path / "a" / "home").path.stat().st_mode & 0o777 == 0o700
        for name, mode, kept in (("a", 0o755, 0o700), ("b", 0o750, 0o750), ("c", 0o775, 0o775)):
            (tmp_path / f"there-{name}").mkdir()
            (tmp_path / f"there-{name}").chmod(mode)
            home = Home.create(tmp_path / f"there-{name}")
            assert home.path.stat().st_mode & 0o777 == kept
    finally:
        os.umask(before)


def test_marks_made_at_once_are_all_kept(tmp_path: Path) -> None:
    """Each reads what is there and writes it anew: one at a time."""
    home = Home.create(tmp_path / "home")
    names = [f"part{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(home.mark, names))
    assert all(home.has_mark(name) for name in names)
    home.unmark("part3")
    assert [name for name in names if not home.has_mark(name)] == ["part3"]


def flipped(data: bytes) -> Iterator[bytes]:
    """``data`` with each of its bits flipped, one at a time."""
    for place in range(len(data)):
        for bit in range(8):
            yield data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def test_no_flipped_bit_of_the_marker_is_believed(tmp_path: Path) -> None:
    """What is read says what was written, or nothing is: a lost mark would make a lost file none at
    all."""
    home = Home.create(tmp_path / "home")
    home.mark("keys")
    marker = home.path / "home.json"
    for damaged in flipped(marker.read_bytes()):
        marker.write_bytes(damaged)
        with suppress(BadHomeError):
            assert home.has_mark("keys")
            assert not home.has_mark("reviews")
            Home(home.path)
    marker.write_text('{"format": 1, "keys": true}')
    assert Home(home.path).has_mark("keys")


def test_a_release_without_checksums_may_mark_a_home(tmp_path: Path) -> None:
    """It keeps the checksum that it finds, whichever mark it sets or takes back."""
    home = Home.create(tmp_path / "home")
    marker = home.path / "home.json"
    stored = json.loads(marker.read_text())
    assert "seal" in stored
    for marks in ({"keys": True}, {"keys": True, "reviews": True}, {"reviews": True}, {}):
        write_json(marker, {**stored, **marks})
        assert {name for name in ("keys", "reviews") if Home(home.path).has_mark(name)} == set(
            marks
        )
    write_json(marker, {**stored, "other": True})
    with pytest.raises(BadHomeError, match="does not match its checksum"):
        Home(home.path)


def test_no_flipped_bit_of_what_serves_is_believed(tmp_path: Path) -> None:
    """``CURRENT`` and what it repeats of the record are as they were written, or refused; those of
    releases before, whose checksum is of the pair alone, are read."""
    home = Home.create(tmp_path / "home")
    first, second = Active("v000001", "m1"), Active("v000002", "m1")
    home.activate(second, [PastActivation(first, "2026-01-02", "Ann").record()])
    past = [PastActivation.read(entry) for entry in home.current_record()]
    for damaged in flipped(home.current_file.read_bytes()):
        home.current_file.write_bytes(damaged)
        with suppress(BadHomeError, OSError, ValueError, KeyError, TypeError):
            assert home.active() == second
            assert [PastActivation.read(entry) for entry in home.current_record()] == past
    write_json(home.current_file, {**second.record(), "before": [first.record()]})
    assert home.active() == second
