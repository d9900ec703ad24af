"""Is a motion controller that stood still with the beam on found out, and one that did not left in peace?"""

from __future__ import annotations

from pathlib import Path

import pytest
from print_helpers import print_virtual
from test_print_virtual import plate

from control.config import load_envelope
from control.dry_planner import LATE_S, late_line_s, motion_time_s, stood_s
from control.host import Status
from control.journal import Journal
from hil_sim.harness.oracle import Verdict

ENVELOPE = load_envelope("bench")  # 100 mm/s, 500 mm/s2


def test_a_straight_move_takes_the_time_of_its_trapezoid() -> None:
    lines = [b"M4 I S0", b"G1 X50.000 Y0.000 F3000 S1000", b"M5 I", b"M400"]
    assert motion_time_s(lines, (0.0, 0.0), ENVELOPE) == pytest.approx(50 / 50 + 50 / 500)
    assert motion_time_s(lines, (50.0, 0.0), ENVELOPE) == 0.0
    assert motion_time_s([b"M400"], (0.0, 0.0), ENVELOPE) == 0.0


def test_a_dwell_parts_the_motion_and_is_none_of_the_standing() -> None:
    out, back = b"G1 X50.000 Y0.000 F3000 S1000", b"G1 X0.000 Y0.000 S1000"
    apart = [out, b"G4 P2500", back]
    needed_s = 2 * motion_time_s([out], (0.0, 0.0), ENVELOPE) + 2.5
    assert motion_time_s(apart, (0.0, 0.0), ENVELOPE) == pytest.approx(needed_s)
    assert stood_s(needed_s, apart, (0.0, 0.0), ENVELOPE) == 0.0


def test_a_speed_holds_until_another_is_given_and_is_bounded_by_the_machine() -> None:
    there_and_back = [b"G0 X50.000 Y0.000 F60000 S0", b"G0 X0.000 Y0.000 S0"]
    assert motion_time_s(there_and_back, (0.0, 0.0), ENVELOPE) == pytest.approx(2 * (50 / 100 + 100 / 500), rel=0.01)


def test_only_what_is_over_the_usual_counts() -> None:
    lines = [b"G1 X50.000 Y0.000 F3000 S1000"]
    assert stood_s(1.1 + 0.9 * LATE_S, lines, (0.0, 0.0), ENVELOPE) == 0.0
    assert stood_s(1.1 + 2.0, lines, (0.0, 0.0), ENVELOPE) == pytest.approx(2.0)


ROW = [b"G1 X%d.000 Y0.000 F3000 S1000" % (5 * (n + 1)) for n in range(10)]  # 0.1 s each, but for both ends


def test_a_line_taken_before_those_in_front_of_it_can_be_done_was_not_late() -> None:
    sent_s = [0.001 * n for n in range(10)]
    assert late_line_s(sent_s, [0.002 + 0.05 * n for n in range(10)], ROW, (0.0, 0.0), ENVELOPE) == 0.0


def test_a_line_that_is_known_to_be_taken_after_those_in_front_of_it_may_be_done_may_have_been_late() -> None:
    sent_s = [0.001 * n for n in range(10)]
    taken_s = [*(0.002 + 0.001 * n for n in range(5)), *(2.0 + 0.001 * n for n in range(5))]
    ends_s = 5 * 0.1 + 0.05  # the first comes from rest
    assert late_line_s(sent_s, taken_s, ROW, (0.0, 0.0), ENVELOPE) == pytest.approx(2.0 - ends_s, abs=0.01)
    in_time = [*taken_s[:5], *(0.4 + 0.001 * n for n in range(5))]
    assert late_line_s(sent_s, in_time, ROW, (0.0, 0.0), ENVELOPE) == 0.0


def test_a_line_that_was_sent_late_is_late_though_it_was_taken_at_once() -> None:
    times_s = [*(0.001 * n for n in range(5)), *(2.0 + 0.001 * n for n in range(5))]
    assert late_line_s(times_s, times_s, ROW, (0.0, 0.0), ENVELOPE) > 1.0


def test_what_is_taken_behind_a_line_that_brings_to_rest_begins_anew() -> None:
    lines = [*ROW[:5], b"M400", *ROW[5:], b"M5 I"]
    sent_s = [0.001 * n for n in range(12)]
    taken_s = [*sent_s[:5], 0.56, *(0.56 + 0.001 * n for n in range(5)), 5.0]
    assert late_line_s(sent_s, taken_s, lines, (0.0, 0.0), ENVELOPE) == 0.0
    assert late_line_s([], [], [], (0.0, 0.0), ENVELOPE) == 0.0


def test_lines_that_come_late_are_owned_up_to(tmp_path: Path) -> None:
    job, stood = plate(tmp_path, 1), 0
    for chunk, delay_s in [(41, 3.0), (42, 3.0), (43, 3.0), (44, 5.0), (45, 20.0)]:
        fault = {"kind": "delay", "point": "motion.to_device", "at_chunk": chunk, "args": {"delay_s": delay_s}}
        run_dir = tmp_path / str(chunk)
        late = print_virtual(job, run_dir, faults=(fault,))
        assert len(late.record.faults) == 1 and late.outcome is not None
        assert late.verdict in (Verdict.EXACT, Verdict.DEGRADED, Verdict.DETECTED), late.judgement
        if late.outcome.status is not Status.DONE or not late.record.still:
            continue
        stood += 1
        assert {(d.kind, d.layer) for d in late.outcome.declared} == {("interrupted", 0)}
        journal = Journal.open(run_dir / "run.sqlite")
        assert any("longer than it needs" in text for _, _, _, text in journal.events())
        journal.close()
    assert stood >= 2, "the beam never stood: these faults try nothing"
