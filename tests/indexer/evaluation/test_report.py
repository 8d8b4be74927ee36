"""The evaluation's report: one page that needs nothing else, whatever the labels hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from indexer.evaluation.evaluate import measure
from indexer.evaluation.plots import confusion, short_labels, tag_rows, wilson
from indexer.evaluation.report import headlines, percent, render, write_report
from indexer.evaluation.results import EvaluationResults
from indexer.evaluation.thumbnails import photo_sheet, small_photos
from indexer.model.calibration import brier_score, perfect_calibration_error, reliability_bins
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from tests.indexer.conftest import draw

HOSTILE = "<script>alert(1)</script> & {{ 7*7 }}"


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory, feature_cache: Path) -> EvaluationResults:
    """A model of drawn shapes under hostile names, with tags and an attribute, measured on its test
    split."""
    folder = tmp_path_factory.mktemp("report")
    lines = []
    for kind, label in (
        ("disc", f"Round > {HOSTILE}"),
        ("square", "Square > a"),
        ("stripes", "Stripes > a"),
    ):
        for number in range(12):
            draw(kind, number).save(folder / f"{kind}{number}.png")
            row = {
                "image": f"{kind}{number}.png",
                "category": label,
                "title": HOSTILE,
                "tags": [kind, HOSTILE],
            }
            row["split"] = "train" if number < 6 else "validation" if number < 8 else "test"
            lines.append(
                json.dumps({**row, "pattern": "striped" if kind == "stripes" else "plain"})
            )
    (folder / "p.jsonl").write_text("\n".join(lines))
    train(
        folder / "p.jsonl",
        folder / "m",
        TrainingOptions(epochs=3, device="cpu", cache=feature_cache),
    )
    return measure(folder / "m", folder / "p.jsonl", device="cpu", cache=feature_cache)


@pytest.fixture(scope="module")
def page(evidence: EvaluationResults) -> str:
    return render(evidence, model=HOSTILE, data="<b>shop</b>")


def test_the_page_asks_for_nothing_outside(page: str) -> None:
    """Every source is inside the page, and its policy forbids any other."""
    assert "default-src 'none'" in page
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert {source[:5] for source in sources} <= {
        "data:",
        *(source[:5] for source in sources if source[0] == "#"),
    }
    assert "@import" not in page
    assert not re.search(r"https?://", page)


def test_labels_with_markup_are_shown_as_text(page: str) -> None:
    """A label is never markup, neither in the page nor in the data its script reads."""
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ 7*7 }}" in page
    assert "<b>shop</b>" not in page


def test_the_page_holds_what_it_promises(page: str, evidence: EvaluationResults) -> None:
    """Every section stands there, with a photo for each of the test products on the map."""
    for section in (
        "figures",
        "classes",
        "confusion",
        "calibration",
        "attributes",
        "tags",
        "map",
        "neighbours",
    ):
        assert f'id="{section}"' in page, section
    assert page.count("data:image/jpeg;base64,") > 20
    assert f"{evidence.figures['accuracy']:.3f}" in page
    [data] = re.findall(r'id="map-data">(.*?)</script>', page)
    assert len(json.loads(data)["points"]) == 12


def test_the_same_evidence_gives_the_same_page(
    page: str, evidence: EvaluationResults, tmp_path: Path
) -> None:
    """Two writes are equal byte for byte, and the figures stand beside the page."""
    written = write_report(evidence, tmp_path / "r", model=HOSTILE, data="<b>shop</b>")
    assert written.read_text(encoding="utf-8") == page
    assert (
        json.loads((tmp_path / "r" / "evaluation.json").read_text())["n"]
        == evidence.figures["n"]
        == 12
    )


def test_evaluate_names_calibration_before_and_after(evidence: EvaluationResults) -> None:
    """The figures at the top are those after temperature; all are computed from the very same
    logits."""
    figures, found = evidence.figures, evidence.classified
    assert found is not None
    calibration = figures["calibration"]
    assert {name: figures[name] for name in ("ece", "nll", "brier")} == calibration["after"]
    one_hot = np.eye(3)[found.truth]
    assert figures["brier"] == pytest.approx(((found.probabilities - one_hot) ** 2).sum(1).mean())
    assert calibration["before"]["nll"] == pytest.approx(
        float(
            np.mean(np.log(np.exp(found.logits).sum(1)) - found.logits[np.arange(12), found.truth])
        ),
        rel=1e-4,
    )
    assert figures["intervals"]["accuracy_by_level.0"][0] <= figures["accuracy_by_level"][0]


def test_confusion_keeps_the_classes_with_most_mistakes() -> None:
    """Three classes, room for two: the one never mistaken is left out, and rows keep their full
    totals."""
    names = [("a",), ("b",), ("c",)]
    truth, predicted = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 0, 2, 2])
    matrix = confusion(truth, predicted, names, limit=2)
    assert (matrix.labels, matrix.left_out, matrix.totals) == (["a", "b"], 1, [2, 1])
    assert [(cell.row, cell.column, cell.count, cell.share) for cell in matrix.cells] == [
        (0, 0, 1, 0.5),
        (0, 1, 1, 0.5),
        (1, 0, 1, 1.0),
    ]


def test_labels_are_as_short_as_they_can_be_and_no_shorter() -> None:
    paths = [("Men", "Shoes"), ("Women", "Shoes"), ("Women", "Bags")]
    assert short_labels(paths) == ["Men › Shoes", "Women › Shoes", "Bags"]


def test_tag_rows_in_values() -> None:
    actual = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]], bool)
    suggested = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 0]], bool)
    assert tag_rows(["x", "y", "z"], actual, suggested) == [
        {
            "tag": "x",
            "n": 2,
            "suggested": 1,
            "precision": 1.0,
            "recall": 0.5,
            "f1": pytest.approx(2 / 3),
        },
        {"tag": "y", "n": 0, "suggested": 1, "precision": 0.0, "recall": None, "f1": 0.0},
    ]


def test_calibration_helpers_in_values() -> None:
    chances = np.array([[0.8, 0.2], [0.6, 0.4]])
    assert brier_score(chances, np.array([0, 1])) == pytest.approx(
        ((0.2**2 + 0.2**2) + (0.6**2 + 0.6**2)) / 2
    )
    bins = reliability_bins(np.array([0.9, 0.5, 0.7, 0.3]), np.array([1.0, 0.0, 1.0, 0.0]), bins=2)
    assert bins == [(pytest.approx(0.4), 0.0, 2), (pytest.approx(0.8), 1.0, 2)]
    assert perfect_calibration_error(np.ones(50)) == 0.0
    few, many = (
        perfect_calibration_error(np.full(50, 0.7)),
        perfect_calibration_error(np.full(5000, 0.7)),
    )
    assert 0 < many < few / 5
    low, high = wilson(0.9, 100)
    assert (low, high) == (pytest.approx(0.8256, abs=1e-3), pytest.approx(0.9448, abs=1e-3))


def test_a_photo_that_is_gone_leaves_a_gap_and_no_failure(tmp_path: Path) -> None:
    draw("disc", 0).save(tmp_path / "a.png")
    files = [tmp_path / "a.png", tmp_path / "gone.png"]
    assert list(small_photos(files, 64)) == files[:1]
    sheet = photo_sheet(files, 32)
    assert (sheet.columns, sheet.rows) == (2, 1)


def test_figures_the_data_cannot_give_are_left_out() -> None:
    assert headlines({"accuracy": None, "map": 0.5, "intervals": {}}) == [
        {
            "value": 0.5,
            "name": "mAP",
            "says": "same-category products ranked before all others",
            "interval": None,
        }
    ]
    assert [percent(value) for value in (None, 0.5, 0.994, 1.0, 0.004)] == [
        "–",
        "50%",
        "99.4%",
        "100%",
        "0.4%",
    ]
