"""The hopper on the blade when a screw fills it: so much powder and no more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HopperConfig:
    """Volumes in mm3, of powder as it lies (this project's own choice). `width_mm`: of the bed, across the blade's way;
    `strip_mm`: how finely is known where powder lies, of `length_mm`."""

    capacity_mm3: float
    start_mm3: float
    length_mm: float
    width_mm: float
    strip_mm: float = 10.0


class Hopper:
    """Filled by `brought_mm3(t_s)`, what the screw has brought since the beginning (it may be asked for any time since
    the screw's last change); what does not fit falls off. Emptied by what the bed needs to be level.

    A strip that the blade leaves in parts counts as filled with the first.
    """

    def __init__(self, config: HopperConfig, brought_mm3: Callable[[float], float], *, t_s: float = 0.0) -> None:
        self.config = config
        self._brought_mm3 = brought_mm3
        self._seen_mm3 = brought_mm3(t_s)
        self._level_mm3 = config.start_mm3
        self._filled_mm = [0.0] * math.ceil(config.length_mm / config.strip_mm)

    def level_mm3(self, t_s: float) -> float:
        """What is in it."""
        come = self._brought_mm3(t_s) - self._seen_mm3
        return min(max(self._level_mm3 + come, 0.0), self.config.capacity_mm3)

    def give(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float) -> float:
        """The share, 0 to 1, of the powder that this strip needs to be level with the plane."""
        level_mm3 = self.level_mm3(t_s)
        self._seen_mm3 = self._brought_mm3(t_s)
        middle_mm = (x_from_mm + x_to_mm) / 2
        strip = min(max(int(middle_mm / self.config.strip_mm), 0), len(self._filled_mm) - 1)
        room_mm = max(plane_drop_mm - self._filled_mm[strip], 0.0)
        needed_mm3 = room_mm * (x_to_mm - x_from_mm) * self.config.width_mm
        share = 1.0 if needed_mm3 <= level_mm3 else level_mm3 / needed_mm3
        self._level_mm3 = level_mm3 - share * needed_mm3
        self._filled_mm[strip] += share * room_mm
        return share
