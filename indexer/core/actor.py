"""Actor of what is written: whose name it carries, and the action that it is part of.

Both are known to everything below, in this thread: a write path need not hand them on, so none can
forget to.
"""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from indexer.core.printable import plain_line

# Letters of a name that is kept.
_LONGEST_NAME = 120
# Of what an action is about.
_LONGEST_NOTE = 200


@dataclass(frozen=True)
class WriteAction:
    """What somebody does as one, made of any number of writes.

    ``kind``: write, batch, import, sync, taxonomy, types, undo and others. ``note``: what it is
    about, such as a file's name. ``undoes``: the action that it takes back.
    """

    kind: str
    by: str
    note: str = ""
    undoes: str | None = None
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])


_actor: ContextVar[str] = ContextVar("actor", default="")
_action: ContextVar[WriteAction | None] = ContextVar("action", default=None)


@contextmanager
def acting(by: str) -> Iterator[None]:
    """Whatever is written inside is written by ``by``: a person or a machine, "" unknown."""
    before = _actor.set(plain_name(by))
    try:
        yield
    finally:
        _actor.reset(before)


@contextmanager
def doing(kind: str, note: str = "", *, undoes: str | None = None) -> Iterator[WriteAction]:
    """All writes inside are one action. One begun inside another is part of that."""
    outer = _action.get()
    if outer is not None:
        yield outer
        return
    # A name of a file may hold bytes that no database takes.
    action = WriteAction(kind, current_actor(), plain_line(note)[:_LONGEST_NOTE], undoes)
    before = _action.set(action)
    try:
        yield action
    finally:
        _action.reset(before)


def current_actor() -> str:
    """Who acts in this thread; "" unknown."""
    return _actor.get()


def current_action() -> WriteAction:
    """The action that a write of this thread is part of: without one, it is its own."""
    return _action.get() or WriteAction("write", current_actor())


def plain_name(name: str) -> str:
    """``name`` on one line, as long as names are kept, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())[:_LONGEST_NAME]


def login_name() -> str:
    """The name of who uses this machine; "" where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
