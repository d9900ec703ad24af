"""Does an outside process take part in virtual time: the same run however slow it is, idle time free, and no silence
that is not told of?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.transport import open_transport
from hil_sim.harness.grant import GrantError, lay_granted
from hil_sim.harness.grant_client import connected
from hil_sim.harness.grant_messages import Done, Event, Grant, MessageError, check_done, line_of, message_of
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.faults import Fault, FaultSchedule

HERE = Path(__file__).parent
CLIENT = HERE.parent / "hil_sim" / "harness" / "grant_client.py"
PAGE = HERE.parent / "docs" / "grant-protocol.md"
ANY = "tcp:127.0.0.1:0"


class Listener:
    """A host's end: (time, bytes) of all that comes."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []

    def data_received(self, data: bytes) -> None:
        self.heard.append((round(asyncio.get_running_loop().time(), 9), data))

    def connection_lost(self, error: Exception | None) -> None:
        pass

    @property
    def text(self) -> str:
        return b"".join(data for _, data in self.heard).decode()


@contextlib.contextmanager
def processes() -> Iterator[Callable[..., Callable[[str], None]]]:
    """Starts reference clients as processes of their own, and sees to it that they end well."""
    started: list[subprocess.Popen[bytes]] = []

    def starter(*words: str) -> Callable[[str], None]:
        return lambda address: started.append(subprocess.Popen([sys.executable, str(CLIENT), address, *words]))

    yield starter
    for process in started:
        assert process.wait(timeout=30) == 0


@contextlib.contextmanager
def scripted(script: Callable[[Any], None]) -> Iterator[Callable[[str], None]]:
    """An outside process of the test's own making: `script(stream)` in a thread, on a socket as a file."""
    threads: list[threading.Thread] = []

    def play(address: str) -> None:
        host, port = address.removeprefix("tcp:").rsplit(":", 1)
        link = socket.create_connection((host, int(port)))
        with link, link.makefile("rwb", buffering=0) as stream, contextlib.suppress(OSError, ValueError):
            script(stream)

    def start(address: str) -> None:
        threads.append(threading.Thread(target=play, args=(address,)))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


def say(stream: Any, **message: Any) -> None:
    stream.write(json.dumps(message).encode() + b"\n")


def hear(stream: Any) -> dict[str, Any]:
    return json.loads(stream.readline())


def hello(stream: Any) -> dict[str, Any]:
    say(stream, type="hello", protocol=1, name="script")
    return hear(stream)


async def three_lines(loop: VirtualLoop, start: Callable[[str], Any], **options: Any) -> tuple[Listener, int]:
    """A host opens the port, waits for the board, and says three lines; the second takes half a second."""
    listener = Listener()
    async with lay_granted("motion", ANY, baud=115200, on_listen=start, **options) as device:
        transport = await open_transport(device.wire.url, listener)
        await asyncio.sleep(0.1)
        for line in (b"M105\n", b"G4 P500\n", b"M118 here\n"):
            transport.write(line)
            await asyncio.sleep(0.2)
        await asyncio.sleep(1.0)
        transport.close()
        await asyncio.sleep(0.1)
    return listener, device.quanta


# ---- a whole run


def test_firmware_in_a_process_of_its_own_answers_in_virtual_time():
    with processes() as starter:
        listener, _ = run_virtual(lambda loop: three_lines(loop, starter()))

    assert listener.text == "start\nok T:21.30 /0.00 B:20.00 /0.00 @:0 B@:0\nok\nhere\nok\n"
    (dwelt_s,) = (at_s for at_s, data in listener.heard if data == b"ok\n")
    assert dwelt_s == pytest.approx(0.3 + 0.5, abs=0.005)  # G4 P500 in virtual milliseconds


