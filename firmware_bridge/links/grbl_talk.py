"""Asking Grbl one thing at a time, and finding out where it stands when answers were lost.

`settle` is the proof that all which was sent is done: every line answered, the machine at rest, and its place where
the lines lead. `resync` is what happens when the answers no longer tell: nothing more is sent until the controller has
visibly read and done everything, an empty line completes whatever may be left of a line whose end was lost, and then
mode and place are compared. They agree only if each line was carried out: a line that was refused or lost leaves the
place off (see `grbl_program`). Then the stream goes on; else it stops. Nothing is counted on suspicion.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from firmware_bridge.errors import LinkError, LinkTimeout, Rejected
from firmware_bridge.links.grbl_flight import QUESTION
from firmware_bridge.links.grbl_lines import (
    Message,
    Ok,
    ParserState,
    Refused,
    Reply,
    Report,
    Setting,
    error_words,
    refusal_words,
)
from firmware_bridge.links.grbl_port import REPORT_BUSY_S
from firmware_bridge.links.grbl_program import Program, differences
from firmware_bridge.links.grbl_wire import GrblWire

T = TypeVar("T", Message, ParserState, Setting)

ANSWER_TIMEOUT_S = 2.0
SYNC_TRIES = 3
SYNC_S = 1.0
QUIET_S = 0.2
PRINT_MM = 0.002  # a place is printed with three decimals
DRIFT_MM = 0.003  # the parser adds the moves in single precision


class Talk:
    """Questions and answers on a wire, and the model of what the parser was told."""

    def __init__(self, wire: GrblWire) -> None:
        self.wire = wire
        self.program = Program()
        self.step_mm = (0.0, 0.0, 0.0)
        self._in_a_row = 0  # doubts, with no rest proven between

    # -- one line, one answer -----------------------------------------------------------------------------------

    async def ask(self, line: bytes, *, timeout_s: float = ANSWER_TIMEOUT_S, repeats: bool = False) -> list[Reply]:
        """Send one line with nothing else under way; what came before its ok.

        `repeats`: harmless to send twice, and sent again if the answer was lost.
        Raises Rejected (error:N in words), LinkTimeout, or what the link failed with.
        """
        wire = self.wire
        if wire.flight.out_of_step and not wire.is_streaming:
            await self._in_step()  # an answer came that nobody waited for
        for attempt in range(2 if repeats else 1):
            wire.raise_if_failed()
            if wire.replies is not None or wire.is_streaming or wire.flight.entries:
                raise LinkError(f"{line!r} is not sent to {wire.url}: other lines are under way. One at a time.")
            wire.replies = []
            try:
                wire.write_line(line + b"\n", 0)
                answer = await self._answer(timeout_s)
                replies = wire.replies
            finally:
                wire.replies = None
                wire.flight.abandon()
            if isinstance(answer, Ok):
                return replies[:-1]
            if isinstance(answer, Refused) and repeats and attempt == 0:
                continue  # perhaps it was damaged
            if isinstance(answer, Refused):
                why = refusal_words(answer.code, "")
                told = f"{error_words(answer.code)}{why and ': '}{why}"
                raise Rejected(f"{wire.url} refused {line.decode()!r} with {told}.")
            await self._in_step()
        wire.raise_if_failed()
        raise LinkTimeout(
            f"{wire.url} did not answer {line.decode()!r} within {timeout_s:g} s, though it reads what is sent: "
            "the line is noisy. Check cable and baud rate."
        )

    async def _answer(self, timeout_s: float) -> Ok | Refused | None:
        wire = self.wire
        deadline_s = wire.loop.time() + timeout_s
        while True:
            wire.raise_if_failed()
            if wire.replies and isinstance(wire.replies[-1], Ok | Refused):
                return wire.replies[-1]
            if wire.loop.time() >= deadline_s:
                return None
            await wire.news(deadline_s - wire.loop.time())

    async def parser_state(self) -> ParserState:
        """What `$G` says now. Raises LinkError if it cannot be read twice."""
        for _ in range(2):
            if found := only(await self.ask(b"$G", repeats=True), ParserState):
                return found[0]
        raise LinkError(f"{self.wire.url} was asked twice for its parser's state, and gave none that can be read.")

    async def adopt(self) -> None:
        """Take modes and place as they are: after a reset, a homing, an unlocking."""
        state = await self.parser_state()
        self.program = Program()
        self.program.state = state
        await self.stand_here()

    async def stand_here(self) -> None:
        """Take the place where the machine stands for the place where the program is."""
        report = await self.wire.rest()
        x, y, z = self.wire.place_mm(report)
        self.program.rest_at((round(x * 1000), round(y * 1000), round(z * 1000)))

    async def set_modes(self, line: bytes) -> None:
        """Send a line that `program` has told already, and see by `$G` that it was understood."""
        await self.ask(line.removesuffix(b"\n"), repeats=True)
        if found := differences(await self.parser_state(), self.program.state):
            raise self._failed(
                f"the controller on {self.wire.url} is in another mode than it was told ({found}): the line is noisy."
            )

    # -- proofs -------------------------------------------------------------------------------------------------

    def question(self, upto: int) -> None:
        """`$G`, behind the caller's first `upto` lines."""
        self.wire.counters.questions += 1
        self.wire.write_line(QUESTION, upto, self.program.state)
        self.program.asked()

    async def answers(self) -> None:
        """Return when every line is answered, or it is known that answers are missing."""
        wire = self.wire
        while wire.flight.entries and not wire.flight.out_of_step:
            await wire.news(REPORT_BUSY_S)
            wire.raise_if_failed()

    async def settle(self, upto: int) -> None:
        """Return once the first `upto` lines are proven done. Raises LinkError where they are not."""
        wire = self.wire
        while True:
            wire.raise_if_failed()
            if wire.flight.out_of_step:
                if self._in_a_row >= SYNC_TRIES:
                    raise self._failed(
                        f"{wire.url}: {wire.flight.out_of_step}, again and again. The stream stops here; check cable "
                        "and shielding, home before going on."
                    )
                self._in_a_row += 1
                await self.resync()
            elif self.program.lines_unasked and wire.flight.may_send(len(QUESTION)):
                self.question(upto)
            elif wire.flight.entries:
                await wire.news(REPORT_BUSY_S)
            else:
                await self.close_place(upto)
                if not wire.flight.out_of_step:  # no answer too many came meanwhile
                    break
        self._in_a_row = 0
        wire.proven = max(wire.proven, upto)

    def _failed(self, sentence: str) -> LinkError:
        """Fail the link with this reason."""
        error = LinkError(sentence)
        self.wire.fail(error)
        return error

    async def close_place(self, upto: int) -> None:
        """The machine must stand where the lines lead, dark. A reading that is off is taken once more."""
        wire, program = self.wire, self.program
        due = [um / 1000.0 for um in program.place_um]
        off = ""
        for _ in range(2):
            report = await wire.rest()
            place = wire.place_mm(report)
            off = ""
            for axis, at, wanted, step_mm in zip("xyz", place, due, self.step_mm):
                if abs(at - wanted) > step_mm + PRINT_MM + DRIFT_MM:
                    off = f"{axis} = {at:.3f} mm instead of {wanted:.3f} mm"
            if not off and report.power_s and program.state.spindle != "M3":
                off = f"its beam at S{report.power_s:g} instead of off"
            if not off:
                program.rest_at(program.place_um)
                if wire.track is not None:
                    wire.track.rest()
                return
        raise self._failed(
            f"the controller on {wire.url} came to rest after line {upto} of the stream with {off}: a line was "
            "damaged, lost or doubled on its way. The stream stops here; home before going on."
        )

    async def resync(self) -> None:
        """Find out by looking what the answers no longer tell. Raises LinkError if it cannot be proven."""
        flight = self.wire.flight
        why = flight.out_of_step or "an answer did not come"
        await self._quiet()
        now = self.program.state
        due = [entry.expected for entry in flight.questions() if entry.expected is not None]
        said = list(flight.kept)
        before = [flight.verified] if flight.verified is not None else []
        said.append(await self._in_step())
        if found := unproven([*before, *said], [*before, *due, now]):
            raise self._failed(
                f"the controller on {self.wire.url}: {why}, and its modes cannot be proven ({found}). The stream stops "
                "here; home before going on."
            )
        flight.verified = now
        self.program.asked()
        self.wire.counters.recoveries += 1

    async def _in_step(self) -> ParserState:
        """Let everything be read and done, then ask afresh: from here on each answer belongs to its line again."""
        wire = self.wire
        wire.counters.doubts += 1
        why = wire.flight.out_of_step or "an answer did not come"
        await self._quiet()
        wire.flight.abandon()
        wire.replies = []
        try:
            return await self._ask_afresh(why)
        finally:
            wire.replies = None

    async def _quiet(self) -> Report:
        """At rest, everything read, and no answer for a while: what has not been answered by now never will be."""
        wire = self.wire
        while True:
            report = await wire.rest()
            before = wire.answer_s
            await asyncio.sleep(QUIET_S)
            wire.raise_if_failed()
            if wire.answer_s == before:
                return report

    async def _ask_afresh(self, why: str) -> ParserState:
        """An empty line, then `$G`: exactly one answer, the state, one answer."""
        wire = self.wire
        for _ in range(SYNC_TRIES):
            wire.replies = []
            wire.write(b"\n" + QUESTION)
            deadline_s = wire.loop.time() + SYNC_S
            while wire.loop.time() < deadline_s:
                await wire.news(deadline_s - wire.loop.time())
                wire.raise_if_failed()
                match wire.replies:
                    case [Refused(code), *_]:
                        raise self._failed(
                            f"the controller on {wire.url} was left with half a line and refused it with "
                            f"{error_words(code)}. The stream stops here; home before going on."
                        )
                    case [Ok(), ParserState() as state, Ok()]:
                        return state
        raise self._failed(
            f"{wire.url}: {why}, and what it says now is too noisy to find out more. The stream stops here; check "
            "cable and shielding, home before going on."
        )


def unproven(said: list[ParserState], due: list[ParserState]) -> str:
    """Whether states that were heard prove those that were due, each in order and some perhaps lost; "" if they do.

    Between two questions with the same answer due no mode was changed, so one of their answers proves both. Any other
    that is missing, or is not what was due, is named.
    """
    heard, wanted = _runs(said), _runs(due)
    for one, other in zip(heard, wanted):
        if found := differences(one, other):
            return found
    return "" if len(heard) == len(wanted) else f"{len(wanted)} were set and {len(heard)} seen"


def _runs(states: list[ParserState]) -> list[ParserState]:
    return [state for index, state in enumerate(states) if not index or differences(state, states[index - 1])]


def only(replies: list[Reply], kind: type[T]) -> list[T]:
    """The replies of one kind."""
    return [reply for reply in replies if isinstance(reply, kind)]
