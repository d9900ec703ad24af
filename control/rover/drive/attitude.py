"""How a rover stands: attitude from the heights under its wheels, and how much steeper it may stand before it tips.

Signs: roll about x (left side up is positive), pitch about y (nose down is positive).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from control.rover.drive.kinematics import Floats, Geometry, KinematicsError, RockerBogie

ROLL_ROUNDS = 6
"""Wheels further out than the pivot move it by a third of the roll at most: each round gains half a digit or more."""


@dataclass(frozen=True, slots=True)
class Attitude:
    """How the body stands and what its joints do, (left, right).

    Args:
        roll_rad, pitch_rad: of the body.
        height_m: of the body's lowest plane over the heights' zero, at the rover's origin.
        clearance_m: between that plane and the ground under it; under 0 it would touch.
        rocker_rad: each rocker's pitch against the body (nose down positive); they are opposite.
        bogie_rad: each bogie's pitch against its rocker; 0 without bogies.
    """

    roll_rad: float
    pitch_rad: float
    height_m: float
    clearance_m: float
    rocker_rad: tuple[float, float]
    bogie_rad: tuple[float, float]


def attitude(geometry: Geometry, heights_m: Floats, belly_m: Floats | None = None) -> Attitude:
    """How the rover stands with these heights under its wheels.

    Each side is a chain in its own plane, which rolls with the body: bogie over two wheels, rocker over bogie and third
    wheel, pivot on the rocker. The differential makes the body's pitch the mean of the rockers'; the pivots' heights
    make its roll. Heights are taken at the wheels' places on flat ground, so angles are true to second order of the
    slope. Without a rocker the body lies on the plane that fits the wheels best.

    Args:
        heights_m: (n,) of the ground under each wheel, in the geometry's order.
        belly_m: (k, 3) x, y in the rover's frame and the ground's height there, for the clearance; None: the ground
            between the wheels is taken as high as the highest of them.

    Raises:
        KinematicsError: another number of heights, a NaN, or wheels that do not hang on such a suspension.
    """
    heights = np.asarray(heights_m, dtype=np.float64)
    if heights.shape != (len(geometry.wheels),) or not np.isfinite(heights).all():
        raise KinematicsError(f"{len(geometry.wheels)} wheels need as many finite heights, not {heights}")
    rocker = geometry.rocker
    if rocker is None:
        return _rigid(geometry, heights, belly_m)
    across = 0.0
    for _ in range(ROLL_ROUNDS):
        left, left_bogie, left_z, left_y = _side(geometry, heights, rocker, 1.0, across)
        right, right_bogie, right_z, right_y = _side(geometry, heights, rocker, -1.0, across)
        across = (left_z - right_z) / (left_y - right_y)
    pitch = (left + right) / 2
    roll = math.atan(across * math.cos(pitch))
    pivot_z = (left_z * -right_y + right_z * left_y) / (left_y - right_y)
    belly = pivot_z - (rocker.pivot_height_m - rocker.belly_height_m) * math.cos(pitch) * math.cos(roll)
    belly += rocker.pivot_x_m * math.tan(pitch)
    clearance = _clearance(belly, roll, pitch, rocker, heights, belly_m)
    return Attitude(roll, pitch, belly, clearance, (left - pitch, right - pitch), (left_bogie, right_bogie))


def tip_margin_rad(
    geometry: Geometry,
    height_of_mass_m: float,
    roll_rad: float,
    pitch_rad: float,
    mass_xy_m: tuple[float, float] = (0.0, 0.0),
) -> float:
    """By how much steeper the rover may stand, in the worst direction, before it tips; under 0 it is tipping.

    Quasi-static: the smallest angle between gravity and the plane through the mass centre and an edge of the polygon of
    the wheels' contacts, on the rigid rover (force-angle measure of Papadopoulos and Rey, without a push). NaN if the
    attitude is no number.
    """
    if not (math.isfinite(roll_rad) and math.isfinite(pitch_rad)):
        return math.nan
    if not height_of_mass_m > 0:
        raise KinematicsError(f"a mass centre {height_of_mass_m!r} m over the ground is not above it")
    pull_x, pull_y = math.sin(pitch_rad), -math.cos(pitch_rad) * math.sin(roll_rad)
    pull_down = math.cos(pitch_rad) * math.cos(roll_rad)
    margin = math.inf
    for x_m, y_m, out_x, out_y in _edges(tuple((wheel.x_m, wheel.y_m) for wheel in geometry.wheels)):
        # seen along the edge: gravity and the way from the mass to the edge, both as angles outward from straight down
        outward_m = (x_m - mass_xy_m[0]) * out_x + (y_m - mass_xy_m[1]) * out_y
        pulls = math.atan2(pull_x * out_x + pull_y * out_y, pull_down)
        margin = min(margin, math.atan2(outward_m, height_of_mass_m) - pulls)
    return margin


def _side(
    geometry: Geometry, heights: Floats, rocker: RockerBogie, sign: float, across: float
) -> tuple[float, float, float, float]:
    """One side's (rocker pitch, bogie pitch against it, height of the pivot, y of the pivot); a wheel that stands
    further out than the pivot is seen in the pivot's plane, the ground rising by `across` to the left.
    """
    wheels = [(wheel, float(h)) for wheel, h in zip(geometry.wheels, heights) if wheel.y_m * sign > 0]
    wheels.sort(key=lambda pair: -pair[0].x_m)  # front to rear
    if len(wheels) != (2 if rocker.bogie is None else 3):
        raise KinematicsError(f"{len(wheels)} wheels on a side do not hang on a rocker with bogie {rocker.bogie!r}")
    pivot_y = math.copysign(min(abs(wheel.y_m) for wheel, _ in wheels), sign)
    axles = [(w.x_m, h - (w.y_m - pivot_y) * across + geometry.wheel_radius_m) for w, h in wheels]
    bogie_slope = 0.0
    front, rear = axles[0], axles[-1]
    front_flat, rear_flat = (axles[0][0], geometry.wheel_radius_m), (axles[-1][0], geometry.wheel_radius_m)
    if rocker.bogie is not None:
        pair = axles[:2] if rocker.bogie == "front" else axles[1:]
        joint_flat = (rocker.bogie_x_m, rocker.bogie_height_m)
        bogie_slope = math.atan2(pair[0][1] - pair[1][1], pair[0][0] - pair[1][0])
        joint = _carried(pair[1], (pair[1][0], geometry.wheel_radius_m), joint_flat, bogie_slope)
        if rocker.bogie == "front":
            front, front_flat = joint, joint_flat
        else:
            rear, rear_flat = joint, joint_flat
    flat = math.atan2(front_flat[1] - rear_flat[1], front_flat[0] - rear_flat[0])
    slope = math.atan2(front[1] - rear[1], front[0] - rear[0]) - flat
    pivot = _carried(rear, rear_flat, (rocker.pivot_x_m, rocker.pivot_height_m), slope)
    return -slope, -(bogie_slope - slope) if rocker.bogie else 0.0, pivot[1], pivot_y


def _carried(
    at: tuple[float, float], at_flat: tuple[float, float], point_flat: tuple[float, float], slope: float
) -> tuple[float, float]:
    """Where a point of a bar is (x, z), the bar turned nose up by `slope` about its end that is now at `at`."""
    dx, dz = point_flat[0] - at_flat[0], point_flat[1] - at_flat[1]
    return at[0] + dx * math.cos(slope) - dz * math.sin(slope), at[1] + dx * math.sin(slope) + dz * math.cos(slope)


def _rigid(geometry: Geometry, heights: Floats, belly_m: Floats | None) -> Attitude:
    """The body on the plane that fits the heights best; its belly as high as the wheels' tops."""
    x = np.array([wheel.x_m for wheel in geometry.wheels])
    y = np.array([wheel.y_m for wheel in geometry.wheels])
    along, across, level = np.linalg.lstsq(np.column_stack((x, y, np.ones_like(x))), heights, rcond=None)[0].tolist()
    pitch, roll = -math.atan(along), math.atan(across * math.cos(math.atan(along)))
    belly_height = 2 * geometry.wheel_radius_m
    body = RockerBogie(0.0, belly_height, None, 0.0, 0.0, belly_height, float(np.ptp(x)), float(np.ptp(y)))
    belly = level + belly_height
    return Attitude(roll, pitch, belly, _clearance(belly, roll, pitch, body, heights, belly_m), (0.0, 0.0), (0.0, 0.0))


