"""Does the emulated RepRapFirmware board hear, check, refuse and move as a Duet does?"""

from __future__ import annotations

import asyncio
import binascii
import json
from collections.abc import Awaitable, Callable
from functools import reduce
from itertools import pairwise
from math import dist, sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.emulators.reprap_lines import Line, crc16, read_line, split_commands, xor8
from hil_sim.world.emulators.reprap_machine import RepRapBuild, look_up
from hil_sim.world.emulators.reprap_planner import corner_speed2
from hil_sim.world.plant.gantry import Gantry, Run
from hil_sim.world.plant.optics import Head, Optics


def plain_crc(data: bytes) -> int:
    """CRC-16/XMODEM as the standard library has it."""
    return binascii.crc_hqx(data, 0)


def framed(n: int, command: str) -> bytes:
    text = f"N{n} {command}".encode()
    return text + b"*%05d\n" % plain_crc(text)


class Host:
    """One board, its plant, and the replies so far as (time_s, line)."""

    def __init__(self, loop: VirtualLoop, **build: Any) -> None:
        self.loop = loop
        self.gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
        self.head = Head()
        self.optics = Optics(self.gantry, self.head, keep_history=True)
        self.board = RepRapEmulator(self.gantry, RepRapBuild(**build))
        self.replies: list[tuple[float, str]] = []
        self._rest = b""
        self.session = self.board.attach(self._heard)

    def _heard(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.replies += [(self.loop.time(), line.decode()) for line in lines]

    @property
    def lines(self) -> list[str]:
        return [text for _, text in self.replies]

    def send(self, *commands: str | bytes) -> None:
        for command in commands:
            self.session.received(command if isinstance(command, bytes) else command.encode() + b"\n")

    async def ask(self, command: str | bytes, within_s: float = 600.0) -> list[str]:
        """Send one line and wait for its ok."""
        first = len(self.replies)
        self.send(command)
        async with asyncio.timeout(within_s):
            while not any(text.startswith("ok") for text in self.lines[first:]):
                await asyncio.sleep(0.001)
        return self.lines[first:]

    async def stream(self, *commands: str) -> None:
        for command in commands:
            await self.ask(command)

    @property
    def moves(self) -> list[Run]:
        return [entry for entry in self.gantry.history if isinstance(entry, Run)]


def with_board(story: Callable[[Host], Awaitable[Any]], **build: Any) -> Any:
    async def main(loop: VirtualLoop) -> Any:
        return await story(Host(loop, **build))

    return run_virtual(main)


# ---- lines ----------------------------------------------------------------------------------------------------------
def test_the_crc_is_xmodem() -> None:
    assert crc16(b"123456789") == 0x31C3


@given(st.binary(max_size=80))
def test_both_checks_are_what_the_plainest_code_finds(data: bytes) -> None:
    assert crc16(data) == plain_crc(data)
    assert xor8(data) == reduce(lambda a, b: a ^ b, data, 0)


GOLDEN = [  # line, what is read
    (b"N1 M105*38", Line(1, "M105")),
    (b"N1 M105*19216", Line(1, "M105")),
    (b"N123 G1 X10.25 Y-3 F3000 S800*07352", Line(123, "G1 X10.25 Y-3 F3000 S800")),
    (b"N123 G1 X10.25 Y-3 F3000 S800*7352", Line(123, "G1 X10.25 Y-3 F3000 S800", is_bad=True)),
    (b"N1 M105*00038", Line(1, "M105", is_bad=True)),  # five digits are a CRC
    (b"N1 M105*0038", Line(1, "M105", is_bad=True)),  # four are nothing
    (b"N1 M105*", Line(1, "M105", is_bad=True)),
    (b"N1 M105*038 trailing", Line(1, "M105")),
    (b"N1 M105", Line(1, "M105")),  # no check: taken, unless the channel demands one
    (b"M105*38", Line(None, "M105*38")),  # no number: a star is text
    (b"  M105 ; where", Line(None, "M105")),
    (b"N1 M105 ;*1", Line(1, "M105")),  # a check behind a comment is comment
    (b'N2 M118 S"a*b;c"*%d' % xor8(b'N2 M118 S"a*b;c"'), Line(2, 'M118 S"a*b;c"')),
    (b"n7 g1 x1*%d" % xor8(b"n7 g1 x1"), Line(7, "g1 x1")),
    (b"; only words", None),
    (b"N3 ; only words", None),
    (b"", None),
    (b"  ", None),
    (b"N12", None),
    (b"G1 X\x7f1", None),
    (b"G1 X1 ;\x7f", Line(None, "G1 X1")),
]


@pytest.mark.parametrize(("raw", "expected"), GOLDEN)
def test_a_line_is_read_as_the_firmware_does(raw: bytes, expected: Line | None) -> None:
    assert read_line(raw, needs_check=False, needs_crc=False) == expected


@pytest.mark.parametrize(
    ("raw", "check", "crc"),
    [(b"N1 M105", True, True), (b"N1 M105*38", False, True), (framed(1, "M105")[:-1], False, False),
     (b"M105", True, True)],
)  # fmt: skip
def test_a_channel_may_demand_a_check(raw: bytes, check: bool, crc: bool) -> None:
    for needs_check, needs_crc, is_bad in ((True, False, check), (False, True, crc)):
        line = read_line(raw, needs_check=needs_check, needs_crc=needs_crc)
        assert line is not None and line.is_bad is is_bad


@given(st.integers(0, 99999), st.integers(0, 40), st.integers(1, 255))
def test_one_changed_byte_never_passes_the_crc(n: int, at: int, flip: int) -> None:
    raw = bytearray(framed(n, "G1 X10.25 Y3 F3000 S800")[:-1])
    at %= len(raw)
    raw[at] ^= flip
    line = read_line(bytes(raw), needs_check=False, needs_crc=True)
    # a blank before or a changed case of N changes nothing that is covered, or everything
    assert line is None or line.is_bad


@given(st.binary(max_size=300))
def test_no_line_breaks_the_reader(raw: bytes) -> None:
    line = read_line(raw, needs_check=False, needs_crc=False)
    if line is not None:
        assert split_commands(line.code)


@pytest.mark.parametrize(
    ("code", "commands"),
    [
        ("G91 G1 X1 F600", ["G91", "G1"]), ("G01X1Y2", ["G1"]), ("M117 G1 X5", ["M117"]), ("hello", [""]),
        ('M118 S"G1 X1" G4', ["M118"]), ('M409 K"move.axes[0]" G4', ["M409", "G4"]), ("g1 x1", ["G1"]),
    ],
)  # fmt: skip
def test_several_commands_may_stand_on_a_line(code: str, commands: list[str]) -> None:
    assert [words.code for words in split_commands(code)] == commands


# ---- answers --------------------------------------------------------------------------------------------------------
def test_a_bad_line_is_dropped_without_a_word_and_a_number_is_never_compared() -> None:
    async def story(host: Host) -> None:
        await host.ask("M564 H0")
        before = len(host.lines)
        host.send(b"N5 G1 X50*00001\n", b"N6 G1 X50*1\n")
        await asyncio.sleep(60)
        assert host.lines[before:] == [] and host.board.bad_lines == 2 and not host.moves
        await host.ask(framed(5, "G91"))
        for _ in range(2):  # the same line twice is done twice
            await host.ask(framed(6, "G1 X5 F6000"))
        await host.ask(framed(3, "M400"))
        assert host.gantry.position_at(host.loop.time())[0] == 10.0

    with_board(story)


def test_older_releases_report_a_bad_line() -> None:
    async def story(host: Host) -> None:
        host.send(b"N5 M105*1\n", b"N0 M105*1\n")
        await asyncio.sleep(1)
        assert host.lines == ["rs  Checksum error on line 5", "rs  "]

    with_board(story, reports_checksum_errors=True)


ANSWERS = [
    ("M105", ["ok T:21.0 /0.0 T0:21.0 /0.0 B:20.0 /0.0"]),
    ("M114", ["X:0.000 Y:0.000 Z:0.000 E:0.000 E0:0.0 Count 0 0 0 Machine 0.000 0.000 0.000 Bed comp 0.000", "ok"]),
    ("M115", ["FIRMWARE_NAME: RepRapFirmware for Duet 3 Mini 5+ FIRMWARE_VERSION: 3.5.4 ELECTRONICS: Duet 3 Mini5plus "
              "Ethernet FIRMWARE_DATE: 2024-11-24 10:47:24", "ok"]),
    ("M110 N5", ["ok"]),
    ("M117 hello", ["ok"]),
    ('M118 S"hi there"', ["hi there", "ok"]),
    ("M12345", ["Warning: M12345: Command is not supported", "ok"]),
    ("hello", ["Error: Bad command: hello", "ok"]),
    ("G1 X5", ["Error: G1: insufficient axes homed", "ok"]),
    ("M450", ["PrinterMode:FFF", "ok"]),
    ("M3 S100", ["Error: M3: Command is not supported in machine mode FFF", "ok"]),
    ("M5", ["Error: M5: Command is not supported in machine mode FFF", "ok"]),
    ("M400", ["ok"]),
    ("M555", ["Output mode: Marlin", "ok"]),
    ("G91 G90 M450", ["PrinterMode:FFF", "ok"]),
    ("M566", ["Maximum jerk rates (mm/min): X: 900.0, Y: 900.0, Z: 12.0, E: 120.0", "ok"]),
    ('M409 K"state.machineMode" F"v"', ['{"key":"state.machineMode","flags":"v","result":"FFF"}', "", "ok"]),
    ('M409 K"move.axes[1].homed"', ['{"key":"move.axes[1].homed","flags":"","result":false}', "", "ok"]),
    ('M409 K"no.such[3]"', ['{"key":"no.such[3]","flags":"","result":null}', "", "ok"]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "lines"), ANSWERS)
def test_commands_are_answered(command: str, lines: list[str]) -> None:
    assert with_board(lambda host: host.ask(command)) == lines


def test_in_its_own_manner_there_is_no_ok() -> None:
    async def story(host: Host) -> None:
        host.send("M555 P1", "M105", "G21")
        await asyncio.sleep(1)
        assert host.lines == ["", "T:21.0 /0.0 T0:21.0 /0.0 B:20.0 /0.0", ""]

    with_board(story)


def test_status_is_json() -> None:
    async def story(host: Host) -> None:
        await host.stream("G28", "G1 X100 F600")
        status = json.loads((await host.ask("M408 S0"))[0])
        assert status["status"] == "B" and status["homed"] == [1, 1, 1] and status["pos"][0] == 100.0
        assert json.loads((await host.ask('M409 K"state.status"'))[0])["result"] == "busy"
        await host.ask("M400")
        model = json.loads((await host.ask("M409"))[0])["result"]
        assert model["state"]["status"] == "idle" and look_up(model, "move.axes[0].machinePosition") == 100.0
        assert "=== Diagnostics ===" in await host.ask("M122")

    with_board(story)


def test_the_line_number_of_the_model_is_the_last_that_ended_even_if_its_line_was_dropped() -> None:
    async def story(host: Host) -> None:
        host.send(b"N41 M105*1\n")
        return json.loads((await host.ask('M409 K"inputs[0].lineNumber"'))[0])["result"]

    assert with_board(story) == 42  # the question, without a number, counts on from the dropped line


# ---- buffers --------------------------------------------------------------------------------------------------------
def test_one_line_at_a_time_and_an_overrun_spoils_its_line() -> None:
    async def story(host: Host) -> None:
        host.send("G4 S10")
        await asyncio.sleep(1)
        lines = [framed(n, f'M118 S"{n}"') for n in range(1, 60)]
        for line in lines:
            host.send(line)
        assert host.board.dropped_bytes == sum(map(len, lines)) - 512
        await asyncio.sleep(20)
        said = [int(line) for line in host.lines if line.isdigit()]
        whole = b"".join(lines)[:511].count(b"\n")
        assert said == list(range(1, whole + 1))
        host.send("\n")
        assert await host.ask("M450") == ["PrinterMode:FFF", "ok"], "the line with the overrun is gone, not merged"

    with_board(story)


def test_nothing_overtakes_a_waiting_command_on_its_channel() -> None:
    async def story(host: Host) -> None:
        host.send("M109 S200")
        await asyncio.sleep(5)
        host.send("M108", "M112")
        await asyncio.sleep(30)
        assert host.lines == []
        await asyncio.sleep(200)
        assert host.lines == ["ok", "ok", "Emergency Stop! Reset the controller to continue.", "ok"]

    with_board(story)


def test_an_emergency_stop_needs_a_reset_and_m999_is_one() -> None:
    async def story(host: Host) -> None:
        await host.stream("G28", "G1 X100 F600")
        await asyncio.sleep(3)
        host.send("M112")
        await asyncio.sleep(0.1)
        stood = host.gantry.position_at(host.loop.time())
        assert 25 < stood[0] < 35 and host.gantry.run_at(host.loop.time()) is None
        assert await host.ask("G28") == ["ok"] and host.gantry.position_at(host.loop.time()) == stood
        assert json.loads((await host.ask("M408 S0"))[0])["status"] == "H"
        before = len(host.lines)
        host.send("M999")
        await asyncio.sleep(5)
        assert host.lines[before:] == ["RepRapFirmware for Duet 3 Mini 5+ is up and running."]
        assert host.board.resets == 1 and (await host.ask("M114"))[0].startswith("X:0.000")
        assert host.gantry.position_at(host.loop.time()) == stood
        await host.ask("G28")
        assert host.gantry.position_at(host.loop.time()) == (0.0, 0.0, 0.0)

    with_board(story)


# ---- motion ---------------------------------------------------------------------------------------------------------
def test_ok_is_withheld_when_the_ring_is_full() -> None:
    async def story(host: Host) -> None:
        await host.stream("M564 H0", "G91")
        for i in range(61):
            host.send(f"G1 X{10 if i % 2 == 0 else -10} F600")
            await asyncio.sleep(0.003)
        assert len(host.lines) == 2 + 60
        await asyncio.sleep(2)
        assert len(host.lines) == 2 + 61

    with_board(story)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), 50.0),  # straight on: the slower of both
        ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 15.0),
        ((1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), 7.5),  # reversal: half the jerk on each side
        ((1.0, 0.0, 0.0), (sqrt(0.5), sqrt(0.5), 0.0), 15.0 / sqrt(0.5)),
        ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.0),  # into Z alone: not joined
    ],
)  # fmt: skip
def test_corners_are_taken_at_the_jerk_of_the_worse_axis(before, after, expected: float) -> None:
    assert sqrt(corner_speed2(before, after, 60.0, 50.0, (15.0, 15.0, 0.2))) == pytest.approx(expected)


