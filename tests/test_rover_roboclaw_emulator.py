"""Does the emulated motor board understand, answer and stay silent as the manual says?"""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roboclaw_bench import A, Bench, run
from roboclaw_helpers import TICKS, crc, motor, packet

from hil_sim.world.emulators import roboclaw_frames
from hil_sim.world.emulators.roboclaw import SIMPLE
from hil_sim.world.emulators.roboclaw_frames import READS, WRITES, LineCounters, PacketReader
from hil_sim.world.emulators.roboclaw_motors import FORMS

# ---- framing --------------------------------------------------------------------------------------------------------


def test_the_golden_frames_are_understood_and_said_bit_by_bit() -> None:
    async def test(bench: Bench) -> None:
        bench.board.volts = lambda t_s: 24.0
        assert await bench.send(bytes.fromhex("80 00 40 73 9E")) == b"\xff"
        assert motor(bench.line, A).calls[-1][1:] == ("duty", (64 / 127,))
        assert await bench.send(bytes.fromhex("80 18")) == bytes.fromhex("00 F0 D8 E5")

    run(test)


@given(st.binary(max_size=60))
def test_the_crc_is_that_of_the_manuals_loop(data: bytes) -> None:
    assert roboclaw_frames.crc(data).to_bytes(2, "big") == crc(data)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0x80, 0x87), st.sampled_from(sorted(READS)), st.none()),
            st.tuples(st.integers(0x80, 0x87), st.sampled_from(sorted(WRITES)), st.binary(min_size=33, max_size=33)),
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 20), max_size=40),
)
def test_packets_that_come_back_to_back_are_cut_where_they_end_however_the_line_cuts_them(
    asked: list[tuple[int, int, bytes | None]], cuts: list[int]
) -> None:
    packets = [(a, c, b"" if data is None else data[: WRITES[c]]) for a, c, data in asked]
    raw = b"".join(bytes((a, c)) if c in READS else packet(a, c, data) for a, c, data in packets)
    reader, found, at = PacketReader(LineCounters()), [], 0
    for size in [*cuts, len(raw)]:
        if raw[at : at + size]:
            found += reader.feed(raw[at : at + size], 0.001)
        at += size
    assert [tuple(one) for one in found] == packets


@given(st.sampled_from(sorted(WRITES)), st.binary(min_size=33, max_size=33), st.data())
def test_a_write_with_one_wrong_bit_is_never_carried_out(command: int, data: bytes, draw: st.DataObject) -> None:
    raw = bytearray(packet(A, command, data[: WRITES[command]]))
    bit = draw.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    reader = PacketReader(LineCounters())
    found = [one for one in reader.feed(bytes(raw), 0.001) if one.command in WRITES and one.command != 20]
    assert found == []  # reads are damaged into reads, and 20 has no data to protect; their answers betray them


def test_every_write_takes_the_data_that_its_form_says() -> None:
    assert {command: form.size for command, form in FORMS.items()}.items() <= WRITES.items()
    assert not READS & WRITES.keys()


@pytest.mark.parametrize(
    "raw",
    ["80 00 40 73 9F", "80 00 40 00 00", "80 C8 00 00", "7F 18", "88 18", "80", ""],
    ids=["wrong CRC", "no CRC", "unknown command", "address below", "address above", "half", "nothing"],
)
def test_what_is_no_packet_for_this_board_gets_no_answer(raw: str) -> None:
    async def test(bench: Bench) -> None:
        assert await bench.send(bytes.fromhex(raw)) == b"" and motor(bench.line, A).calls == []
        await asyncio.sleep(0.02)
        assert await bench.ask(24, ">H") == (120,)  # and the line is in step again

    run(test)


@pytest.mark.parametrize("gap_s, is_heard", [(0.0, True), (0.0099, True), (0.0101, False), (0.5, False)])
def test_a_packet_with_more_than_ten_milliseconds_between_two_bytes_is_discarded(gap_s: float, is_heard: bool) -> None:
    async def test(bench: Bench) -> None:
        raw = bytes.fromhex("80 00 40 73 9E")
        await bench.send(raw[:3], wait_s=gap_s)
        assert await bench.send(raw[3:]) == (b"\xff" if is_heard else b"")
        assert bench.line.counters.gaps == (not is_heard)

    run(test)


def test_a_host_that_does_not_wait_after_a_lost_byte_is_not_understood() -> None:
    async def test(bench: Bench) -> None:
        raw = packet(A, 37, struct.pack(">ii", 500, 500))
        assert await bench.send(raw[:4] + raw[5:], wait_s=0.002) == b""
        assert await bench.send(raw, wait_s=0.002) == b""  # its head completes the packet before
        await asyncio.sleep(0.011)
        assert await bench.send(raw) == b"\xff"

    run(test)


