"""The powder bed: what the soil under the beam truly does. Heat, melting, sintering, shrinkage; mm, degC, W, s outside.

`Bed` is advanced lazily: exposures, base temperatures and powder are handed in as they become known, and somebody who
wants to know the state calls `advance_to` first. The physics is that of the kernels (`heat_kernels`, `beam_kernels`:
K and SI), the soil that of `materials`. The same calls give the same bits, with any number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil_sim.world.plant.beam_kernels import run_ticks, run_ticks_parallel, step_once
from hil_sim.world.plant.bed_setup import BedConfig, LayerTruth
from hil_sim.world.plant.bed_state import BedState
from hil_sim.world.plant.heat_kernels import shorten_under_beam
from hil_sim.world.plant.materials import STEFAN_BOLTZMANN_W_M2K4, ZERO_CELSIUS_K, enthalpy_of
from hil_sim.world.plant.powder_kernels import fill_columns

__all__ = ["Bed", "BedConfig", "LayerTruth"]

Array = NDArray[np.float64]

LEVELS = 5  # a slow tile steps at most 2**5 times as far as the quickest
ASLEEP = 30  # level of a tile that stands aside for many plans
STILL_K = 10.0  # a tile may sleep until it would change by this much
LONGEST_SLEEP_S = 60.0
SLEEP_TICKS = 64  # worth it from this many ticks of the quickest tile
STABLE_PART = 0.9  # of the explicit limit
BEAM_LOOK_AHEAD_S = 8.0  # a beam that moves is planned for at most this far at once
LONGEST_STEP_S = 120.0  # a cold bed looks at its base temperature at least this often
LATE_S = 1e-6
MOST_ROWS = 2_000_000


class Bed(BedState):
    """The truth of the bed. Give it exposures, base temperatures and powder in time order; `advance_to`; read the maps.

    Maps are (ny, nx) float64, y first: row 0 is the front edge of the window, column 0 its left edge; centres of the
    cells at `x_centres_mm`, `y_centres_mm`. Times are seconds on the caller's clock; nothing may be handed in for a
    time that the bed has passed (ValueError).
    """

    # -- what happens to the bed -------------------------------------------------------------------------------------

    def expose(self, rows: ArrayLike) -> None:
        """Queue beam exposures: (n, >= 8) rows t0, t1 (s), x0, y0, x1, y1 (mm), p0, p1 (W), in time order.

        Power is linear in time within a row; what the bed takes of it is `absorptivity`. Further columns are ignored.
        ValueError: not finite, not in order, negative power, before the present of the bed, too many waiting.
        """
        given = np.asarray(rows, dtype=np.float64)
        if given.size == 0:
            return
        if given.ndim != 2 or given.shape[1] < 8 or not np.isfinite(given[:, :8]).all():
            raise ValueError(f"exposures must be finite rows of 8 numbers or more, not shape {given.shape}")
        begin, end = given[:, 0], given[:, 1]
        last_end = self._last_end()
        if (end < begin).any() or (begin[1:] < end[:-1] - LATE_S).any() or begin[0] < last_end - LATE_S:
            raise ValueError(f"exposures must follow each other in time; the last one known ends at {last_end} s")
        if begin[0] < self.t_s - LATE_S:
            raise ValueError(f"exposure from {begin[0]} s comes too late: the bed has been advanced to {self.t_s} s")
        if (given[:, 6:8] < 0.0).any():
            raise ValueError("exposures must not have a negative power")
        if self._rows.shape[0] - self._first_row + sum(map(len, self._waiting)) + len(given) > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS} exposures wait for the bed: advance it now and then")
        si = given[:, :8].copy()
        si[:, [2, 4]] = (si[:, [2, 4]] - self.config.x_mm[0]) * 1e-3
        si[:, [3, 5]] = (si[:, [3, 5]] - self.config.y_mm[0]) * 1e-3
        si[:, 6:8] *= self.config.absorptivity
        self._waiting.append(si[(end > begin) & ((si[:, 6] > 0.0) | (si[:, 7] > 0.0))])

    def set_base_temp_c(self, t_s: float, temp_c: float) -> None:
        """From t_s on the plate under the powder is at temp_c. Cheap: it cuts no step. ValueError: back in time."""
        if not (math.isfinite(t_s) and math.isfinite(temp_c) and temp_c > -ZERO_CELSIUS_K):
            raise ValueError(f"base temperature {temp_c} degC at {t_s} s is not one")
        if t_s < self._base[-1][0]:
            raise ValueError(f"base temperature for {t_s} s comes after the one for {self._base[-1][0]} s")
        if self._base[-1][1] != temp_c:
            self._base.append((t_s, temp_c))

    def spread(
        self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float = 1.0
    ) -> None:
        """The blade has passed x_from..x_to at t_s: fill the columns there to the plane, or a part of what is missing.

        plane_drop_mm: the build piston's depth below the first plane, mm. A drop beyond the last one begins a new
        layer. Powder is never taken away. ValueError: before the present of the bed, deeper than max_height_mm.
        """
        if t_s < self.t_s - LATE_S:
            raise ValueError(f"powder spread at {t_s} s comes too late: the bed has been advanced to {self.t_s} s")
        if not 0.0 <= fill_fraction <= 1.0:
            raise ValueError(f"fill_fraction {fill_fraction} must lie between 0 and 1")
        if plane_drop_mm > self.config.max_height_mm + 1e-6:
            raise ValueError(
                f"the piston is {plane_drop_mm:g} mm down, but the bed is set up for {self.config.max_height_mm:g} mm:"
                " raise max_height_mm"
            )
        inside = np.flatnonzero((self.x_centres_mm >= x_from_mm) & (self.x_centres_mm < x_to_mm))
        if inside.size == 0:
            return
        self.advance_to(t_s)
        if plane_drop_mm > self._plane_mm + 0.01:
            self._begin_layer(plane_drop_mm)
        powder_c = self.config.ambient_temp_c if self.config.powder_temp_c is None else self.config.powder_temp_c
        powder_k = powder_c + ZERO_CELSIUS_K
        powder_h = float(enthalpy_of(self._tables, powder_k))
        mass = fill_columns(
            self._cells, self._tables, 1 + int(inside[0]), 2 + int(inside[-1]),
            (self.config.depth_mm + plane_drop_mm) * 1e-3, fill_fraction, self._first_cell, self._target(plane_drop_mm),
            0.1e-3 * self.config.cell_z_mm, powder_h, powder_k, self._laid_m,
        )  # fmt: skip
        if mass > 0.0:
            self.powder_kg += mass * self._area_m2
            self._powder_j += mass * powder_h * self._area_m2
            self._look()

    # -- time --------------------------------------------------------------------------------------------------------

    def advance_to(self, t_s: float) -> None:
        """Let the bed act up to t_s; nothing if it is there. ValueError: t_s is not a number."""
        if not math.isfinite(t_s):
            raise ValueError(f"the bed cannot be advanced to {t_s} s")
        if t_s <= self.t_s:
            return
        self._take_waiting()
        if self.config.threads > 1:
            most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
            numba.set_num_threads(min(self.config.threads, most))
        while self.t_s < t_s:
            tick_s, ticks = self._plan(t_s - self.t_s)
            until = self.t_s + tick_s * ticks
            if t_s - until < 1e-9 * max(tick_s, 1e-3):
                until = t_s
            run = run_ticks if self.config.threads == 1 else run_ticks_parallel
            self._first_row = run(
                self._cells, self._tables, self._setting, self._rows, self._first_row, self.t_s, tick_s, ticks,
                self._base_k(0.5 * (self.t_s + until)), self._taken, np.flatnonzero(~self._asleep),
            )  # fmt: skip
            self.steps += ticks
            self.cell_updates += int(((ticks >> self._cells.level) * self._tile_cells).sum())
            self.t_s = until
        self._wake()

    def _plan(self, span_s: float) -> tuple[float, int]:
        """The next ticks, their length and number (a power of two), and each tile's level, by what it can bear."""
        cells, rows = self._cells, self._rows
        with np.errstate(divide="ignore"):
            stable_s = STABLE_PART / cells.stiff
            bear_s = np.minimum(np.minimum(stable_s, self.config.step_k / cells.rise), LONGEST_STEP_S)
            sleep_s = np.minimum(np.minimum(stable_s, STILL_K / cells.rise), LONGEST_SLEEP_S)
        lit = np.zeros(bear_s.shape, dtype=bool)
        if self._first_row < rows.shape[0]:
            wait_s = rows[self._first_row, 0] - self.t_s
            if wait_s > 1e-9:  # up to the beam there is only cooling
                span_s = min(span_s, wait_s)
            else:
                span_s = min(span_s, BEAM_LOOK_AHEAD_S)
                span_s = self._make_room_for_beam(bear_s, lit, span_s)
        tick_s = float(bear_s[~self._asleep].min(initial=LONGEST_STEP_S))
        if self._asleep.any():
            left_s = self._asleep_since_s + float(sleep_s[self._asleep].min()) - self.t_s
            if left_s < tick_s or (lit & self._asleep).any():
                self._wake()
                return self._plan(span_s)
            span_s = min(span_s, left_s)
        else:
            self._asleep = sleep_s >= max(SLEEP_TICKS * tick_s, 0.5 * float(sleep_s.max()))  # the first up wakes all
            if lit.any():
                self._asleep[self._tiles_under_beam(LONGEST_SLEEP_S)] = False
            if self._asleep.all():
                self._asleep[...] = False
            self._asleep_since_s = self.t_s
        if tick_s >= span_s:
            cells.level[...] = np.where(self._asleep, ASLEEP, 0)
            return span_s, 1
        most = min(LEVELS, int(math.log2(span_s / tick_s)))
        whole = 2**most
        if span_s < 2.0 * whole * tick_s and most < LEVELS:  # end on the mark, with ticks a little shorter
            tick_s = span_s / math.ceil(span_s / tick_s)
        np.clip(np.floor(np.log2(bear_s / tick_s) + 1e-9), 0, most, out=bear_s)
        cells.level[...] = np.where(self._asleep, ASLEEP, bear_s)
        return tick_s, 2 ** int(cells.level[~self._asleep].max())

    def _wake(self) -> None:
        """Let the sleeping tiles catch up in one step, with what their neighbours booked meanwhile."""
        since_s = self.t_s - self._asleep_since_s
        if self._asleep.any() and since_s > 0.0:
            tiles = np.flatnonzero(self._asleep)
            base_k = self._base_k(self.t_s)
            step_once(self._cells, self._tables, self._setting, tiles, since_s, base_k)
            self.cell_updates += int(self._tile_cells[self._asleep].sum())
        self._asleep[...] = False
        self._cells.level[...] = 0

    def _make_room_for_beam(self, bear_s: Array, lit: NDArray[np.bool_], span_s: float) -> float:
        """Shorten what the tiles under the beam can bear and mark them; gives the span for which that holds."""
        config, setting, rows = self.config, self._setting, self._rows
        stop = self._first_row + int(np.searchsorted(rows[self._first_row :, 0], self.t_s + span_s))
        near = rows[self._first_row : max(stop, self._first_row + 1)]
        duration = near[:, 1] - near[:, 0]
        speed = np.hypot(near[:, 4] - near[:, 2], near[:, 5] - near[:, 3]) / duration
        width_m = max(config.spot_mm * 1e-3, setting.cell_m)
        dwell_s = config.dwell_part * width_m / max(float(speed.max()), 1e-9)
        round_m2 = math.pi / 4 * (config.spot_mm * 1e-3) ** 2
        sharper = 2.0 if config.spot_profile == "gaussian" else 1.0
        flux_w_m2 = float(near[:, 6:8].max()) * sharper / max(round_m2, self._area_m2)
        hottest_k = (flux_w_m2 / (max(config.emissivity, 0.05) * STEFAN_BOLTZMANN_W_M2K4)) ** 0.25
        tick_s = min(dwell_s, float(bear_s.min()))
        span_s = min(span_s, max(tick_s * 2**LEVELS, 1e-6))  # tiles are chosen for as far as the beam gets by then
        under = self._tiles_under_beam(span_s)
        lit[under] = True
        shorten_under_beam(
            self._cells, self._tables, setting, lit, bear_s, dwell_s, STABLE_PART, hottest_k, flux_w_m2, config.step_k
        )
        return span_s

    def _tiles_under_beam(self, span_s: float) -> tuple[slice, slice]:
        """The block of tiles that the beam may touch within span_s from now; it must be on, or about to be."""
        setting = self._setting
        rows = self._rows[self._first_row :]
        near = rows[: max(1, int(np.searchsorted(rows[:, 0], self.t_s + span_s)))]
        reach_m = float(np.hypot(setting.spot_x_m, setting.spot_y_m).max()) + setting.cell_m
        tile_m = setting.cell_m * setting.tile
        begun = np.clip((self.t_s - near[0, 0]) / (near[0, 1] - near[0, 0]), 0.0, 1.0)
        ended = np.clip((self.t_s + span_s - near[-1, 0]) / (near[-1, 1] - near[-1, 0]), 0.0, 1.0)
        block = []
        for start, end in ((2, 4), (3, 5)):
            places = np.concatenate((near[1:, start], near[:-1, end]))
            first = near[0, start] + begun * (near[0, end] - near[0, start])
            last = near[-1, start] + ended * (near[-1, end] - near[-1, start])
            low = min(first, last, float(places.min(initial=math.inf))) - reach_m
            high = max(first, last, float(places.max(initial=-math.inf))) + reach_m
            block.append(slice(max(math.floor(low / tile_m), 0), max(math.floor(high / tile_m) + 1, 0)))
        return block[0], block[1]

    def _take_waiting(self) -> None:
        if self._waiting:
            self._rows = np.concatenate((self._rows[self._first_row :], *self._waiting))
            self._waiting.clear()
            self._first_row = 0

    def _last_end(self) -> float:
        for rows in (*reversed(self._waiting), self._rows):
            if len(rows):
                return float(rows[-1, 1])
        return -math.inf

    def _target(self, plane_drop_mm: float) -> int:
        """Cells that a full column has at a plane: one more whenever the bed has grown by cell_z."""
        return self._base_cells + max(0, math.ceil(plane_drop_mm / self.config.cell_z_mm - 0.1))

    def _begin_layer(self, plane_drop_mm: float) -> None:
        self.layers[-1] = self.present_layer
        self._first_cell = min(self._target(self._plane_mm) + 1, self._target(plane_drop_mm))
        self._plane_mm = plane_drop_mm
        self._marks = (self.absorbed_j, self.radiated_j)
        self._laid_m[...] = 0.0
        self._cells.layer_peak[...] = self._top(self._cells.temp)
        self.layers.append(LayerTruth(plane_drop_mm, self.t_s))


def compile_kernels() -> None:
    """Have every kernel of a bed compiled, where one is not cached yet. That takes half a minute, in which a world that
    hosts are connected to would answer nobody."""
    bed = Bed(BedConfig(x_mm=(0.0, 4.0), y_mm=(0.0, 4.0), cell_xy_mm=1.0, cell_z_mm=1.0, depth_mm=2.0, spot_mm=1.0))
    bed.expose([[0.0, 0.1, 1.0, 1.0, 2.0, 2.0, 10.0, 10.0]])
    bed.spread(0.2, 0.0, 4.0, 1.0)
    bed.advance_to(0.5)
