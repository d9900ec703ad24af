"""Does everything that must stop a machine trip it, and nothing else?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.config import load_machine
from control.interlock import (
    BEAM_ARMED,
    BEAM_FAULT,
    BEAM_FIRING,
    BEAM_INTERLOCK_OK,
    BEAM_WATCHDOG,
    DRIVE_FAULT,
    HEATER_SENSOR_BREAK,
    axis_trips,
    trips,
)
from control.states import BEAM_MAY_BE_LIVE, RunState
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import LimitState, Quality, Reading

CONFIG = load_machine("bench")
NOW_S = 100.0
DEVICES = ("beam", "heater", "meter", "recoater", "piston")


def reading(name: str, value: float, *, age_s: float = 0.1, quality: Quality = Quality.GOOD) -> Reading:
    return Reading(name, value, "", NOW_S - age_s, quality, LimitState.NORMAL)


def well() -> dict[str, dict[str, Reading]]:
    """Readings of a machine at rest with which nothing is wrong."""
    values: dict[str, dict[str, float]] = {
        "beam": {"status": BEAM_INTERLOCK_OK, "emission_w": 0.0, "power_w": CONFIG.envelope.beam_power_w_max},
        "heater": {"bed_temp_c": 150.0, "status": 0.0},
        "meter": {"voltage_v": 230.0},
        "recoater": {"motion_status": 0b10, "position_mm": 0.0},
        "piston": {"motion_status": 0b10, "position_mm": 12.0},
    }
    return {device: {name: reading(name, value) for name, value in row.items()} for device, row in values.items()}


def with_value(device: str, signal: str, value: float, **how: object) -> dict[str, dict[str, Reading]]:
    readings = well()
    readings[device][signal] = reading(signal, value, **how)  # type: ignore[arg-type]
    return readings


def sentences(readings: dict, state: RunState = RunState.READY, since_s: float = 0.0) -> list[str]:
    return [str(trip) for trip in trips(CONFIG, readings, NOW_S, state, since_s)]


@pytest.mark.parametrize("state", [s for s in RunState if s is not RunState.EXPOSING])
def test_a_machine_that_is_well_does_not_trip(state: RunState) -> None:
    assert sentences(well(), state) == []


def test_a_firing_beam_is_well_while_exposing() -> None:
    readings = with_value("beam", "status", BEAM_INTERLOCK_OK | BEAM_ARMED | BEAM_FIRING)
    readings["beam"]["emission_w"] = reading("emission_w", CONFIG.envelope.beam_power_w_max)
    assert sentences(readings, RunState.EXPOSING) == []


# device, signal, value, state, words
TRIPS = [
    ("beam", "status", 0, RunState.READY, "interlock circuit is open"),
    ("beam", "status", BEAM_INTERLOCK_OK | BEAM_WATCHDOG, RunState.READY, "watchdog tripped"),
    ("beam", "status", BEAM_INTERLOCK_OK | BEAM_FAULT, RunState.SAFE, "reports a fault"),
    ("beam", "status", BEAM_INTERLOCK_OK | BEAM_FIRING, RunState.READY, "fires while the machine is ready"),
    ("beam", "status", BEAM_INTERLOCK_OK | BEAM_FIRING, RunState.ARMED, "fires while the machine is armed"),
    ("beam", "status", BEAM_INTERLOCK_OK | BEAM_FIRING, RunState.PAUSED, "fires while the machine is paused"),
    ("beam", "emission_w", 1.1, RunState.READY, "emits 1.1 W while the machine is ready"),
    ("beam", "emission_w", 204.1, RunState.EXPOSING, "over the machine's 200 W"),
    ("heater", "bed_temp_c", 400.1, RunState.READY, "over 400"),
    ("heater", "status", HEATER_SENSOR_BREAK, RunState.READY, "temperature sensor is broken"),
    ("recoater", "motion_status", DRIVE_FAULT, RunState.READY, "drive reports a fault"),
    ("piston", "motion_status", DRIVE_FAULT | 0b110, RunState.READY, "drive reports a fault"),
    ("recoater", "position_mm", 2.1, RunState.ARMED, "2.1 mm from its park position"),
    ("recoater", "position_mm", -2.1, RunState.EXPOSING, "2.1 mm from its park position"),
]


@pytest.mark.parametrize(("device", "signal", "value", "state", "words"), TRIPS)
def test_each_trip_is_one_sentence_of_its_device(
    device: str, signal: str, value: float, state: RunState, words: str
) -> None:
    (sentence,) = sentences(with_value(device, signal, value), state)
    assert sentence.startswith(f"{device}: ") and words in sentence


@pytest.mark.parametrize(
    ("device", "signal", "value", "state"),
    [
        ("beam", "emission_w", 1.0, RunState.READY),
        ("beam", "emission_w", 204.0, RunState.ARMED),
        ("heater", "bed_temp_c", 400.0, RunState.READY),
        ("recoater", "position_mm", 310.0, RunState.READY),
        ("recoater", "position_mm", 2.0, RunState.EXPOSING),
        ("piston", "position_mm", 100.0, RunState.EXPOSING),
    ],
)
def test_what_is_at_its_bound_or_allowed_in_this_state_does_not_trip(
    device: str, signal: str, value: float, state: RunState
) -> None:
    assert sentences(with_value(device, signal, value), state) == []


# ---- what is not known is not ok


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_never_answered_trips(device: str) -> None:
    readings = well()
    del readings[device]
    assert sentences(readings) == [f"{device}: has not answered yet"]
    readings[device] = {}
    assert sentences(readings) == [f"{device}: has not answered yet"]


@pytest.mark.parametrize("device", DEVICES)
def test_a_reading_that_is_too_old_trips(device: str) -> None:
    limit_s = getattr(CONFIG.devices, device).stale_after_s
    signal, newest = next(iter(well()[device].items()))
    assert sentences(with_value(device, signal, newest.value, age_s=limit_s)) == []
    (sentence,) = sentences(with_value(device, signal, newest.value, age_s=limit_s + 0.1))
    assert sentence == f"{device}: {signal} is {limit_s + 0.1:.1f} s old, over {limit_s:g} s"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BAD])
def test_a_reading_that_is_not_good_trips(device: str, quality: Quality) -> None:
    signal, newest = next(iter(well()[device].items()))
    assert f"{device}: {signal} is {quality.value}" in sentences(
        with_value(device, signal, newest.value, quality=quality)
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("device", DEVICES)
def test_a_value_that_is_no_number_trips_even_where_it_calls_itself_good(device: str, value: float) -> None:
    for signal in well()[device]:
        found = sentences(with_value(device, signal, value))
        assert any(sentence.startswith(f"{device}: ") for sentence in found), f"{device}.{signal} = {value}"


@pytest.mark.parametrize(("emission_w", "is_found"), [(0.0, False), (80.0, False), (86.0, False), (86.1, True)])
def test_a_head_that_emits_more_than_it_is_set_to_trips_while_it_may_fire(emission_w: float, is_found: bool) -> None:
    readings = with_value("beam", "power_w", 80.0)
    readings["beam"]["emission_w"] = reading("emission_w", emission_w)
    expected = ["beam: it emits 86.1 W and is set to 80.0 W: look at the head"] if is_found else []
    assert sentences(readings, RunState.EXPOSING) == expected


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("at_mm", [11.85, 11.95, 12.05, 12.15])
def test_an_axis_that_has_left_its_place_trips_while_the_beam_may_be_live(state: RunState, at_mm: float) -> None:
    found = axis_trips("piston", {"position_mm": reading("position_mm", at_mm)}, state, 12.0)
    is_away = abs(at_mm - 12.0) > 0.1
    assert bool(found) == (is_away and state in BEAM_MAY_BE_LIVE)
    assert all(trip.device == "piston" and "arrived at 12.000 mm" in trip.reason for trip in found)
    assert axis_trips("piston", {}, state, 12.0) == []


# ---- what was seen before the state was entered


@pytest.mark.parametrize(("signal", "value"), [("status", BEAM_INTERLOCK_OK | BEAM_FIRING), ("emission_w", 100.0)])
def test_what_the_beam_did_before_the_state_is_no_reproach_to_it(signal: str, value: float) -> None:
    readings = with_value("beam", signal, value, age_s=0.5)
    assert sentences(readings, RunState.READY, since_s=NOW_S - 0.4) == []
    assert len(sentences(readings, RunState.READY, since_s=NOW_S - 0.6)) == 1


@pytest.mark.parametrize("status", [0, BEAM_INTERLOCK_OK | BEAM_WATCHDOG, BEAM_INTERLOCK_OK | BEAM_FAULT])
def test_an_open_interlock_a_watchdog_or_a_fault_trips_however_new_the_state_is(status: int) -> None:
    assert sentences(with_value("beam", "status", status, age_s=0.5), RunState.READY, since_s=NOW_S)


# ---- every status word, every state


@given(status=st.integers(0, 0xFFFF), state=st.sampled_from(RunState), emission_w=st.floats(0.0, 400.0))
def test_the_beam_trips_exactly_when_a_bit_or_its_emission_says_so(
    status: int, state: RunState, emission_w: float
) -> None:
    readings = with_value("beam", "status", status)
    readings["beam"]["emission_w"] = reading("emission_w", emission_w)
    wrong = (
        not status & BEAM_INTERLOCK_OK
        or status & (BEAM_WATCHDOG | BEAM_FAULT)
        or (status & BEAM_FIRING and state is not RunState.EXPOSING)
        or (emission_w > 1.0 and state not in BEAM_MAY_BE_LIVE)
        or emission_w > 204.0
    )
    assert bool(sentences(readings, state)) == bool(wrong)


@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=10, max_size=10),
    qualities=st.lists(st.sampled_from(Quality), min_size=10, max_size=10),
    ages_s=st.lists(st.floats(0.0, 20.0), min_size=10, max_size=10),
    state=st.sampled_from(RunState),
)
def test_whatever_devices_say_gives_sentences_and_what_is_not_good_always_trips(
    values: list[float], qualities: list[Quality], ages_s: list[float], state: RunState
) -> None:
    readings = well()
    rows = iter(zip(values, qualities, ages_s))
    for signals in readings.values():
        for name in signals:
            value, quality, age_s = next(rows)
            signals[name] = reading(name, value, age_s=age_s, quality=quality)
    found = sentences(readings, state)
    assert all(sentence.partition(": ")[2] for sentence in found)
    for device, signals in readings.items():
        limit_s = getattr(CONFIG.devices, device).stale_after_s
        if any(
            r.quality is not Quality.GOOD or NOW_S - r.time_s > limit_s or not math.isfinite(r.value)
            for r in signals.values()
        ):
            assert any(sentence.startswith(f"{device}: ") for sentence in found)


# ---- what the interlocks read, the maps tell


def test_the_bits_are_those_of_the_maps() -> None:
    beam, heater, drive = (load_map(getattr(CONFIG.devices, name).map) for name in ("beam", "heater", "recoater"))
    bits = beam.signal("status").bits
    mine = {"interlock": BEAM_INTERLOCK_OK, "armed": BEAM_ARMED, "firing": BEAM_FIRING, "fault": BEAM_FAULT}
    for word, mask in {**mine, "watchdog": BEAM_WATCHDOG}.items():
        (bit,) = [number for name, number in bits.items() if word in name]
        assert mask == 1 << bit, f"beam {word}"
    assert 1 << heater.signal("status").bits["sensor_break"] == HEATER_SENSOR_BREAK
    assert 1 << drive.signal("motion_status").bits["fault"] == DRIVE_FAULT


def test_each_signal_that_an_interlock_reads_is_polled() -> None:
    """`position_mm` is made of `position_pulses` by the drive."""
    read = {
        "beam": {"status", "emission_w"},
        "heater": {"bed_temp_c", "status"},
        "recoater": {"motion_status", "position_pulses"},
        "piston": {"motion_status"},
    }
    for device, names in read.items():
        table = load_map(getattr(CONFIG.devices, device).map)
        assert names <= {signal.name for signal in table.polled}, device
