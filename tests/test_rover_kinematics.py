"""Do wheels and twists agree, both ways, within the same bounds forwards and backwards, left and right?"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.rover.drive.attitude import attitude, tip_margin_rad
from control.rover.drive.kinematics import (
    OSR_GEOMETRY,
    POLAR_GEOMETRY,
    STOP,
    Geometry,
    KinematicsError,
    Pose2D,
    Twist2D,
    WheelMount,
    bounded,
    forward,
    integrate,
    inverse,
    wrapped,
)

SKID_GEOMETRY = Geometry(
    wheels=tuple(
        WheelMount(n, x, y)
        for n, x, y in (("fl", 0.3, 0.25), ("rl", -0.3, 0.25), ("fr", 0.3, -0.25), ("rr", -0.3, -0.25))
    ),
    wheel_radius_m=0.1,
    speed_max_m_s=0.3,
    turn_radius_min_m=0.0,
    mode="skid",
)
ALL = {"osr": OSR_GEOMETRY, "polar": POLAR_GEOMETRY, "skid": SKID_GEOMETRY}
speeds = st.floats(-2.0, 2.0)


def same(one: Twist2D, other: Twist2D, within: float = 1e-9) -> None:
    assert one.vx_m_s == pytest.approx(other.vx_m_s, abs=within)
    assert one.vy_m_s == pytest.approx(other.vy_m_s, abs=within)
    assert one.omega_rad_s == pytest.approx(other.omega_rad_s, abs=within)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=150, deadline=None)
@given(vx=speeds, vy=speeds, omega=speeds)
def test_wheels_give_back_the_bounded_twist(name, vx, vy, omega):
    geometry = ALL[name]
    asked = Twist2D(vx, vy, omega)
    wheels = inverse(geometry, asked)
    back = forward(geometry, wheels.speed_rad_s, wheels.steer_rad, dt_s=2.0)
    allowed = bounded(geometry, asked)
    same(back.twist, allowed)
    assert back.residual_m_s < 1e-9
    assert abs(back.distance_m) == pytest.approx(2 * math.hypot(allowed.vx_m_s, allowed.vy_m_s), abs=1e-8)
    assert np.abs(wheels.speed_rad_s).max() * geometry.wheel_radius_m <= geometry.speed_max_m_s * (1 + 1e-9)
    for mount, steer in zip(geometry.wheels, wheels.steer_rad):
        assert abs(steer) <= mount.steer_max_rad + 1e-8
    same(bounded(geometry, allowed), allowed)  # what is allowed once is allowed as it is


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60, deadline=None)
@given(vx=st.floats(0.01, 0.15), share=st.floats(-1.0, 1.0))
def test_what_the_wheels_can_do_is_done_unchanged(name, vx, share):
    geometry = ALL[name]
    asked = Twist2D(vx / 2, 0.0, share * vx / 2 * min(2.0, geometry.curvature_max_per_m))
    same(bounded(geometry, asked), asked, 1e-15)


def test_osr_wheels_by_hand():
    radius = 1.0  # left turn about (0, 1): speeds go with the distance to it
    wheels = inverse(OSR_GEOMETRY, Twist2D(0.1, 0.0, 0.1))
    for k, mount in enumerate(OSR_GEOMETRY.wheels):
        arm = math.hypot(mount.x_m, radius - mount.y_m)
        assert wheels.speed_rad_s[k] == pytest.approx(0.1 * arm / 0.075)
        assert wheels.steer_rad[k] == pytest.approx(math.atan2(mount.x_m, radius - mount.y_m))
    assert OSR_GEOMETRY.names == ("fl", "ml", "rl", "fr", "mr", "rr")
    assert OSR_GEOMETRY.steered == ("fl", "rl", "fr", "rr")
    assert OSR_GEOMETRY.speed_max_m_s == pytest.approx(0.2435, abs=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_reverse_is_bounded_like_forward(name):
    ahead = inverse(ALL[name], Twist2D(5.0, 0.0, 0.5))
    back = inverse(ALL[name], Twist2D(-5.0, 0.0, -0.5))
    assert np.abs(ahead.speed_rad_s).max() * ALL[name].wheel_radius_m == pytest.approx(ALL[name].speed_max_m_s)
    np.testing.assert_allclose(back.speed_rad_s, -ahead.speed_rad_s)
    np.testing.assert_allclose(back.steer_rad, ahead.steer_rad)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_fastest_wheel_in_a_curve_is_bounded_not_only_the_straight_line(sign):
    asked = Twist2D(sign * OSR_GEOMETRY.speed_max_m_s, 0.0, 0.4)
    allowed = bounded(OSR_GEOMETRY, asked)
    assert abs(allowed.vx_m_s) < OSR_GEOMETRY.speed_max_m_s
    assert allowed.omega_rad_s / allowed.vx_m_s == pytest.approx(asked.omega_rad_s / asked.vx_m_s)  # the same path


@pytest.mark.parametrize("speed", [0.1, -0.1])
@pytest.mark.parametrize("radius", [0.1, 0.45, 1.0, 6.3, 6.5, 20.0])
def test_right_turns_are_the_mirror_of_left_turns(speed, radius):
    coarse = Geometry(OSR_GEOMETRY.wheels, 0.075, 0.2435, 0.45, "ackermann", straight_radius_m=6.4)
    left = bounded(coarse, Twist2D(speed, 0.0, abs(speed) / radius))
    right = bounded(coarse, Twist2D(speed, 0.0, -abs(speed) / radius))
    assert right.omega_rad_s == -left.omega_rad_s
    assert right.vx_m_s == left.vx_m_s
    wanted = 0.0 if radius > 6.4 else abs(left.vx_m_s) / max(radius, 0.45)
    assert left.omega_rad_s == pytest.approx(wanted)
    one, other = inverse(coarse, Twist2D(speed, 0.0, 0.02)), inverse(coarse, Twist2D(speed, 0.0, -0.02))
    np.testing.assert_allclose(one.steer_rad, -other.steer_rad[[3, 4, 5, 0, 1, 2]])
    np.testing.assert_allclose(one.speed_rad_s, other.speed_rad_s[[3, 4, 5, 0, 1, 2]])


def test_standing_and_asked_to_turn():
    wheels = inverse(OSR_GEOMETRY, Twist2D(0.0, 0.0, 0.3))
    assert not wheels.speed_rad_s.any()
    assert wheels.steer_rad[0] == pytest.approx(math.atan2(0.267, 0.45 - 0.184))  # waits at its tightest turn
    assert inverse(OSR_GEOMETRY, Twist2D(0.0, 0.0, -0.3)).steer_rad[3] == pytest.approx(-wheels.steer_rad[0])
    stopped = inverse(OSR_GEOMETRY, STOP, wheels.steer_rad)
    np.testing.assert_allclose(stopped.steer_rad, wheels.steer_rad)  # a stop does not turn the wheels
    assert forward(POLAR_GEOMETRY, *_of(inverse(POLAR_GEOMETRY, Twist2D(0, 0, 0.1)))).twist.omega_rad_s > 0.099


def _of(wheels):
    return wheels.speed_rad_s, wheels.steer_rad


def test_crabbing_goes_sideways_and_takes_the_nearer_of_two_steers():
    left = inverse(POLAR_GEOMETRY, Twist2D(0.0, 0.1, 0.0))
    np.testing.assert_allclose(np.abs(left.steer_rad), math.pi / 2)
    kept = inverse(POLAR_GEOMETRY, Twist2D(-0.01, 0.1, 0.0), steer_now_rad=left.steer_rad)
    np.testing.assert_allclose(kept.steer_rad, math.atan2(0.1, -0.01))  # 95.7 deg: no swing to -84.3
    assert (kept.speed_rad_s > 0).all()
    narrow = Geometry(
        tuple(WheelMount(w.name, w.x_m, w.y_m, 0.5) for w in POLAR_GEOMETRY.wheels), 0.15, 0.2, 0.0, "crab"
    )
    some = bounded(narrow, Twist2D(0.1, 0.1, 0.0))
    assert math.atan2(some.vy_m_s, some.vx_m_s) == pytest.approx(0.5, abs=1e-6)
    assert some.vx_m_s == pytest.approx(0.1)


def test_forward_with_a_wheel_that_lies():
    wheels = inverse(OSR_GEOMETRY, Twist2D(0.1, 0.0, 0.05))
    speed = wheels.speed_rad_s.copy()
    speed[1] = 9.0
    doubtful = forward(OSR_GEOMETRY, speed, wheels.steer_rad)
    assert doubtful.residual_m_s > 0.1
    use = np.array([True, False, True, True, True, True])
    speed[1] = math.nan
    same(forward(OSR_GEOMETRY, speed, wheels.steer_rad, use=use).twist, Twist2D(0.1, 0.0, 0.05))
    with pytest.raises(KinematicsError, match="wheel ml is no finite number"):
        forward(OSR_GEOMETRY, speed, wheels.steer_rad)
    with pytest.raises(KinematicsError, match="no odometry"):
        forward(OSR_GEOMETRY, speed, wheels.steer_rad, use=np.arange(6) == 2)
    with pytest.raises(KinematicsError, match="6 wheels need 6"):
        forward(OSR_GEOMETRY, speed[:5], wheels.steer_rad)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_motion_that_is_no_number_never_reaches_a_wheel(bad, part):
    parts = [0.1, 0.0, 0.0]
    parts[part] = bad
    with pytest.raises(KinematicsError, match="is no motion"):
        inverse(POLAR_GEOMETRY, Twist2D(*parts))


def test_geometries_that_are_none():
    two = OSR_GEOMETRY.wheels[:2]
    for given_wheels, radius, speed, turn, text in (
        (two[:1], 0.1, 0.1, 0.4, "two wheels or more"),
        ((two[0], two[0]), 0.1, 0.1, 0.4, "own name"),
        (two, -0.1, 0.1, 0.4, "wheel_radius_m"),
        (two, 0.1, math.nan, 0.4, "speed_max_m_s"),
        (two, 0.1, 0.1, math.inf, "turn_radius_min_m"),
    ):
        with pytest.raises(KinematicsError, match=text):
            Geometry(given_wheels, radius, speed, turn, "ackermann")
    with pytest.raises(KinematicsError, match="straight_radius_m"):
        Geometry(two, 0.1, 0.1, 0.4, "ackermann", straight_radius_m=0.3)


# -- integration of the pose ------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    vx=st.floats(-0.3, 0.3),
    vy=st.floats(-0.3, 0.3),
    omega=st.floats(-1.0, 1.0),
    heading=st.floats(-3.1, 3.1),
    dt=st.floats(0.01, 20.0),
)
def test_a_long_step_equals_many_short_ones(vx, vy, omega, heading, dt):
    twist, start = Twist2D(vx, vy, omega), Pose2D(1.0, -2.0, heading)
    once = integrate(start, twist, dt)
    pose = start
    for _ in range(64):
        pose = integrate(pose, twist, dt / 64)
    assert (once.x_m, once.y_m) == pytest.approx((pose.x_m, pose.y_m), abs=1e-9)
    assert wrapped(once.heading_rad - pose.heading_rad) == pytest.approx(0.0, abs=1e-9)


def test_arc_by_hand_and_first_order_would_be_wrong():
    quarter = integrate(Pose2D(0, 0, 0), Twist2D(math.pi / 2, 0.0, math.pi / 2), 1.0)  # radius 1, a quarter turn
    assert (quarter.x_m, quarter.y_m, quarter.heading_rad) == pytest.approx((1.0, 1.0, math.pi / 2))
    back = integrate(quarter, Twist2D(-math.pi / 2, 0.0, -math.pi / 2), 1.0)
    assert (back.x_m, back.y_m, back.heading_rad) == pytest.approx((0, 0, 0), abs=1e-12)
    for turn in (1e-4, 2e-6, 1e-6, 0.99e-6, 1e-9, 0.0):  # no seam where the series takes over
        small = integrate(Pose2D(0, 0, 0), Twist2D(1.0, 0.0, turn), 1.0)
        assert small.x_m == pytest.approx(1 - turn * turn / 6, abs=1e-14)
        assert small.y_m == pytest.approx(turn / 2, abs=1e-12)


def test_headings_wrap():
    assert wrapped(math.pi) == wrapped(-math.pi) == pytest.approx(math.pi)
    assert wrapped(3 * math.pi / 2) == pytest.approx(-math.pi / 2)
    assert integrate(Pose2D(0, 0, 3.0), Twist2D(0, 0, 1.0), 1.0).heading_rad == pytest.approx(4.0 - math.tau)


# -- attitude ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["osr", "polar"])
def test_attitude_on_a_plane_is_the_planes(name):
    geometry = ALL[name]
    for along, across in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.15, -0.1), (-0.2, 0.2)):
        heights = np.array([2.0 + along * w.x_m + across * w.y_m for w in geometry.wheels])
        a = attitude(geometry, heights)
        assert a.pitch_rad == pytest.approx(-math.atan(along), abs=0.006)  # uphill is nose up: negative
        assert a.roll_rad == pytest.approx(math.atan(across * math.cos(math.atan(along))), abs=0.002)
        assert a.rocker_rad == pytest.approx((0, 0), abs=0.002)
        assert a.bogie_rad == pytest.approx((0, 0), abs=0.006)
        assert a.height_m == pytest.approx(2.0 + geometry.rocker.belly_height_m, abs=0.01)
    flat = attitude(geometry, np.zeros(len(geometry.wheels)))
    assert flat.clearance_m == pytest.approx(geometry.rocker.belly_height_m)


def test_one_wheel_on_a_stone():
    """The body takes a share of what a wheel climbs: that is what the suspension is for."""
    stone = attitude(OSR_GEOMETRY, np.array([0.1, 0, 0, 0, 0, 0]))  # front left
    assert stone.roll_rad > 0 and stone.pitch_rad < 0
    assert stone.rocker_rad[0] == pytest.approx(-stone.rocker_rad[1])
    assert stone.rocker_rad[0] < 0 < stone.rocker_rad[1]
    assert stone.bogie_rad[0] < -0.2 and abs(stone.bogie_rad[1]) < 0.05
    rigid = attitude(Geometry(OSR_GEOMETRY.wheels, 0.075, 0.24, 0.45, "ackermann"), np.array([0.1, 0, 0, 0, 0, 0]))
    assert abs(stone.pitch_rad) < abs(rigid.pitch_rad) < 0.2
    mirrored = attitude(OSR_GEOMETRY, np.array([0, 0, 0, 0.1, 0, 0]))
    assert mirrored.roll_rad == pytest.approx(-stone.roll_rad)
    assert mirrored.pitch_rad == pytest.approx(stone.pitch_rad)
    bump = np.array([[0.0, 0.0, 0.15], [0.5, 0.5, 9.0]])  # the second is beside the belly
    assert attitude(OSR_GEOMETRY, np.zeros(6), bump).clearance_m == pytest.approx(0.04, abs=1e-9)
    with pytest.raises(KinematicsError, match="6 wheels need as many finite heights"):
        attitude(OSR_GEOMETRY, np.array([0, 0, 0, 0, math.nan, 0]))


def test_tip_margin():
    """On flat ground the nearest edge of the wheels' polygon decides; tilting towards it takes away what it tilts."""
    high = 0.25
    assert tip_margin_rad(POLAR_GEOMETRY, 0.5, 0.0, 0.0) == pytest.approx(math.atan(0.40 / 0.5))
    nearest = tip_margin_rad(OSR_GEOMETRY, high, 0.0, 0.0)
    edge = np.array([0.2556 - 0.184, 0.267])  # from a corner to the middle wheel, as (dy, dx)
    distance = 0.2556 * edge[1] / math.hypot(*edge)
    assert nearest == pytest.approx(math.atan(distance / high))
    for tilt in (0.1, 0.3, 0.6):
        assert tip_margin_rad(POLAR_GEOMETRY, 0.5, tilt, 0.0) == pytest.approx(math.atan(0.8) - tilt)
        assert tip_margin_rad(POLAR_GEOMETRY, 0.5, -tilt, 0.0) == pytest.approx(math.atan(0.8) - tilt)
        assert tip_margin_rad(POLAR_GEOMETRY, 0.5, 0.0, tilt) == pytest.approx(
            min(math.atan(0.9) - tilt, math.atan2(0.8, math.cos(tilt)))
        )
    assert tip_margin_rad(POLAR_GEOMETRY, 0.5, 0.8, 0.0) < 0  # over
    towards_right = tip_margin_rad(POLAR_GEOMETRY, 0.5, 0.3, 0.0, mass_xy_m=(0.0, -0.1))  # left side up, mass right
    assert towards_right == pytest.approx(math.atan(0.3 / 0.5) - 0.3)
    assert math.isnan(tip_margin_rad(POLAR_GEOMETRY, 0.5, math.nan, 0.0))


