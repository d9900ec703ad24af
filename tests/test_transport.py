"""Does every way to open, lose and close a byte stream end in one sentence that says what to do?"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
import tty
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_helpers import Listener, settle

from firmware_bridge import ports, transport_serial
from firmware_bridge.errors import BridgeError, TransportError
from firmware_bridge.transport import WRITE_QUEUE_BYTES, Transport, open_transport, register_scheme
from hil_sim.virtual_run import run_virtual

pytestmark = pytest.mark.real_time


async def refusal(url: str, **settings) -> str:
    listener = Listener()
    with pytest.raises(TransportError) as caught:
        await open_transport(url, listener, **settings)
    assert isinstance(caught.value, BridgeError) and not listener.lost and not listener.chunks
    return str(caught.value)


# ---- URLs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "motion", "tcp:", "usb:1", "/dev/ttyUSB0", "http://beam", "rfc2217:10.0.0.7:4000"])
def test_a_url_of_no_known_kind_is_told_what_a_url_looks_like(url):
    text = asyncio.run(refusal(url))
    assert "serial:" in text and "tcp:" in text and url in text


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("serial:/dev/null?bode=9600", "'bode'"), ("serial:/dev/null?parity=X", "parity=X"),
        ("serial:/dev/null?baud=fast", "baud=fast"), ("serial:/dev/null?baud=0", "baud=0"),
        ("tcp:beam", "HOST:PORT"), ("tcp:beam:0", "HOST:PORT"), ("tcp:beam:99999", "HOST:PORT"),
        ("tcp:127.0.0.1:502?fast=1", "'fast'"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(url, word):
    assert word in asyncio.run(refusal(url))


def test_another_scheme_can_be_registered():
    class Null(Transport):
        def _send(self, data):
            pass

        def _waiting_bytes(self):
            return 0

        def _release(self):
            pass

    async def opener(url, receiver, timeout_s):
        return Null(url, receiver, 0.0)

    async def story():
        register_scheme("null", opener)
        transport = await open_transport("null:x", Listener())
        assert transport.url == "null:x" and transport.is_open

    asyncio.run(story())


# ---- serial ---------------------------------------------------------------------------------------------------------


class Pty:
    """A bare pseudo terminal, the test at its master."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.set_blocking(self.master, False)
        self.slave = slave  # held open, so that the master may be read at any time

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unplug()

    def unplug(self):
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)
        self.master = self.slave = -1

    def read(self) -> bytes:
        try:
            return os.read(self.master, 1 << 16)
        except BlockingIOError:
            return b""


def test_an_absent_port_is_told_with_the_ports_that_are_there(tmp_path):
    (tmp_path / "bus0").symlink_to("/dev/null")
    text = asyncio.run(refusal(f"serial:{tmp_path}/motion"))
    assert f"there is no port {tmp_path}/motion" in text and f"Ports found here: {tmp_path}/bus0" in text
    assert "there is no port /dev/ttyUSB77" in asyncio.run(refusal("serial:/dev/ttyUSB77"))


@pytest.fixture
def numbered_pty(tmp_path, monkeypatch):
    """A pty that counts as a numbered port, as /dev/ttyUSB0 is one, with its link in the folder of lasting names."""
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    monkeypatch.setattr(ports, "BY_ID", by_id)
    monkeypatch.setattr(transport_serial, "_NUMBERED", ("/dev/ttyUSB", "/dev/pts/"))
    with Pty() as pty:
        (by_id / "usb-moonkiln_motion-if00").symlink_to(pty.path)
        yield pty


def test_a_numbered_port_that_is_absent_is_told_with_the_lasting_names(numbered_pty, tmp_path):
    text = asyncio.run(refusal("serial:/dev/ttyUSB77"))
    assert "there is no port /dev/ttyUSB77" in text and "under another number" in text and "--url" in text
    assert f"{tmp_path}/by-id/usb-moonkiln_motion-if00 (now {numbered_pty.path})" in text
    assert "another number" not in asyncio.run(refusal(f"serial:{tmp_path}/by-id/usb-moonkiln_bus0-if00"))


