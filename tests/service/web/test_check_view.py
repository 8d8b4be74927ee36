"""Check a listing and the review queue in a real browser: verdict, evidence on the photo, feedback,
decisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.core.actor import acting
from indexer.reviews.store import Preview
from service.engine import Engine
from service.review.queue import ListingName
from tests.service.conftest import photo
from tests.service.web.conftest import listing
from tools.browser import faults


@pytest.fixture
def checked(open_page: Callable[..., Any], files: dict[str, Path]) -> Callable[..., Any]:
    """Chooses photos and checks them; the review's answer is a fixture of the exact shape of
    ``replies.ReviewAnswer``.

    It stands in for ``POST /v1/review``: here it matters that evidence of every sort is drawn.
    """

    def make(*names: str, **options: Any) -> Any:
        page = open_page("#/check", **options)
        page.route("**/v1/review", lambda route: route.fulfill(json=listing(len(names))))
        page.set_input_files("#file", [files[name] for name in names])
        with page.expect_request("**/v1/review"):
            page.locator(".check-bar .button").first.click()
        page.wait_for_selector(".verdict")
        return page

    return make


def test_a_review_is_shown_with_its_evidence(checked: Callable[..., Any]) -> None:
    """Verdict and reasons in words, advice, boxes where they belong on the photo, and the product
    it repeats."""
    page = checked("ring")
    assert page.inner_text(".verdict h2") == "A person should look"
    assert page.locator(".reasons li").all_inner_texts() == [
        "Policy: contact details",
        "Photo: product too small",
    ]
    assert page.evaluate("document.activeElement.textContent") == "A person should look"
    assert "Move closer to the product." in page.inner_text(".findings")
    assert page.locator(".repeat a").get_attribute("href") == "#/product/cross-red"
    shot, mark = (
        page.locator(".shot img").bounding_box(),
        page.locator(".boxed").nth(1).bounding_box(),
    )
    assert mark["x"] - shot["x"] == pytest.approx(shot["width"] * 40 / 160, abs=1.5)
    assert mark["y"] - shot["y"] == pytest.approx(shot["height"] * 40 / 160, abs=1.5)
    assert mark["width"] == pytest.approx(shot["width"] * 80 / 160, abs=1.5)
    assert mark["height"] == pytest.approx(shot["height"] * 60 / 160, abs=1.5)
    page.hover(".finding.warning >> nth=1")
    assert page.locator(".boxed.pointed").get_attribute("data-number") == "2"


def test_tags_are_accepted_and_rejected_once(checked: Callable[..., Any]) -> None:
    """Each press sends the tag under the review's request id; then the choice is gone. Markup in a
    tag is text."""
    page = checked("ring")
    page.route("**/v1/feedback", lambda route: route.fulfill(json={"stored": 1}))
    for name, outcome in (("ring", "accepted"), ("<i>red</i>", "rejected")):
        verb = {"accepted": "Accept", "rejected": "Reject"}[outcome]
        with page.expect_request("**/v1/feedback") as told:
            page.get_by_role("button", name=f"{verb} {name}", exact=True).click()
        sent = told.value.post_data_json
        assert sent.pop("request_id").startswith("review-")
        assert sent == {outcome: [name]}
        page.wait_for_selector(f".judged li.{outcome}")
    assert page.locator(".judged button").count() == 0
    assert page.locator(".judged i").count() == 0


def test_several_photos_are_sent_together(checked: Callable[..., Any]) -> None:
    """All photos go as `images` of one review; each is looked at by itself; different products are
    said so."""
    page = checked("ring", "cross")
    assert page.evaluate("window.sent.filter(([address]) => address === '/v1/review').length") == 1
    assert page.locator("text=different products").count() == 1
    page.click("button:has-text('Photo 2')")
    assert page.locator(".shot img").get_attribute("alt") == "cross.png"
    page.click("text=Studio")
    page.go_back()
    page.wait_for_selector(".verdict")
    page.locator(".remove").first.click()
    assert page.locator(".verdict").count() == 0, "of other photos it says nothing"
    assert page.locator(".chosen li").count() == 1


def test_advice_comes_in_chinese(checked: Callable[..., Any]) -> None:
    """A Chinese browser gets a Chinese page, advice included; the switch turns it back."""
    page = checked("ring", locale="zh-CN")
    assert page.evaluate("document.documentElement.lang") == "zh"
    assert "请靠近商品拍摄。" in page.inner_text(".findings")
    page.select_option("#language", "en")
    page.wait_for_selector("h1:has-text('Check a listing')")
    assert "Move closer to the product." in page.inner_text(".findings")
    page.reload()
    page.wait_for_selector("h1:has-text('Check a listing')")


def test_the_service_itself_checks_a_listing(
    open_page: Callable[..., Any], files: dict[str, Path]
) -> None:
    """Without any stand-in: a photo of the shop's own product is a repeat, and says of which
    product."""
    page = open_page("#/check")
    page.set_input_files("#file", files["same"])
    page.select_option("#profile", "studio")
    page.locator(".check-bar .button").first.click()
    page.wait_for_selector(".verdict")
    assert page.locator(".reasons li").count() >= 1
    assert page.locator(".repeat a").first.get_attribute("href") == "#/product/a%2Fsimilar"


def test_a_refused_listing_says_why(open_page: Callable[..., Any], files: dict[str, Path]) -> None:
    """The problem's own words are shown, and it can be tried again."""
    page = open_page("#/check")
    refusal = {
        "status": 422,
        "code": "bad-image",
        "detail": "photo 0: not a photo",
        "title": "x",
        "type": "x",
        "request_id": "r",
    }
    page.route("**/v1/review", lambda route: route.fulfill(status=422, json=refusal))
    page.set_input_files("#file", files["broken"])
    page.locator(".check-bar .button").first.click()
    page.wait_for_selector("#notice:has-text('photo 0: not a photo')")
    assert page.is_visible("#notice-actions button:has-text('Try again')")


