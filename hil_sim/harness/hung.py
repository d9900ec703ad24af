"""Hosts that do not come to their end: when one is given up, and where it stood then."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

LOOKS = 8  # at a machine in the time that it may stand still: a host is given up by two of them too late at most
_ASYNCIO = Path(asyncio.__file__).parent


class HostBound:
    """The bound on one host: it is given up once, for one reason, and only while it works.

    bound = HostBound()
    async with bound.around(600.0, "it had not ended after 600 s"):
        await host()
    """

    def __init__(self) -> None:
        self._limit: asyncio.Timeout | None = None
        self._reason = ""

    @asynccontextmanager
    async def around(self, most_s: float | None = None, late: str = "") -> AsyncIterator[None]:
        """A host's work. Raises TimeoutError with the reason and the place where it waited, `late` if it took `most_s`;
        one of its own with a sentence goes through as it is."""
        try:
            async with asyncio.timeout(most_s) as self._limit:
                yield
        except TimeoutError as error:
            reason = self._reason or late
            if str(error) or not reason:
                raise
            raise TimeoutError(with_place(reason, error)) from error
        finally:
            self._limit = None

    def give_up(self, reason: str) -> bool:
        """Have the host cut off where it waits. False: it does not work yet or any more, or has been given up."""
        limit = self._limit
        if limit is None or self._reason or limit.expired():
            return False
        self._reason = reason
        limit.reschedule(asyncio.get_running_loop().time())
        return True


@contextmanager
def given_up_when_still(
    doings: Callable[[], Any], give_up: Callable[[str], bool], still_s_max: float | None
) -> Iterator[None]:
    """Meanwhile `give_up(sentence)` is called whenever `doings()` has been the same for `still_s_max` of loop time,
    until it says True; None: never."""
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
        elif loop.time() - since_s >= still_s_max and give_up(
            f"the printer had neither moved nor taken a picture for {still_s_max:g} s, and the host had not ended"
        ):
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