def test_moves_are_trapezoids_with_those_corners() -> None:
    async def story(host: Host) -> None:
        await host.stream("G28", "G1 X40 F3000", "G1 Y40", "G1 Y80", "M400")
        one, two, three = host.moves[-3:]
        assert one.move.exit_mm_s == two.move.entry_mm_s == 15.0
        assert two.move.exit_mm_s == three.move.entry_mm_s == 50.0 and three.move.exit_mm_s == 0.0
        assert all(b.t0_s == pytest.approx(a.t1_s) for a, b in pairwise((one, two, three)))

    with_board(story)


def test_limits_are_refused_in_laser_mode_and_clipped_otherwise() -> None:
    async def story(host: Host) -> None:
        await host.stream("G28", "G1 X999 F6000", "M400")
        assert host.gantry.position_at(host.loop.time())[0] == 250.0
        await host.ask("M452")
        assert await host.ask("G1 X-5") == ["Error: G1: target position outside machine limits", "ok"]
        assert (await host.ask("M114"))[0].startswith("X:250.000")

    with_board(story)


def test_motors_off_forgets_home_and_g92_names_a_place() -> None:
    async def story(host: Host) -> None:
        await host.stream("G28", "G1 X50 F6000", "M84")
        assert (await host.ask("G1 X60"))[0] == "Error: G1: insufficient axes homed"
        await host.stream("G92 X10", "G1 X12", "M400")
        assert host.gantry.position_at(host.loop.time())[0] == 52.0

    with_board(story)