def test_boards_of_a_line_hear_only_what_is_theirs_and_answer_after_a_millisecond() -> None:
    async def test(bench: Bench) -> None:
        bench.line.boards[0x87].volts = lambda t_s: 15.5
        loop = asyncio.get_running_loop()
        await bench.tell(37, ">ii", 400, 400, address=0x87)
        assert motor(bench.line, A).calls == [] and motor(bench.line, 0x87).calls[-1][1] == "speed"
        bench.session.received(b"\x80\x18\x87\x18\x83\x18")
        sent_s, before = loop.time(), len(bench.host.heard)
        await asyncio.sleep(0.01)
        answers = bench.host.heard[before:]
        assert [data[:2] for _, data in answers] == [b"\x00\x78", b"\x00\x9b"]
        assert all(t_s - sent_s == pytest.approx(0.001) for t_s, _ in answers)
        assert bench.line.counters.foreign == 1

    run(test, A, 0x87)


# ---- what a board tells ---------------------------------------------------------------------------------------------


def test_counters_speeds_currents_and_supply_are_told_in_the_manuals_units() -> None:
    async def test(bench: Bench) -> None:
        loop, (one, two) = asyncio.get_running_loop(), (motor(bench.line, A, i) for i in (1, 2))
        one.amps, two.amps = 1.5, -0.25
        bench.board.temp_c = lambda t_s: 31.4
        await bench.tell(37, ">ii", 800, -400)
        await asyncio.sleep(1.0)
        now_ticks = one.angle_rad(loop.time()) * TICKS
        count, flags = await bench.ask(16, ">IB")
        assert now_ticks <= count <= now_ticks + 10 and flags == 0
        count, flags = await bench.ask(17, ">IB")
        assert 0xFFFFFFFF - 420 < count < 0xFFFFFFFF - 390 and flags == 3  # below zero: it wraps
        assert await bench.ask(18, ">iB") == (800, 0) and await bench.ask(19, ">iB") == (-400, 1)
        assert await bench.ask(30, ">iB") == (800, 0) and await bench.ask(31, ">iB") == (-400, 1)
        assert await bench.ask(79, ">ii") == (800, -400)
        ahead, behind = await bench.ask(78, ">ii")
        assert ahead == pytest.approx(-2 * behind, abs=3)
        assert await bench.ask(49, ">hh") == (150, -25)
        assert await bench.ask(24, ">H") == (120,) and await bench.ask(25, ">H") == (50,)
        assert await bench.ask(82, ">h") == (314,) and await bench.ask(83, ">h") == (314,)
        assert await bench.ask(90, ">I") == (0,)

    run(test)


def test_its_version_ends_with_line_feed_and_nul() -> None:
    async def test(bench: Bench) -> None:
        body = b"USB Roboclaw 2x15a v4.2.4\n\0"
        assert await bench.send(b"\x80\x15") == body + crc(b"\x80\x15" + body)

    run(test)


def test_counters_can_be_set_and_reset_and_settings_be_read_back() -> None:
    async def test(bench: Bench) -> None:
        await bench.tell(22, ">i", -5000)
        await bench.tell(23, ">I", 70000)
        assert await bench.ask(78, ">iI") == (-5000, 70000)
        await bench.tell(20)
        assert await bench.ask(78, ">ii") == (0, 0)
        await bench.tell(28, ">IIII", 3, 1, 2, 9000)  # D, P, I, QPPS
        assert await bench.ask(55, ">IIII") == (1, 2, 3, 9000)
        await bench.tell(57, ">HH", 110, 300)
        assert await bench.ask(59, ">HH") == (110, 300)
        await bench.tell(58, ">HH", 45, 140)
        assert await bench.ask(60, ">HH") == (45, 140)
        await bench.tell(134, ">II", 250, 0)
        assert await bench.ask(136, ">II") == (250, 0)
        await bench.tell(14, ">B", 7)
        assert await bench.ask(15, ">B") == (7,)

    run(test)


