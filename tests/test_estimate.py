"""Does `moonkiln estimate` say what a build's time is spent on, and warn of what would go wrong?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from job_helpers import head, square_layer, write_small_job

from control.build_model import time_model
from control.cli import cli
from control.config import load_machine
from slicer.build_time import job_time
from slicer.job import Job
from slicer.job_layer import JobLayer
from slicer.job_writing import write_job
from slicer.layers import Layer
from slicer.scan import KIND_HATCH, ScanPath


def run(*words):
    return CliRunner().invoke(cli, ["estimate", *map(str, words)])


def test_the_table_is_the_models(tmp_path):
    path = write_small_job(tmp_path / "square.kiln")
    with Job.open(path) as job:
        time = job_time(job, time_model(load_machine("bench")))
    figures = json.loads(run(path, "--json").stdout)
    assert figures["total_s"] == pytest.approx(time.total_s) and len(figures["layers"]) == 2
    text = run(path).stdout
    for word in ("exposing", "jumping", "recoating", "starved by the line", "total"):
        assert word in text
    assert "heating                         -" in text, "what is not known is no 0"


@pytest.mark.parametrize("machine", ["bench_grbl", "bench_rrf"])
def test_every_kind_of_controller_has_a_model(tmp_path, machine):
    path = write_small_job(tmp_path / "square.kiln")
    assert json.loads(run(path, "--machine", machine, "--json").stdout)["total_s"] > 0


def test_vectors_too_short_for_the_line_are_told_of(tmp_path):
    x = 50.0 + 0.1 * np.arange(401)
    vectors = np.stack([x[:-1], np.full(400, 60.0), x[1:], np.full(400, 60.0)], axis=1).round(3)
    layer = square_layer(0).layer
    write_job(
        tmp_path / "dense.kiln",
        head("dense"),
        [JobLayer(Layer(0, layer.z_mm, layer.thickness_mm, layer.points_mm, layer.loop_starts),
                  ScanPath.uniform(vectors, KIND_HATCH, 100.0, 100.0))],
    )  # fmt: skip
    assert "too short for 115200 baud" in run(tmp_path / "dense.kiln").stdout


def test_a_rover_builds_nothing(tmp_path):
    done = run(write_small_job(tmp_path / "square.kiln"), "--machine", "osr")
    assert done.exit_code == 2
