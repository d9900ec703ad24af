"""Do the bed's kernels agree with their slow twins, at one pace and at several?"""

from __future__ import annotations

import naive
import numpy as np
import pytest

from hil_sim.world.plant.beam_kernels import run_ticks, shine, step_once
from hil_sim.world.plant.bed import Bed, compile_kernels
from hil_sim.world.plant.bed_setup import BedConfig
from hil_sim.world.plant.heat_kernels import exchange_tile, refresh_tile, shorten_under_beam
from hil_sim.world.plant.materials import enthalpy_of
from hil_sim.world.plant.powder_kernels import fill_columns

NO_ROWS = np.zeros((0, 8))


def _ragged_bed(seed: int) -> Bed:
    """7 x 5 columns of unlike heights, temperatures and densities."""
    rng = np.random.default_rng(seed)
    bed = Bed(
        BedConfig(
            x_mm=(0.0, 14.0), y_mm=(0.0, 10.0), depth_mm=8.0, max_height_mm=8.0, tile_cells=3, atmosphere="air",
            ambient_temp_c=30.0, spot_mm=5.0, absorption_mm=0.7,
        )
    )  # fmt: skip
    for n in (1, 2, 3):
        x = 14.0 * rng.random()
        bed.spread(0.0, 0.0, x, 2.0 * n, 0.3 + 0.7 * rng.random())
    cells, tables = bed._cells, bed._tables
    there = cells.inv_mass > 0.0
    cells.pores[there] = rng.random(there.sum())
    fraction = tables.closed_fraction - (tables.closed_fraction - tables.powder_fraction) * cells.pores
    cells.thick[there] = 1.0 / (cells.inv_mass * tables.grain_density_kg_m3 * fraction)[there]
    cells.mix[there] = ((fraction - tables.powder_fraction) / (1.0 - tables.powder_fraction))[there] ** 1.5
    bed.set_temperature_c(1700.0 * rng.random((cells.h.shape[2] - 2, 5, 7)))
    return bed


def _lists(bed: Bed, values: np.ndarray) -> list:
    filled = bed._cells.filled
    return [[list(values[i, j, 1 : filled[i, j] + 1]) for j in range(1, 6)] for i in range(1, 8)]


def _flat(nested: list) -> np.ndarray:
    return np.array([value for rows in nested for column in rows for value in column])


def _all(bed: Bed) -> np.ndarray:
    return np.arange(bed._cells.level.size)


def _mass(bed: Bed) -> list:
    return [[[1.0 / v for v in column] for column in rows] for rows in _lists(bed, bed._cells.inv_mass)]


