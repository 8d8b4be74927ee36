"""A shop's export becomes a searchable home in one go, and a start that was cut off goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.core.errors import BadDataError, NothingImportedError, TrainingError
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.fetch.settings import FetchSettings
from indexer.index.version import Versions
from tests.indexer.conftest import KINDS, draw
from tools import start as job


def shopify(folder: Path, count: int) -> Path:
    """An export of ``count`` products in two variants each, photos beside it."""
    lines = [
        "Handle,Title,Vendor,Product Category,Tags,Published,Option1 Name,Option1 Value,"
        "Variant SKU,Variant Inventory Qty,Variant Price,Image Src,Variant Image,Status"
    ]
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        photo = f"{number}.png"
        draw(kind, number).save(folder / photo)
        lines.append(
            f"p-{number},Thing {number},Acme,Shapes > {kind},new,true,Size,S,SKU-{number}-S,3,"
            f"9.50,{photo},{photo},active"
        )
        lines.append(f"p-{number},,,,,,,M,SKU-{number}-M,0,9.50,,{photo},")
    path = folder / "shopify.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_an_export_becomes_searchable_first_products_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six of twelve variants are there first, over all categories, with an active index; then the
    rest. Run again, nothing is done twice. Labels that do not suffice are said to."""
    monkeypatch.setattr(job, "FIRST", 6)
    feed = shopify(tmp_path, 6)
    plan = job.plan_start(str(feed), tmp_path / "home", ImportOptions(), FetchSettings())
    job.take_first(plan)
    home = Home(tmp_path / "home")
    (first,) = Versions(home).list()
    assert home.active() is not None
    assert 6 <= first.counts["products"] < 12
    said = " / ".join(plan.state.decisions)
    assert "profile shopify" in said
    assert "no training: 0 categories have 5 products or more" in said
    assert "not exported" in said
    again = job.plan_start(str(feed), tmp_path / "home", ImportOptions(), FetchSettings())
    assert again.state.first_done
    job.take_first(again)
    assert len(Versions(home).list()) == 1
    report = job.take_rest(again)
    assert report is not None
    assert Versions(home).list()[-1].counts["products"] == 12
    assert job.take_rest(again) is None
    assert json.loads((plan.folder / "state.json").read_text())["rest_done"] is True


def test_what_cannot_be_taken_in_is_said_and_leaves_no_index(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="does not exist"):
        job.plan_start("none.csv", tmp_path / "home", ImportOptions(), FetchSettings())
    feed = tmp_path / "feed.csv"
    feed.write_text("product_id,image\n1,gone.png\n")
    plan = job.plan_start(str(feed), tmp_path / "home", ImportOptions(), FetchSettings())
    with pytest.raises(NothingImportedError, match=r"gone\.png"):
        job.take_first(plan)
    assert Home(tmp_path / "home").active() is None


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_training_read_is_private_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Whether the training ended well or not."""
    lines = ["product_id,image,category"]
    for number in range(12):
        draw(KINDS[number % 2], number).save(tmp_path / f"{number}.png")
        lines.append(f"p-{number},{number}.png,Shapes > {KINDS[number % 2]}")
    feed = tmp_path / "feed.csv"
    feed.write_text("\n".join(lines) + "\n")
    Home.create(tmp_path / "home").path.chmod(0o755)
    plan = job.plan_start(str(feed), tmp_path / "home", ImportOptions(), FetchSettings())
    assert (plan.folder / "state.json").stat().st_mode & 0o777 == 0o600
    job._import(plan)
    seen = []

    def train(manifest: Path, model: Path, **_: object) -> SimpleNamespace:
        seen.append((len(manifest.read_text().splitlines()), manifest.stat().st_mode & 0o777))
        if fails:
            raise TrainingError("too little")
        return SimpleNamespace(validation={})

    monkeypatch.setattr("indexer.training.train.train", train)
    assert (job._train(plan) is None) is fails
    assert seen == [(12, 0o600)]
    assert not (plan.folder / "train.jsonl").exists()


def test_the_rest_ends_with_the_page_however_that_ends(tmp_path: Path) -> None:
    """Its standard input closes when the process that started it is killed, too. Beside the page it
    comes second, and takes no more memory than a worker may."""
    code = (
        "import time; from indexer.core import process_limits; from tools.start import "
        "follow_page; follow_page(); print(process_limits._watch is not None, "
        "open('/proc/self/oom_score_adj').read(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().split() == [b"True", b"1000"]
        assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 10
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == 1


def test_a_feed_that_changed_is_taken_in_again(tmp_path: Path) -> None:
    """The state says by content whether all of this feed was taken in."""
    feed = tmp_path / "feed.csv"
    feed.write_text("product_id,image\n1,1.png\n")
    plan = job.plan_start(str(feed), tmp_path / "home", ImportOptions(), FetchSettings())
    plan.state.first_done = plan.state.rest_done = True
    plan.save()
    same = job.plan_start(str(feed), tmp_path / "home", ImportOptions(), FetchSettings())
    assert same.state.rest_done
    feed.write_text("product_id,image\n1,1.png\n2,2.png\n")
    changed = job.plan_start(str(feed), tmp_path / "home", ImportOptions(), FetchSettings())
    assert (changed.state.first_done, changed.state.rest_done) == (True, False)


def test_the_rest_of_an_address_is_read_from_the_copy_of_the_start(tmp_path: Path) -> None:
    """Nobody is asked a second time, though nobody would answer."""
    address = "https://shop.invalid/export.csv"
    folder = Home.create(tmp_path / "home").path / "start"
    folder.mkdir()
    (folder / "start.feed.csv").write_text("product_id,image\n")
    plan = job.plan_start(address, tmp_path / "home", ImportOptions(), FetchSettings(), rest=True)
    assert plan.data == folder / "start.feed.csv"
