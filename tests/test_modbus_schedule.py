"""Does a dead unit leave the others of its bus their rate, and does a safe-write go ahead of every poll?"""

from __future__ import annotations

import asyncio
import functools
import itertools
from dataclasses import dataclass

import pytest
from modbus_link_helpers import FakeSlave, bus

from control.polling import Poller, PollTurn
from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.errors import BridgeError, LinkTimeout
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import Reading
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop

MAP = load_map("kipp_smp11")
SUN = dict(enumerate([603, 100, 1, 0, 0, 997, 997, 0, 248, 234]))
SPAN_S = 200.0


@dataclass
class Result:
    """How often each unit was answered in the span, and how the bus was used."""

    answered: dict[str, int]
    asked: list[tuple[float, int]]


def bus_of(units: int, *, baud: int) -> tuple[ModbusLink, FakeSlave]:
    link, slave = bus(byte_time_s=10 / baud, delay_s=0.005)
    slave.registers = {unit: dict(SUN) for unit in range(1, units + 1)}
    return link, slave


@functools.cache
def polled(dead: frozenset[int], *, units: int = 4, rate_hz: float = 5.0, baud: int = 19200) -> Result:
    """A bus of pyranometers, each polled at `rate_hz`, some of which never answer."""
    answered: dict[str, int] = {str(unit): 0 for unit in range(1, units + 1)}
    failures: list[str] = []

    def publish(name: str, _readings: dict[str, Reading]) -> None:
        answered[name] += 1

    def failed(name: str, error: BridgeError, _in_a_row: int) -> None:
        assert isinstance(error, LinkTimeout)
        failures.append(name)

    async def main(loop: VirtualLoop) -> Result:
        link, slave = bus_of(units, baud=baud)
        for unit in dead:
            del slave.registers[unit]
        turns = [PollTurn(str(unit), Instrument(link, unit, MAP), lambda: 1 / rate_hz) for unit in range(1, units + 1)]
        poller = asyncio.ensure_future(Poller("bus0", turns, publish, failed).run())
        await asyncio.sleep(SPAN_S)
        poller.cancel()
        await asyncio.gather(poller, return_exceptions=True)
        assert set(failures) == {str(unit) for unit in dead}
        return Result(answered, [(at_s, unit) for at_s, unit, _ in slave.asked])

    return run_virtual(main)


def test_the_plan_fits_when_all_are_well() -> None:
    assert min(polled(frozenset()).answered.values()) >= 5.0 * SPAN_S - 2


@pytest.mark.parametrize("dead", [{1}, {4}, {1, 2}, {1, 3, 4}], ids=str)
def test_the_others_lose_less_than_a_tenth_of_their_rate(dead: set[int]) -> None:
    well = polled(frozenset()).answered
    result = polled(frozenset(dead))
    for name, polls in result.answered.items():
        if int(name) in dead:
            assert polls == 0
        else:
            assert polls > 0.9 * well[name], f"unit {name} was answered {polls} times, {well[name]} without a dead one"


def test_a_dead_unit_is_known_soon_and_still_looked_for() -> None:
    result = polled(frozenset({2}))
    at_s = [at_s for at_s, unit in result.asked if unit == 2]
    assert at_s[2] < 3.0, "three polls in a row have failed within seconds"
    gaps = [later - earlier for earlier, later in itertools.pairwise(at_s[3:])]
    assert gaps and max(gaps) < 20.0


def test_a_unit_that_comes_back_is_polled_at_its_rate_again() -> None:
    seen: list[float] = []

    async def main(loop: VirtualLoop) -> None:
        link, slave = bus_of(3, baud=19200)
        del slave.registers[2]
        turns = [PollTurn(str(unit), Instrument(link, unit, MAP), lambda: 0.2) for unit in (1, 2, 3)]
        poller = Poller(
            "bus0", turns, lambda name, _: seen.append(loop.time()) if name == "2" else None, lambda *_: None
        )
        task = asyncio.ensure_future(poller.run())
        await asyncio.sleep(60.0)
        slave.registers[2] = dict(SUN)
        await asyncio.sleep(60.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main)
    assert seen[0] < 60.0 + 20.0
    gaps = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert max(gaps) < 0.25


def test_a_safe_write_waits_for_no_more_than_the_transaction_in_flight() -> None:
    """With every turn of a busy bus waiting, a silent unit among them: the write goes out next, whatever it meets."""

    async def main(loop: VirtualLoop) -> None:
        link, slave = bus_of(4, baud=19200)
        longest_s = (8 + 21) * 10 / 19200 + 0.005 + 0.002
        for _ in range(50):
            polls = [asyncio.ensure_future(link.read(unit, 4, 2, 8)) for unit in (1, 2, 3, 4) for _ in range(8)]
            await asyncio.sleep(0.031)
            asked = len(slave.asked)
            began_s = loop.time()
            slave.registers[1][50] = 0
            await link.write(1, 50, [1], urgent=True)
            sent_s = next(at_s for at_s, _, pdu in slave.asked[asked:] if pdu[0] == 6)
            assert sent_s - began_s <= longest_s, "more than one transaction went before the safe-write"
            assert slave.asked[asked][2][0] == 6, "a poll went before the safe-write"
            await asyncio.gather(*polls)

    run_virtual(main)


def test_a_safe_write_keeps_its_retries_though_its_unit_is_silent() -> None:
    async def main(loop: VirtualLoop) -> None:
        link, slave = bus_of(1, baud=19200)
        kept = slave.registers.pop(1)
        for _ in range(2):
            with pytest.raises(LinkTimeout):
                await link.read(1, 4, 2, 8, retries=1)
        assert len(slave.asked) == 3, "a silent unit's polls are not retried"
        slave.registers[1] = kept
        slave.registers[1][50] = 0
        drops = [1]
        slave.twist = lambda unit, pdu, good: [] if drops and drops.pop() else None
        await link.write(1, 50, [1], retries=1, urgent=True)
        assert slave.registers[1][50] == 1

    run_virtual(main)
