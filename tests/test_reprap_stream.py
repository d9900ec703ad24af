"""How fast do moves go out to RepRapFirmware, one line in doubt at a time, and is a short move given its energy?"""

from __future__ import annotations

import dataclasses

import pytest
from reprap_link_helpers import Notes

from firmware_bridge.links.reprap import Expected, RepRapLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.machine_spec import load_machine_spec
from hil_sim.world.plant.gantry import Gantry, Run
from hil_sim.world.wire import lay_virtual

COUNT = 800


def board_of(baud: int, **build: object) -> RepRapEmulator:
    usual = load_machine_spec("bench_rrf").devices.motion.board(Gantry(), baud).build
    return RepRapEmulator(Gantry(), dataclasses.replace(usual, **build))


@pytest.mark.parametrize(("baud", "moves_per_s"), [(115_200, 400.0), (250_000, 800.0), (12_000_000, 3_000.0)])
def test_moves_go_out_faster_than_one_to_a_line_could(baud: int, moves_per_s: float) -> None:
    """A gantry so quick that the wire alone counts. At 115,200 baud 286 lines of 40 bytes are all that a wire takes."""

    async def main(loop: VirtualLoop) -> float:
        quick = {"acceleration_mm_s2": (1e7, 1e7, 1e3), "jerk_mm_s": (1e4, 1e4, 1e2), "max_speed_mm_s": (5e3, 5e3, 1e2)}
        await lay_virtual("motion", board_of(baud, **quick), baud=baud)
        link = await RepRapLink.open("sim:motion", expected=Expected(rapid_mm_s=100.0))
        await link.home()
        program = [
            b"G1 X%.3f Y%.3f F60000 S%d" % (20 + i * 0.125, 20 + i % 2 * 0.25, 400 + i % 400) for i in range(COUNT)
        ]
        began_s = loop.time()
        assert await link.stream(program, Notes()) == COUNT
        link.close()
        return COUNT / (loop.time() - began_s)

    assert run_virtual(main) > moves_per_s


@pytest.mark.parametrize("length_mm", [0.1, 1.0, 4.9, 10.0])
def test_a_short_move_gets_the_energy_of_its_speed(length_mm: float) -> None:
    """Power over the speed asked for is energy for each mm, whatever speed a move of this length reaches."""

    async def main(loop: VirtualLoop) -> Run:
        board = board_of(115_200)
        await lay_virtual("motion", board, baud=115_200)
        link = await RepRapLink.open("sim:motion")
        await link.home()
        await link.stream([b"G0 X50 Y50", b"G1 X%.3f Y50 F3000 S800" % (50 + length_mm), b"M400"], Notes())
        link.close()
        return next(run for run in board.gantry.history if isinstance(run, Run) and run.move.s_fraction)

    run = run_virtual(main)
    assert run.move.s_fraction / run.move.nominal_mm_s == pytest.approx(0.8 / 50.0, rel=2e-3)
