"""What every temperature controller of a heated plate does behind its registers: sample, work out an output, switch
the heater. The registers, the set-points and the memory are the instrument's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hil_sim.world.plant.heater import HeaterPlate

TOLD_C = 0.2  # the world hears of a temperature that moved by more than this

Demand = Callable[[float, float], float]
"""(t_s, temp_c) -> output in percent, 0..100."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Proportional band (degC, > 0), integral and derivative time (s; 0 switches one off)."""

    band_c: float
    integral_s: float
    derivative_s: float


class HeatingLoop:
    """A control loop on `plate`. It works every `period_s` of world time, caught up whenever `advance_to` is called:
    who asks, and when, changes nothing.

    `on_power(t_s, watts)`: told when the heater's power changes; `on_temp(t_s, temp_c)`: told when the plate has moved
    by more than 0.2 degC since it was last told. `sense(t_s)`: what its thermocouple shows, degC; it steers by that.
    """

    def __init__(
        self,
        plate: HeaterPlate,
        *,
        period_s: float,
        t_s: float,
        on_power: Callable[[float, float], object] | None,
        on_temp: Callable[[float, float], object] | None,
    ) -> None:
        self.plate = plate
        self.sense: Callable[[float], float] = plate.sensor_c
        self.output_percent = 0.0
        self._period_s = period_s
        self._start_s = t_s
        self._tick = 0
        self._on_power = on_power
        self._on_temp = on_temp
        self._told_c: float | None = None
        self._last_c: float | None = None
        self._integral = 0.0  # of the output, percent

    def advance_to(self, t_s: float, demand: Demand) -> None:
        """Run every control period that has come by `t_s`."""
        due = int((t_s - self._start_s) / self._period_s + 1e-9)
        while self._tick <= due:
            self._control(self._start_s + self._tick * self._period_s, demand)
            self._tick += 1

    def _control(self, t_s: float, demand: Demand) -> None:
        temp_c, seen_c = self.plate.temp_c(t_s), self.sense(t_s)
        self.output_percent = demand(t_s, seen_c)
        self._last_c = seen_c
        watts = self.output_percent / 100 * self.plate.config.max_power_w
        if watts != self.plate.asked_w:
            self.plate.set_power(t_s, watts)
            if self._on_power is not None:
                self._on_power(t_s, self.plate.power_w)
        if self._on_temp is not None and (self._told_c is None or abs(temp_c - self._told_c) > TOLD_C):
            self._told_c = temp_c
            self._on_temp(t_s, temp_c)

    def pid(self, temp_c: float, sp_c: float, tuning: Tuning) -> float:
        """Output in percent, 0..100. The integral moves only inside the proportional band, and never out of the
        output's range."""
        band_c = tuning.band_c
        error_c = sp_c - temp_c
        proportional = 100 * error_c / band_c
        if tuning.integral_s > 0 and abs(error_c) < band_c:
            moved = self._integral + proportional * self._period_s / tuning.integral_s
            self._integral = min(max(moved, 0.0), 100.0)
        elif tuning.integral_s == 0 or error_c <= -band_c:
            self._integral = 0.0
        derivative = 0.0
        if tuning.derivative_s > 0 and self._last_c is not None:
            derivative = -100 / band_c * tuning.derivative_s * (temp_c - self._last_c) / self._period_s
        return min(max(proportional + self._integral + derivative, 0.0), 100.0)
