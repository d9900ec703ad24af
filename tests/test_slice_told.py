"""Does `slice` tell what it knows: of a mesh that it refuses, of options that it will not use, of what it lost?"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from job_helpers import BENCH, WIRE_SMALL, wire_small
from solid_helpers import box, joined

from control.cli import cli
from slicer.bricks import rectangular, write_3mf, write_stl
from slicer.job import Job
from slicer.layers import net_area_mm2
from slicer.mesh import Mesh
from slicer.notes import sentences
from slicer.plan import plan_job
from slicer.recipe import RANGES, Recipe, load_recipe


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own with a plate of 20 x 10 x 2 mm in it."""
    monkeypatch.chdir(tmp_path)
    write_stl(rectangular(20, 10, 2), tmp_path / "plate.stl")
    return tmp_path


def run(*words):
    return CliRunner().invoke(cli, [*map(str, words)])


def without_a_wall(mesh: Mesh) -> Mesh:
    """One of the triangles left out that stand farthest along x, and another one turned."""
    wall = int(np.argmax(mesh.vertices_mm[mesh.faces, 0].min(axis=1)))
    faces = np.delete(mesh.faces, wall, axis=0)
    faces[0] = faces[0, ::-1]
    return replace(mesh, faces=faces)


# ---- a mesh that is refused


def test_a_refused_mesh_is_told_of_with_its_border_and_what_may_close_it(here):
    write_stl(without_a_wall(rectangular(20, 10, 4)), here / "open.stl")
    done = run("slice", "plate.stl", "open.stl", "--recipe", WIRE_SMALL, "-o", "x.kiln")
    assert done.exit_code == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "plate.stl: 12 triangles, 1 body, 20.00 x 10.00 x 2.00 mm, 400 mm3"
    assert lines[1] == "open.stl: 11 triangles, 1 body, 20.00 x 10.00 x 4.00 mm, not closed"
    border = re.search(r"note: The surface is not closed: 3 edges .* about \((.*?), .*z 0.00 to 4.00 \(mm\)", lines[2])
    assert border is not None and float(border[1]) == 10.0, "the wall at its right"
    assert lines[3].startswith("  note: 1 triangle faced the wrong way and was turned (at ")
    assert "is not closed" in lines[-1] and "--close-gaps MM" in lines[-1]
    assert not Path("x.kiln").exists()


def test_a_program_gets_the_report_of_a_refused_mesh_beside_the_error(here):
    write_stl(without_a_wall(rectangular(20, 10, 4)), here / "open.stl")
    done = run("slice", "open.stl", "--recipe", WIRE_SMALL, "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == told["exit_code"] == 2 and "is not closed" in told["error"]
    (report,) = told["mesh_reports"]
    assert report["open_edges"] == 3 and report["borders"][0]["z_mm"] == [0.0, 4.0] and len(report["sentences"]) == 2


def test_a_mesh_that_cannot_be_read_has_no_report_and_those_before_it_have(here):
    (here / "bad.stl").write_text("dear diary")
    done = run("slice", "bad.stl", "--recipe", WIRE_SMALL)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    done = run("slice", "plate.stl", "bad.stl", "--recipe", WIRE_SMALL, "--json")
    told = json.loads(done.stdout)
    assert "bad.stl" in told["error"] and [report["triangles"] for report in told["mesh_reports"]] == [12]


# ---- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--set", "contours=2", "--set", " contours = 1"),
            "--set contours is given twice, as 2 and as 1: give it once",
        ),
        (("--set", "hatch=spiral", "--set", "hatch=spiral"), "--set hatch is given twice"),
        (("--copies", "2", "--copies", "3"), "--copies is given twice for every part"),
        (("--copies", "plate=2", "--copies", "plate=2"), "--copies is given twice for plate"),
        (("--rotate", "1e300"), "turn a part by 36000 deg at most"),
    ],
)
def test_an_option_that_would_be_lost_is_refused(here, options, words):
    done = run("slice", "plate.stl", "--recipe", WIRE_SMALL, *options)
    assert done.exit_code == 2 and words in done.stderr and not Path("plate.kiln").exists()


