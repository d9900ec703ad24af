"""Are height maps read as what they are, and is what cannot be one refused with a sentence?"""

from __future__ import annotations

import math
import shutil
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from control.rover.ground.dem import Crs, Dem, DemError, read_dem, write_npz
from control.rover.ground.geotiff import write_geotiff

POLAR = Crs("polar_stereographic")
TILE = "peak_near_shackleton_lola_5mpp_8bit.png"
PATCH = "peak_near_shackleton_exact_100x100_5mpp.csv"


def small(crs: Crs = POLAR) -> Dem:
    heights = np.arange(12, dtype=np.float32).reshape(3, 4) * 10
    heights[2, 1] = np.nan
    return Dem(heights, 1000.0, -500.0, 5.0, crs, "small")


# ---- the real tile


def test_the_eight_bit_tile_holds_the_exact_patch_within_half_a_step(shared_data: Path) -> None:
    tile, patch = (read_dem(shared_data / "terrain" / name) for name in (TILE, PATCH))
    error = tile.crop(*patch.extent_m).heights_m - patch.heights_m
    assert np.abs(error).max() <= 8.10813 / 2 + 0.01
    assert abs(float(error.mean())) < 0.1
    assert tile.lat_lon_deg(30000.0, -20000.0) == pytest.approx((-88.811, 123.690), abs=1e-3)


def test_a_geotiff_of_several_layers_asks_which(shared_data: Path) -> None:
    path = shared_data / "terrain" / "Aristarchus_CP_data.tif"
    with pytest.raises(DemError, match=r"5 layers .*3 qts_demstack.*--layer"):
        read_dem(path)
    dem = read_dem(path, layer=3)
    assert dem.lat_lon_deg(0.0, 0.0) == pytest.approx((23.824139, -47.230128))
    assert (float(np.nanmin(dem.heights_m)), dem.cell_m) == pytest.approx((-3304.27, 214.023), abs=0.01)


# ---- frames


@given(st.floats(-90.0, -60.0), st.floats(-179.0, 179.0))
def test_south_polar_there_and_back(lat: float, lon: float) -> None:
    back_lat, back_lon = POLAR.lat_lon_deg(*POLAR.xy_m(lat, lon))
    assert back_lat == pytest.approx(lat, abs=1e-9)
    if lat > -89.9999:
        assert math.remainder(back_lon - lon, 360.0) == pytest.approx(0.0, abs=1e-6)


@given(st.floats(60.0, 89.99), st.floats(-179.0, 179.0))
def test_north_polar_there_and_back(lat: float, lon: float) -> None:
    north = Crs("polar_stereographic", lat_0_deg=90.0)
    assert north.lat_lon_deg(*north.xy_m(lat, lon)) == pytest.approx((lat, lon), abs=1e-6)


@given(st.floats(-20.0, 60.0), st.floats(-80.0, 0.0))
def test_orthographic_there_and_back(lat: float, lon: float) -> None:
    crs = Crs("orthographic", lat_0_deg=23.8, lon_0_deg=-47.2)
    assert crs.lat_lon_deg(*crs.xy_m(lat, lon)) == pytest.approx((lat, lon), abs=1e-5)


@pytest.mark.parametrize(
    "crs", [POLAR, Crs("polar_stereographic", lat_0_deg=90.0), Crs("orthographic", lat_0_deg=10.0)]
)
def test_north_is_where_the_latitude_grows(crs: Crs) -> None:
    x_m, y_m = 21000.0, -14000.0
    north = crs.north_rad(x_m, y_m)
    lat, _ = crs.lat_lon_deg(x_m, y_m)
    ahead, lon_ahead = crs.lat_lon_deg(x_m + 10 * math.cos(north), y_m + 10 * math.sin(north))
    assert ahead > lat
    assert lon_ahead == pytest.approx(crs.lat_lon_deg(x_m, y_m)[1], abs=1e-4)


