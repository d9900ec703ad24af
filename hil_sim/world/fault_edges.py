"""Faults that change a state of the world: carried out where their window begins, taken back where it ends.

What is asked again and again (a wire for each chunk) asks the `Faults` itself; a heater that loses its element must be
told. A fault whose window was over before the world began never strikes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hil_sim.world.faults.schedule import Fault, Faults

Begin = Callable[[float, Fault], object]
End = Callable[[float], object]


class FaultEdges:
    """The timers of one world. `points`: what has been registered."""

    def __init__(self, faults: Faults) -> None:
        self.points: list[str] = []
        self._faults = faults
        self._timers: list[asyncio.TimerHandle] = []
        self._waiting: dict[tuple[str, int], list[tuple[Fault, Begin, End]]] = {}  # by anchor and layer
        faults.tell_begins(self._layer_begins)

    def at(self, point: str, begin: Begin, end: End) -> None:
        """From now on `begin(t_s, fault)` and `end(t_s)` are called at the edges of every window at `point`."""
        self.points.append(point)
        for fault in self._faults.schedule.windows(point):
            if fault.at_s is not None:
                self._set(fault, fault.at_s, begin, end)
                continue
            layer = fault.at_layer if fault.at_light is None else fault.at_light
            if layer is not None:
                self._waiting.setdefault((fault.anchor, layer), []).append((fault, begin, end))

    def close(self) -> None:
        """Nothing strikes any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _layer_begins(self, anchor: str, index: int, began_s: float) -> None:
        for fault, begin, end in self._waiting.pop((anchor, index), ()):
            self._set(fault, began_s + fault.after_s, begin, end)

    def _set(self, fault: Fault, from_s: float, begin: Begin, end: End) -> None:
        loop = asyncio.get_running_loop()
        if from_s + fault.for_s > loop.time():
            self._timers.append(loop.call_at(from_s, self._begin, fault, begin))
            self._timers.append(loop.call_at(from_s + fault.for_s, self._end, end))

    def _begin(self, fault: Fault, begin: Begin) -> None:
        now_s = asyncio.get_running_loop().time()
        self._faults.begin(fault, now_s)
        begin(now_s, fault)

    @staticmethod
    def _end(end: End) -> None:
        end(asyncio.get_running_loop().time())
