"""What lunar soil does to a wheel: sinkage, pull and torque over load and slip.

A rigid wheel of radius r and width b stands in the soil between the entry angle theta_1 and the bottom. Normal stress
(Bekker) grows from theta_1 to theta_m = (a_0 + a_1 s) theta_1 as k r^n (cos theta - cos theta_1)^n with
k = k_c / b + k_phi, and falls behind it the same way (Wong and Reece 1967); shear (Janosi) is
(c + sigma tan phi) (1 - exp(-|j| / K)) with the shear displacement
j = r_s ((theta_1 - theta) - (1 - s) (sin theta_1 - sin theta)). Grousers move the shear out to r_s = r + lug height.
Integrated once into a table; the rover's kernel only looks it up. Soil: Lunar Sourcebook, ch. 9.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
THETA_STEPS = 120
SLIPS = np.concatenate((np.linspace(-1.0, -0.1, 10), np.linspace(-0.08, 0.3, 20), np.linspace(0.35, 1.0, 14)))
ENTRY_MAX_RAD = 1.4


@dataclass(frozen=True)
class SoilParams:
    """One soil. Units: Pa, deg, N/m^(n+1), N/m^(n+2), 1, m; a_0, a_1 place the largest stress.

    `side_strength_deg`: friction angle of the soil sideways (Yutu-2: 8.3 to 16.5 deg). Across a slope the drift angle's
    tangent is `side_slip` times -ln(1 - side load / side strength): a fit to 0.45 deg of drift for each degree of roll.
    """

    cohesion_pa: float = 170.0
    friction_deg: float = 35.0
    k_c: float = 1400.0
    k_phi: float = 820_000.0
    exponent: float = 1.0
    shear_m: float = 0.018
    a_0: float = 0.40
    a_1: float = 0.15
    side_strength_deg: float = 16.5
    side_slip: float = 0.087


@dataclass(frozen=True)
class WheelShape:
    """A wheel in the soil: radius, width and lug height in m."""

    radius_m: float
    width_m: float
    lug_m: float = 0.0


@dataclass(frozen=True)
class WheelTable:
    """`pull_n`, `torque_nm` (loads, slips) and `sinkage_m` (loads, slips), over `loads_n` and SLIPS."""

    loads_n: Floats
    pull_n: Floats
    torque_nm: Floats
    sinkage_m: Floats

    def at(self, load_n: float, slip: float) -> tuple[float, float, float]:
        """Pull, torque and sinkage, bilinear; outside the table the border's."""
        i = min(max(int(np.searchsorted(self.loads_n, load_n)) - 1, 0), len(self.loads_n) - 2)
        j = min(max(int(np.searchsorted(SLIPS, slip)) - 1, 0), len(SLIPS) - 2)
        u = min(max((load_n - self.loads_n[i]) / (self.loads_n[i + 1] - self.loads_n[i]), 0.0), 1.0)
        v = min(max((slip - SLIPS[j]) / (SLIPS[j + 1] - SLIPS[j]), 0.0), 1.0)
        return tuple(  # type: ignore[return-value]
            float((1 - u) * ((1 - v) * t[i, j] + v * t[i, j + 1]) + u * ((1 - v) * t[i + 1, j] + v * t[i + 1, j + 1]))
            for t in (self.pull_n, self.torque_nm, self.sinkage_m)
        )


NOMINAL = SoilParams()


def draw_soil(rng: random.Random) -> SoilParams:
    """A soil somewhere in what was found on the Moon: cohesion 100 to 1000 Pa, friction 30 to 42 deg, and the rest."""
    return SoilParams(
        cohesion_pa=10 ** rng.uniform(2.0, 3.0),
        friction_deg=rng.uniform(30.0, 42.0),
        k_c=1400.0 * rng.uniform(0.5, 1.5),
        k_phi=820_000.0 * rng.uniform(0.5, 1.6),
        exponent=rng.uniform(0.9, 1.1),
        shear_m=rng.uniform(0.012, 0.025),
        side_slip=rng.uniform(0.05, 0.12),
    )


def wheel_forces(soil: SoilParams, wheel: WheelShape, entry_rad: float, slip: float) -> tuple[float, float, float]:
    """Load, pull (N) and torque (N m) of a wheel that stands in the soil up to `entry_rad` and turns with `slip`."""
    r, b = wheel.radius_m, wheel.width_m
    shear_r = r + wheel.lug_m
    theta = (np.arange(THETA_STEPS) + 0.5) * (entry_rad / THETA_STEPS)
    d_theta = entry_rad / THETA_STEPS
    top = min(max((soil.a_0 + soil.a_1 * slip) * entry_rad, 0.05 * entry_rad), 0.95 * entry_rad)
    mirrored = np.where(theta >= top, theta, entry_rad - theta / top * (entry_rad - top))
    depth = np.maximum(np.cos(mirrored) - math.cos(entry_rad), 0.0)
    sigma = (soil.k_c / b + soil.k_phi) * (r * depth) ** soil.exponent
    j = shear_r * ((entry_rad - theta) - (1.0 - slip) * (math.sin(entry_rad) - np.sin(theta)))
    strength = soil.cohesion_pa + sigma * math.tan(math.radians(soil.friction_deg))
    tau = strength * np.sign(j) * (1.0 - np.exp(-np.abs(j) / soil.shear_m))
    lever = shear_r / r
    load = r * b * float((sigma * np.cos(theta) + tau * np.sin(theta)).sum()) * d_theta
    pull = r * b * float((tau * lever * np.cos(theta) - sigma * np.sin(theta)).sum()) * d_theta
    torque = r * r * b * lever * lever * float(tau.sum()) * d_theta
    return load, pull, torque


def wheel_at(soil: SoilParams, wheel: WheelShape, load_n: float, slip: float) -> tuple[float, float, float]:
    """Pull, torque and sinkage under a load: the entry angle is found by halving, since the load grows with it."""
    low, high = 0.0, ENTRY_MAX_RAD
    for _ in range(45):
        middle = (low + high) / 2
        if wheel_forces(soil, wheel, middle, slip)[0] < load_n:
            low = middle
        else:
            high = middle
    _, pull, torque = wheel_forces(soil, wheel, high, slip)
    return pull, torque, wheel.radius_m * (1 - math.cos(high))


@lru_cache(maxsize=64)
def wheel_table(soil: SoilParams, wheel: WheelShape, load_max_n: float, loads: int = 9) -> WheelTable:
    """The table of one wheel in one soil, for loads up to `load_max_n`."""
    loads_n = load_max_n * (np.arange(1, loads + 1) / loads) ** 1.5
    shape = (loads, len(SLIPS))
    pull, torque, sinkage = np.empty(shape), np.empty(shape), np.empty(shape)
    for i, load_n in enumerate(loads_n):
        for k, slip in enumerate(SLIPS):
            pull[i, k], torque[i, k], sinkage[i, k] = wheel_at(soil, wheel, float(load_n), float(slip))
    # more slip pulls more, up to rounding: a table that falls would leave a rover two speeds to choose from
    return WheelTable(loads_n, np.maximum.accumulate(pull, axis=1), torque, sinkage)
