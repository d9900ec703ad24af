"""Does the emulated motor board move, and stop by itself, as the manual says?"""

from __future__ import annotations

import asyncio
import struct

import pytest
from roboclaw_bench import A, Bench, run
from roboclaw_helpers import NO_LOAD_RAD_S, TICKS, Host, Motor, motor, packet

from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.roboclaw import BoardSettings, RoboClawBoard, RoboClawLine
from hil_sim.world.emulators.roboclaw_motors import Unconnected

# ---- motion ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command, form, values, duties",
    [
        (0, ">B", (127,), (1.0, None)),
        (1, ">B", (127,), (-1.0, None)),
        (4, ">B", (127,), (None, 1.0)),
        (5, ">B", (0,), (None, 0.0)),
        (6, ">B", (64,), (0.0, None)),
        (6, ">B", (127,), (1.0, None)),
        (7, ">B", (0,), (None, -1.0)),
        (32, ">h", (-32767,), (-1.0, None)),
        (33, ">h", (16384,), (None, 0.5)),
        (34, ">hh", (0, 32767), (0.0, 1.0)),
    ],
)
def test_duty_commands_reach_their_motor(
    command: int, form: str, values: tuple[int, ...], duties: tuple[float | None, ...]
) -> None:
    async def test(bench: Bench) -> None:
        await bench.tell(command, form, *values)
        for channel, duty in enumerate(duties, start=1):
            calls = motor(bench.line, A, channel).calls
            assert calls == [] if duty is None else calls[-1][1:] == ("duty", (pytest.approx(duty, abs=1e-4),))
        pwm = await bench.ask(48, ">hh")
        assert [value / 32767 for value in pwm] == [pytest.approx(duty or 0.0, abs=1e-4) for duty in duties]

    run(test)


@pytest.mark.parametrize(
    "command, form, values, speeds, accel",
    [
        (35, ">i", (500,), (500, None), 655360),
        (36, ">i", (-500,), (None, -500), 655360),
        (37, ">ii", (500, -300), (500, -300), 655360),
        (38, ">Ii", (1000, 500), (500, None), 1000),
        (39, ">Ii", (1000, -500), (None, -500), 1000),
        (40, ">Iii", (1000, 500, 600), (500, 600), 1000),
        (50, ">IiIi", (1000, 500, 1000, 600), (500, 600), 1000),
        (35, ">i", (100_000,), (44_000, None), 655360),  # no more than the motor's QPPS
    ],
)
def test_speed_commands_reach_their_motor_in_its_own_units(
    command: int, form: str, values: tuple[int, ...], speeds: tuple[int | None, ...], accel: int
) -> None:
    async def test(bench: Bench) -> None:
        await bench.tell(command, form, *values)
        for channel, speed in enumerate(speeds, start=1):
            calls = motor(bench.line, A, channel).calls
            if speed is None:
                assert calls == []
            else:
                assert calls[-1][1:] == ("speed", (pytest.approx(speed / TICKS), pytest.approx(accel / TICKS)))

    run(test)


def test_a_mirrored_motor_counts_and_turns_the_other_way() -> None:
    async def main(loop):
        motors = (Motor(), Motor())
        bench = Bench(line=RoboClawLine({A: RoboClawBoard(motors, (TICKS, -TICKS))}, baud=115200))
        await bench.tell(37, ">ii", 500, 500)
        await asyncio.sleep(0.5)
        assert motors[1].angle_rad(loop.time()) == pytest.approx(-motors[0].angle_rad(loop.time()), rel=1e-6)
        ahead, also_ahead = await bench.ask(78, ">ii")
        assert ahead == also_ahead > 200
        await bench.tell(34, ">hh", 16384, 16384)
        assert motors[0].calls[-1][2][0] == -motors[1].calls[-1][2][0] > 0

    run_virtual(main)


def test_a_position_command_goes_there_and_a_newer_one_at_once_replaces_it() -> None:
    async def test(bench: Bench) -> None:
        await bench.tell(65, ">IIIiB", 5000, 500, 5000, 300, 1)
        assert await bench.ask(47, ">BB") == (0, 0x80)
        await asyncio.sleep(0.3)
        await bench.tell(65, ">IIIiB", 5000, 500, 2000, -200, 1)
        assert motor(bench.line, A).calls[-1][2] == pytest.approx((-200 / TICKS, 500 / TICKS, 2000 / TICKS))
        await asyncio.sleep(2.0)
        assert (await bench.ask(78, ">ii"))[0] == pytest.approx(-200, abs=2)
        assert await bench.ask(47, ">BB") == (0x80, 0x80)
        await bench.tell(67, ">IIIiIIIiB", 5000, 500, 5000, 100, 5000, 500, 5000, -100, 1)
        await asyncio.sleep(2.0)
        assert await bench.ask(78, ">ii") == (pytest.approx(100, abs=2), pytest.approx(-100, abs=2))

    run(test)


