"""What shall go wrong, where and when: frozen data that the struck places ask.

A fault is anchored in time (`at_s`, for `for_s` seconds of loop time), in a layer (`at_layer`: `after_s` seconds behind
the moment its powder is first spread, for `for_s`), or at the n-th event of its point (`at_chunk`, `at_line`,
`at_request`, `at_event`, for `count` events: chunks on a wire, lines that a board reads, requests to a device, strokes
of a recoater). The schedule keeps no state, so that a run, its replay and a shrunk version of it read the same data;
`Faults` is the schedule in a running world, which knows when layers began and keeps what struck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Value = float | int | str

COUNTED = ("at_chunk", "at_line", "at_request", "at_event")
"""Anchors that count the events of a point from 0; what a point's events are called is its kinds' to say."""

ANCHORS = ("at_s", "at_layer", *COUNTED)

STRIKES_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    kind: a name of the catalogues (`drop`, `short_feed`, ...). point: the place that is struck (`motion.to_device`).
    at_s with for_s: the window [at_s, at_s + for_s) of loop time. at_layer with after_s and for_s: the same from the
    moment on at which that layer begins. at_chunk (at_line, at_request, at_event) with count: that event of the point
    and those behind it, counted from 0. args: what the kind wants to know, as a mapping or as sorted pairs.
    Raises ValueError for an anchor that is missing, doubled, negative, not finite or empty.
    """

    kind: str
    point: str
    at_s: float | None = None
    for_s: float = 0.0
    at_chunk: int | None = None
    count: int = 1
    args: tuple[tuple[str, Value], ...] = ()
    at_layer: int | None = None
    after_s: float = 0.0
    at_line: int | None = None
    at_request: int | None = None
    at_event: int | None = None

    def __post_init__(self) -> None:
        pairs = self.args.items() if isinstance(self.args, Mapping) else self.args
        object.__setattr__(self, "args", tuple(sorted(pairs)))
        where = f"fault {self.kind!r} at {self.point!r}"
        given = [name for name in ANCHORS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{where} needs one anchor of {', '.join(ANCHORS)}; it has {', '.join(given) or 'none'}")
        value = getattr(self, given[0])
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{where}: {given[0]} is {value}; give 0 or more")
        if given[0] in COUNTED:
            if self.count < 1:
                raise ValueError(f"{where}: {given[0]} {value} with count {self.count} never comes")
        elif not (self.for_s > 0 and self.after_s >= 0 and math.isfinite(self.after_s)):
            raise ValueError(
                f"{where} begins {self.after_s} s behind its anchor and lasts {self.for_s} s, so that it would never "
                "strike; give for_s > 0"
            )

    @property
    def anchor(self) -> str:
        """Which of `ANCHORS` it has."""
        return next(name for name in ANCHORS if getattr(self, name) is not None)

    @property
    def nth(self) -> int | None:
        """The first event that it strikes, None for an anchor in time or layer."""
        return getattr(self, self.anchor) if self.anchor in COUNTED else None

    def arg(self, name: str, default: Value) -> Value:
        """The argument `name`, or `default`."""
        return dict(self.args).get(name, default)

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON and TOML: the anchors that are not used are left out."""
        row: dict[str, Any] = {"kind": self.kind, "point": self.point, self.anchor: getattr(self, self.anchor)}
        if self.anchor in COUNTED:
            row["count"] = self.count
        else:
            row |= {"for_s": self.for_s} | ({"after_s": self.after_s} if self.after_s else {})
        return row | ({"args": dict(self.args)} if self.args else {})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Fault:
        """The inverse of to_dict. An unknown key is a ValueError."""
        known = {"kind", "point", *ANCHORS, "for_s", "after_s", "count", "args"}
        unknown = sorted(set(row) - known)
        if unknown or not {"kind", "point"} <= set(row):
            raise ValueError(f"a fault needs kind and point and may have {sorted(known)}; got {sorted(row)}")
        return cls(**row)


@dataclass(frozen=True)
class FaultSchedule:
    """All faults of a run. Where several strike at once the first in the list does."""

    faults: tuple[Fault, ...] = ()
    _windows: dict[str, tuple[Fault, ...]] = field(init=False, repr=False, compare=False, hash=False)
    _counted: dict[str, tuple[Fault, ...]] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(self.faults))
        object.__setattr__(self, "_windows", _by_point(f for f in self.faults if f.nth is None))
        object.__setattr__(self, "_counted", _by_point(f for f in self.faults if f.nth is not None))

    def windows(self, point: str) -> tuple[Fault, ...]:
        """The faults of a point that last a while, anchored in time or layer."""
        return self._windows.get(point, ())

    def touches(self, point: str) -> bool:
        """Whether anything can ever go wrong at `point`: a place that is never struck need not ask again."""
        return point in self._windows or point in self._counted

    def active(self, point: str, now_s: float) -> Fault | None:
        """The fault whose window of loop time holds `now_s` at `point`; those of a layer are `Faults`' to know."""
        for fault in self.windows(point):
            if fault.at_s is not None and fault.at_s <= now_s < fault.at_s + fault.for_s:
                return fault
        return None

    def strike(self, point: str, n: int) -> Fault | None:
        """The fault anchored at the n-th event (from 0) of `point`."""
        for fault in self._counted.get(point, ()):
            nth = fault.nth
            if nth is not None and nth <= n < nth + fault.count:
                return fault
        return None


class Faults:
    """A schedule in a running world: it is told when layers begin, counts the events of points, keeps what struck."""

    def __init__(self, schedule: FaultSchedule | None = None) -> None:
        self.schedule = schedule or FaultSchedule()
        self.strikes: list[tuple[float, str, Fault]] = []
        """(loop time, point, fault), bounded; of a window its first moment only."""
        self._layer_began_s: dict[int, float] = {}
        self._counts: dict[str, int] = {}
        self._windows_struck: set[Fault] = set()
        self._on_layer: list[Callable[[int, float], None]] = []

    def touches(self, point: str) -> bool:
        """Whether anything can ever go wrong at `point`."""
        return self.schedule.touches(point)

    def begin_layer(self, index: int, now_s: float) -> None:
        """The powder of a layer is spread for the first time."""
        if index not in self._layer_began_s:
            self._layer_began_s[index] = now_s
            for tell in self._on_layer:
                tell(index, now_s)

    def tell_layers(self, tell: Callable[[int, float], None]) -> None:
        """From now on `tell(index, began_s)` is called when a layer begins."""
        self._on_layer.append(tell)

    def now(self, point: str, now_s: float) -> Fault | None:
        """What lasts at `point` at this moment, whatever its anchor in time; it is noted as struck."""
        for fault in self.schedule.windows(point):
            begins_s = fault.at_s
            if fault.at_layer is not None and fault.at_layer in self._layer_began_s:
                begins_s = self._layer_began_s[fault.at_layer] + fault.after_s
            if begins_s is not None and begins_s <= now_s < begins_s + fault.for_s:
                self.begin(fault, now_s)
                return fault
        return None

    def begin(self, fault: Fault, now_s: float) -> None:
        """Note that a fault's window has opened and it struck; the first time only."""
        if fault not in self._windows_struck:
            self._windows_struck.add(fault)
            self._note(now_s, fault.point, fault)

    def event(self, point: str, now_s: float) -> Fault | None:
        """Count an event of `point` and return what strikes it: a window that holds this moment, or this very event."""
        n = self._counts.get(point, 0)
        self._counts[point] = n + 1
        fault = self.now(point, now_s)
        if fault is None:
            fault = self.schedule.strike(point, n)
            if fault is not None:
                self._note(now_s, point, fault)
        return fault

    def _note(self, now_s: float, point: str, fault: Fault) -> None:
        if len(self.strikes) < STRIKES_KEPT:
            self.strikes.append((now_s, point, fault))


def _by_point(faults: Iterable[Fault]) -> dict[str, tuple[Fault, ...]]:
    table: dict[str, tuple[Fault, ...]] = {}
    for fault in faults:
        table[fault.point] = (*table.get(fault.point, ()), fault)
    return table


@dataclass(frozen=True, slots=True)
class Kind:
    """An entry of a catalogue.

    models: what happens, a clause. points: shell patterns of the points it can strike. args: name -> meaning, default.
    reaction: what a good host does, a clause. bound: within what it must be noticed ("1 frame", "2 s", "1 layer").
    test: the test that shows it, `tests/FILE.py::test_name`. counted: the anchor that counts events of its points, None
    where only windows make sense.
    """

    models: str
    points: tuple[str, ...]
    args: Mapping[str, str]
    reaction: str
    bound: str
    test: str
    counted: str | None = None

    @property
    def bound_s(self) -> float | None:
        """The bound where it is a time, s."""
        number, _, unit = self.bound.partition(" ")
        return float(number) if unit == "s" else None
