"""Where faults are anchored at a layer, somebody must say at once that it begins.

The recoater lays its powder lazily, when it is asked, and that can be a whole stroke later: a window of a second would
be over before anybody heard of its layer.
"""

from __future__ import annotations

import asyncio

from hil_sim.world.plant.recoater import Recoater

BEHIND_S = 1e-6  # the edge of a strip is passed by then, however its time was rounded


class LayerStarts:
    """Brings `recoater` up to date whenever its blade has left a strip of the bed. One timer at a time."""

    def __init__(self, recoater: Recoater) -> None:
        self._recoater = recoater
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        recoater.blade.before_change.append(self._blade_commanded)

    def close(self) -> None:
        """No timer strikes any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _blade_commanded(self, _t_s: float) -> None:
        """Once the command has been taken: the strips that it leads to."""
        self.close()
        self._timer = asyncio.get_running_loop().call_soon(self._await_strip)

    def _await_strip(self) -> None:
        loop = asyncio.get_running_loop()
        at_s = self._recoater.next_strip_s(loop.time())
        self._timer = None if at_s is None else loop.call_at(at_s + BEHIND_S, self._strip_passed)

    def _strip_passed(self) -> None:
        self._recoater.advance_to(asyncio.get_running_loop().time())
        self._await_strip()
