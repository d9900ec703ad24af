"""A signal over a whole run: exact at its change points, a straight line or a constant between them.

Knots may stand at one time twice: the value jumps there, and from that moment on it is the last one. Before its first
knot a signal is not known; behind its last one it stays, unless `ends_s` says when its knowledge ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One signal.

    times_s: (n,) f8, never falling. values: (n,) f8, NaN where nobody knows; of a text the codes of `words`.
    is_linear: straight lines between knots; else each value stands until the next knot.
    """

    name: str
    unit: str
    times_s: Floats
    values: Floats
    is_linear: bool = False
    words: tuple[str, ...] | None = field(default=None)

    def __post_init__(self) -> None:
        if self.times_s.shape != self.values.shape or self.times_s.ndim != 1:
            raise ValueError(f"{self.name}: {self.times_s.shape} times do not fit {self.values.shape} values")
        if (np.diff(self.times_s) < 0.0).any() or not np.isfinite(self.times_s).all():
            raise ValueError(f"{self.name}: its times run back, or are no numbers")

    @property
    def is_text(self) -> bool:
        """Whether its values are words."""
        return self.words is not None

    def at(self, times_s: Floats) -> Floats:
        """Its value at each time: where it jumps, what it jumps to."""
        return self._values(times_s, np.searchsorted(self.times_s, times_s, side="right") - 1)

    def before(self, times_s: Floats) -> Floats:
        """Its value just before each time: where it jumps, what it jumps from."""
        return self._values(times_s, np.searchsorted(self.times_s, times_s, side="left") - 1)

    def _values(self, times_s: Floats, knot: NDArray[np.int64]) -> Floats:
        if not len(self.values):
            return np.full(len(times_s), math.nan)
        here = np.maximum(knot, 0)
        found = self.values[here]
        if self.is_linear:
            ahead = np.minimum(here + 1, len(self.values) - 1)
            span_s = self.times_s[ahead] - self.times_s[here]
            with np.errstate(invalid="ignore", divide="ignore"):
                share = np.where(span_s > 0.0, (times_s - self.times_s[here]) / span_s, 0.0)
            rise = np.where(share > 0.0, self.values[ahead] - found, 0.0)  # a jump beside NaN must not spread
            found = found + np.minimum(share, 1.0) * rise
        return np.where(knot >= 0, found, math.nan)

    def value_at(self, t_s: float) -> float | str | None:
        """Its value at one time as a person reads it; None where it is not known."""
        value = float(self.at(np.array([t_s]))[0])
        if math.isnan(value):
            return None
        return value if self.words is None else self.words[int(value)]


def steps(name: str, unit: str, rows: Iterable[Sequence[float]]) -> Series:
    """A signal that jumps: rows of (time, value)."""
    table = np.array(list(rows), dtype=np.float64).reshape(-1, 2)
    return Series(name, unit, table[:, 0].copy(), table[:, 1].copy())


def lines(name: str, unit: str, times_s: Any, values: Any) -> Series:
    """A signal of straight lines through knots."""
    return Series(name, unit, np.asarray(times_s, np.float64), np.asarray(values, np.float64), is_linear=True)


def texts(name: str, rows: Iterable[tuple[float, str]]) -> Series:
    """A signal that says words: rows of (time, text)."""
    kept = list(rows)
    words = tuple(dict.fromkeys(text for _, text in kept))
    code = {word: float(n) for n, word in enumerate(words)}
    times_s = np.array([t_s for t_s, _ in kept], dtype=np.float64)
    return Series(name, "", times_s, np.array([code[text] for _, text in kept], dtype=np.float64), words=words)
