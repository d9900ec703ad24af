"""A scripted Modbus device for the link's tests: registers, a table of misbehaviours, and the wire's byte time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from firmware_bridge.errors import TransportError
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.transport import Transport


def crc16(data: bytes) -> bytes:
    """CRC-16/Modbus, low byte first: the plain bit loop."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc.to_bytes(2, "little")


class FakeSlave(Transport):
    """`registers[unit][address]`; `twist(unit, pdu, reply)` may return [(delay_s, raw bytes)] to send instead."""

    def __init__(self, link: ModbusLink, *, byte_time_s: float = 10 / 9600, delay_s: float = 0.02) -> None:
        super().__init__("fake:bus", link, byte_time_s)
        self.loop = asyncio.get_running_loop()
        self.link = link
        self.delay_s = delay_s
        self.registers: dict[int, dict[int, int]] = {1: {address: 1000 + address for address in range(200)}}
        self.asked: list[tuple[float, int, bytes]] = []
        self.raw: list[bytes] = []
        self.refuse: dict[tuple[int, int], int] = {}  # (unit, address) -> exception code on writes
        self.on_write: Callable[[int, int, int], None] = lambda unit, address, value: None
        self.twist: Callable[[int, bytes, bytes], list[tuple[float, bytes]] | None] = lambda unit, pdu, reply: None
        link.attach(self)

    def _send(self, data: bytes) -> None:
        self.raw.append(data)
        if self.link.is_rtu:
            assert crc16(data[:-2]) == data[-2:]
            unit, pdu, header = data[0], data[1:-2], b""
        else:
            header, unit, pdu = data[:2], data[6], data[7:]
        self.asked.append((self.loop.time(), unit, pdu))
        if unit == 0:
            for table in self.registers.values():
                self._execute(table, 0, pdu)
            return
        if unit not in self.registers:
            return
        reply = self._execute(self.registers[unit], unit, pdu)
        framed = self.frame(unit, reply, header)
        sent = self.twist(unit, pdu, framed)
        wire_s = (len(data) + len(framed)) * self.byte_time_s
        for delay_s, raw in [(0.0, framed)] if sent is None else sent:
            self.loop.call_later(wire_s + self.delay_s + delay_s, self._deliver, raw)

    def frame(self, unit: int, pdu: bytes, header: bytes = b"") -> bytes:
        """A reply on this wire."""
        if not self.link.is_rtu:
            return header + b"\x00\x00" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit,)) + pdu
        body = bytes((unit,)) + pdu
        return body + crc16(body)

    def _execute(self, table: dict[int, int], unit: int, pdu: bytes) -> bytes:
        function, address = pdu[0], int.from_bytes(pdu[1:3], "big")
        if function in (3, 4):
            count = int.from_bytes(pdu[3:5], "big")
            if any(address + offset not in table for offset in range(count)):
                return bytes((function | 0x80, 2))
            words = b"".join(table[address + offset].to_bytes(2, "big") for offset in range(count))
            return bytes((function, len(words))) + words
        if function not in (6, 16):
            return bytes((function | 0x80, 1))
        values = [pdu[3:5]] if function == 6 else [pdu[i : i + 2] for i in range(6, len(pdu), 2)]
        for offset in range(len(values)):
            if (unit, address + offset) in self.refuse:
                return bytes((function | 0x80, self.refuse[unit, address + offset]))
            if address + offset not in table:
                return bytes((function | 0x80, 2))
        for offset, raw in enumerate(values):
            table[address + offset] = int.from_bytes(raw, "big")
            self.on_write(unit, address + offset, table[address + offset])
        return pdu[:5]

    def _deliver(self, raw: bytes) -> None:
        if self.is_open and raw:
            self._receiver.data_received(raw)

    def _waiting_bytes(self) -> int:
        return 0

    def _release(self) -> None:
        pass

    def lose(self) -> None:
        """The cable is pulled."""
        self._finish(TransportError("fake:bus is gone"))


def bus(framing: str = "rtu", *, timeout_s: float = 0.3, **wire: float) -> tuple[ModbusLink, FakeSlave]:
    """A link and the device at its other end; TCP has no byte time."""
    link = ModbusLink(framing, timeout_s=timeout_s)  # type: ignore[arg-type]
    if framing == "tcp":
        wire = {"byte_time_s": 0.0, **wire}
    return link, FakeSlave(link, **wire)