@pytest.mark.parametrize("is_lasting", [False, True])
def test_a_numbered_port_that_is_lost_is_told_with_its_lasting_name(numbered_pty, tmp_path, is_lasting):
    async def story():
        listener = Listener()
        name = f"{tmp_path}/by-id/usb-moonkiln_motion-if00"
        await open_transport(f"serial:{name if is_lasting else numbered_pty.path}", listener)
        numbered_pty.unplug()
        await listener.until(lambda listener: listener.lost)
        (error,) = listener.lost
        assert "was lost" in str(error)
        assert (f"call it {name} in [urls]" in str(error)) != is_lasting

    asyncio.run(story())


def test_a_file_is_no_serial_port(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path):
        assert "is no serial port" in asyncio.run(refusal(f"serial:{path}"))


def test_a_busy_port_is_told_and_free_again_after_close():
    async def story():
        with Pty() as pty:
            listener = Listener()
            first = await open_transport(f"serial:{pty.path}", listener)
            assert "in use by another program" in await refusal(f"serial:{pty.path}")
            first.close()
            (await open_transport(f"serial:{pty.path}", Listener())).close()
            lock = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert "in use" in await refusal(f"serial:{pty.path}")
            (await open_transport(f"serial:{pty.path}?exclusive=0", Listener())).close()
            os.close(lock)

    asyncio.run(story())


def test_a_stable_name_and_the_device_that_it_leads_to_are_one_port(tmp_path):
    """`/dev/serial/by-id/...` is a link: whoever holds it holds the device, and the other way round."""

    async def story():
        with Pty() as pty:
            stable = tmp_path / "usb-moonkiln_motion-if00"
            stable.symlink_to(pty.path)
            for first, second in ((stable, pty.path), (pty.path, stable)):
                held = await open_transport(f"serial:{first}", Listener())
                assert f"{second} is in use by another program" in await refusal(f"serial:{second}")
                held.close()

    asyncio.run(story())


def test_a_forbidden_port_is_told_with_the_group_to_join(monkeypatch):
    def no(*args, **settings):
        raise PermissionError(errno.EACCES, "Permission denied")

    def nameless(path):
        raise KeyError(4_000_000)

    async def story():
        with Pty() as pty:
            monkeypatch.setattr("serial.serialposix.os.open", no)
            group = Path(pty.path).group()
            assert f"usermod -aG {group} $USER" in await refusal(f"serial:{pty.path}")
            monkeypatch.setattr(Path, "group", nameless)
            assert "usermod -aG dialout $USER" in await refusal(f"serial:{pty.path}")

    asyncio.run(story())


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), termios.error(errno.EIO, "gone")])
def test_a_port_that_goes_away_while_it_is_opened_is_a_sentence_and_is_given_back(monkeypatch, error):
    def gone(*_):
        raise error

    async def story():
        with Pty() as pty:
            with monkeypatch.context() as patched:
                patched.setattr(transport_serial, "_set_dtr_policy", gone)
                assert pty.path in await refusal(f"serial:{pty.path}")
            (await open_transport(f"serial:{pty.path}", Listener())).close()

    asyncio.run(story())


WORD = st.text(st.characters(codec="utf-8"), max_size=80)


@given(
    st.one_of(
        st.builds("tcp:{}:{}".format, WORD, st.integers(-1, 70000)),
        st.builds("serial:/no/{}?{}={}".format, WORD, st.sampled_from(["baud", "parity", "dtr", "x"]), WORD),
        st.builds("replay:/no/{}?connection={}".format, WORD, WORD),
        WORD,
    )
)
def test_no_url_leaks_an_exception_of_a_library(url):
    class Loop(asyncio.SelectorEventLoop):  # no name is looked up on any network
        async def getaddrinfo(self, host, port, **more):
            host.encode("idna")
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def story():
        with pytest.raises(TransportError):
            await open_transport(url, Listener(), timeout_s=0.1)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(story())


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "\0"])
def test_a_host_that_can_be_none_is_a_sentence(host):
    assert "cannot be a name" in asyncio.run(refusal(f"tcp:{host}:502"))


