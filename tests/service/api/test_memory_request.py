"""Forms are read without a file on disk."""

from __future__ import annotations

import base64
import io
import tempfile

import pytest
from flask import request
from flask.testing import FlaskClient

from tests.service.conftest import photo


def test_a_large_form_makes_no_temporary_file(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos above half a megabyte were spooled to disk: a full temporary folder answered 500, and
    a shopper's photo left a trace."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, full)
    data = photo("ring", "red", turn=21) + bytes(1_000_000)
    for path in ("/v1/search", "/v1/classify"):
        answer = web.post(path, data={"image": (io.BytesIO(data), "photo.png")})
        assert answer.status_code == 200, answer.get_json()


def test_a_json_body_is_not_held_while_it_is_answered(web: FlaskClient) -> None:
    """The photo in it is, and the server's own copy: a third one took 50 MB while it waited."""
    data = base64.b64encode(photo("ring", "red", turn=22)).decode()
    with web:
        asked = web.post("/v1/search", json={"image": {"base64": data}})
        assert asked.status_code == 200, asked.get_json()
        held = [value for value in vars(request).values() if isinstance(value, bytes)]
    assert all(len(value) < 1000 for value in held)
