"""Does a campaign judge what its seeds draw, alike in any number of processes, and see what does not repeat?"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hil_helpers import SHORT, Scripted, generator, scripted

from hil_sim.harness import trials
from hil_sim.harness.campaign import (
    CampaignBrokenError,
    CampaignInterrupted,
    Report,
    Row,
    Task,
    Twice,
    ground_of,
    judge_batch,
    judge_seed,
    merged,
    prepare,
    run_campaign,
    run_twice,
)
from hil_sim.harness.cluster import InterruptedShards, ShardError, in_batches
from hil_sim.harness.digest import RunDigest
from hil_sim.harness.following import Following, Marked
from hil_sim.harness.generator import drawn, load_generator
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.small_job import bench_subject
from hil_sim.harness.subjects import Run, Stopped, SubjectError
from hil_sim.harness.trials import CRASHED, reason_kind, tried
from hil_sim.virtual_time import SimDeadlock
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.wire_point import Point
from hil_sim.world.wiring import WorldError

ONE_DROP = """
version = 1
[draw]
faults = [1]
[kinds.drop]
weight = 1.0
anchors = ["at_chunk"]
points = ["motion.to_device"]
"""


@pytest.fixture(scope="module")
def task() -> Task:
    return prepare(SHORT, load_generator())


def timeless(rows: Sequence[Row]) -> list[Row]:
    return [msgspec.structs.replace(row, wall_s=0.0) for row in rows]


def test_rows_are_the_same_however_many_processes_make_them() -> None:
    alone = run_campaign(SHORT, load_generator(), range(30))
    together = run_campaign(SHORT, load_generator(), range(29, -1, -1), jobs=2)
    assert timeless(alone.rows) == timeless(together.rows)
    assert [row.seed for row in together.rows] == list(range(30))
    assert alone.twice and alone.is_good and together.is_good


def test_every_fault_of_a_row_struck_before_the_jobs_end(task: Task) -> None:
    for seed in range(60):
        row = judge_seed(task, seed)
        again = tried(SHORT, row.schedule(), seed)
        assert again.run is not None and again.run.digest.whole == row.digest, seed
        assert {fault for _, fault in again.run.struck} == set(row.schedule().faults) != set()
        assert all(t_s <= again.run.job_end_s for t_s, _ in again.run.struck)
        clean = tried(SHORT, FaultSchedule(), seed)
        assert clean.run is not None and clean.run.digest.deeds != again.run.digest.deeds, (seed, row.faults)


def test_a_strike_that_changes_nothing_does_not_count(tmp_path: Path) -> None:
    """`merge` strikes each time, and does nothing here; `drop` does."""

    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        return Verdict.EXACT, f"{sum(fault.kind == 'drop' for fault in faults)} chunks fewer"

    both = ONE_DROP.replace("faults = [1]", "faults = [1, 2]") + ONE_DROP[ONE_DROP.index("[kinds") :].replace(
        "kinds.drop", "kinds.merge"
    )
    counted = prepare(scripted(rule), generator(tmp_path, both))
    assert any("merge" in judge_seed(counted, seed).kinds for seed in range(20))
    checked = prepare(scripted(rule), generator(tmp_path, both + "may_idle = true\n"))
    rows = [judge_seed(checked, seed) for seed in range(20)]
    assert all(row.kinds == ["drop"] for row in rows)
    assert any(row.attempt > 0 for row in rows) and any(row.runs > row.attempt + 1 for row in rows)


def test_a_subject_whose_own_faults_stop_it_is_taken_and_one_that_they_fool_is_not() -> None:
    def struck(verdict: Verdict) -> Scripted:
        return dataclasses.replace(scripted(lambda faults, length: (verdict, "the door is open")), has_faults=True)

    assert ground_of(struck(Verdict.DETECTED), load_generator()).end_s > 0.0
    with pytest.raises(SubjectError, match="comes out SILENT with its own faults alone"):
        ground_of(struck(Verdict.SILENT), load_generator())


@pytest.mark.parametrize("has_faults", [True, False])
def test_what_a_subjects_own_faults_stop_anyhow_is_blamed_on_nothing_that_was_drawn(
    tmp_path: Path, has_faults: bool
) -> None:
    stopped = dataclasses.replace(
        scripted(lambda faults, length: (Verdict.DETECTED, "the door is open")), has_faults=True
    )
    task = Task(
        dataclasses.replace(stopped, has_faults=has_faults),
        generator(tmp_path, ONE_DROP),
        ground_of(stopped, load_generator()),
    )
    row = judge_seed(task, 0)
    assert (row.verdict, row.kinds) == ("detected", ["drop"])
    assert (row.cause is None) == has_faults


def test_a_subject_that_its_own_faults_fool_under_a_seed_is_told(tmp_path: Path) -> None:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        return (Verdict.DETECTED, "it stops") if faults else (Verdict.SILENT, "a block is missing")

    fooled = dataclasses.replace(scripted(rule), has_faults=True)
    ground = prepare(scripted(lambda faults, length: (Verdict.EXACT, "fine")), load_generator()).ground
    row = judge_seed(Task(fooled, generator(tmp_path, ONE_DROP), ground), 0)
    assert (row.verdict, row.faults, row.is_good) == ("SILENT", [], False)


def test_a_subject_that_fails_by_itself_is_refused() -> None:
    broken = scripted(lambda faults, length: (Verdict.DETECTED, "it never works"))
    with pytest.raises(SubjectError, match="comes out detected though nothing goes wrong"):
        prepare(broken, load_generator())


def test_a_schedule_that_cannot_strike_in_time_is_given_up(tmp_path: Path, task: Task) -> None:
    late = msgspec.structs.replace(task.generator, draw=task.generator.draw)
    silent = scripted(lambda faults, length: (Verdict.EXACT, "fine"))
    ground = prepare(silent, late).ground
    blind = Task(_NeverStruck(silent.rule), generator(tmp_path, ONE_DROP), ground)
    with pytest.raises(SubjectError, match="seed 4 draws no schedule"):
        judge_seed(blind, 4)


class _StopsLate(Scripted):
    """Stopped at 100 s with all of the seed's faults, at 200 s with fewer."""

    def run(self, schedule: FaultSchedule, seed: int, *, until_s: float | None = None, **options: Any) -> Run:
        if until_s is not None and until_s < 200.0:
            raise Stopped(f"stopped at {until_s:g} s")
        return super().run(schedule, seed, **options)


