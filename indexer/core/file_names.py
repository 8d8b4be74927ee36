"""Names of files that were read from a file, before they are joined to a folder."""

from __future__ import annotations

_LONGEST_BYTES = 255


def is_plain_name(name: object) -> bool:
    """Whether ``name`` is one visible name in a folder: no path, no link upwards, nothing hidden.

    >>> is_plain_name("rows.npy"), is_plain_name("../rows.npy"), is_plain_name(".bashrc")
    (True, False, False)
    """
    if not isinstance(name, str) or not name or name.startswith("."):
        return False
    if not name.isprintable() or any(sign in name for sign in "/\\:"):
        return False
    return len(name.encode()) <= _LONGEST_BYTES and name == name.strip()
