"""Can a user see the route that was planned and the drive that was made, whatever is missing?"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rover_drive_helpers import HILLS, mapped_lane

from control.cli import cli
from control.errors import MoonkilnError
from control.rover.ground.dem import Crs, Dem
from control.rover.views.drawing import coloured, shaded
from control.rover.views.drive_report import is_drive, write_drive_report
from hil_sim.harness.drive_runner import DriveScenario, run_drive


def map_file(folder: Path) -> Path:
    mapped_lane(folder, 3.0)
    return folder / "hills.npz"


def plan(folder: Path, *more: str, output: str = "r.html"):  # type: ignore[no-untyped-def]
    words = ["--map", str(map_file(folder)), "--from", "40,40", "--to", "70,60", "-o", str(folder / output), *more]
    return CliRunner().invoke(cli, ["rover", "plan", *words])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    run_drive(DriveScenario(seed=1), mapped_lane(folder, 5.0), folder / "run", ground=HILLS)
    return folder / "run"


def test_a_planned_route_is_a_page_without_network_or_script(tmp_path: Path) -> None:
    result = plan(tmp_path)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "r.html").read_text()
    assert "<script" not in page and not re.search(r'(src|href)="https?:', page)
    assert page.count("<polyline") == 1 and page.count("<svg") == 3
    assert (tmp_path / "r.json").is_file()


def test_a_drives_page_shows_plan_belief_and_truth(run_dir: Path) -> None:
    page = write_drive_report(run_dir).read_text()
    assert page.count("<polyline") == 3 and "oracle: exact" in page and "The goal is reached" in page
    assert page.count('class="curve hot"') == 2 and "nan" not in page


def test_the_report_command_takes_a_drive(run_dir: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["report", str(run_dir), "-o", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    assert "Drive of lane" in (tmp_path / "page.html").read_text()


def test_without_truth_or_map_or_telemetry_the_page_says_so(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("outcome.json", "route.json"):
        (tmp_path / "run" / name).write_bytes((run_dir / name).read_bytes())
    assert is_drive(tmp_path / "run")
    page = write_drive_report(tmp_path / "run").read_text()
    assert "There is no simulated truth" in page and "drawn without its ground" in page
    assert page.count("<polyline") == 1


def test_a_damaged_truth_is_named(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "truth.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(MoonkilnError, match=r"truth\.npz is no simulated truth"):
        write_drive_report(run_dir, truth_dir=tmp_path, output=tmp_path / "page.html")


def test_telemetry_that_was_cut_short_is_shown_as_far_as_it_goes(run_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("outcome.json", "route.json", "truth.npz", "telemetry.mcap"):
        content = (run_dir / name).read_bytes()
        (folder / name).write_bytes(content[: int(0.6 * len(content))] if name == "telemetry.mcap" else content)
    page = write_drive_report(folder).read_text()
    assert "was not closed" in page and page.count("<polyline") == 3


def test_a_folder_without_a_drive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoonkilnError, match="does not exist"):
        write_drive_report(tmp_path)


def test_shading_lights_slopes_towards_the_light_and_leaves_gaps_dark() -> None:
    rows, columns = np.mgrid[0:20, 0:20]
    ridge = -np.abs(columns - 10.0).astype(np.float32)
    ridge[3, 3] = np.nan
    picture = shaded(Dem(ridge, 0.0, 0.0, 1.0, Crs("local")))
    west, east = picture[10, 5].sum(), picture[10, 15].sum()
    assert west > east and tuple(picture[-4, 3]) == (30, 30, 36)
    assert shaded(Dem(ridge, 0.0, 0.0, 1.0, Crs("local")), rows > 15)[0, 0, 0] != picture[0, 0, 0]


def test_a_scale_of_colours_ends_at_its_ends() -> None:
    picture = coloured(np.array([[0.0, 1.0]], np.float32), 0.0, 1.0, ("#000000", "#ffffff"))
    assert picture.tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--from", "here,1"], 2, "is no place"),
        (["--fence", "1,1 2,2"], 2, "encloses nothing"),
        (["--to", "900,60"], 1, "reaches from x"),
        (["--machine", "bench"], 2, "is a printer's"),
        (["--charge", "0.2"], 1, "under the reserve of 20 %"),
    ],
)
def test_what_cannot_be_planned_is_a_sentence(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    import subprocess
    import sys

    start = [] if "--from" in words else ["--from", "40,40"]
    goal = [] if "--to" in words else ["--to", "70,60"]
    command = [sys.executable, "-m", "control.cli", "rover", "plan", "--map", str(map_file(tmp_path)), *start, *goal]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "r.json"), *words], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()
