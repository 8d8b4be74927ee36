"""Settings that commands follow: read before anything is done, of the home that they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.core.home_clock import CLOCK_FILE
from indexer.operations.retention_terms import TERMS_FILE, RetentionTerms, remember_terms
from indexer.reviews.store import days_ago
from service.query.photo_urls import FETCH_SETTINGS, fetch_settings
from service.settings import RETENTION_SETTINGS, Settings
from tests.indexer.index_build.test_pipeline import add_photo, put
from tests.tools.test_options import every_option
from tools import cli
from tools.demo import serve as serve_demo

# Every command with --config but ``serve``, whose options are the settings themselves.
COMMANDS = (
    ["alerts", "test"],
    ["index", "erase", "p0"],
    ["index", "gc", "--accept-clock"],
    ["sync", "run"],
    ["undo", "list"],
    ["undo", "a1"],
)


def a_home(folder: Path) -> Home:
    home = Home.create(folder)
    with open_catalog(home) as catalog:
        put(catalog, "p0", add_photo(home, 0))
    return home


def state(home: Home) -> tuple[int, bool, list[str]]:
    """What a command that went ahead would have changed."""
    with open_catalog(home) as catalog:
        names = sorted(path.name for path in home.photos.rglob("*"))
        return len(catalog), (home.path / CLOCK_FILE).exists(), names


def test_every_command_with_a_settings_file_is_tried_here() -> None:
    """A new one reads the file as these do."""
    found = {name for name, parameter in every_option() if parameter.name == "config"}
    tried = {" ".join(words[:2]) if words[0] != "undo" else "undo" for words in COMMANDS}
    assert found - {"serve"} == tried


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("wrong", ["job_day = 3", "undo_days = -1\nfetch_connections = 99", None])
def test_wrong_settings_change_nothing(
    words: list[str], wrong: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are read before the first product is deleted, and before the clock is accepted."""
    home = a_home(tmp_path / "home")
    before = state(home)
    file = tmp_path / "shop.toml"
    if words == ["undo", "a1"] and wrong is not None:
        wrong = "undo_day = 3"  # it follows no setting: what is misspelt is all that it refuses
    if wrong is not None:
        file.write_text(f"{wrong}\n[alerts]\nsmtp = 3\n")
    assert cli.run([*words, "--home", str(home.path), "--config", str(file)]) == 1
    assert str(file) in capsys.readouterr().err
    assert state(home) == before


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_home_of_the_file_is_meant(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not one that happens to lie in the folder, unless --home or the environment names it."""
    near = a_home(tmp_path / "catalens-home")
    before = state(near)
    file = tmp_path / "shop.toml"
    file.write_text('home = "none/here"\n')
    monkeypatch.chdir(tmp_path)
    assert cli.run([*words, "--config", "shop.toml"]) == 1
    assert f"no catalens home at {tmp_path / 'none/here'}" in capsys.readouterr().err
    assert state(near) == before
    cli.run([*words, "--config", "shop.toml", "--home", "catalens-home"])
    assert "no catalens home" not in capsys.readouterr().err
    monkeypatch.setenv("CATALENS_HOME", "catalens-home")
    cli.run([*words, "--config", "shop.toml"])
    assert "no catalens home" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["index", "gc"], ["index", "erase"]], ids=" ".join)
def test_what_the_service_keeps_stays(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A command that is told no terms ends nothing that the home's last service keeps; each term
    that the environment or a settings file gives goes before. Damaged and lost ones end
    nothing at all."""
    home = a_home(tmp_path / "home")
    place = ["--home", str(home.path)]

    def until() -> str:
        capsys.readouterr()
        assert cli.run(["undo", "list", "--writes", "--json", *place]) == 0
        found = json.loads(capsys.readouterr().out)["actions"][0]
        return str(found["state"] + found["until"][:4])

    with open_catalog(home) as catalog:
        catalog.patch("p0", {"title": "before"})
        catalog.patch("p0", {"title": "after"})
        with catalog.database.transaction() as sql:
            sql.execute("UPDATE actions SET at = ?", (days_ago(50),))
    remember_terms(home, RetentionTerms(undo=3650.0))
    assert cli.run([*words, *place]) == 0
    year = days_ago(50 - 3650)[:4]
    assert until() == f"undoable{year}"
    (home.path / TERMS_FILE).write_text("{")
    assert cli.run([*words, *place]) == 1
    assert "TERMS is not readable" in capsys.readouterr().err
    every = tmp_path / "every.toml"
    every.write_text("".join(f"{name} = 3650\n" for name in RETENTION_SETTINGS))
    assert cli.run([*words, *place, "--config", str(every)]) == 0, "all terms are given"
    (home.path / TERMS_FILE).unlink()
    monkeypatch.setenv("CATALENS_UNDO_DAYS", "365")
    assert cli.run([*words, *place]) == 1
    assert "TERMS is missing, though a service ran here" in capsys.readouterr().err
    # As in a home that no service ran on.
    home.unmark(TERMS_FILE)
    assert cli.run([*words, *place]) == 0
    assert until().startswith("undoable")
    remember_terms(home, RetentionTerms(undo=3650.0))
    assert until() == f"undoable{days_ago(50 - 365)[:4]}"
    monkeypatch.delenv("CATALENS_UNDO_DAYS")
    shop = tmp_path / "shop.toml"
    shop.write_text("review_photos_days = 3\n")
    assert cli.run([*words, *place, "--config", str(shop)]) == 0
    assert until() == f"undoable{year}", "the file does not say how long"
    shop.write_text("undo_days = 30\n")
    assert cli.run([*words, *place, "--config", str(shop)]) == 0
    assert until().startswith("expired"), "the file says it, though it is the default"


def test_the_page_of_the_first_hour_keeps_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``catalens start`` again, on a home that a service with other terms had."""
    home = a_home(tmp_path / "home")
    seen: list[Settings] = []
    monkeypatch.setattr("service.app.serve", seen.append)
    serve_demo(home.path)
    remember_terms(home, RetentionTerms(undo=3650.0))
    serve_demo(home.path)
    assert [settings.undo_days for settings in seen] == [30, 3650]


def test_a_host_to_listen_on_needs_a_key_only_to_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container's environment holds it before there is a home that could have keys."""
    monkeypatch.setenv("CATALENS_HOST", "0.0.0.0")
    monkeypatch.setenv("CATALENS_HOME", str(tmp_path / "shop"))
    monkeypatch.setenv("CATALENS_API_KEY_FILE", str(tmp_path / "keys-of-another-user"))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    feed = tmp_path / "feed.csv"
    feed.write_text("product_id,title,image\np0,Anna,a.png\n")
    for words in (
        ["import", str(feed), "--dry-run"],
        ["import", str(feed)],
        ["sync", "run"],
        ["undo", "list"],
        ["index", "erase"],
        ["index", "gc"],
    ):
        assert cli.run(words) == 0, (words, capsys.readouterr().err)
    assert cli.run(["index", "build", "--model", str(tmp_path / "none")]) == 1
    assert "0.0.0.0" not in capsys.readouterr().err, "what it lacks is a model"
    monkeypatch.delenv("CATALENS_API_KEY_FILE")
    assert cli.run(["serve"]) == 1
    assert "is reachable from other machines: make a key" in capsys.readouterr().err
    monkeypatch.setenv("CATALENS_JOB_DAY", "3")
    assert cli.run(["import", str(feed)]) == 1
    assert "CATALENS_JOB_DAY: unknown setting" in capsys.readouterr().err


def test_a_feed_is_fetched_by_the_settings_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by those of the environment; an option goes before both."""
    seen: list[Any] = []

    def run_due(home: Home, *, fetching: Any) -> list[Any]:
        seen.append(fetching.private)
        return []

    monkeypatch.setattr("indexer.operations.sync.run_due", run_due)
    file = tmp_path / "shop.toml"
    file.write_text('fetch_private = ["feeds.local:80"]\n')
    words = ["sync", "run", "--home", str(a_home(tmp_path / "home").path), "--config", str(file)]
    assert cli.run(words) == 0
    assert cli.run([*words, "--fetch-private", "other.local:80"]) == 0
    assert seen == [{"feeds.local:80"}, {"other.local:80"}]


def test_the_names_are_those_of_the_settings_that_are_read() -> None:
    """What a command does not read keeps its default, so no name may be forgotten."""

    class Reader:
        def __init__(self) -> None:
            self.names: set[str] = set()

        def __getattr__(self, name: str) -> Any:
            self.names.add(name)
            return getattr(Settings(), name)

    read = Reader()
    fetch_settings(read)  # type: ignore[arg-type]
    assert read.names == set(FETCH_SETTINGS)
    read = Reader()
    Settings.retention_terms.fget(read)  # type: ignore[attr-defined]
    assert read.names == set(RETENTION_SETTINGS)
