"""Does the RTU slave find its frames by silence, and stay silent where it must?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from modbus_slave_helpers import Ear, Tables, rtu

from firmware_bridge.transport import open_transport
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.wire import lay_virtual

CHAR_S = 10 / 9600
READ = "03 0000 0001"
ZERO = rtu(1, "03 02 0000")


def on_a_bus(
    script: Callable[[RtuBus, Any, Ear], Any], *, baud: int = 9600, delay_s: float = 0.0, **options: Any
) -> tuple[RtuBus, Ear]:
    """Run `script(bus, say, ear)`; `say(data, gap_s)`: silence, then `data`, handed over with its last byte."""
    left: list[Any] = []

    async def main(loop: VirtualLoop) -> None:
        units = {1: Tables(), 2: Tables()}
        for device in units.values():
            device.reply_delay_s = delay_s
        bus, ear = RtuBus(units, baud=baud, **options), Ear()
        session = bus.attach(ear)

        async def say(data: bytes, gap_s: float = 0.1) -> float:
            await asyncio.sleep(gap_s + len(data) * 10 / baud)
            session.received(data)
            return loop.time()

        await script(bus, say, ear)
        await asyncio.sleep(1.0)
        session.closed()
        left.extend((bus, ear))

    run_virtual(main)
    return left[0], left[1]


def test_a_frame_is_served_when_it_is_closed_by_silence_and_not_before() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        end_s = await say(rtu(1, READ))
        await asyncio.sleep(3.4 * CHAR_S)
        assert ear.frames == []
        await asyncio.sleep(0.2 * CHAR_S)
        assert ear.frames == [ZERO]
        assert ear.heard[0][0] == pytest.approx(end_s + 3.5 * CHAR_S)

    on_a_bus(script)


def test_above_19200_the_silence_is_fixed() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        end_s = await say(rtu(1, READ))
        await asyncio.sleep(0.01)
        assert ear.heard[0][0] == pytest.approx(end_s + 0.00175)

    on_a_bus(script, baud=115200)


def test_the_reply_delay_counts_from_the_last_byte() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        end_s = await say(rtu(1, READ))
        await asyncio.sleep(0.1)
        assert ear.heard[0][0] == pytest.approx(end_s + 0.02)

    on_a_bus(script, delay_s=0.02)


def test_several_units_answer_for_themselves_and_a_foreign_one_is_silence() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        await say(rtu(1, "06 0000 0011"))
        await say(rtu(2, "06 0000 0022"))
        await say(rtu(3, READ))
        await say(rtu(1, READ))
        await say(rtu(2, READ))

    bus, ear = on_a_bus(script)
    assert ear.frames[2:] == [rtu(1, "03 02 0011"), rtu(2, "03 02 0022")]
    assert bus.counters.foreign == 1


def test_a_broadcast_is_executed_by_all_and_answered_by_none() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        await say(rtu(0, "06 0005 00AA"))
        await say(rtu(0, "0F 0000 0003 01 05"))
        await say(rtu(0, READ))
        await say(rtu(0, "17 0000 0001 0006 0001 02 00BB"))  # it would have to be answered
        await say(rtu(0, "06 FFFF 0001"))

    bus, ear = on_a_bus(script)
    assert ear.frames == []
    for device in bus.units.values():
        assert device.holding[5] == 0xAA and device.holding[6] == 0  # type: ignore[attr-defined]
        assert device.coils[:3] == [True, False, True]  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["flip", "cut", "short", "noise"])
def test_what_is_damaged_is_met_with_silence_and_the_next_frame_is_served(damage: str) -> None:
    good = rtu(1, READ)
    bad = {
        "flip": good[:3] + bytes([good[3] ^ 1]) + good[4:],
        "cut": good[:5],
        "short": b"\x01",
        "noise": b"\x00\xff\x81",
    }[damage]

    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        await say(bad)
        assert ear.frames == []
        await say(good, 3.6 * CHAR_S)

    bus, ear = on_a_bus(script)
    assert ear.frames == [ZERO]
    assert bus.counters.bad_crc == 1


def test_noise_right_before_a_frame_costs_that_frame_only() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        await say(b"\x55\x55" + rtu(1, READ))
        await say(rtu(1, READ))

    assert on_a_bus(script)[1].frames == [ZERO]


def test_a_gap_over_one_and_a_half_characters_voids_a_frame() -> None:
    async def torn(bus: RtuBus, say: Any, ear: Ear, gap: float) -> None:
        frame = rtu(1, READ)
        await say(frame[:4])
        await say(frame[4:], gap * CHAR_S)
        await say(rtu(1, "03 0001 0001"))

    bus, ear = on_a_bus(lambda bus, say, ear: torn(bus, say, ear, 1.4))
    assert len(ear.frames) == 2 and bus.counters.voided == 0
    bus, ear = on_a_bus(lambda bus, say, ear: torn(bus, say, ear, 1.6))
    assert len(ear.frames) == 1 and bus.counters.voided == 1
    bus, ear = on_a_bus(lambda bus, say, ear: torn(bus, say, ear, 3.6))  # two frames, both broken
    assert len(ear.frames) == 1 and bus.counters.bad_crc == 2


def test_a_frame_that_comes_byte_by_byte_is_one_frame() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        for byte in rtu(1, READ):
            await say(bytes([byte]), 0.0)

    bus, ear = on_a_bus(script)
    assert ear.frames == [ZERO] and bus.counters.frames == 1


def test_an_untrusted_wire_may_tear_frames() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        frame = rtu(1, READ)
        await say(frame[:3])
        await say(frame[3:], 0.012)  # far over t3.5, within 50 ms: the machine was busy
        await asyncio.sleep(0.1)
        assert ear.frames == [ZERO]
        await say(frame[:5])  # a truncated frame, and then a good one
        await say(frame, 0.02)
        await asyncio.sleep(0.1)
        assert len(ear.frames) == 2
        await say(frame[:5])
        await say(frame[5:], 0.06)  # too late to be the rest
        await say(frame, 0.06)

    bus, ear = on_a_bus(script, exact_timing=False)
    assert bus.silence_s >= 0.005
    assert ear.frames == [ZERO] * 3


def test_an_endless_stream_is_bounded_and_over_when_it_is_over() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        for _ in range(40):
            await say(b"\xa5" * 50, 0.0)
        await say(rtu(1, READ))

    bus, ear = on_a_bus(script)
    assert ear.frames == [ZERO] and bus.counters.voided == 1


def test_a_unit_that_still_owes_a_reply_does_not_hear_the_next_request() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        await say(rtu(1, "06 0000 0001"))
        await say(rtu(1, "06 0000 0002"), 0.005)
        await say(rtu(2, "06 0000 0003"), 0.005)

    bus, ear = on_a_bus(script, delay_s=0.2)
    assert ear.frames == [rtu(1, "06 0000 0001"), rtu(2, "06 0000 0003")]
    assert bus.counters.overruns == 1
    assert bus.units[1].holding[0] == 1  # type: ignore[attr-defined]


def test_a_host_that_leaves_gets_nothing_more() -> None:
    async def main(loop: VirtualLoop) -> None:
        bus, ear = RtuBus({1: Tables()}, baud=9600), Ear()
        bus.units[1].reply_delay_s = 0.1
        session = bus.attach(ear)
        session.received(rtu(1, READ))
        await asyncio.sleep(0.05)
        session.closed()
        again = bus.attach(ear)
        again.received(rtu(1, READ))
        await asyncio.sleep(0.5)
        assert ear.frames == [ZERO]
        session.received(rtu(1, READ))
        await asyncio.sleep(0.5)
        assert len(ear.frames) == 1

    run_virtual(main)


def test_unit_addresses_are_checked() -> None:
    for unit in (0, 248, 256):
        with pytest.raises(ValueError, match="outside"):
            RtuBus({unit: Tables()}, baud=9600)


GOLDEN = [  # (unit, request PDU, whole reply frame as the manuals print it)
    ("Kipp & Zonen SMP p. 46", "01", "04 0002 0008", "01 04 10 00 01 00 00 00 00 03 E5 03 E5 00 00 00 F8 00 EA 66 12"),
    ("Delta MS300 p. 794", "01", "06 0FFF 0001", "01 86 02 C3 A1"),
]


@pytest.mark.parametrize(("name", "unit", "request_pdu", "reply"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_golden_frames(name: str, unit: str, request_pdu: str, reply: str) -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        bus.units[1].input[2:10] = [1, 0, 0, 997, 997, 0, 248, 234]  # type: ignore[attr-defined]
        await say(rtu(int(unit, 16), request_pdu))

    assert on_a_bus(script)[1].frames == [bytes.fromhex(reply)]


def test_pseudo_modbus_is_refused() -> None:
    async def script(bus: RtuBus, say: Any, ear: Ear) -> None:
        await say(bytes.fromhex("80 00 40 73 9E"))  # RoboClaw
        await say(bytes.fromhex("04 01 03 01 00 00 6D DB"))  # Huanyang; what a unit 4 would say: test_modbus_slave_pdu

    assert on_a_bus(script)[1].frames == []


def test_over_a_paced_wire_a_request_written_in_pieces_is_one_frame() -> None:
    class Host:
        def __init__(self) -> None:
            self.heard = bytearray()

        def data_received(self, data: bytes) -> None:
            self.heard += data

        def connection_lost(self, error: Exception | None) -> None:
            pass

    async def main(loop: VirtualLoop) -> None:
        bus, host = RtuBus({1: Tables(), 2: Tables()}, baud=9600), Host()
        wire = await lay_virtual("bus0", bus, baud=9600)
        transport = await open_transport(wire.url, host)
        request = rtu(2, "10 0000 0003 06 0001 0002 0003")
        transport.write(request[:7])
        transport.write(request[7:])
        await asyncio.sleep(0.1)
        assert bytes(host.heard) == rtu(2, "10 0000 0003")
        transport.write(rtu(2, "03 0000 0003"))
        await asyncio.sleep(0.1)
        assert bytes(host.heard) == rtu(2, "10 0000 0003") + rtu(2, "03 06 0001 0002 0003")
        assert (bus.counters.bad_crc, bus.counters.voided) == (0, 0)
        transport.close()
        wire.close()

    run_virtual(main)
