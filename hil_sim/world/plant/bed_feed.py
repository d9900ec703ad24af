"""What happens to the bed, written down in time order, so that the solver may run where and when it suits.

The world's events come on the event loop and cost next to nothing there: a row of exposures, a strip of powder, a
base temperature. Solving the bed costs seconds. So events wait in a queue, and whoever needs the bed's state (the
camera's development, the end of a run) carries them out first, beside the loop. Only one thread at a time touches
the bed; that is the caller's promise, kept by the single worker of `World`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.plant.bed import Bed
from hil_sim.world.plant.optics import Optics

EVENTS_MAX = 1_000_000
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


class BedFeed:
    """The queue in front of one bed. `spread` is what the recoater plant calls, `base_temp` what the heater does."""

    def __init__(self, bed: Bed, optics: Optics) -> None:
        self.bed = bed
        self._optics = optics
        self.on_rows: Callable[[NDArray[np.float64]], None] | None = None  # told what the beam did, in time order
        self.on_hottest: Callable[[float, float], None] | None = None  # told the hottest surface at each look
        self._events: deque[tuple[float, Callable[[], None]]] = deque()

    # -- on the loop ----------------------------------------------------------------------------------------------

    def spread(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float) -> None:
        """Powder was laid at `t_s`; what the beam did before it is written down first."""
        self.collect(t_s)
        self._note(t_s, lambda: self.bed.spread(t_s, x_from_mm, x_to_mm, plane_drop_mm, fill_fraction))

    def base_temp(self, t_s: float, temp_c: float) -> None:
        """The plate under the powder is at `temp_c` from `t_s` on."""
        self._note(t_s, lambda: self.bed.set_base_temp_c(t_s, temp_c))

    def collect(self, t_s: float) -> None:
        """Write down what the beam did up to `t_s` (not after the present)."""
        rows = self._optics.take_exposures(t_s)
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
        """Carry out every event up to `t_s` and bring the bed there."""
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
