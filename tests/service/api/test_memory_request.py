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


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b'--XX\r\nContent-Disposition: form-data; name="text"\r\n\r\na shirt', "end"),
        (_form(b'Content-Disposition: form-data; name="text"')[:-8], "end"),
        (b"\r\n", "end"),
        (b"no form", "end"),
        (_form(b'Content-Disposition: form-data; filename="a.jpg"'), "no name"),
        (_form(b'Content-Disposition: form-data; name="text"').replace(b"a s", b"\xe9"), "UTF-8"),
    ],
)
def test_a_form_is_read_whole_or_not_at_all(web: FlaskClient, sent: bytes, reason: str) -> None:
    """A form that is cut was taken for an empty one, a part without a name was 500, and a text that
    is no UTF-8 was stored with other characters."""
    for path in ("/v1/search", "/v1/classes", "/v1/review", "/v1/imports", "/v1/search:batch"):
        answer = web.post(path, data=sent, content_type="multipart/form-data; boundary=XX")
        assert answer.status_code == 400, answer.get_json()
        assert reason in answer.get_json()["detail"]
    answer = web.put("/v1/products/p", data=sent, content_type="multipart/form-data; boundary=XX")
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad-request")


@pytest.mark.parametrize("mark", ["", "; boundary=", "; boundary=\u00e9"])
def test_a_form_names_its_boundary(web: FlaskClient, mark: str) -> None:
    answer = web.post("/v1/search", data=b"--XX--", content_type=f"multipart/form-data{mark}")
    assert answer.status_code == 400, answer.get_json()
    assert "boundary" in answer.get_json()["detail"]


def test_fields_and_files_come_as_they_were_sent(web: FlaskClient) -> None:
    """In portions too, with every byte of them, names with a path, and a text in Latin-1 that says
    so."""
    data = bytes(range(256)) * 2000 + b"\r\n--X\r\n"
    head = b'Content-Disposition: form-data; name="%s"'
    sent = b"--XX\r\n" + head % b"a" + b"\r\n\r\n" + "h\u00e9".encode() + b"\r\n--XX\r\n"
    sent += (
        head % b"b" + b"\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe9\r\n--XX\r\n"
    )
    for name in (b"../a.jpg", b"b.jpg"):
        sent += head % b"images" + b'; filename="%s"\r\n\r\n' % name + data + b"\r\n--XX\r\n"
    sent = sent[:-2] + b"--\r\n"
    kind = "multipart/form-data; boundary=XX"
    with web.application.test_request_context(method="POST", data=sent, content_type=kind):
        assert request.form.to_dict() == {"a": "h\u00e9", "b": "\u00e9"}
        files = request.files.getlist("images")
        assert [file.filename for file in files] == ["../a.jpg", "b.jpg"]
        assert all(file.read() == data for file in files)


@pytest.mark.parametrize(
    "date",
    [
        "Thu, 01 Jan 99999999999 00:00:00 GMT",
        "Mon, 01 Jan 2020 99999999999999999999:00:00 GMT",
        "Mon, 99999999999999999999 Jan 2020 00:00:00 GMT",
        "no date",
    ],
)
def test_a_date_that_cannot_be_read_is_none(web: FlaskClient, date: str) -> None:
    """The page answered 500, and an operator was called at night: whoever has no key may ask for
    it. A part of a file is given only where the date of that file was said."""
    for path in ("/", "/docs", "/web/app.js", "/livez"):
        whole = web.get(path)
        for name in ("If-Modified-Since", "If-Unmodified-Since", "Date", "If-Range"):
            answer = web.get(path, headers={name: date, "Range": "bytes=0-1"})
            part = path != "/livez" and name != "If-Range"
            assert (answer.status_code, answer.data) == (
                (206, whole.data[:2]) if part else (200, whole.data)
            )