def test_parity_on_a_pty_is_refused_at_the_first_open_and_at_the_second():
    async def story():
        with Pty() as pty:
            for _ in range(2):
                assert "parity E" in await refusal(f"serial:{pty.path}?parity=E")
            assert "7 bits" in await refusal(f"serial:{pty.path}?bits=7")
            (await open_transport(f"serial:{pty.path}", Listener())).close()

    asyncio.run(story())


def test_bytes_pass_raw_both_ways_and_a_long_write_is_queued_not_blocked():
    async def story():
        with Pty() as pty:
            listener = Listener()
            transport = await open_transport(f"serial:{pty.path}?baud=9600", listener)
            assert transport.byte_time_s == pytest.approx(10 / 9600)
            os.write(pty.master, bytes(range(256)))
            await listener.until(lambda it: it.data == bytes(range(256)))
            payload = os.urandom(60_000)
            transport.write(payload)  # far more than a pty holds
            with pytest.raises(TransportError, match="does not take bytes as fast"):
                transport.write(bytes(WRITE_QUEUE_BYTES))
            got = bytearray()

            def all_read():
                got.extend(pty.read())
                return len(got) == len(payload)

            await settle(all_read)
            assert bytes(got) == payload
            transport.close()

    asyncio.run(story())


def test_close_says_so_once_and_nothing_comes_after_it():
    async def story():
        with Pty() as pty:
            listener = Listener()
            transport = await open_transport(f"serial:{pty.path}", listener)
            os.write(pty.master, b"late")
            transport.close()
            transport.close()
            assert listener.lost == [None] and not transport.is_open
            await asyncio.sleep(0.02)
            assert listener.data == b""
            with pytest.raises(TransportError, match="is closed"):
                transport.write(b"x")

    asyncio.run(story())


@pytest.mark.parametrize("busy", [False, True])
def test_a_port_that_goes_is_told_once_whether_reading_or_writing(busy):
    async def story():
        with Pty() as pty:
            listener = Listener()
            transport = await open_transport(f"serial:{pty.path}", listener)
            if busy:
                transport.write(bytes(60_000))
            pty.unplug()
            if busy:
                transport.write(b"more")
            await listener.until(lambda it: it.lost)
            await asyncio.sleep(0.02)
            assert len(listener.lost) == 1 and "has gone" in str(listener.lost[0]) and not transport.is_open
            transport.close()
            assert len(listener.lost) == 1

    asyncio.run(story())


def test_a_write_that_fails_is_told_from_the_loop_once(monkeypatch):
    async def story():
        with Pty() as pty:
            listener = Listener()
            transport = await open_transport(f"serial:{pty.path}", listener)

            def fail(fd, data):
                raise OSError(errno.EIO, "Input/output error")

            monkeypatch.setattr("firmware_bridge.transport_serial.os.write", fail)
            transport.write(b"one")
            transport.write(b"two")
            assert not listener.lost  # not from inside write()
            monkeypatch.undo()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(listener.lost) == 1 and "Input/output error" in str(listener.lost[0])

    asyncio.run(story())


def test_dtr_pulse_on_a_port_without_dtr_is_no_error():
    async def story():
        with Pty() as pty:
            (await open_transport(f"serial:{pty.path}?dtr=pulse", Listener())).close()

    asyncio.run(story())


