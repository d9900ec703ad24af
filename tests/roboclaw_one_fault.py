"""One fault at each byte of each kind of RoboClaw transaction, each way, against what the boards were told and said.

Every byte is a chunk of its own: a fault strikes one byte. Afterwards each board answers within two requests.
"""

from __future__ import annotations

import asyncio
import struct
from functools import cache
from typing import Any

from roboclaw_helpers import TICKS, make_line, motor

from firmware_bridge.errors import FrameError, LinkTimeout
from firmware_bridge.links.roboclaw import RoboClawLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.roboclaw import BoardSettings, RoboClawLine
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.wire import lay_virtual

BOARDS = (128, 129)
RECOVERY_REQUESTS = 2
BACKOFF_MAX_S = 2.1  # of a board that was silent for long

RUNNING, ORDER, NEXT = 400, 900, 650  # counts/s: before, under the fault, after it
PLACE = 250
COUNTS = -100_000  # at the start, of all counters: answers that begin with FF, as acknowledgements do

ONE_FAULT: dict[str, dict[str, int | float | str]] = {
    "drop": {},
    "flip low": {"bit": 0},
    "flip high": {"bit": 7},
    "duplicate": {},
    "insert 00": {"hex": "00"},
    "insert ff": {"hex": "ff"},
    "insert 80": {"hex": "80"},
    "insert 11": {"hex": "11"},  # a question for a counter, if it comes behind an address
    "insert 8010": {"hex": "8010"},
    "insert 814e": {"hex": "814e"},
    "delay 0.006": {"delay_s": 0.006},
    "delay 0.015": {"delay_s": 0.015},
    "delay 0.05": {"delay_s": 0.05},
    "delay 0.3": {"delay_s": 0.3},
}


async def _read(link: RoboClawLink, line: RoboClawLine, command: int, data: bytes) -> None:
    assert await link.read(128, command, len(data)) == data


async def _read_counters(link: RoboClawLink, line: RoboClawLine) -> None:
    loop, wheel = asyncio.get_running_loop(), motor(line, 128)
    from_counts = wheel.angle_rad(loop.time()) * TICKS
    counts = struct.unpack(">ii", await link.read(128, 78, 8))[0]
    to_counts = wheel.angle_rad(loop.time()) * TICKS
    assert from_counts - 1 <= counts - COUNTS <= to_counts + 1, "a counter of another time"


async def _read_version(link: RoboClawLink, line: RoboClawLine) -> None:
    assert await link.read_text(128, 21) == "USB Roboclaw 2x15a v4.2.4"


async def _write_timeout(link: RoboClawLink, line: RoboClawLine) -> None:
    await link.write(128, 14, b"\x07")
    assert line.boards[128].settings.timeout_steps == 7


async def _write_speeds(link: RoboClawLink, line: RoboClawLine) -> None:
    await link.write(128, 37, struct.pack(">ii", ORDER, ORDER))
    assert last_speed(line) == ORDER


async def _write_place(link: RoboClawLink, line: RoboClawLine) -> None:
    await link.write(129, 65, struct.pack(">IIIiB", 9000, 900, 9000, PLACE, 1))
    assert motor(line, 129).calls[-1][1] == "position"


async def _write_distance(link: RoboClawLink, line: RoboClawLine) -> None:
    await link.write(129, 41, struct.pack(">iIB", ORDER, 100, 0), retries=0)
    assert [call[2][0] > 0 for call in motor(line, 129).calls if call[1] == "speed"][:1] == [True]


async def _write_stop(link: RoboClawLink, line: RoboClawLine) -> None:
    await link.write(128, 54, struct.pack(">hIhI", 0, 327670, 0, 327670), urgent=True)
    await asyncio.sleep(0.12)
    assert motor(line, 128).calls[-1][1:] == ("duty", (0.0,))


TRANSACTIONS: dict[str, Any] = {
    "counters": _read_counters,
    "supply": lambda link, line: _read(link, line, 24, b"\x00\x78"),
    "status": lambda link, line: _read(link, line, 90, bytes(4)),
    "version": _read_version,
    "timeout": _write_timeout,
    "speeds": _write_speeds,
    "place": _write_place,
    "distance": _write_distance,
    "stop": _write_stop,
}


def last_speed(line: RoboClawLine) -> int | None:
    """What motor 1 of board 128 was told last, counts/s; None if it was no speed."""
    _, kind, values = motor(line, 128).calls[-1]
    return round(values[0] * TICKS) if kind == "speed" else None


