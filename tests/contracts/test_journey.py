"""The whole way on the command line: train, import, index, ask, switch back; and the same without
any label."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tools import cli
from tools.sample_catalog import make_sample_catalog

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journey")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Path:
    return make_sample_catalog(folder / "catalog", products=72, size=128)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command with ``--json`` and return its document; it must exit 0."""
    monkeypatch.setenv("CATALENS_CACHE", str(folder / "cache"))

    def run(*words: object) -> Any:
        code = cli.run([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)

    return run


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must exit 1 with one line of reason; the reason."""
    assert cli.run([*map(str, words)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    reasons = [line for line in err.splitlines() if line.startswith("catalens: ")]
    assert len(reasons) == 1
    return reasons[0]


@pytest.mark.long
def test_from_photos_to_answers(
    ask: Any, capsys: pytest.CaptureFixture[str], folder: Path, manifest: Path
) -> None:
    """Each command does its part, and the last ones know the product: its kind first, itself the
    most similar."""
    model, home = folder / "model", folder / "home"
    trained = ask("train", manifest, "--out", model)
    assert trained["photos"]["train"] > 0
    figures = ask("evaluate", model, manifest, "--report", folder / "report")
    assert figures["accuracy"] > 0.6  # of 16 kinds, a few products each
    low, high = figures["intervals"]["accuracy"]
    assert low <= figures["accuracy"] <= high
    assert json.loads((folder / "report" / "evaluation.json").read_text()) == figures

    assert ask("import", manifest, "--home", home, "--dry-run")["added"] == 72
    assert not home.exists()
    assert ask("import", manifest, "--home", home)["added"] == 72
    again = ask("import", manifest, "--home", home)
    assert (again["added"], again["replaced"], again["unchanged"]) == (0, 0, 72)
    assert ask("schema", "--home", home)["attributes"]["price"] == "number"

    # The test of the quickstart exports; this one need not.
    build = ("index", "build", "--home", home, "--no-export")
    built = ask(*build, "--model", model, "--activate")
    assert built["version"] == "v000001"
    assert built["products"] == 72
    assert [row["active"] for row in ask("model", "list", "--home", home)["models"]] == [True]

    photo = manifest.parent / "images" / "backpack-0001-1.jpg"
    assert ask("classify", photo, "--home", home)["categories"][0]["path"][-1] == "Backpack"
    found = ask("similar", photo, "--home", home, "-k", 5)["results"]
    assert len(found) == 5
    assert found[0]["product_id"] == "backpack-0001"
    assert found[0]["score"] == pytest.approx(1.0, abs=2e-3)
    like = ask("similar", "--product", "backpack-0001", "--home", home)["results"]
    assert "backpack-0001" not in {row["product_id"] for row in like}
    assert "backpack" in {row["tag"] for row in ask("tags", photo, "--home", home)["tags"]}

    second = ask("index", "build", "--home", home, "--activate")
    assert (second["version"], second["embedded"]) == ("v000002", 0)
    assert ask("index", "rollback", "--home", home)["index_version"] == "v000001"
    assert ask("index", "activate", "v000002", "--home", home)["index_version"] == "v000002"
    assert ask("index", "verify", "--home", home)["verified"] == ["v000001", "v000002"]

    assert "no product 'nope'" in refused(capsys, "similar", "--product", "nope", "--home", home)
    assert "v000009" in refused(capsys, "index", "activate", "v000009", "--home", home)
    assert "not.jpg" in refused(capsys, "classify", folder / "not.jpg", "--home", home)
    assert "products.csv" not in refused(capsys, "classify", manifest, "--home", home)


def test_without_any_label(
    ask: Any, capsys: pytest.CaptureFixture[str], folder: Path, manifest: Path
) -> None:
    """A plain folder of photos and no training: similar works, classify says that there are no
    categories."""
    plain, home = folder / "plain", folder / "plain-home"
    plain.mkdir()
    for photo in sorted((manifest.parent / "images").glob("*-1.jpg"))[:12]:
        shutil.copy(photo, plain)
    (plain / "notes.jpg").write_text("no photo at all")
    report = ask("import", plain, "--home", home)
    assert report["added"] == 12
    assert [row["where"] for row in report["skipped"]] == ["notes.jpg"]
    assert ask("index", "build", "--home", home, "--activate")["entries"] == 12
    found = ask("similar", plain / "backpack-0001-1.jpg", "--home", home)["results"]
    assert found[0]["product_id"] == "backpack-0001-1"
    assert len(found) == 12
    assert "no categories" in refused(
        capsys, "classify", plain / "backpack-0001-1.jpg", "--home", home
    )
