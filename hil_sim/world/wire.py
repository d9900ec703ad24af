"""Wires: what lies between a host's transport and an emulated device, in memory, on a pty or on loopback TCP.

    wire = await lay_virtual("motion", emulator, baud=115200)         # sim:motion, on this loop only
    wire = await lay_pty("/run/bench", "motion", emulator, baud=115200)   # serial:/run/bench/motion?baud=115200
    wire = await lay_tcp("beam", emulator)                            # tcp:127.0.0.1:PORT

An emulator knows no wire: it is handed `send` once per connection and gives back a session that takes bytes. All three
kinds pace, delay and strike bytes with the same Pipe.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any

from firmware_bridge.errors import TransportError
from firmware_bridge.transport import WRITE_QUEUE_BYTES, Receiver, Transport, register_scheme
from hil_sim.virtual_process import current_process
from hil_sim.world.faults.schedule import Faults, FaultSchedule
from hil_sim.world.process_wire import ProcessTransport
from hil_sim.world.wire_line import BITS_PER_BYTE, UNPACED_BOUND, Emulator, Line, Session, Wire
from hil_sim.world.wire_point import Tap
from hil_sim.world.wire_pty import PtyWire

__all__ = ["Emulator", "Session", "Tap", "Wire", "lay_pty", "lay_tcp", "lay_virtual"]

DEFAULT_LATENCY_S = 0.0002  # one way: a cable, a USB bridge and two drivers, kindly


async def lay_virtual(
    name: str,
    emulator: Emulator,
    *,
    baud: int | None = None,
    latency_s: float = DEFAULT_LATENCY_S,
    faults: Faults | FaultSchedule | None = None,
    tap: Tap | None = None,
) -> Wire:
    """A wire in memory, at `sim:NAME` for hosts on the running loop (virtual or not).

    With a baud rate it is a serial line: paced both ways, one host at a time. Without one it takes several at once.
    """
    wires = _wires_here()
    if name in wires:
        raise ValueError(f"sim:{name} is laid already on this loop; close that wire or take another name")
    wire = VirtualWire(name, f"sim:{name}", emulator, baud=baud, latency_s=latency_s, faults=faults, tap=tap)
    wires[name] = wire
    return wire


async def lay_pty(
    directory: str | os.PathLike[str],
    name: str,
    emulator: Emulator,
    *,
    baud: int,
    faults: Faults | FaultSchedule | None = None,
    tap: Tap | None = None,
) -> Wire:
    """A pseudo terminal at DIRECTORY/NAME (a symlink, re-made atomically), paced to `baud` both ways.

    It keeps no slave open: the device notices when a host comes (within about 25 ms) and leaves. A host that sets
    another baud rate gets, and gives, garbage, as on a real line. Raises OSError where a pty or symlink cannot be made.
    """
    return PtyWire(directory, name, emulator, baud=baud, faults=faults, tap=tap)


async def lay_tcp(
    name: str,
    emulator: Emulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    faults: Faults | FaultSchedule | None = None,
    tap: Tap | None = None,
) -> Wire:
    """A TCP server (port 0: any free one), several connections at once. Works in virtual time too, in memory."""
    wire = TcpWire(name, emulator, faults=faults, tap=tap)
    await wire.listen(host, port)
    return wire


# ---- in memory ------------------------------------------------------------------------------------------------------

_WIRES = "_wires_in_memory"


def _wires_here() -> dict[str, VirtualWire]:
    """The running loop's own wires: loops of one process do not see each other's.

    They hang on the loop itself, so that a loop and wires that nobody closed are garbage together: a wire knows its
    loop, and a table beside them would keep both for ever. Not by `vars()`: CPython looks up every method of an object
    the slow way once its dictionary has been asked for.
    """
    loop: Any = asyncio.get_running_loop()
    wires: dict[str, VirtualWire] | None = getattr(loop, _WIRES, None)
    if wires is None:
        setattr(loop, _WIRES, wires := {})
    return wires


class VirtualWire(Wire):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._ends: list[_VirtualTransport] = []
        self._lines: list[Line] = []
        self._absent_until_s = 0.0
        self._plugs = 0
        self._loop = asyncio.get_running_loop()  # it may be taken away when that runs no more

    @property
    def port(self) -> str:
        return f"{self.url}@{self._plugs}"

    def connect(self, receiver: Receiver, port: str = "") -> Transport:
        now_s = asyncio.get_running_loop().time()
        if port and port != str(self._plugs):
            raise TransportError(f"there is no port {self.url}@{port}: the device is at {self.port} now.")
        if self.refuses(now_s):
            raise TransportError(f"{self.url} refuses the connection: nothing serves it there. Is the device running?")
        if now_s < self._absent_until_s:
            raise TransportError(f"{self.url} is absent: the device has hung up. Plug it in again or wait for it.")
        if self.baud and self._ends:
            raise TransportError(f"{self.url} is in use: a serial line serves one host at a time. Close the other one.")
        if self.baud:
            for line in self._lines:  # its host has left and its last bytes are still on the line
                line.end()
        self._lines = [line for line in self._lines if line.is_open]
        try:
            end = _VirtualTransport(self, receiver)
        except ConnectionRefusedError as error:
            raise TransportError(f"{self.url} takes no more connections. Close one of the others.") from error
        self._ends.append(end)
        self._lines.append(end.line)
        return end

    def left(self, end: _VirtualTransport) -> None:
        if end in self._ends:
            self._ends.remove(end)

    def hang_up(self, back_after_s: float = -1.0) -> None:
        self._absent_until_s = self._loop.time() + back_after_s if back_after_s >= 0 else float("inf")
        for end in list(self._ends):
            end.lose(TransportError(f"{self.url} was lost: the device has hung up. Check its cable and its power."))
        for line in self._lines:
            line.end()
        self._lines.clear()

    def plug_elsewhere(self, back_after_s: float) -> None:
        self._plugs += 1 if self.baud else 0
        self.hang_up(back_after_s)

    def close(self) -> None:
        wires: dict[str, VirtualWire] = getattr(self._loop, _WIRES, {})
        if wires.get(self.name) is self:
            del wires[self.name]
        self.hang_up()


class _VirtualTransport(Transport):
    """The host's end of a wire in memory."""

    def __init__(self, wire: VirtualWire, receiver: Receiver) -> None:
        super().__init__(wire.url, receiver, BITS_PER_BYTE / wire.baud if wire.baud else 0.0)
        self._wire = wire
        self.line = Line(wire, receiver.data_received, inline=False, reset=None if wire.baud else self._reset)

    def write(self, data: bytes) -> None:
        inward = self.line.inward
        if self._open and inward.waiting + len(data) <= WRITE_QUEUE_BYTES:
            inward.send(data)
        else:
            super().write(data)  # says why not

    def _send(self, data: bytes) -> None:
        self.line.inward.send(data)

    def _waiting_bytes(self) -> int:
        return self.line.inward.waiting

    def _release(self) -> None:
        self._wire.left(self)
        if self.line.is_open:
            self.line.end_when_carried()

    def _reset(self) -> None:
        self.lose(
            TransportError(f"{self.url}: the connection broke (the peer has reset it). Is the device restarting?")
        )

    def lose(self, error: TransportError) -> None:
        self.line.end()
        self._finish(error)


