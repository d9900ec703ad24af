"""Do the wheels move only as long as somebody means it, and are their readings what the boards say?"""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roboclaw_helpers import TICKS, linked, make_line, motor, noise

from firmware_bridge.devices.wheels import RoboClawLayout, RoboClawWheels
from firmware_bridge.devices.wheels_readings import status_limit, status_words
from firmware_bridge.errors import (
    BridgeError,
    DeviceReset,
    FrameError,
    LinkTimeout,
    NotReady,
    Rejected,
    TransportError,
    Unverified,
    WrongModel,
)
from firmware_bridge.signals import LimitState, Quality
from hil_sim.virtual_time import run_virtual
from hil_sim.world.emulators.roboclaw import BoardSettings, RoboClawLine
from hil_sim.world.faults.schedule import Fault, FaultSchedule

WHEELS = {"fl": (128, 1), "ml": (128, 2), "rl": (129, 1), "rr": (129, 2), "mr": (130, 1), "fr": (130, 2)}
STEERS = {"fl": (131, 1), "rl": (131, 2), "rr": (132, 1), "fr": (132, 2)}
LAYOUT = RoboClawLayout(
    wheels=WHEELS, steers=STEERS, ticks_per_rad=TICKS, steer_ticks_per_rad=TICKS, qpps_max=1850, steer_max_rad=0.75
)
BOARDS = (128, 129, 130, 131, 132)
STRAIGHT = dict.fromkeys(STEERS, 0.0)


def speeds(value: float = 1.0, **others: float) -> dict[str, float]:
    return dict.fromkeys(WHEELS, value) | others


@contextlib.asynccontextmanager
async def rover(
    line: RoboClawLine | None = None,
    *,
    layout: RoboClawLayout = LAYOUT,
    faults: FaultSchedule | None = None,
    timeout_s: float | None = 0.5,
    **settings,
) -> AsyncIterator[tuple[RoboClawWheels, RoboClawLine]]:
    """Wheels on a line, configured unless `timeout_s` is None."""
    line = line if line is not None else make_line(*BOARDS)
    async with linked(line, faults=faults, **settings) as link:
        wheels = RoboClawWheels(link, layout)
        if timeout_s is not None:
            await wheels.configure(timeout_s)
        yield wheels, line