def _brute_tips(geometry, height, roll, pitch):
    """Does the mass's plumb line leave the wheels' polygon? By rotating everything into the world."""
    rx = np.array([[1, 0, 0], [0, math.cos(roll), -math.sin(roll)], [0, math.sin(roll), math.cos(roll)]])
    ry = np.array([[math.cos(pitch), 0, math.sin(pitch)], [0, 1, 0], [-math.sin(pitch), 0, math.cos(pitch)]])
    turn = ry @ rx
    mass = (turn @ (0, 0, height))[:2]
    feet = np.array([(turn @ (w.x_m, w.y_m, 0))[:2] for w in geometry.wheels]) - mass
    angles = np.sort(np.arctan2(feet[:, 1], feet[:, 0]))
    return bool(np.diff(np.concatenate((angles, angles[:1] + math.tau))).max() > math.pi)


@settings(max_examples=200, deadline=None)
@given(roll=st.floats(-1.2, 1.2), pitch=st.floats(-1.2, 1.2), height=st.floats(0.1, 0.6))
def test_tip_margin_is_over_when_the_plumb_line_leaves_the_polygon(roll, pitch, height):
    margin = tip_margin_rad(OSR_GEOMETRY, height, roll, pitch)
    if abs(margin) > 1e-6:
        assert (margin < 0) == _brute_tips(OSR_GEOMETRY, height, roll, pitch)


