"""Do the tables hold every number of every vector?"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from export_helpers import golden_layers, job_layers, source_of
from hypothesis import given, settings
from job_helpers import BENCH, head, wire_small

from control.cli import cli
from slicer.bricks import rectangular, write_stl
from slicer.exporters.source import ExportError
from slicer.exporters.table import stream_csv, stream_npz, write_csv, write_npz
from slicer.job import Job
from slicer.job_writing import write_job
from slicer.plan import plan_job
from slicer.scan import ScanPath

GOLDEN = Path(__file__).parent / "golden"


def columns(layers):
    """Every vector's numbers as they were planned, by name."""
    path = ScanPath.concat([layer.path for layer in layers])
    named = {name: getattr(path, name) for name in ("kind", "power_w", "speed_mm_s", "focus_mm", "wait_s", "beam")}
    named |= dict(zip(("x0_mm", "y0_mm", "x1_mm", "y1_mm"), path.vectors_mm.T))
    return named | {"layer": np.repeat([layer.layer.index for layer in layers], [len(layer.path) for layer in layers])}


@settings(deadline=None, max_examples=50)
@given(job_layers())
def test_the_lines_hold_every_number(layers):
    stream = io.BytesIO()
    written = stream_csv(source_of(layers), stream)
    rows = list(csv.DictReader(stream.getvalue().decode("ascii").splitlines()))
    expected = columns(layers)
    assert written.vectors == len(rows) == len(expected["kind"]) and written.lines == len(rows) + 1
    for name, column in expected.items():
        np.testing.assert_array_equal([float(row[name]) for row in rows], column, err_msg=name)
    assert {float(row["z_mm"]) for row in rows} <= {layer.layer.z_mm for layer in layers}


@settings(deadline=None, max_examples=50)
@given(job_layers())
def test_the_records_hold_every_number(layers):
    stream = io.BytesIO()
    written = stream_npz(source_of(layers), stream)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as file:
        vectors, about = file["vectors"], file["layers"]
    expected = columns(layers)
    assert written.vectors == len(vectors) == len(expected["kind"])
    for name, column in expected.items():
        np.testing.assert_array_equal(vectors[name], column, err_msg=name)
    np.testing.assert_array_equal(about["z_mm"], [layer.layer.z_mm for layer in layers])
    ends = [*about["first_vector"][1:].tolist(), len(vectors)]
    assert [end - begin for begin, end in zip(about["first_vector"], ends)] == [len(layer.path) for layer in layers]


@pytest.mark.parametrize(("name", "write"), [("square.csv", write_csv), ("square.npz", write_npz)])
def test_the_golden_file(name, write, tmp_path):
    write(source_of(golden_layers()), tmp_path / name)
    assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


def test_records_must_be_counted_beforehand(tmp_path):
    source = source_of(golden_layers())
    with pytest.raises(ExportError, match="not known here"):
        write_npz(replace(source, vector_count=None), tmp_path / "a.npz")
    with pytest.raises(ExportError, match="2 layers of 23 vectors in all were announced, but 2 of 22 came"):
        write_npz(replace(source, vector_count=23), tmp_path / "a.npz")
    with pytest.raises(ExportError, match="1 layers of 22 vectors in all were announced, but 2 of 22 came"):
        write_npz(replace(source, layer_count=1), tmp_path / "a.npz")
    assert not list(tmp_path.iterdir()), "nothing half-written stays"


def test_the_command_writes_them(tmp_path):
    write_job(tmp_path / "square.kiln", head(), golden_layers())
    for form in ("csv", "npz"):
        out = tmp_path / f"square.{form}"
        done = CliRunner().invoke(
            cli, ["export", str(tmp_path / "square.kiln"), "--to", form, "-o", str(out), "--json"]
        )
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert told["vectors"] == 22 and told["notes"] == []
        assert out.read_bytes() == (GOLDEN / out.name).read_bytes()
    refused = CliRunner().invoke(
        cli, ["export", str(tmp_path / "square.kiln"), "--to", "npz", "--beam", "1", "-o", str(tmp_path / "b.npz")]
    )
    assert refused.exit_code == 2 and "export to .csv" in refused.stderr


def test_a_job_of_two_heads_is_exported_head_by_head(tmp_path):
    write_stl(rectangular(20, 10, 5), tmp_path / "plate.stl")
    plan_job(tmp_path / "plate.stl", wire_small(heads="2"), BENCH, tmp_path / "two.kiln")
    with Job.open(tmp_path / "two.kiln") as job:
        paths = [job.layer(index).path for index in range(job.manifest.layer_count)]

    def exported(*words):
        out = tmp_path / f"out.{words[1]}"
        done = CliRunner().invoke(cli, ["export", str(tmp_path / "two.kiln"), *words, "-o", str(out)])
        return done, out

    for head_number in (0, 1):
        done, out = exported("--to", "csv", "--beam", str(head_number))
        assert done.exit_code == 0, done.output
        rows = list(csv.DictReader(out.read_text().splitlines()))
        for name, column in (("x0_mm", 0), ("y1_mm", 3)):
            planned = np.concatenate([path.vectors_mm[path.beam == head_number, column] for path in paths])
            np.testing.assert_array_equal([float(row[name]) for row in rows], planned)
        assert exported("--to", "gcode", "--beam", str(head_number))[0].exit_code == 0
    nobody, _ = exported("--to", "csv", "--beam", "2")
    assert nobody.exit_code == 2 and "head 2 exposes nothing" in nobody.stderr
    both, _ = exported("--to", "gcode")
    assert both.exit_code == 2 and "--beam" in both.stderr
