"""Do faults of sensors stand between the truth and what an instrument shows, and leave the truth alone?"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modbus_slave_helpers import read

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import World, build_world
from hil_sim.world.build_rover import RoverWorld, build_rover_world
from hil_sim.world.emulators.eurotherm3200 import LOCAL_REMOTE, PV, REMOTE_SP
from hil_sim.world.emulators.sdm120 import AMPS, WATTS
from hil_sim.world.faults import Fault, Faults, FaultSchedule
from hil_sim.world.faults.sensor import KINDS
from hil_sim.world.faulty_sensors import Sensors
from hil_sim.world.machine_spec import BedSettings
from hil_sim.world.plant.terrain import Ground
from hil_sim.world.wiring import MACHINES, WorldError

POINT, OTHER = "recoater.position", "piston.position"
TOP = 325.0


def shown(kind: str, times_s: list[float], *, seed: int = 1, **args: Any) -> list[float]:
    """What a sensor of a value that grows by 2 a second from 10 shows under `kind` from 5 s to 50 s."""
    faults = Faults(FaultSchedule((Fault(kind, POINT, at_s=5.0, for_s=45.0, args=args),)))
    sensors = Sensors(faults, seed)
    sensors.at(OTHER, lambda t_s: -t_s, full_scale=TOP)
    show = sensors.at(POINT, lambda t_s: 10.0 + 2.0 * t_s, full_scale=TOP, shorted=4.0)
    return [show(t_s) for t_s in times_s]


SHOWN: list[tuple[str, dict[str, Any], list[float]]] = [  # at 4 s (still sound: 18), 6 s, 16 s, 60 s (mended: 130)
    ("stuck", {}, [18.0, 18.0]),
    ("bias", {"offset": -3.0}, [19.0, 39.0]),
    ("drift", {"per_s": 0.5}, [22.0, 47.0]),
    ("spike", {"value": 99.0}, [99.0, 99.0]),
    ("saturated", {}, [TOP, TOP]),
    ("short_circuit", {}, [4.0, 4.0]),
    ("short_circuit", {"reading_c": 7.0}, [7.0, 7.0]),
    ("swapped", {"with": OTHER}, [-6.0, -16.0]),
    ("quantised", {"step": 10.0}, [20.0, 40.0]),
    ("lag", {"tau_s": 10.0}, [18.0, 18.0 + (42.0 - 18.0) * (1 - math.exp(-1.0))]),
]


@pytest.mark.parametrize(("kind", "args", "values"), SHOWN)
def test_what_each_kind_makes_of_a_true_value(kind: str, args: dict[str, Any], values: list[float]) -> None:
    assert shown(kind, [4.0, 6.0, 16.0, 60.0], **args) == pytest.approx([18.0, *values, 130.0])


def test_every_kind_of_the_catalogue_is_shown_here() -> None:
    assert {kind for kind, *_ in SHOWN} - {"short_circuit"} | {"noise_on"} == set(KINDS)


def test_noise_belongs_to_seed_and_moment_and_not_to_who_asks() -> None:
    times_s = [5.0 + 0.1 * n for n in range(400)]
    noise = [
        value - 10.0 - 2.0 * t_s for value, t_s in zip(shown("noise_on", times_s, sigma=3.0), times_s, strict=True)
    ]
    sigma = math.sqrt(sum(value**2 for value in noise) / len(noise))
    assert 2.5 < sigma < 3.5 and abs(sum(noise) / len(noise)) < 0.6
    assert shown("noise_on", times_s[::7], sigma=3.0) == shown("noise_on", times_s, sigma=3.0)[::7]
    assert shown("noise_on", times_s, seed=2, sigma=3.0) != shown("noise_on", times_s, sigma=3.0)


def test_a_sensor_that_nothing_touches_is_its_truth_and_costs_nothing() -> None:
    sensors = Sensors(Faults(), 1)
    truth: Callable[[float], float] = math.sqrt
    assert sensors.at(POINT, truth, full_scale=1.0) is truth and sensors.points == [POINT]
    both: Callable[[float], tuple[float, float]] = lambda t_s: (t_s, -t_s)  # noqa: E731
    assert sensors.group(("a", "b"), both, full_scale=1.0) is both


def test_of_a_group_only_the_struck_channel_is_wrong() -> None:
    faults = Faults(FaultSchedule((Fault("swapped", "imu.gyro_y", at_s=0, for_s=9, args={"with": "imu.gyro_z"}),)))
    show = Sensors(faults, 1).group(
        ("imu.gyro_x", "imu.gyro_y", "imu.gyro_z"), lambda t_s: (1.0, 2.0, 3.0), full_scale=9.0
    )
    assert show(1.0) == (1.0, 3.0, 3.0) and show(9.0) == (1.0, 2.0, 3.0)


# ---- at the instruments of a printer


def in_world(work: Any, *faults: Fault) -> Any:
    async def main(loop: VirtualLoop) -> Any:
        settings = BedSettings(cell_xy_mm=10.0)
        world = await build_world("bench", settings=settings, faults=FaultSchedule(faults))
        try:
            return await work(world, loop)
        finally:
            world.close()

    return run_virtual(main)


async def _bed(world: World, loop: VirtualLoop) -> tuple[float, float]:
    """The bed asked for 100 degC over 100 s: what it shows, and what it has."""
    for _ in range(100):
        world.heater.write_holding(REMOTE_SP, [1000], loop.time())
        world.heater.write_holding(LOCAL_REMOTE, [1], loop.time())
        await asyncio.sleep(1.0)
    return read(world.heater, PV, 1, loop.time())[0] / 10, world.plate.temp_c(loop.time())


def test_the_bed_is_steered_by_what_its_thermocouple_shows() -> None:
    sound_c, true_c = in_world(_bed)
    assert sound_c == pytest.approx(true_c, abs=0.1) and 40.0 < true_c < 60.0
    biased_c, true_c = in_world(_bed, Fault("bias", "heater.temp", at_s=0, for_s=1e5, args={"offset": 50.0}))
    assert biased_c == pytest.approx(true_c + 50.0, abs=0.1) and true_c < sound_c, "it stops heating early"
    shorted_c, true_c = in_world(_bed, Fault("short_circuit", "heater.temp", at_s=0, for_s=1e5))
    assert shorted_c == pytest.approx(20.0) and true_c >= sound_c - 0.1, "it sees cold and heats on"


@pytest.mark.parametrize("machine", ["eurotherm3200", "omron_e5cc", "watlow_pm"])
def test_every_controller_of_the_bed_reads_its_sensor(machine: str, tmp_path: Path) -> None:
    text = (MACHINES / "bench.toml").read_text(encoding="utf-8").replace('"eurotherm3200"', f'"{machine}"')
    (tmp_path / "w.toml").write_text(text, encoding="utf-8")
    spike = Fault("spike", "heater.temp", at_s=0, for_s=1e5, args={"value": 77.0})

    async def main(loop: VirtualLoop) -> float:
        settings = BedSettings(cell_xy_mm=10.0)
        world = await build_world(tmp_path / "w.toml", settings=settings, faults=FaultSchedule((spike,)))
        try:
            return world.heater._pv_c(1.0) if machine == "watlow_pm" else world.heater._pv(1.0) / 10  # type: ignore[union-attr]
        finally:
            world.close()

    assert run_virtual(main) == pytest.approx(77.0)


def test_a_drive_goes_where_it_is_sent_and_its_encoder_tells_another_place() -> None:
    async def work(world: World, loop: VirtualLoop) -> tuple[int, float]:
        drive = world.drives["piston"]
        return drive.position_pulses(loop.time()), world.piston.position_at(loop.time())

    plain, true_mm = in_world(work)
    biased, same_mm = in_world(work, Fault("bias", "piston.position", at_s=0, for_s=9, args={"offset": 1.0}))
    assert (plain, true_mm) == (0, same_mm) and biased == 2000  # 10,000 pulses for 5 mm


def test_the_meter_scales_its_current_with_its_power() -> None:
    async def work(world: World, loop: VirtualLoop) -> tuple[float, float]:
        measured = world.meter_device._measure(loop.time())
        return measured[WATTS], measured[AMPS]

    watts, amps = in_world(work)
    double, more = in_world(work, Fault("bias", "meter.power", at_s=0, for_s=9, args={"offset": watts}))
    assert double == pytest.approx(2 * watts) and more == pytest.approx(2 * amps)


def test_the_emission_that_is_shown_is_the_photodiodes_and_no_light() -> None:
    async def work(world: World, loop: VirtualLoop) -> tuple[int, float]:
        return world.beam_head.read_holding(5, 1, loop.time())[0], world.beam_head.emitted_w(loop.time())

    assert in_world(work) == (0, 0.0)
    assert in_world(work, Fault("spike", "beam.emission", at_s=0, for_s=9, args={"value": 12.3})) == (123, 0.0)
    assert in_world(work, Fault("spike", "beam.emission", at_s=0, for_s=9, args={"value": -5})) == (0, 0.0)


def test_a_swap_with_a_channel_that_is_not_there_is_refused() -> None:
    async def nothing(_world: World, _loop: VirtualLoop) -> None:
        pass

    fault = Fault("swapped", "piston.position", at_s=0, for_s=9, args={"with": "piston.speed"})
    with pytest.raises(WorldError, match=r"asks for the channel 'piston.speed'"):
        in_world(nothing, fault)


# ---- at a rover's


def in_rover(work: Any, *faults: Fault) -> Any:
    async def main(loop: VirtualLoop) -> Any:
        ground = Ground(np.zeros((41, 41), np.float32), 0.0, 0.0, 0.5)
        world = await build_rover_world("osr", ground, pose=(10.0, 10.0, 0.3), faults=FaultSchedule(faults))
        try:
            return await work(world, loop)
        finally:
            world.close()

    return run_virtual(main)


async def _seen(world: RoverWorld, loop: VirtualLoop) -> dict[str, tuple[float, ...]]:
    """What each instrument is shown, and a wheel's current as its board has it."""
    await asyncio.sleep(1.0)
    now_s = loop.time()
    wheel = next(point for point in world.sensors.points if point.startswith("wheels.current."))
    address, channel = world.spec.devices.wheels.drive[wheel.rpartition(".")[2]]  # type: ignore[misc]
    gyro, accel = world.imu.imu(now_s)
    current_a = world.boards[address].channels[channel - 1].port.current_a(now_s)
    return {"gyro": tuple(gyro), "accel": tuple(accel), "tracker": world.tracker.where(now_s), "wheel": (current_a,)}


