"""The search view in a real browser: ways in, a part of the photo, filters, weights, why, pages,
failures."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.engine import Engine
from service.query import classify
from service.query.query import Query
from tests.service.web.conftest import EVIL

RESULTS = "#grid .card"


def search(page: Any, act: Callable[[], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the next search was asked, and what it was answered."""
    asks = ("/v1/search", "/v1/describe")
    with page.expect_response(lambda response: response.url.endswith(asks)) as found:
        act()
    sent = page.evaluate(
        "asks => window.sent.filter(([address]) => asks.includes(address)).at(-1)[1]", asks
    )
    return sent, found.value.json()


def shows(page: Any, answer: dict[str, Any]) -> bool:
    """Whether the grid holds exactly these results, in order."""
    wanted = [row["product_id"] for row in answer["results"]]
    page.wait_for_function(
        "wanted => JSON.stringify([...document.querySelectorAll('#grid .card')].map(c => "
        "c.dataset.id)) === wanted",
        arg=json.dumps(wanted, ensure_ascii=False, separators=(",", ":")),
    )
    return True


def test_a_photo_is_searched_and_described(
    open_page: Callable[..., Any], files: dict[str, Path]
) -> None:
    """A chosen photo: similar products in the service's order, category and tags; a tag shows who
    speaks for it."""
    page = open_page()
    page.wait_for_selector(RESULTS)
    sent, answer = search(page, lambda: page.set_input_files("#file", files["ring"]))
    assert sent["image"] == "file"
    assert shows(page, answer)
    assert answer["results"][0]["product_id"] == "a/similar"
    page.wait_for_selector("#categories li:has-text('ring')")
    assert page.inner_text("h1:visible") == "ring"
    page.click("#tags .tag >> nth=0")
    assert page.locator("#supporters a").count() >= 1
    assert page.locator(".card.supports").count() >= 1


