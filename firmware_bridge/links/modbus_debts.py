"""Which answers each unit of an RTU bus still owes, and what to ask so that none of them passes for another's.

An RTU answer has no number. One that comes after its deadline, by any delay, looks like the answer to the next question
of the same function (a refusal does not even say how much was asked). But a unit answers in the order in which it was
asked. So a question whose answer could be an owed one's (`confuses`) goes out only after a PROBE that was asked later
than all that is owed has been answered by something that no owed answer can be:

- a read of another function: its answer, and its refusal as well, begin with another function byte;
- of a unit that says nothing to functions it does not know, a read of registers that it has answered before, of a count
  that is not owed: its answer has another length. A refusal of it settles nothing.

The two kinds take turns while they fail. A debt of a kind that was asked several times is known by its first and its
last: an answer may be to the first of them, so it settles what is older than that, and nothing else.
Reads change nothing in the devices that we have maps of; a register that is cleared by reading it would be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from firmware_bridge.links.modbus_frames import Question, ask_read

BOUND_S = 30.0
"""How long an answer is owed. What lies between us and a unit holds bytes for less: a serial server's TCP that sends
again after 0.2 s, 0.4 s and so on to 12.8 s has given them up or through by 25.4 s, and gateways wait 10 s at most."""
_READS = (4, 3, 2, 1)
_COUNTS = (1, 2, 4, 8, 16, 32, 64)
_ADDRESSED = frozenset({1, 2, 3, 4, 5, 6, 15, 16, 22, 23})

_Kind = tuple[int, int]  # function; PDU size of a probe that its length tells, 0 for all else


@dataclass(slots=True)
class _Debt:
    """Requests of one kind that have no answer: which was the first, which the last and when, how long the answers."""

    first: int
    last: int
    until_s: float
    sizes: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Unit:
    """`known`: the last read of registers that was answered with values; `by_length`: which probe is tried next."""

    debts: dict[_Kind, _Debt] = field(default_factory=dict)
    asked: int = 0
    known: Question | None = None
    by_length: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Probe(Question):
    """A read whose answer settles what is owed; `by_length`: only its length tells it, so a refusal does not."""

    by_length: bool = False


class Debts:
    """All units of a bus. At most one entry for each unit, function and probe length."""

    def __init__(self) -> None:
        self._units: dict[int, _Unit] = {}

    def owes(self, question: Question, now_s: float, *, is_ignored: bool = False) -> None:
        """`question` ended without an answer, or with a wrong one, which may be an older question's.

        `is_ignored`: nothing came in the whole time that it had; a probe is then tried in the other way.
        """
        unit = self._units.setdefault(question.unit, _Unit())
        unit.asked += 1
        debt = unit.debts.setdefault(_kind(question), _Debt(unit.asked, unit.asked, now_s))
        debt.last, debt.until_s = unit.asked, now_s + BOUND_S
        debt.sizes.add(question.reply_size)
        if is_ignored and isinstance(question, Probe):
            unit.by_length = not question.by_length

    def confuses(self, question: Question, now_s: float) -> bool:
        """Whether an owed answer could pass for the normal one to `question`."""
        return self._confusing(question, now_s) > 0

    def confuses_refusal(self, question: Question, now_s: float) -> bool:
        """Whether a refusal of `question` could be an older one's: probes by length leave that open."""
        self._forget(question.unit, now_s)
        unit = self._units.get(question.unit)
        if unit is None or (isinstance(question, Probe) and not question.by_length):
            return False  # what a probe's refusal settles is reckoned from the first of its kind
        return (isinstance(question, Probe) and question.by_length) or any(
            function == question.function for function, _ in unit.debts
        )

    def answered(self, question: Question, *, has_values: bool) -> None:
        """An answer to `question` has come (`has_values`: no refusal): what is older than it can be will not come."""
        unit = self._units.get(question.unit)
        if unit is None:
            if not has_values or question.function not in (3, 4):
                return
            unit = self._units[question.unit] = _Unit()
        if has_values and question.function in (3, 4) and not isinstance(question, Probe):
            unit.known = question
        if unit.debts:
            first = _first(unit, question.function, question.reply_size if has_values else 0)
            unit.debts = {kind: debt for kind, debt in unit.debts.items() if first and debt.last >= first}

    def probe(self, question: Question, now_s: float) -> Probe | None:
        """What to ask before `question`, whose answer would be confused; None if nothing tells the answers apart."""
        after = self._confusing(question, now_s)
        unit = self._units[question.unit]
        if unit.by_length:
            return _by_length(unit, question, after) or _by_function(unit, question, after)
        return _by_function(unit, question, after) or _by_length(unit, question, after)

    def _confusing(self, question: Question, now_s: float) -> int:
        """The last request whose answer could pass for one to `question`, 0 for none."""
        unit = self._units.get(question.unit)
        if unit is None or not unit.debts:  # nearly always
            return 0
        self._forget(question.unit, now_s)
        return max(
            (
                debt.last
                for (function, size), debt in unit.debts.items()
                if function == question.function and size in (0, question.reply_size)
            ),
            default=0,
        )

    def _forget(self, number: int, now_s: float) -> None:
        unit = self._units.get(number)
        if unit is not None and unit.debts:
            unit.debts = {kind: debt for kind, debt in unit.debts.items() if debt.until_s > now_s}


def _kind(question: Question) -> _Kind:
    by_length = isinstance(question, Probe) and question.by_length
    return question.function, question.reply_size if by_length else 0


def _first(unit: _Unit, function: int, size: int) -> int:
    """The first request that a normal answer of `size` bytes (0: a refusal) may belong to; 0 if none is owed, and it is
    the newest one's own."""
    return min(
        (debt.first for (owed, _), debt in unit.debts.items() if owed == function and (not size or size in debt.sizes)),
        default=0,
    )


def _by_function(unit: _Unit, question: Question, after: int) -> Probe | None:
    function = _choose([(row, _first(unit, row, 0)) for row in _READS if row != question.function], after)
    if function is None:
        return None
    address = question.pdu[1:3] if question.function in _ADDRESSED else b"\0\0"
    pdu = bytes((function,)) + address + b"\0\x01"
    size = 4 if function in (3, 4) else 3
    return Probe(question.unit, function, pdu, size, f"FC{function:02d} as a probe")


def _by_length(unit: _Unit, question: Question, after: int) -> Probe | None:
    known = unit.known
    if known is None:
        return None
    address = int.from_bytes(known.pdu[1:3], "big")
    count = _choose(
        [
            (row, _first(unit, known.function, 2 + 2 * row))
            for row in _COUNTS
            if (known.function, 2 + 2 * row) != (question.function, question.reply_size) and address + row <= 0x10000
        ],
        after,
    )
    if count is None:
        return None
    asked = ask_read(question.unit, known.function, address, count)
    return Probe(asked.unit, asked.function, asked.pdu, asked.reply_size, f"{asked.what} as a probe", by_length=True)


def _choose(kinds: list[tuple[int, int]], after: int) -> int | None:
    """One of (kind, the first request of it that is owed, or 0), so that all up to `after` is older than its answer.

    What was asked in vain last is asked again before another kind is: else a dead unit would soon owe them all.
    """
    kind, first = max(kinds, key=lambda row: row[1], default=(None, 0))
    return kind if first > after else next((kind for kind, first in kinds if not first), None)
