"""Can any answer of a hostile Modbus device become a wrong value, and does the link recover by itself?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_link_helpers import FakeSlave, bus, crc16

from control.assembly import open_device
from control.config import load_machine
from firmware_bridge.errors import (
    FrameError,
    LinkError,
    LinkTainted,
    LinkTimeout,
    Mismatch,
    ModbusException,
    TransportError,
)
from firmware_bridge.links.modbus import LinkState
from firmware_bridge.links.modbus_frames import (
    Found,
    Oddities,
    RtuDeframer,
    TcpDeframer,
    ask_read,
    ask_write,
    frame_rtu,
)
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.plant.power import Meter
from hil_sim.world.wire import lay_tcp

FRAMINGS = pytest.mark.parametrize("framing", ["rtu", "tcp"])


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: main())


@FRAMINGS
def test_reads_and_writes(framing: str) -> None:
    async def main() -> None:
        link, slave = bus(framing)
        assert await link.read(1, 3, 10, 3) == [1010, 1011, 1012]
        assert await link.read(1, 4, 0, 1) == [1000]
        await link.write(1, 5, [7])
        await link.write(1, 6, [8, 9])
        await link.write(1, 8, [3], fc=16)
        assert await link.read(1, 3, 5, 4) == [7, 8, 9, 3]
        assert [pdu[0] for _, _, pdu in slave.asked] == [3, 4, 6, 16, 16, 3]
        assert await link.request(1, b"\x03\x00\x05\x00\x01", 4) == b"\x03\x02\x00\x07"
        assert link.counters.ok == 7 and link.state is LinkState.OPEN

    virtually(main)


def test_manual_frames_are_what_goes_out() -> None:
    """Leadshine manual p. 20."""
    question = ask_write(1, 0x0146, [0, 0x28, 0, 0x29])
    assert frame_rtu(question) == bytes.fromhex("01 10 01 46 00 04 08 00 00 00 28 00 00 00 29 1C 14")
    assert RtuDeframer().feed(question, bytes.fromhex("01 10 01 46 00 04 21 E3"), Oddities())[0] is Found.REPLY


def test_manual_reply_decodes_and_a_foreign_protocol_does_not() -> None:
    """Kipp & Zonen SMP manual p. 46; Delta MS300 p. 794; Huanyang's framing has a good CRC and is not Modbus."""
    reply = bytes.fromhex("01 04 10 00 01 00 00 00 00 03 E5 03 E5 00 00 00 F8 00 EA 66 12")
    found, pdu = RtuDeframer().feed(ask_read(1, 4, 2, 8), reply, Oddities())
    assert found is Found.REPLY and pdu[2:] == reply[3:-2]
    found, pdu = RtuDeframer().feed(ask_write(1, 0x2000, [1]), bytes.fromhex("01 86 02 C3 A1"), Oddities())
    assert (found, pdu) == (Found.EXCEPTION, b"\x86\x02")
    huanyang = bytes.fromhex("04 01 03 01 00 00 6D DB")
    for question in (ask_read(4, 3, 1, 1), ask_write(4, 1, [0]), ask_read(4, 4, 1, 2)):
        assert RtuDeframer().feed(question, huanyang, Oddities())[0] is Found.NOTHING


