"""The heated build plate: one lump of metal that warms by its heater and cools to the chamber and into the bed."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlateConfig:
    """Of a 250 x 150 mm plate of about 3.3 kg aluminium under insulation (this project's own choice)."""

    heat_capacity_j_k: float = 3000.0
    loss_w_k: float = 1.5
    bed_w_k: float = 0.5
    ambient_temp_c: float = 20.0
    max_power_w: float = 800.0


SENSOR_TAU_S = 15.0  # of a thermocouple in still gas (assumed)


@dataclass(frozen=True, slots=True)
class PlateFault:
    """What can be wrong with the plate. `supply`: share of the voltage that comes. `extra_w`: heat from elsewhere.
    `loss_share`: of the usual losses to the chamber. `ambient_c`: of a chamber that is not at its usual temperature."""

    stuck_on: bool = False
    is_open: bool = False
    supply: float = 1.0
    extra_w: float = 0.0
    sensor_off: bool = False
    loss_share: float = 1.0
    ambient_c: float | None = None


class HeaterPlate:
    """C dT/dt = P - G_loss (T - T_ambient) - G_bed (T - T_bed), solved in closed form between changes of P and T_bed.

    Lazily advanced: `temp_c(t_s)` may be asked for any time at or after the last change. Energies in J: drawn, lost
    to the chamber, given to the bed, and what came from elsewhere.

    `asked_w` is what its controller switches, `power_w` what the element then gives: all of it, unless `fail` says
    otherwise. `sensor_c` is what the thermocouple feels: the plate, or the chamber once it has come off the block.
    """

    def __init__(self, config: PlateConfig = PlateConfig(), *, t_s: float = 0.0, temp_c: float | None = None) -> None:
        self.config = config
        self.asked_w = self.power_w = 0.0
        self.extra_j = 0.0
        self._failing = PlateFault()
        self._sensor_off: tuple[float, float] | None = None  # since when it is off the block, and how warm it was then
        self.bed_temp_c = config.ambient_temp_c
        self.drawn_j = 0.0
        self.lost_j = 0.0
        self.to_bed_j = 0.0
        self._t_s = t_s
        self._temp_c = config.ambient_temp_c if temp_c is None else temp_c

    def temp_c(self, t_s: float) -> float:
        """Plate temperature at `t_s`, degC."""
        end_c, rate = self._end()
        return end_c + (self._temp_c - end_c) * math.exp(-rate * (t_s - self._t_s))

    def set_power(self, t_s: float, watts: float) -> None:
        """From `t_s` on the heater gives `watts`, 0..max_power_w; raises ValueError outside."""
        if not 0.0 <= watts <= self.config.max_power_w:
            raise ValueError(f"the plate's heater gives 0..{self.config.max_power_w} W, not {watts}")
        self.advance_to(t_s)
        self.asked_w = watts
        self.power_w = self._given_w()

    def fail(self, t_s: float, fault: PlateFault) -> None:
        """From `t_s` on this is wrong with it; `PlateFault()`: nothing any more."""
        self.advance_to(t_s)
        self._failing = fault
        self.power_w = self._given_w()
        if not fault.sensor_off:
            self._sensor_off = None
        elif self._sensor_off is None:
            self._sensor_off = (t_s, self._temp_c)

    def sensor_c(self, t_s: float) -> float:
        """What the thermocouple feels, degC."""
        if self._sensor_off is None:
            return self.temp_c(t_s)
        since_s, warm_c = self._sensor_off
        air_c = self._ambient_c
        return air_c + (warm_c - air_c) * math.exp(-(t_s - since_s) / SENSOR_TAU_S)

    @property
    def _ambient_c(self) -> float:
        ambient_c = self._failing.ambient_c
        return self.config.ambient_temp_c if ambient_c is None else ambient_c

    @property
    def _loss_w_k(self) -> float:
        return self.config.loss_w_k * self._failing.loss_share

    def _given_w(self) -> float:
        failing = self._failing
        asked_w = self.config.max_power_w if failing.stuck_on else 0.0 if failing.is_open else self.asked_w
        return asked_w * failing.supply**2  # a resistance

    def set_bed_temp(self, t_s: float, temp_c: float) -> None:
        """From `t_s` on the lowest powder, which the plate heats, is at `temp_c`."""
        self.advance_to(t_s)
        self.bed_temp_c = temp_c

    def advance_to(self, t_s: float) -> None:
        """Move the state and the energy account to `t_s`; raises ValueError if that lies before the last change."""
        span_s = t_s - self._t_s
        if span_s == 0.0:
            return
        if span_s < 0.0:
            raise ValueError(f"the plate stands at {self._t_s} s and cannot go back to {t_s} s")
        end_c, rate = self._end()
        excess_c = self._temp_c - end_c
        # integral of T over the span: end * span + excess * (1 - exp(-rate span)) / rate
        share = rate * span_s
        fallen = -math.expm1(-share)
        mean_c = end_c + excess_c * (fallen / share if share > 0.0 else 1.0)  # a span so short that it vanishes
        self.drawn_j += self.power_w * span_s
        self.extra_j += self._failing.extra_w * span_s
        self.lost_j += self._loss_w_k * (mean_c - self._ambient_c) * span_s
        self.to_bed_j += self.config.bed_w_k * (mean_c - self.bed_temp_c) * span_s
        self._temp_c = end_c + excess_c * (1.0 - fallen)
        self._t_s = t_s

    def _end(self) -> tuple[float, float]:
        """Temperature it tends to, degC, and the rate, 1/s."""
        config = self.config
        conductance_w_k = self._loss_w_k + config.bed_w_k
        driving_w = self.power_w + self._failing.extra_w + self._loss_w_k * self._ambient_c
        driving_w += config.bed_w_k * self.bed_temp_c
        return driving_w / conductance_w_k, conductance_w_k / config.heat_capacity_j_k
