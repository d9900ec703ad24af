"""RoboClaw packet serial: several motor boards on one line, one request in flight, every reply checked.

    link = await RoboClawLink.open("serial:/dev/ttyAMA0?baud=115200")
    counts = await link.read(0x80, 78, 8)
    await link.write(0x80, 37, struct.pack(">ii", 500, 500))

A board forgets half a packet after 10 ms without a byte, and its replies carry no number. So after a timeout, a damaged
reply or bytes that nobody asked for the line is TAINTED: nothing is sent until it has been quiet for more than 10 ms,
which also brings a board that lost a byte back into step. Reads are repeated then, and so are writes that set a state;
a move by a distance never is.

A board that stays silent is asked ever less often (a read every 0.5 s to 2 s), so that it does not slow the others, and
is told nothing but what is urgent (a stop). What the single 0xFF cannot tell: that it answers this write and not an
earlier one whose answer was late. Settings that matter are therefore read back by the devices.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.errors import (
    BridgeError,
    FrameError,
    LinkError,
    LinkTainted,
    LinkTimeout,
    Rejected,
    TransportError,
)
from firmware_bridge.links.roboclaw_frames import RELATIVE, Deframer, Question, ask_read, ask_text, ask_write, frame
from firmware_bridge.transport import Transport, open_transport

RETRIES = 3
PAUSE_S = 0.0105  # the board drops half a packet after 10 ms
WAIT_MIN_S = 0.008
WAIT_PER_PEAK = 4.0  # how much later than the latest answers of late an answer may come
PEAK_DECAY = 0.98
QUEUE_MAX = 64
DRAIN_LIMIT_S = 5.0
SILENT_AFTER = 4  # reads in a row that nothing came back to; writes are long, and more often lost to noise
BACKOFF_S = (0.5, 2.0)  # first and longest pause between attempts to a silent board
_URGENT, _WRITE, _READ = range(3)


@dataclass
class RoboClawCounters:
    """What went by since the link was made. `skipped`: not sent, the board being silent; `refused`: not sent, the
    caller's reason to send being gone."""

    sent: int = 0
    ok: int = 0
    timeouts: int = 0
    frame_errors: int = 0
    retries: int = 0
    unsolicited_bytes: int = 0
    drains: int = 0
    cancelled: int = 0
    skipped: int = 0
    refused: int = 0


class _Board:
    """How a board has answered of late."""

    __slots__ = ("again_s", "backoff_s", "failures", "silent_since_s")

    def __init__(self) -> None:
        self.failures = 0
        self.silent_since_s = 0.0
        self.backoff_s = 0.0  # 0: it answers
        self.again_s = 0.0


class _Transaction:
    __slots__ = ("future", "question", "unless")

    def __init__(
        self, question: Question, future: asyncio.Future[bytes], unless: Callable[[], str | None] | None
    ) -> None:
        self.question = question
        self.future = future
        self.unless = unless


