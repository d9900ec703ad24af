"""Numba's functions, one file a topic: arrays and numbers in, arrays and numbers out.

They are compiled when they are first called on a machine, and kept beside the sources (or where NUMBA_CACHE_DIR says).
That takes up to half a minute in which nothing else can be seen to happen, so it is said, once a process.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from pathlib import Path
from typing import Any

from numba.core import caching, event

log = logging.getLogger(__name__)

HERE = Path(__file__).resolve().parent


@functools.cache
def sources_sha256(folder: Path) -> str:
    """Of all sources of a folder."""
    texts = [f"{path.name}\n".encode() + path.read_bytes() for path in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


_stamp_of_file = caching._SourceFileBackedLocatorMixin.get_source_stamp


def _stamp(self: Any) -> Any:
    """Numba knows of a cached function only whether its own file has changed. A kernel is compiled into those of other
    files that call it, so here the sources of all of them are the stamp of each."""
    return sources_sha256(HERE) if Path(self._py_file).parent == HERE else _stamp_of_file(self)


caching._SourceFileBackedLocatorMixin.get_source_stamp = _stamp  # type: ignore[method-assign]


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
