"""Wheels and twists: what each wheel must do for the body to move so, and how the body moved by what the wheels did.

Frames: the rover's x points forward, y left, z up; headings are counter-clockwise from the map's +x. The velocity of
the ground point of a wheel at (x, y) under the twist (vx, vy, omega) is (vx - omega*y, vy + omega*x); a steered wheel
points along it and rolls at its length. Bounds hold forwards and backwards, to the left and to the right alike: too
fast a twist is scaled as a whole (its curvature stays), too tight a turn is widened (its direction stays).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from control.errors import MoonkilnError

Floats = NDArray[np.float64]

STILL_M_S = 1e-9
"""Slower than this a wheel stands: it has no direction to point to."""


class KinematicsError(MoonkilnError):
    """A motion that is no number, or wheels that do not fit the geometry."""


@dataclass(frozen=True, slots=True)
class Pose2D:
    """Where the rover's origin is in the map and where it points; heading in (-pi, pi]."""

    x_m: float
    y_m: float
    heading_rad: float


@dataclass(frozen=True, slots=True)
class Twist2D:
    """How the rover moves, in its own frame: forward, to the left, and turning counter-clockwise."""

    vx_m_s: float = 0.0
    vy_m_s: float = 0.0
    omega_rad_s: float = 0.0

    @property
    def is_finite(self) -> bool:
        """False if any part is NaN or infinite."""
        return math.isfinite(self.vx_m_s) and math.isfinite(self.vy_m_s) and math.isfinite(self.omega_rad_s)

    def scaled(self, factor: float) -> Twist2D:
        """The same path, `factor` times as fast."""
        return Twist2D(self.vx_m_s * factor, self.vy_m_s * factor, self.omega_rad_s * factor)


STOP = Twist2D()


@dataclass(frozen=True, slots=True)
class Odometry:
    """What the wheels say: the twist that fits them best, the length driven (backwards: negative), and how far they
    are from agreeing (rms of the wheels' speeds along and across, m/s: slip or a bent steering shows here).
    """

    twist: Twist2D
    distance_m: float
    residual_m_s: float


@dataclass(frozen=True, slots=True)
class WheelMount:
    """Where a wheel stands in the rover's frame, and how far it steers to either side (0: fixed straight ahead)."""

    name: str
    x_m: float
    y_m: float
    steer_max_rad: float = 0.0


@dataclass(frozen=True, slots=True)
class RockerBogie:
    """The suspension's joints, measured on flat ground; x forward from the rover's origin, heights over the ground.

    On each side a rocker turns about its pivot on the body; the body's pitch is the mean of both rockers' (differential
    bar). One end of the rocker carries a wheel, the other a bogie with two; `bogie` says which end that is. With four
    wheels there is no bogie (`bogie=None`) and each rocker carries a wheel at either end.
    """

    pivot_x_m: float
    pivot_height_m: float
    bogie: Literal["front", "rear"] | None
    bogie_x_m: float = 0.0
    bogie_height_m: float = 0.0
    belly_height_m: float = 0.2
    belly_length_m: float = 0.4
    belly_width_m: float = 0.3


