"""Is a CLI file, read by another reader, the job: vectors, ids, contours the right way round?"""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import cli_reader
import naive
import numpy as np
import pytest
from click.testing import CliRunner
from export_helpers import golden_layers, job_layers, source_of
from hypothesis import given, settings
from job_helpers import head, square_layer

from control.cli import cli
from slicer.exporters.common_layer import HEADER_BYTES, LABELS_MAX, Form, stream_cli, write_cli
from slicer.exporters.parameters import SETS_MAX, TRACKS
from slicer.exporters.source import ExportError
from slicer.job_layer import JobLayer
from slicer.job_writing import write_job
from slicer.kernels.blocks import block_starts, number_sets
from slicer.scan import KIND_CONTOUR, ScanPath

GOLDEN = Path(__file__).parent / "golden"


def written(layers, form, unit_mm=0.001):
    stream = io.BytesIO()
    told, table = stream_cli(source_of(layers), stream, form, unit_mm)
    return told, table, stream.getvalue()


@pytest.mark.parametrize("form", Form)
@settings(deadline=None, max_examples=40)
@given(layers=job_layers())
def test_what_is_read_is_what_was_planned(form, layers):
    told, table, data = written(layers, form)
    file = cli_reader.read(data)
    assert file.binary == (form is not Form.ASCII)
    assert told.vectors == sum(len(layer.path) for layer in layers)
    assert told.lines == (data.count(b"\n") if form is Form.ASCII else 0)
    energy_j = 0.0
    for (z_mm, blocks), job_layer in zip(file.layers, layers, strict=True):
        path = job_layer.path
        assert z_mm == pytest.approx(job_layer.layer.z_mm, rel=1e-7)
        rows = np.array(cli_reader.vectors(blocks)).reshape(-1, 5)
        # long numbers are whole units, so that nothing is lost to 24 bits; only the unit itself is a binary fraction
        np.testing.assert_allclose(rows[:, 1:], path.vectors_mm, rtol=1e-12, atol=1e-12)
        sets = [table.sets[int(number) - 1] for number in rows[:, 0]]
        np.testing.assert_array_equal([s.kind for s in sets], path.kind)
        np.testing.assert_array_equal([s.power_w for s in sets], path.power_w)
        np.testing.assert_array_equal([s.speed_mm_s for s in sets], path.speed_mm_s)
        np.testing.assert_array_equal([s.focus_mm for s in sets], path.focus_mm)
        np.testing.assert_array_equal([s.beam for s in sets], path.beam)
        for block in blocks:
            assert (block[0] == "polyline") == (table.sets[block[1] - 1].kind in TRACKS)
        energy_j += path.energy_j
    assert sum(s.energy_j for s in table.sets) == pytest.approx(energy_j)
    assert table.wait_s == pytest.approx(sum(layer.path.wait_s.sum() for layer in layers))
    assert set(file.labels) == {s.number for s in table.sets}


@pytest.mark.parametrize("form", Form)
def test_the_golden_file(form, tmp_path):
    out = tmp_path / f"square.{form.value}.cli"
    written = write_cli(source_of(golden_layers()), out, form)
    assert out.read_bytes() == (GOLDEN / out.name).read_bytes()
    beside = tmp_path / f"{out.name}.parameters.csv"
    assert beside.read_bytes() == (GOLDEN / "square.cli.parameters.csv").read_bytes()
    assert written.notes == (
        f"power and speed of each id stand in {beside.name}",
        "the 2.25 s of waits before vectors are not in the file, CLI has no word for them",
    )


def test_contours_are_closed_polylines_that_say_which_way_they_run():
    _, _, data = written(golden_layers(), Form.LONG)
    first = cli_reader.read(data).layers[0][1]
    polylines = [block for block in first if block[0] == "polyline"]
    assert [(direction, len(points)) for _, _, direction, points in polylines] == [(1, 5), (0, 5), (2, 3)]
    assert all(points[0] == points[-1] for _, _, direction, points in polylines if direction != 2)
    assert [len(block[2]) for block in first if block[0] == "hatches"] == [3, 1, 1]


