"""RepRapFirmware's motion on the planner that the other boards use too: what differs is set where it is passed in.

* Corners: no junction deviation but a largest instantaneous speed change per axis (M566), and moves join only when both
  move in the plane or neither does (jerk policy 0). The joining speed is jerk_i / |u1_i - u0_i|, least over the axes.
* Laser: power follows speed over the speed that the move reaches (not over the one asked for), and there is no beam
  without a move: a ring that runs dry is dark.
* A move's profile is fixed when it starts; the firmware fixes it up to a tenth of a second earlier.

Source: Duet3D `Movement/DDA.cpp` (`ManageLaserPower`), `DDARing.cpp`; the jerk rule from the M566 documentation,
unverified against its code.
"""

from __future__ import annotations

from math import inf

from hil_sim.world.emulators.marlin_planner import Planner
from hil_sim.world.plant.gantry import Gantry, Move, Point

RING = 61  # 60 moves on a Duet 3 and the one that waits to be taken over; unverified
GRACE_S = 0.01  # M595 default: a first move waits so long for company; unverified


class _LaserGantry(Gantry):
    """The gantry as this firmware drives it: moves get their laser rule, stands are dark."""

    def __init__(self, gantry: Gantry) -> None:
        self._gantry = gantry

    def run(self, t0_s: float, move: Move, *, joins: bool = False) -> float:
        """Power over the speed reached."""
        return self._gantry.run(t0_s, move._replace(nominal_mm_s=move.cruise_mm_s), joins=joins)

    def stand(self, t0_s: float, s_fraction: float, until_s: float) -> None:
        """No move, no beam."""

    def cut(self, t_s: float) -> None:
        """As the gantry."""
        self._gantry.cut(t_s)

    def controller_at(self, t_s: float) -> Point:
        """As the gantry."""
        return self._gantry.controller_at(t_s)


class JerkPlanner(Planner):
    """The planner with corners by `jerk_mm_s` per axis."""

    def __init__(self, gantry: Gantry, *, jerk_mm_s: Point, ring: int = RING) -> None:
        super().__init__(_LaserGantry(gantry), ring=ring, first_block_delay_s=GRACE_S, beam_timeout_s=0.0)
        self.jerk_mm_s = jerk_mm_s

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
        """As `Planner.add`; the corner into the new block is this firmware's own. No entry is taken from it before the
        block in front starts.
        """
        if not super().add(now_s, end, speed_mm_s, acceleration_mm_s2, s_fraction, dynamic, line_no):
            return False
        if len(self._blocks) > 1:
            before, after = self._blocks[-2:]
            after.max_entry2 = corner_speed2(before.unit, after.unit, before.nominal, after.nominal, self.jerk_mm_s)
        return True


def corner_speed2(before: Point, after: Point, v0_mm_s: float, v1_mm_s: float, jerk_mm_s: Point) -> float:
    """Square of the largest speed through a corner between two unit vectors."""
    if any(before[:2]) != any(after[:2]):
        return 0.0
    speed = min(v0_mm_s, v1_mm_s)
    for u0, u1, jerk in zip(before, after, jerk_mm_s):
        change = abs(u1 - u0)
        speed = min(speed, jerk / change if change > 1e-9 else inf)
    return speed * speed