def test_bytes_go_on_the_line_at_their_own_time_within_a_quantum():
    async def main(loop: VirtualLoop) -> list[tuple[float, bytes]]:
        listener = Listener()
        async with lay_granted("motion", ANY, baud=115200, quantum_s=0.05, latency_s=0.0, on_listen=start) as device:
            await open_transport(device.wire.url, listener)
            await asyncio.sleep(0.2)
        return listener.heard

    with processes() as starter:
        start = starter()
        heard = run_virtual(main)
    # the board is reset at the first border and boots for 20 ms; `start` and its line end are 6 bytes
    assert heard == [(pytest.approx(0.02 + 60 / 115200, abs=1e-8), b"start\n")]


def test_the_run_is_the_same_however_slow_the_process_is():
    def slow_client(stream: Any) -> None:
        """The reference firmware, which dawdles in real time before some of its quanta."""
        from hil_sim.harness.grant_client import Firmware

        firmware, quanta = Firmware(), 0
        hello(stream)
        while (grant := hear(stream))["type"] == "grant":
            quanta += 1
            if quanta % 7 == 0:
                threading.Event().wait(0.02)
            for event in grant["events"]:
                if event["kind"] == "open":
                    firmware.opened(grant["from_ns"])
                elif event["kind"] == "bytes":
                    firmware.received(grant["from_ns"], bytes.fromhex(event["data"]))
            firmware.run_until(grant["until_ns"])
            out, firmware.sent = firmware.sent, []
            rows = [{"at_ns": at_ns, "kind": "bytes", "data": data.hex()} for at_ns, data in out]
            say(stream, type="done", at_ns=grant["until_ns"], events=rows, idle_until_ns=firmware.idle_until_ns())

    with processes() as starter:
        fast = run_virtual(lambda loop: three_lines(loop, starter()))
    with scripted(slow_client) as start:
        slow = run_virtual(lambda loop: three_lines(loop, start))
    assert fast[0].heard == slow[0].heard and fast[1] == slow[1]


def test_a_real_link_speaks_to_it_and_a_struck_line_is_said_again():
    async def main(loop: VirtualLoop) -> tuple[int, int]:
        faults = FaultSchedule((Fault("flip", "motion.to_device", at_chunk=9, args={"byte": 3, "bit": 0}),))
        async with lay_granted("motion", ANY, baud=115200, on_listen=start, faults=faults) as device:
            link = await MarlinLink.open(device.wire.url)
            for _ in range(8):
                await link.command(b"M105")
            link.close()
            return link.counters.resends, len(device.wire.strikes)

    with processes() as starter:
        start = starter()
        assert run_virtual(main) == (1, 1)


def test_idle_time_costs_no_quanta():
    async def main(loop: VirtualLoop) -> tuple[int, float]:
        async with lay_granted("motion", ANY, on_listen=start) as device:
            listener = Listener()
            transport = await open_transport(device.wire.url, listener)
            await asyncio.sleep(30 * 86400.0)
            transport.write(b"M105\n")
            await asyncio.sleep(1.0)
            assert listener.text.endswith("B@:0\n")
            transport.close()
        return device.quanta, loop.time()

    with processes() as starter:
        start = starter()
        quanta, sim_s = run_virtual(main)
    assert sim_s > 30 * 86400 and quanta < 20


def test_a_unix_socket_carries_it_as_well(tmp_path):
    async def main(loop: VirtualLoop) -> str:
        listener = Listener()
        async with lay_granted("motion", f"unix:{tmp_path / 'gate'}", on_listen=start) as device:
            await open_transport(device.wire.url, listener)
            await asyncio.sleep(0.1)
        return listener.text

    with processes() as starter:
        start = starter()
        assert run_virtual(main) == "start\n"
    assert not (tmp_path / "gate").exists()


