"""When is an expression true? Exactly, over recorded signals: at each moment of change and everywhere between.

The signals' knots and the moments at which a comparison tips over cut the run into points and open spans; within a span
nothing changes any more. Where a signal is not known, whatever rests on it is neither true nor false.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hil_sim.harness.expression import (
    Abs,
    Both,
    Compare,
    Contains,
    Name,
    Node,
    Not,
    Number,
    OneOf,
    Sum,
    Text,
    names_in,
)
from hil_sim.harness.expression_check import common_unit, in_unit
from hil_sim.harness.series import Floats, Series

ROUNDING = 1e-9
"""Two numbers nearer than this share of the larger one are equal: crossings are found in floating point."""

Bools = NDArray[np.bool_]


class Span(NamedTuple):
    """Values over a cut time: at each of n points, and just behind and just before (n - 1) spans' ends."""

    at: Floats
    begins: Floats
    ends: Floats
    unit: str | None

    def each(self, change: Callable[[Floats], Floats], unit: str | None) -> Span:
        """The same with every value changed."""
        return Span(change(self.at), change(self.begins), change(self.ends), unit)


@dataclass(frozen=True)
class Truth:
    """When something holds: `true_at` and `false_at` (n,) at `times_s`, `true_in` and `false_in` (n - 1,) between."""

    times_s: Floats
    true_at: Bools
    false_at: Bools
    true_in: Bools
    false_in: Bools

    def first(self, *, true: bool) -> float | None:
        """The first moment at which it is known to be so (of an open span its beginning); None: never."""
        at, within = (self.true_at, self.true_in) if true else (self.false_at, self.false_in)
        points, spans = np.flatnonzero(at), np.flatnonzero(within)
        found = [float(self.times_s[where[0]]) for where in (points, spans) if len(where)]
        return min(found) if found else None

    @property
    def true(self) -> Bools:
        """(2n - 1,) of all points, then of all spans: where it is true."""
        return np.concatenate((self.true_at, self.true_in))

    @property
    def false(self) -> Bools:
        """(2n - 1,) of all points, then of all spans: where it is false."""
        return np.concatenate((self.false_at, self.false_in))


def truth_of(node: Node, signals: Mapping[str, Series], from_s: float, to_s: float) -> Truth:
    """When `node` is true in [from_s, to_s]. The expression has been checked; every signal that it names is there."""
    return _evaluation(node, signals, from_s, to_s).truth(node)


def is_told(node: Node, signals: Mapping[str, Series], from_s: float, to_s: float) -> bool:
    """Whether each part of `node` on which it hung at some moment of [from_s, to_s] was known at one of those moments.

    `a or b` hangs on `b` where `a` is false, on `a` where `b` is; `a -> b` is `not a or b`; `a and b` hangs on both.
    What is unknown only for a while, as before a first message, is told.
    """
    evaluation = _evaluation(node, signals, from_s, to_s)
    return evaluation.is_told(node, np.ones_like(evaluation.truth(node).true))


def _evaluation(node: Node, signals: Mapping[str, Series], from_s: float, to_s: float) -> _Evaluation:
    """What can be asked of an expression in [from_s, to_s], cut wherever anything in it changes."""
    used = {name: signals[name] for name in names_in(node) if name in signals}
    knots = [series.times_s[(series.times_s > from_s) & (series.times_s < to_s)] for series in used.values()]
    times_s = np.unique(np.concatenate([np.array([from_s, max(to_s, from_s)]), *knots]))
    for part in _bends(node, used):  # inner ones first: each cut makes what stands around it straight
        times_s = _cut(part, used, times_s)
    return _Evaluation(used, times_s)


def _bends(node: Node, signals: Mapping[str, Series]) -> list[Node]:
    """Parts whose sign matters, from the inside out: what abs() takes, and what comparisons compare."""
    found: list[Node] = []
    for child in _children(node):
        found += _bends(child, signals)
    if isinstance(node, Abs):
        found.append(node.of)
    elif isinstance(node, Compare) and not _is_text(node.left, signals):
        found.append(Sum(node.left, node.right, -1, node.column))
    elif isinstance(node, OneOf) and not _is_text(node.left, signals):
        found += [Sum(node.left, choice, -1, node.column) for choice in node.choices]
    return found


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, (Abs, Not)):
        return (node.of,)
    if isinstance(node, (Sum, Compare, Both)):
        return (node.left, node.right)
    return (node.left,) if isinstance(node, (OneOf, Contains)) else ()


