"""Stop and wait on a RepRapFirmware line: one line in doubt at a time, said again until its token comes back.

The board drops a damaged line without a word, and while a command waits (for a free move, for standstill) it reads
nothing and says nothing. Silence may thus mean a lost line, a lost answer or patience that is asked for; saying the
line again is right in each case, as long as it may be carried out twice (`reprap_program` sees to that). Lines never
overtake each other, so what comes before the token of an older line belongs to that one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from firmware_bridge.errors import BridgeError, DeviceHalted, DeviceReset, LinkError, LinkTimeout, TransportError
from firmware_bridge.links.line_framing import LineSplitter, clean
from firmware_bridge.links.reprap_crc16 import frame_line, unsendable
from firmware_bridge.links.reprap_replies import (
    NUMBER_MAX,
    Answer,
    Restarted,
    Stopped,
    Text,
    Token,
    Trouble,
    parse_reply,
    token,
)
from firmware_bridge.transport import Transport

FIRST_PATIENCE_S = 1.0
WAIT_BEFORE_ASKING_S = 5.0  # at most: of a line that may take long the answer may be lost as well
PATIENCE_MAX_S = 8.0
SILENCE_MAX_S = 30.0
"""Beyond the time that a line may take, until the board is given up."""

REFUSED_AFTER = 2
"""Repeats of a line, each refused and none answered by the token, until the refusal is taken as its answer."""

REPLY_LINES_MAX = 200


@dataclass
class RepRapCounters:
    """What went by since the link was opened."""

    lines: int = 0
    moves: int = 0
    repeats: int = 0
    late_tokens: int = 0
    noise_lines: int = 0
    refused: int = 0


class Unanswered(LinkError):
    """A line that must not be repeated, or its answer, was lost: the board has answered a question behind it."""


class _Exchange:
    """The line in doubt. `question`: the number of the question asked behind it, where it must not be repeated."""

    __slots__ = ("answer", "done", "number", "question")

    def __init__(self, number: int, done: asyncio.Future[Answer]) -> None:
        self.number = number
        self.question: int | None = None
        self.answer = Answer()
        self.done = done


class Talk:
    """One transport's receiver. `error`: why it is unusable; the first one stays."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.error: BridgeError | None = None
        self.counters = RepRapCounters()
        self.heard_s = self.loop.time()
        self.busy_until_s = self.loop.time()  # until then silence is what the line in work asks for
        self.is_booting = True  # banners belong to it
        self.is_stopped = False  # the board said that it is in emergency stop
        self.naked: set[str] = set()  # lines heard since `listen_for` that were asked for without a CRC
        self.last_answer = Answer()  # to the newest line, whole or not
        self._listening: frozenset[str] = frozenset()
        self._number = int(self.loop.time() * 1000) % NUMBER_MAX + 1  # another one than an earlier host's
        self._transport: Transport | None = None
        self._splitter = LineSplitter()
        self._exchange: _Exchange | None = None
        self._turn = asyncio.Lock()
        self._stopped_news: asyncio.Future[None] | None = None

    # -- the wire -----------------------------------------------------------------------------------------------

    def attach(self, transport: Transport) -> None:
        """Speak over `transport`, whose receiver this is."""
        self._transport = transport

    @property
    def url(self) -> str:
        """Where this is."""
        return self._transport.url if self._transport is not None else "(no transport)"

    @property
    def is_open(self) -> bool:
        """Whether anything can be written."""
        return self._transport is not None and self._transport.is_open

    def close(self) -> None:
        """Give the port back."""
        if self._transport is not None:
            self._transport.close()

    def write(self, data: bytes) -> None:
        """Hand bytes to the port. Raises TransportError."""
        if self._transport is None:
            raise TransportError("this RepRapFirmware link has no transport: it was never opened.")
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """From the transport."""
        self.heard_s = self.loop.time()
        for line in self._splitter.feed(data):
            self._hear(clean(line))

    def connection_lost(self, error: TransportError | None) -> None:
        """From the transport."""
        self.fail(error or TransportError(f"{self.url} was closed."))

    # -- one line -----------------------------------------------------------------------------------------------

    async def say(
        self, line: bytes, *, takes_s: float = 0.0, silence_max_s: float = SILENCE_MAX_S, twice_is_fine: bool = True
    ) -> Answer:
        """Say one line until the board answers with its token; returns what was said before the token.

        Where a board drops the rest of a line behind a refusal, no token comes: then the troubles are the answer.

        `takes_s`: the longest that it may rightly take. A line with `twice_is_fine` False is never repeated: Unanswered
        is raised once the board has answered a question behind it, and not the line itself.
        Raises what the link failed with; LinkTimeout when nothing came for `silence_max_s` beyond `takes_s`.
        """
        async with self._turn:
            self.raise_if_failed()
            if reason := unsendable(line):
                raise LinkError(f"{line!r} is not sent to {self.url}: {reason}.")
            exchange = self._exchange = _Exchange(self._next_number(), self.loop.create_future())
            again = framed = self._framed(exchange.number, line)
            if not twice_is_fine:
                exchange.question = self._next_number()
                again = self._framed(exchange.question, b"")
            self.counters.lines += 1
            began_s = self.loop.time()
            self.busy_until_s = began_s + takes_s
            try:
                return await self._until_done(exchange, framed, again, began_s + takes_s + silence_max_s)
            finally:
                self.last_answer = exchange.answer
                self._exchange = None
                self.busy_until_s = self.loop.time()

    def _next_number(self) -> int:
        self._number = self._number % NUMBER_MAX + 1
        return self._number

    @staticmethod
    def _framed(number: int, line: bytes) -> bytes:
        said = b'M118 S"%b"' % token(number).encode()
        return frame_line(number, b"%b %b" % (line, said) if line else said, guard=False)

    async def _until_done(self, exchange: _Exchange, framed: bytes, again: bytes, ends_s: float) -> Answer:
        began_s = self.loop.time()
        repeats = 0
        self.write(framed)
        patience_s = FIRST_PATIENCE_S + min(self.busy_until_s - began_s, WAIT_BEFORE_ASKING_S)
        while True:
            timeout_s = min(patience_s, max(ends_s - self.loop.time(), 0.0))
            await asyncio.wait({exchange.done}, timeout=timeout_s)
            if exchange.done.done():
                return exchange.done.result()
            if self.loop.time() >= ends_s:
                raise self._given_up(began_s)
            if repeats >= REFUSED_AFTER and exchange.answer.troubles:
                return exchange.answer  # a board that drops the rest of a line behind a refusal says no token
            patience_s = min(2.0 * patience_s, PATIENCE_MAX_S)
            repeats += 1
            self.counters.repeats += 1
            self.write(b"\n" + again)  # the end of a line may have been what was lost

    def _given_up(self, began_s: float) -> LinkTimeout:
        is_mute = self.loop.time() - self.heard_s > SILENCE_MAX_S / 2
        what = "nothing came" if is_mute else "what came was no answer to it"
        error = LinkTimeout(
            f"the firmware on {self.url} has not answered a line for {self.loop.time() - began_s:.0f} s, though it was"
            f" repeated ({what}). Is it halted, or is the cable loose?"
        )
        self.fail(error)
        return error

    def _hear(self, text: str) -> None:
        if text in self._listening:
            self.naked.add(text)
            return
        exchange = self._exchange
        match parse_reply(text):
            case Token(number):
                if exchange is not None and number == exchange.number:
                    if not exchange.done.done():
                        exchange.done.set_result(exchange.answer)
                        self._exchange = None
                elif exchange is not None and number == exchange.question:
                    if not exchange.done.done():
                        exchange.done.set_exception(Unanswered(f"a line to {self.url}, or its answer, was lost."))
                        self._exchange = None
                else:
                    self.counters.late_tokens += 1
                    if exchange is not None:  # what came before it was the older line's
                        exchange.answer = Answer()
            case Trouble(trouble):
                if exchange is not None and len(exchange.answer.troubles) < REPLY_LINES_MAX:
                    exchange.answer.troubles.append(trouble)
            case Restarted():
                if not self.is_booting:
                    self.fail(restarted(self.url, "it says so"))
            case Stopped():
                self._on_stopped()
            case Text(words):
                if exchange is not None and len(exchange.answer.lines) < REPLY_LINES_MAX:
                    exchange.answer.lines.append(words)
                else:
                    self.counters.noise_lines += 1
            case None:
                pass

    @property
    def is_idle(self) -> bool:
        """Whether no line is in doubt."""
        return self._exchange is None

    def listen_for(self, *texts: str) -> None:
        """Lines that, if they come, are noted in `naked` and are nobody's answer."""
        self._listening = frozenset(texts)
        self.naked = set()

    # -- stopping -----------------------------------------------------------------------------------------------

    def emergency_stop(self) -> None:
        """M112, ahead of all that has not left yet, twice; nothing else is said on this link afterwards.

        The board hears it when the command in work is done. May be called again. Raises TransportError.
        """
        if self._transport is None:
            raise TransportError("this RepRapFirmware link has no transport: it was never opened.")
        try:
            # the end of a line that was cut off, then twice: one may be damaged, and stopping twice is no harm
            self._transport.overtake(b"\n" + 2 * frame_line(self._next_number(), b"M112", guard=False))
        finally:
            self.fail(
                DeviceHalted(
                    f"the software stop (M112) was sent to {self.url}: the firmware halts and its position is unknown;"
                    " reset it (M999 or its button) and home again."
                )
            )

    async def stopped(self, timeout_s: float) -> bool:
        """Whether the board says within this time that it is in emergency stop."""
        if not self.is_stopped:
            if self._stopped_news is None or self._stopped_news.done():
                self._stopped_news = self.loop.create_future()
            await asyncio.wait({self._stopped_news}, timeout=timeout_s)
        return self.is_stopped

    def _on_stopped(self) -> None:
        self.is_stopped = True
        if self._stopped_news is not None and not self._stopped_news.done():
            self._stopped_news.set_result(None)
        self.fail(
            DeviceHalted(
                f"the firmware on {self.url} is in emergency stop: it obeys nothing until it is reset, and its position"
                " is unknown. Find the cause, reset it (M999 or its button), home again."
            )
        )

    # -- the end ------------------------------------------------------------------------------------------------

    def raise_if_failed(self) -> None:
        """Raise why this link is unusable, if it is."""
        if self.error is not None:
            raise type(self.error)(str(self.error))

    def fail(self, error: BridgeError) -> None:
        """Nothing more is believed; whoever waits is told why. The first error stays."""
        if self.error is not None:
            return
        self.error = error
        if self._exchange is not None and not self._exchange.done.done():
            self._exchange.done.set_exception(error)


def restarted(url: str, evidence: str) -> DeviceReset:
    """The sentence about a board that has forgotten what it was told."""
    return DeviceReset(
        f"the firmware on {url} has restarted in the middle of the conversation ({evidence}): what it had queued and"
        " its position are lost. Check its supply, then home before going on."
    )
