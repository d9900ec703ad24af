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

from hil_sim.world.plant.beam_kernels import measure, run_ticks, run_ticks_parallel
from hil_sim.world.plant.bed_setup import BedConfig, LayerTruth, empty_cells, make_setting
from hil_sim.world.plant.heat_kernels import worst_stiffness
from hil_sim.world.plant.materials import MATERIALS, STEFAN_BOLTZMANN_W_M2K4, ZERO_CELSIUS_K, enthalpy_of
from hil_sim.world.plant.powder_kernels import fill_columns

Array = NDArray[np.float64]

LEVELS = 5  # a slow tile steps at most 2**5 times as far as the quickest
STABLE_PART = 0.9  # of the explicit limit
BEAM_LOOK_AHEAD_S = 8.0  # a beam that moves is planned for at most this far at once
LONGEST_STEP_S = 120.0  # a cold bed looks at its base temperature at least this often
LATE_S = 1e-6
MOST_ROWS = 2_000_000


class Bed:
    """The truth of the bed. Give it exposures, base temperatures and powder in time order; `advance_to`; read the maps.

    Maps are (ny, nx) float64, y first: row 0 is the front edge of the window, column 0 its left edge; centres of the
    cells at `x_centres_mm`, `y_centres_mm`. Times are seconds on the caller's clock; nothing may be handed in for a
    time that the bed has passed (ValueError).
    """

    def __init__(self, config: BedConfig | None = None, *, t_s: float = 0.0) -> None:
        config = BedConfig() if config is None else config
        self.config = config
        self.material = MATERIALS[config.material] if isinstance(config.material, str) else config.material
        self.t_s = t_s
        self.steps = 0  # ticks run so far
        self.cell_updates = 0  # cells stepped so far, summed over steps
        self._tables = self.material.tables(config.atmosphere)
        if config.threads > 1:  # workqueue: no other runtime, no fork trouble; one caller at a time, which we are
            numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]
        cell_m = config.cell_xy_mm * 1e-3
        nx = math.ceil((config.x_mm[1] - config.x_mm[0]) / config.cell_xy_mm - 1e-9)
        ny = math.ceil((config.y_mm[1] - config.y_mm[0]) / config.cell_xy_mm - 1e-9)
        self._base_cells = max(1, round(config.depth_mm / config.cell_z_mm))
        nz = self._base_cells + math.ceil(config.max_height_mm / config.cell_z_mm) + 1
        self.x_centres_mm = config.x_mm[0] + config.cell_xy_mm * (np.arange(nx) + 0.5)
        self.y_centres_mm = config.y_mm[0] + config.cell_xy_mm * (np.arange(ny) + 0.5)
        self._area_m2 = cell_m * cell_m
        self._setting = make_setting(config, cell_m)
        self._cells = empty_cells(nx, ny, nz, config.tile_cells)
        self._laid_m = np.zeros((nx + 2, ny + 2))
        self._taken = np.zeros(2)
        self._powder_j = 0.0
        self.powder_kg = 0.0
        self._rows: Array = np.zeros((0, 8))
        self._waiting: list[Array] = []
        self._first_row = 0
        self._base: list[tuple[float, float]] = [(-math.inf, config.ambient_temp_c)]
        self._plane_mm = 0.0
        self._first_cell = 1
        self.layers: list[LayerTruth] = []
        self._marks = (0.0, 0.0)
        self._lay_base()
        self._start_j = self._stored_now_j()

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

    def set_temperature_c(self, temp_c: ArrayLike) -> None:
        """Start over from temperatures, degC: a number, or an array that fits (cells up, ny, nx), bottom first."""
        deep = self._cells.h.shape[2] - 2
        shape = (deep, self.y_centres_mm.size, self.x_centres_mm.size)
        field_k = np.broadcast_to(np.asarray(temp_c, dtype=np.float64), shape) + ZERO_CELSIUS_K
        self._cells.h[1:-1, 1:-1, 1:-1] = enthalpy_of(self._tables, np.ascontiguousarray(field_k.transpose(2, 1, 0)))
        for part in (self._cells.rate, self._cells.peak, self._cells.layer_peak, self._cells.book, self._taken):
            part[...] = 0.0
        self._powder_j = 0.0
        self._marks = (0.0, 0.0)
        self._look()
        self._start_j = self._stored_now_j()

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
                self._base_k(0.5 * (self.t_s + until)), self._taken,
            )  # fmt: skip
            self.steps += ticks
            self.cell_updates += int(((ticks >> self._cells.level) * self._tile_cells).sum())
            self.t_s = until

    def _plan(self, span_s: float) -> tuple[float, int]:
        """The next ticks, their length and number (a power of two), and each tile's level, by what it can bear."""
        cells, rows = self._cells, self._rows
        with np.errstate(divide="ignore"):
            bear_s = np.minimum(STABLE_PART / cells.stiff, self.config.step_k / cells.rise)
        bear_s = np.minimum(bear_s, LONGEST_STEP_S)
        if self._first_row < rows.shape[0]:
            wait_s = rows[self._first_row, 0] - self.t_s
            if wait_s > 1e-9:  # up to the beam there is only cooling
                span_s = min(span_s, wait_s)
            else:
                span_s = min(span_s, BEAM_LOOK_AHEAD_S)
                span_s = self._make_room_for_beam(bear_s, span_s)
        tick_s = float(bear_s.min())
        if tick_s >= span_s:
            cells.level[...] = 0
            return span_s, 1
        most = min(LEVELS, int(math.log2(span_s / tick_s)))
        whole = 2**most
        if span_s < 2.0 * whole * tick_s and most < LEVELS:  # end on the mark, with ticks a little shorter
            tick_s = span_s / math.ceil(span_s / tick_s)
        np.clip(np.floor(np.log2(bear_s / tick_s) + 1e-9), 0, most, out=bear_s)
        cells.level[...] = bear_s
        return tick_s, 2 ** int(cells.level.max())

    def _make_room_for_beam(self, bear_s: Array, span_s: float) -> float:
        """Shorten what the tiles under the beam can bear; gives the span for which that holds."""
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
        # the tick is set by the first part of the way; tiles are chosen for as far as the beam gets in 2**LEVELS ticks
        reach_m = float(np.hypot(setting.spot_x_m, setting.spot_y_m).max()) + setting.cell_m
        tick_s = min(dwell_s, float(bear_s.min()))
        span_s = min(span_s, max(tick_s * 2**LEVELS, 1e-6))
        near = near[near[:, 0] < self.t_s + span_s]
        edges = setting.cell_m * config.tile_cells
        share_x0 = np.clip((self.t_s - near[0, 0]) / (near[0, 1] - near[0, 0]), 0.0, 1.0)
        share_x1 = np.clip((self.t_s + span_s - near[-1, 0]) / (near[-1, 1] - near[-1, 0]), 0.0, 1.0)
        low_high = []
        for start, end in ((2, 4), (3, 5)):
            places = np.concatenate((near[1:, start], near[:-1, end]))
            at_first = near[0, start] + share_x0 * (near[0, end] - near[0, start])
            at_last = near[-1, start] + share_x1 * (near[-1, end] - near[-1, start])
            low = min(at_first, at_last, float(places.min(initial=math.inf)))
            high = max(at_first, at_last, float(places.max(initial=-math.inf)))
            low_high.append((math.floor((low - reach_m) / edges), math.floor((high + reach_m) / edges)))
        (a0, a1), (b0, b1) = low_high
        for a in range(max(a0, 0), min(a1, bear_s.shape[0] - 1) + 1):
            for b in range(max(b0, 0), min(b1, bear_s.shape[1] - 1) + 1):
                inv_heat = self._largest_top_inv_heat(a, b)
                stiff = worst_stiffness(self._cells, self._tables, setting, a, b, hottest_k)
                heating_s = config.step_k / max(flux_w_m2 * inv_heat, 1e-12)
                bear_s[a, b] = min(bear_s[a, b], dwell_s, STABLE_PART / stiff, heating_s)
        return span_s

    def _largest_top_inv_heat(self, a: int, b: int) -> float:
        tile = self.config.tile_cells
        columns = (slice(1 + a * tile, 1 + (a + 1) * tile), slice(1 + b * tile, 1 + (b + 1) * tile))
        counts = self._cells.filled[columns]
        return float(np.take_along_axis(self._cells.inv_heat[columns], counts[..., None], axis=2).max())

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

    def _base_k(self, t_s: float) -> float:
        """Base temperature in force at t_s, K; what lies before is forgotten."""
        while len(self._base) > 1 and self._base[1][0] <= t_s:
            del self._base[0]
        return self._base[0][1] + ZERO_CELSIUS_K

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

    # -- what became of it -------------------------------------------------------------------------------------------

    @property
    def plane_drop_mm(self) -> float:
        """Depth below the first plane of the last plane that was filled, mm."""
        return self._plane_mm

    @property
    def surface_mm(self) -> Array:
        """Height of the surface over the present plane, mm, (ny, nx): negative where powder sank in or is missing."""
        height_m = self._cells.thick.sum(axis=2)
        return _picture(height_m) * 1e3 - self.config.depth_mm - self._plane_mm

    @property
    def top_temp_c(self) -> Array:
        """Temperature of the top cells, degC, (ny, nx)."""
        return _picture(self._top(self._cells.temp)) - ZERO_CELSIUS_K

    @property
    def peak_temp_c(self) -> Array:
        """Hottest that any cell of each column ever was, degC, (ny, nx)."""
        return _picture(self._cells.peak.max(axis=2)) - ZERO_CELSIUS_K

    @property
    def temp_c(self) -> Array:
        """Temperature of each cell, degC, (cells up from the plate, ny, nx); meaningless where none is."""
        return _voxels(self._cells.temp) - ZERO_CELSIUS_K

    @property
    def enthalpy_j_kg(self) -> Array:
        """Specific enthalpy of each cell, J/kg from 100 K, (cells up from the plate, ny, nx)."""
        return _voxels(self._cells.h)

    @property
    def base_density_kg_m3(self) -> Array:
        """Density of each cell below the first plane, kg/m3, (cells up from the plate, ny, nx)."""
        return self._densities()[: self._base_cells]

    @property
    def density_kg_m3(self) -> Array:
        """Density of each cell above the first plane, kg/m3, (cells up, ny, nx), lowest first; NaN where none is."""
        return self._densities()[self._base_cells :]

    @property
    def mean_density_kg_m3(self) -> Array:
        """Mean density of each column above the first plane, kg/m3, (ny, nx); NaN where nothing has been laid yet."""
        built = slice(self._base_cells + 1, -1)
        inv_mass = self._cells.inv_mass[1:-1, 1:-1, built]
        mass = np.divide(1.0, inv_mass, where=inv_mass > 0.0, out=np.zeros(inv_mass.shape)).sum(axis=2)
        thick = self._cells.thick[1:-1, 1:-1, built].sum(axis=2)
        return np.divide(mass, thick, where=thick > 0.0, out=np.full(thick.shape, np.nan)).T.copy()

    @property
    def powder_mm(self) -> Array:
        """Real thickness of powder laid since the present plane began, mm, (ny, nx)."""
        return _picture(self._laid_m) * 1e3

    @property
    def present_layer(self) -> LayerTruth:
        """The layer being worked on, as it stands now; `layers` holds those that are complete before it."""
        return LayerTruth(
            plane_drop_mm=self._plane_mm,
            spread_s=self.layers[-1].spread_s,
            absorbed_j=self.absorbed_j - self._marks[0],
            radiated_j=self.radiated_j - self._marks[1],
            powder_mm=self.powder_mm,
            peak_temp_c=_picture(self._cells.layer_peak) - ZERO_CELSIUS_K,
        )

    @property
    def absorbed_j(self) -> float:
        """Beam energy that the bed has taken, J."""
        return float(self._taken[0])

    @property
    def missed_j(self) -> float:
        """Beam energy (times absorptivity) that fell beside the solved window, J."""
        return float(self._taken[1])

    @property
    def radiated_j(self) -> float:
        """Net energy radiated by the surface, J."""
        return float(self._cells.book[:, :, 0].sum()) * self._area_m2

    @property
    def convected_j(self) -> float:
        """Energy carried off by the gas over the bed, J."""
        return float(self._cells.book[:, :, 1].sum()) * self._area_m2

    @property
    def base_j(self) -> float:
        """Energy taken from the plate under the powder, J."""
        return float(self._cells.book[:, :, 2].sum()) * self._area_m2

    @property
    def stored_j(self) -> float:
        """Energy stored since the start, J, less what came with the powder that was laid."""
        return self._stored_now_j() - self._start_j - self._powder_j

    @property
    def balance(self) -> float:
        """What the energy account lacks, relative to the energy moved: 0 but for rounding."""
        missing = self.stored_j - self.absorbed_j - self.base_j + self.radiated_j + self.convected_j
        moved = self.absorbed_j + abs(self.base_j) + abs(self.radiated_j) + abs(self.convected_j) + abs(self.stored_j)
        return missing / moved if moved > 0.0 else missing

    def maps(self) -> dict[str, Array]:
        """What a truth file keeps: maps (ny, nx), stacks a layer (layers, ny, nx), voxels (cells up, ny, nx)."""
        layers = [*self.layers[:-1], self.present_layer]
        return {
            "x_centres_mm": self.x_centres_mm,
            "y_centres_mm": self.y_centres_mm,
            "surface_height_mm": self.surface_mm,
            "top_temp_c": self.top_temp_c,
            "peak_temp_c": self.peak_temp_c,
            "mean_density_kg_m3": self.mean_density_kg_m3,
            "density_kg_m3": self.density_kg_m3,
            "layer_plane_drop_mm": np.array([layer.plane_drop_mm for layer in layers]),
            "layer_absorbed_j": np.array([layer.absorbed_j for layer in layers]),
            "layer_radiated_j": np.array([layer.radiated_j for layer in layers]),
            "layer_powder_mm": np.stack([layer.powder_mm for layer in layers]),
            "layer_peak_temp_c": np.stack([layer.peak_temp_c for layer in layers]),
        }

    # -- setting up --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Make everything fit the enthalpies after a change from outside."""
        measure(self._cells, self._tables, self._setting, self._base_k(self.t_s))
        tile = self.config.tile_cells
        filled = self._cells.filled[1:-1, 1:-1]
        by_row = np.add.reduceat(filled, np.arange(0, filled.shape[0], tile), axis=0)
        self._tile_cells = np.add.reduceat(by_row, np.arange(0, filled.shape[1], tile), axis=1)

    def _stored_now_j(self) -> float:
        cells = self._cells
        there = cells.inv_mass > 0.0
        return float(np.sum(cells.h[there] / cells.inv_mass[there])) * self._area_m2

    def _densities(self) -> Array:
        volume = np.where(self._cells.inv_mass > 0.0, self._cells.thick * self._cells.inv_mass, np.nan)
        return 1.0 / _voxels(volume)

    def _top(self, cell_values: Array) -> Array:
        return np.take_along_axis(cell_values, self._cells.filled[..., None], axis=2)[..., 0]

    def _lay_base(self) -> None:
        config, cells = self.config, self._cells
        start_c = config.ambient_temp_c if config.start_temp_c is None else config.start_temp_c
        inner = (slice(1, -1), slice(1, -1), slice(1, self._base_cells + 1))
        cells.filled[1:-1, 1:-1] = self._base_cells
        cells.thick[inner] = config.depth_mm * 1e-3 / self._base_cells
        cells.inv_mass[inner] = 1.0 / (self.material.powder_density_kg_m3 * cells.thick[inner])
        self.layers.append(LayerTruth(0.0, self.t_s))
        self.set_temperature_c(start_c)


def _picture(columns: Array) -> Array:
    """From columns (nx+2, ny+2) with their ghosts to a picture (ny, nx)."""
    return columns[1:-1, 1:-1].T.copy()


def _voxels(cells: Array) -> Array:
    """From cells (nx+2, ny+2, nz+2) with their ghosts to (nz, ny, nx), lowest first."""
    return cells[1:-1, 1:-1, 1:-1].transpose(2, 1, 0).copy()
