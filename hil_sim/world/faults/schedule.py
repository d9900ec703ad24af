"""What shall go wrong, where and when: frozen data that the struck places ask.

A fault is anchored in time (`at_s`, for `for_s` seconds of loop time), in a layer (`at_layer`: `after_s` seconds behind
the moment its powder is first spread, for `for_s`; `at_light`: behind the moment its first block to be exposed begins),
or at the n-th event of its point (`at_chunk`, `at_line`, `at_request`, `at_event`, for `count` events: chunks on a
wire, lines that a board reads, requests to a device, strokes of a recoater). What a host does between powder and light
(it looks at pictures) takes no virtual time, and as long as the computer needs on the wire: what shall strike the same
block in both is anchored at the light.

The schedule keeps no state, so that a run, its replay and a shrunk version of it read the same data;
`Faults` is the schedule in a running world, which knows when layers began and keeps what struck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hil_sim.world.faults.argument import Arg, Value

COUNTED = ("at_chunk", "at_line", "at_request", "at_event")
"""Anchors that count the events of a point from 0; what a point's events are called is its kinds' to say."""

ANCHORS = ("at_s", "at_layer", "at_light", *COUNTED)

STRIKES_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    kind: a name of the catalogues (`drop`, `short_feed`, ...). point: the place that is struck (`motion.to_device`).
    at_s with for_s: the window [at_s, at_s + for_s) of loop time. at_layer with after_s and for_s: the same from the
    moment on at which that layer begins. at_light: the same from its first exposed block on. at_chunk (at_line,
    at_request, at_event) with count: that event of the point and those behind it, counted from 0. args: what the kind
    wants to know, as a mapping or as sorted pairs. may_idle: a run that it never struck has proved no less for that.
    Raises ValueError for an anchor that is missing, doubled, negative, not finite or empty, and for a span that is not
    of its anchor's.
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
    at_light: int | None = None
    may_idle: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.args, Mapping | tuple):
            raise ValueError(f"fault {self.kind!r} at {self.point!r}: args is {self.args!r}; give names and values")
        pairs = self.args.items() if isinstance(self.args, Mapping) else self.args
        object.__setattr__(self, "args", tuple(sorted(pairs, key=lambda pair: str(pair[0]))))
        where = f"fault {self.kind!r} at {self.point!r}"
        self._refuse_types(where)
        given = [name for name in ANCHORS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{where} needs one anchor of {', '.join(ANCHORS)}; it has {', '.join(given) or 'none'}")
        value = getattr(self, given[0])
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{where}: {given[0]} is {value}; give 0 or more")
        if given[0] in COUNTED:
            if self.count < 1:
                raise ValueError(f"{where}: {given[0]} {value} with count {self.count} never comes")
            if self.for_s or self.after_s:
                raise ValueError(f"{where}: what is anchored by {given[0]} has a count, and no for_s or after_s")
        elif self.count != 1:
            raise ValueError(f"{where}: what is anchored by {given[0]} lasts for_s, and has no count")
        elif given[0] == "at_s" and self.after_s:
            raise ValueError(f"{where}: at_s says when it begins; after_s is for what is anchored in a layer")
        elif not (0 < self.for_s < math.inf and 0 <= self.after_s < math.inf):
            raise ValueError(
                f"{where} begins {self.after_s} s behind its anchor and lasts {self.for_s} s, so that it would never "
                "strike; give for_s > 0"
            )

    def _refuse_types(self, where: str) -> None:
        """A file can hold anything: what is no name, or no number, is told before anything reckons with it."""
        if not all(isinstance(name, str) for name in (self.kind, self.point, *(name for name, _ in self.args))):
            raise ValueError(f"{where}: kind, point and the names of its arguments are words")
        if not isinstance(self.may_idle, bool):
            raise ValueError(f"{where}: may_idle is {self.may_idle!r}; give true or false")
        times, counts = ("at_s", "for_s", "after_s"), ("at_layer", "at_light", *COUNTED, "count")
        for names, types, what in ((times, int | float, "seconds"), (counts, int, "a whole number")):
            for name in names:
                value = getattr(self, name)
                if value is not None and (isinstance(value, bool) or not isinstance(value, types)):
                    raise ValueError(f"{where}: {name} is {value!r}; give {what}")

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
        row |= {"may_idle": True} if self.may_idle else {}
        return row | ({"args": dict(self.args)} if self.args else {})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Fault:
        """The inverse of to_dict. An unknown key is a ValueError."""
        known = {"kind", "point", *ANCHORS, "for_s", "after_s", "count", "may_idle", "args"}
        unknown = sorted(set(row) - known)
        if unknown or not {"kind", "point"} <= set(row):
            raise ValueError(f"a fault needs kind and point and may have {sorted(known)}; got {sorted(row)}")
        return cls(**row)


@dataclass(frozen=True)
class FaultSchedule:
    """All faults of a run. Where several strike at once the first in the list does."""

    faults: tuple[Fault, ...] = ()
    _windows: dict[str, tuple[Fault, ...]] = field(init=False, repr=False, compare=False, hash=False)
    _counted: dict[str, tuple[tuple[int, int, Fault], ...]] = field(init=False, repr=False, compare=False, hash=False)
    """By point: (first event, first one behind, fault); worked out once, as every event of a struck point asks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(self.faults))
        object.__setattr__(self, "_windows", _by_point(f for f in self.faults if f.nth is None))
        counted = _by_point(f for f in self.faults if f.nth is not None)
        spans = {
            point: tuple((nth, nth + f.count, f) for f in faults if (nth := f.nth) is not None)
            for point, faults in counted.items()
        }
        object.__setattr__(self, "_counted", spans)

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
        for first, behind, fault in self._counted.get(point, ()):
            if first <= n < behind:
                return fault
        return None


