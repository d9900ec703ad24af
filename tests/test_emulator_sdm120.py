"""Does the emulated meter show the plant's supply, as floats with the high word first?"""

from __future__ import annotations

import struct

import pytest
from modbus_slave_helpers import crc, read, write

from hil_sim.world.emulators.modbus_pdu import Refusal, answer
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.plant.power import Meter


def number(device: Sdm120, address: int, t_s: float = 0.0) -> float:
    return struct.unpack(">f", struct.pack(">HH", *read(device, address, 2, t_s, fc=4)))[0]


def test_the_word_order_on_the_wire() -> None:
    device = Sdm120(Meter(supply_v=230.0))
    assert answer(device, bytes.fromhex("04 0000 0002"), 0.0) == bytes.fromhex(
        "04 04 43 66 00 00"
    )  # 230.0 = 0x43660000


def test_what_it_measures() -> None:
    meter = Meter(supply_v=230.0, source_ohm=0.5, power_factor=0.8)
    device = Sdm120(meter)
    meter.set_load("heater", 0.0, 900.0)
    meter.set_load("beam", 0.0, 300.0)
    volts, amps, watts, volt_amps, vars_ = (number(device, a) for a in (0x0, 0x6, 0xC, 0x12, 0x18))
    assert watts == 1200.0
    assert volts == pytest.approx(230.0 - 0.5 * amps, rel=1e-6)
    assert volts * amps * 0.8 == pytest.approx(1200.0, rel=1e-6)
    assert volt_amps == pytest.approx(1500.0, rel=1e-6)
    assert vars_ == pytest.approx(900.0, rel=1e-5)
    assert number(device, 0x1E) == pytest.approx(0.8) and number(device, 0x46) == 50.0
    assert number(device, 0x48, 1800.0) == pytest.approx(0.6) == pytest.approx(number(device, 0x156, 1800.0))
    assert number(device, 0x4A) == 0.0 and number(device, 0x100) == 0.0


def test_what_it_refuses() -> None:
    device = Sdm120(Meter())
    assert len(read(device, 0, 60, 0.0, fc=4)) == 60
    for address, count, code in [(0, 62, 3), (0, 1, 3), (1, 2, 2), (0x156, 4, 2), (0x158, 2, 2), (30000, 2, 2)]:
        with pytest.raises(Refusal) as refused:
            read(device, address, count, 0.0, fc=4)
        assert refused.value.code == code
    for conventional in (30001, 0x7530, 0x7531):  # what manuals call 30001 is address 0
        with pytest.raises(Refusal) as refused:
            read(device, conventional, 2, 0.0, fc=4)
        assert refused.value.code == 2
    assert answer(device, bytes.fromhex("17 0000 0002 001C 0002 04 4000 0000"), 0.0) == b"\x97\x01"
    assert answer(device, bytes.fromhex("06 0000 0002"), 0.0) == b"\x86\x01"


GOLDEN = [
    ("SDM320Y manual p. 42, 230.2 V", "01 04 0000 0002 71CB", "01 04 04 43 66 33 34 1B 38"),
    ("SDM320Y manual p. 42, pulse width", "01 03 000C 0002 0408", "01 03 04 42C8 0000 6FB5"),
    ("9600 baud, public notes", "01 10 001C 0002 04 4000 0000 E736", "01 10 001C 0002 800E"),
]


@pytest.mark.parametrize(("name", "request_hex", "reply_hex"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_frames_of_manuals(name: str, request_hex: str, reply_hex: str) -> None:
    request, reply = bytes.fromhex(request_hex), bytes.fromhex(reply_hex)
    assert request[-2:] == crc(request[:-2]) and reply[-2:] == crc(reply[:-2])
    device = Sdm120(Meter(supply_v=struct.unpack(">f", bytes.fromhex("43663334"))[0]))
    device.set_mode = True
    assert answer(device, request[1:-2], 0.0) == reply[1:-2]


def test_measurements_and_settings_are_two_lists() -> None:
    device = Sdm120(Meter(supply_v=230.0))
    assert read(device, 0x0014, 2, 0.0, fc=3) == [0x3F80, 0] and read(device, 0x0014, 2, 0.0, fc=4) == [0, 0]
    assert read(device, 0, 2, 0.0, fc=3) == [0, 0]  # whoever asks for the voltage as a holding register


def test_the_line_is_set_only_while_it_shows_set() -> None:
    device = Sdm120(Meter())
    assert refused_code(device, 0x001C, [0x4000, 0]) == 4
    assert read(device, 0x001C, 2, 0.0) == [0, 0] and device.nonvolatile_writes == 0
    device.set_mode = True
    write(device, 0x001C, [0x4000, 0], 0.0)
    write(device, 0x0014, [0x4000, 0], 0.0)
    assert read(device, 0x001C, 2, 0.0) == [0x4000, 0] and device.nonvolatile_writes == 2


def refused_code(device: Sdm120, address: int, values: list[int]) -> int:
    with pytest.raises(Refusal) as refusal:
        write(device, address, values, 0.0)
    return refusal.value.code


def test_one_parameter_a_message_and_only_what_there_is() -> None:
    device = Sdm120(Meter())
    device.set_mode = True
    assert refused_code(device, 0x0012, [0, 0, 0x4000, 0]) == 3
    assert refused_code(device, 0x0012, [0]) == 3
    assert refused_code(device, 0x0010, [0, 0]) == 2
    assert refused_code(device, 0x001C, [0x4040, 0]) == 3  # there is no rate 3
    assert refused_code(device, 0x0014, [0x7FC0, 0]) == 3  # not a number
    write(device, 0x000C, [0x4270, 0], 0.0)
    assert read(device, 0x000C, 2, 0.0) == [0x4270, 0]