def test_two_loops_from_one_point_are_two_polylines():
    corners = np.array([[10.0, 10], [20, 10], [20, 20]])
    loop = np.hstack([corners, np.roll(corners, -1, axis=0)])
    path = ScanPath.uniform(np.vstack([loop, loop - [[0, 0, 5, 5], [5, 5, 5, 5], [5, 5, 0, 0]]]), KIND_CONTOUR, 9, 9)
    _, _, data = written([replace(square_layer(0), path=path)], Form.LONG)
    blocks = cli_reader.read(data).layers[0][1]
    assert [(direction, len(points)) for _, _, direction, points in blocks] == [(1, 4), (1, 4)]


def test_the_sidecar_says_what_ids_mean(tmp_path):
    layers = golden_layers()
    write_cli(source_of(layers), tmp_path / "a.cli")
    rows = list(csv.DictReader((tmp_path / "a.cli.parameters.csv").read_text().splitlines()))
    energy_j = sum(layer.path.energy_j for layer in layers)
    assert sum(float(row["energy_j"]) for row in rows) == pytest.approx(energy_j)
    assert sum(int(row["vectors"]) for row in rows) == sum(len(layer.path) for layer in layers)
    assert [row["kind"] for row in rows] == ["contour", "hatch", "up-skin", "down-skin", "thin wall"]
    assert rows[2]["focus_mm"] == "1.25" and rows[4]["beam"] == "1"


def test_binary_data_follow_the_header_at_once():
    for form in (Form.LONG, Form.SHORT):
        _, _, data = written(golden_layers(), form)
        assert data[HEADER_BYTES - 11 : HEADER_BYTES] == b"$$HEADEREND"
        assert data[HEADER_BYTES] == {Form.LONG: 127, Form.SHORT: 128}[form] and b"\r" not in data[:HEADER_BYTES]


def moved(layer: JobLayer, by_mm) -> JobLayer:
    return replace(layer, path=replace(layer.path, vectors_mm=layer.path.vectors_mm + by_mm))


def test_the_short_form_refuses_what_it_cannot_count():
    with pytest.raises(ExportError, match=r"layer 0: 110 mm are 110000 units of 0\.001 mm.*a unit of 0\.0017 mm"):
        written([moved(square_layer(0), 50.0)], Form.SHORT)
    file = cli_reader.read(written([moved(square_layer(0), 50.0)], Form.SHORT, 0.0017)[2])
    rows = np.array(cli_reader.vectors(file.layers[0][1]))[:, 1:]
    np.testing.assert_allclose(rows, square_layer(0).path.vectors_mm + 50.0, atol=0.00086)
    with pytest.raises(ExportError, match=r"of -0\.0004 mm is negative"):
        written([moved(square_layer(0), -50.0004)], Form.SHORT, 0.0001)


def test_the_short_form_refuses_a_contour_with_too_many_points():
    angle = np.linspace(0, 2 * np.pi, 65_537)
    points = np.round(np.stack([80 + 40 * np.cos(angle), 60 + 40 * np.sin(angle)], axis=1), 3)
    points[-1] = points[0]
    path = ScanPath.uniform(np.hstack([points[:-1], points[1:]]), KIND_CONTOUR, 9, 9)
    path = path.chosen((path.vectors_mm[:, :2] != path.vectors_mm[:, 2:]).any(axis=1))
    layer = replace(square_layer(0), path=path)
    with pytest.raises(ExportError, match=r"a contour has 65537 points, and short CLI counts to 65535"):
        written([layer], Form.SHORT, 0.002)
    assert len(cli_reader.read(written([layer], Form.LONG)[2]).layers[0][1][0][3]) == 65_537


def test_more_hatches_than_the_short_form_counts_are_told_in_two_commands():
    path = square_layer(0).path.of_kind(0)
    many = path.chosen(np.arange(70_000) % len(path))
    file = cli_reader.read(written([replace(square_layer(0), path=many)], Form.SHORT)[2])
    assert [len(block[2]) for block in file.layers[0][1]] == [65_535, 4_465]


