"""A screw or belt axis that makes finite moves: piecewise constant acceleration, exact at any time, with hard ends
of travel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

_NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Phase:
    """From `t_s` until the next phase: position, velocity and constant acceleration at its start (mm, mm/s, mm/s2)."""

    t_s: float
    position_mm: float
    velocity_mm_s: float
    acceleration_mm_s2: float

    def position_at(self, t_s: float) -> float:
        span_s = t_s - self.t_s
        return self.position_mm + span_s * (self.velocity_mm_s + 0.5 * self.acceleration_mm_s2 * span_s)

    def velocity_at(self, t_s: float) -> float:
        return self.velocity_mm_s + self.acceleration_mm_s2 * (t_s - self.t_s)

    def time_at(self, position_mm: float) -> float:
        """When the position is passed, for a phase in which the velocity keeps its sign and the position lies ahead."""
        ahead_mm = position_mm - self.position_mm
        squared = self.velocity_mm_s**2 + 2.0 * self.acceleration_mm_s2 * ahead_mm
        root = math.sqrt(max(squared, 0.0))
        divisor = self.velocity_mm_s + math.copysign(root, ahead_mm)
        return self.t_s + (2.0 * ahead_mm / divisor if divisor else 0.0)


class LinearAxis:
    """Position over time. Whoever derives something from the motion puts a callable into `before_change`: it is
    called with the time of each new command while the old motion still stands, so that nothing is missed though
    everything is lazy.

    `travel_mm`: the hard ends; a move into one stops there dead, at `struck_s`. `obstacle_mm`: something that lies on
    its way, and stops it as an end does, from whichever side it comes.
    """

    def __init__(
        self, name: str, *, travel_mm: tuple[float, float], position_mm: float = 0.0, t_s: float = 0.0
    ) -> None:
        if not travel_mm[0] <= position_mm <= travel_mm[1]:
            raise ValueError(
                f"axis {name} cannot stand at {position_mm} mm: its travel is {travel_mm[0]}..{travel_mm[1]} mm"
            )
        self.name = name
        self.travel_mm = travel_mm
        self.phases: list[Phase] = [Phase(t_s, position_mm, 0.0, 0.0)]
        self.struck_s: float | None = None
        self.obstacle_mm: float | None = None
        self.before_change: list[Callable[[float], object]] = []

    @property
    def rest_s(self) -> float:
        """When the present motion ends (a time in the past if it has)."""
        return self.phases[-1].t_s

    def moving(self, t_s: float) -> bool:
        return t_s < self.rest_s

    def position_at(self, t_s: float) -> float:
        """Position in mm at `t_s`, at or after the last command."""
        return self._phase_at(t_s).position_at(t_s)

    def velocity_at(self, t_s: float) -> float:
        return self._phase_at(t_s).velocity_at(t_s)

    def _phase_at(self, t_s: float) -> Phase:
        for phase in reversed(self.phases):
            if phase.t_s <= t_s:
                return phase
        return self.phases[0]

    def move(
        self, t_s: float, target_mm: float, speed_mm_s: float, acceleration_mm_s2: float, deceleration_mm_s2: float
    ) -> float:
        """Go to `target_mm` from the present motion, braking first if it leads elsewhere; returns when it will rest.

        Speeds and accelerations in mm/s and mm/s2, all > 0 and finite, else ValueError. A target past the travel is
        tried, and struck.
        """
        wanted = (speed_mm_s, acceleration_mm_s2, deceleration_mm_s2)
        if not (math.isfinite(target_mm) and all(math.isfinite(v) and v > 0.0 for v in wanted)):
            raise ValueError(
                f"axis {self.name} cannot move to {target_mm} mm with speed, acceleration, deceleration {wanted}"
            )
        start_mm, start_mm_s = self._interrupt(t_s)
        plan = _Plan(t_s, start_mm, start_mm_s)
        side = math.copysign(1.0, target_mm - start_mm)
        if start_mm_s * side < 0.0 or start_mm_s**2 / (2.0 * deceleration_mm_s2) > abs(target_mm - start_mm):
            plan.to_speed(0.0, deceleration_mm_s2)
            side = math.copysign(1.0, target_mm - plan.position_mm)
        distance_mm = abs(target_mm - plan.position_mm)
        if distance_mm > 0.0:
            entry_mm_s = abs(plan.velocity_mm_s)
            # the speed from which braking ends at the target, if one accelerates up to it
            peak_mm_s = math.sqrt(
                (2.0 * acceleration_mm_s2 * deceleration_mm_s2 * distance_mm + deceleration_mm_s2 * entry_mm_s**2)
                / (acceleration_mm_s2 + deceleration_mm_s2)
            )
            cruise_mm_s = min(speed_mm_s, peak_mm_s)
            plan.to_speed(side * cruise_mm_s, acceleration_mm_s2 if cruise_mm_s >= entry_mm_s else deceleration_mm_s2)
            left_mm = abs(target_mm - plan.position_mm) - cruise_mm_s**2 / (2.0 * deceleration_mm_s2)
            plan.cruise(max(left_mm, 0.0) / cruise_mm_s)
            plan.to_speed(0.0, deceleration_mm_s2)
        self._take(plan.rest(target_mm))
        return self.rest_s

    def stop(self, t_s: float, deceleration_mm_s2: float) -> float:
        """Brake to rest; returns when it will rest."""
        start_mm, start_mm_s = self._interrupt(t_s)
        plan = _Plan(t_s, start_mm, start_mm_s)
        plan.to_speed(0.0, deceleration_mm_s2)
        self._take(plan.rest(plan.position_mm))
        return self.rest_s

    def lay_obstacle(self, t_s: float, at_mm: float | None) -> None:
        """From `t_s` on something lies at `at_mm`; None: it is taken away. A move under way strikes it."""
        phase = self._phase_at(t_s)
        position_mm, velocity_mm_s = self._interrupt(t_s)
        self.obstacle_mm = at_mm
        if not self.moving(t_s):
            return
        left = [later for later in self.phases if later.t_s > t_s]
        self._take([Phase(t_s, position_mm, velocity_mm_s, phase.acceleration_mm_s2), *left])

    def _interrupt(self, t_s: float) -> tuple[float, float]:
        if t_s < self.phases[0].t_s:
            raise ValueError(
                f"axis {self.name} had a command at {self.phases[0].t_s} s and cannot take one at the earlier {t_s} s"
            )
        for look in self.before_change:
            look(t_s)
        return self.position_at(t_s), self.velocity_at(t_s)

    def _take(self, phases: list[Phase]) -> None:
        """Cut the plan where it leaves the travel."""
        low, high = self.travel_mm
        if self.obstacle_mm is not None and self.obstacle_mm >= phases[0].position_mm:
            high = min(high, self.obstacle_mm)
        elif self.obstacle_mm is not None:
            low = max(low, self.obstacle_mm)
        self.struck_s = None
        self.phases = phases
        for index, phase in enumerate(phases[:-1]):
            end_mm = phases[index + 1].position_mm
            if low - 1e-9 <= end_mm <= high + 1e-9:
                continue
            wall_mm = low if end_mm < low else high
            self.struck_s = phase.time_at(wall_mm)
            self.phases = [*phases[: index + 1], Phase(self.struck_s, wall_mm, 0.0, 0.0)]
            return


class _Plan:
    """Phases under construction, from a position and a velocity."""

    def __init__(self, t_s: float, position_mm: float, velocity_mm_s: float) -> None:
        self.t_s = t_s
        self.position_mm = position_mm
        self.velocity_mm_s = velocity_mm_s
        self._phases: list[Phase] = []

    def to_speed(self, velocity_mm_s: float, acceleration_mm_s2: float) -> None:
        change_mm_s = velocity_mm_s - self.velocity_mm_s
        if change_mm_s:
            self._add(
                abs(change_mm_s) / acceleration_mm_s2, math.copysign(acceleration_mm_s2, change_mm_s), velocity_mm_s
            )

    def cruise(self, span_s: float) -> None:
        if span_s > 0.0:
            self._add(span_s, 0.0, self.velocity_mm_s)

    def _add(self, span_s: float, acceleration_mm_s2: float, end_mm_s: float) -> None:
        phase = Phase(self.t_s, self.position_mm, self.velocity_mm_s, acceleration_mm_s2)
        self._phases.append(phase)
        self.t_s += span_s
        self.position_mm = phase.position_at(self.t_s)
        self.velocity_mm_s = end_mm_s

    def rest(self, position_mm: float) -> list[Phase]:
        """The plan, ending at rest at exactly `position_mm` (rounding of the phases is dropped there)."""
        return [*self._phases, Phase(self.t_s, position_mm, 0.0, 0.0)]