@dataclass(frozen=True, slots=True)
class Geometry:
    """A rover's wheels. Raises KinematicsError for fewer than two wheels, two of a name, or a bound that is none.

    `straight_radius_m`: turns wider than this are driven straight, to both sides alike (for steering that cannot hold
    so small an angle); infinite: never.
    """

    wheels: tuple[WheelMount, ...]
    wheel_radius_m: float
    speed_max_m_s: float
    turn_radius_min_m: float
    mode: Literal["ackermann", "crab", "skid"]
    rocker: RockerBogie | None = None
    straight_radius_m: float = math.inf
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The wheels' names, in the order of every array here."""
    curvature_max_per_m: float = field(init=False, repr=False, compare=False)
    """The tightest turn of the origin that the wheels allow, 1/m; infinite if it can turn on the spot."""

    def __post_init__(self) -> None:
        names = [wheel.name for wheel in self.wheels]
        if len(names) < 2 or len(set(names)) != len(names):
            raise KinematicsError(f"a rover needs two wheels or more, each with its own name, not {names}")
        if self.mode not in ("ackermann", "crab", "skid"):
            raise KinematicsError(f"mode {self.mode!r} is none of ackermann, crab, skid")
        for what in ("wheel_radius_m", "speed_max_m_s"):
            if not (math.isfinite(value := getattr(self, what)) and value > 0):
                raise KinematicsError(f"{what} is {value!r}; it must be a number over 0")
        if not (math.isfinite(self.turn_radius_min_m) and self.turn_radius_min_m >= 0):
            raise KinematicsError(f"turn_radius_min_m is {self.turn_radius_min_m!r}; it must be a number from 0 up")
        if math.isnan(self.straight_radius_m) or self.straight_radius_m <= self.turn_radius_min_m:
            raise KinematicsError(
                f"straight_radius_m {self.straight_radius_m!r} leaves no turn over turn_radius_min_m"
                f" {self.turn_radius_min_m!r}"
            )
        for wheel in self.wheels:
            if not all(map(math.isfinite, (wheel.x_m, wheel.y_m))) or not 0 <= wheel.steer_max_rad <= math.pi:
                raise KinematicsError(f"wheel {wheel.name} stands nowhere or steers more than half a turn: {wheel}")
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "curvature_max_per_m", self._curvature_max_per_m())

    @property
    def steered(self) -> tuple[str, ...]:
        """The names of the wheels that steer."""
        return tuple(wheel.name for wheel in self.wheels if wheel.steer_max_rad > 0)

    def _curvature_max_per_m(self) -> float:
        radius = self.turn_radius_min_m
        if self.mode == "ackermann":
            for wheel in self.wheels:
                if wheel.steer_max_rad < math.pi / 2 and wheel.x_m and wheel.steer_max_rad:
                    radius = max(radius, abs(wheel.y_m) + abs(wheel.x_m) / math.tan(wheel.steer_max_rad))
        return 1 / radius if radius > 0 else math.inf


@dataclass(frozen=True, slots=True, eq=False)
class WheelCommands:
    """What each wheel is told, in the geometry's order; a fixed wheel's steer is 0."""

    speed_rad_s: Floats
    steer_rad: Floats

    def by_name(self, geometry: Geometry) -> tuple[dict[str, float], dict[str, float]]:
        """Speeds (rad/s) of all wheels, and angles (rad) of those that steer."""
        speeds = dict(zip(geometry.names, self.speed_rad_s.tolist(), strict=True))
        steers = {
            wheel.name: angle
            for wheel, angle in zip(geometry.wheels, self.steer_rad.tolist(), strict=True)
            if wheel.steer_max_rad > 0
        }
        return speeds, steers


def wrapped(angle_rad: float) -> float:
    """The same direction in (-pi, pi]."""
    angle = math.remainder(angle_rad, math.tau)
    return math.pi if angle <= -math.pi else angle


def integrate(pose: Pose2D, twist: Twist2D, dt_s: float) -> Pose2D:
    """The pose after `dt_s` of a constant twist: the exact arc (exponential of SE(2)), no step along one heading.

    Integrating the heading first, or the position first, is wrong by half the turn of each step.
    """
    turn = twist.omega_rad_s * dt_s
    if abs(turn) < 1e-6:  # series: sin(a)/a and (1 - cos a)/a to the precision of a float
        along, across = 1 - turn * turn / 6, turn / 2
    else:
        along, across = math.sin(turn) / turn, 2 * math.sin(turn / 2) ** 2 / turn
    forward_m = (along * twist.vx_m_s - across * twist.vy_m_s) * dt_s
    left_m = (across * twist.vx_m_s + along * twist.vy_m_s) * dt_s
    cosine, sine = math.cos(pose.heading_rad), math.sin(pose.heading_rad)
    return Pose2D(
        pose.x_m + cosine * forward_m - sine * left_m,
        pose.y_m + sine * forward_m + cosine * left_m,
        wrapped(pose.heading_rad + turn),
    )


