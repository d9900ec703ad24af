"""Where the beam truly went: motion (gantry) times what the head would emit, cut into rows that a bed solver can take.

The beam's power at the bed is `capability(t) x S fraction(t)`: the head's capability is the watts it would emit at S =
1 (its set-point while it fires through an open shutter, else 0); the S fraction comes from the motion controller,
constant (M3) or following speed / nominal speed (M4). Nothing is sampled: rows are cut exactly where a ramp begins or
ends, where the head changes, and where the caller asks to settle.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from hil_sim.world.plant.gantry import Gantry, Point, Run, Stand

NO_BLOCK = -1
_COLUMNS = 9


@dataclass(slots=True)  # not frozen: one is made for every vector of a print
class ExecutedBlock:
    """The truth about one executed move with S > 0 (mm, s, J). `index` counts them from 0; `energy_j` is what left
    the head.
    """

    index: int
    t0_s: float
    t1_s: float
    start_mm: Point
    end_mm: Point
    energy_j: float
    s_fraction: float
    line_no: int | None
    nominal_mm_s: float


class Dwell(NamedTuple):
    """A beam where none was asked for: one that stood still, or one that is stuck on (then `at_mm` is where that
    stretch of the way began). Where, when, how much (J), and after which executed block (NO_BLOCK: before any)."""

    t0_s: float
    t1_s: float
    at_mm: Point
    energy_j: float
    after_block: int


class Head:
    """What the beam head would emit at S = 1, over time. Its emulator calls `set_emission_capability` at each
    change.
    """

    def __init__(self) -> None:
        self._times: list[float] = [-math.inf]
        self._watts: list[float] = [0.0]
        self.on_change: Callable[[float, float], None] | None = None  # told (t_s, watts) of each change

    def set_emission_capability(self, t_s: float, watts: float) -> None:
        """From `t_s` on (not before an earlier call) the head would emit `watts` >= 0 at S = 1."""
        if not (watts >= 0.0 and math.isfinite(watts)):
            raise ValueError(f"the head's emission must be a number of watts from 0 up, got {watts!r}")
        if t_s < self._times[-1]:
            raise ValueError(f"the head changed at {t_s} s, but already at {self._times[-1]} s: time runs forward")
        if watts == self._watts[-1]:
            return
        if self.on_change is not None:
            self.on_change(t_s, watts)
        if t_s == self._times[-1]:
            self._watts[-1] = watts
            return
        self._times.append(t_s)
        self._watts.append(watts)

    def capability_w(self, t_s: float) -> float:
        """Watts at S = 1 at `t_s`; a change counts from its own instant on."""
        times = self._times
        if times[-1] <= t_s:
            return self._watts[-1]
        return self._watts[bisect_right(times, t_s) - 1]

    def holding(self, t_s: float) -> tuple[float, float]:
        """Watts at S = 1 at `t_s`, and the first change behind it, inf when none is known."""
        times = self._times
        if times[-1] <= t_s:
            return self._watts[-1], math.inf
        next_ = bisect_right(times, t_s)
        return self._watts[next_ - 1], times[next_]

    def changes_between(self, from_s: float, to_s: float) -> list[float]:
        """The changes within, ends excluded."""
        return [t_s for t_s in self._times if from_s < t_s < to_s]

    def is_dark_since(self, t_s: float) -> bool:
        """Whether nothing has been emitted from `t_s` on."""
        return self._watts[-1] == 0.0 and (len(self._times) == 1 or self._times[-1] <= t_s)

    def forget_before(self, t_s: float) -> None:
        """Drop changes that no longer matter from `t_s` on."""
        times = self._times
        keep = 0
        while keep + 1 < len(times) and times[keep + 1] <= t_s:
            keep += 1
        if keep:
            del times[:keep], self._watts[:keep]


class Optics:
    """Cuts motion and head history into exposure rows, lazily: nothing is done until somebody calls `settle`.

    Columns of a row: t0_s, t1_s, x0, y0, x1, y1 (mm), p0_w, p1_w, block. Power is linear in time within a row, so its
    energy is (p0 + p1) / 2 x (t1 - t0); in M4 that energy lies evenly along the row's way (power over speed is
    constant). A row with x0 = x1 and y0 = y1 is a beam that stands. `block` is the executed block's index, or NO_BLOCK
    for a dwell.

    Memory: rows wait until `take_exposures`; the gantry's and the head's history before the settled time is dropped
    unless `keep_history`.
    """

    def __init__(self, gantry: Gantry, head: Head, *, keep_history: bool = False) -> None:
        self.gantry = gantry
        self.head = head
        self.executed: list[ExecutedBlock] = []
        self.dwells: list[Dwell] = []
        self.leak = Head()  # watts that leave the head at least, whatever fire and S say
        self.total_energy_j = 0.0
        self.settled_s = -math.inf
        self._keep_history = keep_history
        self._rows: list[tuple[float, ...]] = []
        self._cursor = 0  # the gantry history entry in work
        self._done_s = 0.0  # seconds of that entry already settled
        self._energy_j = 0.0  # its energy so far

    # ---- asking -----------------------------------------------------------------------------------------------------
    def emission_w(self, t_s: float) -> float:
        """Watts leaving the head at `t_s` (for its read-back); needs no settling."""
        watts, leak_w = self.head.capability_w(t_s), self.leak.capability_w(t_s)
        if watts == 0.0:
            return leak_w
        entry = self.gantry.run_at(t_s)
        if entry is None:
            return leak_w
        return watts * _s_fraction(entry, t_s) or leak_w

    @property
    def exposures(self) -> np.ndarray:
        """Rows settled and not yet taken, (n, 9) f8; see the class for the columns."""
        return np.array(self._rows, dtype=np.float64).reshape(-1, _COLUMNS)

    def take_exposures(self, t_s: float) -> np.ndarray:
        """Settle up to `t_s` and hand over the rows since the last take, (n, 9) f8, in time order."""
        self.settle(t_s)
        rows = self.exposures
        self._rows.clear()
        return rows

    # ---- settling ---------------------------------------------------------------------------------------------------
    def settle(self, t_s: float) -> None:
        """Turn everything up to `t_s` (at most the present) into rows and executed blocks."""
        if t_s <= self.settled_s:
            return
        gantry = self.gantry
        gantry.advance_to(t_s)
        history = gantry.history
        i = self._cursor
        while i < len(history):
            entry = history[i]
            if entry.t0_s > t_s:
                break
            if isinstance(entry, Run):
                complete = self._settle_run(entry, t_s)
            else:
                complete = self._settle_stand(entry, t_s)
            if not complete:
                break
            i += 1
            self._done_s = self._energy_j = 0.0
        self._cursor = i
        if not self.leak.is_dark_since(self.settled_s):
            self._settle_leak(max(self.settled_s, 0.0), t_s)
        self.settled_s = t_s
        if not self._keep_history:
            self._forget(t_s)

    def _settle_run(self, run: Run, t_s: float) -> bool:
        complete = run.t1_s <= t_s
        move = run.move
        if move.s_fraction <= 0.0:
            return complete
        t0_s = run.t0_s
        upto_s = run.duration_s if complete else t_s - t0_s
        executed = self.executed
        # The rest of a block that the controller interrupted or re-planned is no block of its own.
        goes_on = run.joins and bool(executed) and executed[-1].end_mm == run.start_mm
        block = len(executed) - goes_on
        head = self.head
        tau = self._done_s
        while tau < upto_s:
            watts, change_s = head.holding(t0_s + tau)
            end = upto_s if change_s >= t0_s + upto_s else change_s - t0_s
            if watts > 0.0 and end > tau:
                self._rows_of_run(run, tau, end, watts, block)
            # A change within one rounding of a large clock must still move us on.
            tau = end if end > tau else math.nextafter(tau, math.inf)
        if not complete:
            self._done_s = max(upto_s, self._done_s)
            return False
        if goes_on:
            last = executed[-1]
            last.t1_s, last.end_mm, last.energy_j = run.t1_s, run.end_mm, last.energy_j + self._energy_j
            return True
        executed.append(
            ExecutedBlock(
                block, t0_s, run.t1_s, run.start_mm, run.end_mm, self._energy_j, move.s_fraction, move.line_no,
                move.nominal_mm_s,
            )
        )  # fmt: skip
        return True

    def _rows_of_run(self, run: Run, tau0: float, tau1: float, watts: float, block: int) -> None:
        """Rows between `tau0` and `tau1` at one head capability, cut at the trapezoid's knots."""
        move = run.move
        x, y, _ = run.start_mm
        ux, uy, _ = run.unit
        t0_s = run.t0_s
        d0, v0, d1, v1 = _ends(run, tau0, tau1)
        p0 = p1 = cruise_w = full_w = watts * move.s_fraction
        energy = full_w * (tau1 - tau0)
        if move.dynamic:  # power over speed is constant, so energy is power per speed times way
            per_speed = full_w / move.nominal_mm_s
            p0, p1, cruise_w = per_speed * v0, per_speed * v1, per_speed * move.cruise_mm_s
            energy = per_speed * (d1 - d0)
        ta, xa, ya = t0_s + tau0, x + ux * d0, y + uy * d0
        rows = self._rows
        if tau0 < run.accelerate_s or run.brake_from_s < tau1:
            for knot, db in ((run.accelerate_s, run.accelerate_mm), (run.brake_from_s, run.brake_from_mm)):
                if tau0 < knot < tau1:
                    tb, xb, yb = t0_s + knot, x + ux * db, y + uy * db
                    rows.append((ta, tb, xa, ya, xb, yb, p0, cruise_w, block))
                    tau0, ta, xa, ya, p0 = knot, tb, xb, yb, cruise_w
        rows.append((ta, t0_s + tau1, xa, ya, x + ux * d1, y + uy * d1, p0, p1, block))
        self._energy_j += energy
        self.total_energy_j += energy

    def _settle_stand(self, stand: Stand, t_s: float) -> bool:
        # A stand may still be shortened by what comes next, but never to before the present: up to t_s it is final.
        end_s = min(stand.t1_s, t_s)
        x, y, _ = stand.at_mm
        start_s = stand.t0_s + self._done_s
        while start_s < end_s and stand.s_fraction > 0.0:
            capability_w, change_s = self.head.holding(start_s)
            watts, until_s = capability_w * stand.s_fraction, min(end_s, change_s)
            if watts > 0.0:
                self._rows.append((start_s, until_s, x, y, x, y, watts, watts, NO_BLOCK))
                self._energy_j += watts * (until_s - start_s)
                self.total_energy_j += watts * (until_s - start_s)
            start_s = until_s
        self._done_s = max(self._done_s, end_s - stand.t0_s)
        if stand.t1_s > t_s:
            return False
        if self._energy_j > 0.0:
            self.dwells.append(Dwell(stand.t0_s, stand.t1_s, stand.at_mm, self._energy_j, len(self.executed) - 1))
        return True

    def _settle_leak(self, from_s: float, to_s: float) -> None:
        """What a beam that is stuck on gave where nothing was asked for, stretch by stretch; while a block is exposed
        it gives what the block asks."""
        edges = [from_s, *self.leak.changes_between(from_s, to_s), *self.head.changes_between(from_s, to_s), to_s]
        for entry in self.gantry.history:
            knots: tuple[float, ...] = (entry.t0_s, entry.t1_s)
            if isinstance(entry, Run):
                knots += (entry.t0_s + entry.accelerate_s, entry.t0_s + entry.brake_from_s)
            edges += [knot for knot in knots if from_s < knot < to_s]
        edges = sorted(set(edges))
        before = len(self._rows)
        for begin_s, end_s in pairwise(edges):
            middle_s = 0.5 * (begin_s + end_s)  # capability and leak are constant in between, the S fraction linear
            entry_or_rest = self.gantry.run_at(middle_s)
            asked_w = 0.0
            if entry_or_rest is not None:
                asked_w = self.head.capability_w(middle_s) * _s_fraction(entry_or_rest, middle_s)
            watts = self.leak.capability_w(middle_s)
            if asked_w > 0.0 or watts == 0.0:
                continue
            (x0, y0, z0), (x1, y1, _) = self.gantry.position_at(begin_s), self.gantry.position_at(end_s)
            self._rows.append((begin_s, end_s, x0, y0, x1, y1, watts, watts, NO_BLOCK))
            energy_j = watts * (end_s - begin_s)
            self.total_energy_j += energy_j
            self.dwells.append(Dwell(begin_s, end_s, (x0, y0, z0), energy_j, len(self.executed) - 1))
        if len(self._rows) > before:
            self._rows.sort(key=itemgetter(0))

    def _forget(self, t_s: float) -> None:
        history = self.gantry.history
        before = len(history)
        if before > 64:  # in batches: dropping one by one from the front of a list costs more than it saves
            if self._cursor >= 1:
                entry = history[min(self._cursor, before - 1)]
                self.gantry.forget_before(min(entry.t0_s, t_s))
            self._cursor -= before - len(history)
        self.head.forget_before(t_s)
        self.leak.forget_before(t_s)


def _ends(run: Run, tau0: float, tau1: float) -> tuple[float, float, float, float]:
    """Way (mm) and speed (mm/s) of a run at two of its times."""
    if tau0 > 0.0 or tau1 != run.full_s:
        return run.distance_mm(tau0), run.speed_mm_s(tau0), run.distance_mm(tau1), run.speed_mm_s(tau1)
    move = run.move  # the whole of it, as nearly all are: the same by the same formulas, but for what falls away
    cruise = move.cruise_mm_s
    v0 = move.entry_mm_s if run.accelerate_s > 0.0 else cruise
    if tau1 > run.brake_from_s:
        return 0.0, v0, run.length_mm, move.exit_mm_s
    return 0.0, v0, run.accelerate_mm + cruise * (tau1 - run.accelerate_s), cruise


def _s_fraction(entry: Run | Stand, t_s: float) -> float:
    return entry.s_fraction if isinstance(entry, Stand) else _fraction(entry, t_s - entry.t0_s)


def _fraction(run: Run, tau_s: float) -> float:
    move = run.move
    if move.dynamic and move.s_fraction > 0.0:
        return move.s_fraction * run.speed_mm_s(tau_s) / move.nominal_mm_s
    return move.s_fraction
