"""Where the rover is: an extended Kalman filter over pose, gyro bias and slip, with a gate on every innovation.

State: x, y (m, map), heading (rad), gyro bias (rad/s), slip (the share of the wheels' motion that the ground takes)
and drift (metres to the left for each metre rolled). Wheels and gyro carry it forward; positions (tracker) and
landmarks (tags) pull it straight, and so teach bias, slip and drift. A measurement that is too far from what is
expected (chi-square, one in a thousand) is counted and left out. When everything has been left out for long enough,
one of the two is wrong. What the wheels can have rolled in that time may be the filter's fault: its uncertainty grows
until it believes again. What is farther than that is not believed, however often it is told: the rover is `astray`.
So it is where it is told to have turned by more than a gyro can be wrong: at once, or a little with every fix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from control.rover.drive.kinematics import Floats, KinematicsError, Pose2D, Twist2D, wrapped

REACH_M, REACH_SHARE = 0.3, 1.5  # a rover may truly be so far from its filter: this, and of what its wheels have rolled
TURN_RAD, TURN_RAD_S = 0.10, 0.03
"""What fixes may turn the heading in all beside what the gyro said, and how much of that each second forgives: three
sigmas of a gyro's bias. A tracker that turns slower than that is followed."""
STRETCH_SIGMAS, STRETCH_CHANGE = 3.0, 0.05  # of slip and drift from one stretch to the next
CHI2_999 = {1: 10.83, 2: 13.82, 3: 16.27}
"""99.9 % of a chi-square distribution by degrees of freedom."""

STATES = 6
X, Y, HEADING, BIAS, SLIP, DRIFT = range(STATES)
_EACH = np.eye(STATES)


@dataclass(frozen=True, slots=True)
class NoiseSettings:
    """How much each thing may be off.

    Args:
        rolled_share, rolled_m: error of the rolled length, as a share of it and as noise per square root of a metre.
        gyro_rad_s: noise of the rate, per square root of a second. bias_rad_s: walk of the bias, likewise.
        slip_m, drift_m: walk of slip and drift for each square root of a metre that is rolled.
        bias0_rad_s, slip0, drift0, heading0_rad: what they may be at the beginning.
        doubt_after: so many measurements left out in a row, and the uncertainty is grown.
        age_max_s: older measurements are refused.
    """

    rolled_share: float = 0.02
    rolled_m: float = 0.01
    gyro_rad_s: float = 0.003
    bias_rad_s: float = 2e-5
    slip_m: float = 0.10
    drift_m: float = 0.05
    bias0_rad_s: float = 0.01
    slip0: float = 0.3
    drift0: float = 0.1
    heading0_rad: float = 0.05
    doubt_after: int = 10
    age_max_s: float = 1.0

    def __post_init__(self) -> None:
        for item in fields(self):
            if not (math.isfinite(value := getattr(self, item.name)) and value > 0):
                raise ValueError(f"{item.name} is {value!r}; it must be a finite number over 0")


@dataclass
class LocaliseCounters:
    """Measurements taken, left out by the gate, and refused because they were old or no numbers."""

    taken: int = 0
    gated: int = 0
    refused: int = 0
    doubts: int = 0


