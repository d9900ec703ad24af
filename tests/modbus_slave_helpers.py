"""A Modbus master of a few lines for the tests of the emulated devices: its own CRC, its own frames."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hil_sim.world.emulators.modbus_pdu import ILLEGAL_ADDRESS, ModbusDevice, Refusal, answer


def crc(data: bytes) -> bytes:
    """CRC-16/Modbus by shifting, low byte first: the slow way."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return bytes((value & 0xFF, value >> 8))


def rtu(unit: int, pdu: bytes | str) -> bytes:
    body = bytes([unit]) + (bytes.fromhex(pdu) if isinstance(pdu, str) else pdu)
    return body + crc(body)


def mbap(transaction: int, unit: int, pdu: bytes | str, protocol: int = 0) -> bytes:
    body = bytes([unit]) + (bytes.fromhex(pdu) if isinstance(pdu, str) else pdu)
    return b"".join(word.to_bytes(2, "big") for word in (transaction, protocol, len(body))) + body


def words(*values: int) -> bytes:
    return b"".join((value & 0xFFFF).to_bytes(2, "big") for value in values)


def read(device: ModbusDevice, address: int, count: int, t_s: float, fc: int = 3) -> list[int]:
    """Registers of `device` through its PDUs; an exception reply becomes Refusal."""
    reply = answer(device, bytes([fc]) + words(address, count), t_s)
    if reply[0] & 0x80:
        raise Refusal(reply[1])
    assert reply[:2] == bytes((fc, 2 * count)) and len(reply) == 2 + 2 * count
    return [int.from_bytes(reply[i : i + 2], "big") for i in range(2, len(reply), 2)]


def write(device: ModbusDevice, address: int, values: int | Sequence[int], t_s: float) -> None:
    """FC 06 for a number, FC 16 for a list; an exception reply becomes Refusal."""
    if isinstance(values, int):
        request = bytes([6]) + words(address, values)
        expected = request
    else:
        request = bytes([16]) + words(address, len(values)) + bytes([2 * len(values)]) + words(*values)
        expected = request[:5]
    reply = answer(device, request, t_s)
    if reply[0] & 0x80:
        raise Refusal(reply[1])
    assert reply == expected


class Tables(ModbusDevice):
    """Four plain tables, all functions."""

    functions = frozenset({1, 2, 3, 4, 5, 6, 15, 16, 22, 23})

    def __init__(self, size: int = 200) -> None:
        self.holding = [0] * size
        self.input = list(range(1000, 1000 + size))
        self.coils = [False] * size
        self.discretes = [i % 3 == 0 for i in range(size)]

    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        return self._cut(self.holding, address, count)

    def read_input(self, address: int, count: int, t_s: float) -> Sequence[int]:
        return self._cut(self.input, address, count)

    def read_coils(self, address: int, count: int, t_s: float) -> Sequence[bool]:
        return self._cut(self.coils, address, count)

    def read_discretes(self, address: int, count: int, t_s: float) -> Sequence[bool]:
        return self._cut(self.discretes, address, count)

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        self._cut(self.holding, address, len(values))
        self.holding[address : address + len(values)] = values

    def write_coils(self, address: int, values: Sequence[bool], t_s: float) -> None:
        self._cut(self.coils, address, len(values))
        self.coils[address : address + len(values)] = values

    @staticmethod
    def _cut(table: list[Any], address: int, count: int) -> list[Any]:
        if address + count > len(table):
            raise Refusal(ILLEGAL_ADDRESS)
        return table[address : address + count]


class Ear:
    """What a host hears: (loop time, bytes)."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []
        self._loop = asyncio.get_running_loop()

    def __call__(self, data: bytes) -> None:
        self.heard.append((self._loop.time(), data))

    @property
    def frames(self) -> list[bytes]:
        return [data for _, data in self.heard]