async def cycle(wheels: RoboClawWheels, seq: int, speed: float = 1.0, valid_s: float = 0.4, **steers: float):
    """One turn at 10 Hz: poll, then drive, then the rest of the 100 ms."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    readings = await wheels.poll()
    await wheels.drive(speeds(speed), STRAIGHT | steers, seq=seq, valid_until_s=loop.time() + valid_s)
    await asyncio.sleep(max(0.0, began_s + 0.1 - loop.time()))
    return readings


def wheel_speeds(line: RoboClawLine) -> list[float]:
    now_s = asyncio.get_running_loop().time()
    return [motor(line, *place).speed_rad_s(now_s) for place in WHEELS.values()]


def run(test) -> None:
    async def main(loop):
        await test()

    run_virtual(main)


# ---- before driving -------------------------------------------------------------------------------------------------


def test_five_boards_say_what_they_are() -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, _):
            texts = await wheels.identify()
            assert list(texts) == list(BOARDS) and set(texts.values()) == {"USB Roboclaw 2x15a v4.2.4"}

    run(test)


@pytest.mark.parametrize("version", ["Sabertooth 2x32 v4.2.4", "USB Roboclaw 2x15a v3.1.9", "USB Roboclaw 2x15a"])
def test_another_model_or_old_firmware_is_refused(version: str) -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, line):
            line.boards[131].version = version
            with pytest.raises(WrongModel, match="131"):
                await wheels.identify()

    run(test)


def test_configure_arms_every_boards_dead_man_and_writes_no_memory() -> None:
    async def test() -> None:
        async with rover(timeout_s=0.57) as (_, line):
            assert [board.settings.timeout_steps for board in line.boards.values()] == [5] * 5
            assert [board.nvm_writes for board in line.boards.values()] == [0] * 5
            assert all(motor(line, *place).calls[-1][1:] == ("duty", (0.0,)) for place in WHEELS.values())

    run(test)


@pytest.mark.parametrize("timeout_s", [0.0, 0.09, 25.7, -1.0, math.nan, math.inf])
def test_a_dead_man_of_no_use_is_refused(timeout_s: float) -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, line):
            with pytest.raises(Rejected, match="serial timeout"):
                await wheels.configure(timeout_s)
            assert line.counters.packets == 0

    run(test)


def test_a_dead_man_that_reads_back_differently_is_not_relied_on() -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, line):
            board = line.boards[130]
            execute = board.execute
            board.execute = lambda command, data, t_s: b"" if command == 14 else execute(command, data, t_s)  # type: ignore[method-assign]
            with pytest.raises(Unverified, match="board 130"):
                await wheels.configure(0.5)
            with pytest.raises(NotReady, match="configure"):
                await cycle(wheels, 1)

    run(test)


def test_a_board_in_an_error_is_not_made_ready() -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, line):
            line.boards[129].forced_status = 1 << 7
            with pytest.raises(NotReady, match="129 reports driver fault of motor 2"):
                await wheels.configure(0.5)

    run(test)


@pytest.mark.parametrize(
    "change",
    [{"wheels": {"fl": (127, 1)}}, {"wheels": {"fl": (128, 3)}}, {"steers": {"fl": (128, 1)}}, {"qpps_max": math.nan},
     {"ticks_per_rad": 0.0}],
)  # fmt: skip
def test_a_layout_that_cannot_be_is_refused(change: dict) -> None:
    fields = {
        "wheels": WHEELS,
        "steers": STEERS,
        "ticks_per_rad": TICKS,
        "steer_ticks_per_rad": TICKS,
        "qpps_max": 1850,
    }
    with pytest.raises(ValueError):
        RoboClawLayout(**(fields | change))


# ---- driving --------------------------------------------------------------------------------------------------------


def test_speeds_and_angles_reach_the_wheels_they_are_meant_for() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            wanted = {name: 0.3 * n - 0.8 for n, name in enumerate(WHEELS)}
            angles = {"fl": 0.3, "rl": -0.2, "rr": -0.1, "fr": 0.25}
            await wheels.drive(wanted, angles, seq=1, valid_until_s=loop.time() + 2.0)
            for seq in range(2, 20):
                await asyncio.sleep(0.1)
                await wheels.drive(wanted, angles, seq=seq, valid_until_s=loop.time() + 0.4)
                readings = await wheels.poll()
            for name, place in WHEELS.items():
                port = motor(line, *place)
                assert port.speed_rad_s(loop.time()) == pytest.approx(wanted[name], abs=1 / TICKS)
                assert readings[f"{name}_speed_rad_s"].value == pytest.approx(wanted[name], abs=0.03)
                reading = readings[f"{name}_angle_rad"]
                moved = port.angle_rad(loop.time()) - wanted[name] * (loop.time() - reading.time_s)
                assert reading.value == pytest.approx(moved, abs=0.01)
            for name, place in STEERS.items():
                assert motor(line, *place).angle_rad(loop.time()) == pytest.approx(angles[name], abs=2 / TICKS)
                assert readings[f"{name}_steer_rad"].value == pytest.approx(angles[name], abs=3 / TICKS)

    run(test)


def test_mirrored_motors_and_a_straight_that_is_not_zero_are_taken_into_account() -> None:
    layout = RoboClawLayout(
        wheels=WHEELS,
        steers=STEERS,
        ticks_per_rad=TICKS,
        steer_ticks_per_rad=TICKS,
        qpps_max=1850,
        mirrored=frozenset({"rr"}),
        steers_mirrored=frozenset({"fr"}),
        steer_zero_ticks={"fr": 100, "fl": -50},
    )

    async def test() -> None:
        async with rover(layout=layout) as (wheels, line):
            for seq in range(1, 15):
                readings = await cycle(wheels, seq, fr=0.2, fl=0.1)
            now_s = asyncio.get_running_loop().time()
            assert motor(line, 129, 2).speed_rad_s(now_s) == pytest.approx(-1.0, abs=0.01)
            assert readings["rr_speed_rad_s"].value == pytest.approx(1.0, abs=0.03)
            assert readings["rr_angle_rad"].value > 1.0
            assert motor(line, 132, 2).angle_rad(now_s) == pytest.approx(-0.2 + 100 / TICKS, abs=0.005)
            assert motor(line, 131, 1).angle_rad(now_s) == pytest.approx(0.1 - 50 / TICKS, abs=0.005)
            assert readings["fr_steer_rad"].value == pytest.approx(0.2, abs=0.005)
            assert readings["fl_steer_rad"].value == pytest.approx(0.1, abs=0.005)

    run(test)


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"speeds": speeds(fl=math.nan)}, "speed nan rad/s of fl"),
        ({"speeds": speeds(mr=math.inf)}, "speed inf"),
        ({"speeds": speeds(rr=-3.3)}, "at most 3.236"),
        ({"steers": STRAIGHT | {"fl": math.nan}}, "steering angle nan"),
        ({"steers": STRAIGHT | {"rr": 0.76}}, "at most 0.75"),
        ({"speeds": {"fl": 1.0}}, "one speed for each"),
        ({"speeds": speeds(xx=1.0)}, "look at xx"),
        ({"steers": {}}, "one steering angle for each"),
        ({"valid_s": 0.0}, "stale"),
        ({"valid_s": -3.0}, "stale"),
        ({"valid_s": math.nan}, "stale"),
        ({"valid_s": 60.0}, "over 2 s"),
        ({"seq": 5}, "repetition"),
        ({"seq": 4}, "repetition"),
    ],
)
def test_what_is_no_command_is_refused_before_a_byte_is_sent(given: dict, sentence: str) -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            await wheels.drive(speeds(0.5), STRAIGHT, seq=5, valid_until_s=loop.time() + 0.4)
            before = line.counters.packets
            with pytest.raises(Rejected, match=sentence):
                await wheels.drive(
                    given.get("speeds", speeds()),
                    given.get("steers", STRAIGHT),
                    seq=given.get("seq", 6),
                    valid_until_s=loop.time() + given.get("valid_s", 0.4),
                )
            assert line.counters.packets == before
            assert wheel_speeds(line) == [pytest.approx(0.5, abs=0.002)] * 6

    run(test)


def test_nothing_is_driven_before_it_is_configured() -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, line):
            with pytest.raises(NotReady, match="serial timeout"):
                await cycle(wheels, 1)
            assert all(not motor(line, *place).calls for place in WHEELS.values())

    run(test)


def test_a_stop_overtakes_the_command_that_waits_for_the_line() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            await wheels.drive(speeds(1.0), STRAIGHT, seq=1, valid_until_s=loop.time() + 0.4)
            driving = asyncio.ensure_future(wheels.drive(speeds(2.0), STRAIGHT, seq=2, valid_until_s=loop.time() + 0.4))
            polling = asyncio.ensure_future(wheels.poll())
            await asyncio.sleep(0.003)  # one board has it already
            began_s = loop.time()
            await wheels.stop()
            assert loop.time() - began_s < 0.025 and wheel_speeds(line) == [0.0] * 6
            with pytest.raises(Rejected, match="overtaken by a stop"):
                await driving
            await polling
            await asyncio.sleep(0.2)
            assert wheel_speeds(line) == [0.0] * 6
            with pytest.raises(Rejected, match="repetition"):
                await wheels.drive(speeds(1.0), STRAIGHT, seq=2, valid_until_s=loop.time() + 0.4)
            await wheels.drive(speeds(1.0), STRAIGHT, seq=3, valid_until_s=loop.time() + 0.4)
            assert wheel_speeds(line) == [pytest.approx(1.0, abs=0.002)] * 6

    run(test)


def test_a_command_that_grows_stale_on_its_way_is_not_sent() -> None:
    """Its first packet is lost; when the line is quiet again its time is over."""

    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            line.boards[128].reply_delay_s = 0.2
            with pytest.raises(Rejected, match="grew stale"):
                await wheels.drive(speeds(), STRAIGHT, seq=1, valid_until_s=loop.time() + 0.03)
            assert motor(line, 129, 1).calls[-1][1:] == ("duty", (0.0,))

    run(test)


def test_wheels_stop_when_the_last_command_is_over_though_polls_go_on() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            loop = asyncio.get_running_loop()
            for seq in range(1, 11):
                await cycle(wheels, seq)
            last_s = loop.time() - 0.1
            while loop.time() < last_s + 0.55:
                await wheels.poll()
                await asyncio.sleep(0.08)
            assert wheel_speeds(line) == [0.0] * 6
            assert all(board.stopped_by_timeout == 0 for board in line.boards.values())

    run(test)


def test_a_stop_that_was_acknowledged_and_not_obeyed_is_repeated() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            for seq in range(1, 6):
                await cycle(wheels, seq)
            board = line.boards[129]
            execute = board.execute
            board.execute = lambda command, data, t_s: b"" if command == 54 else execute(command, data, t_s)  # type: ignore[method-assign]
            await wheels.stop()
            assert [speed > 0 for speed in wheel_speeds(line)] == [False, False, True, True, False, False]
            board.execute = execute  # type: ignore[method-assign]
            for _ in range(5):
                await wheels.poll()
                await asyncio.sleep(0.1)
            assert wheel_speeds(line) == [0.0] * 6
            before = line.counters.packets
            for _ in range(20):
                readings = await wheels.poll()
                await asyncio.sleep(0.1)
            assert readings["rl_speed_rad_s"].value == 0.0
            assert line.counters.packets - before <= 20 * (5 + 3)  # no more stops than needed

    run(test)


@pytest.mark.parametrize("cut_at_s", [1.0, 1.013, 1.047, 1.081])
def test_wheels_stop_by_the_boards_own_dead_man_when_the_host_dies(cut_at_s: float) -> None:
    async def test() -> None:
        line = make_line(*BOARDS)
        faults = FaultSchedule(
            (Fault("disconnect", "wheels.to_device", at_s=cut_at_s, for_s=9, args={"back_after_s": 5}),)
        )  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        async with rover(line, faults=faults) as (wheels, _):
            with pytest.raises(TransportError):
                for seq in range(1, 100):
                    await cycle(wheels, seq)
            while loop.time() < cut_at_s + 0.75:
                await asyncio.sleep(0.01)
            assert wheel_speeds(line) == [0.0] * 6
            assert all(board.stopped_by_timeout == 1 for board in line.boards.values())
            await asyncio.sleep(10.0)
            assert wheel_speeds(line) == [0.0] * 6

    run(test)


# ---- boards that fail -----------------------------------------------------------------------------------------------


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


# ---- readings -------------------------------------------------------------------------------------------------------


def test_what_the_boards_say_is_scaled_judged_and_dated() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            motor(line, 129, 2).amps, motor(line, 131, 2).amps = -9.0, 0.25
            line.boards[132].volts = lambda t_s: 10.2
            line.boards[128].temp_c = lambda t_s: 71.0
            line.boards[130].forced_status = 1 << 13
            readings = await wheels.poll()
            row = {name: (reading.value, reading.unit, reading.limit) for name, reading in readings.items()}
            assert row["rr_current_a"] == (-9.0, "A", LimitState.WARN)
            assert row["rl_steer_a"] == (0.25, "A", LimitState.NORMAL)
            assert row["volts_v"] == row["board132_volts_v"] == (pytest.approx(10.2), "V", LimitState.WARN)
            assert row["board128_volts_v"] == (pytest.approx(12.0), "V", LimitState.NORMAL)
            assert row["board_temp_c"] == row["board128_temp_c"] == (pytest.approx(71.0), "degC", LimitState.WARN)
            assert row["status"] == row["board130_status"] == (8192.0, "", LimitState.ALARM)
            assert row["board129_status"] == (0.0, "", LimitState.NORMAL)
            assert all(reading.quality is Quality.GOOD and reading.time_s > 0 for reading in readings.values())
            names = [f"{name}_{what}" for name in WHEELS for what in ("angle_rad", "speed_rad_s", "current_a")]
            names += [f"{name}_{what}" for name in STEERS for what in ("steer_rad", "steer_a")]
            assert set(names) <= readings.keys()

    run(test)


def test_counters_that_wrap_go_on() -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, line):
            for place in WHEELS.values():
                line.boards[place[0]].channels[place[1] - 1].set_ticks(2**31 - 500, 0.0)
            await wheels.configure(0.5)
            readings = [await cycle(wheels, seq, speed=2.0) for seq in range(1, 20)]
            angles = [turn["fl_angle_rad"].value for turn in readings]
            assert angles[-1] - angles[0] == pytest.approx(2.0 * 1.8, abs=0.3)
            assert all(turn["fl_speed_rad_s"].value < 2.1 for turn in readings)

    run(test)


def test_slow_readings_come_once_a_second_and_a_cycle_takes_the_line_time_that_is_stated() -> None:
    async def test(baud: int) -> None:
        asked: dict[int, int] = {}

        def tap(t_s: float, point: str, data: bytes) -> None:
            if point == "wheels.to_device":
                asked[data[1]] = asked.get(data[1], 0) + 1

        async with rover(make_line(*BOARDS, baud=baud), tap=tap) as (wheels, _):
            await wheels.poll()
            asked.clear()
            loop = asyncio.get_running_loop()
            busy_s = 0.0
            for seq in range(1, 101):
                began_s = loop.time()
                await wheels.poll()
                await wheels.drive(speeds(), STRAIGHT, seq=seq, valid_until_s=loop.time() + 0.4)
                busy_s += loop.time() - began_s
                await asyncio.sleep(began_s + 0.1 - loop.time())
            assert asked[78] == 500 and asked[37] == 300 and asked[65] == asked[66] == 200
            assert all(50 <= asked[command] <= 61 for command in (15, 24, 49, 82, 90))
            assert busy_s / 100 == pytest.approx(LAYOUT.cycle_s(baud), rel=0.05)

    for baud, share in ((115200, 0.4), (38400, 0.8)):
        run(lambda baud=baud: test(baud))
        assert LAYOUT.cycle_s(baud) / 0.1 < share


@given(st.integers(0, 2**32 - 1))
def test_a_status_of_any_bits_has_its_words_and_its_limit(status: int) -> None:
    assert len(status_words(status)) == bin(status).count("1")
    expected = LimitState.ALARM if status & 0xFFFF else LimitState.WARN if status else LimitState.NORMAL
    assert status_limit(status) is expected


@given(
    st.dictionaries(st.sampled_from(sorted(WHEELS)), st.floats(-3.2, 3.2), min_size=6, max_size=6),
    st.dictionaries(st.sampled_from(sorted(STEERS)), st.floats(-0.75, 0.75), min_size=4, max_size=4),
)
def test_every_motor_is_commanded_once_and_within_its_bounds(wanted: dict, angles: dict) -> None:
    seen = set()
    for plan in LAYOUT.boards():
        for command, data in LAYOUT.commands(plan, wanted, angles):
            if command == 37:
                values = struct.unpack(">ii", data)
                assert all(abs(value) <= 1850 for value in values)
                seen |= {(plan.address, 1), (plan.address, 2)}
            else:
                accel, top, decel, ticks, at_once = struct.unpack(">IIIiB", data)
                assert abs(ticks) <= round(0.75 * TICKS) and accel == decel > 0 < top and at_once == 1
                seen.add((plan.address, command - 64))
    assert seen == {*WHEELS.values(), *STEERS.values()}