def test_a_workplace_shifts_what_is_asked_for_and_waits_for_nothing() -> None:
    async def story(host: Host) -> None:
        await host.stream("G28", "M452", "G10 L2 P2 X-300 Y1", "G1 X10 Y5 F600", "G55")
        assert host.board.machine.is_moving  # nothing was waited for
        assert (await host.ask("M114"))[0].startswith("X:310.000 Y:4.000 Z:0.000")
        assert "Machine 10.000 5.000 0.000" in (await host.ask("M114"))[0]
        assert await host.ask("G1 X10 Y5 F600") == ["Error: G1: target position outside machine limits", "ok"]
        await host.stream("G1 X320 Y4", "G54", "M400")
        assert host.gantry.position_at(host.loop.time()) == (20.0, 5.0, 0.0)
        assert await host.ask("G1 X320 Y4") == ["Error: G1: target position outside machine limits", "ok"]
        assert await host.ask("G10 L2 P10 X0") == ["Error: G10: parameters are not supported", "ok"]
        assert (await host.ask("G59.3")) == ["ok"]

    with_board(story)


def test_the_rest_of_a_line_is_carried_out_behind_a_refusal() -> None:
    async def story(host: Host) -> None:
        await host.stream("G28", "M452", "G10 L2 P2 X-300")
        said = await host.ask('G1 X400 Y5 F600 G1 X10 Y5 G55 M118 S"done"')
        assert said == ["Error: G1: target position outside machine limits", "done", "ok"]
        assert (await host.ask("M114"))[0].startswith("X:310.000 Y:5.000")

    with_board(story)


