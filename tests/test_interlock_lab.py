"""Does everything of conveyor, supply and pyranometer that must stop a machine trip it, and nothing else?"""

from __future__ import annotations

import pytest

from control.config import load_machine
from control.interlock import trips
from control.lab import SUN_BACK_SHARE, lacks_light
from control.states import BEAM_MAY_BE_LIVE, RunState
from firmware_bridge.signals import LimitState, Quality, Reading

CONFIG = load_machine("bench_lab")
NOW_S = 100.0
WELL = {
    "beam": {"status": 1.0, "emission_w": 0.0},
    "heater": {"bed_temp_c": 150.0},
    "meter": {"voltage_v": 230.0},
    "recoater": {"position_mm": 0.0},
    "piston": {"position_mm": 12.0},
    "conveyor": {"fault_code": 0.0, "run_state": 0.0},
    "supply": {"output": 0.0, "protection": 0.0, "constant_current": 0.0, "output_a": 0.0},
    "pyranometer": {"irradiance_w_m2": 800.0},
}
LIVE = {"output": 1.0, "output_a": 1.2}


def reading(name: str, value: float, age_s: float = 0.1, quality: Quality = Quality.GOOD) -> Reading:
    return Reading(name, value, "", NOW_S - age_s, quality, LimitState.NORMAL)


def sentences(
    device: str,
    values: dict[str, float],
    state: RunState,
    *,
    since_s: float = 0.0,
    firing_since_s: float | None = None,
    age_s: float = 0.1,
    quality: Quality = Quality.GOOD,
) -> list[str]:
    """What trips when this device shows these values and all others are well."""
    rows = {name: {key: reading(key, value) for key, value in row.items()} for name, row in WELL.items()}
    shown = WELL[device] | values
    rows[device] = {key: reading(key, value, age_s, quality) for key, value in shown.items()}
    if firing_since_s is not None:
        rows["beam"]["status"] = reading("status", 7.0)
    return [str(trip) for trip in trips(CONFIG, rows, NOW_S, state, since_s, firing_since_s)]


@pytest.mark.parametrize("state", RunState)
def test_a_machine_that_is_well_does_not_trip(state: RunState) -> None:
    assert sentences("supply", {}, state) == []


@pytest.mark.parametrize("state", RunState)
def test_a_drive_in_fault_trips_everywhere(state: RunState) -> None:
    assert sentences("conveyor", {"fault_code": 21.0}, state) == [
        "conveyor: its drive reports fault 21: look it up in its manual, free the screw"
    ]


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize(("run_state", "name"), [(3.0, "running"), (2.0, "standby"), (1.0, "stopping")])
def test_a_screw_may_turn_only_where_nothing_is_armed(state: RunState, run_state: float, name: str) -> None:
    trips_here = state in BEAM_MAY_BE_LIVE and name != "standby"
    assert bool(sentences("conveyor", {"run_state": run_state}, state)) == trips_here
    assert not sentences("conveyor", {"run_state": run_state}, state, since_s=NOW_S), "seen before it entered the state"


@pytest.mark.parametrize("state", RunState)
def test_an_output_may_be_on_only_where_the_beam_is_armed(state: RunState) -> None:
    assert bool(sentences("supply", LIVE, state)) == (state not in BEAM_MAY_BE_LIVE)
    assert not sentences("supply", LIVE, state, since_s=NOW_S), "seen before it entered the state"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"output": 0.0, "output_a": 0.0}, "went off without being told"),
        ({"output_a": 0.499}, r"takes 0.499 A, under 0.5 A"),
        ({"output_a": 2.0, "constant_current": 1.0}, "all of the 2 A"),
        ({"output": 0.0, "protection": 2.0}, "protection has struck (over-current)"),
        ({"output": 0.0, "protection": 1.0}, "protection has struck (over-voltage)"),
        ({"output": 0.0, "protection": 9.0}, "protection has struck (number 9)"),
    ],
)
def test_a_load_that_does_not_draw_what_it_should_trips_while_the_beam_fires(
    values: dict[str, float], words: str
) -> None:
    state = RunState.EXPOSING
    found = sentences("supply", LIVE | values, state, firing_since_s=NOW_S - 1.0)
    assert len(found) == 1 and words in found[0], found
    struck = "protection" in words
    assert bool(sentences("supply", LIVE | values, state, firing_since_s=NOW_S)) == struck, "read before it fired"
    assert not sentences("supply", LIVE, state, firing_since_s=NOW_S - 1.0)


@pytest.mark.parametrize("device", ["conveyor", "supply", "pyranometer"])
def test_each_that_falls_silent_or_says_nonsense_trips(device: str) -> None:
    limit_s = CONFIG.every_device()[device].stale_after_s
    assert not sentences(device, {}, RunState.READY, age_s=limit_s - 0.1)
    assert f"s old, over {limit_s:g} s" in sentences(device, {}, RunState.READY, age_s=limit_s + 0.1)[0]
    assert "is bad" in sentences(device, {}, RunState.READY, quality=Quality.BAD)[0]
    name = next(iter(WELL[device]))
    assert "is no number" in sentences(device, {name: float("nan")}, RunState.READY)[0]


@pytest.mark.parametrize(
    ("irradiance", "is_waiting", "lacks"),
    [
        (600.0, False, False), (599.9, False, True), (600.0, True, True), (600.0 * SUN_BACK_SHARE, True, False),
        (0.0, False, True), (-3.0, True, True),
    ],
)  # fmt: skip
def test_light_that_had_gone_must_come_back_by_a_little_more(irradiance: float, is_waiting: bool, lacks: bool) -> None:
    shown = {"irradiance_w_m2": reading("irradiance_w_m2", irradiance)}
    assert bool(lacks_light(CONFIG.devices.pyranometer, shown, is_waiting=is_waiting)) == lacks


def test_a_light_that_is_not_known_is_not_enough_where_a_floor_is_set_and_nobodys_concern_where_none_is() -> None:
    bad = {"irradiance_w_m2": reading("irradiance_w_m2", 900.0, quality=Quality.BAD)}
    for shown in (None, {}, bad):
        assert "does not tell" in lacks_light(CONFIG.devices.pyranometer, shown, is_waiting=False)
        assert lacks_light(None, shown, is_waiting=False) == ""
