"""Does the emulated motor board answer, stay silent, move and stop as the manual says?"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roboclaw_helpers import NO_LOAD_RAD_S, TICKS, Host, Motor, crc, make_line, motor, packet

from hil_sim.virtual_time import run_virtual
from hil_sim.world.emulators import roboclaw_frames
from hil_sim.world.emulators.roboclaw import SIMPLE, BoardSettings, RoboClawBoard, RoboClawLine
from hil_sim.world.emulators.roboclaw_frames import READS, WRITES, LineCounters, PacketReader
from hil_sim.world.emulators.roboclaw_motors import FORMS, Unconnected

A = 0x80


class Bench:
    """A line with a host of a few lines: sends bytes as a wire would deliver them, waits, and keeps what comes."""

    def __init__(self, *addresses: int, baud: int = 115200, line: RoboClawLine | None = None) -> None:
        self.line = line if line is not None else make_line(*(addresses or (A,)), baud=baud)
        self.host = Host()
        self.session = self.line.attach(self.host)

    @property
    def board(self) -> RoboClawBoard:
        return self.line.boards[A]

    async def send(self, data: bytes, wait_s: float = 0.005) -> bytes:
        """What is answered to `data`, which takes its time on the line."""
        await asyncio.sleep(len(data) * self.line.byte_s)
        before = len(self.host.bytes)
        self.session.received(data)
        await asyncio.sleep(wait_s)
        return self.host.bytes[before:]

    async def ask(self, command: int, form: str, address: int = A) -> tuple[int, ...]:
        """A read, its CRC checked."""
        raw = await self.send(bytes((address, command)))
        assert raw[-2:] == crc(bytes((address, command)) + raw[:-2]), raw.hex(" ")
        return struct.unpack(form, raw[:-2])

    async def tell(self, command: int, form: str = "", *values: int, address: int = A) -> None:
        """A write that must be acknowledged."""
        assert await self.send(packet(address, command, struct.pack(form, *values))) == b"\xff", command


def run(test: Callable[[Bench], object], *addresses: int) -> None:
    async def main(loop):
        await test(Bench(*addresses))  # type: ignore[misc]

    run_virtual(main)


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
    assert {command: struct.calcsize(form) for command, form in FORMS.items()}.items() <= WRITES.items()
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
