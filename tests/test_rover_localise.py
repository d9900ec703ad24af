"""Does the filter know where the rover is, and how well it knows it?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from control.rover.drive.kinematics import KinematicsError, Pose2D, Twist2D, integrate, wrapped
from control.rover.drive.localise import Localiser

DT_S = 0.1


class Truth:
    """A rover that slips and drifts, with a biased gyro; everything it says is noisy, from one seed."""

    def __init__(self, seed: int, slip: float = 0.3, drift: float = 0.05, bias_rad_s: float = 0.004) -> None:
        self.rng = np.random.default_rng(seed)
        self.pose = Pose2D(0.0, 0.0, 0.3)
        self.slip, self.drift, self.bias_rad_s = slip, drift, bias_rad_s
        self.t_s = 0.0

    def step(self) -> tuple[Twist2D, float]:
        """Move on; what wheels and gyro say of it."""
        omega = 0.05 * math.sin(0.05 * self.t_s)
        slip = self.slip + 0.2 * math.sin(0.02 * self.t_s)
        moved = Twist2D(0.1 * (1 - slip), 0.1 * self.drift, omega)
        self.pose = integrate(self.pose, moved, DT_S)
        self.t_s += DT_S
        wheels = Twist2D(0.1 * (1 + self.rng.normal(0, 0.01)), 0.0, omega / (1 - slip))
        return wheels, omega + self.bias_rad_s + self.rng.normal(0, 0.003 / math.sqrt(DT_S))

    def place(self, sigma_m: float) -> tuple[float, float]:
        """Where it is, measured."""
        x, y = np.array([self.pose.x_m, self.pose.y_m]) + self.rng.normal(0, sigma_m, 2)
        return float(x), float(y)


def driven(seed: int, every_s: float, sigma_m: float, with_heading: bool, seconds: float = 600.0):
    """Errors (m), normalised errors (x, y, heading) and the filter after a drive with a fix every so often."""
    truth = Truth(seed)
    filt = Localiser(truth.pose, sigma_m)
    errors, normed = [], []
    for n in range(round(seconds / DT_S)):
        wheels, gyro = truth.step()
        filt.predict(wheels, gyro, DT_S)
        if n % round(every_s / DT_S) == 0:
            heading = truth.pose.heading_rad + float(truth.rng.normal(0, 0.02)) if with_heading else None
            filt.fix(*truth.place(sigma_m), heading, sigma_m)
        if n % 5 == 0:
            off = np.array([filt.pose.x_m - truth.pose.x_m, filt.pose.y_m - truth.pose.y_m,
                            wrapped(filt.pose.heading_rad - truth.pose.heading_rad)])  # fmt: skip
            errors.append(math.hypot(off[0], off[1]))
            normed.append(float(off @ np.linalg.solve(filt.covariance, off)))
    return np.array(errors), np.array(normed), filt


@pytest.mark.parametrize("seed", range(5))
def test_fixes_of_5_cm_at_10_hz_give_2_cm_under_half_slip(seed: int) -> None:
    errors, normed, _ = driven(seed, 0.1, 0.05, True, 120.0)
    assert math.sqrt((errors[20:] ** 2).mean()) < 0.02
    assert (normed < 14.16).mean() > 0.98  # 99.73 % of chi-square with three degrees of freedom


@pytest.mark.parametrize("seed", range(5))
def test_rare_fixes_without_heading_keep_the_error_bounded_and_known(seed: int) -> None:
    errors, normed, filt = driven(seed, 30.0, 0.05, False)
    assert math.sqrt((errors[600:] ** 2).mean()) < 0.4
    assert (normed[600:] < 14.16).mean() > 0.97
    assert filt.counters.doubts == 0


def test_the_filter_learns_bias_and_slip() -> None:
    _, _, filt = driven(1, 0.1, 0.02, True)
    assert filt._x[3] == pytest.approx(0.004, abs=0.001)
    assert filt.slip == pytest.approx(0.3 + 0.2 * math.sin(12.0), abs=0.1)


def test_a_wild_fix_is_left_out_and_counted() -> None:
    _, _, filt = driven(1, 0.1, 0.05, True, 30.0)
    before = filt.pose
    assert not filt.fix(before.x_m + 5.0, before.y_m, None, 0.05)
    assert filt.pose == before and filt.counters.gated >= 1


def test_a_filter_that_is_wrong_believes_again_after_a_while() -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.01)
    for n in range(60):  # it slides down a slope beside its wheels' way
        filt.predict(Twist2D(0.5), 0.0, DT_S)
        taken = filt.fix(0.5 * DT_S * (n + 1), -0.4, 0.0, 0.05)
        if n < 9:
            assert not taken
    assert filt.pose.y_m == pytest.approx(-0.4, abs=0.1)
    assert filt.counters.doubts >= 1 and filt.astray_m is None


def test_a_place_that_no_wheel_could_have_reached_is_never_believed() -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.05)
    for _ in range(600):  # somebody has carried the rover away, or the station looks at another prism
        filt.predict(Twist2D(), 0.0, DT_S)
        assert not filt.fix(8.0, -3.0, 0.0, 0.05)
    assert filt.pose == Pose2D(0.0, 0.0, 0.0) and filt.sigma_m < 0.1
    assert filt.astray_m == pytest.approx(8.0, abs=0.1)
    assert filt.fix(0.01, 0.0, 0.0, 0.05) and filt.astray_m is None


@pytest.mark.parametrize("rad_s", [0.1, -0.1])
def test_a_heading_that_drifts_faster_than_a_gyro_is_followed_no_further(rad_s: float) -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.05)
    for _ in range(50):
        filt.predict(Twist2D(), 0.0, DT_S)
        assert filt.fix(0.0, 0.0, 0.0, 0.05)
    for n in range(100):
        filt.predict(Twist2D(), 0.0, DT_S)
        filt.fix(0.0, 0.0, rad_s * DT_S * n, 0.05)
    assert filt.is_astray and filt.astray_rad == pytest.approx(abs(rad_s) * 9.9, abs=0.25)
    assert abs(filt.pose.heading_rad) < math.radians(12.0)


@pytest.mark.parametrize("off_rad", [0.3, -0.3, 1.5])
def test_a_heading_that_leaps_is_never_believed(off_rad: float) -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.05)
    for n in range(600):
        filt.predict(Twist2D(), 0.0, DT_S)
        assert filt.fix(0.0, 0.0, 0.0 if n < 20 else off_rad, 0.05) == (n < 20)
    assert abs(filt.pose.heading_rad) < 0.01 and filt.is_astray


def test_a_rover_that_begins_turned_away_learns_it() -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.05)
    for _ in range(30):
        filt.predict(Twist2D(), 0.0, DT_S)
        filt.fix(0.0, 0.0, 0.2, 0.05)
    assert filt.pose.heading_rad == pytest.approx(0.2, abs=0.02) and not filt.is_astray


def test_a_gyro_that_is_biased_by_what_gyros_are_is_followed() -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.05)
    for _ in range(600):
        filt.predict(Twist2D(), 0.03, DT_S)
        assert filt.fix(0.0, 0.0, 0.0, 0.05)
    assert abs(filt.pose.heading_rad) < 0.01


@pytest.mark.parametrize(
    ("x_m", "sigma_m", "age_s"),
    [
        (math.nan, 0.05, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, -1.0, 0.0),
        (0.0, math.nan, 0.0),
        (0.0, 0.05, 9.0),
        (0.0, 0.05, -1.0),
    ],
)
def test_what_is_no_measurement_is_refused(x_m: float, sigma_m: float, age_s: float) -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.1)
    assert not filt.fix(x_m, 0.0, None, sigma_m, age_s=age_s)
    assert filt.counters.refused == 1 and filt.pose == Pose2D(0.0, 0.0, 0.0)


def test_an_old_fix_is_carried_to_the_present() -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 1.0)
    for _ in range(50):
        filt.predict(Twist2D(0.1), 0.0, DT_S)
    x_m = 0.5 * (1 - filt.slip)
    filt.fix(x_m - 0.05, 0.0, None, 1e-4, age_s=0.5)
    assert filt.pose.x_m == pytest.approx(x_m, abs=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_motion_that_is_no_number_is_an_error(bad: float) -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.1)
    with pytest.raises(KinematicsError):
        filt.predict(Twist2D(bad), 0.0, DT_S)
    with pytest.raises(KinematicsError):
        filt.predict(Twist2D(), bad, DT_S)


def test_a_landmark_seen_a_while_ago_is_carried_to_now() -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.01)
    for _ in range(20):
        filt.predict(Twist2D(0.2, 0.0, 0.0), 0.1, DT_S)
    now = filt.pose
    then = integrate(now, Twist2D(-0.2, 0.0, -0.1), 0.5)
    c, s = math.cos(then.heading_rad), math.sin(then.heading_rad)
    dx, dy = 5.0 - then.x_m, 2.0 - then.y_m
    assert filt.landmark(5.0, 2.0, c * dx + s * dy, -s * dx + c * dy, range_sigma_m=0.01, bearing_sigma_rad=0.002,
                         age_s=0.5)  # fmt: skip
    assert math.hypot(filt.pose.x_m - now.x_m, filt.pose.y_m - now.y_m) < 0.01


def test_a_wild_landmark_is_left_out() -> None:
    filt = Localiser(Pose2D(0.0, 0.0, 0.0), 0.05)
    assert not filt.landmark(5.0, 2.0, 9.0, 2.0, range_sigma_m=0.05, bearing_sigma_rad=0.003)
    assert filt.counters.gated == 1


def test_a_stretch_that_the_one_before_contradicts_is_not_believed() -> None:
    place = Localiser(Pose2D(0.0, 0.0, 0.0), 0.05)
    assert not place.visual_step(0.8, 0.02)  # the first: nothing agrees with it yet
    assert not place.visual_step(0.3, 0.02)
    assert place.visual_step(0.31, 0.02) and place.slip == pytest.approx(0.31, abs=0.05)
    assert not place.visual_step(-0.5, 0.02) and not place.visual_step(0.3, 0.02)
    assert place.visual_step(0.3, 0.02)


def test_wild_visual_steps_raise_no_doubt_of_the_place() -> None:
    place = Localiser(Pose2D(0.0, 0.0, 0.0), 0.05)
    for n in range(200):
        place.visual_step(0.9 if n % 2 else -0.9, 0.01)
    assert place.counters.doubts == 0 and place.sigma_m < 0.1
