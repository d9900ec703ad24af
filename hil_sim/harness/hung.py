"""Hosts that do not come to their end: when one is given up, and where it stood then."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ASYNCIO = Path(asyncio.__file__).parent

LOOKS = 8  # at a machine, in that time


@contextmanager
def given_up_when_still(
    doings: Callable[[], Any], give_up: Callable[[str], None], still_s_max: float | None
) -> Iterator[None]:
    """Meanwhile `give_up(sentence)` is called, once, when `doings()` has been the same for `still_s_max` of loop time;
    None: never."""
    if still_s_max is None:
        yield
        return
    loop = asyncio.get_running_loop()
    said, since_s = doings(), loop.time()
    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal said, since_s, timer
        now = doings()
        if now != said:
            said, since_s = now, loop.time()
        elif loop.time() - since_s >= still_s_max:
            give_up(f"the machine had done nothing for {still_s_max:g} s, and the host had not ended")
            return
        timer = loop.call_later(still_s_max / LOOKS, look)

    timer = loop.call_later(still_s_max / LOOKS, look)
    try:
        yield
    finally:
        timer.cancel()


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
