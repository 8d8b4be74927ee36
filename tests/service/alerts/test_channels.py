"""Alerts arrive by mail and webhook, in the form that each reads, signed; a refusal is named."""

from __future__ import annotations

import contextlib
import email
import hashlib
import hmac
import json
import time
from email import policy
from pathlib import Path
from typing import Any

import pytest

from indexer.core.errors import BadHomeError
from indexer.core.home import Home
from indexer.operations.verification import verify_home
from service.alerts import channels as alert_channels
from service.alerts.alert import Alert, AlertCause
from service.alerts.channels import AlertNotSentError, open_channels
from service.alerts.secret import load_secret, rotate_secret
from service.settings.alerts import AlertSettings
from tests.service.alerts.servers import http_server, smtp_server

CAUSE = AlertCause("sync:erp", "held", "Feed erp is held", "It has 40% fewer rows <than> before.")


def alert(*, ended: bool = False) -> Alert:
    return Alert(CAUSE, ended, 1_700_000_000.0, 1_700_003_600.0, "/srv/shop")


def channels(home: Path, **settings: Any) -> list[Any]:
    return open_channels(Home.create(home), AlertSettings.model_validate(settings))


def test_a_mail_says_what_began_and_to_whom(tmp_path: Path) -> None:
    with smtp_server() as taken:
        (mail,) = channels(
            tmp_path,
            smtp={
                "host": "127.0.0.1",
                "port": taken.port,
                "security": "none",
                "sender": "shop@example.com",
                "to": ["ann@example.com", "li@example.com"],
            },
        )
        mail.send(alert())
    message = email.message_from_bytes(taken.bodies[0], policy=policy.default)
    assert message["Subject"] == "[Catalens] Feed erp is held"
    assert message["To"] == "ann@example.com, li@example.com"
    assert "40% fewer rows <than> before." in message.get_content()
    assert len(taken.recipients) == 2


def test_a_refused_recipient_is_named(tmp_path: Path) -> None:
    with smtp_server() as taken:
        taken.refuse = True
        smtp = {"host": "127.0.0.1", "port": taken.port, "security": "none"}
        (mail,) = channels(tmp_path, smtp={**smtp, "sender": "a@b.c", "to": ["gone@b.c"]})
        with pytest.raises(AlertNotSentError, match=r"mail 127\.0\.0\.1: .* refused gone"):
            mail.send(alert())


def test_a_webhook_gets_the_form_of_its_service(tmp_path: Path) -> None:
    """Slack's markup is escaped; WeCom and DingTalk get text; plain JSON has the fields."""
    with http_server() as taken:
        url = f"http://127.0.0.1:{taken.port}/hook"
        hooks = [{"url": url, "template": name} for name in ("json", "slack", "wecom", "dingtalk")]
        made = channels(tmp_path, webhooks=hooks)
        assert [channel.name for channel in made] == [
            "webhook 127.0.0.1",
            "webhook 127.0.0.1 2",
            "webhook 127.0.0.1 3",
            "webhook 127.0.0.1 4",
        ]
        for channel in made:
            channel.send(alert(ended=channel is made[0]))
    plain, slack, wecom, dingtalk = map(json.loads, taken.bodies)
    assert (plain["event"], plain["key"], plain["kind"]) == ("ended", "sync:erp", "held")
    assert "&lt;than&gt;" in slack["text"]
    assert wecom["msgtype"] == dingtalk["msgtype"] == "text"
    assert "<than>" in wecom["text"]["content"]


def test_each_webhook_is_signed_with_the_secret_of_the_home(tmp_path: Path) -> None:
    """``v1`` is the HMAC of the time and the body; after a rotation the secret before signs too;
    the file is for its owner alone."""
    home = Home.create(tmp_path / "home")
    first = load_secret(home).current
    assert load_secret(home).current == first
    with http_server() as taken:
        settings = {"webhooks": [{"url": f"http://127.0.0.1:{taken.port}/"}]}
        (hook,) = open_channels(home, AlertSettings.model_validate(settings))
        hook.send(alert())
        second = rotate_secret(home).current
        hook.send(alert())
    assert second != first

    def digest(secret: str, stamp: str, body: bytes) -> str:
        signed = stamp.encode() + b"." + body
        return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()

    for headers, body, secrets in zip(
        taken.headers, taken.bodies, ([first], [second, first]), strict=True
    ):
        stamp, *signatures = headers["X-Catalens-Signature"].split(",")
        assert signatures == [digest(secret, stamp[2:], body) for secret in secrets]
    assert (home.path / "alert-secret").stat().st_mode & 0o777 == 0o600


