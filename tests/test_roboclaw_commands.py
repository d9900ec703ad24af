"""Is every command said and understood byte by byte as the manual has it, by the driver and by the emulator apart?"""

from __future__ import annotations

import asyncio
import math
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roboclaw_golden import MOVES, READS, SETS, TABLE
from roboclaw_helpers import TICKS, Host, Motor, crc, make_line, motor, packet

from firmware_bridge.errors import FrameError, Rejected
from firmware_bridge.links.roboclaw_commands import COMMANDS, NVM_KEY, Kind
from firmware_bridge.links.roboclaw_frames import ADDRESSES, Deframer, ask_read, ask_text, ask_write, frame
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators import roboclaw_frames as emulated
from hil_sim.world.emulators.roboclaw import RoboClawBoard, RoboClawLine

A = 0x80
WRITES = [row[:3] for row in MOVES] + [row[:3] for row in SETS]
by_name = {"ids": lambda value: value if isinstance(value, str) and value in COMMANDS else ""}


def golden(name: str, data: str) -> bytes:
    return packet(A, COMMANDS[name].number, bytes.fromhex(data))


# ---- the driver's half ----------------------------------------------------------------------------------------------


def test_every_command_of_the_table_is_the_drivers_and_the_emulators() -> None:
    spoken = {command.number for command in COMMANDS.values()} | {21}
    assert spoken >= TABLE and emulated.READS | emulated.WRITES.keys() >= TABLE
    told = {row[0] for row in WRITES} | {row[0] for row in READS} | {"store_settings"}
    assert told == COMMANDS.keys()  # each has its golden frame
    assert len({command.number for command in COMMANDS.values()}) == len(COMMANDS)


@pytest.mark.parametrize(("name", "values", "data"), WRITES, **by_name)
def test_a_write_is_said_byte_by_byte(name: str, values: dict[str, float], data: str) -> None:
    command = COMMANDS[name]
    assert frame(ask_write(A, command.number, command.encode(values))) == golden(name, data)


@pytest.mark.parametrize(("name", "number", "data", "values"), READS, **by_name)
def test_an_answer_is_understood_byte_by_byte(name: str, number: int, data: str, values: dict[str, float]) -> None:
    command, body = COMMANDS[name], bytes.fromhex(data)
    assert command.number == number and command.size == len(body)
    question = ask_read(A, number, command.size)
    assert frame(question) == bytes((A, number))
    reply = Deframer().feed(question, body + crc(bytes((A, number)) + body))
    assert reply is not None and command.decode(reply) == pytest.approx(values)


def test_the_two_frames_that_came_with_their_crcs() -> None:
    command = COMMANDS["m1_forward"]
    assert frame(ask_write(A, 0, command.encode({"power": 64 / 127}))) == bytes.fromhex("80 00 40 73 9E")
    reply = Deframer().feed(ask_read(A, 24, 2), bytes.fromhex("00 F0 D8 E5"))
    assert reply is not None and COMMANDS["main_battery"].decode(reply) == {"main_v": 24.0}


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.kind is not Kind.READ])
def test_nothing_out_of_bounds_is_said(name: str) -> None:
    command = COMMANDS[name]
    good = {field.name: field.low for field in command.fields}
    command.encode(good)
    command.encode({field.name: field.high for field in command.fields})
    for field in command.fields:
        step = 1 / field.per_unit
        for bad in (math.nan, math.inf, -math.inf, field.low - step, field.high + step):
            with pytest.raises(Rejected, match=field.name):
                command.encode(good | {field.name: bad})
        with pytest.raises(Rejected, match=field.name):
            command.encode({key: value for key, value in good.items() if key != field.name})
    with pytest.raises(Rejected, match="look at sped"):
        command.encode(good | {"sped": 1.0})


@given(st.sampled_from([command for command in COMMANDS.values() if command.kind is Kind.READ]), st.binary(max_size=9))
def test_an_answer_of_another_length_is_no_answer(command, data: bytes) -> None:
    if len(data) == command.size:
        assert set(command.decode(data)) == {field.name for field in command.fields}
    else:
        with pytest.raises(FrameError, match="bytes"):
            command.decode(data)


def test_the_page_tells_of_every_command() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "roboclaw.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for name, command in COMMANDS.items():
        told = [row for row in rows if f"`{name}`" in row]
        assert len(told) == 1, f"docs/roboclaw.md does not tell of {name}, or more than once"
        assert str(command.number) in re.findall(r"\d+", told[0].split("|")[1]), name


# ---- the emulator's half --------------------------------------------------------------------------------------------


async def said(line: RoboClawLine, raw: bytes, wait_s: float = 0.005) -> bytes:
    """What a line answers to bytes that come at its pace."""
    host = Host()
    session = line.attach(host)
    await asyncio.sleep(0.011)
    session.received(raw)
    await asyncio.sleep(wait_s)
    return host.bytes


@pytest.mark.parametrize(("name", "values", "data", "told"), MOVES, **by_name)
def test_a_move_turns_the_motors_that_it_names(
    name: str, values: dict[str, float], data: str, told: tuple[tuple[str, float] | None, ...]
) -> None:
    async def main(loop):
        line = make_line(A)
        assert await said(line, golden(name, data), wait_s=0.5) == b"\xff"
        for channel, expected in enumerate(told, start=1):
            calls = motor(line, A, channel).calls
            if expected is None:
                assert calls == []
                continue
            kind, value = expected
            seen = next(
                call for call in reversed(calls) if call[1] == kind and (kind != "speed" or call[2][0] or not value)
            )
            assert seen[2][0] == pytest.approx(value if kind == "duty" else value / TICKS, rel=1e-6)

    run_virtual(main)


