"""Does one motor board do what it is told, in its units, and nothing while nobody is sure of it?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from roboclaw_golden import MOVES, READS, SETS
from roboclaw_helpers import TICKS, linked, make_line, motor

from firmware_bridge.devices.motor_board import STORES_PER_DAY_MAX, MotorBoard
from firmware_bridge.errors import DeviceReset, LinkTimeout, NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.links.roboclaw_commands import COMMANDS
from firmware_bridge.signals import LimitState
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.roboclaw import SIMPLE, RoboClawBoard, RoboClawLine
from hil_sim.world.faults.schedule import Fault, FaultSchedule

A = 0x80


@contextlib.asynccontextmanager
async def board(
    *, timeout_s: float | None = 0.5, line: RoboClawLine | None = None, faults: FaultSchedule | None = None
) -> AsyncIterator[tuple[MotorBoard, RoboClawBoard, RoboClawLine]]:
    """A board on a line, armed unless `timeout_s` is None; and the emulated one."""
    line = line if line is not None else make_line(A)
    async with linked(line, faults=faults) as link:
        driven = MotorBoard(link, A)
        await driven.identify()
        if timeout_s is not None:
            await driven.arm(timeout_s)
        yield driven, line.boards[A], line


def run(test) -> None:
    async def main(loop):
        await test()

    run_virtual(main)


def test_every_command_of_the_table_is_taken_and_acknowledged() -> None:
    async def test() -> None:
        async with board() as (driven, truth, line):
            for name, values, _, _ in MOVES:
                await driven.tell(name, **values)
            for name, values, _, _, _ in SETS:
                if name != "set_serial_timeout":
                    await driven.tell(name, **values)
            for name, _, _, values in READS:
                assert (await driven.ask(name)).keys() == values.keys()
            await driven.store()
            assert truth.nvm_writes == 1 and line.counters.bad_crc == line.counters.unknown == 0

    run(test)


def test_what_it_is_told_is_what_the_motors_do_and_what_it_reads_is_what_they_did() -> None:
    async def test() -> None:
        async with board() as (driven, _, line):
            await driven.tell("both_speed", m1_speed_qpps=500, m2_speed_qpps=-250)
            await asyncio.sleep(0.4)
            found = await driven.ask("encoders")
            assert found["m1_counts"] == pytest.approx(200, abs=6) and found["m2_counts"] == pytest.approx(-100, abs=4)
            assert (await driven.ask("encoder_speeds")) == {"m1_speed_qpps": 500, "m2_speed_qpps": -250}
            await driven.tell(
                "m1_position", accel_qpps_s=5000, speed_qpps=1000, decel_qpps_s=5000, position_counts=-100, at_once=1
            )
            for _ in range(20):
                await asyncio.sleep(0.1)
                await driven.ask("encoders")  # and so the dead-man is fed
            now_s = asyncio.get_running_loop().time()
            assert motor(line, A).angle_rad(now_s) == pytest.approx(-100 / TICKS, abs=2 / TICKS)
            await driven.tell("m2_duty", duty=-0.5)
            assert (await driven.ask("duties"))["m2_duty"] == pytest.approx(-0.5, abs=1e-4)
            readings = await driven.poll()
            assert readings["main_v"][1:3] == (12.0, "V") and readings["temp_c"][1:3] == (25.0, "degC")
            assert readings["m1_current_a"].value == 0.5 and readings["status"].limit is LimitState.NORMAL

    run(test)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_the_dead_man_is_read_back_and_stops_the_motors_when_the_bytes_stop(steps: int) -> None:
    """The line is cut; the board's own clock tells when its motors stood."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        faults = FaultSchedule((Fault("drop", "wheels.to_device", at_s=2.0, for_s=1e6),))
        async with board(timeout_s=steps / 10, faults=faults) as (driven, truth, line):
            assert truth.settings.timeout_steps == steps
            while loop.time() < 2.0:
                with contextlib.suppress(LinkTimeout):
                    await driven.tell("both_speed", m1_speed_qpps=800, m2_speed_qpps=800)
                await asyncio.sleep(0.02)
            assert truth.stopped_by_timeout == 0
            await asyncio.sleep(steps / 10 + 1.0)
            assert truth.stopped_by_timeout == 1 and truth.stopped_at_s is not None
            assert 2.0 - 0.03 + steps / 10 < truth.stopped_at_s <= 2.0 + steps / 10
            stops = [motor(line, A, channel).calls[-1] for channel in (1, 2)]
            assert stops == [(truth.stopped_at_s, "duty", (0.0,))] * 2

    run(test)


