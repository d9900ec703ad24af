"""Does the heater's watch find what no bed does, and leave one alone that warms, holds and cools as beds do?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.config import load_machine
from control.heater_watch import LEAP_C, HeaterMemory, judged
from firmware_bridge.signals import LimitState, Quality, Reading

CONFIG = msgspec.structs.replace(load_machine("bench").devices.heater, model=None)  # its own tests are elsewhere
PERIOD_S = 0.5
Poll = tuple[float, float, float]  # temperature, working set-point, output


def poll(time_s: float, temp_c: float, set_c: float, output: float, quality: Quality = Quality.GOOD) -> dict:
    values = {"bed_temp_c": temp_c, "working_setpoint_c": set_c, "output_percent": output}
    return {
        name: Reading(name, value, "", time_s, quality if name == "bed_temp_c" else Quality.GOOD, LimitState.NORMAL)
        for name, value in values.items()
    }


def watched(polls: Iterable[Poll], target_c: float | None) -> tuple[float | None, str]:
    """When the first trip came, s after the first poll, and its sentences."""
    memory = HeaterMemory()
    for number, values in enumerate(polls):
        memory, found = judged(memory, CONFIG, poll(100.0 + number * PERIOD_S, *values), target_c)
        if found:
            return number * PERIOD_S, "; ".join(map(str, found))
    return None, ""


def warming(rate_c_s: float, target_c: float, seconds: float, output: float = 100.0) -> list[Poll]:
    return [(round(20.0 + rate_c_s * n * PERIOD_S, 1), target_c, output) for n in range(int(seconds / PERIOD_S))]


def test_a_bed_that_warms_as_slowly_as_it_may_is_left_alone() -> None:
    slow = 1.2 / CONFIG.no_rise_s_max
    assert watched(warming(slow, 150.0, 3600.0), 150.0) == (None, "")


def test_a_bed_that_is_heated_and_stays_cold_trips_within_the_limit() -> None:
    at_s, words = watched(warming(0.0, 150.0, 3600.0), 150.0)
    assert at_s == pytest.approx(CONFIG.no_rise_s_max, abs=1.5) and "the bed stays at 20.0 degC" in words


def test_one_that_stops_warming_half_way_trips_as_soon() -> None:
    half_way = warming(0.25, 150.0, 200.0)
    at_s, _ = watched([*half_way, *[(half_way[-1][0], 150.0, 100.0)] * 4000], 150.0)
    assert at_s is not None and 200.0 + CONFIG.no_rise_s_max - 5.0 <= at_s <= 200.0 + CONFIG.no_rise_s_max + 2.0


def test_holding_a_hot_bed_with_full_power_is_no_reproach() -> None:
    assert watched([(380.0, 380.0, 95.0)] * 8000, 380.0) == (None, "")


@pytest.mark.parametrize("leap_c", [5.0, -5.0, 900.0, -60.0])
def test_a_leap_is_found_at_once_with_or_without_a_target(leap_c: float) -> None:
    polls = [(100.0, 100.0, 10.0)] * 10 + [(100.0 + leap_c, 100.0, 10.0)]
    for target_c in (100.0, None):
        at_s, words = watched(polls, target_c)
        assert at_s == 10 * PERIOD_S and "which no bed does" in words


def test_what_moved_while_nobody_could_ask_is_no_leap() -> None:
    memory, _ = judged(HeaterMemory(), CONFIG, poll(0.0, 300.0, 300.0, 0.0), None)
    _, found = judged(memory, CONFIG, poll(60.0, 200.0, 300.0, 0.0), None)
    assert found == []


def test_a_forgotten_set_point_trips_and_a_short_doubt_does_not() -> None:
    told, forgot = (150.0, 150.0, 20.0), (150.0, 20.0, 0.0)
    assert watched([told] * 10 + [forgot] * 9 + [told] * 10 + [forgot] * 9 + [told], 150.0) == (None, "")
    at_s, words = watched([told] * 10 + [forgot] * 60, 150.0)
    assert at_s is not None and 10 * PERIOD_S + 5.0 < at_s <= 10 * PERIOD_S + 6.0
    assert "it heats to 20.0 degC and was told 150.0" in words
    assert watched([forgot] * 600, None) == (None, ""), "nobody has told it anything"


def test_a_bed_that_was_warm_and_cools_away_trips() -> None:
    cooling = [(max(150.0 - 0.2 * n * PERIOD_S, 120.0), 150.0, 30.0) for n in range(3000)]
    at_s, words = watched(cooling, 150.0)
    out_s = 2 * CONFIG.tolerance_c / 0.2
    assert at_s is not None and out_s + CONFIG.no_rise_s_max <= at_s <= out_s + CONFIG.no_rise_s_max + 2.0
    assert "was warm and has fallen" in words


def test_one_that_is_still_on_its_way_to_another_target_was_never_warm_for_it() -> None:
    assert watched([(100.0, 300.0, 40.0)] * 3000, 300.0) == (None, "")


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
def test_what_is_not_good_is_not_remembered(quality: Quality) -> None:
    memory, _ = judged(HeaterMemory(), CONFIG, poll(0.0, 100.0, 100.0, 0.0), 100.0)
    same, found = judged(memory, CONFIG, poll(0.5, 900.0, 100.0, 0.0, quality), 100.0)
    assert same is memory and found == []
    assert judged(memory, CONFIG, {}, 100.0) == (memory, [])
    assert judged(memory, CONFIG, poll(0.5, math.nan, 100.0, 0.0), 100.0) == (memory, [])


@given(
    st.lists(st.tuples(st.floats(-50.0, 400.0), st.floats(0.0, 400.0), st.floats(0.0, 100.0)), min_size=2, max_size=40),
    st.one_of(st.none(), st.floats(0.0, 400.0)),
)
def test_two_polls_that_no_bed_can_bring_together_always_trip(polls: list[Poll], target_c: float | None) -> None:
    most_c = LEAP_C + CONFIG.temp_rate_c_s_max * PERIOD_S
    leaps = [abs(b[0] - a[0]) > most_c + 1e-9 for a, b in itertools.pairwise(polls)]
    at_s, words = watched(polls, target_c)
    if any(leaps):
        assert at_s is not None and at_s <= (leaps.index(True) + 1) * PERIOD_S
    else:
        assert "which no bed does" not in words
