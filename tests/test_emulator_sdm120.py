"""Does the emulated meter show the plant's supply, as floats with the high word first?"""

from __future__ import annotations

import struct

import pytest
from modbus_slave_helpers import read

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
    assert answer(device, bytes.fromhex("03 0000 0002"), 0.0) == b"\x83\x01"
    assert answer(device, bytes.fromhex("06 0000 0002"), 0.0) == b"\x86\x01"
