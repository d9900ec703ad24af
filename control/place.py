"""Where the gantry stands: against the plan behind every line that it took, against its end switches every so often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from control.interlock import Trip
from control.journal import Journal
from control.machine import Machine
from control.watch import MachineTripped
from firmware_bridge.devices.gantry import ChecksPlace


class Place:
    """`position_mm`: what the board said last (x, y, z). `unsure_from`: the first layer since the gantry's place was
    last made sure of."""

    def __init__(self, machine: Machine, journal: Journal, layer_count: int) -> None:
        self._machine = machine
        self._journal = journal
        self._layer_count = layer_count
        self.position_mm: tuple[float, float, float] | None = None
        self.unsure_from: int | None = None

    async def close(self, index: int, ends_mm: NDArray[np.float64]) -> None:
        """The machine must stand where the last line that it took ends (2 f8): else lines went astray."""
        position = await self._machine.guarded(self._machine.devices.motion.position())
        self.position_mm = position
        off_mm = float(np.max(np.abs(np.asarray(position[:2]) - ends_mm)))
        tolerance_mm = self._machine.config.print.position_tolerance_mm
        if off_mm > tolerance_mm:  # NaN, before the first move, is not
            reason = f"layer {index} ended {off_mm:.3f} mm from where its plan ends (allowed {tolerance_mm:g} mm)"
            raise MachineTripped([Trip("motion", reason)])

    async def check(self, index: int) -> None:
        """Every so many layers as the machine file says, and behind the last: have x and y lost steps? Before the layer
        is claimed, since the board itself only counts the steps that it gave."""
        c, motion = self._machine.config.devices.motion, self._machine.devices.motion
        is_due = (index + 1) % max(c.home_check_layers, 1) == 0 or index == self._layer_count - 1
        if not c.home_check_layers or not is_due or not isinstance(motion, ChecksPlace):
            return
        if flaw := await self._machine.guarded(motion.check_place(c.home_check_mm)):
            which = f"layer {index}" if index == self.unsure_from else f"layers {self.unsure_from} to {index}"
            for layer in range(self.unsure_from if self.unsure_from is not None else index, index + 1):
                await self._journal.doubt(layer, 0)
            reason = f"{flaw}: steps were lost, or the switch fails; {which} may lie elsewhere than planned"
            raise MachineTripped([Trip("motion", reason)])
        self.unsure_from = index + 1
        self.position_mm = await self._machine.guarded(motion.position())
