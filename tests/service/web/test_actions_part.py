"""What was done, in the studio: shown, and undone once it was said what changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from indexer.core.actor import acting, doing
from indexer.index_build.pipeline import build_index
from indexer.model.registry import by_version
from indexer.reviews.store import Preview
from service.engine import Engine
from service.products.writer import Draft
from service.settings import Settings
from tests.service.conftest import photo
from tests.service.web.conftest import listing
from tools.browser import faults, serving_engine


@pytest.fixture(scope="module")
def shop_with_past(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A shop in which Anna imported a feed, Ben changed one of its titles since, Carl activated a
    version and Dora approved a listing."""
    home = tmp_path_factory.mktemp("past") / "home"
    shutil.copytree(template, home)
    quiet = structlog.wrap_logger(structlog.ReturnLogger())
    with Engine(Settings(home=home, poll_s=0.05), log=quiet) as engine:
        with acting("Anna <b>A.</b>"), doing("import", "spring.csv"):
            for name in ("ring-blue", "a/similar", "cross-red"):
                engine.products.patch(name, {"title": "SALE"})
            engine.products.put(
                "extra", Draft(title="Extra", photos=(photo("ring", "red", turn=33),))
            )
        with acting("Ben"):
            engine.products.patch("a/similar", {"title": "By Ben"})
        active = engine.home.active()
        assert active is not None
        with acting("Carl"):
            build_index(
                engine.home, bundle=by_version(engine.home, active.model_version), activate=True
            )
        with acting("Dora"):
            made = engine.reviews.submit(
                listing(1), [Preview("0" * 64, photo("ring", "red"))], product_id=None
            )
            engine.review_database.reviews.decide(made, "approve", reason="fine")
        yield engine


@pytest.fixture(scope="module")
def past(shop_with_past: Engine) -> Iterator[str]:
    """Its address."""
    with serving_engine(shop_with_past) as address:
        yield address


def open_studio(chrome: Any, address: str, **options: Any) -> Any:
    """The studio in a new window, once its actions stand there."""
    context = chrome.new_context(locale="en-GB", **options)
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.goto(f"{address}/#/studio")
    page.wait_for_selector(".actions-part .done")
    return page


def lines(page: Any, where: str) -> list[str]:
    """The texts of a list's entries."""
    return page.locator(f"{where} li").all_inner_texts()


def test_an_import_is_undone_once_it_was_said_what_that_changes(
    chrome: Any, past: str, shop_with_past: Engine
) -> None:
    """Who, what, when and how many stand there; the question says what comes back, what is erased
    and what stays, and nothing changes before it is confirmed; then the page says what became of
    it, and that it can be undone no more. Names are text. Nobody needs a mouse."""
    engine = shop_with_past
    page = open_studio(chrome, past)
    row = page.locator(".done[data-kind=import]")
    told = row.inner_text()
    assert told.startswith("Import · spring.csv\n\nby Anna <b>A.</b> · ")
    assert "3 changed · 1 added" in told
    assert page.locator(".done[data-kind=write]").count() == 0
    row.get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog h2:has-text('Undo “Import · spring.csv”?')")
    assert lines(page, "dialog .consequences") == [
        "2 products get back what they had.",
        "1 product that it added is erased, for good.",
    ]
    assert lines(page, "dialog .stays") == ["a/similar · title · changed since"]
    assert page.evaluate("document.activeElement.textContent") == "Leave it as it is"
    assert faults(page) == []
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    assert engine.catalog.get("ring-blue").title == "SALE"
    row.get_by_role("button").click()
    page.click("dialog button:text-is('Undo')")
    page.wait_for_selector(".undone h3:has-text('Undone: Import · spring.csv')")
    assert page.evaluate("document.activeElement.tagName") == "H3"
    assert lines(page, ".undone .consequences") == [
        "2 products have again what they had.",
        "1 product that it had added was erased.",
    ]
    assert lines(page, ".undone .stays") == ["a/similar · title · changed since"]
    assert "null" not in page.inner_text(".undone")
    assert engine.catalog.get("ring-blue").title == "blue ring"
    assert engine.catalog.get("a/similar").title == "By Ben"
    assert "extra" not in engine.catalog.product_ids()
    page.wait_for_selector(".done[data-kind=import][data-state=undone]")
    assert row.get_by_role("button").count() == 0
    undo = page.locator(".done[data-kind=undo]").inner_text()
    assert undo.startswith("Undo · Import")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.check("#single-writes")
    page.wait_for_selector(".done[data-kind=write]:has-text('by Ben')")
    page.context.close()


def test_an_activation_and_a_decision_are_undone_from_the_studio(
    chrome: Any, past: str, shop_with_past: Engine
) -> None:
    """On a phone, in Chinese too: what serves again is said first; the listing waits again."""
    engine = shop_with_past
    phone = {"viewport": {"width": 360, "height": 720}, "has_touch": True, "is_mobile": True}
    page = open_studio(chrome, past, **phone)
    assert "by Carl" in page.inner_text(".done[data-kind=activation]")
    page.click(".done[data-kind=activation] button")
    page.wait_for_selector("dialog li:has-text('v000001 serves again instead of v000002.')")
    page.click("dialog button:text-is('Undo')")
    page.wait_for_selector(".undone h3:has-text('Activation')")
    page.wait_for_selector(".version.active:has-text('v000001')")
    assert page.locator(".done[data-kind=activation] button").count() == 1
    decided = page.locator(".done[data-kind=decision]")
    assert decided.inner_text().startswith("Decision of the queue · Approved · ")
    assert "by Dora" in decided.inner_text()
    page.select_option("#language", "zh")
    page.click(".done[data-kind=decision] button")
    page.wait_for_selector("dialog li:has-text('此商品重新进入队列等待。')")
    assert "没有标题的商品 · fine" in page.inner_text("dialog")
    page.click("dialog button:text-is('撤销')")
    page.wait_for_selector(".done[data-kind=decision][data-state=undone]")
    assert engine.reviews.counts()["open"] == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.context.close()


@pytest.mark.parametrize(("role", "sees"), [("search", False), ("write", True)])
def test_who_may_not_undo_is_not_asked_to(chrome: Any, past: str, role: str, sees: bool) -> None:
    """A key of staff sees what was done and nothing to press; one of a shop's page sees none."""
    context = chrome.new_context(locale="en-GB")
    context.set_default_timeout(15_000)
    page = context.new_page()
    caller = {"name": "shop", "role": role}
    page.route("**/v1/whoami", lambda route: route.fulfill(json=caller))
    page.goto(f"{past}/#/studio")
    page.wait_for_selector(".versions-part .version")
    if sees:
        page.wait_for_selector(".done")
    else:
        page.wait_for_load_state("networkidle")
    assert page.is_visible("#actions-title") is sees
    assert page.locator(".actions-part .done button").count() == 0
    context.close()


def test_an_undo_that_is_refused_is_said_in_words(chrome: Any, past: str) -> None:
    """Somebody else was faster: the reason stands there, nothing is asked, the list is read
    anew."""
    page = open_studio(chrome, past)
    late = {"status": 409, "code": "not-undoable", "detail": "undone already, by <i>x</i>"}
    late |= {"title": "x", "type": "x", "request_id": "r"}
    page.route("**/v1/actions/*:undo", lambda route: route.fulfill(status=409, json=late))
    page.locator(".actions-part .done button").first.click()
    page.wait_for_selector("#notice:has-text('undone already, by <i>x</i>')")
    page.wait_for_selector("dialog", state="detached")
    page.context.close()
