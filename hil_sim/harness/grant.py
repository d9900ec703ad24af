"""An outside process at the far end of a wire, in virtual time: firmware in an instruction-set simulator, for example.

    async with lay_granted("motion", "tcp:127.0.0.1:0", baud=115200, on_listen=start_simulator) as device:
        ... a host speaks to device.wire.url ...

The outside process lives by quanta. At each border of a quantum it gets what came on the wire before, and leave to live
until the next border; the loop stands still until it says what it sent. So neither waits for the other's real speed,
and the same run comes out however fast both are. `docs/grant-protocol.md` is the contract.

An adapter: the one place where a virtual run looks at a real socket, and at a real clock for its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from hil_sim.harness.grant_messages import (
    LINE_BYTES_MAX,
    PROTOCOL,
    Done,
    End,
    Event,
    Failed,
    Grant,
    Hello,
    Message,
    MessageError,
    Welcome,
    check_done,
    line_of,
    message_of,
)
from hil_sim.virtual_time import SimError, VirtualLoop
from hil_sim.world.faults.schedule import Faults, FaultSchedule
from hil_sim.world.wire import DEFAULT_LATENCY_S, Tap, Wire, lay_virtual

DEADLINE_S = 10.0
HELLO_S_MAX = 30.0
QUANTUM_S = 0.001
NS = 1_000_000_000
PORT_MAX = 65535


class GrantError(SimError):
    """The outside process is absent, silent or out of step; the sentence says which and what to do."""


@contextlib.asynccontextmanager
async def lay_granted(
    name: str,
    listen: str,
    *,
    baud: int | None = None,
    latency_s: float = DEFAULT_LATENCY_S,
    quantum_s: float = QUANTUM_S,
    deadline_s: float = DEADLINE_S,
    hello_s_max: float = HELLO_S_MAX,
    faults: Faults | FaultSchedule | None = None,
    tap: Tap | None = None,
    on_listen: Callable[[str], Any] | None = None,
) -> AsyncIterator[GrantedDevice]:
    """Lay `sim:NAME` with an outside process at its far end, and keep it until the block is left.

    Args:
        listen: where the outside process connects, `tcp:HOST:PORT` (port 0: any free one) or `unix:PATH`.
        quantum_s: how long it lives on its own: bytes reach it up to one quantum late.
        deadline_s: real seconds that it may take for one quantum. hello_s_max: and to connect and say hello.
        on_listen: called with the address, its port known, once it can be connected to: start the process there.
        Others: as `hil_sim.world.wire.lay_virtual`.

    Raises:
        ValueError: an address, quantum or baud rate that cannot be.
        GrantError: nobody connected or said hello, or the loop is not in virtual time.
        OSError: the address cannot be listened at.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise GrantError(f"wire {name}: granted time is virtual time; run it by hil_sim.virtual_run.run_virtual")
    quantum_ns = round(quantum_s * NS)
    if quantum_ns < 1000:
        raise ValueError(f"wire {name}: a quantum of {quantum_s:g} s; give 1 us or more")
    with _listening(listen) as (server, address):
        if on_listen is not None:
            on_listen(address)
        peer = Peer(_accepted(server, name, address, hello_s_max), f"{name}: the process at {address}", deadline_s)
    try:
        peer.hello(hello_s_max)
        device = GrantedDevice(loop, peer, quantum_ns)
        now_ns = device.begin()
        peer.send(Welcome(PROTOCOL, name, baud, quantum_ns, now_ns, loop.seed))
        device.wire = await lay_virtual(name, device, baud=baud, latency_s=latency_s, faults=faults, tap=tap)
        try:
            yield device
        finally:
            device.wire.close()  # which may bring a last event
            device.end()
    finally:
        peer.close()


