"""Does the emulated SMP11 show the world's irradiance, in a scale that it tells beside it?"""

from __future__ import annotations

import asyncio
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modbus_slave_helpers import Ear, crc, read, rtu, write

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.kipp_zonen_smp11 import KippZonenSmp11
from hil_sim.world.emulators.modbus_pdu import Refusal, answer
from hil_sim.world.emulators.modbus_slave import RtuBus

STATUS, SCALE, IRRADIANCE, RAW, DEVIATION, BODY_TEMP, SUPPLY, DEFAULT_SCALE = 3, 4, 5, 6, 7, 8, 9, 34
GOLDEN = bytes.fromhex("01 04 10 00 01 00 00 00 00 03 E5 03 E5 00 00 00 F8 00 EA 66 12")


def sensor(w_m2: float = 997.0, temp_c: float = 20.0, supply_v: float = 24.0, drift: float = 2e-4) -> KippZonenSmp11:
    return KippZonenSmp11(
        lambda _: w_m2, body_temp_c=lambda _: temp_c, supply_v=lambda _: supply_v, raw_drift_per_k=drift
    )


def signed(device: KippZonenSmp11, register: int, t_s: float = 0.0) -> int:
    value = read(device, register, 1, t_s, fc=4)[0]
    return value - 0x10000 if value & 0x8000 else value


def measured(device: KippZonenSmp11, t_s: float) -> float:
    """What a host that reads scale and value in one block makes of them."""
    scale, value = (word - 0x10000 if word & 0x8000 else word for word in read(device, SCALE, 2, t_s, fc=4))
    return value / 10.0**scale


def coil(device: KippZonenSmp11, number: int, on: bool, t_s: float = 0.0) -> bytes:
    return answer(device, bytes((5, 0, number, 0xFF if on else 0, 0)), t_s)


def test_the_manuals_frame_on_its_own_line() -> None:
    assert GOLDEN[-2:] == crc(GOLDEN[:-2])

    async def main(loop: VirtualLoop) -> None:
        bus, ear = RtuBus({1: sensor(temp_c=24.8, supply_v=23.4, drift=0.0)}, baud=19200, char_bits=11), Ear()  # 8E1
        assert bus.silence_s == pytest.approx(3.5 * 11 / 19200)
        bus.attach(ear).received(rtu(1, "04 0002 0008"))
        await asyncio.sleep(0.1)
        assert ear.frames == [GOLDEN]

    run_virtual(main)


def test_who_it_is() -> None:
    assert read(sensor(), 0, 3, 0.0, fc=4) == [603, 102, 1]
    assert read(sensor(), 0, 3, 0.0, fc=3) == [603, 102, 1]  # one list, two functions


def test_the_value_follows_the_sky_with_a_lag() -> None:
    device = KippZonenSmp11(lambda t_s: 800.0 if t_s >= 10.0 else 200.0)
    assert signed(device, IRRADIANCE, 9.9) == 200
    assert signed(device, IRRADIANCE, 10.7) == pytest.approx(800 - 600 / math.e, abs=40)
    assert signed(device, IRRADIANCE, 20.0) == 800


def test_the_raw_signal_is_not_corrected_for_temperature() -> None:
    assert read(sensor(temp_c=70.0), IRRADIANCE, 2, 0.0, fc=4) == [997, 1007]


def test_at_night_it_is_below_zero() -> None:
    assert read(sensor(-4.0), IRRADIANCE, 1, 0.0, fc=4) == [0xFFFC]


@pytest.mark.parametrize(("scale", "raw"), [(2, 10000), (1, 1000), (0, 100), (-1, 10)])
def test_the_scale_can_be_set_until_the_next_power_up(scale: int, raw: int) -> None:
    device = sensor(100.0)
    write(device, DEFAULT_SCALE, scale & 0xFFFF, 0.0)
    assert signed(device, SCALE) == scale and signed(device, IRRADIANCE) == raw
    assert coil(device, 18, True)[:1] == b""
    assert signed(device, SCALE, 3.0) == 0 and device.nonvolatile_writes == 0


def test_a_scale_that_does_not_fit_overflows_and_says_so() -> None:
    device = sensor(500.0)
    write(device, DEFAULT_SCALE, 2, 0.0)
    assert signed(device, IRRADIANCE) == 32767
    assert signed(device, STATUS) == 0b011 and answer(device, bytes.fromhex("02 0000 0006"), 0.0)[2] == 0b001110


