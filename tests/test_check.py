"""Does `moonkiln check` find what a job leaves out, whoever wrote it?"""

from __future__ import annotations

import json
from dataclasses import replace

from click.testing import CliRunner
from job_helpers import BENCH, wire_small

from control.cli import cli
from slicer.bricks import rectangular, write_stl
from slicer.job import Job, JobHead
from slicer.job_writing import write_job
from slicer.plan import plan_job


def run(*words):
    return CliRunner().invoke(cli, ["check", *map(str, words)])


def job_of(folder, share=1.0):
    """A plate of ten layers; of each only the first `share` of its vectors."""
    write_stl(rectangular(20, 10, 5), folder / "plate.stl")
    plan_job(folder / "plate.stl", wire_small(hatch_spacing_mm="0.7"), BENCH, folder / "whole.kiln")
    with Job.open(folder / "whole.kiln") as job:
        layers = [job.layer(index) for index in range(job.manifest.layer_count)]
        head = JobHead("cut", job.recipe, job.envelope, job.manifest.mesh_name, job.manifest.mesh_sha256)
    cut = [replace(layer, path=layer.path.chosen(slice(0, round(share * len(layer.path))))) for layer in layers]
    write_job(folder / "cut.kiln", head, cut)
    return folder / "cut.kiln"


def test_a_whole_plan_is_covered(tmp_path):
    done = run(job_of(tmp_path))
    assert done.exit_code == 0 and "No feature of" in done.stdout and "The spot passes over 9" in done.stdout


def test_vectors_that_are_missing_are_found_with_their_place(tmp_path):
    done = run(job_of(tmp_path, 0.6), "-o", tmp_path / "report.json")
    assert done.exit_code == 0 and "layers 1 to 10" in done.stdout and "left out" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == json.loads(run(tmp_path / "cut.kiln", "--json").stdout)


def test_one_layer_is_judged_alone_with_its_map_of_energy(tmp_path):
    job = job_of(tmp_path)
    done = run(job, "--layer", 3, "-o", tmp_path / "layer.json")
    assert done.exit_code == 0 and "A track gets 2 J/mm, 2.86 J/mm2, 5.71 J/mm3" in done.stdout  # 100 W, 50 mm/s, 0.7
    report = json.loads((tmp_path / "layer.json").read_text())
    rows = report["energy_map"]["j_mm2"]
    inside = [value for row in rows for value in row if value]
    assert report["index"] == 2 and max(map(len, rows)) > 10 and 1.0 < sum(inside) / len(inside) < 6.0
    missing = run(job, "--layer", 11)
    assert missing.exit_code == 2 and "has 10 layers" in missing.stderr


def test_a_file_that_is_no_job_gets_a_sentence(tmp_path):
    (tmp_path / "x.kiln").write_bytes(b"no")
    done = run(tmp_path / "x.kiln")
    assert done.exit_code == 2 and "not a job file" in done.stderr