TWO_THAT_MAY_IDLE = (
    ONE_DROP.replace("faults = [1]", "faults = [2]")
    + ONE_DROP[ONE_DROP.index("[kinds") :].replace("kinds.drop", "kinds.merge")
    + "may_idle = true\n"
)


class _EndsAt(type(scripted(lambda f, n: (Verdict.EXACT, "")))):  # type: ignore[misc]
    """Its job ends before the second fault strikes."""

    def run(self, schedule: FaultSchedule, seed: int, **options: Any) -> Run:
        run: Run = super().run(schedule, seed, **options)
        return dataclasses.replace(run, job_end_s=0.5)


def test_a_bad_run_whose_fault_struck_after_the_jobs_end_counts(tmp_path: Path) -> None:
    two = generator(tmp_path, ONE_DROP.replace("faults = [1]", "faults = [2]"))

    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        return (Verdict.SILENT, "a block was lost") if faults else (Verdict.EXACT, "fine")

    row = judge_seed(Task(_EndsAt(rule), two, prepare(scripted(_exact), two).ground), 4)
    assert (row.verdict, row.attempt, row.runs, len(row.faults)) == ("SILENT", 0, 1, 2)


@pytest.mark.parametrize("verdict", ["SILENT", "HANG", "UNSAFE", CRASHED])
def test_a_run_without_an_idle_fault_that_goes_wrong_counts(verdict: str, tmp_path: Path) -> None:
    """`merge` keeps the run good; without it the host fails."""

    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        if [fault.kind for fault in faults] == ["drop"]:
            if verdict == CRASHED:
                raise ZeroDivisionError("division by zero")
            return Verdict(verdict), "a block was lost"
        return Verdict.EXACT, f"{len(faults)} faults"

    both = generator(tmp_path, TWO_THAT_MAY_IDLE)
    task = Task(scripted(rule), both, prepare(scripted(_exact), both).ground)
    drawn_kinds = {seed: sorted(f.kind for f in drawn(both, task.ground, seed, 0).faults) for seed in range(30)}
    chosen = [seed for seed, kinds in drawn_kinds.items() if kinds == ["drop", "merge"]]
    assert chosen
    for seed in chosen:
        row = judge_seed(task, seed)
        assert (row.verdict, row.kinds, row.attempt, row.runs) == (verdict, ["drop"], 0, 2)


