"""Is an OVF file, decoded by protoc's code, the job: vectors, parameters, heads, waits, and where all of it begins?"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from export_helpers import golden_layers, job_layers, source_of
from hypothesis import given, settings
from job_helpers import head, square_layer

from control.cli import cli
from slicer.exporters import ovf
from slicer.exporters.ovf import stream_ovf, write_ovf
from slicer.exporters.parameters import TRACKS
from slicer.job_writing import write_job
from slicer.scan import KIND_DOWN_SKIN, KIND_UP_SKIN

pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")

import ovf_reader

GOLDEN = Path(__file__).parent / "golden" / "square.ovf"


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    return ovf_reader.compile_schema(tmp_path_factory.mktemp("ovf"))


def written(layers):
    stream = io.BytesIO()
    told = stream_ovf(source_of(layers), stream)
    assert stream.tell() == len(stream.getvalue())
    return told, stream.getvalue()


@settings(deadline=None, max_examples=60)
@given(layers=job_layers())
def test_what_is_decoded_is_what_was_planned(schema, layers):
    told, data = written(layers)
    file = ovf_reader.read(data, schema)
    assert told.vectors == sum(len(layer.path) for layer in layers)
    assert file.job.num_work_planes == len(file.planes) == len(layers)
    energy_j = 0.0
    for (shell, blocks), job_layer in zip(file.planes, layers):
        path = job_layer.path
        rows = np.array(ovf_reader.vectors(blocks)).reshape(-1, 9)
        np.testing.assert_array_equal(rows[:, 5:], path.vectors_mm.astype(np.float32))
        np.testing.assert_array_equal(rows[:, 1], path.beam)
        np.testing.assert_array_equal(rows[:, 2] == 1, np.isin(path.kind, TRACKS))
        np.testing.assert_array_equal(rows[:, 3] == 1, path.kind == KIND_DOWN_SKIN)
        np.testing.assert_array_equal(rows[:, 3] == 2, path.kind == KIND_UP_SKIN)
        np.testing.assert_array_equal(rows[:, 4], np.rint(path.wait_s * 1e6))
        params = [file.job.marking_params_map[int(key)] for key in rows[:, 0]]
        np.testing.assert_array_equal([p.laser_power_in_w for p in params], path.power_w.astype(np.float32))
        np.testing.assert_array_equal([p.laser_speed_in_mm_per_s for p in params], path.speed_mm_s.astype(np.float32))
        np.testing.assert_array_equal([p.laser_focus_shift_in_mm for p in params], path.focus_mm.astype(np.float32))
        lengths = np.hypot(rows[:, 7] - rows[:, 5], rows[:, 8] - rows[:, 6])
        energy_j += sum(p.laser_power_in_w * mm / p.laser_speed_in_mm_per_s for p, mm in zip(params, lengths))
        assert shell.num_blocks == len(blocks) and shell.work_plane_number == job_layer.layer.index
        assert shell.z_pos_in_mm == np.float32(job_layer.layer.z_mm)
        assert shell.meta_data.total_scan_distance_in_mm == pytest.approx(path.length_mm)
        assert shell.meta_data.total_jump_distance_in_mm == pytest.approx(path.jump_length_mm)
        told_mm = sum(b.meta_data.total_scan_distance_in_mm for b in blocks)
        assert told_mm == pytest.approx(path.length_mm)
    planned_j = sum(layer.path.energy_j for layer in layers)
    assert energy_j == pytest.approx(planned_j, rel=1e-5, abs=1e-9)


def test_the_golden_file(tmp_path):
    write_ovf(source_of(golden_layers()), tmp_path / "square.ovf")
    assert (tmp_path / "square.ovf").read_bytes() == GOLDEN.read_bytes()


def test_the_golden_file_tells_what_was_planned(schema):
    file = ovf_reader.read(GOLDEN.read_bytes(), schema)
    first = file.planes[0][1]
    assert [block.WhichOneof("vector_data") for block in first] == [
        *("line_sequence", "exposure_pause", "_hatches", "line_sequence", "_hatches", "exposure_pause", "_hatches"),
        "line_sequence",
    ]
    assert [block.exposure_pause.pause_in_us for block in first][1::4] == [250_000, 2_000_000]
    assert [block.laser_index for block in first] == [0] * 7 + [1]
    assert list(first[-1].line_sequence.points) == [62, 50, 62, 55, 63, 59.125]
    job = file.job
    assert job.job_meta_data.job_name == "square" and job.parts_map[1].name == "square"
    assert job.parts_map[1].process_strategy.layer_thickness_in_mm == 0.5
    assert [job.marking_params_map[key].name for key in sorted(job.marking_params_map)] == [
        *("contour 100 W 50 mm/s", "hatch 80 W 40 mm/s", "up-skin 60 W 30 mm/s focus +1.25 mm"),
        *("down-skin 55 W 45 mm/s", "thin wall 40 W 20 mm/s head 1"),
    ]
    box = job.job_meta_data.bounds
    assert (box.x_min, box.y_min, box.x_max, box.y_max) == (50, 50, 63, 60)
    assert all(params.jump_speed_in_mm_s == 100 for params in job.marking_params_map.values())


def test_long_hatches_are_told_in_several_blocks(schema, monkeypatch):
    monkeypatch.setattr(ovf, "HATCHES_MAX", 1000)
    path = square_layer(0).path.of_kind(0)
    many = path.chosen(np.arange(2500) % len(path))
    _, data = written([replace(square_layer(0), path=many)])
    _, blocks = ovf_reader.read(data, schema).planes[0]
    assert [len(block._hatches.points) // 4 for block in blocks] == [1000, 1000, 500]


def test_the_reader_notices_a_wrong_table(schema):
    _, data = written(golden_layers())
    with pytest.raises(Exception):  # noqa: B017  (whichever of many ways a shifted file cannot be read)
        ovf_reader.read(data[:12] + b"\0" + data[12:], schema)


def test_the_command_writes_it(tmp_path, schema):
    write_job(tmp_path / "square.kiln", head(), golden_layers())
    out = tmp_path / "square.ovf"
    done = CliRunner().invoke(cli, ["export", str(tmp_path / "square.kiln"), "--to", "ovf", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert [len(ovf_reader.vectors(blocks)) for _, blocks in ovf_reader.read(out.read_bytes(), schema).planes] == [
        15,
        7,
    ]
