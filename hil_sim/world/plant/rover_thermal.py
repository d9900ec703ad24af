"""The rover's warm box through day and night: one lump, lit ground or 100 K around it, a radiator that a louvre shuts.

Every number is assumed, of the order of small lunar rovers: box 15 kg of 900 J/kg K, 0.05 W/K through its insulation
and 0.6 W/K more with the louvre open, which it is over +15 degC; 12 W from radioisotope heater units; the surroundings
that the box feels are 100 K in the dark and 250 K in full Sun near the pole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class BoxConfig:
    """J/K, W/K, W, K, degC."""

    heat_capacity_j_k: float = 13_500.0
    insulation_w_k: float = 0.05
    louvre_w_k: float = 0.6
    louvre_opens_c: float = 15.0
    isotope_w: float = 12.0
    dark_k: float = 100.0
    lit_k: float = 250.0


class WarmBox:
    """The temperature inside, moved on by `step`."""

    def __init__(self, config: BoxConfig | None = None, temp_c: float = 15.0) -> None:
        self.config = config or BoxConfig()
        self.temp_c = temp_c

    def step(self, dt_s: float, dissipated_w: float, sun_share: float) -> float:
        """Move on by `dt_s` with so much electric power turned to heat inside; the temperature after it, degC.

        Exact for constant power within pieces of ten minutes, over which the louvre stands still.
        """
        c = self.config
        left_s = dt_s
        while left_s > 0:  # ends: every turn takes some of it
            piece_s = min(left_s, 600.0)
            left_s -= piece_s
            around_c = c.dark_k + (c.lit_k - c.dark_k) * sun_share - 273.15
            loss_w_k = c.insulation_w_k + (c.louvre_w_k if self.temp_c > c.louvre_opens_c else 0.0)
            settled_c = around_c + (dissipated_w + c.isotope_w) / loss_w_k
            self.temp_c = settled_c + (self.temp_c - settled_c) * math.exp(-piece_s * loss_w_k / c.heat_capacity_j_k)
        return self.temp_c
