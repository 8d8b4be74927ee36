"""Bodies of webhooks in the forms that chat services read."""

from __future__ import annotations

from typing import Any

from service.alerts.alert import Alert

# DingTalk and WeCom refuse longer messages.
_LONGEST = 2000


def webhook_body(template: str, alert: Alert) -> dict[str, Any]:
    """The JSON body of ``alert`` for a webhook of this template. Raises ``KeyError``."""
    return TEMPLATES[template](alert)


def _plain(alert: Alert) -> dict[str, Any]:
    cause = alert.cause
    return {
        "event": "ended" if alert.ended else "began",
        "key": cause.key,
        "kind": cause.kind,
        "title": cause.title,
        "detail": cause.detail,
        "home": alert.home,
        "began_at": alert.began_at,
        "at": alert.at,
    }


def _slack(alert: Alert) -> dict[str, Any]:
    text = alert.text[:_LONGEST]
    # Slack reads these three as markup.
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(char, entity)
    return {"text": text}


def _wecom(alert: Alert) -> dict[str, Any]:
    # 2,048 bytes of UTF-8 at most.
    text = alert.text.encode()[:_LONGEST].decode(errors="ignore")
    return {"msgtype": "text", "text": {"content": text}}


def _dingtalk(alert: Alert) -> dict[str, Any]:
    return {"msgtype": "text", "text": {"content": alert.text[:_LONGEST]}}


TEMPLATES = {
    "json": _plain,
    "slack": _slack,
    "wecom": _wecom,
    "dingtalk": _dingtalk,
}
