"""The supply of the bench: loads in watts, the energy they drew, and what a meter on the feeder would see."""

from __future__ import annotations

import math
from collections.abc import Callable


class Meter:
    """Sums named loads and integrates their energy exactly between changes.

    `supply_v`: voltage of the stiff source, V; `source_ohm`: its resistance up to the meter; `power_factor` of the
    whole; `frequency_hz`. Each load has its own clock, because lazily advanced parts report their changes late:
    only the order of one load's own changes matters.
    """

    def __init__(
        self,
        *,
        supply_v: float = 230.0,
        source_ohm: float = 0.2,
        power_factor: float = 0.98,
        frequency_hz: float = 50.0,
    ) -> None:
        self.supply_v = supply_v
        self.source_ohm = source_ohm
        self.power_factor = power_factor
        self.frequency_hz = frequency_hz
        self._watts: dict[str, float] = {}
        self._since_s: dict[str, float] = {}
        self._joules: dict[str, float] = {}
        self._settlers: list[Callable[[float], object]] = []
        self.on_load: Callable[[str, float, float], None] | None = None  # told (name, t_s, watts) of each change

    def settle_before_read(self, settle: Callable[[float], object]) -> None:
        """Have `settle(t_s)` called before each reading, so that a lazy part reports its load up to then."""
        self._settlers.append(settle)

    def set_load(self, name: str, t_s: float, watts: float) -> None:
        """From `t_s` on the load `name` draws `watts` (>= 0, finite). Raises ValueError on a value or an order that
        cannot be."""
        if not (math.isfinite(watts) and watts >= 0.0):
            raise ValueError(f"load {name} cannot draw {watts} W")
        since_s = self._since_s.get(name, t_s)
        if t_s < since_s:
            raise ValueError(f"load {name} changed at {since_s} s and cannot change again at the earlier {t_s} s")
        self._joules[name] = self._joules.get(name, 0.0) + self._watts.get(name, 0.0) * (t_s - since_s)
        self._watts[name] = watts
        self._since_s[name] = t_s
        if self.on_load is not None:
            self.on_load(name, t_s, watts)

    def power_w(self, t_s: float) -> float:
        """Active power of all loads, W."""
        self._settle(t_s)
        return sum(self._watts.values())

    def energy_wh(self, t_s: float, name: str | None = None) -> float:
        """Energy drawn up to `t_s`, Wh, by one load or by all."""
        self._settle(t_s)
        names = self._watts if name is None else (name,)
        joules = sum(self._joules[n] + self._watts[n] * max(t_s - self._since_s[n], 0.0) for n in names)
        return joules / 3600.0

    def electrical(self, t_s: float) -> tuple[float, float, float]:
        """Voltage at the meter (V), current (A) and active power (W): the source sags by its resistance times the
        current."""
        watts = self.power_w(t_s)
        in_phase_a = watts / self.supply_v
        for _ in range(
            8
        ):  # V = V0 - R I with I = P / (V pf); converges by R I / V0, a fraction of a percent, each round
            volts = self.supply_v - self.source_ohm * in_phase_a / self.power_factor
            in_phase_a = watts / volts
        return volts, in_phase_a / self.power_factor, watts

    def _settle(self, t_s: float) -> None:
        for settle in self._settlers:
            settle(t_s)
