"""Does the emulated Delta MS300 ramp its motor, tell its state, and stop by itself only if it was told to?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_slave_helpers import crc, read, write

from hil_sim.world.emulators.delta_ms300 import DeltaMs300
from hil_sim.world.emulators.modbus_pdu import Refusal, answer
from hil_sim.world.plant.motor import InductionMotor

COMMAND, FREQUENCY, CONTROL, FAULTS, STATUS = 0x2000, 0x2001, 0x2002, 0x2100, 0x2101
SET_HZ, OUTPUT_HZ, CURRENT, RPM, POWER, DIGITS = 0x2102, 0x2103, 0x2104, 0x210C, 0x210F, 0x211F
ACTION, TIMEOUT, STOP_METHOD, ACCELERATION = 0x0902, 0x0903, 0x0016, 0x010C
STOP, RUN_FORWARD, RUN_BACK, JOG_FORWARD = 0x01, 0x12, 0x22, 0x13
RS485 = 1 << 8 | 1 << 10  # both sources are the line


def drive(load: float = 0.5, **options: bool | int) -> DeltaMs300:
    return DeltaMs300(InductionMotor(load=load), **options)  # type: ignore[arg-type]


def running(hz: float = 50.0, load: float = 0.5) -> DeltaMs300:
    """At `hz` since 20 s."""
    device = drive(load)
    write(device, COMMAND, [RUN_FORWARD, round(hz * 100)], 0.0)
    device.settle(20.0)
    return device


def one(device: DeltaMs300, register: int, t_s: float) -> int:
    return read(device, register, 1, t_s)[0]


def refused(device: DeltaMs300, address: int, values: int | list[int], t_s: float = 0.0) -> int:
    with pytest.raises(Refusal) as refusal:
        write(device, address, values, t_s)
    return refusal.value.code


def test_the_manuals_exception() -> None:
    frame = bytes.fromhex("01 86 02 C3 A1")
    assert frame[-2:] == crc(frame[:-2])
    assert answer(drive(), bytes.fromhex("06 0FFF 0001"), 0.0) == frame[1:-2]


def test_it_ramps_up_and_down() -> None:
    device = drive()
    write(device, FREQUENCY, 3000, 0.0)
    assert one(device, STATUS, 0.0) == RS485 and one(device, OUTPUT_HZ, 1.0) == 0
    write(device, COMMAND, RUN_FORWARD, 1.0)  # 60 Hz in 10 s, as delivered
    assert one(device, OUTPUT_HZ, 3.0) == 1200 and one(device, STATUS, 3.0) == RS485 | 0b11
    assert read(device, SET_HZ, 2, 10.0) == [3000, 3000]
    assert one(device, RPM, 10.0) == round(900 * (1 - 0.03))
    write(device, COMMAND, STOP, 10.0)
    assert one(device, STATUS, 11.0) == RS485 | 0b01 and one(device, OUTPUT_HZ, 11.0) == 2400
    assert one(device, STATUS, 16.0) == RS485


def test_the_frequency_changes_while_it_runs() -> None:
    device = running(50.0)
    write(device, FREQUENCY, 2000, 20.0)
    assert one(device, OUTPUT_HZ, 22.5) == 3500 and one(device, OUTPUT_HZ, 30.0) == 2000


def test_a_change_of_direction_goes_through_zero() -> None:
    device = running(30.0)
    write(device, COMMAND, RUN_BACK, 20.0)
    assert one(device, STATUS, 22.0) >> 3 & 3 == 0b10 and one(device, OUTPUT_HZ, 22.0) == 1800
    assert one(device, STATUS, 27.0) >> 3 & 3 == 0b11 and one(device, OUTPUT_HZ, 27.0) == 1200
    assert device.motor.speed_rpm(30.0) < -800
    write(device, COMMAND, 0x30, 40.0)  # a command that toggles: what a host cannot repeat
    assert one(device, STATUS, 41.0) >> 3 & 3 == 0b01
    write(device, COMMAND, 0x30, 41.0)
    assert one(device, STATUS, 42.0) >> 3 & 3 == 0b11


def test_standby_and_jog() -> None:
    device = drive()
    write(device, COMMAND, RUN_FORWARD, 0.0)
    assert one(device, STATUS, 1.0) & 0b11 == 0b10  # runs, at 0 Hz
    write(device, COMMAND, JOG_FORWARD, 1.0)
    assert one(device, STATUS, 5.0) & 0b111 == 0b111 and one(device, OUTPUT_HZ, 5.0) == 600


def test_the_decimals_of_the_current_stand_in_another_register() -> None:
    for decimals in (1, 2):
        device = drive(load=1.0, current_decimals=decimals)
        write(device, COMMAND, [RUN_FORWARD, 5000], 0.0)
        assert one(device, DIGITS, 20.0) >> 8 == decimals
        assert one(device, CURRENT, 20.0) == round(4.2 * 10**decimals)
        assert one(device, POWER, 20.0) == 750 and one(device, 0x2106, 20.0) == 2300


def test_as_delivered_the_keypad_has_the_command_and_the_line_is_not_told() -> None:
    device = drive(over_rs485=False)
    write(device, COMMAND, [RUN_FORWARD, 5000], 0.0)
    assert one(device, STATUS, 10.0) == 0 and one(device, SET_HZ, 10.0) == 0 and device.motor.speed_rpm(10.0) == 0.0
    write(device, 0x0014, [1, 2], 10.0)
    write(device, COMMAND, [RUN_FORWARD, 5000], 10.0)
    assert one(device, STATUS, 20.0) == RS485 | 0b11
    assert device.nonvolatile_writes == 2


def test_as_delivered_it_runs_on_for_ever_without_a_host() -> None:
    device = running()
    assert (one(device, ACTION, 20.0), one(device, TIMEOUT, 20.0)) == (3, 0)
    device.settle(1e6)
    assert device.motor.frequency_hz(1e6) == 50.0 and device.watchdog_trips == 0


@pytest.mark.parametrize(("action", "rest_s", "fault"), [(1, 8.35, 58), (2, 0.0, 58)])
def test_with_a_time_out_it_stops_by_itself(action: int, rest_s: float, fault: int) -> None:
    device = running()
    write(device, ACTION, [action, 15], 20.0)  # 1.5 s
    assert read(device, ACTION, 2, 21.4) == [action, 15]  # a read feeds it too
    device.settle(22.8)
    assert device.motor.frequency_hz(22.8) == 50.0
    device.settle(100.0)
    assert device.watchdog_trips == 1
    assert device.motor.frequency_hz(22.9 + rest_s) == pytest.approx(0.0, abs=0.2)  # it struck at 22.9 s, not later
    assert one(device, FAULTS, 100.0) == fault
    write(device, COMMAND, RUN_FORWARD, 100.0)
    assert one(device, OUTPUT_HZ, 101.0) == 0  # a fault must be reset first
    write(device, CONTROL, 2, 101.0)
    assert one(device, FAULTS, 101.0) == 0 and one(device, OUTPUT_HZ, 102.0) == 0  # and the run command is gone
    write(device, COMMAND, RUN_FORWARD, 102.0)
    assert one(device, OUTPUT_HZ, 103.0) > 0


def test_a_time_out_may_only_warn() -> None:
    device = running()
    write(device, ACTION, [0, 10], 20.0)
    device.settle(30.0)
    assert device.motor.frequency_hz(30.0) == 50.0 and device.watchdog_trips == 1
    reply = answer(device, bytes.fromhex("06 2000 0000"), 30.0)
    assert reply[0] == 6 and one(device, FAULTS, 30.0) == 0  # the word from the host has cleared it


def test_external_fault_and_base_block() -> None:
    device = running()
    write(device, CONTROL, 4, 20.0)
    assert one(device, OUTPUT_HZ, 20.1) == 0 and one(device, CURRENT, 20.1) == 0 and one(device, FAULTS, 20.1) == 0
    assert 0 < one(device, RPM, 21.0) < 1500  # it coasts
    write(device, CONTROL, 0, 21.0)
    assert one(device, OUTPUT_HZ, 30.0) == 5000  # and goes on by itself: a base block is no stop
    write(device, CONTROL, 1, 30.0)
    assert one(device, FAULTS, 30.0) == 49 and one(device, OUTPUT_HZ, 30.0) == 0
    write(device, CONTROL, 3, 30.0)
    assert one(device, FAULTS, 30.0) == 49  # its cause is still there
    write(device, CONTROL, 2, 31.0)
    assert one(device, FAULTS, 31.0) == 0 and one(device, OUTPUT_HZ, 40.0) == 0


def test_a_jam_trips_and_an_overload_trips_later() -> None:
    device = running()
    device.load_changed(21.0, 3.0)
    assert one(device, FAULTS, 21.0) == 3 and one(device, OUTPUT_HZ, 21.0) == 0
    device = running()
    device.load_changed(21.0, 1.8)
    assert one(device, FAULTS, 80.9) == 0 and one(device, FAULTS, 81.1) == 21
    device = running()
    device.load_changed(21.0, 1.8)
    device.load_changed(50.0, 0.5)
    assert one(device, FAULTS, 200.0) == 0


def test_stopping_may_be_coasting() -> None:
    device = running()
    write(device, STOP_METHOD, 1, 20.0)
    write(device, COMMAND, STOP, 20.0)
    assert one(device, OUTPUT_HZ, 20.0) == 0 and one(device, RPM, 20.5) > 500


def test_the_response_delay_is_a_parameter() -> None:
    device = drive()
    assert device.reply_delay_s == 0.002
    write(device, 0x0909, 500, 0.0)
    assert device.reply_delay_s == 0.05


def test_what_it_refuses() -> None:
    device = drive()
    for register in (COMMAND, FREQUENCY, CONTROL):  # write only
        with pytest.raises(Refusal) as refusal:
            read(device, register, 1, 0.0)
        assert refusal.value.code == 2
    for address, count, code in ((0x2100, 21, 3), (0x20FF, 2, 2), (0x2110, 1, 2), (0xFFFF, 1, 2)):
        with pytest.raises(Refusal) as refusal:
            read(device, address, count, 0.0)
        assert refusal.value.code == code
    assert len(read(device, 0x2100, 16, 0.0)) == 16
    assert refused(device, COMMAND, [0] * 21) == 3
    assert refused(device, FREQUENCY, 6001) == 3 and refused(device, ACTION, 4) == 3
    assert refused(device, STATUS, 0) == 2 and refused(device, 0x0A00, 0) == 2
    assert refused(running(), 0x0100, 7000, 20.0) == 4
    assert refused(device, 0x0902, [1, 1001]) == 3 and read(device, ACTION, 2, 0.0) == [3, 0]
    for request in ("04 2100 0001", "01 0000 0001", "05 0000 FF00"):
        assert answer(device, bytes.fromhex(request), 0.0) == bytes((int(request[:2], 16) | 0x80, 1))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 8.0),
            st.sampled_from(["run", "back", "stop", "reset", "fault", "block", "load", "read"]),
            st.integers(0, 6000),
        ),
        max_size=12,
    )
)
def test_what_it_says_is_what_the_motor_does(script: list[tuple[float, str, int]]) -> None:
    device, t_s = drive(), 0.0
    write(device, ACTION, [2, 50], 0.0)
    for wait_s, action, value in script:
        t_s += wait_s
        if action in ("run", "back", "stop"):
            write(device, COMMAND, [{"run": RUN_FORWARD, "back": RUN_BACK, "stop": STOP}[action], value], t_s)
        elif action == "load":
            device.load_changed(t_s, value / 2000.0)
        elif action != "read":
            write(device, CONTROL, {"reset": 2, "fault": 1, "block": 4}[action], t_s)
        bits, hz, fault = one(device, STATUS, t_s) & 0b11, device.motor.frequency_hz(t_s), one(device, FAULTS, t_s)
        assert one(device, OUTPUT_HZ, t_s) == round(abs(hz) * 100)
        assert (bits == 0b00) <= (hz == 0.0)
        if fault:
            assert hz == 0.0 and bits == 0b00  # every one of these lets the motor go