def test_a_queued_photo_is_shown_by_its_number(open_page: Callable[..., Any]) -> None:
    """The preview of each photo is its own, even where that of an earlier one is gone."""
    asked: list[str] = []
    names: list[str] = []

    def two(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        queued = body["reviews"][0]
        names.append(queued["review_id"])
        queued["review"]["photos"] *= 2
        queued["previews"] = [f"/v1/reviews/{queued['review_id']}/photos/1"]
        route.fulfill(response=answer, json=body)

    def prepare(page: Any) -> None:
        page.route("**/v1/reviews?*", two)
        page.on("request", lambda request: asked.append(request.url.rpartition("/reviews/")[2]))

    page = open_page("#/queue", before=prepare)
    page.wait_for_selector(".queued >> nth=0 >> button:has-text('Photo 2')")
    with page.expect_request(f"**/v1/reviews/{names[0]}/photos/1"):
        page.click(".queued >> nth=0 >> button:has-text('Photo 2')")
    assert f"{names[0]}/photos/0" in asked


def test_the_queue_is_worked_through(open_page: Callable[..., Any], engine: Engine) -> None:
    """Open reviews with previews and evidence; one is approved with its reason; a late decision is
    told."""
    page = open_page("#/queue")
    page.wait_for_selector(".queued .decide")
    assert page.locator(".queued").count() == 2
    page.wait_for_function(
        "() => [...document.querySelectorAll('.queued .shot img')].every(i => i.naturalWidth > 0)"
    )
    assert page.locator(".queued >> nth=0 >> .boxed").count() == 2
    assert page.inner_text(".queued >> nth=0 >> h2") == "Listing without a title"
    first, second = page.locator(".queued").all()
    first.locator("input").fill("fine <b>by</b> me")
    first.locator("button:has-text('Approve')").click()
    page.wait_for_selector(".decided.approved:has-text('fine <b>by</b> me')")
    other = engine.reviews.list("open", limit=10, after=None).content.reviews[0].review_id
    engine.reviews.decide(other, "reject", "elsewhere")
    second.locator("button:has-text('Approve')").click()
    page.wait_for_selector("#notice:visible")
    page.click("text=Show the queue again")
    page.wait_for_selector("text=Nothing waits for a decision.")
    page.click("button:has-text('Rejected')")
    page.wait_for_selector(".decided.rejected:has-text('elsewhere')")
    # Of two decisions no share is told.
    assert page.inner_text(".tiles") == ""


def test_decisions_are_made_by_keys_and_undone(
    open_page: Callable[..., Any], engine: Engine
) -> None:
    """A listing is told by its title and id; R asks for the reason, A approves, neither while one
    types; the name stands at the decision, which is undone by a press and made anew."""
    name = ListingName("seller-17", "Red <i>ring</i>")
    preview = [Preview("0" * 64, photo("ring", "red"))]
    review = engine.reviews.submit(listing(1), preview, product_id="cross-red", name=name)
    page = open_page("#/queue")
    item = page.locator(".queued:has(h2:text-is('Red <i>ring</i>'))")
    item.wait_for()
    assert item.locator(".listing a").inner_text() == "seller-17"
    assert item.locator(".listing a").get_attribute("href") == "#/product/cross-red"
    assert faults(page) == []
    item.focus()
    page.keyboard.press("r")
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    assert item.locator(".wrong:visible").inner_text().startswith("Say why")
    page.keyboard.type("ra fake")
    with acting("Anna"):
        assert engine.reviews.get(review).content.state == "open"
    page.keyboard.press("Enter")
    item.locator(".decided.rejected:has-text('ra fake')").wait_for()
    item.locator("button:text-is('Undo')").click()
    item.locator(".decide").wait_for()
    assert engine.reviews.get(review).content.state == "open"
    # A key that is held repeats itself: that decides nothing more.
    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'a', repeat: true}))")
    page.wait_for_timeout(100)
    assert engine.reviews.get(review).content.state == "open"
    page.keyboard.press("a")
    item.locator(".decided.approved").wait_for()
    engine.reviews.undo(review)
    with acting("Anna"):
        engine.reviews.decide(review, "approve", "")
    page.click("button:has-text('Approved')")
    page.wait_for_selector(".decided.approved:has-text('Approved by Anna')")