def test_nothing_moves_before_the_dead_man_is_armed() -> None:
    async def test() -> None:
        async with board(timeout_s=None) as (driven, truth, line):
            for name, values, _, _ in MOVES:
                with pytest.raises(NotReady, match="arm"):
                    await driven.tell(name, **values)
            assert motor(line, A).calls == motor(line, A, 2).calls == []
            for timeout_s in (0.0, 0.04, 25.6, float("nan")):
                with pytest.raises(Rejected, match="timeout_s"):
                    await driven.arm(timeout_s)
            with pytest.raises(Rejected, match=r"arm\(\)"):
                await driven.tell("set_serial_timeout", timeout_s=1.0)
            truth.withdrawn = frozenset({14})
            with pytest.raises(Unverified, match=r"set to 0\.5 s and reads back as 0 s"):
                await driven.arm(0.5)
            with pytest.raises(NotReady, match="arm"):
                await driven.tell("m1_speed", speed_qpps=5)

    run(test)


@pytest.mark.parametrize(
    ("bit", "words"), [(0, "emergency stop"), (6, "driver fault of motor 1"), (13, "current error")]
)
def test_an_error_bars_every_move_until_it_is_armed_again(bit: int, words: str) -> None:
    async def test() -> None:
        async with board() as (driven, truth, _):
            await driven.tell("m1_speed", speed_qpps=500)
            truth.forced_status = 1 << bit
            assert (await driven.poll())["status"].limit is LimitState.ALARM
            truth.forced_status = 0
            await driven.poll()
            with pytest.raises(NotReady, match=f"has reported {words}"):
                await driven.tell("m1_speed", speed_qpps=500)
            await driven.stop()
            truth.forced_status = 1 << bit
            with pytest.raises(NotReady, match=f"reports {words}"):
                await driven.arm(0.5)
            truth.forced_status = 0
            await driven.arm(0.5)
            await driven.tell("m1_speed", speed_qpps=500)

    run(test)


def test_a_board_that_has_restarted_is_moved_no_more() -> None:
    async def test() -> None:
        async with board() as (driven, truth, _):
            loop = asyncio.get_running_loop()
            truth.brown_out(loop.time(), off_s=0.0)
            with pytest.raises(DeviceReset, match=r"serial timeout reads 0 s, not 0\.5 s"):
                await driven.poll()
            with pytest.raises(NotReady, match="restarted"):
                await driven.tell("m1_speed", speed_qpps=500)
            await driven.arm(0.5)
            await driven.store()  # from now on it boots with its dead-man
            truth.brown_out(loop.time(), off_s=0.0)
            await driven.poll()

    run(test)


def test_a_distance_is_told_once_also_when_its_answer_is_lost() -> None:
    async def test() -> None:
        late = FaultSchedule((Fault("drop", "wheels.to_host", at_s=1.0, for_s=0.05),))
        async with board(faults=late) as (driven, _, line):
            loop = asyncio.get_running_loop()
            await asyncio.sleep(1.0 - loop.time())
            with pytest.raises(LinkTimeout):
                await driven.tell("m1_distance", speed_qpps=1000, distance_counts=300, at_once=0)
            for _ in range(10):
                await asyncio.sleep(0.1)
                await driven.ask("buffers")
            assert (await driven.ask("encoders"))["m1_counts"] == pytest.approx(300, abs=8)
            assert sum(call[1] == "speed" and call[2][0] > 0 for call in motor(line, A).calls) == 1

    run(test)


