"""Does the emulated Eurotherm hold its plate, fall back when the remote set-point dries up, and count its wear?"""

from __future__ import annotations

import pytest
from modbus_slave_helpers import read, write

from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.modbus_pdu import Refusal, answer
from hil_sim.world.plant.heater import HeaterPlate, PlateConfig
from hil_sim.world.plant.power import Meter

PV, TG_SP, MAN_OP, WRK_OP, WKG_SP = 1, 2, 3, 4, 5
SP1, SP2, RM_SP, ERROR, STATUS, IDENTITY, MODE, LOCAL_REMOTE = 24, 25, 26, 39, 75, 122, 199, 276


def one(device: Eurotherm3200, register: int, t_s: float) -> int:
    value = read(device, register, 1, t_s)[0]
    return value - 0x10000 if value & 0x8000 else value


def refused(device: Eurotherm3200, register: int, value: int, t_s: float = 0.0) -> int:
    with pytest.raises(Refusal) as refusal:
        write(device, register, value & 0xFFFF, t_s)
    return refusal.value.code


def stream(device: Eurotherm3200, tenths: int, from_s: float, to_s: float) -> None:
    t_s = from_s
    while t_s < to_s:
        write(device, RM_SP, tenths, t_s)
        t_s += 1.0


def test_it_boots_at_its_local_set_point() -> None:
    device = Eurotherm3200(HeaterPlate())
    assert read(device, PV, 6, 0.0) == [200, 200, 0, 0, 200, 100]
    assert one(device, IDENTITY, 0.0) == 0xE162 - 0x10000
    assert one(device, LOCAL_REMOTE, 0.0) == 0


def test_it_holds_the_remote_set_point_while_it_is_refreshed() -> None:
    device = Eurotherm3200(HeaterPlate())
    write(device, LOCAL_REMOTE, 1, 0.0)
    highest, previous = 0, 0
    for second in range(2400):
        write(device, RM_SP, 1500, float(second))
        previous, highest = highest, max(highest, one(device, PV, float(second)))
        if second < 300:
            assert highest >= previous
    assert one(device, WKG_SP, 2400.0) == 1500
    assert abs(one(device, PV, 2400.0) - 1500) <= 2
    assert abs(one(device, ERROR, 2400.0)) <= 2
    assert highest < 1560  # no great overshoot
    assert 0 < one(device, WRK_OP, 2400.0) < 1000
    assert device.nonvolatile_writes == 0


def test_the_remote_set_point_times_out_to_sp1_and_the_plate_cools() -> None:
    device = Eurotherm3200(HeaterPlate(), sp1_c=30.0)
    write(device, LOCAL_REMOTE, 1, 0.0)
    assert one(device, WKG_SP, 0.1) == 300  # never written: the local one
    stream(device, 1500, 0.0, 600.0)  # last at 599
    assert one(device, WKG_SP, 604.0) == 1500
    assert one(device, WKG_SP, 604.1) == 300
    hot = one(device, PV, 605.0)
    assert one(device, WRK_OP, 606.0) == 0
    assert one(device, PV, 1200.0) < hot - 200
    stream(device, 1500, 1200.0, 1202.0)
    assert one(device, WKG_SP, 1202.0) == 1500


def test_local_means_local() -> None:
    device = Eurotherm3200(HeaterPlate(), sp1_c=30.0)
    write(device, RM_SP, 1500, 0.0)
    assert one(device, WKG_SP, 1.0) == 300
    write(device, 15, 1, 1.0)
    assert one(device, WKG_SP, 1.0) == 0


def test_nonvolatile_writes_are_counted() -> None:
    device = Eurotherm3200(HeaterPlate())
    for n, register in enumerate((TG_SP, SP1, SP2), start=1):
        write(device, register, 500, 0.0)
        assert device.nonvolatile_writes == n
    write(device, SP1, [600, 700, 800], 0.0)
    assert device.nonvolatile_writes == 5
    write(device, RM_SP, 500, 0.0)
    assert device.nonvolatile_writes == 5
    assert read(device, SP1, 3, 0.0) == [600, 700, 500]
    write(device, TG_SP, 550, 0.0)
    assert one(device, SP1, 0.0) == 550  # the target set-point is the selected one
    assert one(device, TG_SP, 0.0) == 550


def test_a_broken_sensor_switches_the_heater_off_and_says_so() -> None:
    plate = HeaterPlate()
    device = Eurotherm3200(plate, sp1_c=100.0)
    assert one(device, WRK_OP, 10.0) == 1000
    device.set_sensor_break(10.0, True)
    assert one(device, STATUS, 11.0) == 1 << 5
    assert one(device, PV, 11.0) == -32768
    assert one(device, WRK_OP, 11.0) == 0 and plate.power_w == 0.0
    device.set_sensor_break(12.0, False)
    assert one(device, STATUS, 13.0) == 0 and one(device, WRK_OP, 13.0) == 1000


