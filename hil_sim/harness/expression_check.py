"""Does an expression make sense: are there such signals, and are things compared that measure the same?"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hil_sim.harness.expression import (
    UNITS,
    Abs,
    Compare,
    Contains,
    ExpressionError,
    Name,
    Node,
    Not,
    Number,
    OneOf,
    Sum,
    Text,
)

Kind = Literal["number", "text", "truth"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a part of an expression is: its kind, and of a number its unit (None: any will do)."""

    kind: Kind
    unit: str | None = None


def check(node: Node, unit_of: Callable[[str], Meaning | None], known: Callable[[], list[str]]) -> Meaning:
    """Hold an expression's names, kinds and units together; returns what it is as a whole.

    unit_of: the meaning of a signal by name, None for one that there is not. known: every name, for a hint.
    Raises ExpressionError.
    """
    return _Checker(unit_of, known).meaning(node)


def common_unit(left: str | None, right: str | None) -> str | None:
    """The unit in which both are compared: the left's own, or the one that is known. '' is a plain number's."""
    return right if left is None else left


class _Checker:
    def __init__(self, unit_of: Callable[[str], Meaning | None], known: Callable[[], list[str]]) -> None:
        self._unit_of = unit_of
        self._known = known

    def meaning(self, node: Node) -> Meaning:
        if isinstance(node, Name):
            found = self._unit_of(node.name)
            if found is None:
                near = difflib.get_close_matches(node.name, self._known(), 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(self._known())}"
                raise ExpressionError(f"column {node.column}: there is no signal {node.name!r}{hint}")
            return found
        if isinstance(node, Number):
            return Meaning("number", node.unit or None)
        if isinstance(node, Text):
            return Meaning("text")
        if isinstance(node, Abs):
            return self._number(node.of, "abs() takes a number")
        if isinstance(node, Sum):
            left = self._number(node.left, f"{'+' if node.sign > 0 else '-'} takes numbers")
            right = self._number(node.right, f"{'+' if node.sign > 0 else '-'} takes numbers")
            return Meaning("number", self._together(left, right, node.column))
        if isinstance(node, (Compare, OneOf, Contains)):
            self._comparison(node)
        elif isinstance(node, Not):
            self.truth(node.of)
        else:
            self.truth(node.left)
            self.truth(node.right)
        return Meaning("truth")

    def truth(self, node: Node) -> None:
        """It must be something that is true or false; a signal that is 0 or 1 is."""
        found = self.meaning(node)
        if found.kind == "truth" or (isinstance(node, Name) and found.kind == "number" and found.unit in (None, "")):
            return
        raise ExpressionError(f"column {node.column}: this is a {found.kind}, not something that is true or false")

    def _number(self, node: Node, why: str) -> Meaning:
        found = self.meaning(node)
        if found.kind != "number":
            raise ExpressionError(f"column {node.column}: {why}, this is a {found.kind}")
        return found

    def _comparison(self, node: Compare | OneOf | Contains) -> None:
        if isinstance(node, Contains):
            if self.meaning(node.left).kind != "text":
                raise ExpressionError(f"column {node.left.column}: `contains` asks about a text")
            return
        rights = node.choices if isinstance(node, OneOf) else (node.right,)
        left = self.meaning(node.left)
        for right_node in rights:
            if left.kind == "text" and isinstance(right_node, (Name, Text)):
                right = self._unit_of(right_node.name) if isinstance(right_node, Name) else None
                if isinstance(right_node, Name) and right is None and "." in right_node.name:
                    self.meaning(right_node)  # no bare word has a dot: it is a signal that there is not
                if right is not None and right.kind != "text":
                    raise ExpressionError(f"column {right_node.column}: a text is compared with a {right.kind}")
                if isinstance(node, Compare) and node.op not in ("==", "!="):
                    raise ExpressionError(f"column {node.column}: texts have no order: use == or !=")
                continue
            right = self.meaning(right_node)
            if (left.kind, right.kind) != ("number", "number"):
                raise ExpressionError(f"column {node.column}: a {left.kind} cannot be compared with a {right.kind}")
            self._together(left, right, right_node.column)

    def _together(self, left: Meaning, right: Meaning, column: int) -> str | None:
        """One unit for both; what measures different things is a mistake."""
        if left.unit is not None and right.unit is not None:
            kinds = UNITS[left.unit][0], UNITS[right.unit][0]
            if kinds[0] != kinds[1]:
                raise ExpressionError(
                    f"column {column}: {left.unit or 'a plain number'} and {right.unit or 'a plain number'} do not"
                    " measure the same"
                )
        return left.unit if left.unit is not None else right.unit


def in_unit(value: float, given: str | None, wanted: str | None) -> float:
    """A number in another unit of the same kind; one without a unit of its own (None) is as it stands."""
    if given is None or wanted is None or given == wanted:
        return value
    return value * UNITS[given][1] / UNITS[wanted][1]
