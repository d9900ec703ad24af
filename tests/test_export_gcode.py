"""Does each dialect's G-code draw the job: vectors, power, speed, waits, and never a beam that stands?"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import gcode_reader
import naive
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from job_helpers import BENCH, head, square_layer, write_small_job

import control.commands.export as commands
from control.cli import cli
from slicer.exporters.dialects import DIALECTS, MARLIN
from slicer.exporters.gcode import (
    DWELL_S_MAX,
    ExportError,
    layer_program,
    layer_text,
    stream_gcode,
    warm_up,
    write_gcode_layers,
)
from slicer.exporters.source import Source
from slicer.job import Job
from slicer.job_layer import JobLayer
from slicer.kernels.checking import vectors_fit
from slicer.kernels.text import gcode_lines
from slicer.layers import Layer
from slicer.scan import ScanPath

GOLDEN = Path(__file__).parent / "golden"

at = st.floats(0, 150, allow_nan=False)
vector = st.tuples(
    at, at, at, at, st.floats(1, 200), st.floats(0.02, 100), st.booleans(), st.sampled_from([0, 0, 0.25])
)


@st.composite
def layers(draw, size=25):
    """A layer with vectors that join and vectors that jump, of any power and speed; some wait."""
    rows = draw(st.lists(vector, min_size=1, max_size=size))
    table = np.array([row[:6] for row in rows])
    for before, row, joined in zip(table, table[1:], [r[6] for r in rows[1:]]):
        if joined:
            row[:2] = before[2:4]
    grid = np.rint(table[:, :4] * 1000)
    kept = (grid[:, :2] != grid[:, 2:]).any(axis=1)
    table, wait = table[kept], np.array([row[7] for row in rows], float)[kept]
    path = ScanPath(table[:, :4], np.arange(len(table), dtype=np.uint8) % 5, table[:, 4], table[:, 5], wait_s=wait)
    return JobLayer(Layer(0, 0.5, 0.5, np.zeros((0, 2)), np.zeros(1, np.int64)), path, 80.0)


def table_of(texts):
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    return np.frombuffer(bytearray(b"".join(texts)), np.uint8), starts


@settings(deadline=None, max_examples=60)
@given(layers(), st.booleans(), st.booleans(), st.integers(1, 3))
def test_the_kernel_writes_what_plain_code_writes(job_layer, says_lights, waits, kinds):
    vectors = job_layer.path.vectors_mm - [[0.0, 3.0, 0.0, 3.0]]  # some of them negative
    n = len(vectors)
    tails = [b" F%d S7" % k for k in range(kinds)]
    lights = [b"M67 E0 Q%d\n" % k if says_lights else b"" for k in range(kinds)]
    dark = b"M67 E0 Q0\n" if says_lights else b""
    tail_of = np.arange(n) * 7 // 3 % kinds
    dwells = [b"G4 P1\n", b"G4 P60000\nG4 P2\n"]
    dwell_of = np.arange(n) % 4 - 2 if waits else np.zeros(0, np.int64)
    dwell_of = np.where(dwell_of < 0, -1, dwell_of)
    text, blocks = gcode_lines(
        vectors, tail_of, *table_of(tails), *table_of(lights), table_of([dark])[0], table_of([b" F9"])[0], dwell_of,
        *table_of(dwells),
    )  # fmt: skip
    lines, expected = naive.gcode_lines(vectors, tail_of, tails, lights, dark, b" F9", dwell_of, dwells)
    assert text.tobytes() == b"".join(line + b"\n" for line in lines)
    assert blocks.tolist() == expected


@pytest.mark.parametrize("name", DIALECTS)
@settings(deadline=None, max_examples=25)
@given(job_layer=layers())
def test_any_layer_is_drawn_as_it_was_planned(name, job_layer):
    file = io.BytesIO()
    source = Source(replace(head(), envelope=BENCH), [job_layer, job_layer], 2, None, "0")
    written = stream_gcode(source, file, DIALECTS[name])
    drawn = gcode_reader.read(file.getvalue(), name, 1000)
    vectors, share, speed, wait = drawn.arrays()
    path = ScanPath.concat([job_layer.path, job_layer.path])
    assert written.vectors == len(vectors) == len(path)
    np.testing.assert_allclose(vectors, path.vectors_mm, atol=5.001e-4)
    full_w = path.power_w.max(initial=1.0)
    np.testing.assert_allclose(share * full_w, path.power_w, atol=full_w / 2000 + 1e-9)
    np.testing.assert_allclose(speed, path.speed_mm_s, atol=1e-5)
    np.testing.assert_allclose(wait, path.wait_s, atol=1e-9)
    assert drawn.ends_dark
    assert drawn.longest_line <= DIALECTS[name].line_bytes_max
    assert drawn.pauses == (2 if DIALECTS[name].pause else 0)
    assert written.lines == file.getvalue().count(b"\n")


@pytest.mark.parametrize("name", DIALECTS)
def test_the_golden_file(name, tmp_path):
    job_layer = square_layer(0)
    wait = np.zeros(len(job_layer.path))
    wait[[2, 5]] = 0.5, 125.0
    waiting = replace(job_layer, path=replace(job_layer.path, wait_s=wait))
    source = Source(head(), [waiting, square_layer(1)], 2, 14, "golden")
    write_gcode_layers(source, tmp_path / "out", DIALECTS[name])
    assert (tmp_path / "out").read_bytes() == (GOLDEN / f"square.{name}.gcode").read_bytes()


@pytest.mark.parametrize("name", DIALECTS)
def test_another_reader_finds_the_same_moves(name):
    parser = pytest.importorskip("gcodeparser", reason="gcodeparser is not installed")
    job_layer = square_layer(0)
    program = layer_program(job_layer, BENCH, DIALECTS[name])
    moves = [
        (line.command[1], line.params["X"], line.params["Y"], line.params.get("F"))
        for line in parser.parse_gcode_lines(io.StringIO("\n".join(text.decode() for text in program.lines)))
        if line.command in (("G", 0), ("G", 1))
    ]
    exposed = [(start[1:3], end[1:3], end[3] / 60) for start, end in pairwise(moves) if end[0] == 1]
    path = job_layer.path
    assert exposed == [(tuple(v[:2]), tuple(v[2:]), s) for v, s in zip(path.vectors_mm.tolist(), path.speed_mm_s)]


def test_the_text_of_a_layer_is_its_lines():
    for dialect in DIALECTS.values():
        program, text = layer_program(square_layer(0), BENCH, dialect), layer_text(square_layer(0), BENCH, dialect)
        assert text.text.tobytes() == b"".join(line + b"\n" for line in program.lines)
        assert len(program.block_of_line) == len(program.lines)
        assert sorted(block for block in program.block_of_line.tolist() if block >= 0) == list(range(7))
        for line, block in zip(program.lines, program.block_of_line):
            assert (block >= 0) == line.startswith(b"G1")


def test_a_wait_is_no_shorter_than_asked_and_each_line_of_it_bounded():
    path = square_layer(0).path
    wait = np.zeros(len(path))
    wait[3] = 2 * DWELL_S_MAX + 0.0004
    lines = layer_program(replace(square_layer(0), path=replace(path, wait_s=wait)), BENCH).lines
    dwells = [line for line in lines if line.startswith(b"G4")]
    assert dwells == [b"G4 P60000", b"G4 P60000", b"G4 P1"]
    first = lines.index(b"G4 P60000")
    start = b"G0 X%.3f Y%.3f F6000 S0" % tuple(path.vectors_mm[3, :2])
    assert lines[first - 1] == start
    assert lines[first - 2] == b"G0 X%.3f Y%.3f F6000 S0" % tuple(path.vectors_mm[2, :2]), "a move that leads somewhere"


def test_linuxcnc_says_power_only_where_it_changes():
    lines = layer_program(square_layer(0), BENCH, DIALECTS["linuxcnc"]).lines
    powers = [line for line in lines if line.startswith(b"M67")]
    assert powers == [b"M67 E0 Q1", b"M67 E0 Q0"] + 3 * [b"M67 E0 Q0.8", b"M67 E0 Q0"]


def test_what_g_code_cannot_say_is_refused():
    path = square_layer(0).path
    other = replace(path, beam=np.array([0, 0, 1, 0, 0, 0, 0], np.uint8))
    with pytest.raises(ExportError, match="head 1 exposes a vector"):
        layer_program(replace(square_layer(0), path=other), BENCH)
    shifted = replace(path, focus_mm=np.array([0, 0, 0, -2.5, 0, 0, 0]))
    with pytest.raises(ExportError, match=r"focus is shifted by -2\.5 mm"):
        layer_program(replace(square_layer(0), path=shifted), BENCH)


def test_heads_are_exported_one_by_one(tmp_path):
    path = square_layer(0).path
    two = replace(square_layer(0), path=replace(path, beam=np.array([0, 0, 1, 0, 0, 1, 0], np.uint8)))
    drawn = []
    for number in (0, 1):
        source = Source(head(), [two], 1, 7, "0").of_beam(number)
        write_gcode_layers(source, tmp_path / "out", MARLIN)
        vectors, *_ = gcode_reader.read((tmp_path / "out").read_bytes(), "marlin", 1000).arrays()
        drawn.append(vectors)
    np.testing.assert_allclose(drawn[0], path.vectors_mm[[0, 1, 3, 4, 6]])
    np.testing.assert_allclose(drawn[1], path.vectors_mm[[2, 5]])


def test_full_power_is_the_machine_s(tmp_path):
    job_path = write_small_job(tmp_path / "square.kiln")
    with Job.open(job_path) as job:
        write_gcode_layers(Source.of_job(job), tmp_path / "a", DIALECTS["rrf"])
    assert b"M452 S0 R1000\n" in (tmp_path / "a").read_bytes()
    envelope = replace(BENCH, s_max=255)
    write_gcode_layers(
        Source(replace(head(), envelope=envelope), [square_layer(0)], 1, 7, "0"), tmp_path / "b", DIALECTS["rrf"]
    )
    text = (tmp_path / "b").read_bytes()
    assert b"M452 S0 R255\n" in text and b"F2400 S204\n" in text


def test_the_command_knows_every_dialect(tmp_path):
    assert tuple(DIALECTS) == commands.DIALECTS
    job_path = write_small_job(tmp_path / "square.kiln")
    for name in DIALECTS:
        out = tmp_path / f"out.{name}"
        done = CliRunner().invoke(
            cli, ["export", str(job_path), "--dialect", name, "--s-max", "255", "-o", str(out), "--json"]
        )
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert told["vectors"] == 14 and told["bytes"] == out.stat().st_size
        assert len(gcode_reader.read(out.read_bytes(), name, 255).vectors_mm) == 14


def test_a_print_compiles_nothing_after_the_warm_up(tmp_path):
    warm_up()
    known = [list(kernel.signatures) for kernel in (gcode_lines, vectors_fit)]
    with Job.open(write_small_job(tmp_path / "square.kiln")) as job:
        whole = job.layer(1)
        layer_program(whole, job.envelope)
        layer_program(replace(whole, path=whole.path.chosen(slice(3, None))), job.envelope)
    path = whole.path
    waiting = replace(path, wait_s=np.full(len(path), 0.5))
    layer_program(replace(whole, path=waiting), BENCH)
    assert [list(kernel.signatures) for kernel in (gcode_lines, vectors_fit)] == known