class RoboClawLink:
    """One line and all boards on it."""

    def __init__(self, *, timeout_s: float = 0.05) -> None:
        """`timeout_s`: the longest wait for a reply beyond the time its bytes take. The link learns how late replies
        come on this line and waits four times that, at least 8 ms."""
        self.counters = RoboClawCounters()
        self._timeout_s = timeout_s
        self._peak_s = timeout_s / WAIT_PER_PEAK
        self._byte_time_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._error: BridgeError | None = None
        self._queues: tuple[deque[_Transaction], ...] = (deque(), deque(), deque())
        self._boards: dict[int, _Board] = {}
        self._current: _Transaction | None = None
        self._sent_s = 0.0
        self._late_since_s: float | None = None  # when the request went out whose answer may still come
        self._deadline_s = 0.0  # of the current request
        self._watch: asyncio.TimerHandle | None = None  # one timer for all deadlines: set anew when it fires, or for an
        self._watch_s = 0.0  # earlier one
        self._start: asyncio.TimerHandle | None = None
        self._tainted = True  # a board may hold half a packet from before
        self._quiet_until_s = self._drain_ends_s = 0.0
        self._deframer = Deframer()

    # -- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, url: str, *, timeout_s: float = 0.05, open_timeout_s: float = 5.0) -> RoboClawLink:
        """Open `url`. Raises TransportError with what to do."""
        link = cls(timeout_s=timeout_s)
        link.attach(await open_transport(url, link, timeout_s=open_timeout_s))
        return link

    def attach(self, transport: Transport) -> None:
        """Speak over `transport`, whose receiver this link is. The first request waits out the 10 ms."""
        self._transport = transport
        self._byte_time_s = transport.byte_time_s
        self._quiet_until_s = self._loop.time() + PAUSE_S
        self._drain_ends_s = self._loop.time() + DRAIN_LIMIT_S

    def close(self) -> None:
        """Give the port back; who still waits gets a TransportError."""
        if self._transport is not None:
            self._transport.close()

    @property
    def url(self) -> str:
        """Where this link goes, for sentences."""
        return self._transport.url if self._transport is not None else "(no transport)"

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent at all."""
        return self._transport is not None and self._error is None

    @property
    def is_tainted(self) -> bool:
        """Whether the next request has to wait until the line has been quiet."""
        return self._tainted and self._loop.time() < self._quiet_until_s

    @property
    def wait_s(self) -> float:
        """How long a reply is waited for at present, beyond the time its bytes take."""
        return min(self._timeout_s, max(WAIT_MIN_S, WAIT_PER_PEAK * self._peak_s))

    def silent_since_s(self, address: int) -> float | None:
        """Since when the board is taken for dead (loop time), None while it answers."""
        board = self._boards.get(address)
        return board.silent_since_s if board is not None and board.backoff_s else None

    # -- what callers ask ---------------------------------------------------------------------------------------

    async def read(self, address: int, command: int, size: int, *, retries: int = RETRIES) -> bytes:
        """The `size` data bytes of a read. Raises LinkTimeout or FrameError after `retries` more attempts."""
        return await self._ask(ask_read(address, command, size), retries, _READ, None)

    async def read_text(self, address: int, command: int, *, retries: int = RETRIES) -> str:
        """A read that is answered with text, without its line feed and NUL. FrameError if it is not ASCII."""
        raw = await self._ask(ask_text(address, command), retries, _READ, None)
        try:
            return raw.rstrip(b"\0").decode("ascii").strip()
        except UnicodeDecodeError:
            raise FrameError(
                f"board {address} on {self.url} answers command {command} with no text: {raw!r}."
            ) from None

    async def write(
        self,
        address: int,
        command: int,
        data: bytes = b"",
        *,
        retries: int = RETRIES,
        urgent: bool = False,
        unless: Callable[[], str | None] | None = None,
    ) -> None:
        """Send a write and wait for its acknowledgement. `urgent` goes before all that waits.

        `unless` is asked right before each attempt goes out; a sentence in reply means that it must not go any more,
        and is raised as Rejected. A move by a distance must have `retries=0` (ValueError otherwise). Raises as read().
        """
        if retries and command in RELATIVE:
            raise ValueError(f"command {command} moves by a distance: it is never repeated, so give retries=0")
        await self._ask(ask_write(address, command, data), retries, _URGENT if urgent else _WRITE, unless)

    async def _ask(self, question: Question, retries: int, rank: int, unless: Callable[[], str | None] | None) -> bytes:
        queue = self._queues[rank]
        while True:
            if self._error is not None:
                raise type(self._error)(str(self._error))
            is_probe = self._is_silent(question, rank)
            if len(queue) >= QUEUE_MAX:
                raise LinkError(f"{self.url}: {QUEUE_MAX} requests wait: the line cannot keep up. Ask less often.")
            transaction = _Transaction(question, self._loop.create_future(), unless)
            queue.append(transaction)
            self._pump()
            try:
                return await transaction.future
            except asyncio.CancelledError:
                self.counters.cancelled += 1
                raise
            except (LinkTimeout, FrameError):
                if retries <= 0 or is_probe:
                    raise
            retries -= 1
            self.counters.retries += 1

    def _is_silent(self, question: Question, rank: int) -> bool:
        """Whether this is but a try whether a silent board is back. LinkTimeout if it is not yet time for one."""
        board = self._boards.setdefault(question.address, _Board())
        if not board.backoff_s:
            return False
        now_s = self._loop.time()
        if rank != _URGENT:
            if rank == _WRITE or now_s < board.again_s:
                self.counters.skipped += 1
                raise LinkTimeout(
                    f"board {question.address} on {self.url} has been silent for {now_s - board.silent_since_s:.1f} s "
                    f"and is not asked {question.what} now: check its power, its address, wiring and baud rate."
                )
            board.again_s = now_s + board.backoff_s
        return True

    # -- one transaction ----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send the next request if the line is free and quiet."""
        while self._current is None and self._start is None and self._error is None:
            queue = next((queue for queue in self._queues if queue), None)
            if queue is None:
                return
            if self._tainted and self._loop.time() < self._quiet_until_s:
                self._start = self._loop.call_at(self._quiet_until_s, self._look_again)
                return
            transaction = queue.popleft()
            if transaction.future.done():
                continue
            reason = transaction.unless() if transaction.unless is not None else None
            if reason is not None:
                self.counters.refused += 1
                transaction.future.set_exception(Rejected(reason))
            else:
                self._send(transaction)

    def _look_again(self) -> None:
        self._start = None
        now_s = self._loop.time()
        if self._tainted and now_s < self._quiet_until_s and now_s >= self._drain_ends_s:
            self._drain_ends_s = now_s + DRAIN_LIMIT_S
            self._fail_waiting(
                LinkTainted(
                    f"{self.url} has not been quiet for {DRAIN_LIMIT_S:g} s: something sends on it without being "
                    "asked. Nothing can be asked safely; look for a second host or a babbling device."
                )
            )
        self._pump()

    def _send(self, transaction: _Transaction) -> None:
        assert self._transport is not None
        raw = frame(transaction.question)
        self._tainted = False
        self._late_since_s = None
        self._deframer.rest.clear()
        try:
            self._transport.write(raw)
        except TransportError as error:
            transaction.future.set_exception(error)
            return
        self.counters.sent += 1
        self._current = transaction
        self._sent_s = self._loop.time() + len(raw) * self._byte_time_s
        self._deadline_s = self._sent_s + transaction.question.reply_bytes * self._byte_time_s + self.wait_s
        if self._watch is None or self._deadline_s < self._watch_s:
            self._arm_watch()

    def _arm_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch_s = self._deadline_s
        self._watch = self._loop.call_at(self._deadline_s, self._on_watch)

    def _on_watch(self) -> None:
        self._watch = None
        if self._current is not None:
            if self._loop.time() < self._deadline_s:
                self._arm_watch()
            else:
                self._expire()

    def data_received(self, data: bytes) -> None:
        """Bytes from the transport."""
        transaction = self._current
        if transaction is None:
            self._on_unsolicited(len(data))
            return
        question = transaction.question
        try:
            reply = self._deframer.feed(question, data)
        except FrameError as error:
            self.counters.frame_errors += 1
            self._board_answers(question.address)
            sentence = f"board {question.address} on {self.url} was asked {question.what}; what came is {error}."
            self._end(FrameError(sentence), taint=True)
            return
        if reply is not None:
            self._note_delay(len(reply) + (1 if question.is_write else 2))
            self._board_answers(question.address)
            self._finish(reply)

    def _finish(self, reply: bytes) -> None:
        assert self._current is not None
        self.counters.ok += 1
        future = self._current.future
        extra = len(self._deframer.rest)
        if extra:  # bytes behind the reply belong to nobody
            self.counters.unsolicited_bytes += extra
        if not future.done():
            future.set_result(reply)
        self._end(None, taint=bool(extra))

    def _on_unsolicited(self, count: int) -> None:
        """Nobody asked: perhaps a late answer. It is thrown away, and more of it waited for."""
        self.counters.unsolicited_bytes += count
        if self._late_since_s is not None:
            self._peak_s = min(max(self._peak_s, self._loop.time() - self._late_since_s), self._timeout_s)
        self._taint()

    def _note_delay(self, reply_bytes: int) -> None:
        """Learn how late replies come."""
        delay_s = self._loop.time() - self._sent_s - reply_bytes * self._byte_time_s
        self._peak_s = max(delay_s, self._peak_s * PEAK_DECAY)

    def _expire(self) -> None:
        assert self._current is not None
        question, rest = self._current.question, bytes(self._deframer.rest)
        self._late_since_s = self._sent_s
        if rest:
            self.counters.frame_errors += 1
            self._board_answers(question.address)
            sentence = f"board {question.address} on {self.url} answers {question.what} with a part: {rest.hex(' ')}."
            self._end(FrameError(sentence), taint=True)
            return
        self.counters.timeouts += 1
        if not question.is_write:
            self._board_is_silent(question.address)
        self._end(
            LinkTimeout(
                f"board {question.address} on {self.url} did not answer {question.what}: check its power, its "
                "address, wiring and baud rate."
            ),
            taint=True,
        )

    def _end(self, error: LinkError | None, *, taint: bool) -> None:
        transaction = self._current
        assert transaction is not None
        self._current = None
        if taint:
            self._taint()
        if error is not None and not transaction.future.done():
            transaction.future.set_exception(error)
        self._pump()

    def _taint(self) -> None:
        now_s = self._loop.time()
        if not self._tainted:
            self._tainted = True
            self._drain_ends_s = now_s + DRAIN_LIMIT_S
            self.counters.drains += 1
        self._quiet_until_s = now_s + PAUSE_S

    # -- who answers --------------------------------------------------------------------------------------------

    def _board_answers(self, address: int) -> None:
        """Well or badly: it is there."""
        board = self._boards[address]
        board.failures = 0
        board.backoff_s = 0.0

    def _board_is_silent(self, address: int) -> None:
        board = self._boards[address]
        if not board.failures:
            board.silent_since_s = self._sent_s
        board.failures += 1
        if board.failures >= SILENT_AFTER:
            board.backoff_s = min(2 * board.backoff_s, BACKOFF_S[1]) or BACKOFF_S[0]
            board.again_s = self._loop.time() + board.backoff_s

    def _fail_waiting(self, error: BridgeError) -> None:
        for queue in self._queues:
            for transaction in queue:
                if not transaction.future.done():
                    transaction.future.set_exception(error)
            queue.clear()

    def connection_lost(self, error: TransportError | None) -> None:
        """The transport is gone: every waiting caller is told."""
        self._error = error if error is not None else TransportError(f"{self.url} was closed.")
        for timer in (self._watch, self._start):
            if timer is not None:
                timer.cancel()
        self._watch = self._start = None
        current, self._current = self._current, None
        if current is not None and not current.future.done():
            current.future.set_exception(self._error)
        self._fail_waiting(self._error)
