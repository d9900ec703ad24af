"""Is the pty a serial line: noticed opens and leaves, pace, baud rate, hang-up, and no spin while nobody is there?"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import time

import pytest
import serial
from wire_helpers import Echo, Listener, settle

from firmware_bridge.transport import open_transport
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.pty_speed import is_other_speed, set_speed, speed_of
from hil_sim.world.wire import lay_pty
from hil_sim.world.wire_pty import PtyWire

pytestmark = pytest.mark.real_time


def on_pty(story, **settings):
    """Run `story(wire, echo)` on a stock loop with a wire at `motion`, 115200 baud."""

    async def main(directory):
        echo = settings.pop("echo", None) or Echo(b"start\n")
        wire = await lay_pty(directory, "motion", echo, baud=settings.pop("baud", 115200), **settings)
        try:
            await story(wire, echo)
        finally:
            wire.close()
            assert not (directory / "motion").exists()

    return main


def run(tmp_path, story, **settings):
    asyncio.run(on_pty(story, **settings)(tmp_path))


def test_each_open_attaches_and_each_leave_closes(tmp_path):
    async def story(wire, echo):
        assert wire.url == f"serial:{tmp_path}/motion?baud=115200"
        for n in range(2):
            listener = Listener()
            transport = await open_transport(wire.url, listener)
            await listener.until(lambda it: it.data == b"start\n")
            transport.write(b"m105\n")
            await listener.until(lambda it: it.data == b"start\nM105\n")
            transport.close()
            await settle(lambda n=n: echo.events.count("closed") == n + 1)
        assert echo.events == ["attach", "received", "closed"] * 2

    run(tmp_path, story)


def test_all_bytes_pass_unchanged(tmp_path):
    """No echo, no line ends turned, no control characters eaten."""

    async def story(wire, echo):
        listener = Listener()
        transport = await open_transport(wire.url, listener)
        everything = bytes(range(256))
        transport.write(everything)
        await listener.until(lambda it: len(it.data) == 256)
        assert echo.heard == everything and listener.data == everything.upper()

    run(tmp_path, story, echo=Echo())


def test_an_unopened_pty_costs_next_to_nothing_and_holds_no_slave(tmp_path):
    async def story(wire, echo):
        before = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - before < 0.1
        device = os.readlink(wire.path)
        held = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        assert device not in held
        assert echo.events == []

    run(tmp_path, story)


def test_a_host_that_writes_and_leaves_at_once_is_heard(tmp_path):
    async def story(wire, echo):
        host = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
        os.write(host, b"M112\n")
        os.close(host)
        await settle(lambda: "closed" in echo.events)
        assert echo.heard == b"M112\n"

    run(tmp_path, story)


def test_what_one_host_did_not_read_is_not_for_the_next(tmp_path):
    async def story(wire, echo):
        host = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
        os.write(host, b"old words")
        await settle(lambda: wire.to_host.bytes == 9)
        os.close(host)
        await settle(lambda: "closed" in echo.events)
        await asyncio.sleep(0.05)
        host = os.open(wire.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        with pytest.raises(BlockingIOError):
            os.read(host, 100)
        os.close(host)

    run(tmp_path, story, echo=Echo())


def test_a_host_is_read_no_faster_than_the_line(tmp_path):
    """600 bytes at 9600 baud are 0.6 s on the line: the device hears the last of them no sooner."""

    async def story(wire, echo):
        listener = Listener()
        transport = await open_transport(wire.url, listener)
        await settle(lambda: echo.events == ["attach"])
        began_s = asyncio.get_running_loop().time()
        transport.write(bytes(600))
        await settle(lambda: len(echo.heard) == 200)
        assert wire.to_device.bytes + wire._line.inward.waiting <= 300  # the rest waits in the host's own buffer
        await listener.until(lambda it: len(it.data) == 600)
        assert echo.log[-1][0] - began_s >= 0.6
        assert listener.chunks[-1][0] - began_s >= 0.7  # the answer takes its time too

    run(tmp_path, story, baud=9600, echo=Echo(chunk_bytes=100))


WITHOUT_A_NAME = pytest.param(250_000, 240_000, marks=pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux keeps a rate that has no name"
))  # fmt: skip


@pytest.mark.parametrize(("board", "host"), [(115200, 9600), (115200, 250_000), (250_000, 115200), WITHOUT_A_NAME])
def test_another_baud_rate_gives_garbage_both_ways_and_a_warning(tmp_path, caplog, board, host):
    async def story(wire, echo):
        with serial.Serial(str(wire.path), host, timeout=0) as port:
            port.write(b"M105\n")
            await settle(lambda: len(echo.heard) == 5 == wire.to_host.bytes)
            assert echo.heard != b"M105\n" and port.read(5) not in (b"M105\n", echo.heard.upper())
            port.baudrate = board
            port.write(b"m105\n")
            await settle(lambda: len(echo.heard) == 10 == wire.to_host.bytes)
            assert echo.heard[5:] == b"m105\n" and port.read(5) == b"M105\n"

    run(tmp_path, story, echo=Echo(), baud=board)
    assert f"has not set {board} baud" in caplog.text


@pytest.mark.parametrize("board", [9600, 115200, 250_000])
def test_a_host_that_sets_no_rate_or_one_within_a_uarts_reach_is_heard(tmp_path, caplog, board):
    async def story(wire, echo):
        host = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
        os.write(host, b"M105\n")
        await settle(lambda: echo.heard == b"M105\n")
        set_speed(host, round(board * 1.02))
        os.write(host, b"M114\n")
        await settle(lambda: echo.heard == b"M105\nM114\n")
        os.close(host)

    run(tmp_path, story, echo=Echo(), baud=board)
    assert "garbage" not in caplog.text


def test_a_host_that_comes_while_the_last_ones_leave_is_noticed_keeps_its_own_rate(tmp_path, monkeypatch):
    """As `ports --probe` does: closed, and opened at once at another rate, five times in a row."""
    notice = PtyWire._host_left
    nexts = []

    def notice_late(wire):
        if nexts:
            nexts.pop()()
        notice(wire)

    monkeypatch.setattr(PtyWire, "_host_left", notice_late)

    async def story(wire, echo):
        port = serial.Serial(str(wire.path), 19200, timeout=0)
        for n, rate in enumerate((9600, 19200, 57600, 9600, 115200)):
            came = []

            def come(rate=rate, came=came):
                came.append(serial.Serial(str(wire.path), rate, timeout=0))
                came[0].write(b"M105\n")

            nexts.append(come)
            await settle(lambda n=n: len(echo.sessions) == n + 1)
            port.close()
            await settle(lambda n=n, came=came: came and len(echo.heard) == 5 * n + 5)
            port = came[0]
            assert (echo.heard[5 * n :] == b"M105\n") is (rate == 19200), f"host {n} at {rate} baud"
            assert speed_of(port.fileno()) == rate
        port.close()

    run(tmp_path, story, baud=19200, echo=Echo())


def test_a_port_keeps_the_rate_that_its_last_host_set(tmp_path):
    """As Linux's serial ports do: whoever sets none finds the last one."""

    async def story(wire, echo):
        with serial.Serial(str(wire.path), 57600, timeout=0) as port:
            port.write(b"M105\n")
            await settle(lambda: len(echo.heard) == 5)
        await settle(lambda: "closed" in echo.events)
        host = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
        assert speed_of(host) == 57600
        os.close(host)

    run(tmp_path, story, baud=250_000)


