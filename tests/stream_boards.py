"""The emulated motion boards of the stream campaigns: how each is made and opened, and the layer that it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from firmware_bridge.devices.motion import MotionController
from firmware_bridge.devices.motion_grbl import GrblMotionController
from firmware_bridge.devices.motion_reprap import RepRapMotionController
from firmware_bridge.links.grbl import GrblLink
from firmware_bridge.links.grbl_program import power_error
from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.links.reprap import RepRapLink
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.machine_spec import load_machine_spec
from hil_sim.world.plant.gantry import Gantry, Point, Run

URL = "sim:motion?baud=115200"
PLACE_MM = 0.05
ENERGY_PART = 0.01


@dataclass(frozen=True)
class Planned:
    """One move of the layer: where it ends, mm, S of 1000 (0: dark), and its speed, mm/s (None: as fast as it goes)."""

    end_mm: tuple[float, float]
    power: float
    speed_mm_s: float | None


@dataclass(frozen=True)
class Board:
    """`emulator(gantry)` makes the device, `open()` the host's motion controller for it, ready to stream."""

    emulator: Callable[[Gantry], Any]
    open: Callable[[], Awaitable[Any]]
    lines: tuple[bytes, ...] = field(repr=False)
    moves: tuple[Planned, ...] = field(repr=False)
    start_mm: Point = (0.0, 0.0, 0.0)

    def is_as_planned(self, gantry: Gantry, since_s: float) -> bool:
        """Whether the gantry executed every move once since then, in its place, with its energy for each mm."""
        done = _done(gantry, since_s)
        return len(done) == len(self.moves) and all(map(_is_as_planned, done, self.moves))

    def is_part_of_plan(self, gantry: Gantry, since_s: float) -> bool:
        """Whether it executed the first so many of them like that, and then at most one that was cut short."""
        done = _done(gantry, since_s)
        return len(done) <= len(self.moves) and all(map(_is_as_planned, done[:-1], self.moves))


def _done(gantry: Gantry, since_s: float) -> list[Run]:
    """The moves that were executed since then."""
    done: list[Run] = []
    for run in gantry.history:
        if not isinstance(run, Run) or run.t0_s < since_s:
            continue
        if run.joins:  # goes on with the block of the run before it
            done.pop()
        done.append(run)
    return done


def _is_as_planned(run: Run, planned: Planned) -> bool:
    if max(abs(at - due) for at, due in zip(run.end_mm, planned.end_mm)) > PLACE_MM:
        return False
    if planned.speed_mm_s is None or not planned.power:
        return run.move.s_fraction == 0.0
    energy = run.move.s_fraction * 1000.0 / planned.power
    return abs(energy - 1.0) <= ENERGY_PART and abs(run.move.nominal_mm_s / planned.speed_mm_s - 1.0) <= ENERGY_PART


async def opened(board: Board) -> Any:
    """The host's motion controller."""
    return await board.open()


# ---- Marlin


def marlin(build: MarlinBuild) -> Board:
    """120 short moves, each with another power."""
    moves = [Planned((20 + i * 0.25, 20 + i % 2 * 0.125), 400 + 5 * (i % 100), 100.0) for i in range(120)]
    lines = (b"G1 X%.3f Y%.3f F6000 S%d" % (*move.end_mm, move.power) for move in moves)
    return Board(lambda gantry: MarlinEmulator(gantry, build), _open_marlin, (b"M3 I", *lines, b"M5 I"), tuple(moves))


async def _open_marlin() -> MotionController:
    return MotionController(await MarlinLink.open(URL))


# ---- Grbl


def grbl(*, line_numbers: bool) -> Board:
    """Forty hatch lines with jumps between them, then eighty moves of a contour; the bench's own board, homed."""
    spec = load_machine_spec("bench_grbl").devices.motion
    spec = msgspec.structs.replace(spec, line_numbers=line_numbers)
    powers = [s for s in range(600, 1001) if abs(power_error(s, 1000)) < 0.002]
    moves: list[Planned] = []
    for i in range(40):
        x_mm, y_mm, up_mm = 20 + i * 0.5, 20 + i % 2 * 2.0, (1 - i % 2 * 2) * 2.0
        moves.append(Planned((x_mm, y_mm), 0.0, None))
        moves.append(Planned((x_mm, y_mm + up_mm), powers[i // 4 * 7 % len(powers)], 50.0 + i // 10))
    moves += [Planned((45 + i * 0.25, 20 + i % 2 * 0.125), powers[i // 20 * 11], 50.0) for i in range(80)]
    lines = (
        b"G0 X%.3f Y%.3f F4500 S0" % move.end_mm
        if move.speed_mm_s is None
        else b"G1 X%.3f Y%.3f F%d S%d" % (*move.end_mm, move.speed_mm_s * 60, move.power)
        for move in moves
    )
    program = (b"M4 I S0", *lines, b"M5 I", b"M400")
    return Board(lambda gantry: spec.board(gantry, 115200), _open_grbl, program, tuple(moves), start_mm=(3.0, 4.0, 5.0))


async def _open_grbl() -> GrblMotionController:
    motion = GrblMotionController(await GrblLink.open(URL))
    await motion.home()
    return motion


# ---- RepRapFirmware


def reprap() -> Board:
    """Forty hatch lines with jumps between them, then eighty moves of a contour; the bench's own board, homed.

    Speeds are such that a move reaches its own: a shorter one is told another speed and power, of the same energy.
    """
    spec = load_machine_spec("bench_rrf").devices.motion
    moves: list[Planned] = []
    for i in range(40):
        x_mm, y_mm, up_mm = 20 + i * 0.5, 20 + i % 2 * 2.0, (1 - i % 2 * 2) * 2.0
        moves.append(Planned((x_mm, y_mm), 0.0, None))
        moves.append(Planned((x_mm, y_mm + up_mm), 400 + 7 * i, 20.0 + i // 10))
    moves += [Planned((45 + i * 0.25, 20 + i % 2 * 0.125), 600 + 5 * (i // 4), 10.0) for i in range(80)]
    lines = (
        b"G0 X%.3f Y%.3f F6000 S0" % move.end_mm
        if move.speed_mm_s is None
        else b"G1 X%.3f Y%.3f F%d S%d" % (*move.end_mm, move.speed_mm_s * 60, move.power)
        for move in moves
    )
    program = (b"M4 I S0", *lines, b"M5 I", b"M400")
    return Board(
        lambda gantry: spec.board(gantry, 115200), _open_reprap, program, tuple(moves), start_mm=(3.0, 4.0, 5.0)
    )


async def _open_reprap() -> RepRapMotionController:
    motion = RepRapMotionController(await RepRapLink.open(URL))
    await motion.identify()
    await motion.home()
    return motion
