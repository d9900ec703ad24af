"""What a Modbus slave answers: CRC-16, function codes and exceptions, free of any wire, clock or frame.

Written from the Modbus Application Protocol V1.1b3: each request is checked in the order function (01), quantity
and structure (03), address (02), and only then executed; a value that the device refuses is 04, never 03. Nothing
here is shared with the drivers in `firmware_bridge`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

ILLEGAL_FUNCTION = 0x01
ILLEGAL_ADDRESS = 0x02
ILLEGAL_VALUE = 0x03
DEVICE_FAILURE = 0x04  # also: the device understood the value and refuses it
DEVICE_BUSY = 0x06
GATEWAY_TARGET_SILENT = 0x0B

READ_COILS, READ_DISCRETES, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS = 5, 6, 15, 16
MASK_WRITE, READ_WRITE = 22, 23
WRITING = frozenset(
    {WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS, MASK_WRITE}
)  # what a broadcast may carry

_TWO_WORDS = struct.Struct(">HH")
_THREE_WORDS = struct.Struct(">HHH")
_FOUR_WORDS = struct.Struct(">HHHH")
_REPLIES = [struct.Struct(f">BB{count}H") for count in range(126)]  # function, byte count, registers


class Refusal(Exception):
    """A request that the device answers with an exception code instead of data."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Modbus exception {code:02X}")
        self.code = code


class ModbusDevice:
    """One unit: what it serves, and how long it thinks before it answers.

    A device overrides the methods of the function codes it lists. Addresses are PDU addresses (0-based), registers
    unsigned 16-bit integers, bits bools, `t_s` the time of the request on the world's clock. A request past what
    exists raises `Refusal(ILLEGAL_ADDRESS)`; nothing is ever truncated.
    """

    functions: frozenset[int] = frozenset({READ_HOLDING, WRITE_REGISTER, WRITE_REGISTERS})
    reply_delay_s: float = 0.0

    def read_holding(self, address: int, count: int, t_s: float) -> Sequence[int]:
        raise Refusal(ILLEGAL_ADDRESS)

    def read_input(self, address: int, count: int, t_s: float) -> Sequence[int]:
        raise Refusal(ILLEGAL_ADDRESS)

    def read_coils(self, address: int, count: int, t_s: float) -> Sequence[bool]:
        raise Refusal(ILLEGAL_ADDRESS)

    def read_discretes(self, address: int, count: int, t_s: float) -> Sequence[bool]:
        raise Refusal(ILLEGAL_ADDRESS)

    def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
        raise Refusal(ILLEGAL_ADDRESS)

    def write_coils(self, address: int, values: Sequence[bool], t_s: float) -> None:
        raise Refusal(ILLEGAL_ADDRESS)


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


@lru_cache(maxsize=1024)  # a master asks, and a device at rest answers, the same again and again
def crc16(data: bytes) -> int:
    """CRC-16/Modbus of `data` (polynomial 0x8005 reflected, start 0xFFFF); on the wire the low byte goes first."""
    crc = 0xFFFF
    table = _CRC_TABLE
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc


def answer(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    """The reply PDU of `device` to the request `pdu` (function code first, at least 1 byte) at `t_s`; an exception
    PDU where it is refused."""
    function = pdu[0]
    try:
        handler = _HANDLERS.get(function)
        if handler is None or function not in device.functions:
            raise Refusal(ILLEGAL_FUNCTION)
        return handler(device, pdu, t_s)
    except Refusal as refusal:
        return bytes((function | 0x80, refusal.code))


def _address_and_count(pdu: bytes, most: int) -> tuple[int, int]:
    if len(pdu) != 5:
        raise Refusal(ILLEGAL_VALUE)
    address, count = _TWO_WORDS.unpack_from(pdu, 1)
    if not 1 <= count <= most:
        raise Refusal(ILLEGAL_VALUE)
    if address + count > 0x10000:
        raise Refusal(ILLEGAL_ADDRESS)
    return address, count


def _registers_reply(function: int, values: Sequence[int]) -> bytes:
    count = len(values)
    return _REPLIES[count].pack(function, 2 * count, *values)


def _read_registers(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    address, count = _address_and_count(pdu, 125)
    read = device.read_holding if pdu[0] == READ_HOLDING else device.read_input
    return _registers_reply(pdu[0], read(address, count, t_s))


def _read_bits(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    address, count = _address_and_count(pdu, 2000)
    read = device.read_coils if pdu[0] == READ_COILS else device.read_discretes
    packed = bytearray((count + 7) // 8)
    for index, bit in enumerate(read(address, count, t_s)):
        if bit:
            packed[index >> 3] |= 1 << (index & 7)
    return bytes((pdu[0], len(packed))) + packed


def _write_coil(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    if len(pdu) != 5:
        raise Refusal(ILLEGAL_VALUE)
    address, value = _TWO_WORDS.unpack_from(pdu, 1)
    if value not in (0x0000, 0xFF00):
        raise Refusal(ILLEGAL_VALUE)
    device.write_coils(address, [value == 0xFF00], t_s)
    return pdu


def _write_register(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    if len(pdu) != 5:
        raise Refusal(ILLEGAL_VALUE)
    address, value = _TWO_WORDS.unpack_from(pdu, 1)
    device.write_holding(address, [value], t_s)
    return pdu


def _write_coils(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    if len(pdu) < 6:
        raise Refusal(ILLEGAL_VALUE)
    address, count = _address_and_count(pdu[:5], 1968)
    size = (count + 7) // 8
    if pdu[5] != size or len(pdu) != 6 + size:
        raise Refusal(ILLEGAL_VALUE)
    device.write_coils(address, [bool(pdu[6 + (i >> 3)] >> (i & 7) & 1) for i in range(count)], t_s)
    return pdu[:5]


def _write_registers(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    if len(pdu) < 6:
        raise Refusal(ILLEGAL_VALUE)
    address, count = _address_and_count(pdu[:5], 123)
    if pdu[5] != 2 * count or len(pdu) != 6 + 2 * count:
        raise Refusal(ILLEGAL_VALUE)
    device.write_holding(address, struct.unpack_from(f">{count}H", pdu, 6), t_s)
    return pdu[:5]


def _mask_write(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    if len(pdu) != 7:
        raise Refusal(ILLEGAL_VALUE)
    address, keep, put = _THREE_WORDS.unpack_from(pdu, 1)
    (held,) = device.read_holding(address, 1, t_s)
    device.write_holding(address, [(held & keep) | (put & ~keep & 0xFFFF)], t_s)
    return pdu


def _read_write(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    if len(pdu) < 10:
        raise Refusal(ILLEGAL_VALUE)
    read_address, read_count, write_address, write_count = _FOUR_WORDS.unpack_from(pdu, 1)
    if not (1 <= read_count <= 125 and 1 <= write_count <= 121):
        raise Refusal(ILLEGAL_VALUE)
    if pdu[9] != 2 * write_count or len(pdu) != 10 + 2 * write_count:
        raise Refusal(ILLEGAL_VALUE)
    if read_address + read_count > 0x10000 or write_address + write_count > 0x10000:
        raise Refusal(ILLEGAL_ADDRESS)
    device.read_holding(read_address, read_count, t_s)  # the read must be possible before anything is written
    device.write_holding(write_address, struct.unpack_from(f">{write_count}H", pdu, 10), t_s)
    return _registers_reply(READ_WRITE, device.read_holding(read_address, read_count, t_s))


_HANDLERS = {
    READ_COILS: _read_bits,
    READ_DISCRETES: _read_bits,
    READ_HOLDING: _read_registers,
    READ_INPUT: _read_registers,
    WRITE_COIL: _write_coil,
    WRITE_REGISTER: _write_register,
    WRITE_COILS: _write_coils,
    WRITE_REGISTERS: _write_registers,
    MASK_WRITE: _mask_write,
    READ_WRITE: _read_write,
}
