"""Can the planned way be driven, is it the cheapest, and is what cannot be planned told in a sentence?"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.rover.ground.dem import Crs, Dem, read_dem
from control.rover.ground.terrain import analyse
from control.rover.route.costmap import CostSettings, cost_map
from control.rover.route.kernels import cost_to_go
from control.rover.route.planner import PlanSettings, RouteError, map_ref, plan_route
from control.rover.route.route_file import Haven, Route, read_route, write_route
from control.rover.route.shaping import is_free, rounded, tightest_m
from hil_sim.world.plant.terrain import generated_heights

SETTINGS = PlanSettings(costs=CostSettings(slope_soft_deg=10.0, slope_max_deg=15.0))


def flat(rows: int = 60, columns: int = 60, cell_m: float = 2.0) -> Dem:
    return Dem(np.zeros((rows, columns), np.float32), 0.0, 0.0, cell_m, Crs("local"), "flat", "0" * 64)


def walled(gap: slice | None = None) -> Dem:
    """Flat ground with a cliff along column 30, but for a gap."""
    dem = flat()
    dem.heights_m[:, 30] = 20.0
    if gap is not None:
        dem.heights_m[gap, 30] = 0.0
    return dem


def planned(dem: Dem, start: tuple[float, float], goal: tuple[float, float], **changes) -> Route:  # type: ignore[no-untyped-def]
    return plan_route(dem, start, goal, replace(SETTINGS, **changes), map_ref(dem, "map.npz"))


def test_on_flat_ground_the_way_is_straight() -> None:
    route = planned(flat(), (10.0, 10.0), (100.0, 47.0))
    assert route.length_m == pytest.approx(math.hypot(90, 37), rel=1e-3)
    assert route.waypoints[0] == (10.0, 10.0) and route.waypoints[-1] == (100.0, 47.0)
    assert route.predicted.duration_s == pytest.approx(route.length_m / 0.1, rel=0.01)


def test_a_wall_is_passed_by_its_gap() -> None:
    route = planned(walled(slice(45, 52)), (10.0, 20.0), (100.0, 20.0))
    crossing = route.waypoints_m[np.argmin(abs(route.waypoints_m[:, 0] - 60.0))]
    assert 90.0 < crossing[1] < 104.0


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_strip_along_every_way_is_free_and_no_turn_is_too_tight(seed: int) -> None:
    heights = generated_heights(seed, 80.0, 1.0, relief_m=4.0)
    dem = Dem(heights, 0.0, 0.0, 1.0, Crs("local"), "hills", "0" * 64)
    rng = np.random.default_rng(seed)
    start, goal = rng.uniform(5, 74, 2), rng.uniform(5, 74, 2)
    try:
        route = planned(dem, tuple(start), tuple(goal))
    except RouteError:
        return
    costs = cost_map(analyse(dem), SETTINGS.costs)
    assert is_free(costs.hazards, route.waypoints_m, SETTINGS.costs.clearance_m)
    assert tightest_m(route.waypoints_m) >= 0.45
    assert max(route.predicted.slope_deg) <= 15.0


def test_the_real_patch_is_crossed_at_no_more_than_the_cheapest_way_costs(shared_data: Path) -> None:
    dem = read_dem(shared_data / "terrain" / "peak_near_shackleton_exact_100x100_5mpp.csv")
    x0, y0, x1, y1 = dem.extent_m
    start, goal = (x0 + 60.0, y0 + 60.0), (x1 - 60.0, y1 - 60.0)
    route = planned(dem, start, goal)
    costs = cost_map(analyse(dem), SETTINGS.costs)
    cheapest = cost_to_go(costs.cost, dem.index(*goal))[dem.index(*start)]
    i, j = np.rint((route.waypoints_m - (x0, y0)) / 5.0).astype(int).T[::-1]
    steps = np.hypot(*np.diff(route.waypoints_m, axis=0).T) / 5.0
    own = float((steps * 0.5 * (costs.cost[i[1:], j[1:]] + costs.cost[i[:-1], j[:-1]])).sum())
    assert own <= 1.03 * cheapest  # any-angle ways are often cheaper than the grid's


def test_a_route_survives_its_file(tmp_path: Path) -> None:
    route = planned(flat(), (10.0, 10.0), (30.0, 10.0))
    write_route(route, tmp_path / "r.json")
    assert read_route(tmp_path / "r.json") == route


def test_steep_ground_is_driven_slower() -> None:
    dem = flat()
    dem.heights_m[:, 30:] = 2.0 * math.tan(math.radians(9.0)) * np.arange(30)
    route = planned(dem, (10.0, 60.0), (100.0, 60.0))
    assert route.speeds_m_s[0] == pytest.approx(0.1) and route.speeds_m_s[-1] == pytest.approx(
        0.1 * (1 - 0.6 * 9 / 15), rel=1e-3
    )


# ---- what cannot be planned


def refusal(dem: Dem, start: tuple[float, float], goal: tuple[float, float], **changes) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(RouteError) as caught:
        planned(dem, start, goal, **changes)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_a_goal_outside_the_map() -> None:
    said = refusal(flat(), (10.0, 10.0), (900.0, 10.0))
    assert "the goal cannot be" in said and "reaches from x 0.0 to 118.0 m" in said


def test_a_start_that_is_no_number() -> None:
    assert "the start cannot be" in refusal(flat(), (math.nan, 10.0), (20.0, 10.0))


def test_a_start_inside_a_hazard_names_the_nearest_way_out() -> None:
    said = refusal(walled(slice(45, 52)), (60.0, 20.0), (100.0, 20.0))
    assert "the start at 60.0, 20.0 m cannot be driven on" in said and "a peak, a pit or an edge" in said
    assert "the nearest open ground is at 56.0, 20.0 m, 4.0 m away" in said or "64.0, 20.0 m, 4.0 m away" in said


def test_a_goal_without_data() -> None:
    dem = flat()
    dem.heights_m[20:25, 20:25] = np.nan
    assert "the map has no data there" in refusal(dem, (10.0, 10.0), (44.0, 44.0))


def test_a_map_without_open_ground() -> None:
    dem = flat()
    dem.heights_m[:] = 3.0 * np.arange(60)
    assert "no open ground at all" in refusal(dem, (10.0, 10.0), (44.0, 44.0))


def test_a_goal_behind_a_wall_names_the_nearest_place_that_can_be_reached() -> None:
    said = refusal(walled(), (10.0, 20.0), (100.0, 20.0))
    assert "there is no way from 10.0, 20.0 m" in said and "can be reached is 56.0, 20.0 m, 44.0 m from" in said


def test_start_and_goal_at_one_place() -> None:
    assert "nowhere to go" in refusal(flat(), (10.0, 10.0), (10.0, 10.0))


def test_too_little_charge_says_how_much_is_missing_and_where_to_wait() -> None:
    dem = flat()
    haven = Haven(20.0, 20.0, 0.9)
    with pytest.raises(RouteError) as caught:
        plan_route(dem, (10.0, 10.0), (100.0, 47.0), replace(SETTINGS, charge=0.22), map_ref(dem, "m"), havens=[haven])
    said = str(caught.value)
    assert "under the reserve of 20 %" in said and "Wh more first at the haven 20.0, 20.0 m" in said


# ---- shapes


def test_rounding_keeps_the_ends_and_widens_turns() -> None:
    corner = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    shape = rounded(corner, 1.0)
    assert (shape[0] == corner[0]).all() and (shape[-1] == corner[-1]).all()
    assert np.hypot(*np.diff(shape, axis=0).T).max() <= 0.5 + 1e-9
    assert tightest_m(shape) > 1.0 and tightest_m(rounded(corner, 2.0)) > tightest_m(shape)


def test_a_gap_narrower_than_the_rover_is_no_way() -> None:
    dem = flat(cell_m=0.5)
    forbidden = np.zeros(dem.shape, bool)
    forbidden[:, 30] = True
    forbidden[30:31, 30] = False  # 0.5 m wide
    with pytest.raises(RouteError, match="no way"):
        plan_route(dem, (5.0, 15.0), (25.0, 15.0), SETTINGS, map_ref(dem, "m"), forbidden=forbidden)
