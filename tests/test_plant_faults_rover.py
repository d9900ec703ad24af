"""Do faults of a rover's wheels, joints and battery change the truth, and does the host stop, or keep its path?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from rover_drive_helpers import HILLS, lane

from control.host import Status
from hil_sim.harness.drive_runner import DriveResult, DriveScenario, run_drive
from hil_sim.harness.oracle import Verdict
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build_rover import build_rover_world, load_rover_spec
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.plant.battery import Battery, BatteryConfig
from hil_sim.world.plant.rover import HOUSING_C, OSR, RoverPlant
from hil_sim.world.plant.soil import NOMINAL
from hil_sim.world.plant.terrain import Ground
from hil_sim.world.wire_line import points_of

FOREVER_S = 1e5


def plant() -> RoverPlant:
    return RoverPlant(
        OSR, Ground(HILLS.heights_m * 0.0, HILLS.x_m, HILLS.y_m, HILLS.cell_m), NOMINAL, (60.0, 100.0, 0.0)
    )


def ahead(rover: RoverPlant, t_s: float) -> None:
    for name in rover.wheel_names:
        rover.motor(name).set_speed(t_s, 1.0, 5.0)


def test_a_stalled_wheel_stands_and_its_motor_draws_its_stall_current() -> None:
    rover, motor = plant(), plant().motor("fl")
    motor = rover.motor("fl")
    ahead(rover, 0.0)
    assert motor.speed_rad_s(5.0) == pytest.approx(1.0) and motor.current_a(5.0) < 1.0
    rover.hold(5.0, motor)
    stands_rad = motor.angle_rad(5.1)
    assert motor.speed_rad_s(6.0) == 0.0 and motor.current_a(6.0) == OSR.stall_a
    ahead(rover, 7.0)  # whatever it is told
    assert motor.angle_rad(10.0) == pytest.approx(stands_rad)
    motor.set_speed(10.0, 0.0, 5.0)
    assert motor.current_a(11.0) == 0.0
    motor.set_speed(11.0, -1.0, 5.0)
    rover.let_go(12.0, motor)
    assert motor.speed_rad_s(14.0) == pytest.approx(-1.0)


def test_the_winding_of_a_motor_that_stands_and_pushes_burns_within_seconds_and_cools() -> None:
    """By hand: 8 A through 14.4 V / 8 A for 5 s, with 4 J/K and 0.3 W/K; then 30 s without a current."""
    rover = plant()
    ahead(rover, 0.0)
    rover.hold(0.0, rover.motor("fl"))
    rover.advance_to(5.0)
    rover.motor("fl").set_speed(5.0, 0.0, 5.0)
    for name in rover.wheel_names:
        rover.motor(name).set_speed(5.0, 0.0, 50.0)
    rover.advance_to(35.0)
    warmest_k = 8.0**2 * 1.8 / 0.3 * -math.expm1(-5.0 * 0.3 / 4.0)
    winding_c = rover.track().winding_c
    assert winding_c[49] == pytest.approx(HOUSING_C + warmest_k, abs=1.0) and 120.0 < winding_c[49] < 145.0
    assert winding_c[-1] == pytest.approx(HOUSING_C + warmest_k * math.exp(-30.0 * 0.3 / 4.0), abs=1.0)


def test_a_motor_that_drives_on_the_level_stays_cool() -> None:
    rover = plant()
    ahead(rover, 0.0)
    rover.advance_to(120.0)
    assert 20.0 < rover.track().winding_c.max() < 40.0


def test_a_wheel_without_grip_pulls_the_rover_aside() -> None:
    headings = []
    for share in (1.0, 0.0):
        rover = plant()
        rover.set_grip(0.0, rover.motor("fl"), share)
        ahead(rover, 0.0)
        headings.append(rover.pose(20.0)[5])
    assert headings[0] == pytest.approx(0.0, abs=1e-3) and headings[1] > 0.01


def test_a_fixed_joint_keeps_its_angle_until_it_is_mended() -> None:
    rover = plant()
    joint = rover.steer("fr")
    rover.hold(0.0, joint)
    joint.set_position(1.0, 0.4, 1.0, 5.0)
    assert joint.angle_rad(3.0) == 0.0 and joint.current_a(3.0) == 0.0
    rover.let_go(3.0, joint)
    assert joint.angle_rad(6.0) == pytest.approx(0.4)


def test_a_sagging_battery_loses_charge_for_good() -> None:
    battery = Battery(BatteryConfig(), lambda t_s: 0.0)
    before = battery.soc(10.0)
    battery.lose_cells(10.0, 0.25)
    assert battery.soc(20.0) == pytest.approx(0.25 * before, rel=1e-3)


@pytest.mark.parametrize("machine", ["osr", "polar"])
def test_a_rover_has_a_place_for_each_point_that_it_says_it_has(machine: str) -> None:
    async def main(_: VirtualLoop) -> tuple[list[str], list[str]]:
        ground = Ground(HILLS.heights_m, HILLS.x_m, HILLS.y_m, HILLS.cell_m)
        world = await build_rover_world(machine, ground, pose=(60.0, 100.0, 0.0))
        world.close()
        camera = ["camera"] if load_rover_spec(machine).devices.camera is not None else []
        wires = [point for name, wire in world.spec.wires.items() for point in points_of(name, wire.baud)]
        return world.points, [*wires, *world.sensors.points, "power", *world._edges.points, *camera]

    said, hung = run_virtual(main)
    assert sorted(said) == sorted(hung)


def driven(tmp_path: Path, kind: str, point: str, length_m: float = 6.0, **args: Any) -> DriveResult:
    fault = Fault(kind, point, at_s=20.0, for_s=FOREVER_S, args=args)
    scenario = DriveScenario(seed=1, faults=FaultSchedule((fault,)), details=False, sim_s_max=3600.0)
    result = run_drive(scenario, lane(tmp_path / "r.json", length_m), tmp_path / "run", ground=HILLS)
    assert [(where, what) for _, where, what in result.truth.strikes] == [(point, kind)]
    return result


@pytest.mark.parametrize(
    ("kind", "point", "args", "words"),
    [
        ("wheel_stall", "wheels.fl", {}, "fl"),
        ("battery_sag", "power.battery", {}, "battery"),
    ],
)
def test_a_rover_that_cannot_go_on_stops_and_says_why(
    tmp_path: Path, kind: str, point: str, args: dict[str, float], words: str
) -> None:
    result = driven(tmp_path, kind, point, **args)
    assert result.outcome is not None and result.outcome.status is not Status.DONE, result.outcome
    assert words in result.outcome.reason, result.outcome
    assert result.verdict is Verdict.DETECTED, result.judgement


@pytest.mark.parametrize(
    ("kind", "point", "args"),
    [("wheel_slip", "wheels.fl", {"fraction": 0.2}), ("steer_fixed", "wheels.fl.steer", {})],
)
def test_a_rover_that_can_go_on_keeps_its_path_or_stops(
    tmp_path: Path, kind: str, point: str, args: dict[str, float]
) -> None:
    result = driven(tmp_path, kind, point, **args)
    assert result.outcome is not None
    assert result.verdict in (Verdict.EXACT, Verdict.DEGRADED, Verdict.DETECTED), (result.judgement, result.outcome)
