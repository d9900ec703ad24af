"""Does a rover stand? A quasi-static oracle of its own: wheels on the true ground, the mass centre's plumb line, feet.

The body lies on the plane that fits the ground under its wheels best (what a rocker-bogie does to second order; heights
are taken at the wheels' places on flat ground). It tips when the plumb line through the mass centre meets that plane
outside the hull of the feet. Both are measured in the plane itself: seen from above the feet draw together as the
slope grows, and a hull that does not would let the rover stand some ten degrees too steep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

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
    """How a rover stands at a place; off the ground's map: all NaN, and it tips.

    Args:
        wheels_m: (n >= 3, 2) f8 in its own frame, x forward, y left.
        mass_height_m: of the mass centre over the plane of the feet, at the rover's origin.
    """
    c, s = math.cos(heading_rad), math.sin(heading_rad)
    fit, edges = _prepared(wheels_m.tobytes())
    z = ground.heights(x_m + c * wheels_m[:, 0] - s * wheels_m[:, 1], y_m + s * wheels_m[:, 0] + c * wheels_m[:, 1])
    along, left = (fit @ z).tolist()
    if not math.isfinite(along + left):
        return Stance(math.nan, math.nan, math.nan)
    pitch, roll = -math.atan(along), math.atan(left * math.cos(math.atan(along)))
    # the plumb line leaves the mass along the vertical; where it meets the plane, by the plane's own axes: one under
    # the rover's x, one to its left. Its distance from the foot of the mass is the height times the slope's tangent.
    forward = math.sqrt(1 + along**2)
    plumb_x = -mass_height_m * along * math.sqrt(1 + along**2 + left**2) / forward
    plumb_y = -mass_height_m * left / forward
    margin = min((bx * (plumb_y - ay) - by * (plumb_x - ax) for ax, ay, bx, by in edges))
    return Stance(roll, pitch, margin)


@lru_cache(maxsize=16)
def _prepared(wheels: bytes) -> tuple[Floats, tuple[tuple[float, float, float, float], ...]]:
    """From heights (n,) to the plane's two slopes, (2, n); each edge of the hull: a point and its unit direction."""
    points = np.frombuffer(wheels).reshape(-1, 2)
    fit = np.linalg.pinv(np.column_stack((points, np.ones(len(points)))))[:2]
    hull = _hull(points)
    edges = []
    for a, b in zip(hull, np.roll(hull, -1, axis=0)):
        length = math.dist(a, b)
        edges.append((float(a[0]), float(a[1]), float(b[0] - a[0]) / length, float(b[1] - a[1]) / length))
    return fit, tuple(edges)


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