@pytest.mark.parametrize("name", ALL)
def test_odometry_of_wheels_that_disagree_is_the_least_squares_fit(name):
    """Each wheel wants to roll along its direction and not across it; no twist does all of that."""
    geometry, rng = ALL[name], np.random.default_rng(5)
    count = len(geometry.wheels)
    x = np.array([wheel.x_m for wheel in geometry.wheels])
    y = np.array([wheel.y_m for wheel in geometry.wheels])
    for _ in range(50):
        speed, steer = rng.uniform(-2.0, 2.0, count), rng.uniform(-0.8, 0.8, count)
        use = rng.permutation(count) < rng.integers(2, count + 1)
        cosine, sine, zero = np.cos(steer), np.sin(steer), np.zeros(count)
        along = np.stack((cosine, sine, x * sine - y * cosine), axis=1)[use]
        across = np.stack((-sine, cosine, x * cosine + y * sine), axis=1)[use]
        if geometry.mode == "skid":
            rows, right = along[:, [0, 2]], (speed * geometry.wheel_radius_m)[use]
        else:
            rows = np.concatenate((along, across))
            right = np.concatenate(((speed * geometry.wheel_radius_m)[use], zero[use]))
        fit, *_ = np.linalg.lstsq(rows, right, rcond=None)
        wanted = (fit[0], 0.0, fit[1]) if geometry.mode == "skid" else tuple(fit)
        found = forward(geometry, speed, steer, use=use)
        twist = (found.twist.vx_m_s, found.twist.vy_m_s, found.twist.omega_rad_s)
        assert twist == pytest.approx(wanted, abs=1e-12)
        left = rows @ fit - right
        assert found.residual_m_s == pytest.approx(math.sqrt(float(left @ left) / int(use.sum())), abs=1e-12)
