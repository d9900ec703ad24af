"""Do wheels on Modbus drives follow, and stand still by themselves whenever nobody means them to turn?"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from rover_modbus_helpers import NAMES, Rover

from firmware_bridge.devices.wheels import Wheels
from firmware_bridge.devices.wheels_modbus import ModbusLayout, ModbusWheels
from firmware_bridge.errors import BridgeError, DeviceReset, LinkError, LinkTimeout, NotReady, Rejected
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import LimitState, Quality
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.plant.rover import POLAR, RoverPlant
from hil_sim.world.plant.soil import NOMINAL
from hil_sim.world.plant.terrain import Ground

RADIUS_M = 0.1


def virtually(main: Callable[[VirtualLoop], Awaitable[None]]) -> None:
    run_virtual(main)


async def drive_for(
    rover: Rover, wheels: ModbusWheels, loop: VirtualLoop, seconds: float, speed: float, steer: float = 0.0
) -> dict[str, float]:
    """Command and poll at 10 Hz; the last readings' values."""
    values: dict[str, float] = {}
    end_s = loop.time() + seconds
    next_s = loop.time()
    while loop.time() < end_s - 1e-9:
        await rover.command(wheels, loop.time(), speed, steer)
        values = {name: reading.value for name, reading in (await wheels.poll()).items()}
        next_s = max(next_s + 0.1, loop.time())
        await asyncio.sleep(next_s - loop.time())
    return values


def test_wheels_follow_and_their_readings_are_the_truth() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        async with rover.opened() as (wheels, link, _):
            as_protocol: Wheels = wheels
            assert as_protocol.names == NAMES
            assert set((await wheels.identify()).values()) == {10000.0}
            await wheels.configure(0.5)
            await drive_for(rover, wheels, loop, 1.0, 1.0, 0.3)
            before, start_s = rover.angles(loop.time()), loop.time()
            values = await drive_for(rover, wheels, loop, 5.0, 1.0, 0.3)
            for was, now in zip(before, rover.angles(loop.time()), strict=True):
                assert (now - was) / (loop.time() - start_s) == pytest.approx(1.0, rel=0.01)  # never a pause
            for name, truth, steer in zip(NAMES, rover.angles(loop.time()), rover.steers(loop.time()), strict=True):
                assert abs(values[f"{name}_angle_rad"] - truth) < 0.15
                assert values[f"{name}_speed_rad_s"] == pytest.approx(1.0, abs=0.05)
                assert steer == pytest.approx(0.3, abs=1e-3)
                assert values[f"{name}_steer_rad"] == pytest.approx(0.3, abs=1e-3)
            readings = await wheels.poll()
            assert {reading.quality for reading in readings.values()} == {Quality.GOOD}
            assert readings["status"].limit is LimitState.NORMAL
            assert link.counters.timeouts == link.counters.exceptions.get(2, 0) == 0

    virtually(main)


def test_mirrored_and_backward_wheels_turn_the_way_that_is_meant() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover(mirrored=frozenset({"fr", "rr"}))
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.5)
            await drive_for(rover, wheels, loop, 1.0, 1.0)
            values = await drive_for(rover, wheels, loop, 3.0, -1.0)  # through zero
            truth = rover.angles(loop.time())
            assert truth[0] < -1.0 and truth[2] > 1.0
            for name, sign, angle in zip(NAMES, (1, 1, -1, -1), truth, strict=True):
                assert values[f"{name}_angle_rad"] == pytest.approx(sign * angle, abs=0.15)
                assert values[f"{name}_speed_rad_s"] == pytest.approx(-1.0, abs=0.05)

    virtually(main)


@pytest.mark.parametrize("seed", range(40))
def test_a_host_that_dies_at_any_moment_leaves_wheels_that_stop(seed: int) -> None:
    """R8: within 1.0 s + 0.15 m at 0.1 m/s, with nobody left to say stop, and no motion when the port is reopened."""

    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        rng = random.Random(seed)
        speed = 0.1 / RADIUS_M * rng.choice((1.0, -1.0))
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.5)
            task = asyncio.ensure_future(drive_for(rover, wheels, loop, 60.0, speed, rng.uniform(-0.5, 0.5)))
            await asyncio.sleep(1.0 + rng.random())
            cut_s, before = loop.time(), rover.angles(loop.time())
            assert rover.wheel_speed(cut_s) > 0.5
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(cut_s + 1.0 - loop.time())
        assert rover.wheel_speed(loop.time()) == 0.0
        after = rover.angles(loop.time())
        assert max(abs(b - a) * RADIUS_M for a, b in zip(before, after, strict=True)) < 0.15
        async with rover.opened() as (wheels, _, _):
            await wheels.poll()
            await asyncio.sleep(3.0)
            assert rover.angles(loop.time()) == after

    virtually(main)


