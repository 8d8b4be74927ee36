"""A glossary that people edit by hand: a wrong one is told to the operator, never to a shopper."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.operations.verification import verify_home
from indexer.text.glossary import MOST_TERMS, Glossary, glossary_file, read_glossary, set_glossary
from service.alerts.probes import GlossaryProbe
from service.app import create_app
from service.engine import Engine
from service.query import glossary_file as module
from service.query.glossary_file import GlossaryFile
from service.settings import Settings

BAD = "shirt,Hemd\n"


def test_a_wrong_file_refuses_no_search_and_shows_no_path(own_home: Path) -> None:
    (own_home / "glossary.csv").write_text(BAD)
    with Engine(Settings(home=own_home), watch=False) as engine:
        client = create_app(engine, engine.settings).test_client()
        answer = client.post("/v1/search", json={"text": "红色", "k": 3})
        said = answer.get_data(as_text=True)
        assert answer.status_code == 200, said
        assert str(own_home) not in said


def test_the_last_good_one_stays_and_the_reason_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.create(tmp_path / "home")
    path, glossary = glossary_file(home), GlossaryFile(home)
    assert glossary.current().translate("红色").strip() == "red"
    path.write_text("term,words\n圆环,ring\n", encoding="utf-8")
    assert glossary.current().translate("圆环").strip() == "ring"
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    with capture_logs() as logs:
        path.write_text(BAD)
        for _ in range(3):
            assert glossary.current().translate("圆环").strip() == "ring"
    assert [(entry["event"], str(path) in entry["reason"]) for entry in logs] == [
        ("bad-glossary", True)
    ]
    (cause,) = GlossaryProbe(home).causes()
    assert "first line" in cause.detail
    assert str(home.path) not in cause.detail
    (damage,) = verify_home(home.path).damages
    assert (damage.where, "glossary import" in damage.mend) == ("glossary.csv", True)
    path.unlink()
    assert glossary.current().translate("圆环") == "圆环"
    assert not list(GlossaryProbe(home).causes())


def test_very_many_terms_are_refused_and_as_many_as_may_be_are_quick(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    file = tmp_path / "own.csv"
    rows = "".join(f"t{number}x,w{number}\n" for number in range(MOST_TERMS + 1))
    file.write_text("term,words\n" + rows)
    with pytest.raises(BadDataError, match="50,000 terms"):
        set_glossary(home, file)
    file.write_bytes(b"x" * (5 << 20))
    with pytest.raises(BadDataError, match="more than 4,194,304 bytes"):
        set_glossary(home, file)
    file.write_text("term,words\n" + rows[: rows.rindex("t")])
    assert set_glossary(home, file) == MOST_TERMS
    started = time.process_time()
    glossary = Glossary(read_glossary(glossary_file(home)))
    assert glossary.translate("t7x t49999x t7xy " * 20).split()[:3] == ["w7", "w49999", "t7xy"]
    assert time.process_time() - started < 3


def test_nobody_waits_for_a_file_that_is_read(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    glossary = GlossaryFile(home)
    before = glossary.current()
    glossary_file(home).write_text("term,words\n圆环,ring\n", encoding="utf-8")
    os.utime(glossary_file(home))
    with glossary._lock:
        assert glossary.current() is before
    assert glossary.current() is not before
