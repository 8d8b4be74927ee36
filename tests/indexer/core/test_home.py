"""Homes: made where nothing else lies, whatever a killed or a simultaneous start left there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from indexer.core.atomic_files import os
from indexer.core.errors import BadHomeError
from indexer.core.home import Home


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
    with pytest.raises(
        BadHomeError, match=r"home\.json (has no usable format number|is not readable: Expecting)"
    ):
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
