"""How long a motion controller really needs for a scan path: accelerations, corners, look-ahead, and its wire."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.errors import ScanError
from slicer.kernels import motion
from slicer.scan import ScanPath, read_only

BITS_PER_BYTE = 10  # start, eight data, stop


@dataclass(frozen=True, slots=True)
class Firmware:
    """How a kind of motion controller plans moves and takes lines.

    Attributes:
        name: as in FIRMWARES.
        corner_rule: one of `kernels.motion.CORNER_*`: how fast a corner may be taken.
        is_per_axis: the envelope's speed and acceleration are those of each axis, so that a diagonal is faster, and a
            jump is as fast as the axes may, whatever the recipe says.
        ring_moves: moves that the planner holds, the running one included.
        first_delay_s, first_moves: a planner at rest starts after that time, or once it holds so many moves.
        replan_ahead_s: a running move's exit speed may still rise until this long before it brakes; inf: it is fixed
            when the move starts.
        window_bytes, window_lines: what a host may have under way unanswered.
        frame_bytes: what is put round a line, the digits of number and checksum apart; spare_bytes: what the host takes
            for all of it before it knows; numbers_lines: whether lines carry a number and an XOR checksum.
        answer_bytes: of an ok (its numbers apart).
        axis_step_mm_s: for CORNER_JERK, the change of speed that an axis makes at once.
    """

    name: str
    corner_rule: int
    is_per_axis: bool
    ring_moves: int
    first_delay_s: float
    first_moves: int
    replan_ahead_s: float
    window_bytes: int
    window_lines: int
    frame_bytes: int
    spare_bytes: int
    numbers_lines: bool
    answer_bytes: int
    axis_step_mm_s: float = 0.0


FIRMWARES: dict[str, Firmware] = {
    # Marlin's planner.cpp and queue.cpp: 16 blocks of which 15 are usable, BLOCK_DELAY_FOR_1ST_MOVE 100 ms, 4 commands,
    # 128 bytes; frames as the host writes them: "N12 ...*98" and an empty line; ok: "ok N12 P15 B3".
    "marlin": Firmware(
        "marlin", motion.CORNER_MARLIN, False, 15, 0.1, 3, math.inf, 127, 4, 5, 14, True, 11
    ),
    # Grbl 1.1's planner.c, stepper.c, serial.c: axis limits, the running block re-planned up to the segments that are
    # prepared (6 of 10 ms, of which 5 are full), character counting over 127 bytes, no numbers, ok and CR LF. It starts
    # when the ring is full or the line is silent: after 1 ms, assumed.
    "grbl": Firmware(
        "grbl", motion.CORNER_GRBL, True, 15, 0.001, 15, 0.05, 127, motion.NUMBER_MAX, 1, 1, False, 4
    ),
    # RepRapFirmware's DDA.cpp (MatchSpeeds: a step per axis, M566; 15 mm/s by default) and Move.h (40 moves). Assumed,
    # not read: a start after 10 ms, exits fixed at a move's start, and a host that keeps 4 lines under way.
    "rrf": Firmware(
        "rrf", motion.CORNER_JERK, True, 40, 0.01, 40, math.inf, 127, 4, 5, 14, True, 2, 15.0
    ),
}  # fmt: skip
"""The controllers that are known, by name. LinuxCNC blends corners within a tolerance and is not among them."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A serial line between host and controller.

    Attributes:
        baud: bits a second, ten of them a byte.
        latency_s: one way, on top of the bytes.
        command_s: the controller's own time for a line.
        first_number: of the first line of a program.
    """

    baud: int
    latency_s: float = 2e-4
    command_s: float = 1e-4
    first_number: int = 1

    def __post_init__(self) -> None:
        if not (1200 <= self.baud <= 4_000_000 and 0.0 <= self.latency_s <= 10.0 and 0.0 <= self.command_s <= 10.0):
            raise ValueError(f"{self} is no serial line: 1200 to 4000000 baud, delays from 0 to 10 s")


@dataclass(frozen=True, slots=True)
class PathTime:
    """Seconds of one layer's path.

    Attributes:
        beam_on_s: along vectors; jumping_s: between them; waiting_s: dwells, and the rests that a controller adds.
    """

    beam_on_s: float
    jumping_s: float
    waiting_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All of them."""
        return self.beam_on_s + self.jumping_s + self.waiting_s


