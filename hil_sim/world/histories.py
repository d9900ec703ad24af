"""What the plant did, kept as it happened and not sampled: what invariants and expectations are judged by afterwards.

Each part of the plant hands over what it did anyway (rows of exposure, moves, phases of an axis, changes of a load), so
that keeping it changes nothing in the run. Bounded: beyond `KEPT_MAX` entries of a kind the rest is dropped, and
`full` names the kind, so that nobody takes a history that was cut short for a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.plant.gantry import Run, Stand
from hil_sim.world.plant.linear_axis import LinearAxis, Phase

KEPT_MAX = 2_000_000
AT_END_MM = 1e-6

Changes = list[tuple[float, float]]
"""(loop time, value from then on), in time order."""


class Histories:
    """The kept past of a printer's plant. Times in loop seconds.

    exposures: blocks of rows as `plant.optics.Optics` cuts them. motion: the gantry's runs and stands. changes: by
    name, values that jump or are told now and then (W, degC, 0 or 1). phases: by axis, each as it was carried out.
    struck: (time, axis) of each axis that ran into its end of travel.
    """

    def __init__(self) -> None:
        self.exposures: list[NDArray[np.float64]] = []
        self.motion: list[Run | Stand] = []
        self.changes: dict[str, Changes] = {}
        self.phases: dict[str, list[Phase]] = {}
        self.struck: list[tuple[float, str]] = []
        self.full: set[str] = set()
        self._rows = 0
        self._axes: dict[str, LinearAxis] = {}

    # -- what the plant calls -----------------------------------------------------------------------------------------

    def exposed(self, rows: NDArray[np.float64]) -> None:
        """Rows that the optics have settled."""
        if self._room("exposures", self._rows):
            self._rows += len(rows)
            self.exposures.append(rows)

    def moved(self, entry: Run | Stand) -> None:
        """A move or a stand of the gantry; what cuts it short later changes the entry itself."""
        motion = self.motion
        if len(motion) < KEPT_MAX or self._room("motion", len(motion)):
            motion.append(entry)

    def changed(self, name: str, t_s: float, value: float) -> None:
        """From `t_s` on `name` is `value`."""
        kept = self.changes.setdefault(name, [])
        if self._room(name, len(kept)):
            kept.append((t_s, value))

    def teller(self, name: str) -> Callable[[float, float], None]:
        """A callback `(t_s, value)` that keeps the changes of `name`."""
        return lambda t_s, value: self.changed(name, t_s, value)

    def follow(self, axis: LinearAxis) -> None:
        """Keep what an axis does from now on."""
        self._axes[axis.name] = axis
        self.phases[axis.name] = []
        axis.before_change.append(lambda t_s: self._phases_until(axis, t_s))

    def _phases_until(self, axis: LinearAxis, t_s: float) -> None:
        kept = self.phases[axis.name]
        since_s = kept[-1].t_s if kept else -np.inf
        for phase in axis.phases:
            if since_s < phase.t_s < t_s and self._room(axis.name, len(kept)):
                kept.append(phase)
        struck = None if axis.struck_s is None else (axis.struck_s, axis.name)
        at_its_end = min(abs(axis.phases[-1].position_mm - end_mm) for end_mm in axis.travel_mm) < AT_END_MM
        if struck is not None and struck[0] <= t_s and at_its_end and struck not in self.struck[-8:]:
            self.struck.append(struck)

    def _room(self, name: str, count: int) -> bool:
        if count >= KEPT_MAX:
            self.full.add(name)
        return count < KEPT_MAX

    # -- asking -------------------------------------------------------------------------------------------------------

    def close(self, t_s: float) -> None:
        """Bring the axes up to the present; harmless twice."""
        for axis in self._axes.values():
            self._phases_until(axis, np.nextafter(t_s, np.inf))

    def rows(self) -> NDArray[np.float64]:
        """Every row of exposure, (n, 9) f8 in time order: t0_s, t1_s, x0, y0, x1, y1 (mm), p0_w, p1_w, block."""
        return np.concatenate(self.exposures) if self.exposures else np.empty((0, 9))

    def blade_range_mm(
        self, from_s: NDArray[np.float64], to_s: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The least and the greatest position of the blade's axis within each interval from..to, mm."""
        return ranges_over(self.phases["blade"], from_s, to_s)

    def plane_drop_mm(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """How deep the plate truly was below the first plane at each time, mm: the piston less what it slipped."""
        slips = np.array([(-np.inf, 0.0), *self.changes.get("slip_mm", [])])
        slip_mm = slips[np.searchsorted(slips[:, 0], times_s, side="right") - 1, 1]
        return positions_at(self.phases["piston"], times_s) - slip_mm

    def plate_lit_c(self) -> tuple[float, float] | None:
        """Least and greatest temperature of the heated plate while something emitted, degC, as far as it was told: by
        steps of 0.2 degC. None: it was dark throughout.
        """
        rows, told = self.rows(), self.as_changes("plate_c")
        lit = rows[np.maximum(rows[:, 6], rows[:, 7]) > 0.0]
        if not len(lit) or not len(told):
            return None
        at_c = np.interp(lit[:, :2], *told.T)
        return float(at_c.min()), float(at_c.max())

    def over_since(self, name: str, limit: float) -> float | None:
        """Since when `name` has been over `limit` without a break; None where it is not."""
        since_s = None
        for t_s, value in reversed(self.changes.get(name, [])):
            if not value > limit:
                break
            since_s = t_s
        return since_s

    def as_changes(self, name: str) -> Any:
        """The changes of `name`, (n, 2) f8: time, value."""
        return np.array(self.changes.get(name, []), dtype=np.float64).reshape(-1, 2)


def positions_at(phases: Sequence[Phase], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where an axis stood at each time, by the phases that it did, mm; before the first one: where that begins."""
    t, p, v, a = _columns(phases)
    n = np.maximum(np.searchsorted(t, times_s, side="right") - 1, 0)
    span_s = np.maximum(times_s - t[n], 0.0)
    return np.asarray(p[n] + span_s * (v[n] + 0.5 * a[n] * span_s), np.float64)


def ranges_over(
    phases: Sequence[Phase], from_s: NDArray[np.float64], to_s: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the greatest position of an axis within each interval from..to, mm; nothing is sampled."""
    t, p, v, a = _columns(phases)
    first = np.maximum(np.searchsorted(t, from_s, side="right") - 1, 0)
    last = np.searchsorted(t, to_s, side="left") - 1
    low_mm, high_mm = p[first], p[first]
    # An axis mostly rests: only the intervals in which it moves are looked into.
    moves = np.flatnonzero((last > first) | (v[first] != 0.0) | (a[first] != 0.0))
    if not len(moves):
        return low_mm, high_mm
    from_s, to_s = from_s[moves], to_s[moves]
    ends_mm = np.array([positions_at(phases, from_s), positions_at(phases, to_s)])
    low_mm[moves], high_mm[moves] = ends_mm.min(axis=0), ends_mm.max(axis=0)
    # Within an interval a piece of constant acceleration is extreme where it ends, or where its speed passes zero.
    turn_s = t - np.divide(v, a, out=np.zeros_like(v), where=a != 0.0)
    knots_s = np.sort(np.concatenate([t, turn_s[(turn_s > t) & (turn_s < np.append(t[1:], np.inf))]]))
    begin, end = np.searchsorted(knots_s, from_s, side="right"), np.searchsorted(knots_s, to_s, side="left")
    has = end > begin
    if has.any():
        moves, pairs = moves[has], np.column_stack([begin[has], end[has]]).ravel()
        knots_mm = np.append(positions_at(phases, knots_s), 0.0)  # reduceat wants an entry where the last slice ends
        low_mm[moves] = np.minimum(low_mm[moves], np.minimum.reduceat(knots_mm, pairs)[::2])
        high_mm[moves] = np.maximum(high_mm[moves], np.maximum.reduceat(knots_mm, pairs)[::2])
    return low_mm, high_mm


def _columns(phases: Sequence[Phase]) -> tuple[NDArray[np.float64], ...]:
    """Times, positions, velocities and accelerations."""
    fields = ("t_s", "position_mm", "velocity_mm_s", "acceleration_mm_s2")
    return tuple(np.array([getattr(phase, field) for phase in phases], np.float64) for field in fields)
