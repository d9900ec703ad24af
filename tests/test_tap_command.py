"""Does a tap stand between a host and a device without either noticing, and does a replay stand in for the device?"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import termios
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bench_helpers import moonkiln
from click.testing import CliRunner
from wire_helpers import Echo, Listener, settle

from control.cli import cli
from control.commands.tap import _replay, _tap
from control.errors import MoonkilnError
from firmware_bridge.doors import HOLD_BACK_BYTES, Guest, PtyDoor, TcpDoor
from firmware_bridge.errors import TransportError
from firmware_bridge.recording import Ending, Recorder, Way, read_recording
from firmware_bridge.transport import open_transport
from hil_sim.world.wire import lay_pty, lay_tcp

pytestmark = pytest.mark.real_time

TO_DEVICE, TO_HOST = Way.TO_DEVICE, Way.TO_HOST


class Running:
    """A command on this loop: `url` is its stand-in's; end() is Ctrl-C and returns the exit code."""

    def __init__(self, task: asyncio.Task[int], url: str) -> None:
        self.task = task
        self.url = url

    async def end(self) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return await self.task


@asynccontextmanager
async def running(command, capsys):
    """The command once it has named its stand-in."""
    task = asyncio.ensure_future(command)
    said = ""

    def named() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return task.done() or said.endswith("}\n")

    try:
        await settle(named)
        if task.done():
            task.result()
        yield Running(task, json.loads(said)["url"])
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def exchange(url: str, said: bytes, answer: bytes) -> None:
    """A host that says something, hears the answer, and leaves."""
    listener = Listener()
    transport = await open_transport(url, listener)
    transport.write(said)
    await listener.until(lambda heard: heard.data == answer or heard.lost)
    assert listener.data == answer, listener.lost
    transport.close()
    await asyncio.sleep(0.05)  # the door hears of it at the loop's next turn


# ---- tap ------------------------------------------------------------------------------------------------------------


def test_hosts_use_the_stand_in_and_everything_is_recorded(tmp_path, capsys):
    async def story():
        wire = await lay_pty(tmp_path, "device", Echo(), baud=115200)
        command = _tap(wire.url, tmp_path / "wire.mcap", tmp_path / "stand-in", None)
        async with running(command, capsys) as tap:
            assert tap.url == f"serial:{tmp_path}/stand-in?baud=115200"
            await exchange(tap.url, b"m105\n", b"M105\n")
            await exchange(tap.url, b"g28\n", b"G28\n")
            assert await tap.end() == 0
        assert not (tmp_path / "stand-in").is_symlink()
        wire.close()

    asyncio.run(story())
    recording = read_recording(tmp_path / "wire.mcap")
    assert [found.sent(TO_DEVICE) for found in recording.connections] == [b"m105\n", b"g28\n"]
    assert [found.sent(TO_HOST) for found in recording.connections] == [b"M105\n", b"G28\n"]
    assert [found.ending for found in recording.connections] == [Ending.HOST_LEFT] * 2 and not recording.notes
    assert "2 connections, 9 bytes to the device, 9 to the host" in capsys.readouterr().err


def test_a_device_that_went_away_is_a_sentence_and_a_hang_up_and_may_come_back(tmp_path, capsys):
    async def story():
        wire = await lay_pty(tmp_path, "device", Echo(), baud=115200)
        async with running(_tap(wire.url, tmp_path / "wire.mcap", tmp_path / "stand-in", None), capsys) as tap:
            wire.close()
            listener = Listener()
            await open_transport(tap.url, listener)
            await listener.until(lambda heard: heard.lost)
            assert isinstance(listener.lost[0], TransportError)
            assert f"there is no port {tmp_path}/device" in capsys.readouterr().err
            wire = await lay_pty(tmp_path, "device", Echo(), baud=115200)
            await exchange(tap.url, b"m105\n", b"M105\n")
            assert await tap.end() == 0
            wire.close()

    asyncio.run(story())
    assert [found.sent(TO_HOST) for found in read_recording(tmp_path / "wire.mcap").connections] == [b"M105\n"]


