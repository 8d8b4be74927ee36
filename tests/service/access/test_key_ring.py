"""Key ring: keys of settings, file and home are followed while the service runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from indexer.core.errors import BadHomeError, ReadOnlyError
from indexer.core.home import Home
from indexer.core.home_clock import note_time
from service.access import key_ring
from service.access.key_ring import KeyRing
from service.access.keys import KeyFile
from service.settings import Settings
from tools import cli

FIRST = "a-key-of-this-shop-1"
SECOND = "a-key-of-this-shop-2"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def ring_of(home: Home, **settings: object) -> KeyRing:
    return KeyRing(Settings.make(home=home.path, **settings), home, structlog.get_logger())


def test_keys_of_the_home_are_followed(home: Home) -> None:
    """A key that is made, rotated or revoked counts with the next request, in each process."""
    rings = [ring_of(home), ring_of(home)]
    assert [ring.is_needed for ring in rings] == [False, False]
    keys = KeyFile(home)
    made = keys.create("jane", "review")
    for ring in rings:
        assert ring.is_needed
        holder = ring.find(made.key)
        assert holder is not None
        assert (holder.name, holder.role) == ("jane", "review")
        assert ring.find(made.key[:-1]) is None
        assert ring.find("") is None
    again = keys.rotate("jane", overlap_s=0.2)
    assert [ring.find(again.key) is not None for ring in rings] == [True, True]
    assert [ring.find(made.key) is not None for ring in rings] == [True, True]
    time.sleep(0.25)
    assert [ring.find(made.key) for ring in rings] == [None, None]
    keys.rotate("jane")
    assert [ring.find(again.key) for ring in rings] == [None, None]
    keys.revoke("jane")
    # Nobody may ask; that is not the same as that everybody may.
    assert [ring.is_needed for ring in rings] == [True, True]
    assert ring_of(home).is_needed


def test_a_key_is_given_another_rate_while_it_is_used(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a command, with the next request of each process, and back to what the setting says; its
    secret and all other keys stay."""
    keys = KeyFile(home)
    made, other = keys.create("shop", "search", rate=50), keys.create("jane", "review", rate=3)
    rings = [ring_of(home), ring_of(home)]

    def rates() -> list[float | None]:
        holders = [ring.find(key) for ring in rings for key in (made.key, other.key)]
        return [None if holder is None else holder.rate for holder in holders]

    assert rates() == [50, 3, 50, 3]
    command = ["keys", "rate", "shop", "--home", str(home.path)]
    assert cli.run([*command, "--rate", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rate"] == 0.5
    assert rates() == [0.5, 3, 0.5, 3]
    assert cli.run(command) == 0
    assert "as often as the setting key_rate says" in capsys.readouterr().err
    assert rates() == [None, 3, None, 3]
    for wrong in ("0", "-1", "nan", "inf"):
        assert cli.run([*command, "--rate", wrong]) == 2, wrong
    keys.revoke("shop")
    assert cli.run([*command, "--rate", "1"]) == 1
    assert "the key 'shop' was revoked and is not taken any more" in capsys.readouterr().err


def test_a_key_file_is_followed(home: Home, tmp_path: Path) -> None:
    """Keys that were taken out of it are known no longer; its keys are of the role `admin`."""
    file = tmp_path / "keys.txt"
    file.write_text(f"{FIRST}\n")
    ring = ring_of(home, api_key_file=file, api_keys=("a-key-of-settings",))
    holder = ring.find(FIRST)
    assert holder is not None
    assert holder.role == "admin"
    file.write_text(f"# new\n{SECOND}\n")
    assert ring.find(FIRST) is None
    assert ring.find(SECOND) is not None
    assert ring.find("a-key-of-settings") is not None
    for text in ("", "short\n", None):
        with capture_logs() as log:
            if text is None:
                file.unlink()
            else:
                file.write_text(text)
            assert ring.find(SECOND) is not None
        assert [entry["event"] for entry in log] == ["keys not read, those before stay"]
        assert SECOND not in str(log)
    file.write_text(f"{FIRST}\n")
    assert (ring.find(FIRST) is not None, ring.find(SECOND)) == (True, None)


def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revoked key ends also where the file of the home could not be read at first and has not
    changed since, as with a mend of its rights."""
    keys = KeyFile(home)
    made = keys.create("shop", "search")
    ring = ring_of(home)
    assert ring.find(made.key) is not None
    keys.revoke("shop")
    read = KeyFile.read

    def refused(_: KeyFile) -> None:
        raise BadHomeError("keys.json cannot be read: Permission denied")

    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(key_ring, "time", clock)
    monkeypatch.setattr(KeyFile, "read", refused)
    assert ring.find(made.key) is not None
    monkeypatch.setattr(KeyFile, "read", read)
    assert ring.find(made.key) is not None
    now[0] += 10
    assert ring.find(made.key) is None


def test_a_lost_file_of_keys_opens_nothing(home: Home) -> None:
    """A running service keeps the keys it read; a new one does not start."""
    made = KeyFile(home).create("jane", "admin")
    ring = ring_of(home)
    home.keys_file.unlink()
    assert ring.is_needed
    assert ring.find(made.key) is not None
    assert ring.find(SECOND) is None
    with pytest.raises(BadHomeError, match="catalens keys create"):
        ring_of(home)
    home.keys_file.write_text("{")
    with pytest.raises(BadHomeError, match="damaged"):
        ring_of(home)


def test_keys_are_followed_in_a_home_whose_marks_may_not_be_read(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator's copy of home.json: a revoked key ends all the same, and a lost file of
    keys is told and read again; the first failure ended the following for good."""
    keys = KeyFile(home)
    made = keys.create("jane", "search")
    ring = ring_of(home)
    assert ring.find(made.key) is not None

    def refuse(*_: object, **__: object) -> None:
        raise ReadOnlyError("home.json may not be read by this user")

    keys.revoke("jane")
    stored = keys.path.read_bytes()
    for name in ("mark", "has_mark"):
        monkeypatch.setattr(Home, name, refuse)
    assert ring.find(made.key) is None
    keys.path.unlink()
    with capture_logs() as told:
        assert ring.find(made.key) is None
        assert ring.is_needed
    assert [line["event"] for line in told] == ["keys not read, those before stay"]
    monkeypatch.setattr(key_ring, "_AGAIN_S", 0.0)
    keys.path.write_bytes(stored)
    assert ring.find(made.key) is None
    keys.path.unlink()
    with pytest.raises(BadHomeError, match="though this home has keys"):
        keys.read()


def test_a_clock_that_goes_back_revives_no_secret(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the process that saw it end, nor in one that starts later."""
    keys = KeyFile(home)
    old = keys.create("jane", "review").key
    new = keys.rotate("jane", overlap_s=60.0).key
    ring = ring_of(home)
    assert ring.find(old) is not None
    now = time.time()
    monkeypatch.setattr(key_ring.time, "time", lambda: now + 61)
    assert ring.find(old) is None
    note_time(home)
    monkeypatch.setattr(key_ring.time, "time", lambda: now)
    for later in (ring, ring_of(home)):
        assert later.find(old) is None
        assert later.find(new) is not None


def test_keys_of_a_home_that_took_the_place_of_the_served_one_are_not_taken(
    home: Home, tmp_path: Path
) -> None:
    """Whoever made them has no right here; once the home is back its keys are followed again."""
    own = KeyFile(home).create("jane", "admin").key
    ring = ring_of(home)
    other = Home.create(tmp_path / "other")
    foreign = KeyFile(other).create("evil", "admin").key
    aside = home.path.with_name("aside")
    home.path.rename(aside)
    other.path.rename(home.path)
    assert ring.find(foreign) is None
    assert ring.find(own) is not None
    home.path.rename(other.path)
    aside.rename(home.path)
    later = KeyFile(home).create("joe", "search").key
    assert ring.find(later) is not None
    assert ring.find(foreign) is None
