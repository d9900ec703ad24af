"""What every kind of wire is made of: a Pipe each way, a Line per connection, a Wire per device."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from hil_sim.world.faults.schedule import Fault, Faults, FaultSchedule
from hil_sim.world.wire_point import Point, Tap
from hil_sim.world.wire_struck import Ends, Sickness, Struck

BITS_PER_BYTE = 10  # start, eight data, stop
CHUNK_BYTES = 256  # a whole Modbus RTU frame: a chunk ends where silence can begin
PACED_BOUND = 64 * 1024  # bytes in flight on a line with a baud rate
LOOK_AGAIN_S = 0.0001  # at a line whose last bytes are on their way
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
    ring asks for less. Where it carries an attribute `drop_line`, its wire puts there what hangs the wire up for a
    second: a board can take itself off its bus.
    """

    def attach(self, send: Callable[[bytes], None]) -> Session:
        """A host has connected."""


class Pipe:
    """One direction of one connection: bytes come out in order, in chunks, when the line has carried them.

    With a baud rate a chunk arrives when its last bit does; latency comes on top. Without either it arrives at the
    next turn of the loop, or at once if `inline` (where a real socket lies between anyway). `deliver` gets the
    chunks; `struck_by` makes what strikes them, where something may. At most 64 KiB (paced) or 16 MiB are in flight;
    more is lost and counted.
    """

    __slots__ = (
        "_alive", "_at_once", "_bound", "_byte_time_s", "_chunk_bytes", "_deliver", "_is_plain", "_latency_s", "_loop",
        "_point", "_sent", "_struck", "free_at_s", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        point: Point,
        deliver: Callable[[bytes], None],
        *,
        baud: int | None,
        latency_s: float,
        chunk_bytes: int,
        inline: bool = False,
        struck_by: Callable[[Callable[[bytes, int], None]], Struck] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._point = point
        self._deliver = deliver
        self._byte_time_s = BITS_PER_BYTE / baud if baud else 0.0
        self._latency_s = latency_s
        self._chunk_bytes = chunk_bytes if baud else UNPACED_BOUND
        self._bound = PACED_BOUND if baud else UNPACED_BOUND
        self._at_once = inline and not baud and not latency_s
        self._struck = None if struck_by is None else struck_by(self._hand_over)
        self._is_plain = self._struck is None and point.tap is None  # nothing strikes and nobody listens
        self._alive = True
        self._sent: deque[bytes] = deque()  # chunks on the line: a timer each, and whichever fires brings the first
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
            self._sent.append(bytes(data))
            self._arrive()
            return
        loop, at_s = self._loop, self.free_at_s
        if at_s < (now_s := loop.time()):
            at_s = now_s
        if count <= self._chunk_bytes:
            self.free_at_s = at_s = at_s + count * self._byte_time_s
            self._sent.append(data if type(data) is bytes else bytes(data))
            loop.call_at(at_s + self._latency_s, self._arrive)
            return
        for start in range(0, count, self._chunk_bytes):
            chunk = bytes(data[start : start + self._chunk_bytes])
            at_s += len(chunk) * self._byte_time_s
            self._sent.append(chunk)
            loop.call_at(at_s + self._latency_s, self._arrive)
        self.free_at_s = at_s

    def inject(self, data: bytes) -> None:
        """Bytes that somebody else has put on the line, and that have been under way already: nothing strikes them."""
        if self._alive:
            self.waiting += len(data)
            self._loop.call_at(self._loop.time() + self._latency_s, self._hand_over, data, len(data))

    def quiet_at_s(self) -> float:
        """Loop time at which everything sent so far will have arrived."""
        if not self.waiting:
            return self._loop.time()
        carried_s = self.free_at_s + self._latency_s
        return carried_s if self._struck is None else max(carried_s, self._struck.until_s)

    def cut(self) -> None:
        """Nothing arrives any more."""
        self._alive = False
        self._sent.clear()

    def deliver_to(self, deliver: Callable[[bytes], None]) -> None:
        """Who gets the chunks from now on."""
        self._deliver = deliver

    def _arrive(self) -> None:
        if not self._alive:
            return
        chunk = self._sent.popleft()
        point, count = self._point, len(chunk)
        if self._is_plain:  # nearly every chunk of every run
            point.chunks += 1
            point.bytes += count
            self.waiting -= count
            self._deliver(chunk)
        elif self._struck is not None:
            self._struck.take(chunk)
        else:
            point.chunks += 1
            self._hand_over(chunk, count)

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

    def __init__(
        self, wire: Wire, to_host: Callable[[bytes], None], *, inline: bool, reset: Callable[[], None] | None = None
    ) -> None:
        """`to_host` takes bytes for the host; `inline` as in Pipe; `reset` resets the connection, on a network.

        The session is attached here.
        """
        self._wire = wire
        chunk = int(getattr(wire.emulator, "chunk_bytes", CHUNK_BYTES))
        settings: dict[str, Any] = {
            "baud": wire.baud, "latency_s": wire.latency_s, "chunk_bytes": chunk, "inline": inline,
        }  # fmt: skip
        self._sickness: Sickness | None = None
        if reset is not None and wire.connection.faults is not None:
            self._sickness = Sickness(wire.connection, wire.faults, reset)
        self.outward = Pipe(wire.to_host, to_host, struck_by=self._striker(wire.to_host), **settings)
        self.inward = Pipe(wire.to_device, _to_nobody, struck_by=self._striker(wire.to_device), **settings)
        self.is_open = True
        self._session = wire.emulator.attach(self.outward.send)
        self.inward.deliver_to(self._session.received)

    def _striker(self, point: Point) -> Callable[[Callable[[bytes, int], None]], Struck] | None:
        """What strikes the chunks of one direction; None where nothing ever does."""
        wire, sickness = self._wire, self._sickness
        if point.faults is None and sickness is None:
            return None
        from_host = point is wire.to_device

        def late_s() -> float | None:
            return 0.0 if sickness is None else sickness.late_s(from_host=from_host)

        def echo(chunk: bytes) -> None:
            (self.outward if from_host else self.inward).inject(chunk)

        return lambda hand_over: Struck(point, wire.faults, Ends(hand_over, wire.carry_out, echo, late_s))

    def end(self) -> None:
        """The connection is over: nothing arrives any more, the session hears it once."""
        if self.is_open:
            self.is_open = False
            self.inward.cut()
            self.outward.cut()
            self._session.closed()

    def end_when_carried(self) -> None:
        """The host has left: what it wrote before still arrives, however late, then the session hears it."""
        self.outward.cut()
        self._end_if_carried()

    def _end_if_carried(self) -> None:
        if not self.is_open:
            return
        if not self.inward.waiting:
            self.end()
            return
        loop = asyncio.get_running_loop()
        loop.call_at(max(self.inward.quiet_at_s(), loop.time() + LOOK_AGAIN_S), self._end_if_carried)


def _to_nobody(data: bytes) -> None:
    raise AssertionError(f"{len(data)} bytes came before the device had taken the connection")


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
        if hasattr(emulator, "drop_line"):
            emulator.drop_line = self._drop
        live = faults if isinstance(faults, Faults) else Faults(faults)
        self.faults = live
        self.to_device = Point(f"{name}.to_device", live, tap)
        self.to_host = Point(f"{name}.to_host", live, tap)
        self.connection = Point(f"{name}.connection", live)  # of a network alone, as is the next
        self.listener = Point(f"{name}.listener", live)

    @property
    def points(self) -> list[str]:
        """The places on this wire that faults can strike."""
        return points_of(self.name, self.baud)

    @property
    def strikes(self) -> list[tuple[float, str, Fault]]:
        """(loop time in s, point, fault) of every chunk that was struck, in the order of time."""
        mine = self.points
        return [strike for strike in self.faults.strikes if strike[1] in mine]

    def carry_out(self, fault: Fault) -> None:
        """A `disconnect` or a `replug` strikes."""
        if fault.kind == "replug":
            self.plug_elsewhere(float(fault.arg("back_after_s", 2.0)))
        else:
            self.hang_up(float(fault.arg("back_after_s", 1.0)))

    def _drop(self) -> None:
        self.hang_up(1.0)

    def refuses(self, now_s: float) -> bool:
        """Whether a connection that a host tries to make now is refused."""
        return self.baud is None and self.listener.fault_now(now_s) is not None

    @property
    @abstractmethod
    def port(self) -> str:
        """What the system calls the port at this moment; `url` goes by the device's own name, and finds it always."""

    def plug_elsewhere(self, back_after_s: float) -> None:
        """Cut every connection; the device comes back as another `port` of the same `url`. On TCP it keeps its own."""
        self.hang_up(back_after_s)

    @abstractmethod
    def hang_up(self, back_after_s: float = -1.0) -> None:
        """Cut every connection. The device can be reached again after that many seconds; negative: never."""

    @abstractmethod
    def close(self) -> None:
        """Cut every connection and take the wire away."""


def points_of(name: str, baud: int | None) -> list[str]:
    """The places that faults can strike on a wire of that name: a network (without a baud rate) has two more."""
    ways = ("to_device", "to_host") if baud else ("to_device", "to_host", "connection", "listener")
    return [f"{name}.{way}" for way in ways]
