"""Is the horizon where a march along every ray finds it, and are light and radio what it leaves of them?"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.rover.ground.dem import MOON_RADIUS_M, Crs, Dem, DemError, read_dem
from control.rover.ground.ephemeris import sun_direction, unix_s
from control.rover.ground.illumination import (
    DIRECTIONS,
    HorizonMap,
    comms_fraction,
    comms_mask,
    horizon_map,
    lit_fraction,
    lit_share,
)
from control.rover.ground.illumination_kernels import STEP_DEG, UNKNOWN, _angle_deg, disc_share

NOVEMBER = unix_s("2028-11-02")


def dem_of(heights: np.ndarray, cell_m: float = 5.0, crs: Crs | None = None, x_m: float = 0.0, y_m: float = 0.0) -> Dem:
    return Dem(np.ascontiguousarray(heights, dtype=np.float32), x_m, y_m, cell_m, crs or Crs("local"))


def polar(heights: np.ndarray, cell_m: float = 20.0) -> Dem:
    """Ground near 84.6 S 31 E."""
    crs = Crs("polar_stereographic")
    x_m, y_m = crs.xy_m(-84.6, 31.0)
    return dem_of(heights, cell_m, crs, x_m, y_m)


def worst_deg(dem: Dem, cells: list[tuple[int, int]], horizons: HorizonMap) -> float:
    """The largest difference from a march along the ray, over cells and directions."""
    return max(
        abs(
            float(horizons.counts[n, i, j]) * STEP_DEG
            - naive.horizon_deg(dem.heights_m, i, j, across, up, dem.cell_m, MOON_RADIUS_M)
        )
        for n, (across, up) in enumerate(DIRECTIONS)
        for i, j in cells
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([(9, 9), (7, 12), (12, 5), (2, 9)]), st.floats(1.0, 200.0))
@settings(max_examples=20, deadline=None)
def test_every_cell_and_direction_is_as_a_march_along_the_ray_says(
    seed: int, shape: tuple[int, int], cell_m: float
) -> None:
    dem = dem_of(np.random.default_rng(seed).normal(50, cell_m / 2, shape), cell_m)
    cells = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    assert worst_deg(dem, cells, horizon_map(dem)) < 0.005


def test_on_the_real_tile_it_agrees_within_a_hundredth_of_a_degree(shared_data: Path) -> None:
    """Bar: 0.05 deg. Kilometres of rays, where the Moon's curvature shows."""
    dem = read_dem(shared_data / "terrain" / "peak_near_shackleton_dequantised_10mpp_u16.png")
    dem = dem_of(dem.heights_m[400:1000, 300:1000], dem.cell_m)
    rng = np.random.default_rng(3)
    cells = [(int(rng.integers(600)), int(rng.integers(700))) for _ in range(30)]
    assert worst_deg(dem, cells, horizon_map(dem)) < 0.01


def test_a_wall_stands_as_high_as_it_is_and_only_on_its_side() -> None:
    heights = np.zeros((41, 41))
    heights[:, 30] = 10.0
    horizons = horizon_map(dem_of(heights))
    east, west = horizons.elevation_deg(0.0), horizons.elevation_deg(math.pi)
    assert east[20, 10] == pytest.approx(math.degrees(math.atan(10 / 100)), abs=0.005)
    assert abs(west[20, 10]) < 0.005


def test_between_two_directions_the_horizon_lies_between_theirs() -> None:
    heights = np.zeros((41, 41))
    heights[:, 30] = 10.0
    horizons = horizon_map(dem_of(heights))
    one, other = horizons.azimuths_rad[:2]
    between = horizons.elevation_deg((one + other) / 2)[20, 10]
    ends = [horizons.elevation_deg(float(a))[20, 10] for a in (one, other)]
    assert between == pytest.approx(np.mean(ends), abs=1e-5)
    last = float(horizons.azimuths_rad[-1])
    wrapped = horizons.elevation_deg((last + 2 * math.pi) / 2)[20, 10]
    assert wrapped == pytest.approx((horizons.elevation_deg(last)[20, 10] + ends[0]) / 2, abs=1e-5)


