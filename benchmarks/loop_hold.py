"""How long the callbacks of an event loop keep it from the wires: what a stop that is called meanwhile waits for.

A hold is the time between two questions of the loop to the system, all callbacks of that turn together: no single one
can have held it longer. On a busy machine others' turns on the core are in it; what the loop's own thread worked is
told apart.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Hold(NamedTuple):
    """One turn of the loop: when it began (loop time, s), how long it took, and what the thread worked in it."""

    at_s: float
    seconds: float
    cpu_s: float


class HoldSelector(selectors.DefaultSelector):
    """The system's own selector, which remembers the turns of the loop between its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.holds: list[Hold] = []
        self._answered: tuple[float, float] | None = None

    def select(self, timeout: float | None = None) -> Any:
        """As the selector does it."""
        if self._answered is not None:
            at_s, cpu_s = self._answered
            self.holds.append(Hold(at_s, time.monotonic() - at_s, time.thread_time() - cpu_s))
        events = super().select(timeout)
        self._answered = time.monotonic(), time.thread_time()
        return events


def run_watched(main: Coroutine[Any, Any, T]) -> tuple[T, list[Hold]]:
    """Run `main` on a stock loop: its result, and every turn of the loop."""
    selector = HoldSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        result = runner.run(main)
        return result, selector.holds


def longest(holds: list[Hold], begin_s: float, end_s: float) -> dict[str, float]:
    """Of the turns that began in that time, ms: the longest, the 99.9th percentile, and the most work in one."""
    inside = [hold for hold in holds if begin_s <= hold.at_s <= end_s]
    ordered = sorted(hold.seconds for hold in inside)
    return {
        "loop_hold_longest_ms": round(1e3 * ordered[-1], 3),
        "loop_hold_999_ms": round(1e3 * ordered[int(0.999 * (len(ordered) - 1))], 3),
        "loop_hold_longest_cpu_ms": round(1e3 * max(hold.cpu_s for hold in inside), 3),
        "loop_turns": len(ordered),
    }
