"""The guard: one pure step from what is known to what the rover may do, with every cause said.

`guard_step(state, facts, limits) -> (state, decision)` keeps nothing outside `state`. A cause becomes active when its
row has been raised long enough, and ends as its row says. Whatever held the rover, it moves again only on a command
that is newer than every one seen while it held: nothing that was latched drives off after a failsafe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from control.rover.drive.guard_facts import (
    Action,
    Cause,
    Command,
    Facts,
    GuardLimits,
    Release,
    fresh,
    limits_from,
)
from control.rover.drive.guard_table import TABLE, Memory, Row

__all__ = [
    "TABLE",
    "Action",
    "Cause",
    "Command",
    "Decision",
    "Facts",
    "GuardLimits",
    "GuardState",
    "Release",
    "fresh",
    "guard_step",
    "limits_from",
]

NO_SEQ = -1


@dataclass(frozen=True, slots=True)
class Trace:
    """One row's past: raised since, active or not, not raised any more since, whether the operator has released it
    after that, and its newest sentence.
    """

    raised_s: float | None = None
    active: bool = False
    gone_s: float | None = None
    released: bool = False
    sentence: str = ""


_UNRAISED = Trace()


@dataclass(frozen=True, slots=True)
class GuardState:
    """All that the guard remembers.

    Args:
        traces: one for each row of TABLE.
        newest_seq: the largest command number seen.
        barrier_seq: commands up to this one came before or while the rover held, and no longer move it.
        release_seq: the largest of the operator's releases that was seen; None before the first step.
        backing_since_s, backed_from_m: when the running back-out began and how much had been driven back by then.
        last_s: the time of the last step.
    """

    traces: tuple[Trace, ...] = (_UNRAISED,) * len(TABLE)
    newest_seq: int = NO_SEQ
    barrier_seq: int = NO_SEQ
    release_seq: int | None = None
    backing_since_s: float | None = None
    backed_from_m: float = 0.0
    last_s: float = float("-inf")

    @property
    def active(self) -> tuple[Cause, ...]:
        """The causes that are active, the deciding one first."""
        return tuple(row.cause for row, trace in zip(TABLE, self.traces) if trace.active)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rover may do.

    Args:
        action: what to do.
        cause: the one that decided; None with GO.
        sentence: the cause in words, for an operator.
        causes, sentences: everything that is active, in the table's order.
        speed_factor: of the commanded speed: 1 GO, less for SLOW, 0 where it must not move.
        may_move: False in HOLD and HIBERNATE.
    """

    action: Action
    cause: Cause | None
    sentence: str
    causes: tuple[Cause, ...]
    sentences: tuple[str, ...]
    speed_factor: float
    may_move: bool


def guard_step(state: GuardState, facts: Facts, limits: GuardLimits) -> tuple[GuardState, Decision]:
    """One step: the state after it and the decision. Pure; never raises on what the world may send."""
    usable = math.isfinite(facts.now_s) and facts.now_s >= state.last_s
    now_s = facts.now_s if usable else state.last_s  # a time that is none, or one from before, does not move timers
    newest = state.newest_seq if facts.command is None else max(state.newest_seq, facts.command.seq)
    released = state.release_seq is not None and facts.release_seq > state.release_seq
    backed_out = facts.backed_m - state.backed_from_m >= limits.back_out_m
    quiet, loud = (
        Memory(was, state.barrier_seq, state.newest_seq, state.last_s, state.backing_since_s) for was in (False, True)
    )
    traces = []
    for row, trace in zip(TABLE, state.traces):
        sentence = row.check(facts, limits, loud if trace.active else quiet)
        if sentence is None and not trace.active:  # nearly every row of nearly every step
            traces.append(_UNRAISED)
        else:
            traces.append(_after(row, trace, sentence, now_s, limits, released, backed_out))
    active = [(row, trace) for row, trace in zip(TABLE, traces) if trace.active]
    causes = tuple(row.cause for row, _ in active)
    deciding = next((pair for pair in active if pair[0].excused_by not in causes), None)
    action = Action.GO if deciding is None else deciding[0].action
    may_move = action not in (Action.HOLD, Action.HIBERNATE)
    backing = any(row.action is Action.BACK_OUT for row, _ in active)
    starts = backing and may_move and state.backing_since_s is None
    after = GuardState(
        traces=tuple(traces),
        newest_seq=newest,
        barrier_seq=state.barrier_seq if may_move else newest,
        release_seq=_newest_release(state.release_seq, facts.release_seq),
        backing_since_s=(now_s if starts else state.backing_since_s) if backing and may_move else None,
        backed_from_m=facts.backed_m if starts and facts.backed_m == facts.backed_m else state.backed_from_m,
        last_s=now_s,
    )
    return after, Decision(
        action=action,
        cause=None if deciding is None else deciding[0].cause,
        sentence="" if deciding is None else _told(*deciding),
        causes=causes,
        sentences=tuple(_told(row, trace) for row, trace in active),
        speed_factor={Action.SLOW: limits.slow_factor}.get(action, 1.0) if may_move else 0.0,
        may_move=may_move,
    )


def _after(
    row: Row, trace: Trace, sentence: str | None, now_s: float, limits: GuardLimits, released: bool, backed_out: bool
) -> Trace:
    """A row's past with this step added."""
    if sentence is not None:
        raised_s = now_s if trace.raised_s is None else trace.raised_s
        wait_s = 0.0 if row.after is None else getattr(limits, row.after)
        active = trace.active or wait_s <= 0 or now_s - raised_s >= wait_s
        return Trace(raised_s, active, None, False, sentence)
    if not trace.active:
        return _UNRAISED
    gone_s = now_s if trace.gone_s is None else trace.gone_s
    released = trace.released or released
    enough = {Release.SELF: True, Release.OPERATOR: released, Release.BACKED_OUT: backed_out}[row.release]
    if enough and now_s - gone_s >= (0.0 if row.clears_at_once else limits.clear_s):
        return _UNRAISED
    return Trace(None, True, gone_s, released, trace.sentence)


def _newest_release(seen: int | None, now: int) -> int | None:
    """The largest release number seen; one that is no number is not seen."""
    if not math.isfinite(now):
        return seen
    return now if seen is None else max(seen, now)


def _told(row: Row, trace: Trace) -> str:
    """A cause in words; what it waits for, if it is over."""
    if trace.gone_s is None:
        return trace.sentence
    if row.release is Release.OPERATOR and not trace.released:
        return f"{trace.sentence}; that is over, and the operator has to release the rover"
    if row.release is Release.BACKED_OUT:
        return f"{trace.sentence}; that is over, and the rover is driving back"
    return f"{trace.sentence}; that has just ended"
