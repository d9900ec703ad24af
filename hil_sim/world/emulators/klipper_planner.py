"""Corners as Klipper's toolhead takes them, on the planner that the other boards use too.

* d = scv^2 (sqrt(2) - 1) / a: the deviation at which a 90 degree corner is passed at the square corner velocity `scv`;
* v^2 is at most R a of both moves, R = d s / (1 - s), s = sqrt((1 - cos) / 2), cos = -u0.u1;
* and at most L tan(angle / 2) a / 2 of both, angle that between the moves: one corner uses no more than half of a short
  move.

Source: facts on Klipper's `toolhead.py`. Its extruder limit and its minimum cruise ratio are not here.
"""

from __future__ import annotations

from math import sqrt

from hil_sim.world.emulators.marlin_planner import Block, Planner
from hil_sim.world.plant.gantry import Gantry, Point

SQRT2_LESS_1 = sqrt(2.0) - 1.0


class CornerVelocityPlanner(Planner):
    """The planner with corners by a square corner velocity, mm/s."""

    def __init__(
        self,
        gantry: Gantry,
        *,
        square_corner_mm_s: float,
        ring: int = 16,
        first_block_delay_s: float = 0.1,
        beam_timeout_s: float = 1.0,
    ) -> None:
        super().__init__(gantry, ring=ring, first_block_delay_s=first_block_delay_s, beam_timeout_s=beam_timeout_s)
        self.square_corner_mm_s = square_corner_mm_s

    def add(
        self,
        now_s: float,
        end: Point,
        speed_mm_s: float,
        acceleration_mm_s2: float,
        s_fraction: float,
        dynamic: bool,
        line_no: int | None,
    ) -> bool:
        """As `Planner.add`, with the corner into the new block by Klipper's rule."""
        if not super().add(now_s, end, speed_mm_s, acceleration_mm_s2, s_fraction, dynamic, line_no):
            return False
        if len(self._blocks) > 1:
            before, after = self._blocks[-2:]
            after.max_entry2 = corner_speed2(before, after, self.square_corner_mm_s)
        return True


def corner_speed2(before: Block, after: Block, square_corner_mm_s: float) -> float:
    """Square of the largest speed, (mm/s)^2, from one block into the next."""
    cos = -sum(u0 * u1 for u0, u1 in zip(before.unit, after.unit))
    limit = min(before.nominal, after.nominal) ** 2
    if cos > 0.999999:  # back where it came from
        return 0.0
    if cos < -0.999999:  # straight on
        return limit
    s = sqrt(0.5 * (1.0 - cos))
    round_ = s / (1.0 - s)
    half_tan = s / sqrt(0.5 * (1.0 + cos))  # of half the angle between the moves
    for block in (before, after):
        deviation = square_corner_mm_s * square_corner_mm_s * SQRT2_LESS_1 / block.acceleration
        limit = min(limit, deviation * round_ * block.acceleration, 0.5 * block.length * half_tan * block.acceleration)
    return limit