class Localiser:
    """The filter. `pose` at any time; `sigma_m` (the larger axis) and `heading_sigma_rad` say how sure it is."""

    def __init__(self, pose: Pose2D, sigma_m: float, settings: NoiseSettings | None = None) -> None:
        """Begin at `pose`, known to `sigma_m` in x and y."""
        self.settings = s = settings or NoiseSettings()
        if not (all(map(math.isfinite, (pose.x_m, pose.y_m, pose.heading_rad, sigma_m))) and sigma_m > 0):
            raise KinematicsError(f"no localisation can begin at {pose} with a sigma of {sigma_m!r} m")
        self.counters = LocaliseCounters()
        self._x = np.array([pose.x_m, pose.y_m, pose.heading_rad, 0.0, 0.0, 0.0])
        self._p = np.diag([sigma_m**2, sigma_m**2, s.heading0_rad**2, s.bias0_rad_s**2, s.slip0**2, s.drift0**2])
        self._speed = (0.0, 0.0)  # of the last prediction, map frame: carries a measurement of the past to now
        self._turning = 0.0
        self._stretch: tuple[float, float] | None = None
        self._gated_in_a_row = 0
        self._rolled_m = 0.0  # since a place was believed last
        self.astray_m: float | None = None
        """How far what is told again and again is from where wheels and gyro can have brought the rover; None: they
        agree."""
        self._told_turn_rad = 0.0  # by fixes, beside what the gyro said; time forgives it
        self.astray_rad: float | None = None
        """The same of its heading: how far off what is told lies that no gyro can have missed."""

    # -- what is believed -----------------------------------------------------------------------------------------

    @property
    def pose(self) -> Pose2D:
        """Where the rover is believed to be now."""
        return Pose2D(float(self._x[X]), float(self._x[Y]), wrapped(float(self._x[HEADING])))

    @property
    def covariance(self) -> Floats:
        """Of x, y and heading, (3, 3) f8."""
        return self._p[:3, :3].copy()

    @property
    def sigma_m(self) -> float:
        """Standard deviation of the position along its worst direction."""
        a, b, d = self._p[X, X], self._p[X, Y], self._p[Y, Y]
        return math.sqrt(max((a + d) / 2 + math.hypot((a - d) / 2, b), 0.0))

    @property
    def heading_sigma_rad(self) -> float:
        """Standard deviation of the heading."""
        return math.sqrt(max(self._p[HEADING, HEADING], 0.0))

    @property
    def is_astray(self) -> bool:
        """Whether what is told again and again cannot be true, if wheels and gyro are."""
        return self.astray_m is not None or self.astray_rad is not None

    @property
    def slip(self) -> float:
        """The share of the wheels' motion that is lost."""
        return float(self._x[SLIP])

    # -- moving on ------------------------------------------------------------------------------------------------

    def predict(self, odometry: Twist2D, gyro_z_rad_s: float, dt_s: float) -> None:
        """Carry on by `dt_s` of wheels and gyro. Raises KinematicsError for what is no finite number."""
        if not (odometry.is_finite and math.isfinite(gyro_z_rad_s) and math.isfinite(dt_s) and dt_s >= 0):
            raise KinematicsError(f"nothing can be predicted from {odometry}, {gyro_z_rad_s!r} rad/s, {dt_s!r} s")
        s = self.settings
        x, y, heading, bias, slip, drift = self._x.tolist()  # plain numbers: each one out of an array costs more
        along_m, across_m = odometry.vx_m_s * dt_s, odometry.vy_m_s * dt_s
        turn = (gyro_z_rad_s - bias) * dt_s
        middle = heading + turn / 2
        cosine, sine = math.cos(middle), math.sin(middle)
        # in the rover's frame: what is left of the rolled way, and what is lost to the side
        kept = 1.0 - slip
        forward_m, left_m = kept * along_m, kept * across_m + drift * along_m
        dx, dy = cosine * forward_m - sine * left_m, sine * forward_m + cosine * left_m
        self._x = np.array([x + dx, y + dy, wrapped(heading + turn), bias, slip, drift])
        jacobian = _EACH.copy()
        jacobian[X, HEADING:] = (
            -dy,
            dy * dt_s / 2,
            -(cosine * along_m - sine * across_m),
            -sine * along_m,
        )
        jacobian[Y, HEADING:] = (
            dx,
            -dx * dt_s / 2,
            -(sine * along_m + cosine * across_m),
            cosine * along_m,
        )
        jacobian[HEADING, BIAS] = -dt_s
        rolled_m = math.hypot(along_m, across_m)
        self._rolled_m += rolled_m
        own = (s.rolled_share * rolled_m) ** 2 + s.rolled_m**2 * rolled_m
        self._p = jacobian @ self._p @ jacobian.T
        self._p.flat[:: STATES + 1] += (
            own,
            own,
            s.gyro_rad_s**2 * dt_s,
            s.bias_rad_s**2 * dt_s,
            s.slip_m**2 * rolled_m,
            s.drift_m**2 * rolled_m,
        )
        forgiven_rad = min(TURN_RAD_S * dt_s, abs(self._told_turn_rad))
        self._told_turn_rad -= math.copysign(forgiven_rad, self._told_turn_rad)
        if dt_s > 0:
            self._speed = (dx / dt_s, dy / dt_s)
            self._turning = turn / dt_s

    def fix(
        self,
        x_m: float,
        y_m: float,
        heading_rad: float | None,
        sigma_m: float,
        *,
        heading_sigma_rad: float = 0.02,
        age_s: float = 0.0,
    ) -> bool:
        """A position (and heading, where it is known) measured `age_s` ago. True if it was believed."""
        values = (x_m, y_m, sigma_m, heading_sigma_rad, heading_rad or 0.0)
        if not self._usable(values, sigma_m, age_s) or heading_sigma_rad <= 0:
            return False
        count = 2 if heading_rad is None else 3
        seen = np.array([x_m + self._speed[0] * age_s, y_m + self._speed[1] * age_s, heading_rad or 0.0])[:count]
        wrong = seen - self._x[:count]
        if heading_rad is not None:
            wrong[HEADING] = wrapped(float(wrong[HEADING]))
        noise = np.diag([sigma_m**2, sigma_m**2, heading_sigma_rad**2][:count])
        return self._update(_EACH[:count], wrong, noise)

    def landmark(
        self,
        x_m: float,
        y_m: float,
        ahead_m: float,
        left_m: float,
        *,
        range_sigma_m: float,
        bearing_sigma_rad: float,
        age_s: float = 0.0,
    ) -> bool:
        """Something that stands at a known place was seen `ahead_m` and `left_m` of the rover. True if believed."""
        values = (x_m, y_m, ahead_m, left_m, range_sigma_m, bearing_sigma_rad)
        away = math.hypot(ahead_m, left_m)
        if not self._usable(values, min(range_sigma_m, bearing_sigma_rad), age_s):
            return False
        if away < 1e-6:
            self.counters.refused += 1
            return False
        cosine, sine = math.cos(self._x[HEADING]), math.sin(self._x[HEADING])
        dx, dy = x_m - float(self._x[X]), y_m - float(self._x[Y])
        expected = np.array([cosine * dx + sine * dy, -sine * dx + cosine * dy])
        rows = np.zeros((2, 6))
        rows[:, X], rows[:, Y] = (-cosine, sine), (-sine, -cosine)
        rows[:, HEADING] = expected[1], -expected[0]
        # what has passed since then: the rover moved towards it and turned
        vx, vy = self._speed
        passed = np.array([
            -(cosine * vx + sine * vy) + self._turning * left_m,
            (sine * vx - cosine * vy) - self._turning * ahead_m,
        ])  # fmt: skip
        ray = np.array([ahead_m, left_m]) / away
        across = np.array([-ray[1], ray[0]])
        noise = range_sigma_m**2 * np.outer(ray, ray) + (bearing_sigma_rad * away) ** 2 * np.outer(across, across)
        return self._update(rows, np.array([ahead_m, left_m]) + passed * age_s - expected, noise)

    def visual_step(self, slip: float, sigma: float, drift: float | None = None) -> bool:
        """What the camera saw of the ground passing by, against the wheels: slip and drift of the last stretch.

        A camera is now and then wildly wrong, and a filter that has just begun would believe it: a stretch counts only
        if the one before it said much the same. True if it was believed.
        """
        if not self._usable((slip, sigma, drift or 0.0), sigma, 0.0):
            return False
        before, self._stretch = self._stretch, (slip, drift or 0.0)
        most = STRETCH_SIGMAS * math.sqrt(2.0) * sigma + STRETCH_CHANGE
        if before is None or abs(slip - before[0]) > most or abs((drift or 0.0) - before[1]) > most:
            self.counters.gated += 1
            return False
        count = 1 if drift is None else 2
        rows = np.zeros((count, 6))
        rows[0, SLIP] = 1.0
        wrong = np.array([slip - self._x[SLIP], (drift or 0.0) - self._x[DRIFT]])[:count]
        if drift is not None:
            rows[1, DRIFT] = 1.0
        return self._update(rows, wrong, sigma**2 * np.eye(count), place=False)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _usable(self, values: tuple[float, ...], sigma: float, age_s: float) -> bool:
        """Numbers, not too old, not from the future, and with an uncertainty."""
        good = all(map(math.isfinite, values)) and sigma > 0 and 0.0 <= age_s <= self.settings.age_max_s
        if not good:
            self.counters.refused += 1
        return good

    def _update(self, rows: Floats, wrong: Floats, noise: Floats, *, place: bool = True) -> bool:
        """A measurement, if its gate lets it in (Joseph's form, so that the covariance stays one). `place`: it tells of
        the place; what tells of the ground alone neither raises a doubt of the place nor settles one.
        """
        told = rows @ self._p
        weight = np.linalg.inv(told @ rows.T + noise)
        if float(wrong @ weight @ wrong) > CHI2_999[len(wrong)]:
            self.counters.gated += 1
            self._gated_in_a_row += place
            if place and self._gated_in_a_row >= self.settings.doubt_after:
                told_rad = float(wrong[HEADING]) if len(wrong) > HEADING else 0.0
                self._doubt(float(np.abs(wrong[: min(2, len(wrong))]).max()), told_rad)
            return False
        gain = (weight @ told).T
        step = gain @ wrong
        if len(wrong) > HEADING and not self._may_turn(float(step[HEADING]), float(wrong[HEADING])):
            return False
        self._x = self._x + step
        self._x[HEADING] = wrapped(float(self._x[HEADING]))
        self._x[SLIP] = min(max(float(self._x[SLIP]), -0.95), 0.98)
        self._x[DRIFT] = min(max(float(self._x[DRIFT]), -0.9), 0.9)
        left = _EACH - gain @ rows
        self._p = left @ self._p @ left.T + gain @ noise @ gain.T
        self.counters.taken += 1
        if place:
            self._gated_in_a_row, self._rolled_m, self.astray_m, self.astray_rad = 0, 0.0, None, None
        return True

    @property
    def _turn_max_rad(self) -> float:
        """Where all begins, the rover's heading may truly be off by three sigmas of what it was said to be."""
        begins = self.counters.taken < self.settings.doubt_after
        return TURN_RAD + (3.0 * self.settings.heading0_rad if begins else 0.0)

    def _may_turn(self, turn_rad: float, off_rad: float) -> bool:
        """Whether a fix that tells a heading, `off_rad` beside the filter's, may turn that by so much more."""
        turned_rad = self._told_turn_rad + turn_rad
        if abs(turned_rad) <= max(self._turn_max_rad, abs(self._told_turn_rad)):
            self._told_turn_rad = turned_rad
            return True
        self.counters.gated += 1
        self._gated_in_a_row += 1
        if self._gated_in_a_row >= self.settings.doubt_after:
            self.astray_rad = abs(off_rad)
        return False

    def _doubt(self, off_m: float, off_rad: float) -> None:
        """All that came for a while was left out: believe oneself less, by as much as they are off, if that can be."""
        if off_m > REACH_M + REACH_SHARE * self._rolled_m + 3.0 * self.sigma_m:
            self.astray_m = off_m
            return
        if abs(self._told_turn_rad + off_rad) > self._turn_max_rad:
            self.astray_rad = abs(off_rad)
            return
        self._gated_in_a_row = 0
        self.counters.doubts += 1
        self._p[X, X] += off_m**2
        self._p[Y, Y] += off_m**2
        self._p[HEADING, HEADING] += self.settings.heading0_rad**2
        self._p[SLIP, SLIP] += self.settings.slip0**2
