"""Are writes repeated, remembered, spared and looked after as a register's map says, and nothing beyond it?"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from map_helpers import one_unit, virtually
from modbus_link_helpers import bus

from firmware_bridge.devices.register_access import RegisterAccess, broadcast
from firmware_bridge.errors import LinkTimeout, NotReady, Rejected, Unverified
from firmware_bridge.register_map import MapError, RegisterMap, load_map
from firmware_bridge.signals import LimitState, Quality

HEAD = """
[device]
model = "a device"
protocol = "modbus-rtu"
source = "a manual"
max_words = 8
max_gap = 4
holes = [[30, 39]]
[watchdog]
kind = "none"
why = "only read"
[[identify]]
signal = "id"
equals = 7
[signal.id]
fc = 3
addr = 0
dtype = "u16"
poll = true
[signal.state]
fc = 3
addr = 1
dtype = "u16"
[signal.temp_c]
fc = 3
addr = 2
dtype = "i16"
scale = 0.1
unit = "degC"
sentinels = { "-32768" = "sensor break", "32767" = "over range" }
good_when = { signal = "state", between = [1, 2], why = "it is not running" }
[signal.setpoint_c]
fc = 3
addr = 10
dtype = "i16"
scale = 0.1
unit = "degC"
access = "rw"
range = [0.0, 100.0]
write_retries = 2
[signal.saved_c]
fc = 3
addr = 11
dtype = "i16"
scale = 0.1
unit = "degC"
access = "rw"
range = [0.0, 100.0]
nonvolatile = "100,000 writes"
writes_per_day_max = 3
[signal.step]
fc = 3
addr = 12
dtype = "i16"
access = "rw"
range = [-100, 100]
relative = "a step from where it stands"
[signal.order]
fc = 3
addr = 13
dtype = "u16"
access = "w"
range = [0, 100]
read_back = "shown"
read_back_tolerance = 0.5
[signal.shown]
fc = 3
addr = 14
dtype = "u16"
[signal.count]
fc = 3
addr = 20
dtype = "u16"
read_once = "reading sets it back to 0"
[signal.beside]
fc = 3
addr = 22
dtype = "u16"
read_retries = 3
"""


def table(tmp_path: Path, *change: str) -> RegisterMap:
    path = tmp_path / "trial.toml"
    path.write_text(HEAD.replace(*change) if change else HEAD)
    return load_map(path)


def device(tmp_path: Path, **registers: int):  # type: ignore[no-untyped-def]
    held = dict.fromkeys(range(30), 0) | {0: 7, 1: 1}
    held |= {int(name[1:]): value for name, value in registers.items()}
    link, slave, writes = one_unit(held)
    return RegisterAccess(link, 1, table(tmp_path), "thing"), slave, writes


# -- sentinels and states -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "registers, value, why",
    [
        ({"r2": 250}, 25.0, ""),
        ({"r2": 0x8000}, math.nan, "sensor break"),
        ({"r2": 0x7FFF}, math.nan, "over range"),
        ({"r2": 250, "r1": 5}, 25.0, "it is not running (state 5)"),
        ({"r2": 0x8000, "r1": 5}, math.nan, "sensor break"),
    ],
)
def test_what_stands_for_no_value_is_bad_and_says_why(
    tmp_path: Path, registers: dict[str, int], value: float, why: str
) -> None:
    async def main() -> None:
        access, _, _ = device(tmp_path, **registers)
        reading = (await access.read("temp_c"))["temp_c"]
        assert reading.value == pytest.approx(value, nan_ok=True) and reading.why == why
        assert reading.quality is (Quality.BAD if why else Quality.GOOD)
        assert (reading.limit is LimitState.ALARM) is math.isnan(value)

    virtually(main)


# -- retries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, value, attempts", [("setpoint_c", 20.0, 3), ("step", 5, 1), ("order", 5, 1)])
def test_a_write_is_repeated_as_often_as_its_map_allows(tmp_path: Path, name: str, value: float, attempts: int) -> None:
    async def main() -> None:
        access, slave, _ = device(tmp_path)
        slave.twist = lambda unit, pdu, good: []
        with pytest.raises(LinkTimeout):
            await access.write(name, value)
        assert len(slave.asked) == attempts

    virtually(main)


def test_a_relative_step_whose_reply_is_lost_is_made_once(tmp_path: Path) -> None:
    async def main() -> None:
        access, slave, writes = device(tmp_path)
        slave.twist = lambda unit, pdu, good: [] if pdu[0] == 6 else None
        with pytest.raises(LinkTimeout):
            await access.write_and_verify("step", 5)
        await asyncio.sleep(5.0)
        assert writes == [(12, 5)]

    virtually(main)


@pytest.mark.parametrize("name, attempts", [("shown", 2), ("beside", 4), ("count", 1)])
def test_a_read_is_repeated_as_often_as_its_map_allows(tmp_path: Path, name: str, attempts: int) -> None:
    async def main() -> None:
        access, slave, _ = device(tmp_path)
        slave.twist = lambda unit, pdu, good: []
        with pytest.raises(LinkTimeout):
            await access.read(name)
        assert len(slave.asked) == attempts

    virtually(main)


# -- blocks -------------------------------------------------------------------------------------------------------


def test_no_block_runs_over_a_hole_or_a_register_that_reading_changes(tmp_path: Path) -> None:
    of = table(tmp_path)
    names = {"shown", "beside", "step", "id"}
    blocks = of.blocks(signal for signal in of.signals.values() if signal.name in names)
    assert [(block.address, block.count) for block in blocks] == [(0, 1), (12, 3), (22, 1)]
    with_it = of.blocks([of.signal("count"), of.signal("beside")])
    assert [(block.address, block.count, block.retries) for block in with_it] == [(20, 3, 0)]


def test_a_state_that_vouches_for_a_value_is_read_with_it(tmp_path: Path) -> None:
    of = table(tmp_path)
    assert [(block.address, block.count) for block in of.blocks([of.signal("temp_c")])] == [(1, 2)]


# -- memory that wears out ----------------------------------------------------------------------------------------


def test_a_non_volatile_register_is_written_only_when_it_differs(tmp_path: Path) -> None:
    async def main() -> None:
        access, _, writes = device(tmp_path, r11=200)
        for _ in range(100):
            await access.write("saved_c", 20.0)
            await access.write_and_verify("saved_c", 20.0)
            assert not await access.ensure("saved_c", 20.0)
        assert writes == []

    virtually(main)


def test_a_ramp_through_a_non_volatile_register_is_stopped_on_its_first_day(tmp_path: Path) -> None:
    async def main() -> None:
        access, _, writes = device(tmp_path)
        for step in range(3):
            await access.write("saved_c", 20.0 + step)
        for step in range(50):
            with pytest.raises(Rejected, match=r"written 3 times in 24 h, and its memory wears out \(100,000 writes\)"):
                await access.write("saved_c", 30.0 + step)
        assert len(writes) == 3
        await asyncio.sleep(86_400.0)
        await access.write("saved_c", 50.0)
        assert len(writes) == 4

    virtually(main)


def test_a_block_write_takes_no_non_volatile_register_along(tmp_path: Path) -> None:
    async def main() -> None:
        access, _, writes = device(tmp_path)
        with pytest.raises(ValueError, match="saved_c is non-volatile"):
            await access.write_block({"setpoint_c": 1.0, "saved_c": 2.0})
        assert writes == []

    virtually(main)


# -- reading back -------------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_judged_by_what_the_map_names(tmp_path: Path) -> None:
    async def main() -> None:
        access, slave, _ = device(tmp_path)
        held = slave.registers[1]
        slave.on_write = lambda unit, address, value: held.update({14: value}) if address == 13 else None
        await access.write_and_verify("order", 5)
        slave.on_write = lambda unit, address, value: None
        with pytest.raises(Unverified, match="order was set to 9 and shown reads back as 5"):
            await access.write_and_verify("order", 9)

    virtually(main)


def test_a_register_without_a_way_back_is_a_bug_of_ours(tmp_path: Path) -> None:
    async def main() -> None:
        link, _, _ = one_unit(dict.fromkeys(range(30), 0))
        access = RegisterAccess(link, 1, table(tmp_path, 'read_back = "shown"\n', ""), "thing")
        with pytest.raises(ValueError, match="order cannot be read; name a 'read_back'"):
            await access.write_and_verify("order", 5)

    virtually(main)


# -- broadcast ----------------------------------------------------------------------------------------------------


def test_a_broadcast_reaches_every_unit_and_keeps_its_turnaround(tmp_path: Path) -> None:
    async def main() -> None:
        link, slave = bus()
        slave.registers = {unit: dict.fromkeys(range(30), 0) for unit in (1, 2, 3)}
        of = table(tmp_path)
        await broadcast(link, of, "setpoint_c", 12.5)
        assert [slave.registers[unit][10] for unit in (1, 2, 3)] == [125] * 3
        await RegisterAccess(link, 2, of, "thing").read("setpoint_c")
        assert slave.asked[1][0] - slave.asked[0][0] >= 0.1
        for name in ("step", "saved_c"):
            with pytest.raises(Rejected, match="is not broadcast"):
                await broadcast(link, of, name, 1.0)
        with pytest.raises(Rejected, match="0 to 100 degC may be"):
            await broadcast(link, of, "setpoint_c", 100.1)
        assert len(slave.asked) == 2

    virtually(main)


# -- maps that cannot be meant ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, sentence",
    [
        (('relative = "a', 'write_retries = 1\nrelative = "a'), "'relative' write is never repeated"),
        (("write_retries = 2", "write_retries = 6"), "'write_retries' = 6; 0 to 5 may be"),
        (("read_retries = 3", "read_retries = -1"), "'read_retries' = -1"),
        (("read_retries = 3", "write_retries = 1"), "are for signals that are written"),
        (("writes_per_day_max = 3", "writes_per_day_max = 5000"), "0 to 1000 may be"),
        (('read_back = "shown"', 'read_back = "showm"'), r"'showm' names no signal \(did you mean 'shown'\?\)"),
        (('signal = "state"', 'signal = "stat"'), r"'good_when' = 'stat' names no signal"),
        (("addr = 22", "addr = 35"), r"'addr' = 35 lies in the hole \[30, 39\]"),
        (("between = [1, 2]", "between = [2, 1]"), "the low end is above"),
        (("max_words = 8", "max_words = 0"), "'max_words' = 0"),
        (('access = "w"', 'access = "w"\npoll = true'), "only written and cannot be polled"),
        (("read_retries = 3", "bit_field = [8, 16]"), "counted from 0"),
        (("read_retries = 3", "bit_field = [9, 8]"), "the low end is above"),
        (("read_retries = 3", 'bit_field = [0, 7]\naccess = "rw"\nrange = [0, 1]'), "only read"),
        (("read_retries = 3", "scale_once = true"), "'scale_once' needs a 'scale_from'"),
        (('why = "only read"', 'why = "x"\nneeds_contactor = 1'), "'needs_contactor' = 1 has the wrong type"),
    ],
)
def test_a_map_that_cannot_be_meant_is_a_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(MapError, match=sentence):
        table(tmp_path, *change)


def test_a_device_that_needs_a_contactor_is_refused_without_one(tmp_path: Path) -> None:
    async def main() -> None:
        link, _, _ = one_unit({})
        of = table(tmp_path, 'why = "only read"', 'why = "it goes on"\nneeds_contactor = true')
        with pytest.raises(NotReady, match=r"thing: this a device has no watchdog of its own \(it goes on\)"):
            RegisterAccess(link, 1, of, "thing")
        RegisterAccess(link, 1, of, "thing", contactor="K1")

    virtually(main)
