"""Photos in cells, and what a CDN is asked for."""

from __future__ import annotations

import pytest

from indexer.feeds.photo_cells import photo_requests, split_photos


@pytest.mark.parametrize(
    ("cell", "photos"),
    [
        ("a.jpg", ["a.jpg"]),
        ("a.jpg, b.PNG ,", ["a.jpg", "b.PNG"]),
        ("a.jpg|b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg,a.jpg", ["a.jpg"]),
        ("front, blue.jpg,back, blue.jpg", ["front, blue.jpg", "back, blue.jpg"]),
        ("ab12,cd34", ["ab12", "cd34"]),
        ("https://x.example/c?crop=1,2,3", ["https://x.example/c?crop=1,2,3"]),
        ("https://x.example/a,b.jpg", ["https://x.example/a,b.jpg"]),
        ("https://x.example/a.jpg,img/b.jpg", ["https://x.example/a.jpg", "img/b.jpg"]),
        ("//x.example/a.jpg", ["https://x.example/a.jpg"]),
        ("//server/share/a.jpg", ["//server/share/a.jpg"]),
        ('"a.jpg"', ["a.jpg"]),
        (" , |", []),
    ],
)
def test_cells_are_split(cell: str, photos: list[str]) -> None:
    """A separator parts photos, and nothing inside an address or a name."""
    assert split_photos(cell, [",", "|"]) == photos


def test_a_cdn_is_asked_for_a_size() -> None:
    """Only that host, and only where the address does not say its own size."""
    request = photo_requests({"cdn.example": {"width": "1200"}})
    assert request("https://CDN.example/a%20b.jpg") == "https://CDN.example/a%20b.jpg?width=1200"
    assert request("https://cdn.example/a.jpg?v=1&b") == (
        "https://cdn.example/a.jpg?v=1&b&width=1200"
    )
    assert request("https://cdn.example/a.jpg?width=300") is None
    assert request("https://shop.example/a.jpg?from=//cdn.example/") is None
    assert request("photos/a.jpg") is None
    assert photo_requests({})("https://cdn.example/a.jpg") is None
