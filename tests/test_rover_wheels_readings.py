"""Are the wheels' readings what the boards say, scaled, judged and dated?"""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roboclaw_helpers import TICKS, make_line, motor
from wheels_helpers import BOARDS, LAYOUT, STEERS, STRAIGHT, WHEELS, cycle, rover, run, speeds

from firmware_bridge.devices.wheels_readings import status_limit, status_words
from firmware_bridge.signals import LimitState, Quality


def test_what_the_boards_say_is_scaled_judged_and_dated() -> None:
    async def test() -> None:
        async with rover() as (wheels, line):
            motor(line, 129, 2).amps, motor(line, 131, 2).amps = -9.0, 0.25
            line.boards[132].volts = lambda t_s: 10.2
            line.boards[128].temp_c = lambda t_s: 71.0
            line.boards[130].forced_status = 1 << 13
            readings = await wheels.poll()
            row = {name: (reading.value, reading.unit, reading.limit) for name, reading in readings.items()}
            assert row["rr_current_a"] == (-9.0, "A", LimitState.WARN)
            assert row["rl_steer_a"] == (0.25, "A", LimitState.NORMAL)
            assert row["volts_v"] == row["board132_volts_v"] == (pytest.approx(10.2), "V", LimitState.WARN)
            assert row["board128_volts_v"] == (pytest.approx(12.0), "V", LimitState.NORMAL)
            assert row["board_temp_c"] == row["board128_temp_c"] == (pytest.approx(71.0), "degC", LimitState.WARN)
            assert row["status"] == row["board130_status"] == (8192.0, "", LimitState.ALARM)
            assert row["board129_status"] == (0.0, "", LimitState.NORMAL)
            assert all(reading.quality is Quality.GOOD and reading.time_s > 0 for reading in readings.values())
            names = [f"{name}_{what}" for name in WHEELS for what in ("angle_rad", "speed_rad_s", "current_a")]
            names += [f"{name}_{what}" for name in STEERS for what in ("steer_rad", "steer_a")]
            assert set(names) <= readings.keys()

    run(test)


def test_counters_that_wrap_go_on() -> None:
    async def test() -> None:
        async with rover(timeout_s=None) as (wheels, line):
            for place in WHEELS.values():
                line.boards[place[0]].channels[place[1] - 1].set_ticks(2**31 - 500, 0.0)
            await wheels.configure(0.5)
            readings = [await cycle(wheels, seq, speed=2.0) for seq in range(1, 20)]
            angles = [turn["fl_angle_rad"].value for turn in readings]
            assert angles[-1] - angles[0] == pytest.approx(2.0 * 1.8, abs=0.3)
            assert all(turn["fl_speed_rad_s"].value < 2.1 for turn in readings)

    run(test)


def test_slow_readings_come_once_a_second_and_a_cycle_takes_the_line_time_that_is_stated() -> None:
    async def test(baud: int) -> None:
        asked: dict[int, int] = {}

        def tap(t_s: float, point: str, data: bytes) -> None:
            if point == "wheels.to_device":
                asked[data[1]] = asked.get(data[1], 0) + 1

        async with rover(make_line(*BOARDS, baud=baud), tap=tap) as (wheels, _):
            await wheels.poll()
            asked.clear()
            loop = asyncio.get_running_loop()
            busy_s = 0.0
            for seq in range(1, 101):
                began_s = loop.time()
                await wheels.poll()
                await wheels.drive(speeds(), STRAIGHT, seq=seq, valid_until_s=loop.time() + 0.4)
                busy_s += loop.time() - began_s
                await asyncio.sleep(began_s + 0.1 - loop.time())
            assert asked[78] == 500 and asked[37] == 300 and asked[65] == asked[66] == 200
            assert all(50 <= asked[command] <= 61 for command in (15, 24, 49, 82, 90))
            assert busy_s / 100 == pytest.approx(LAYOUT.cycle_s(baud), rel=0.05)

    for baud, share in ((115200, 0.45), (38400, 0.85)):
        run(lambda baud=baud: test(baud))
        assert LAYOUT.cycle_s(baud) / 0.1 < share


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x000001, "emergency stop"), (0x000002, "temperature error"), (0x000004, "temperature 2 error"),
        (0x000008, "main supply too high"), (0x000010, "logic supply too high"), (0x000020, "logic supply too low"),
        (0x000040, "driver fault of motor 1"), (0x000080, "driver fault of motor 2"),
        (0x000100, "speed error of motor 1"), (0x000200, "speed error of motor 2"),
        (0x000400, "position error of motor 1"), (0x000800, "position error of motor 2"),
        (0x001000, "current error of motor 1"), (0x002000, "current error of motor 2"),
        (0x010000, "current warning of motor 1"), (0x020000, "current warning of motor 2"),
        (0x040000, "main supply high"), (0x080000, "main supply low"),
        (0x100000, "temperature warning"), (0x200000, "temperature 2 warning"),
        (0x400000, "input S4"), (0x800000, "input S5"),
        (0x1000000, "speed error limit"), (0x2000000, "position error limit"),
        (0x4000000, "status bit 26"),
    ],
)  # fmt: skip
def test_each_status_bit_is_said_as_the_manuals_table_has_it(bits: int, words: str) -> None:
    """User manual p. 73, "90 - Read Status"."""
    assert status_words(bits) == [words]
    assert status_limit(bits) is (LimitState.ALARM if bits < 0x10000 else LimitState.WARN)


@given(st.integers(0, 2**32 - 1))
def test_a_status_of_any_bits_has_its_words_and_its_limit(status: int) -> None:
    assert len(status_words(status)) == bin(status).count("1")
    expected = LimitState.ALARM if status & 0xFFFF else LimitState.WARN if status else LimitState.NORMAL
    assert status_limit(status) is expected


@given(
    st.dictionaries(st.sampled_from(sorted(WHEELS)), st.floats(-3.2, 3.2), min_size=6, max_size=6),
    st.dictionaries(st.sampled_from(sorted(STEERS)), st.floats(-0.75, 0.75), min_size=4, max_size=4),
)
def test_every_motor_is_commanded_once_and_within_its_bounds(wanted: dict, angles: dict) -> None:
    seen = set()
    for plan in LAYOUT.boards():
        for command, data in LAYOUT.commands(plan, wanted, angles):
            if command == 37:
                values = struct.unpack(">ii", data)
                assert all(abs(value) <= 1850 for value in values)
                seen |= {(plan.address, 1), (plan.address, 2)}
            else:
                accel, top, decel, ticks, at_once = struct.unpack(">IIIiB", data)
                assert abs(ticks) <= round(0.75 * TICKS) and accel == decel > 0 < top and at_once == 1
                seen.add((plan.address, command - 64))
    assert seen == {*WHEELS.values(), *STEERS.values()}
