"""Does the whole rover drive its route over emulated hardware, and stop when it must?"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rover_drive_helpers import HILLS, lane

from control.host import Status, drive_host
from control.operator import Intent, Operator
from hil_sim.harness.drive_runner import DriveResult, DriveScenario, run_drive
from hil_sim.harness.oracle import Verdict
from hil_sim.world.faults.schedule import Fault, FaultSchedule


def driven(tmp_path: Path, length_m: float = 6.0, **changes) -> DriveResult:
    scenario = changes.pop("scenario", DriveScenario(seed=1))
    return run_drive(scenario, lane(tmp_path / "r.json", length_m), tmp_path / "run", ground=HILLS, **changes)


def test_a_route_is_driven_to_its_end_and_the_oracle_agrees(tmp_path: Path) -> None:
    result = driven(tmp_path, 12.0)
    assert result.outcome is not None and result.outcome.status is Status.DONE, result.outcome
    assert result.verdict is Verdict.EXACT, result.judgement.reasons
    assert result.judgement.cross_track_rms_m < 0.03 and result.judgement.cross_track_max_m < 0.12
    assert np.median(result.truth.track.slip) > 0.15  # it was no easy ground
    assert result.outcome.totals.commands > 9 * 0.9 * result.outcome.totals.duration_s
    assert result.outcome.totals.energy_wh > 0.1
    for name in ("outcome.json", "route.json", "machine.toml", "telemetry.mcap", "truth.npz"):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_a_crabbing_rover_on_modbus_drives_does_too(tmp_path: Path) -> None:
    result = driven(tmp_path, 6.0, scenario=DriveScenario(machine="polar", seed=1))
    assert result.verdict is Verdict.EXACT, (result.judgement.reasons, result.outcome)
    assert result.judgement.cross_track_rms_m < 0.03 and result.judgement.cross_track_max_m < 0.12


def test_the_same_seed_drives_the_same_and_another_does_not(tmp_path: Path) -> None:
    tracks = [
        driven(tmp_path / str(n), 3.0, scenario=DriveScenario(seed=seed)).truth.track.x_m
        for n, seed in enumerate((1, 1, 2))
        if not (tmp_path / str(n)).mkdir()
    ]
    np.testing.assert_array_equal(tracks[0], tracks[1])
    assert len(tracks[2]) != len(tracks[0]) or not np.array_equal(tracks[0], tracks[2])


def test_the_operators_stop_stops_the_wheels(tmp_path: Path) -> None:
    operator = Operator()

    async def stop(world) -> None:
        await asyncio.sleep(20.0)
        operator.ask(Intent.STOP, "enough")

    result = driven(tmp_path, host=partial(drive_host, operator=operator), meddle=stop)
    assert result.outcome is not None and (result.outcome.status, result.outcome.exit_code) == (Status.STOPPED, 130)
    assert "enough" in result.outcome.reason and result.verdict is Verdict.DETECTED
    moving = np.hypot(np.diff(result.truth.track.x_m), np.diff(result.truth.track.y_m)) > 1e-6
    assert result.truth.track.t_s[1:][moving].max() < 20.6


def test_a_pause_holds_and_resuming_goes_on(tmp_path: Path) -> None:
    operator = Operator()

    async def pause(world) -> None:
        await asyncio.sleep(15.0)
        operator.ask(Intent.PAUSE)
        await asyncio.sleep(10.0)
        at = world.plant.pose(asyncio.get_running_loop().time())
        await asyncio.sleep(20.0)
        assert world.plant.pose(asyncio.get_running_loop().time())[:2] == at[:2]
        operator.ask(Intent.RESUME)

    result = driven(tmp_path, 4.0, host=partial(drive_host, operator=operator), meddle=pause)
    assert result.outcome is not None and result.outcome.status is Status.DONE
    assert [held.cause for held in result.outcome.held] == ["operator hold"]
    assert result.verdict is Verdict.DEGRADED


def test_a_tracker_that_sees_nothing_for_a_while_only_makes_it_wait(tmp_path: Path) -> None:
    async def blind(world) -> None:
        await asyncio.sleep(12.0)
        world.tracker.lose_sight(asyncio.get_running_loop().time() + 30.0)

    result = driven(tmp_path, meddle=blind)
    assert result.outcome is not None and result.outcome.status is Status.DONE
    assert any("tracker" in held.sentence for held in result.outcome.held)
    assert result.judgement.cross_track_max_m < 0.2


@pytest.mark.parametrize("wire", ["wheels", "imu"])
def test_a_wire_that_is_cut_stops_the_rover_where_it_is(tmp_path: Path, wire: str) -> None:
    async def cut(world) -> None:
        await asyncio.sleep(20.0)
        world.wire(wire).hang_up()

    result = driven(tmp_path, meddle=cut)
    track = result.truth.track
    moving = np.hypot(np.diff(track.x_m), np.diff(track.y_m)) > 1e-6
    assert track.t_s[1:][moving].max() < 21.0 + (0.0 if wire == "wheels" else 1.0)
    assert result.outcome is not None and result.outcome.status is not Status.DONE
    assert result.verdict is Verdict.DETECTED, result.judgement.reasons


def test_an_emergency_stop_on_a_board_ends_the_drive_and_is_named(tmp_path: Path) -> None:
    async def press_and_let_go(world) -> None:
        await asyncio.sleep(20.0)
        board = world.boards[129]
        board.e_stop_latches = False
        board.e_stop(asyncio.get_running_loop().time())
        await asyncio.sleep(2.5)
        board.e_stop(asyncio.get_running_loop().time(), is_pressed=False)

    result = driven(tmp_path, meddle=press_and_let_go)
    assert result.outcome is not None and result.outcome.status is Status.FAILED
    assert "board 129 has reported emergency stop" in result.outcome.reason
    track = result.truth.track
    moving = np.hypot(np.diff(track.x_m), np.diff(track.y_m)) > 1e-6
    assert track.t_s[1:][moving].max() < 21.5
    assert result.verdict is Verdict.DETECTED, result.judgement.reasons


def test_a_board_that_dies_is_named_and_the_rover_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.rover.drive_run.HOLD_S_MAX", 20.0)

    async def die(world) -> None:
        await asyncio.sleep(20.0)
        world.boards[129].die(asyncio.get_running_loop().time())

    result = driven(tmp_path, meddle=die)
    assert result.outcome is not None and result.outcome.status is not Status.DONE
    track = result.truth.track
    moving = np.hypot(np.diff(track.x_m), np.diff(track.y_m)) > 1e-6
    assert track.t_s[1:][moving].max() < 21.5
    assert result.verdict is Verdict.DETECTED


def test_a_noisy_line_is_driven_through(tmp_path: Path) -> None:
    faults = FaultSchedule(
        tuple(
            Fault(kind, f"wheels.{way}", at_chunk=200 * n + 97 * (way == "to_host"))
            for n in range(1, 20)
            for way in ("to_host", "to_device")
            for kind in ("flip",)
        )
    )
    result = driven(tmp_path, scenario=DriveScenario(seed=1, faults=faults))
    assert len(result.truth.strikes) > 20
    assert result.outcome is not None and result.outcome.status is Status.DONE, result.outcome
    assert result.judgement.cross_track_max_m < 0.12


def test_a_rover_that_stands_elsewhere_is_told_to_plan_again(tmp_path: Path) -> None:
    async def carried_away(world) -> None:
        where = world.tracker.where
        world.tracker.where = lambda t_s: (where(t_s)[0] + 20.0, *where(t_s)[1:])

    result = driven(tmp_path, meddle=carried_away)
    assert result.outcome is not None and result.outcome.exit_code == 3
    assert "plan a route from where it is" in result.outcome.reason


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("stuck", "imu.gyro_z", at_s=20.0, for_s=1e5), "the goal is reached"),
        (Fault("bias", "imu.gyro_z", at_s=20.0, for_s=1e5, args={"offset": 0.05}), "the goal is reached"),
        (Fault("noise_on", "imu.gyro_z", at_s=20.0, for_s=1e5, args={"sigma": 0.3}), "the goal is reached"),
        (Fault("saturated", "imu.gyro_z", at_s=20.0, for_s=1e5), "bad: imu"),
        (Fault("swapped", "imu.accel_z", at_s=20.0, for_s=1e5, args={"with": "imu.accel_x"}), "tilt"),
    ],
)
def test_a_failing_inertial_sensor_is_driven_through_or_stops_the_rover_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, words: str
) -> None:
    monkeypatch.setattr("control.rover.drive_run.HOLD_S_MAX", 20.0)
    result = driven(tmp_path, scenario=DriveScenario(seed=1, faults=FaultSchedule((fault,))))
    assert result.outcome is not None and result.verdict.is_good, result.judgement.reasons
    assert words in result.outcome.reason and [kind for _, _, kind in result.truth.strikes] == [fault.kind]
    assert (result.verdict is not Verdict.DETECTED) == (words == "the goal is reached")