class GrantedDevice:
    """The far end of one wire, an `Emulator` to it. `quanta`: how many were granted."""

    wire: Wire

    def __init__(self, loop: VirtualLoop, peer: Peer, quantum_ns: int) -> None:
        self.quanta = 0
        self._loop = loop
        self._peer = peer
        self._quantum_ns = quantum_ns
        self._lived_ns = 0  # until when the outside process has lived
        self._zero_ns = 0  # borders lie whole quanta behind this
        self._events: list[Event] = []
        self._session: _Session | None = None
        self._border: asyncio.TimerHandle | None = None

    def begin(self) -> int:
        """The first border is now; the loop time in ns."""
        self._zero_ns = self._lived_ns = round(self._loop.time() * NS)
        self._set_border(self._lived_ns)
        return self._zero_ns

    def end(self) -> None:
        """No more quanta."""
        if self._border is not None:
            self._border.cancel()
            self._border = None
        self._peer.farewell("the run is over")

    def attach(self, send: Callable[[bytes], None]) -> _Session:
        """A host has connected: the outside process hears it as DTR would tell it."""
        if self._session is not None and self._session.is_open:
            raise ConnectionRefusedError("granted wires serve one host at a time")
        self._session = _Session(self, send)
        self.happened("open")
        return self._session

    def happened(self, kind: str, data: bytes = b"") -> None:
        """Note an event for the next border; an idle process is woken at the first border that is not over."""
        now_ns = round(self._loop.time() * NS)
        self._events.append(Event(now_ns, kind, data.hex()))  # type: ignore[arg-type]
        behind = now_ns - self._zero_ns
        border_ns = self._zero_ns + -(-behind // self._quantum_ns) * self._quantum_ns
        self._set_border(max(border_ns, self._lived_ns))

    def _set_border(self, at_ns: int) -> None:
        """Have a border then, unless there is an earlier one."""
        at_s = at_ns / NS
        if self._border is not None:
            if self._border.when() <= at_s:
                return
            self._border.cancel()
        self._border = self._loop.call_at(at_s, self._exchange, at_ns)

    def _exchange(self, now_ns: int) -> None:
        """A border: the outside process gets what came, lives for one quantum, and says what it sent."""
        self._border = None
        until_ns = now_ns + self._quantum_ns
        events, self._events = tuple(self._events), []
        done = self._peer.grant(Grant(now_ns, until_ns, events))
        self.quanta += 1
        self._lived_ns = until_ns
        session = self._session
        for event in done.events:
            # the loop stands at the quantum's beginning: what is sent in it still lies ahead
            self._loop.call_at(max(event.at_ns / NS, self._loop.time()), self._sent, session, bytes.fromhex(event.data))
        if done.idle_until_ns is None:
            self._set_border(until_ns)
        elif done.idle_until_ns >= 0:
            behind = done.idle_until_ns - self._zero_ns  # the border before: what it does then is in that quantum
            self._set_border(self._zero_ns + behind // self._quantum_ns * self._quantum_ns)

    def _sent(self, session: _Session | None, data: bytes) -> None:
        if session is not None and session.is_open:  # else nobody listens at the line
            session.send(data)


class _Session:
    """One connection of a host to a granted device."""

    def __init__(self, device: GrantedDevice, send: Callable[[bytes], None]) -> None:
        self.send = send
        self.is_open = True
        self._device = device

    def received(self, data: bytes) -> None:
        self._device.happened("bytes", data)

    def closed(self) -> None:
        self.is_open = False
        self._device.happened("close")


class Peer:
    """The outside process's socket: whole lines, each within a deadline of real time."""

    def __init__(self, link: socket.socket, who: str, deadline_s: float) -> None:
        self._link = link
        self._who = who
        self._deadline_s = deadline_s
        self._got = bytearray()

    def hello(self, within_s: float) -> None:
        """Its first line. Raises GrantError."""
        message = self._next(within_s, "since it connected")
        if not isinstance(message, Hello):
            raise GrantError(f"{self._who} began with {_kind(message)!r}: its first line must be a hello")
        if message.protocol != PROTOCOL:
            raise GrantError(
                f"{self._who} ({message.name}) speaks grant protocol {message.protocol}, and this is {PROTOCOL}:"
                " bring the older of the two up to date"
            )
        self._who = f"{self._who} ({message.name})"

    def grant(self, grant: Grant) -> Done:
        """Let it live, and take what it did. Raises GrantError."""
        self._refuse_early()
        self.send(grant)
        span = f"since it was granted {grant.from_ns / NS:.9g} to {grant.until_ns / NS:.9g} s"
        message = self._next(self._deadline_s, span)
        if isinstance(message, Failed):
            raise GrantError(f"{self._who} cannot go on: {message.reason}")
        if not isinstance(message, Done):
            raise GrantError(f"{self._who} answered a grant with {_kind(message)!r}: it must be done or failed")
        try:
            check_done(message, grant)
        except MessageError as error:
            raise GrantError(f"{self._who} is out of step: {error}") from error
        return message

    def send(self, message: Message) -> None:
        """Write one line. Raises GrantError."""
        self._link.settimeout(self._deadline_s)
        try:
            self._link.sendall(line_of(message))
        except TimeoutError as error:
            raise GrantError(f"{self._who} has taken no bytes for {self._deadline_s:g} s: is it stopped?") from error
        except OSError as error:
            raise GrantError(f"{self._who} has left ({error}): look into its own log") from error

    def farewell(self, reason: str) -> None:
        """Say that it is over, to whoever is still there."""
        with contextlib.suppress(GrantError):
            self.send(End(reason))

    def close(self) -> None:
        """Give the socket back."""
        self._link.close()

    def _refuse_early(self) -> None:
        """It answers a grant once, and has nothing to say before the next one: what is there now answers none."""
        self._link.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):  # one that is lost is told of by what comes next
            self._got += self._link.recv(65536)
        if self._got:
            line = bytes(self._got).partition(b"\n")[0]
            raise GrantError(f"{self._who} is out of step: it spoke before it was granted time: {line[:80]!r}")

    def _next(self, within_s: float, since: str) -> Message:
        until_s = time.monotonic() + within_s
        while b"\n" not in self._got:
            if len(self._got) > LINE_BYTES_MAX:
                raise GrantError(f"{self._who} sent {len(self._got)} bytes without a line end: is it JSON lines?")
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise self._silent(within_s, since)
            self._link.settimeout(left_s)
            try:
                data = self._link.recv(65536)
            except TimeoutError:
                raise self._silent(within_s, since) from None
            except OSError as error:
                raise GrantError(f"{self._who} was lost ({error}): look into its own log") from error
            if not data:
                raise GrantError(f"{self._who} has closed the connection {since}: look into its own log")
            self._got += data
        line, _, rest = bytes(self._got).partition(b"\n")
        self._got = bytearray(rest)
        try:
            return message_of(line)
        except MessageError as error:
            raise GrantError(f"{self._who} does not keep the protocol: {error}") from error

    def _silent(self, within_s: float, since: str) -> GrantError:
        return GrantError(
            f"{self._who} has said nothing for {within_s:g} s of real time {since}: it hangs, or stands in a debugger,"
            " or needs a longer deadline"
        )


def _kind(message: Message) -> str:
    return type(message).__name__.lower()


@contextlib.contextmanager
def _listening(listen: str) -> Any:
    """A listening socket and its address, for one connection."""
    scheme, _, rest = listen.partition(":")
    host, colon, port = rest.rpartition(":")
    if scheme == "unix" and rest:
        server = socket.socket(socket.AF_UNIX)
        server.bind(rest)
        address, path = listen, rest
    elif scheme == "tcp" and host and colon and port.isdecimal() and int(port) <= PORT_MAX:
        server = socket.create_server((host, int(port)), backlog=1)
        address, path = f"tcp:{host}:{server.getsockname()[1]}", ""
    else:
        raise ValueError(f"{listen!r} is no address to listen at: write tcp:HOST:PORT or unix:PATH")
    try:
        server.listen(1)
        yield server, address
    finally:
        server.close()
        if path:
            os.unlink(path)


def _accepted(server: socket.socket, name: str, address: str, within_s: float) -> socket.socket:
    server.settimeout(within_s)
    try:
        link, _ = server.accept()
    except TimeoutError:
        raise GrantError(
            f"wire {name}: within {within_s:g} s nobody connected to {address}: start the outside process, or look"
            " into its own log"
        ) from None
    if link.family != getattr(socket, "AF_UNIX", None):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link
