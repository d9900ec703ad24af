"""One stream: a plan's lines, each sent once, and nothing claimed that was not proven.

Lines go out as far as the receive buffer has room (character counting). Beam changes and waits are made at rest, with
everything before them proven done; so are a stream's end and a checkpoint every few thousand lines.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence

from firmware_bridge.errors import BridgeError, LinkError
from firmware_bridge.links.grbl_flight import QUESTION
from firmware_bridge.links.grbl_port import REPORT_BUSY_S
from firmware_bridge.links.grbl_program import Kind, Planned, parse_planned
from firmware_bridge.links.grbl_talk import Talk
from firmware_bridge.links.grbl_track import Track
from firmware_bridge.links.marlin_flight import StreamJournal
from firmware_bridge.links.stream_groups import StreamGroups

CHECKPOINT_LINES = 4096
"""The parser adds relative moves in single precision; this bounds what that can come to."""


class GrblStream:
    """One use only: `run`."""

    def __init__(
        self, talk: Talk, lines: Sequence[bytes], journal: StreamJournal, cancelled: Callable[[], bool] | None
    ) -> None:
        self._talk = talk
        self._wire = talk.wire
        self._groups = StreamGroups(talk.wire.url, lines, parse_planned, journal, cancelled)
        self._journal = journal
        self._sent = 0
        self._claimed = 0
        self._since_rest = 0

    async def run(self) -> int:
        """Stream, and return how many lines are proven done. The machine stands on return.

        Raises LinkError (a line that may not be sent, a doubt that was not dispelled), DeviceHalted, DeviceReset,
        TransportError, or what the journal raises; the machine has then been held and reset.
        """
        wire, talk = self._wire, self._talk
        wire.is_streaming = True
        wire.proven = 0
        wire.flight.verified = None
        wire.track = Track(sum(talk.step_mm) + 0.01, wire.build.planner_blocks)
        try:
            while (group := await self._groups.next()) is not None:
                for index, line in group:
                    await self._do(index, line)
            await talk.settle(self._sent)
            self._claim()
            return self._sent
        except BaseException as error:
            await self._break_off(error)
            raise
        finally:
            await self._groups.close()
            wire.is_streaming = False
            wire.track = None

    async def _break_off(self, error: BaseException) -> None:
        """No line that is under way may run on: what stopped the stream stops the machine."""
        wire = self._wire
        if isinstance(error, asyncio.CancelledError):
            return  # the caller's own doing: it decides (`GrblLink.abort`) what becomes of the rest
        if wire.error is None and self._sent:
            reason = error if isinstance(error, BridgeError) else LinkError(f"the stream was broken off: {error}")
            wire.fail(reason)
        await wire.is_down()

    # -- one line -----------------------------------------------------------------------------------------------

    async def _do(self, index: int, planned: Planned) -> None:
        if planned.kind is Kind.MOVE:
            await self._move(index, planned)
        else:
            await self._at_rest(planned)
        self._sent = index + 1
        self._claim()

    async def _move(self, index: int, planned: Planned) -> None:
        wire, talk = self._wire, self._talk
        if self._since_rest >= CHECKPOINT_LINES:
            await self._settle()
        while True:
            wire.raise_if_failed()
            if wire.flight.out_of_step:
                await self._settle()
            program = talk.program
            if program.wants_question or (program.lines_unasked and program.changes_modes(planned)):
                if await self._has_room(len(QUESTION)):
                    talk.question(self._sent)
                continue
            trial = copy.copy(program)
            told = trial.tell(planned)
            if await self._has_room(len(told.line) + (len(QUESTION) if told.says_modes else 0)):
                break
        talk.program = trial
        if told.block is not None and wire.track is not None:
            wire.track.add(told.block)
        wire.counters.lines += 1
        wire.write_line(told.line, index + 1, is_block=told.block is not None)
        if told.says_modes:
            talk.question(index + 1)
        self._since_rest += 1

    async def _has_room(self, size: int) -> bool:
        """Whether `size` bytes may go now; else some time has passed, and everything is to be looked at again."""
        wire = self._wire
        wait_s = wire.must_wait_s(size)
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        elif wire.flight.may_send(size):
            return True
        else:
            await wire.news(REPORT_BUSY_S)
            self._claim()
        return False

    async def _at_rest(self, planned: Planned) -> None:
        """Beam changes and waits, with everything before them done and proven."""
        wire, talk = self._wire, self._talk
        if planned.kind is Kind.MODE:
            return
        await self._settle()
        if planned.kind is Kind.WAIT:
            await self._wait(planned.wait_s)
            return
        line = talk.program.tell_beam(planned)
        wire.counters.lines += 1
        wire.write_line(line, self._sent + 1)
        wire.is_dynamic = planned.spindle == "M4"
        talk.question(self._sent + 1)
        await talk.answers()
        if wire.flight.out_of_step:
            await talk.resync()

    async def _wait(self, wait_s: float) -> None:
        """The time is counted here, dark and at rest: a G4 whose number was damaged would leave no trace."""
        wire = self._wire
        until_s = wire.loop.time() + wait_s
        while wire.loop.time() < until_s:
            wire.raise_if_failed()
            await asyncio.sleep(min(REPORT_BUSY_S, until_s - wire.loop.time()))

    async def _settle(self) -> None:
        await self._talk.settle(self._sent)
        self._since_rest = 0
        self._claim()

    def _claim(self) -> None:
        """Tell the journal what is proven."""
        for index in range(self._claimed, min(self._wire.proven, self._sent)):
            self._claimed = index + 1
            self._journal.acked(index)