# ---- laser ----------------------------------------------------------------------------------------------------------
async def lit(host: Host, *commands: str) -> None:
    host.head.set_emission_capability(host.loop.time(), 100.0)
    await host.stream("G28", *commands, "M400")
    host.settle = host.optics.settle(host.loop.time())


def test_each_move_says_its_power_and_a_rapid_is_dark() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M452 R1000", "M3 S900", "G1 X20 F3000", "G1 X40 S500", "G0 X60 S900", "G1 X80 S250", "G1 X100")
        assert [(b.start_mm[0], b.s_fraction) for b in host.optics.executed] == [(20.0, 0.5), (60.0, 0.25)]
        assert not host.optics.dwells

    with_board(story)


def test_sticky_power_stays_until_m5() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M452 R1000 S1", "M3 S500", "G1 X20 F3000", "G1 X40", "M5", "G1 X60")
        assert [(b.start_mm[0], b.s_fraction) for b in host.optics.executed] == [(0.0, 0.5), (20.0, 0.5)]

    with_board(story)


def test_power_follows_the_speed_over_the_one_reached_and_stops_with_the_move() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M452 R1000", "G1 X2 F3000 S500")  # a triangle of 31.6 mm/s
        (block,) = host.optics.executed
        assert block.energy_j == pytest.approx(50.0 * 2.0 / sqrt(500 * 2))
        assert host.board.planner.dry_runs == 1 and not host.optics.dwells
        assert host.optics.emission_w(host.loop.time()) == 0.0

    with_board(story)


def test_a_path_gets_the_line_numbers_it_was_sent_with() -> None:
    async def story(host: Host) -> None:
        host.head.set_emission_capability(0.0, 100.0)
        await host.stream("G28", "M452 R1000")
        for n in range(10, 20):
            await host.ask(framed(n, f"G1 X{n} Y{n % 3} F3000 S500"))
        await host.ask("M400")
        host.optics.settle(host.loop.time())
        assert [block.line_no for block in host.optics.executed] == list(range(10, 20))
        assert dist(host.gantry.position_at(host.loop.time()), (19.0, 1.0, 0.0)) < 1e-9

    with_board(story, needs_crc=False)
