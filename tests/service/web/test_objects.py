"""Objects in a photo, in a real browser: found when asked for, chosen by mouse and keyboard, listed
with their like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.service.conftest import encode
from tests.service.web.test_search_view import search, shows


def found(page: Any, act: Callable[[], Any]) -> dict[str, Any]:
    """What the service answered about objects."""
    with page.expect_response(lambda response: response.url.endswith("/v1/objects")) as answer:
        act()
    body: dict[str, Any] = answer.value.json()
    return body


def test_objects_are_found_and_one_is_chosen(open_page: Callable[..., Any], several: Path) -> None:
    """Asked for only when wanted; a box for each where the service sees it; choosing one searches
    for that part."""
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    search(page, lambda: page.set_input_files("#file", several))
    button = page.locator("button:has-text('Find objects')")
    button.wait_for()
    assert not any(url.endswith(("/v1/objects", "/web/objects.js")) for url in asked), (
        "nothing is asked before it is wanted"
    )
    answer = found(page, button.click)
    assert len(answer["objects"]) == 2
    boxes = page.locator(".objects .object")
    boxes.first.wait_for()
    assert [box.get_attribute("aria-label") for box in boxes.all()] == [
        f"Object {number}: {one['category']['label']}"
        for number, one in enumerate(answer["objects"], start=1)
    ]
    shot = page.locator(".shot img").bounding_box()
    for box, one in zip(boxes.all(), answer["objects"], strict=True):
        place = box.bounding_box()
        scale = shot["width"] / 600
        assert abs(place["x"] - shot["x"] - one["box"][0] * scale) < 2
        assert abs(place["width"] - one["box"][2] * scale) < 2
    assert page.evaluate("document.activeElement.className") == "object", (
        "the keyboard goes on at the first box"
    )
    sent, results = search(page, lambda: page.keyboard.press("Enter"))
    assert sent["crop"] == answer["objects"][0]["box"]
    assert shows(page, results)
    assert boxes.first.get_attribute("aria-pressed") == "true"
    assert [row["product_id"] for row in results["results"]][:6] == [
        row["product_id"] for row in answer["objects"][0]["results"]
    ]


def test_all_objects_are_listed_with_their_products(
    open_page: Callable[..., Any], several: Path
) -> None:
    """Each object's name stands beside the products that look like it; choosing and going back."""
    page = open_page()
    search(page, lambda: page.set_input_files("#file", several))
    answer = found(page, page.locator("button:has-text('Find objects')").click)
    items = page.locator(".object-list > li")
    items.first.wait_for()
    assert items.count() == 2
    for item, one in zip(items.all(), answer["objects"], strict=True):
        titles = [link.get_attribute("title") for link in item.locator(".thumbs a").all()]
        assert titles == [row["title"] for row in one["results"]]
    sent, _ = search(page, items.nth(1).locator("button").click)
    assert sent["crop"] == answer["objects"][1]["box"]
    sent, _ = search(page, page.locator("button:has-text('Whole photo')").click)
    assert "crop" not in sent
    assert page.locator(".object").count() == 0
    assert page.locator(".object-list").count() == 0


def test_an_object_can_be_drawn_larger(open_page: Callable[..., Any], several: Path) -> None:
    """Choosing a part begins at the object that is chosen, in place of the boxes."""
    page = open_page()
    search(page, lambda: page.set_input_files("#file", several))
    answer = found(page, page.locator("button:has-text('Find objects')").click)
    page.locator(".object").first.wait_for()
    search(page, page.locator(".object").first.click)
    sent, _ = search(page, page.locator("button:has-text('Choose a part')").click)
    assert sent["crop"] == answer["objects"][0]["box"]
    assert page.locator(".object").count() == 0


def test_nothing_found_is_said_in_the_page_s_language(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    """An empty answer says why, in words."""
    file = tmp_path / "plain.png"
    file.write_bytes(encode(Image.new("RGB", (300, 300), (90, 120, 60))))
    page = open_page(locale="zh-CN")
    search(page, lambda: page.set_input_files("#file", file))
    assert (
        found(page, page.locator("button:has-text('查找物品')").click)["reason"]
        == "nothing-stands-out"
    )
    page.wait_for_selector(".objects-found:has-text('没有从背景中突出的物品')")
