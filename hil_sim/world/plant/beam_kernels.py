"""The beam on the bed, and the clock of the bed's tiles: what happens in one tick, and in which order; K and SI."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from hil_sim.world.plant.heat_kernels import Array, Cells, Setting, exchange_tile, refresh_tile
from hil_sim.world.plant.materials import Tables


@njit(cache=True)
def _lay_spot(cells: Cells, setting: Setting, x_m: float, y_m: float, energy_j: float, box: NDArray[np.int64]) -> float:
    """Lay one spot's energy on the columns under it; grows `box` (i0, i1, j0, j1); gives the energy off the window."""
    nx, ny = cells.filled.shape[0] - 2, cells.filled.shape[1] - 2
    missed = 0.0
    for n in range(setting.spot_weight.size):
        i = 1 + math.floor((x_m + setting.spot_x_m[n]) / setting.cell_m)
        j = 1 + math.floor((y_m + setting.spot_y_m[n]) / setting.cell_m)
        part = energy_j * setting.spot_weight[n]
        if i < 1 or i > nx or j < 1 or j > ny:
            missed += part
            continue
        cells.source[i, j] += part
        box[0], box[1] = min(box[0], i), max(box[1], i)
        box[2], box[3] = min(box[2], j), max(box[3], j)
    return missed


@njit(cache=True)
def _sink_in(cells: Cells, setting: Setting, i: int, j: int) -> float:
    """Turn a column's waiting beam energy into enthalpy over the first cells (Beer-Lambert); gives the joules taken."""
    energy = cells.source[i, j]
    cells.source[i, j] = 0.0
    rest = energy / (setting.cell_m * setting.cell_m)
    for k in range(cells.filled[i, j], 0, -1):
        through = math.exp(-cells.thick[i, j, k] / setting.absorption_m) if setting.absorption_m > 0.0 else 0.0
        if k == 1 or through * rest < 1e-9 * energy / (setting.cell_m * setting.cell_m):
            through = 0.0
        cells.h[i, j, k] += cells.inv_mass[i, j, k] * rest * (1.0 - through)
        rest *= through
        if rest == 0.0:
            break
    return energy


@njit(cache=True)
def shine(cells: Cells, setting: Setting, rows: Array, first: int, t0: float, t1: float, taken: Array) -> int:
    """Let the beam act from t0 to t1; the first row that is not over yet.

    rows: (n, 8) t0, t1 s, x0, y0, x1, y1 m from the window's corner, absorbed power at both ends W, in time order. A
    moving spot is laid down at even steps along its way, each with the exact energy of its share of the time.
    taken: adds up absorbed J, J beyond the window.
    """
    box = np.array([1 << 40, -1, 1 << 40, -1])
    row = first
    while row < rows.shape[0] and rows[row, 0] < t1:
        begin, end = rows[row, 0], rows[row, 1]
        low, high = max(begin, t0), min(end, t1)
        if high > low:
            inv_span = 1.0 / (end - begin)
            dx, dy = rows[row, 4] - rows[row, 2], rows[row, 5] - rows[row, 3]
            way = math.hypot(dx, dy) * (high - low) * inv_span
            parts = 1 + int(way / setting.sample_m)
            for part in range(parts):
                at = low + (high - low) * (part + 0.5) / parts
                share = (at - begin) * inv_span
                power = rows[row, 6] + share * (rows[row, 7] - rows[row, 6])
                energy = power * (high - low) / parts
                x, y = rows[row, 2] + share * dx, rows[row, 3] + share * dy
                taken[1] += _lay_spot(cells, setting, x, y, energy, box)
        if end > t1:
            break
        row += 1
    for i in range(box[0], box[1] + 1):
        for j in range(box[2], box[3] + 1):
            if cells.source[i, j] > 0.0:
                taken[0] += _sink_in(cells, setting, i, j)
    return row


@njit(cache=True)
def run_ticks(
    cells: Cells, tables: Tables, setting: Setting, rows: Array, first: int, start_s: float, tick_s: float, ticks: int,
    base_k: float, taken: Array, awake: NDArray[np.int64],
) -> int:  # fmt: skip
    """`ticks` ticks from start_s of the tiles `awake` (flat numbers), each at its level.

    Gives the first exposure row that is not over yet. The other tiles must have a higher level than any that is awake.
    """
    along = cells.level.shape[1]
    for tick in range(1, ticks + 1):
        if first < rows.shape[0]:
            first = shine(cells, setting, rows, first, start_s + (tick - 1) * tick_s, start_s + tick * tick_s, taken)
        for n in awake:
            pace = 1 << cells.level[n // along, n % along]
            if tick % pace == 0:
                exchange_tile(cells, setting, n // along, n % along, pace * tick_s, base_k)
        for n in awake:
            pace = 1 << cells.level[n // along, n % along]
            if tick % pace == 0:
                refresh_tile(cells, tables, setting, n // along, n % along, pace * tick_s)
    return first


@njit(cache=True, parallel=True)
def run_ticks_parallel(
    cells: Cells, tables: Tables, setting: Setting, rows: Array, first: int, start_s: float, tick_s: float, ticks: int,
    base_k: float, taken: Array, awake: NDArray[np.int64],
) -> int:  # fmt: skip
    """As `run_ticks`, tiles spread over numba's threads: same bits, since a tile writes nothing that another reads."""
    along = cells.level.shape[1]
    for tick in range(1, ticks + 1):
        if first < rows.shape[0]:
            first = shine(cells, setting, rows, first, start_s + (tick - 1) * tick_s, start_s + tick * tick_s, taken)
        for m in prange(awake.size):
            n = awake[m]
            pace = 1 << cells.level[n // along, n % along]
            if tick % pace == 0:
                exchange_tile(cells, setting, n // along, n % along, pace * tick_s, base_k)
        for m in prange(awake.size):
            n = awake[m]
            pace = 1 << cells.level[n // along, n % along]
            if tick % pace == 0:
                refresh_tile(cells, tables, setting, n // along, n % along, pace * tick_s)
    return first


@njit(cache=True)
def step_once(
    cells: Cells, tables: Tables, setting: Setting, tiles: NDArray[np.int64], dt: float, base_k: float
) -> None:
    """One step of dt seconds of the tiles given (flat numbers), with what their quicker neighbours booked meanwhile.

    dt = 0 looks everything up anew without letting time pass: after powder was spread or a temperature set.
    """
    along = cells.level.shape[1]
    if dt == 0.0:
        for n in tiles:
            refresh_tile(cells, tables, setting, n // along, n % along, 0.0)
    for n in tiles:
        exchange_tile(cells, setting, n // along, n % along, dt, base_k)
    if dt > 0.0:
        for n in tiles:
            refresh_tile(cells, tables, setting, n // along, n % along, dt)
