"""Does our Modbus link read and write slaves that nobody here wrote, as processes of their own, over TCP and RTU?"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from peer_tools import PEERS, WAIT_S, command_of, environment, needs_libmodbus, needs_modbus_tk

from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.errors import LinkTimeout, ModbusException, TransportError
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import load_map

pytest.importorskip("termios", reason="ptys need a Unix")

pytestmark = pytest.mark.real_time

BAUD = 115200
START = [3 * address + 1 for address in range(200)]
SLAVES = [
    pytest.param((name, framing), marks=needs, id=f"{name.partition('_slave')[0]}-{framing}")
    for name, needs in (("libmodbus_slave.c", needs_libmodbus), ("modbus_tk_slave.py", needs_modbus_tk))
    for framing in ("tcp", "rtu")
]
every_slave = pytest.mark.parametrize("slave", SLAVES, indirect=True)
serial_slaves = pytest.mark.parametrize("slave", [one for one in SLAVES if one.values[0][1] == "rtu"], indirect=True)
tcp_slaves = pytest.mark.parametrize("slave", [one for one in SLAVES if one.values[0][1] == "tcp"], indirect=True)


@dataclass
class Slave:
    """The foreign process and where it is reached."""

    process: subprocess.Popen[str]
    framing: Any
    url: str

    async def link(self, **settings: float) -> ModbusLink:
        return await ModbusLink.open(self.url, framing=self.framing, **{"timeout_s": 5.0, **settings})

    def memory(self) -> list[int]:
        """End it; what its own holding registers held."""
        out, _ = self.process.communicate(timeout=WAIT_S)
        assert self.process.returncode == 0
        return json.loads(out)


def start(command: list[str]) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd="/", env=environment(), **pipes)


def first_line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


@pytest.fixture
def slave(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Slave]:
    name, framing = request.param
    processes = []
    try:
        words, url = ["tcp"], ""
        if framing == "rtu":
            processes.append(start([sys.executable, str(PEERS / "null_modem.py")]))
            theirs, ours = first_line(processes[0])
            words, url = ["rtu", theirs, str(BAUD)], f"serial:{ours}?baud={BAUD}"
        processes.append(start([*command_of(name, tmp_path), *words]))
        port = first_line(processes[-1])["port"]
        yield Slave(processes[-1], framing, url or f"tcp:127.0.0.1:{port}")
    finally:
        for process in reversed(processes):
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=WAIT_S)


def on_the_link(slave: Slave, questions: Callable[[ModbusLink], Awaitable[None]], **settings: float) -> None:
    async def run() -> None:
        link = await slave.link(**settings)
        try:
            await questions(link)
        finally:
            link.close()

    asyncio.run(run())


@every_slave
def test_reads_of_every_size(slave: Slave) -> None:
    async def questions(link: ModbusLink) -> None:
        for count in (1, 2, 10, 124, 125):
            assert await link.read(1, 3, 20, count) == START[20 : 20 + count]
        assert await link.read(1, 4, 100, 3) == [0, 0, 0]
        assert link.counters.ok == link.counters.sent == 6

    on_the_link(slave, questions)


@every_slave
def test_writes_are_in_the_slaves_own_memory(slave: Slave) -> None:
    values = [(7919 * i) % 0x10000 for i in range(123)]

    async def questions(link: ModbusLink) -> None:
        await link.write(1, 3, [0xFFFF])
        await link.write(1, 4, [0x00FF], fc=16)
        await link.write(1, 60, values)
        assert await link.read(1, 3, 60, 123) == values

    on_the_link(slave, questions)
    assert slave.memory() == [*START[:3], 0xFFFF, 0x00FF, *START[5:60], *values, *START[183:]]


@every_slave
def test_a_refusal_is_an_exception_and_the_next_answer_is_right(slave: Slave) -> None:
    async def questions(link: ModbusLink) -> None:
        for ask in (partial(link.read, 1, 3, 199, 2), partial(link.write, 1, 200, [1])):
            with pytest.raises(ModbusException) as refusal:
                await ask()
            assert refusal.value.code == 2
            assert await link.read(1, 3, 10, 1) == [31]

    on_the_link(slave, questions)
    assert slave.memory() == START


@every_slave
def test_bits_masks_and_exchanges_by_raw_requests(slave: Slave) -> None:
    async def questions(link: ModbusLink) -> None:
        ask = partial(link.request, 1)
        assert await ask(bytes.fromhex("0200000009"), 4) == bytes.fromhex("02024900")
        assert await ask(bytes.fromhex("050003FF00"), 5) == bytes.fromhex("050003FF00")
        assert await ask(bytes.fromhex("0F0004000A024D03"), 5) == bytes.fromhex("0F0004000A")
        assert await ask(bytes.fromhex("0100000010"), 4) == bytes.fromhex("0102D834")
        await link.write(1, 5, [0x12])
        assert await ask(bytes.fromhex("16000500F20025"), 7) == bytes.fromhex("16000500F20025")
        assert await link.read(1, 3, 5, 1) == [0x17]
        exchanged = await ask(bytes.fromhex("17000A0002002800020400070008"), 6)
        assert exchanged == bytes.fromhex("1704001F0022")  # of what it wrote itself modbus-tk reads the old values
        assert await link.read(1, 3, 39, 4) == [START[39], 7, 8, START[42]]

    on_the_link(slave, questions)


@every_slave
def test_the_meters_map_reads_the_librarys_own_floats(slave: Slave) -> None:
    async def questions(link: ModbusLink) -> None:
        meter = Instrument(link, 1, load_map("eastron_sdm120"))
        assert await meter.identify() == {"voltage_v": 230.5, "frequency_hz": 50.0}
        readings = await meter.poll()
        assert {name: reading.value for name, reading in readings.items()} == {
            "voltage_v": 230.5,
            "current_a": 1.25,
            "power_w": 287.5,
            "import_energy_kwh": 12.75,
        }

    on_the_link(slave, questions)


@every_slave
def test_a_late_answer_is_nobodys_value(slave: Slave) -> None:
    async def questions(link: ModbusLink) -> None:
        with pytest.raises(LinkTimeout):
            await link.read(1, 3, 150, 1)  # answered after 1 s
        assert await link.read(1, 3, 10, 1) == [31]
        assert await link.read(1, 3, 11, 1) == [34]
        assert link.counters.late + link.counters.unsolicited_bytes > 0

    late_window = {"late_window_s": 2.0} if slave.framing == "rtu" else {}
    # TCP numbers its replies, so the next question may go out at once and must wait only for the slave. A third of a
    # second to spare: a computer that is held up for longer hears answer and timer at once.
    on_the_link(slave, questions, timeout_s=0.5 if slave.framing == "rtu" else 0.7, **late_window)


@serial_slaves
def test_a_broadcast_is_obeyed_and_an_absent_unit_is_silence(slave: Slave) -> None:
    async def questions(link: ModbusLink) -> None:
        await link.write(0, 8, [77, 78])
        # a slave that was held up takes broadcast and question for one frame with a wrong CRC
        assert await link.read(1, 3, 8, 2, retries=2) == [77, 78]
        with pytest.raises(LinkTimeout):
            await link.read(9, 3, 8, 1)
        # libmodbus waits for unit 9's answer and takes the next request for it
        assert await link.read(1, 3, 8, 1, retries=2) == [77]

    on_the_link(slave, questions, timeout_s=0.5)


@tcp_slaves
def test_a_slave_that_dies_is_a_lost_transport(slave: Slave) -> None:
    async def questions(link: ModbusLink) -> None:
        assert await link.read(1, 3, 10, 1) == [31]
        pending = asyncio.ensure_future(link.read(1, 3, 150, 1))
        await asyncio.sleep(0.1)
        slave.process.kill()
        with pytest.raises(TransportError, match=slave.url):
            await pending

    on_the_link(slave, questions)


@every_slave
def test_a_thousand_random_requests_agree_with_a_model(slave: Slave) -> None:
    draw = random.Random(5)
    model = list(START)

    async def questions(link: ModbusLink) -> None:
        for _ in range(1000 if slave.framing == "tcp" else 250):
            address = draw.randrange(149)  # below the slow one
            count = draw.randint(1, min(123, 149 - address))
            if draw.random() < 0.5:
                model[address : address + count] = [draw.randrange(0x10000) for _ in range(count)]
                await link.write(1, address, model[address : address + count])
            else:
                assert await link.read(1, 3, address, count) == model[address : address + count]
        assert link.counters.ok == link.counters.sent

    on_the_link(slave, questions)
    assert slave.memory() == model
