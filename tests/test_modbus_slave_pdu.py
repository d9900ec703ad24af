"""Does the slave answer every request PDU as the application protocol says, and nothing else?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modbus_slave_helpers import Tables, crc, words

from hil_sim.world.emulators.modbus_pdu import ModbusDevice, Refusal, answer, crc16


def ask(request: str, device: ModbusDevice | None = None) -> str:
    return answer(device or Tables(), bytes.fromhex(request), 0.0).hex(" ")


CONFORMANCE = [
    # quantities
    ("01 0000 0000", "81 03"), ("01 0000 07D1", "81 03"), ("02 0000 0000", "82 03"), ("02 0000 07D1", "82 03"),
    ("03 0000 0000", "83 03"), ("03 0000 007E", "83 03"), ("04 0000 0000", "84 03"), ("04 0000 007E", "84 03"),
    ("0F 0000 0000 00", "8f 03"), ("0F 0000 07B1 F7" + "00" * 247, "8f 03"),
    ("10 0000 0000 00", "90 03"), ("10 0000 007C F8" + "00" * 248, "90 03"),
    ("17 0000 0000 0000 0001 02 0000", "97 03"), ("17 0000 007E 0000 0001 02 0000", "97 03"),
    ("17 0000 0001 0000 0000 00", "97 03"), ("17 0000 0001 0000 007A F4" + "00" * 244, "97 03"),
    # ends of the tables and of the address space: never truncated
    ("01 00C7 0002", "81 02"), ("02 00C7 0002", "82 02"), ("03 00C7 0002", "83 02"), ("04 00C7 0002", "84 02"),
    ("03 FFFF 0002", "83 02"), ("04 FFFF 0002", "84 02"), ("01 FFFF 0002", "81 02"),
    ("10 FFFF 0002 04 0000 0000", "90 02"),
    ("0F FFFF 0002 01 03", "8f 02"), ("06 00C8 0001", "86 02"), ("05 00C8 FF00", "85 02"),
    ("10 00C7 0002 04 0001 0002", "90 02"),
    ("0F 00C7 0002 01 03", "8f 02"), ("16 00C8 FFFF 0000", "96 02"), ("17 00C7 0002 0000 0001 02 0000", "97 02"),
    ("17 FFFF 0002 0000 0001 02 0000", "97 02"),
    # values and byte counts
    ("05 0000 1234", "85 03"), ("05 0000 0001", "85 03"), ("05 0000 FF01", "85 03"),
    ("10 0000 0002 03 0001 0002", "90 03"), ("10 0000 0002 04 0001", "90 03"), ("10 0000 0001 02 0001 0002", "90 03"),
    ("0F 0000 0009 01 FF", "8f 03"), ("0F 0000 0008 01 FF FF", "8f 03"), ("17 0000 0001 0000 0002 02 0000", "97 03"),
    # torn requests
    ("03 0000", "83 03"), ("03", "83 03"), ("06 0000", "86 03"), ("10 0000 0001", "90 03"), ("16 0000", "96 03"),
    ("17 0000", "97 03"),
    ("03 0000 0001 00", "83 03"),
    # functions that are not there
    ("07", "87 01"), ("08 0000 0000", "88 01"), ("0B", "8b 01"), ("11", "91 01"), ("18 0000", "98 01"),
    ("2B 0E 01 00", "ab 01"),
    ("00", "80 01"), ("80", "80 01"), ("FF", "ff 01"),
    # and what is right
    ("01 0000 0001", "01 01 00"), ("02 0000 000A", "02 02 49 02"), ("04 0000 0002", "04 04 03 e8 03 e9"),
    ("05 0000 FF00", "05 00 00 ff 00"),
    ("05 0003 0000", "05 00 03 00 00"), ("06 00C7 ABCD", "06 00 c7 ab cd"),
    ("0F 0002 000A 02 CD 01", "0f 00 02 00 0a"),
    ("10 0001 0002 04 000A 0102", "10 00 01 00 02"), ("16 0004 00F2 0025", "16 00 04 00 f2 00 25"),
]  # fmt: skip


@pytest.mark.parametrize(("request_pdu", "reply"), CONFORMANCE, ids=[row[0][:24] for row in CONFORMANCE])
def test_the_conformance_list(request_pdu: str, reply: str) -> None:
    assert ask(request_pdu) == reply


def test_the_largest_requests_are_served() -> None:
    device = Tables(2000)
    assert answer(device, b"\x01" + words(0, 2000), 0.0)[:2] == b"\x01\xfa"
    assert answer(device, b"\x03" + words(0, 125), 0.0)[:2] == b"\x03\xfa"
    assert answer(device, b"\x0f" + words(0, 1968) + b"\xf6" + b"\xff" * 246, 0.0) == b"\x0f" + words(0, 1968)
    assert device.coils == [True] * 1968 + [False] * 32
    assert answer(device, b"\x10" + words(0, 123) + b"\xf6" + words(*range(123)), 0.0) == b"\x10" + words(0, 123)
    assert device.holding[:124] == [*range(123), 0]


def test_bits_are_packed_from_the_lowest() -> None:
    device = Tables()
    ask("0F 0013 000A 02 CD 01", device)  # the example of the specification: coils 20..29
    assert device.coils[19:29] == [True, False, True, True, False, False, True, True, True, False]
    assert ask("01 0013 000A", device) == "01 02 cd 01"


def test_mask_write_is_the_specifications_example() -> None:
    device = Tables()
    device.holding[4] = 0x0012
    ask("16 0004 00F2 0025", device)
    assert device.holding[4] == 0x0017


def test_read_write_writes_first_and_refuses_whole() -> None:
    device = Tables()
    assert ask("17 0000 0002 0001 0001 02 1234", device) == "17 04 00 00 12 34"
    assert ask("17 00C7 0002 0001 0001 02 5678", device) == "97 02"
    assert device.holding[1] == 0x1234


def test_a_device_without_coils_says_so() -> None:
    class Registers(Tables):
        functions = frozenset({3, 6, 16})

    for request in ("01 0000 0001", "02 0000 0001", "04 0000 0001", "05 0000 1234", "0F 0000 0000 00", "16 0000"):
        assert ask(request, Registers()) == f"{int(request[:2], 16) | 0x80:02x} 01"
    # Huanyang's pseudo-Modbus read of PD001, without unit and CRC
    assert ask("01 03 01 00 00", Registers()) == "81 01"


def test_a_refused_value_is_04_and_keeps_the_function() -> None:
    class Picky(Tables):
        def write_holding(self, address: int, values: object, t_s: float) -> None:
            raise Refusal(4)

    assert ask("06 0000 0001", Picky()) == "86 04"
    assert ask("10 0000 0001 02 0001", Picky()) == "90 04"


@given(st.binary(max_size=300))
def test_crc_agrees_with_shifting_and_closes_to_zero(data: bytes) -> None:
    assert crc16(data).to_bytes(2, "little") == crc(data)
    assert crc16(data + crc(data)) == 0


@given(st.binary(min_size=1, max_size=260))
def test_any_pdu_gets_one_well_formed_reply(pdu: bytes) -> None:
    reply = answer(Tables(), pdu, 0.0)
    assert 2 <= len(reply) <= 253
    assert reply[0] in (pdu[0], pdu[0] | 0x80)
    if reply[0] & 0x80 and len(reply) == 2:
        assert reply[1] in (1, 2, 3)
