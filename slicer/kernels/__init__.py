"""Numba's functions, one file a topic: arrays and numbers in, arrays and numbers out.

They are compiled when they are first called on a machine, and kept beside the sources (or where NUMBA_CACHE_DIR says).
That takes up to half a minute in which nothing else can be seen to happen, so it is said, once a process.
"""

from __future__ import annotations

import logging
from typing import Any

from numba.core import event

log = logging.getLogger(__name__)


class _Announcer(event.Listener):
    """Says so when the first function is compiled that was found in no cache."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event_: Any) -> None:
        if not self._said:
            self._said = True
            log.warning("compiling kernels for this machine; this takes up to half a minute, and only the first time")

    def on_end(self, event_: Any) -> None:
        """Nothing: the command goes on."""


event.register("numba:compile", _Announcer())
