"""The recoater: a blade with a hopper on it crosses the bed, and a piston lowers the bed under it.

The hopper feeds by gravity wherever the blade passes, in both directions: where the piston has made room, powder
fills it up to the plane. What is laid down goes to the bed in strips, each at the moment when the blade leaves it,
so that the truth does not depend on who asks when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hil_sim.world.plant.linear_axis import LinearAxis

FEED_POINT = "recoater.feed"
SHORT_FEED = "short_feed"


class PowderBed(Protocol):
    """What the recoater asks of the bed."""

    def spread(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float) -> None:
        """The blade has passed x_from..x_to (x_from < x_to): fill the room below the first plane less
        `plane_drop_mm`; below 1, only that part of it."""


class Strike(Protocol):
    """A fault that is active: what it is and its numbers."""

    @property
    def kind(self) -> str: ...

    @property
    def args(self) -> Mapping[str, Any]: ...


class Faults(Protocol):
    """A fault schedule: who asks at a point and a time hears what strikes there."""

    def active(self, point: str, now_s: float) -> Strike | None: ...


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

    A pass begins when the blade leaves rest beside the bed on the side of x < 0, and lasts until it does so again
    (there and back). The fault `short_feed` at `recoater.feed` is asked for when a pass enters the bed: `fraction`
    of the bed's length, from x = 0, is filled in full, the rest by `thin` (default 0.2) of what is missing;
    `passes` (default 1) passes are struck by one entry of the schedule, so that one more pass fills the bed; 0
    means as long as the entry is active.
    """

    def __init__(
        self,
        blade: LinearAxis,
        piston: LinearAxis,
        bed: PowderBed,
        *,
        faults: Faults | None = None,
        config: RecoaterConfig = RecoaterConfig(),
        t_s: float = 0.0,
    ) -> None:
        self.blade = blade
        self.piston = piston
        self.config = config
        self.passes = 0
        self.laid_strips = 0
        self.last_pass: list[Laid] = []
        self._bed = bed
        self._faults = faults
        self._t_s = t_s
        self._open_x_mm = self.blade_x_mm(t_s)
        strips = math.ceil(config.bed_x_mm / config.strip_mm)
        self._strip_edges = tuple(min(k * config.strip_mm, config.bed_x_mm) for k in range(strips + 1))
        self._full_to_mm = math.inf
        self._thin = 1.0
        self._asked = True
        self._struck: dict[int, tuple[Strike, int]] = {}
        blade.before_change.append(self._before_blade)
        piston.before_change.append(self.advance_to)

    def blade_x_mm(self, t_s: float) -> float:
        """Where the blade stands over the bed, mm in the machine frame."""
        return self.blade.position_at(t_s) + self.config.blade_zero_x_mm

    def plane_drop_mm(self, t_s: float) -> float:
        """Depth of the piston below the first plane, mm."""
        return self.piston.position_at(t_s) - self.config.piston_zero_mm

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

    def _before_blade(self, t_s: float) -> None:
        self.advance_to(t_s)
        if not self.blade.moving(t_s) and self.blade_x_mm(t_s) <= 0.0:
            self.passes += 1
            self.last_pass = []
            self._asked = False
            self._full_to_mm, self._thin = math.inf, 1.0

    def _next_edge(self, from_mm: float, to_mm: float) -> float | None:
        """The first edge of a strip on the way, `from_mm` excluded and `to_mm` included. The end of the well-fed
        part is an edge too."""
        edges = (*self._strip_edges, self._full_to_mm)
        if to_mm > from_mm:
            return min((e for e in edges if from_mm < e <= to_mm), default=None)
        return max((e for e in edges if to_mm <= e < from_mm), default=None)

    def _lay(self, t_s: float, x_mm: float) -> None:
        """The blade has come from `_open_x_mm` to `x_mm` at `t_s`."""
        x_from_mm = max(min(self._open_x_mm, x_mm), 0.0)
        x_to_mm = min(max(self._open_x_mm, x_mm), self.config.bed_x_mm)
        self._open_x_mm = x_mm
        if not self._asked and x_mm >= 0.0:
            self._asked = True
            self._ask_for_faults(t_s)
        if x_to_mm - x_from_mm <= 1e-9:
            return
        fill = 1.0 if x_to_mm <= self._full_to_mm + 1e-9 else self._thin
        laid = Laid(t_s, x_from_mm, x_to_mm, self.plane_drop_mm(t_s), fill)
        self.last_pass.append(laid)
        self.laid_strips += 1
        self._bed.spread(laid.t_s, laid.x_from_mm, laid.x_to_mm, laid.plane_drop_mm, laid.fill_fraction)

    def _ask_for_faults(self, t_s: float) -> None:
        strike = self._faults.active(FEED_POINT, t_s) if self._faults is not None else None
        if strike is None or strike.kind != SHORT_FEED:
            return
        # the entry itself is kept beside its count: an id alone could be given to another one
        _, hits = self._struck.get(id(strike), (strike, 0))
        most = int(strike.args.get("passes", 1))
        if most and hits >= most:
            return
        self._struck[id(strike)] = (strike, hits + 1)
        self._full_to_mm = min(max(float(strike.args["fraction"]), 0.0), 1.0) * self.config.bed_x_mm
        self._thin = min(max(float(strike.args.get("thin", 0.2)), 0.0), 1.0)
