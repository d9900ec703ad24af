"""How long Marlin's silence is borne, and how often what cannot be true is asked about. No I/O and no clock.

An ok or a busy message is progress. Without progress for a while the firmware is asked where it stands; if it says
nothing to that either, and shows no sign of life, it is given up. If it lives, it is asked more often: a burst of
noise may have eaten the questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

DOUBT_CAP = 3
ALIVE_DOUBT_CAP = 9  # of a firmware that shows signs of life: no more questions than its receive buffer holds
PATIENCE_S = 2.0  # without ok, busy or resend before a doubt is raised: asking is cheap
PROBE_PATIENCE_S = 5.0  # for the answer
ALIVE_S = 10.0  # a temperature report this fresh says that the firmware runs
STALL_LIMIT_S = 900.0  # the longest wait for one ok, whatever signs of life there are


class Silence(Enum):
    """What to do about a silence."""

    ASK = "ask"
    WAIT = "wait"
    GIVE_UP = "give up"


class Patience:
    """Moments (loop time, s) of the last progress, the last ok and the last sign of life; what was asked since.

    `doubts`: how often in a row something came that cannot be true. `probes_out`: questions without an answer so far.
    """

    def __init__(self, now_s: float) -> None:
        self.progress_s = self.last_ok_s = now_s
        self.alive_s = -ALIVE_S
        self.doubts = self.probes_out = 0

    def begin(self, now_s: float) -> None:
        """The first line after a rest goes out."""
        self.progress_s = self.last_ok_s = now_s

    def ok(self, now_s: float) -> None:
        """A line was taken, if this ok belongs to it."""
        self.progress_s = self.last_ok_s = now_s
        self.probes_out = 0

    def proof(self, now_s: float) -> None:
        """A line was taken, for certain."""
        self.progress_s = self.last_ok_s = now_s
        self.probes_out = self.doubts = 0

    def asked_again(self, now_s: float) -> None:
        """The firmware wants a line again: it hears and answers, so that a new silence may be asked about anew."""
        self.progress_s = now_s
        self.probes_out = 0

    def busy(self, now_s: float) -> None:
        """The firmware says that it works on something long."""
        self.progress_s = self.alive_s = now_s
        self.doubts = self.probes_out = 0

    def due_s(self, commands_patience_s: Iterable[float]) -> float:
        """When the present silence becomes a doubt: some commands that are waited for may take longer than a line."""
        if self.probes_out:
            return self.progress_s + PROBE_PATIENCE_S
        return self.progress_s + max([PATIENCE_S, *commands_patience_s])

    def judge(self, now_s: float) -> Silence:
        """What the silence until now asks for."""
        if self.silence_s(now_s) > STALL_LIMIT_S:
            return Silence.GIVE_UP
        if self.probes_out < DOUBT_CAP:
            return Silence.ASK
        if not self.is_alive(now_s):
            return Silence.GIVE_UP
        return Silence.ASK if self.probes_out < ALIVE_DOUBT_CAP else Silence.WAIT

    def silence_s(self, now_s: float) -> float:
        """Since the last ok."""
        return now_s - self.last_ok_s

    def is_alive(self, now_s: float) -> bool:
        """Whether something else came lately that only running firmware sends."""
        return now_s - self.alive_s < ALIVE_S

    def doubt(self) -> bool:
        """Something that cannot be true was heard; whether to ask once more instead of giving up."""
        self.doubts += 1
        return self.doubts <= DOUBT_CAP
