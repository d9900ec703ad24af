"""Does a build's time add up, layer by layer, and does it say what is worth knowing before the build is started?"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_helpers import BENCH, square_layer, write_small_job

from slicer.build_time import AxisDrive, BuildTimeError, Recoat, TimeModel, build_time, job_time
from slicer.job import Job
from slicer.layers import Layer
from slicer.motion_time import FIRMWARES, Wire, path_program, path_time, program_time
from slicer.scan import KIND_HATCH, ScanPath

BLADE, PISTON = AxisDrive(150.0, 0.0225), AxisDrive(2.0, 0.0024)
RECOAT = Recoat(BLADE, 310.0, PISTON, passes=1, overhead_s=0.5)
WIRED = TimeModel(wire=Wire(115_200))
SQUARE = square_layer(0).layer


@dataclass(frozen=True)
class Planned:
    """A layer with a path, as `build_time` takes it."""

    path: ScanPath
    layer: Layer = SQUARE
    jump_speed_mm_s: float | None = 100.0


def pieces(count: int, step_mm: float, aside_mm: float = 0.0) -> ScanPath:
    """A line in short pieces, or a zigzag."""
    points = np.array([[50 + step_mm * i, 50 + aside_mm * (i % 2)] for i in range(count + 1)])
    return ScanPath.uniform(np.hstack([points[:-1], points[1:]]), KIND_HATCH, 100.0, 90.0)


# ---- layers


def test_a_layer_is_its_path_the_way_there_and_the_way_back():
    path = square_layer(0).path
    (layer,) = build_time([Planned(path)], BENCH).layers
    inside = path_time(path, BENCH, 100.0)
    there_mm = math.hypot(*path.vectors_mm[0, :2])
    assert layer.exposing_s == pytest.approx(inside.beam_on_s, rel=0.01)
    assert layer.jumping_s > inside.jumping_s + there_mm / 100.0
    assert layer.starved_s == layer.waiting_s == layer.recoating_s == 0.0
    assert layer.moves == len(path) + 2 + 3  # the ways there and back, and three jumps between contour and hatch lines


def test_a_layer_begins_where_the_one_before_it_ended():
    first, second = build_time([Planned(square_layer(i).path) for i in range(2)], BENCH).layers
    assert second.jumping_s < first.jumping_s - 0.5
    assert second.exposing_s == pytest.approx(first.exposing_s, rel=0.01)


def test_a_layer_without_vectors_costs_its_powder_alone():
    model = replace(WIRED, recoat=RECOAT)
    (layer,) = build_time([Planned(ScanPath.empty())], BENCH, model).layers
    assert (layer.exposure_s, layer.moves) == (0.0, 0)
    assert layer.total_s == layer.recoating_s == RECOAT.time_s(SQUARE.thickness_mm)


def test_a_wait_before_a_vector_is_waiting_and_nothing_else():
    path = square_layer(0).path
    wait_s = np.zeros(len(path))
    wait_s[-2] = 1.5
    plain, waited = (build_time([Planned(p)], BENCH).layers[0] for p in (path, replace(path, wait_s=wait_s)))
    assert waited.waiting_s == pytest.approx(1.5, abs=0.11)  # three moves or 100 ms are gathered behind it
    assert waited.exposing_s == pytest.approx(plain.exposing_s, rel=0.02)


def test_heads_side_by_side_take_as_long_as_the_slowest():
    path = square_layer(0).path
    beam = np.arange(len(path)) % 2
    both = replace(path, beam=beam.astype(np.uint8))
    alone = [
        build_time(
            [
                Planned(
                    ScanPath(
                        *(column[beam == b] for column in (path.vectors_mm, path.kind, path.power_w, path.speed_mm_s))
                    )
                )
            ],
            BENCH,
        )
        for b in (0, 1)
    ]
    (layer,) = build_time([Planned(both)], BENCH).layers
    assert layer.exposure_s == max(one.layers[0].exposure_s for one in alone)
    assert layer.exposure_s < build_time([Planned(path)], BENCH).layers[0].exposure_s


@pytest.mark.parametrize("name", sorted(FIRMWARES))
def test_every_controller_has_a_time(name):
    model = TimeModel(FIRMWARES[name], Wire(115_200))
    (layer,) = build_time([Planned(square_layer(0).path)], BENCH, model).layers
    assert layer.exposing_s > square_layer(0).path.exposure_time_s


# ---- the line


def test_a_line_that_keeps_up_costs_its_first_and_last_bytes():
    (layer,) = build_time([Planned(square_layer(0).path)], BENCH, WIRED).layers
    assert 0.005 < layer.starved_s < 0.03
    assert layer.late_moves == 0


def test_a_line_that_does_not_keep_up_says_so():
    build = build_time([Planned(square_layer(0).path), Planned(pieces(800, 0.1))], BENCH, WIRED)
    fine = build.layers[1]
    assert fine.late_moves > 400
    assert fine.starved_s > 0.15 * fine.exposure_s
    (_, sentence) = build.sentences()
    assert (
        "1 of 2 layers" in sentence and "115200 baud" in sentence and "layer 1 " in sentence
    )  # both are drawn as the first layer
    (left_out,) = build_time([Planned(pieces(800, 0.1))], BENCH).sentences()
    assert "without recoating and starting and heating" in left_out


def test_the_line_that_would_do_is_named_and_does():
    build = build_time([Planned(pieces(800, 0.1))], BENCH, TimeModel(wire=Wire(38_400)))
    enough = build.layers[0].enough_baud
    assert enough is not None and enough > 115_200
    slower = {250_000: 115_200, 500_000: 250_000}[enough]
    assert not build_time([Planned(pieces(800, 0.1))], BENCH, TimeModel(wire=Wire(enough))).layers[0].is_starved
    assert build_time([Planned(pieces(800, 0.1))], BENCH, TimeModel(wire=Wire(slower))).layers[0].is_starved


def test_a_layer_that_every_line_starves_names_none():
    slow_answers = Wire(115_200, latency_s=0.05)
    build = build_time([Planned(pieces(400, 0.1))], BENCH, TimeModel(wire=slow_answers))
    assert build.layers[0].enough_baud is None
    assert any("Use a faster line" in sentence for sentence in build.sentences())


def test_lines_are_numbered_on_from_layer_to_layer():
    """A number's digits are bytes too: 10 lines come before the first layer, two between layers."""
    path = pieces(800, 0.1)
    program = path_program(path, BENCH, 100.0)
    (_, second) = build_time([Planned(path)] * 2, BENCH, WIRED).layers
    wire = Wire(115_200, first_number=10 + len(program) + 2)
    alone = program_time(program, program.end((0.0, 0.0)), BENCH, wire=wire)
    assert second.exposure_s == pytest.approx(alone.done_s, rel=1e-9)


