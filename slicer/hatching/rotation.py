"""The angle of a layer's hatch.

A hatch that keeps its angle stacks its seams and its stresses, so it is turned from layer to layer. Lines at an angle
and at that angle + 180 degrees are the same lines; what counts is how soon, and how nearly, a direction comes back
modulo 180 degrees:

- 90 degrees (ABAB): every second layer. Simple, and the seams of every other layer stand on each other.
- 67 degrees, the usual choice: 67 and 360 have no common divisor, so no direction returns before layer 180 and no sense
  of a vector before layer 360; but layer 8 lies 4 degrees from layer 0 (8 x 67 = 3 x 180 - 4) and layer 43 1 degree.
- `GOLDEN_DEG` = 90 (sqrt(5) - 1) = 111.246 degrees: never returns, and however many layers are stacked, their
  directions divide the half turn as evenly as a fixed increment can (the golden section is the number worst
  approximated by fractions; three-gap theorem): n layers keep more than 180 / (sqrt(5) n) degrees apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from slicer.errors import ScanError
from slicer.strategy import ANGLES_MAX

GOLDEN_DEG = 90.0 * (math.sqrt(5.0) - 1.0)


@dataclass(frozen=True)
class Rotation:
    """How the hatch turns from layer to layer.

    Attributes:
        increment_deg: added for each layer.
        start_deg: angle of layer 0.
        angles_deg: if given, the angles of the first layers, over and over ((0, 90) is ABAB); the increment is then
            added once a round.

    Raises:
        ScanError: an angle is not finite, or the list is longer than `ANGLES_MAX`.
    """

    increment_deg: float = 67.0
    start_deg: float = 0.0
    angles_deg: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.angles_deg) > ANGLES_MAX:
            raise ScanError(f"A hatch can go through {ANGLES_MAX} angles, not {len(self.angles_deg)}.")
        for angle in (self.increment_deg, self.start_deg, *self.angles_deg):
            if not math.isfinite(angle):
                raise ScanError(f"A hatch cannot be turned by {angle:g} degrees; give a finite angle.")

    def angle_deg(self, layer: int) -> float:
        """The angle of a layer, 0 <= angle < 360, counter-clockwise from x."""
        rounds, listed = layer, 0.0
        if self.angles_deg:
            rounds, place = divmod(layer, len(self.angles_deg))
            listed = self.angles_deg[place]
        turned = math.fmod(self.increment_deg * rounds, 360.0)
        return (turned + math.fmod(self.start_deg, 360.0) + math.fmod(listed, 360.0)) % 360.0 % 360.0

    def angle_rad(self, layer: int) -> float:
        """`angle_deg` in rad."""
        return math.radians(self.angle_deg(layer))