def hostile(name: str) -> Callable[[FakeSlave, bytes, bytes], list[tuple[float, bytes]]]:
    """Misbehaviours, each (slave, request pdu, good reply frame) -> what to send."""

    def framed(slave: FakeSlave, reply: bytes, unit: int, pdu: bytes) -> bytes:
        return slave.frame(unit, pdu, reply[:2])

    table: dict[str, Callable[[FakeSlave, bytes, bytes], list[tuple[float, bytes]]]] = {
        "silent": lambda s, q, r: [],
        "late": lambda s, q, r: [(0.45, r)],
        "wrong unit": lambda s, q, r: [(0, framed(s, r, 9, b"\x03\x02\x00\x63"))],
        "wrong function": lambda s, q, r: [(0, framed(s, r, 1, b"\x04\x02\x00\x63"))],
        "fewer registers": lambda s, q, r: [(0, framed(s, r, 1, b"\x03\x00"))],
        "more registers": lambda s, q, r: [(0, framed(s, r, 1, b"\x03\x04\x00\x63\x00\x63"))],
        "lying byte count": lambda s, q, r: [(0, framed(s, r, 1, b"\x03\x04\x00\x63"))],
        "foreign exception": lambda s, q, r: [(0, framed(s, r, 1, b"\x90\x02"))],
        "half a frame": lambda s, q, r: [(0, r[: len(r) // 2])],
        "flipped bit": lambda s, q, r: [(0, r[:-1] + bytes((r[-1] ^ 1,)))],
        "echo of the request": lambda s, q, r: [(0, framed(s, r, 1, q))],
        "garbage": lambda s, q, r: [(0, bytes(range(200, 230)))],
    }
    return table[name]


HOSTILE = [
    "silent", "late", "wrong unit", "wrong function", "fewer registers", "more registers", "lying byte count",
    "foreign exception", "half a frame", "flipped bit", "echo of the request", "garbage",
]  # fmt: skip


@pytest.mark.parametrize(
    "framing, name",
    [(framing, name) for framing in ("rtu", "tcp") for name in HOSTILE if (framing, name) != ("tcp", "flipped bit")],
)
def test_no_hostile_answer_becomes_a_value(framing: str, name: str) -> None:
    """The bad answer raises; every question afterwards, asked at once, gets its own answer."""

    async def main() -> None:
        link, slave = bus(framing)
        bad = hostile(name)
        state = {"left": 1}

        def twist(unit: int, pdu: bytes, reply: bytes) -> list[tuple[float, bytes]] | None:
            if state["left"]:
                state["left"] -= 1
                return bad(slave, pdu, reply)
            return None

        slave.twist = twist
        with pytest.raises((LinkTimeout, FrameError, Mismatch)):
            await link.read(1, 3, 7, 1)
        for address in range(20):
            assert await link.read(1, 3, address, 1) == [1000 + address]

    virtually(main)


@FRAMINGS
def test_replies_late_every_time_are_never_off_by_one(framing: str) -> None:
    async def main() -> None:
        link, slave = bus(framing)
        slave.twist = lambda unit, pdu, reply: [(0.31, reply)]
        got: list[list[int]] = []
        for address in range(10):
            try:
                got.append(await link.read(1, 3, address, 1))
                assert got[-1] == [1000 + address]
            except LinkTimeout:
                pass
        slave.twist = lambda unit, pdu, reply: None
        assert await link.read(1, 3, 3, 1) == [1003]
        assert got == [] and link.counters.timeouts == 10

    virtually(main)


@FRAMINGS
def test_a_write_echo_of_something_else_is_an_error(framing: str) -> None:
    async def main() -> None:
        link, slave = bus(framing)
        slave.twist = lambda unit, pdu, reply: [(0, slave.frame(1, b"\x06\x00\x05\x00\x09", reply[:2]))]
        with pytest.raises(Mismatch, match="echo of something else"):
            await link.write(1, 5, [7])

    virtually(main)


def test_exceptions_carry_their_code_and_are_not_retried() -> None:
    async def main() -> None:
        link, slave = bus()
        with pytest.raises(ModbusException, match="no such register") as caught:
            await link.read(1, 3, 199, 2, retries=3)
        assert caught.value.code == 2 and len(slave.asked) == 1 and link.counters.exceptions == {2: 1}

    virtually(main)


def test_retries_are_by_policy_only() -> None:
    async def main() -> None:
        link, slave = bus()
        drops = [2]

        def twist(unit: int, pdu: bytes, reply: bytes) -> list[tuple[float, bytes]] | None:
            drops[0] -= 1
            return [] if drops[0] >= 0 else None

        slave.twist = twist
        assert await link.read(1, 3, 1, 1, retries=2) == [1001]
        drops[0] = 1
        with pytest.raises(LinkTimeout):
            await link.write(1, 1, [5])
        asked = [pdu[0] for _, _, pdu in slave.asked]
        assert asked == [3, 4, 4, 3, 6] and link.counters.retries == 2  # FC04: does the owed answer still come?

    virtually(main)


@given(noise=st.binary(max_size=40), cut=st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_noise_before_a_good_frame_is_stepped_over(noise: bytes, cut: int) -> None:
    question = ask_read(1, 3, 0, 2)
    body = bytes((1, 3, 4, 0, 42, 0, 43))
    stream = noise + body + crc16(body)
    deframer = RtuDeframer()
    found, pdu = Found.NOTHING, b""
    for start in range(0, len(stream), cut):
        found, pdu = deframer.feed(question, stream[start : start + cut], Oddities())
        if found is not Found.NOTHING:
            break
    assert found is Found.REPLY and pdu == body[1:]


@given(chunks=st.lists(st.binary(min_size=1, max_size=60), max_size=20))
@settings(max_examples=150, deadline=None)
def test_deframers_survive_any_bytes(chunks: list[bytes]) -> None:
    rtu, tcp = RtuDeframer(), TcpDeframer()
    question = ask_read(1, 3, 0, 2)
    for chunk in chunks:
        rtu.feed(question, chunk, Oddities())
        try:
            tcp.feed(question, 1, chunk, Oddities())
        except (FrameError, Mismatch):
            tcp.rest.clear()
    assert len(rtu.rest) <= RtuDeframer.KEEP_BYTES and len(tcp.rest) < 300


def test_a_duplicate_reply_in_the_gap_taints_the_line() -> None:
    async def main() -> None:
        link, slave = bus()
        slave.twist = lambda unit, pdu, reply: [(0, reply), (0.001, reply)]
        assert await link.read(1, 3, 1, 1) == [1001]
        await asyncio.sleep(0.002)
        assert link.state is LinkState.TAINTED
        assert await link.read(1, 3, 2, 1) == [1002]
        slave.twist = lambda unit, pdu, reply: [(0, reply + reply)]
        assert await link.read(1, 3, 3, 1) == [1003]
        assert await link.read(1, 3, 4, 1) == [1004]

    virtually(main)


def test_frames_keep_their_distance() -> None:
    """t3.5 between frames: 3.65 ms at 9600 baud, 1.75 ms fixed above 19200."""

    async def main(byte_time_s: float, silence_s: float) -> None:
        link, slave = bus("rtu", byte_time_s=byte_time_s)
        await asyncio.gather(*(link.read(1, 3, address, 1) for address in range(5)))
        reply_s = (8 + 7) * byte_time_s + slave.delay_s
        gaps = [later[0] - earlier[0] - reply_s for earlier, later in zip(slave.asked, slave.asked[1:])]
        assert all(gap >= silence_s - 1e-9 for gap in gaps) and max(gaps) < silence_s * 1.01

    virtually(lambda: main(10 / 9600, 3.5 * 10 / 9600))
    virtually(lambda: main(10 / 115200, 0.00175))


def test_broadcast_is_not_answered_and_has_its_turnaround() -> None:
    async def main() -> None:
        link, slave = bus()
        await link.write(0, 3, [77])
        assert await link.read(1, 3, 3, 1) == [77]
        assert slave.asked[1][0] - slave.asked[0][0] >= 0.1

    virtually(main)


def test_urgent_writes_overtake_waiting_polls_but_never_break_into_one() -> None:
    async def main() -> None:
        link, slave = bus()
        polls = [asyncio.ensure_future(link.read(1, 3, address, 1)) for address in range(5)]
        await asyncio.sleep(0.005)
        await link.write(1, 8, [1], urgent=True)
        await asyncio.gather(*polls)
        assert [pdu[0] for _, _, pdu in slave.asked] == [3, 6, 3, 3, 3, 3]

    virtually(main)


def test_cancelling_leaves_no_stale_reply() -> None:
    async def main() -> None:
        link, slave = bus()
        task = asyncio.ensure_future(link.read(1, 3, 1, 1))
        waiting = asyncio.ensure_future(link.read(1, 3, 9, 1))
        await asyncio.sleep(0.01)
        task.cancel()
        waiting.cancel()
        await asyncio.sleep(0)
        assert link.state is LinkState.TAINTED
        assert await link.read(1, 3, 2, 1) == [1002]
        assert len(slave.asked) == 2 and link.counters.cancelled == 2

    virtually(main)


def test_a_dead_unit_does_not_stop_its_neighbours() -> None:
    async def main() -> None:
        link, slave = bus()
        slave.registers[2] = dict(slave.registers[1])
        del slave.registers[1]
        loop = asyncio.get_running_loop()
        for _ in range(3):
            with pytest.raises(LinkTimeout, match="unit 1"):
                await link.read(1, 3, 0, 1)
            began = loop.time()
            assert await link.read(2, 3, 0, 1) == [1000]
            assert loop.time() - began < 0.4

    virtually(main)


def test_a_babbling_line_is_called_out() -> None:
    async def main() -> None:
        link, slave = bus()
        loop = asyncio.get_running_loop()
        for beat in range(1, 120):
            loop.call_later(0.1 * beat, slave._deliver, b"\x55")
        await asyncio.sleep(0.15)
        began = loop.time()
        with pytest.raises(LinkTainted, match="not been quiet"):
            await link.read(1, 3, 0, 1)
        assert loop.time() - began < 6
        await asyncio.sleep(12)
        assert await link.read(1, 3, 0, 1) == [1000]

    virtually(main)


def test_a_full_queue_refuses_and_a_lost_cable_tells_everybody() -> None:
    async def main() -> None:
        link, slave = bus()
        await asyncio.sleep(0.01)
        tasks = [asyncio.ensure_future(link.read(1, 3, 0, 1)) for _ in range(70)]
        await asyncio.sleep(0.001)
        slave.lose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(result, TransportError) for result in results) == 65
        assert sum(type(result) is LinkError for result in results) == 5
        assert link.state is LinkState.CLOSED
        with pytest.raises(TransportError, match="gone"):
            await link.read(1, 3, 0, 1)

    virtually(main)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ask_read(1, 3, 0, 126),
        lambda: ask_read(0, 3, 0, 1),
        lambda: ask_read(1, 5, 0, 1),
        lambda: ask_read(1, 3, 65535, 2),
        lambda: ask_write(1, 0, [70000]),
        lambda: ask_write(1, 0, []),
        lambda: ask_write(1, 0, [1, 2], 6),
        lambda: ask_write(1, 0, [0] * 124),
        lambda: ask_write(248, 0, [0]),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        wrong()


def test_tcp_pieces_and_foreign_frames() -> None:
    async def main() -> None:
        link, slave = bus("tcp")
        foreign = b"\x77\x77\x00\x00\x00\x05\x01\x03\x02\x00\x63"
        slave.twist = lambda unit, pdu, reply: [
            (0, foreign + reply[:5]),
            (0.01, reply[5:] + foreign[:4]),
            (0.02, foreign[4:]),
        ]
        for address in range(5):
            assert await link.read(1, 3, address, 1) == [1000 + address]
            await asyncio.sleep(0.03)
        assert link.counters.late == 10

    virtually(main)


@pytest.mark.real_time
def test_a_bus_that_a_raw_tcp_port_serves_is_read_as_one_on_a_serial_port() -> None:
    """What a serial server on another computer does (docs/decisions/0012): RTU frames, in pieces, over plain TCP."""

    class Cut:
        """The bus behind a server that passes on what it has read so far."""

        def __init__(self, bus: RtuBus) -> None:
            self.bus = bus

        def attach(self, send: Callable[[bytes], None]) -> object:
            return self.bus.attach(lambda data: [send(data[at : at + 3]) for at in range(0, len(data), 3)])

    async def main() -> None:
        units = {1: Eurotherm3200(HeaterPlate()), 2: Sdm120(Meter(supply_v=230.0))}
        served = await lay_tcp("bus0", Cut(RtuBus(units, baud=9600)))
        config = load_machine("bench").with_urls({"bus0": served.url})
        for name, signal, value in (("heater", "bed_temp_c", 20.0), ("meter", "voltage_v", 230.0)):
            async with open_device(config, name) as device:
                await device.identify()
                assert (await device.read([signal]))[signal].value == value

    asyncio.run(main())
