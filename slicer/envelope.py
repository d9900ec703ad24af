"""What a planner must know of a machine: how far it reaches, how fast it moves and how strong its beam is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from slicer.errors import SlicerError

# name -> (smallest, largest, unit): the bounds of anything that could be a machine of this kind
RANGES: dict[str, tuple[float, float, str]] = {
    "x_mm": (1.0, 5000.0, "mm"),
    "y_mm": (1.0, 5000.0, "mm"),
    "z_mm": (1.0, 2000.0, "mm"),
    "beam_power_w_max": (0.1, 20_000.0, "W"),
    "speed_mm_s_max": (0.01, 2000.0, "mm/s"),
    "acceleration_mm_s2": (0.1, 50_000.0, "mm/s2"),
    "junction_deviation_mm": (1e-4, 1.0, "mm"),
    "s_max": (1, 65_535, ""),
}


class EnvelopeError(SlicerError):
    """An envelope that no machine can have, or one that is told incompletely."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The build volume (0..x, 0..y, 0..z; origin front-left on the plate), the gantry's limits and the beam's.

    `junction_deviation_mm` is Marlin's corner parameter, `s_max` the S word that means full set-point power.

    Raises:
        EnvelopeError: a value that is not finite or lies outside RANGES.
    """

    x_mm: float
    y_mm: float
    z_mm: float
    beam_power_w_max: float
    speed_mm_s_max: float
    acceleration_mm_s2: float
    junction_deviation_mm: float = 0.01
    s_max: int = 1000

    def __post_init__(self) -> None:
        for name, (low, high, unit) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise EnvelopeError(f"envelope: {name} is {value!r}, which is not a finite number")
            if not low <= value <= high:
                raise EnvelopeError(f"envelope: {name} is {value:g}, outside {low:g} to {high:g} {unit}".rstrip())
            object.__setattr__(self, name, int(value) if name == "s_max" else float(value))

    def covers(self, job: Envelope) -> list[str]:
        """One sentence for each way in which a job planned for the envelope `job` asks more than this machine has.

        An empty list means that the job may run here. Acceleration and junction deviation shape only the time that
        was estimated, so they are not compared; S words are fractions of `s_max`, so that one must be equal.
        """
        sentences = []
        for name, what in (
            ("x_mm", "a plate width"),
            ("y_mm", "a plate depth"),
            ("z_mm", "a build height"),
            ("beam_power_w_max", "a beam power"),
            ("speed_mm_s_max", "a gantry speed"),
        ):
            needed, have = getattr(job, name), getattr(self, name)
            if needed > have:
                unit = RANGES[name][2]
                sentences.append(f"the job was planned for {what} of {needed:g} {unit}, this machine has {have:g}")
        if job.s_max != self.s_max:
            sentences.append(
                f"the job's full power is S{job.s_max}, this machine's is S{self.s_max}: slice it for this machine"
            )
        return sentences

    def to_dict(self) -> dict[str, float | int]:
        """The fields as plain numbers, for a manifest or a TOML table."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Envelope:
        """The reverse of `to_dict`. Raises EnvelopeError for a missing or unknown key, or a value out of range."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(table) - known)
        if unknown:
            raise EnvelopeError(f"envelope: unknown key {unknown[0]!r}; known are {', '.join(RANGES)}")
        missing = [name for name in RANGES if name not in table and name not in ("junction_deviation_mm", "s_max")]
        if missing:
            raise EnvelopeError(f"envelope: {missing[0]} is missing")
        return cls(**table)
