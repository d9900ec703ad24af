"""The bench's beam head behind a host that streams to the motion alone: lit from the beginning, dark when unfed.

A print feeds the head's watchdog at 4 Hz beside its stream; this does as much, from outside, until `starve`. From then
on the head's own firmware decides: what is still moved with power on burns until its time is up, and no longer.
"""

from __future__ import annotations

import asyncio

from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.beam_head import FIRE, POWER, SHUTTER, TOKEN, BeamHead
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.optics import Head, Optics

FEED_S = 0.25  # as prints feed it
_TOKEN = 1


class FedHead:
    """`optics` keep what it gave while the gantry moved. `power_w`: at S = 1. Its watchdog is as delivered: 1 s."""

    def __init__(self, loop: VirtualLoop, gantry: Gantry, *, power_w: float) -> None:
        emission = Head()
        self.optics = Optics(gantry, emission, keep_history=True)
        self.firmware = BeamHead(
            on_emission=emission.set_emission_capability, emission_w=self.optics.emission_w, timers=loop
        )
        self._loop = loop
        for register, value in ((POWER, round(10 * power_w)), (SHUTTER, 1), (TOKEN, _TOKEN), (FIRE, 1)):
            self.firmware.write_holding(register, [value], loop.time())
        self._feeding = loop.create_task(self._feed(), name="head feeding")

    async def _feed(self) -> None:
        while True:
            await asyncio.sleep(FEED_S)
            self.firmware.write_holding(TOKEN, [_TOKEN], self._loop.time())

    def starve(self) -> None:
        """Nobody feeds it from now on."""
        self._feeding.cancel()