def bounded(geometry: Geometry, twist: Twist2D) -> Twist2D:
    """The nearest twist that the wheels can do: what `inverse` commands and `forward` gives back.

    Sideways motion is left out unless the rover crabs; a turn tighter than the wheels allow is widened with vx kept;
    then everything is scaled until no wheel is over its speed, which keeps the path.
    """
    if not twist.is_finite:
        raise KinematicsError(f"{twist} is no motion: it has a part that is no finite number")
    vx, vy, omega = twist.vx_m_s, twist.vy_m_s, twist.omega_rad_s
    if geometry.mode != "crab":
        vy = 0.0
    speed = math.hypot(vx, vy)
    limit = geometry.curvature_max_per_m
    if math.isfinite(limit) and abs(omega) > speed * limit:
        omega = math.copysign(speed * limit, omega)
    if abs(omega) * geometry.straight_radius_m < speed:
        omega = 0.0
    possible = Twist2D(vx, vy, omega)
    if geometry.mode == "crab":
        possible = _steerable(geometry, possible)
    fastest = max(_wheel_speeds(geometry, possible))
    return possible.scaled(geometry.speed_max_m_s / fastest) if fastest > geometry.speed_max_m_s else possible


def inverse(geometry: Geometry, twist: Twist2D, steer_now_rad: Floats | None = None) -> WheelCommands:
    """What each wheel must do for `bounded(geometry, twist)`.

    A wheel that would point backwards points forwards and rolls backwards instead. Where a wheel can do either (crab
    with more than a quarter turn of steering), `steer_now_rad` picks the nearer. A rover asked to turn while it stands
    and that cannot turn on the spot turns its wheels to the tightest turn and waits.

    Raises:
        KinematicsError: a twist with a NaN or an infinity.
    """
    possible = bounded(geometry, twist)
    vx, vy, omega = possible.vx_m_s, possible.vy_m_s, possible.omega_rad_s
    standing = max(_wheel_speeds(geometry, possible)) <= STILL_M_S
    if standing and twist.omega_rad_s != 0 and geometry.mode != "skid" and math.isfinite(geometry.curvature_max_per_m):
        vx, vy, omega = 1.0, 0.0, math.copysign(geometry.curvature_max_per_m, twist.omega_rad_s)
    speeds, steers = [], []  # plain numbers: on arrays this small each operation costs more than the whole of it
    for k, wheel in enumerate(geometry.wheels):
        forward_m_s, left_m_s = vx - omega * wheel.y_m, vy + omega * wheel.x_m
        now = 0.0 if steer_now_rad is None else float(steer_now_rad[k])
        speed = steer = 0.0
        if wheel.steer_max_rad == 0 or geometry.mode == "skid":
            speed = forward_m_s
        elif math.hypot(forward_m_s, left_m_s) <= STILL_M_S:
            steer = now if abs(now) <= wheel.steer_max_rad else 0.0  # nothing to point to: stay
        else:
            steer, sign = _pointed(forward_m_s, left_m_s, wheel.steer_max_rad, now)
            speed = sign * math.hypot(forward_m_s, left_m_s)
        speeds.append(0.0 if standing else speed / geometry.wheel_radius_m)
        steers.append(steer)
    return WheelCommands(np.array(speeds), np.array(steers))


