"""What the tests of single devices share: a scripted unit on a bus, and what went over the wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from modbus_link_helpers import FakeSlave, bus, crc16

from firmware_bridge.links.modbus import ModbusLink
from hil_sim.virtual_run import run_virtual


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: main())


def framed(text: str) -> bytes:
    """A frame in hex, with its CRC added."""
    body = bytes.fromhex(text)
    return body + crc16(body)


def one_unit(registers: dict[int, int], *, unit: int = 1) -> tuple[ModbusLink, FakeSlave, list[tuple[int, int]]]:
    """A bus with one unit that holds `registers`, and the list of (address, value) that is written to it."""
    link, slave = bus()
    slave.registers = {unit: registers}
    writes: list[tuple[int, int]] = []
    slave.on_write = lambda unit, address, value: writes.append((address, value))
    return link, slave, writes


def exchanged(slave: FakeSlave, request: str, reply: str) -> None:
    """From now on the unit answers this request, frame for frame, with this reply, and nothing else."""
    wanted, answer = bytes.fromhex(request), bytes.fromhex(reply)
    slave.twist = lambda unit, pdu, good: [(0.0, answer)] if slave.raw[-1] == wanted else []