def test_alarms_and_standby() -> None:
    device = Eurotherm3200(HeaterPlate(temp_c=120.0), sp1_c=150.0)
    write(device, 13, 1000, 0.0)
    write(device, 14, 1500, 0.0)
    assert one(device, STATUS, 0.0) == 1
    write(device, MODE, 1, 0.0)
    assert one(device, WRK_OP, 1.0) == 0


def test_limits_addresses_and_functions() -> None:
    device = Eurotherm3200(HeaterPlate(), sp_limits_c=(0.0, 250.0))
    assert refused(device, RM_SP, 2501) == 4
    assert refused(device, RM_SP, -1) == 4
    assert refused(device, SP1, 2501) == 4
    assert refused(device, LOCAL_REMOTE, 2) == 4
    assert refused(device, PV, 0) == 2
    assert refused(device, 10, 0) == 2
    assert device.nonvolatile_writes == 0
    for address, count in ((0, 1), (9, 2), (26, 2), (277, 1), (65535, 1)):
        with pytest.raises(Refusal) as refusal:
            read(device, address, count, 0.0)
        assert refusal.value.code == 2
    assert answer(device, bytes.fromhex("04 0001 0001"), 0.0) == b"\x84\x01"


@pytest.mark.parametrize(("decimals", "pv", "sp"), [(0, 123, 150), (1, 1234, 1500), (2, 12340, 15000)])
def test_every_temperature_follows_the_decimals_of_the_display(decimals: int, pv: int, sp: int) -> None:
    device = Eurotherm3200(HeaterPlate(temp_c=123.4), sp1_c=150.0, decimals=decimals)
    assert (one(device, PV, 0.0), one(device, SP1, 0.0), one(device, WKG_SP, 0.0)) == (pv, sp, sp)
    assert one(device, ERROR, 0.0) == pv - sp
    write(device, 13, sp, 0.0)
    assert one(device, STATUS, 0.0) == 0  # 123 degC is below an alarm at 150 degC, however many decimals
    assert one(device, WRK_OP, 0.0) == 1000  # the output has its own tenths


def test_what_the_range_cannot_hold_is_not_wrapped_around() -> None:
    device = Eurotherm3200(HeaterPlate(temp_c=390.0), decimals=2)
    assert one(device, PV, 0.0) == 32767


def test_a_host_that_ramps_through_the_target_set_point_wears_the_memory_out() -> None:
    device = Eurotherm3200(HeaterPlate())
    for step in range(100):
        write(device, TG_SP, 200 + step, step * 1.0)
    assert device.nonvolatile_writes == 100
    for step in range(100):
        write(device, RM_SP, 200 + step, 100.0 + step)
    assert device.nonvolatile_writes == 100


def test_configuration_is_locked_outside_configuration_mode_and_heats_nothing_inside() -> None:
    device = Eurotherm3200(HeaterPlate(), sp1_c=150.0)
    assert refused(device, 7, 1) == 4
    write(device, MODE, 2, 0.0)
    write(device, 7, 1, 0.0)
    assert one(device, WRK_OP, 1.0) == 0
    write(device, MODE, 0, 1.0)
    assert one(device, WRK_OP, 2.0) == 0  # direct acting: it would cool, and cannot


def test_a_negative_temperature_is_signed() -> None:
    device = Eurotherm3200(HeaterPlate(PlateConfig(ambient_temp_c=-12.3)))
    assert one(device, PV, 0.0) == -123


def test_it_does_not_matter_who_asks_when() -> None:
    def run(step_s: float) -> tuple[int, float, list[tuple[float, float]]]:
        told: list[tuple[float, float]] = []
        plate = HeaterPlate()
        device = Eurotherm3200(plate, sp1_c=150.0, on_temp=lambda t_s, temp_c: told.append((t_s, temp_c)))
        t_s = 0.0
        while t_s < 1000.0:
            device.advance_to(t_s)
            t_s += step_s
        device.advance_to(1000.0)
        return one(device, PV, 1000.0), plate.power_w, told

    coarse, fine = run(1000.0), run(0.7)
    assert coarse == fine
    assert coarse[2][0] == (0.0, 20.0)
    gaps = [b[1] - a[1] for a, b in zip(coarse[2], coarse[2][1:])]
    assert all(0.2 < abs(gap) < 0.3 for gap in gaps)  # the plate moves by less than 0.07 degC in a period


def test_the_meter_sees_what_the_plate_draws() -> None:
    meter, plate = Meter(), HeaterPlate()
    meter.set_load("heater", 0.0, 0.0)
    device = Eurotherm3200(plate, sp1_c=150.0, on_power=lambda t_s, watts: meter.set_load("heater", t_s, watts))
    meter.settle_before_read(device.advance_to)
    energy_wh = meter.energy_wh(1000.0)
    plate.advance_to(1000.0)
    assert energy_wh * 3600 == pytest.approx(plate.drawn_j, rel=1e-9)
    assert energy_wh > 50