@pytest.mark.parametrize("seed", range(4))
def test_a_step_is_the_twins_step(seed: int) -> None:
    bed = _ragged_bed(seed)
    cells, tables, setting, base_k, dt = bed._cells, bed._tables, bed._setting, 420.0, 0.05
    want, book = naive.bed_step(
        _lists(bed, cells.h), _mass(bed), _lists(bed, cells.thick), _lists(bed, cells.mix), tables, setting, dt, base_k
    )
    pores, rate = _lists(bed, cells.pores), _lists(bed, cells.rate)
    run_ticks(cells, tables, setting, NO_ROWS, 0, 0.0, dt, 1, base_k, np.zeros(2), _all(bed))
    got = _flat(_lists(bed, cells.h))
    assert got == pytest.approx(_flat(want), rel=1e-12)
    assert cells.book.sum(axis=(0, 1)) == pytest.approx(np.array(book), rel=1e-9)
    looked = [
        naive.bed_look(*cell, tables)
        for cell in zip(got, _flat(_lists(bed, cells.thick)), _flat(_lists(bed, cells.mix)))
    ]
    thick = _flat(_lists(bed, cells.thick))
    assert _flat(_lists(bed, cells.temp)) == pytest.approx([t for t, _ in looked], rel=1e-12)
    assert _flat(_lists(bed, cells.across)) == pytest.approx(thick / [k for _, k in looked], rel=1e-12)
    assert _flat(_lists(bed, cells.along)) == pytest.approx(1.0 / (thick * [k for _, k in looked]), rel=1e-12)
    left = [
        naive.bed_sinter(p, before, now, dt)
        for p, before, now in zip(_flat(pores), _flat(rate), _flat(_lists(bed, cells.rate)))
    ]
    assert _flat(_lists(bed, cells.pores)) == pytest.approx(left, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize("seed", range(3))
def test_tiles_at_unlike_paces_keep_energy_and_come_close_to_one_pace(seed: int) -> None:
    one, many = _ragged_bed(seed), _ragged_bed(seed)
    rng = np.random.default_rng(seed + 100)
    many._cells.level[...] = rng.integers(0, 4, many._cells.level.shape)
    assert many._cells.level.max() > many._cells.level.min()
    tick = 0.01 / float(one._cells.stiff.max())
    for bed in (one, many):
        run_ticks(bed._cells, bed._tables, bed._setting, NO_ROWS, 0, 0.0, tick, 8, 420.0, np.zeros(2), _all(bed))
    assert abs(many.balance) < 1e-12
    assert not many._cells.owed_x.any()
    assert not many._cells.owed_y.any()
    there = one._cells.inv_mass > 0.0
    assert np.abs(one._cells.temp - many._cells.temp)[there].max() < 15.0
    assert np.abs(one._cells.temp - many._cells.temp)[there].mean() < 1.0


def test_the_order_of_tiles_does_not_matter() -> None:
    beds = [_ragged_bed(7), _ragged_bed(7)]
    for bed, order in zip(beds, (1, -1)):
        cells = bed._cells
        cells.level[...] = np.arange(cells.level.size).reshape(cells.level.shape) % 2
        tiles = list(np.ndindex(cells.level.shape))[::order]
        for tick in (1, 2):
            due = [(a, b) for a, b in tiles if tick % (1 << cells.level[a, b]) == 0]
            for a, b in due:
                exchange_tile(cells, bed._setting, a, b, 0.01 * (1 << cells.level[a, b]), 400.0)
            for a, b in due:
                refresh_tile(cells, bed._tables, bed._setting, a, b, 0.01 * (1 << cells.level[a, b]))
    assert np.array_equal(beds[0]._cells.h, beds[1]._cells.h)


@pytest.mark.parametrize("absorption_mm", [0.0, 0.7])
def test_the_beam_lays_what_the_twin_lays(absorption_mm: float) -> None:
    bed = _ragged_bed(1)
    setting = bed._setting._replace(absorption_m=absorption_mm * 1e-3)
    rows = np.array(
        [
            (0.0, 1.0, 1e-3, 1e-3, 9e-3, 4e-3, 30.0, 10.0),
            (1.5, 2.5, 9e-3, 4e-3, 9e-3, 4e-3, 20.0, 20.0),
            (2.5, 4.0, 9e-3, 4e-3, 15e-3, 11e-3, 0.0, 50.0),
        ]
    )
    want, beside = naive.bed_shine(rows, 0.25, 3.0, setting, 7, 5)
    cells = bed._cells
    before = (cells.h * np.where(cells.inv_mass > 0.0, 1.0 / np.maximum(cells.inv_mass, 1e-300), 0.0)).sum(axis=2)
    taken = np.zeros(2)
    assert shine(cells, setting, rows, 0, 0.25, 3.0, taken) == 2
    after = (cells.h * np.where(cells.inv_mass > 0.0, 1.0 / np.maximum(cells.inv_mass, 1e-300), 0.0)).sum(axis=2)
    got = (after - before)[1:-1, 1:-1] * setting.cell_m**2
    assert got == pytest.approx(np.array(want), rel=1e-6, abs=1e-6)
    assert taken == pytest.approx([np.sum(want), beside], rel=1e-12)


def test_light_fades_with_depth_as_beer_and_lambert_say() -> None:
    bed = Bed(BedConfig(x_mm=(0.0, 2.0), y_mm=(0.0, 2.0), depth_mm=8.0, cell_z_mm=1.0, absorption_mm=2.0, spot_mm=0.1))
    cells = bed._cells
    before = cells.h[1, 1].copy()
    shine(cells, bed._setting, np.array([(0.0, 1.0, 1e-3, 1e-3, 1e-3, 1e-3, 1.0, 1.0)]), 0, 0.0, 1.0, np.zeros(2))
    share = ((cells.h[1, 1] - before)[1:9] * 1.5 * 4e-6)[::-1]
    want = np.exp(-np.arange(8) / 2.0) * (1.0 - np.exp(-0.5))
    want[-1] = np.exp(-3.5)  # the lowest cell takes what is left
    assert share == pytest.approx(want, rel=1e-6)


def test_the_table_is_inverted_exactly() -> None:
    bed = _ragged_bed(0)
    want = np.array([50.0, 293.15, 700.0, 1398.15, 1450.0, 2500.0])
    for temp in want:
        h = float(enthalpy_of(bed._tables, temp))
        assert naive.bed_look(h, 1.0, 0.0, bed._tables)[0] == pytest.approx(temp, rel=1e-9)


def test_no_kernel_is_left_to_compile_when_hosts_are_served() -> None:
    compile_kernels()
    kernels = (run_ticks, step_once, fill_columns)
    compiled = [list(kernel.signatures) for kernel in kernels]
    assert all(compiled)
    bed = Bed(BedConfig())
    bed.expose([[0.1, 0.4, 100.0, 60.0, 110.0, 60.0, 50.0, 50.0]])
    bed.spread(0.5, 0.0, 250.0, 0.5)
    bed.advance_to(70.0)
    assert [list(kernel.signatures) for kernel in kernels] == compiled


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "limits", [(9.0, 1e5, 40.0), (9.0, 3e7, 40.0), (1e-4, 1e5, 40.0)], ids=["stable", "hot", "fast"]
)
def test_the_step_under_the_beam_is_the_twins(seed: int, limits: tuple[float, float, float]) -> None:
    bed = _ragged_bed(seed)
    dwell_s, flux_w_m2, step_k = limits
    cells, setting, tables = bed._cells, bed._setting, bed._tables
    lit = np.zeros(cells.level.shape, bool)
    lit[1, 0] = lit[2, 1] = True
    bear_s = np.full(lit.shape, 7.0)
    shorten_under_beam(cells, tables, setting, lit, bear_s, dwell_s, 0.9, 1900.0, flux_w_m2, step_k)
    assert (bear_s[~lit] == 7.0).all()
    for a, b in ((1, 0), (2, 1)):
        columns = [(i, j) for i in range(1 + 3 * a, min(4 + 3 * a, 8)) for j in range(1 + 3 * b, min(4 + 3 * b, 6))]
        mass = [list(1.0 / cells.inv_mass[i, j, 1 : cells.filled[i, j] + 1]) for i, j in columns]
        inv_cp = [list(cells.inv_heat[i, j, 1 : cells.filled[i, j] + 1] * m) for (i, j), m in zip(columns, mass)]
        want = naive.bed_step_under_beam(mass, inv_cp, tables, setting, dwell_s, 0.9, 1900.0, flux_w_m2, step_k)
        assert bear_s[a, b] == pytest.approx(min(want, 7.0), rel=1e-12)
