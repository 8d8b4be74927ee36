"""Erasure outside the home: no folder that versions were pushed to, and no cache, keeps a deleted
product; what is not this home's is left alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import remove_folder
from indexer.core.errors import BadHomeError, UnknownVersionError
from indexer.core.home import Home
from indexer.index.pushed import erase_pushed, pushed_folders
from indexer.index.transfer import pull, push
from indexer.index.version import Versions
from indexer.model.bundle import Bundle, write_revision
from indexer.model.feature_store import FeatureCache
from indexer.operations.data_places import find_places
from indexer.operations.erasure import erase
from indexer.operations.outside_erasure import erase_cached, erase_outside
from indexer.training.feature_cache import recapture_key
from tests.indexer.index.test_transfer import build, bundle, home, template
from tests.indexer.index_build.test_pipeline import add_photo, put
from tools import cli

__all__ = ["bundle", "home", "template"]

GONE = "p7"
CACHE = "f" + "0" * 32


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "indexes").glob("v*"))


def test_the_rewrite_lies_where_the_version_was_pushed(
    home: Home, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says where versions were pushed to, and named folders get the rewrite, which a
    copy of the home can pull; no row of the product is left there."""
    depot = tmp_path / "depot"
    shutil.copytree(home.path, tmp_path / "other")
    assert cli.run(["index", "push", str(depot), "--home", str(home.path)]) == 0
    assert pushed_folders(home) == [depot]
    with open_catalog(home) as catalog:
        pid = catalog.pid(GONE)
    words = ["index", "erase", "--home", str(home.path), "--json"]
    capsys.readouterr()
    assert cli.run([*words, GONE]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["rewritten"] == {"v000001": "v000002"}
    assert first["outside"]["not_named"] == [str(depot)]
    assert held(depot) == ["v000001"]
    (depot / "indexes" / ".incoming-0123").mkdir()
    assert cli.run([*words, "--pushed", str(depot)]) == 0
    outside = json.loads(capsys.readouterr().out)["outside"]
    assert outside["pushed"][str(depot)] == {
        "replaced": {"v000001": "v000002"},
        "removed": [],
        "models": [],
        "failed": {},
    }
    assert (outside["not_named"], outside["failed"], outside["cached"]) == ([], {}, None)
    assert held(depot) == ["v000002"]
    assert not (depot / "indexes" / ".incoming-0123").exists()
    rows = np.load(depot / "indexes" / "v000002" / "rows.npy")
    assert len(rows) == 29
    assert pid not in rows[:, 0]
    pulled = pull(depot, Home(tmp_path / "other"))
    assert Versions(Home(tmp_path / "other")).manifest(pulled.version).counts["entries"] == 29


def test_a_version_of_which_the_home_has_none_any_more_goes(
    home: Home, bundle: Bundle, tmp_path: Path
) -> None:
    """What nobody at home would go back to is taken out, with nothing in its place."""
    depot = tmp_path / "depot"
    push(home, depot)
    for _ in range(2):
        build(home, bundle)
    Versions(home).gc()
    with open_catalog(home) as catalog:
        catalog.delete(GONE)
    erase(home)
    with open_catalog(home) as catalog:
        done = erase_pushed(home, catalog, depot)
        assert (done.replaced, done.removed, done.failed) == ({}, ["v000001"], {})
        assert held(depot) == []
        assert erase_pushed(home, catalog, depot).removed == []


def revise(depot: Path, bundle: Bundle) -> str:
    """A revision of the model there, as a class that was added or removed makes one."""
    decision = replace(bundle.decision, origin=bundle.model_version, revision=1)
    return write_revision(bundle, decision, depot / "models").model_version


def test_models_with_classes_that_no_version_there_names_go(
    home: Home, bundle: Bundle, tmp_path: Path
) -> None:
    """And what a killed copy or removal left of them. Models of training stay, and so does what a
    version that cannot be read may name, which is said."""
    depot = tmp_path / "depot"
    push(home, depot)
    old = revise(depot, bundle)
    for name in (".incoming-m", ".m.01234567.removed"):
        shutil.copytree(depot / "models" / old, depot / "models" / name)
    with open_catalog(home) as catalog:
        done = erase_pushed(home, catalog, depot)
        assert (done.models, done.removed, done.failed) == ([old], [], {})
        assert [path.name for path in (depot / "models").iterdir()] == [bundle.model_version]
        revise(depot, bundle)
        (depot / "indexes" / "v000001" / "manifest.json").write_text("{")
        done = erase_pushed(home, catalog, depot)
        assert "not known which versions need it" in done.failed[f"models/{old}"]
        shutil.rmtree(depot / "indexes" / "v000001")
        done = erase_pushed(home, catalog, depot)
        assert f"delete {depot / 'models' / old}" in done.failed[f"models/{old}"]
        assert (depot / "models" / old).is_dir()


def test_a_version_there_whose_model_holds_an_erased_photo_goes(
    home: Home, bundle: Bundle, tmp_path: Path
) -> None:
    """Though it has no row of the product: unless the home itself serves with that class."""
    depot = tmp_path / "depot"
    push(home, depot)
    held = {bundle.model_version}
    with open_catalog(home) as catalog:
        done = erase_pushed(home, catalog, depot, held)
        assert "also in the home" in done.failed["v000001"]
        for _ in range(2):
            build(home, bundle)
        Versions(home).gc()
        done = erase_pushed(home, catalog, depot, held)
        assert (done.removed, done.failed) == (["v000001"], {})


def test_what_is_not_this_home_s_is_left_alone(home: Home, bundle: Bundle, tmp_path: Path) -> None:
    """Numbers of another catalog mean other products; a damaged version is named; a home, and a
    folder that nothing was pushed to, are refused."""
    depot = tmp_path / "depot"
    push(home, depot)
    other = Home.create(tmp_path / "other")
    with open_catalog(other) as catalog:
        catalog.change_log.identify()
        found = erase_pushed(other, catalog, depot)
    assert "of another catalog" in found.failed["v000001"]
    (depot / "indexes" / "v000001" / "rows.npy").write_bytes(b"damaged")
    with open_catalog(home) as catalog:
        catalog.delete(GONE)
        assert "cannot be read" in erase_pushed(home, catalog, depot).failed["v000001"]
        with pytest.raises(BadHomeError, match="index erase --home"):
            erase_pushed(home, catalog, home.path)
        with pytest.raises(UnknownVersionError, match="nothing was pushed there"):
            erase_pushed(home, catalog, tmp_path)
    assert held(depot) == ["v000001"]


def test_features_of_its_photos_leave_the_cache(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of its own photo and of the recapture go, byte by byte, also after the home was erased;
    those of other photos and of a photo that was stored again stay."""
    monkeypatch.setenv("CATALENS_CACHE", str(tmp_path / "cache"))
    with open_catalog(home) as catalog:
        gone, kept, again = (catalog.get(name).photos[0] for name in (GONE, "p8", "p9"))
        product = catalog.get("p9")
    rows = [gone, recapture_key(gone), kept, again, "e" * 64]
    with closing(FeatureCache(tmp_path / "cache", CACHE)) as cache:
        cache.put([(row, "f" * 64, np.full(8, 3, np.float16)) for row in rows])
    for product_id in (GONE, "p9"):
        assert cli.run(["index", "erase", product_id, "--home", str(home.path)]) == 0
    with open_catalog(home) as catalog:
        put(catalog, product.product_id, add_photo(home, 9))
    capsys.readouterr()
    assert cli.run(["index", "erase", "--cache", "--home", str(home.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outside"]["cached"] == 2
    with closing(FeatureCache(tmp_path / "cache", CACHE)) as cache:
        assert sorted(cache.contents()) == sorted([kept, again, "e" * 64])
    files = b"".join(path.read_bytes() for path in (tmp_path / "cache").iterdir())
    assert bytes.fromhex(gone) not in files
    with open_catalog(home) as catalog:
        assert erase_cached(catalog, tmp_path / "cache") == 0


def test_caches_that_a_user_named_are_erased_too(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder given by ``--cache`` is listed and erased, as the default one is; where such folders
    are not known any more, that one is, and the erasure says that others may be left."""
    monkeypatch.setenv("CATALENS_CACHE", str(tmp_path / "cache"))
    named = tmp_path / "named"
    for command in (["evaluate", "m"], ["train", "d"], ["advise", "d"]):
        folder = named / command[0]
        assert cli.run([*command, "--cache", str(folder)]) != 0
        with open_catalog(home) as catalog, closing(FeatureCache(folder, CACHE)) as cache:
            gone = catalog.get(GONE).photos[0]
            cache.put([(gone, "f" * 64, np.full(8, 3, np.float16))])
    capsys.readouterr()
    for words in (["where"], ["where", "--product", GONE], ["index", "verify", "--erased", GONE]):
        cli.run([*words, "--home", str(home.path), "--json"])
        assert str(named / "train") in capsys.readouterr().out
    erase = ["index", "erase", "--cache", "--home", str(home.path), "--json"]
    assert cli.run([*erase, GONE]) == 0
    assert json.loads(capsys.readouterr().out)["outside"]["cached"] == 3
    (tmp_path / "cache" / "folders.json").write_text("[")
    with closing(FeatureCache(tmp_path / "cache", CACHE)) as cache:
        cache.put([(gone, "f" * 64, np.full(8, 3, np.float16))])
    assert cli.run(erase) == 1
    outside = json.loads(capsys.readouterr().out)["outside"]
    assert (outside["cached"], list(outside["failed"])) == (1, ["caches"])
    assert cli.run(["evaluate", "m", "--cache", str(tmp_path / "other")]) != 0
    assert "CATALENS_CACHE=" in capsys.readouterr().err


def test_a_named_cache_that_is_not_there_is_no_erased_one(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its disk may come back: the erasure fails and names it, `where` lists it, and no folder that
    is named later makes it forgotten."""
    monkeypatch.setenv("CATALENS_CACHE", str(tmp_path / "cache"))
    disk, away = tmp_path / "disk", tmp_path / "away"
    folder = disk / "below" / "features"
    assert cli.run(["evaluate", "m", "--cache", str(folder)]) != 0
    with open_catalog(home) as catalog, closing(FeatureCache(folder, CACHE)) as cache:
        cache.put([(catalog.get(GONE).photos[0], "f" * 64, np.full(8, 3, np.float16))])
    disk.rename(away)
    capsys.readouterr()
    for words in (["where"], ["where", "--product", GONE]):
        assert cli.run([*words, "--home", str(home.path), "--json"]) == 0
        assert str(folder) in capsys.readouterr().out
    assert cli.run(["evaluate", "m", "--cache", str(tmp_path / "other")]) != 0
    erase = ["index", "erase", "--cache", "--home", str(home.path), "--json"]
    capsys.readouterr()
    assert cli.run([*erase, GONE]) == 1
    outside = json.loads(capsys.readouterr().out)["outside"]
    assert list(outside["failed"]) == [str(folder)]
    assert f"mkdir -p {folder}" in outside["failed"][str(folder)]
    folder.mkdir(parents=True)  # a mount point, with nothing mounted there
    with open_catalog(home) as catalog:
        assert str(folder) in [place.path for place in find_places(home, catalog)]
    assert list(erase_outside(home, cache=True, pushed=()).failed) == [str(folder)]
    remove_folder(disk)
    away.rename(disk)
    assert cli.run(erase) == 0
    assert json.loads(capsys.readouterr().out)["outside"]["cached"] == 1


def test_a_link_there_is_named_until_it_is_gone(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its target would stay: refused by name in every run, and so is what a killed removal left;
    a folder that fails keeps no other from being erased."""
    depots = [tmp_path / name for name in ("linked", "broken", "sound")]
    for depot in depots:
        assert cli.run(["index", "push", str(depot), "--home", str(home.path)]) == 0
    linked, broken, sound = depots
    target = tmp_path / "target"
    (linked / "indexes" / "v000001").rename(target)
    (linked / "indexes" / "v000001").symlink_to(target)
    (linked / "indexes" / ".v000000.0a.removed").symlink_to(target)
    (broken / ".transfer.lock").unlink()
    (broken / ".transfer.lock").mkdir()
    words = ["index", "erase", "--home", str(home.path), "--json"]
    for depot in depots:
        words += ["--pushed", str(depot)]
    assert cli.run(["index", "erase", GONE, "--home", str(home.path)]) == 0
    for _ in range(2):
        capsys.readouterr()
        assert cli.run(words) == 1
        outside = json.loads(capsys.readouterr().out)["outside"]
        assert set(outside["failed"]) == {str(linked), str(broken)}
        assert f"v000001: it is a link to {target}: delete that" in outside["failed"][str(linked)]
        assert ".v000000.0a.removed: it is a link" in outside["failed"][str(linked)]
        assert outside["pushed"][str(linked)]["replaced"] == {}
        assert held(sound) == ["v000002"]
        assert (linked / "indexes" / "v000001").is_symlink()
        assert (target / "rows.npy").exists()


def test_folders_noted_at_once_are_all_known(home: Home, tmp_path: Path) -> None:
    """Each noted under the home's lock: none is lost to another that is noted meanwhile."""
    code = (
        "import sys; from pathlib import Path; from indexer.core.home import Home; "
        "from indexer.index.pushed import note_pushed; home = Home(sys.argv[1]); print(1, "
        "flush=True); sys.stdin.readline(); [note_pushed(home, Path(sys.argv[2]) / str(i)) for i "
        "in range(15)]"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home.path), str(tmp_path / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert len(pushed_folders(home)) == 45