def test_too_many_parameter_sets_are_refused_in_a_sentence():
    path = square_layer(0).path.chosen(np.arange(SETS_MAX + 1) % 7)
    path = replace(path, power_w=np.linspace(1.0, 100.0, len(path)))
    with pytest.raises(ExportError, match=r"layer 0: the job has more than 1024 different pairs"):
        written([replace(square_layer(0), path=path)], Form.LONG)
    fewer = replace(square_layer(0), path=path.chosen(slice(SETS_MAX)))
    _, table, data = written([fewer], Form.LONG)
    assert len(table.sets) == SETS_MAX
    assert len(cli_reader.read(data).labels) == LABELS_MAX  # the others stand in the sidecar


def test_names_cannot_break_the_header():
    source = source_of(golden_layers())
    source = replace(source, head=replace(source.head, name="a,b/c $$HEADEREND\n// é" + 200 * "x"))
    stream = io.BytesIO()
    stream_cli(source, stream, Form.LONG)
    assert cli_reader.read(stream.getvalue()).header["USERDATA"][1].startswith("job a_b/c __HEADEREND___ _xxx")


def test_a_unit_out_of_range_is_refused(tmp_path):
    for unit_mm in (0.0, -1.0, float("nan"), 2.0):
        with pytest.raises(ExportError, match="give one from 1e-06 to 1 mm"):
            write_cli(source_of(golden_layers()), tmp_path / "x", Form.LONG, unit_mm)
    assert not list(tmp_path.iterdir())


@settings(deadline=None, max_examples=60)
@given(layers=job_layers(1))
def test_the_kernels_say_what_plain_code_says(layers):
    path = layers[0].path
    sets, sums, set_of = np.zeros((9, 5)), np.zeros((9, 4)), np.empty(len(path), np.int32)
    columns = (path.kind, path.power_w, path.speed_mm_s, path.focus_mm)
    known = number_sets(path.vectors_mm, *columns, path.wait_s, path.beam, sets, 0, sums, set_of)
    expected_sets, expected_of = naive.number_sets(*columns, path.beam, room=9)
    assert known == (-1 if expected_sets is None else len(expected_sets))
    if known < 0:
        return
    np.testing.assert_array_equal(sets[:known], np.array(expected_sets).reshape(-1, 5))
    np.testing.assert_array_equal(set_of, expected_of)
    np.testing.assert_allclose(sums[:, 2].sum(), path.energy_j, rtol=1e-12)
    tracks = np.isin(sets[:, 0], TRACKS)
    for wait_s in (path.wait_s, np.zeros(1)):
        for per_unit in (0.0, 1000.0, 0.1):
            starts = block_starts(path.vectors_mm, per_unit, set_of, tracks, wait_s, 2)
            units = np.rint(path.vectors_mm * per_unit) if per_unit else path.vectors_mm
            assert starts.tolist() == naive.block_starts(units, set_of, tracks, wait_s, 2)


@pytest.mark.parametrize(("unit_mm", "is_told"), [(0.1, False), (0.11, True), (1.0, True)])
def test_a_unit_that_moves_tracks_onto_each_other_is_told_of(tmp_path, unit_mm, is_told):
    """The recipe's tracks are 1 mm apart."""
    notes = write_cli(source_of(golden_layers()), tmp_path / "x", Form.LONG, unit_mm).notes
    told = [note for note in notes if "over a tenth of the 1 mm from track to track" in note]
    assert len(told) == is_told and all(f"move by up to {unit_mm / 2:g} mm" in note for note in told)


def test_the_command_writes_each_form_and_says_what_is_lost(tmp_path):
    job_path = tmp_path / "square.kiln"
    write_job(job_path, head(), golden_layers())
    for name, form in (("cli", Form.LONG), ("cli-short", Form.SHORT), ("cli-ascii", Form.ASCII)):
        out = tmp_path / f"{name}.cli"
        done = CliRunner().invoke(cli, ["export", str(job_path), "--to", name, "--unit", "0.002", "-o", str(out)])
        assert done.exit_code == 0, done.output
        assert "22 vectors" in done.stdout and "2.25 s of waits" in done.stderr
        file = cli_reader.read(out.read_bytes())
        assert file.unit_mm == 0.002 and file.binary == (form is not Form.ASCII) and len(file.layers) == 2
    refused = CliRunner().invoke(cli, ["export", str(job_path), "--to", "gcode", "--unit", "1", "-o", "x"])
    assert refused.exit_code == 2 and "--unit is for --to cli and cli-short and cli-ascii" in refused.stderr