def test_where_only_named_rates_are_known_an_unknown_one_is_taken_for_right(monkeypatch):
    """As on macOS: a named rate is judged, a rate without a name is not."""
    master, slave = os.openpty()
    try:
        set_speed(slave, 240_000)
        monkeypatch.setattr("hil_sim.world.pty_speed.sys.platform", "darwin")
        assert speed_of(master) is None and not is_other_speed(master, 115200)
        set_speed(slave, 9600)
        assert speed_of(master) == 9600 and is_other_speed(master, 115200) and not is_other_speed(master, 9600)
        set_speed(slave, 240_000)  # cannot be named: left as it is
        assert speed_of(master) == 9600
    finally:
        os.close(master)
        os.close(slave)


def test_a_fresh_pty_is_raw_and_has_the_lines_baud_rate(tmp_path):
    async def story(wire, echo):
        host = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
        settings = termios.tcgetattr(host)
        os.close(host)
        assert settings[5] == termios.B19200
        assert not settings[3] & (termios.ECHO | termios.ICANON | termios.ISIG) and not settings[1] & termios.OPOST

    run(tmp_path, story, baud=19200)


def test_a_hang_up_reaches_the_host_and_the_port_comes_back_under_its_name(tmp_path):
    async def story(wire, echo):
        listener = Listener()
        await open_transport(wire.url, listener)
        await listener.until(lambda it: it.data == b"start\n")
        wire.hang_up(back_after_s=0.05)
        assert not wire.path.exists() and echo.events == ["attach", "closed"]
        await listener.until(lambda it: it.lost)
        assert "has gone" in str(listener.lost[0])
        await settle(wire.path.exists)
        again = Listener()
        await open_transport(wire.url, again)
        await again.until(lambda it: it.data == b"start\n")

    run(tmp_path, story)


def test_faults_strike_on_a_pty_too(tmp_path):
    async def story(wire, echo):
        listener = Listener()
        transport = await open_transport(wire.url, listener)
        transport.write(b"abc")
        await settle(lambda: wire.to_device.chunks == 1)
        transport.write(b"def")
        await listener.until(lambda it: it.lost)
        assert [fault.kind for _, _, fault in wire.strikes] == ["drop", "disconnect"]
        assert echo.heard == b""

    faults = FaultSchedule(
        (Fault("drop", "motion.to_device", at_chunk=0), Fault("disconnect", "motion.to_device", at_chunk=1))
    )
    run(tmp_path, story, echo=Echo(), faults=faults)


def test_a_plain_file_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "motion").write_text("precious")

    async def main():
        with pytest.raises(FileExistsError, match="another directory"):
            await lay_pty(tmp_path, "motion", Echo(), baud=9600)

    asyncio.run(main())
    assert (tmp_path / "motion").read_text() == "precious"


def test_a_host_that_does_not_read_loses_bytes_and_holds_nothing_up(tmp_path, caplog):
    async def story(wire, echo):
        host = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
        await settle(lambda: echo.events == ["attach"])
        for _ in range(8):
            echo.sessions[0].send(bytes(8000))
            await asyncio.sleep(0.02)
        await settle(lambda: wire.to_host.lost_bytes > 0)
        os.close(host)

    run(tmp_path, story, baud=4_000_000, echo=Echo())
    assert "bytes are lost" in caplog.text
