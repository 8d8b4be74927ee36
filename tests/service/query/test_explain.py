"""Heat maps over HTTP: why a category, why a pair; one owner of the network."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from service.engine import Engine
from tests.service.api.routes.test_queries import assert_problem, upload
from tests.service.conftest import COLOURS, draw, encode, photo
from tools.cli import run


def cornered(kind: str) -> bytes:
    """A shape in the top left quarter of a white photo."""
    image = Image.new("RGB", (224, 224), "white")
    image.paste(draw(kind, COLOURS["red"], size=100), (14, 14))
    return encode(image)


def test_the_heat_lies_on_the_shape(web: FlaskClient) -> None:
    """One map with the category's probability; most heat in the quarter that holds the shape."""
    body = web.post(
        "/v1/explain", data=upload(cornered("stripes"), category="Shapes > stripes")
    ).get_json()
    assert (body["category"]["label"], body["category"]["path"]) == (
        "stripes",
        ["Shapes", "stripes"],
    )
    [found] = body["maps"]
    assert (found["photo"], found["block"]) == ("image", None)
    assert found["score"] == body["category"]["probability"]
    assert found["box"] == pytest.approx(
        [14, 14, 196, 196], abs=0.5
    )  # the centre crop of 224 px out of 256
    heat = np.array(found["heat"])
    assert (heat.shape, heat.max()) == ((7, 7), 1.0)
    assert heat[:4, :4].sum() > 0.6 * heat.sum()


def test_a_part_that_is_no_square_is_explained_as_it_is_classified(web: FlaskClient) -> None:
    """The network sees it with margins; the map is placed in px of the part and may reach beyond
    it."""
    asked = {"crop": "[0, 0, 224, 124]"}
    first = web.post("/v1/classify", data=upload(cornered("cross"), **asked)).get_json()[
        "categories"
    ][0]
    body = web.post("/v1/explain", data=upload(cornered("cross"), **asked)).get_json()
    assert body["category"]["path"] == first["path"]
    assert body["category"]["probability"] == pytest.approx(first["probability"], abs=1e-4)
    assert body["maps"][0]["box"] == pytest.approx([14, -36, 196, 196], abs=0.5)


def test_the_most_probable_category_is_the_default(web: FlaskClient) -> None:
    classified = web.post("/v1/classify", data=upload(photo("cross", "blue"))).get_json()
    explained = web.post("/v1/explain", data=upload(photo("cross", "blue"))).get_json()
    assert explained["category"]["label"] == classified["categories"][0]["label"] == "cross"


def test_a_pair_has_a_map_of_each_photo_for_every_block(web: FlaskClient, shop: Engine) -> None:
    """JSON and multipart give the same maps; the score is the block's cosine."""
    data = base64.b64encode(photo("cross", "red", turn=5)).decode()
    body = web.post(
        "/v1/explain", json={"image": {"base64": data}, "with": {"product_id": "dots-red"}}
    ).get_json()
    assert body["category"] is None
    blocks = [block.name for block in shop.ready().bundle.spec.blocks]
    assert [(entry["block"], entry["photo"]) for entry in body["maps"]] == [
        (block, name) for block in blocks for name in ("image", "with")
    ]
    form = upload(photo("cross", "red", turn=5), **{"with": json.dumps({"product_id": "dots-red"})})
    assert web.post("/v1/explain", data=form).get_json()["maps"] == body["maps"]
    found = web.post("/v1/search", json={"image": {"base64": data}, "k": 20}).get_json()["results"]
    if len(blocks) == 1:
        [near] = [entry["score"] for entry in found if entry["product_id"] == "dots-red"]
        assert (
            -1 <= body["maps"][0]["score"] <= near + 1e-2
        )  # the product's best photo may be its other one


def test_a_form_names_a_category_by_its_path_too(web: FlaskClient) -> None:
    """As JSON text, as every list in a form; a text that only begins like one is a label."""
    answer = web.post(
        "/v1/explain", data=upload(photo("cross", "red"), category='["Shapes", "dots"]')
    ).get_json()
    assert answer["category"]["path"] == ["Shapes", "dots"]
    response = web.post("/v1/explain", data=upload(photo("cross", "red"), category="[dots"))
    assert "[dots" in assert_problem(response, 422, "bad-request")["detail"]
    schema = web.get("/openapi.json").get_json()["paths"]["/v1/explain"]["post"]["requestBody"][
        "content"
    ]
    assert {"category", "with"} <= set(schema["multipart/form-data"]["schema"]["properties"])


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"category": "nothing"}, "nothing"),
        ({"with": "{}"}, "with"),
        ({"with": '{"product_id": "dots-red"}', "category": "cross"}, "not both"),
    ],
)
def test_wrong_questions_are_named(web: FlaskClient, fields: dict[str, str], word: str) -> None:
    response = web.post(
        "/v1/explain", data={"image": (io.BytesIO(photo("cross", "red")), "a.png"), **fields}
    )
    assert word in assert_problem(response, 422, "bad-request")["detail"]


def test_the_command_writes_a_picture(
    own_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``catalens explain``: one panel for a category, two beside one another for a pair."""
    first, second, out = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "out.png"
    first.write_bytes(cornered("cross"))
    second.write_bytes(photo("cross", "blue"))
    common = ["explain", str(first), "--home", str(own_home), "--out", str(out)]
    assert run([*common, "--category", "cross", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["category"]["path"] == ["Shapes", "cross"]
    with Image.open(out) as one:
        size = one.size
        seen = np.asarray(one.convert("RGB"), int)[60:380, 20:360]
    assert seen[:170, :170].sum() != seen[-170:, -170:].sum()
    assert run([*common, "--with", str(second)]) == 0
    with Image.open(out) as two:
        assert two.width > 1.9 * size[0]
    assert run([*common, "--with", str(second), "--category", "cross"]) == 2
    assert run([*common, "--category", "nothing"]) == 1
