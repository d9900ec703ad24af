"""Does the emulated Watlow PM speak Fahrenheit with the low word first, and lay out what its pointers say?"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modbus_slave_helpers import read, write

from hil_sim.world.emulators.modbus_pdu import Refusal, answer
from hil_sim.world.emulators.watlow_pm import WatlowPm
from hil_sim.world.plant.heater import HeaterPlate

PV, ERROR, MODE, ACTIVE_MODE, POWER, SP, OPEN_SP = 360, 362, 1880, 1882, 1904, 2160, 2162
ALARM_HIGH, ALARM_LOW, ALARM_STATE, UNITS, SAVING = 1480, 1482, 1496, 2490, 2494


def low_first(number: float) -> list[int]:
    high, low = struct.unpack(">HH", struct.pack(">f", number))
    return [low, high]


def number(device: WatlowPm, address: int, t_s: float = 0.0) -> float:
    low, high = read(device, address, 2, t_s)
    return struct.unpack(">f", struct.pack(">HH", high, low))[0]


def refused(device: WatlowPm, address: int, values: int | list[int], t_s: float = 0.0) -> int:
    with pytest.raises(Refusal) as refusal:
        write(device, address, values, t_s)
    return refusal.value.code


def test_the_manuals_example_75_degrees_low_word_first() -> None:
    device = WatlowPm(HeaterPlate())
    assert answer(device, bytes.fromhex("10 0870 0002 04 0000 4296"), 0.0) == bytes.fromhex("10 0870 0002")
    assert answer(device, bytes.fromhex("03 0870 0002"), 0.0) == bytes.fromhex("03 04 0000 4296")
    assert answer(device, bytes.fromhex("03 0870 0001"), 0.0) == bytes.fromhex("03 02 0000")
    write(device, UNITS, 15, 0.0)
    assert number(device, SP) == pytest.approx((75.0 - 32.0) / 1.8)  # it was 75 degF all along


def test_the_line_is_in_fahrenheit_until_it_is_told_otherwise() -> None:
    device = WatlowPm(HeaterPlate(temp_c=100.0))
    assert read(device, UNITS, 1, 0.0) == [30]
    assert number(device, PV) == pytest.approx(212.0)
    write(device, SP, low_first(302.0), 0.0)
    write(device, UNITS, 15, 0.0)
    assert number(device, PV) == pytest.approx(100.0) and number(device, SP) == pytest.approx(150.0)
    assert refused(device, UNITS, 1) == 3


def test_the_words_can_be_swapped_at_the_display() -> None:
    device = WatlowPm(HeaterPlate(temp_c=100.0), low_word_first=False)
    assert struct.unpack(">f", struct.pack(">HH", *read(device, PV, 2, 0.0)))[0] == pytest.approx(212.0)
    write(device, SP, low_first(75.0)[::-1], 0.0)
    assert read(device, SP, 2, 0.0) == [0x4296, 0x0000]


@given(st.floats(0.0, 750.0, width=32))
def test_a_set_point_comes_back(degf: float) -> None:
    device = WatlowPm(HeaterPlate())
    write(device, SP, low_first(degf), 0.0)
    assert number(device, SP) == pytest.approx(degf, abs=1e-4)
    assert number(device, 2172) == number(device, SP)


def test_a_float_is_written_whole() -> None:
    device = WatlowPm(HeaterPlate())
    before = read(device, SP, 2, 0.0)
    assert refused(device, SP, 0x4296) == 3 and refused(device, SP + 1, 0x4296) == 3
    assert refused(device, SP - 1, [0, 0]) == 2  # one register below: half of nothing, half of it
    assert read(device, SP, 2, 0.0) == before and device.nonvolatile_writes == 0


@pytest.mark.parametrize("number_", [float("nan"), float("inf"), -1e9, 800.0])
def test_what_is_no_set_point_is_refused(number_: float) -> None:
    assert refused(WatlowPm(HeaterPlate()), SP, low_first(number_)) == 3


def test_pointers_lay_parameters_side_by_side() -> None:
    device = WatlowPm(HeaterPlate(temp_c=100.0))
    assert read(device, 40, 6, 0.0) == [1880, 1881, 2160, 2161, 2162, 2163]  # as delivered
    write(device, 40, [360, 361, 362, 363, 1880, 1881, 2160, 2161], 0.0)
    assert read(device, 200, 8, 0.0) == [*read(device, 360, 2, 0.0), 61, 0, 10, 0, *read(device, 2160, 2, 0.0)]
    write(device, 206, low_first(302.0), 0.0)  # the set point, through its place in the block
    assert number(device, SP) == pytest.approx(302.0)
    write(device, 204, 62, 0.0)
    assert read(device, MODE, 1, 0.0) == [62]
    assert refused(device, 200, low_first(1.0)) == 2  # a process value cannot be written
    assert refused(device, 40, [1000, 1001]) == 3  # there is no such parameter
    assert read(device, 270, 2, 0.0) == [0, 0]  # a pointer to nothing


def test_modes_and_the_loop() -> None:
    plate = HeaterPlate()
    device = WatlowPm(plate, sp_c=150.0)
    assert number(device, POWER, 10.0) == 100.0 and plate.power_w == 800.0
    write(device, MODE, 62, 10.0)
    assert number(device, POWER, 11.0) == 0.0
    write(device, OPEN_SP, low_first(25.0), 11.0)
    write(device, MODE, 54, 11.0)
    assert number(device, POWER, 12.0) == 25.0 and plate.power_w == 200.0
    write(device, MODE, 10, 12.0)
    for second in range(12, 3600):
        device.advance_to(float(second))
    assert number(device, PV, 3600.0) == pytest.approx(302.0, abs=1.0)
    assert refused(device, MODE, 1) == 3 and refused(device, OPEN_SP, low_first(101.0)) == 3


def test_it_goes_on_without_a_host() -> None:
    device = WatlowPm(HeaterPlate(), sp_c=150.0)
    assert number(device, PV, 7200.0) == pytest.approx(302.0, abs=1.0)


def test_an_open_sensor_is_told_by_its_own_register() -> None:
    plate = HeaterPlate(temp_c=100.0)
    device = WatlowPm(plate, sp_c=150.0)
    assert read(device, ERROR, 1, 0.0) == [61]
    device.set_sensor_break(0.0, True)
    assert read(device, ERROR, 1, 60.0) == [65] and read(device, ACTIVE_MODE, 1, 60.0) == [62]
    assert number(device, PV, 60.0) == pytest.approx(212.0) and plate.temp_c(60.0) < 99.0  # a number like any other
    assert plate.power_w == 0.0


def test_alarms() -> None:
    device = WatlowPm(HeaterPlate(temp_c=100.0))
    assert read(device, ALARM_STATE, 1, 0.0) == [61]
    write(device, ALARM_HIGH, low_first(200.0), 0.0)
    assert read(device, ALARM_STATE, 1, 0.0) == [37]
    write(device, ALARM_HIGH, low_first(300.0), 0.0)
    write(device, ALARM_LOW, low_first(250.0), 0.0)
    assert read(device, ALARM_STATE, 1, 0.0) == [53]


def test_what_wears_the_memory() -> None:
    device = WatlowPm(HeaterPlate())
    for step in range(10):
        write(device, SP, low_first(100.0 + step), 0.0)
    write(device, 40, [360, 361], 0.0)
    assert device.nonvolatile_writes == 11
    write(device, SAVING, 59, 0.0)
    for step in range(1000):
        write(device, SP, low_first(100.0 + step / 10), 0.0)
    assert device.nonvolatile_writes == 12  # the choice itself is saved


def test_what_it_refuses() -> None:
    device = WatlowPm(HeaterPlate())
    for address, count in ((0, 1), (358, 2), (360, 5), (2158, 2), (280, 1), (199, 2), (65535, 1)):
        with pytest.raises(Refusal) as refusal:
            read(device, address, count, 0.0)
        assert refusal.value.code == 2
    assert refused(device, PV, low_first(0.0)) == 2 and refused(device, ERROR, 61) == 2
    assert answer(device, bytes.fromhex("04 0168 0002"), 0.0) == b"\x84\x01"
