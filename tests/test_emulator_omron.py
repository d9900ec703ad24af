"""Does the emulated Omron E5CC show one set of data through two windows, and let nobody write who has not asked to?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modbus_slave_helpers import crc, read, words, write

from hil_sim.world.emulators.modbus_pdu import Refusal, answer
from hil_sim.world.emulators.omron_e5cc import OmronE5cc
from hil_sim.world.plant.heater import HeaterPlate

PV, STATUS, SP_NOW, CURRENT, MV = 0x2000, 0x2001, 0x2002, 0x2003, 0x2004
SP, ALARM_1, UPPER, LOWER, STATUS_UPPER = 0x2103, 0x2104, 0x2105, 0x2106, 0x2407
COMMAND, ALLOW, RUN, STOP, RAM, BACKUP, SAVE, RESET = 0x0000, 0x0001, 0x0100, 0x0101, 0x0401, 0x0400, 0x0500, 0x0600


def controller(allowed: bool = True, temp_c: float = 20.0, sp_c: float = 0.0, decimals: int = 1) -> OmronE5cc:
    device = OmronE5cc(HeaterPlate(temp_c=temp_c), sp_c=sp_c, decimals=decimals)
    if allowed:
        write(device, COMMAND, ALLOW, 0.0)
    return device


def one(device: OmronE5cc, address: int, t_s: float = 0.0) -> int:
    value = read(device, address, 1, t_s)[0]
    return value - 0x10000 if value & 0x8000 else value


def status(device: OmronE5cc, t_s: float = 0.0) -> int:
    high, low = read(device, 0x0002, 2, t_s)
    return high << 16 | low


def refused(device: OmronE5cc, address: int, values: int | list[int], t_s: float = 0.0) -> int:
    with pytest.raises(Refusal) as refusal:
        write(device, address, values, t_s)
    return refusal.value.code


GOLDEN = [  # request and reply as the manuals print them, CRCs included
    ("H175 p. 4-12, four-byte write", "01 10 010A 0004 08 000003E8 FFFFFC18 8DE9", "01 10 010A 0004 E034"),
    ("H175 p. 4-12, two-byte write", "01 10 2105 0002 04 03E8 FC18 66BB", "01 10 2105 0002 5BF5"),
    ("H175 p. 4-14, stop", "01 06 0000 0101 499A", "01 06 0000 0101 499A"),
    ("H186 p. 4-14, echo-back", "01 08 0000 1234 ED7C", "01 08 0000 1234 ED7C"),
]


@pytest.mark.parametrize(("name", "request_hex", "reply_hex"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_the_manuals_frames(name: str, request_hex: str, reply_hex: str) -> None:
    request, reply = bytes.fromhex(request_hex), bytes.fromhex(reply_hex)
    assert request[-2:] == crc(request[:-2]) and reply[-2:] == crc(reply[:-2])
    assert answer(controller(), request[1:-2], 0.0) == reply[1:-2]


def test_both_windows_show_the_same() -> None:
    device = controller(temp_c=123.4)
    assert answer(device, bytes.fromhex("10 010A 0004 08 000003E8 FFFFFC18"), 0.0) == bytes.fromhex("10 010A 0004")
    assert read(device, UPPER, 2, 0.0) == [0x03E8, 0xFC18]
    assert read(device, 0x010A, 4, 0.0) == [0, 0x03E8, 0xFFFF, 0xFC18]
    assert one(device, PV) == 1234 and read(device, 0x0000, 2, 0.0) == [0, 1234]
    write(device, SP, 1500, 0.0)
    assert read(device, 0x0106, 2, 0.0) == [0, 1500] and read(device, 0x0004, 2, 0.0) == [0, 1500]


@given(st.integers(-1999, 9999), st.booleans())
def test_a_number_comes_back_through_either_window(value: int, wide: bool) -> None:
    device = controller()
    write(
        device, 0x0108 if wide else ALARM_1, [value >> 16 & 0xFFFF, value & 0xFFFF] if wide else [value & 0xFFFF], 0.0
    )
    assert one(device, ALARM_1) == value
    high, low = read(device, 0x0108, 2, 0.0)
    assert (high << 16 | low) == value & 0xFFFFFFFF


def test_nothing_can_be_written_until_it_is_allowed() -> None:
    device = controller(allowed=False)
    for address, values in ((SP, 500), (0x0106, [0, 500]), (COMMAND, STOP), (COMMAND, RAM), (COMMAND, RESET)):
        assert refused(device, address, values) == 4
    assert device.nonvolatile_writes == 0 and status(device) & 1 << 25 == 0
    write(device, 0xFFFF, ALLOW, 0.0)  # the other address of the commands
    assert status(device) & 1 << 25
    write(device, SP, 500, 0.0)
    write(device, COMMAND, 0x0000, 0.0)
    assert refused(device, SP, 600) == 4 and one(device, SP) == 500


def test_a_value_out_of_range_is_03_here() -> None:
    device = controller()
    assert refused(device, SP, 4001) == 3 and refused(device, SP, 0xFFFF) == 3
    assert refused(device, 0x010A, [0, 10000]) == 3
    assert refused(device, COMMAND, 0x0102) == 3  # run, stop, and nothing else
    assert refused(device, COMMAND, 0x5500) == 3
    assert refused(device, COMMAND, 0x0301) == 4  # tuning cannot be carried out


def test_it_heats_and_stops_on_command() -> None:
    device = controller(sp_c=150.0)
    assert one(device, MV, 10.0) == 1000 and one(device, CURRENT, 10.0) == round(800 / 230 * 10)
    assert status(device, 10.0) & 1 << 8
    write(device, COMMAND, STOP, 10.0)
    assert one(device, MV, 10.25) == 0 and device.plate.power_w == 0.0
    assert one(device, STATUS_UPPER, 10.25) == 1 << 8 | 1 << 9 and read(device, STATUS, 1, 10.25) == [0]
    write(device, COMMAND, RUN, 20.0)
    for second in range(20, 3000):
        device.advance_to(float(second))
    assert abs(one(device, PV, 3000.0) - 1500) <= 3 and one(device, SP_NOW, 3000.0) == 1500


def test_it_goes_on_without_a_host() -> None:
    device = controller(sp_c=150.0)
    assert abs(one(device, PV, 7200.0) - 1500) <= 3  # two hours of silence


def test_what_wears_the_memory() -> None:
    device = controller()
    for tenths in (500, 510, 520):
        write(device, SP, tenths, 0.0)
    write(device, UPPER, [10, 20], 0.0)
    assert device.nonvolatile_writes == 5
    write(device, COMMAND, RAM, 0.0)
    for tenths in range(1000):
        write(device, SP, tenths, 0.0)
    assert device.nonvolatile_writes == 5 and status(device) & (1 << 20 | 1 << 21) == 1 << 20 | 1 << 21
    write(device, COMMAND, SAVE, 0.0)
    assert device.nonvolatile_writes == 6 and status(device) & 1 << 21 == 0
    write(device, SP, 5, 0.0)
    write(device, COMMAND, BACKUP, 0.0)
    assert device.nonvolatile_writes == 7 and status(device) & (1 << 20 | 1 << 21) == 0


def test_a_reset_is_not_answered_and_forgets_what_was_not_saved() -> None:
    device = controller()
    write(device, SP, 500, 0.0)
    write(device, COMMAND, RAM, 0.0)
    write(device, SP, 600, 0.0)
    assert answer(device, bytes([6]) + words(COMMAND, RESET), 1.0) == b""
    assert answer(device, bytes([3]) + words(PV, 1), 3.9) == b""
    assert one(device, SP, 4.0) == 500
    assert refused(device, SP, 700, 4.0) == 4  # and writing must be allowed anew


def test_setup_area_1_stops_the_control() -> None:
    device = controller(sp_c=150.0)
    write(device, COMMAND, 0x0700, 1.0)
    assert one(device, MV, 2.0) == 0 and status(device, 2.0) & 1 << 22
    assert answer(device, bytes([6]) + words(COMMAND, RESET), 2.0) == b""
    assert one(device, MV, 6.0) == 1000 and status(device, 6.0) & 1 << 22 == 0


def test_manual_holds_the_output() -> None:
    device = controller(temp_c=148.0, sp_c=150.0)
    held = one(device, MV, 1.0)
    assert 0 < held < 1000
    write(device, COMMAND, 0x0901, 1.0)
    assert one(device, MV, 600.0) == held and status(device, 600.0) & 1 << 26


def test_a_broken_sensor_is_told_by_the_status_alone() -> None:
    device = controller(sp_c=150.0)
    device.set_sensor_break(1.0, True)
    assert read(device, STATUS, 1, 2.0) == [1 << 6]
    assert one(device, PV, 2.0) == 5000  # a number like any other
    assert device.plate.power_w == 0.0


def test_alarms_stand_above_the_set_point() -> None:
    device = controller(temp_c=120.0, sp_c=100.0)
    write(device, ALARM_1, 150, 0.0)
    write(device, 0x2107, 250, 0.0)
    assert status(device) & (1 << 12 | 1 << 13) == 1 << 12


def test_the_decimals_are_those_of_the_input_type() -> None:
    device = controller(temp_c=123.4, sp_c=150.0, decimals=0)
    assert (one(device, PV), one(device, SP)) == (123, 150) and one(device, MV, 1.0) == 1000


@pytest.mark.parametrize(
    ("address", "count", "code"),
    [
        (0x0001, 2, 2),  # an odd address in the four-byte window
        (0x0000, 1, 3),  # half an element
        (0x0000, 0x6C, 3),  # 108 words
        (0x2000, 0x6B, 3),
        (0x0000, 0x6A, 2),  # as many as may be read, but they are not all there
        (0x2000, 7, 2),
        (0x2006, 1, 2),
        (0x000C, 2, 2),
        (0xFFFF, 1, 2),
    ],
)
def test_what_cannot_be_read(address: int, count: int, code: int) -> None:
    with pytest.raises(Refusal) as refusal:
        read(controller(), address, count, 0.0)
    assert refusal.value.code == code


def test_what_cannot_be_written() -> None:
    device = controller()
    assert refused(device, PV, 0) == 2 and refused(device, 0x0106, 5) == 3
    assert refused(device, UPPER, [0] * 105) == 3
    assert refused(device, 0x0107, [0, 1]) == 2
    for request in ("04 2000 0001", "17 2000 0001 2103 0001 02 0000", "01 0000 0001"):
        assert answer(device, bytes.fromhex(request), 0.0) == bytes((int(request[:2], 16) | 0x80, 1))
    assert answer(device, bytes.fromhex("08 0001 0000"), 0.0) == b"\x88\x03"