def test_cells_points_and_heights_between() -> None:
    dem = small()
    assert dem.index(1002.4, -502.4) == (0, 0) and dem.index(1002.6, -497.4) == (1, 1)
    assert dem.point(2, 3) == (1015.0, -490.0)
    assert float(dem.height_at(1002.5, -500.0)) == pytest.approx(5.0)
    assert float(dem.height_at(1000.0, -497.5)) == pytest.approx(20.0)
    assert math.isnan(float(dem.height_at(1004.0, -491.0))) and math.isnan(float(dem.height_at(999.9, -500.0)))
    assert dem.crop(1004.0, -496.0, 1011.0, -490.0).heights_m.shape == (2, 2)
    with pytest.raises(DemError, match="is outside the map small"):
        dem.index(2000.0, 0.0)
    with pytest.raises(DemError, match="outside"):
        dem.index(math.nan, 0.0)


# ---- formats


@pytest.mark.parametrize("crs", [POLAR, Crs("orthographic", lat_0_deg=23.8, lon_0_deg=-47.2)])
def test_a_geotiff_that_was_written_is_read_back(tmp_path: Path, crs: Crs) -> None:
    dem = small(crs)
    write_geotiff(dem, dem.heights_m, tmp_path / "a.tif")
    back = read_dem(tmp_path / "a.tif")
    np.testing.assert_array_equal(back.heights_m, dem.heights_m)
    assert (back.x_m, back.y_m, back.cell_m, back.crs) == (dem.x_m, dem.y_m, dem.cell_m, crs)


def test_others_read_the_geotiff_too(tmp_path: Path) -> None:
    dem = small()
    write_geotiff(dem, dem.heights_m, tmp_path / "a.tif")
    picture = cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(picture, dem.heights_m[::-1])
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tags = file.pages[0].geotiff_tags
    assert tags["ProjCoordTransGeoKey"] == 15 and tags["GeogSemiMajorAxisGeoKey"] == 1737400.0
    assert tags["ModelTiepoint"][3:5] == [997.5, -487.5]


def test_an_npz_is_read_back_the_same(tmp_path: Path) -> None:
    dem = small()
    write_npz(dem, tmp_path / "a.npz")
    back = read_dem(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.heights_m, dem.heights_m)
    assert (back.x_m, back.y_m, back.cell_m, back.crs, back.name) == (1000.0, -500.0, 5.0, POLAR, "small")


def test_a_sixteen_bit_picture_with_its_georeference(tmp_path: Path) -> None:
    values = np.array([[0, 100, 200], [300, 400, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    (tmp_path / "a.png.toml").write_text("cell_m = 2\nscale_m = 0.1\noffset_m = -5\nno_data = 65535\nnorth_m = 4\n")
    dem = read_dem(tmp_path / "a.png")
    np.testing.assert_allclose(dem.heights_m, [[25.0, 35.0, np.nan], [-5.0, 5.0, 15.0]], atol=1e-5)
    assert (dem.x_m, dem.y_m, dem.crs.kind) == (1.0, 1.0, "local")
    with pytest.raises(DemError, match="local frame: it has no latitude"):
        dem.lat_lon_deg(0.0, 0.0)


# ---- what cannot be used


def tif(path: Path, values: np.ndarray, **changes: float) -> Path:
    """A polar GeoTIFF with some keys wrong."""
    keys = {1024: 1, 1025: 1, 3075: 15, 3076: 9001} | {int(k[1:]): int(v) for k, v in changes.items() if k[0] == "k"}
    doubles = {2057: 1737400.0, 3081: -90.0, 3092: 1.0} | {
        int(k[1:]): v for k, v in changes.items() if k[0] == "d" and k[1:].isdigit()
    }
    rows = sorted([(k, 0, 1, v) for k, v in keys.items()] + [(k, 34736, 1, n) for n, k in enumerate(doubles)])
    directory = (1, 1, 0, len(rows), *(v for row in rows for v in row))
    cell, cell_y = changes.get("cell", 5.0), changes.get("cell_y", changes.get("cell", 5.0))
    tifffile.imwrite(
        path,
        values,
        metadata=None,
        photometric="minisblack",
        extratags=[
            (33550, "d", 3, (cell, cell_y, 0.0), True),
            (33922, "d", 6, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0), True),
            (34735, "H", len(directory), directory, True),
            (34736, "d", len(doubles), tuple(doubles.values()), True),
        ],
    )
    return path


FLAT = np.zeros((3, 4), np.float32)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"k1024": 2}, "in degrees"),
        ({"k3075": 1}, "a projection that is not read"),
        ({"k3076": 9002}, "not in metres"),
        ({"d2057": 6378137.0}, "another body than the Moon"),
        ({"d2057": 1.0}, "not the Moon"),
        ({"d3081": -71.0}, "only the poles"),
        ({"d3082": 500000.0}, "false origin"),
        ({"cell": 0.0}, "only square ones"),
        ({"cell": 1e6}, "cells of 1e\\+06 m cannot be"),
        ({"cell": 5.0, "cell_y": 7.0}, "only square ones"),
        ({"cell": math.nan}, "only square ones"),
    ],
)
def test_a_geotiff_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(DemError, match=sentence):
        read_dem(tif(tmp_path / "a.tif", FLAT, **changes))


