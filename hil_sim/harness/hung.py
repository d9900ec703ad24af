"""Where a host stood that did not come to its end in time."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

_ASYNCIO = Path(asyncio.__file__).parent


def waited_at(timeout: TimeoutError) -> str:
    """The place at which `asyncio.timeout` cut a host off, "function (file:line)": the deepest that is not asyncio's
    own; empty where the error came from anywhere else."""
    cut = timeout.__cause__
    if not isinstance(cut, asyncio.CancelledError):
        return ""
    frames = [f for f in traceback.extract_tb(cut.__traceback__) if Path(f.filename).parent != _ASYNCIO]
    return f"{frames[-1].name} ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def with_place(sentence: str, timeout: TimeoutError) -> str:
    """A sentence about a host that hung, with the place where it waited."""
    place = waited_at(timeout)
    return f"{sentence}; it waited at {place}" if place else sentence