def test_a_unit_is_refused_where_every_file_names_its_own(here):
    write_3mf(rectangular(20, 10, 2), here / "plate.3mf")
    for unit in ("cm", "mm"):
        done = run("slice", "plate.3mf", "--recipe", WIRE_SMALL, "--unit", unit)
        assert done.exit_code == 2 and f"--unit {unit}: plate.3mf names its unit itself" in done.stderr
    assert not Path("plate.kiln").exists()
    assert run("slice", "plate.3mf", "--recipe", WIRE_SMALL).exit_code == 0
    done = run("slice", "plate.3mf", "plate.stl", "--recipe", WIRE_SMALL, "--unit", "cm", "--json")
    sizes = [np.ptp(report["bounds_mm"], axis=0).tolist() for report in json.loads(done.stdout)["mesh_reports"]]
    assert np.allclose(sizes, [[20, 10, 2], [200, 100, 20]])


# ---- recipes


def plain_recipe(folder: Path, *left_out: str) -> Path:
    """The recipe of the wire tests without those lines, and without evidence."""
    text = WIRE_SMALL.read_text().partition("[evidence]")[0]
    lines = [line for line in text.splitlines() if line.partition("=")[0].strip() not in left_out]
    (folder / "plain.toml").write_text("\n".join(lines) + "\n")
    return folder / "plain.toml"


def test_a_recipe_without_a_description_makes_a_job_that_opens(here):
    recipe = load_recipe(plain_recipe(here, "description"))
    assert recipe.description == "" and Recipe.from_dict(recipe.to_dict()) == recipe
    assert run("slice", "plate.stl", "--recipe", "plain.toml", "-o", "x.kiln").exit_code == 0
    for words in (("info", "x.kiln"), ("preview", "x.kiln", "-o", "x.html"), ("check", "x.kiln")):
        done = run(*words)
        assert done.exit_code == 0, done.stderr
    with Job.open("x.kiln") as job:
        assert job.recipe == recipe


def test_numbers_without_evidence_are_named(here):
    plain_recipe(here)
    said = run("slice", "plate.stl", "--recipe", "plain.toml", "--set", "power_w=110").stdout.splitlines()[-1]
    assumed, unknown = said.partition("; ")[2].split("; ")
    assert assumed == "assumed are power_w"
    assert unknown == f"without evidence are {', '.join(key for key in RANGES if key != 'power_w')}"
    assert "no numbers" not in run("slice", "plate.stl", "--recipe", "plain.toml").stdout
    assert "without evidence" not in run("slice", "plate.stl", "--recipe", WIRE_SMALL).stdout


# ---- the volume of the layers


def told_of(tmp_path: Path, mesh: Mesh, **choices: str) -> str:
    """What the plan of a mesh says of its volume; the layers are 0.5 mm thick."""
    write_stl(mesh, tmp_path / "part.stl")
    notes = plan_job(tmp_path / "part.stl", wire_small(**choices), BENCH, tmp_path / "part.kiln").notes
    with Job.open(tmp_path / "part.kiln") as job:
        layers = [job.layer(index).layer for index in range(job.manifest.layer_count)]
    hold = sum(net_area_mm2(layer) * layer.thickness_mm for layer in layers)
    (said,) = (sentence for sentence in sentences(notes, 1.0) if sentence.startswith("The layers hold"))
    assert said.startswith(f"The layers hold {hold:,.6g} mm3")
    return said


def test_a_volume_that_bodies_share_is_not_called_lost_between_planes(tmp_path):
    overlap = joined(box(20, 20, 4), box(20, 20, 4, (10, 5, 0)))
    said = told_of(tmp_path, overlap)
    assert "3,200 mm3 (-18.8%): what the mesh encloses more than once" in said and "between the middles" not in said
    assert said.endswith("counts as fill_rule says (-18.8%).")
    assert "(-37.5%)" in told_of(tmp_path, overlap, fill_rule="even_odd")


def test_a_volume_between_planes_is_not_called_shared(tmp_path):
    said = told_of(tmp_path, joined(box(30, 30, 4), box(30, 30, 0.3, (0, 0, 4.3))))
    assert "lost or filled (-7.0%); thinner layers follow it" in said and "more than once" not in said


def test_both_causes_are_told_where_there_are_both(tmp_path):
    said = told_of(tmp_path, joined(box(20, 20, 4), box(20, 20, 4, (10, 5, 0)), box(30, 30, 0.3, (0, 0, 4.3))))
    volume = 2 * 1600 + 270
    assert f"says ({-600 / volume:+.1%}), and what begins" in said and f"filled ({-270 / volume:+.1%})" in said