def test_the_helper_writes_good_ones_too(tmp_path: Path) -> None:
    dem = read_dem(tif(tmp_path / "a.tif", FLAT))
    assert (dem.x_m, dem.y_m, dem.shape) == (2.5, -12.5, (3, 4))
    points = read_dem(tif(tmp_path / "b.tif", FLAT, k1025=2))
    assert (points.x_m, points.y_m) == (0.0, -10.0)


def test_heights_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for name, values, sentence in (
        ("nan", np.full((3, 4), np.nan, np.float32), "every cell is empty"),
        ("inf", np.full((3, 4), np.inf, np.float32), "every cell is empty"),
        ("high", np.full((3, 4), 1e6, np.float32), "nothing is beyond"),
    ):
        with pytest.raises(DemError, match=sentence):
            read_dem(tif(tmp_path / f"{name}.tif", values))


def test_files_that_are_none_are_refused(tmp_path: Path, shared_data: Path) -> None:
    (tmp_path / "empty.tif").write_bytes(b"")
    whole = (shared_data / "terrain" / "Aristarchus_CP_data.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.tif").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "noise.npz").write_bytes(struct.pack("<IHH", 0x04034B50, 20, 0) * 9)
    (tmp_path / "words.csv").write_text("1,2\n3,four\n")
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    for name in ("words", "ragged"):
        (tmp_path / f"{name}.csv.toml").write_text("cell_m = 5\n")
    shutil.copy(shared_data / "terrain" / "MANIFEST.md", tmp_path / "text.png")
    (tmp_path / "text.png.toml").write_text("cell_m = 5\n")
    for name in ("empty.tif", "cut.tif", "noise.tif", "noise.npz", "words.csv", "ragged.csv", "text.png", "absent.tif"):
        with pytest.raises(DemError):
            read_dem(tmp_path / name, layer=3 if name == "cut.tif" else None)
    with pytest.raises(DemError, match="no height map that can be read"):
        read_dem(tmp_path / "a.obj")


def test_a_picture_without_a_georeference_says_what_to_write(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(DemError, match=r"write a\.png\.toml beside it"):
        read_dem(tmp_path / "a.png")
    (tmp_path / "g.toml").write_text("cell_m = 5\ncells = 3\n")
    with pytest.raises(DemError, match="cannot be used"):
        read_dem(tmp_path / "a.png", georef=tmp_path / "g.toml")


def test_an_npz_that_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", heights_m=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DemError):
        read_dem(tmp_path / "a.npz")
    assert zipfile.is_zipfile(tmp_path / "a.npz")
