"""Is the energy that the battery gives, takes and loses all accounted for?"""

from __future__ import annotations

import pytest

from hil_sim.world.plant.battery import Battery, BatteryConfig


def test_what_is_drawn_is_missing_and_nothing_else() -> None:
    lossless = BatteryConfig(resistance_ohm=0.0)
    battery = Battery(lossless, lambda t_s: 20.0 * t_s)
    for hour in range(1, 5):
        battery.settle(3600.0 * hour)
    assert battery.soc(4 * 3600.0) == pytest.approx(0.9 - 80.0 / 160.0)
    assert battery.taken_j == pytest.approx(80.0 * 3600.0)


def test_the_inner_resistance_takes_its_part_and_warms_the_cells() -> None:
    battery = Battery(BatteryConfig(), lambda t_s: 100.0 * t_s)
    for minute in range(1, 31):
        battery.settle(60.0 * minute)
    assert 50.0 < 144.0 - battery.charge_wh < 56.0
    assert battery.battery_temp_c(1800.0) > 10.5
    assert battery.battery_v(1800.0) < 4 * 3.95


def test_the_sun_fills_it_up_and_no_further() -> None:
    battery = Battery(BatteryConfig(charge0=0.5), lambda t_s: 5.0 * t_s, sun_w=lambda t_s: 45.0)
    for minute in range(1, 61):
        battery.settle(60.0 * minute)
    assert battery.soc(3600.0) == pytest.approx(0.5 + 40.0 * 0.97 / 160.0, rel=1e-6)
    assert battery.battery_a(3660.0) < 0
    for hour in range(2, 12):
        battery.settle(3600.0 * hour)
    assert battery.soc(12 * 3600.0) == 1.0


def test_a_cold_battery_holds_less_and_the_heater_helps() -> None:
    cold = Battery(BatteryConfig(ambient_c=-60.0), lambda t_s: 0.0)
    cold.settle(40_000.0)
    assert cold.battery_temp_c(40_000.0) == pytest.approx(-60.0, abs=2.0)
    assert cold.capacity_wh(40_000.0) == pytest.approx(80.0)
    cold.set_heater_w(40_000.0, 9.0)
    cold.settle(100_000.0)
    assert cold.battery_temp_c(100_000.0) == pytest.approx(0.0, abs=1.0)


def test_without_its_load_only_the_heater_draws() -> None:
    battery = Battery(BatteryConfig(resistance_ohm=0.0), lambda t_s: 50.0 * t_s)
    battery.set_load(0.0, False)
    battery.settle(3600.0)
    assert battery.soc(3600.0) == pytest.approx(0.9)
    battery.set_load(3600.0, True)
    battery.settle(7200.0)
    assert battery.soc(7200.0) == pytest.approx(0.9 - 50.0 / 160.0)
