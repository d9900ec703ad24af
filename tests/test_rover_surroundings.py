"""Does a drive heed its map: hazards on the way, the fence, havens, and ways around what did not let it pass?"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rover_drive_helpers import HILLS, mapped_lane

from control.host import GroundMap, Status
from control.rover.config import load_rover
from control.rover.drive.lane import Lane
from control.rover.planning import plan_settings, size_of
from control.rover.route.planner import RouteError
from control.rover.route.route_file import Haven, Wait, read_route, write_route
from control.rover.surroundings import Surroundings, surroundings_of
from hil_sim.harness.drive_runner import DriveResult, DriveScenario, run_drive
from hil_sim.harness.oracle import Verdict

OSR = load_rover("osr")


def lane_with(folder: Path, length_m: float, **changes) -> Path:  # type: ignore[no-untyped-def]
    """The sine lane from (60, 100), with its map beside it and some fields changed."""
    path = mapped_lane(folder, length_m)
    write_route(msgspec.structs.replace(read_route(path), **changes), path)
    return path


def around(folder: Path, **changes) -> Surroundings:  # type: ignore[no-untyped-def]
    path = lane_with(folder, 20.0, **changes)
    return surroundings_of(read_route(path), plan_settings(OSR), size_of(OSR), folder)


def driven(path: Path, ground: GroundMap = HILLS, **changes) -> DriveResult:  # type: ignore[no-untyped-def]
    return run_drive(DriveScenario(seed=1, details=False), path, path.parent / "run", ground=ground, **changes)


# ---- what the map says


def test_a_fence_is_inside_positive_and_outside_negative(tmp_path: Path) -> None:
    s = around(tmp_path, fence=[(50.0, 90.0), (90.0, 90.0), (90.0, 110.0), (50.0, 110.0)])
    assert s.fence_m(60.0, 100.0) == pytest.approx(10.0) and s.fence_m(40.0, 100.0) == pytest.approx(-10.0)


def test_without_a_fence_there_is_none(tmp_path: Path) -> None:
    assert around(tmp_path).fence_m(1e5, 0.0) == math.inf


def test_beyond_the_fence_the_ground_blocks(tmp_path: Path) -> None:
    s = around(tmp_path, fence=[(50.0, 90.0), (70.0, 90.0), (70.0, 110.0), (50.0, 110.0)])
    lane = Lane(np.column_stack((np.arange(60.0, 80.0), np.full(20, 100.0))))
    assert s.hazard_ahead_m(lane, 1.0, 0.0) == math.inf
    assert s.hazard_ahead_m(lane, 8.0, 0.0) == pytest.approx(1.0 - size_of(OSR).front_m, abs=0.6)


def test_a_hazard_is_not_looked_for_again_within_a_few_centimetres(tmp_path: Path) -> None:
    s = around(tmp_path, fence=[(50.0, 90.0), (70.0, 90.0), (70.0, 110.0), (50.0, 110.0)])
    lane = Lane(np.column_stack((np.arange(60.0, 80.0), np.full(20, 100.0))))
    far, near = s.hazard_ahead_m(lane, 8.0, 0.0), s.hazard_ahead_m(lane, 8.03, 0.0)
    assert near == pytest.approx(max(0.0, far - 0.03))


def test_the_nearest_haven_is_the_cheapest_to_reach(tmp_path: Path) -> None:
    s = around(tmp_path, havens=[Haven(120.0, 100.0, 0.5), Haven(64.0, 120.0, 0.9)])
    nearest = s.nearest_haven(62.0, 100.0)
    assert nearest is not None and nearest.x_m == 64.0


def test_the_charge_for_a_haven_grows_with_the_way_to_it(tmp_path: Path) -> None:
    s = around(tmp_path, havens=[Haven(64.0, 120.0, 0.9)])
    reserve = OSR.energy.reserve_fraction
    near, far = s.haven_charge(64.0, 118.0), s.haven_charge(64.0, 60.0)
    assert reserve < near < far < reserve + 0.2
    assert around(tmp_path).haven_charge(64.0, 60.0) == reserve


def test_a_place_given_up_is_gone_round(tmp_path: Path) -> None:
    s = around(tmp_path)
    s.give_up(70.0, 100.0)
    way = s.way((62.0, 100.0), (80.0, 100.0)).waypoints_m
    assert np.hypot(*(way - (70.0, 100.0)).T).min() > 1.0


def test_no_way_around_is_told(tmp_path: Path) -> None:
    s = around(tmp_path, fence=[(58.0, 97.0), (90.0, 97.0), (90.0, 103.0), (58.0, 103.0)])
    for y in np.arange(97.0, 104.0, 1.0):
        s.give_up(70.0, float(y))
    with pytest.raises(RouteError, match="no way"):
        s.way((62.0, 100.0), (80.0, 100.0))


# ---- what the drive does about it


def test_a_low_battery_leads_to_the_haven_and_not_to_the_goal(tmp_path: Path) -> None:
    path = lane_with(tmp_path, 40.0, havens=[Haven(64.0, 106.0, 0.9)])

    async def drain(world) -> None:  # type: ignore[no-untyped-def]
        await asyncio.sleep(40.0)
        world.battery.charge_wh = 0.24 * world.battery.config.capacity_wh

    result = driven(path, meddle=drain)
    outcome = result.outcome
    assert outcome is not None and outcome.status is Status.STOPPED and outcome.exit_code == 4, outcome
    assert outcome.haven_m == (64.0, 106.0) and "in the haven at 64.0, 106.0 m" in outcome.reason
    track = result.truth.track
    assert math.dist((track.x_m[-1], track.y_m[-1]), (64.0, 106.0)) < 0.3
    assert result.verdict is Verdict.DETECTED, result.judgement.reasons


def test_a_low_battery_without_a_haven_ends_the_drive_where_it_is(tmp_path: Path) -> None:
    path = lane_with(tmp_path, 20.0)

    async def drain(world) -> None:  # type: ignore[no-untyped-def]
        await asyncio.sleep(40.0)
        world.battery.charge_wh = 0.24 * world.battery.config.capacity_wh

    result = driven(path, meddle=drain)
    assert result.outcome is not None and "names no haven" in result.outcome.reason


def test_a_route_that_waits_stands_so_long(tmp_path: Path) -> None:
    path = lane_with(tmp_path, 6.0, waits=[Wait(3.0, 120.0)])
    result = driven(path)
    assert result.outcome is not None and result.outcome.status is Status.DONE
    track = result.truth.track
    still = np.hypot(np.diff(track.x_m), np.diff(track.y_m)) < 1e-6
    assert 118.0 < float(np.diff(track.t_s)[still].sum()) < 140.0


def test_a_rover_that_is_stuck_goes_round_and_keeps_its_wait(tmp_path: Path) -> None:
    """A place that does not let it pass is given up; the route's later wait is kept."""
    path = lane_with(tmp_path, 20.0, waits=[Wait(18.0, 60.0)])

    async def hold_back(world) -> None:  # type: ignore[no-untyped-def]
        loop, plant = asyncio.get_running_loop(), world.plant
        while plant.pose(loop.time())[0] < 66.0:
            await asyncio.sleep(0.5)
        at = plant.pose(loop.time())
        where = world.tracker.where
        # for the host it does not get on from here, until it has backed out
        world.tracker.where = lambda t_s: (*at[:2], *where(t_s)[2:]) if where(t_s)[0] > at[0] else where(t_s)
        await asyncio.sleep(60.0)
        world.tracker.where = where

    result = driven(path, meddle=hold_back)
    outcome = result.outcome
    assert outcome is not None and any(held.action == "BACK_OUT" for held in outcome.held), outcome
    assert outcome.detours >= 1 and outcome.status is Status.DONE, outcome
    track = result.truth.track
    assert math.dist((track.x_m[-1], track.y_m[-1]), read_route(path).goal_m) < 0.4
    still = np.hypot(np.diff(track.x_m), np.diff(track.y_m)) < 1e-6
    late = track.x_m[1:] > 74.0
    assert float(np.diff(track.t_s)[still & late].sum()) > 55.0


