"""An emulated RoboClaw line with a host of a few lines, for tests of what the boards do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from roboclaw_helpers import Host, crc, make_line, packet

from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.roboclaw import RoboClawBoard, RoboClawLine

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
