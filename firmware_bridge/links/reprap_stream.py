"""One stream: a plan's lines, several moves in each line that is said, one line in doubt at a time.

A line of moves is said until its token comes; said or carried out a second time it is refused by the board itself (see
`reprap_program`). If a refusal is heard, the place tells which it was: at the end of the line's moves it was done, and
anything else stops the stream. At the end the place must be the plan's, and the axes still homed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import islice
from math import hypot

from firmware_bridge.errors import BridgeError, LinkError
from firmware_bridge.links.marlin_flight import StreamJournal
from firmware_bridge.links.reprap_board import TRIES, Board, Expected, model, place
from firmware_bridge.links.reprap_program import (
    CLOSE_MM,
    Pause,
    Planned,
    Step,
    at_reached_speed,
    duration_s,
    pack,
    parse_planned,
)
from firmware_bridge.links.reprap_talk import Talk, restarted
from firmware_bridge.links.stream_groups import StreamGroups

LINE_WORTH_S = 1.0
"""No line holds moves for longer, but for a single one: a stop is heard when the line in work is done."""

REFUSED = "Error: G1: target position outside machine limits"
"""What the board says to a line's second coming; G0 for a jump."""

ALIKE = 0.9
"""Share of a text that a flipped bit or two leave alone."""

FORGETFUL = ("insufficient axes homed", "in machine mode")
"""What a board says that was restarted: it is not homed, and perhaps no laser any more."""


class Queue:
    """How long the moves that the board may still hold can take at most, s, oldest first."""

    def __init__(self, ring_moves: int) -> None:
        self._durations_s: deque[float] = deque(maxlen=ring_moves + 2)

    def add(self, durations_s: Sequence[float]) -> None:
        """Moves were taken."""
        self._durations_s.extend(durations_s)

    def clear(self) -> None:
        """The machine stands."""
        self._durations_s.clear()

    @property
    def whole_s(self) -> float:
        """Until all of them are done."""
        return sum(self._durations_s)

    @property
    def longest_s(self) -> float:
        """Of one of them."""
        return max(self._durations_s, default=0.0)


def _is_refusal(trouble: str) -> bool:
    return SequenceMatcher(None, trouble, REFUSED, autojunk=False).ratio() >= ALIKE


