"""How long can a stop on an RTU bus be kept waiting, and does what it overtakes ever pass for a value?"""

from __future__ import annotations

import asyncio
import random

import pytest
from modbus_link_helpers import FakeSlave

from firmware_bridge.errors import LinkError, LinkTimeout
from firmware_bridge.links.modbus import ModbusLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop

BAUD = 9600
BYTE_S = 10 / BAUD
SILENCE_S = 3.5 * BYTE_S
PATIENCE_S = 0.08
READ_BYTES, REPLY_BYTES = 8, 5 + 2 * 10 + 3
BOUND_S = (READ_BYTES + REPLY_BYTES) * BYTE_S + PATIENCE_S + SILENCE_S


def bus(delay_s: float = 0.02) -> tuple[ModbusLink, FakeSlave]:
    link = ModbusLink("rtu", timeout_s=0.3)
    slave = FakeSlave(link, byte_time_s=BYTE_S, delay_s=delay_s)
    slave.registers[1][50] = 0
    return link, slave


def test_a_stop_waits_for_a_silent_unit_no_longer_than_a_live_one_may_take() -> None:
    """At any moment of a dead unit's poll, and of the drain behind it, the stop is on the wire within the bound."""

    async def main(loop: VirtualLoop) -> None:
        rng = random.Random(7)
        link, slave = bus()
        for _ in range(200):
            polls = [asyncio.ensure_future(link.read(9, 3, 0, 10)) for _ in range(3)]  # nobody is unit 9
            await asyncio.sleep(rng.uniform(0.0, 1.2))
            began_s, asked = loop.time(), len(slave.asked)
            await link.write(1, 50, [1], urgent=True)
            first = slave.asked[asked]
            assert first[1] == 1 and first[0] - began_s <= BOUND_S + 1e-9
            for poll in polls:
                with pytest.raises(LinkTimeout):
                    await poll
        assert link.counters.gave_way > 20
        assert 9 not in link.silent or link.counters.timeouts > 0, "giving way is no silence of the unit"

    run_virtual(main)


def test_a_live_unit_is_heard_out() -> None:
    async def main(loop: VirtualLoop) -> None:
        link, _ = bus(delay_s=0.06)
        poll = asyncio.ensure_future(link.read(1, 3, 0, 10))
        await asyncio.sleep(0.01)
        await link.write(1, 50, [1], urgent=True)
        assert await poll == [1000 + i for i in range(10)] and link.counters.gave_way == 0

    run_virtual(main)


def test_a_late_answer_that_a_stop_went_before_is_never_a_value() -> None:
    """The unit thinks longer than a stop waits: its answer comes into the stop's, or after it."""

    async def main(loop: VirtualLoop) -> None:
        for late_s in [0.09 + 0.005 * step for step in range(60)]:
            link, slave = bus()
            slave.twist = lambda unit, pdu, reply, late_s=late_s: (
                [(late_s, reply)] if pdu[:3] == b"\x03\x00\x07" else None
            )
            slow = asyncio.ensure_future(link.read(1, 3, 7, 10))
            await asyncio.sleep(0.01)
            try:
                await link.write(1, 50, [1], retries=2, urgent=True)
                assert slave.registers[1][50] == 1
            except LinkError:
                pass  # the late answer came into its echo each time: said, and not believed
            after = [await asyncio.gather(link.read(1, 3, 100 + i, 10), return_exceptions=True) for i in range(4)]
            for i, (words,) in enumerate(after):
                assert isinstance(words, LinkError) or words == [1100 + i + k for k in range(10)], (late_s, i, words)
            assert await link.read(1, 3, 20, 10) == [1020 + k for k in range(10)]
            assert isinstance((await asyncio.gather(slow, return_exceptions=True))[0], LinkError | list)

    run_virtual(main)


def test_polls_after_a_stop_still_wait_until_the_line_is_quiet() -> None:
    async def main(loop: VirtualLoop) -> None:
        link, slave = bus()
        poll = asyncio.ensure_future(link.read(9, 3, 0, 10))
        with pytest.raises(LinkTimeout):
            await poll
        tainted_s = loop.time()
        await link.write(1, 50, [1], urgent=True)
        assert slave.asked[-1][0] - tainted_s < 0.01
        await link.read(1, 3, 0, 10)
        assert slave.asked[-1][0] - tainted_s >= 0.3 - 1e-9

    run_virtual(main)