def test_each_of_a_rovers_instruments_is_struck_at_its_own_channel() -> None:
    sound = in_rover(_seen)
    for point, name, place in (
        ("imu.gyro_y", "gyro", 1),
        ("imu.accel_x", "accel", 0),
        ("tracker.heading", "tracker", 3),
    ):
        struck = in_rover(_seen, Fault("bias", point, at_s=0.5, for_s=1e3, args={"offset": 0.25}))
        assert struck[name][place] == pytest.approx(sound[name][place] + 0.25), point
        others = [(key, n) for key, values in sound.items() for n in range(len(values)) if (key, n) != (name, place)]
        assert all(struck[key][n] == sound[key][n] for key, n in others), point


def test_a_wheels_current_is_what_its_sensor_shows_and_its_motor_turns_as_before() -> None:
    async def work(world: RoverWorld, loop: VirtualLoop) -> tuple[float, float]:
        address, channel = next(iter(world.spec.devices.wheels.drive.values()))  # type: ignore[misc]
        port = world.boards[address].channels[channel - 1].port
        port.set_speed(loop.time(), 1.0, 10.0)
        await asyncio.sleep(2.0)
        return port.current_a(loop.time()), port.speed_rad_s(loop.time())

    first = "wheels.current." + in_rover(_first_wheel)
    amps, speed = in_rover(work)
    more, same = in_rover(work, Fault("bias", first, at_s=0, for_s=1e3, args={"offset": 3.0}))
    assert more == pytest.approx(amps + 3.0) and speed == same and speed == pytest.approx(1.0, rel=0.2)


async def _first_wheel(world: RoverWorld, _loop: VirtualLoop) -> str:
    return next(iter(world.spec.devices.wheels.drive))