def one_fault(name: str, schedule: FaultSchedule) -> tuple[str, int, tuple[int, int, int, int]]:
    """The transaction under the schedule: "true" or "error", the faults that struck, the first and last chunks of the
    transaction each way. AssertionError for a wrong value or order, or a line that is not well two requests later."""

    async def main(loop: VirtualLoop) -> tuple[str, int, tuple[int, int, int, int]]:
        line = make_line(*BOARDS, chunk_bytes=1)
        for channel in (channel for board in line.boards.values() for channel in board.channels):
            channel.set_ticks(COUNTS, loop.time())
        wire = await lay_virtual("wheels", line, baud=115200, faults=schedule)
        link = await RoboClawLink.open("sim:wheels", timeout_s=0.02)
        try:
            await link.read(129, 24, 2)
            await link.write(128, 37, struct.pack(">ii", RUNNING, RUNNING))
            await asyncio.sleep(0.05)
            first = wire.to_device.chunks, wire.to_host.chunks
            try:
                await TRANSACTIONS[name](link, line)
                ended = "true"
            except (LinkTimeout, FrameError):
                ended = "error"
            chunks = (first[0], wire.to_device.chunks - 1, first[1], wire.to_host.chunks - 1)
            await asyncio.sleep(0.35)  # the longest delay is over
            await well_again(link, BOARDS)
            await link.write(128, 37, struct.pack(">ii", NEXT, NEXT), retries=1)
            await asyncio.sleep(0.5)
            assert last_speed(line) == NEXT, "an older order came after a newer one"
            check_only(line, name)
            return ended, len(wire.strikes), chunks
        finally:
            link.close()
            wire.close()

    return run_virtual(main)


def check_only(line: RoboClawLine, name: str) -> None:
    """Nothing was told the motors, or set, that the transaction does not say."""
    speeds = {round(call[2][0] * TICKS) for call in motor(line, 128).calls if call[1] == "speed"}
    assert speeds <= {RUNNING, NEXT} | ({ORDER} if name == "speeds" else set()), speeds
    assert {call[1] for call in motor(line, 128).calls} <= {"speed"} | ({"duty"} if name == "stop" else set())
    others = [call for call in motor(line, 129).calls if call[1] != "speed" or call[2][0] != 0]
    told = {"place": ("position", PLACE - COUNTS), "distance": ("speed", ORDER)}.get(name)
    assert {(call[1], round(call[2][0] * TICKS)) for call in others} <= ({told} if told else set()), others
    assert name != "distance" or len(others) <= 1, "moved twice by a distance"
    assert motor(line, 129, 2).calls == []
    for address, board in line.boards.items():
        steps = board.settings.timeout_steps
        assert steps == 0 or (name == "timeout" and address == 128 and steps == 7)
        board.settings.timeout_steps = 0
        assert board.settings == BoardSettings() and board.nvm_writes == 0
        assert [channel.zero_rad for channel in board.channels] == [-COUNTS / TICKS] * 2


async def well_again(link: RoboClawLink, addresses: tuple[int, ...]) -> None:
    """Each board answers within two requests that go out, and from then on."""
    for address in addresses:
        is_good = []
        while len(is_good) < 4:
            before = link.counters.sent
            try:
                good = await link.read(address, 24, 2, retries=0) == b"\x00\x78"
                assert good, "a wrong supply"
            except (LinkTimeout, FrameError):
                good = False
            if link.counters.sent > before:
                is_good.append(good)
            else:  # it was silent for long, and is asked at its times
                assert link.silent_since_s(address) is not None
                await asyncio.sleep(BACKOFF_MAX_S / 10)
        assert True in is_good[:RECOVERY_REQUESTS] and all(is_good[RECOVERY_REQUESTS:]), (address, is_good)


@cache
def chunks_of(name: str) -> tuple[int, int, int, int]:
    """First and last chunk of a transaction each way, when nothing goes wrong."""
    ended, struck, chunks = one_fault(name, FaultSchedule())
    assert ended == "true" and not struck
    return chunks


def faults_of(name: str, kind: str) -> list[Fault]:
    """A fault of a kind at each byte of a transaction, each way."""
    device_from, device_to, host_from, host_to = chunks_of(name)
    args = tuple(sorted(ONE_FAULT[kind].items()))
    points = [("wheels.to_device", n) for n in range(device_from, device_to + 1)]
    points += [("wheels.to_host", n) for n in range(host_from, host_to + 1)]
    return [Fault(kind.split()[0], point, at_chunk=n, args=args) for point, n in points]
