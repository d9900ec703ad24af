"""Is a rover a campaign's subject as a printer is: drawn, judged, kept, made again and made smaller?"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_hil_commands import moonkiln

from control.host import Route, ground_of, read_route
from control.rover import drive_run
from control.rover.drive.guard import Action, Decision
from hil_sim.harness.campaign import judge_seed, prepare
from hil_sim.harness.digest import RunDigest
from hil_sim.harness.drive_oracle import Track, judge_drive
from hil_sim.harness.drive_runner import slopes_deg
from hil_sim.harness.drive_subject import DriveSubject, rover_subject
from hil_sim.harness.generator import Ground, drawn, load_generator
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.run_file import subject_of
from hil_sim.harness.small_route import pack_route, packed_route, shortened, small_route, unpack_route
from hil_sim.harness.subjects import Run, SubjectError
from hil_sim.harness.wheels_heard import WheelsHeard
from hil_sim.world.faults import Fault, FaultSchedule

CUT = Fault("disconnect", "wheels.to_device", at_s=8.0, for_s=1000.0, args={"back_after_s": -1.0})


@pytest.fixture
def rover(tmp_path: Path) -> DriveSubject:
    return rover_subject(tmp_path)


def run(subject: DriveSubject, *faults: Fault, seed: int = 3, **options: Any) -> Run:
    return subject.run(FaultSchedule(faults), seed, **options)


# ---- the subject


def test_a_drive_that_nothing_befalls_is_exact_and_the_same_again(rover: DriveSubject) -> None:
    first, again = run(rover), run(rover)
    assert first.verdict is Verdict.EXACT, first.reasons
    assert first.digest == again.digest and first.timers == again.timers
    assert run(rover, seed=4).digest != first.digest


def test_wheels_that_are_cut_off_end_the_drive_and_say_so(rover: DriveSubject) -> None:
    found = run(rover, CUT)
    assert found.verdict is Verdict.DETECTED and "wheel" in found.reasons[0], found.reasons
    assert [fault.kind for _, fault in found.struck] == ["disconnect"]
    assert found.struck[0][0] <= found.job_end_s == found.sim_s


WEDGED = Fault("wheel_stall", "wheels.fl", at_s=6.0, for_s=1000.0)


def test_a_wedged_wheel_stops_the_drive_before_its_motor_burns_and_without_the_guard_it_burns(
    rover: DriveSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(rover, WEDGED).verdict is Verdict.DETECTED
    step = drive_run.guard_step

    def blind(*given: Any) -> tuple[Any, Decision]:
        state, decision = step(*given)
        return state, replace(decision, action=Action.GO, cause=None, causes=(), speed_factor=1.0, may_move=True)

    monkeypatch.setattr(drive_run, "guard_step", blind)
    found = run(rover, WEDGED)
    assert found.verdict is Verdict.UNSAFE and "a drive motor was over 125 degC" in found.reasons[0], found.reasons


def test_a_goal_that_the_host_cannot_be_sure_of_is_not_called_reached(rover: DriveSubject) -> None:
    """Seed 4677 of the campaign: the host said done 0.39 m from the goal, knowing its place to 1.4 m."""
    drift = Fault("drift", "imu.gyro_z", at_s=8.92, for_s=11.92, args={"per_s": 0.02})
    slip = Fault("wheel_slip", "wheels.fr", at_s=3.04, for_s=8.57, args={"fraction": 0.151})
    found = run(rover, drift, slip, seed=4677)
    assert found.verdict.is_good, found.reasons


def test_who_stands_at_the_end_of_the_way_unsure_of_its_place_waits_and_stops(
    rover: DriveSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = run(rover)
    monkeypatch.setattr(drive_run, "SURELY_M", 0.001)
    found = run(rover)
    assert found.verdict is Verdict.DETECTED, found.reasons
    assert "at the end of the way the goal is" in found.reasons[0] and "look where the rover is" in found.reasons[0]
    assert known.sim_s + drive_run.TOLD_WITHIN_S <= found.sim_s < known.sim_s + 2 * drive_run.TOLD_WITHIN_S


def test_a_scenarios_own_faults_come_first(rover: DriveSubject) -> None:
    own = DriveSubject(
        type(rover.scenario)(**{**_fields(rover.scenario), "faults": [CUT.to_dict()]}),
        rover.job_path,
    )
    assert run(own).digest == run(rover, CUT).digest


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_every_wire_is_heard(rover: DriveSubject) -> None:
    heard = RunDigest(keep=True)
    found = run(rover, heard=heard)
    spoken = {chunk.point.partition(".")[0] for chunk in found.log}
    assert spoken >= {"wheels", "imu", "tracker", "power"}
    assert found.events["wheels.to_device"] > 500


def test_a_subject_is_found_again_in_its_own_words(rover: DriveSubject, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    back = subject_of(rover.to_dict() | {"job_path": "lane.zip"}, rover.job_bytes(), tmp_path / "other")
    assert isinstance(back, DriveSubject) and back.length == rover.length
    assert run(back).digest == run(rover).digest


def test_a_printer_is_no_rover(tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match="is a printer"):
        rover_subject(tmp_path, machine="bench")


def test_a_seed_of_a_campaign_has_a_row_that_counts(rover: DriveSubject) -> None:
    row = judge_seed(prepare(rover, load_generator()), 11)
    assert row.is_good and row.struck and all(t_s <= row.sim_s for t_s, _ in row.struck), row
    points = rover.points()
    assert {fault["point"] for fault in row.faults} <= set(points)


def test_every_kind_that_is_a_rovers_is_drawn_in_its_own_unit(rover: DriveSubject) -> None:
    points = tuple(rover.points())
    ground = Ground(points, {p: 100 for p in points if ".to_" in p} | {"power": 20}, 20.0, 0)
    generator = load_generator()
    faults = [f for seed in range(1500) for f in drawn(generator, ground, seed, 0).faults]
    kinds = {f.kind for f in faults}
    assert kinds >= {"wheel_stall", "wheel_slip", "steer_fixed", "battery_sag", "bias", "drift", "flip", "no_reply"}
    turns = [abs(float(f.arg("offset", 0.0))) for f in faults if f.kind == "bias" and "gyro" in f.point]
    assert turns and max(turns) <= 0.5, "a gyro does not turn by degrees Celsius"


# ---- the lane


def test_the_lane_may_be_driven_and_its_edges_may_not(tmp_path: Path) -> None:
    route = read_route(unpack_route(small_route(tmp_path), tmp_path))
    ground = ground_of(route, tmp_path)
    slopes = slopes_deg(ground.heights_m, ground.cell_m)

    def at(x_m: float, y_m: float) -> float:
        return float(slopes[round((y_m - ground.y_m) / ground.cell_m), round((x_m - ground.x_m) / ground.cell_m)])

    assert max(at(x, y) for x, y in route.waypoints) < 6.0
    for x, y in route.waypoints:
        assert at(x, y - 1.7) > route.slope_max_deg and at(x, y + 1.7) > route.slope_max_deg


def test_the_same_lane_is_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    first, second = (small_route(folder).read_bytes() for folder in folders)
    assert first == second


def test_a_shorter_route_ends_where_its_last_leg_does(tmp_path: Path) -> None:
    whole = small_route(tmp_path)
    short = packed_route(shortened(whole, 3, tmp_path / "short.zip"))
    assert len(short.waypoints) == len(short.speeds_m_s) == 4
    assert short.goal_m == short.waypoints[-1] == packed_route(whole).waypoints[3]


def test_a_route_without_its_map_is_refused(tmp_path: Path) -> None:
    small_route(tmp_path)
    (tmp_path / "lane.npz").unlink()
    with pytest.raises(SubjectError, match=r"lane\.npz is not there"):
        pack_route(tmp_path / "route.json", tmp_path / "r.zip")


@pytest.mark.parametrize("members", [{}, {"route.json": b"{}"}, {str(n): b"" for n in range(5)}])
def test_a_file_that_is_no_packed_route_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    with pytest.raises(SubjectError, match=r"r\.zip"):
        packed_route(path)


def test_a_packed_route_lays_no_file_elsewhere(tmp_path: Path) -> None:
    path, folder = tmp_path / "r.zip", tmp_path / "into"
    folder.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../../route.json", b"{}")
    unpack_route(path, folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["into", "r.zip"]
    assert [p.name for p in folder.iterdir()] == ["route.json"]


# ---- what is watched


def rolling(until_s: float) -> Track:
    """A rover that rolls at 0.1 m/s up to a time, and stands to the tenth second."""
    t_s = np.arange(0.0, 10.0, 0.1)
    x_m = 0.1 * np.minimum(t_s, until_s)
    level = np.zeros_like(t_s)
    return Track(t_s, x_m, level, level, level, level, 0.0, None)


@pytest.mark.parametrize(("until_s", "verdict"), [(3.0, Verdict.HANG), (6.0, Verdict.UNSAFE)])
def test_wheels_that_hear_nothing_must_stand_within_a_second(until_s: float, verdict: Verdict) -> None:
    ends = np.array([[0.0, 0.0], [1.0, 0.0]])
    found = judge_drive(ends, rolling(until_s), None, 9.9, lambda x, y: False, unheard_s=[(2.5, 8.0)])
    assert found.verdict is verdict, found.reasons


def test_only_what_the_wheels_hear_counts_and_only_long_silences() -> None:
    passed: list[str] = []
    wheels = WheelsHeard("wheels", lambda t_s, point, data: passed.append(point))
    for t_s, point in [(1.0, "wheels.to_device"), (1.9, "wheels.to_host"), (2.5, "wheels.to_device")]:
        wheels.tap(t_s, point, b"x")
    wheels.tap(3.4, "wheels.to_device", b"x")
    assert wheels.unheard_s(4.0) == [(1.0, 2.5)] and len(passed) == 4
    assert wheels.unheard_s(9.0)[-1] == (3.4, 9.0)


# ---- broken on purpose


def test_boards_without_a_dead_man_are_found_unsafe(rover: DriveSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil_sim.world.emulators.roboclaw.RoboClawBoard._look", lambda board: None)
    found = run(rover, CUT)
    assert found.verdict is Verdict.UNSAFE, found.reasons


def test_a_host_without_its_guard_is_found_unsafe(rover: DriveSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Fault("bias", "imu.gyro_z", at_s=4.0, for_s=30.0, args={"offset": 0.5})
    assert run(rover, turns).verdict is Verdict.DETECTED
    go = Decision(Action.GO, None, "", (), (), 1.0, True)
    monkeypatch.setattr("control.rover.drive_run.guard_step", lambda state, facts, limits: (state, go))
    found = run(rover, turns)
    assert found.verdict is Verdict.UNSAFE and any("blocked ground" in why for why in found.reasons), found.reasons


# ---- what campaigns have found


@pytest.mark.parametrize(
    ("fault", "verdict", "words"),
    [
        # seed 233: told a thousand times that it is a kilometre away, it believed, and was done
        (Fault("spike", "tracker.x", at_s=6.0, for_s=8.0, args={"value": 1000.0}), Verdict.DEGRADED, "tracker, 99"),
        # seed 227: what it held for slip was a late station; it came past its goal and was done
        (Fault("lag", "tracker.x", at_s=15.69, for_s=5.68, args={"tau_s": 5.0}), Verdict.DETECTED, "from the goal"),
        # seed 116: deaf boards carried out what had piled up, after the host had given up to stop them
        (Fault("overrun", "wheels.to_device", at_s=10.0, for_s=2.2), Verdict.DETECTED, "board"),
    ],
)
def test_what_a_campaign_has_found(rover: DriveSubject, fault: Fault, verdict: Verdict, words: str) -> None:
    found = run(rover, fault, seed=227)
    assert found.verdict is verdict and words in found.reasons[0], found.reasons


# ---- the commands


def test_a_rovers_campaign_is_run_by_its_word(tmp_path: Path) -> None:
    done = moonkiln("campaign", "rover", "-n", "2", "--keep", tmp_path, "--twice-every", "2")
    assert done.exit_code == 0, done.output
    assert "rover-osr: 2 seeds" in done.output and "run twice, each the same" in done.output


def test_a_rovers_scenario_is_run_kept_replayed_and_shrunk(tmp_path: Path) -> None:
    done = moonkiln("run", "rover_bus_cut", "--runs", tmp_path, "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["verdict"] == "detected" and told["never_struck"] == [], told
    again = moonkiln("replay", told["run"])
    assert again.exit_code == 0 and "the same as it was kept" in again.output
    part = moonkiln("replay", told["run"], "--until", "5.0", "--json")
    assert part.exit_code == 0 and json.loads(part.stdout)["same"]
    small = json.loads(moonkiln("shrink", told["run"], "--json", "--runs", "12").stdout)
    assert small["verdict"] == "detected" and small["length"] < 24


def test_a_route_of_the_users_is_driven(tmp_path: Path) -> None:
    small_route(tmp_path, steps=4)
    done = moonkiln("run", "rover_noisy_bus", "--job", tmp_path / "route.json", "--runs", tmp_path / "runs")
    assert done.exit_code == 0 and done.output.startswith("exact"), done.output


def test_a_route_is_a_route(tmp_path: Path) -> None:
    assert isinstance(packed_route(small_route(tmp_path)), Route)
