"""Do gyro and gravity together tell how the rover stands?"""

from __future__ import annotations

import math

import pytest

from control.rover.drive.inclination import Inclination


def force(roll: float, pitch: float, g: float = 1.62) -> tuple[float, float, float]:
    """Specific force of a rover at rest: yaw, then pitch (nose down), then roll (left up)."""
    return (-g * math.sin(pitch), g * math.sin(roll) * math.cos(pitch), g * math.cos(roll) * math.cos(pitch))


@pytest.mark.parametrize(("roll", "pitch"), [(0.0, 0.0), (0.3, 0.0), (-0.2, 0.25), (0.1, -0.4)])
def test_at_rest_gravity_says_it_at_once(roll: float, pitch: float) -> None:
    tilt = Inclination()
    tilt.step(0.0, (0.0, 0.0, 0.0), force(roll, pitch))
    assert (tilt.roll_rad, tilt.pitch_rad) == pytest.approx((roll, pitch), abs=1e-12)


def test_a_shaken_accelerometer_is_smoothed_and_a_turn_followed() -> None:
    tilt = Inclination()
    tilt.step(0.0, (0.0, 0.0, 0.0), force(0.0, 0.0))
    for n in range(1, 11):  # tilts by 0.1 rad in one second, with a force that is wrong by a fifth of g
        fx, fy, fz = force(0.01 * n, 0.0)
        tilt.step(0.1 * n, (0.1, 0.0, 0.0), (fx, fy + (0.3 if n % 2 else -0.3), fz))
    assert tilt.roll_rad == pytest.approx(0.1, abs=0.02)
    assert tilt.rate_rad_s == pytest.approx(0.1)


def test_a_biased_gyro_is_pulled_straight() -> None:
    tilt = Inclination()
    for n in range(600):
        tilt.step(0.1 * n, (0.005, -0.005, 0.0), force(0.2, 0.1))
    assert (tilt.roll_rad, tilt.pitch_rad) == pytest.approx((0.2, 0.1), abs=0.011)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_changes_nothing(bad: float) -> None:
    tilt = Inclination()
    tilt.step(0.0, (0.0, 0.0, 0.0), force(0.2, 0.0))
    tilt.step(0.1, (bad, 0.0, 0.0), force(0.2, 0.0))
    tilt.step(0.2, (0.0, 0.0, 0.0), (bad, 0.0, 1.62))
    tilt.step(-1.0, (0.0, 0.0, 0.0), force(0.9, 0.0))
    assert tilt.roll_rad == pytest.approx(0.2)


def test_before_the_first_sample_nothing_is_known() -> None:
    assert math.isnan(Inclination().roll_rad)