def test_a_device_that_is_lost_is_recorded_so_and_the_host_is_hung_up_on(tmp_path, capsys):
    async def story():
        wire = await lay_pty(tmp_path, "device", Echo(b"start\n"), baud=115200)
        command = _tap(wire.url, tmp_path / "wire.mcap", tmp_path / "stand-in", None)
        async with running(command, capsys) as tap:
            listener = Listener()
            await open_transport(tap.url, listener)
            await listener.until(lambda heard: heard.data == b"start\n")
            wire.close()
            await listener.until(lambda heard: heard.lost)
            assert isinstance(listener.lost[0], TransportError)
            assert await tap.end() == 0

    asyncio.run(story())
    (found,) = read_recording(tmp_path / "wire.mcap").connections
    assert found.ending is Ending.DEVICE_LOST and "was lost" in found.reason


def test_several_hosts_of_a_tcp_device_are_several_connections(tmp_path, capsys):
    async def story():
        wire = await lay_tcp("beam", Echo())
        async with running(_tap(wire.url, tmp_path / "wire.mcap", tmp_path / "x", None), capsys) as tap:
            assert tap.url.startswith("tcp:127.0.0.1:") and tap.url != wire.url
            first, second = Listener(), Listener()
            one, two = [await open_transport(tap.url, listener) for listener in (first, second)]
            one.write(b"one")
            two.write(b"two")
            await first.until(lambda heard: heard.data == b"ONE")
            await second.until(lambda heard: heard.data == b"TWO")
            assert await tap.end() == 0
            await first.until(lambda heard: heard.lost)
        wire.close()

    asyncio.run(story())
    recording = read_recording(tmp_path / "wire.mcap")
    assert sorted(found.sent(TO_DEVICE) for found in recording.connections) == [b"one", b"two"]


def test_a_host_with_another_baud_rate_is_told_of(tmp_path, capsys):
    async def story():
        wire = await lay_pty(tmp_path, "device", Echo(), baud=115200)
        async with running(_tap(wire.url, tmp_path / "w.mcap", tmp_path / "stand-in", None), capsys) as tap:
            await exchange(tap.url.replace("115200", "9600"), b"m105\n", b"M105\n")
            assert "the host has set 9600 baud and the device's line runs at 115200" in capsys.readouterr().err
        wire.close()

    asyncio.run(story())


def run(*words: object):
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def ports() -> Iterator[tuple[str, str]]:
    """Two serial ports: one that is free, and one that another program has locked."""
    ends = [end for _ in range(2) for end in os.openpty()]
    fcntl.flock(ends[3], fcntl.LOCK_EX)
    yield os.ttyname(ends[1]), os.ttyname(ends[3])
    for end in ends:
        os.close(end)


