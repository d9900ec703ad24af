"""Can an answer that comes after any delay be taken for another question's, and how soon is its unit well again?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_link_helpers import FakeSlave, bus

from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.errors import BridgeError, FrameError, LinkTainted, LinkTimeout, Mismatch
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.links.modbus_debts import BOUND_S
from firmware_bridge.register_map import load_map
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.plant.power import Meter
from hil_sim.world.wire import lay_virtual

FAILS = (LinkTimeout, FrameError, Mismatch, LinkTainted)
DELAYS_S = (0.3, 0.31, 0.45, 0.58, 0.62, 0.8, 1.0, 1.3, 2.0, 3.3, 5.0)
READS = ("read", "read input")
KINDS = (*READS, "write", "write block")


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: main())


class LateLine:
    """A line that keeps its order: an answer that is held up by `late_s` holds up those behind it."""

    def __init__(self, slave: FakeSlave) -> None:
        self.slave = slave
        self.late_s: float | None = 0.0  # None: the answer is lost
        self.deaf: frozenset[int] = frozenset()  # functions that the device says nothing to
        self._due_s = 0.0
        slave.registers = {unit: {address: 1000 * unit + address for address in range(400)} for unit in (1, 2)}
        slave.twist = self._hold_up

    def _hold_up(self, unit: int, pdu: bytes, reply: bytes) -> list[tuple[float, bytes]]:
        if pdu[0] in self.deaf or self.late_s is None:
            return []
        soon_s = self.slave.loop.time() + (len(pdu) + 3 + len(reply)) * self.slave.byte_time_s + self.slave.delay_s
        self._due_s = max(self._due_s + len(reply) * self.slave.byte_time_s, soon_s + self.late_s)
        return [(self._due_s - soon_s, reply)]


def late_line() -> tuple[ModbusLink, FakeSlave, LateLine]:
    link, slave = bus()
    return link, slave, LateLine(slave)


async def ask(link: ModbusLink, slave: FakeSlave, kind: str, address: int, count: int, token: int) -> bool:
    """One question, each write of new values. False if it ended in an error; a wrong value is no such end."""
    table = slave.registers[1]
    try:
        if kind in READS:
            words = await link.read(1, 3 if kind == "read" else 4, address, count)
            assert words == [table[address + i] for i in range(count)]
        else:
            values = [token + i for i in range(1 if kind == "write" else count)]
            await link.write(1, address, values, fc=6 if kind == "write" else 16)
            assert [table[address + i] for i in range(len(values))] == values
    except FAILS:
        return False
    return True


@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_one_held_up_chunk_of_a_meter_makes_no_wrong_value(delay_s: float) -> None:
    for chunk in range(8, 60):

        async def main(loop: VirtualLoop, chunk: int = chunk) -> list[dict[str, float | None] | None]:
            fault = Fault("delay", "bus.to_host", at_chunk=chunk, args=(("delay_s", delay_s),))
            device = Sdm120(Meter())
            await lay_virtual("bus", RtuBus({2: device}, baud=9600), baud=9600, faults=FaultSchedule((fault,)))
            link = await ModbusLink.open("sim:bus", framing="rtu")
            meter = Instrument(link, 2, load_map("eastron_sdm120"), name="meter")
            await meter.identify()
            polls: list[dict[str, float | None] | None] = []
            for _ in range(40):
                try:
                    polls.append({name: reading.value for name, reading in (await meter.poll()).items()})
                except BridgeError:
                    polls.append(None)
                await asyncio.sleep(0.05)
            return polls

        polls = run_virtual(main)
        assert isinstance(polls[-1], dict), "the meter is not well again"
        for poll in polls:
            assert poll is None or poll == polls[-1], (chunk, poll)
        assert polls[-1]["voltage_v"] == pytest.approx(230.0, abs=1.0) and polls[-1]["current_a"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_one_late_answer_is_nobodys_and_two_requests_later_all_is_well(kind: str, delay_s: float) -> None:
    async def main() -> None:
        link, slave, line = late_line()
        assert await ask(link, slave, "read", 300, 2, 0)
        line.late_s = delay_s
        await ask(link, slave, kind, 10, 2, 5000)
        line.late_s = 0.0
        ends_s = slave.loop.time() + delay_s
        after: list[bool] = []
        for i in range(40):
            begins_s = slave.loop.time()
            is_well = await ask(link, slave, kind, 20, 2, 6000 + 10 * i)
            if begins_s > ends_s:
                after.append(is_well)
        assert True in after[:2] and all(after[2:]), after

    virtually(main)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_answers_that_are_all_late_are_never_off_by_one(kind: str, delay_s: float) -> None:
    async def main() -> None:
        link, slave, line = late_line()
        assert await ask(link, slave, "read", 300, 2, 0)
        line.late_s = delay_s
        for i in range(25):
            await ask(link, slave, kind, 10 + 3 * i if kind in READS else 20, 2, 5000 + 10 * i)
        line.late_s = 0.0
        await asyncio.sleep(delay_s + 0.5)
        after = [await ask(link, slave, kind, 30 + i, 2, 9000 + i) for i in range(6)]
        assert True in after[:2] and all(after[2:]), after

    virtually(main)


STEP = st.tuples(
    st.sampled_from(("read", *KINDS)),
    st.sampled_from([0.0, 0.0, 0.0, None, 0.58, 0.62, 1.3]) | st.floats(0.3, 5.0),
    st.integers(0, 200),
    st.integers(1, 2),  # few lengths: many answers that look alike
    st.sampled_from([False, False, False, True]),
)


@given(steps=st.lists(STEP, min_size=8, max_size=30), deaf=st.sampled_from([(), (1, 2), (1, 2, 4)]))
@settings(max_examples=150, deadline=None)
def test_any_delays_in_any_order_make_no_wrong_value(
    steps: list[tuple[str, float | None, int, int, bool]], deaf: tuple[int, ...]
) -> None:
    """Late, lost and given up by the caller in any order, of a device that may say nothing to other functions."""

    async def main() -> None:
        link, slave, line = late_line()
        line.deaf = frozenset(deaf)
        for i, (kind, late_s, address, count, is_cancelled) in enumerate(steps):
            if kind == "read input" and 4 in deaf:
                kind = "read"
            line.late_s = late_s
            question = asyncio.ensure_future(ask(link, slave, kind, address, count, 5000 + 10 * i))
            if is_cancelled:
                await asyncio.sleep(0.01)
                question.cancel()
            await asyncio.gather(question, return_exceptions=True)
            if not question.cancelled() and (error := question.exception()) is not None:
                raise error
        line.late_s = 0.0
        await asyncio.sleep(35.0)
        assert await ask(link, slave, "read", 0, 2, 0)

    virtually(main)


@pytest.mark.parametrize("deaf", [{4}, {1, 2, 4}], ids=str)
@pytest.mark.parametrize("kind", ["read", "write", "write block"])
def test_a_unit_that_says_nothing_to_other_functions_is_well_after_two_requests(deaf: set[int], kind: str) -> None:
    async def main() -> None:
        link, slave, line = late_line()
        line.deaf = frozenset(deaf)
        assert await ask(link, slave, "read", 0, 2, 0)
        for i in range(3):
            line.late_s = None
            assert not await ask(link, slave, kind, 10, 2, 5000 + 10 * i)
            line.late_s = 0.0
            after = [await ask(link, slave, kind, 10, 2, 6000 + 100 * i + 10 * k) for k in range(4)]
            assert True in after[:2] and all(after[2:]), after

    virtually(main)


@pytest.mark.parametrize("function", [6, 16])
@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_a_stop_is_sent_at_once_and_believed_by_its_own_echo(function: int, delay_s: float) -> None:
    """A write to the same register, whose echo looks the same, is owed: the stop does not wait, its success does."""

    async def main() -> None:
        link, slave, line = late_line()
        assert await link.read(1, 3, 0, 2)
        line.late_s = delay_s
        with pytest.raises(LinkTimeout):
            await link.write(1, 50, [1], fc=function)
        line.late_s = None
        is_heard: list[int] = []
        slave.on_write = lambda unit, address, value: is_heard.append(value)
        began_s, asked = slave.loop.time(), len(slave.asked)
        stop = asyncio.ensure_future(link.write(1, 50, [1], fc=function, urgent=True))
        await asyncio.sleep(0.01)
        assert slave.asked[asked][2][0] == function and slave.asked[asked][0] - began_s < 0.01
        line.late_s = 0.0
        slave.registers[1][50] = 0  # as if the line had eaten it, and only the old echo came
        try:
            await stop
        except FAILS:
            return
        assert slave.registers[1][50] == 1, "an old echo was taken for the stop's"

    virtually(main)


def test_a_late_unit_costs_its_neighbours_no_probe() -> None:
    async def main() -> None:
        link, _, line = late_line()
        line.late_s = None
        with pytest.raises(LinkTimeout):
            await link.read(1, 3, 0, 2)
        line.late_s = 0.0
        assert await link.read(2, 3, 5, 2) == [2005, 2006]
        assert link.counters.probes == 0
        assert await link.read(1, 3, 5, 2) == [1005, 1006]
        assert await link.read(1, 3, 7, 2) == [1007, 1008]
        assert link.counters.probes == 1

    virtually(main)


def test_another_functions_answer_settles_what_is_owed_and_so_does_time() -> None:
    async def main() -> None:
        link, _, line = late_line()
        for settles in (lambda: link.read(1, 4, 9, 1), lambda: asyncio.sleep(BOUND_S)):
            line.late_s = None
            with pytest.raises(LinkTimeout):
                await link.read(1, 3, 0, 2)
            line.late_s = 0.0
            await settles()
            assert await link.read(1, 3, 5, 2) == [1005, 1006]
            assert link.counters.probes == 0

    virtually(main)


def test_a_dead_unit_of_any_patience_is_only_ever_a_timeout() -> None:
    async def main() -> None:
        link, _, line = late_line()
        line.late_s = None
        for i in range(400):
            with pytest.raises(LinkTimeout):
                await link.read(1, 3 if i % 3 else 4, i % 50, 2)
        line.late_s = 0.0
        assert await link.read(1, 3, 5, 2) == [1005, 1006]
        assert await link.read(1, 4, 5, 2) == [1005, 1006]

    virtually(main)


def test_tcp_numbers_its_answers_and_asks_no_probe() -> None:
    async def main() -> None:
        link, slave = bus("tcp")
        slave.twist = lambda unit, pdu, reply: [(1.3, reply)]
        with pytest.raises(LinkTimeout):
            await link.read(1, 3, 0, 2)
        slave.twist = lambda unit, pdu, reply: None
        assert await link.read(1, 3, 5, 2) == [1005, 1006]
        assert link.counters.probes == 0 and len(slave.asked) == 2

    virtually(main)