def _demands(node: Node) -> list[Node]:
    """Parts that must all be true for `node` to be: itself, where it is no `and`."""
    match node:
        case Both("and", left, right):
            return _demands(left) + _demands(right)
        case Not(Both("or", left, right)):
            return _demands(Not(left, node.column)) + _demands(Not(right, node.column))
        case Not(Both("->", left, right)):
            return _demands(left) + _demands(Not(right, node.column))
        case Not(Not(of)):
            return _demands(of)
    return [node]


def _alternatives(node: Node) -> list[Node]:
    """Parts of which one must be true for `node` to be: itself, where it is no `or` and no arrow."""
    match node:
        case Both("or", left, right):
            return _alternatives(left) + _alternatives(right)
        case Both("->", left, right):
            return _alternatives(Not(left, node.column)) + _alternatives(right)
        case Not(Both("and", left, right)):
            return _alternatives(Not(left, node.column)) + _alternatives(Not(right, node.column))
        case Not(Not(of)):
            return _alternatives(of)
    return [node]


def _is_text(node: Node, signals: Mapping[str, Series]) -> bool:
    return isinstance(node, Text) or (isinstance(node, Name) and node.name in signals and signals[node.name].is_text)


def _cut(part: Node, signals: Mapping[str, Series], times_s: Floats) -> Floats:
    """Add the moments within spans at which `part` passes through zero."""
    span = _Evaluation(signals, times_s).number(part)
    with np.errstate(invalid="ignore", divide="ignore"):
        crosses = np.flatnonzero(span.begins * span.ends < 0.0)
        share = span.begins[crosses] / (span.begins[crosses] - span.ends[crosses])
    moments = times_s[crosses] + share * (times_s[crosses + 1] - times_s[crosses])
    return np.unique(np.concatenate([times_s, moments])) if len(moments) else times_s


