"""Channels that alerts go out by: SMTP and webhooks."""

from __future__ import annotations

import smtplib
import ssl
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import orjson
import urllib3

from indexer.core.errors import BadSettingsError, UnavailableError
from indexer.core.home import Home
from service.alerts.alert import Alert
from service.alerts.secret import load_secret
from service.alerts.templates import webhook_body
from service.settings.alerts import AlertSettings, SmtpSettings, WebhookSettings

_TIMEOUT_S = 10.0
_MOST_ANSWER_BYTES = 16_384


class AlertNotSentError(UnavailableError):
    """A channel did not take an alert; the message says which and why, without its address."""

    code = "alert-not-sent"


class AlertChannel(Protocol):
    """One way to reach people; ``name`` stands in messages and tells channels apart."""

    name: str

    def send(self, alert: Alert) -> None:
        """Deliver ``alert``. Raises ``AlertNotSentError``."""
        ...


def open_channels(home: Home, settings: AlertSettings) -> list[AlertChannel]:
    """The channels of ``settings``; names are unique."""
    channels: list[AlertChannel] = []
    if settings.smtp is not None:
        channels.append(SmtpChannel(settings.smtp))
    taken = {channel.name for channel in channels}
    for webhook in settings.webhooks:
        wanted = webhook.name or f"webhook {urlsplit(webhook.url).hostname}"
        name = wanted
        number = 2
        while name in taken:
            name = f"{wanted} {number}"
            number += 1
        taken.add(name)
        channels.append(WebhookChannel(home, webhook, name))
    return channels


class SmtpChannel:
    """Mail by one server."""

    def __init__(self, settings: SmtpSettings) -> None:
        self.name = f"mail {settings.host}"
        self._settings = settings

    def send(self, alert: Alert) -> None:
        message = EmailMessage()
        message["Subject"] = alert.subject.replace("\n", " ").replace("\r", " ")
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.to)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(alert.text)
        try:
            self._deliver(message)
        except (smtplib.SMTPException, OSError) as error:
            raise AlertNotSentError(f"{self.name}: {_mail_reason(error)}") from error

    def _deliver(self, message: EmailMessage) -> None:
        settings = self._settings
        password = None if settings.password_file is None else _password(settings.password_file)
        context = ssl.create_default_context()
        server: smtplib.SMTP
        if settings.security == "tls":
            server = smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=_TIMEOUT_S, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=_TIMEOUT_S)
        with server:
            if settings.security == "starttls":
                server.starttls(context=context)
            if settings.username:
                server.login(settings.username, password or "")
            server.send_message(message)


def _mail_reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"the server refused {', '.join(error.recipients)}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return "the server refused user name and password"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"the server does not offer that: {error} (see security in alerts.smtp)"
    if isinstance(error, smtplib.SMTPResponseException):
        answer = error.smtp_error
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
        return f"the server answered {error.smtp_code} {text[:200]}"
    return f"{getattr(error, 'strerror', None) or error or type(error).__name__}"[:200]


def _password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadSettingsError(f"alerts.smtp.password_file {path}: {reason}") from error


class WebhookChannel:
    """JSON to one address, signed with the home's secret; redirects are not followed."""

    def __init__(self, home: Home, settings: WebhookSettings, name: str) -> None:
        self.name = name
        self._home = home
        self._settings = settings

    def send(self, alert: Alert) -> None:
        body = orjson.dumps(webhook_body(self._settings.template, alert))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "catalens",
            "X-Catalens-Signature": load_secret(self._home).sign(body, at=time.time()),
        }
        with urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S) as pool:
            try:
                answer = pool.request(
                    "POST",
                    self._settings.url,
                    body=body,
                    headers=headers,
                    redirect=False,
                    preload_content=False,
                )
                text = _read_answer(answer)
                answer.close()
            except (urllib3.exceptions.HTTPError, OSError) as error:
                # Not its text, which may hold the address and so a key.
                raise AlertNotSentError(f"{self.name}: {_web_reason(error)}") from error
        if not 200 <= answer.status < 300:
            raise AlertNotSentError(f"{self.name}: it answered with status {answer.status}")
        refused = _refusal(text)
        if refused is not None:
            raise AlertNotSentError(f"{self.name}: it refused the message: {refused}")


def _read_answer(answer: urllib3.BaseHTTPResponse) -> bytes:
    """The first bytes of an answer, as far as they come in time: a server may drip for ever."""
    until = time.monotonic() + _TIMEOUT_S
    text = b""
    while len(text) < _MOST_ANSWER_BYTES and time.monotonic() < until:
        piece = answer.read1(_MOST_ANSWER_BYTES)
        if not piece:
            break
        text += piece
    return text


def _web_reason(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "no connection"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "it does not answer in time"
    if isinstance(error, urllib3.exceptions.SSLError):
        return "its certificate is not accepted"
    return f"no connection ({type(error).__name__})"


def _refusal(text: bytes) -> str | None:
    """What WeCom and DingTalk say instead of a status: ``errcode`` above 0."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if isinstance(found, dict) and found.get("errcode"):
        return f"{found['errcode']} {str(found.get('errmsg', ''))[:200]}"
    return None
