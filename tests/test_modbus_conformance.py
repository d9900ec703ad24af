"""Does the emulated slave keep every rule of the Modbus specifications, on a serial line and over TCP alike?

One table. A row says what a master puts on the wire, in pieces with silence between them, and what it must hear. A row
of an application rule (`rule`) is walked for both framings; a row of a framing's own rule for that one. The rules:
Application Protocol V1.1b3, Serial Line V1.02, Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
from modbus_slave_helpers import Ear, Tables, mbap, rtu

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave

BAUD = 9600
CHAR_S = 10 / BAUD
PAUSE = 40.0  # characters of silence that part two frames beyond doubt
LONG = 120.0  # more than the 100 ms that a master leaves after a broadcast


class Everything(Tables):
    """Tables of 200, every function that the list names, and an identity."""

    functions = Tables.functions | {8, 43}
    identification = MappingProxyType(
        {0: b"moonkiln", 1: b"tables", 2: b"1.0", 3: b"https://example.org", 0x80: b"x" * 120, 0x81: b"y" * 125}
    )


@dataclass(frozen=True)
class Row:
    """`said`: (characters of silence before, bytes); `heard`: whole frames, in order."""

    name: str
    framing: str
    said: tuple[tuple[float, bytes], ...]
    heard: tuple[bytes, ...]


def rule(name: str, *exchanges: str) -> Iterator[Row]:
    """`REQUEST -> REPLY` as PDUs in hex, one after the other to unit 1, in both framings."""
    pairs = [tuple(bytes.fromhex(side) for side in exchange.split("->")) for exchange in exchanges]
    yield Row(
        name,
        "rtu",
        tuple((PAUSE, rtu(1, request)) for request, _ in pairs),
        tuple(rtu(1, reply) for _, reply in pairs),
    )
    yield Row(
        name,
        "tcp",
        tuple((PAUSE, mbap(n, 1, request)) for n, (request, _) in enumerate(pairs)),
        tuple(mbap(n, 1, reply) for n, (_, reply) in enumerate(pairs)),
    )


def on_line(name: str, said: Sequence[tuple[float, bytes]], heard: Sequence[bytes]) -> Iterator[Row]:
    yield Row(name, "rtu", tuple(said), tuple(heard))


def on_tcp(name: str, said: Sequence[bytes], heard: Sequence[bytes]) -> Iterator[Row]:
    yield Row(name, "tcp", tuple((PAUSE, data) for data in said), tuple(heard))


READ = "03 0000 0001"
ZERO = "03 02 0000"
ASK, SAY = rtu(1, READ), rtu(1, ZERO)
FLIPPED = ASK[:3] + bytes([ASK[3] ^ 0x10]) + ASK[4:]
HOLDS_7, SEVEN = rtu(1, "06 0000 0007"), rtu(1, "03 02 0007")
ENDS_16 = "10 0000 007B F6" + "00" * 246
ENDS_23 = "17 0000 007D 0000 0079 F2" + "00" * 242

TABLE = [
    # ---- quantities: structure, so 03
    *rule("FC01 takes 1 to 2000 coils", "01 0000 0000 -> 81 03", "01 0000 07D1 -> 81 03", "01 0000 FFFF -> 81 03"),
    *rule("FC02 takes 1 to 2000 inputs", "02 0000 0000 -> 82 03", "02 0000 07D1 -> 82 03"),
    *rule("FC03 takes 1 to 125 registers", "03 0000 0000 -> 83 03", "03 0000 007E -> 83 03", "03 0000 0101 -> 83 03"),
    *rule("FC04 takes 1 to 125 registers", "04 0000 0000 -> 84 03", "04 0000 007E -> 84 03"),
    *rule("FC15 takes 1 to 1968 coils", "0F 0000 0000 00 -> 8F 03", "0F 0000 07B1 F7 00 -> 8F 03"),
    *rule("FC16 takes 1 to 123 registers", "10 0000 0000 00 -> 90 03", "10 0000 007C F8 0000 -> 90 03"),
    *rule("FC23 reads 1 to 125", "17 0000 0000 0000 0001 02 0000 -> 97 03", "17 0000 007E 0000 0001 02 0000 -> 97 03"),
    *rule("FC23 writes 1 to 121", "17 0000 0001 0000 0000 00 -> 97 03", "17 0000 0001 0000 007A F4 0000 -> 97 03"),
    *rule("a quantity that is wrong is told before an address that is", "03 FFFF 0000 -> 83 03",
          "01 FFFF 07D1 -> 81 03"),
    *rule("the largest FC03 and FC04", "03 0000 007D -> 03 FA" + "00" * 250),
    *rule("the largest FC16", f"{ENDS_16} -> 10 0000 007B"),
    *rule("the largest FC23", f"{ENDS_23} -> 17 FA" + "00" * 250),
    *rule("200 coils are 25 bytes", "01 0000 00C8 -> 01 19" + "00" * 25),
    # ---- addresses: 02, and never a shorter answer
    *rule("FC01 past the end", "01 00C7 0002 -> 81 02", "01 00C8 0001 -> 81 02", "01 FFFF 0002 -> 81 02"),
    *rule("FC02 past the end", "02 00C7 0002 -> 82 02", "02 FFFF 0002 -> 82 02"),
    *rule("FC03 past the end", "03 00C7 0002 -> 83 02", "03 FFFF 0001 -> 83 02", "03 FFFF 0002 -> 83 02"),
    *rule("FC04 past the end", "04 00C7 0002 -> 84 02", "04 FFFF 0002 -> 84 02"),
    *rule("the last register is there", "04 00C7 0001 -> 04 02 04AF"),
    *rule("FC05 past the end", "05 00C8 FF00 -> 85 02"),
    *rule("FC06 past the end", "06 00C8 0001 -> 86 02", "06 FFFF 0001 -> 86 02"),
    *rule("FC15 past the end", "0F 00C7 0002 01 03 -> 8F 02", "0F FFFF 0002 01 03 -> 8F 02",
          "01 00C7 0001 -> 01 01 00"),
    *rule("FC16 past the end", "10 00C7 0002 04 00010002 -> 90 02", "10 FFFF 0002 04 00010002 -> 90 02",
          "03 00C7 0001 -> 03 02 0000"),
    *rule("FC22 past the end", "16 00C8 FFFF 0000 -> 96 02"),
    *rule("FC23 past either end writes nothing", "17 00C7 0002 0000 0001 02 0005 -> 97 02",
          "17 0000 0001 00C7 0002 04 00050005 -> 97 02", "17 FFFF 0002 0000 0001 02 0005 -> 97 02",
          f"{READ} -> {ZERO}"),
    # ---- values and byte counts
    *rule("FC05 knows FF00 and 0000 only", "05 0000 1234 -> 85 03", "05 0000 0001 -> 85 03", "05 0000 FF01 -> 85 03",
          "05 0000 00FF -> 85 03", "01 0000 0001 -> 01 01 00"),
    *rule("FC05 on and off", "05 0003 FF00 -> 05 0003 FF00", "01 0000 0004 -> 01 01 08", "05 0003 0000 -> 05 0003 0000",
          "01 0000 0004 -> 01 01 00"),
    *rule("FC15 byte count", "0F 0000 0009 01 FF -> 8F 03", "0F 0000 0008 02 FFFF -> 8F 03", "0F 0000 0008 01 -> 8F 03",
          "01 0000 0009 -> 01 02 0000"),
    *rule("FC16 byte count is twice the registers", "10 0000 0002 03 00010002 -> 90 03",
          "10 0000 0002 04 0001 -> 90 03",
          "10 0000 0001 02 00010002 -> 90 03", "10 0000 0001 04 00010002 -> 90 03", f"{READ} -> {ZERO}"),
    *rule("FC23 byte count", "17 0000 0001 0000 0002 02 0000 -> 97 03", "17 0000 0001 0000 0001 02 00 -> 97 03"),
    *rule("torn and padded requests", "03 0000 -> 83 03", "03 -> 83 03", "06 0000 -> 86 03", "10 0000 0001 -> 90 03",
          "16 0000 -> 96 03", "17 0000 -> 97 03", "0F 0000 0001 -> 8F 03", "03 0000 0001 00 -> 83 03",
          "06 0000 0001 00 -> 86 03", "05 0000 -> 85 03"),
    # ---- what is right
    *rule("FC06 echoes and holds", "06 00C7 ABCD -> 06 00C7 ABCD", "03 00C7 0001 -> 03 02 ABCD"),
    *rule("FC16 answers address and quantity", "10 0001 0002 04 000A0102 -> 10 0001 0002",
          "03 0001 0002 -> 03 04 000A0102"),
    *rule("bits are packed from the lowest: the example of FC15", "0F 0013 000A 02 CD01 -> 0F 0013 000A",
          "01 0013 000A -> 01 02 CD01"),
    *rule("FC02 pads with zeros", "02 0000 000A -> 02 02 4902"),
    *rule("FC22: the example", "06 0004 0012 -> 06 0004 0012", "16 0004 00F2 0025 -> 16 0004 00F2 0025",
          "03 0004 0001 -> 03 02 0017"),
    *rule("FC23 writes before it reads", "17 0000 0002 0001 0001 02 1234 -> 17 04 00001234"),
    *rule("FC08 sub-function 0 returns the data", "08 0000 A537 -> 08 0000 A537", "08 0001 0000 -> 88 01"),
    # ---- functions that are not there
    *rule("an unknown function is FC|80, 01", "07 -> 87 01", "0B -> 8B 01", "0C -> 8C 01", "11 -> 91 01",
          "14 07 06 0004 0001 0002 -> 94 01", "18 0000 -> 98 01", "41 -> C1 01", "64 0000 -> E4 01"),
    *rule("functions 00 and 80 up are nobody's", "00 -> 80 01", "80 -> 80 01", "FF -> FF 01"),
    # ---- 43/14
    *rule("basic identification", "2B 0E 01 00 -> 2B 0E 01 83 00 00 03 00 08" + b"moonkiln".hex() + "01 06"
          + b"tables".hex() + "02 03" + b"1.0".hex()),
    *rule("from an object on", "2B 0E 01 02 -> 2B 0E 01 83 00 00 01 02 03" + b"1.0".hex()),
    *rule("a first object that is not there means all", "2B 0E 01 07 -> 2B 0E 01 83 00 00 03 00 08" + b"moonkiln".hex()
          + "01 06" + b"tables".hex() + "02 03" + b"1.0".hex()),
    *rule("what does not fit follows", "2B 0E 03 80 -> 2B 0E 03 83 FF 81 01 80 78" + b"x".hex() * 120,
          "2B 0E 03 81 -> 2B 0E 03 83 00 00 01 81 7D" + b"y".hex() * 125),
    *rule("one object alone", "2B 0E 04 01 -> 2B 0E 04 83 00 00 01 01 06" + b"tables".hex(), "2B 0E 04 09 -> AB 02"),
    *rule("codes beyond 4, other kinds", "2B 0E 05 00 -> AB 03", "2B 0E 00 00 -> AB 03", "2B 0D 01 00 -> AB 01",
          "2B 0E 01 -> AB 03", "2B -> AB 01"),
    # ---- the line
    *on_line("a foreign unit is met with silence", [(PAUSE, rtu(3, READ)), (PAUSE, rtu(247, READ)), (PAUSE, ASK)],
          [SAY]),
    *on_line("units beyond 247 are nobody's", [(PAUSE, rtu(248, READ)), (PAUSE, rtu(255, READ))], []),
    *on_line("a wrong CRC is met with silence", [(PAUSE, FLIPPED), (PAUSE, ASK)], [SAY]),
    *on_line("a CRC with its bytes swapped is wrong", [(PAUSE, ASK[:-2] + ASK[:-3:-1])], []),
    *on_line("a broadcast is executed and never answered",
             [(PAUSE, rtu(0, "06 0000 0007")), (LONG, ASK), (PAUSE, rtu(2, READ))], [SEVEN, rtu(2, "03 02 0007")]),
    *on_line("FC16, FC15, FC05 and FC22 may be broadcast",
             [(PAUSE, rtu(0, "10 0000 0001 02 00FF")), (LONG, rtu(0, "16 0000 000F 0000")),
              (LONG, rtu(0, "05 0001 FF00")), (LONG, rtu(0, "0F 0002 0002 01 03")),
              (LONG, ASK), (PAUSE, rtu(1, "01 0000 0004"))], [rtu(1, "03 02 000F"), rtu(1, "01 01 0E")]),
    *on_line("a broadcast that is refused is not answered either",
             [(PAUSE, rtu(0, "06 FFFF 0001")), (LONG, rtu(0, "05 0000 1234")), (LONG, rtu(0, "63"))], []),
    *on_line("a read that is broadcast is no request", [(PAUSE, rtu(0, READ)), (LONG, rtu(0, "2B 0E 01 00"))], []),
    *on_line("t3.5 closes a frame: noise, then a good one", [(PAUSE, b"\x81\x00\xff"), (3.6, ASK)], [SAY]),
    *on_line("a truncated frame does not spoil the next", [(PAUSE, ASK[:5]), (3.6, ASK)], [SAY]),
    *on_line("a gap over t1.5 voids a frame", [(PAUSE, ASK[:4]), (1.6, ASK[4:]), (PAUSE, ASK)], [SAY]),
    *on_line("a gap under t1.5 does not", [(PAUSE, ASK[:4]), (1.4, ASK[4:]), (1.4, b"")], [SAY]),
    *on_line("a gap of t3.5 makes two broken frames", [(PAUSE, ASK[:4]), (3.6, ASK[4:])], []),
    *on_line("two requests without a silence between are none", [(PAUSE, ASK + ASK)], []),
    *on_line("noise just before a frame costs that frame", [(PAUSE, b"\x55" + ASK), (PAUSE, ASK)], [SAY]),
    *on_line("over 256 bytes are no frame", [(PAUSE, b"\xa5" * 300), (PAUSE, ASK)], [SAY]),
    *on_line("the shortest frame has four bytes", [(PAUSE, rtu(1, "07")), (PAUSE, b"\x01\x7e\x80")], [rtu(1, "87 01")]),
    # ---- TCP
    *on_tcp("pipelined requests keep their transactions",
            [b"".join(mbap(n, 1, READ) for n in (7, 3, 65535))], [mbap(n, 1, ZERO) for n in (7, 3, 65535)]),
    *on_tcp("one request and half of the next", [mbap(1, 1, READ) + mbap(2, 1, READ)[:5], mbap(2, 1, READ)[5:]],
            [mbap(1, 1, ZERO), mbap(2, 1, ZERO)]),
    *on_tcp("a request byte by byte", [bytes([byte]) for byte in mbap(9, 1, READ)], [mbap(9, 1, ZERO)]),
    *on_tcp("a foreign protocol id is dropped, what follows is served",
            [mbap(1, 1, READ, protocol=1) + mbap(2, 1, READ), mbap(3, 1, READ, protocol=0xFFFF)], [mbap(2, 1, ZERO)]),
    *on_tcp("a unit that is not there is 0B", [mbap(1, 9, READ), mbap(2, 0, "06 0000 0001"), mbap(3, 255, READ)],
            [mbap(1, 9, "83 0B"), mbap(2, 0, "86 0B"), mbap(3, 255, "83 0B")]),
    *on_tcp("a length that cannot be", [bytes.fromhex("0001 0000 0001 01"), bytes.fromhex("0001 0000 0000 01 03"),
                                        bytes.fromhex("0001 0000 00FF 01 03"), mbap(2, 1, READ)], [mbap(2, 1, ZERO)]),
    *on_tcp("a PDU without a function", [bytes.fromhex("0001 0000 0001 01 03"), mbap(2, 1, READ)], [mbap(2, 1, ZERO)]),
    *on_tcp("a write is seen by the read behind it", [mbap(1, 1, "06 0000 0007") + mbap(2, 1, READ)],
            [mbap(1, 1, "06 0000 0007"), mbap(2, 1, "03 02 0007")]),
]  # fmt: skip


def walk(row: Row) -> list[bytes]:
    """What the master hears when it says what the row says."""
    units = {1: Everything(), 2: Everything()}

    async def main(loop: VirtualLoop) -> list[bytes]:
        ear = Ear()
        slave: Any = RtuBus(units, baud=BAUD) if row.framing == "rtu" else TcpSlave(units)
        session = slave.attach(ear)
        for gap, data in row.said:
            await asyncio.sleep((gap + len(data)) * CHAR_S)
            session.received(data)
        await asyncio.sleep(1.0)
        session.closed()
        return ear.frames

    return run_virtual(main)


@pytest.mark.parametrize("row", TABLE, ids=[f"{row.framing}: {row.name}" for row in TABLE])
def test_the_slave_keeps_the_rule(row: Row) -> None:
    assert [frame.hex(" ") for frame in walk(row)] == [frame.hex(" ") for frame in row.heard]


def test_every_function_of_the_list_is_walked_in_both_framings() -> None:
    for framing, at in (("rtu", 1), ("tcp", 7)):
        asked = {data[at] for row in TABLE if row.framing == framing for _, data in row.said if len(data) > at}
        assert {1, 2, 3, 4, 5, 6, 15, 16, 22, 23, 43} <= asked


# ---- counters: what a test may ask about a master's manners


def counted(said: Sequence[tuple[float, bytes]], delay_s: float = 0.0, **options: Any) -> tuple[RtuBus, list[bytes]]:
    async def main(loop: VirtualLoop) -> tuple[RtuBus, list[bytes]]:
        units = {1: Everything(), 2: Everything()}
        for device in units.values():
            device.reply_delay_s = delay_s
        bus, ear = RtuBus(units, baud=BAUD, **options), Ear()
        session = bus.attach(ear)
        for gap, data in said:
            await asyncio.sleep((gap + len(data)) * CHAR_S)
            session.received(data)
        await asyncio.sleep(1.0)
        session.closed()
        return bus, ear.frames

    return run_virtual(main)


SAY_CHARS = len(SAY) + 3.5  # from the end of a request to the end of its reply


@pytest.mark.parametrize(("gap", "crowded"), [(SAY_CHARS + 3.6, 0), (SAY_CHARS + 3.4, 1), (SAY_CHARS - 2.0, 1)])
def test_a_request_too_soon_after_a_reply_is_counted(gap: float, crowded: int) -> None:
    bus, frames = counted([(PAUSE, ASK), (gap, ASK)])
    assert bus.counters.crowded == crowded and len(frames) == 2


def test_on_a_wire_without_exact_timing_nothing_is_held_against_the_master() -> None:
    bus, frames = counted([(PAUSE, ASK), (SAY_CHARS, ASK)], exact_timing=False)
    assert bus.counters.crowded == 0 and len(frames) == 2


@pytest.mark.parametrize(("gap_s", "hasty"), [(0.101, 0), (0.099, 1)])
def test_a_request_too_soon_after_a_broadcast_is_counted(gap_s: float, hasty: int) -> None:
    bus, frames = counted([(PAUSE, rtu(0, "06 0000 0007")), (gap_s / CHAR_S, ASK)])
    assert bus.counters.hasty == hasty and bus.counters.broadcasts == 1 and frames == [SEVEN]


def test_a_unit_that_works_at_a_broadcast_does_not_hear() -> None:
    broadcast = rtu(0, "06 0000 0007")
    bus, frames = counted([(PAUSE, broadcast), (0.02 / CHAR_S, ASK), (0.1 / CHAR_S, ASK)], delay_s=0.05)
    assert bus.counters.overruns == 1 and frames == [SEVEN]


def test_writes_to_memory_that_wears_out_are_summed_over_the_bus() -> None:
    bus = RtuBus({1: Everything(), 2: Everything()}, baud=BAUD)
    bus.units[1].nonvolatile_writes, bus.units[2].nonvolatile_writes = 3, 4
    assert bus.nonvolatile_writes == 7


# ---- devices that are not quite as the specification wants them


def test_a_device_that_restarts_is_silent_and_back_again() -> None:
    class Restarting(Everything):
        def write_holding(self, address: int, values: Sequence[int], t_s: float) -> None:
            self.silent_until_s = t_s + 0.5

    async def main(loop: VirtualLoop) -> None:
        for slave, frame in (
            (RtuBus({1: Restarting()}, baud=BAUD), lambda n, pdu: rtu(1, pdu)),
            (TcpSlave({1: Restarting()}), lambda n, pdu: mbap(n, 1, pdu)),
        ):
            ear = Ear()
            session: Any = slave.attach(ear)  # type: ignore[attr-defined]
            for n, pdu in enumerate(("06 0000 0001", READ, READ, READ)):
                session.received(frame(n, pdu))
                await asyncio.sleep(0.2)
            assert ear.frames == [frame(3, ZERO)]
            session.closed()

    run_virtual(main)


def test_a_device_may_answer_a_wrong_crc() -> None:
    async def main(loop: VirtualLoop) -> None:
        bus, ear = RtuBus({1: Everything(), 2: Everything()}, baud=BAUD), Ear()
        bus.units[1].bad_crc_exception = 0x08
        session = bus.attach(ear)
        pieces = rtu(1, "10 0000 0002 04 0001 0002")
        for data in (FLIPPED, rtu(2, READ)[:-1] + b"\x00", rtu(9, READ)[:-1] + b"\x00", b"\x01\x03", ASK):
            session.received(data)
            await asyncio.sleep(0.2)
        assert ear.frames == [rtu(1, "83 08"), SAY]
        assert bus.counters.bad_crc == 4
        session.received(pieces[:8])  # its rest is on the line already: five characters, heard at their end
        await asyncio.sleep(5 * CHAR_S)
        session.received(pieces[8:])
        await asyncio.sleep(0.2)
        assert ear.frames[2:] == [rtu(1, "10 0000 0002")]

    run_virtual(main)