def forward(
    geometry: Geometry,
    speed_rad_s: Sequence[float] | Floats,
    steer_rad: Sequence[float] | Floats,
    dt_s: float = 0.0,
    use: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> Odometry:
    """The twist that fits the wheels best (least squares: each rolls along its direction and not across it).

    Args:
        speed_rad_s, steer_rad: n numbers each, measured, in the geometry's order.
        dt_s: how long; `distance_m` is the length driven in it.
        use: n, the wheels that can be believed; None: all.

    Skid steering slides sideways when it turns, so there only the rolling counts, and vy is 0.

    Raises:
        KinematicsError: arrays of another size, fewer than two wheels to go by, or a NaN or infinity in a used wheel.
    """
    count = len(geometry.wheels)
    if not (len(speed_rad_s) == len(steer_rad) == count and (use is None or len(use) == count)):
        raise KinematicsError(
            f"{count} wheels need {count} speeds and steers, not {len(speed_rad_s)}, {len(steer_rad)}"
        )
    kept: list[_Rolling] = []
    bad = []
    for k, wheel in enumerate(geometry.wheels):
        if use is not None and not use[k]:
            continue
        speed, steer = float(speed_rad_s[k]), float(steer_rad[k])
        if not math.isfinite(speed + steer):
            bad.append(wheel.name)
            continue
        kept.append((wheel.x_m, wheel.y_m, math.cos(steer), math.sin(steer), speed * geometry.wheel_radius_m))
    if len(kept) + len(bad) < 2:
        raise KinematicsError("fewer than two wheels can be believed: there is no odometry")
    if bad:
        raise KinematicsError(f"the speed or steer of wheel {', '.join(bad)} is no finite number")
    vx, vy, omega = _rolled_only(kept) if geometry.mode == "skid" else _rolled(kept)
    square = 0.0
    for x, y, cosine, sine, rolled in kept:
        forward_m_s, left_m_s = vx - omega * y, vy + omega * x
        square += (cosine * forward_m_s + sine * left_m_s - rolled) ** 2
        if geometry.mode != "skid":
            square += (cosine * left_m_s - sine * forward_m_s) ** 2
    length = math.copysign(math.hypot(vx, vy), vx) * dt_s
    return Odometry(Twist2D(vx, vy, omega), length, math.sqrt(square / len(kept)))


_Rolling = tuple[float, float, float, float, float]
"""A wheel: x, y (m), cosine and sine of its steering, and how fast it rolls along that, m/s."""


def _rolled(wheels: Sequence[_Rolling]) -> tuple[float, float, float]:
    """vx, vy, omega of the body whose ground points come nearest to the wheels' velocities.

    A wheel that neither slides nor lifts gives its ground point's whole velocity, so this is the fit of a rigid motion
    to points: the middle point moves with the mean velocity, and the turning is the velocities' moment about it.
    """
    count = len(wheels)
    sum_x = sum_y = sum_vx = sum_vy = inertia = moment = 0.0
    for x, y, cosine, sine, rolled in wheels:
        along, across = rolled * cosine, rolled * sine
        sum_x += x
        sum_y += y
        sum_vx += along
        sum_vy += across
        inertia += x * x + y * y
        moment += x * across - y * along
    inertia -= (sum_x * sum_x + sum_y * sum_y) / count
    omega = (moment - (sum_x * sum_vy - sum_y * sum_vx) / count) / inertia if inertia > 0.0 else 0.0
    return (sum_vx + omega * sum_y) / count, (sum_vy - omega * sum_x) / count, omega


def _rolled_only(wheels: Sequence[_Rolling]) -> tuple[float, float, float]:
    """The same where wheels may slide across themselves; 0 to the side."""
    rows = [(cosine, x * sine - y * cosine) for x, y, cosine, sine, _ in wheels]
    vx, omega = np.linalg.lstsq(np.array(rows), np.array([wheel[-1] for wheel in wheels]), rcond=None)[0].tolist()
    return vx, 0.0, omega


def _wheel_speeds(geometry: Geometry, twist: Twist2D) -> list[float]:
    """How fast each wheel rolls, m/s, without a sign."""
    speeds = []
    for wheel in geometry.wheels:
        forward_m_s = twist.vx_m_s - twist.omega_rad_s * wheel.y_m
        left_m_s = twist.vy_m_s + twist.omega_rad_s * wheel.x_m
        fixed = wheel.steer_max_rad == 0 or geometry.mode == "skid"
        speeds.append(abs(forward_m_s) if fixed else math.hypot(forward_m_s, left_m_s))
    return speeds


def _pointed(forward_m_s: float, left_m_s: float, steer_max_rad: float, now_rad: float) -> tuple[float, float]:
    """(steer, +1 or -1: rolls that way) for a wheel whose ground point moves so: of the two ways that its steering
    allows, the one nearer to where it points now.
    """
    ahead = math.atan2(left_m_s, forward_m_s)
    behind = wrapped(ahead + math.pi)
    most = steer_max_rad + 1e-9
    if abs(ahead) <= most < abs(behind):  # nearly always: no wheel that steers less than a quarter turn has a choice
        return ahead, 1.0
    choices = [(ahead, 1.0), (behind, -1.0)]
    allowed = [choice for choice in choices if abs(choice[0]) <= most]
    if not allowed:  # rounding aside, `bounded` leaves none of these
        angle, sign = min(choices, key=lambda choice: abs(choice[0]))
        return math.copysign(steer_max_rad, angle), sign
    return min(allowed, key=lambda choice: (round(abs(choice[0] - now_rad), 9), -choice[1]))


def _steerable(geometry: Geometry, twist: Twist2D) -> Twist2D:
    """A crabbing rover's twist with as much of its sideways and turning part as every wheel's steering allows."""

    def fits(share: float) -> bool:
        vx, vy, omega = twist.vx_m_s, twist.vy_m_s * share, twist.omega_rad_s * share
        for wheel in geometry.wheels:
            forward_m_s, left_m_s = vx - omega * wheel.y_m, vy + omega * wheel.x_m
            if math.hypot(forward_m_s, left_m_s) <= STILL_M_S:
                continue
            if abs(math.atan2(left_m_s, abs(forward_m_s))) > wheel.steer_max_rad + 1e-9:
                return False
        return True

    if fits(1.0):
        return twist
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return Twist2D(twist.vx_m_s, twist.vy_m_s * low, twist.omega_rad_s * low)


def _box(x_m: float, side_m: float, middle_m: float | None, steer_max_rad: float) -> tuple[WheelMount, ...]:
    """Wheels front (and middle) and rear, left then right, at +-x and +-side; the middle ones are fixed."""
    wheels = []
    for letter, y_m, y_middle in (("l", side_m, middle_m), ("r", -side_m, None if middle_m is None else -middle_m)):
        wheels.append(WheelMount(f"f{letter}", x_m, y_m, steer_max_rad))
        if y_middle is not None:
            wheels.append(WheelMount(f"m{letter}", 0.0, y_middle))
        wheels.append(WheelMount(f"r{letter}", -x_m, y_m, steer_max_rad))
    return tuple(wheels)


OSR_GEOMETRY = Geometry(
    wheels=_box(0.267, 0.184, 0.2556, math.radians(46.0)),
    wheel_radius_m=0.075,
    speed_max_m_s=31.0 / 60.0 * math.tau * 0.075,
    turn_radius_min_m=0.45,
    mode="ackermann",
    rocker=RockerBogie(
        pivot_x_m=0.0, pivot_height_m=0.25, bogie="front", bogie_x_m=0.134, bogie_height_m=0.16, belly_height_m=0.19
    ),
)
"""The JPL open-source rover: d1 0.184, d2 = d3 0.267, d4 0.2556 m, wheels of 0.075 m, 31 rpm without load. Where its
joints sit is assumed."""

POLAR_GEOMETRY = Geometry(
    wheels=_box(0.45, 0.40, None, math.radians(100.0)),
    wheel_radius_m=0.15,
    speed_max_m_s=0.2,
    turn_radius_min_m=0.0,
    mode="crab",
    rocker=RockerBogie(
        pivot_x_m=0.0, pivot_height_m=0.40, bogie=None, belly_height_m=0.30, belly_length_m=0.8, belly_width_m=0.6
    ),
)
"""A four-wheel crabbing rover for the pole; its size is assumed."""
