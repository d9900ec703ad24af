"""What the powder bed is at a moment: its soil in cells, its books of energy and powder, the maps read from them."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil_sim.world.plant.beam_kernels import step_once
from hil_sim.world.plant.bed_setup import BedConfig, LayerTruth, empty_cells, make_setting
from hil_sim.world.plant.materials import MATERIALS, ZERO_CELSIUS_K, enthalpy_of

Array = NDArray[np.float64]


class BedState:
    """Soil, time, books and what can be read from them. Maps are (ny, nx) float64, y first; `Bed` tells the rest."""

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
        self._asleep = np.zeros(self._cells.level.shape, dtype=bool)
        self._asleep_since_s = t_s
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

    def _base_k(self, t_s: float) -> float:
        """Base temperature in force at t_s, K; what lies before is forgotten."""
        while len(self._base) > 1 and self._base[1][0] <= t_s:
            del self._base[0]
        return self._base[0][1] + ZERO_CELSIUS_K

    def _look(self) -> None:
        """Make everything fit the enthalpies after a change from outside."""
        tiles = np.arange(self._cells.level.size)
        step_once(self._cells, self._tables, self._setting, tiles, 0.0, self._base_k(self.t_s))
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