def test_dtr_hold_keeps_the_system_from_dropping_dtr_at_the_last_close():
    async def hupcl(policy):
        with Pty() as pty:
            settings = termios.tcgetattr(pty.slave)
            settings[2] |= termios.HUPCL  # what a real port comes with
            termios.tcsetattr(pty.slave, termios.TCSANOW, settings)
            transport = await open_transport(f"serial:{pty.path}?dtr={policy}", Listener())
            flags = termios.tcgetattr(pty.slave)[2]
            transport.close()
            return bool(flags & termios.HUPCL)

    assert not asyncio.run(hupcl("hold")) and asyncio.run(hupcl("pulse"))


def test_virtual_time_has_no_serial_ports():
    async def main(loop):
        return await refusal("serial:/dev/ttyUSB0")

    assert "virtual time" in run_virtual(main)


# ---- TCP ------------------------------------------------------------------------------------------------------------


def test_a_refused_an_unknown_and_a_silent_host_get_their_own_sentences(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "refuses port" in asyncio.run(refusal(f"tcp:127.0.0.1:{port}"))
    assert "refuses port" in asyncio.run(refusal(f"tcp:localhost:{port}"))

    async def fails_with(error):
        async def fail(*args, **settings):
            if error is None:
                await asyncio.sleep(10)
            raise error

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        return await refusal("tcp:beam:502", timeout_s=0.02)

    assert "name 'beam' is not known" in asyncio.run(fails_with(socket.gaierror(-2, "Name or service not known")))
    assert "cannot be reached" in asyncio.run(fails_with(OSError(errno.EHOSTUNREACH, "No route to host")))
    assert "no answer within 0.02 s" in asyncio.run(fails_with(None))


def test_tcp_sets_its_options_and_tells_a_peer_that_leaves_or_breaks():
    async def story():
        accepted = []
        server = await asyncio.start_server(lambda r, w: accepted.append((r, w)), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for breaks in (False, True):
            listener = Listener()
            transport = await open_transport(f"tcp:127.0.0.1:{port}", listener)
            assert transport.byte_time_s == 0.0
            endpoint = transport._stream.get_extra_info("socket")
            assert endpoint.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            transport.write(b"hello")
            await settle(lambda: accepted)
            reader, writer = accepted.pop()
            assert await reader.readexactly(5) == b"hello"
            if breaks:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()
            await listener.until(lambda it: it.lost)
            word = "broke" if breaks else "has closed the connection"
            assert len(listener.lost) == 1 and word in str(listener.lost[0]) and not transport.is_open
        server.close()

    asyncio.run(story())


def test_tcp_bounds_what_a_peer_does_not_read_and_close_is_silent():
    async def story():
        hold = []
        server = await asyncio.start_server(lambda r, w: hold.append(w), "127.0.0.1", 0, limit=1024)
        listener = Listener()
        transport = await open_transport(f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}", listener)
        with pytest.raises(TransportError, match="does not take bytes as fast"):
            for _ in range(10_000):  # the system's own buffers take some megabytes first
                transport.write(bytes(60_000))
        transport.close()
        assert listener.lost == [None]
        await settle(lambda: hold)
        hold[0].write(b"late")
        await asyncio.sleep(0.02)
        assert listener.lost == [None] and listener.data == b""
        hold[0].transport.abort()
        server.close()

    asyncio.run(story())


def test_a_stop_overtakes_what_the_computer_still_holds_of_a_serial_line() -> None:
    """A pseudo terminal that nobody reads holds what was written, as a driver's buffer does."""

    async def main() -> None:
        master, slave = os.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        transport = await open_transport(f"serial:{os.ttyname(slave)}?baud=115200", Listener())
        try:
            for number in range(4000):
                transport.write(b"N%d G1 X1 Y1*0\n" % number)
            transport.overtake(b"\nM112\n")
            os.set_blocking(master, False)
            heard = b""
            for _ in range(40):
                await asyncio.sleep(0.005)
                with contextlib.suppress(BlockingIOError):
                    heard += os.read(master, 65536)
            assert heard.endswith(b"\nM112\n") and len(heard) < 8192, "what its other end has taken already is left"
        finally:
            transport.close()
            os.close(master)
            os.close(slave)

    asyncio.run(main())
