"""Does a survey leave what it says: pictures, GeoTIFFs that lie where the map lies, and true figures?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner

from control.cli import cli
from control.machine_file import machine_path
from control.rover.ground.dem import Crs, Dem, read_dem, write_npz
from control.rover.ground.terrain import analyse


def polar_map(folder: Path) -> Path:
    """Ground near 84.6 S with one tall wall."""
    crs = Crs("polar_stereographic")
    x, y = crs.xy_m(-84.6, 31.0)
    heights = np.zeros((40, 50), np.float32)
    heights[:, 25] = 300.0
    write_npz(Dem(heights, x, y, 20.0, crs, "walled"), folder / "walled.npz")
    return folder / "walled.npz"


def survey(path: Path, folder: Path, *words: str) -> dict:
    result = CliRunner().invoke(
        cli, ["rover", "survey", str(path), "-o", str(folder), "--json", "--days", "8", *words], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_layers_lie_where_the_map_lies_and_hold_what_was_worked_out(tmp_path: Path) -> None:
    survey(polar_map(tmp_path), tmp_path / "out", "--machine", "polar")
    dem = read_dem(tmp_path / "walled.npz")
    written = read_dem(tmp_path / "out" / "slope.tif")
    assert (written.x_m, written.y_m, written.cell_m, written.crs.kind) == (dem.x_m, dem.y_m, 20.0, dem.crs.kind)
    np.testing.assert_allclose(written.heights_m, analyse(dem).slope_deg, atol=1e-4)
    for name in ("slope", "roughness", "step", "lit_fraction", "comms_fraction", "longest_dark_days"):
        picture = cv2.imread(str(tmp_path / "out" / f"{name}.png"))
        assert picture is not None and picture.shape == (40, 50, 3)
    lit = read_dem(tmp_path / "out" / "lit_fraction.tif").heights_m
    assert np.nanmin(lit) >= 0.0 and np.nanmax(lit) <= 1.0 and np.nanstd(lit) > 0.01
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<svg") == 7 and "<script" not in page


def test_a_local_map_has_no_light_and_says_so(tmp_path: Path) -> None:
    write_npz(Dem(np.zeros((10, 10), np.float32), 0.0, 0.0, 1.0, Crs("local"), "flat"), tmp_path / "flat.npz")
    figures = survey(tmp_path / "flat.npz", tmp_path / "out")
    assert "lit_fraction_mean" not in figures and "local frame" in figures["notes"][0]
    assert not (tmp_path / "out" / "lit_fraction.tif").exists()


def test_a_rover_that_no_haven_suits_is_told(tmp_path: Path) -> None:
    figures = survey(polar_map(tmp_path), tmp_path / "out", "--machine", "osr", "--days", "29.5")
    assert figures["havens"] == [] and any("No haven" in note for note in figures["notes"])


def test_what_is_no_date_is_a_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli, ["rover", "survey", str(polar_map(tmp_path)), "-o", str(tmp_path / "o"), "--from-utc", "soon"]
    )
    assert result.exit_code == 2 and "is no date" in result.output


def test_a_rover_that_needs_nothing_asleep_is_surveyed_for_too(tmp_path: Path) -> None:
    text = machine_path("osr").read_text()
    (tmp_path / "m.toml").write_text(re.sub(r"(?m)^sleep_w.*$", "sleep_w = 0", text))
    figures = survey(polar_map(tmp_path), tmp_path / "out", "--machine", str(tmp_path / "m.toml"))
    assert figures["rover_lasts_h"] is None
