"""What a scenario expects of a run: `always`, `eventually ... within`, `end`, judged afterwards over recorded signals.

    [[expect.always]]
    that = "not door.closed -> not beam.live"

    [[expect.eventually]]
    that = "host.state == fault"
    after = "faults.struck > 0"
    within_s = 2.0

    [[expect.end]]
    that = "verdict == detected and host.reason contains \\"interlock\\""

What nobody can know is no success: an `always` that was never known, an `after` that never came, fail. And that each
fault of the scenario strikes is expected without a word, unless the fault says `may_idle`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from hil_sim.harness.expression import ExpressionError, Name, Node, names_in, parse
from hil_sim.harness.expression_check import Meaning, check
from hil_sim.harness.judging import is_told, truth_of
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.series import Series, texts
from hil_sim.harness.signals import CATALOGUE, PRINTER, ROVER, meaning_of
from hil_sim.world.faults import Fault, FaultSchedule

QUOTED_MAX = 200
Seconds = Annotated[float, Meta(ge=0, le=3.2e9)]


class ExpectationError(ValueError):
    """An expectation that cannot be understood, or that speaks of what this run does not have."""


class Always(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`that` is never false: from the first moment of `after` (None: the start) until the first of `until` behind it
    (None: the end). `why`: what it is good for, said when it fails."""

    that: str
    after: str | None = None
    until: str | None = None
    why: str = ""


class Eventually(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`that` is true at some moment, at most `within_s` behind the first moment of `after` (None: the start)."""

    that: str
    after: str | None = None
    within_s: Seconds | None = None
    why: str = ""


class AtEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`that` is true when the run is over and judged."""

    that: str
    why: str = ""


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything that a scenario expects."""

    always: list[Always] = []
    eventually: list[Eventually] = []
    end: list[AtEnd] = []

    def each(self) -> list[Always | Eventually | AtEnd]:
        """All of them, in the file's order of kinds."""
        return [*self.always, *self.eventually, *self.end]


@dataclass(frozen=True)
class Expectation:
    """How an expectation fared. `at_s`: when it was decided (loop time); `sentence`: what came of it. Of the kind
    `strikes` `that` is a fault of the scenario's, as its file holds it."""

    kind: Literal["always", "eventually", "end", "strikes"]
    that: str
    held: bool
    at_s: float | None
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.that}: {self.sentence}"


def check_expectations(expect: Expect, *, is_rover: bool | None = None) -> list[str]:
    """What is wrong with expectations before anything runs, in sentences: syntax, names, words, units; else empty.

    is_rover: whether it is a rover's world that they speak of, or a printer's; None: either.
    """
    elsewhere: Collection[str] = () if is_rover is None else PRINTER if is_rover else ROVER
    sentences = []
    for one in expect.each():
        for field in ("that", "after", "until"):
            source = getattr(one, field, None)
            if source is not None:
                try:
                    is_over = not isinstance(one, Always) and field == "that"
                    _understood(source, is_over=is_over, elsewhere=elsewhere)
                except ExpressionError as error:
                    kind = _kind(one)
                    sentences.append(f"expect.{kind}: {field} = {_short(source)!r}: {error}")
    return sentences


def signals_of(expect: Expect) -> set[str]:
    """The names of every signal that expectations speak of (and of words, which are none)."""
    return {name for one in expect.each() for name in _names_of(one)}


def _names_of(one: Always | Eventually | AtEnd) -> set[str]:
    sources = (one.that, getattr(one, "after", None), getattr(one, "until", None))
    return {name for source in sources if source is not None for name in names_in(parse(source))}


def judge_expectations(
    expect: Expect, signals: Mapping[str, Series], end_s: float, fieldless: Mapping[str, str] | None = None
) -> list[Expectation]:
    """Hold every expectation against a run that lasted from 0 to `end_s`.

    fieldless: sentences for signals that no run can ever have: an expectation that speaks of one does not hold, however
    the rest of it may be decided. Raises ExpectationError: an expectation that `check_expectations` would have refused.
    """
    if sentences := check_expectations(expect):
        raise ExpectationError(" ".join(sentences))
    return [_judge(one, signals, end_s, fieldless or {}) for one in expect.each()]


def judge_strikes(schedule: FaultSchedule, struck: Iterable[tuple[float, Fault]]) -> list[Expectation]:
    """That each fault of a scenario strikes, as an expectation. `struck`: (loop time, fault)."""
    first_s: dict[Fault, float] = {}
    for t_s, fault in struck:
        first_s.setdefault(fault, t_s)
    fared = []
    for fault in schedule.faults:
        at_s = first_s.get(fault)
        idle = "it never struck" + (", as it may" if fault.may_idle else ": anchor it where the run comes by")
        said = idle if at_s is None else f"it first struck at {at_s:.3f} s"
        held = at_s is not None or fault.may_idle
        fared.append(Expectation("strikes", json.dumps(fault.to_dict()), held, at_s, said))
    return fared


def has_passed(verdict: Verdict, fared: Sequence[Expectation]) -> bool:
    """Whether a run may pass: all that was expected came, and its verdict is good or one that an `end` requires."""
    required = any(e.held and e.kind == "end" and _requires(e.that, verdict) for e in fared)
    return all(e.held for e in fared) and (verdict.is_good or required)


