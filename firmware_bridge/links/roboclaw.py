"""RoboClaw packet serial: several motor boards on one line, one request in flight, every reply checked.

    link = await RoboClawLink.open("serial:/dev/ttyAMA0?baud=115200")
    counts = await link.read(0x80, 78, 8)
    await link.write(0x80, 37, struct.pack(">ii", 500, 500))

A board forgets half a packet after 10 ms without a byte, and its replies carry no number. So after a timeout, a damaged
reply or bytes that nobody asked for the line is TAINTED: nothing is sent until it has been quiet for more than 10 ms,
which also brings a board that lost a byte back into step. Reads are repeated then, and so are writes that set a state;
a move by a distance never is.

An answer may still be under way for longer than that, held up by an adapter, and would pass for the answer to the same
question asked again, or its 0xFF for that to another write. So a board that owes an answer is IN DOUBT: before its next
write or the same question goes out, a short read of another kind is asked (MARKERS). A line keeps its order, and a
reply's CRC covers the command that was asked; so once that read is answered, nothing older can come. The same goes for
a read that is asked again within 10 ms, as its answer may come twice. Only a stop does not wait for it.

An FF may also be the first byte of an answer to a question that the line has made of a damaged write. So an
acknowledgement counts when nothing has followed it for the time of two bytes and 0.4 ms more.

A board that stays silent is asked ever less often (a read every 0.5 s to 2 s), so that it does not slow the others, and
is told nothing but what is urgent (a stop). What a single 0xFF cannot tell: that it is this board's and not another's
whose answer was late. Settings that matter are therefore read back by the devices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from firmware_bridge.errors import (
    BridgeError,
    FrameError,
    LinkError,
    LinkTainted,
    LinkTimeout,
    Rejected,
    TransportError,
)
from firmware_bridge.links.roboclaw_boards import Board, RoboClawCounters
from firmware_bridge.links.roboclaw_frames import RELATIVE, Deframer, Question, ask_read, ask_text, ask_write, frame
from firmware_bridge.links.roboclaw_queue import READ, URGENT, WRITE, Transaction, TransactionQueue
from firmware_bridge.transport import Transport, open_transport

RETRIES = 3
PAUSE_S = 0.0105  # the board drops half a packet after 10 ms
ALONE_BYTES, ALONE_S = 2, 0.0004  # for so long nothing follows an acknowledgement
WAIT_MIN_S, WAIT_MAX_S = 0.008, 0.05
WAIT_PER_PEAK = 4.0  # how much later than the latest answers of late an answer may come
PEAK_DECAY = 0.98
DRAIN_LIMIT_S = 5.0


class RoboClawLink:
    """One line and all boards on it."""

    def __init__(self, *, timeout_s: float = WAIT_MAX_S) -> None:
        """`timeout_s`: the longest wait for a reply beyond the time its bytes take. The link learns how late replies
        come on this line and waits four times that, at least 8 ms."""
        self.counters = RoboClawCounters()
        self._timeout_s = timeout_s
        self._peak_s = timeout_s / WAIT_PER_PEAK
        self._byte_time_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._error: BridgeError | None = None
        self._queue = TransactionQueue()
        self._boards: dict[int, Board] = {}
        self._current: Transaction | None = None
        self._asked: Question | None = None  # of the current one: its question, or a marker before it
        self._answered: Question | None = None  # the read that was answered last, if nothing was asked since
        self._answered_s = 0.0
        self._is_acked = False  # an FF has come, and must stay alone
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
    async def open(cls, url: str, *, timeout_s: float = WAIT_MAX_S, open_timeout_s: float = 5.0) -> RoboClawLink:
        """Open `url`. Raises TransportError with what to do."""
        link = cls(timeout_s=timeout_s)
        link.attach(await open_transport(url, link, timeout_s=open_timeout_s))
        return link

    def attach(self, transport: Transport) -> None:
        """Speak over `transport`, whose receiver this link is. The first request waits out the 10 ms."""
        self._transport = transport
        self._byte_time_s = transport.byte_time_s
        self._sent_s = self._loop.time()  # as if: who was here before us may have sent something just now
        self._quiet_until_s = self._sent_s + PAUSE_S
        self._drain_ends_s = self._sent_s + DRAIN_LIMIT_S

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
        return await self._ask(ask_read(address, command, size), retries, READ, None)

    async def read_text(self, address: int, command: int, *, retries: int = RETRIES) -> str:
        """A read that is answered with text, without its line feed and NUL. FrameError if it is not ASCII."""
        raw = await self._ask(ask_text(address, command), retries, READ, None)
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
        await self._ask(ask_write(address, command, data), retries, URGENT if urgent else WRITE, unless)

    async def _ask(self, question: Question, retries: int, rank: int, unless: Callable[[], str | None] | None) -> bytes:
        while True:
            if self._error is not None:
                raise type(self._error)(str(self._error))
            is_probe = self._is_silent(question, rank)
            transaction = Transaction(question, self._loop.create_future(), rank, unless)
            self._queue.push(transaction, self.url)
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
        board = self._boards.get(question.address)
        if board is None:
            board = self._boards[question.address] = Board(question.address)
        if not board.backoff_s:
            return False
        now_s = self._loop.time()
        if rank != URGENT:
            if rank == WRITE or now_s < board.again_s:
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
        while self._current is None and self._error is None:
            if (transaction := self._queue.first()) is None:
                return
            if self._tainted and self._loop.time() < (from_s := self._free_from_s(transaction.rank)):
                if self._start is None or from_s < self._start.when():
                    self._cancel_start()
                    self._start = self._loop.call_at(from_s, self._look_again)
                return
            self._cancel_start()
            self._queue.pop(transaction)
            if transaction.rank != URGENT:
                is_repeated = transaction.question == self._answered and self._loop.time() - self._answered_s < PAUSE_S
                if marker := self._board(transaction).marker(transaction.question, is_repeated):
                    self.counters.markers += 1
                    self._send(transaction, marker)
                    continue
            reason = transaction.unless() if transaction.unless is not None else None
            if reason is not None:
                self.counters.refused += 1
                transaction.future.set_exception(Rejected(reason))
            else:
                self._send(transaction, transaction.question)

    def _free_from_s(self, rank: int) -> float:
        """When a tainted line may be used. A stop needs no quiet line, but boards that have heard nothing for 10 ms."""
        if rank == URGENT:
            return min(self._quiet_until_s, self._sent_s + PAUSE_S)
        return self._quiet_until_s

    def _cancel_start(self) -> None:
        if self._start is not None:
            self._start.cancel()
            self._start = None

    def _look_again(self) -> None:
        self._start = None
        now_s = self._loop.time()
        if self._tainted and now_s < self._quiet_until_s and now_s >= self._drain_ends_s:
            self._drain_ends_s = now_s + DRAIN_LIMIT_S
            self._queue.fail(
                LinkTainted(
                    f"{self.url} has not been quiet for {DRAIN_LIMIT_S:g} s: something sends on it without being "
                    "asked. Nothing can be asked safely; look for a second host or a babbling device."
                )
            )
        self._pump()

    def _send(self, transaction: Transaction, question: Question) -> None:
        assert self._transport is not None
        raw = frame(question)
        self._tainted = False
        self._late_since_s = None
        self._deframer.rest.clear()
        try:
            self._transport.write(raw)
        except TransportError as error:
            transaction.future.set_exception(error)
            return
        self.counters.sent += 1
        self._answered = None
        self._is_acked = False
        self._current, self._asked = transaction, question
        self._sent_s = self._loop.time() + len(raw) * self._byte_time_s
        self._deadline_s = self._sent_s + question.reply_bytes * self._byte_time_s + self.wait_s
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
            elif self._is_acked:
                self._finish(b"")
            else:
                self._expire()

    def data_received(self, data: bytes) -> None:
        """Bytes from the transport."""
        transaction = self._current
        if transaction is None:
            self._on_unsolicited(len(data))
            return
        question = self._asked
        assert question is not None
        try:
            reply = self._deframer.feed(question, data)
            if question.is_write and (self._is_acked or self._deframer.rest):
                raise FrameError(f"ff and more: {bytes(self._deframer.rest[:8]).hex(' ')}")
        except FrameError as error:
            self.counters.frame_errors += 1
            self._board(transaction).answers()
            what = transaction.question.what
            sentence = f"board {question.address} on {self.url} was asked {what}; what came is {error}."
            self._end(FrameError(sentence), taint=True)
            return
        if reply is not None:
            self._note_delay(len(reply) + (1 if question.is_write else 2))
            self._board(transaction).answers()
            if question.is_write:
                self._is_acked = True
                self._deadline_s = self._loop.time() + ALONE_BYTES * self._byte_time_s + ALONE_S
                self._arm_watch()
            else:
                self._finish(reply)

    def _finish(self, reply: bytes) -> None:
        assert self._current is not None
        self.counters.ok += 1
        transaction = self._current
        extra = len(self._deframer.rest)
        if extra:  # bytes behind the reply belong to nobody
            self.counters.unsolicited_bytes += extra
        assert self._asked is not None
        if not self._asked.is_write:
            self._board(transaction).owed.clear()
            self._answered, self._answered_s = self._asked, self._loop.time()
        if self._asked is not transaction.question:  # a marker: now its own question may go
            self._queue.put_back(transaction)
        elif not transaction.future.done():
            transaction.future.set_result(reply)
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
        assert self._current is not None and self._asked is not None
        transaction, question, rest = self._current, self._asked, bytes(self._deframer.rest)
        what = transaction.question.what
        self._late_since_s = self._sent_s
        if rest:
            self.counters.frame_errors += 1
            self._board(transaction).answers()
            sentence = f"board {question.address} on {self.url} answers {what} with a part: {rest.hex(' ')}."
            self._end(FrameError(sentence), taint=True)
            return
        self.counters.timeouts += 1
        if not question.is_write:
            self._board(transaction).is_unanswered(self._sent_s, self._loop.time())
        self._end(
            LinkTimeout(
                f"board {question.address} on {self.url} did not answer {what}: check its power, its address, wiring "
                "and baud rate."
            ),
            taint=True,
        )

    def _end(self, error: LinkError | None, *, taint: bool) -> None:
        transaction, question = self._current, self._asked
        assert transaction is not None and question is not None
        self._current = self._asked = None
        if error is not None:
            self._board(transaction).owes(question.command)
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

    def _board(self, transaction: Transaction) -> Board:
        return self._boards[transaction.question.address]

    def connection_lost(self, error: TransportError | None) -> None:
        """The transport is gone: every waiting caller is told."""
        self._error = error if error is not None else TransportError(f"{self.url} was closed.")
        self._cancel_start()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        current, self._current = self._current, None
        if current is not None and not current.future.done():
            current.future.set_exception(self._error)
        self._queue.fail(self._error)
