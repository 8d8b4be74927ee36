"""Settings of alerts: who is told, by mail and webhook, and from which limits on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

WebhookTemplate = Literal["json", "slack", "wecom", "dingtalk"]


def _to_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _to_path(value: object) -> object:
    return Path(value) if isinstance(value, str) and value else value


def _mail_address(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain or any(char.isspace() or char in "<>," for char in text):
        raise ValueError("must be a mail address like shop@example.com")
    return text


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https address")
    if parts.username or parts.password:
        raise ValueError("must hold no user name and no password")
    return text


MailAddress = Annotated[str, AfterValidator(_mail_address)]


class _AlertModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SmtpSettings(_AlertModel):
    """A mail server and who gets its mails."""

    host: str = Field(min_length=1)
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    # One line, readable by the service alone.
    password_file: Annotated[Path | None, BeforeValidator(_to_path)] = None
    sender: MailAddress
    to: Annotated[tuple[MailAddress, ...], BeforeValidator(_to_tuple), Field(min_length=1)]


class WebhookSettings(_AlertModel):
    """An address that gets each alert as JSON, in the form that its service reads."""

    url: Annotated[str, AfterValidator(_web_address)] = Field(repr=False)
    template: WebhookTemplate = "json"
    # How messages about the channel call it; the address may hold a key.
    name: str = ""


class AlertSettings(_AlertModel):
    """Channels, and the limits from which on somebody is told."""

    smtp: SmtpSettings | None = None
    webhooks: Annotated[tuple[WebhookSettings, ...], BeforeValidator(_to_tuple)] = ()
    # Shares: of the disk that is free, of a source's photos that failed.
    disk_free: float = Field(default=0.10, ge=0, le=1)
    photo_failures: float = Field(default=0.02, ge=0, le=1)

    @property
    def is_empty(self) -> bool:
        """Whether nobody is told."""
        return self.smtp is None and not self.webhooks


def nested_paths(model: type[BaseModel]) -> list[tuple[str, ...]]:
    """Where a settings model and those in it hold paths, as names from the top."""
    found: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            found += [(name, *rest) for rest in nested_paths(inner)]
        elif Path in _parts(field.annotation):
            found.append((name,))
    return found


def _parts(annotation: Any) -> tuple[Any, ...]:
    inner = getattr(annotation, "__args__", ())
    return (annotation, *(part for one in inner for part in _parts(one)))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or may be; not one inside a tuple."""
    for one in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None
