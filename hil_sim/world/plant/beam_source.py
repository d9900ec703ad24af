"""What the beam head's commands become: a source, a shutter blade before it, and the water that cools both.

Healthy, they do what they are told. Each can fail: the source is weak, dead or stuck on, the blade sticks where it
stands, the water stops and the source warms until it gives less and at last is switched off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FAINT_W = 20.0
"""Light that a closed shutter keeps from whoever asks the head, and that is too little to be seen in what it draws."""


@dataclass(frozen=True, slots=True)
class CoolingConfig:
    """Of a diode head of some hundred watts (this project's own choice). J/K, W/K, degC; `waste`: heat per watt of
    light; derating begins at `derate_c`, half is left at `trip_c`, where the head switches itself off until
    `cool_c`."""

    heat_capacity_j_k: float = 400.0
    water_w_k: float = 25.0
    still_w_k: float = 0.5
    water_c: float = 20.0
    waste: float = 1.86
    derate_c: float = 50.0
    trip_c: float = 65.0
    cool_c: float = 40.0


class BeamSource:
    """Source and shutter. `supply`: how much of the mains comes, 0 to 1."""

    def __init__(self, cooling: CoolingConfig = CoolingConfig(), *, t_s: float = 0.0) -> None:
        self.cooling = cooling
        self.share = 1.0
        self.supply = 1.0
        self.stuck_w = 0.0
        self.water_runs = True
        self.shutter_open = False
        self._shutter_wanted = self._shutter_sticks = False
        self.temp_c = cooling.water_c
        self._t_s = t_s
        self._emitted_j = 0.0

    def move_shutter(self, is_open: bool) -> None:
        """The solenoid pulls; a blade that sticks stays."""
        self._shutter_wanted = is_open
        if not self._shutter_sticks:
            self.shutter_open = is_open

    def stick_shutter(self, sticks: bool) -> None:
        """The blade sticks where it stands, or comes free and goes where it is pulled."""
        self._shutter_sticks = sticks
        self.move_shutter(self._shutter_wanted)

    def gated_w(self, set_w: float) -> float:
        """What leaves the head at S = 1 while it fires at a set-point."""
        return self._given_w(set_w) if self.shutter_open else 0.0

    def made_w(self, set_w: float) -> float:
        """The light that it makes at a set-point, 0 where it does not fire; a closed shutter takes it all the same."""
        return max(self._given_w(set_w), self.stuck_w * self.supply)

    def _given_w(self, set_w: float) -> float:
        return set_w * self.share * self.supply * self.derating

    @property
    def leak_w(self) -> float:
        """What leaves it at least, whatever fire and S say."""
        return self.stuck_w * self.supply if self.shutter_open else 0.0

    @property
    def derating(self) -> float:
        """The share of its power that a warm source gives, 1 to 0.5."""
        c = self.cooling
        over = (self.temp_c - c.derate_c) / (c.trip_c - c.derate_c)
        return 1.0 - 0.5 * min(max(over, 0.0), 1.0)

    @property
    def is_too_hot(self) -> bool:
        """Whether its thermal switch opens."""
        return self.temp_c >= self.cooling.trip_c

    @property
    def is_cool(self) -> bool:
        """Whether a head that was switched off by its heat may go on."""
        return self.temp_c <= self.cooling.cool_c

    def warm(self, t_s: float, emitted_j: float) -> None:
        """Bring its temperature up to `t_s`, until when it has given `emitted_j` of light in all: exact for constant
        power over the step."""
        span_s = t_s - self._t_s
        if span_s <= 0.0:
            return
        c = self.cooling
        watts = c.waste * (emitted_j - self._emitted_j) / span_s
        conductance = c.water_w_k if self.water_runs else c.still_w_k
        end_c = c.water_c + watts / conductance
        self.temp_c = end_c + (self.temp_c - end_c) * math.exp(-span_s * conductance / c.heat_capacity_j_k)
        self._t_s, self._emitted_j = t_s, emitted_j