def board_of_the_table() -> RoboClawLine:
    """As `roboclaw_golden.READS` describes it."""
    board = RoboClawBoard(
        (Motor(), Motor()),
        (TICKS, TICKS),
        volts=lambda t_s: 24.0,
        logic_volts=lambda t_s: 5.1,
        temp_c=lambda t_s: 31.4,
        temp2_c=lambda t_s: -5.0,
    )
    board.forced_status = 1 << 21
    board.settings.timeout_steps = 7
    line = RoboClawLine({A: board}, baud=115200)
    motor(line, A, 1).amps, motor(line, A, 2).amps = 1.5, -0.25
    return line


@pytest.mark.parametrize(("name", "number", "data", "values"), READS, **by_name)
def test_a_question_is_answered_byte_by_byte(name: str, number: int, data: str, values: dict[str, float]) -> None:
    async def main(loop):
        line = board_of_the_table()
        one, two = line.boards[A].channels
        await said(line, golden("m1_speed", "00 00 01 F4") + golden("m2_duty", "E0 00"))
        await asyncio.sleep(0.05)
        for channel, ticks in ((one, 1000), (two, -2)):  # so that they stand there when they are asked
            channel.set_ticks(ticks, loop.time() + 0.011)
        body = bytes.fromhex(data)
        assert (await said(line, bytes((A, number)))).hex(" ") == (body + crc(bytes((A, number)) + body)).hex(" ")

    run_virtual(main)


@pytest.mark.parametrize(("name", "values", "data", "asked", "answer"), SETS, **by_name)
def test_a_setting_is_taken_and_read_back(
    name: str, values: dict[str, float], data: str, asked: str, answer: dict[str, float]
) -> None:
    async def main(loop):
        line = make_line(A)
        for channel, ticks in zip(line.boards[A].channels, (1000, -2), strict=True):
            channel.set_ticks(ticks, loop.time())
        assert await said(line, golden(name, data)) == b"\xff"
        command = COMMANDS[asked]
        raw = await said(line, bytes((A, command.number)))
        assert struct.unpack(command.form, raw[:-2]) == tuple(
            round(answer[field.name] * field.per_unit) for field in command.fields
        )

    run_virtual(main)


def test_the_memory_is_written_with_its_key_alone() -> None:
    async def main(loop):
        line = make_line(A)
        assert COMMANDS["store_settings"].encode({"key": NVM_KEY}) == bytes.fromhex("E2 2E AB 7A")
        assert await said(line, golden("store_settings", "E2 2E AB 7A")) == b"\xff"
        assert await said(line, golden("store_settings", "00 00 00 00")) == b""
        assert line.boards[A].nvm_writes == 1

    run_virtual(main)


# ---- what others got wrong ------------------------------------------------------------------------------------------


def test_an_address_is_one_byte_also_beyond_127() -> None:
    """`chr(0x80).encode()` is C2 80."""
    for address in ADDRESSES:
        assert frame(ask_write(address, 0, b"\x40"))[:2] == bytes((address, 0))
        assert frame(ask_text(address, 21)) == bytes((address, 21))


def test_an_answer_whose_crc_leaves_out_address_and_command_is_refused() -> None:
    body = bytes.fromhex("00 F0")
    with pytest.raises(FrameError, match="CRC"):
        Deframer().feed(ask_read(A, 24, 2), body + crc(body))

    async def main(loop):
        line = board_of_the_table()
        assert await said(line, b"\x80\x18") == bytes.fromhex("00 F0 D8 E5") != body + crc(body)

    run_virtual(main)


def test_0x25_is_both_speeds_and_no_question_for_the_encoders() -> None:
    assert COMMANDS["both_speed"].number == 0x25 and COMMANDS["encoders"].number == 0x4E

    async def main(loop):
        line = make_line(A)
        assert await said(line, b"\x80\x25", wait_s=0.1) == b""  # it waits for eight bytes of speeds

    run_virtual(main)


def test_currents_are_hundredths_of_an_ampere_and_each_motors_own() -> None:
    assert COMMANDS["currents"].decode(bytes.fromhex("00 0A 01 2C")) == {"m1_current_a": 0.1, "m2_current_a": 3.0}


def test_a_question_that_the_line_turns_into_another_is_not_answered_by_it() -> None:
    """Questions have no CRC. One bit makes 79 to 95, which takes the settings back to the memory's, unseen."""
    question = ask_read(A, 79, 8)

    async def main(loop):
        line = make_line(A)
        for bit in range(16):
            raw = bytearray(frame(question))
            raw[bit // 8] ^= 1 << bit % 8
            heard = await said(line, bytes(raw))
            deframer = Deframer()
            if len(heard) >= 10:
                with pytest.raises(FrameError):
                    deframer.feed(question, heard)
            else:
                assert deframer.feed(question, heard) is None

    run_virtual(main)


def test_no_question_that_the_driver_asks_is_one_bit_from_losing_the_dead_man() -> None:
    from firmware_bridge.devices.motor_board import POLLED
    from firmware_bridge.devices.wheels_readings import GET_COUNTERS, SLOW_READS
    from firmware_bridge.links.roboclaw_boards import MARKERS

    asked = {command for command, _ in SLOW_READS} | {GET_COUNTERS, 18, 19, 21} | MARKERS.keys()
    asked |= {COMMANDS[name].number for name in POLLED}
    assert [command for command in asked if (command ^ 95).bit_count() == 1] == []