class _Evaluation:
    """One pass over one cut of time."""

    def __init__(self, signals: Mapping[str, Series], times_s: Floats) -> None:
        self._signals = signals
        self._times_s = times_s

    # -- numbers

    def number(self, node: Node) -> Span:
        """A number's values, in its own unit."""
        if isinstance(node, Number):
            return self._constant(node.value, node.unit or None)
        if isinstance(node, Name):
            series = self._signals[node.name]
            at = series.at(self._times_s)
            return Span(at, at[:-1], series.before(self._times_s[1:]), series.unit)
        if isinstance(node, Abs):
            of = self.number(node.of)
            return of.each(np.abs, of.unit)
        assert isinstance(node, Sum), f"{node} is no number: it was not checked"
        left, right = self._alike(self.number(node.left), self.number(node.right))
        return Span(
            left.at + node.sign * right.at,
            left.begins + node.sign * right.begins,
            left.ends + node.sign * right.ends,
            left.unit,
        )

    def _constant(self, value: float, unit: str | None) -> Span:
        at = np.full(len(self._times_s), value)
        return Span(at, at[:-1], at[1:], unit)

    @staticmethod
    def _alike(left: Span, right: Span) -> tuple[Span, Span]:
        unit = common_unit(left.unit, right.unit)

        def turned(span: Span) -> Span:
            factor = in_unit(1.0, span.unit, unit)
            return span if factor == 1.0 else span.each(lambda values: values * factor, unit)

        return turned(left)._replace(unit=unit), turned(right)._replace(unit=unit)

    # -- truths

    def truth(self, node: Node) -> Truth:
        """Where it is true, and where it is false."""
        if isinstance(node, Not):
            of = self.truth(node.of)
            return Truth(self._times_s, of.false_at, of.true_at, of.false_in, of.true_in)
        if isinstance(node, Both):
            return self._both(node)
        if isinstance(node, Name | Number):
            return self._said(lambda value: value != 0.0, self.number(node))
        if isinstance(node, Contains):
            return self._worded(node.left, lambda word: node.words.lower() in word.lower())
        if isinstance(node, OneOf):
            if _is_text(node.left, self._signals):
                wanted = {choice.text for choice in node.choices if isinstance(choice, Text)}
                return self._worded(node.left, lambda word: word in wanted)
            found = [self._compared("==", node.left, choice) for choice in node.choices]
            truth = found[0]
            for other in found[1:]:
                truth = self._or(truth, other)
            return truth
        assert isinstance(node, Compare), f"{node} is neither true nor false: it was not checked"
        if _is_text(node.left, self._signals):
            return self._texts_compared(node)
        return self._compared(node.op, node.left, node.right)

    def _both(self, node: Both) -> Truth:
        left, right = self.truth(node.left), self.truth(node.right)
        if node.op == "and":
            return self._not(self._or(self._not(left), self._not(right)))
        return self._or(left if node.op == "or" else self._not(left), right)

    def is_told(self, node: Node, asked: Bools) -> bool:
        """As above. asked: where all hangs on `node`."""
        truth = self.truth(node)
        known = truth.true | truth.false
        if asked.any() and not (asked & known).any():
            return False
        if len(demands := _demands(node)) > 1:
            return all(self.is_told(demand, asked) for demand in demands)
        if len(sides := _alternatives(node)) == 1:
            return True
        fails = np.array([asked & self.truth(side).false for side in sides])
        if any(where.any() and not (where & known).any() for where in fails):
            return False
        alone = [np.logical_and.reduce(np.delete(fails, n, axis=0)) for n in range(len(sides))]
        return all(self.is_told(side, where) for side, where in zip(sides, alone, strict=True))

    def _not(self, of: Truth) -> Truth:
        return Truth(self._times_s, of.false_at, of.true_at, of.false_in, of.true_in)

    def _or(self, left: Truth, right: Truth) -> Truth:
        return Truth(
            self._times_s,
            left.true_at | right.true_at,
            left.false_at & right.false_at,
            left.true_in | right.true_in,
            left.false_in & right.false_in,
        )

    def _said(self, says: Callable[[Floats], Bools], span: Span) -> Truth:
        """A question to numbers that keep their answer within a span."""
        middle = 0.5 * (span.begins + span.ends)
        known_at, known_in = ~np.isnan(span.at), ~np.isnan(middle)
        at, within = says(span.at), says(middle)
        return Truth(self._times_s, known_at & at, known_at & ~at, known_in & within, known_in & ~within)

    def _compared(self, op: str, left_node: Node, right_node: Node) -> Truth:
        left, right = self._alike(self.number(left_node), self.number(right_node))

        def apart(a: Floats, b: Floats) -> Floats:
            with np.errstate(invalid="ignore"):
                gap = a - b
                near = np.isfinite(gap) & (np.abs(gap) <= ROUNDING * np.maximum(np.abs(a), np.abs(b)))
            return np.where(near, 0.0, gap)

        gaps = Span(apart(left.at, right.at), apart(left.begins, right.begins), apart(left.ends, right.ends), left.unit)
        answers: dict[str, Callable[[Floats], Bools]] = {
            "<": lambda gap: gap < 0.0,
            "<=": lambda gap: gap <= 0.0,
            ">": lambda gap: gap > 0.0,
            ">=": lambda gap: gap >= 0.0,
            "==": lambda gap: gap == 0.0,
            "!=": lambda gap: gap != 0.0,
        }
        return self._said(answers[op], gaps)

    def _texts_compared(self, node: Compare) -> Truth:
        left, right = node.left, node.right
        if isinstance(left, Text):  # == and != ask the same from either side
            left, right = right, left
        if isinstance(right, Name) and right.name in self._signals:
            ours, theirs = self._coded(left, right.name), self._coded(right, right.name)
            gaps = Span(ours.at - theirs.at, ours.begins - theirs.begins, ours.ends - theirs.ends, None)
            return self._said((lambda gap: gap == 0.0) if node.op == "==" else (lambda gap: gap != 0.0), gaps)
        assert isinstance(right, (Name, Text)), f"{right} is no text: it was not checked"
        word = right.text if isinstance(right, Text) else right.name
        truth = self._worded(left, lambda said: said == word)
        return truth if node.op == "==" else self._not(truth)

    def _coded(self, node: Node, like: str) -> Span:
        """A text's words as numbers that two texts share."""
        assert isinstance(node, Name)
        series, words = self._signals[node.name], self._signals[like].words or ()
        shared = {word: float(n) for n, word in enumerate(words)}
        codes = np.array([shared.get(word, -1.0 - n) for n, word in enumerate(series.words or ())] or [math.nan])
        return self.number(node).each(lambda values: _looked_up(codes, values), None)

    def _worded(self, node: Node, says: Callable[[str], bool]) -> Truth:
        """A question to each word that a text says."""
        assert isinstance(node, Name), f"{node} is no signal: it was not checked"
        series = self._signals[node.name]
        answers = np.array([float(says(word)) for word in series.words or ()] or [math.nan])
        span = self.number(node).each(lambda values: _looked_up(answers, values), None)
        return self._said(lambda value: value != 0.0, span)


def _looked_up(table: Floats, codes: Floats) -> Floats:
    known = ~np.isnan(codes)
    return np.where(known, table[np.where(known, codes, 0.0).astype(np.int64)], math.nan)