class Faults:
    """A schedule in a running world: it is told when layers begin, counts the events of points, keeps what struck."""

    def __init__(self, schedule: FaultSchedule | None = None) -> None:
        self.schedule = schedule or FaultSchedule()
        self.strikes: list[tuple[float, str, Fault]] = []
        """(loop time, point, fault), bounded; of a window its first moment only."""
        self._began_s: dict[tuple[str, int], float] = {}  # by anchor and layer
        self._counts: dict[str, int] = {}
        self.shown: set[Fault] = set()
        """Faults without which a wire would surely have carried something else; of others nobody knows."""
        self._windows_struck: set[Fault] = set()
        self._on_begin: list[Callable[[str, int, float], None]] = []

    def touches(self, point: str) -> bool:
        """Whether anything can ever go wrong at `point`."""
        return self.schedule.touches(point)

    @property
    def counts(self) -> dict[str, int]:
        """How many events each point has had that was asked for them."""
        return dict(self._counts)

    @property
    def layers(self) -> int:
        """How many layers have begun."""
        return sum(anchor == "at_layer" for anchor, _ in self._began_s)

    @property
    def waits_for_light(self) -> bool:
        """Whether anything is anchored at a layer's first exposed block: only then somebody need say when that is."""
        return any(fault.at_light is not None for fault in self.schedule.faults)

    @property
    def waits_for_layers(self) -> bool:
        """Whether anything is anchored at a layer: only then somebody need say at once when one begins."""
        return any(fault.at_layer is not None for fault in self.schedule.faults)

    def begin_layer(self, index: int, now_s: float) -> None:
        """The powder of a layer is spread for the first time."""
        self._begins("at_layer", index, now_s)

    def begin_light(self, index: int, began_s: float) -> None:
        """A block of a layer is exposed; told of the first, or of each."""
        self._begins("at_light", index, began_s)

    def tell_begins(self, tell: Callable[[str, int, float], None]) -> None:
        """From now on `tell(anchor, index, began_s)` is called when a layer, or its light, begins."""
        self._on_begin.append(tell)

    def now(self, point: str, now_s: float) -> Fault | None:
        """What lasts at `point` at this moment, whatever its anchor in time; it is noted as struck."""
        fault = next(self.lasting(point, now_s), None)
        if fault is not None:
            self.begin(fault, now_s)
        return fault

    def lasting(self, point: str, now_s: float) -> Iterator[Fault]:
        """All that lasts at `point` at this moment, in the schedule's order; whoever lets one strike notes it."""
        for fault in self.schedule.windows(point):
            begins_s = self._begin_s(fault)
            if begins_s is not None and begins_s <= now_s < begins_s + fault.for_s:
                yield fault

    def begin(self, fault: Fault, now_s: float) -> None:
        """Note that a fault's window has opened and it struck; the first time only."""
        if fault not in self._windows_struck:
            self._windows_struck.add(fault)
            self._note(now_s, fault.point, fault)

    def show(self, fault: Fault) -> None:
        """Note that a wire carries what it would not without this fault, unless another could have struck instead."""
        if sum(other.point == fault.point for other in self.schedule.faults) == 1:
            self.shown.add(fault)

    def ends_s(self, fault: Fault) -> float:
        """When the window of a fault ends, loop time. ValueError for one whose layer has not begun, or that counts."""
        begins_s = self._begin_s(fault)
        if begins_s is None:
            raise ValueError(
                f"'{fault.kind}' at {fault.point} has no window that ends: it is anchored by {fault.anchor}"
            )
        return begins_s + fault.for_s

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

    def events_of(self, point: str) -> int:
        """How many events of `point` were counted so far."""
        return self._counts.get(point, 0)

    def _begins(self, anchor: str, index: int, began_s: float) -> None:
        if (anchor, index) not in self._began_s:
            self._began_s[anchor, index] = began_s
            for tell in self._on_begin:
                tell(anchor, index, began_s)

    def _begin_s(self, fault: Fault) -> float | None:
        """When a fault's window opens, loop time; None: nobody knows yet, or it has none."""
        if fault.at_s is not None:
            return fault.at_s
        if fault.at_layer is not None:
            began_s = self._began_s.get(("at_layer", fault.at_layer))
        else:
            began_s = None if fault.at_light is None else self._began_s.get(("at_light", fault.at_light))
        return None if began_s is None else began_s + fault.after_s

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

    models: what happens, a clause. points: shell patterns of the points it can strike. args: what each may be.
    reaction: what a good host does, a clause. bound: within what it must be noticed ("1 frame", "2 s", "1 layer").
    test: the test that shows it, `tests/FILE.py::test_name`. counted: the anchor that counts events of its points, None
    where only windows make sense. limit: what of it no sensor of the shipped machines shows, a clause; empty: nothing.
    The oracle's SILENT for what a limit names is known and declared, and no schedule of a campaign draws it.
    """

    models: str
    points: tuple[str, ...]
    args: Mapping[str, Arg]
    reaction: str
    bound: str
    test: str
    counted: str | None = None
    limit: str = ""

    @property
    def is_known_limit(self) -> bool:
        """Whether a part of it goes unnoticed here, as `limit` says."""
        return bool(self.limit)

    @property
    def bound_s(self) -> float | None:
        """The bound where it is a time, s."""
        number, _, unit = self.bound.partition(" ")
        return float(number) if unit == "s" else None
