"""What happens to the bed, written down in time order, so that the solver may run where and when it suits.

The world's events come on the event loop and cost next to nothing there: a row of exposures, a strip of powder, a
base temperature. Solving the bed costs seconds. So events wait in a queue, and whoever needs the bed's state (the
camera's development, the end of a run) carries them out first, beside the loop. Only one thread at a time touches
the bed; that is the caller's promise, kept by the single worker of `World`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.plant.bed import Bed
from hil_sim.world.plant.optics import Optics

EVENTS_MAX = 1_000_000
STRIP_S = 0.5
"""Strips that the blade leaves one after the other within this time reach the bed as one, when it leaves the last: cold
powder lies by so much later, and the bed need not be solved up to each of them."""
SOLID_SHARE = 0.15  # a cell counts as sintered from this share of the way between powder and solid


@dataclass(frozen=True)
class BedView:
    """What a camera would see of the bed: maps (ny, nx), front row first."""

    height_mm: NDArray[np.float64]
    temp_c: NDArray[np.float64]
    sintered: NDArray[np.float64]
    cover_mm: NDArray[np.float64]
    origin_mm: tuple[float, float]
    pitch_mm: float


@dataclass(frozen=True)
class _Strip:
    """Powder between two places, mm, from the strip left at `began_s` to that left at `t_s`."""

    bed: Bed
    began_s: float
    t_s: float
    x_from_mm: float
    x_to_mm: float
    plane_drop_mm: float
    fill_fraction: float

    def __call__(self) -> None:
        self.bed.spread(self.t_s, self.x_from_mm, self.x_to_mm, self.plane_drop_mm, self.fill_fraction)

    def grown(self, after: _Strip) -> _Strip | None:
        """Both as one; None where they do not belong together."""
        is_next = after.x_from_mm == self.x_to_mm or after.x_to_mm == self.x_from_mm
        is_alike = (after.plane_drop_mm, after.fill_fraction) == (self.plane_drop_mm, self.fill_fraction)
        if not is_next or not is_alike or after.t_s > self.began_s + STRIP_S:
            return None
        low, high = min(self.x_from_mm, after.x_from_mm), max(self.x_to_mm, after.x_to_mm)
        return replace(after, began_s=self.began_s, x_from_mm=low, x_to_mm=high)


class BedFeed:
    """The queue in front of one bed. `spread` is what the recoater plant calls, `base_temp` what the heater does."""

    def __init__(self, bed: Bed, optics: Optics) -> None:
        self.bed = bed
        self._optics = optics
        self.on_rows: Callable[[NDArray[np.float64]], None] | None = None  # told what the beam did, in time order
        self.on_hottest: Callable[[float, float], None] | None = None  # told the hottest surface at each look
        self._events: deque[tuple[float, Callable[[], None]]] = deque()
        self._open: _Strip | None = None  # not in the queue yet: that is the worker's, too

    # -- on the loop ----------------------------------------------------------------------------------------------

    def spread(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float) -> None:
        """Powder was laid at `t_s`; what the beam did before it is written down first."""
        strip = _Strip(self.bed, t_s, t_s, x_from_mm, x_to_mm, plane_drop_mm, fill_fraction)
        rows = self._optics.take_exposures(t_s)
        grown = None if self._open is None or len(rows) else self._open.grown(strip)
        if grown is None:
            self._close()
            self._note_rows(t_s, rows)
        self._open = grown or strip

    def base_temp(self, t_s: float, temp_c: float) -> None:
        """The plate under the powder is at `temp_c` from `t_s` on."""
        self._close()
        self._note(t_s, lambda: self.bed.set_base_temp_c(t_s, temp_c))

    def collect(self, t_s: float) -> None:
        """Write down the powder that was laid and what the beam did up to `t_s` (not after the present)."""
        self._close()
        self._note_rows(t_s, self._optics.take_exposures(t_s))

    def _close(self) -> None:
        """Write down the strip that might have grown."""
        if self._open is not None:
            self._note(self._open.t_s, self._open)
            self._open = None

    def _note_rows(self, t_s: float, rows: NDArray[np.float64]) -> None:
        if len(rows):
            if self.on_rows is not None:
                self.on_rows(rows)
            self._note(t_s, lambda: self.bed.expose(rows))

    def _note(self, t_s: float, event: Callable[[], None]) -> None:
        if len(self._events) >= EVENTS_MAX:
            raise RuntimeError(f"{EVENTS_MAX} events wait for the bed at {t_s:.1f} s: solve it now and then")
        self._events.append((t_s, event))

    # -- beside the loop ------------------------------------------------------------------------------------------

    def catch_up(self, t_s: float) -> None:
        """Carry out every event up to `t_s` and bring the bed there; `collect` comes first, on the loop."""
        while self._events and self._events[0][0] <= t_s:
            self._events.popleft()[1]()
        if t_s > self.bed.t_s:
            self.bed.advance_to(t_s)
            if self.on_hottest is not None:
                self.on_hottest(t_s, float(np.nanmax(self.bed.top_temp_c)))

    def view(self, t_s: float, plane_drop_mm: float) -> BedView:
        """The bed as it lies at `t_s` under a piston `plane_drop_mm` below the first plane."""
        self.catch_up(t_s)
        bed = self.bed
        share = (bed.density_kg_m3 - bed.material.powder_density_kg_m3) / (
            bed.material.closed_density_kg_m3 - bed.material.powder_density_kg_m3
        )
        share = np.nan_to_num(np.clip(share, 0.0, 1.0))  # cells without soil are no soil
        filled = bed.density_kg_m3 > 0.0
        rows = np.arange(share.shape[0])[:, None, None]
        top = np.where(filled, rows, 0).max(axis=0)
        at_top = np.take_along_axis(share, top[None], axis=0)[0]
        solid_at = np.where(filled & (share > SOLID_SHARE), rows, -1).max(axis=0)
        below = np.take_along_axis(share, np.maximum(solid_at, 0)[None], axis=0)[0]
        bare = at_top > SOLID_SHARE
        return BedView(
            height_mm=bed.surface_mm - (plane_drop_mm - bed.plane_drop_mm),  # lowered since it was last filled
            temp_c=bed.top_temp_c,
            sintered=np.where(bare, at_top, np.where(solid_at >= 0, below, 0.0)),
            cover_mm=np.where(bare, 0.0, bed.powder_mm),
            origin_mm=(bed.config.x_mm[0], bed.config.y_mm[0]),
            pitch_mm=bed.config.cell_xy_mm,
        )
