"""The recoater: a blade with a hopper on it crosses the bed, and a piston lowers the bed under it.

The hopper feeds by gravity wherever the blade passes, in both directions: where the piston has made room, powder
fills it up to the plane. What is laid down goes to the bed in strips, each at the moment when the blade leaves it,
so that the truth does not depend on who asks when.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from hil_sim.world.faults.actuator import feed_fraction, streak_mm
from hil_sim.world.faults.schedule import Faults
from hil_sim.world.plant.linear_axis import LinearAxis

FEED_POINT = "recoater.feed"
THIN_FILL = 0.2  # what the blade still drags over the part that the hopper no longer feeds


class PowderBed(Protocol):
    """What the recoater asks of the bed."""

    def spread(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float) -> None:
        """The blade has passed x_from..x_to (x_from < x_to): fill the room below the first plane less
        `plane_drop_mm`; below 1, only that part of it."""


class PowderStore(Protocol):
    """What the recoater takes its powder from."""

    def give(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float) -> float:
        """The share, 0 to 1, of the powder that this strip needs to be level with the plane."""


@dataclass(frozen=True, slots=True)
class RecoaterConfig:
    """Geometry. The blade's axis runs along x; it stands at bed x = `blade_zero_x_mm` when its axis is at 0. The
    piston's axis counts downwards from the first plane, where it is at `piston_zero_mm`. `strip_mm`: width of the
    strips in which powder is handed to the bed."""

    bed_x_mm: float = 250.0
    blade_zero_x_mm: float = -25.0
    piston_zero_mm: float = 0.0
    strip_mm: float = 10.0


@dataclass(frozen=True, slots=True)
class Laid:
    """One strip of powder, as it was laid: kept for the truth."""

    t_s: float
    x_from_mm: float
    x_to_mm: float
    plane_drop_mm: float
    fill_fraction: float


class Recoater:
    """Blade, piston and hopper as one part of the plant, advanced lazily.

    A pass begins when the blade comes over the bed from its rest beside it (x < 0) and lasts until it does so
    again: there and back. Passes are counted from 0. When one begins, the schedule is asked at `recoater.feed` for
    that time and for that count; under `short_feed` the share `fraction` of the bed's length, from x = 0, is filled
    in full, and of what is missing in the rest only a fifth, on the way back too; under `streak` the same in a band
    across the bed. One more pass that is not struck fills it. `slip_mm`: how much farther the piston's drive has turned
    than the plate has gone down. `store`: where the powder comes from; None: there is always enough.
    """

    def __init__(
        self,
        blade: LinearAxis,
        piston: LinearAxis,
        bed: PowderBed,
        *,
        faults: Faults | None = None,
        store: PowderStore | None = None,
        config: RecoaterConfig = RecoaterConfig(),
        t_s: float = 0.0,
    ) -> None:
        self.blade = blade
        self.piston = piston
        self.config = config
        self.passes = 0
        self.laid_strips = 0
        self.last_pass: deque[Laid] = deque(maxlen=512)
        self._bed = bed
        self._store = store
        self._faults = faults
        self._t_s = t_s
        self._open_x_mm = self.blade_x_mm(t_s)
        strips = math.ceil(config.bed_x_mm / config.strip_mm)
        self._strip_edges = tuple(min(k * config.strip_mm, config.bed_x_mm) for k in range(strips + 1))
        self._full_to_mm = math.inf
        self._streak_mm = (math.inf, math.inf)
        self._may_begin = False
        self.slip_mm = 0.0
        self.on_slip: Callable[[float, float], None] | None = None  # told (t_s, slip_mm) of each slip
        blade.before_change.append(self._before_blade)
        piston.before_change.append(self.advance_to)

    def blade_x_mm(self, t_s: float) -> float:
        """Where the blade stands over the bed, mm in the machine frame."""
        return self.blade.position_at(t_s) + self.config.blade_zero_x_mm

    def plane_drop_mm(self, t_s: float) -> float:
        """Depth of the piston below the first plane, mm."""
        return self.piston.position_at(t_s) - self.config.piston_zero_mm - self.slip_mm

    def slip(self, t_s: float, mm: float) -> None:
        """At `t_s` the plate comes up by `mm` against its drive."""
        self.advance_to(t_s)
        self.slip_mm += mm
        if self.on_slip is not None:
            self.on_slip(t_s, self.slip_mm)

    def advance_to(self, t_s: float) -> None:
        """Lay the powder of every strip that the blade has left by `t_s`."""
        if t_s <= self._t_s:
            return
        phases = self.blade.phases
        for index, phase in enumerate(phases):
            last = index + 1 == len(phases)
            end_s = t_s if last else min(phases[index + 1].t_s, t_s)
            start_s = max(phase.t_s, self._t_s)
            if end_s <= start_s:
                continue
            zero_mm = self.config.blade_zero_x_mm
            to_mm = phase.position_at(end_s) + zero_mm
            edge_mm = self._next_edge(phase.position_at(start_s) + zero_mm, to_mm)
            while edge_mm is not None:
                self._lay(phase.time_at(edge_mm - zero_mm), edge_mm)
                edge_mm = self._next_edge(edge_mm, to_mm)
            comes_to_rest = not last and end_s == phases[index + 1].t_s and phases[index + 1].velocity_mm_s == 0.0
            if comes_to_rest:
                self._lay(end_s, to_mm)
        self._t_s = t_s

    def next_strip_s(self, t_s: float) -> float | None:
        """When the blade, as it moves now, next leaves a strip of the bed behind `t_s`; None: it does not."""
        phases, zero_mm = self.blade.phases, self.config.blade_zero_x_mm
        for phase, after in pairwise(phases):
            start_s = max(phase.t_s, t_s)
            if after.t_s <= start_s:
                continue
            x_mm, to_mm = phase.position_at(start_s) + zero_mm, after.position_mm + zero_mm
            edge_mm = self._next_edge(x_mm, to_mm)
            while edge_mm is not None and not (edge_mm > 0.0 if to_mm > x_mm else edge_mm < self.config.bed_x_mm):
                edge_mm = self._next_edge(edge_mm, to_mm)
            if edge_mm is not None:
                return phase.time_at(edge_mm - zero_mm)
        return None

    def _before_blade(self, t_s: float) -> None:
        self.advance_to(t_s)
        if not self.blade.moving(t_s) and self.blade_x_mm(t_s) <= 0.0:
            self._may_begin = True

    def _begin_pass(self, t_s: float) -> None:
        self._may_begin = False
        fault = None
        if self._faults is not None:
            fault = self._faults.event(FEED_POINT, t_s)
        self._full_to_mm, self._streak_mm = math.inf, (math.inf, math.inf)
        if fault is not None and fault.kind == "streak":
            self._streak_mm = streak_mm(fault)
        elif fault is not None:
            self._full_to_mm = feed_fraction(fault) * self.config.bed_x_mm
        self.passes += 1
        self.last_pass.clear()

    def _next_edge(self, from_mm: float, to_mm: float) -> float | None:
        """The first edge of a strip on the way, `from_mm` excluded and `to_mm` included. The end of the well-fed
        part is an edge too."""
        edges = (*self._strip_edges, self._full_to_mm, *self._streak_mm)
        if to_mm > from_mm:
            return min((e for e in edges if from_mm < e <= to_mm), default=None)
        return max((e for e in edges if to_mm <= e < from_mm), default=None)

    def _lay(self, t_s: float, x_mm: float) -> None:
        """The blade has come from `_open_x_mm` to `x_mm` at `t_s`."""
        x_from_mm = max(min(self._open_x_mm, x_mm), 0.0)
        x_to_mm = min(max(self._open_x_mm, x_mm), self.config.bed_x_mm)
        self._open_x_mm = x_mm
        if self._may_begin and x_mm >= 0.0:
            self._begin_pass(t_s)
        if x_to_mm - x_from_mm <= 1e-9:
            return
        begins_mm, ends_mm = self._streak_mm
        is_streak = begins_mm - 1e-9 <= x_from_mm and x_to_mm <= ends_mm + 1e-9
        fill = THIN_FILL if is_streak or x_to_mm > self._full_to_mm + 1e-9 else 1.0
        if self._store is not None and fill == 1.0:
            fill = self._store.give(t_s, x_from_mm, x_to_mm, self.plane_drop_mm(t_s))
        laid = Laid(t_s, x_from_mm, x_to_mm, self.plane_drop_mm(t_s), fill)
        self.last_pass.append(laid)
        self.laid_strips += 1
        self._bed.spread(laid.t_s, laid.x_from_mm, laid.x_to_mm, laid.plane_drop_mm, laid.fill_fraction)
