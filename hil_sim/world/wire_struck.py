"""One direction of one connection under faults: what becomes of a chunk between the line's end and who reads it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hil_sim.world.faults.comms import latency_s
from hil_sim.world.faults.schedule import Fault, Faults
from hil_sim.world.faults.stream import split_at, strike_chunk
from hil_sim.world.wire_point import Point

RING_BYTES = 128
SWAP_WAIT_S = 0.25
SPLIT_GAP_S = 0.02


@dataclass(frozen=True)
class Ends:
    """What a struck pipe can do to the rest of the wire.

    hand_over(chunk, sent): deliver `chunk` (possibly nothing) for `sent` bytes of the line. cut(fault): a `disconnect`
    or `replug` strikes the wire. echo(chunk): bytes go back to their sender. late_s(): how late the connection carries
    this chunk, s, None: it vanishes.
    """

    hand_over: Callable[[bytes, int], None]
    cut: Callable[[Fault], None]
    echo: Callable[[bytes], None]
    late_s: Callable[[], float | None]


class _Held(NamedTuple):
    at_s: float
    chunk: bytes
    sent: int


class Struck:
    """Takes chunks as the line brings them, strikes them, and hands them over, late or not, in order."""

    def __init__(self, point: Point, faults: Faults, ends: Ends) -> None:
        self._loop = asyncio.get_running_loop()
        self._point = point
        self._faults = faults
        self._ends = ends
        self._held: deque[_Held] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._aside: bytes | None = None  # waits for the chunk that comes before it
        self._aside_timer: asyncio.TimerHandle | None = None
        self._ring: tuple[Fault, int] | None = None  # an overrun, and how full its ring is
        self._until_s = 0.0
        self._came: bytes | None = None  # the chunk that is being struck, until it is handed over as it is

    @property
    def until_s(self) -> float:
        """Loop time until which something that was taken is held back."""
        return self._until_s if self._aside_timer is None else max(self._until_s, self._aside_timer.when())

    def take(self, chunk: bytes) -> None:
        """The line has carried a chunk (never empty)."""
        late_s = self._ends.late_s()
        fault = self._point.fault_now(self._loop.time())
        if late_s is None:
            self._ends.hand_over(b"", len(chunk))
            return
        before = self._take_aside()
        if fault is None or (fault.kind == "swap" and before is not None):
            self._pass(chunk, len(chunk), late_s)
        else:
            self._strike_seen(fault, chunk, late_s)
        if before is not None:
            self._pass(before, len(before), late_s)

    def _strike_seen(self, fault: Fault, chunk: bytes, late_s: float) -> None:
        """Strike, and note whether the chunk, which would have been handed over now, was not, or not as it came."""
        is_next = late_s <= 0.0 and not self._held and self._until_s <= self._loop.time()
        self._came = chunk
        self._strike(fault, chunk, late_s)
        if is_next and self._came is not None:
            self._faults.show(fault)
        self._came = None

    def _strike(self, fault: Fault, chunk: bytes, late_s: float) -> None:
        count = len(chunk)
        match fault.kind:
            case "swap":
                self._put_aside(chunk, float(fault.arg("wait_s", SWAP_WAIT_S)))
            case "disconnect" | "replug":
                self._ends.hand_over(b"", count)
                self._ends.cut(fault)
            case "stall":
                self._pass(chunk, count, max(late_s, self._window_left_s(fault)))
            case "overrun":
                self._pass(self._into_ring(fault, chunk), count, max(late_s, self._window_left_s(fault)))
            case "split":
                at = split_at(fault, chunk)
                self._pass(chunk[:at], at, late_s)
                self._pass(chunk[at:], count - at, late_s + float(fault.arg("gap_s", SPLIT_GAP_S)) if at else late_s)
            case "echo":
                self._ends.echo(chunk)
                self._pass(chunk, count, late_s)
            case _:
                delay_s, struck = strike_chunk(fault, chunk, self._point.chunks - 1)
                self._pass(struck, count, late_s + delay_s)

    def _window_left_s(self, fault: Fault) -> float:
        return self._faults.ends_s(fault) - self._loop.time()

    def _into_ring(self, fault: Fault, chunk: bytes) -> bytes:
        """As much of the chunk as the unread ring still takes."""
        full = self._ring[1] if self._ring is not None and self._ring[0] is fault else 0
        kept = chunk[: max(0, int(fault.arg("bytes", RING_BYTES)) - full)]
        self._ring = fault, full + len(kept)
        if len(kept) < len(chunk):
            self._point.lose(len(chunk) - len(kept))
        return kept

    # ---- swap -------------------------------------------------------------------------------------------------------

    def _put_aside(self, chunk: bytes, wait_s: float) -> None:
        self._aside = chunk
        self._aside_timer = self._loop.call_later(wait_s, self._nothing_follows)

    def _take_aside(self) -> bytes | None:
        aside, self._aside = self._aside, None
        if self._aside_timer is not None:
            self._aside_timer.cancel()
            self._aside_timer = None
        return aside

    def _nothing_follows(self) -> None:
        self._aside_timer = None
        if (chunk := self._take_aside()) is not None:
            self._pass(chunk, len(chunk), 0.0)

    # ---- what is late -----------------------------------------------------------------------------------------------

    def _pass(self, chunk: bytes, sent: int, late_s: float) -> None:
        """Hand over `late_s` from now, but not before what was passed earlier: a line never reorders."""
        now_s = self._loop.time()
        at_s = max(now_s + late_s, self._until_s)
        if at_s <= now_s and not self._held:
            if chunk == self._came:
                self._came = None
            self._ends.hand_over(chunk, sent)
            return
        self._until_s = at_s
        self._held.append(_Held(at_s, chunk, sent))
        if self._timer is None:
            self._timer = self._loop.call_at(at_s, self._release)

    def _release(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        while self._held and self._held[0].at_s <= now_s:
            _, chunk, sent = self._held.popleft()
            self._ends.hand_over(chunk, sent)
        if self._held and self._timer is None:
            self._timer = self._loop.call_at(self._held[0].at_s, self._release)


@dataclass
class Sickness:
    """What ails one network connection. `late_s` is asked for every chunk, either way.

    A connection that has lost bytes never carries any again, for in TCP nothing can come behind a gap. `reset` resets
    it for both ends.
    """

    point: Point
    faults: Faults
    reset: Callable[[], None]
    _dead_until_s: float | None = field(default=None, init=False)

    def late_s(self, *, from_host: bool) -> float | None:
        """How late the connection carries the chunk that comes now, s; None: it vanishes."""
        now_s = asyncio.get_running_loop().time()
        fault = self.point.fault_now(now_s)
        if self._dead_until_s is not None:
            if from_host and now_s >= self._dead_until_s:
                self.reset()
            return None
        match fault.kind if fault is not None else "":
            case "":
                return 0.0
            case "latency":
                assert fault is not None
                return latency_s(fault)
            case "half_open":
                assert fault is not None
                self._dead_until_s = self.faults.ends_s(fault) if fault.nth is None else float("inf")
                return None
            case "reset_connection":
                self.reset()
                return None
        assert fault is not None
        raise ValueError(f"'{fault.kind}' at {fault.point} is no fault of a connection")