async def _open_sim(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    target = url.partition(":")[2].partition("?")[0]  # `?baud=N` is for whoever plans the bus: the wire knows its own
    name, _, port = target.partition("@")
    wire = _wires_here().get(name)
    if wire is None:
        laid = ", ".join(sorted(_wires_here())) or "none"
        raise TransportError(f"{url}: no wire of that name is laid on this loop (laid: {laid}).")
    await asyncio.sleep(wire.latency_s)
    process = current_process()
    if process is None:
        return wire.connect(receiver, port)
    return ProcessTransport(process, wire.url, receiver, lambda ear: wire.connect(ear, port))


register_scheme("sim", _open_sim)


# ---- TCP ------------------------------------------------------------------------------------------------------------


class TcpWire(Wire):
    def __init__(
        self, name: str, emulator: Emulator, *, faults: Faults | FaultSchedule | None, tap: Tap | None
    ) -> None:
        super().__init__(name, "", emulator, baud=None, latency_s=0.0, faults=faults, tap=tap)
        self.ends: list[_TcpEnd] = []
        self._server: asyncio.AbstractServer | None = None
        self._absent_until_s = 0.0

    async def listen(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _TcpEnd(self), host, port)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"tcp:{host}:{port}"

    @property
    def port(self) -> str:
        return self.url

    def takes_nobody(self) -> bool:
        """Whether a connection that was just made is reset at once."""
        now_s = asyncio.get_running_loop().time()
        return now_s < self._absent_until_s or self.refuses(now_s)

    def hang_up(self, back_after_s: float = -1.0) -> None:
        """Reset every connection; one that is made before the device is back is reset at once."""
        now_s = asyncio.get_running_loop().time()
        self._absent_until_s = now_s + back_after_s if back_after_s >= 0 else float("inf")
        for end in list(self.ends):
            end.cut()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.hang_up()


_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


class _TcpEnd(asyncio.Protocol):
    """The device's end of one TCP connection."""

    def __init__(self, wire: TcpWire) -> None:
        self._wire = wire
        self._transport: Any = None
        self._line: Line | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # asyncio has set TCP_NODELAY
        if self._wire.takes_nobody():
            self._transport.abort()
            return
        try:
            self._line = Line(self._wire, self._to_host, inline=True, reset=self.cut)
        except ConnectionRefusedError:  # the device takes no more of them
            self._transport.abort()
            return
        self._wire.ends.append(self)

    def _to_host(self, data: bytes) -> None:
        if self._transport.get_write_buffer_size() > UNPACED_BOUND:
            self._wire.to_host.lose(len(data))
            return
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self._line is not None:
            self._line.inward.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._line is not None:
            self._line.end_when_carried()
        if self in self._wire.ends:
            self._wire.ends.remove(self)

    def cut(self) -> None:
        if (endpoint := self._transport.get_extra_info("socket")) is not None:  # none in virtual time
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self._transport.abort()
        if self._line is not None:
            self._line.end()
