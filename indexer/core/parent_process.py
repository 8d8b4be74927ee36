"""Watch of a worker over the process that started it."""

from __future__ import annotations

import os
import threading
import time

# Environment variable, no setting: the number of the parent process, for this child alone.
PARENT = "_CATALENS_PARENT"
_EVERY_S = 0.5


def end_with_parent() -> None:
    """End this process, as a kill would, soon after the one that started it is gone.

    Nobody could cancel it any more, and the next service starts another. Does nothing where no
    parent was named.
    """
    named = os.environ.pop(PARENT, "")
    if named.isdecimal():
        threading.Thread(target=_watch, args=(int(named),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_EVERY_S)
    os._exit(1)
