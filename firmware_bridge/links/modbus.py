"""Modbus conversations, RTU and TCP: one request in flight, every reply re-checked, no late reply ever a value.

    link = await ModbusLink.open("serial:/dev/ttyUSB0?baud=9600", framing="rtu")
    words = await link.read(1, 3, 26, 1)
    await link.write(1, 26, [250], urgent=True)

RTU has no transaction number, so a reply that comes after its deadline would pass for the next one's. After a timeout
or a wrong reply the link is TAINTED: nothing is sent until the line has been quiet for the late window. A caller that
is cancelled leaves its transaction to end by itself: reply or deadline. Bytes that nobody asked for taint it, too.
An answer may be later than any such window. So a unit that owes one is asked nothing that it could pass for an answer
to before a probe has shown that it will not come any more (modbus_debts).
An urgent write (a stop) waits neither for a unit that is silent nor for the line to be quiet nor for a probe. If a late
echo could pass for its own, it is written once more behind the probe, and that echo is believed.
What cannot be told apart in RTU: an exact duplicate of a reply that arrives while the same question is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Literal

from firmware_bridge.errors import (
    BridgeError,
    FrameError,
    LinkError,
    LinkTimeout,
    Mismatch,
    ModbusException,
    TransportError,
)
from firmware_bridge.links.modbus_counters import ModbusCounters, SilentUnits
from firmware_bridge.links.modbus_debts import Debts, Probe
from firmware_bridge.links.modbus_frames import (
    DAMAGED_REQUEST,
    DEVICE_BUSY,
    Found,
    Oddities,
    Question,
    RtuDeframer,
    TcpDeframer,
    ask_read,
    ask_write,
    frame_rtu,
    frame_tcp,
    registers_of,
)
from firmware_bridge.links.modbus_quiet import SILENCE_MIN_S, Quiet
from firmware_bridge.links.modbus_waiting import QUEUE_MAX, Transaction, Waiting
from firmware_bridge.links.modbus_words import babbling, gave_way, no_answer, not_answered, refused, too_much_owed
from firmware_bridge.transport import Transport, open_transport

if TYPE_CHECKING:
    from firmware_bridge.devices.wear import WriteRecord

URGENT_PATIENCE_S = 0.08  # beyond the bytes of an answer: slower than the slowest unit that we know thinks, 60 ms
BUSY_TRIES, BUSY_PAUSE_S = 3, 0.05  # more for a request that a busy unit refused: all within a beam head's watchdog
STOPPED_PATIENCE_S = 0.05  # the same of a unit that is told to stop while another one's stop waits


class LinkState(Enum):
    """OPEN: ready. TAINTED: an older answer may still come. CLOSED: no transport."""

    OPEN = "open"
    TAINTED = "tainted"
    CLOSED = "closed"


class ModbusLink:
    """One bus (or one TCP connection) and everything that is asked on it."""

    def __init__(
        self,
        framing: Literal["rtu", "tcp"],
        *,
        timeout_s: float = 0.3,
        turnaround_s: float = 0.1,
        late_window_s: float | None = None,
    ) -> None:
        """`timeout_s` counts from when the request and the longest reply can have passed the wire.

        `late_window_s` (default: the timeout; 0 on TCP, whose replies are numbered): how long a tainted line must be
        quiet. `turnaround_s`: pause after a broadcast.
        """
        if framing not in ("rtu", "tcp"):
            raise ValueError(f"framing is 'rtu' or 'tcp', not {framing!r}")
        self.counters = ModbusCounters()
        self.silent = SilentUnits()
        self.write_record: WriteRecord | None = None  # what remembers the writes that wear a device's memory
        self.is_rtu = framing == "rtu"
        self._timeout_s = timeout_s
        self._turnaround_s = turnaround_s
        self._late_window_s = late_window_s if late_window_s is not None else timeout_s if self.is_rtu else 0.0
        self._quiet = Quiet(SILENCE_MIN_S if self.is_rtu else 0.0)
        self._byte_time_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._error: BridgeError | None = None
        self._waiting = Waiting()
        self._current: Transaction | None = None
        self._deadline_s = 0.0  # of the current transaction
        self._watch: asyncio.TimerHandle | None = None  # for the deadlines: set anew only when it fires, or for one
        self._watch_s = 0.0  # that comes before
        self._start: asyncio.TimerHandle | None = None
        self._is_hastened = False  # the current transaction ends early if it must
        self._is_out_of_frame = False
        self._number = 0
        self._odd = Oddities()
        self._debts = Debts()
        self._rtu = RtuDeframer()
        self._tcp = TcpDeframer()

    # -- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        framing: Literal["rtu", "tcp"],
        timeout_s: float = 0.3,
        turnaround_s: float = 0.1,
        late_window_s: float | None = None,
        open_timeout_s: float = 5.0,
    ) -> ModbusLink:
        """Open `url`. Raises TransportError with what to do."""
        link = cls(framing, timeout_s=timeout_s, turnaround_s=turnaround_s, late_window_s=late_window_s)
        link.attach(await open_transport(url, link, timeout_s=open_timeout_s))
        return link

    def attach(self, transport: Transport) -> None:
        """Speak over `transport`, whose receiver this link is."""
        self._transport = transport
        self._byte_time_s = transport.byte_time_s
        self._quiet.begin(self._loop.time(), transport.byte_time_s, is_rtu=self.is_rtu)

    def close(self) -> None:
        """Give the port back; who still waits gets a TransportError."""
        if self._transport is not None:
            self._transport.close()

    @property
    def state(self) -> LinkState:
        """Whether the next request goes out at once, waits for silence, or cannot go."""
        if self._error is not None or self._transport is None:
            return LinkState.CLOSED
        is_orphaned = self._current is not None and self._current.future.cancelled()
        is_tainted = self._quiet.is_draining(self._loop.time()) or is_orphaned
        return LinkState.TAINTED if is_tainted else LinkState.OPEN

    @property
    def url(self) -> str:
        """Where this link goes, for sentences."""
        return self._transport.url if self._transport is not None else "(no transport)"

    # -- what callers ask ---------------------------------------------------------------------------------------

    async def read(
        self, unit: int, fc: int, address: int, count: int, *, retries: int = 0, urgent: bool = False
    ) -> list[int]:
        """`count` registers (u16 each) of `unit` from the 0-based PDU `address`; fc 3 (holding) or 4 (input).

        Raises LinkTimeout, FrameError or Mismatch after `retries` more attempts, ModbusException at once, unless the
        unit is busy: then it has done nothing and is asked again a little later, at most `BUSY_TRIES` times. A unit
        that has been silent for a while is asked once, so that its neighbours need not wait for its retries.
        """
        question = ask_read(unit, fc, address, count)
        return registers_of(question, await self._ask(question, retries, urgent))

    async def write(
        self,
        unit: int,
        address: int,
        values: Sequence[int],
        *,
        fc: int | None = None,
        retries: int = 0,
        urgent: bool = False,
    ) -> None:
        """Write registers (u16 each) and check the echo. fc 6 (default for one value) or 16; unit 0 broadcasts.

        Give `retries` and `urgent` only to writes that may be executed twice. Raises as `read`.
        """
        await self._ask(ask_write(unit, address, values, fc), retries, urgent)

    async def request(self, unit: int, pdu: bytes, reply_size: int, *, urgent: bool = False) -> bytes:
        """Any other request: `pdu` (function code first) -> the reply PDU, whose size the caller knows."""
        if not 1 <= len(pdu) <= 253 or not 1 <= unit <= 247:
            raise ValueError(f"a PDU has 1 to 253 bytes and a unit 1 to 247; got {len(pdu)} bytes for unit {unit}")
        return await self._ask(Question(unit, pdu[0], pdu, reply_size, f"FC{pdu[0]:02d}"), 0, urgent)

    async def _ask(self, question: Question, retries: int, urgent: bool) -> bytes:
        if question.unit in self.silent and not urgent:
            retries = 0
        busy_tries = BUSY_TRIES
        while True:
            if self._error is not None:
                raise type(self._error)(str(self._error))
            if self._waiting.is_full(urgent=urgent):
                raise LinkError(f"{self.url}: {QUEUE_MAX} requests wait: the bus cannot keep up. Poll less often.")
            presses = urgent and self.is_rtu and bool(question.echo)
            transaction = Transaction(question, self._loop.create_future(), presses, urgent)
            self._waiting.add(transaction)
            if self._current is None:
                self._pump()
            elif presses:
                self._hasten(self._current)
            try:
                return await transaction.future
            except asyncio.CancelledError:
                self.counters.cancelled += 1
                raise
            except ModbusException as error:
                if error.code == DEVICE_BUSY and busy_tries > 0:
                    busy_tries -= 1
                    self.counters.retries += 1
                    await asyncio.sleep(BUSY_PAUSE_S)  # the line is others' meanwhile
                    continue
                if error.code != DAMAGED_REQUEST or retries <= 0:
                    raise
            except (LinkTimeout, FrameError, Mismatch):
                if retries <= 0:
                    raise
            retries -= 1
            self.counters.retries += 1

    # -- one transaction ----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start the next transaction if the line is free, quiet and untainted."""
        while self._current is None and self._error is None:
            transaction = self._waiting.first()
            if transaction is None:
                return
            ready_s = self._quiet.free_at_s if transaction.presses else self._quiet.until_s
            if self._loop.time() < ready_s:
                if self._start is not None and self._start.when() > ready_s:
                    self._start.cancel()
                    self._start = None
                if self._start is None:
                    self._start = self._loop.call_at(ready_s, self._line_is_quiet)
                return
            self._waiting.remove(transaction)
            if not transaction.future.done():
                self._ask_or_probe(transaction)

    def _ask_or_probe(self, transaction: Transaction) -> None:
        question, now_s = transaction.question, self._loop.time()
        if transaction.presses or not self._is_confused(question, now_s):
            self._send(transaction, question, now_s)
        elif (probe := self._debts.probe(question, now_s)) is not None:
            self.counters.probes += 1
            self._send(transaction, probe, now_s)
        else:
            transaction.fail(too_much_owed(self.url, question))

    def _is_confused(self, question: Question, now_s: float) -> bool:
        """Whether an answer that is still owed could pass for one to `question`."""
        return self.is_rtu and question.unit != 0 and self._debts.confuses(question, now_s)

    def _hasten(self, transaction: Transaction) -> None:
        """A stop waits: what is in flight has only as long as its bytes and a unit that is well need. So has another
        unit's stop: a dead one must not hold it up."""
        unit = transaction.question.unit
        if unit == 0 or (transaction.presses and self._waiting.has_urgent_only_for(unit)):
            return
        patience_s = STOPPED_PATIENCE_S if transaction.presses else URGENT_PATIENCE_S
        if self._is_hastened or self._timeout_s <= patience_s:
            return
        self._is_hastened = True
        self._deadline_s += patience_s - self._timeout_s
        if self._watch is None or self._deadline_s < self._watch_s:
            self._arm_watch()

    def _line_is_quiet(self) -> None:
        self._start = None
        if self._quiet.is_babbling(self._loop.time()):
            self._waiting.fail(babbling(self.url))
        self._pump()

    def _send(self, transaction: Transaction, question: Question, now_s: float) -> None:
        assert self._transport is not None
        transaction.asked = question
        if self._start is not None:
            self._start.cancel()
            self._start = None
        self._quiet.sent(now_s)
        if self._is_out_of_frame:
            self._is_out_of_frame = False
            self._tcp.rest.clear()
        self._odd = Oddities()
        self._is_hastened = False
        if self.is_rtu:
            self._rtu.rest.clear()
            frame = frame_rtu(question)
        else:
            self._number = transaction.number = self._number % 0xFFFF + 1
            frame = frame_tcp(question, self._number)
        try:
            self._transport.write(frame)
        except TransportError as error:
            transaction.future.set_exception(error)
            return
        self.counters.sent += 1
        self._current = transaction
        wait_s = len(frame) * self._byte_time_s
        if question.unit == 0:
            wait_s += self._turnaround_s
        else:
            wait_s += (question.reply_size + 3) * self._byte_time_s + self._timeout_s
        self._deadline_s = deadline_s = now_s + wait_s
        if self._watch is None or deadline_s < self._watch_s:
            self._arm_watch()
        if self._waiting.has_stop:
            self._hasten(transaction)

    def _arm_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch_s = self._deadline_s
        self._watch = self._loop.call_at(self._deadline_s, self._on_watch)

    def _on_watch(self) -> None:
        """The one timer for all deadlines: a transaction that ends in time costs it nothing."""
        self._watch = None
        if self._current is None:
            return
        if self._loop.time() < self._deadline_s:
            self._arm_watch()
        elif self._current.question.unit == 0:
            self._finish(b"")  # a broadcast: everybody has had the time to obey
        else:
            self._expire()

    def data_received(self, data: bytes) -> None:
        """Bytes from the transport."""
        self._quiet.heard(self._loop.time())
        transaction = self._current
        if transaction is None or transaction.question.unit == 0:
            self._on_unsolicited(data)
            return
        try:
            if self.is_rtu:
                found, pdu = self._rtu.feed(transaction.asked, data, self._odd)
            else:
                found, pdu = self._tcp.feed(transaction.question, transaction.number, data, self._odd)
        except (Mismatch, FrameError) as error:
            self._is_out_of_frame = isinstance(error, FrameError)
            self._fail_current(self._sentence(type(error), transaction.question, str(error)))
            return
        if found is Found.REPLY:
            self._answer(transaction, pdu)
        elif found is Found.EXCEPTION:
            self._refuse(transaction, pdu[1])

    def _on_unsolicited(self, data: bytes) -> None:
        """Nobody asked: on RTU somebody's late answer, so wait until the line is quiet; on TCP it has a number."""
        self.counters.unsolicited_bytes += len(data)
        if not self.is_rtu and not self._is_out_of_frame:
            try:
                self.counters.late += self._tcp.skip(data)
                return
            except FrameError:
                self._is_out_of_frame = True
        self._taint()

    def _answer(self, transaction: Transaction, pdu: bytes) -> None:
        """The reply to what was asked. If that was a probe, or an echo that may be an older one's, its question goes
        out now, behind it."""
        is_doubtful = transaction.presses and self._is_confused(transaction.question, self._loop.time())
        if self.is_rtu:
            self._debts.answered(transaction.asked, has_values=True)
        if transaction.asked is transaction.question and not is_doubtful:
            self._finish(pdu)
            return
        if is_doubtful:  # of two echoes under way only one has come
            self._debts.owes(transaction.asked, self._loop.time())
        self._go_on(transaction)

    def _go_on(self, transaction: Transaction) -> None:
        self._end()
        self.counters.ok += 1
        self.silent.heard(transaction.question.unit)
        transaction.presses = False
        self._waiting.put_back(transaction)
        self._pump()

    def _finish(self, pdu: bytes) -> None:
        transaction = self._end()
        self.counters.ok += 1
        self.silent.heard(transaction.question.unit)
        if not transaction.future.done():
            transaction.future.set_result(pdu)
        self._pump()

    def _refuse(self, transaction: Transaction, code: int) -> None:
        question = transaction.question
        if self.is_rtu:
            if self._debts.confuses_refusal(transaction.asked, self._loop.time()):
                seen = f"exception {code:02d}, perhaps to an older question"
                self._fail_current(self._sentence(Mismatch, question, seen), is_ignored=True)
                return
            self._debts.answered(transaction.asked, has_values=False)
            if isinstance(transaction.asked, Probe):
                self._go_on(transaction)
                return
        self._end()
        self.silent.heard(question.unit)
        self.counters.exceptions[code] = self.counters.exceptions.get(code, 0) + 1
        transaction.fail(refused(self.url, question, code))
        self._pump()

    def _expire(self) -> None:
        """The deadline: say what came instead of the answer."""
        assert self._current is not None
        question, odd = self._current.question, self._odd
        is_ignored = not self._is_hastened
        rest = self._rtu.rest if self.is_rtu else self._tcp.rest
        seen = self._rtu.describe(self._current.asked, odd) if self.is_rtu else ""
        self._is_out_of_frame = bool(self._tcp.rest)
        self._tcp.give_up(self._current.number)
        if seen:
            error: LinkError = self._sentence(Mismatch, question, seen)
        elif rest:
            error = self._sentence(FrameError, question, f"{len(rest)} bytes without a frame ({rest[:12].hex(' ')})")
        else:
            error = self._sentence(LinkTimeout, question, "")
        self._fail_current(error, is_ignored=is_ignored)

    def _sentence(self, kind: type[LinkError], question: Question, seen: str) -> LinkError:
        if kind is LinkTimeout and self._is_hastened:
            self.counters.gave_way += 1
            return gave_way(self.url, question)
        if kind is LinkTimeout:
            self.counters.timeouts += 1
            self.silent.missed(question.unit)
            return not_answered(self.url, question, self._timeout_s)
        if kind is FrameError:
            self.counters.frame_errors += 1
        else:
            self.counters.mismatches += 1
        return no_answer(kind, self.url, question, seen)

    def _fail_current(self, error: LinkError, *, is_ignored: bool = False) -> None:
        transaction = self._end()
        if self.is_rtu:
            self._debts.owes(transaction.asked, self._loop.time(), is_ignored=is_ignored)
        self._taint()
        transaction.fail(error)
        self._pump()

    def _end(self) -> Transaction:
        transaction = self._current
        assert transaction is not None
        self._current = None
        self._quiet.ended(self._loop.time())
        self.counters.noise_bytes += self._odd.noise_bytes
        self.counters.late += self._odd.late
        if self.is_rtu and self._rtu.rest:  # bytes behind the reply belong to nobody
            self.counters.unsolicited_bytes += len(self._rtu.rest)
            self._taint()
        return transaction

    def _taint(self) -> None:
        """Nothing is sent until the line has been quiet for the late window."""
        quiet_s = self._timeout_s if self._is_out_of_frame else max(self._quiet.silence_s, self._late_window_s)
        if self._is_hastened:  # its answer may come as late as that of any other
            quiet_s += self._timeout_s - URGENT_PATIENCE_S
        self.counters.drains += self._quiet.taint(self._loop.time(), quiet_s)

    def connection_lost(self, error: TransportError | None) -> None:
        """The transport is gone: every waiting caller is told."""
        self._error = error if error is not None else TransportError(f"{self.url} was closed.")
        for timer in (self._watch, self._start):
            if timer is not None:
                timer.cancel()
        self._watch = self._start = None
        current, self._current = self._current, None
        if current is not None:
            current.fail(self._error)
        self._waiting.fail(self._error)
