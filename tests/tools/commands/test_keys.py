"""Command ``keys``: a secret is out before it counts, and the list says which ones are taken."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from indexer.core.home import Home
from indexer.core.home_clock import note_seen
from service.access.keys import KeyFile
from service.alerts.secret import load_secret, rotate_secret
from tools import cli


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def run_to_full(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of a command whose output goes to a full disk."""
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr("sys.stdout", full)
        return cli.run([*words])


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_secret_that_cannot_be_written_out_is_none(
    form: tuple[str, ...],
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No key is made, none loses its secret, and receivers of alerts keep theirs."""
    place = ("--home", str(home.path), *form)
    assert run_to_full(monkeypatch, "keys", "create", "jane", "--role", "admin", *place) == 1
    assert "no key was made" in capsys.readouterr().err
    assert KeyFile(home).read() == ()
    KeyFile(home).create("jane", "admin")
    known, signs = KeyFile(home).read(), load_secret(home)
    assert run_to_full(monkeypatch, "keys", "rotate", "jane", *place) == 1
    assert "the key stays as it was" in capsys.readouterr().err
    assert run_to_full(monkeypatch, "alerts", "secret", "--rotate", *place) == 1
    assert "the one before signs" in capsys.readouterr().err
    assert (KeyFile(home).read(), load_secret(home)) == (known, signs)


def test_the_list_shows_until_when_an_old_secret_is_taken(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rotation with an overlap leaves two; without one, and of others, nothing is said."""
    KeyFile(home).create("jane", "admin")
    KeyFile(home).create("joe", "admin")
    KeyFile(home).rotate("jane", overlap_s=3600.0)
    KeyFile(home).rotate("joe")
    assert cli.run(["keys", "list", "--home", str(home.path)]) == 0
    jane, joe = capsys.readouterr().out.splitlines()[1:]
    assert "in use, the secret before too, until 20" in jane
    assert joe.endswith("in use")


def test_the_list_tells_the_time_as_the_service_does(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the clock went back, a secret that ended is not said to be taken."""
    KeyFile(home).create("jane", "admin")
    KeyFile(home).rotate("jane", overlap_s=3600.0)
    note_seen(home, time.time() + 7200)
    assert cli.run(["keys", "list", "--home", str(home.path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("in use")
    load_secret(home)
    rotate_secret(home)
    note_seen(home, time.time() + 8 * 86_400)
    assert load_secret(home).before is None
