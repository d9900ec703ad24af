"""Does the band hold every bed that is as the machine file says, give or take, and no other for long?"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.config import HeaterModelConfig, load_machine
from control.heater_model import MARGIN_C, Band, next_band
from control.heater_watch import GAP_S, HeaterMemory, judged
from firmware_bridge.signals import LimitState, Quality, Reading
from hil_sim.world.plant.heater import HeaterPlate, PlateConfig

MODEL = HeaterModelConfig(power_w=800.0, plate_j_k=3000.0, loss_w_k=2.0, ambient_c=20.0, uncertainty=0.2)
SHARES = st.floats(0.81, 1.19)
HEATING = st.lists(st.tuples(st.floats(0.5, 600.0), st.floats(0.0, 1.0)), min_size=1, max_size=12)


@given(HEATING, SHARES, SHARES, SHARES, st.floats(20.0, 300.0), st.floats(0.0, 200.0))
def test_the_band_holds_every_plate_within_the_uncertainty(
    heating: list[tuple[float, float]], power: float, heat: float, loss: float, start_c: float, beam_w: float
) -> None:
    config = PlateConfig(3000.0 * heat, 2.0 * loss, 0.0, 20.0, 800.0 * power + 200.0)
    plate, now_s, band = HeaterPlate(config, temp_c=start_c), 0.0, Band(start_c, start_c)
    for span_s, share in heating:
        plate.set_power(now_s, share * 800.0 * power + beam_w)
        now_s += span_s
        band = next_band(band, MODEL, share * 800.0, beam_w, span_s)
        if beam_w == 0.0:
            assert band.low_c - 1e-6 <= plate.temp_c(now_s) <= band.high_c + 1e-6
        assert band.holds(plate.temp_c(now_s)) or plate.temp_c(now_s) < band.high_c + 1e-6


@given(HEATING, st.floats(20.0, 300.0))
def test_the_band_is_the_same_however_its_time_is_cut(heating: list[tuple[float, float]], start_c: float) -> None:
    whole = parts = Band(start_c, start_c)
    for span_s, share in heating:
        whole = next_band(whole, MODEL, share * 800.0, 0.0, span_s)
        for _ in range(7):
            parts = next_band(parts, MODEL, share * 800.0, 0.0, span_s / 7)
    assert parts.low_c == pytest.approx(whole.low_c, abs=0.5) and parts.high_c == pytest.approx(whole.high_c, abs=0.5)


def test_a_heater_that_is_on_unasked_leaves_the_band_within_a_minute_or_two() -> None:
    plate, band, now_s = HeaterPlate(PlateConfig(), temp_c=24.0), Band(24.0, 24.0), 0.0
    plate.set_power(0.0, 800.0)
    while band.holds(plate.temp_c(now_s)):
        now_s += 0.5
        band = next_band(band, MODEL, 0.0, 0.0, 0.5)
        assert now_s < 120.0
    assert plate.temp_c(now_s) < 24.0 + MARGIN_C + 2.0


def reading(name: str, value: float, time_s: float) -> Reading:
    return Reading(name, value, "", time_s, Quality.GOOD, LimitState.NORMAL)


def poll(time_s: float, temp_c: float, output: float) -> dict[str, Reading]:
    return {"bed_temp_c": reading("bed_temp_c", temp_c, time_s), "output_percent": reading("output", output, time_s)}


def test_a_reading_outside_the_band_trips_and_a_silence_begins_it_anew() -> None:
    config = load_machine("bench").devices.heater
    assert config.model is not None
    memory = HeaterMemory()
    for number in range(200):  # 100 s at full power, and the bed reads as if nothing were given
        memory, found = judged(memory, config, poll(number * 0.5, 20.0, 100.0), None)
        if found:
            break
    assert "by what its heater gave it has" in str(found[0]) and number * 0.5 < 100.0
    again, found = judged(memory, config, poll(number * 0.5 + GAP_S + 1.0, 20.0, 100.0), None)
    assert found == [] and again.band == Band(20.0, 20.0)


def test_without_a_model_there_is_no_band() -> None:
    memory = HeaterMemory()
    config = msgspec.structs.replace(load_machine("bench").devices.heater, model=None)
    for number in range(600):
        memory, found = judged(memory, config, poll(number * 0.5, 20.0, 100.0), None)
        assert found == [] and memory.band is None
