"""What a Modbus slave answers: CRC-16, function codes and exceptions, free of any wire, clock or frame.

Written from the Modbus Application Protocol V1.1b3: each request is checked in the order function (01), quantity
and structure (03), address (02), and only then executed; a value that the device refuses is 04, never 03. Nothing
here is shared with the drivers in `firmware_bridge`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

ILLEGAL_FUNCTION = 0x01
ILLEGAL_ADDRESS = 0x02
ILLEGAL_VALUE = 0x03
DEVICE_FAILURE = 0x04  # also: the device understood the value and refuses it
DEVICE_BUSY = 0x06
GATEWAY_TARGET_SILENT = 0x0B

READ_COILS, READ_DISCRETES, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS = 5, 6, 15, 16
MASK_WRITE, READ_WRITE = 22, 23
DIAGNOSTICS, ENCAPSULATED = 8, 43
DEVICE_IDENTIFICATION = 0x0E  # the only kind of function 43 that is served
PDU_MAX = 253
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

    `identification`: object id -> text for function 43/14 (0 vendor, 1 product, 2 revision, at most 244 bytes each).
    `nonvolatile_writes`: how often a memory that wears out was written; the host's doing, so that a test can ask.
    `silent_until_s`: until then the device hears and says nothing, as one that restarts.
    `bad_crc_exception`: the code with which an RTU device answers a frame with a wrong CRC that seems to be its own;
    None (the specification's way) for silence.
    """

    functions: frozenset[int] = frozenset({READ_HOLDING, WRITE_REGISTER, WRITE_REGISTERS})
    reply_delay_s: float = 0.0
    identification: Mapping[int, bytes] = MappingProxyType({})
    nonvolatile_writes: int = 0
    silent_until_s: float = -math.inf
    bad_crc_exception: int | None = None

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

    def power_cycle(self, t_s: float) -> None:
        """Power goes and comes: what is not in a memory that lasts is as delivered. A device that holds nothing so has
        nothing to do."""

    def diagnose(self, sub_function: int, data: bytes, t_s: float) -> bytes:
        """Function 08: the data of the reply. Only sub-function 0, which returns them, is common to all devices."""
        if sub_function != 0:
            raise Refusal(ILLEGAL_FUNCTION)
        return data


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
    PDU where it is refused; nothing (b"") where the device stays silent."""
    if t_s < device.silent_until_s:
        return b""
    function = pdu[0]
    try:
        handler = _HANDLERS.get(function)
        if handler is None or function not in device.functions:
            raise Refusal(ILLEGAL_FUNCTION)
        reply = handler(device, pdu, t_s)
    except Refusal as refusal:
        reply = bytes((function | 0x80, refusal.code))
    return b"" if t_s < device.silent_until_s else reply  # a request may have silenced it


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


def _diagnostics(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    if len(pdu) < 5 or len(pdu) % 2 == 0:
        raise Refusal(ILLEGAL_VALUE)
    return pdu[:3] + device.diagnose(int.from_bytes(pdu[1:3], "big"), pdu[3:], t_s)


def _encapsulated(device: ModbusDevice, pdu: bytes, t_s: float) -> bytes:
    """Function 43/14. Codes 1 to 3 stream the objects of their category from a first one on, 4 gives just one. What
    does not fit is told of by `more follows` and the next object's id."""
    if len(pdu) < 2 or pdu[1] != DEVICE_IDENTIFICATION:
        raise Refusal(ILLEGAL_FUNCTION)
    if len(pdu) != 4 or not 1 <= pdu[2] <= 4:
        raise Refusal(ILLEGAL_VALUE)
    code, first = pdu[2], pdu[3]
    objects = sorted(device.identification.items())
    if code == 4:
        wanted = [(number, text) for number, text in objects if number == first]
        if not wanted:
            raise Refusal(ILLEGAL_ADDRESS)
    else:
        objects = [(number, text) for number, text in objects if number < _CATEGORY_ENDS[code - 1]]
        known = any(number == first for number, _ in objects)
        wanted = [row for row in objects if not known or row[0] >= first]  # an unknown first one means: from the start
    body, count, more, following = bytearray(), 0, 0x00, 0
    for number, text in wanted:
        if 7 + len(body) + 2 + len(text) > PDU_MAX:
            more, following = 0xFF, number
            break
        body += bytes((number, len(text))) + text
        count += 1
    level = 0x80 | _level(device.identification)
    return bytes((ENCAPSULATED, DEVICE_IDENTIFICATION, code, level, more, following, count)) + body


_CATEGORY_ENDS = (0x03, 0x80, 0x100)  # basic, regular, extended objects end before


def _level(objects: Mapping[int, bytes]) -> int:
    highest = max(objects, default=0)
    return next(level for level, end in enumerate(_CATEGORY_ENDS, start=1) if highest < end)


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
    DIAGNOSTICS: _diagnostics,
    ENCAPSULATED: _encapsulated,
}
