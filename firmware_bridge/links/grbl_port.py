"""The port under a Grbl link: bytes out at the wire's pace, lines in, a `?` at a steady pace, and waiting for news.

`?` is written between lines only, so that one that a flipped bit makes a character cannot land inside a number.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from firmware_bridge.errors import BridgeError, LinkTimeout, TransportError
from firmware_bridge.links.grbl_lines import Reply, parse_reply
from firmware_bridge.links.line_framing import LineSplitter
from firmware_bridge.transport import Transport

ASK = b"?"

REPORT_BUSY_S = 0.125
REPORT_IDLE_S = 1.0
REPORT_PATIENCE_S = (
    4.0  # a report takes 5 to 20 ms, a USB hub that stumbles some seconds; the head has its own watchdog
)
WIRE_AHEAD_S = 0.008
"""No more than this is handed to the port ahead of the wire: a stop byte waits behind it."""


class GrblPort(ABC):
    """One transport's receiver. `error`: why it is unusable; the first one stays."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.error: BridgeError | None = None
        self.heard_s = self.loop.time()
        self.wire_free_s = 0.0  # when the last byte handed over will be on the wire
        self.is_booting = True  # silence, banners and alarms belong to it
        self.is_mute = False  # homing: no reports
        self._transport: Transport | None = None
        self._splitter = LineSplitter()
        self._news: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked_s: float | None = None  # since when a report is owed
        self._last_asked_s = -REPORT_IDLE_S
        self._waiters = 0

    @abstractmethod
    def _hear(self, reply: Reply) -> None:
        """One reply."""

    @abstractmethod
    def fail(self, error: BridgeError, *, stand: bool = True) -> None:
        """Nothing more is sent or believed. With `stand`, the machine is made to stand."""

    @property
    @abstractmethod
    def is_busy(self) -> bool:
        """Whether reports are wanted often."""

    def attach(self, transport: Transport) -> None:
        """Speak over `transport`, whose receiver this is, and begin to ask for reports."""
        self._transport = transport
        self._poll()

    @property
    def url(self) -> str:
        """Where this is."""
        return self._transport.url if self._transport is not None else "(no transport)"

    def write(self, data: bytes) -> None:
        """Hand bytes to the port. Raises TransportError."""
        if self._transport is None:
            raise TransportError("this Grbl link has no transport: it was never opened.")
        self._transport.write(data)
        self.wire_free_s = max(self.wire_free_s, self.loop.time()) + len(data) * self._transport.byte_time_s

    def must_wait_s(self, size: int) -> float:
        """How long to wait until `size` more bytes are not too many ahead of the wire; 0.0 if they are not."""
        byte_time_s = self._transport.byte_time_s if self._transport is not None else 0.0
        ahead_s = self.wire_free_s - self.loop.time()
        return ahead_s if ahead_s > 0 and ahead_s + size * byte_time_s > WIRE_AHEAD_S else 0.0

    def close(self) -> None:
        """Give the port back."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """From the transport."""
        self.heard_s = self.loop.time()
        for line in self._splitter.feed(data):
            reply = parse_reply(line)
            if reply is not None:
                self._hear(reply)
        self.tell_news()

    def connection_lost(self, error: TransportError | None) -> None:
        """From the transport."""
        if error is not None:
            error = TransportError(f"{error} Motion stops when the planner is empty; home before going on.")
        self.fail(error or TransportError(f"{self.url} was closed."), stand=False)
        if self._timer is not None:
            self._timer.cancel()
        self.tell_news()

    async def news(self, timeout_s: float) -> bool:
        """Wait until anything is heard, or the time is up (False). Raises nothing: look at `error`."""
        if self._news is None or self._news.done():
            self._news = self.loop.create_future()
        self._waiters += 1
        try:
            done, _ = await asyncio.wait({self._news}, timeout=timeout_s)
        finally:
            self._waiters -= 1
        return bool(done)

    def tell_news(self) -> None:
        """Wake whoever waits for news."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def ask(self) -> None:
        """One `?`, if the port takes it."""
        if not self.is_open:
            return
        if self._asked_s is None:
            self._asked_s = self.loop.time()
        self._last_asked_s = self.loop.time()
        self.write(ASK)

    def _poll(self) -> None:
        if not self.is_open:
            return
        now_s = self.loop.time()
        if self.is_mute:
            self._asked_s = None
        elif self._asked_s is not None and now_s - self._asked_s > REPORT_PATIENCE_S and not self.is_booting:
            self.fail(
                LinkTimeout(
                    f"{self.url} has not answered '?' for {now_s - self._asked_s:.1f} s: the line is dead, or the "
                    "controller has halted. Check cable and supply, then home before going on."
                )
            )
        try:
            if not self.is_mute and now_s - self._last_asked_s > 0.8 * REPORT_BUSY_S:  # else somebody has just asked
                self.ask()
        except TransportError as error:
            self.fail(error)
        is_busy = self._waiters > 0 or self.is_busy
        self._timer = self.loop.call_later(REPORT_BUSY_S if is_busy else REPORT_IDLE_S, self._poll)

    @property
    def is_open(self) -> bool:
        """Whether anything can be written."""
        return self._transport is not None and self._transport.is_open

    def report_came(self) -> None:
        """None is owed any more."""
        self._asked_s = None

    def raise_if_failed(self) -> None:
        """Raise why this link is unusable, if it is."""
        if self.error is not None:
            raise type(self.error)(str(self.error))
