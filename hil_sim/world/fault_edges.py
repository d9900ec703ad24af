"""Faults that change a state of the world: carried out where their window begins, taken back where it ends.

What is asked again and again (a wire for each chunk) asks the schedule itself; a heater that loses its element must be
told. A fault whose window was over before the world began never strikes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hil_sim.world.faults.schedule import Fault, FaultSchedule


class FaultEdges:
    """The timers of one world. `points`: what has been registered; `strikes`: time, point, kind of what struck."""

    def __init__(self, schedule: FaultSchedule) -> None:
        self.points: list[str] = []
        self.strikes: list[tuple[float, str, str]] = []
        self._schedule = schedule
        self._timers: list[asyncio.TimerHandle] = []

    def at(self, point: str, begin: Callable[[float, Fault], object], end: Callable[[float], object]) -> None:
        """From now on `begin(t_s, fault)` and `end(t_s)` are called at the edges of every window at `point`."""
        loop = asyncio.get_running_loop()
        self.points.append(point)
        for fault in self._schedule.faults:
            if fault.point != point or fault.at_s is None or fault.at_s + fault.for_s <= loop.time():
                continue
            self._timers.append(loop.call_at(fault.at_s, self._begin, fault, begin))
            self._timers.append(loop.call_at(fault.at_s + fault.for_s, self._end, end))

    def close(self) -> None:
        """Nothing strikes any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _begin(self, fault: Fault, begin: Callable[[float, Fault], object]) -> None:
        now_s = asyncio.get_running_loop().time()
        self.strikes.append((now_s, fault.point, fault.kind))
        begin(now_s, fault)

    @staticmethod
    def _end(end: Callable[[float], object]) -> None:
        end(asyncio.get_running_loop().time())