def test_a_photo_of_an_unknown_kind_gets_no_name(
    open_page: Callable[..., Any], files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No category as headline nor as bars, whichever version answers; the reason and the nearest
    kinds instead."""
    monkeypatch.setattr(classify, "is_unknown_kind", lambda *_: True)
    page = open_page()
    page.wait_for_selector(RESULTS)
    for withheld in (False, True):
        monkeypatch.setattr(classify, "_names_nothing", lambda _, said=withheld: said)
        search(page, lambda: page.set_input_files("#file", files["ring"]))
        page.wait_for_selector("h1:has-text('Not a kind this shop knows')")
        page.wait_for_selector(".stranger a[href='#/words/ring']")
        assert page.locator("#categories li").count() == 0
        assert page.inner_text(".stranger a >> nth=0") == "ring"
    assert page.locator("#tags li").count() == 0
    assert "guesses" in page.inner_text(".fact-list")


def test_a_photo_is_sent_once(open_page: Callable[..., Any], files: dict[str, Path]) -> None:
    """Results, categories and tags come with one answer: from a phone each sending of five
    megabytes takes fourteen seconds. Its failure is said."""
    page = open_page()
    page.wait_for_selector(RESULTS)
    search(page, lambda: page.set_input_files("#file", files["ring"]))
    page.wait_for_selector("#categories li:has-text('ring')")
    page.wait_for_selector("#tags .tag")
    page.wait_for_load_state("networkidle")
    carried = "window.sent.filter(([, fields]) => fields?.image).map(([address]) => address)"
    assert page.evaluate(carried) == ["/v1/describe"]
    page.route("**/v1/describe", lambda route: route.abort())
    page.set_input_files("#file", files["cross"])
    page.wait_for_selector("#notice:not([hidden])")


def test_a_photo_is_dropped_and_pasted(
    open_page: Callable[..., Any], files: dict[str, Path]
) -> None:
    """Dropping and pasting do what choosing does."""
    page = open_page()
    page.wait_for_selector(RESULTS)
    data = base64.b64encode(files["cross"].read_bytes()).decode()
    carry = """([kind, data]) => {
        const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
        const held = new DataTransfer();
        held.items.add(new File([bytes], "cross.png", { type: "image/png" }));
        const options = { bubbles: true, cancelable: true };
        document.body.dispatchEvent(kind === "drop"
          ? new DragEvent("drop", { ...options, dataTransfer: held })
          : new ClipboardEvent("paste", { ...options, clipboardData: held }));
    }"""
    for kind in ("drop", "paste"):
        _, answer = search(page, lambda kind=kind: page.evaluate(carry, [kind, data]))
        assert answer["results"][0]["product_id"] == "红色 连衣裙/1", kind
        assert shows(page, answer)


def test_a_part_of_the_photo_is_chosen_by_mouse_and_keyboard(
    open_page: Callable[..., Any], files: dict[str, Path]
) -> None:
    """The box sends px of the upright photo; dragging draws, arrows move, Shift and arrows size; it
    never leaves it."""
    page = open_page()
    search(page, lambda: page.set_input_files("#file", files["large"]))
    button = page.locator("button:has-text('Choose a part')")
    sent, answer = search(page, button.click)
    assert sent["crop"] == [160, 160, 480, 480]
    assert shows(page, answer)
    page.wait_for_selector("#categories li:not(.waiting)")
    sent, _ = search(page, lambda: page.keyboard.press("ArrowRight"))
    assert sent["crop"] == [176, 160, 480, 480]
    sent, _ = search(page, lambda: page.keyboard.press("Shift+ArrowDown"))
    assert sent["crop"] == [176, 160, 480, 496]
    area = page.locator(".crop").bounding_box()
    scale = area["width"] / 800
    assert scale < 0.6, "the photo is shown smaller than it is"

    def draw() -> None:
        page.mouse.move(area["x"] + 20 * scale, area["y"] + 40 * scale)
        page.mouse.down()
        page.mouse.move(area["x"] + 320 * scale, area["y"] + 900 * scale, steps=4)
        page.mouse.up()

    sent, _ = search(page, draw)
    x, y, w, h = sent["crop"]
    assert abs(x - 20) <= 4
    assert abs(y - 40) <= 4
    assert abs(w - 300) <= 4
    assert y + h == 800, "drawn beyond the edge, it ends there"
    sent, _ = search(page, page.locator("button:has-text('Whole photo')").click)
    assert "crop" not in sent


def test_filters_narrow_down_and_keep_their_other_counts(open_page: Callable[..., Any]) -> None:
    """A ticked colour filters; other fields count what passes, its own field all values; clearing
    undoes it."""
    page = open_page("#/product/dots-red")
    page.wait_for_selector(".facets .value")
    colours = page.locator("fieldset:has(legend:text-is('colour'))")
    sent, answer = search(page, lambda: colours.locator("label:has-text('blue') input").check())
    assert sent["filter"] == {"must": [{"field": "colour", "in": ["blue"]}]}
    assert {row["attributes"]["colour"] for row in answer["results"]} == {"blue"}
    assert shows(page, answer)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.facets legend')].some(l => l.textContent === "
        "'Category')"
    )
    page.wait_for_function(
        """() => [...document.querySelectorAll('fieldset')]
          .find(f => f.innerText.startsWith('Tags'))
          .innerText.match(/^Tags\\s+blue\\s+4\\s+cross\\s+1/)"""
    )
    assert colours.locator(".value").count() == 5
    sent, _ = search(page, lambda: page.click("text=Clear filters"))
    assert "filter" not in sent
    sent, answer = search(
        page,
        lambda: (
            page.locator("fieldset:has(legend:text-is('Price')) input").last.fill("20")
            or page.keyboard.press("Tab")
        ),
    )
    assert sent["filter"] == {"must": [{"field": "price", "lte": 20}]}
    assert [row["product_id"] for row in answer["results"]] == ["cross-black"]


def filters_sent(page: Any, count: int) -> list[Any]:
    """The filters of all searches, once there were ``count`` and no other came after."""
    sent = "window.sent.filter(([path]) => path === '/v1/search')"
    page.wait_for_function(f"count => {sent}.length >= count", arg=count)
    page.wait_for_selector("#grid .card")
    page.wait_for_timeout(300)
    filters = page.evaluate(f"{sent}.map(([, body]) => body.filter)")
    assert len(filters) == count
    return list(filters)


def test_one_press_is_one_search(open_page: Callable[..., Any]) -> None:
    """A tick, by mouse or by key, is one search. A tick after a number was typed is
    one search with both, and is not lost while the answer to the number draws the panel anew."""
    page = open_page("#/product/dots-red")
    page.wait_for_selector(".facets .value")
    assert filters_sent(page, 1) == [None]
    colour = page.locator("fieldset:has(legend:text-is('colour')) label:has-text('black')")
    black = {"field": "colour", "in": ["black"]}
    colour.click()
    assert filters_sent(page, 2)[1:] == [{"must": [black]}]
    page.keyboard.press("Space")
    assert filters_sent(page, 3)[2:] == [None]
    page.locator("fieldset:has(legend:text-is('Price')) input").last.click()
    page.keyboard.type("15")
    colour.hover()
    page.mouse.down()
    page.wait_for_timeout(400)
    page.mouse.up()
    both = {"must": [{"field": "price", "lte": 15}, black]}
    assert filters_sent(page, 4)[3:] == [both]
    assert colour.locator("input").is_checked()


def test_counts_that_come_late_leave_a_field_that_is_typed_into(
    open_page: Callable[..., Any],
) -> None:
    """Half a number is neither sent nor taken away; the counts stand there once it was told."""
    page = open_page("#/product/dots-red")
    page.wait_for_selector(".facets .value")
    assert filters_sent(page, 1) == [None]
    price = page.locator("fieldset:has(legend:text-is('Price')) input").last
    on_their_way: list[Any] = []
    page.route("**/v1/facets*", lambda route: on_their_way.append(route))
    page.locator("fieldset:has(legend:text-is('colour')) label:has-text('black')").click()
    price.click()
    page.keyboard.type("1")
    assert len(filters_sent(page, 2)) == len(on_their_way) == 2
    for route in on_their_way:
        route.continue_()
    page.unroute("**/v1/facets*")
    page.wait_for_timeout(300)
    assert price.input_value() == "1"
    page.keyboard.type("5")
    page.keyboard.press("Tab")
    assert [len(found["must"]) for found in filters_sent(page, 3)[1:]] == [1, 2]
    page.wait_for_function("() => document.querySelector('.facets input[value=\"15\"]') !== null")


def test_sliders_are_those_of_the_model(open_page: Callable[..., Any], engine: Any) -> None:
    """A slider for each block of the serving model, at its own weight; moving one sends all; none
    for one block."""
    assert len(engine.versions.list().content.blocks) == 1
    page = open_page("#/product/dots-red")
    page.wait_for_selector(RESULTS)
    assert not page.is_visible("summary:has-text('What counts')")
    found = engine.search(Query(product_id="dots-red"), k=5).to_json()
    fresh = open_page("#/check")
    fresh.route(
        "**/v1/indexes",
        lambda route: route.fulfill(json={"indexes": [], "blocks": {"a": 0.5, "c": 0.3, "g": 0.2}}),
    )
    fresh.route("**/v1/search", lambda route: route.fulfill(json={"request_id": "r", **found}))
    fresh.evaluate("location.hash = '#/product/dots-red'")
    fresh.click("summary:has-text('What counts')")
    sliders = fresh.locator(".slider:visible input")
    assert [one.input_value() for one in sliders.all()] == ["50", "30", "20"]
    sent, _ = search(fresh, lambda: sliders.nth(1).press("Home"))
    assert sent["weights"] == {"a": 0.5, "c": 0, "g": 0.2}
    sent, _ = search(fresh, lambda: fresh.click("text=As usual"))
    assert "weights" not in sent


def test_more_like_this_and_why(open_page: Callable[..., Any], files: dict[str, Path]) -> None:
    """Why shows a map over each photo; a result leads on to what looks like it, and the click is
    told."""
    page = open_page()
    _, first = search(page, lambda: page.set_input_files("#file", files["ring"]))
    assert shows(page, first)
    page.locator("#grid .why").nth(1).click()
    page.wait_for_selector(".pair canvas")
    assert page.locator(".pair canvas").count() == 2
    painted = (
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return "
        "new Set(d).size; }"
    )
    assert all(shot.evaluate(painted) > 20 for shot in page.locator(".pair canvas").all())
    assert page.locator("dialog input[type=radio]").count() == 1, (
        "the drawn shop's network has one block"
    )
    page.keyboard.press("Escape")
    # It goes with an event of its own, a moment after the key.
    page.wait_for_selector("dialog", state="detached")
    with page.expect_request("**/v1/feedback") as told:
        _, answer = search(page, lambda: page.locator(RESULTS).nth(1).click())
    assert told.value.post_data_json == {
        "request_id": first["request_id"],
        "clicked": [first["results"][1]["product_id"]],
    }
    assert shows(page, answer)
    assert first["results"][1]["product_id"] not in [row["product_id"] for row in answer["results"]]


def test_more_are_loaded_by_the_cursor(open_page: Callable[..., Any]) -> None:
    """The next page stands behind the first, nothing twice; the focus goes to what is new; clicks
    name their page."""
    page = open_page("#/check")
    pages: list[str] = []

    def keep(response: Any) -> None:
        if response.url.endswith("/v1/search"):
            pages.append(response.headers["x-request-id"])

    def few(route: Any) -> None:
        body = {**route.request.post_data_json, "k": 8}
        route.continue_(post_data=json.dumps(body))

    page.route("**/v1/search", few)
    page.on("response", keep)
    page.evaluate("location.hash = '#/product/cross-red'")
    page.wait_for_selector(".load-more:visible")
    for count in (16, 19):
        page.click(".load-more")
        page.wait_for_function(
            "n => document.querySelectorAll('#grid .card').length === n", arg=count
        )
    assert not page.is_visible(".load-more")
    ids = page.eval_on_selector_all(RESULTS, "cards => cards.map(card => card.dataset.id)")
    assert len(set(ids)) == 19
    assert page.evaluate("document.activeElement.dataset.id") == ids[16]
    with page.expect_request("**/v1/feedback") as told:
        page.locator(RESULTS).nth(9).click()
    assert told.value.post_data_json == {"request_id": pages[1], "clicked": [ids[9]]}


def test_words_alone_and_beside_a_product(open_page: Callable[..., Any]) -> None:
    """Words go as `text`; unknown ones and words without a product are named; beside a product a
    slider sends `mix`; a refusal offers a way."""
    page = open_page()
    page.wait_for_selector(RESULTS)
    answer = {
        "request_id": "w",
        "model_version": "m",
        "index_version": "v",
        "timings_ms": {"total": 1.0},
        "results": [],
        "next_cursor": None,
        "unknown_words": ["zorb"],
    }
    page.route("**/v1/search", lambda route: route.fulfill(json=answer))
    page.fill("#words", "red zorb")
    sent, _ = search(page, lambda: page.press("#words", "Enter"))
    assert sent == {"k": 24, "group_by": "parent", "text": "red zorb"}
    page.wait_for_selector("text=Not known to this catalog: zorb")
    # Not that the catalog is empty: it holds products, only none for these words.
    page.wait_for_selector("text=No product for “red zorb”.")
    assert page.locator("text=Nothing else is in the catalog").count() == 0
    page.evaluate("location.hash = '#/product/cross-red'")
    page.wait_for_selector("h1:has-text('red cross')")
    page.fill("#words", "blue")
    sent, _ = search(page, lambda: page.press("#words", "Enter"))
    assert (sent["product_id"], sent["text"]) == ("cross-red", "blue")
    assert "mix" not in sent
    page.click("summary:has-text('What counts')")
    sent, _ = search(page, lambda: page.locator(".slider:has-text('Words') input").press("End"))
    assert sent["mix"] == {"product_id": 0, "text": 1}
    page.unroute("**/v1/search")
    refusal = {
        "type": "/problems/bad-request",
        "title": "x",
        "status": 422,
        "detail": "no word is known",
        "code": "bad-request",
        "request_id": "r",
    }
    page.route("**/v1/search", lambda route: route.fulfill(status=422, json=refusal))
    page.press("#words", "Enter")
    page.wait_for_selector("#notice:has-text('no word is known')")
    page.unroute("**/v1/search")
    sent, found = search(page, lambda: page.click("text=Search without the words"))
    assert "text" not in sent
    assert shows(page, found)


def test_the_service_itself_answers_words(open_page: Callable[..., Any]) -> None:
    """Without any stand-in: words alone find what they say, unknown ones are named; a colour beside
    a product."""
    page = open_page("#/words/red%20cross%20zorb")
    page.wait_for_selector("#grid .card")
    assert page.locator(RESULTS).first.get_attribute("data-id") == "cross-red"
    page.wait_for_selector("text=Not known to this catalog: zorb")
    page.evaluate("location.hash = '#/product/cross-red'")
    page.wait_for_selector("h1:has-text('red cross')")
    page.fill("#words", "blue")
    _, answer = search(page, lambda: page.press("#words", "Enter"))
    assert shows(page, answer)


def test_a_bad_photo_says_so_and_offers_another(
    open_page: Callable[..., Any], files: dict[str, Path]
) -> None:
    """The problem's detail is shown, with a way on; a reload of a photo's address comes back to the
    start."""
    page = open_page()
    page.wait_for_selector(RESULTS)
    page.set_input_files("#file", files["broken"])
    page.wait_for_selector("#notice:has-text('cannot be read as a photo')")
    with page.expect_file_chooser() as chooser:
        page.click("text=Choose another photo")
    _, answer = search(page, lambda: chooser.value.set_files(files["ring"]))
    assert shows(page, answer)
    assert not page.is_visible("#notice")
    page.reload()
    page.wait_for_selector("h1:has-text('Find it by its looks')")


def test_markup_in_a_title_is_text(open_page: Callable[..., Any]) -> None:
    """A title full of markup is shown as it was written and runs nothing."""
    page = open_page("#/product/cross-black")
    page.wait_for_function(
        "title => [...document.querySelectorAll('h1')].some(h => h.textContent === title)", arg=EVIL
    )
    page.evaluate("location.hash = '#/product/cross-red'")
    page.wait_for_function(
        "title => [...document.querySelectorAll('#grid .title')].some(p => p.textContent === "
        "title)",
        arg=EVIL,
    )
    assert page.locator("#grid b, h1 b, #grid img[src='x']").count() == 0
    assert page.title() != "owned"


def test_variants_share_a_card_with_price_stock_and_shop(
    engine: Engine, open_page: Callable[..., Any]
) -> None:
    """One card for the variants of a parent: the nearest with its name, the range of prices, a link
    to the shop; greyed where none can be bought; filters count products, not variants."""
    own: dict[str, dict[str, Any]] = {
        "ring-blue": {"variant": "Blue", "price": 9.5, "url": "https://shop.example/ring"},
        "ring-black": {"variant": "Black", "price": 12, "url": "javascript:alert(1)"},
    }
    common = {"parent": "ring", "currency": "EUR", "availability": "out_of_stock"}
    for name, values in own.items():
        engine.products.patch(name, {"attributes": {**common, **values}})
    try:
        page = open_page()
        page.wait_for_selector(RESULTS)
        go = "location.hash = '#/product/stripes-tan'"
        sent, answer = search(page, lambda: page.evaluate(go))
        assert sent["group_by"] == "parent"
        assert shows(page, answer)
        (ring,) = [row for row in answer["results"] if row["group"]["size"] == 2]
        card = page.locator(f"{RESULTS}[data-id='{ring['product_id']}']")
        assert card.locator(".price").inner_text() == "€9.50 to €12.00"
        assert card.locator(".kind").last.inner_text().endswith("1 more variant")
        assert card.locator(".stock").inner_text() == "Out of stock"
        assert "out" in str(card.get_attribute("class")).split()
        links = page.locator("#grid a.shop").evaluate_all("links => links.map(a => a.href)")
        expected = own[ring["product_id"]]["url"]
        assert links == ([expected] if expected.startswith("https") else [])
        engine.products.patch("ring-black", {"attributes": {"availability": "in_stock"}})
        search(page, lambda: page.reload())
        page.wait_for_selector(f"{RESULTS}[data-id='{ring['product_id']}']:not(.out)")
    finally:
        for name, values in own.items():
            gone = dict.fromkeys([*common, *values])
            engine.products.patch(name, {"attributes": gone})


def test_a_card_shows_the_price_in_force(engine: Engine, open_page: Callable[..., Any]) -> None:
    """A sale that is over is part of the product that the page reads, and not what it shows."""
    fields = {"price": 20, "sale_price": 15, "currency": "EUR"}
    over = {"attributes": {"sale_price_until": "2020-02-01"}}
    engine.products.patch("ring-blue", {"fields": fields, **over})
    engine.products.patch("ring-black", {"fields": fields})
    try:
        page = open_page()
        page.wait_for_selector(RESULTS)
        prices = [
            page.inner_text(f"{RESULTS}[data-id='{name}'] .price")
            for name in ("ring-blue", "ring-black")
        ]
        assert prices == ["€20.00", "€15.00"]
    finally:
        gone = {"fields": dict.fromkeys(fields)}
        engine.products.patch(
            "ring-blue", {**gone, "attributes": dict.fromkeys(over["attributes"])}
        )
        engine.products.patch("ring-black", gone)
