"""Is the plan over time the earliest there is, and does it wait for the Sun, the Earth and the charge?"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.errors import MoonkilnError
from control.rover.config import load_rover
from control.rover.energy import EnergyModel
from control.rover.ground.dem import Crs, Dem, read_dem, write_npz
from control.rover.ground.ephemeris import unix_s
from control.rover.planning import PlanRequest, plan_request
from control.rover.route.havens import find_havens, lasts_s, longest_dark_s
from control.rover.route.timed import Frames, TimedError, TimedSettings, plan_timed

MODEL = EnergyModel(capacity_wh=100.0, hotel_w=10.0, sleep_w=1.0, solar_w_max=40.0, charge_efficiency=1.0)
SETTINGS = TimedSettings(speed_m_s=0.1, reserve=0.2, arrive_with=0.2)
CROSSING_S = 50.0 / 0.1
STEP_S = CROSSING_S / 2


def plan(lit, *, heard=None, charge=0.9, cost=None, start=(0, 0), goal=(0, 4), frame_s=CROSSING_S, **changes):  # type: ignore[no-untyped-def]
    lit = np.asarray(lit, np.float32)
    cost = np.ones(lit.shape[1:], np.float32) if cost is None else cost
    frames = Frames(1000.0, frame_s, lit, None if heard is None else np.asarray(heard))
    return plan_timed(
        cost, np.zeros(cost.shape, np.float32), 50.0, start, goal, charge, frames, MODEL, replace(SETTINGS, **changes)
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_arrival_is_the_earliest_and_with_the_most_charge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns, steps = 3, 4, 28
    frame_s = STEP_S * float(rng.choice([0.4, 1.0, 1.7, 5.0]))  # shorter and longer than a move
    count = math.ceil(steps * STEP_S / frame_s)
    cost = np.where(rng.random((rows, columns)) < 0.2, np.inf, 1.0).astype(np.float32)
    cost[0, 0] = cost[-1, -1] = 1.0
    slope = (10 * rng.random((rows, columns))).astype(np.float32)
    lit = (rng.random((count, rows, columns)) < 0.5).astype(np.float32)
    heard = rng.random((count, rows, columns)) < 0.9 if seed % 2 else None
    drive_w = [[MODEL.drive_w(0.1, float(s)) for s in row] for row in slope]
    numbers = (STEP_S, frame_s, 10.0, 1.0, 40.0, 100.0, 0.2)
    steps = int(count * frame_s / STEP_S + 1e-6)
    history = naive.most_charge(np.isfinite(cost), drive_w, lit, heard, numbers, (0, 0), 0.4, steps)
    goal = (rows - 1, columns - 1)
    arrivals = [k for k, most in enumerate(history) if most.get(goal, -1.0) >= 0.2]
    frames = Frames(0.0, frame_s, lit, heard)
    try:
        found = plan_timed(cost, slope, 50.0, (0, 0), goal, 0.4, frames, MODEL, SETTINGS)
    except TimedError:
        assert not arrivals
        return
    assert found.times_s[-1] == pytest.approx(arrivals[0] * STEP_S)
    assert found.charge[-1] == pytest.approx(history[arrivals[0]][goal], abs=1e-4)
    assert tuple(found.cells[0]) == (0, 0) and tuple(found.cells[-1]) == goal
    assert np.abs(np.diff(found.cells, axis=0)).max() <= 1 and found.charge.min() >= 0.2 - 1e-6


def test_with_light_all_the_way_it_just_drives() -> None:
    found = plan(np.ones((20, 1, 5)))
    assert found.cells[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert found.times_s[0] == 1000.0 and found.times_s[-1] == pytest.approx(1000.0 + 4 * CROSSING_S)


def test_with_too_little_charge_it_waits_where_the_sun_is_until_there_is_enough() -> None:
    lit = np.zeros((60, 1, 5))
    lit[:, 0, 1] = 1.0  # one lit place on the way
    found = plan(lit, charge=0.24)
    cells = found.cells[:, 1].tolist()
    assert cells.count(1) > 1 and cells[-1] == 4 and found.charge.min() >= 0.2


def test_it_waits_until_the_earth_is_heard() -> None:
    heard = np.zeros((20, 1, 5), bool)
    heard[7:] = True
    found = plan(np.ones((20, 1, 5)), heard=heard)
    moved = np.nonzero(np.diff(found.cells[:, 1]))[0]
    assert found.times_s[moved[0]] == pytest.approx(1000.0 + 7 * CROSSING_S)
    assert found.times_s[-1] == pytest.approx(1000.0 + 11 * CROSSING_S)


def test_a_silence_shorter_than_a_crossing_is_not_driven_through() -> None:
    heard = np.ones((200, 1, 5), bool)
    heard[3:197:4] = False  # a tenth of a crossing each, four tenths apart
    with pytest.raises(TimedError, match="the Earth is not heard"):
        plan(np.ones((200, 1, 5)), heard=heard, frame_s=CROSSING_S / 10)


def test_charge_that_runs_out_within_a_crossing_is_not_made_up_by_the_sun_at_its_end() -> None:
    lit = np.zeros((40, 1, 2))
    lit[5:] = 1.0  # each crossing from the first moment on begins in the dark
    found = plan(lit, charge=0.205, goal=(0, 1), frame_s=CROSSING_S / 10)
    assert found.times_s[-1] > 1000.0 + CROSSING_S and found.charge.min() >= 0.2


def test_a_diagonal_takes_no_less_than_its_length() -> None:
    found = plan(np.ones((20, 3, 3)), goal=(2, 2))
    assert found.times_s[-1] - 1000.0 == pytest.approx(3.0 * CROSSING_S)  # two diagonals: 2.83 crossings, in halves


def test_a_night_that_comes_too_early_is_told() -> None:
    with pytest.raises(TimedError, match="charge of 30% and what Sun there is"):
        plan(np.zeros((30, 1, 5)), charge=0.3)


def test_silence_is_told() -> None:
    with pytest.raises(TimedError, match="the Earth is not heard"):
        plan(np.ones((20, 1, 5)), heard=np.zeros((20, 1, 5), bool))


def test_a_wall_is_told() -> None:
    cost = np.ones((1, 5), np.float32)
    cost[0, 2] = np.inf
    with pytest.raises(TimedError, match="no way leads there"):
        plan(np.ones((20, 1, 5)), cost=cost)


def test_too_large_a_plan_is_refused() -> None:
    with pytest.raises(TimedError, match="too many"):
        plan_timed(
            np.ones((900, 900), np.float32), np.zeros((900, 900), np.float32), 5.0, (0, 0), (1, 1), 0.9,
            Frames(0.0, 3600.0, np.zeros((500, 1, 1), np.float32)), MODEL, SETTINGS,
        )  # fmt: skip


# ---- havens


def test_the_longest_dark_spell() -> None:
    lit = np.array([1, 0, 0, 1, 0, 0, 0, 1, 0], np.float32).reshape(-1, 1, 1)
    assert longest_dark_s(lit, 10.0)[0, 0] == 30.0


def test_havens_are_lit_level_open_survivable_and_apart() -> None:
    rng = np.random.default_rng(1)
    dem = Dem(np.zeros((20, 20), np.float32), 0.0, 0.0, 10.0, Crs("local"))
    lit = (rng.random((50, 20, 20)) < 0.7).astype(np.float32)
    lit[:, 5, 5], lit[:, 6, 6], lit[:, 12, 12], lit[:, 15, 3], lit[:, 3, 15] = 1.0, 1.0, 1.0, 1.0, 1.0
    slope, is_open = np.zeros((20, 20), np.float32), np.ones((20, 20), bool)
    slope[12, 12], is_open[15, 3] = 9.0, False
    frame_s = lasts_s(MODEL, 0.2) / 1.5  # two dark frames in a row are one too many
    found = find_havens(dem, slope, is_open, lit, frame_s, MODEL, apart_m=50.0)
    places = [(h.x_m, h.y_m) for h in found]
    assert places[:2] == [(150.0, 30.0), (50.0, 50.0)] and found[0].lit_fraction == 1.0
    assert all(math.dist(a, b) >= 50.0 for a in places for b in places if a != b)
    assert (60.0, 60.0) not in places and (120.0, 120.0) not in places and (30.0, 150.0) not in places


def test_a_rover_that_cannot_outlast_any_night_has_no_haven() -> None:
    dem = Dem(np.zeros((5, 5), np.float32), 0.0, 0.0, 10.0, Crs("local"))
    flat, is_open = np.zeros((5, 5), np.float32), np.ones((5, 5), bool)
    lit = np.zeros((100, 5, 5), np.float32)
    lit[::50] = 1.0
    assert find_havens(dem, flat, is_open, lit, 86400.0, MODEL) == []


# ---- the whole of it


def hills(folder: Path) -> Path:
    """Gentle ground near 84.6 S 31 E with one ridge."""
    rows, columns = np.mgrid[0:60, 0:60]
    crs = Crs("polar_stereographic")
    x, y = crs.xy_m(-84.6, 31.0)
    heights = 25 * np.exp(-(((rows - 40) / 6.0) ** 2)) + 0 * columns
    write_npz(Dem(heights.astype(np.float32), x, y, 20.0, crs, "hills"), folder / "hills.npz")
    return folder / "hills.npz"


def test_a_plan_by_light_departs_when_there_is_some_and_names_havens(tmp_path: Path) -> None:
    dem = read_dem(hills(tmp_path))
    start, goal = dem.point(10, 10), dem.point(15, 50)
    night = unix_s("2028-11-02")
    routes = [
        plan_request(
            PlanRequest(tmp_path / "hills.npz", start, goal, machine="polar", sun_utc=day, charge=0.9),
            tmp_path / "r.json",
        )
        for day in ("2028-11-02", "2028-11-12")
    ]
    for route in routes:
        assert route.departs_utc is not None and unix_s(route.departs_utc) >= night
        assert route.predicted.charge_least is not None and route.predicted.charge_least >= 0.2
        assert route.havens, "flat ground at Mons Mouton has days long enough for this rover"


def test_a_local_map_cannot_be_planned_by_the_sun(tmp_path: Path) -> None:
    write_npz(Dem(np.zeros((30, 30), np.float32), 0.0, 0.0, 5.0, Crs("local")), tmp_path / "m.npz")
    with pytest.raises(MoonkilnError, match="georeference"):
        plan_request(
            PlanRequest(tmp_path / "m.npz", (20.0, 20.0), (80.0, 80.0), sun_utc="2028-11-02"), tmp_path / "r.json"
        )


def test_comms_without_a_date_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoonkilnError, match="give --sun"):
        plan_request(PlanRequest(hills(tmp_path), (0.0, 0.0), (1.0, 1.0), with_earth=True), tmp_path / "r.json")


def test_the_polar_rover_lasts_through_the_longest_night_of_mons_mouton() -> None:
    from control.rover.config import energy_of

    config = load_rover("polar")
    assert lasts_s(energy_of(config), config.energy.reserve_fraction) > 17.3 * 86400
