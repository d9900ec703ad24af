"""What a height map says of the ground: slope, roughness, steps, and coarser maps of it."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.rover.ground.dem import Crs, Dem, read_dem
from control.rover.ground.terrain import analyse, level_for, pyramid


def dem_of(heights: np.ndarray, cell_m: float = 2.0) -> Dem:
    return Dem(np.ascontiguousarray(heights, dtype=np.float32), 10.0, 20.0, cell_m, Crs("local"))


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 50.0))
@settings(max_examples=30, deadline=None)
def test_every_cell_is_as_a_least_squares_solver_says(seed: int, cell_m: float) -> None:
    rng = np.random.default_rng(seed)
    heights = rng.normal(0, 3, (6, 7)).astype(np.float32)
    heights[rng.random(heights.shape) < 0.04] = np.nan
    terrain = analyse(dem_of(heights, cell_m))
    for i in range(6):
        for j in range(7):
            expected = naive.ground_cell(heights, i, j, cell_m)
            got = terrain.slope_deg[i, j], terrain.roughness_m[i, j], terrain.step_m[i, j]
            if expected is None:
                assert np.isnan(got).all()
            else:
                assert got == pytest.approx(expected, abs=2e-4)


def test_a_plane_has_its_slope_and_nothing_else() -> None:
    rows, columns = np.mgrid[0:8, 0:9]
    terrain = analyse(dem_of(2.0 * math.tan(math.radians(12.0)) * (0.6 * rows + 0.8 * columns)))
    inner = np.s_[1:-1, 1:-1]
    assert terrain.slope_deg[inner] == pytest.approx(np.full((6, 7), 12.0), abs=1e-3)
    assert terrain.roughness_m[inner].max() < 1e-5 and terrain.step_m[inner].max() < 1e-5


def test_the_rim_is_unknown() -> None:
    slope = analyse(dem_of(np.zeros((5, 6)))).slope_deg
    assert np.isnan(slope[[0, -1]]).all() and np.isnan(slope[:, [0, -1]]).all()


def test_a_block_shows_as_a_step() -> None:
    heights = np.zeros((9, 9))
    heights[4, 4] = 0.3
    assert analyse(dem_of(heights, 0.5)).step_m[4, 4] == pytest.approx(0.3)


def test_a_scarp_shows_its_whole_height_on_a_slope_too() -> None:
    heights = np.tile(0.1 * np.arange(9.0), (9, 1))
    heights[:, 5:] += 0.2
    step = analyse(dem_of(heights, 0.5)).step_m[1:-1, 1:-1]
    assert step[:, 3:5] == pytest.approx(np.full((7, 2), 0.2), abs=1e-6) and step[:, :3].max() < 1e-6


def test_coarser_maps_keep_means_and_places() -> None:
    heights = np.arange(7 * 8, dtype=np.float64).reshape(7, 8)
    heights[0, 0] = np.nan
    heights[2:4, 2:4] = np.nan
    fine, coarse = pyramid(dem_of(heights), 5)  # 3 rows give one more of one row, which is no map
    assert coarse.cell_m == 4.0 and coarse.shape == (3, 4) and fine.shape == (7, 8)
    assert coarse.point(0, 0) == (11.0, 21.0)  # the middle of the four cells that it stands for
    assert coarse.heights_m[0, 0] == pytest.approx((1 + 8 + 9) / 3)  # of those that hold data
    assert math.isnan(coarse.heights_m[1, 1])


def test_the_finest_level_that_fits_is_taken() -> None:
    assert level_for(dem_of(np.zeros((64, 64))), 1000).shape == (16, 16)
    assert level_for(dem_of(np.zeros((20, 20))), 1000).shape == (20, 20)


def test_the_real_patch_is_as_steep_as_measured(shared_data) -> None:  # type: ignore[no-untyped-def]
    """Facts: mean slope 7.4 deg, 95 % under 11.2 deg."""
    dem = read_dem(shared_data / "terrain" / "peak_near_shackleton_exact_100x100_5mpp.csv")
    slope = analyse(dem).slope_deg[1:-1, 1:-1]
    assert slope.mean() == pytest.approx(7.4, abs=0.3) and np.percentile(slope, 95) == pytest.approx(11.2, abs=0.6)


def test_the_real_tile_is_as_steep_as_published(shared_data) -> None:  # type: ignore[no-untyped-def]
    """Facts: mean 10.3 deg, 95 % under 17.5, 15.5 % over 15 deg, 1.6 % over 20 (of the smoothed tile)."""
    dem = read_dem(shared_data / "terrain" / "peak_near_shackleton_dequantised_10mpp_u16.png")
    slope = analyse(dem).slope_deg[1:-1, 1:-1]
    assert slope.mean() == pytest.approx(10.3, abs=0.2) and np.percentile(slope, 95) == pytest.approx(17.5, abs=0.2)
    assert (slope > 15).mean() == pytest.approx(0.155, abs=0.005)
    assert (slope > 20).mean() == pytest.approx(0.016, abs=0.002)
