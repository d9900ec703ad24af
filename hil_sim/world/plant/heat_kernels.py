"""The bed solver's kernels: one explicit finite-volume step of enthalpy on columns of cells, tile by tile; K and SI.

**Cells.** A column stands on one square of the bed and is a stack of cells, bottom first. A cell keeps its mass for
life; what changes is its enthalpy and, as it sinters, its thickness, so that columns shrink and mass is conserved
exactly. A cell exchanges heat with the cells above, below and with its namesakes in the four neighbouring columns.
Half-cell resistances in series make the face conductances (the harmonic mean): `across` = thickness/k for the vertical
faces, `along` = 1/(k thickness) for the lateral ones. An absent cell has a resistance beyond measure, `NO_WAY`, so that
no loop asks for edges.

**Tiles.** Square patches of columns step each at its own pace, `2**level` ticks. A face between two tiles of unlike
pace belongs to the quicker one, which books what crosses into `owed_*`; the slower one collects when its own step ends.
Each joule that leaves one cell enters another, whatever the paces: the energy balance holds to rounding.

Double precision throughout: single precision rounds 1000 K to 6e-5 K, more than many a step changes, and the balance
would drift far beyond the 1e-10 asked of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hil_sim.world.plant.materials import Tables

Array = NDArray[np.float64]
SIGMA = 5.670374419e-8
NO_WAY = 1e100  # not infinite: products of two stay finite
VECTORISED = {"nnan", "nsz"}  # lets maxima be vectorised; nothing here may reorder a sum


class Cells(NamedTuple):
    """The bed: columns [1..nx, 1..ny] in a ring of ghosts; cells [1..filled] from below, a ghost at each end."""

    filled: NDArray[np.int64]  # (nx+2, ny+2) cells present
    h: Array  # (nx+2, ny+2, nz+2) specific enthalpy, J/kg
    temp: Array  # K
    across: Array  # thickness / k, m2K/W; NO_WAY where there is no cell
    along: Array  # 1 / (k thickness), K/W; NO_WAY where there is no cell
    inv_mass: Array  # m2/kg of the column's footprint; 0 where there is no cell
    inv_heat: Array  # 1 / (mass cp), m2K/J
    thick: Array  # m
    pores: Array  # share of the open pores that is left: exp(-2.25 Theta), Theta the master-curve variable of sintering
    mix: Array  # ((D - D0)/(1 - D0))^1.5, the share of the dense conductivity
    rate: Array  # dTheta/dt at the last look, 1/s
    peak: Array  # hottest ever, K
    layer_peak: Array  # (nx+2, ny+2) hottest of the top cell since it was spread, K
    source: Array  # (nx+2, ny+2) beam energy on its way into the column, J
    owed_x: Array  # (tiles+1, ny+2, nz+2) J/m2 owed to the slower side of a tile border
    owed_y: Array  # (tiles+1, nx+2, nz+2)
    level: NDArray[np.int64]  # (tiles x, tiles y) pace: a step every 2**level ticks
    stiff: Array  # (tiles x, tiles y) largest sum of conductances over heat capacity, 1/s
    rise: Array  # (tiles x, tiles y) largest |dT/dt|, K/s
    book: Array  # (tiles x, tiles y, 3) J/m2 so far: radiated, convected, taken from the base


class Setting(NamedTuple):
    """What does not change from step to step."""

    tile: int
    cell_m: float
    lateral: float  # 2 / cell_m^2
    emissivity: float
    ambient_k: float
    convection_w_m2k: float
    base_resistance_m2k_w: float  # infinite: no base
    absorption_m: float  # Beer-Lambert depth; 0: the top cell takes all
    spot_x_m: Array  # points of the beam's spot about its centre
    spot_y_m: Array
    spot_weight: Array  # sum 1
    sample_m: float  # a moving spot is laid down this often along its way


@njit(cache=True)
def dense_share(fraction: float, tables: Tables) -> float:
    """Share of the dense conductivity at a relative density: ((D - D0)/(1 - D0))^1.5."""
    above = max((fraction - tables.powder_fraction) / (1.0 - tables.powder_fraction), 0.0)
    return above * math.sqrt(above)


# The kernels below work on a run: columns j_first..j_stop-1 of row i, which lie in memory one after the other, ghosts
# and absent cells included. One long loop without a branch is what the compiler can vectorise; a column is too short.


@njit(cache=True, error_model="numpy", fastmath=VECTORISED)
def _read_tables(cells: Cells, tables: Tables, i: int, j_first: int, j_stop: int, dt: float, decay: Array) -> float:
    """Temperature, 1/cp and 2.25 dTheta (by the trapezoid rule, into `decay`) of a run; the largest of the last."""
    height = cells.h.shape[2]
    last = tables.temp_k.size - 1 - 1e-6
    most = 0.0
    for j in range(j_first, j_stop):
        h, temp, inv_cp, rate = cells.h[i, j], cells.temp[i, j], cells.inv_heat[i, j], cells.rate[i, j]
        at = (j - j_first) * height
        for k in range(1, cells.filled[i, j] + 1):
            x = min(max((h[k] - tables.h_low_j_kg) * tables.nodes_per_j_kg, 0.0), last)
            n = int(x)
            low = tables.temp_k[n]
            temp[k] = low + (x - n) * (tables.temp_k[n + 1] - low)
            inv_cp[k] = tables.inverse_cp_kg_k_j[n]
            if h[k] > tables.h_sinter_j_kg or rate[k] > 0.0:
                low = tables.sinter_rate_per_s[n]
                now = low + (x - n) * (tables.sinter_rate_per_s[n + 1] - low)
                decay[at + k] = 1.125 * dt * (now + rate[k])
                rate[k] = now
                most = max(most, decay[at + k])
            else:
                decay[at + k] = 0.0
    return most


@njit(cache=True, error_model="numpy", fastmath=VECTORISED)
def _sinter_run(cells: Cells, tables: Tables, i: int, j_first: int, j_stop: int, decay: Array, most: float) -> None:
    """Open pores of a run decay as exp(-decay), decay = 2.25 dTheta (Skorohod-Olevsky, free), and its cells shrink.

    Where the whole run decays but slightly, the exponential is a series (to 1e-12).
    """
    pores = cells.pores[i, j_first:j_stop].reshape(-1)
    if most < 0.01:
        for k in range(pores.size):
            d = decay[k]
            pores[k] *= 1.0 - d * (1.0 - d * (0.5 - d * (1.0 / 6.0 - d * (1.0 / 24.0))))
    else:
        for k in range(pores.size):
            pores[k] *= math.exp(-decay[k])
    inv_mass = cells.inv_mass[i, j_first:j_stop].reshape(-1)
    thick = cells.thick[i, j_first:j_stop].reshape(-1)
    mix = cells.mix[i, j_first:j_stop].reshape(-1)
    span = tables.closed_fraction - tables.powder_fraction
    per_range = 1.0 / (1.0 - tables.powder_fraction)
    for k in range(pores.size):
        fraction = tables.closed_fraction - span * pores[k]
        per_metre = inv_mass[k] * (tables.grain_density_kg_m3 * fraction)
        thick[k] = 1.0 / per_metre if per_metre > 0.0 else 0.0
        above = max((fraction - tables.powder_fraction) * per_range, 0.0)
        mix[k] = above * math.sqrt(above)


@njit(cache=True, error_model="numpy", fastmath=VECTORISED)
def _conduct_run(cells: Cells, tables: Tables, i: int, j_first: int, j_stop: int) -> None:
    """Resistances and heat capacity of a run from its temperatures, thicknesses and densities."""
    temp = cells.temp[i, j_first:j_stop].reshape(-1)
    thick, mix = cells.thick[i, j_first:j_stop].reshape(-1), cells.mix[i, j_first:j_stop].reshape(-1)
    across, along = cells.across[i, j_first:j_stop].reshape(-1), cells.along[i, j_first:j_stop].reshape(-1)
    for k in range(temp.size):
        glowing = min(temp[k], tables.powder_k_end_k)
        powder = tables.powder_k_w_mk + tables.powder_k_w_mk4 * glowing * glowing * glowing
        through = (powder + (tables.dense_k_w_mk - powder) * mix[k]) * thick[k]
        resist = 1.0 / through if through > 0.0 else NO_WAY
        along[k] = resist
        across[k] = thick[k] * thick[k] * resist if through > 0.0 else NO_WAY
    inv_mass, inv_heat = cells.inv_mass[i, j_first:j_stop].reshape(-1), cells.inv_heat[i, j_first:j_stop].reshape(-1)
    for k in range(temp.size):
        inv_heat[k] *= inv_mass[k]
    peak = cells.peak[i, j_first:j_stop].reshape(-1)
    for k in range(temp.size):
        peak[k] = max(peak[k], temp[k])


@njit(cache=True, error_model="numpy", fastmath=VECTORISED)
def _exchange_run(
    cells: Cells, i: int, j_first: int, j_stop: int, dt: float, lateral: float, west: float, east: float, south: float,
    north: float, stiff: Array, rise: Array,
) -> None:  # fmt: skip
    """A run's inner faces; the four flags (0 or 1) drop lateral faces that a quicker neighbour has booked.

    Opposite faces share one division: a/x + b/y = (a y + b x)/(x y). stiff, rise: the largest so far at each place.
    """
    all_t, all_r, all_u = cells.temp.reshape(-1), cells.across.reshape(-1), cells.along.reshape(-1)
    height = cells.h.shape[2]
    row = height * cells.h.shape[1]
    at = i * row + j_first * height
    size = (j_stop - j_first) * height - 2  # less the ghost below the first column and that above the last one
    t, r, u = all_t[at + 1 :], all_r[at + 1 :], all_u[at + 1 :]
    td, tu, rd, ru = all_t[at:], all_t[at + 2 :], all_r[at:], all_r[at + 2 :]
    tw, te, uw, ue = all_t[at + 1 - row :], all_t[at + 1 + row :], all_u[at + 1 - row :], all_u[at + 1 + row :]
    ts, tn = all_t[at + 1 - height :], all_t[at + 1 + height :]
    us, un = all_u[at + 1 - height :], all_u[at + 1 + height :]
    h = cells.h.reshape(-1)[at + 1 :]
    inv_mass, inv_heat = cells.inv_mass.reshape(-1)[at + 1 :], cells.inv_heat.reshape(-1)[at + 1 :]
    for k in range(size):
        to_west, to_east, to_south, to_north = u[k] + uw[k], u[k] + ue[k], u[k] + us[k], u[k] + un[k]
        down, up = r[k] + rd[k], r[k] + ru[k]
        along_x = lateral / (to_west * to_east)
        along_y = lateral / (to_south * to_north)
        along_z = 2.0 / (down * up)
        flux = along_x * (west * (tw[k] - t[k]) * to_east + east * (te[k] - t[k]) * to_west)
        flux += along_y * (south * (ts[k] - t[k]) * to_north + north * (tn[k] - t[k]) * to_south)
        flux += along_z * ((td[k] - t[k]) * up + (tu[k] - t[k]) * down)
        h[k] += dt * inv_mass[k] * flux
        total = along_x * (to_west + to_east) + along_y * (to_south + to_north) + along_z * (down + up)
        stiff[k] = max(stiff[k], total * inv_heat[k])
        rise[k] = max(rise[k], abs(flux) * inv_heat[k])


@njit(cache=True)
def _conductance_of(cells: Cells, i: int, j: int, k: int, lateral: float) -> float:
    u, r = cells.along[i, j, k], cells.across[i, j, k]
    total = lateral / (u + cells.along[i - 1, j, k]) + lateral / (u + cells.along[i + 1, j, k])
    total += lateral / (u + cells.along[i, j - 1, k]) + lateral / (u + cells.along[i, j + 1, k])
    return total + 2.0 / (r + cells.across[i, j, k - 1]) + 2.0 / (r + cells.across[i, j, k + 1])


@njit(cache=True)
def _owe(cells: Cells, owed: Array, i: int, j: int, ni: int, nj: int, dt: float, lateral: float) -> None:
    """Book what column (i, j) loses in dt to its slower neighbour (ni, nj)."""
    for k in range(1, min(cells.filled[i, j], cells.filled[ni, nj]) + 1):
        g = lateral / (cells.along[i, j, k] + cells.along[ni, nj, k])
        owed[k] -= dt * g * (cells.temp[ni, nj, k] - cells.temp[i, j, k])


@njit(cache=True)
def _collect(cells: Cells, owed: Array, i: int, j: int, dt: float) -> float:
    """Take in what a quicker neighbour booked for column (i, j); the largest |dT/dt| it makes."""
    rise = 0.0
    for k in range(1, cells.filled[i, j] + 1):
        cells.h[i, j, k] += cells.inv_mass[i, j, k] * owed[k]
        if dt > 0.0:
            rise = max(rise, abs(owed[k]) * cells.inv_heat[i, j, k] / dt)
        owed[k] = 0.0
    return rise


@njit(cache=True)
def exchange_tile(cells: Cells, setting: Setting, a: int, b: int, dt: float, base_k: float) -> None:
    """One step of dt seconds of tile (a, b): conduction, radiation, convection, base. dt = 0 measures only.

    Reads temperatures as they were when each tile last stepped, writes only this tile's enthalpies and its own sides of
    the borders: tiles may run in any order, or at once, to the same bits.
    """
    nx, ny = cells.filled.shape[0] - 2, cells.filled.shape[1] - 2
    i_first, i_stop = 1 + a * setting.tile, min(1 + (a + 1) * setting.tile, nx + 1)
    j_first, j_stop = 1 + b * setting.tile, min(1 + (b + 1) * setting.tile, ny + 1)
    level, lateral = cells.level[a, b], setting.lateral
    to_west = cells.level[a - 1, b] - level if a > 0 else 0  # > 0: the neighbour is slower; < 0: quicker
    to_east = cells.level[a + 1, b] - level if a + 1 < cells.level.shape[0] else 0
    to_south = cells.level[a, b - 1] - level if b > 0 else 0
    to_north = cells.level[a, b + 1] - level if b + 1 < cells.level.shape[1] else 0
    emission = setting.emissivity * SIGMA
    ambient4 = setting.ambient_k**4
    stiff_at, rise_at = np.zeros(setting.tile * cells.h.shape[2]), np.zeros(setting.tile * cells.h.shape[2])
    stiff = rise = radiated = convected = from_base = 0.0
    inner_first = j_first + 1 if to_south < 0 else j_first  # a column whose side is booked already is a run of its own
    inner_stop = j_stop - 1 if to_north < 0 and j_stop - 1 > inner_first else j_stop
    for i in range(i_first, i_stop):
        at_west, at_east = i == i_first, i == i_stop - 1
        west = 0.0 if at_west and to_west < 0 else 1.0
        east = 0.0 if at_east and to_east < 0 else 1.0
        for run in range(3):
            low = (j_first, inner_first, inner_stop)[run]
            high = (inner_first, inner_stop, j_stop)[run]
            if high > low:
                south = 0.0 if low == j_first and to_south < 0 else 1.0
                north = 0.0 if high == j_stop and to_north < 0 else 1.0
                _exchange_run(cells, i, low, high, dt, lateral, west, east, south, north, stiff_at, rise_at)
        for j in range(j_first, j_stop):
            count = cells.filled[i, j]
            at_south, at_north = j == j_first, j == j_stop - 1
            if at_west and to_west > 0:
                _owe(cells, cells.owed_x[a, j], i, j, i - 1, j, dt, lateral)
            if at_east and to_east > 0:
                _owe(cells, cells.owed_x[a + 1, j], i, j, i + 1, j, dt, lateral)
            if at_south and to_south > 0:
                _owe(cells, cells.owed_y[b, i], i, j, i, j - 1, dt, lateral)
            if at_north and to_north > 0:
                _owe(cells, cells.owed_y[b + 1, i], i, j, i, j + 1, dt, lateral)

            top = cells.temp[i, j, count]
            glow = emission * (top * top * top * top - ambient4)
            wind = setting.convection_w_m2k * (top - setting.ambient_k)
            contact = 1.0 / (0.5 * cells.across[i, j, 1] + setting.base_resistance_m2k_w)
            warmth = contact * (base_k - cells.temp[i, j, 1])
            cells.h[i, j, count] -= dt * cells.inv_mass[i, j, count] * (glow + wind)
            cells.h[i, j, 1] += dt * cells.inv_mass[i, j, 1] * warmth
            radiated += dt * glow
            convected += dt * wind
            from_base += dt * warmth
            loss = 4.0 * emission * top * top * top + setting.convection_w_m2k
            at_top = _conductance_of(cells, i, j, count, lateral) + loss + (contact if count == 1 else 0.0)
            at_base = _conductance_of(cells, i, j, 1, lateral) + contact
            stiff = max(stiff, at_top * cells.inv_heat[i, j, count], at_base * cells.inv_heat[i, j, 1])
            edge = abs(glow + wind) * cells.inv_heat[i, j, count] + abs(warmth) * cells.inv_heat[i, j, 1]
            rise = max(rise, edge)
    cells.stiff[a, b] = max(stiff, stiff_at.max())
    cells.rise[a, b] = rise + rise_at.max()
    cells.book[a, b, 0] += radiated
    cells.book[a, b, 1] += convected
    cells.book[a, b, 2] += from_base


@njit(cache=True)
def _collect_tile(cells: Cells, setting: Setting, a: int, b: int, dt: float) -> None:
    """Take in what quicker neighbours booked for tile (a, b) during its step of dt seconds."""
    nx, ny = cells.filled.shape[0] - 2, cells.filled.shape[1] - 2
    i_first, i_last = 1 + a * setting.tile, min((a + 1) * setting.tile, nx)
    j_first, j_last = 1 + b * setting.tile, min((b + 1) * setting.tile, ny)
    level = cells.level[a, b]
    rise = 0.0
    for j in range(j_first, j_last + 1):
        if a > 0 and cells.level[a - 1, b] < level:
            rise = max(rise, _collect(cells, cells.owed_x[a, j], i_first, j, dt))
        if a + 1 < cells.level.shape[0] and cells.level[a + 1, b] < level:
            rise = max(rise, _collect(cells, cells.owed_x[a + 1, j], i_last, j, dt))
    for i in range(i_first, i_last + 1):
        if b > 0 and cells.level[a, b - 1] < level:
            rise = max(rise, _collect(cells, cells.owed_y[b, i], i, j_first, dt))
        if b + 1 < cells.level.shape[1] and cells.level[a, b + 1] < level:
            rise = max(rise, _collect(cells, cells.owed_y[b + 1, i], i, j_last, dt))
    cells.rise[a, b] += rise


@njit(cache=True)
def refresh_tile(cells: Cells, tables: Tables, setting: Setting, a: int, b: int, dt: float) -> None:
    """Temperature, conductivity, sintering of tile (a, b) from its enthalpies, after a step of dt seconds (0: none).

    Runs when every tile of this tick has exchanged, so that what the quicker neighbours booked is whole.
    """
    if dt > 0.0:
        _collect_tile(cells, setting, a, b, dt)
    nx, ny = cells.filled.shape[0] - 2, cells.filled.shape[1] - 2
    decay = np.zeros(setting.tile * cells.h.shape[2])
    j_first, j_stop = 1 + b * setting.tile, min(1 + (b + 1) * setting.tile, ny + 1)
    for i in range(1 + a * setting.tile, min(1 + (a + 1) * setting.tile, nx + 1)):
        most = _read_tables(cells, tables, i, j_first, j_stop, dt, decay)
        if most > 0.0:
            _sinter_run(cells, tables, i, j_first, j_stop, decay, most)
        _conduct_run(cells, tables, i, j_first, j_stop)
        for j in range(j_first, j_stop):
            cells.layer_peak[i, j] = max(cells.layer_peak[i, j], cells.temp[i, j, cells.filled[i, j]])


@njit(cache=True)
def worst_stiffness(cells: Cells, tables: Tables, setting: Setting, a: int, b: int, hottest_k: float) -> float:
    """Bound of `stiff` for tile (a, b) whatever the beam makes of it: each cell dense, the surface at hottest_k."""
    nx, ny = cells.filled.shape[0] - 2, cells.filled.shape[1] - 2
    loss = 4.0 * setting.emissivity * SIGMA * hottest_k**3 + setting.convection_w_m2k
    worst = 0.0
    for i in range(1 + a * setting.tile, min(1 + (a + 1) * setting.tile, nx + 1)):
        for j in range(1 + b * setting.tile, min(1 + (b + 1) * setting.tile, ny + 1)):
            for k in range(1, cells.filled[i, j] + 1):
                inv_mass = cells.inv_mass[i, j, k]
                thick = 1.0 / (inv_mass * tables.grain_density_kg_m3 * tables.closed_fraction)
                k_dense = tables.dense_k_w_mk
                total = 2.0 * setting.lateral * k_dense * thick + 2.0 * k_dense / thick
                if k == cells.filled[i, j]:
                    total += loss
                if k == 1:
                    total += 1.0 / (0.5 * thick / k_dense + setting.base_resistance_m2k_w)
                worst = max(worst, total * cells.inv_heat[i, j, k])
    return worst


@njit(cache=True)
def largest_top_inv_heat(cells: Cells, setting: Setting, a: int, b: int) -> float:
    """The least heat capacity of a top cell of tile (a, b), as the largest 1/(mass cp), m2K/J."""
    nx, ny = cells.filled.shape[0] - 2, cells.filled.shape[1] - 2
    largest = 0.0
    for i in range(1 + a * setting.tile, min(1 + (a + 1) * setting.tile, nx + 1)):
        for j in range(1 + b * setting.tile, min(1 + (b + 1) * setting.tile, ny + 1)):
            largest = max(largest, cells.inv_heat[i, j, cells.filled[i, j]])
    return largest


@njit(cache=True)
def shorten_under_beam(
    cells: Cells, tables: Tables, setting: Setting, lit: NDArray[np.bool_], bear_s: Array, dwell_s: float,
    stable_part: float, hottest_k: float, flux_w_m2: float, step_k: float,
) -> None:  # fmt: skip
    """Shorten the steps `bear_s` that the tiles which are `lit` can bear, whatever the beam makes of them.

    dwell_s: how long the beam stays within a cell. flux_w_m2: of its brightest place, which warms a top cell by no more
    than step_k in a step.
    """
    for a in range(lit.shape[0]):
        for b in range(lit.shape[1]):
            if lit[a, b]:
                stable_s = stable_part / worst_stiffness(cells, tables, setting, a, b, hottest_k)
                heating_s = step_k / max(flux_w_m2 * largest_top_inv_heat(cells, setting, a, b), 1e-12)
                bear_s[a, b] = min(bear_s[a, b], dwell_s, stable_s, heating_s)