class RepRapStream:
    """One use only: `run`."""

    def __init__(
        self,
        talk: Talk,
        board: Board,
        expected: Expected,
        queue: Queue,
        lines: Sequence[bytes],
        journal: StreamJournal,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._talk = talk
        self._board = board
        self._expected = expected
        self._queue = queue
        self._groups = StreamGroups(talk.url, lines, parse_planned, journal, cancelled)
        self._journal = journal
        self._done = 0
        self._is_shifted = False
        self._at_mm = (0.0, 0.0)

    async def run(self) -> int:
        """Stream, and return how many lines the board has taken.

        Raises LinkError (a line that may not be sent, a line that was refused), LinkTimeout, DeviceReset, DeviceHalted,
        TransportError, or what the journal raises. What the board has taken is then still carried out.
        """
        talk = self._talk
        await talk.say(b"G21 G90 G54 M5")
        self._at_mm = (await place(talk))[:2]
        try:
            while (group := await self._groups.next()) is not None:
                await self._send([planned for _, planned in group])
        finally:
            await self._groups.close()
        await self._close()
        return self._done

    async def _send(self, planned: list[Planned]) -> None:
        index = 0
        while index < len(planned) and not self._groups.is_cancelled:
            line = planned[index]
            if isinstance(line, Pause):
                await self._pause(line)
                index += 1
                continue
            steps = [line]
            for after in islice(planned, index + 1, None):
                if isinstance(after, Pause):
                    break
                steps.append(after)
            index += await self._move(steps)

    async def _pause(self, pause: Pause) -> None:
        takes_s = pause.takes_s + (self._queue.whole_s if pause.is_sync else self._queue.longest_s)
        for _ in range(TRIES):  # a refusal may be that of a repeated line, whose late token was lost
            answer = await self._talk.say(pause.command, takes_s=takes_s)
            if not answer.troubles:
                break
        else:
            trouble = answer.troubles[0]
            if any(sign in trouble for sign in FORGETFUL):
                raise self._failed(restarted(self._talk.url, f"'{trouble}'"))
            raise self._failed(
                LinkError(f"the firmware on {self._talk.url} refuses {pause.command.decode()} ('{trouble}').")
            )
        if pause.is_sync:
            self._queue.clear()
        self._claim(1)

    async def _move(self, steps: list[Step]) -> int:
        board, talk = self._board, self._talk
        told, durations_s = self._at_their_speeds(steps)
        longest_s = max(self._queue.longest_s, max(durations_s))
        moves_max = max(1, int(LINE_WORTH_S / longest_s)) if longest_s > 0 else len(told)
        batch = pack(told, self._at_mm, board.shift_mm if self._is_shifted else 0.0, moves_max)
        other = b" G54" if self._is_shifted else b" G55"
        answer = await talk.say(batch.words.lstrip() + other, takes_s=(batch.count + 1) * longest_s)
        last = told[batch.count - 1]
        if answer.troubles:
            await self._look_whether_done(last, answer.troubles)
        self._is_shifted = not self._is_shifted
        self._at_mm = (last.x_mm, last.y_mm)
        self._queue.add(durations_s[: batch.count])
        talk.counters.moves += batch.count
        self._claim(batch.count)
        return batch.count

    def _at_their_speeds(self, steps: list[Step]) -> tuple[list[Step], list[float]]:
        told: list[Step] = []
        durations_s: list[float] = []
        x_mm, y_mm = self._at_mm
        acceleration = self._board.acceleration_mm_s2
        for step in steps:
            length_mm = hypot(step.x_mm - x_mm, step.y_mm - y_mm)
            step = at_reached_speed(step, length_mm, acceleration)
            told.append(step)
            durations_s.append(duration_s(step, length_mm, acceleration, self._expected.rapid_mm_s))
            x_mm, y_mm = step.x_mm, step.y_mm
        return told, durations_s

    async def _look_whether_done(self, last: Step, troubles: list[str]) -> None:
        """A refusal was heard: of the line's second coming, if the first has brought the machine to its end. Any other
        error stops the stream; what is but a warning does not."""
        x_mm, y_mm, _ = await place(self._talk)
        errors = [trouble for trouble in troubles if not trouble.startswith("Warning: ") and not _is_refusal(trouble)]
        trouble = (errors or troubles)[0]
        if max(abs(x_mm - last.x_mm), abs(y_mm - last.y_mm)) <= CLOSE_MM / 2:
            if errors:
                raise self._failed(LinkError(f"the firmware on {self._talk.url} says '{trouble}': the stream stops."))
            self._talk.counters.refused += 1
            return
        if any(sign in trouble for sign in FORGETFUL):
            raise self._failed(restarted(self._talk.url, f"'{trouble}'"))
        raise self._failed(
            LinkError(
                f"the firmware on {self._talk.url} refused a line ('{trouble}') and stands at X {x_mm:g} Y {y_mm:g}"
                f" instead of X {last.x_mm:g} Y {last.y_mm:g}: what it executed differs from the plan, so the stream"
                " stops here."
            )
        )

    async def _close(self) -> None:
        """The place must be the plan's, and the axes still homed."""
        talk = self._talk
        x_mm, y_mm, _ = await place(talk)
        if await model(talk, "move.axes[0].homed") is not True:
            raise self._failed(restarted(talk.url, "its axes are not homed any more"))
        off_mm = max(abs(x_mm - self._at_mm[0]), abs(y_mm - self._at_mm[1]))
        if off_mm > CLOSE_MM:
            raise self._failed(
                LinkError(
                    f"the firmware on {talk.url} says that its moves end {off_mm:g} mm from where the plan's end: what"
                    " it executed differs from the plan."
                )
            )

    def _failed(self, error: BridgeError) -> BridgeError:
        """No more is said on this link: what stopped the stream is why."""
        self._talk.fail(error)
        return error

    def _claim(self, count: int) -> None:
        for index in range(self._done, self._done + count):
            self._done = index + 1
            self._journal.acked(index)
