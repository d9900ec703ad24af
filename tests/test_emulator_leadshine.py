"""Does the emulated Leadshine drive make its finite moves, tell its status, and strike where the travel ends?"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_slave_helpers import Ear, crc, read, write

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.leadshine import LeadshineDrive
from hil_sim.world.emulators.modbus_pdu import Refusal, answer
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.plant.linear_axis import LinearAxis

ENABLE, STATUS, POSITION, CONTROL, CONTROL_STATUS, TRIGGER, HOMING_MODE, PATH = (
    0x000F, 0x1003, 0x1014, 0x1801, 0x1901, 0x6002, 0x600A, 0x6200
)  # fmt: skip
FAULT, ENABLED, RUNNING, COMMAND_DONE, PATH_DONE, HOMED = 1, 2, 4, 16, 32, 64


def drive(at_mm: float = 20.0, mm_per_rev: float = 40.0, enabled: bool = True) -> LeadshineDrive:
    device = LeadshineDrive(
        LinearAxis("blade", travel_mm=(-2.0, 302.0), position_mm=at_mm), mm_per_rev=mm_per_rev, baud=115200
    )
    if enabled:
        write(device, ENABLE, 1, 0.0)
    return device


def status(device: LeadshineDrive, t_s: float) -> int:
    return read(device, STATUS, 1, t_s)[0]


def position(device: LeadshineDrive, t_s: float) -> int:
    high, low = read(device, POSITION, 2, t_s)
    value = high << 16 | low
    return value - (1 << 32) if value & 0x80000000 else value


def block(
    pulses: int, rpm: int = 150, acc: int = 100, mode: int = 1, trigger: int = 0x10, pause_ms: int = 0
) -> list[int]:
    pulses &= 0xFFFFFFFF
    return [mode, pulses >> 16, pulses & 0xFFFF, rpm, acc, acc, pause_ms, trigger]


def refused(device: LeadshineDrive, register: int, values: int | list[int], t_s: float = 0.0) -> int:
    with pytest.raises(Refusal) as refusal:
        write(device, register, values, t_s)
    return refusal.value.code


def test_the_manuals_frames() -> None:
    device = drive()
    assert answer(device, bytes.fromhex("10 0146 0004 08 0000 0028 0000 0029"), 0.0) == bytes.fromhex("10 0146 0004")
    assert read(device, 0x0146, 4, 0.0) == [0, 0x28, 0, 0x29]
    assert read(device, 0x0147, 1, 0.0) == [0x28]
    # p. 50: it says 200 rpm and carries 0, so the drive runs and never arrives
    example = bytes.fromhex("10 6200 0008 10 0001 0000 2710 0000 2710 2710 0000 0010")
    assert answer(device, example, 0.0) == bytes.fromhex("10 6200 0008")
    assert status(device, 1000.0) == ENABLED | RUNNING and position(device, 1000.0) == 0
    write(device, TRIGGER, 0x40, 1000.0)
    assert status(device, 1000.0) == ENABLED | COMMAND_DONE


def test_it_answers_after_the_manuals_delay() -> None:
    assert drive().reply_delay_s == 0.00244
    assert LeadshineDrive(LinearAxis("a", travel_mm=(0, 1)), mm_per_rev=5, baud=9600).reply_delay_s == pytest.approx(
        0.0205
    )


def test_it_boots_disabled_and_does_nothing_until_enabled() -> None:
    device = drive(enabled=False)
    assert status(device, 0.0) == 0
    assert read(device, 0x0000, 2, 0.0) == [0, 10000]
    write(device, PATH, block(10000), 0.0)
    write(device, TRIGGER, 0x20, 0.0)
    assert status(device, 10.0) == 0 and position(device, 10.0) == 0
    assert refused(device, ENABLE, 2) == 4
    write(device, ENABLE, 1, 0.0)
    assert status(device, 0.0) == ENABLED


def test_a_block_moves_and_tells_its_end() -> None:
    device = drive()
    write(device, PATH, block(50000), 1.0)  # 5 turns = 200 mm at 150 rpm = 100 mm/s
    assert status(device, 1.0) == ENABLED | RUNNING
    acceleration = 1000 / 60 * 40 / 0.1
    end_s = 1.0 + 200 / 100 + 100 / acceleration
    middle_s = 1.0 + (end_s - 1.0) / 2
    assert position(device, middle_s) == 25000
    assert read(device, 0x1044, 4, middle_s) == [0, 150, 0, 150]
    assert status(device, end_s - 1e-6) == ENABLED | RUNNING
    assert status(device, end_s + 1e-6) == ENABLED | COMMAND_DONE | PATH_DONE
    assert position(device, end_s + 1e-6) == 50000
    assert device.axis.position_at(end_s + 1e-6) == pytest.approx(220.0)
    assert read(device, PATH, 7, end_s) == [1, 0, 50000, 150, 100, 100, 0]


def test_negative_and_relative_positions() -> None:
    device = drive(at_mm=100.0)
    write(device, PATH, block(-5000), 0.0)
    assert position(device, 10.0) == -5000 and read(device, POSITION, 2, 10.0) == [0xFFFF, 0xEC78]
    write(device, PATH, block(-5000, mode=0x41), 10.0)
    assert position(device, 20.0) == -10000
    write(device, PATH, block(-5000, mode=0x01), 20.0)
    assert position(device, 30.0) == -5000


def test_the_trigger_word_and_a_pause() -> None:
    device = drive()
    write(device, PATH, block(10000, trigger=0, pause_ms=500), 0.0)
    assert status(device, 5.0) == ENABLED
    write(device, TRIGGER, 0x10, 5.0)
    rest_s = device.axis.rest_s
    assert status(device, rest_s + 0.4) == ENABLED | RUNNING
    assert status(device, rest_s + 0.6) == ENABLED | COMMAND_DONE | PATH_DONE
    write(device, PATH + 8, block(20000)[:7], 10.0)
    write(device, TRIGGER, 0x11, 10.0)  # path 1
    assert position(device, 20.0) == 20000


def test_homing_goes_to_the_switch_and_zeroes() -> None:
    device = drive(at_mm=180.0)
    write(device, HOMING_MODE, 0, 0.0)
    write(device, TRIGGER, 0x20, 0.0)
    assert status(device, 0.5) == ENABLED | RUNNING
    assert status(device, 30.0) == ENABLED | COMMAND_DONE | PATH_DONE | HOMED
    assert position(device, 30.0) == 0 and device.axis.position_at(30.0) == 0.0
    write(device, PATH, block(75000), 30.0)
    assert device.axis.position_at(60.0) == pytest.approx(300.0)


def test_homing_the_wrong_way_is_a_fault() -> None:
    device = drive()
    write(device, HOMING_MODE, 1, 0.0)
    write(device, TRIGGER, 0x20, 0.0)
    assert status(device, 30.0) == FAULT


def test_a_reversed_screw_counts_the_other_way() -> None:
    device = drive(at_mm=10.0, mm_per_rev=-5.0)
    write(device, HOMING_MODE, 1, 0.0)  # rising count is falling position
    write(device, TRIGGER, 0x20, 0.0)
    assert status(device, 30.0) & HOMED and device.axis.position_at(30.0) == 0.0
    write(device, PATH, block(-20000), 30.0)
    assert device.axis.position_at(60.0) == pytest.approx(10.0) and position(device, 60.0) == -20000


def test_the_end_of_travel_is_a_fault_until_it_is_reset() -> None:
    device = drive()
    write(device, PATH, block(100000), 0.0)
    struck_s = device.axis.struck_s
    assert struck_s is not None
    assert status(device, struck_s - 1e-6) == ENABLED | RUNNING
    assert status(device, struck_s) == FAULT
    write(device, PATH, block(0), 10.0)  # taken, and without effect
    assert device.axis.position_at(20.0) == 302.0
    write(device, CONTROL, 0x1111, 20.0)
    assert read(device, CONTROL_STATUS, 1, 20.0) == [0x1111]  # which tells of saving only
    assert status(device, 20.0) == ENABLED
    write(device, PATH, block(0), 20.0)
    assert device.axis.position_at(30.0) == pytest.approx(20.0)
    assert status(device, 30.0) == ENABLED | COMMAND_DONE | PATH_DONE


def test_stop_brakes_and_the_path_is_not_done() -> None:
    device = drive()
    write(device, PATH, block(50000), 0.0)
    write(device, TRIGGER, 0x40, 1.0)
    assert status(device, 1.0) == ENABLED | RUNNING
    assert status(device, 2.0) == ENABLED | COMMAND_DONE
    stood = position(device, 2.0)
    assert 0 < stood < 50000 and position(device, 10.0) == stood
    write(device, PATH, block(50000), 10.0)
    write(device, ENABLE, 0, 10.5)
    assert status(device, 12.0) == COMMAND_DONE


def test_an_alarm_inside_stops_it() -> None:
    device = drive()
    write(device, PATH, block(50000), 0.0)
    device.fail(1.0)
    assert status(device, 2.0) == FAULT
    assert device.axis.rest_s < 1.1


def test_what_it_refuses() -> None:
    device = drive()
    assert refused(device, PATH, block(1000, mode=3)) == 4
    assert refused(device, CONTROL, 0x4003) == 4
    assert refused(device, PATH, block(1000, acc=0)) == 4
    assert refused(device, TRIGGER, 0x99) == 4
    assert status(device, 1.0) == ENABLED
    for register in (STATUS, POSITION, CONTROL_STATUS, 0x0200, 0x6280, 0x7000):
        assert refused(device, register, 0) == 2
    assert refused(device, 0x0001, 100) == 4
    for address, count in ((0x01FF, 2), (0x1000, 1), (0x1015, 2), (0x627F, 2)):
        with pytest.raises(Refusal) as refusal:
            read(device, address, count, 0.0)
        assert refusal.value.code == 2
    for request in (
        "01 0000 0001",
        "04 1003 0001",
        "05 0000 FF00",
        "0F 0000 0001 01 01",
        "17 0000 0001 0000 0001 02 0000",
    ):
        assert answer(device, bytes.fromhex(request), 0.0) == bytes((int(request[:2], 16) | 0x80, 1))


MANUALS = [  # as the manuals print them; on p. 24 and p. 50 they are wrong
    ("p. 16, peak current", "01 03 0191 0001 D41B", "01 03 02 000A 3843"),
    ("p. 20, FC16", "01 10 0146 0004 08 0000 0028 0000 0029 1C14", "01 10 0146 0004 21E3"),
    ("p. 50, PR0", "07 10 6200 0008 10 0001 0000 2710 0000 2710 2710 0000 0010 8D50", "07 10 6200 0008 DE11"),
    ("p. 25, function 02", "01 02 0001 0001 E80A", "01 82 01 8160"),
]


@pytest.mark.parametrize(("name", "request_hex", "reply_hex"), MANUALS, ids=[row[0] for row in MANUALS])
def test_the_manuals_frames_answer_as_printed(name: str, request_hex: str, reply_hex: str) -> None:
    request, reply = bytes.fromhex(request_hex), bytes.fromhex(reply_hex)
    assert request[-2:] == crc(request[:-2]) and reply[-2:] == crc(reply[:-2])
    assert answer(drive(), request[1:-2], 0.0) == reply[1:-2]


def test_p_16_prints_a_wrong_crc() -> None:
    printed = bytes.fromhex("01 03 0191 0001 D31B")
    assert printed[-2:] != crc(printed[:-2])


def on_a_line(answers_bad_crc: bool, data: bytes) -> list[bytes]:
    async def main(loop: VirtualLoop) -> list[bytes]:
        axis = LinearAxis("blade", travel_mm=(0.0, 300.0))
        device = LeadshineDrive(axis, mm_per_rev=40.0, answers_bad_crc=answers_bad_crc)
        bus, ear = RtuBus({1: device}, baud=115200), Ear()
        bus.attach(ear).received(data)
        await asyncio.sleep(0.1)
        return ear.frames

    return run_virtual(main)


def test_the_manual_answers_a_wrong_crc_with_08_and_the_standard_does_not() -> None:
    wrong = bytes.fromhex("01 03 0001 0001 D5C1")  # p. 25; the right CRC is D5CA
    assert on_a_line(True, wrong) == [bytes.fromhex("01 83 08 40 F6")]
    assert on_a_line(False, wrong) == []


def test_saving_is_counted_and_its_status_is_forgotten_when_read() -> None:
    device = drive()
    assert read(device, CONTROL_STATUS, 1, 0.0) == [0x1111]  # nothing has been saved
    write(device, CONTROL, 0x2211, 0.0)
    assert device.nonvolatile_writes == 1
    assert read(device, CONTROL_STATUS, 1, 0.0) == [0x5555]
    assert read(device, CONTROL_STATUS, 1, 0.0) == [0x1111]  # a read with a side effect
    device.break_memory()
    write(device, CONTROL, 0x2211, 0.0)
    assert read(device, CONTROL_STATUS, 1, 0.0) == [0xAAAA]


def test_a_factory_reset_forgets_the_enable() -> None:
    device = drive()
    write(device, 0x0001, 5000, 0.0)
    write(device, CONTROL, 0x2233, 0.0)
    assert read(device, 0x0001, 1, 0.0) == [10000] and status(device, 0.0) == 0


def test_a_message_has_200_bytes_at_most() -> None:
    device = drive()
    assert len(read(device, 0x0000, 97, 0.0)) == 97
    with pytest.raises(Refusal) as refusal:
        read(device, 0x0000, 98, 0.0)
    assert refusal.value.code == 3
    assert refused(device, 0x0010, [0] * 96) == 3


def jogged_mm(device: LeadshineDrive, word: int, times_s: list[float], at_s: float) -> float:
    start_mm = device.axis.position_at(0.0)
    for t_s in times_s:
        write(device, CONTROL, word, t_s)
    return device.axis.position_at(at_s) - start_mm


def test_a_jog_lives_50_ms() -> None:
    device = drive()
    write(device, 0x01E1, 150, 0.0)  # 100 mm/s, ramps of 6667 mm/s2
    ramp_s = 100.0 / (1000 / 60 * 40 / 0.1)
    assert jogged_mm(device, 0x4001, [0.0], 10.0) == pytest.approx(100.0 * 0.050)
    assert device.axis.rest_s == pytest.approx(0.050 + ramp_s)
    assert status(device, 0.05) & RUNNING and not status(device, 0.1) & RUNNING
    assert (device.jogs, device.jog_refreshes) == (1, 0)


def test_a_jog_goes_on_while_it_is_repeated_in_time() -> None:
    device = drive()
    write(device, 0x01E1, 150, 0.0)
    times_s = [0.04 * n for n in range(26)]  # to 1.0 s
    assert jogged_mm(device, 0x4001, times_s, 10.0) == pytest.approx(100.0 * 1.050, abs=1e-6)
    assert (device.jogs, device.jog_refreshes) == (1, 25)
    late = drive()
    write(late, 0x01E1, 150, 0.0)
    assert jogged_mm(late, 0x4001, [0.1 * n for n in range(10)], 10.0) == pytest.approx(10 * 5.0)  # it stutters
    assert (late.jogs, late.jog_refreshes) == (10, 0)


def test_a_jog_the_other_way_brakes_first_and_a_disabled_one_does_nothing() -> None:
    device = drive(at_mm=100.0)
    write(device, 0x01E1, 150, 0.0)
    assert jogged_mm(device, 0x4002, [0.0], 10.0) == pytest.approx(-5.0)
    turning = drive(at_mm=100.0)
    write(turning, 0x01E1, 150, 0.0)
    write(turning, CONTROL, 0x4001, 0.0)
    write(turning, CONTROL, 0x4002, 0.04)
    assert turning.axis.velocity_at(0.0399) > 0.0 > turning.axis.velocity_at(0.08)
    idle = drive(enabled=False)
    assert jogged_mm(idle, 0x4001, [0.0], 10.0) == 0.0 and idle.jogs == 0


def test_velocity_mode_never_ends_by_itself() -> None:
    device = LeadshineDrive(LinearAxis("auger", travel_mm=(-1e9, 1e9)), mm_per_rev=40.0)
    write(device, ENABLE, 1, 0.0)
    write(device, PATH, block(0, rpm=150, mode=2), 0.0)
    assert status(device, 1e4) == ENABLED | RUNNING
    assert device.axis.velocity_at(1e4) == pytest.approx(100.0)
    write(device, PATH, block(0, rpm=0x10000 - 150, mode=2), 1e4)
    assert device.axis.velocity_at(2e4) == pytest.approx(-100.0)
    write(device, PATH, block(0, rpm=0, mode=2), 2e4)
    assert device.axis.velocity_at(2e4 + 1.0) == 0.0 and status(device, 2e4 + 1.0) == ENABLED | COMMAND_DONE
    bounded = drive()
    write(bounded, PATH, block(0, rpm=150, mode=2), 0.0)
    assert status(bounded, 60.0) == FAULT  # on an axis it ends in the end of travel


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.05, 5.0), st.sampled_from(["go", "stop", "home", "read", "jog"]), st.integers(-5000, 70000)
        ),
        max_size=12,
    )
)
def test_it_never_says_done_while_it_moves(script: list[tuple[float, str, int]]) -> None:
    device = drive()
    t_s = 0.0
    for wait_s, action, pulses in script:
        t_s += wait_s
        if action == "go":
            write(device, PATH, block(pulses), t_s)
        elif action == "jog":
            write(device, CONTROL, 0x4001 + pulses % 2, t_s)
        elif action != "read":
            write(device, TRIGGER, {"stop": 0x40, "home": 0x20}[action], t_s)
        bits = status(device, t_s)
        if device.axis.moving(t_s):
            assert bits & RUNNING and not bits & (COMMAND_DONE | PATH_DONE)
        assert not (bits & PATH_DONE and not bits & COMMAND_DONE)
        assert -2.0 - 1e-9 <= device.axis.position_at(t_s) <= 302.0 + 1e-9
