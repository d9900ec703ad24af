"""The thermistor channels of a Marlin board: a lumped heater each, in closed form (no ticks, no PID).

The bench printer heats its bed by another device; these stand for the hot end and bed outputs every Marlin board has,
so that hosts which insist on M104/M109/M140/M190 and temperature reports find them.
"""

from __future__ import annotations

from math import exp, log


class LumpedHeater:
    """First order: full power tends to `full_c`, no power to `ambient_c`, both with time constant `tau_s`; a
    set-point is held.
    """

    def __init__(self, *, ambient_c: float, full_c: float, tau_s: float, max_target_c: float) -> None:
        self.ambient_c, self.full_c, self.tau_s, self.max_target_c = ambient_c, full_c, tau_s, max_target_c
        self.target_c = 0.0
        self._from_c = ambient_c
        self._from_s = 0.0

    def set_target(self, t_s: float, target_c: float) -> None:
        """New set-point from `t_s`; above the board's maximum it is cut to that, as Marlin does; 0 switches off."""
        self._from_c, self._from_s = self.temperature_c(t_s), t_s
        self.target_c = min(max(target_c, 0.0), self.max_target_c)

    def temperature_c(self, t_s: float) -> float:
        """Temperature at `t_s` (not before the last `set_target`)."""
        goal = self._goal_c()
        asymptote = self._asymptote_c()
        elapsed = max(0.0, t_s - self._from_s)
        now = asymptote + (self._from_c - asymptote) * exp(-elapsed / self.tau_s)
        # Past the set-point the controller holds it.
        return min(now, goal) if self._from_c < goal else max(now, goal)

    def reached_s(self) -> float:
        """When the set-point is met (the time of `set_target` when it is already)."""
        goal, asymptote = self._goal_c(), self._asymptote_c()
        if self._from_c == goal:
            return self._from_s
        if goal == asymptote:  # cooling to ambient ends within a tenth of a degree
            return self._from_s + self.tau_s * max(0.0, log(abs(self._from_c - asymptote) / 0.1))
        return self._from_s + self.tau_s * log((self._from_c - asymptote) / (goal - asymptote))

    def power(self, t_s: float) -> int:
        """Duty 0..127 as Marlin reports it after `@:`."""
        if self.target_c <= 0.0:
            return 0
        if self.temperature_c(t_s) < self.target_c - 0.5:
            return 127
        return round(127 * max(0.0, (self.target_c - self.ambient_c) / (self.full_c - self.ambient_c)))

    def _goal_c(self) -> float:
        return max(self.target_c, self.ambient_c)

    def _asymptote_c(self) -> float:
        return self.full_c if self._from_c < self._goal_c() else self.ambient_c