def test_a_planner_that_runs_dry_says_so():
    build = build_time([Planned(pieces(100, 0.01, 0.02))], BENCH, TimeModel(wire=Wire(9_600)))
    assert build.layers[0].dry_runs > 20 and build.layers[0].stood_s > 0.5
    assert any("runs out of lines" in sentence for sentence in build.sentences())


def test_the_parts_of_a_starved_layer_add_up_to_its_time_on_the_line():
    (slow,) = build_time([Planned(pieces(300, 0.1))], BENCH, TimeModel(wire=Wire(38_400))).layers
    (fast,) = build_time([Planned(pieces(300, 0.1))], BENCH).layers
    assert slow.exposing_s == fast.exposing_s and slow.jumping_s == fast.jumping_s
    assert slow.exposure_s == pytest.approx(fast.exposure_s + slow.starved_s)


# ---- powder and heat


@given(st.floats(0.001, 500), st.floats(0.1, 500), st.floats(0, 2))
def test_an_axis_takes_its_way_and_its_ramps(way_mm, speed_mm_s, ramp_s):
    time_s = AxisDrive(speed_mm_s, ramp_s).time_s(way_mm)
    assert time_s >= way_mm / speed_mm_s - 1e-9
    assert time_s <= way_mm / speed_mm_s + 2 * ramp_s + 1e-9
    if ramp_s > 0:
        peak = min(speed_mm_s, math.sqrt(way_mm * speed_mm_s / ramp_s))
        assert time_s == pytest.approx(2 * peak * ramp_s / speed_mm_s + (way_mm - peak**2 * ramp_s / speed_mm_s) / peak)


def test_recoating_is_piston_and_blade_there_and_back():
    assert RECOAT.time_s(0.5) == pytest.approx((0.25 + 0.0024) + 2 * (310 / 150 + 0.0225) + 0.5)
    assert replace(RECOAT, passes=2).time_s(0.5) == pytest.approx(RECOAT.time_s(0.5) + 2 * (310 / 150 + 0.0225))


@pytest.mark.parametrize(
    "make",
    [
        lambda: AxisDrive(0.0),
        lambda: AxisDrive(math.nan),
        lambda: AxisDrive(1.0, -1.0),
        lambda: replace(RECOAT, stroke_mm=math.inf),
        lambda: replace(RECOAT, overhead_s=-1.0),
        lambda: TimeModel(heating_s=math.nan),
        lambda: TimeModel(starting_s=-1.0),
    ],
)
def test_numbers_from_which_no_time_follows_are_refused(make):
    with pytest.raises(BuildTimeError):
        make()


@pytest.mark.parametrize("baud", [0, 300, 10_000_000])
def test_a_line_that_nobody_has_is_refused(baud):
    with pytest.raises(ValueError, match="serial line"):
        Wire(baud)


# ---- the table


def test_the_table_adds_up_and_leaves_out_what_is_not_known(tmp_path: Path):
    with Job.open(write_small_job(tmp_path / "small.kiln")) as job:
        seen = []
        build = job_time(
            job, replace(WIRED, recoat=RECOAT, starting_s=5.0), lambda done, total: seen.append((done, total))
        )
    assert seen == [(1, 2), (2, 2)]
    *parts, total = build.rows()
    assert [row.what for row in parts] == [
        "exposing",
        "jumping",
        "waiting",
        "starved by the line",
        "recoating",
        "starting",
        "heating",
    ]
    assert total.seconds == pytest.approx(sum(row.seconds for row in parts if row.seconds is not None))
    assert sum(row.share for row in parts) == pytest.approx(1.0)
    assert {row.what: row.seconds for row in parts}["heating"] is None
    assert total.seconds == pytest.approx(build.total_s)


def test_without_a_line_or_powder_the_table_does_not_speak_of_them():
    rows = {row.what: row.seconds for row in build_time([Planned(square_layer(0).path)], BENCH).rows()}
    assert rows["starved by the line"] is rows["recoating"] is rows["heating"] is None


def test_an_empty_build_takes_no_time():
    assert [row.share for row in build_time([], BENCH).rows()] == [0.0] * 8


def test_a_build_time_is_json():
    build = build_time([Planned(square_layer(0).path)], BENCH, WIRED)
    read = json.loads(json.dumps(build.to_dict(), allow_nan=False))
    assert read["total_s"] == pytest.approx(build.total_s)
    assert read["layers"][0]["exposing_s"] == build.layers[0].exposing_s
    assert read["layers"][0]["total_s"] == build.layers[0].total_s
