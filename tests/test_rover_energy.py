"""Does a plan count the battery's energy as its rover spends it?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from control.rover.config import energy_of, load_rover
from control.rover.energy import EnergyModel, forecast

MODEL = EnergyModel()


def test_a_metre_costs_its_energy_over_what_slip_leaves_of_it() -> None:
    assert MODEL.drive_w(0.1, 0.0) == pytest.approx(90.0 * 0.1 / 0.8)
    assert MODEL.drive_w(0.1, 10.0) == pytest.approx(135.0 * 0.1 / (1 - 0.55))


def test_downhill_costs_less_but_never_nothing() -> None:
    assert MODEL.drive_w(0.1, -5.0) < MODEL.drive_w(0.1, 0.0)
    assert MODEL.drive_w(0.1, -40.0) == pytest.approx(0.3 * 90.0 * 0.1)


def test_a_way_sums_motors_and_hotel() -> None:
    seconds, wh = MODEL.way(np.array([10.0, 20.0]), np.zeros(2), np.array([0.1, 0.2]))
    assert seconds == pytest.approx(200.0)
    assert wh == pytest.approx((30.0 * 90.0 / 0.8 + 200.0 * 8.0) / 3600.0)


def test_charge_falls_by_the_load_and_rises_by_the_sun_up_to_full() -> None:
    charge = forecast(MODEL, 3600.0, np.array([0.0, 1.0, 1.0, 1.0, 1.0]), np.full(5, 8.0), 0.5)
    assert charge[1] == pytest.approx(0.5 - 8.0 / 160.0)
    assert charge[2] == pytest.approx(charge[1] + 0.95 * 32.0 / 160.0) and charge[-1] == 1.0


def test_a_battery_that_would_run_out_shows_how_far_under_it_gets() -> None:
    assert forecast(MODEL, 3600.0, np.zeros(30), 8.0, 0.5)[-1] == pytest.approx(0.5 - 30 * 8.0 / 160.0)


@pytest.mark.parametrize("wrong", [{"hotel_w": math.nan}, {"slip_flat": 1.5}, {"capacity_wh": 0.0}, {"sleep_w": -1.0}])
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        EnergyModel(**wrong)


@pytest.mark.parametrize("name", ["osr", "polar"])
def test_the_shipped_rovers_say_what_they_take(name: str) -> None:
    config = load_rover(name)
    model = energy_of(config)
    assert model.capacity_wh == config.energy.capacity_wh and model.drive_j_m == config.energy.drive_j_m