@pytest.mark.timeout(60)  # it once waited for ever
def test_a_tap_that_cannot_begin_says_why_and_loses_nothing(tmp_path, monkeypatch, ports):
    monkeypatch.chdir(tmp_path)
    port, busy = ports
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    Path("old.mcap").write_text("a field failure")
    Path("file").write_text("of another kind")
    for words, code, sentence in [
        (("serial:/dev/x", "-o", "old.mcap"), 2, "never written over"),
        (("serial:/dev/x", "-o", "no/such/w.mcap"), 2, "no recording can be made"),
        ((f"serial:{port}", "-o", "w.mcap", "--as", "file"), 2, "a file of that name is there"),
        (("serial:/dev/x", "-o", "w.mcap"), 3, "there is no port /dev/x"),
        ((f"serial:{busy}", "-o", "w.mcap"), 3, f"{busy} is in use by another program"),
        ((f"tcp:127.0.0.1:{closed}", "-o", "w.mcap"), 3, f"127.0.0.1:{closed}"),
        (("serial:/dev/x?baud=fast", "-o", "w.mcap"), 2, "baud=fast"),
        (("serial:/dev/x?boud=9600", "-o", "w.mcap"), 2, "'boud' is no option"),
        (("serial:", "-o", "w.mcap"), 2, "give the port's path"),
        (("tcp:beam", "-o", "w.mcap"), 2, "HOST:PORT"),
        (("tcp:127.0.0.1:99999", "-o", "w.mcap"), 2, "a port from 1 to 65535"),
        (("tls:plc:802", "-o", "w.mcap"), 2, "'ca' is missing"),
        (("sim:beam", "-o", "w.mcap"), 2, "cannot be tapped"),
    ]:
        done = run("tap", *words)
        assert (done.exit_code, sentence in done.stderr) == (code, True), (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert Path("old.mcap").read_text() == "a field failure" and Path("file").read_text() == "of another kind"
    assert sorted(os.listdir()) == ["file", "old.mcap"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_whole_file_and_exit_code_0(tmp_path, end, ports):
    tap = moonkiln("tap", f"serial:{ports[0]}", "-o", tmp_path / "wire.mcap")
    assert tap.stdout is not None and json.loads(tap.stdout.readline())["url"].startswith(f"serial:{tmp_path}/wire.tty")
    tap.send_signal(end)
    out, err = tap.communicate(timeout=30)
    assert tap.returncode == 0 and "0 connections" in err and "Traceback" not in out + err
    assert not read_recording(tmp_path / "wire.mcap").notes and not (tmp_path / "wire.tty").is_symlink()


# ---- doors ----------------------------------------------------------------------------------------------------------


class Slow:
    """Whoever stands behind a door and takes nothing until it is told to."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.taken = bytearray()
        self.waiting_bytes = 0
        self.gone = 0

    def received(self, data: bytes) -> None:
        self.taken += data
        self.waiting_bytes += len(data)

    def left(self) -> None:
        self.gone += 1


def with_door(kind: str, tmp_path: Path, story) -> None:
    """`story(url, visitors)` with a door of that kind."""

    async def main():
        visitors: list[Slow] = []

        def greet(guest: Guest) -> Slow:
            visitors.append(Slow(guest))
            return visitors[-1]

        door = PtyDoor(tmp_path / "door", greet) if kind == "pty" else await TcpDoor.open(greet)
        try:
            await story(door.url, visitors)
        finally:
            door.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["pty", "tcp"])
def test_a_host_is_held_back_and_loses_nothing(tmp_path, kind):
    async def story(url, visitors):
        transport = await open_transport(url, Listener())
        payload = bytes(range(256)) * 200
        transport.write(payload)
        await settle(lambda: visitors and visitors[0].waiting_bytes > HOLD_BACK_BYTES)
        await asyncio.sleep(0.1)
        held = len(visitors[0].taken)
        if kind == "pty":  # TCP has read more than that at once, perhaps
            assert held <= 2 * HOLD_BACK_BYTES

        def all_taken() -> bool:
            visitors[0].waiting_bytes = 0
            return len(visitors[0].taken) == len(payload)

        await settle(all_taken)
        assert bytes(visitors[0].taken) == payload
        transport.close()
        await settle(lambda: visitors[0].gone == 1)

    with_door(kind, tmp_path, story)


@pytest.mark.parametrize("kind", ["pty", "tcp"])
def test_who_is_hung_up_on_hears_it_and_the_next_one_is_let_in(tmp_path, kind):
    async def story(url, visitors):
        for count in (1, 2):
            listener = Listener()
            transport = await open_transport(url, listener)
            await settle(lambda count=count: len(visitors) == count)
            visitors[-1].guest.send(b"hello")
            await listener.until(lambda heard: heard.data == b"hello")
            visitors[-1].guest.hang_up()
            assert visitors[-1].gone == 1
            await listener.until(lambda heard: heard.lost)
            assert isinstance(listener.lost[0], TransportError)
            transport.close()
            visitors[-1].guest.send(b"into nothing")
            visitors[-1].guest.hang_up()
            assert visitors[-1].gone == 1

    with_door(kind, tmp_path, story)


def test_a_host_that_reads_nothing_is_hung_up_on(tmp_path):
    async def story(url, visitors):
        path = url.removeprefix("serial:").partition("?")[0]
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
        await settle(lambda: visitors)
        for _ in range(100):
            visitors[0].guest.send(bytes(1024))
        assert visitors[0].gone == 1
        os.close(descriptor)

    with_door("pty", tmp_path, story)


def test_a_door_leaves_the_settings_to_its_hosts(tmp_path):
    """The next one may be setting the line while it is noticed that the last one left; what that did not read goes."""

    async def story(url, visitors):
        path = url.removeprefix("serial:").partition("?")[0]
        host = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        settings = termios.tcgetattr(host)
        settings[3] |= termios.ICANON
        settings[4] = settings[5] = termios.B57600
        termios.tcsetattr(host, termios.TCSANOW, settings)
        settings = termios.tcgetattr(host)
        await settle(lambda: visitors)
        visitors[0].guest.send(b"old words\n")
        await asyncio.sleep(0.05)
        os.close(host)
        await settle(lambda: visitors[0].gone)
        host = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        assert termios.tcgetattr(host) == settings
        with pytest.raises(BlockingIOError):
            os.read(host, 100)
        os.close(host)

    with_door("pty", tmp_path, story)


# ---- replay ---------------------------------------------------------------------------------------------------------


def record(path: Path, *connections: list[tuple[Way, bytes]], byte_time_s: float = 10 / 115200) -> None:
    async def main():
        recorder = Recorder(path, "serial:/dev/ttyUSB0?baud=115200" if byte_time_s else "tcp:beam:502", byte_time_s)
        for pieces in connections:
            number = recorder.opened()
            for way, data in pieces:
                recorder.passed(number, way, data)
            recorder.ended(number, Ending.HOST_LEFT)
        recorder.close()

    asyncio.run(main())


def play(tmp_path, capsys, story, *, dialect: str = "bytes", again: bool = False) -> int:
    async def main():
        recording = read_recording(tmp_path / "wire.mcap")
        async with running(_replay(recording, tmp_path / "stand-in", None, dialect, again), capsys) as replay:
            await story(replay)
            return await replay.task

    return asyncio.run(main())


TALK = [(TO_DEVICE, b"m105\n"), (TO_HOST, b"ok T:20\n")]


@pytest.mark.parametrize("byte_time_s", [0.0, 10 / 115200])
def test_a_replay_ends_well_when_all_of_it_was_played(tmp_path, capsys, byte_time_s):
    record(tmp_path / "wire.mcap", TALK, TALK, byte_time_s=byte_time_s)

    async def story(replay):
        assert replay.url.startswith("serial:" if byte_time_s else "tcp:")
        for _ in range(2):
            await exchange(replay.url, b"m105\n", b"ok T:20\n")

    assert play(tmp_path, capsys, story) == 0
    assert capsys.readouterr().err.count("was played whole") == 2


def test_a_replay_ends_with_the_byte_at_which_the_host_departed(tmp_path, capsys):
    record(tmp_path / "wire.mcap", TALK)

    async def story(replay):
        listener = Listener()
        transport = await open_transport(replay.url, listener)
        transport.write(b"m115\n")
        await listener.until(lambda heard: heard.lost)

    with pytest.raises(MoonkilnError, match=r"departs from the record at its byte 2: sent was b'15\\n'") as caught:
        play(tmp_path, capsys, story)
    assert caught.value.exit_code == 1


def test_a_replay_may_begin_anew_until_it_is_interrupted(tmp_path, capsys):
    record(tmp_path / "wire.mcap", TALK)

    async def story(replay):
        for _ in range(3):
            await exchange(replay.url, b"m105\n", b"ok T:20\n")
        await replay.end()

    assert play(tmp_path, capsys, story, again=True) == 0


def test_a_host_that_leaves_early_is_told_of(tmp_path, capsys):
    record(tmp_path / "wire.mcap", [*TALK, (TO_DEVICE, b"g28\n")])

    async def story(replay):
        await exchange(replay.url, b"m105\n", b"ok T:20\n")

    assert play(tmp_path, capsys, story) == 0
    assert "the host left after 5 of 9 bytes" in capsys.readouterr().err


def test_what_was_recorded_is_listed(tmp_path):
    record(tmp_path / "wire.mcap", [*TALK, (TO_DEVICE, b"\x01\x03")])
    done = run("replay", tmp_path / "wire.mcap", "--list")
    assert done.exit_code == 0 and r"->        0  'm105\n'" in done.stdout and "->        5  01 03" in done.stdout
    assert r"<-        0  'ok T:20\n'" in done.stdout and "host left" in done.stdout


def test_what_cannot_be_played_is_a_sentence(tmp_path):
    (tmp_path / "text.mcap").write_text("G28")
    record(tmp_path / "empty.mcap")
    record(tmp_path / "wire.mcap", TALK)
    done = run("replay", tmp_path / "wire.mcap", "--as", tmp_path / "text.mcap")
    assert done.exit_code == 2 and "a file of that name is there" in done.stderr
    assert (tmp_path / "text.mcap").read_text() == "G28"
    for name, words in [("absent", "cannot be read"), ("text", "is no recording"), ("empty", "holds no connection")]:
        done = run("replay", tmp_path / f"{name}.mcap")
        assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_replay_in_a_process_of_its_own_serves_a_host_of_another(tmp_path):
    record(tmp_path / "wire.mcap", TALK)
    replay = moonkiln("replay", tmp_path / "wire.mcap")
    assert replay.stdout is not None
    url = json.loads(replay.stdout.readline())["url"]
    asyncio.run(exchange(url, b"m105\n", b"ok T:20\n"))
    try:
        _, err = replay.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        replay.kill()
        raise
    assert replay.returncode == 0 and "was played whole: 5 bytes heard" in err
