"""Hosts that do not give the loop back: `time.sleep` where `asyncio.sleep` belongs, or a loop without an `await`.

In virtual time nothing else can happen meanwhile, so that such a host waits for ever for what it waits for. Only real
time can tell.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from hil_sim.virtual_time import SimError

BLOCKED_S_MAX = 60.0  # of real time
_TURN = "_run_once"  # of asyncio's loops and of ours
_WAITS = frozenset({"select", "_hold_back"})  # what a turn calls to wait by itself
_LET_BE = ("numba", "llvmlite", "pdb", "bdb", "pydevd", "_pydevd", "debugpy")  # who compiles, or is being debugged


class HostBlocks(SimError):
    """A host has kept everybody else from running, in one step; a sentence."""


class _Turning(Protocol):
    @property
    def turn(self) -> Any:
        """Another whenever the loop has turned."""


@contextmanager
def broken_off_when_blocked(loop: _Turning) -> Iterator[None]:
    """Meanwhile whoever keeps `loop` from turning for `BLOCKED_S_MAX` of real time, and twice that at most, has
    HostBlocks raised where it stands.

    It takes the process's SIGALRM. Outside the main thread, and where somebody else has that signal (as a plugin that
    bounds a test's time), nothing is done.
    """
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return
    seen = loop.turn

    def look(_signal: int, frame: FrameType | None) -> None:
        nonlocal seen
        if loop.turn != seen:
            seen = loop.turn
        elif place := _place(frame):
            raise HostBlocks(
                f"for over {BLOCKED_S_MAX:g} s of real time the host let nothing else run, at {place}: it must await "
                "what takes time (asyncio.sleep, not time.sleep)"
            )

    try:
        signal.signal(signal.SIGALRM, look)
    except ValueError:  # not the main thread
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, BLOCKED_S_MAX, BLOCKED_S_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _place(frame: FrameType | None) -> str:
    """Who keeps the loop, "function (file:line)": what runs now. Empty: it waits by itself, is not being turned (a test
    that leads a run from outside takes its time), or who keeps it is let be.
    """
    where, under = frame, None
    while frame is not None and frame.f_code.co_name != _TURN:
        if str(frame.f_globals.get("__name__")).startswith(_LET_BE):
            return ""
        under, frame = frame, frame.f_back
    if where is None or frame is None or under is None or under.f_code.co_name in _WAITS:
        return ""
    return f"{where.f_code.co_name} ({where.f_code.co_filename}:{where.f_lineno})"
