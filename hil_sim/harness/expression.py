"""A small language for what shall hold of a run: parsed by hand, checked by unit, never evaluated as code.

    door.closed or not beam.live
    run.layer >= 2 -> abs(plate.temp_c - host.heater.bed_temp_c) < 5 degC
    host.status in {done, stopped} and host.reason contains "recoater"

From weak to strong: `->` (right to left), `or`, `and`, `not`, one comparison (`< <= > >= == !=`, `in {...}`, `contains
"..."`), `+ -`, a sign, `abs(...)`. Numbers carry units that are turned into the signal's own; a number without one is
taken as it stands. A bare word beside `==`, `!=` or in `{}` is a text. Mistakes are sentences with their column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

LENGTH_MAX = 1000
DEPTH_MAX = 40

UNITS: dict[str, tuple[str, float]] = {
    "s": ("time", 1.0), "ms": ("time", 1e-3), "min": ("time", 60.0), "h": ("time", 3600.0), "d": ("time", 86400.0),
    "mm": ("length", 1e-3), "um": ("length", 1e-6), "cm": ("length", 1e-2), "m": ("length", 1.0),
    "mm/s": ("speed", 1e-3), "m/s": ("speed", 1.0), "cm/s": ("speed", 1e-2),
    "W": ("power", 1.0), "kW": ("power", 1e3), "mW": ("power", 1e-3),
    "J": ("energy", 1.0), "kJ": ("energy", 1e3), "Wh": ("energy", 3600.0),
    "degC": ("temperature", 1.0), "deg": ("angle", 1.0), "rad": ("angle", 57.29577951308232),
    "V": ("voltage", 1.0), "A": ("current", 1.0), "mA": ("current", 1e-3), "Hz": ("frequency", 1.0),
    "%": ("", 0.01), "": ("", 1.0), "mm2": ("area", 1e-6), "rad/s": ("turning", 1.0),
}  # fmt: skip
"""Unit -> (what it measures, factor to that kind's own unit)."""

Comparison = Literal["<", "<=", ">", ">=", "==", "!="]


class ExpressionError(ValueError):
    """An expression that cannot be understood: what, and at which column."""


# ---- the tree (two parts that say the same are equal, wherever they stand)


@dataclass(frozen=True, slots=True)
class Name:
    """A signal. `column` from 1."""

    name: str
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A number, and its unit as it was written ('' for none)."""

    value: float
    unit: str
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A word or a quoted text."""

    text: str
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Abs:
    """A number without its sign."""

    of: Node
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Sum:
    """`left + right`, or `left - right` with `sign` -1."""

    left: Node
    right: Node
    sign: int
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`."""

    op: Comparison
    left: Node
    right: Node
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class OneOf:
    """`left in {choices}`: numbers or texts."""

    left: Node
    choices: tuple[Number | Text, ...]
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Contains:
    """`left contains "words"`."""

    left: Node
    words: str
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    """`not of`."""

    of: Node
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Both:
    """`left and right`, `left or right` or `left -> right`."""

    op: Literal["and", "or", "->"]
    left: Node
    right: Node
    column: int = field(compare=False)


Node = Name | Number | Text | Abs | Sum | Compare | OneOf | Contains | Not | Both


def names_in(node: Node) -> Iterator[str]:
    """Every signal that an expression speaks of, in order."""
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, (Abs, Not)):
        yield from names_in(node.of)
    elif isinstance(node, (Sum, Compare, Both)):
        yield from names_in(node.left)
        yield from names_in(node.right)
    elif isinstance(node, (OneOf, Contains)):
        yield from names_in(node.left)


# ---- reading

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)
      | (?P<text>"[^"\n]*")
      | (?P<op>->|<=|>=|==|!=|[<>(){},+\-%])""",
    re.VERBOSE,
)
_UNIT = re.compile(r"\s*(%|[A-Za-z]+[0-9]?(?:/[A-Za-z]+)?)")
_KEYWORDS = frozenset({"and", "or", "not", "in", "contains", "abs", "true", "false"})
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int
    unit: str = ""


def parse(source: str) -> Node:
    """Read an expression. Raises ExpressionError with what is wrong and at which column."""
    if len(source) > LENGTH_MAX:
        raise ExpressionError(f"an expression may have {LENGTH_MAX} characters; this one has {len(source)}")
    parser = _Parser(list(_tokens(source)), len(source) + 1)
    node = parser.implication()
    if (left := parser.peek()) is not None:
        raise ExpressionError(f"column {left.column}: {left.text!r} is not expected here: the expression has ended")
    return node


def _tokens(source: str) -> Iterator[_Token]:
    place = 0
    while place < len(source):
        found = _TOKEN.match(source, place)
        if found is None:
            raise ExpressionError(f"column {place + 1}: {source[place]!r} has no meaning here")
        kind, text, column = found.lastgroup or "", found.group(), place + 1
        place = found.end()
        if kind == "space":
            continue
        unit = ""
        if kind == "number":
            given = _UNIT.match(source, place)
            if given is not None and given.group(1) not in _KEYWORDS:
                unit, place = given.group(1), given.end()
                if unit not in UNITS:
                    raise ExpressionError(
                        f"column {given.start(1) + 1}: {unit!r} is no unit; known are {', '.join(filter(None, UNITS))}"
                    )
        yield _Token("keyword" if kind == "word" and text in _KEYWORDS else kind, text, column, unit)


def _finite(token: _Token) -> Number:
    """A number as it stands there: one beyond all floats would be infinite, and no signal is told from that."""
    value = float(token.text)
    if not math.isfinite(value * UNITS[token.unit][1]):
        raise ExpressionError(f"column {token.column}: {token.text!r} is beyond every number that a signal can have")
    return Number(value, token.unit, token.column)


class _Parser:
    """Recursive descent, one method a level; `_deeper` bounds the recursion."""

    def __init__(self, tokens: list[_Token], end_column: int) -> None:
        self._tokens = tokens
        self._end_column = end_column
        self._at = 0
        self._depth = 0

    def peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, *texts: str) -> _Token | None:
        token = self.peek()
        if token is None or token.kind not in ("op", "keyword") or token.text not in texts:
            return None
        self._at += 1
        return token

    def _need(self, text: str, why: str) -> None:
        if self._take(text) is None:
            raise ExpressionError(f"{self._here()}: {text!r} is missing {why}")

    def _here(self) -> str:
        token = self.peek()
        return f"column {token.column if token else self._end_column}"

    def _deeper(self, level: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ExpressionError(f"{self._here()}: nested more than {DEPTH_MAX} deep")
        node = level()
        self._depth -= 1
        return node

    def implication(self) -> Node:
        left = self._chain("or", lambda: self._chain("and", self._negation))
        if (arrow := self._take("->")) is not None:
            return Both("->", left, self._deeper(self.implication), arrow.column)
        return left

    def _chain(self, op: Literal["and", "or"], level: Callable[[], Node]) -> Node:
        node = level()
        while (token := self._take(op)) is not None:
            node = Both(op, node, level(), token.column)
        return node

    def _negation(self) -> Node:
        if (token := self._take("not")) is not None:
            return Not(self._deeper(self._negation), token.column)
        return self._comparison()

    def _comparison(self) -> Node:
        left = self._sum()
        if (token := self._take(*_COMPARISONS)) is not None:
            node = Compare(token.text, left, self._sum(), token.column)  # type: ignore[arg-type]
            if (again := self._take(*_COMPARISONS)) is not None:
                raise ExpressionError(f"column {again.column}: comparisons do not chain: write `a < b and b < c`")
            return node
        if (token := self._take("in")) is not None:
            return OneOf(left, self._choices(), token.column)
        if (token := self._take("contains")) is not None:
            words = self.peek()
            if words is None or words.kind != "text":
                raise ExpressionError(f'{self._here()}: `contains` wants a text in quotes, as in contains "door"')
            self._at += 1
            return Contains(left, words.text[1:-1], token.column)
        return left

    def _choices(self) -> tuple[Number | Text, ...]:
        self._need("{", "behind `in`, as in `in {done, stopped}`")
        found: list[Number | Text] = []
        while True:
            item = self._sign()
            if isinstance(item, Name):
                item = Text(item.name, item.column)
            if not isinstance(item, (Number, Text)):
                raise ExpressionError(f"column {item.column}: only numbers and words stand in {{}}")
            found.append(item)
            if self._take(",") is None:
                self._need("}", "at the end of the set")
                return tuple(found)

    def _sum(self) -> Node:
        node = self._sign()
        while (token := self._take("+", "-")) is not None:
            node = Sum(node, self._sign(), 1 if token.text == "+" else -1, token.column)
        return node

    def _sign(self) -> Node:
        if (token := self._take("-")) is not None:
            of = self._deeper(self._sign)
            if isinstance(of, Number):
                return Number(-of.value, of.unit, token.column)
            return Sum(Number(0.0, "", token.column), of, -1, token.column)
        return self._atom()

    def _atom(self) -> Node:
        token = self.peek()
        if token is None:
            raise ExpressionError(f"column {self._end_column}: something is missing at the end")
        self._at += 1
        if token.kind == "number":
            return _finite(token)
        if token.kind == "word":
            return Name(token.text, token.column)
        if token.kind == "text":
            return Text(token.text[1:-1], token.column)
        if token.text in ("true", "false"):
            return Number(float(token.text == "true"), "", token.column)
        if token.text == "(":
            node = self._deeper(self.implication)
            self._need(")", "to close the bracket")
            return node
        if token.text == "abs":
            self._need("(", "behind `abs`")
            node = self._deeper(self._sum)
            self._need(")", "to close `abs(`")
            return Abs(node, token.column)
        raise ExpressionError(f"column {token.column}: {token.text!r} is not expected here")
