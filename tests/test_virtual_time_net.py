"""Do asyncio streams and pymodbus, unmodified, run over the in-memory network?"""

from __future__ import annotations

import asyncio

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from hil_sim.virtual_run import run_virtual


def test_streams_carry_lines_half_close_and_end():
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(b"ok " + line)
            await writer.drain()
        writer.write(b"bye")
        writer.close()
        await writer.wait_closed()

    async def main(loop):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await asyncio.start_server(serve, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("localhost", port)
        writer.write(b"one\ntwo\n")
        assert await reader.readline() == b"ok one\n" and await reader.readline() == b"ok two\n"
        writer.write_eof()
        assert await reader.read() == b"bye"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError, match="nothing listens"):
            await asyncio.open_connection("127.0.0.1", port)

    run_virtual(main)


def test_a_slow_reader_holds_the_writer_back():
    async def main(loop):
        got = bytearray()

        async def serve(reader, writer):
            while data := await reader.read(1000):
                got.extend(data)
                await asyncio.sleep(0.01)
            writer.close()

        await asyncio.start_server(serve, "device", 80)
        _, writer = await asyncio.open_connection("device", 80)
        most = 0
        for _ in range(50):
            writer.write(bytes(10_000))
            most = max(most, writer.transport.get_write_buffer_size())
            await writer.drain()
        writer.close()
        await asyncio.sleep(100)
        return len(got), most

    total, most = run_virtual(main)
    assert total == 500_000 and most < 100_000


def test_an_abort_resets_the_peer():
    async def main(loop):
        async def serve(reader, writer):
            await reader.read(1)
            writer.transport.abort()

        await asyncio.start_server(serve, "device", 80)
        reader, writer = await asyncio.open_connection("device", 80)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read(10)
        writer.close()

    run_virtual(main)


class SlaveOfOneRegister(asyncio.Protocol):
    """A Modbus TCP device that answers any read of one register with 42, until it is deaf."""

    deaf = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        if not self.deaf:
            self.transport.write(data[:4] + b"\x00\x05" + data[6:8] + b"\x02\x00\x2a")


def test_pymodbus_reads_and_its_time_outs_cost_virtual_seconds_only():
    async def main(loop):
        slave = SlaveOfOneRegister()
        await loop.create_server(lambda: slave, "device", 502)
        client = AsyncModbusTcpClient("device", port=502, timeout=3, retries=3)
        assert await client.connect()
        assert (await client.read_holding_registers(0, count=1, device_id=1)).registers == [42]
        slave.deaf = True
        began_s = loop.time()
        with pytest.raises(ModbusIOException):
            await client.read_holding_registers(0, count=1, device_id=1)
        client.close()
        return loop.time() - began_s

    assert run_virtual(main) == pytest.approx(12.0, abs=0.01)  # four tries of 3 s