@dataclass(frozen=True, slots=True)
class ProgramTime:
    """How a controller spends its time on a program, in seconds.

    Attributes:
        exposing_s, jumping_s, waiting_s: along vectors, along jumps, in dwells.
        stood_s, dry_runs: at rest between two moves because the next one's line was not there yet, and how often: the
            beam of an exposing move stands then.
        late_moves: moves that ended slower than they might have, because the lines after them were not there yet.
        began_s, ended_s: the first move's or wait's start and the last move's end, from the first byte on.
        done_s: until the last line was answered.
    """

    exposing_s: float
    jumping_s: float
    waiting_s: float
    stood_s: float
    dry_runs: int
    late_moves: int
    began_s: float
    ended_s: float
    done_s: float

    @property
    def motion_s(self) -> float:
        """From the first move's or wait's start to the last move's end."""
        return self.ended_s - self.began_s

    @property
    def rest_s(self) -> float:
        """Of that, at rest without being asked to: a controller that gathers moves before it starts again."""
        rest_s = self.motion_s - self.exposing_s - self.jumping_s - self.waiting_s - self.stood_s
        return rest_s if rest_s > 1e-9 * self.motion_s else 0.0  # less is the rounding of the sums


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The lines of a program as a controller takes them.

    Attributes:
        kind: (n,) u1, `kernels.motion.LINE_*`; end_mm: (n, 2) f8, where the line's move ends.
        value: (n,) f8, speed of a move in mm/s or duration of a wait in s.
        size, check: (n,) u1, bytes of the bare line, and their XOR; (0,) where no wire is asked about.
    """

    kind: NDArray[np.uint8]
    end_mm: NDArray[np.float64]
    value: NDArray[np.float64]
    size: NDArray[np.uint8]
    check: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def moves(self) -> int:
        """How many of them move."""
        return int((self.kind <= motion.LINE_VECTOR).sum())

    def part(self, lines: int) -> Program:
        """Its first lines."""
        kept = slice(lines)
        return Program(self.kind[kept], self.end_mm[kept], self.value[kept], self.size[kept], self.check[kept])

    def end(self, from_mm: tuple[float, float]) -> tuple[float, float]:
        """x and y in mm where the program ends, having begun at `from_mm`."""
        moves = np.flatnonzero(self.kind <= motion.LINE_VECTOR)
        return (float(self.end_mm[moves[-1], 0]), float(self.end_mm[moves[-1], 1])) if len(moves) else from_mm


def path_program(
    path: ScanPath, envelope: Envelope, jump_speed_mm_s: float | None = None, *, is_sized: bool = True
) -> Program:
    """The lines that expose a path, as `exporters.gcode` writes them: head, jumps, waits, vectors, the way back, foot.

    Jumps without a speed of their own go as fast as the gantry may. Without `is_sized` the program cannot be sent over
    a wire, and takes half the time to make.

    Raises:
        ScanError: a number that is not finite, a speed or power that is not positive, a negative wait.
    """
    n = len(path)
    for name, least in (("vectors_mm", -math.inf), ("speed_mm_s", 1e-6), ("power_w", 1e-6), ("wait_s", 0.0)):
        numbers = getattr(path, name)
        if n and not (numbers.min() >= least and numbers.max() < math.inf):  # NaN fails too
            raise ScanError(
                f"a path's {name} hold {numbers.min():g} to {numbers.max():g}: nobody can say how long it takes"
            )
    jump = envelope.speed_mm_s_max if jump_speed_mm_s is None else min(jump_speed_mm_s, envelope.speed_mm_s_max)
    room = 4 * n + 4
    kind = np.empty(room, np.uint8)
    size, check = np.empty((2, room if is_sized else 0), np.uint8)
    end_mm, value = np.empty((room, 2)), np.empty(room)
    waits = path.wait_s.strides != (0,) and bool(path.wait_s.any())
    lines = motion.scan_lines(
        read_only(path.vectors_mm),
        read_only(path.speed_mm_s),
        read_only(path.power_w),
        read_only(path.wait_s if waits else np.zeros(0)),
        jump,
        envelope.s_max,
        kind,
        end_mm,
        value,
        size,
        check,
    )
    return Program(kind[:lines], end_mm[:lines], value[:lines], size[:lines], check[:lines])


def program_time(
    program: Program,
    from_mm: tuple[float, float],
    envelope: Envelope,
    firmware: Firmware = FIRMWARES["marlin"],
    wire: Wire | None = None,
    spans_s: NDArray[np.float64] | None = None,
) -> ProgramTime:
    """Run a program from rest at `from_mm` to rest.

    Args:
        wire: the line it comes over; None: every line is at hand at once.
        spans_s: (2, n) f8, out: begin and end of each line's move or wait, from the first byte on.
    """
    assert wire is None or len(program.size) == len(program), "a program without sizes cannot be sent over a wire"
    sums = np.zeros(motion.SUMS)
    starts, stops = (np.zeros(0), np.zeros(0)) if spans_s is None else spans_s
    by_jerk = firmware.corner_rule == motion.CORNER_JERK
    motion.run_lines(
        program.kind, program.end_mm, program.value, program.size, program.check, float(from_mm[0]), float(from_mm[1]),
        envelope.acceleration_mm_s2, envelope.speed_mm_s_max, firmware.corner_rule,
        firmware.axis_step_mm_s if by_jerk else envelope.junction_deviation_mm, firmware.is_per_axis,
        firmware.ring_moves, firmware.first_delay_s, firmware.first_moves, firmware.replan_ahead_s,
        BITS_PER_BYTE / wire.baud if wire else 0.0, wire.latency_s if wire else 0.0, wire.command_s if wire else 0.0,
        firmware.window_bytes, firmware.window_lines, firmware.spare_bytes, firmware.frame_bytes,
        wire.first_number if wire and firmware.numbers_lines else -1, firmware.answer_bytes,
        sums, starts, stops,
    )  # fmt: skip
    exposing, jumping, waiting, stood, dry, late, began, ended, done = map(float, sums)
    return ProgramTime(exposing, jumping, waiting, stood, int(dry), int(late), max(began, 0.0), ended, done)


def path_time(
    path: ScanPath,
    envelope: Envelope,
    jump_speed_mm_s: float | None = None,
    firmware: Firmware = FIRMWARES["marlin"],
) -> PathTime:
    """Motion time of one layer, from rest at the first vector's start to rest at the last one's end.

    Every line is at hand at once, and the controller looks as far ahead as its planner reaches; what a serial line
    adds is told by `slicer.build_time`. Recoating, heating, the way to the first vector and the one back from the last
    are not part of a path and are not counted.
    """
    if not len(path):
        return PathTime(0.0, 0.0)
    program = path_program(path, envelope, jump_speed_mm_s, is_sized=False)
    first = (float(program.end_mm[1, 0]), float(program.end_mm[1, 1]))
    there = program.part(len(program) - 3)
    ran = program_time(there, first, envelope, firmware)
    return PathTime(ran.exposing_s, ran.jumping_s, ran.waiting_s + ran.rest_s)


def chain_times_s(
    points_mm: NDArray[np.float64],
    cruise_mm_s: NDArray[np.float64],
    envelope: Envelope,
    firmware: Firmware = FIRMWARES["marlin"],
) -> NDArray[np.float64]:
    """Seconds of each move of a chain of corners, (n + 1, 2) f8, at wanted speeds (n,) f8, from rest to rest."""
    n = len(cruise_mm_s)
    assert points_mm.shape == (n + 1, 2), f"points_mm is {points_mm.shape}, not ({n + 1}, 2)"
    moves = Program(
        np.full(n, motion.LINE_VECTOR, np.uint8),
        np.ascontiguousarray(points_mm[1:], np.float64),
        np.ascontiguousarray(cruise_mm_s, np.float64),
        np.zeros(0, np.uint8),
        np.zeros(0, np.uint8),
    )
    spans_s = np.zeros((2, n))
    program_time(moves, (float(points_mm[0, 0]), float(points_mm[0, 1])), envelope, firmware, spans_s=spans_s)
    return np.asarray(spans_s[1] - spans_s[0])
