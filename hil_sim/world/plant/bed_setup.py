"""How a bed is set up: its configuration with its bounds, and the kernels' arrays and constants made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.plant.heat_kernels import NO_WAY, Cells, Setting
from hil_sim.world.plant.materials import ATMOSPHERES, MATERIALS, ZERO_CELSIUS_K, Material

Array = NDArray[np.float64]
PROFILES = ("tophat", "gaussian")
CELLS_MAX = 20_000_000
"""Of a bed: some gigabytes. The bench's plate at 0.5 mm has fifteen million."""


@dataclass(frozen=True)
class BedConfig:
    """The solved window of the bed and its surroundings. Defaults: a coarse window over the bench printer's demo brick.

    `x_mm`, `y_mm`: first and last edge of the window in the machine frame, rounded up to whole cells. `depth_mm`:
    powder on the plate at the first plane. `spot_mm`: diameter of a top-hat spot, or D4sigma of a gaussian one.
    """

    x_mm: tuple[float, float] = (85.0, 165.0)
    y_mm: tuple[float, float] = (45.0, 105.0)
    cell_xy_mm: float = 2.0
    cell_z_mm: float = 2.0
    depth_mm: float = 10.0
    max_height_mm: float = 20.0
    material: str | Material = "mare"
    atmosphere: str = "vacuum"
    ambient_temp_c: float = 20.0
    start_temp_c: float | None = None  # None: ambient
    powder_temp_c: float | None = None  # of what the hopper lays; None: ambient
    emissivity: float = 0.85  # 0.82-0.86 published (Gaier 2018)
    absorptivity: float = 0.8
    convection_w_m2k: float | None = None  # None: 0 in vacuum, else 10 (assumed)
    base_contact_w_m2k: float = 100.0  # plate to powder, assumed; 0: no heat through the base
    absorption_mm: float = 0.2  # Beer-Lambert depth in powder, a few grains; assumed. 0: the top cell takes all
    spot_mm: float = 5.0
    spot_profile: str = "tophat"
    dwell_part: float = 0.2  # of the time in which the beam crosses its spot: the longest step under it
    step_k: float = 200.0  # the largest change of temperature in a step; 30 moves the demo's peak by 3 K of 2360
    tile_cells: int = 4
    threads: int = 1  # > 1: numba's workqueue threads; worth it from about 100 000 cells

    @property
    def cells(self) -> float:
        """About how many cells it is solved in."""
        wide, deep = self.x_mm[1] - self.x_mm[0], self.y_mm[1] - self.y_mm[0]
        high = max(self.depth_mm + self.max_height_mm, self.cell_z_mm)
        return (wide / self.cell_xy_mm) * (deep / self.cell_xy_mm) * (high / self.cell_z_mm)

    def __post_init__(self) -> None:
        for name in ("cell_xy_mm", "cell_z_mm", "depth_mm", "spot_mm", "dwell_part", "step_k"):
            if not (getattr(self, name) > 0.0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"bed: {name} = {getattr(self, name)!r} must be a positive number")
        for name, high in (("emissivity", 1.0), ("absorptivity", 1.0), ("max_height_mm", 1e4), ("absorption_mm", 1e3)):
            if not 0.0 <= getattr(self, name) <= high:
                raise ValueError(f"bed: {name} = {getattr(self, name)!r} must lie between 0 and {high:g}")
        for name in ("x_mm", "y_mm"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and high > low):
                raise ValueError(f"bed: {name} = {(low, high)} must be two edges, the lower one first")
        if self.spot_profile not in PROFILES:
            raise ValueError(f"bed: spot_profile {self.spot_profile!r} is unknown; known are {', '.join(PROFILES)}")
        if isinstance(self.material, str) and self.material not in MATERIALS:
            raise ValueError(f"bed: material {self.material!r} is unknown; known are {', '.join(MATERIALS)}")
        if self.atmosphere not in ATMOSPHERES:
            raise ValueError(f"bed: atmosphere {self.atmosphere!r} is unknown; known are {', '.join(ATMOSPHERES)}")
        if self.tile_cells < 1 or self.threads < 1 or self.base_contact_w_m2k < 0.0:
            raise ValueError("bed: tile_cells and threads must be at least 1, base_contact_w_m2k at least 0")
        if not self.cells <= CELLS_MAX:
            raise ValueError(
                f"bed: cells of {self.cell_xy_mm:g} x {self.cell_xy_mm:g} x {self.cell_z_mm:g} mm make"
                f" {self.cells:.3g} of them, and {CELLS_MAX:,} are what a computer bears: give wider cells"
            )


