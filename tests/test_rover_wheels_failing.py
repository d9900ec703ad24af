"""What becomes of the wheels when a board dies, comes back, restarts or is not understood?"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from roboclaw_helpers import make_line, motor, noise
from wheels_helpers import BOARDS, STRAIGHT, WHEELS, cycle, rover, run, speeds, wheel_speeds

from firmware_bridge.errors import (
    BridgeError,
    DeviceReset,
    FrameError,
    LinkTimeout,
    NotReady,
)
from firmware_bridge.signals import Quality
from hil_sim.world.emulators.roboclaw import BoardSettings
from hil_sim.world.faults.schedule import Fault, FaultSchedule


def test_a_board_that_dies_is_known_in_half_a_second_and_the_others_keep_their_pace() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            for seq in range(1, 11):
                await cycle(wheels, seq)
            line.boards[130].die(loop.time())
            died_s, known_s, seq, times = loop.time(), None, 100, []
            while loop.time() < died_s + 8.0:
                began_s, seq = loop.time(), seq + 1
                readings = await wheels.poll()
                with pytest.raises(LinkTimeout, match="130"):
                    await wheels.drive(speeds(), STRAIGHT, seq=seq, valid_until_s=loop.time() + 0.4)
                times.append(loop.time() - began_s)
                if known_s is None and readings["mr_speed_rad_s"].quality is Quality.BAD:
                    known_s = loop.time()
                await asyncio.sleep(max(0.0, began_s + 0.1 - loop.time()))
            assert known_s is not None and known_s - died_s <= 0.5
            assert readings["fl_speed_rad_s"].quality is Quality.GOOD
            assert readings["fl_speed_rad_s"].value == pytest.approx(1.0, abs=0.03)
            assert readings["volts_v"].quality is Quality.BAD and readings["board128_volts_v"].quality is Quality.GOOD
            assert len(times) >= 78 and sum(t > 0.1 for t in times) <= 1  # 10 Hz all along, but for once

    run(test)


def test_a_board_that_comes_back_without_its_dead_man_is_not_driven_until_configured_again() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            for seq in range(1, 6):
                await cycle(wheels, seq)
            line.boards[128].brown_out(loop.time(), off_s=0.25)
            refused = None
            for seq in range(6, 40):
                try:
                    await cycle(wheels, seq)
                except DeviceReset as error:
                    refused = str(error)
                except LinkTimeout:
                    await asyncio.sleep(0.05)
            assert refused is not None and "board 128 has restarted" in refused
            calls = [what for t_s, what, _ in motor(line, 128, 1).calls if what == "speed"]
            assert len(calls) == 5 and wheel_speeds(line) == [0.0] * 6
            assert (await wheels.poll())["fl_angle_rad"].quality is Quality.BAD
            angle = (await wheels.poll())["fl_angle_rad"].value
            await wheels.configure(0.5)
            assert line.boards[128].settings.timeout_steps == 5
            readings = await cycle(wheels, 50)
            assert readings["fl_angle_rad"].value == pytest.approx(angle, abs=0.02)  # it goes on from where it was
            assert readings["fl_angle_rad"].quality is Quality.GOOD
            await cycle(wheels, 51)
            assert wheel_speeds(line) == [pytest.approx(1.0, abs=0.002)] * 6

    run(test)


def test_a_board_that_missed_a_poll_is_told_nothing_until_it_was_asked_for_its_dead_man() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            for seq in range(1, 6):
                await cycle(wheels, seq)
            line.boards[130].die(loop.time())
            await wheels.poll()
            line.boards[130].revive(loop.time())  # it is back before anybody looked, and would drive for ever
            await asyncio.sleep(0.15)
            with pytest.raises(LinkTimeout, match="board 130"):
                await wheels.drive(speeds(2.0), STRAIGHT, seq=6, valid_until_s=loop.time() + 0.4)
            assert motor(line, 130, 1).speed_rad_s(loop.time()) == 0.0
            assert motor(line, 129, 1).speed_rad_s(loop.time()) == pytest.approx(2.0, abs=0.002)
            await asyncio.sleep(0.6)
            await wheels.poll()
            with pytest.raises(DeviceReset, match="board 130"):
                await wheels.drive(speeds(2.0), STRAIGHT, seq=7, valid_until_s=loop.time() + 0.4)

    run(test)


def test_after_nothing_but_damaged_answers_the_boards_are_asked_before_they_are_driven() -> None:
    async def test() -> None:
        faults = FaultSchedule((Fault("flip", "wheels.to_host", at_s=1.0, for_s=1.0),))
        async with rover(faults=faults) as (wheels, line):
            loop = asyncio.get_running_loop()
            seq = 0
            while loop.time() < 0.9:
                await cycle(wheels, seq := seq + 1)
            await asyncio.sleep(1.01 - loop.time())
            with pytest.raises(FrameError):
                await wheels.poll()
            await asyncio.sleep(2.01 - loop.time())
            before = line.counters.packets
            with pytest.raises(LinkTimeout, match="5 commands were not taken"):
                await wheels.drive(speeds(), STRAIGHT, seq=50, valid_until_s=loop.time() + 0.4)
            assert line.counters.packets == before
            await cycle(wheels, 51)
            assert wheel_speeds(line) == [pytest.approx(1.0, abs=0.002)] * 6

    run(test)


def test_a_reset_that_nobody_noticed_is_found_within_two_seconds_by_reading_the_dead_man_back() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            for seq in range(1, 12):
                await cycle(wheels, seq, speed=0.0)
            line.boards[129].brown_out(loop.time(), off_s=0.0)  # its counters stood at 0 and it is back at once
            with pytest.raises(DeviceReset, match=r"timeout reads 0 s, not 0.5 s"):
                for seq in range(12, 32):
                    await cycle(wheels, seq, speed=0.0)

    run(test)


@pytest.mark.parametrize("is_latched", [True, False])
def test_an_emergency_stop_on_one_board_stops_all_wheels_and_its_release_starts_none(is_latched: bool) -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            board = line.boards[129]
            board.e_stop_latches = is_latched
            for seq in range(1, 12):
                await cycle(wheels, seq)
            board.e_stop(loop.time())
            pressed_s, refused, seq = loop.time(), "", 100
            while not refused and loop.time() < pressed_s + 3.0:
                try:
                    await cycle(wheels, seq := seq + 1)
                except NotReady as error:
                    refused = str(error)
            assert "board 129 has reported emergency stop and stopped its motors" in refused
            assert loop.time() - pressed_s < 1.3  # it is read once a second
            assert wheel_speeds(line) == [0.0] * 6
            board.e_stop(loop.time(), is_pressed=False)
            for seq in range(200, 215):
                with pytest.raises(NotReady, match="emergency stop"):
                    await cycle(wheels, seq)
            assert wheel_speeds(line) == [0.0] * 6
            if is_latched:
                with pytest.raises(NotReady, match="129 reports emergency stop"):
                    await wheels.configure(0.5)
                return
            await wheels.configure(0.5)
            await cycle(wheels, 300)
            assert wheel_speeds(line) == [pytest.approx(1.0, abs=0.002)] * 6

    run(test)


def test_a_counter_that_jumps_is_a_restart() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            for seq in range(1, 40):
                await cycle(wheels, seq, speed=2.0)
            line.boards[130].nvm = BoardSettings(timeout_steps=5)  # it even holds the right timeout
            line.boards[130].brown_out(asyncio.get_running_loop().time(), off_s=0.0)
            readings = await wheels.poll()
            assert readings["fr_angle_rad"].quality is readings["mr_speed_rad_s"].quality is Quality.BAD
            assert readings["fl_angle_rad"].quality is Quality.GOOD
            with pytest.raises(DeviceReset, match="counter 1 went from"):
                await cycle(wheels, 41)

    run(test)


@pytest.mark.parametrize("is_turning", [False, True])
def test_a_lost_steering_counter_is_restored_only_if_the_wheel_stood_where_it_was_sent(is_turning: bool) -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            for seq in range(1, 30):
                await cycle(wheels, seq, fl=0.4)
            if is_turning:
                await cycle(wheels, 30, fl=-0.7)
                await cycle(wheels, 31, fl=-0.7)
            line.boards[131].brown_out(loop.time(), off_s=0.2)
            await asyncio.sleep(0.3)
            for _ in range(15):
                await wheels.poll()
                await asyncio.sleep(0.1)
            truth = motor(line, 131, 1).angle_rad(loop.time())
            if is_turning:
                with pytest.raises(NotReady, match="nobody knows where the wheel points"):
                    await wheels.configure(0.5)
                motor(line, 131, 1).turn_by_hand(-truth)
                await wheels.set_straight()
                truth = 0.0
            await wheels.configure(0.5)
            assert (await wheels.poll())["fl_steer_rad"].value == pytest.approx(truth, abs=0.005)
            await cycle(wheels, 100, fl=0.2)
            for seq in range(101, 112):
                await cycle(wheels, seq, fl=0.2)
            assert motor(line, 131, 1).angle_rad(loop.time()) == pytest.approx(0.2, abs=0.005)

    run(test)


def test_a_stop_that_a_board_does_not_take_is_said_after_all_others_have_it() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            await cycle(wheels, 1)
            line.boards[128].hang(asyncio.get_running_loop().time())
            with pytest.raises(LinkTimeout, match="128"):
                await wheels.stop()
            assert [speed == 0 for speed in wheel_speeds(line)] == [False, False, True, True, True, True]
            line.boards[128].revive(asyncio.get_running_loop().time())
            await asyncio.sleep(0.2)
            await wheels.safe()
            await wheels.safe()

    run(test)


def test_a_noisy_line_slows_the_wheels_readings_and_never_falsifies_them() -> None:
    """Of all bytes 1 % are flipped and 1 % lost, and one board is dead: the others drive on, every value is true."""

    async def test() -> None:
        line = make_line(*BOARDS, chunk_bytes=1)
        async with rover(line, faults=noise(11, chunks=60_000), timeout_s=None) as (wheels, _):
            loop = asyncio.get_running_loop()
            assert len(await wheels.identify()) == 5
            for _ in range(5):
                with contextlib.suppress(LinkTimeout):
                    await wheels.configure(0.8)
                    break
            line.boards[132].die(loop.time())
            good, taken, seq = 0, 0, 0
            while loop.time() < 60.0:
                seq += 1
                began_s = loop.time()
                readings = await wheels.poll()
                with contextlib.suppress(BridgeError):
                    await wheels.drive(speeds(0.8), STRAIGHT, seq=seq, valid_until_s=loop.time() + 0.6)
                for name, place in WHEELS.items():
                    reading = readings[f"{name}_angle_rad"]
                    if reading.quality is Quality.GOOD and reading.time_s >= began_s:
                        now_rad = motor(line, *place).angle_rad(loop.time())
                        assert now_rad - 0.9 * (loop.time() - began_s) - 0.01 <= reading.value <= now_rad + 0.005
                        good += 1
                    current = readings[f"{name}_current_a"]
                    assert current.quality is Quality.BAD or current.value == 0.5
                taken += sum(speed > 0.7 for speed in wheel_speeds(line))
                await asyncio.sleep(max(0.0, began_s + 0.1 - loop.time()))
            assert readings["fr_steer_rad"].quality is Quality.BAD
            with pytest.raises(LinkTimeout, match=r"132 .* did not answer command 54"):  # asked all the same
                await wheels.stop()
            assert good > 0.9 * 6 * seq and taken > 0.9 * 6 * seq and seq > 250, (good / seq, taken / seq, seq)

    run(test)