def _requires(source: str, verdict: Verdict) -> bool:
    """Whether an `end` is false with each other verdict, whatever else is so: all but the verdict is left unknown. To
    name one is not to require it: `verdict != HANG -> host.exit_code == 0` is true of every HANG."""
    node = parse(source)
    others = [{"verdict": texts("verdict", [(0.0, other.value)])} for other in Verdict if other is not verdict]
    return all(truth_of(node, _with_unknown(node, other), 0.0, 0.0).false_at[-1] for other in others)


class FaredRun:
    """What a run says of itself that has a `judgement` and `expectations`."""

    judgement: Any
    expectations: list[Expectation]

    @property
    def verdict(self) -> Verdict:
        """The oracle's verdict."""
        found: Verdict = self.judgement.verdict
        return found

    @property
    def passed(self) -> bool:
        """Whether every expectation held, and the verdict is one that may pass or was expected."""
        return has_passed(self.verdict, self.expectations)

    @property
    def failures(self) -> list[str]:
        """What did not hold, in sentences."""
        return [str(e) for e in self.expectations if not e.held]


def _judge(
    one: Always | Eventually | AtEnd, signals: Mapping[str, Series], end_s: float, fieldless: Mapping[str, str]
) -> Expectation:
    kind = _kind(one)
    node = _understood(one.that)
    here = _with_unknown(node, signals)

    def fared(held: bool, at_s: float | None, sentence: str) -> Expectation:
        return Expectation(kind, one.that, held, at_s, f"{sentence} ({one.why})" if one.why and not held else sentence)

    if mistaken := sorted(fieldless[name] for name in _names_of(one) if name in fieldless):
        return fared(False, None, "; ".join(mistaken))
    if isinstance(one, AtEnd):
        truth = truth_of(node, here, end_s, end_s)
        if truth.true_at[-1]:
            return fared(True, end_s, "so it ended")
        how = "it did not end so" if truth.false_at[-1] else "nobody knows whether it ended so"
        return fared(False, end_s, f"{how}: {_said(node, here, end_s)}")
    from_s = 0.0 if one.after is None else _first(one.after, signals, 0.0, end_s)
    if from_s is None:
        return fared(False, None, f"{one.after!r} never came, behind which it was to be")
    if isinstance(one, Always):
        until_s = None if one.until is None else _first(one.until, signals, from_s, end_s)
        to_s = end_s if until_s is None else until_s
        false_s = truth_of(node, here, from_s, to_s).first(true=False)
        if false_s is not None:
            return fared(False, false_s, f"not so at {false_s:.3f} s: {_said(node, here, false_s)}")
        if not is_told(node, here, from_s, to_s):
            return fared(False, from_s, "nobody ever knew: what it hung on said nothing in that time")
        return fared(True, None, "held")
    last_s = end_s if one.within_s is None else min(end_s, from_s + one.within_s)
    true_s = truth_of(node, here, from_s, last_s).first(true=True)
    if true_s is not None:
        return fared(True, true_s, f"so at {true_s:.3f} s, {true_s - from_s:.3f} s behind its beginning")
    return fared(False, last_s, f"not so until {last_s:.3f} s: {_said(node, here, last_s)}")


def _short(source: str) -> str:
    """An expression as a sentence quotes it: one of thousands of characters would hide what is wrong with it."""
    return source if len(source) <= QUOTED_MAX else f"{source[:QUOTED_MAX]}..."


def _first(source: str, signals: Mapping[str, Series], from_s: float, to_s: float) -> float | None:
    node = _understood(source)
    return truth_of(node, _with_unknown(node, signals), from_s, to_s).first(true=True)


def _said(node: Node, signals: Mapping[str, Series], at_s: float) -> str:
    """What the signals of an expression said at a moment."""
    parts = []
    for name in dict.fromkeys(names_in(node)):
        if name in signals:
            value = signals[name].value_at(at_s)
            unit = signals[name].unit
            said = "unknown" if value is None else f"{value:.6g} {unit}".rstrip() if isinstance(value, float) else value
            parts.append(f"{name} was {said}")
    return ", ".join(parts) or "no signal is in it"


def _understood(source: str, *, is_over: bool = True, elsewhere: Collection[str] = ()) -> Node:
    """A parsed and checked expression that is true or false. elsewhere: signals that this world does not have; is_over:
    as of `check`. Raises ExpressionError."""

    def meant(name: str) -> Meaning | None:
        return None if name in elsewhere else meaning_of(name)

    node = parse(source)
    found = check(node, meant, lambda: sorted(set(CATALOGUE) - set(elsewhere)), is_over=is_over)
    if not any(names_in(node)):
        raise ExpressionError("column 1: no signal is in it: it says the same of every run")
    is_switch = isinstance(node, Name) and found.kind == "number" and found.unit in (None, "")
    if found.kind != "truth" and not is_switch:
        raise ExpressionError(f"column 1: this is a {found.kind}, not something that is true or false")
    return node


def _with_unknown(node: Node, signals: Mapping[str, Series]) -> Mapping[str, Series]:
    """The signals, and beside them those that this run did not have: nobody ever knows them."""
    missing = {}
    for name in names_in(node):
        meaning = None if name in signals else meaning_of(name)
        if meaning is not None:  # else it is a word, and no signal
            nothing = np.empty(0)
            missing[name] = Series(
                name, meaning.unit or "", nothing, nothing, words=() if meaning.kind == "text" else None
            )
    return {**signals, **missing} if missing else signals


def _kind(one: Always | Eventually | AtEnd) -> Literal["always", "eventually", "end"]:
    return "always" if isinstance(one, Always) else "eventually" if isinstance(one, Eventually) else "end"
