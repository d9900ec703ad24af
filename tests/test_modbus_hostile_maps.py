"""Whatever is wrong with an answer, does a poll of any shipped map give the device's values of now, or an error?

`test_modbus_hostile.py` asks it of the link with single questions. Here every driver's own questions are asked: blocks
with gaps, scales and states that are read along, repeated where the map lets them be.
"""

from __future__ import annotations

import math

import pytest
from map_golden import GOLDEN
from map_helpers import virtually
from modbus_hostile_helpers import FAULTS, Sent
from modbus_link_helpers import bus

from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.errors import FrameError, LinkTimeout, Mismatch
from firmware_bridge.links.modbus import LinkState
from firmware_bridge.register_map import RegisterMap, load_map
from firmware_bridge.signals import Reading

FAILS = (LinkTimeout, FrameError, Mismatch)
FRAMINGS = {"modbus-rtu": "rtu", "modbus-tcp": "tcp"}
CASES = [
    (name, fault)
    for name in sorted(GOLDEN)
    for fault, (framings, _, _) in FAULTS.items()
    if FRAMINGS[load_map(name).protocol] in framings
]


def registers(table: RegisterMap) -> dict[int, int]:
    """The manual's values, and zeros wherever a block runs over something else."""
    held = {a: 0 for block in table.blocks(table.polled) for a in range(block.address, block.address + block.count)}
    for name, (_, address, words, _) in GOLDEN[table.name].items():
        if "r" in table.signal(name).access:
            held |= {address + i: word for i, word in enumerate(words)}
    return held


def moved_on(table: RegisterMap, held: dict[int, int], step: int) -> None:
    """The device's values change between two polls, so that an answer of the poll before is a wrong one."""
    constant = {identity.signal for identity in table.identify}
    constant |= {signal.scale_from for signal in table.signals.values()}
    for signal in table.polled:
        if signal.name not in constant:
            low_word = signal.address + (signal.words - 1 if signal.word_order == "big" else 0)
            held[low_word] = held[low_word] + step & 0xFFFF


def wrong(table: RegisterMap, held: dict[int, int], readings: dict[str, Reading]) -> list[str]:
    """Which readings are not what the registers say."""
    found = []
    for name, reading in readings.items():
        signal = table.signal(name)
        exponent = 0.0
        if signal.scale_from:
            scale = table.signal(signal.scale_from)
            exponent = scale.decode([held[scale.address + i] for i in range(scale.words)])
        value = signal.decode([held[signal.address + i] for i in range(signal.words)], exponent)
        if reading.value != value and not (math.isnan(value) and math.isnan(reading.value)):
            found.append(f"{name} is {value:g} and was read as {reading.value:g}")
    return found


@pytest.mark.parametrize("name, fault", CASES)
def test_no_wrong_answer_is_a_reading_of_any_device(name: str, fault: str) -> None:
    """The fault strikes each block of the poll in turn; two polls later all is well whatever it was."""

    async def main() -> None:
        table = load_map(name)
        link, slave = bus(FRAMINGS[table.protocol])
        held = registers(table)
        slave.registers = {1: held}
        plan: list[str] = []

        def twist(unit: int, pdu: bytes, reply: bytes) -> Sent | None:
            what = plan.pop(0) if plan else ""
            return FAULTS[what][2](slave, unit, pdu, reply) if what else None

        slave.twist = twist
        device = RegisterAccess(link, 1, table, "device", contactor="K1")
        await device.identify()
        table = device.map
        blocks = len(table.blocks(table.polled))

        async def is_read() -> bool:
            moved_on(table, held, 1)
            try:
                readings = await device.poll()
            except FAILS as error:
                assert "unit 1 on fake:bus" in str(error)
                return False
            assert wrong(table, held, readings) == []
            return True

        for struck in range(blocks):
            for in_a_row in (1, 2, 3):
                plan[:] = [""] * struck + [fault] * in_a_row
                await is_read()
                plan.clear()
                after = [await is_read() for _ in range(3)]
                assert after[1:] == [True, True]
        assert link.state is LinkState.OPEN

    virtually(main)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_check_itself_sees_a_wrong_register(name: str) -> None:
    async def main() -> None:
        table = load_map(name)
        link, slave = bus(FRAMINGS[table.protocol])
        held = registers(table)
        slave.registers = {1: held}
        device = RegisterAccess(link, 1, table, "device", contactor="K1")
        await device.identify()
        readings = await device.poll()
        assert wrong(device.map, held, readings) == []
        moved_on(device.map, held, 3)
        assert wrong(device.map, held, readings)

    virtually(main)
