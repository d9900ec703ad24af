"""Grbl's line: bytes out, replies in, a report asked for at a steady pace, and the ways to make the machine stand.

Everything that holds for any conversation with Grbl, and nothing of what is said in it: `grbl_stream` streams,
`grbl` is what callers use. `?` is written between lines only, so that one that a flipped bit makes a character cannot
land inside a number.

Ways to stand, and what they cost (gnea/grbl: protocol.c, motion_control.c mc_reset, doc/markdown/commands.md):

* `!` decelerates; in laser mode the beam goes off when the machine stands (with M4 it fades with the speed). The
  position is kept. Only a reset at Hold:0 keeps the rest from running later.
* 0x18 is taken in the receive interrupt, whatever is queued: output off at once, then the motors. In motion it costs
  the position (ALARM:3). Spindle stop (0x9E) works only in a hold, where laser mode does it by itself: not used.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from firmware_bridge.errors import BridgeError, DeviceHalted, DeviceReset, LinkError, LinkTimeout, TransportError
from firmware_bridge.links.grbl_flight import Flight
from firmware_bridge.links.grbl_lines import (
    MOVING,
    RX_BYTES,
    Alarm,
    Banner,
    Build,
    Message,
    Noise,
    Ok,
    ParserState,
    Point,
    Refused,
    Reply,
    Report,
    Setting,
    State,
    alarm_words,
    error_words,
    parse_reply,
)
from firmware_bridge.links.grbl_program import differences
from firmware_bridge.links.grbl_track import Track
from firmware_bridge.links.line_framing import LineSplitter
from firmware_bridge.transport import Transport

RESET = b"\x18"
HOLD = b"!"
RESUME = b"~"
ASK = b"?"
JOG_CANCEL = b"\x85"
OVERRIDES_100 = b"\x90\x95\x99"  # feed, rapid, spindle

REPORT_BUSY_S = 0.125
REPORT_IDLE_S = 1.0
REPORT_PATIENCE_S = 2.0  # a report takes 5 to 20 ms; one of two questions may be passed over, never all of them
STALL_S = 10.0  # in motion, and nothing changes
ANSWER_S = 0.5  # nothing to read and room in the planner: an answer that has not come by now was lost
HOLD_LIMIT_S = 3.0
HOLD_AGAIN_S = 0.25
BANNER_S = 2.0
RESET_TRIES = 3
WIRE_AHEAD_S = 0.008
"""No more than this is handed to the port ahead of the wire: a stop byte waits behind it."""


@dataclass
class GrblCounters:
    """What went by since the link was opened."""

    lines: int = 0
    questions: int = 0
    reports: int = 0
    noise_lines: int = 0
    doubts: int = 0
    recoveries: int = 0


class GrblWire:
    """One Grbl on one transport. `error`: why it is unusable; the first one stays."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.build = Build()
        self.flight = Flight(RX_BYTES - 1)
        self.track: Track | None = None  # while a stream runs
        self.counters = GrblCounters()
        self.report: Report | None = None
        self.report_s = -1.0
        self.wco_mm: Point | None = None
        self.overrides: tuple[int, int, int] | None = None
        self.error: BridgeError | None = None
        self.is_locked = False
        self.is_booting = True  # banners and alarms belong to it
        self.is_holding = False  # asked for by us
        self.is_mute = False  # homing: no reports
        self.is_streaming = False
        self.is_dynamic = False  # M4
        self.replies: list[Reply] | None = None  # collected while somebody asks
        self.proven = 0  # of the caller's lines
        self.answer_s = self.write_s = self.heard_s = self.loop.time()
        self.banners = 0
        self._transport: Transport | None = None
        self._splitter = LineSplitter()
        self._news: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked_s: float | None = None  # since when a report is owed
        self._wire_free_s = 0.0
        self._waiters = 0
        self._off_track = ""
        self._down: asyncio.Task[None] | None = None

    # -- bytes --------------------------------------------------------------------------------------------------

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
        self._wire_free_s = max(self._wire_free_s, self.loop.time()) + len(data) * self._transport.byte_time_s

    def write_line(
        self, line: bytes, upto: int, expected: ParserState | None = None, *, is_block: bool = False
    ) -> None:
        """Write a whole line, its end included, that the window has room for."""
        self.raise_if_failed()
        self.flight.launch(line, upto, expected, is_block=is_block)
        self.write_s = self.loop.time()
        self.write(line)

    def must_wait_s(self, size: int) -> float:
        """How long to wait until `size` more bytes are not too many ahead of the wire; 0.0 if they are not."""
        byte_time_s = self._transport.byte_time_s if self._transport is not None else 0.0
        ahead_s = self._wire_free_s - self.loop.time()
        return ahead_s if ahead_s > 0 and ahead_s + size * byte_time_s > WIRE_AHEAD_S else 0.0

    def close(self) -> None:
        """Give the port back."""
        if self._timer is not None:
            self._timer.cancel()
        if self._down is not None:
            self._down.cancel()
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """From the transport."""
        self.heard_s = self.loop.time()
        for line in self._splitter.feed(data):
            reply = parse_reply(line)
            if reply is not None:
                self._hear(reply)
        self._tell_news()

    def connection_lost(self, error: TransportError | None) -> None:
        """From the transport."""
        if error is not None:
            error = TransportError(f"{error} Motion stops when the planner is empty; home before going on.")
        self.fail(error or TransportError(f"{self.url} was closed."), stand=False)
        if self._timer is not None:
            self._timer.cancel()
        if self._down is not None:
            self._down.cancel()
        self._tell_news()

    # -- news ---------------------------------------------------------------------------------------------------

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

    def _tell_news(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def next_report(self) -> Report:
        """A report asked for from now on. Raises what the link has failed with."""
        since_s, first = self.loop.time(), self.counters.reports
        self.ask()
        while self.counters.reports == first or self.report is None:
            self.raise_if_failed()
            await self.news(REPORT_BUSY_S)
            if self.loop.time() - since_s > 2 * REPORT_PATIENCE_S:
                raise LinkTimeout(
                    f"{self.url} was asked for its state and gave none within {2 * REPORT_PATIENCE_S:g} s."
                )
        self.raise_if_failed()
        return self.report

    def ask(self) -> None:
        """One `?`, if the port takes it."""
        if self._transport is None or not self._transport.is_open:
            return
        if self._asked_s is None:
            self._asked_s = self.loop.time()
        self.write(ASK)

    def _poll(self) -> None:
        if self._transport is None or not self._transport.is_open:
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
            if not self.is_mute:
                self.ask()
        except TransportError as error:
            self.fail(error)
        moving = self.report is not None and self.report.state in MOVING
        is_busy = self._waiters > 0 or self.is_streaming or moving or self.flight.in_buffer > 0
        self._timer = self.loop.call_later(REPORT_BUSY_S if is_busy else REPORT_IDLE_S, self._poll)

    # -- hearing ------------------------------------------------------------------------------------------------

    def _hear(self, reply: Reply) -> None:
        if isinstance(reply, Report):
            self._on_report(reply)
        elif isinstance(reply, Banner):
            self._on_banner()
        elif self.error is not None:
            return
        elif isinstance(reply, Alarm):
            self._on_alarm(reply)
        elif self.replies is not None and isinstance(reply, Ok | Refused | ParserState | Setting | Message | Noise):
            self.answer_s = self.heard_s
            self.replies.append(reply)
        elif isinstance(reply, Ok):
            self.answer_s = self.heard_s
            if self.flight.answered() is not None and self.track is not None:
                self.track.passed(self._answered_blocks())
        elif isinstance(reply, Refused):
            self._on_refused(reply)
        elif isinstance(reply, ParserState):
            self._on_parser(reply)
        elif isinstance(reply, Noise):
            self.counters.noise_lines += 1

    def _answered_blocks(self) -> int:
        assert self.track is not None
        return self.track.sent - sum(entry.is_block for entry in self.flight.entries)

    def _on_banner(self) -> None:
        self.banners += 1
        if self.error is not None or self.is_booting:
            return
        self.fail(
            DeviceReset(
                f"the controller on {self.url} has restarted in the middle of the conversation: what it had planned is "
                "gone, and its position is unknown. Check its supply, then home before going on."
            ),
            stand=False,
        )

    def _on_alarm(self, alarm: Alarm) -> None:
        self.is_locked = True
        if self.is_booting:
            return
        self.fail(
            DeviceHalted(
                f"the controller on {self.url} has stopped itself with {alarm_words(alarm.code)}. Find the cause, open "
                "the line again, home."
            )
        )

    def _on_refused(self, reply: Refused) -> None:
        entry = self.flight.entries[0] if self.flight.entries else None
        which = f"line {entry.upto} of the stream" if entry is not None and entry.upto else "a line"
        self.fail(
            LinkError(
                f"the controller on {self.url} refused {which} with {error_words(reply.code)}: it was damaged on its "
                "way or does not suit this machine. The stream stops here; what was sent behind it is dropped."
            )
        )

    def _on_parser(self, told: ParserState) -> None:
        question = self.flight.told()
        if question is None or question.expected is None:
            return
        if found := differences(told, question.expected):
            self.fail(
                LinkError(
                    f"the controller on {self.url} is in another mode than it was told up to line {question.upto} of "
                    f"the stream ({found}): a line was damaged on its way. The stream stops here."
                )
            )
            return
        self.proven = max(self.proven, question.upto)

    def _on_report(self, report: Report) -> None:
        self.counters.reports += 1
        self._asked_s = None
        self.report, self.report_s = report, self.heard_s
        self.is_locked = report.state in (State.ALARM, State.SLEEP)
        if report.overrides is not None:
            self.overrides = report.overrides
        moved = report.wco_mm is not None and self.wco_mm is not None and report.wco_mm != self.wco_mm
        if self.error is not None:
            return
        if self.is_streaming:
            self._judge(report, moved)
        elif report.wco_mm is not None:
            self.wco_mm = report.wco_mm

    def _judge(self, report: Report, offset_moved: bool) -> None:
        """While a stream runs: what a report says that should not be."""
        what = ""
        if report.state not in (State.IDLE, State.RUN) and not (report.state is State.HOLD and self.is_holding):
            what = f"is in state {report.state.value}, and nobody asked for that"
        elif report.overrides is not None and report.overrides != (100, 100, 100):
            what = "has its overrides at {}, {} and {} %, and nobody asked for that".format(*report.overrides)
        elif offset_moved:
            what = f"has another work offset than at the stream's start ({report.wco_mm})"
        if what:
            self.fail(LinkError(f"the controller on {self.url} {what}. The stream stops here."))
            return
        off = ""
        if self.track is not None:
            off = self.track.doubt(report, self.place_mm(report), is_dynamic=self.is_dynamic)
        if off and self._off_track:
            self.fail(
                LinkError(f"the controller on {self.url} does what it was not told: {off}. The stream stops here.")
            )
        elif off:
            self.ask()  # once may be a torn reading
        self._off_track = off
        self._miss_answers(report)

    def _miss_answers(self, report: Report) -> None:
        """Nothing left to read, room to plan, and still no answer: it was lost."""
        flight = self.flight
        if not flight.entries or flight.out_of_step or self.is_holding or report.planner_free in (None, 0):
            return
        waited_s = self.heard_s - max(self.answer_s, self.write_s, self._wire_free_s)
        if report.rx_free is not None and report.rx_free >= self.build.rx_bytes and waited_s > ANSWER_S:
            flight.out_of_step = "the controller has read everything, and answers are missing"

    def place_mm(self, report: Report) -> Point:
        """A report's position in the work frame, mm."""
        x, y, z = report.position_mm
        if not report.is_machine or self.wco_mm is None:
            return x, y, z
        return x - self.wco_mm[0], y - self.wco_mm[1], z - self.wco_mm[2]

    # -- standing still -----------------------------------------------------------------------------------------

    async def rest(self, *, stall_s: float = STALL_S) -> Report:
        """Return once the machine stands and has nothing left to do. LinkTimeout if nothing changes for `stall_s`."""
        before: object = None
        changed_s = self.loop.time()
        while True:
            report = await self.next_report()
            idle = report.state not in MOVING and report.state is not State.HOLD
            has_read = report.rx_free is None or report.rx_free >= self.build.rx_bytes
            if idle and has_read and report.planner_free in (None, self.build.planner_blocks):
                return report
            now = (report.state, report.position_mm, report.planner_free, report.rx_free)
            if now != before:
                before, changed_s = now, self.loop.time()
            elif self.loop.time() - changed_s > stall_s:
                error = LinkTimeout(
                    f"the controller on {self.url} says {report.state.value} and has not moved for {stall_s:g} s: is "
                    "it held, or is a motor switched off?"
                )
                self.fail(error)
                raise error
            await asyncio.sleep(REPORT_BUSY_S)

    async def stand(self) -> bool:
        """Hold; whether it came to stand (Hold:0, or it did not move) within 3 s. Works on a failed link too."""
        self.is_holding = True
        deadline_s = self.loop.time() + HOLD_LIMIT_S
        again_s = 0.0
        first = self.counters.reports
        while self.loop.time() < deadline_s and self._transport is not None and self._transport.is_open:
            if self.loop.time() >= again_s:  # a lost '!' is said again; in a hold it changes nothing
                self.write(HOLD)
                self.ask()
                again_s = self.loop.time() + HOLD_AGAIN_S
            await self.news(0.05)
            report = self.report
            if report is None or self.counters.reports == first:
                continue
            if report.state is State.HOLD and report.substate == 0:
                return True
            if report.state in (State.ALARM, State.SLEEP, State.DOOR):
                return True
            first = self.counters.reports
        return False

    async def reset(self) -> bool:
        """0x18 until the banner comes; whether it came. What was planned and sent is gone."""
        for _ in range(RESET_TRIES):
            if self._transport is None or not self._transport.is_open:
                return False
            before = self.banners
            self.write(RESET)
            deadline_s = self.loop.time() + BANNER_S
            while self.loop.time() < deadline_s:
                await self.news(deadline_s - self.loop.time())
                if self.banners != before:
                    self.flight.abandon()
                    self.track = None
                    self.is_holding = False
                    self._off_track = ""
                    return True
        return False

    # -- the end ------------------------------------------------------------------------------------------------

    def raise_if_failed(self) -> None:
        """Raise why this link is unusable, if it is."""
        if self.error is not None:
            raise type(self.error)(str(self.error))

    def fail(self, error: BridgeError, *, stand: bool = True) -> None:
        """Nothing more is sent or believed. With `stand`, the machine is held and then reset: the rest never runs."""
        if self.error is not None:
            return
        self.error = error
        if stand and self._transport is not None and self._transport.is_open:
            try:
                self.write(HOLD)
            except TransportError:
                return  # the cable is gone: the first error tells of what came before it
            self._down = self.loop.create_task(self._put_down())
        self._tell_news()

    def stop(self, error: BridgeError) -> None:
        """0x18 at once, ahead of everything that is queued here, and again until the banner comes."""
        try:
            self.write(RESET)
        finally:
            if self.error is None:
                self.error = error
            if self._down is not None:
                self._down.cancel()
            self._down = self.loop.create_task(self._make_sure_of_reset())
            self._tell_news()

    async def is_down(self) -> None:
        """Return when a failed link has made its machine stand, or has given that up (bounded: 10 s)."""
        if self._down is not None:
            await asyncio.wait({self._down})

    async def _put_down(self) -> None:
        try:
            await self.stand()
            self._own_up(await self.reset())
        except TransportError:
            return  # `error` tells of the first thing that went wrong

    async def _make_sure_of_reset(self) -> None:
        before = self.banners
        await self.news(BANNER_S / 4)
        try:
            self._own_up(self.banners != before or await self.reset())
        except TransportError:
            self._own_up(False)

    def _own_up(self, is_reset: bool) -> None:
        if not is_reset and self.error is not None:
            self.error = type(self.error)(f"{self.error} It did not confirm its reset: switch it off.")