def test_a_stop_overtakes_the_moves_that_wait_and_clears_the_buffer() -> None:
    async def test() -> None:
        async with board() as (driven, _, line):
            await driven.tell("m1_distance", speed_qpps=500, distance_counts=100_000, at_once=1)
            await driven.tell("m1_distance", speed_qpps=500, distance_counts=100_000, at_once=0)
            asked = [asyncio.ensure_future(driven.ask("encoders")) for _ in range(20)]
            told = [asyncio.ensure_future(driven.tell("m1_speed", speed_qpps=1000)) for _ in range(5)]
            await asyncio.sleep(0)
            began_s = asyncio.get_running_loop().time()
            await driven.stop()
            assert asyncio.get_running_loop().time() - began_s < 0.01  # one exchange under way, and its own
            results = await asyncio.gather(*told, return_exceptions=True)
            assert [type(result) for result in results] == [Rejected] * 5
            await asyncio.gather(*asked)
            await asyncio.sleep(0.2)
            assert motor(line, A).speed_rad_s(asyncio.get_running_loop().time()) == 0.0
            assert (await driven.ask("buffers"))["m1_buffered"] == 0x80

    run(test)


def test_newer_firmware_is_not_asked_what_it_does_not_answer() -> None:
    """Waiting for these acknowledgements hung another driver's start for half a minute."""

    async def test() -> None:
        line = make_line(A)
        line.boards[A].version, line.boards[A].withdrawn = "USB Roboclaw 2x15a v4.3.6", SIMPLE
        async with board(line=line) as (driven, _, _):
            before = line.counters.packets
            for name, values, _, _ in MOVES[:4]:
                with pytest.raises(Rejected, match=r"firmware 4\.3\.6 leaves .* unanswered: use m\d_duty"):
                    await driven.tell(name, **values)
            assert line.counters.packets == before
            await driven.tell("m1_duty", duty=0.5)
            await driven.stop()

    run(test)


@pytest.mark.parametrize("version", ["Sabertooth 2x32 v4.2.4", "Roboclaw 2x15a v3.1.9", "Roboclaw 2x15a"])
def test_another_model_or_old_firmware_is_refused(version: str) -> None:
    async def test() -> None:
        line = make_line(A)
        line.boards[A].version = version
        with pytest.raises(WrongModel, match="128"):
            async with board(line=line):
                pass

    run(test)


def test_its_memory_is_not_worn_out() -> None:
    async def test() -> None:
        async with board() as (driven, truth, _):
            assert truth.nvm_writes == 0  # identify and arm write none
            for _ in range(STORES_PER_DAY_MAX):
                await driven.store()
            with pytest.raises(Rejected, match="wears out"):
                await driven.store()
            with pytest.raises(Rejected, match=r"store\(\)"):
                await driven.tell("store_settings", key=1)
            await asyncio.sleep(86_400)
            await driven.store()
            assert truth.nvm_writes == STORES_PER_DAY_MAX + 1

    run(test)


def test_questions_and_orders_are_not_mixed_up() -> None:
    async def test() -> None:
        async with board() as (driven, _, line):
            before = line.counters.packets
            with pytest.raises(Rejected, match="no question"):
                await driven.ask("m1_speed")
            with pytest.raises(Rejected, match="is a question"):
                await driven.tell("currents")
            with pytest.raises(Rejected, match="no command 'm1_sped'"):
                await driven.tell("m1_sped", speed_qpps=1)
            with pytest.raises(Rejected, match="speed_qpps = nan qpps is refused"):
                await driven.tell("m1_speed", speed_qpps=float("nan"))
            assert line.counters.packets == before and set(COMMANDS) == set(dict.fromkeys(COMMANDS))

    run(test)