def test_what_is_not_known_hides_nothing_and_sees_nothing() -> None:
    heights = np.zeros((21, 21))
    heights[10, 15] = np.nan
    horizons = horizon_map(dem_of(heights))
    assert (horizons.counts[:, 10, 15] == UNKNOWN).all()
    assert np.isnan(horizons.elevation_deg(0.3)[10, 15]) and abs(horizons.elevation_deg(0.0)[10, 10]) < 0.005


def test_from_a_height_one_looks_down_on_the_sphere_beyond_the_map() -> None:
    horizon = horizon_map(dem_of(np.full((5, 5), 1000.0))).elevation_deg(0.0)[2, 4]
    assert horizon == pytest.approx(-math.degrees(math.sqrt(2 * 1000 / MOON_RADIUS_M)), abs=0.005)


@given(st.floats(-50, 50))
def test_the_quick_arc_tangent_is_within_a_thousandth_of_a_degree(slope: float) -> None:
    assert _angle_deg(slope) == pytest.approx(math.degrees(math.atan(slope)), abs=1e-3)


def test_a_disc_half_over_the_edge_is_half_seen() -> None:
    assert [disc_share(x, 0.265) for x in (-1.0, -0.265, 0.0, 0.265, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert disc_share(0.1, 0.265) + disc_share(-0.1, 0.265) == pytest.approx(1.0)


def test_on_flat_ground_the_sun_is_up_when_it_is_over_the_plane() -> None:
    dem = polar(np.zeros((11, 11)))
    horizons = horizon_map(dem)
    middle = dem.lat_lon_deg(*dem.point(5, 5))
    for t_s in NOVEMBER + 86400.0 * np.arange(0, 29, 2):
        elevation = float(sun_direction(t_s, *middle)[1])
        share = float(lit_share(horizons, t_s)[5, 5])
        assert share == pytest.approx(disc_share(elevation, 0.265), abs=0.03)


def test_a_wall_towards_the_sun_casts_its_shadow() -> None:
    """Facts hold the Sun at Mons Mouton under 7 deg: a wall of 12 deg to all sides leaves nothing."""
    heights = np.full((21, 21), 40.0)
    heights[2:-2, 2:-2] = 0.0
    times = NOVEMBER + 86400.0 * np.arange(0.0, 29.0, 1.0)
    share = lit_fraction(horizon_map(polar(heights, 10.0)), times)
    assert share[10, 10] == 0.0 and share[0].max() > 0.3


def test_fractions_are_means_over_the_times() -> None:
    horizons = horizon_map(polar(np.random.default_rng(1).normal(0, 3, (9, 9))))
    times = [NOVEMBER, NOVEMBER + 3 * 86400.0, NOVEMBER + 9 * 86400.0]
    mean = np.mean([lit_share(horizons, t) for t in times], axis=0)
    assert lit_fraction(horizons, times) == pytest.approx(mean, abs=1e-6)
    heard = np.mean([comms_mask(horizons, t) for t in times], axis=0)
    assert comms_fraction(horizons, times) == pytest.approx(heard, abs=1e-6)


def test_the_summit_of_the_real_peak_sees_some_sun_nine_tenths_of_the_year(shared_data: Path) -> None:
    """Facts: 0.916 at the best cell, near the summit (h 1641 m of 1649), by another horizon of the same 8-bit tile."""
    dem = read_dem(shared_data / "terrain" / "peak_near_shackleton_lola_5mpp_8bit.png")
    dem = replace(dem, heights_m=np.ascontiguousarray(dem.heights_m[4::8, 4::8]), cell_m=8 * dem.cell_m)
    horizons = horizon_map(dem)
    times = unix_s("2028-08-01") + 6 * 3600.0 * np.arange(366 * 4)
    seen = np.mean([lit_share(horizons, t) > 0 for t in times], axis=0)
    best = np.unravel_index(int(np.argmax(seen)), seen.shape)
    assert seen[best] == pytest.approx(0.916, abs=0.03)
    assert dem.heights_m[best] > np.nanmax(dem.heights_m) - 20.0


def test_a_map_in_a_local_frame_has_no_sun() -> None:
    with pytest.raises(DemError, match="georeference"):
        lit_share(horizon_map(dem_of(np.zeros((3, 3)))), NOVEMBER)
