"""Does the TCP slave cut its stream into requests and answer each with its own transaction?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_slave_helpers import Ear, Tables, mbap

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.modbus_slave import PENDING_MAX, TcpSlave

READ = "04 0000 0001"
REPLY = "04 02 03E8"


def with_slave(script: Callable[[TcpSlave, Any, Ear], Any], delay_s: float = 0.0) -> TcpSlave:
    async def main(loop: VirtualLoop) -> TcpSlave:
        device = Tables()
        device.reply_delay_s = delay_s
        slave, ear = TcpSlave({1: device}), Ear()
        await script(slave, slave.attach(ear), ear)
        return slave

    return run_virtual(main)


def test_pipelined_requests_keep_transaction_and_order() -> None:
    async def script(slave: TcpSlave, session: Any, ear: Ear) -> None:
        session.received(b"".join(mbap(n, 1, READ) for n in (7, 3, 65535)) + mbap(9, 1, READ)[:5])
        await asyncio.sleep(0.1)
        assert ear.frames == [mbap(n, 1, REPLY) for n in (7, 3, 65535)]
        assert [t for t, _ in ear.heard] == pytest.approx([0.002, 0.004, 0.006])  # one is worked at a time
        session.received(mbap(9, 1, READ)[5:])
        await asyncio.sleep(0.1)
        assert ear.frames[3:] == [mbap(9, 1, REPLY)]

    with_slave(script, 0.002)


def test_a_foreign_protocol_is_dropped_and_the_next_request_served() -> None:
    async def script(slave: TcpSlave, session: Any, ear: Ear) -> None:
        session.received(mbap(1, 1, READ, protocol=1) + mbap(2, 1, READ))
        await asyncio.sleep(0.1)
        assert ear.frames == [mbap(2, 1, REPLY)]

    assert with_slave(script).counters.dropped == 1


@pytest.mark.parametrize("unit", [0, 2, 255])
def test_an_unknown_unit_is_0b(unit: int) -> None:
    async def script(slave: TcpSlave, session: Any, ear: Ear) -> None:
        session.received(mbap(1, unit, "06 0000 0001"))
        await asyncio.sleep(0.1)
        assert ear.frames == [mbap(1, unit, "86 0B")]

    assert with_slave(script).units[1].holding[0] == 0  # type: ignore[attr-defined]


def test_exceptions_keep_their_function() -> None:
    async def script(slave: TcpSlave, session: Any, ear: Ear) -> None:
        for n, pdu in enumerate(("03 0000 0000", "2B 0E 01 00", "05 0000 1234", "04 FFFF 0002")):
            session.received(mbap(n, 1, pdu))
        await asyncio.sleep(0.1)
        assert ear.frames == [mbap(n, 1, pdu) for n, pdu in enumerate(("83 03", "AB 01", "85 03", "84 02"))]

    with_slave(script)


@pytest.mark.parametrize("length", [0, 1, 255, 0xFFFF])
def test_an_impossible_length_empties_the_stream(length: int) -> None:
    async def script(slave: TcpSlave, session: Any, ear: Ear) -> None:
        session.received(b"\x00\x01\x00\x00" + length.to_bytes(2, "big") + b"\x01\x03" * 5)
        session.received(mbap(2, 1, READ))
        await asyncio.sleep(0.1)
        assert ear.frames == [mbap(2, 1, REPLY)]

    with_slave(script)


def test_a_request_that_stays_half_is_forgotten() -> None:
    async def script(slave: TcpSlave, session: Any, ear: Ear) -> None:
        session.received(mbap(1, 1, READ)[:9])
        await asyncio.sleep(1.0)
        session.received(mbap(2, 1, READ))
        await asyncio.sleep(0.1)
        assert ear.frames == [mbap(2, 1, REPLY)]

    with_slave(script)


def test_what_one_connection_may_ask_at_once_is_bounded() -> None:
    async def script(slave: TcpSlave, session: Any, ear: Ear) -> None:
        session.received(b"".join(mbap(n, 1, READ) for n in range(100)))
        await asyncio.sleep(1.0)
        assert ear.frames == [mbap(n, 1, REPLY) for n in range(PENDING_MAX)]
        session.received(mbap(200, 1, READ))
        await asyncio.sleep(1.0)
        assert ear.frames[-1] == mbap(200, 1, REPLY)

    with_slave(script, 0.002)


def test_connections_are_counted_and_a_third_is_refused() -> None:
    async def main(loop: VirtualLoop) -> None:
        slave, ears = TcpSlave({1: Tables()}, max_connections=2), [Ear(), Ear()]
        first, second = (slave.attach(ear) for ear in ears)
        with pytest.raises(ConnectionRefusedError):
            slave.attach(Ear())
        first.received(mbap(1, 1, READ))
        second.received(mbap(2, 1, READ))
        await asyncio.sleep(0.1)
        assert [ear.frames for ear in ears] == [[mbap(1, 1, REPLY)], [mbap(2, 1, REPLY)]]
        first.closed()
        slave.attach(Ear())

    run_virtual(main)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([READ, "03 0000 0000", "06 0001 0002", "99"]), max_size=6), st.data())
def test_any_cut_of_the_stream_gives_the_same_replies(pdus: list[str], data: st.DataObject) -> None:
    stream = b"".join(mbap(n, 1, pdu) for n, pdu in enumerate(pdus))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))

    def replies(edges: list[int]) -> list[bytes]:
        heard: list[bytes] = []

        async def script(slave: TcpSlave, session: Any, ear: Ear) -> None:
            for start, end in zip([0, *edges], [*edges, len(stream)]):
                session.received(stream[start:end])
            await asyncio.sleep(1.0)
            heard.extend(ear.frames)

        with_slave(script)
        return heard

    assert replies(cuts) == replies([])