def test_a_move_never_outlasts_its_command_nor_the_timeout() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.3)
            await wheels.drive(dict.fromkeys(NAMES, 2.0), dict.fromkeys(NAMES, 0.0), seq=1, valid_until_s=2.0)
            await asyncio.sleep(3.0)
            assert all(0.4 < angle <= 0.601 for angle in rover.angles(loop.time()))
            await wheels.poll()
            before = rover.angles(loop.time())
            await wheels.drive(
                dict.fromkeys(NAMES, 2.0), dict.fromkeys(NAMES, 0.0), seq=2, valid_until_s=loop.time() + 0.15
            )
            await asyncio.sleep(3.0)
            assert all(now - was <= 0.301 for was, now in zip(before, rover.angles(loop.time()), strict=True))

    virtually(main)


def test_a_stop_overtakes_a_command_that_is_on_its_way() -> None:
    async def main(loop: VirtualLoop) -> None:
        for delay_ms in range(0, 60, 7):
            rover = Rover()
            async with rover.opened() as (wheels, _, _):
                await wheels.configure(0.5)
                await drive_for(rover, wheels, loop, 0.5, 1.0)
                polling = asyncio.ensure_future(wheels.poll())
                driving = asyncio.ensure_future(rover.command(wheels, loop.time(), 1.0))
                await asyncio.sleep(delay_ms * 1e-3)
                await wheels.stop()
                stopped_s = loop.time()
                results = await asyncio.gather(driving, polling, return_exceptions=True)
                if results[0] is not None:
                    assert isinstance(results[0], Rejected) and "overtaken" in str(results[0])
                await asyncio.sleep(stopped_s + 0.2 - loop.time())
                assert rover.wheel_speed(loop.time()) == 0.0, delay_ms
                here = rover.angles(loop.time())
                await asyncio.sleep(1.0)
                assert rover.angles(loop.time()) == here
                await wheels.safe()

    virtually(main)


def test_no_speed_is_a_stop_at_once_and_is_said_once() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        async with rover.opened() as (wheels, link, _):
            await wheels.configure(1.0)
            await drive_for(rover, wheels, loop, 1.0, 1.0)
            await rover.command(wheels, loop.time(), 0.0)
            await asyncio.sleep(0.15)
            assert rover.wheel_speed(loop.time()) == 0.0
            sent = link.counters.sent
            for _ in range(5):
                await rover.command(wheels, loop.time(), 0.0)
            assert link.counters.sent == sent  # they stand, and the bus is left to others
            await wheels.poll()
            await drive_for(rover, wheels, loop, 0.5, 1.0)
            assert rover.wheel_speed(loop.time()) > 0.9

    virtually(main)


@pytest.mark.parametrize("lost", range(8))
def test_a_stop_whose_frame_is_lost_is_said_again(lost: int) -> None:
    frames = [-1]  # of the stop, so far; below 0 before it

    class LosesOne(FaultSchedule):
        def strike(self, point: str, n: int) -> Fault | None:
            if point != "wheels.to_device" or frames[0] < 0:
                return None
            frames[0] += 1
            return Fault("drop", point, at_chunk=n) if frames[0] == lost + 1 else None

    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        async with rover.opened(LosesOne((Fault("drop", "wheels.to_device", at_chunk=10**9),))) as (wheels, _, _):
            await wheels.configure(1.0)
            await drive_for(rover, wheels, loop, 1.0, 1.0)
            frames[0] = 0
            await wheels.stop()
            await asyncio.sleep(0.15)
            # a late echo could pass for the second order's: a probe settles that, and it is said once more
            assert rover.wheel_speed(loop.time()) == 0.0 and frames == [11]

    virtually(main)