def test_the_conversation_of_the_page_is_the_one_that_is_had(tmp_path):
    async def main(loop: VirtualLoop) -> None:
        async with lay_granted("motion", ANY, baud=115200, quantum_s=0.01, on_listen=start) as device:
            transport = await open_transport(device.wire.url, Listener())
            await asyncio.sleep(0.05)
            transport.write(b"M105\n")
            await asyncio.sleep(0.05)
            transport.close()
            await asyncio.sleep(0.05)

    with processes() as starter:
        start = starter(str(tmp_path / "log"))
        run_virtual(main, seed=7)
    (told,) = re.findall(r"^```text\n(process: .*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert (tmp_path / "log").read_text() == told


# ---- what goes wrong


def lives_then(stream: Any, last: Callable[[dict[str, Any]], None]) -> None:
    """Two good quanta, then `last(grant)`."""
    hello(stream)
    for _ in range(2):
        say(stream, type="done", at_ns=hear(stream)["until_ns"])
    last(hear(stream))


def hangs(stream: Any) -> None:
    lives_then(stream, lambda grant: stream.readline())


def leaves(stream: Any) -> None:
    lives_then(stream, lambda grant: None)


def overruns(stream: Any) -> None:
    lives_then(stream, lambda grant: say(stream, type="done", at_ns=grant["until_ns"] + 1))


def speaks_of_the_past(stream: Any) -> None:
    late = {"at_ns": 1000, "kind": "bytes", "data": "6f6b"}
    lives_then(stream, lambda grant: say(stream, type="done", at_ns=grant["until_ns"], events=[late]))


def babbles(stream: Any) -> None:
    lives_then(stream, lambda grant: stream.write(b"ok\n"))


def never_ends_its_line(stream: Any) -> None:
    lives_then(stream, lambda grant: [stream.write(b" " * 65536) for _ in range(40)])


def fails(stream: Any) -> None:
    lives_then(stream, lambda grant: say(stream, type="failed", reason="illegal instruction at 0x800"))


def greets_twice(stream: Any) -> None:
    lives_then(stream, lambda grant: say(stream, type="hello", protocol=1, name="again"))


def speaks_another_protocol(stream: Any) -> None:
    say(stream, type="hello", protocol=2, name="newer")
    stream.readline()


def says_no_hello(stream: Any) -> None:
    say(stream, type="done", at_ns=0)
    stream.readline()


def answers_twice(stream: Any) -> None:
    """For this quantum, and for one that it has not been granted."""

    def twice(grant: dict[str, Any]) -> None:
        rows = [{"type": "done", "at_ns": grant["until_ns"] + n * 1_000_000} for n in range(2)]
        stream.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        stream.readline()

    lives_then(stream, twice)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            answers_twice,
            r"out of step: it spoke before it was granted time: b'{\"type\": \"done\", \"at_ns\": 4000000}'",
        ),
        (hangs, r"has said nothing for 0\.3 s of real time since it was granted 0\.002 to 0\.003 s: it hangs"),
        (leaves, r"has closed the connection since it was granted 0\.002 to 0\.003 s"),
        (overruns, r"out of step: it was granted time until 3000000 ns and is done at 3000001 ns"),
        (speaks_of_the_past, r"out of step: bytes at 1000 ns, which is not between 2000000 and 3000000 ns"),
        (babbles, r"does not keep the protocol: b'ok' is no message"),
        (never_ends_its_line, r"without a line end"),
        (fails, r"cannot go on: illegal instruction at 0x800"),
        (greets_twice, r"answered a grant with 'hello'"),
        (speaks_another_protocol, r"speaks grant protocol 2, and this is 1"),
        (says_no_hello, r"its first line must be a hello"),
    ],
)
def test_an_outside_process_that_does_not_keep_the_protocol_fails_the_run_with_a_sentence(script, sentence):
    with scripted(script) as start, pytest.raises(GrantError, match=f"motion: .*{sentence}"):
        run_virtual(lambda loop: three_lines(loop, start, deadline_s=0.3))


def test_nobody_who_connects_is_told_of():
    with pytest.raises(GrantError, match=r"within 0\.1 s nobody connected to tcp:127\.0\.0\.1:\d+"):
        run_virtual(lambda loop: three_lines(loop, lambda address: None, hello_s_max=0.1))


def test_real_time_is_refused():
    async def main() -> None:
        async with lay_granted("motion", ANY):
            pass

    with pytest.raises(GrantError, match="granted time is virtual time"):
        asyncio.run(main())


