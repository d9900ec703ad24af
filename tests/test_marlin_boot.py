"""Does a host that opens a board in mid-work begin from a sure count, whatever an earlier one left in it?"""

from __future__ import annotations

import asyncio

import pytest
from marlin_link_helpers import Notes

from firmware_bridge.links.marlin import MarlinLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual

TORN = b"N64 G1 X31.25 Y40"


@pytest.mark.parametrize("advanced", [False, True])
@pytest.mark.parametrize("held_s", [0.0, 0.4, 1.7, 3.2, 8.0])
@pytest.mark.parametrize("left", [TORN, b"N64 G1 X31.25 Y40*7\n", TORN + b"\nN65 G1 X3", b"\xff\x00" + TORN, b""])
def test_what_an_earlier_host_left_in_the_board_is_outlived(held_s: float, left: bytes, advanced: bool) -> None:
    """A torn line is refused when its turn comes, and what came behind it is thrown away: our hello with it."""

    async def main(loop: VirtualLoop) -> None:
        gantry = Gantry(start_mm=(60.0, 40.0, 0.0), frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
        board = MarlinEmulator(gantry, MarlinBuild(advanced_ok=advanced, reset_on_open=False))
        wire = await lay_virtual("motion", board, baud=115200)
        first = await MarlinLink.open(wire.url)
        await first.command(b"G28")
        # behind a line that takes its time, so that the hello of the next host waits in the receive buffer with it
        first._write(b"G4 P%d\n" % (held_s * 1000) + left)
        await asyncio.sleep(0.05)
        first.close()

        second = await MarlinLink.open(wire.url)
        assert second.has_advanced_ok == advanced and second.marker == "echo"
        assert await second.stream([b"G1 X%.1f Y40 F3000 S0" % (60 + n) for n in range(40)], Notes()) == 40
        await second.command(b"M400")
        assert gantry.position_at(loop.time())[0] == pytest.approx(99.0)
        second.close()

    run_virtual(main)