def test_auto_range_changes_the_scale_between_two_reads() -> None:
    device = KippZonenSmp11(lambda t_s: 250.0 if t_s < 10.0 else 900.0)
    coil(device, 21, True)
    assert read(device, SCALE, 2, 5.0, fc=4) == [2, 25000]
    assert read(device, SCALE, 2, 30.0, fc=4) == [1, 9000]
    assert measured(device, 30.0) == pytest.approx(900.0)


@given(st.floats(-300.0, 3900.0), st.booleans(), st.sampled_from([1, 0, -1]))
def test_value_and_scale_of_one_block_give_the_irradiance(w_m2: float, auto: bool, scale: int) -> None:
    device = sensor(w_m2)
    write(device, DEFAULT_SCALE, scale & 0xFFFF, 0.0)
    coil(device, 21, auto)
    steps = 10.0 ** signed(device, SCALE)
    if abs(w_m2 * steps) > 32767:
        assert signed(device, STATUS) & 0b11 == 0b11
    else:
        assert measured(device, 0.0) == pytest.approx(w_m2, abs=0.51 / steps) and signed(device, STATUS) == 0


def test_the_deviation_is_that_since_it_was_last_read() -> None:
    rng = random.Random(4)
    sky = [rng.gauss(600.0, 100.0) for _ in range(1000)]
    device = KippZonenSmp11(lambda t_s: sky[int(t_s / 5.0)])
    values = []
    for tick in range(1, 3001):
        value = read(device, IRRADIANCE, 1, tick * 0.1, fc=4)[0]
        values.append(value)
    assert signed(device, DEVIATION, 300.0) / 10 == pytest.approx(statistics.pstdev(values), rel=0.02)
    assert signed(device, DEVIATION, 300.0) == 0  # reading it began anew
    assert read(device, 2, 8, 600.0, fc=4)[5] > 100  # in a block too
    assert signed(device, DEVIATION, 600.1) < 100


def test_a_long_silence_costs_a_bounded_effort() -> None:
    asked: list[float] = []

    def sky(t_s: float) -> float:
        asked.append(t_s)
        return 500.0

    device = KippZonenSmp11(sky)
    assert signed(device, IRRADIANCE, 1e7) == 500
    assert len(asked) < 10_100


def test_a_body_too_hot_makes_the_data_void() -> None:
    device = sensor(temp_c=85.0)
    assert signed(device, STATUS) == 0b001 and signed(device, BODY_TEMP) == 850
    assert signed(sensor(temp_c=-12.5), BODY_TEMP) == -125


def test_a_hardware_error_stays_until_it_is_cleared() -> None:
    device = sensor()
    device.fail_converter()
    assert signed(device, STATUS) == 0b11000 and read(device, 26, 3, 0.0, fc=4) == [1, 0, 1]
    coil(device, 10, True)
    assert signed(device, STATUS) == 0
    write(device, 28, 7, 0.0)  # any value resets a count
    assert read(device, 28, 1, 0.0, fc=4) == [0]


def test_a_restart_is_silent() -> None:
    device = sensor()
    coil(device, 22, True)
    assert coil(device, 18, True, 10.0) == b""
    assert answer(device, bytes.fromhex("04 0000 0001"), 11.9) == b""
    assert read(device, 30, 1, 12.0, fc=4) == [1] and read(device, 32, 2, 100.0, fc=4) == [0, 90]
    assert answer(device, bytes.fromhex("01 0014 0004"), 12.0) == bytes.fromhex("01 01 09")  # options as delivered


def test_what_it_refuses() -> None:
    device = sensor()
    assert len(read(device, 0, 46, 0.0, fc=4)) == 46
    for request, reply in (
        ("04 0000 002F", "84 02"), ("04 002E 0001", "84 02"), ("04 7531 0001", "84 02"), ("02 0000 0019", "82 02"),
        ("06 0022 0003", "86 03"), ("06 0005 0000", "86 02"), ("05 0002 FF00", "85 02"), ("05 000B FF00", "85 02"),
        ("0F 0014 0001 01 01", "8F 01"), ("10 0021 0002 04 0000 0009", "90 03"),
    ):  # fmt: skip
        assert answer(device, bytes.fromhex(request), 0.0) == bytes.fromhex(reply), request
    with pytest.raises(Refusal):
        write(device, 46, 0, 0.0)