def test_a_rover_on_the_ground_drives_and_stops_through_its_drives() -> None:
    """The drives on the plant's motors: four steered wheels in soil, crabbing, and then the host dies."""

    async def main(loop: VirtualLoop) -> None:
        flat = Ground(np.zeros((41, 41), np.float32), -20.0, -20.0, 1.0)
        plant = RoverPlant(POLAR, flat, NOMINAL, (0.0, 0.0, 0.0), t_s=0.0)
        rover = Rover([*map(plant.motor, NAMES), *map(plant.steer, NAMES)])
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.5)
            await drive_for(rover, wheels, loop, 3.0, 0.0, 0.5)
            values = await drive_for(rover, wheels, loop, 20.0, 0.7, 0.5)
            assert values["fl_speed_rad_s"] == pytest.approx(0.7, abs=0.05)
            assert values["fl_steer_rad"] == pytest.approx(0.5, abs=0.01)
        cut_s, (x_m, y_m, *_) = loop.time(), plant.pose(loop.time())
        assert math.hypot(x_m, y_m) > 1.0 and math.atan2(y_m, x_m) == pytest.approx(0.5, abs=0.05)
        await asyncio.sleep(1.0)
        end_m = plant.pose(loop.time())
        assert abs(plant.speed_m_s) < 1e-9
        assert math.hypot(end_m[0] - x_m, end_m[1] - y_m) < 0.15 and loop.time() - cut_s >= 1.0
        await asyncio.sleep(5.0)
        assert plant.pose(loop.time()) == end_m

    virtually(main)


def test_what_must_not_be_driven_is_refused_before_anything_moves() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        good, straight = dict.fromkeys(NAMES, 1.0), dict.fromkeys(NAMES, 0.0)
        async with rover.opened() as (wheels, _, _):
            with pytest.raises(NotReady, match="configure"):
                await wheels.drive(good, straight, seq=1, valid_until_s=loop.time() + 0.4)
            for timeout_s in (math.nan, 0.0, 5.0):
                with pytest.raises(Rejected, match=r"moves of|refused"):
                    await wheels.configure(timeout_s)
            await wheels.configure(0.5)
            now_s = loop.time()
            for speeds, steers, seq, until_s, sentence in (
                (good | {"fl": math.nan}, straight, 1, now_s + 0.4, "speed nan"),
                (good | {"fl": 99.0}, straight, 1, now_s + 0.4, "at most"),
                (good, straight | {"rr": math.inf}, 1, now_s + 0.4, "steering angle inf"),
                ({"fl": 1.0}, straight, 1, now_s + 0.4, "fr, rl, rr"),
                (good | {"xx": 1.0}, straight, 1, now_s + 0.4, "xx"),
                (good, straight, 1, now_s - 0.1, "stale"),
                (good, straight, 1, math.nan, "stale"),
                (good, straight, 1, now_s + 3.0, "send shorter"),
            ):
                with pytest.raises(Rejected, match=sentence):
                    await wheels.drive(speeds, steers, seq=seq, valid_until_s=until_s)
            await wheels.drive(good, straight, seq=5, valid_until_s=now_s + 0.4)
            for seq in (5, 4):
                with pytest.raises(Rejected, match="repetition"):
                    await wheels.drive(good, straight, seq=seq, valid_until_s=loop.time() + 0.4)

    virtually(main)


def test_a_drive_that_restarts_is_driven_no_more_until_it_is_configured() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.5)
            values = await drive_for(rover, wheels, loop, 3.0, 1.0)
            rover.drives[2].power_cycle(loop.time())
            with pytest.raises(DeviceReset, match="rl"):
                await drive_for(rover, wheels, loop, 2.0, 1.0)
            readings = await wheels.poll()
            assert readings["rl_angle_rad"].quality is Quality.BAD
            await asyncio.sleep(1.0)
            await wheels.configure(0.5)
            after = (await wheels.poll())["rl_angle_rad"]
            assert after.quality is Quality.GOOD and abs(after.value - values["rl_angle_rad"]) < 0.3
            await drive_for(rover, wheels, loop, 1.0, 1.0)
            assert rover.wheel_speed(loop.time()) > 0.9

    virtually(main)


def test_a_steering_drive_that_restarts_asks_for_straight_wheels() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.5)
            await drive_for(rover, wheels, loop, 2.0, 1.0, 0.4)
            rover.drives[6].power_cycle(loop.time())
            with pytest.raises(DeviceReset, match="rl steering"):
                await drive_for(rover, wheels, loop, 2.0, 1.0, 0.4)
            with pytest.raises(NotReady, match="set_straight"):
                await wheels.configure(0.5)
            await wheels.set_straight()
            await wheels.configure(0.5)
            await drive_for(rover, wheels, loop, 1.0, 1.0, 0.0)

    virtually(main)


def test_one_dead_drive_is_told_and_the_others_go_on() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.5)
            await drive_for(rover, wheels, loop, 1.0, 1.0)
            del rover.bus.units[3]
            died_s = loop.time()
            quality, failures = Quality.GOOD, 0
            for _ in range(10):
                try:
                    await rover.command(wheels, loop.time(), 1.0)
                except LinkTimeout as error:
                    failures += 1
                    assert "fr" in str(error) or "unit 3" in str(error)
                readings = await wheels.poll()
                if quality is Quality.GOOD and (quality := readings["fr_angle_rad"].quality) is Quality.BAD:
                    assert loop.time() - died_s <= 0.5
                assert readings["fl_angle_rad"].quality is Quality.GOOD
                await asyncio.sleep(0.05)
            assert quality is Quality.BAD and failures >= 9
            assert abs(rover.motors[1].speed_rad_s(loop.time())) > 0.9
            rover.bus.units.clear()
            with pytest.raises(LinkTimeout):
                for _ in range(3):
                    await wheels.poll()

    virtually(main)


