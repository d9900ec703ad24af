"""Does an expression make sense: are there such signals, and are things compared that measure the same?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
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
    names_in,
)

Kind = Literal["number", "text", "truth"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a part of an expression is: its kind, and of a number its unit (None: any will do). words: all that a text
    can say, none: anything. at_end: it is known only when the run is over."""

    kind: Kind
    unit: str | None = None
    words: tuple[str, ...] = ()
    at_end: bool = False


def check(
    node: Node,
    unit_of: Callable[[str], Meaning | None],
    known: Callable[[], list[str]],
    *,
    is_over: bool = True,
) -> Meaning:
    """Hold an expression's names, kinds and units together; returns what it is as a whole.

    unit_of: the meaning of a signal by name, None for one that there is not. known: every name, for a hint. is_over:
    whether it is asked when the run is over, so that it may speak of what is known only then. Raises ExpressionError.
    """
    return _Checker(unit_of, known, is_over).meaning(node)


def hint(word: str, known: Iterable[str]) -> str:
    """What may have been meant by a word that is none of those."""
    folded = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), folded, 1)
    return f"; did you mean {folded[near[0]]!r}?" if near else f"; there are {', '.join(folded.values())}"


def common_unit(left: str | None, right: str | None) -> str | None:
    """The unit in which both are compared: the left's own, or the one that is known. '' is a plain number's."""
    return right if left is None else left


class _Checker:
    def __init__(self, unit_of: Callable[[str], Meaning | None], known: Callable[[], list[str]], is_over: bool) -> None:
        self._unit_of = unit_of
        self._known = known
        self._is_over = is_over

    def meaning(self, node: Node) -> Meaning:
        if isinstance(node, Name):
            found = self._unit_of(node.name)
            if found is None:
                near = hint(node.name, self._known())
                raise ExpressionError(f"column {node.column}: there is no signal {node.name!r}{near}")
            if found.at_end and not self._is_over:
                raise ExpressionError(
                    f"column {node.column}: {node.name} is known only when the run is over: ask for it in `end`"
                )
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
            if not node.words:
                raise ExpressionError(f'column {node.column}: every text holds "": say what it is to contain')
            asked = self.meaning(node.left)
            if asked.kind != "text":
                raise ExpressionError(f"column {node.left.column}: `contains` asks about a text")
            if asked.words and not any(node.words.lower() in word.lower() for word in asked.words):
                raise ExpressionError(
                    f"column {node.column}: no word of it holds {node.words!r}{hint('', asked.words)}"
                )
            return
        if isinstance(node, Compare) and node.left == node.right:
            raise ExpressionError(f"column {node.column}: both sides are the same, which tells nothing of a run")
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
                if right is None and isinstance(node.left, Text):
                    raise ExpressionError(
                        f"column {node.left.column}: neither side is a signal: two words are compared"
                    )
                if right is None:
                    self._can_say(left, right_node)
                elif isinstance(node.left, Text):
                    self._can_say(right, node.left)
                continue
            right = self.meaning(right_node)
            if (left.kind, right.kind) != ("number", "number"):
                raise ExpressionError(f"column {node.column}: a {left.kind} cannot be compared with a {right.kind}")
            self._together(left, right, right_node.column)
        if not any(names_in(node)):
            raise ExpressionError(f"column {node.column}: no signal is compared: it says the same of every run")

    @staticmethod
    def _can_say(text: Meaning, word: Name | Text) -> None:
        """A word that a text never says would make a comparison that nothing decides."""
        said = word.text if isinstance(word, Text) else word.name
        if text.words and said not in text.words:
            raise ExpressionError(f"column {word.column}: it never says {said!r}{hint(said, text.words)}")

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
