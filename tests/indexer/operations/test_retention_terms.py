"""Terms of the service that ran last: noted in the home, and never guessed where damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import read_sealed_json, write_sealed_json
from indexer.core.errors import BadHomeError, CatalensError, ReadOnlyError
from indexer.core.home import Home
from indexer.operations import retention_terms
from indexer.operations.backup import back_up
from indexer.operations.restore import restore
from indexer.operations.retention_terms import (
    TERMS_FILE,
    RetentionTerms,
    remember_terms,
    remembered_terms,
)
from indexer.operations.state_files import check_state

LONG = RetentionTerms(review_photos=90, undo=365.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def test_they_are_noted_once_and_after_each_change(home: Home) -> None:
    """Without a service there are none; the same ones again write nothing."""
    assert remembered_terms(home) is None
    remember_terms(home, LONG)
    assert remembered_terms(home) == LONG
    before = (home.path / TERMS_FILE).stat().st_ino
    remember_terms(home, LONG)
    assert (home.path / TERMS_FILE).stat().st_ino == before
    remember_terms(home, RetentionTerms())
    assert remembered_terms(home) == RetentionTerms()


@pytest.mark.parametrize("wrong", [b"{", b"[]", {"undo": True}, {"undo": -1}, {"undo": "365"}])
def test_damaged_ones_are_told_and_written_anew(home: Home, wrong: bytes | dict[str, int]) -> None:
    """Nothing ends by guessed terms: the message names what mends it, and so does verify."""
    file = home.path / TERMS_FILE
    if isinstance(wrong, bytes):
        file.write_bytes(wrong)
    else:
        write_sealed_json(file, wrong)
    with pytest.raises(BadHomeError, match="start the service"):
        remembered_terms(home)
    ((damage,),) = [check_state(home).damages]
    assert damage.path == file
    assert damage.mend is not None
    assert damage.mend.startswith("start the service")
    remember_terms(home, LONG)
    assert remembered_terms(home) == LONG
    assert check_state(home).damages == []


def test_ones_that_this_user_may_not_read_are_written_anew(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older release's root left them closed: the service ends what it keeps by its own terms all
    the same, instead of failing at each look for what is to be erased."""
    remember_terms(home, RetentionTerms(undo=3.0))
    read = read_sealed_json

    def refuse(path: Path) -> object:
        if path.name == TERMS_FILE:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(retention_terms, "read_sealed_json", refuse)
        with pytest.raises(ReadOnlyError, match="TERMS"):
            remembered_terms(home)
        remember_terms(home, RetentionTerms(undo=5.0))
    assert remembered_terms(home) == RetentionTerms(undo=5.0)


def test_lost_ones_are_not_taken_for_none(home: Home) -> None:
    """What the service keeps for longer would end by the usual terms."""
    remember_terms(home, LONG)
    (home.path / TERMS_FILE).unlink()
    with pytest.raises(BadHomeError, match="is missing, though a service ran here; start the"):
        remembered_terms(home)
    ((damage,),) = [check_state(home).damages]
    assert (damage.path, "start the service" in str(damage.mend)) == (home.path / TERMS_FILE, True)
    remember_terms(home, LONG)
    assert remembered_terms(home) == LONG
    # Noted by an older release, and so without a mark.
    home.unmark(TERMS_FILE)
    remember_terms(home, LONG)
    assert home.has_mark(TERMS_FILE)


def test_a_home_that_went_is_not_written(home: Home) -> None:
    """Nor the folder in its place: a disk that is not mounted."""
    home.path.rename(home.path.with_name("away"))
    home.path.mkdir()
    with pytest.raises(CatalensError):
        remember_terms(home, LONG)
    assert list(home.path.iterdir()) == []


def test_a_backup_takes_them_along(home: Home, tmp_path: Path) -> None:
    """A restored home is cleared up before its service runs, too."""
    with open_catalog(home):
        remember_terms(home, LONG)
    made = back_up(home, tmp_path / "backups").path
    restore(made, tmp_path / "back")
    assert remembered_terms(Home(tmp_path / "back")) == LONG
