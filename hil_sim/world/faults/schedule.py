"""What shall go wrong, where and when: frozen data that the struck places ask.

A fault is anchored in time (`at_s`, for `for_s` seconds of loop time) or at the n-th event of its point (`at_chunk`,
for `count` events: chunks on a wire, strokes of a recoater). The schedule keeps no state, so that a run, its replay and
a shrunk version of it read the same data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Value = float | int | str


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    kind: a name of the catalogues (`drop`, `short_feed`, ...). point: the place that is struck (`motion.to_device`).
    at_s with for_s: the window [at_s, at_s + for_s) of loop time. at_chunk with count: events at_chunk ... at_chunk +
    count - 1 of that point, counted from 0. args: what the kind wants to know, as a mapping or as sorted pairs.
    Raises ValueError for an anchor that is missing, doubled, negative, not finite or empty.
    """

    kind: str
    point: str
    at_s: float | None = None
    for_s: float = 0.0
    at_chunk: int | None = None
    count: int = 1
    args: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        pairs = self.args.items() if isinstance(self.args, Mapping) else self.args
        object.__setattr__(self, "args", tuple(sorted(pairs)))
        where = f"fault {self.kind!r} at {self.point!r}"
        if (self.at_s is None) == (self.at_chunk is None):
            raise ValueError(f"{where} needs one anchor: at_s (seconds) or at_chunk (a count)")
        if self.at_s is not None:
            if not (math.isfinite(self.at_s) and self.at_s >= 0):
                raise ValueError(f"{where}: at_s is {self.at_s}; give seconds of loop time, 0 or later")
            if not self.for_s > 0:
                raise ValueError(f"{where} lasts {self.for_s} s and would never strike; give for_s > 0")
        elif not (self.at_chunk is not None and self.at_chunk >= 0 and self.count >= 1):
            raise ValueError(f"{where}: at_chunk {self.at_chunk} with count {self.count} never comes")

    def arg(self, name: str, default: Value) -> Value:
        """The argument `name`, or `default`."""
        return dict(self.args).get(name, default)

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON and TOML: the anchor that is not used is left out."""
        row: dict[str, Any] = {"kind": self.kind, "point": self.point}
        if self.at_s is not None:
            row |= {"at_s": self.at_s, "for_s": self.for_s}
        else:
            row |= {"at_chunk": self.at_chunk, "count": self.count}
        return row | ({"args": dict(self.args)} if self.args else {})

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Fault:
        """The inverse of to_dict. An unknown key is a ValueError."""
        known = {"kind", "point", "at_s", "for_s", "at_chunk", "count", "args"}
        unknown = sorted(set(row) - known)
        if unknown or not {"kind", "point"} <= set(row):
            raise ValueError(f"a fault needs kind and point and may have {sorted(known)}; got {sorted(row)}")
        return cls(**row)


@dataclass(frozen=True)
class FaultSchedule:
    """All faults of a run. Where several strike at once the first in the list does."""

    faults: tuple[Fault, ...] = ()
    _timed: dict[str, tuple[Fault, ...]] = field(init=False, repr=False, compare=False, hash=False)
    _counted: dict[str, tuple[Fault, ...]] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(self.faults))
        object.__setattr__(self, "_timed", _by_point(f for f in self.faults if f.at_s is not None))
        object.__setattr__(self, "_counted", _by_point(f for f in self.faults if f.at_chunk is not None))

    def touches(self, point: str) -> bool:
        """Whether anything can ever go wrong at `point`: a place that is never struck need not ask again."""
        return point in self._timed or point in self._counted

    def active(self, point: str, now_s: float) -> Fault | None:
        """The fault whose window holds `now_s` (loop time) at `point`."""
        for fault in self._timed.get(point, ()):
            assert fault.at_s is not None
            if fault.at_s <= now_s < fault.at_s + fault.for_s:
                return fault
        return None

    def strike(self, point: str, n: int) -> Fault | None:
        """The fault anchored at the n-th event (from 0) of `point`."""
        for fault in self._counted.get(point, ()):
            assert fault.at_chunk is not None
            if fault.at_chunk <= n < fault.at_chunk + fault.count:
                return fault
        return None


def _by_point(faults: Iterable[Fault]) -> dict[str, tuple[Fault, ...]]:
    table: dict[str, tuple[Fault, ...]] = {}
    for fault in faults:
        table[fault.point] = (*table.get(fault.point, ()), fault)
    return table


@dataclass(frozen=True, slots=True)
class Kind:
    """An entry of a catalogue. points: shell patterns of the points it can strike. args: name -> meaning, default.

    models: what happens on a real machine. reaction: what device and host are to do. detect_s: how long that may take;
    None: by events, not by time. is_timed: it lasts for a window, and its point has no events to count.
    """

    description: str
    points: tuple[str, ...]
    args: Mapping[str, str]
    models: str = ""
    reaction: str = ""
    detect_s: float | None = None
    is_timed: bool = False
