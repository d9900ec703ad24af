"""Do the wheels move only as long as somebody means it?"""

from __future__ import annotations

import asyncio
import math

import pytest
from roboclaw_helpers import TICKS, make_line, motor
from wheels_helpers import BOARDS, STEERS, STRAIGHT, WHEELS, cycle, rover, run, speeds, wheel_speeds

from firmware_bridge.devices.wheels import RoboClawLayout
from firmware_bridge.errors import (
    NotReady,
    Rejected,
    TransportError,
    Unverified,
    WrongModel,
)
from hil_sim.world.faults.schedule import Fault, FaultSchedule


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


def test_firmware_that_does_not_acknowledge_the_dead_man_is_asked_whether_it_has_it() -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, line):
            line.boards[130].unacknowledged = frozenset({14})
            await wheels.configure(0.5)
            assert line.boards[130].settings.timeout_steps == 5
            line.boards[130].withdrawn = frozenset({14})
            with pytest.raises(Unverified, match=r"board 130: .* set to 0.7 s and reads back as 0.5 s"):
                await wheels.configure(0.7)

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
     {"ticks_per_rad": 0.0}, {"stop_ramp_s": 0.04}],
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


# ---- driving ---------------------------------------------------------------------------------------------------------


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
