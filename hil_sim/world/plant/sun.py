"""The Sun over a place on the Moon, and what the ground hides of it: the plant's own, coarser than the host's, and made
from other formulas, so that a wrong series there does not agree with itself here.

Cassini's laws: the Moon turns once while it goes round, its equator is tilted by 1.5424 deg to the ecliptic, and the
nodes of equator and orbit fall together. The Sun's place is its mean one with the equation of the centre, moved by the
0.147 deg that the Moon's own place beside the Earth makes. That is within 0.08 deg of DE421 in azimuth and 0.05 in
elevation (a test holds it; the Moon's physical libration is left out); horizons are marched ray by ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.plant.terrain import Ground

J2000_S = 946_728_000.0
TILT_RAD = math.radians(1.5424)
PARALLAX_RAD = 384_400.0 / 149_597_871.0  # of the Sun between the Moon and the Earth, at most
SUN_RADIUS_DEG = 0.265
MOON_RADIUS_M = 1_737_400.0
RAYS, RAY_STEP_M = 180, 10.0


def sun_place(t_s: float, lat_deg: float, lon_deg: float) -> tuple[float, float]:
    """Azimuth (deg, clockwise from north) and elevation (deg) of the Sun at Unix time t_s."""
    days = (t_s - J2000_S) / 86400.0
    anomaly = math.radians(357.528 + 0.9856003 * days)
    mean_sun = math.radians(280.460 + 0.9856474 * days)
    moon = math.radians(218.316 + 13.176396 * days)
    moon_anomaly = math.radians(134.963 + 13.064993 * days)
    node = math.radians(125.045 - 0.0529538 * days)
    sun = mean_sun + math.radians(1.915) * math.sin(anomaly) + math.radians(0.020) * math.sin(2 * anomaly)
    # seen from the Moon instead of the Earth: ellipse and evection are enough to know where the Moon stands
    wander = math.radians(6.289) * math.sin(moon_anomaly)
    wander += math.radians(1.274) * math.sin(2 * (moon - mean_sun) - moon_anomaly)
    sun += PARALLAX_RAD * math.sin(sun - moon - wander)
    aside = -PARALLAX_RAD * math.radians(5.128) * math.sin(moon - node)
    # from the ecliptic, counted from the node, to the Moon's equator
    along, across, up = math.cos(sun - node), math.sin(sun - node), math.sin(aside)
    turned = across * math.cos(TILT_RAD) - up * math.sin(TILT_RAD)
    below_lon = math.atan2(turned, along) + node - moon - math.pi  # the prime meridian looks at the Earth
    below_lat = math.asin(across * math.sin(TILT_RAD) + up * math.cos(TILT_RAD))
    lat, hour = math.radians(lat_deg), below_lon - math.radians(lon_deg)
    high = math.sin(lat) * math.sin(below_lat) + math.cos(lat) * math.cos(below_lat) * math.cos(hour)
    east = math.cos(below_lat) * math.sin(hour)
    north = math.cos(lat) * math.sin(below_lat) - math.sin(lat) * math.cos(below_lat) * math.cos(hour)
    return math.degrees(math.atan2(east, north)) % 360.0, math.degrees(math.asin(max(-1.0, min(1.0, high))))


@dataclass(frozen=True)
class Skyline:
    """What stands around one place: `edge_deg` (RAYS,) by direction ccw from the map's +x."""

    edge_deg: NDArray[np.float64]

    def share(self, azimuth_rad: float, elevation_deg: float) -> float:
        """Share of the Sun's disc over the skyline there, 0 to 1; the edge is taken for straight."""
        at = (azimuth_rad % (2 * math.pi)) / (2 * math.pi) * RAYS
        low = int(at) % RAYS
        edge = self.edge_deg[low] + (at - int(at)) * (self.edge_deg[(low + 1) % RAYS] - self.edge_deg[low])
        x = max(-1.0, min(1.0, (elevation_deg - edge) / SUN_RADIUS_DEG))
        return 0.5 + (x * math.sqrt(1.0 - x * x) + math.asin(x)) / math.pi


def skyline(ground: Ground, x_m: float, y_m: float, *, eye_m: float = 0.0, reach_m: float = 20_000.0) -> Skyline:
    """March from a place to the map's rim in RAYS directions, a step of RAY_STEP_M at a time.

    eye_m: height of the panel over the ground. What is beyond the map hides nothing but the sphere itself.
    """
    far = np.arange(RAY_STEP_M, reach_m, RAY_STEP_M)
    own = ground.height(x_m, y_m) + eye_m
    floor = -math.degrees(math.sqrt(2.0 * max(own, 0.0) / MOON_RADIUS_M))
    edges = np.empty(RAYS)
    for n in range(RAYS):
        angle = 2 * math.pi * n / RAYS
        heights = ground.heights(x_m + far * math.cos(angle), y_m + far * math.sin(angle))
        known = np.isfinite(heights)
        rise = (heights[known] - own) / far[known] - far[known] / (2 * MOON_RADIUS_M)
        edges[n] = max(floor, math.degrees(math.atan(rise.max())) if known.any() else floor)
    return Skyline(edges)


@dataclass(frozen=True)
class Panel:
    """A panel on a mast that turns after the Sun's azimuth and stands upright: `peak_w` in full light, less dust."""

    peak_w: float
    dust_share: float = 0.03

    def power_w(self, elevation_deg: float, share: float) -> float:
        """What it gives."""
        return self.peak_w * (1.0 - self.dust_share) * share * max(0.0, math.cos(math.radians(elevation_deg)))