@dataclass
class LayerTruth:
    """What the bed did at one plane. Maps are (ny, nx), y first, as pictures are."""

    plane_drop_mm: float
    spread_s: float
    absorbed_j: float = 0.0
    radiated_j: float = 0.0
    powder_mm: Array = field(default_factory=lambda: np.zeros((0, 0)))  # real thickness of powder laid
    peak_temp_c: Array = field(default_factory=lambda: np.zeros((0, 0)))  # hottest of the surface while it was on top


def make_setting(config: BedConfig, cell_m: float) -> Setting:
    """The kernels' constants from a config; the spot as points, close enough that no cell falls between them."""
    convection = config.convection_w_m2k
    if convection is None:
        convection = 0.0 if config.atmosphere == "vacuum" else 10.0
    spot_m = config.spot_mm * 1e-3
    gaussian = config.spot_profile == "gaussian"
    reach_m = spot_m if gaussian else 0.5 * spot_m  # D4sigma: four sigma out
    sigma_m = 0.25 * spot_m
    side = min(max(math.ceil(2.0 * reach_m / (0.5 * cell_m)), 32 if gaussian else 12), 256)
    grid = reach_m * ((np.arange(side) + 0.5) / side * 2.0 - 1.0)
    x, y = (part.ravel() for part in np.meshgrid(grid, grid, indexing="ij"))
    weight = np.exp(-(x**2 + y**2) / (2.0 * sigma_m**2)) if gaussian else np.ones_like(x)
    inside = x**2 + y**2 <= reach_m**2
    return Setting(
        tile=config.tile_cells,
        cell_m=cell_m,
        lateral=2.0 / (cell_m * cell_m),
        emissivity=config.emissivity,
        ambient_k=config.ambient_temp_c + ZERO_CELSIUS_K,
        convection_w_m2k=convection,
        base_resistance_m2k_w=1.0 / config.base_contact_w_m2k if config.base_contact_w_m2k > 0.0 else math.inf,
        absorption_m=config.absorption_mm * 1e-3,
        spot_x_m=x[inside],
        spot_y_m=y[inside],
        spot_weight=weight[inside] / weight[inside].sum(),
        sample_m=0.25 * max(spot_m, cell_m),
    )


def empty_cells(nx: int, ny: int, nz: int, tile: int) -> Cells:
    """The arrays of nx x ny columns of at most nz cells, without a grain of powder."""
    cell, column = (nx + 2, ny + 2, nz + 2), (nx + 2, ny + 2)
    across, along = math.ceil(nx / tile), math.ceil(ny / tile)
    return Cells(
        filled=np.zeros(column, dtype=np.int64),
        h=np.zeros(cell),
        temp=np.zeros(cell),
        across=np.full(cell, NO_WAY),
        along=np.full(cell, NO_WAY),
        inv_mass=np.zeros(cell),
        inv_heat=np.zeros(cell),
        thick=np.zeros(cell),
        pores=np.ones(cell),
        mix=np.zeros(cell),
        rate=np.zeros(cell),
        peak=np.zeros(cell),
        layer_peak=np.zeros(column),
        source=np.zeros(column),
        owed_x=np.zeros((across + 1, ny + 2, nz + 2)),
        owed_y=np.zeros((along + 1, nx + 2, nz + 2)),
        level=np.zeros((across, along), dtype=np.int64),
        stiff=np.zeros((across, along)),
        rise=np.zeros((across, along)),
        book=np.zeros((across, along, 3)),
    )
