"""Measures: what a kind of brick is made by, the range of each number, and the sentence that refuses a wrong one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slicer.errors import SlicerError

EDGE_MM_MIN, EDGE_MM_MAX = 0.1, 5000.0
"""No beam draws less, and no build plate holds more."""

CLEARANCE_MM_MAX = 50.0


class BrickError(SlicerError):
    """A brick whose measures are out of range or contradict each other."""


@dataclass(frozen=True)
class Measure:
    """One number of a brick.

    Attributes:
        key: its name; the unit is the name's end.
        default: what it is where nobody says.
        low, high: the range, both ends in it unless `below_high`: then it stays under `high`.
        meaning: a few words for a user.
    """

    key: str
    default: float
    low: float
    high: float
    meaning: str
    below_high: bool = False

    @property
    def unit(self) -> str:
        """mm or deg."""
        return self.key.rpartition("_")[2]

    def check(self, value: float, brick: str) -> None:
        """Raises BrickError for a value that is no number or out of range."""
        fits = math.isfinite(value) and self.low <= value <= self.high
        if not fits or (self.below_high and value == self.high):
            end = "under" if self.below_high else "at most"
            raise BrickError(
                f"brick {brick}: {self.key} is {value:g}; it must be at least {self.low:g} and {end} {self.high:g}"
                f" {self.unit}"
            )


def edge(key: str, default: float, meaning: str) -> Measure:
    """A length that a brick cannot be without."""
    return Measure(key, default, EDGE_MM_MIN, EDGE_MM_MAX, meaning)


def clearance(default: float, meaning: str) -> Measure:
    """The gap between finished bricks."""
    return Measure("clearance_mm", default, 0.0, CLEARANCE_MM_MAX, meaning)


CHORD_TOLERANCE = Measure(
    "chord_tolerance_mm", 0.05, 0.001, 5.0, "how far a triangle may lie from the curved face that it stands for"
)


def check_measures(brick: str, measures: Iterable[Measure], values: Mapping[str, float]) -> None:
    """Check each value against its measure. Raises BrickError for the first that is out of range."""
    for measure in measures:
        measure.check(values[measure.key], brick)


def check_chord(brick: str, chord_tolerance_mm: float, clearance_mm: float) -> None:
    """Raises BrickError where two faces, each off by the chord tolerance, could touch across the clearance."""
    if 0 < clearance_mm < 2 * chord_tolerance_mm:
        raise BrickError(
            f"brick {brick}: a chord tolerance of {chord_tolerance_mm:g} mm is too coarse for a clearance of"
            f" {clearance_mm:g} mm; set chord_tolerance_mm to {clearance_mm / 2:g} or less"
        )
