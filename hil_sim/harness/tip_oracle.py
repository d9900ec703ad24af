"""Does a rover stand? A quasi-static oracle of its own: wheels on the true ground, the mass centre's plumb line, feet.

The body lies on the plane that fits the contact points best (what a rocker-bogie does to second order). It tips when
the plumb line through the mass centre passes outside the hull of the contact points, seen from above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.plant.terrain import Ground

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stance:
    """Roll (left up) and pitch (nose down), rad; `margin_m`: how far inside its feet the plumb line is (< 0: not)."""

    roll_rad: float
    pitch_rad: float
    margin_m: float

    @property
    def tips(self) -> bool:
        """Whether it cannot stand so."""
        return not self.margin_m > 0.0


def stance(
    ground: Ground, wheels_m: Floats, mass_height_m: float, x_m: float, y_m: float, heading_rad: float
) -> Stance:
    """How a rover stands at a place. wheels_m: (n >= 3, 2) in its own frame, x forward, y left."""
    c, s = math.cos(heading_rad), math.sin(heading_rad)
    feet = np.column_stack(
        (x_m + c * wheels_m[:, 0] - s * wheels_m[:, 1], y_m + s * wheels_m[:, 0] + c * wheels_m[:, 1])
    )
    z = ground.heights(feet[:, 0], feet[:, 1])
    if not np.isfinite(z).all():
        return Stance(math.nan, math.nan, math.nan)
    design = np.column_stack((wheels_m, np.ones(len(wheels_m))))
    along, left, _ = np.linalg.solve(design.T @ design, design.T @ z)
    pitch, roll = -math.atan(along), math.atan(left * math.cos(math.atan(along)))
    # the mass stands off the plane along its normal; seen from above it lies down-slope of the middle
    normal = np.array([-along, -left, 1.0]) / math.sqrt(1 + along**2 + left**2)
    return Stance(roll, pitch, _inside(wheels_m, normal[:2] * mass_height_m))


def _inside(points: Floats, place: Floats) -> float:
    """How far a place is inside the convex hull of points in the plane; under 0 outside."""
    hull = _hull(points)
    a, b = hull, np.roll(hull, -1, axis=0)
    edge = b - a
    away = edge[:, 0] * (place[1] - a[:, 1]) - edge[:, 1] * (place[0] - a[:, 0])
    return float((away / np.hypot(edge[:, 0], edge[:, 1])).min())


def _hull(points: Floats) -> Floats:
    """The convex hull, counter-clockwise (Andrew's monotone chain)."""
    order = points[np.lexsort((points[:, 1], points[:, 0]))]
    chains = []
    for run in (order, order[::-1]):
        chain: list[Floats] = []
        for p in run:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], p) <= 0:
                chain.pop()
            chain.append(p)
        chains.append(chain[:-1])
    return np.array(chains[0] + chains[1])


def _turn(a: Floats, b: Floats, c: Floats) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
