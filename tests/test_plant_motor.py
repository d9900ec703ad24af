"""Does the plant's motor ramp, slip and coast as a motor does, and turn as often as its speed says?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.world.plant.motor import InductionMotor


def test_a_ramp_has_its_rates_and_its_time() -> None:
    motor = InductionMotor(load=0.0)
    assert motor.ramp(1.0, 50.0, 10.0, 5.0) == 6.0
    assert motor.frequency_hz(3.0) == pytest.approx(20.0) and motor.ramping(3.0)
    assert motor.speed_rpm(10.0) == pytest.approx(1500.0) and not motor.ramping(10.0)
    assert motor.ramp(10.0, -20.0, 10.0, 5.0) == 22.0  # 10 s down to 0, 2 s up to 20
    assert motor.frequency_hz(20.0) == pytest.approx(0.0) and motor.frequency_hz(21.0) == pytest.approx(-10.0)


def test_load_makes_slip_and_current() -> None:
    motor = InductionMotor(load=1.0)
    assert motor.current_a(0.0) == 0.0
    motor.ramp(0.0, 50.0, 10.0, 10.0)
    assert motor.speed_rpm(9.0) == pytest.approx(1500.0 * 0.94) and motor.current_a(9.0) == pytest.approx(4.2)
    motor.set_load(9.0, 0.0)
    assert motor.speed_rpm(9.0) == pytest.approx(1500.0) and motor.current_a(9.0) == pytest.approx(2.1)
    motor.set_load(9.0, 3.0)
    assert motor.speed_rpm(9.0) == 0.0 and motor.current_a(9.0) > 10.0


def test_a_motor_that_is_let_go_coasts() -> None:
    motor = InductionMotor(load=0.0)
    motor.ramp(0.0, 50.0, 10.0, 10.0)
    motor.release(10.0)
    assert motor.current_a(10.0) == 0.0 and motor.frequency_hz(11.0) == 0.0
    assert motor.speed_rpm(11.5) == pytest.approx(1500.0 / math.e)
    motor.ramp(11.5, 50.0, 10.0, 10.0)  # caught where it turns
    assert motor.frequency_hz(11.5) == pytest.approx(50.0 / math.e)
    with pytest.raises(ValueError, match="cannot go back"):
        motor.release(1.0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 4.0), st.sampled_from(["ramp", "release", "load"]), st.floats(-60.0, 60.0)),
        min_size=1,
        max_size=6,
    )
)
def test_it_turns_as_often_as_its_speed_adds_up_to(script: list[tuple[float, str, float]]) -> None:
    motor, t_s, summed, step_s = InductionMotor(), 0.0, 0.0, 1e-3
    for wait_s, action, value in script:
        if action == "ramp":
            motor.ramp(t_s, value, 20.0, 30.0)
        elif action == "release":
            motor.release(t_s)
        else:
            motor.set_load(t_s, abs(value) / 40.0)
        for index in range(round(wait_s / step_s)):
            summed += motor.speed_rpm(t_s + (index + 0.5) * step_s) / 60.0 * step_s
        t_s += round(wait_s / step_s) * step_s
    assert motor.revolutions(t_s) == pytest.approx(summed, abs=0.05)