def test_a_position_that_nothing_follows_needs_no_timer_and_one_that_comes_behind_waits_for_it() -> None:
    async def test(bench: Bench) -> None:
        channel = bench.line.boards[A].channels[0]
        await bench.tell(65, ">IIIiB", 5000, 500, 5000, 300, 1)
        assert channel.running is not None and channel._timer is None
        await bench.tell(65, ">IIIiB", 5000, 500, 5000, -100, 0)
        assert len(channel.moves) == 1 and channel._timer is not None  # it waits for the first one, watched now
        await asyncio.sleep(1.0)
        assert not channel.moves and channel._timer is None  # on its way back, and nothing stands behind that
        await asyncio.sleep(2.0)
        assert await bench.ask(47, ">BB") == (0x80, 0x80)
        assert channel.ticks(asyncio.get_running_loop().time()) == pytest.approx(-100, abs=3)

    run(test)


@pytest.mark.parametrize(
    "command, form, values",
    [
        (41, ">iIB", (400, 200, 0)),
        (44, ">IiIB", (100_000, 400, 200, 0)),
        (43, ">iIiIB", (400, 200, 400, 200, 0)),
        (46, ">IiIiIB", (100_000, 400, 200, 400, 200, 0)),
        (51, ">IiIIiIB", (100_000, 400, 200, 100_000, 400, 200, 0)),
    ],
)
def test_buffered_distances_run_one_after_the_other_and_end(command: int, form: str, values: tuple[int, ...]) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(3):
            await bench.tell(command, form, *values)
        assert (await bench.ask(47, ">BB"))[0] == 2
        await asyncio.sleep(3 * 200 / 400 + 0.1)
        assert (await bench.ask(47, ">BB"))[0] == 0x80
        assert (await bench.ask(78, ">ii"))[0] == pytest.approx(600, abs=8)
        assert (await bench.ask(18, ">iB"))[0] == 0

    run(test)


def test_a_distance_at_once_throws_away_what_was_buffered_and_a_full_buffer_takes_no_more() -> None:
    async def test(bench: Bench) -> None:
        for _ in range(65):
            await bench.tell(41, ">iIB", 400, 100_000, 0)
        assert await bench.ask(47, ">BB") == (64, 0x80)
        assert await bench.send(packet(A, 41, struct.pack(">iIB", 400, 100_000, 0))) == b""
        await bench.tell(41, ">iIB", -400, 40, 1)
        await asyncio.sleep(0.2)
        assert await bench.ask(47, ">BB") == (0x80, 0x80)

    run(test)


def test_a_duty_with_a_ramp_gets_there_in_its_time() -> None:
    async def test(bench: Bench) -> None:
        loop, one = asyncio.get_running_loop(), motor(bench.line, A)
        await bench.tell(52, ">hI", 32767, 65534)  # half a second from none to all
        await asyncio.sleep(0.2)
        assert 0.3 < one.speed_rad_s(loop.time()) / NO_LOAD_RAD_S < 0.5
        await asyncio.sleep(0.4)
        assert one.calls[-1][2] == (1.0,)
        await bench.tell(54, ">hIhI", 0, 327670, 0, 327670)
        await asyncio.sleep(0.15)
        assert one.calls[-1][2] == (0.0,) and one.speed_rad_s(loop.time()) == 0.0

    run(test)


# ---- the dead-man, and what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_a_board_that_hears_nothing_stops_both_motors_by_itself_and_moves_only_on_a_new_command(steps: int) -> None:
    async def test(bench: Bench) -> None:
        loop, motors = asyncio.get_running_loop(), [motor(bench.line, A, i) for i in (1, 2)]
        await bench.tell(14, ">B", steps)
        for _ in range(40):  # spoken to, it goes on, whatever is asked
            await bench.tell(37, ">ii", 500, -500)
            await bench.ask(24, ">H")
            await asyncio.sleep(0.05)
        assert bench.board.stopped_by_timeout == 0
        last_s = loop.time() - 0.05 - 0.005
        await bench.send(b"\x85\x18")  # talk to somebody else does not feed it
        await asyncio.sleep(steps / 10)
        assert [m.calls[-1][1:] for m in motors] == [("duty", (0.0,))] * 2
        assert motors[0].calls[-1][0] == pytest.approx(last_s + steps / 10, abs=1e-6)
        assert bench.board.stopped_by_timeout == 1 and all(m.speed_rad_s(loop.time()) == 0 for m in motors)
        await bench.ask(24, ">H")
        await asyncio.sleep(0.03)
        assert all(m.speed_rad_s(loop.time()) == 0 for m in motors)
        await bench.tell(35, ">i", 500)
        assert motors[0].speed_rad_s(loop.time()) > 0

    run(test)


