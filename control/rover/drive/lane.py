"""A route's waypoints as a smooth line to drive along, and how fast it may be driven."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from control.errors import MoonkilnError
from control.rover.drive.kinematics import Floats, Geometry, Pose2D, wrapped

STEP_M = 0.05
"""The line is sampled so densely: at the tightest turn of a small rover its chords are 1 mm off."""
SAMPLES_MAX = 2_000_000


class LaneError(MoonkilnError):
    """Waypoints that make no line. `exit_code` 2."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Foot:
    """Where a pose is beside a line: the place along it, how far to the left of it, and the line's direction there."""

    s_m: float
    left_m: float
    heading_rad: float
    curvature_per_m: float


class Lane:
    """A line through waypoints, with its direction and curvature; it goes on straight at both ends.

    Each span is a cubic with the directions of the parabolas through three neighbours (C1), so a lane of waypoints a
    metre apart is tracked as the curve that was meant and not as its chords.
    """

    def __init__(self, waypoints_m: Floats) -> None:
        """waypoints_m: (n >= 2, 2) f8; repeated ones are dropped. Raises LaneError."""
        points = np.asarray(waypoints_m, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise LaneError("waypoints must be pairs of finite x and y in metres")
        if len(points):
            apart = np.hypot(*np.diff(points, axis=0).T)
            points = points[np.concatenate(([True], apart > 1e-6))]
        if len(points) < 2:
            raise LaneError("a lane needs two waypoints that differ; the route has nowhere to go")
        chords = np.hypot(*np.diff(points, axis=0).T)
        if chords.sum() / STEP_M > SAMPLES_MAX:
            raise LaneError(f"a lane of {chords.sum():.0f} m is longer than can be driven in one go")
        dense = _spanned(points, chords)
        self.points_m = dense
        pieces = np.hypot(*np.diff(dense, axis=0).T)
        self.s_m = np.concatenate(([0.0], np.cumsum(pieces)))
        self.length_m = float(self.s_m[-1])
        counts = np.maximum(1, np.ceil(chords / STEP_M)).astype(np.int64)
        self.waypoint_s_m = self.s_m[np.concatenate(([0], np.cumsum(counts)))]
        turned = np.unwrap(np.arctan2(*np.diff(dense, axis=0).T[::-1]))
        middles = (self.s_m[1:] + self.s_m[:-1]) / 2
        self.heading_rad = np.interp(self.s_m, middles, turned)
        curvature = np.gradient(self.heading_rad, self.s_m) if len(dense) > 2 else np.zeros(len(dense))
        self.curvature_per_m = _smoothed(curvature, max(1, round(0.25 / STEP_M)))
        self._index = -1

    def restart(self) -> None:
        """Forget where the last pose was; the next one is looked for along the whole lane."""
        self._index = -1

    def foot(self, pose: Pose2D) -> Foot:
        """The place on the line nearest to a pose, looked for near the last one (a lane may cross itself)."""
        points = self.points_m
        if self._index < 0:  # the earliest place that is about as near as the nearest: a loop begins at its beginning
            apart = np.hypot(points[:, 0] - pose.x_m, points[:, 1] - pose.y_m)
            near = int(np.argmax(apart <= apart.min() + 0.5))
            low, high = near, min(len(points), near + round(1.5 / STEP_M))
        else:
            low, high = max(0, self._index - round(1.0 / STEP_M)), min(len(points), self._index + round(2.0 / STEP_M))
        window = points[low:high]
        k = low + int(np.argmin((window[:, 0] - pose.x_m) ** 2 + (window[:, 1] - pose.y_m) ** 2))
        self._index = k
        heading = float(self.heading_rad[k])
        dx, dy = pose.x_m - float(points[k, 0]), pose.y_m - float(points[k, 1])
        cosine, sine = math.cos(heading), math.sin(heading)
        along, left = cosine * dx + sine * dy, cosine * dy - sine * dx
        inside = 0 < k < len(points) - 1
        curvature = float(self.curvature_per_m[k]) if inside else 0.0
        if inside:
            along = max(-STEP_M, min(STEP_M, along))
        return Foot(
            float(self.s_m[k]) + along, left - curvature * along**2 / 2, wrapped(heading + curvature * along), curvature
        )

    def at(self, s_m: Floats) -> tuple[Floats, Floats]:
        """(points (k, 2), headings (k,)) at places along the lane, straight on beyond its ends."""
        s = np.asarray(s_m, dtype=np.float64)
        inside = np.clip(s, 0.0, self.length_m)
        heading = np.interp(inside, self.s_m, self.heading_rad)
        beyond = s - inside
        x = np.interp(inside, self.s_m, self.points_m[:, 0]) + beyond * np.cos(heading)
        y = np.interp(inside, self.s_m, self.points_m[:, 1]) + beyond * np.sin(heading)
        return np.column_stack((x, y)), heading


def speed_profile(
    lane: Lane,
    speed_m_s: Floats | float,
    geometry: Geometry,
    *,
    slope_deg: Floats | None = None,
    slope_soft_deg: float = 10.0,
    slope_max_deg: float = 20.0,
    slope_factor: float = 0.5,
    accel_m_s2: float = 0.05,
) -> Floats:
    """How fast each sample of the lane may be driven, (len(lane.s_m),) f8, m/s.

    The least of: the speed asked for (one, or one for each waypoint); what keeps the outermost wheel within its speed
    in the curve; a share falling from 1 at `slope_soft_deg` to `slope_factor` at `slope_max_deg` (`slope_deg`: one for
    each waypoint); and what can still stop at the end, or slow down before a slower place, at `accel_m_s2`.

    Raises:
        LaneError: speeds or slopes of another number than the waypoints, negative or no numbers.
    """
    asked = _along(lane, np.asarray(speed_m_s, dtype=np.float64), "speed")
    limit = np.minimum(asked, geometry.speed_max_m_s)
    tightest = geometry.curvature_max_per_m
    curvature = np.clip(lane.curvature_per_m, -tightest, tightest)
    for wheel in geometry.wheels:
        rolls = np.abs(1 - curvature * wheel.y_m)
        if wheel.steer_max_rad > 0 and geometry.mode != "skid":
            rolls = np.hypot(rolls, curvature * wheel.x_m)
        limit = np.minimum(limit, geometry.speed_max_m_s / np.maximum(rolls, 1e-9))
    if slope_deg is not None:
        slope = _along(lane, np.asarray(slope_deg, dtype=np.float64), "slope")
        steepness = np.clip((slope - slope_soft_deg) / (slope_max_deg - slope_soft_deg), 0.0, 1.0)
        limit *= 1 - steepness * (1 - slope_factor)
    limit[-1] = 0.0
    pieces = np.diff(lane.s_m)
    for k in range(len(limit) - 2, -1, -1):
        limit[k] = min(limit[k], math.sqrt(limit[k + 1] ** 2 + 2 * accel_m_s2 * pieces[k]))
    return limit


def _along(lane: Lane, values: Floats, what: str) -> Floats:
    """A value for each waypoint (or one for all), at every sample of the lane."""
    if not np.isfinite(values).all() or (values < 0).any():
        raise LaneError(f"every {what} along a lane must be a finite number from 0 up")
    if values.ndim == 0:
        return np.full(len(lane.s_m), float(values))
    if values.shape != lane.waypoint_s_m.shape:
        raise LaneError(f"the lane has {len(lane.waypoint_s_m)} waypoints, but {values.shape} values of {what}")
    return np.interp(lane.s_m, lane.waypoint_s_m, values)


def _spanned(points: Floats, chords: Floats) -> Floats:
    """Samples of the cubic spans through the waypoints, about STEP_M apart, the last waypoint included."""
    slopes = np.diff(points, axis=0) / chords[:, None]
    tangents = np.empty_like(points)
    if len(points) == 2:
        tangents[:] = slopes[0]
    else:
        before, after = chords[:-1, None], chords[1:, None]
        tangents[1:-1] = (after * slopes[:-1] + before * slopes[1:]) / (before + after)
        tangents[0] = 2 * slopes[0] - tangents[1]
        tangents[-1] = 2 * slopes[-1] - tangents[-2]
    parts = []
    for k, chord in enumerate(chords):
        u = np.arange(max(1, math.ceil(chord / STEP_M))) / max(1, math.ceil(chord / STEP_M))
        u2, u3 = u * u, u * u * u
        parts.append(
            np.outer(2 * u3 - 3 * u2 + 1, points[k])
            + np.outer(u3 - 2 * u2 + u, tangents[k] * chord)
            + np.outer(3 * u2 - 2 * u3, points[k + 1])
            + np.outer(u3 - u2, tangents[k + 1] * chord)
        )
    return np.concatenate([*parts, points[-1:]])


def _smoothed(values: Floats, half: int) -> Floats:
    """A running mean over 2*half + 1 samples, shorter at the ends."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    k = np.arange(len(values))
    low, high = np.maximum(0, k - half), np.minimum(len(values), k + half + 1)
    return (total[high] - total[low]) / (high - low)
