"""How each board of a RoboClaw line has answered of late: is it silent, and what may it still say? Knows no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from firmware_bridge.links.roboclaw_frames import Question, ask_read

SILENT_AFTER = 4  # reads in a row that nothing came back to; writes are long, and more often lost to noise
BACKOFF_S = (0.5, 2.0)  # first and longest pause between attempts to a silent board
MARKERS = {15: 1, 24: 2, 25: 2, 82: 2, 49: 4, 48: 4, 90: 4, 59: 4}
"""Reads that every board answers and that change nothing, shortest first: command -> bytes of data."""


@dataclass
class RoboClawCounters:
    """What went by since the link was made. `skipped`: not sent, the board being silent; `refused`: not sent, the
    caller's reason to send being gone; `markers`: asked of a board in doubt, and counted in `sent` and `ok` as well."""

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
    markers: int = 0


@dataclass
class Board:
    """One address. `backoff_s` is 0 while it answers; `owed`: commands, oldest first, whose answers may still come."""

    address: int
    failures: int = 0
    silent_since_s: float = 0.0
    backoff_s: float = 0.0
    again_s: float = 0.0
    owed: list[int] = field(default_factory=list)

    def answers(self) -> None:
        """Well or badly: it is there."""
        self.failures = 0
        self.backoff_s = 0.0

    def is_unanswered(self, asked_s: float, now_s: float) -> None:
        """A read that was sent at `asked_s` brought nothing."""
        if not self.failures:
            self.silent_since_s = asked_s
        self.failures += 1
        if self.failures >= SILENT_AFTER:
            self.backoff_s = min(2 * self.backoff_s, BACKOFF_S[1]) or BACKOFF_S[0]
            self.again_s = now_s + self.backoff_s

    def owes(self, command: int) -> None:
        """A question ended without a good answer. A damaged answer, too, may have been an older question's."""
        if command not in self.owed:
            self.owed.append(command)

    def marker(self, question: Question, is_repeated: bool) -> Question | None:
        """What to ask before `question`: a read whose answer is none of those that are owed. None if no such answer
        could pass for one to `question`. `is_repeated`: it was asked just now, and that answer may come twice."""
        if not is_repeated and not (self.owed and (question.is_write or question.command in self.owed)):
            return None
        command = next((c for c in MARKERS if c not in self.owed and c != question.command), None)
        if command is None:  # the oldest has been owed while all the others were asked, with the pauses between
            command = next(c for c in self.owed if c in MARKERS and c != question.command)
            self.owed.remove(command)
        return ask_read(self.address, command, MARKERS[command])
