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


def _form(head: bytes, *, before: bytes = b"") -> bytes:
    return b"--XX\r\n%s%s\r\n\r\na shirt\r\n--XX--\r\n" % (before, head)


@pytest.mark.parametrize("place", [0, 65_000])
def test_the_head_of_a_part_is_bounded(web: FlaskClient, place: int) -> None:
    """Names of fields of 30 MB together were read for thirteen seconds, wherever they stood."""
    first = b'Content-Disposition: form-data; name="other"\r\n\r\n' + b"x" * place + b"\r\n--XX\r\n"
    for length, status in ((17_000, 413), (100_000, 413), (10_000, 422)):
        head = b'Content-Disposition: form-data; name="%s"' % (b"n" * length)
        answer = web.post(
            "/v1/search",
            data=_form(head, before=first),
            content_type="multipart/form-data; boundary=XX",
        )
        assert answer.status_code == status, answer.get_json()
