"""Does a finding come out with the fewest and plainest faults, and still as the same finding?"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hil_helpers import scripted
from hypothesis import given
from hypothesis import strategies as st

import control.stream_host
from hil_sim.harness.campaign import judge_seed, prepare
from hil_sim.harness.generator import load_generator
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.shrink import ShrinkError, shrink
from hil_sim.harness.small_job import bench_subject
from hil_sim.world.faults import Fault, FaultSchedule

EXACT = (Verdict.EXACT, "fine")


def drops(*at: int) -> FaultSchedule:
    return FaultSchedule(tuple(Fault("drop", "motion.to_device", at_chunk=n) for n in at))


def chunks(schedule: FaultSchedule) -> set[int | None]:
    return {fault.nth for fault in schedule.faults}


@given(st.sets(st.integers(0, 30), min_size=1, max_size=12), st.data())
def test_what_is_left_is_just_what_is_needed(all_of: set[int], data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.sampled_from(sorted(all_of)), min_size=1, max_size=3))

    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        return (Verdict.SILENT, "lost") if needed <= {f.nth for f in faults} else EXACT

    small = shrink(scripted(rule), drops(*sorted(all_of)), 0)
    assert chunks(small.schedule) == needed and small.is_whole


def test_another_finding_on_the_way_is_not_taken_for_this_one() -> None:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        if {1, 2} <= {f.nth for f in faults}:
            return Verdict.SILENT, "block 7 was lost"
        return (Verdict.SILENT, "the beam stood") if faults else EXACT

    assert chunks(shrink(scripted(rule), drops(0, 1, 2, 3), 0).schedule) == {1, 2}


def test_the_same_reason_with_other_numbers_is_the_same() -> None:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        return (Verdict.SILENT, f"{len(faults)} blocks were lost") if faults else EXACT

    assert len(shrink(scripted(rule), drops(0, 1, 2, 3), 0).schedule.faults) == 1


def test_a_finding_that_needs_no_fault_at_all_is_told_so() -> None:
    small = shrink(scripted(lambda faults, length: (Verdict.HANG, "it hangs")), drops(0, 1), 0)
    assert small.schedule == FaultSchedule()


def test_arguments_go_towards_their_defaults_and_nothing() -> None:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        late = any(float(f.arg("delay_s", 0.1)) >= 0.4 for f in faults)
        return (Verdict.SILENT, "late") if late else EXACT

    delay = Fault("delay", "motion.to_host", at_chunk=4, count=5, args={"delay_s": 3.2})
    flip = Fault("delay", "motion.to_host", at_s=4.0, for_s=8.0, args={"delay_s": 0.1})
    (left,) = shrink(scripted(rule), FaultSchedule((delay, flip)), 0).schedule.faults
    assert left.count == 1 and dict(left.args) == {"delay_s": 0.4}


def test_windows_get_shorter() -> None:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        return (Verdict.SILENT, "late") if any(f.for_s >= 2.0 for f in faults) else EXACT

    window = Fault("drop", "motion.to_host", at_layer=1, after_s=3.0, for_s=8.0)
    (left,) = shrink(scripted(rule), FaultSchedule((window,)), 0).schedule.faults
    assert (left.after_s, left.for_s) == (0.0, 2.0)


def test_the_job_gets_as_short_as_it_can() -> None:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        return (Verdict.SILENT, "lost") if faults and length >= 11 else EXACT

    assert shrink(scripted(rule, length=40), drops(3), 0).subject.length == 11


def test_a_bound_on_runs_ends_the_search_with_what_there_is() -> None:
    runs = []

    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        runs.append(len(faults))
        return (Verdict.SILENT, "lost") if {0, 9} <= {f.nth for f in faults} else EXACT

    small = shrink(scripted(rule), drops(*range(10)), 0, runs_max=6)
    assert len(runs) == small.runs == 6 and not small.is_whole
    assert {0, 9} <= chunks(small.schedule)


def test_there_is_nothing_to_shrink_in_an_exact_run() -> None:
    with pytest.raises(ShrinkError, match="nothing to shrink"):
        shrink(scripted(lambda faults, length: EXACT), drops(1), 0)


def test_what_a_deaf_host_hides_shrinks_to_one_or_two_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not see that its controller ran dry: the campaign finds it, and the median is one delay."""
    task = prepare(MotionSubject(), load_generator())
    for told in ("stood_s", "late_line_s"):
        monkeypatch.setattr(control.stream_host, told, lambda *measured: 0.0)
    found = []
    for seed in range(180):
        row = judge_seed(task, seed)
        if row.verdict == Verdict.SILENT.value:
            assert "the beam stood" in row.reasons[0]
            found.append(shrink(task.subject, row.schedule(), seed))
    assert len(found) >= 3
    assert statistics.median(len(small.schedule.faults) for small in found) == 1
    assert all(small.runs < 40 and small.is_whole for small in found)
    assert all(small.trial.verdict == Verdict.SILENT.value for small in found)
    # a line that is lost at the very end of a program needs all that comes before it; the others do not
    assert sum(small.subject.length <= 20 for small in found) >= len(found) // 3


def test_a_print_is_shrunk_to_fewer_layers(tmp_path: Path) -> None:
    cut = Fault("disconnect", "motion.to_device", at_chunk=14, args={"back_after_s": -1.0})
    late = Fault("delay", "bus0.to_host", at_chunk=10, args={"delay_s": 0.05})
    small = shrink(bench_subject(tmp_path, layers=3), FaultSchedule((late, cut)), 0, runs_max=12)
    assert small.trial.verdict == Verdict.DETECTED.value and "has hung up" in small.trial.reasons[0]
    assert [fault.kind for fault in small.schedule.faults] == ["disconnect"]
    assert small.subject.length == 1