@pytest.mark.parametrize(
    "address", ["tcp:localhost", "tcp::80", "serial:/dev/x", "unix:", "tcp:localhost:http", "tcp:localhost:99999"]
)
def test_an_address_that_is_none_is_refused(address):
    async def main(loop: VirtualLoop) -> None:
        async with lay_granted("motion", address):
            pass

    with pytest.raises(ValueError, match="is no address to connect to"):
        connected(address)
    with pytest.raises(ValueError, match="is no address to listen at"):
        run_virtual(main)


# ---- messages


@given(st.binary(max_size=200))
def test_any_line_is_a_message_or_a_sentence(line):
    with contextlib.suppress(MessageError):
        assert message_of(line_of(message_of(line))) == message_of(line)


EVENTS = st.builds(
    Event, at_ns=st.integers(0, 10_000), kind=st.sampled_from(["open", "bytes", "close"]),
    data=st.binary(max_size=4).map(bytes.hex),
)  # fmt: skip


@given(st.builds(Done, at_ns=st.integers(0, 10_000), events=st.lists(EVENTS, max_size=3).map(tuple)))
def test_a_done_that_is_let_through_lies_in_its_quantum_and_in_order(done):
    grant = Grant(2_000, 7_000, ())
    assert message_of(line_of(done)) == done
    with contextlib.suppress(MessageError):
        check_done(done, grant)
        times = [event.at_ns for event in done.events]
        assert done.at_ns == 7_000 and times == sorted(times) and all(2_000 <= at <= 7_000 for at in times)
        assert all(event.kind == "bytes" and event.data for event in done.events)


def test_the_reference_client_needs_nothing_but_python(tmp_path):
    """It is copied to where a simulator lives, and runs there alone."""
    copy = tmp_path / "client.py"
    copy.write_bytes(CLIENT.read_bytes())
    done = subprocess.run([sys.executable, "-I", "-S", str(copy)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "give the address to connect to" in done.stderr


# ---- the reference client and a peer that is none


def client_of(said: bytes) -> subprocess.CompletedProcess[str]:
    """The reference client, of a peer that says that to its hello and leaves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        process = subprocess.Popen([sys.executable, str(CLIENT), address], stderr=subprocess.PIPE, text=True)
        link, _ = server.accept()
        with link, link.makefile("rb") as lines:
            lines.readline()
            link.sendall(said)
        _, words = process.communicate(timeout=60)
    return subprocess.CompletedProcess(address, process.returncode, "", words)


WELCOME = b'{"type":"welcome","protocol":1,"wire":"motion","baud":null,"quantum_ns":1000,"now_ns":0,"seed":0}\n'
END = b'{"type":"end","reason":"the run is over"}\n'


def test_the_reference_client_ends_well_by_the_word_end_alone() -> None:
    assert client_of(WELCOME + END).returncode == 0


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"", "the connection was closed before moonkiln said end"),
        (WELCOME, "the connection was closed before moonkiln said end"),
        (WELCOME + END[:-1], "the connection was closed before moonkiln said end"),
        (b'{"type":"welcome"}\n', "is no welcome to grant protocol 1"),
        (WELCOME.replace(b":1,", b":2,", 1), "is no welcome to grant protocol 1"),
        (END, "is no welcome to grant protocol 1"),
        (b"garbage\n", "b'garbage\\n' is no message"),
        (b"\xff\n", "is no message"),
        (b"[1]\n", "is no message"),
        (WELCOME + b'{"type":"fail"}\n', "moonkiln says no 'fail'"),
        (WELCOME + b'{"type":"grant","from_ns":0}\n', "is no grant"),
        (WELCOME + WELCOME, "is no grant"),
    ],
)
def test_the_reference_client_takes_no_lost_or_strange_peer_for_success(said: bytes, sentence: str) -> None:
    done = client_of(said)
    assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize(("address", "sentence"), [("nonsense", "is no address"), ("tcp:127.0.0.1:1", "refused")])
def test_the_reference_client_says_where_it_could_not_connect(address: str, sentence: str) -> None:
    done = subprocess.run([sys.executable, str(CLIENT), address], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and address in done.stderr and sentence in done.stderr
    assert "Traceback" not in done.stderr