def _clearance(
    belly: float, roll: float, pitch: float, body: RockerBogie, heights: Floats, belly_m: Floats | None
) -> float:
    """The least height of the belly's plane over the ground under it."""
    along, across = -math.tan(pitch), math.tan(roll) / math.cos(pitch)
    half_x, half_y = body.belly_length_m / 2, body.belly_width_m / 2
    if belly_m is None:
        lowest = belly - abs(along) * half_x - abs(across) * half_y
        return lowest - float(heights.max())
    ground = np.asarray(belly_m, dtype=np.float64)
    if ground.ndim != 2 or ground.shape[1] != 3 or not np.isfinite(ground).all():
        raise KinematicsError("the ground under the belly is given as finite x, y and height of each point")
    under = (np.abs(ground[:, 0]) <= half_x) & (np.abs(ground[:, 1]) <= half_y)
    if not under.any():
        raise KinematicsError("none of the points of the ground lies under the belly")
    over = belly + along * ground[under, 0] + across * ground[under, 1] - ground[under, 2]
    return float(over.min())


@lru_cache(maxsize=64)
def _edges(feet: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float, float, float], ...]:
    """Each edge of the polygon of the feet: a point on it, and the unit vector outward."""
    corners = _hull(list(feet))
    if len(corners) < 3:
        raise KinematicsError("a rover stands on three wheels or more that are not in one line")
    edges = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1]):
        length = math.hypot(bx - ax, by - ay)
        edges.append((ax, ay, (by - ay) / length, -(bx - ax) / length))
    return tuple(edges)


def _hull(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The convex hull, counter-clockwise (monotone chain)."""
    ordered = sorted(set(points))

    def half(sequence: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for p in sequence:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2], kept[-1]
                if (bx - ax) * (p[1] - ay) - (by - ay) * (p[0] - ax) > 1e-12:
                    break
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return half(ordered) + half(ordered[::-1])