def test_a_jammed_wheel_is_an_alarm_in_its_status() -> None:
    async def main(loop: VirtualLoop) -> None:
        rover = Rover()
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.5)
            rover.motors[1].jammed_rad = 0.2
            await rover.command(wheels, loop.time(), 1.0)
            await asyncio.sleep(3.0)
            for _ in range(8):
                readings = await wheels.poll()
            assert readings["status_1"].limit is readings["status"].limit is LimitState.ALARM
            assert readings["status_2"].limit is LimitState.NORMAL
            with pytest.raises(NotReady, match="fault"):
                await wheels.configure(0.5)
            rover.motors[1].jammed_rad = math.inf
            await wheels.clear_faults()
            await wheels.configure(0.5)

    virtually(main)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_bus_never_makes_a_wheel_turn_faster_or_longer_than_told(seed: int) -> None:
    async def main(loop: VirtualLoop) -> None:
        rng = random.Random(seed)
        faults = FaultSchedule(
            tuple(
                Fault(rng.choice(["flip", "drop", "duplicate"]), f"wheels.to_{side}", at_chunk=rng.randrange(40, 1500))
                for _ in range(30)
                for side in ("device", "host")
            )
        )
        rover = Rover()
        async with rover.opened(faults) as (wheels, _, _):
            await wheels.configure(0.5)
            refused = commands = 0
            for _ in range(60):
                commands += 1
                try:
                    await rover.command(wheels, loop.time(), 1.0)
                except BridgeError:
                    refused += 1
                with contextlib.suppress(LinkError):
                    readings = await wheels.poll()
                    now = rover.angles(loop.time())
                    for name, truth in zip(NAMES, now, strict=True):
                        reading = readings[f"{name}_angle_rad"]
                        assert reading.quality is not Quality.GOOD or abs(reading.value - truth) < 0.45
                assert rover.wheel_speed(loop.time()) < 1.02
                await asyncio.sleep(0.02)
            assert refused < commands / 2
            end_s = loop.time()
        await asyncio.sleep(end_s + 1.0 - loop.time())
        assert rover.wheel_speed(loop.time()) == 0.0

    virtually(main)


def test_the_plan_of_eight_drives_fits_its_bus() -> None:
    rover, table = Rover(), load_map("leadshine_wheel")
    as_it_is = rover.layout.cycle_s(table)
    assert 0.08 < as_it_is < 0.09  # 10 Hz on one bus at 115200 baud
    assert 0.13 < rover.layout.cycle_s(table, all_steers=True) < 0.14  # which would not fit

    async def main(loop: VirtualLoop) -> None:
        async with rover.opened() as (wheels, _, _):
            await wheels.configure(0.5)
            await drive_for(rover, wheels, loop, 0.5, 1.0)
            worst_s = 0.0
            for turn in range(20):
                begin_s = loop.time()
                await rover.command(wheels, begin_s, 1.0, 0.01 * turn)  # a steering write each time
                await wheels.poll()
                worst_s = max(worst_s, loop.time() - begin_s)
            assert worst_s <= as_it_is + 1e-6

    virtually(main)


def test_layouts_that_cannot_be_are_refused() -> None:
    rover = Rover()
    for drive, steer, rad, sentence in (
        ({"fl": 1}, {"fl": 1}, 0.1, "named 2 times"),
        ({"fl": 40}, {}, 0.1, "1 to 31"),
        ({"fl": 1}, {}, math.nan, "finite number over 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            ModbusLayout(drive, steer, rad, 0.1)
    assert rover.layout.steer["fl"] == 5


def test_the_wheel_map_says_what_no_source_confirms() -> None:
    table = load_map("leadshine_wheel")
    assert table.watchdog == "none" and "ends by itself" in table.watchdog_why
    assert {"trigger", "pr0_position", "motion_status"} <= {n for n, s in table.signals.items() if s.unverified}
    for name, signal in load_map("leadshine_cs2rs").signals.items():
        if name in table.signals:
            other = table.signal(name)
            assert (other.address, other.dtype, other.fc) == (signal.address, signal.dtype, signal.fc)
