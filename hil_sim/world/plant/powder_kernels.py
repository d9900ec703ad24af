"""Powder laid on the columns of the bed: filled up to the plane, mass and enthalpy kept; K and SI."""

from __future__ import annotations

from numba import njit

from hil_sim.world.plant.heat_kernels import Array, Cells, dense_share
from hil_sim.world.plant.materials import Tables

NO_GAP_M = 1e-7


@njit(cache=True)
def _rest_cell(cells: Cells, tables: Tables, i: int, j: int, k: int, mass: float, thick: float, h: float) -> None:
    """Make cell k what a mass per area, a thickness and an enthalpy say; sintering goes on from its mean density."""
    fraction = mass / (tables.grain_density_kg_m3 * thick)
    cells.inv_mass[i, j, k] = 1.0 / mass
    cells.thick[i, j, k] = thick
    cells.h[i, j, k] = h
    left = (tables.closed_fraction - fraction) / (tables.closed_fraction - tables.powder_fraction)
    cells.pores[i, j, k] = min(max(left, 0.0), 1.0)
    cells.mix[i, j, k] = dense_share(fraction, tables)


@njit(cache=True)
def _top_up(cells: Cells, tables: Tables, i: int, j: int, first: int, mass: float, thick: float, h: float) -> None:
    """Mix more powder into a column that has its cells of this plane (first..filled).

    While none of them has sintered the whole lot is shared out evenly among them; else the top cell takes it, which
    then stands for the fresh powder and the sintered matter under it as one mean.
    """
    count = cells.filled[i, j]
    low = first
    for k in range(first, count + 1):
        if cells.mix[i, j, k] > 0.0:
            low = count
    low = min(low, count)
    energy = mass * h
    for k in range(low, count + 1):
        mass += 1.0 / cells.inv_mass[i, j, k]
        thick += cells.thick[i, j, k]
        energy += cells.h[i, j, k] / cells.inv_mass[i, j, k]
    share = 1.0 / (count + 1 - low)
    for k in range(low, count + 1):
        _rest_cell(cells, tables, i, j, k, mass * share, thick * share, energy / mass)


@njit(cache=True)
def fill_columns(
    cells: Cells, tables: Tables, i_first: int, i_stop: int, plane_m: float, fill: float, first: int, target: int,
    thinnest_m: float, powder_h_j_kg: float, powder_k: float, laid_m: Array,
) -> float:  # fmt: skip
    """Fill the columns i_first..i_stop-1 up to the plane (height above the plate), or a part `fill` of what is missing.

    A column gets the cells that it lacks of 1..target, the gap shared evenly; one too thin to stand for itself, and
    powder for a column that lacks none, is mixed in below (this plane's cells begin at `first`). laid_m (nx+2, ny+2):
    thickness laid, added to. Gives the mass laid, kg per m2 of one column's footprint, summed over columns.
    """
    ny = cells.filled.shape[1] - 2
    density = tables.powder_fraction * tables.grain_density_kg_m3
    total = 0.0
    for i in range(i_first, i_stop):
        for j in range(1, ny + 1):
            count = cells.filled[i, j]
            height = 0.0
            for k in range(1, count + 1):
                height += cells.thick[i, j, k]
            thick = (plane_m - height) * fill
            if thick <= NO_GAP_M:
                continue
            total += density * thick
            laid_m[i, j] += thick
            missing = target - count
            if missing > 0 and thick / missing >= thinnest_m:
                for k in range(count + 1, target + 1):
                    _rest_cell(cells, tables, i, j, k, density * thick / missing, thick / missing, powder_h_j_kg)
                    cells.pores[i, j, k] = 1.0
                    cells.mix[i, j, k] = 0.0
                    cells.rate[i, j, k] = 0.0
                    cells.peak[i, j, k] = powder_k
                cells.filled[i, j] = target
                cells.layer_peak[i, j] = powder_k
            else:
                _top_up(cells, tables, i, j, first, density * thick, thick, powder_h_j_kg)
    return total
