"""Does the emulated RD6006 hold voltage or current, trip when it must, and scale by its model?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_slave_helpers import read, write

from hil_sim.world.emulators.modbus_pdu import Refusal, answer
from hil_sim.world.emulators.riden_rd6006 import RD6006, RD6006P, RD6012, Model, RidenSupply
from hil_sim.world.plant.dc_supply import DcLoad, DcSupply, StageConfig

SET_V, SET_A, OUT_V, OUT_A, POWER, INPUT, LOCK, TRIP, CC, ON, PRESET = 8, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19
OVP, OCP = 82, 83


def supply(ohm: float = 10.0, model: Model = RD6006, **stage: float) -> RidenSupply:
    return RidenSupply(DcSupply(DcLoad(ohm), StageConfig(**stage)), model)


def refused(device: RidenSupply, address: int, values: int | list[int]) -> int:
    with pytest.raises(Refusal) as refusal:
        write(device, address, values, 0.0)
    return refusal.value.code


def test_it_holds_the_voltage_until_the_current_is_too_much() -> None:
    device = supply(ohm=10.0)
    write(device, SET_V, [1200, 2000], 0.0)  # 12 V, 2 A
    assert read(device, OUT_V, 2, 0.0) == [0, 0]
    write(device, ON, 1, 0.0)
    assert read(device, OUT_V, 4, 1.0) == [1200, 1200, 0, 1440]  # 14.4 W
    assert read(device, TRIP, 3, 1.0) == [0, 0, 1]
    device.load_changed(1.0, DcLoad(4.0))
    assert read(device, OUT_V, 2, 1.0) == [800, 2000] and read(device, CC, 1, 1.0) == [1]
    device.load_changed(2.0, DcLoad(math.inf))
    assert read(device, OUT_V, 2, 2.0) == [1200, 0] and read(device, CC, 1, 2.0) == [0]


@pytest.mark.parametrize(
    ("model", "model_id", "volts", "amps"),
    [(RD6006, 60062, 500, 500), (RD6006P, 60065, 5000, 5000), (RD6012, 60121, 500, 50)],
)
def test_the_scale_is_the_models(model: Model, model_id: int, volts: int, amps: int) -> None:
    device = supply(model=model)
    write(device, SET_V, [volts, 2 * amps], 0.0)
    write(device, ON, 1, 0.0)
    assert read(device, 0, 1, 0.0) == [model_id]
    assert read(device, OUT_V, 2, 0.0) == [volts, amps]  # 5 V and 0.5 A on each of them


def test_a_power_beyond_16_bits_has_a_high_word() -> None:
    device = supply(ohm=10.0, model=RD6006P)
    write(device, SET_V, [60000, 60000], 0.0)
    write(device, ON, 1, 0.0)
    high, low = read(device, POWER, 2, 0.0)
    assert high << 16 | low == 360_000


def test_over_voltage_trips_and_stays_to_be_read() -> None:
    device = supply()
    write(device, OVP, 1300, 0.0)
    write(device, SET_V, [1200, 6000], 0.0)
    write(device, ON, 1, 0.0)
    write(device, SET_V, 1400, 1.0)
    assert read(device, TRIP, 3, 1.0) == [1, 0, 0] and read(device, OUT_V, 2, 1.0) == [0, 0]
    write(device, SET_V, 1200, 2.0)
    assert read(device, TRIP, 3, 2.0) == [1, 0, 0]  # lower again is not on again
    write(device, ON, 1, 3.0)
    assert read(device, TRIP, 3, 3.0) == [0, 0, 1]
    write(device, SET_V, 1400, 4.0)
    write(device, ON, 1, 5.0)
    assert read(device, TRIP, 3, 5.0) == [1, 0, 0]  # and it trips anew as long as the cause is there


def test_over_current_trips_when_the_load_does() -> None:
    device = supply(ohm=10.0)
    write(device, SET_V, [1200, 6000], 0.0)
    write(device, OCP, 1500, 0.0)
    write(device, ON, 1, 0.0)
    assert read(device, TRIP, 3, 1.0) == [0, 0, 1]
    device.load_changed(1.0, DcLoad(4.0))
    assert read(device, TRIP, 3, 1.0) == [2, 0, 0] and read(device, OUT_A, 1, 1.0) == [0]


def test_there_is_no_watchdog() -> None:
    device = supply()
    write(device, SET_V, [1200, 6000], 0.0)
    write(device, ON, 1, 0.0)
    assert read(device, ON, 1, 1e6) == [1] and read(device, OUT_A, 1, 1e6) == [1200]


def test_charge_and_energy_are_32_bits_and_begin_anew() -> None:
    device = supply(ohm=1.0)
    write(device, SET_V, [500, 6000], 0.0)
    write(device, ON, 1, 0.0)
    assert read(device, 38, 4, 72 * 3600.0) == [360_000 >> 16, 360_000 & 0xFFFF, 1_800_000 >> 16, 1_800_000 & 0xFFFF]
    write(device, ON, 0, 72 * 3600.0)
    write(device, ON, 1, 73 * 3600.0)
    assert read(device, 38, 4, 73 * 3600.0) == [0, 0, 0, 0]


@pytest.mark.parametrize(("temp_c", "words"), [(-12.0, [1, 12, 0, 10]), (-20.0, [1, 20, 1, 4]), (35.0, [0, 35, 0, 95])])
def test_the_sign_of_a_temperature_stands_by_itself(temp_c: float, words: list[int]) -> None:
    device = RidenSupply(DcSupply(config=StageConfig(ambient_temp_c=temp_c), temp_c=temp_c))
    assert read(device, 4, 4, 0.0) == words


def test_it_warms_with_its_load() -> None:
    device = supply(ohm=10.0)
    write(device, SET_V, [5000, 6000], 0.0)
    write(device, ON, 1, 0.0)
    cold, warm = read(device, 5, 1, 0.0)[0], read(device, 5, 1, 3600.0)[0]
    assert cold == 20 and warm == round(20 + 1.2 * (3.0 + 0.08 * 250.0))


def test_presets_are_recalled_and_wear_the_memory() -> None:
    device = supply()
    write(device, 80 + 4 * 3, [900, 1000, 1000, 1100], 0.0)
    assert device.nonvolatile_writes == 4
    write(device, PRESET, 3, 0.0)
    assert read(device, SET_V, 2, 0.0) == [900, 1000] and read(device, OVP, 2, 0.0) == [1000, 1100]
    for step in range(100):
        write(device, SET_V, 900 + step, 0.0)
    assert device.nonvolatile_writes == 4 and read(device, 80, 1, 0.0) == [999]


def test_calibration_can_be_spoilt_and_that_is_counted() -> None:
    device = supply()
    write(device, 55, [0] * 8, 0.0)
    assert device.calibration_writes == 8 and device.nonvolatile_writes == 8
    write(device, 48, [2028, 11, 2, 0, 0, 0], 0.0)
    assert device.nonvolatile_writes == 8 and read(device, 48, 2, 0.0) == [2028, 11]


def test_a_battery_shows_its_own_voltage_and_is_never_discharged() -> None:
    device = RidenSupply(DcSupply(DcLoad(0.5, emf_v=12.0)))
    assert read(device, OUT_V, 2, 0.0) == [1200, 0]
    write(device, SET_V, [1000, 2000], 0.0)
    write(device, ON, 1, 0.0)
    assert read(device, OUT_V, 2, 0.0) == [1200, 0]
    write(device, SET_V, 1400, 0.0)
    assert read(device, OUT_V, 2, 0.0) == [1300, 2000] and read(device, CC, 1, 0.0) == [1]


def test_what_it_refuses() -> None:
    device = supply()
    assert len(read(device, 0, 120, 0.0)) == 120
    for address, count in ((119, 2), (120, 1), (256, 1), (65535, 1)):
        with pytest.raises(Refusal) as refusal:
            read(device, address, count, 0.0)
        assert refusal.value.code == 2
    assert refused(device, SET_V, 6001) == 3 and refused(device, SET_V, [100, 6001]) == 3
    assert read(device, SET_V, 2, 0.0) == [0, 0]
    assert refused(device, ON, 2) == 3 and refused(device, PRESET, 10) == 3
    for register in (0, 3, 5, OUT_V, INPUT, TRIP, CC, 20, 38):
        assert refused(device, register, 0) == 2
    for request in ("04 0000 0001", "01 0000 0001", "17 0000 0001 0008 0001 02 0000"):
        assert answer(device, bytes.fromhex(request), 0.0) == bytes((int(request[:2], 16) | 0x80, 1))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 100.0),
            st.sampled_from(["volts", "amps", "ovp", "ocp", "on", "off", "load"]),
            st.integers(0, 6000),
        ),
        max_size=20,
    )
)
def test_it_never_gives_more_than_its_protections_allow(script: list[tuple[float, str, int]]) -> None:
    device, t_s = supply(), 0.0
    registers = {"volts": SET_V, "amps": SET_A, "ovp": OVP, "ocp": OCP}
    for wait_s, action, value in script:
        t_s += wait_s
        if action in registers:
            write(device, registers[action], value, t_s)
        elif action == "load":
            device.load_changed(t_s, DcLoad(0.1 + value / 100.0))
        else:
            write(device, ON, int(action == "on"), t_s)
        volts, amps = read(device, OUT_V, 2, t_s)
        trip, constant_current, on = read(device, TRIP, 3, t_s)
        set_v, set_a = read(device, SET_V, 2, t_s)
        assert volts <= min(set_v, read(device, OVP, 1, t_s)[0]) and amps <= min(set_a, read(device, OCP, 1, t_s)[0])
        assert not (trip and on) and (on or (volts, amps, constant_current) == (0, 0, 0))
