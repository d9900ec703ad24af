"""Do the heated plate and the supply keep their energy accounts, whoever asks and whenever?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.world.plant.heater import HeaterPlate, PlateConfig
from hil_sim.world.plant.power import Meter

SPANS = st.lists(
    st.tuples(st.floats(0.0, 5000.0), st.floats(0.0, 800.0), st.floats(-50.0, 300.0)), min_size=1, max_size=12
)


def test_the_plate_tends_to_power_over_conductance() -> None:
    plate = HeaterPlate(PlateConfig(heat_capacity_j_k=1000.0, loss_w_k=1.5, bed_w_k=0.5, ambient_temp_c=20.0))
    plate.set_power(0.0, 200.0)
    assert plate.temp_c(0.0) == 20.0
    assert plate.temp_c(500.0) == pytest.approx(20.0 + 100.0 * (1 - 2.718281828459045**-1))  # tau = 1000 / 2 s
    assert plate.temp_c(1e6) == pytest.approx(120.0)


@given(SPANS)
def test_the_energy_account_closes(spans: list[tuple[float, float, float]]) -> None:
    plate = HeaterPlate()
    t_s = 0.0
    for span_s, watts, bed_c in spans:
        plate.set_power(t_s, watts)
        plate.set_bed_temp(t_s, bed_c)
        t_s += span_s
        plate.advance_to(t_s)
    stored_j = plate.config.heat_capacity_j_k * (plate.temp_c(t_s) - 20.0)
    moved_j = plate.drawn_j + abs(plate.lost_j) + abs(plate.to_bed_j) + abs(stored_j) + 1.0
    assert abs(plate.drawn_j - plate.lost_j - plate.to_bed_j - stored_j) < 1e-9 * moved_j


@given(SPANS, st.integers(1, 9))
def test_asking_in_between_changes_nothing(spans: list[tuple[float, float, float]], asks: int) -> None:
    seldom, often = HeaterPlate(), HeaterPlate()
    t_s = 0.0
    for span_s, watts, _ in spans:
        for plate in (seldom, often):
            plate.set_power(t_s, watts)
        for k in range(asks):
            often.advance_to(t_s + span_s * k / asks)
        t_s += span_s
    assert often.temp_c(t_s) == pytest.approx(seldom.temp_c(t_s), rel=1e-9, abs=1e-9)


def test_what_a_plate_refuses() -> None:
    plate = HeaterPlate()
    plate.advance_to(10.0)
    with pytest.raises(ValueError, match="cannot go back"):
        plate.advance_to(9.0)
    for watts in (-1.0, 900.0, float("nan")):
        with pytest.raises(ValueError, match="heater gives"):
            plate.set_power(10.0, watts)


def test_the_meter_integrates_between_changes() -> None:
    meter = Meter()
    meter.set_load("heater", 0.0, 3600.0)
    meter.set_load("beam", 5.0, 0.0)
    meter.set_load("beam", 7.0, 100.0)
    meter.set_load("heater", 2.0, 0.0)  # a lazy part reports late: only its own order counts
    assert meter.energy_wh(10.0) == pytest.approx(2.0 + 300.0 / 3600.0)
    assert meter.energy_wh(10.0, "heater") == pytest.approx(2.0)
    assert meter.power_w(10.0) == 100.0


def test_the_meter_lets_lazy_parts_report_first() -> None:
    meter = Meter()
    meter.set_load("heater", 0.0, 1.0)
    meter.settle_before_read(lambda t_s: meter.set_load("heater", t_s, 2.0))
    assert meter.power_w(5.0) == 2.0


def test_what_a_meter_refuses() -> None:
    meter = Meter()
    meter.set_load("beam", 5.0, 1.0)
    with pytest.raises(ValueError, match="earlier"):
        meter.set_load("beam", 4.0, 1.0)
    for watts in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="cannot draw"):
            meter.set_load("beam", 6.0, watts)
