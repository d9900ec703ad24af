"""Following a lane: Stanley's law over lengths instead of times, fed forward by what the wheels' slip and drift teach.

The law steers the direction of travel towards the lane by atan(error / lateral_m), minus the drift that is observed,
and asks for the curvature that gets there within `heading_m`. Written over lengths it does not depend on speed, and it
is the same backwards: a rover that backs out steers its direction of travel, its heading turned by half a turn.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from control.rover.drive.kinematics import (
    STOP,
    Floats,
    Geometry,
    KinematicsError,
    Pose2D,
    Twist2D,
    bounded,
    integrate,
    wrapped,
)
from control.rover.drive.lane import Foot, Lane, speed_profile


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """How a lane is followed. Lengths rather than times: a slow rover corrects over the same ground as a fast one.

    Args:
        lateral_m: an error to the side is steered out over about this length.
        heading_m: a wrong direction of travel is turned right over about this length.
        creep_m_s: the slowest that it goes before it has arrived.
        accel_m_s2: how fast the commanded speed may grow or fall.
        back_out_m_s: speed when backing out.
        arrival_m: done when no more than this is left.
        turn_on_spot_rad: a rover that can turns on the spot when it points further off than this.
        observer_m: length over which slip and drift are learnt; the estimate is averaged over half of it again.
        slip_max, drift_max: what the observer may believe at most, and slip_feed_max what it may feed forward.
        before_start_m: how far it backs out behind the lane's beginning (what lies there was not planned).
        stuck_m, stuck_s: stuck when the wheels rolled so far in at least this time, with less than `stuck_share` of it
            gained; `stuck_current_a`: currents from here up are evidence: then half of both is enough, and wheels that
            were commanded and stand count as well.
    """

    lateral_m: float = 0.6
    heading_m: float = 0.35
    creep_m_s: float = 0.02
    accel_m_s2: float = 0.05
    back_out_m_s: float = 0.05
    arrival_m: float = 0.05
    turn_on_spot_rad: float = 0.8
    before_start_m: float = 0.5
    observer_m: float = 0.8
    slip_max: float = 0.95
    slip_feed_max: float = 0.7
    drift_max: float = 0.4
    stuck_m: float = 0.8
    stuck_s: float = 8.0
    stuck_share: float = 0.1
    stuck_current_a: float = math.inf

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not value > 0 or (math.isinf(value) and item.name != "stuck_current_a"):
                raise ValueError(f"{item.name} is {value!r}; it must be a finite number over 0")
        for name in ("slip_max", "slip_feed_max", "drift_max", "stuck_share"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be under 1")


@dataclass(frozen=True, slots=True)
class TrackStep:
    """What to drive now and how it stands.

    Args:
        twist: to command; within the geometry's bounds.
        cross_track_m: how far to the left of the lane the rover is.
        heading_error_rad: direction of travel less the lane's.
        progress_m: place along the lane.
        done: arrived; the twist is a stop.
        slip: longitudinal, 0 none, 1 no progress at all (under 0: it slides ahead).
        crab_rad: how far to the left of where the wheels roll the rover travels.
        stuck: the wheels turn and the rover does not get on.
        backing: backing out; `backed_out`: as far as was asked, and it stands until `resume`.
    """

    twist: Twist2D
    cross_track_m: float
    heading_error_rad: float
    progress_m: float
    done: bool
    slip: float
    crab_rad: float
    stuck: bool
    backing: bool = False
    backed_out: bool = False


class SlipObserver:
    """Learns slip and drift from the wheels' odometry against the poses.

    Both motions pass through the same low-pass over the length driven; the ratio of what is left is the ground's share
    of the wheels' motion. While the wheels stand nothing is learnt. Bounded, and low-passed once more.
    """

    def __init__(self, settings: TrackSettings) -> None:
        self.settings = settings
        self.slip = 0.0
        self.drift = 0.0  # metres to the rover's left for each metre that the wheels roll, whichever way they roll
        self._rolled: Pose2D | None = None
        self._lag = [0.0, 0.0, 0.0, 0.0]
        self._mileage_m = 0.0
        self._sign = 1.0

    @property
    def crab_rad(self) -> float:
        """The angle of the drift to the direction in which the wheels roll."""
        return math.atan2(self.drift, max(1 - self.slip, 1 - self.settings.slip_max))

    def restart(self) -> None:
        """Forget the path, keep the estimates."""
        self._rolled = None

    def step(self, pose: Pose2D, odometry: Twist2D, dt_s: float) -> None:
        """One step: where the rover is and how the wheels moved in the `dt_s` before."""
        forward = math.copysign(1.0, odometry.vx_m_s)
        rolled_m = math.hypot(odometry.vx_m_s, odometry.vy_m_s) * dt_s
        if rolled_m > 0 and forward != self._sign:
            self._sign = forward
            self._rolled = None
        if self._rolled is None:
            self._rolled = Pose2D(0.0, 0.0, pose.heading_rad)
            self._lag = [pose.x_m, pose.y_m, 0.0, 0.0]
            self._mileage_m = 0.0
            return
        # the wheels' path is laid out along the headings that the rover really had
        before = Pose2D(self._rolled.x_m, self._rolled.y_m, wrapped(pose.heading_rad - odometry.omega_rad_s * dt_s))
        moved = integrate(before, odometry, dt_s)
        self._rolled = Pose2D(moved.x_m, moved.y_m, pose.heading_rad)
        share = 1 - math.exp(-rolled_m / self.settings.observer_m)
        now = (pose.x_m, pose.y_m, moved.x_m, moved.y_m)
        self._lag = [lag + share * (value - lag) for lag, value in zip(self._lag, now, strict=True)]
        self._mileage_m += rolled_m
        gone_x, gone_y, wheel_x, wheel_y = (value - lag for lag, value in zip(self._lag, now, strict=True))
        length = math.hypot(wheel_x, wheel_y)
        if self._mileage_m < self.settings.observer_m / 2 or length < self.settings.observer_m / 8 or rolled_m == 0:
            return
        along = (gone_x * wheel_x + gone_y * wheel_y) / length**2
        left = (wheel_x * gone_y - wheel_y * gone_x) / length**2 * self._sign
        s = self.settings
        share = 1 - math.exp(-2 * rolled_m / s.observer_m)
        self.slip += share * (max(-s.slip_max, min(s.slip_max, 1 - along)) - self.slip)
        self.drift += share * (max(-s.drift_max, min(s.drift_max, left)) - self.drift)


class StuckDetector:
    """Wheels that roll without progress of the pose, over a length and a time; currents make it surer sooner."""

    def __init__(self, settings: TrackSettings) -> None:
        self.settings = settings
        self._past: deque[tuple[float, float, float, float]] = deque()
        self._time_s = 0.0
        self._commanded_m = 0.0

    def restart(self) -> None:
        """Begin anew: what was before does not count."""
        self._past.clear()

    def step(self, pose: Pose2D, rolled_m: float, told_m: float, dt_s: float, current_a: float | None) -> bool:
        """True if stuck. `rolled_m` by the wheels, `told_m` commanded to them in this step."""
        s = self.settings
        self._time_s += dt_s
        evidence = current_a is not None and current_a >= s.stuck_current_a
        self._commanded_m += max(rolled_m, told_m) if evidence else rolled_m
        spacing = s.stuck_m / 40
        if not self._past or self._commanded_m - self._past[-1][1] >= spacing:
            self._past.append((self._time_s, self._commanded_m, pose.x_m, pose.y_m))
        enough = 0.5 if evidence else 1.0
        past = self._past
        while len(past) > 1 and self._commanded_m - past[1][1] >= s.stuck_m and self._time_s - past[1][0] >= s.stuck_s:
            past.popleft()
        for time_s, at_m, x_m, y_m in self._past if evidence else list(self._past)[:1]:
            commanded = self._commanded_m - at_m
            if commanded < enough * s.stuck_m or self._time_s - time_s < enough * s.stuck_s:
                break
            if math.hypot(pose.x_m - x_m, pose.y_m - y_m) < s.stuck_share * commanded:
                return True
        return False


class Tracker:
    """Drives a rover along a lane, forwards, and backwards to back out of a place where it is stuck."""

    def __init__(
        self,
        waypoints_m: Floats,
        speed_m_s: Floats | float,
        geometry: Geometry,
        settings: TrackSettings | None = None,
        *,
        slope_deg: Floats | None = None,
    ) -> None:
        """`waypoints_m` (n, 2) f8; `speed_m_s` one or (n,); `slope_deg` (n,) slows it where it is steep. LaneError."""
        self.settings = settings or TrackSettings()
        self.geometry = geometry
        self.lane = Lane(waypoints_m)
        self.profile_m_s = speed_profile(
            self.lane, speed_m_s, geometry, slope_deg=slope_deg, accel_m_s2=self.settings.accel_m_s2
        )
        self.observer = SlipObserver(self.settings)
        self._stuck = StuckDetector(self.settings)
        self._speed_m_s = 0.0
        self._commanded = STOP
        self._progress_m: float | None = None
        self._back_to_m: float | None = None

    @property
    def backing(self) -> bool:
        """Backing out, or standing after it until `resume`."""
        return self._back_to_m is not None

    def back_out(self, distance_m: float) -> None:
        """Drive back along the lane, from where the rover is and a little more than this far, then stand until
        `resume`. Never farther back than `before_start_m` behind the lane's beginning.
        """
        if not (math.isfinite(distance_m) and distance_m > 0):
            raise KinematicsError(f"a rover backs out by a finite length over 0, not {distance_m!r} m")
        # a little more: who waits for this length by the wheels' odometry must not wait for ever
        back_to_m = (self._progress_m or 0.0) - 1.05 * distance_m - 2 * self.settings.arrival_m
        self._back_to_m = max(back_to_m, -self.settings.before_start_m)
        self._turned_round()

    def resume(self) -> None:
        """Forward again."""
        self._back_to_m = None
        self._turned_round()

    def step(
        self,
        pose: Pose2D,
        odometry_twist: Twist2D,
        dt_s: float,
        *,
        speed_factor: float = 1.0,
        current_a: float | None = None,
    ) -> TrackStep:
        """One step of the loop.

        Args:
            pose: of the localisation, at the end of the step.
            odometry_twist: by the wheels (`forward`), over the `dt_s` before.
            speed_factor: of the guard, 0 to 1: the twist is scaled by it; with 0 it is a stop.
            current_a: the mean current of the wheels, if it is known: evidence when stuck.

        Raises:
            KinematicsError: a pose, odometry, time or factor that is no finite number, or out of its range.
        """
        given = (pose.x_m, pose.y_m, pose.heading_rad, dt_s, speed_factor)
        if not (all(map(math.isfinite, given)) and odometry_twist.is_finite and dt_s >= 0 and 0 <= speed_factor <= 1):
            raise KinematicsError(
                f"no step can be made from pose {pose}, odometry {odometry_twist}, {dt_s!r} s, factor {speed_factor!r}"
            )
        self.observer.step(pose, odometry_twist, dt_s)
        rolled_m_s = math.hypot(odometry_twist.vx_m_s, odometry_twist.vy_m_s)
        told_m_s = math.hypot(self._commanded.vx_m_s, self._commanded.vy_m_s)
        stuck = self._stuck.step(pose, rolled_m_s * dt_s, told_m_s * dt_s, dt_s, current_a)
        foot = self.lane.foot(pose)
        self._progress_m = foot.s_m
        if self._back_to_m is None:
            left_m, sign = self.lane.length_m - foot.s_m, 1.0
        else:
            left_m, sign = foot.s_m - self._back_to_m, -1.0
        arrived = left_m <= self.settings.arrival_m
        travel_error = wrapped(pose.heading_rad - foot.heading_rad)
        if arrived or speed_factor == 0:
            twist = STOP
            self._speed_m_s = 0.0
        else:
            twist = self._towards(foot, travel_error, left_m, sign, speed_factor, dt_s)
        self._commanded = twist
        return TrackStep(
            twist,
            foot.left_m,
            travel_error,
            foot.s_m,
            arrived and self._back_to_m is None,
            self.observer.slip,
            self.observer.crab_rad,
            stuck,
            self.backing,
            arrived and self.backing,
        )

    def _towards(
        self, foot: Foot, travel_error: float, left_m: float, sign: float, factor: float, dt_s: float
    ) -> Twist2D:
        """The twist towards the lane and along it; sign -1 backs out."""
        s, limit = self.settings, self.geometry.curvature_max_per_m
        crab = sign * self.observer.crab_rad  # to the left of travel, for a drift to the left of the rover
        # the line seen in the direction of travel: backwards, left is right, and its curvature turns the other way
        wanted = -math.atan(sign * foot.left_m / s.lateral_m) - crab
        error = wrapped(wanted - travel_error)
        asked = float(np.interp(foot.s_m, self.lane.s_m, self.profile_m_s)) if sign > 0 else s.back_out_m_s
        asked = min(asked, math.sqrt(1.6 * s.accel_m_s2 * max(0.0, left_m - s.arrival_m)))  # slow when it arrives
        asked = max(s.creep_m_s, asked * max(0.3, math.cos(error))) / (1 - max(0.0, min(s.slip_feed_max, self.slip)))
        asked *= factor
        grown = self._speed_m_s + s.accel_m_s2 * dt_s
        self._speed_m_s = max(min(asked, grown), self._speed_m_s - s.accel_m_s2 * dt_s, 0.0)
        speed = self._speed_m_s
        points_off = -travel_error if self.geometry.mode == "crab" else error
        if math.isinf(limit) and abs(points_off) > s.turn_on_spot_rad:
            self._speed_m_s = 0.0
            rate = math.copysign(s.back_out_m_s / s.heading_m, points_off)
            return bounded(self.geometry, Twist2D(0.0, 0.0, rate))
        if self.geometry.mode == "crab":  # steers its travel at once and keeps its nose along the lane
            turn = speed * (sign * foot.curvature_per_m - travel_error / s.heading_m / 2)
            return bounded(self.geometry, Twist2D(sign * speed * math.cos(error), sign * speed * math.sin(error), turn))
        curvature = sign * foot.curvature_per_m + error / s.heading_m
        if math.isfinite(limit):
            curvature = max(-limit, min(limit, curvature))
        return bounded(self.geometry, Twist2D(sign * speed, 0.0, speed * curvature))

    @property
    def slip(self) -> float:
        """The slip that is believed now."""
        return self.observer.slip

    def _turned_round(self) -> None:
        """Standing, and about to drive the other way: what was learnt of being stuck is over."""
        self._speed_m_s = 0.0
        self.observer.slip = min(self.observer.slip, self.settings.slip_feed_max / 2)
        self._commanded = STOP
        self._stuck.restart()
        self.observer.restart()
