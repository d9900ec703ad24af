"""The rover's electricity: a battery between what draws and what the Sun gives, its temperature and its heater.

Lithium cells in series: an open-circuit voltage over charge, an inner resistance, energy counted; the cold leaves less
to be drawn. One thermal node against the surroundings. Advanced lazily from the energy that the loads say they took.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CHARGE = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
CELL_V = (3.00, 3.30, 3.45, 3.58, 3.67, 3.78, 3.95, 4.06, 4.18)
COLD_C, COLD_SHARE = (-40.0, -20.0, 0.0, 20.0), (0.5, 0.8, 0.93, 1.0)

SETTLE_S = 0.25


@dataclass(frozen=True)
class BatteryConfig:
    """Size, losses and surroundings. W, Wh, ohm, J/K, W/K, degC."""

    cells: int = 4
    capacity_wh: float = 160.0
    resistance_ohm: float = 0.08
    charge0: float = 0.9
    charging_efficiency: float = 0.97
    heat_capacity_j_k: float = 1500.0
    loss_w_k: float = 0.15
    ambient_c: float = 10.0
    array_v: float = 18.0


def between(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """`ys` over rising `xs`, straight between them and constant beyond: np.interp for one number, to the last bit."""
    at = bisect_right(xs, x) - 1
    if at < 0:
        return ys[0]
    if at >= len(xs) - 1:
        return ys[-1]
    if xs[at] == x:
        return ys[at]
    return (ys[at + 1] - ys[at]) / (xs[at + 1] - xs[at]) * (x - xs[at]) + ys[at]


class Battery:
    """The battery and its panel. `drawn_j(t_s)`: what the loads have taken since the beginning, in joules;
    `sun_w(t_s)`: what the panel gives."""

    def __init__(
        self,
        config: BatteryConfig,
        drawn_j: Callable[[float], float],
        *,
        sun_w: Callable[[float], float] = lambda t_s: 0.0,
        t_s: float = 0.0,
    ) -> None:
        self.config = config
        self.charge_wh = config.capacity_wh * config.charge0
        self.temp_c = config.ambient_c
        self.load_is_on = True
        self.given_j = self.taken_j = self.heated_j = 0.0  # by the panel, by the loads, by the heater
        self._drawn_j = drawn_j
        self._sun_w = sun_w
        self._heater_w = 0.0
        self._t_s = t_s
        self._last_drawn_j = drawn_j(t_s)
        self._net_w = 0.0

    def settle(self, t_s: float) -> None:
        """Bring it up to `t_s`, or to at most a quarter of a second before it."""
        dt_s = t_s - self._t_s
        if dt_s < SETTLE_S:  # loads are counted in steps of their own: a mean needs some of them
            return
        drawn_j = self._drawn_j(t_s)
        load_j = drawn_j - self._last_drawn_j if self.load_is_on else 0.0
        self._last_drawn_j, self._t_s = drawn_j, t_s
        sun_w = max(0.0, self._sun_w(t_s))
        heat_j, sun_j = self._heater_w * dt_s, sun_w * dt_s
        net_w = (load_j + heat_j - sun_j) / dt_s
        loss_w = self.config.resistance_ohm * (net_w / self._open_v()) ** 2
        change_wh = (net_w + loss_w if net_w > 0 else net_w * self.config.charging_efficiency) * dt_s / 3600.0
        full_wh = self.config.capacity_wh
        self.charge_wh = min(max(self.charge_wh - change_wh, 0.0), full_wh)
        c = self.config
        settled_c = c.ambient_c + (self._heater_w + loss_w) / c.loss_w_k  # exact for constant power over the step
        self.temp_c = settled_c + (self.temp_c - settled_c) * math.exp(-dt_s * c.loss_w_k / c.heat_capacity_j_k)
        self.taken_j += load_j
        self.given_j += sun_j
        self.heated_j += heat_j
        self._net_w = net_w

    def _open_v(self) -> float:
        return self.config.cells * between(self.charge_wh / self.config.capacity_wh, CHARGE, CELL_V)

    # -- what the power unit measures and switches --------------------------------------------------------------------

    def battery_v(self, t_s: float) -> float:
        """At the terminals."""
        self.settle(t_s)
        open_v = self._open_v()
        return open_v - self.config.resistance_ohm * self._net_w / open_v

    def battery_a(self, t_s: float) -> float:
        """Positive while it discharges; the mean since it was last asked."""
        self.settle(t_s)
        return self._net_w / self._open_v()

    def soc(self, t_s: float) -> float:
        """0 to 1."""
        self.settle(t_s)
        return self.charge_wh / self.config.capacity_wh

    def capacity_wh(self, t_s: float) -> float:
        """When it is full; the cold takes some of it away (a fifth at -20 degC, half at -40)."""
        self.settle(t_s)
        return self.config.capacity_wh * between(self.temp_c, COLD_C, COLD_SHARE)

    def battery_temp_c(self, t_s: float) -> float:
        """Of the cells."""
        self.settle(t_s)
        return self.temp_c

    def solar_v(self, t_s: float) -> float:
        """Of the panel."""
        return self.config.array_v if self._sun_w(t_s) > 0 else 0.0

    def solar_a(self, t_s: float) -> float:
        """Of the panel."""
        return max(0.0, self._sun_w(t_s)) / self.config.array_v

    def heater_w(self, t_s: float) -> float:
        """What the heater draws now."""
        return self._heater_w

    def lose_cells(self, t_s: float, left: float) -> None:
        """At `t_s` cells fail: this share, 0 to 1, of the charge is left."""
        self.settle(t_s)
        self.charge_wh *= left

    def set_heater_w(self, t_s: float, power_w: float) -> None:
        """What it shall draw from now on."""
        self.settle(t_s)
        self._heater_w = max(0.0, power_w)

    def set_load(self, t_s: float, on: bool) -> None:
        """Everything but heater and power unit."""
        self.settle(t_s)
        self.load_is_on = on
