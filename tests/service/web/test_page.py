"""The page as a whole: small, no outside requests, in two languages, usable with a keyboard,
without faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.web.conftest import listing
from tools.browser import faults

READY = {
    "#/": "#grid .card",
    "#/product/cross-red": ".facets .value",
    "#/check": "#file",
    "#/queue": ".reviews .queued, .reviews + p:visible",
    "#/studio": "canvas[data-points]",
}


def test_the_first_view_is_small_and_asks_nobody_else(
    open_page: Callable[..., Any], shop: str
) -> None:
    """All that the first view loads is below 200 kB without photos, and comes from the service."""
    seen: list[Any] = []
    page = open_page(
        "#/", before=lambda page: page.on("response", lambda response: seen.append(response))
    )
    page.wait_for_selector("#grid .card")
    page.wait_for_load_state("networkidle")
    assert {response.url.split("/")[2] for response in seen} == {shop.removeprefix("http://")}
    sizes = {
        response.url: len(response.body())
        for response in seen
        if response.status == 200 and "/v1/images/" not in response.url
    }
    assert any(url.endswith("/web/app.js") for url in sizes)
    assert sum(sizes.values()) < 200_000
    assert all(response.status < 400 for response in seen)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_serious_faults(
    open_page: Callable[..., Any], files: dict[str, Path], several: Path, scheme: str
) -> None:
    """axe-core finds nothing serious or critical: each view, results, objects, a review with
    evidence, why."""
    page = open_page("#/", color_scheme=scheme)
    found = {}
    for hash_, ready in READY.items():
        page.evaluate("hash => { location.hash = hash; }", hash_)
        page.wait_for_selector(ready, state="attached")
        found[hash_] = faults(page)
    page.evaluate("location.hash = '#/'")
    page.wait_for_selector("#grid .card")
    page.set_input_files("#file", several)
    page.locator("button:has-text('Find objects')").click()
    page.wait_for_selector(".objects .object")
    found["objects"] = faults(page)
    page.evaluate("location.hash = '#/check'")
    page.wait_for_selector(".check-bar", state="attached")  # the last view has a #file too
    page.route("**/v1/review", lambda route: route.fulfill(json=listing(1)))
    page.set_input_files("#file", files["ring"])
    page.locator(".check-bar .button").first.click()
    page.wait_for_selector(".verdict")
    found["review"] = faults(page)
    page.evaluate("location.hash = '#/product/cross-red'")
    page.locator("#grid .why").first.click()
    page.wait_for_selector(".pair canvas")
    found["why"] = faults(page)
    assert {name: faulty for name, faulty in found.items() if faulty} == {}


def test_axe_would_find_something(open_page: Callable[..., Any]) -> None:
    """The check above sees a button without a name and grey text on grey."""
    page = open_page("#/check")
    page.wait_for_selector("h1")
    page.evaluate(
        "document.querySelector('h1').style.color = '#eee'; "
        "document.body.append(document.createElement('button'))"
    )
    assert {"button-name", "color-contrast"} <= {fault["rule"] for fault in faults(page)}


@pytest.mark.parametrize("hash_", READY)
def test_a_phone_never_scrolls_sideways(open_page: Callable[..., Any], hash_: str) -> None:
    """At 360 px every view fits, in both languages."""
    page = open_page(hash_, viewport={"width": 360, "height": 720}, has_touch=True, is_mobile=True)
    ready = (
        READY[hash_] if hash_ != "#/product/cross-red" else "#tags .tag"
    )  # filters are folded there
    page.wait_for_selector(ready, state="attached")
    for language in ("en", "zh"):
        page.select_option("#language", language)
        page.wait_for_selector(ready, state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, language


def test_both_languages_say_everything(open_page: Callable[..., Any]) -> None:
    """The languages have the same keys with the same values in them, and each key the page asks for
    is there."""
    page = open_page("#/check")
    texts = page.evaluate("async () => (await import('/web/strings.js')).TEXTS")
    english, chinese = texts["en"], texts["zh"]
    assert set(english) == set(chinese)
    import re

    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key
    web = Path(__file__).parents[3] / "service" / "web"
    used = {
        key
        for path in web.iterdir()
        if path.suffix in (".js", ".html") and path.name != "strings.js"
        for key in re.findall(
            r"""(?:\bt\(|data-t=)["']([a-z][\w.-]*)["']""", path.read_text(encoding="utf-8")
        )
    }
    assert len(used) > 100
    assert used - set(english) == set()


def test_the_keyboard_reaches_a_result_and_comes_back(open_page: Callable[..., Any]) -> None:
    """Tab reaches the skip link first; it leads to the content; a followed result moves the focus
    to its title."""
    page = open_page("#/")
    page.wait_for_selector("#grid .card")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#grid .card").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.id === 'query-title'")
    page.go_back()
    page.wait_for_selector("h1:has-text('Find it by its looks'):visible")


def test_a_service_that_went_away_is_said(open_page: Callable[..., Any]) -> None:
    """Without an answer the page says so in words and offers to try again, which works once there
    is one."""
    page = open_page("#/check")
    page.route("**/v1/products?*", lambda route: route.abort())
    page.evaluate("location.hash = '#/'")
    page.wait_for_selector("#notice:has-text('Is it running?')")
    page.unroute("**/v1/products?*")
    page.click("#notice-actions button:has-text('Try again')")
    page.wait_for_selector("#grid .card")
    assert not page.is_visible("#notice")


def test_a_key_is_asked_for_once(open_page: Callable[..., Any]) -> None:
    """Where the service wants a key a dialog takes it; a wrong one is said; photos then come with
    it."""
    page = open_page("#/check")
    key = "a-key-of-this-shop-1"

    def guard(route: Any) -> None:
        if route.request.headers.get("authorization") == f"Bearer {key}":
            route.continue_()
        else:
            route.fulfill(
                status=401,
                json={"status": 401, "code": "unauthorized", "detail": "a key is needed"},
            )

    page.route("**/v1/**", guard)
    page.evaluate("location.hash = '#/'")
    page.fill("dialog #key", "wrong-wrong-wrong-1")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog .wrong:visible")
    page.fill("dialog #key", key)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#grid .card img')].filter(i => i.naturalWidth > "
        "0).length > 5"
    )
    assert page.locator("dialog").count() == 0


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString/x", "hasOwnProperty"])
def test_an_address_of_no_view_leads_to_the_search(
    open_page: Callable[..., Any], name: str
) -> None:
    """Names that every object has are no views; no script fails."""
    page = open_page(f"#/{name}")
    page.wait_for_selector("#grid .card")


def test_the_page_shows_who_asks(open_page: Callable[..., Any]) -> None:
    """Name and role of the key stand in the header, as text; a click forgets the key."""
    asked = []

    def answer(route: Any) -> None:
        asked.append(route.request.headers.get("authorization"))
        route.fulfill(json={"name": "<b>jane</b>", "role": "review"})

    def prepare(page: Any) -> None:
        page.add_init_script("sessionStorage.setItem('key', 'a-key')")
        page.route("**/v1/whoami", answer)

    page = open_page("#/", before=prepare)
    page.wait_for_selector("#who:not([hidden])")
    assert page.text_content("#who") == "<b>jane</b> · review"
    assert asked == ["Bearer a-key"]
    page.select_option("#language", "zh")
    assert page.text_content("#who") == "<b>jane</b> · 审核"
    quiet = open_page("#/")
    quiet.wait_for_selector("#grid .card")
    quiet.wait_for_load_state("networkidle")
    assert quiet.is_hidden("#who")
