"""What every kind of wire is made of: a Pipe each way, a Line per connection, a Wire per device."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from hil_sim.world.faults.schedule import Fault, Faults, FaultSchedule
from hil_sim.world.faults.stream import strike_chunk

log = logging.getLogger(__name__)

BITS_PER_BYTE = 10  # start, eight data, stop
CHUNK_BYTES = 256  # a whole Modbus RTU frame: a chunk ends where silence can begin
PACED_BOUND = 64 * 1024  # bytes in flight on a line with a baud rate
UNPACED_BOUND = 16 * 1024 * 1024  # and on one without: room for a camera's picture


class Session(Protocol):
    """One connection, as the device sees it."""

    def received(self, data: bytes) -> None:
        """Bytes from the host have arrived: at the pace of the line, in order, at most `chunk_bytes` at once."""

    def closed(self) -> None:
        """The host has left (or the wire was cut). The last call; `send` does nothing from now on."""


class Emulator(Protocol):
    """A device at the far end of a wire.

    `attach` is called once per connection: on a serial line at each open (one session at a time), on TCP for every
    connection (several at once). `send` queues bytes to this host; it never blocks and may be called at any time.
    `attach` raises ConnectionRefusedError where the device takes no more connections.
    An emulator may carry an attribute `chunk_bytes: int` (default 256, so that a Modbus RTU frame comes whole): the
    most bytes that one `received` call brings, which is a stretch of the line's time. A device with a small receive
    ring asks for less.
    """

    def attach(self, send: Callable[[bytes], None]) -> Session:
        """A host has connected."""


Tap = Callable[[float, str, bytes], None]
"""tap(loop_time_s, point, bytes) hears every delivered chunk; point is `NAME.to_device` or `NAME.to_host`."""


@dataclass(slots=True)
class Point:
    """A place that faults can strike: one direction of a wire, through all its connections."""

    name: str
    faults: Faults | None = None
    tap: Tap | None = None
    chunks: int = 0
    bytes: int = 0
    lost_bytes: int = 0  # beyond the bound, or refused by the system: what a UART calls an overrun

    def __post_init__(self) -> None:
        if self.faults is not None and not self.faults.touches(self.name):
            self.faults = None

    def fault_now(self, now_s: float) -> Fault | None:
        """Count a chunk and return what strikes it."""
        self.chunks += 1
        return None if self.faults is None else self.faults.event(self.name, now_s)

    def lose(self, count: int) -> None:
        """`count` bytes are gone; said once, counted always."""
        if not self.lost_bytes:
            log.warning("%s: bytes are lost, nobody takes them as fast as they come", self.name)
        self.lost_bytes += count


class Pipe:
    """One direction of one connection: bytes come out in order, in chunks, when the line has carried them.

    With a baud rate a chunk arrives when its last bit does; latency comes on top. Without either it arrives at the
    next turn of the loop, or at once if `inline` (where a real socket lies between anyway). `deliver` gets the
    chunks, `disconnect` the fault of that name. At most 64 KiB (paced) or 16 MiB are in flight; more is lost
    and counted.
    """

    __slots__ = (
        "_alive", "_at_once", "_bound", "_byte_time_s", "_chunk_bytes", "_deliver", "_disconnect", "_is_plain",
        "_latency_s", "_loop", "_not_before_s", "_point", "free_at_s", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        point: Point,
        deliver: Callable[[bytes], None],
        disconnect: Callable[[Fault], None],
        *,
        baud: int | None,
        latency_s: float,
        chunk_bytes: int,
        inline: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._point = point
        self._deliver = deliver
        self._disconnect = disconnect
        self._byte_time_s = BITS_PER_BYTE / baud if baud else 0.0
        self._latency_s = latency_s
        self._chunk_bytes = chunk_bytes if baud else UNPACED_BOUND
        self._bound = PACED_BOUND if baud else UNPACED_BOUND
        self._at_once = inline and not baud and not latency_s
        self._is_plain = point.faults is None and point.tap is None  # nothing strikes and nobody listens
        self._not_before_s = 0.0  # a delayed chunk holds up what follows: a line never reorders
        self._alive = True
        self.free_at_s = 0.0  # when the line has carried what was sent so far
        self.waiting = 0  # bytes sent and not yet arrived

    def send(self, data: bytes) -> None:
        """Put `data` on the line."""
        count, waiting = len(data), self.waiting
        if not count or not self._alive:
            return
        if waiting + count > self._bound:
            keep = max(0, self._bound - waiting)
            self._point.lose(count - keep)
            data = data[:keep]
            count = keep
        self.waiting = waiting + count
        if self._at_once and not waiting:
            self._arrive(bytes(data))
            return
        loop, at_s = self._loop, self.free_at_s
        if at_s < (now_s := loop.time()):
            at_s = now_s
        if count <= self._chunk_bytes:
            self.free_at_s = at_s = at_s + count * self._byte_time_s
            loop.call_at(at_s + self._latency_s, self._arrive, data if type(data) is bytes else bytes(data))
            return
        for start in range(0, count, self._chunk_bytes):
            chunk = bytes(data[start : start + self._chunk_bytes])
            at_s += len(chunk) * self._byte_time_s
            loop.call_at(at_s + self._latency_s, self._arrive, chunk)
        self.free_at_s = at_s

    def quiet_at_s(self) -> float:
        """Loop time at which everything sent so far will have arrived."""
        return max(self.free_at_s + self._latency_s, self._not_before_s) if self.waiting else self._loop.time()

    def cut(self) -> None:
        """Nothing arrives any more."""
        self._alive = False

    def _arrive(self, chunk: bytes) -> None:
        if not self._alive:
            return
        point, count = self._point, len(chunk)
        if self._is_plain:  # nearly every chunk of every run
            point.chunks += 1
            point.bytes += count
            self.waiting -= count
            self._deliver(chunk)
            return
        now_s = self._loop.time()
        if now_s < self._not_before_s:
            self._loop.call_at(self._not_before_s, self._hand_over, chunk, count)
            point.chunks += 1
            return
        fault = point.fault_now(now_s)
        if fault is not None:
            self._suffer(fault, chunk, now_s)
        else:
            self._hand_over(chunk, count)

    def _suffer(self, fault: Fault, chunk: bytes, now_s: float) -> None:
        if fault.kind == "disconnect":
            self._disconnect(fault)
            return
        delay_s, struck = strike_chunk(fault, chunk)
        if delay_s > 0:
            self._not_before_s = now_s + delay_s
            self._loop.call_at(self._not_before_s, self._hand_over, struck, len(chunk))
        else:
            self._hand_over(struck, len(chunk))

    def _hand_over(self, chunk: bytes, sent: int) -> None:
        if not self._alive:
            return
        self.waiting -= sent
        if chunk:
            point = self._point
            point.bytes += len(chunk)
            if point.tap is not None:
                point.tap(self._loop.time(), point.name, chunk)
            self._deliver(chunk)


class Line:
    """One connection between a host and the emulator: two pipes and a session."""

    def __init__(self, wire: Wire, to_host: Callable[[bytes], None], *, inline: bool) -> None:
        """`to_host` takes bytes for the host; `inline` as in Pipe. The session is attached here."""
        self._wire = wire
        chunk = int(getattr(wire.emulator, "chunk_bytes", CHUNK_BYTES))
        settings: dict[str, Any] = {"baud": wire.baud, "latency_s": wire.latency_s, "chunk_bytes": chunk}
        self.outward = Pipe(wire.to_host, to_host, wire.carry_out, inline=inline, **settings)
        self.is_open = True
        self._session = wire.emulator.attach(self.outward.send)
        self.inward = Pipe(wire.to_device, self._session.received, wire.carry_out, inline=inline, **settings)

    def end(self) -> None:
        """The connection is over: nothing arrives any more, the session hears it once."""
        if self.is_open:
            self.is_open = False
            self.inward.cut()
            self.outward.cut()
            self._session.closed()

    def end_when_carried(self) -> None:
        """The host has left: what it wrote before still arrives, then the session hears it."""
        self.outward.cut()
        loop = asyncio.get_running_loop()
        if self.inward.waiting:
            loop.call_at(self.inward.quiet_at_s(), self.end)
        else:
            self.end()


class Wire(ABC):
    """A laid wire. Attributes: `name`, `url` for a host's transport, `to_device` and `to_host` with what passed."""

    def __init__(
        self,
        name: str,
        url: str,
        emulator: Emulator,
        *,
        baud: int | None,
        latency_s: float,
        faults: Faults | FaultSchedule | None,
        tap: Tap | None,
    ) -> None:
        if baud is not None and baud <= 0:
            raise ValueError(f"wire {name}: {baud} baud carries nothing")
        self.name = name
        self.url = url
        self.emulator = emulator
        self.baud = baud
        self.latency_s = latency_s
        live = faults if isinstance(faults, Faults) else Faults(faults)
        self.faults = live
        self.to_device = Point(f"{name}.to_device", live, tap)
        self.to_host = Point(f"{name}.to_host", live, tap)

    @property
    def strikes(self) -> list[tuple[float, str, Fault]]:
        """(loop time in s, point, fault) of every chunk that was struck, in the order of time."""
        mine = self.to_device.name, self.to_host.name
        return [strike for strike in self.faults.strikes if strike[1] in mine]

    def carry_out(self, fault: Fault) -> None:
        """A `disconnect` fault strikes."""
        self.hang_up(float(fault.arg("back_after_s", 1.0)))

    @abstractmethod
    def hang_up(self, back_after_s: float = -1.0) -> None:
        """Cut every connection. The device can be reached again after that many seconds; negative: never."""

    @abstractmethod
    def close(self) -> None:
        """Cut every connection and take the wire away."""