def test_a_hand_written_route_that_leaves_its_fence_is_not_driven_out_of_it(tmp_path: Path) -> None:
    path = lane_with(tmp_path, 20.0, fence=[(50.0, 90.0), (70.0, 90.0), (70.0, 110.0), (50.0, 110.0)])
    result = driven(path)
    assert result.outcome is not None and result.outcome.status is Status.STOPPED, result.outcome
    assert result.truth.track.x_m.max() < 70.0
    assert any(held.cause in ("hazard ahead", "hazard near") for held in result.outcome.held)


def test_a_drive_without_its_map_says_that_nothing_was_watched(tmp_path: Path) -> None:
    path = mapped_lane(tmp_path, 3.0)
    (tmp_path / "hills.npz").unlink()
    result = driven(path)
    assert result.outcome is not None and result.outcome.status is Status.DONE and not result.outcome.map_watched


def test_another_map_is_not_taken_for_the_routes(tmp_path: Path) -> None:
    path = mapped_lane(tmp_path, 3.0)
    document = json.loads(path.read_text())
    document["map"]["sha256"] = "1" * 64
    path.write_text(json.dumps(document))
    result = driven(path)
    assert result.outcome is not None and not result.outcome.map_watched


def test_with_its_map_a_drive_is_watched(tmp_path: Path) -> None:
    result = driven(mapped_lane(tmp_path, 3.0))
    assert result.outcome is not None and result.outcome.map_watched and result.outcome.status is Status.DONE


def test_settings_keep_the_routes_own_limit(tmp_path: Path) -> None:
    path = lane_with(tmp_path, 6.0, slope_max_deg=5.0)
    s = surroundings_of(read_route(path), plan_settings(OSR), size_of(OSR), tmp_path)
    assert s._settings.costs == replace(plan_settings(OSR).costs, slope_max_deg=5.0, slope_soft_deg=5.0)
