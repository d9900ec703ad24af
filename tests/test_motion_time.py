"""Is the build time what a look-ahead controller needs? Worked examples, a slow twin, and what must always hold."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from itertools import pairwise

import naive
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from job_helpers import BENCH, square_layer

from slicer.errors import ScanError
from slicer.exporters.gcode import layer_program
from slicer.job_layer import JobLayer
from slicer.kernels import motion
from slicer.motion_time import (
    FIRMWARES,
    Firmware,
    Program,
    Wire,
    chain_times_s,
    path_program,
    path_time,
    program_time,
)
from slicer.scan import ScanPath

MARLIN, GRBL, RRF = FIRMWARES["marlin"], FIRMWARES["grbl"], FIRMWARES["rrf"]
FAR_SIGHTED = replace(MARLIN, ring_moves=1000, first_moves=1000)
SLOW_WIRE = Wire(19_200, first_number=8)


def seconds(corners, speed=50.0, firmware=MARLIN):
    return chain_times_s(np.array(corners, float), np.full(len(corners) - 1, float(speed)), BENCH, firmware).sum()


# ---- worked examples


@pytest.mark.parametrize(
    ("corners", "expected_s"),
    [
        ([(0, 0), (40, 0)], 0.9000),  # E1: a trapezoid
        ([(0, 0), (20, 0), (20, 20)], 0.9866),  # E2m: a 90 degree corner at 3.474 mm/s by Marlin's junction deviation
        ([(0, 0), (2, 0)], 0.1265),  # E4: a triangle, peak 31.6 mm/s
    ],
)
def test_worked_examples_at_500_mm_s2_and_50_mm_s(corners, expected_s):
    assert seconds(corners) == pytest.approx(expected_s, abs=5e-5)


@pytest.mark.parametrize(
    ("corners", "real_s", "error"),
    [
        ([(0, 0), (40, 0)], 0.8962, 0.0042),  # E1: G1 X40 F3000
        ([(0, 0), (20, 0), (20, 20)], 0.9798, 0.0044),  # E2: G1 X20 F3000, G1 Y20
    ],
)
def test_a_real_grbl_took_as_long_within_half_a_percent(corners, real_s, error):
    """Grbl 1.1h, first to last step pulse, $11=0.01, $120=$121=500, $100=80. The pulses leave out about 4 ms in which
    the first and the last step are still on their way, which is all of the error."""
    assert seconds(corners, 50.0, GRBL) / real_s - 1 == pytest.approx(error, abs=1e-4)


def test_grbl_s_limits_are_those_of_each_axis():
    """E5: (10, 5) with 500 mm/min and 10 mm/s2 an axis runs at 9.317 mm/s and 11.18 mm/s2."""
    slow = replace(BENCH, speed_mm_s_max=500 / 60, acceleration_mm_s2=10.0)
    took = chain_times_s(np.array([(0.0, 0.0), (10.0, 5.0)]), np.array([50.0]), slow, GRBL).sum()
    assert took == pytest.approx(2.0333, abs=5e-5)


def test_an_axis_of_reprapfirmware_turns_at_once_by_its_step():
    """At a right angle each axis changes by the speed itself: the corner is taken at 15 mm/s."""
    ramp_mm = (50.0**2 - 15.0**2) / 1000.0
    leg_s = 0.1 + 0.07 + (20 - 2.5 - ramp_mm) / 50
    assert seconds([(0, 0), (20, 0), (20, 20)], firmware=RRF) == pytest.approx(2 * leg_s)


def test_a_straight_line_in_pieces_takes_as_long_as_in_one():
    assert seconds([(0, 0), (7, 0), (7.3, 0), (40, 0)]) == pytest.approx(seconds([(0, 0), (40, 0)]), rel=1e-9)


def test_a_move_without_length_changes_nothing():
    assert seconds([(0, 0), (20, 0), (20, 0), (20, 20)]) == pytest.approx(seconds([(0, 0), (20, 0), (20, 20)]))


def test_a_reversal_stops_at_the_turn():
    assert seconds([(0, 0), (20, 0), (0, 0)]) == pytest.approx(2 * seconds([(0, 0), (20, 0)]))


def test_speeds_over_the_gantry_s_limit_are_held_to_it():
    assert seconds([(0, 0), (200, 0)], 500.0) == pytest.approx(seconds([(0, 0), (200, 0)], BENCH.speed_mm_s_max))


def test_a_planner_that_sees_fourteen_short_moves_ahead_goes_no_faster_than_it_can_stop_in_them():
    """A straight line in pieces of 0.1 mm: 13 of them lie in the ring behind the one that starts, and it speeds up and
    slows down within each, to the speed from which 13 pieces are enough."""
    pieces = [(0.1 * i, 0.0) for i in range(601)]
    corner = math.sqrt(2 * 500.0 * 13 * 0.1)
    peak = math.sqrt(corner**2 + 500.0 * 0.1)
    assert peak < 50.0
    spent = chain_times_s(np.array(pieces), np.full(600, 50.0), BENCH)
    assert spent[300] == pytest.approx(2 * (peak - corner) / 500.0)
    assert seconds(pieces) > 1.2 * seconds([(0, 0), (60, 0)])


# ---- the slow twin


def corner_rule(firmware: Firmware):
    if firmware.corner_rule == motion.CORNER_JERK:
        return naive.rrf_corner_sq(firmware.axis_step_mm_s)
    if firmware.corner_rule == motion.CORNER_GRBL:
        return naive.grbl_corner_sq(BENCH.junction_deviation_mm, BENCH.acceleration_mm_s2)
    return naive.marlin_corner_sq(BENCH.junction_deviation_mm)


def twin(program: Program, at, firmware: Firmware, wire: Wire | None) -> naive.Controller:
    names = {
        motion.LINE_JUMP: "jump",
        motion.LINE_VECTOR: "move",
        motion.LINE_WAIT: "wait",
        motion.LINE_SYNC: "sync",
    }
    sizes = program.size if wire else np.zeros(len(program), int)
    checks = program.check if wire else sizes
    lines = [
        (names[kind], tuple(end), value, size, check)
        for kind, end, value, size, check in zip(
            program.kind.tolist(), program.end_mm.tolist(), program.value.tolist(), sizes.tolist(), checks.tolist()
        )
    ]
    line = wire and (
        10 / wire.baud,
        wire.latency_s,
        wire.command_s,
        firmware.window_bytes,
        firmware.window_lines,
        firmware.spare_bytes,
        firmware.frame_bytes,
        wire.first_number if firmware.numbers_lines else None,
        firmware.answer_bytes,
    )
    return naive.Controller(
        lines,
        at,
        BENCH.acceleration_mm_s2,
        BENCH.speed_mm_s_max,
        corner_rule(firmware),
        firmware.is_per_axis,
        firmware.ring_moves,
        firmware.first_delay_s,
        firmware.first_moves,
        firmware.replan_ahead_s,
        line,
    )


coordinate = st.floats(0, 100, allow_nan=False).map(lambda v: round(v, 2))
corner_lists = st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=25)


@given(corner_lists, st.integers(0, 2**31))
def test_a_planner_that_sees_everything_agrees_with_relaxed_speeds(corners, seed):
    cruise = np.random.default_rng(seed).uniform(0.5, 100.0, len(corners) - 1)
    found = chain_times_s(np.array(corners), cruise, BENCH, FAR_SIGHTED)
    slow = naive.motion_seconds(corners, cruise.tolist(), BENCH.acceleration_mm_s2, BENCH.junction_deviation_mm)
    np.testing.assert_allclose(found, slow, rtol=1e-6, atol=1e-9)


step = st.tuples(st.sampled_from([0.02, 0.2, 0.9, 1.1, 6.0]), st.sampled_from([-50.0, -10.0, 0.0, 1.0, 30.0, 170.0]))


def curve(steps):
    """Corners of a curve, by length and turn."""
    headings = np.radians(np.cumsum([turn for _, turn in steps]))
    lengths = np.array([length for length, _ in steps])
    moves = np.stack([lengths * np.cos(headings), lengths * np.sin(headings)], axis=1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])


@example([(6.0, 0.0)] * 3 + [(0.9, 3.0)] + [(6.0, 0.0)] * 3, 100.0)  # fast into a short move that turns a little
@given(st.lists(step, min_size=2, max_size=40), st.sampled_from([5.0, 50.0, 100.0]))
def test_it_agrees_on_fine_curves_too(steps, cruise):
    """Short moves that turn little are where the look-ahead and the small-segment rule decide."""
    corners = curve(steps)
    found = chain_times_s(corners, np.full(len(steps), cruise), BENCH, FAR_SIGHTED)
    slow = naive.motion_seconds(corners.tolist(), [cruise] * len(steps), 500.0, 0.01)
    np.testing.assert_allclose(found, slow, rtol=1e-6)


@st.composite
def paths(draw):
    """Vectors that join or jump, with waits before some of them."""
    steps = draw(st.lists(step, min_size=1, max_size=60))
    corners = np.round(curve(steps) + 100.0, 3)
    vectors = np.hstack([corners[:-1], corners[1:]])
    vectors = vectors[(vectors[:, :2] != vectors[:, 2:]).any(axis=1)]
    every = draw(st.sampled_from([1, 2, 3, 100]))
    vectors = vectors[:: draw(st.sampled_from([1, 1, 2]))]
    speeds = np.full(len(vectors), draw(st.sampled_from([5.0, 50.0, 90.0])))
    speeds[::7] *= 0.5
    wait_s = np.zeros(len(vectors))
    if draw(st.booleans()):
        wait_s[::every] = draw(st.sampled_from([0.0, 0.02, 0.3]))
    return ScanPath(vectors, np.zeros(len(vectors), np.uint8), np.full(len(vectors), 100.0), speeds, wait_s=wait_s)


SHORT = ScanPath.uniform(np.array([[50 + 0.05 * i, 50.0, 50.05 + 0.05 * i, 50.0] for i in range(60)]), 0, 100.0, 90.0)


LONGER = ScanPath.uniform(np.array([[50 + 0.5 * i, 50.0, 50.5 + 0.5 * i, 50.0] for i in range(80)]), 0, 100.0, 90.0)
CONTROLLERS = {**FIRMWARES, "narrow": replace(MARLIN, ring_moves=4, first_moves=2, window_lines=2)}
WIRES = [None, Wire(9_600), SLOW_WIRE, Wire(115_200), Wire(1_000_000)]


@example(SHORT, "marlin", SLOW_WIRE)
@example(SHORT, "narrow", SLOW_WIRE)
@example(SHORT, "grbl", SLOW_WIRE)
@example(LONGER, "grbl", SLOW_WIRE)  # lines come while a move brakes already
@example(LONGER, "grbl", Wire(9_600))
@given(paths(), st.sampled_from(sorted(CONTROLLERS)), st.sampled_from(WIRES))
def test_kernel_and_slow_twin_agree_on_any_program(path, name, wire):
    firmware = CONTROLLERS[name]
    program = path_program(path, BENCH, 80.0)
    spans_s = np.zeros((2, len(program)))
    program_time(program, (30.0, 20.0), BENCH, firmware, wire, spans_s)
    slow = twin(program, (30.0, 20.0), firmware, wire)
    np.testing.assert_allclose(spans_s.T, slow.spans, rtol=1e-7, atol=1e-9)


@given(paths(), st.sampled_from([None, SLOW_WIRE]))
def test_the_sums_are_those_of_the_lines(path, wire):
    program = path_program(path, BENCH, 80.0)
    spans_s = np.zeros((2, len(program)))
    found = program_time(program, (30.0, 20.0), BENCH, MARLIN, wire, spans_s)
    spent = spans_s[1] - spans_s[0]
    assert found.exposing_s == pytest.approx(spent[program.kind == motion.LINE_VECTOR].sum())
    assert found.jumping_s == pytest.approx(spent[program.kind == motion.LINE_JUMP].sum())
    assert found.waiting_s == pytest.approx(spent[program.kind == motion.LINE_WAIT].sum())
    ran = (program.kind <= motion.LINE_VECTOR) & (spent > 0)
    waits = program.kind == motion.LINE_WAIT
    assert found.began_s == pytest.approx(spans_s[0][ran | waits].min())
    assert found.ended_s == pytest.approx(spans_s[1][ran].max())
    order = np.flatnonzero(ran)
    gaps = spans_s[0][order[1:]] - spans_s[1][order[:-1]]
    asked = np.array([motion.LINE_WAIT in program.kind[a:b] for a, b in pairwise(order)], bool)
    assert found.stood_s == pytest.approx(gaps[~asked].sum(), abs=1e-9)
    assert found.dry_runs == (gaps[~asked] > 1e-9).sum()


# ---- lines as they are written


@pytest.mark.parametrize("speed", [50.0, 0.5, 33.3335, 12.3456])
def test_lines_are_as_long_as_the_ones_that_are_sent_and_have_their_checksum(speed):
    square = square_layer(0)
    rng = np.random.default_rng(3)
    loose = np.round(rng.uniform(0, 149, (30, 4)), 3)
    joined = np.hstack([loose[1:, :2], loose[:-1, :2]])
    vectors = np.concatenate([square.path.vectors_mm, loose, joined])
    power = rng.uniform(1, 100, len(vectors))
    path = ScanPath(vectors, np.zeros(len(vectors), np.uint8), power, np.full(len(vectors), speed))
    wait_s = np.zeros(len(vectors))
    wait_s[[0, 3, 4, -1]] = [0.25, 1.0, 0.0004, 12.0]
    for jump_mm_s, told in ((100.0, path), (12.3456, path), (100.0, replace(path, wait_s=wait_s))):
        sent = layer_program(JobLayer(square.layer, told, jump_mm_s), BENCH).lines
        program = path_program(told, BENCH, jump_mm_s)
        assert program.size.tolist() == [len(line) for line in sent]
        assert program.check.tolist() == [functools.reduce(int.__xor__, line, 0) for line in sent]


def test_a_program_can_be_made_without_its_sizes():
    path = square_layer(0).path
    bare, whole = path_program(path, BENCH, is_sized=False), path_program(path, BENCH)
    assert len(bare.size) == 0
    assert program_time(bare, (0.0, 0.0), BENCH) == program_time(whole, (0.0, 0.0), BENCH)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("speed_mm_s", 0.0),
        ("speed_mm_s", math.nan),
        ("vectors_mm", math.nan),
        ("vectors_mm", math.inf),
        ("wait_s", -1.0),
    ],
)
def test_numbers_that_have_no_time_are_refused(column, value):
    path = square_layer(0).path
    damaged = getattr(path, column).copy()
    damaged.flat[-1] = value
    with pytest.raises(ScanError, match=column):
        path_time(replace(path, **{column: damaged}), BENCH)


# ---- what must always hold


@given(corner_lists)
def test_no_chain_is_faster_than_its_speeds_allow(corners):
    length = sum(np.hypot(*(np.subtract(b, a))) for a, b in pairwise(corners))
    assert seconds(corners) >= length / 50.0 - 1e-9


@given(paths())
def test_a_slower_line_never_makes_a_program_faster(path):
    program = path_program(path, BENCH, 80.0)
    at_hand = program_time(program, (0.0, 0.0), BENCH).ended_s
    fast = program_time(program, (0.0, 0.0), BENCH, wire=Wire(1_000_000)).ended_s
    slow = program_time(program, (0.0, 0.0), BENCH, wire=Wire(9_600)).ended_s
    assert at_hand - 1e-9 <= fast <= slow + 1e-9


def test_a_path_is_its_vectors_and_the_jumps_between_them():
    path = square_layer(0).path
    moves = naive.scan_moves(path.vectors_mm.tolist(), path.speed_mm_s.tolist(), 100.0)
    corners = [moves[0][0], *(end for _, end, _, _ in moves)]
    slow = np.array(naive.motion_seconds(corners, [speed for _, _, speed, _ in moves], 500.0, 0.01))
    on = np.array([is_vector for *_, is_vector in moves])
    time = path_time(path, BENCH, 100.0)
    assert 0 < (~on).sum() < len(moves)
    assert time.beam_on_s == pytest.approx(slow[on].sum())
    assert time.jumping_s == pytest.approx(slow[~on].sum())
    assert time.total_s > path.exposure_time_s


def test_waits_are_counted_and_so_is_the_controller_s_rest_after_them():
    """Marlin gathers three moves or 100 ms before it starts again: between two waits stand three."""
    path = square_layer(0).path
    waiting = replace(path, wait_s=np.full(len(path), 0.25))
    time = path_time(waiting, BENCH, 100.0)
    assert time.waiting_s >= 0.25 * len(path)
    assert time.waiting_s == pytest.approx(0.25 * len(path), abs=0.1 * len(path) + 1e-9)
    assert time.total_s > path_time(path, BENCH, 100.0).total_s + 0.25 * len(path)


def test_a_wait_before_the_first_vector_is_counted_and_hides_no_rest():
    path = square_layer(0).path
    last, first_and_last = np.zeros(len(path)), np.zeros(len(path))
    last[-1] = first_and_last[-1] = first_and_last[0] = 2.0
    once, twice = (path_time(replace(path, wait_s=wait_s), BENCH, 100.0) for wait_s in (last, first_and_last))
    assert once.waiting_s == pytest.approx(2.1)  # one move follows it: the controller waits 100 ms for more
    assert twice.waiting_s == pytest.approx(4.1)
    assert twice.beam_on_s == pytest.approx(once.beam_on_s)


def test_an_empty_path_takes_no_time():
    assert path_time(ScanPath.empty(), BENCH).total_s == 0.0
