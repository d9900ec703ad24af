"""Grbl's line: what is heard, what of it ends the conversation, and the ways to make the machine stand.

Everything that holds for any conversation with Grbl, and nothing of what is said in it: `grbl_stream` streams,
`grbl` is what callers use.

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
    refusal_words,
)
from firmware_bridge.links.grbl_port import REPORT_BUSY_S, REPORT_PATIENCE_S, GrblPort
from firmware_bridge.links.grbl_program import differences, is_damaged
from firmware_bridge.links.grbl_track import Track

RESET = b"\x18"
HOLD = b"!"
RESUME = b"~"
JOG_CANCEL = b"\x85"
OVERRIDES_100 = b"\x90\x95\x99"  # feed, rapid, spindle

REST_POLL_S = 0.05  # while somebody waits for the end: 20 reports a second are the most that Grbl's manual advises
STALL_S = 10.0  # in motion, and nothing changes
ANSWER_S = 0.5  # nothing to read and room in the planner: an answer that has not come by now was lost
HOLD_LIMIT_S = 3.0
HOLD_AGAIN_S = 0.25
BANNER_S = 2.0
RESET_TRIES = 3
REST_REPORTS = 8
"""Of which two in a row must show that it stands: a single one may be damaged, or older than the reset."""


@dataclass
class GrblCounters:
    """What went by since the link was opened."""

    lines: int = 0
    questions: int = 0
    reports: int = 0
    noise_lines: int = 0
    doubts: int = 0
    recoveries: int = 0


class GrblWire(GrblPort):
    """One Grbl on one transport. `error`: why it is unusable; the first one stays."""

    def __init__(self) -> None:
        super().__init__()
        self.build = Build()
        self.flight = Flight(RX_BYTES - 1)
        self.track: Track | None = None  # while a stream runs
        self.counters = GrblCounters()
        self.report: Report | None = None
        self.report_s = -1.0
        self.wco_mm: Point | None = None
        self.overrides: tuple[int, int, int] | None = None
        self.is_locked = False
        self.is_holding = False  # asked for by us
        self.is_streaming = False
        self.is_dynamic = False  # M4
        self.replies: list[Reply] | None = None  # collected while somebody asks
        self.proven = 0  # of the caller's lines
        self.answer_s = self.write_s = self.loop.time()
        self.banners = 0
        self.is_stopped = False  # after a failure: it was reset, and seen to stand with nothing left to do
        self._off_track = ""
        self._odd_offset: Point | None = None
        self._reports_since_odd = 100
        self._last_motion: object = None
        self._moved_s = 0.0
        self._down: asyncio.Task[None] | None = None

    # -- bytes --------------------------------------------------------------------------------------------------

    def write_line(
        self, line: bytes, upto: int, expected: ParserState | None = None, *, is_block: bool = False
    ) -> None:
        """Write a whole line, its end included, that the window has room for."""
        self.raise_if_failed()
        self.flight.launch(line, upto, expected, is_block=is_block)
        self.write(line)
        self.write_s = self.wire_free_s

    @property
    def is_busy(self) -> bool:
        """Whether reports are wanted often."""
        moving = self.report is not None and self.report.state in MOVING
        return self.is_streaming or moving or self.flight.in_buffer > 0

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
            self._on_noise(reply)

    def _answered_blocks(self) -> int:
        assert self.track is not None
        return self.track.sent - sum(entry.is_block for entry in self.flight.entries)

    def _on_banner(self) -> None:
        self.banners += 1
        if self.error is not None or self.is_booting:
            return
        # Lines that were under way when it restarted come behind its banner and would run: it is reset once more.
        self.fail(
            DeviceReset(
                f"the controller on {self.url} has restarted in the middle of the conversation: what it had planned is "
                "gone, and its position is unknown. Check its supply, then home before going on."
            )
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
        why = refusal_words(reply.code, "it was damaged on its way or does not suit this machine")
        self.fail(
            LinkError(
                f"the controller on {self.url} refused {which} with {error_words(reply.code)}: {why}. The stream stops "
                "here; what was sent behind it is dropped."
            )
        )

    def _on_noise(self, noise: Noise) -> None:
        self.counters.noise_lines += 1
        for question in self.flight.questions():
            if question.expected is not None and is_damaged(noise.text, question.expected):
                self._on_parser(question.expected)
                return

    def _on_parser(self, told: ParserState) -> None:
        question = self.flight.told(told)
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
        self.report_came()
        self.report, self.report_s = report, self.heard_s
        self.is_locked = report.state in (State.ALARM, State.SLEEP)
        if self.error is not None:
            return
        if self.is_streaming:
            self._judge(report)
            return
        if report.overrides is not None:
            self.overrides = report.overrides
        if report.wco_mm is not None:
            self.wco_mm = report.wco_mm

    def _judge(self, report: Report) -> None:
        """While a stream runs: what a report says that should not be. A reading that may be damaged is taken twice."""
        what = ""
        if report.state not in (State.IDLE, State.RUN) and not (report.state is State.HOLD and self.is_holding):
            what = f"is in state {report.state.value}, and nobody asked for that"
        elif report.overrides is not None:
            what = self._judge_overrides(report.overrides)
        elif report.wco_mm is not None:
            if report.wco_mm not in (self.wco_mm, self._odd_offset):
                self._odd_offset = report.wco_mm
            elif report.wco_mm == self._odd_offset:
                what = f"has another work offset than at the stream's start ({report.wco_mm})"
        self._reports_since_odd += 1
        if what:
            self.fail(LinkError(f"the controller on {self.url} {what}. The stream stops here."))
            return
        if self._is_stuck(report):
            self.fail(LinkTimeout(f"the controller on {self.url} says Run and has not moved for {STALL_S:g} s."))
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

    def _is_stuck(self, report: Report) -> bool:
        motion = (report.state, report.position_mm, report.planner_free, report.rx_free)
        if report.state is not State.RUN or motion != self._last_motion:
            self._last_motion, self._moved_s = motion, self.heard_s
        return self.heard_s - self._moved_s > STALL_S

    def _judge_overrides(self, overrides: tuple[int, int, int]) -> str:
        """A change of overrides is reported at once. So they are set to 100: if that is reported, they were not."""
        if overrides == (100, 100, 100):
            changed_back = self._reports_since_odd <= 2
            return "had overrides that nobody asked for" if changed_back else ""
        if self._reports_since_odd <= 2:
            return "has its overrides at {}, {} and {} %, and nobody asked for that".format(*overrides)
        self._reports_since_odd = 0
        self.write(OVERRIDES_100)
        self.ask()
        return ""

    def _miss_answers(self, report: Report) -> None:
        """Nothing left to read, room to plan, and still no answer: it was lost."""
        flight = self.flight
        if not flight.entries or flight.out_of_step or self.is_holding or report.planner_free in (None, 0):
            return
        waited_s = self.heard_s - max(self.answer_s, self.write_s)
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
            now = (report.state, report.position_mm, report.planner_free, report.rx_free)
            if self.is_booting:  # how much it holds when empty is not known yet: idle, and twice the same
                if idle and now == before:
                    return report
            elif idle and has_read and report.planner_free in (None, self.build.planner_blocks):
                return report
            if now != before or self.is_holding:  # a hold that we asked for lasts as long as the operator wants
                before, changed_s = now, self.loop.time()
            elif self.loop.time() - changed_s > stall_s:
                error = LinkTimeout(
                    f"the controller on {self.url} says {report.state.value} and has not moved for {stall_s:g} s: is "
                    "it held, or is a motor switched off?"
                )
                self.fail(error)
                raise error
            await asyncio.sleep(REST_POLL_S)

    async def stand(self) -> bool:
        """Hold; whether it came to stand (Hold:0, or it did not move) within 3 s. Works on a failed link too."""
        self.is_holding = True
        deadline_s = self.loop.time() + HOLD_LIMIT_S
        again_s = 0.0
        first = self.counters.reports
        while self.loop.time() < deadline_s and self.is_open:
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
            if not self.is_open:
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

    async def _reset_for_good(self) -> bool:
        """0x18 until the controller is seen to stand behind its banner; whether it was.

        The port hands bytes on in order, so that nothing of ours comes behind the reset: a banner of another one, still
        on its way, is told from this one's by what follows.
        """
        for _ in range(RESET_TRIES):
            if not await self.reset():
                return False
            if await self._seen_at_rest():
                return True
        return False

    async def _seen_at_rest(self) -> bool:
        """Whether two reports in a row, asked for from now on, show the same place, no power and nothing left to do."""
        seen: Point | None = None
        for _ in range(REST_REPORTS):
            first, until_s = self.counters.reports, self.loop.time() + BANNER_S
            self.ask()
            while self.counters.reports == first and self.is_open and self.loop.time() < until_s:
                await self.news(REPORT_BUSY_S)
                if self.counters.reports == first:
                    self.ask()
            report = self.report
            if self.counters.reports == first or report is None:
                return False
            is_still = report.state in (State.IDLE, State.ALARM, State.SLEEP) and not report.power_s
            if not self.is_booting:  # before, it is not known how much it holds when empty
                is_still = is_still and report.planner_free in (None, self.build.planner_blocks)
                is_still = is_still and (report.rx_free is None or report.rx_free >= self.build.rx_bytes)
            if is_still and seen == report.position_mm:
                return True
            seen = report.position_mm if is_still else None
        return False

    # -- the end ------------------------------------------------------------------------------------------------

    def fail(self, error: BridgeError, *, stand: bool = True) -> None:
        """Nothing more is sent or believed. With `stand`, the machine is held and then reset: the rest never runs."""
        if self.error is not None:
            return
        self.error = error
        if stand and self.is_open:
            try:
                self.write(HOLD)
            except TransportError:
                return  # the cable is gone: the first error tells of what came before it
            self._down = self.loop.create_task(self._put_down())
        self.tell_news()

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
            self.tell_news()

    async def is_down(self) -> None:
        """Return when a failed link has made its machine stand, or has given that up (bounded: 10 s)."""
        if self._down is not None:
            await asyncio.wait({self._down})

    async def _put_down(self) -> None:
        try:
            await self.stand()
            self._own_up(await self._reset_for_good())
        except TransportError:
            return  # `error` tells of the first thing that went wrong

    async def _make_sure_of_reset(self) -> None:
        before = self.banners
        await self.news(BANNER_S / 4)
        try:
            self._own_up((self.banners != before and await self._seen_at_rest()) or await self._reset_for_good())
        except TransportError:
            self._own_up(False)

    def _own_up(self, is_reset: bool) -> None:
        self.is_stopped = is_reset
        if not is_reset and self.error is not None:
            self.error = type(self.error)(f"{self.error} It did not confirm its reset: switch it off.")