@pytest.mark.parametrize("before", [0, 1, 200])
def test_a_timeout_that_is_changed_holds_from_then_on(before: int) -> None:
    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        await bench.tell(14, ">B", before)
        await bench.tell(35, ">i", 500)
        await bench.tell(14, ">B", 3)
        fed_s = loop.time() - 0.005
        await asyncio.sleep(1.0)
        assert bench.board.stopped_at_s == pytest.approx(fed_s + 0.3, abs=1e-6)
        await bench.tell(14, ">B", 0)
        await bench.tell(35, ">i", 500)
        await asyncio.sleep(30.0)
        assert motor(bench.line, A).speed_rad_s(loop.time()) > 0

    run(test)


def test_without_a_timeout_it_runs_on_for_ever_also_when_the_host_has_gone() -> None:
    async def test(bench: Bench) -> None:
        await bench.tell(35, ">i", 500)
        bench.session.closed()
        await asyncio.sleep(60.0)
        assert motor(bench.line, A).speed_rad_s(asyncio.get_running_loop().time()) == pytest.approx(500 / TICKS)

    run(test)


def test_the_dead_man_strikes_when_the_host_has_gone() -> None:
    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        await bench.tell(14, ">B", 5)
        await bench.tell(44, ">IiIB", 1000, 500, 1_000_000, 0)
        bench.session.closed()
        await asyncio.sleep(0.6)
        assert motor(bench.line, A).speed_rad_s(loop.time()) == 0.0
        assert bench.line.attach(Host()) is not bench.session
        await asyncio.sleep(5.0)
        assert motor(bench.line, A).speed_rad_s(loop.time()) == 0.0  # nor does the buffered move go on

    run(test)


def test_a_brown_out_loses_counters_and_settings_but_not_what_was_saved() -> None:
    async def test(bench: Bench) -> None:
        loop, one = asyncio.get_running_loop(), motor(bench.line, A)
        bench.board.nvm = BoardSettings(timeout_steps=3)
        await bench.tell(14, ">B", 9)
        await bench.tell(35, ">i", 500)
        await asyncio.sleep(0.5)
        bench.board.brown_out(loop.time(), off_s=0.3)
        assert one.speed_rad_s(loop.time()) == 0.0
        assert await bench.send(b"\x80\x18") == b""
        await asyncio.sleep(0.3)
        assert await bench.ask(15, ">B") == (3,) and await bench.ask(78, ">ii") == (0, 0)
        await bench.tell(14, ">B", 9)
        assert await bench.send(packet(A, 94, struct.pack(">I", 1))) == b"" and bench.board.nvm_writes == 0
        await bench.tell(94, ">I", 0xE22EAB7A)
        bench.board.brown_out(loop.time(), off_s=0.1)
        await asyncio.sleep(0.1)
        assert await bench.ask(15, ">B") == (9,) and bench.board.nvm_writes == 1
        await bench.tell(14, ">B", 2)
        await bench.ask(95, ">BB")  # settings from NVM again
        assert await bench.ask(15, ">B") == (9,)

    run(test)


def test_a_dead_board_is_silent_and_still_and_a_hung_one_goes_on() -> None:
    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        for address in (A, 0x81):
            await bench.tell(14, ">B", 2, address=address)
            await bench.tell(41, ">iIB", 500, 100, 1, address=address)
        bench.session.received(b"\x80\x18")  # a board that dies takes the answer that it owes with it
        bench.board.die(loop.time())
        bench.line.boards[0x81].hang(loop.time())
        assert await bench.send(b"\x80\x18\x81\x18", wait_s=1.0) == b""
        assert motor(bench.line, A).speed_rad_s(loop.time()) == 0.0
        assert motor(bench.line, 0x81).speed_rad_s(loop.time()) > 0.0
        bench.board.revive(loop.time())
        await asyncio.sleep(0.2)
        assert await bench.ask(24, ">H") == (120,)

    run(test, A, 0x81)


def test_a_channel_without_a_motor_answers_and_stands() -> None:
    async def main(loop):
        bench = Bench(line=RoboClawLine({A: RoboClawBoard((Motor(), Unconnected()), (TICKS, TICKS))}, baud=115200))
        await bench.tell(37, ">ii", 500, 500)
        await bench.tell(66, ">IIIiB", 5000, 500, 5000, 300, 1)
        await bench.tell(33, ">h", 32767)
        assert (await bench.ask(78, ">ii"))[1] == 0 and (await bench.ask(49, ">hh"))[1] == 0

    run_virtual(main)


def test_addresses_outside_the_eight_and_boards_with_one_motor_are_refused() -> None:
    with pytest.raises(ValueError, match="128"):
        RoboClawLine({0x88: RoboClawBoard((Motor(), Motor()), (1.0, 1.0))}, baud=115200)
    with pytest.raises(ValueError, match="two motors"):
        RoboClawBoard((Motor(),), (1.0,))