def test_a_damaged_secret_signs_nothing(tmp_path: Path) -> None:
    """One changed or lost byte is said, since receivers would refuse all alerts; a secret of a
    release before, which has no checksum, is read."""
    home = Home.create(tmp_path / "home")
    first = load_secret(home).current
    whole = (home.path / "alert-secret").read_bytes()
    second = rotate_secret(home).current
    rotated = (home.path / "alert-secret").read_bytes()
    for data in (whole, rotated):
        for place in range(len(data) - 1):
            for damaged in (
                data[:place],
                data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
            ):
                (home.path / "alert-secret").write_bytes(damaged)
                with contextlib.suppress(BadHomeError):
                    # Cut behind a secret that is whole, or another space behind it.
                    found = load_secret(home)
                    assert found.current == (first if data is whole else second)
    (home.path / "alert-secret").write_bytes(whole.replace(b"sha256", b"sha257"))
    with pytest.raises(BadHomeError, match="holds no whole secret"):
        load_secret(home)
    (home.path / "alert-secret").write_text(f"{first}\n")
    assert load_secret(home).current == first


def test_a_lost_secret_is_not_made_anew_without_a_word(tmp_path: Path) -> None:
    """Receivers would refuse what another one signs, and nobody would know. ``verify`` says it, and
    the command that it names makes one; a secret of a release before is marked when it is read."""
    home = Home.create(tmp_path / "home")
    first = load_secret(home).current
    home.unmark("alert-secret")
    load_secret(home)
    home.secret_file.unlink()
    with pytest.raises(BadHomeError, match=r"is not there.*catalens alerts secret --rotate"):
        load_secret(home)
    with http_server() as taken:
        settings = {"webhooks": [{"url": f"http://127.0.0.1:{taken.port}/"}]}
        (hook,) = open_channels(home, AlertSettings.model_validate(settings))
        with pytest.raises(BadHomeError):
            hook.send(alert())
    (damage,) = verify_home(home.path).damages
    assert damage.where == "alert-secret"
    assert "catalens alerts secret --rotate" in damage.mend
    assert rotate_secret(home).current not in (first, "")
    assert verify_home(home.path).intact
    for data in (home.secret_file.read_bytes().replace(b"a", b"b"), b""):
        home.secret_file.write_bytes(data)
        assert [damage.where for damage in verify_home(home.path).damages] == ["alert-secret"]


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (500, b"", "it answered with status 500"),
        (302, b"", "it answered with status 302"),
        (200, b'{"errcode": 93000, "errmsg": "invalid webhook url"}', "refused the message: 93000"),
    ],
)
def test_what_a_webhook_answers_decides(
    status: int, answer: bytes, reason: str, tmp_path: Path
) -> None:
    """A redirect is not followed, and a chat service's own error counts; the address, which may
    hold a key, is in no message."""
    with http_server() as taken:
        taken.status = status
        taken.answer = answer
        (hook,) = channels(
            tmp_path, webhooks=[{"url": f"http://127.0.0.1:{taken.port}/k?key=hidden", "name": "x"}]
        )
        with pytest.raises(AlertNotSentError, match=f"x: .*{reason}") as caught:
            hook.send(alert())
    assert "hidden" not in str(caught.value)
    assert len(taken.bodies) == 1


def test_a_server_that_is_not_there_is_named_without_its_address(tmp_path: Path) -> None:
    (hook,) = channels(tmp_path, webhooks=[{"url": "http://127.0.0.1:9/k?key=hidden"}])
    with pytest.raises(AlertNotSentError, match=r"webhook 127\.0\.0\.1: no connection") as caught:
        hook.send(alert())
    assert "hidden" not in str(caught.value)


def test_a_receiver_that_drips_its_answer_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message was taken with the status; the answer's text is waited for only so long."""
    monkeypatch.setattr(alert_channels, "_TIMEOUT_S", 0.3)
    with http_server() as taken:
        taken.drip_s = 0.05
        taken.answer = b"x" * 100
        (hook,) = channels(tmp_path, webhooks=[{"url": f"http://127.0.0.1:{taken.port}/"}])
        began = time.monotonic()
        hook.send(alert())
        assert time.monotonic() - began < 5
