"""Can a device that answers wrongly, in any way and in any order, make a wrong value, and how soon is the link well?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_hostile_helpers import CASES, FAULTS, Sent
from modbus_link_helpers import FakeSlave, bus, crc16

from firmware_bridge.errors import FrameError, LinkTimeout, Mismatch, ModbusException
from firmware_bridge.links.modbus import LinkState, ModbusLink
from hil_sim.virtual_run import run_virtual

UNITS = (1, 2, 3)
FAILS = (LinkTimeout, FrameError, Mismatch)
RECOVERY_REQUESTS = 2
LATEST_S = 0.6  # no fault of the table sends anything later; test_modbus_late has what is later


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: main())


def hostile_bus(framing: str) -> tuple[ModbusLink, FakeSlave, list[str]]:
    """Three units whose register a of unit u holds 1000 u + a, and the faults of the next answers ("" good)."""
    link, slave = bus(framing)
    slave.registers = {unit: {address: 1000 * unit + address for address in range(400)} for unit in UNITS}
    faults: list[str] = []

    def twist(unit: int, pdu: bytes, reply: bytes) -> Sent | None:
        name = faults.pop(0) if faults else ""
        return FAULTS[name][2](slave, unit, pdu, reply) if name else None

    slave.twist = twist
    return link, slave, faults


async def ask(link: ModbusLink, slave: FakeSlave, kind: str, unit: int, address: int, count: int) -> bool:
    """One question. False if it ended in an error that says so; a wrong value, or one not written, is no such end."""
    try:
        if kind == "read":
            assert await link.read(unit, 3, address, count) == [1000 * unit + address + i for i in range(count)]
        elif kind == "read input":
            assert await link.read(unit, 4, address, count) == [1000 * unit + address + i for i in range(count)]
        else:
            values = [1000 * unit + address + i for i in range(1 if kind == "write" else count)]
            await link.write(unit, address, values, fc=6 if kind == "write" else 16)
            assert [slave.registers[unit][address + i] for i in range(len(values))] == values
    except FAILS as error:
        assert f"unit {unit} on fake:bus" in str(error)
        return False
    return True


async def soon_well(link: ModbusLink, slave: FakeSlave) -> None:
    """A fault has ended when its last byte has come: no wrong value before, and the truth within two requests after."""
    for i in range(3):
        await ask(link, slave, "read", 1, 30 * i, 2)
    await asyncio.sleep(LATEST_S)
    after = [await ask(link, slave, "read", 1 + i % 2, 40 * i, 2) for i in range(6)]
    assert True in after[:RECOVERY_REQUESTS] and all(after[RECOVERY_REQUESTS:]), after


KINDS = ("read", "read input", "write", "write block")


@pytest.mark.parametrize("framing, name", CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [1, 4])
def test_no_wrong_answer_is_a_value_and_the_link_is_soon_well(framing: str, name: str, kind: str, times: int) -> None:
    """While the fault lasts each question ends in the truth or an error; after it, within two requests in the truth."""

    async def main() -> None:
        link, slave, faults = hostile_bus(framing)
        assert await ask(link, slave, kind, 1, 300, 3)
        faults += [name] * times
        while faults:
            is_answered = await ask(link, slave, kind, 1, 10 + len(faults), 3)
            assert is_answered <= FAULTS[name][1], "an answer that never came was taken for one"
        after = [await ask(link, slave, kind, 1 + i % 2, 50 + 7 * i, 3) for i in range(8)]
        assert after.index(True) < RECOVERY_REQUESTS and all(after[after.index(True) :]), after
        assert link.state is LinkState.OPEN

    virtually(main)


@pytest.mark.parametrize("framing, name", CASES)
def test_each_fault_is_one_that_the_table_says(framing: str, name: str) -> None:
    """The table itself: what it sends is not the good answer alone (or the tests above would show nothing)."""

    async def main() -> None:
        _, slave, _ = hostile_bus(framing)
        good = slave.frame(1, b"\x03\x04\x00\x07\x00\x08", b"\x12\x34")
        sent = FAULTS[name][2](slave, 1, b"\x03\x00\x07\x00\x02", good)
        assert sent != [(0.0, good)]
        whole = b"".join(raw for _, raw in sent)
        assert (good in whole and sent[0][0] == 0.0) or not FAULTS[name][1]

    virtually(main)


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
@pytest.mark.parametrize("name", ["late", "wrong unit", "half a frame", "silent"])
def test_a_read_that_may_be_repeated_ends_in_the_truth(framing: str, name: str) -> None:
    async def main() -> None:
        link, _, faults = hostile_bus(framing)
        faults.append(name)
        assert await link.read(2, 3, 5, 2, retries=1) == [2005, 2006]
        assert link.counters.retries == 1

    virtually(main)


ONE = st.tuples(
    st.sampled_from(["", "", *FAULTS]),
    st.sampled_from(KINDS),
    st.sampled_from(UNITS),
    st.integers(0, 300),
    st.integers(1, 20),
)


@given(framing=st.sampled_from(["rtu", "tcp"]), steps=st.lists(ONE, min_size=1, max_size=25))
@settings(max_examples=200, deadline=None)
def test_any_faults_in_any_order_make_no_wrong_value(framing: str, steps: list[Any]) -> None:
    async def main() -> None:
        link, slave, faults = hostile_bus(framing)
        for name, *question in steps:
            name = name if name and framing in FAULTS[name][0] else ""
            faults[:] = [name]
            is_answered = await ask(link, slave, *question)
            assert is_answered <= (not name or FAULTS[name][1])
        faults.clear()
        await soon_well(link, slave)

    virtually(main)


def holds_a_frame_by_chance(raw: bytes, reply: bytes) -> bool:
    """One damaged frame in 65,536 has a good CRC, which no master can tell; it is no question to this link."""
    windows = [raw[at : at + size] for size in (len(reply), 5) for at in range(len(raw) - size + 1)]
    return any(window != reply and crc16(window[:-2]) == window[-2:] for window in windows)


@given(seed=st.integers(0, 2**32), framing=st.sampled_from(["rtu", "tcp"]))
@settings(max_examples=100, deadline=None)
def test_bytes_at_random_make_no_wrong_value(seed: int, framing: str) -> None:
    """Flipped, lost, doubled, delayed and inserted bytes. On TCP only the header's: its data has TCP's own checksum."""

    async def main() -> None:
        rng = random.Random(seed)
        link, slave, _ = hostile_bus(framing)
        is_bad = [True]

        def damage(unit: int, pdu: bytes, reply: bytes) -> Sent | None:
            if not is_bad[0] or rng.random() < 0.3:
                return None
            raw, late_s = bytearray(reply), 0.0
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(raw) if framing == "rtu" else min(len(raw), 8))
                kind = rng.choice(["flip", "lose", "double", "insert", "cut", "delay"])
                if kind == "flip":
                    raw[at] ^= 1 << rng.randrange(8)
                elif kind == "lose" and framing == "rtu" and len(raw) > 1:
                    del raw[at]
                elif kind == "double" and framing == "rtu":
                    raw.insert(at, raw[at])
                elif kind == "insert" and framing == "rtu":
                    raw[at:at] = rng.randbytes(rng.randint(1, 6))
                elif kind == "cut":
                    del raw[max(at, 1) :]
                else:
                    late_s = rng.uniform(0.0, 0.55)
            if framing == "rtu" and holds_a_frame_by_chance(bytes(raw), reply):
                return []
            return [(late_s, bytes(raw))]

        slave.twist = damage
        for _ in range(30):
            question = rng.choice(KINDS), rng.choice(UNITS), rng.randrange(300), rng.randint(1, 12)
            try:
                await ask(link, slave, *question)
            except ModbusException:
                assert framing == "tcp", "a CRC was good by chance"  # a bit of the function code: a refusal, no value
        is_bad[0] = False
        await soon_well(link, slave)

    virtually(main)