def _exact(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
    return Verdict.EXACT, "fine"


class _NeverStruck(type(scripted(lambda f, n: (Verdict.EXACT, "")))):  # type: ignore[misc]
    def run(self, schedule: FaultSchedule, seed: int, **options: object) -> object:
        return super().run(FaultSchedule(), seed)


def test_bad_verdicts_and_only_they_make_a_campaign_fail() -> None:
    def report(verdict: str) -> Report:
        row = Row(0, verdict, ["why"], [], [], "d", 1.0, 1, 0, 1)
        return Report({}, "x", 1, "0", "3", [row], [])

    for verdict in ("exact", "degraded", "detected"):
        assert report(verdict).is_good and not report(verdict).bad
    for verdict in ("SILENT", "HANG", "UNSAFE", CRASHED, "something new"):
        assert not report(verdict).is_good and len(report(verdict).bad) == 1
    assert not msgspec.structs.replace(report("exact"), twice=[Twice(0, "a", "b")]).is_good


def test_a_run_that_differs_the_second_time_is_seen(task: Task) -> None:
    rows = [judge_seed(task, seed) for seed in range(2)]
    assert [pair.is_same for pair in run_twice(task, rows, every=1)] == [True, True]
    rows[1] = msgspec.structs.replace(rows[1], digest="0" * 32)
    report = merged(task, rows, run_twice(task, rows, every=1))
    assert [pair.seed for pair in report.unrepeatable] == [1] and not report.is_good


def test_one_seed_in_a_hundred_is_run_twice() -> None:
    report = run_campaign(SHORT, load_generator(), range(101))
    assert [pair.seed for pair in report.twice] == [0, 100]


def test_wires_that_lose_bytes_do_not_speak_into_a_campaign(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        Point("motion.to_host").lose(1)
        return Verdict.EXACT, "fine"

    one = generator(tmp_path, ONE_DROP)
    task = Task(scripted(rule), one, prepare(scripted(_exact), one).ground)
    judge_batch(task, range(3))
    assert not caplog.records
    Point("motion.to_host").lose(1)
    assert len(caplog.records) == 1, "it speaks again afterwards"


# ---- what a run was stopped for


THREE = """
version = 1
[draw]
faults = [3]
[kinds.drop]
weight = 1.0
anchors = ["at_chunk"]
points = ["motion.to_device"]
"""


def judged_of_three(tmp_path: Path, rule: Any) -> tuple[Row, list[Fault]]:
    """A seed of three faults that strike at 0, 1 and 2 s, judged by `rule` of how many of them there are."""
    three = generator(tmp_path, THREE)
    subject = scripted(lambda faults, length: rule(len(faults)))
    task = Task(subject, three, prepare(scripted(_exact), three).ground)
    seed = next(n for n in range(50) if len(set(drawn(three, task.ground, n, 0).faults)) == 3)
    return judge_seed(task, seed), list(drawn(three, task.ground, seed, 0).faults)


@pytest.mark.parametrize(("unmended", "runs"), [(1, 3), (2, 3), (3, 2)])
def test_the_cause_of_a_stop_is_the_first_strike_after_which_it_comes_without_the_later_ones(
    unmended: int, runs: int, tmp_path: Path
) -> None:
    def rule(faults: int) -> tuple[Verdict, str]:
        return (Verdict.DETECTED, "stopped") if faults >= unmended else (Verdict.EXACT, "fine")

    row, _ = judged_of_three(tmp_path, rule)
    assert row.verdict == "detected" and row.cause == (unmended - 1.0, "drop") and row.runs == runs
    assert row.noticed_s == 100.0 and row.latency_s == 101.0 - unmended and len(row.faults) == 3


def test_a_run_of_fewer_faults_that_goes_wrong_counts_instead(tmp_path: Path) -> None:
    ends = {1: Verdict.EXACT, 2: Verdict.SILENT, 3: Verdict.DETECTED}
    row, drawn_faults = judged_of_three(tmp_path, lambda faults: (ends[faults], "so"))
    assert (row.verdict, row.runs, row.cause, row.noticed_s) == ("SILENT", 2, None, None)
    assert row.faults == [fault.to_dict() for fault in drawn_faults[:2]]


def test_a_run_that_was_not_stopped_has_no_cause(tmp_path: Path) -> None:
    row, _ = judged_of_three(tmp_path, lambda faults: (Verdict.EXACT, "fine"))
    assert row.cause is None and row.latency_s is None and row.runs == 1


# ---- runs that follow an earlier one


def test_a_run_that_goes_another_way_is_ended_as_soon_as_it_parts() -> None:
    struck = FaultSchedule((Fault("flip", "motion.to_device", at_chunk=8),))
    first = Marked()
    assert tried(SHORT, struck, 0, heard=first).run is not None
    clean = Following(first.marks)
    with pytest.raises(Stopped, match="it parts from the earlier run"):
        tried(SHORT, FaultSchedule(), 0, heard=clean)
    assert 8 < clean.chunks < first.chunks / 2


def test_a_run_that_goes_the_same_way_comes_to_its_end() -> None:
    first = Marked()
    earlier = tried(SHORT, FaultSchedule(), 3, heard=first)
    again = tried(SHORT, FaultSchedule(), 3, heard=Following(first.marks))
    assert earlier.run is not None and again.run is not None and again.run.digest == earlier.run.digest
    assert len(first.marks) == first.chunks // 8 > 5


def test_a_run_that_goes_on_where_the_earlier_one_had_ended_is_ended() -> None:
    first = Marked()
    tried(SHORT, FaultSchedule(), 0, heard=first)
    with pytest.raises(Stopped):
        tried(SHORT, FaultSchedule(), 0, heard=Following(first.marks[:-3]))


def test_a_run_of_fewer_faults_that_goes_on_longer_was_not_stopped_for_them(tmp_path: Path) -> None:
    """Stopped at last, but long after the whole run had been: what stopped that was the later fault."""
    three = generator(tmp_path, THREE)
    subject = _StopsLate(lambda faults, length: (Verdict.DETECTED, f"stopped by {len(faults)}"))
    row = judge_seed(Task(subject, three, prepare(scripted(_exact), three).ground), 0)
    assert row.cause == (len(row.faults) - 1.0, "drop") and row.runs == 2 and len(row.faults) > 1


# ---- runs that do not come to their end


def _raise(error: Exception) -> trials.Trial:
    def rule(faults: tuple[Fault, ...], length: int) -> tuple[Verdict, str]:
        raise error

    return tried(scripted(rule), FaultSchedule(), 0)


def test_a_host_that_raises_is_crashed_and_its_error_is_told() -> None:
    found = _raise(ZeroDivisionError("division by zero"))
    assert found.verdict == CRASHED and found.run is None and found.digest
    assert found.reasons == ("ZeroDivisionError in test_campaign.py:rule: division by zero",)


def test_a_world_in_which_everybody_waits_is_a_hang() -> None:
    assert _raise(SimDeadlock("nothing is ready")).verdict == "HANG"


def test_a_schedule_for_another_world_is_the_callers_mistake() -> None:
    with pytest.raises(WorldError, match="no point"):
        tried(SHORT, FaultSchedule((Fault("drop", "elsewhere.to_host", at_chunk=0),)), 0)


def test_reasons_are_alike_but_for_their_numbers() -> None:
    first = "the beam stood at (23.9, 26.5) and gave 51.7 J"
    assert reason_kind(first) == reason_kind("the beam stood at (1e-3, -2) and gave 4 J")
    assert reason_kind(first) != reason_kind("the gantry stood at (23.9, 26.5) and gave 51.7 J")


# ---- a campaign that is cut


def cut_in(phase: int, error: BaseException) -> Any:
    """`in_batches`, whose `phase`-th map ends with `error` after its first batch."""
    maps = iter(range(1, 3))

    def cut(work: Any, items: Sequence[int], **options: Any) -> Iterator[list[Row]]:
        is_cut = next(maps) == phase
        for batch in in_batches(work, items, jobs=options.get("jobs", 1), batch_max=2):
            yield batch
            if is_cut:
                raise error

    return cut


@pytest.mark.parametrize("error", [InterruptedShards([]), KeyboardInterrupt(), ShardError("no worker is left")])
@pytest.mark.parametrize(
    ("phase", "cut"), [(1, "2 of 5 seeds were judged, 0 of them"), (2, "5 of 5 seeds were judged, 2 of them")]
)
def test_a_campaign_that_is_cut_in_either_phase_keeps_what_was_judged(
    phase: int, cut: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil_sim.harness.campaign.in_batches", cut_in(phase, error))
    with pytest.raises((CampaignInterrupted, CampaignBrokenError)) as stopped:
        run_campaign(SHORT, load_generator(), range(5), twice_every=1)
    report: Report = stopped.value.report
    assert isinstance(stopped.value, CampaignBrokenError) == isinstance(error, ShardError)
    assert cut in report.cut and len(report.rows) == int(cut[0]) and len(report.twice) == 2 * (phase - 1)


def test_rows_that_waited_for_an_earlier_one_are_kept(monkeypatch: pytest.MonkeyPatch, task: Task) -> None:
    late = judge_seed(task, 4)
    monkeypatch.setattr("hil_sim.harness.campaign.in_batches", cut_in(1, InterruptedShards([(2, [late])])))
    with pytest.raises(CampaignInterrupted) as stopped:
        run_campaign(SHORT, load_generator(), range(5))
    assert [row.seed for row in stopped.value.report.rows] == [0, 1, 4]


# ---- processes


def _die(batch: Sequence[int]) -> list[int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return list(batch)


def _hash_seed(batch: Sequence[int]) -> list[tuple[str, int]]:
    return [(os.environ["PYTHONHASHSEED"], os.getpid()) for _ in batch]


def test_seeds_that_kill_every_process_in_the_second_phase_leave_the_report_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hil_sim.harness.campaign.judge_elsewhere", _die_of_it)
    with pytest.raises(CampaignBrokenError, match=r"each of the 3 workers that took it died \(signal 9\)") as stopped:
        run_campaign(SHORT, load_generator(), range(3))
    assert len(stopped.value.report.rows) == 3 and not stopped.value.report.twice


def _die_of_it(task: Task, job: bytes | None, seeds: Sequence[int]) -> list[int]:
    return _die(seeds)


def test_processes_have_the_variables_that_were_asked_for_and_ours_stay() -> None:
    before = os.environ.get("PYTHONHASHSEED")
    (((found, pid),),) = list(in_batches(_hash_seed, range(1), environment={"PYTHONHASHSEED": "77"}))
    assert found == "77" and pid != os.getpid() and os.environ.get("PYTHONHASHSEED") == before


# ---- the whole bench


def test_seeds_of_the_whole_bench_are_judged_and_repeat(tmp_path: Path) -> None:
    task = prepare(bench_subject(tmp_path, layers=1), load_generator())
    assert {"motion.to_device", "bus0.to_host", "recoater.feed"} <= set(task.ground.events)
    assert task.ground.layers == 1 and task.ground.end_s > 5.0
    rows = [judge_seed(task, seed) for seed in range(4)]
    assert all(row.is_good for row in rows), rows
    assert timeless([judge_seed(task, row.seed) for row in rows]) == timeless(rows)


def test_a_longer_log_is_not_needed_to_judge() -> None:
    heard = RunDigest()
    run = SHORT.run(FaultSchedule(), 0, heard=heard)
    assert heard.log is None and run.log == () and heard.chunks > 20
