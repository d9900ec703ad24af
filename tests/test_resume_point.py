"""At which block does an interrupted layer go on, and what is declared as exposed twice?"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from control.journal import PLANNED_BLOCKS, LayerPhase, LayerRecord
from control.resume_point import line_ends_mm, resume_point, tail
from slicer.envelope import Envelope
from slicer.exporters.gcode import layer_program
from slicer.job_layer import JobLayer
from slicer.layers import Layer
from slicer.scan import KIND_HATCH, ScanPath

ENVELOPE = Envelope(x_mm=250, y_mm=150, z_mm=100, beam_power_w_max=200, speed_mm_s_max=100, acceleration_mm_s2=500)


def ladder(count: int) -> JobLayer:
    """`count` parallel vectors, a jump before each."""
    y = 10.0 + np.arange(count)
    vectors = np.column_stack([np.full(count, 10.0), y, np.full(count, 30.0), y])
    square = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 10.0 + count], [10.0, 10.0 + count]])
    return JobLayer(Layer(0, 2.0, 2.0, square, np.array([0, 4])), ScanPath.uniform(vectors, KIND_HATCH, 100.0, 50.0))


def record(acked: int, sent: int, *, base: int = 0, doubt: int | None = None) -> LayerRecord:
    return LayerRecord(0, LayerPhase.EXPOSING, base, acked, sent, 60, 0.0, doubt)


def test_a_tail_is_a_program_that_begins_with_its_own_jump() -> None:
    layer = ladder(60)
    whole, rest = layer_program(layer, ENVELOPE), layer_program(tail(layer, 20), ENVELOPE)
    assert rest.lines[1:] == whole.lines[whole.block_of_line.tolist().index(20) - 1 :]


def test_the_doubt_begins_sixteen_blocks_before_the_last_acknowledgement() -> None:
    layer = ladder(60)
    program = layer_program(layer, ENVELOPE)
    acked = 60
    point = resume_point(record(acked, 76), layer, ENVELOPE, tuple(line_ends_mm(program)[64]), 0.05)
    first_line = acked + 1 - PLANNED_BLOCKS
    assert point.first_block == next(b for b in program.block_of_line[first_line:] if b >= 0)
    assert point.last_block == max(program.block_of_line[: 64 + 1])
    assert point.position_known


def test_without_a_position_everything_that_may_have_been_sent_is_in_doubt() -> None:
    layer = ladder(60)
    program = layer_program(layer, ENVELOPE)
    point = resume_point(record(60, 76), layer, ENVELOPE, (1.0, 2.0), 0.05)
    assert not point.position_known
    assert point.last_block == max(program.block_of_line[: 76 + 1])


def test_a_board_that_says_it_is_lost_gives_no_position() -> None:
    layer = ladder(60)
    point = resume_point(record(60, 76), layer, ENVELOPE, None, 0.05)
    assert point == resume_point(record(60, 76), layer, ENVELOPE, (1.0, 2.0), 0.05) and not point.position_known


def test_nothing_sent_means_nothing_in_doubt() -> None:
    point = resume_point(record(-1, -1, base=7), ladder(60), ENVELOPE, (1.0, 2.0), 0.05)
    assert (point.first_block, point.last_block) == (7, 6)


def test_an_answered_m400_leaves_nothing_in_doubt() -> None:
    layer = ladder(5)
    count = len(layer_program(layer, ENVELOPE).lines)
    point = resume_point(record(count - 1, count - 1), layer, ENVELOPE, (30.0, 14.0), 0.05)
    assert point.first_block == 5
    assert point.last_block < point.first_block


def test_a_beam_that_failed_moves_the_doubt_back() -> None:
    layer = ladder(60)
    near = resume_point(record(60, 76), layer, ENVELOPE, (1.0, 2.0), 0.05)
    far = resume_point(record(60, 76, doubt=11), layer, ENVELOPE, (1.0, 2.0), 0.05)
    assert far.first_block < near.first_block


def test_after_a_sudden_stop_or_at_the_place_of_a_restarted_board_the_position_is_no_evidence() -> None:
    layer = ladder(60)
    ends = line_ends_mm(layer_program(layer, ENVELOPE))
    stopped = resume_point(record(60, 76, doubt=50), layer, ENVELOPE, tuple(ends[64]), 0.05)
    assert not stopped.position_known
    corner = ladder(60)
    corner.path.vectors_mm[:, :] -= [10.0, 70.0, 10.0, 70.0]  # a vector that ends at 0, 0
    corner.path.vectors_mm[:, 1::2] = np.abs(corner.path.vectors_mm[:, 1::2])
    assert not resume_point(record(120, 125), corner, ENVELOPE, (0.0, 0.0), 0.05).position_known


@given(
    base=st.integers(0, 40),
    acked=st.integers(-1, 120),
    ahead=st.integers(0, 20),
    executed=st.integers(0, 140),
    vectors=st.integers(1, 60),
    planned=st.sampled_from([PLANNED_BLOCKS, 61]),
)
def test_no_block_that_was_not_executed_is_skipped(
    base: int, acked: int, ahead: int, executed: int, vectors: int, planned: int
) -> None:
    """Whatever the journal knows, the resume begins no later than the first block that the machine has not done."""
    layer = ladder(vectors)
    base = min(base, vectors - 1)
    program = layer_program(tail(layer, base), ENVELOPE)
    count = len(program.lines)
    acked = min(acked, count - 2)
    sent = min(acked + ahead, count - 1)
    # the machine has done at least what cannot wait in its planner, and at most what was sent
    executed = max(acked - planned, min(executed, sent))
    ends = line_ends_mm(program)
    at = ends[executed] if executed >= 0 and np.isfinite(ends[executed]).all() else np.array([0.0, 0.0])
    at_mm = (float(at[0]), float(at[1]))
    point = resume_point(record(acked, sent, base=base), layer, ENVELOPE, at_mm, 0.05, planned)
    done = {base + b for b in program.block_of_line[: executed + 1].tolist() if b >= 0}
    assert set(range(base, point.first_block)) <= done
    assert {b for b in done if b >= point.first_block} <= set(range(point.first_block, point.last_block + 1))


def test_a_session_that_was_stopped_is_homed_wherever_it_stands() -> None:
    layer = ladder(60)
    x_mm, y_mm = line_ends_mm(layer_program(layer, ENVELOPE))[64]
    assert resume_point(record(60, 76), layer, ENVELOPE, (x_mm, y_mm), 0.05).position_known
    assert not resume_point(record(60, 76, doubt=50), layer, ENVELOPE, (x_mm, y_mm), 0.05).position_known