def test_status_bits_come_from_the_world() -> None:
    async def test(bench: Bench) -> None:
        world = {"volts": 12.0, "temp": 25.0, "logic": 5.0}
        bench.board.logic_volts = lambda t_s: world["logic"]
        bench.board.volts, bench.board.temp_c = lambda t_s: world["volts"], lambda t_s: world["temp"]

        async def bits() -> set[int]:
            (status,) = await bench.ask(90, ">I")
            return {bit for bit in range(32) if status >> bit & 1}

        world["volts"] = 9.0
        assert await bits() == {19}
        world["volts"] = 35.0
        assert await bits() == {18}
        world["volts"], world["temp"] = 12.0, 90.0
        assert await bits() == {20}
        world["temp"] = 101.0
        assert await bits() == {20, 1}
        world["temp"] = 25.0
        motor(bench.line, A, 2).amps = 12.0
        assert await bits() == {17}
        motor(bench.line, A, 2).amps = -25.0
        assert await bits() == {17, 13}
        motor(bench.line, A, 2).amps = 0.0
        world["logic"] = 3.0
        assert await bits() == {5}
        world["logic"] = 35.0
        assert await bits() == {4}
        world["logic"], world["volts"] = 5.0, 37.0
        assert await bits() == {18, 3}
        world["volts"] = 12.0
        bench.board.temp2_c = lambda t_s: 102.0
        assert await bits() == {21, 2} and await bench.ask(83, ">h") == (1020,)
        bench.board.temp2_c = None
        bench.board.e_stop(asyncio.get_running_loop().time())
        assert await bits() == {0}
        bench.board.forced_status = 1 << 6
        assert await bits() == {6}

    run(test)


def test_a_board_in_an_error_stands_still_and_says_so() -> None:
    async def test(bench: Bench) -> None:
        loop, one = asyncio.get_running_loop(), motor(bench.line, A)
        bench.board.e_stop_latches = False
        await bench.tell(35, ">i", 500)
        bench.board.e_stop(loop.time())
        await bench.tell(35, ">i", 500)
        assert one.speed_rad_s(loop.time()) == 0.0
        bench.board.e_stop(loop.time(), is_pressed=False)
        assert one.speed_rad_s(loop.time()) == 0.0  # nothing comes back by itself
        await bench.tell(35, ">i", 500)
        assert one.speed_rad_s(loop.time() + 0.1) > 0.8

    run(test)


def test_an_emergency_stop_latches_until_the_power_goes() -> None:
    async def test(bench: Bench) -> None:
        loop, one = asyncio.get_running_loop(), motor(bench.line, A)
        await bench.tell(35, ">i", 500)
        bench.board.e_stop(loop.time())
        bench.board.e_stop(loop.time(), is_pressed=False)
        await bench.tell(35, ">i", 500)
        assert one.speed_rad_s(loop.time()) == 0.0 and await bench.ask(90, ">I") == (1,)
        bench.board.e_stop(loop.time())
        bench.board.brown_out(loop.time(), off_s=0.1)
        await asyncio.sleep(0.1)
        assert await bench.ask(90, ">I") == (1,)  # it is still pressed
        bench.board.e_stop(loop.time(), is_pressed=False)
        bench.board.brown_out(loop.time(), off_s=0.1)
        await asyncio.sleep(0.1)
        assert await bench.ask(90, ">I") == (0,)

    run(test)


def test_an_error_that_comes_while_it_turns_stops_it_at_the_next_packet_that_asks() -> None:
    async def test(bench: Bench) -> None:
        loop, one = asyncio.get_running_loop(), motor(bench.line, A)
        await bench.tell(35, ">i", 500)
        bench.board.forced_status = 1 << 12
        await bench.ask(24, ">H")
        assert one.speed_rad_s(loop.time()) > 0
        assert await bench.ask(90, ">I") == (1 << 12,)
        assert one.speed_rad_s(loop.time()) == 0.0

    run(test)


def test_a_counter_that_passes_either_end_says_so_once() -> None:
    async def test(bench: Bench) -> None:
        await bench.tell(22, ">i", -500)
        await bench.tell(23, ">i", 500)
        assert (await bench.ask(16, ">IB"))[1] == 0 and (await bench.ask(17, ">IB"))[1] == 0
        await bench.tell(37, ">ii", 1000, -1000)
        await asyncio.sleep(1.0)
        count, flags = await bench.ask(16, ">IB")
        assert 400 < count < 600 and flags == 4  # overflow, forwards
        count, flags = await bench.ask(17, ">IB")
        assert 0xFFFFFFFF - 600 < count < 0xFFFFFFFF - 400 and flags == 3  # underflow, backwards
        assert (await bench.ask(16, ">IB"))[1] == 0 and (await bench.ask(17, ">IB"))[1] == 2

    run(test)


def test_newer_firmware_leaves_the_simple_commands_unanswered() -> None:
    async def test(bench: Bench) -> None:
        bench.board.withdrawn = SIMPLE
        assert await bench.send(packet(A, 0, b"\x40")) == b"" and motor(bench.line, A).calls == []
        await bench.tell(32, ">h", 16384)
        bench.board.withdrawn, bench.board.unacknowledged = frozenset(), SIMPLE | {14}
        assert await bench.send(packet(A, 0, b"\x7f")) == b"" and motor(bench.line, A).calls[-1][2] == (1.0,)
        assert await bench.send(packet(A, 14, b"\x05")) == b"" and await bench.ask(15, ">B") == (5,)

    run(test)
