"""Keys of a home: hashed, named, followed while the service runs."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from indexer.core.atomic_files import write_json
from indexer.core.errors import BadHomeError, BadRequestError, KeyExistsError, UnknownKeyError
from indexer.core.home import Home
from indexer.core.home_clock import note_seen
from service.access.keys import KeyFile, hash_key


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def test_only_the_hash_of_a_key_is_kept(home: Home) -> None:
    """No file of the home holds the key itself; two keys differ."""
    keys = KeyFile(home)
    made = [keys.create("jane", "review"), keys.create("erp", "write", rate=5.0)]
    assert made[0].key != made[1].key
    assert len(made[0].key) > 40
    for file in home.path.rglob("*"):
        if file.is_file():
            assert not any(one.key in file.read_text() for one in made), file
    stored = {key.name: key for key in keys.read()}
    assert stored["jane"].secrets[0].sha256 == hash_key(made[0].key)
    assert (stored["erp"].role, stored["erp"].rate) == ("write", 5.0)


def test_names_are_given_once_and_can_be_shown(home: Home) -> None:
    """A name is taken until its key is revoked; control characters would reach terminals."""
    keys = KeyFile(home)
    keys.create("jane", "search")
    with pytest.raises(KeyExistsError, match="rotate or revoke"):
        keys.create("jane", "admin")
    for name in ("", " jane", "a\x1b[31mb", "x" * 101, "a\nb"):
        with pytest.raises(BadRequestError):
            keys.create(name, "search")
    keys.revoke("jane")
    assert [key.revoked is None for key in keys.read()] == [False]
    for change in (keys.revoke, keys.rotate):
        with pytest.raises(UnknownKeyError):
            change("jane")
    assert keys.create("jane", "admin").role == "admin"
    assert [(key.name, key.role, key.revoked) for key in keys.read()] == [("jane", "admin", None)]


def test_a_secret_that_nobody_saw_stands_nowhere(home: Home) -> None:
    """Where it could not be shown, there is no key, or the old secret goes on as it was."""
    keys = KeyFile(home)
    with pytest.raises(OSError, match="full"), keys.creating("jane", "admin"):
        raise OSError("full")
    assert not home.keys_file.exists()
    assert not home.has_mark("keys")
    old = keys.create("jane", "write")
    before = home.keys_file.read_bytes()
    with pytest.raises(OSError, match="full"), keys.rotating("jane", overlap_s=60.0):
        raise OSError("full")
    assert home.keys_file.read_bytes() == before
    with keys.rotating("jane") as made:
        pass
    (stored,) = keys.read()
    assert [one.sha256 for one in stored.secrets] == [hash_key(made.key)] != [hash_key(old.key)]
    assert not list(home.path.glob(".*.tmp"))


def test_a_revoked_key_is_told_from_one_that_never_was(home: Home) -> None:
    """The refusal of each change says that it was revoked, and the command that makes it anew."""
    keys = KeyFile(home)
    keys.create("jane", "review")
    keys.revoke("jane")
    for change in (keys.revoke, keys.rotate, lambda name: keys.set_rate(name, 1.0)):
        with pytest.raises(UnknownKeyError, match=r"revoked.*keys create jane --role review"):
            change("jane")  # type: ignore[operator]
    with pytest.raises(UnknownKeyError, match="no key is called 'joe'"):
        keys.rotate("joe")


def test_a_lost_or_damaged_file_is_not_taken_for_no_keys(home: Home) -> None:
    """Else the service would be open to everybody; the command that is named mends it."""
    keys = KeyFile(home)
    assert keys.read() == ()
    keys.create("jane", "admin")
    whole = home.keys_file.read_text()
    for text in ("", whole[:60], '{"format": 2, "keys": []}', whole.replace("admin", "root")):
        home.keys_file.write_text(text)
        with pytest.raises(BadHomeError, match=r"damaged.*keys create"):
            keys.read()
        with pytest.raises(BadHomeError, match="damaged"):
            keys.create("joe", "search")
    home.keys_file.unlink()
    with pytest.raises(BadHomeError, match=r"not there.*backup, or make keys anew \(catalens keys"):
        keys.read()
    made = keys.create("joe", "admin")
    assert [key.name for key in keys.read()] == ["joe"]
    assert made.key
    # Homes stay homes for releases that know no keys.
    assert json.loads((home.path / "home.json").read_text())["format"] == 1
    assert Home(home.path).path == home.path


def test_a_changed_byte_gives_no_key_another_meaning(home: Home) -> None:
    """Each byte of the file is held by its checksum: an ended secret stays ended, a role a role."""
    keys = KeyFile(home)
    keys.create("jane", "write")
    keys.rotate("jane", overlap_s=60.0)
    whole = home.keys_file.read_text()
    secret = whole.index('"sha256": "') + len('"sha256": "')
    other = whole[:secret] + ("1" if whole[secret] == "0" else "0") + whole[secret + 1 :]
    later = whole.replace('"until": 1', '"until": 9', 1)
    for text in (other, later, whole.replace('"write"', '"admin"')):
        assert text != whole
        home.keys_file.write_text(text)
        with pytest.raises(BadHomeError, match=r"damaged: .*checksum.*keys create"):
            keys.read()
    # Releases before wrote no checksum.
    stored = json.loads(whole)
    del stored["seal"]
    home.keys_file.write_text(json.dumps(stored))
    assert [key.name for key in keys.read()] == ["jane"]


def test_what_a_killed_command_did_not_note_is_noted(home: Home) -> None:
    """Keys whose maker was killed before home.json said so are not taken for none when lost."""
    keys = KeyFile(home)
    keys.create("jane", "admin")
    home.unmark("keys")
    keys.read()
    home.keys_file.unlink()
    with pytest.raises(BadHomeError, match="not there, though this home has keys"):
        keys.read()


def test_keys_are_not_none_where_the_marker_cannot_be_read(home: Home) -> None:
    """A disk that is gone while it serves takes both files: the keys before stay."""
    keys = KeyFile(home)
    keys.create("jane", "admin")
    for name in ("keys.json", "home.json"):
        (home.path / name).unlink()
    with pytest.raises(BadHomeError, match="not there"):
        keys.read()


def test_keys_are_not_none_where_the_home_was(home: Home) -> None:
    """A home that was moved while it serves has the keys that it had."""
    keys = KeyFile(home)
    keys.create("jane", "admin")
    home.path.rename(home.path.with_name("moved"))
    with pytest.raises(BadHomeError, match="not there"):
        keys.read()


def test_marks_of_others_stay_beside_the_first_key(home: Home) -> None:
    """Whoever notes something in home.json meanwhile holds its lock, and keys wait for it."""
    with ThreadPoolExecutor(1) as pool, home.lock("marks"):
        made = pool.submit(KeyFile(home).create, "jane", "admin")
        while not home.keys_file.exists():
            time.sleep(0.001)
        time.sleep(0.05)
        assert not made.done()
        stored = json.loads((home.path / "home.json").read_text())
        write_json(home.path / "home.json", {**stored, "reviews": True})
    assert made.result().name == "jane"
    assert home.has_mark("reviews")
    assert home.has_mark("keys")


def test_an_overlap_is_counted_by_the_time_that_the_service_tells(home: Home) -> None:
    """Where the clock is behind, the secret before is taken as long as was asked for."""
    seen = time.time() + 40 * 86_400
    note_seen(home, seen)
    keys = KeyFile(home)
    keys.create("jane", "admin")
    keys.rotate("jane", overlap_s=3600)
    (key,) = keys.read()
    assert [one.until for one in key.secrets] == [seen + 3600, None]
