"""Does `moonkiln brick` make what was asked for, say what it made, and refuse the rest in a sentence?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from job_helpers import WIRE_SMALL

from control.cli import cli
from slicer.bricks import KINDS, demo_brick
from slicer.mesh import read_mesh


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args):
    return CliRunner().invoke(cli, ["brick", *map(str, args)], prog_name="moonkiln")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["stl", "3mf"])
def test_every_kind_becomes_a_file_that_reads_back(here, kind, ending):
    done = run(kind, "-o", f"part.{ending}")
    assert done.exit_code == 0, done.stderr
    mesh, report = read_mesh(here / f"part.{ending}")
    assert report.sentences() == [] and report.bodies == 1
    size = " x ".join(f"{edge:.2f}" for edge in np.ptp(mesh.bounds_mm, axis=0))
    assert (
        f"part.{ending}: {kind}, {report.triangles:,} triangles, {size} mm, {report.volume_mm3:,.0f} mm3" in done.stdout
    )
    assert KINDS[kind].laying in done.stdout


def test_the_default_mortise_tenon_is_the_demo_brick(here):
    assert run("mortise-tenon").exit_code == 0
    mesh, report = read_mesh(here / "mortise-tenon.stl")
    np.testing.assert_allclose(mesh.bounds_mm, demo_brick().bounds_mm)
    assert report.volume_mm3 == pytest.approx(28531.5)


def test_settings_and_shrinkage_reach_the_mesh(here):
    done = run("rectangular", "--set", "length_mm = 50", "--set", "shrinkage_percent=2,2,29", "-o", "p.stl")
    assert done.exit_code == 0, done.stderr
    assert "finished 50.00 x 100.00 x 30.00 mm, 150,000 mm3, once sintering has taken 2 x 2 x 29 percent" in done.stdout
    np.testing.assert_allclose(
        np.ptp(read_mesh(here / "p.stl")[0].bounds_mm, axis=0), np.array([50, 100, 30]) / [0.98, 0.98, 0.71], rtol=1e-6
    )


def test_json_is_one_object(here):
    done = run("abeille", "--set", "clearance_mm=1", "-o", "p.3mf", "--json")
    said = json.loads(done.stdout)
    assert (said["path"], said["bytes"]) == ("p.3mf", (here / "p.3mf").stat().st_size)
    assert said["measures"] == {"side_mm": 60, "height_mm": 20, "lean_deg": 20, "clearance_mm": 1}
    assert said["triangles"] == 12 and said["printed"] == said["finished"]
    assert said["neighbours"]["right"] == [[0, -1, 0, 60], [1, 0, 0, 0], [0, 0, 1, 0]]


def test_the_list_names_every_kind_and_measure_with_default_and_range():
    said = run("--list").stdout
    table = json.loads(run("--list", "--json").stdout)
    assert list(table) == list(KINDS)
    for name, kind in KINDS.items():
        assert f"{name}: {kind.meaning}" in said
        for measure in kind.measures:
            told = table[name]["measures"][measure.key]
            assert (told["default"], told["low"], told["high"]) == (measure.default, measure.low, measure.high)
            assert any(
                line.split()[:2] == [measure.key, f"{measure.default:g}"] and f"{measure.high:g} {measure.unit}" in line
                for line in said.splitlines()
            ), measure.key
    one = run("paver", "--list").stdout
    assert "track_mm" in one and "abeille" not in one and "shrinkage_percent" in one


def test_a_brick_slices(here):
    assert run("osteomorphic", "-o", "p.3mf").exit_code == 0
    done = CliRunner().invoke(cli, ["slice", "p.3mf", "--recipe", str(WIRE_SMALL), "--set", "layer_thickness_mm=0.8"])
    assert done.exit_code == 0, done.stderr
    assert "47 layers of 0.8 mm" in done.stdout


BAD = [
    (["osteomorfic"], "did you mean 'osteomorphic'"),
    (["osteomorfic", "--list"], "did you mean 'osteomorphic'"),
    (["paver", "--set", "trak_mm=3"], "did you mean 'track_mm'"),
    (["paver", "--set", "track_mm"], "KEY=VALUE"),
    (["paver", "--set", "track_mm="], "KEY=VALUE"),
    (["paver", "--set", "track_mm=40", "--set", "track_mm=41"], "given twice"),
    (["paver", "--set", "track_mm=wide"], "is no number"),
    (["paver", "--set", "track_mm=nan"], "at least 0.1"),
    (["paver", "--set", "track_mm=80"], "leaves no hole"),
    (["paver", "-o", "part.obj"], ".stl or .3mf"),
    (["paver", "-o", "no/such/part.stl"], "folder no/such does not exist"),
    (["paver", "-o", "folder.stl"], "is a folder"),
    (["--list", "-o", "part.stl"], "--list makes no brick"),
    ([], "which kind of brick"),
]


@pytest.mark.parametrize(("args", "sentence"), BAD, ids=[" ".join(args) for args, _ in BAD])
def test_what_cannot_be_made_is_refused_in_a_sentence(here, args, sentence):
    (here / "folder.stl").mkdir()
    done = run(*args)
    assert done.exit_code == 2 and sentence in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in here.iterdir()] == ["folder.stl"]
    told = json.loads(run(*args, "--json").stdout)
    assert told["exit_code"] == 2 and sentence in told["error"]


def test_help_loads_neither_numpy_nor_a_geometry_kernel():
    probe = (
        "import sys; from control.cli import cli\n"
        "try: cli(['brick', '--help'], prog_name='moonkiln')\n"
        "except SystemExit: pass\n"
        "assert not {'numpy', 'cv2', 'manifold3d', 'numba'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "moonkiln brick --list" in done.stdout


def test_the_page_tells_every_measure_as_it_is():
    page = (Path(__file__).parent.parent / "docs" / "bricks.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0]: part for part in page.split("\n## ")}
    for name, kind in KINDS.items():
        told = [line for line in sections[name].splitlines() if line.startswith("| `")]
        span = "{m.low:g} to {under}{m.high:g} {m.unit}"
        assert told == [
            f"| `{m.key}` | {m.default:g} | {span.format(m=m, under='under ' if m.below_high else '')} | {m.meaning} |"
            for m in kind.measures
        ]


def test_the_page_shows_what_the_command_says():
    page = (Path(__file__).parent.parent / "docs" / "bricks.md").read_text(encoding="utf-8")
    line, *shown = page.split("```console\n$ moonkiln brick ")[1].split("\n```")[0].splitlines()
    done = run(*line.split())
    assert done.exit_code == 0 and done.stdout.splitlines() == shown
