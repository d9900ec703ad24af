"""Does the G-code draw exactly the job's vectors, with the right power and speed, in a dialect that Marlin reads?"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_helpers import BENCH, square_layer, write_small_job

from slicer.exporters.gcode import (
    LINE_BYTES_MAX,
    ExportError,
    job_header,
    layer_footer,
    layer_header,
    layer_program,
    write_gcode_layers,
)
from slicer.exporters.source import Source
from slicer.job import Job
from slicer.job_layer import JobError, JobLayer
from slicer.layers import Layer
from slicer.scan import KIND_HATCH, ScanPath

MOVE = re.compile(rb"(G0|G1) X(\d+\.\d{3}) Y(\d+\.\d{3}) F(\d+(?:\.\d{1,3})?) S(\d+)")


def executed(program, s_max=1000):
    """What a controller draws: (n, 4) vectors, their power and speed and line numbers, told by the text alone."""
    at, vectors, watts, speeds, lines = None, [], [], [], []
    for number, line in enumerate(program.lines):
        found = MOVE.fullmatch(line)
        if not found:
            continue
        word, x, y, feed, s = found.groups()
        to = (float(x), float(y))
        if word == b"G1":
            assert at is not None, "a vector before anybody knows where the beam is"
            vectors.append((*at, *to))
            watts.append(program.power_set_w * int(s) / s_max)
            speeds.append(float(feed) / 60)
            lines.append(number)
        else:
            assert s == b"0", "a jump with the beam on"
        at = to
    return np.array(vectors), np.array(watts), np.array(speeds), np.array(lines)


def test_the_lines_of_a_layer():
    lines = layer_program(square_layer(0), BENCH).lines
    assert lines[:4] == [b"M4 I S0", b"G0 X50.000 Y50.000 F6000 S0", b"G1 X60.000 Y50.000 F3000 S1000", lines[3]]
    assert lines[6:8] == [b"G0 X51.000 Y51.000 F6000 S0", b"G1 X59.000 Y51.000 F2400 S800"]
    assert lines[-2:] == [b"M5 I", b"M400"]
    last = square_layer(0).path.vectors_mm[-1]
    assert lines[-3] == b"G0 X%.3f Y%.3f F6000 S0" % (last[0], last[1]), "the last move must not leave a beam on"
    assert sum(line.startswith(b"G0") for line in lines) == 5, "a vector that starts where the beam is has no jump"


def test_what_the_text_draws_is_what_the_job_says():
    job_layer = square_layer(0)
    program = layer_program(job_layer, BENCH)
    vectors, watts, speeds, lines = executed(program)
    np.testing.assert_allclose(vectors, job_layer.path.vectors_mm, atol=5e-4)
    np.testing.assert_allclose(watts, job_layer.path.power_w)
    np.testing.assert_allclose(speeds, job_layer.path.speed_mm_s)
    assert program.power_set_w == 100.0
    blocks = np.full(len(program.lines), -1)
    blocks[lines] = np.arange(len(vectors))
    np.testing.assert_array_equal(program.block_of_line, blocks)
    assert program.block_of_line.dtype == np.int32


at = st.floats(0, 150, allow_nan=False)
vector = st.tuples(at, at, at, at, st.floats(1, 200), st.floats(0.02, 100), st.booleans())


@settings(deadline=None)
@given(st.lists(vector, min_size=1, max_size=40))
def test_any_layer_is_drawn_within_half_a_micrometre_and_half_an_s_step(rows):
    table = np.array([row[:6] for row in rows])
    for before, row, joined in zip(table, table[1:], [r[6] for r in rows[1:]]):
        if joined:
            row[:2] = before[2:4]
    grid = np.rint(table[:, :4] * 1000)
    table = table[(grid[:, :2] != grid[:, 2:]).any(axis=1)]
    if not len(table):
        return
    path = ScanPath(table[:, :4], np.full(len(table), KIND_HATCH, np.uint8), table[:, 4], table[:, 5])
    layer = Layer(0, 0.5, 0.5, np.zeros((0, 2)), np.zeros(1, np.int64))
    program = layer_program(JobLayer(layer, path, 80.0), BENCH)
    vectors, watts, speeds, _ = executed(program)
    np.testing.assert_allclose(vectors, path.vectors_mm, atol=5.001e-4)
    np.testing.assert_allclose(watts, path.power_w, atol=program.power_set_w / 2000 + 1e-9)
    np.testing.assert_allclose(speeds, path.speed_mm_s, atol=1e-5)
    assert max(map(len, program.lines)) <= LINE_BYTES_MAX
    assert not any(set(b"NEZ;*\n") & set(line) for line in program.lines)
    jumps = sum(line.startswith(b"G0") for line in program.lines)
    closed = (np.rint(path.vectors_mm[1:, :2] * 1000) == np.rint(path.vectors_mm[:-1, 2:] * 1000)).all(axis=1)
    assert jumps == len(path) - closed.sum() + 1  # and the retreat


def test_the_exported_file_is_what_a_print_streams_byte_for_byte(tmp_path):
    job_path = write_small_job(tmp_path / "square.kiln", layers=3)
    with Job.open(job_path) as job:
        count = write_gcode_layers(Source.of_job(job), tmp_path / "square.gcode")
        streamed = list(job_header())
        for index in range(3):
            streamed += layer_program(job.layer(index), job.envelope).lines
    lines = (tmp_path / "square.gcode").read_bytes().splitlines()
    assert [line for line in lines if not line.startswith(b";")] == streamed
    assert (len(lines), 21) == (count.lines, count.vectors) and max(map(len, lines)) <= LINE_BYTES_MAX
    assert b"\r" not in (tmp_path / "square.gcode").read_bytes()


def test_a_jump_is_no_faster_than_the_gantry():
    job_layer = replace(square_layer(0), jump_speed_mm_s=900.0)
    assert layer_program(job_layer, BENCH).lines[1].endswith(b"F6000 S0")
    assert layer_program(replace(square_layer(0), jump_speed_mm_s=None), BENCH).lines[1].endswith(b"F6000 S0")
    assert layer_program(replace(square_layer(0), jump_speed_mm_s=12.5), BENCH).lines[1].endswith(b"F750 S0")


def test_an_empty_layer_only_keeps_the_beam_off():
    layer = Layer(0, 0.5, 0.5, np.zeros((0, 2)), np.zeros(1, np.int64))
    program = layer_program(JobLayer(layer, ScanPath.empty()), BENCH)
    assert program.lines == [*layer_header(), *layer_footer()] and program.power_set_w == 0.0
    assert (program.block_of_line == -1).all()


def test_a_vector_too_weak_beside_its_neighbours_is_refused_not_dropped():
    path = square_layer(0).path
    power = path.power_w.copy()
    power[2] = 0.04
    with pytest.raises(ExportError, match=r"0\.04 W beside one of 100 W is under S1 of S1000"):
        layer_program(replace(square_layer(0), path=replace(path, power_w=power)), BENCH)


def test_nothing_that_is_not_finite_becomes_text():
    path = square_layer(0).path
    spoiled = path.vectors_mm.copy()
    spoiled[1, 0] = np.nan
    with pytest.raises(JobError, match="not a finite number"):
        layer_program(replace(square_layer(0), path=replace(path, vectors_mm=spoiled)), BENCH)


def test_another_full_power_word_scales_s():
    envelope = replace(BENCH, s_max=255)
    assert layer_program(square_layer(0), envelope).lines[7].endswith(b"S204")
