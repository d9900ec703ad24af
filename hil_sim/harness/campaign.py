"""Many seeds, one question: does the host end exact, degraded and owning up to it, or stopped and safe, whatever the
seed throws at it?

    report = run_campaign(MotionSubject(), load_generator(), range(2000), jobs=2)
    report.bad                                # rows that are SILENT, HANG, UNSAFE or CRASHED

A seed draws a schedule (`generator`). It counts with the faults that struck before the job's end; with none it draws
again, unless the run was bad: a bad run always counts. The seed is the world's too: grain, camera noise and the order
of timers of one instant come from it. Rows are sorted by seed, and the same whatever the number of processes. One seed
in a hundred is run twice, the second time in another process under another hash seed, and must give the same digest.
"""

from __future__ import annotations

import functools
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from control.errors import MoonkilnError
from hil_sim.harness.cluster import InterruptedShards, ShardError, in_batches
from hil_sim.harness.digest import Digest, RunDigest
from hil_sim.harness.expectations import Expectation, judge_strikes
from hil_sim.harness.generator import Generator, Ground, probe
from hil_sim.harness.machine_files import contents_of
from hil_sim.harness.narrowing import narrowed_generator, narrowed_ground
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.pool import timed
from hil_sim.harness.run_file import subject_of
from hil_sim.harness.seed_judging import judged
from hil_sim.harness.subjects import (
    Run,
    Subject,
    SubjectError,
    host_of,
    in_virtual_time,
    scenario_of,
    scratch_folder,
    settled,
)
from hil_sim.harness.trials import Trial, is_mistake, unwarned
from hil_sim.harness.user_host import KILLING, HostContractError
from hil_sim.world.faults import Fault, FaultSchedule
from slicer.job import software_version
from slicer.words import encodable

TWICE_EVERY = 100
OTHER_HASH_SEED = "20281102"
"""PYTHONHASHSEED of the second run: what depends on it differs."""


class Row(msgspec.Struct, frozen=True):
    """One seed's run, as reports hold it.

    verdict: the oracle's, or CRASHED. faults: the schedule, as scenario files hold it. struck: loop time and kind of
    what struck. attempt: which of the seed's schedules it is. runs: how many were made to get it. wall_s: of them all.
    expectations: that a scenario's run alone was held to; a campaign's faults are not those that a scenario speaks of.
    """

    seed: int
    verdict: str
    reasons: list[str]
    faults: list[dict[str, Any]]
    struck: list[tuple[float, str]]
    digest: str
    sim_s: float
    timers: int
    attempt: int
    runs: int
    wall_s: float = 0.0
    expectations: list[Expectation] = []
    held: list[tuple[float, float]] = []
    """Of a rover: (from, to) of each time in which it stood or backed out, and waited for something to end."""
    cause: tuple[float, str] | None = None
    """Of a run that was stopped: loop time and kind of the first strike that nobody mended (`unmended`)."""
    noticed_s: float | None = None
    """Of a run that was stopped: loop time at which the host noticed. Of a print its machine's state left work for
    good; else its host had ended, everything made safe."""

    @property
    def is_good(self) -> bool:
        """A verdict that may pass, and every expectation that it was held to came."""
        is_fair = self.verdict in {verdict.value for verdict in Verdict if verdict.is_good}
        return is_fair and all(expectation.held for expectation in self.expectations)

    @property
    def kinds(self) -> list[str]:
        """The kinds of its schedule, each once."""
        return sorted({fault["kind"] for fault in self.faults})

    @property
    def latency_s(self) -> float | None:
        """Of a run that was stopped: simulated seconds from its cause until the host noticed."""
        return None if self.cause is None or self.noticed_s is None else max(0.0, self.noticed_s - self.cause[0])

    def schedule(self) -> FaultSchedule:
        """What it ran under."""
        return FaultSchedule(tuple(Fault.from_dict(row) for row in self.faults))


class Twice(msgspec.Struct, frozen=True):
    """A seed that was run again in another process: is the digest the same?"""

    seed: int
    first: str
    again: str

    @property
    def is_same(self) -> bool:
        """Byte for byte."""
        return self.first == self.again


class Report(msgspec.Struct, frozen=True):
    """A campaign. Everything but the rows' wall_s is the same for the same seeds, commit and Python.

    cut: of a part of one, what ended it and how far it had come; "" for a whole one. points: where faults can strike.
    """

    subject: dict[str, Any]
    subject_name: str
    generator_version: int
    software: str
    python: str
    rows: list[Row]
    twice: list[Twice]
    cut: str = ""
    points: list[str] = []

    @property
    def bad(self) -> list[Row]:
        """Rows that may not be."""
        return [row for row in self.rows if not row.is_good]

    @property
    def unrepeatable(self) -> list[Twice]:
        """Seeds that gave two digests."""
        return [pair for pair in self.twice if not pair.is_same]

    @property
    def is_good(self) -> bool:
        """No SILENT, HANG, UNSAFE, CRASHED, and every repetition the same."""
        return not self.bad and not self.unrepeatable

    @property
    def verdicts(self) -> dict[str, int]:
        """How many runs ended in each way."""
        return dict(sorted(Counter(row.verdict for row in self.rows).items()))


class CampaignInterrupted(KeyboardInterrupt):
    """Ctrl-C. `report`: of what was judged until then, `report.cut` how far that is."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


class CampaignBrokenError(MoonkilnError):
    """The workers gave out. `report`: as of `CampaignInterrupted`."""

    def __init__(self, sentence: str, report: Report) -> None:
        super().__init__(sentence)
        self.report = report


@dataclass(frozen=True)
class Task:
    """All that a process needs to know to judge a seed; it travels pickled."""

    subject: Subject
    generator: Generator
    ground: Ground


def run_campaign(
    subject: Subject,
    generator: Generator,
    seeds: Sequence[int],
    *,
    jobs: int = 1,
    cluster: str | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    twice_every: int = TWICE_EVERY,
) -> Report:
    """Judge every seed.

    Args:
        jobs: processes beside each other. A seed whose process dies is judged by another.
        cluster: a Dask scheduler whose workers judge instead. It is sent the job, and the machine and world files of
            the user's; a register map that those name by its path must lie there too.
        progress: called with how many are done, how many there are and how many were bad.
        twice_every: of how many seeds one is run again.

    Raises:
        SubjectError: the subject does not come out exact when nothing goes wrong.
        GeneratorError: its scenario wants faults that this world and generator do not have.
        CampaignBrokenError: seeds killed every worker that took them, a cluster lost its workers, or they run other
            code; it holds the report of what is done.
        CampaignInterrupted: Ctrl-C, and so does it.
    """
    task = prepare(subject, generator)
    rows: list[Row] = []
    twice: list[Twice] = []
    work: Callable[[Sequence[int]], list[Row]] = functools.partial(judge_batch, task)
    if jobs > 1 or cluster is not None:
        work = functools.partial(judge_elsewhere, task, None if cluster is None else baggage_of(task.subject))

    is_second = False

    def part(why: str, ahead: Iterable[tuple[int, Sequence[Row]]]) -> Report:
        if not is_second:  # else what is ahead are second runs, of rows that are there
            rows.extend(row for _, batch in ahead for row in batch)
        cut = f"{why}: {len(rows)} of {len(seeds)} seeds were judged, {len(twice)} of them run twice"
        return merged(task, rows, twice, cut=cut)

    try:
        for batch in in_batches(work, seeds, jobs=jobs, cluster=cluster):
            rows += batch
            if progress is not None:
                progress(len(rows), len(seeds), sum(not row.is_good for row in rows))
        rows.sort(key=lambda row: row.seed)
        is_second = True
        twice.extend(_again_of(task, rows, jobs=jobs, every=twice_every))
    except KeyboardInterrupt as stop:
        raise CampaignInterrupted(
            part("interrupted", stop.done if isinstance(stop, InterruptedShards) else [])
        ) from None
    except ShardError as error:
        raise CampaignBrokenError(str(error), part("the workers gave out", error.done)) from error
    return merged(task, rows, twice)


def prepare(subject: Subject, generator: Generator) -> Task:
    """What all seeds share: the subject, the generator, and what a clean run showed, both narrowed to what a scenario
    wants at random, which the subject itself does not say any more. Raises SubjectError, GeneratorError.
    """
    scenario, subject = scenario_of(subject), settled(subject)
    wanted = None if scenario is None else scenario.random
    if wanted is None:
        return Task(subject, generator, ground_of(subject, generator))
    generator = narrowed_generator(generator, wanted)
    return Task(subject, generator, narrowed_ground(ground_of(subject, generator), wanted))


def with_drawn(subject: Subject, generator: Generator, seed: int) -> tuple[Subject, FaultSchedule]:
    """A subject whose scenario wants faults at random without that word, and with the schedule that a campaign judges
    that seed by; any other as it is, with no fault. Raises as `prepare`, and SubjectError where none strikes.
    """
    scenario = scenario_of(subject)
    if scenario is None or scenario.random is None:
        return subject, FaultSchedule()
    virtual: Any = in_virtual_time(subject)
    mine = host_of(subject)
    if mine is not None and mine.is_command:  # it knows no virtual time: drawn is by what moonkiln's own host does
        virtual = msgspec.structs.replace(virtual, host=None)
    with unwarned():
        row = judge_seed(prepare(virtual, generator), seed)
    return settled(subject), row.schedule()


def merged(task: Task, rows: Iterable[Row], twice: Iterable[Twice], *, cut: str = "") -> Report:
    """Rows and repetitions from wherever they were made, as one report; `cut` as in `Report`."""
    return Report(
        task.subject.to_dict(),
        task.subject.name,
        task.generator.version,
        software_version(),
        platform.python_version(),
        sorted(rows, key=lambda row: row.seed),
        sorted(twice, key=lambda pair: pair.seed),
        cut,
        list(task.ground.points),
    )


def ground_of(subject: Subject, generator: Generator) -> Ground:
    """What a run shows in which no seed has drawn anything. Raises SubjectError: it does not come out exact, nor, with
    faults of its own, well, and with an outcome unless one of them kills the host."""
    points = subject.points()
    run = _first_run(subject, probe(points, generator))
    if not (run.verdict.is_good if subject.has_faults else run.verdict is Verdict.EXACT):
        raise SubjectError(
            f"{subject.name} comes out {run.verdict.value} {_when(subject)} ({'; '.join(run.reasons[:2])}):"
            " a campaign would count that in every run. Mend it first"
        )
    is_killed = any(fault.kind in KILLING for _, fault in run.struck)
    if not (run.has_outcome or is_killed):  # a machine that nobody moved is safe, and stays so whatever a seed draws
        raise SubjectError(
            f"the host of {subject.name} leaves no outcome {_when(subject)} ({'; '.join(run.reasons[:2])}): a campaign"
            " would judge that in every run. Mend the host first"
        )
    return Ground(tuple(points), run.events, run.job_end_s, run.layers)


def _first_run(subject: Subject, schedule: FaultSchedule) -> Run:
    mine = host_of(subject)
    try:
        return subject.run(schedule, 0, heard=RunDigest(keep=True))
    except Exception as error:
        if mine is None or is_mistake(error):
            raise
        what = str(error) if isinstance(error, HostContractError) else f"{type(error).__name__}: {error}"
        raise SubjectError(f"the host {mine.name} breaks {_when(subject)}: {encodable(what)}") from error


def _when(subject: Subject) -> str:
    return "with its own faults alone" if subject.has_faults else "though nothing goes wrong"


def judge_batch(task: Task, seeds: Sequence[int]) -> list[Row]:
    """Judge some seeds, in this process."""
    with unwarned():
        return [judge_seed(task, seed) for seed in seeds]


@dataclass(frozen=True)
class Baggage:
    """What a subject needs of this computer's files: its job, and by role the machine files that are the user's own."""

    job: bytes | None
    files: dict[str, bytes]


def baggage_of(subject: Subject) -> Baggage:
    """For where our files may not be seen."""
    return Baggage(subject.job_bytes(), {role: content for role, (_, content) in contents_of(subject).items()})


def judge_elsewhere(task: Task, baggage: Baggage | None, seeds: Sequence[int]) -> list[Row]:
    """The same in a process beside others, which has one core; None: that sees the same files."""
    import cv2
    import numba

    cv2.setNumThreads(1)
    numba.set_num_threads(1)
    if baggage is None:
        return judge_batch(task, seeds)
    with scratch_folder() as folder:
        subject = subject_of(task.subject.to_dict(), baggage.job, folder, baggage.files)
        return judge_batch(replace(task, subject=subject), seeds)


def judge_seed(task: Task, seed: int) -> Row:
    """The row of one seed: of the first schedule of which something struck before the job's end, or of a bad run."""
    found, wall_s = timed(lambda: judged(task.subject, task.generator, task.ground, seed))
    return row_of(
        found.trial, found.schedule, seed, attempt=found.attempt, runs=found.runs, wall_s=wall_s, cause=found.cause
    )


def row_of(
    trial: Trial,
    schedule: FaultSchedule,
    seed: int,
    *,
    attempt: int = 0,
    runs: int = 1,
    wall_s: float = 0.0,
    is_held: bool = False,
    cause: tuple[float, str] | None = None,
) -> Row:
    """What a report keeps of a trial. is_held: to what its scenario expects, and to each of its faults striking; cause:
    as in `Row`."""
    run = trial.run
    held_to = [*trial.expectations, *judge_strikes(schedule, run.struck)] if run and is_held else []
    is_stopped = run is not None and run.verdict is Verdict.DETECTED
    return Row(
        seed,
        trial.verdict,
        list(trial.reasons),
        [fault.to_dict() for fault in schedule.faults],
        [(t_s, fault.kind) for t_s, fault in run.struck] if run else [],
        run.digest.whole if run else trial.digest,
        run.sim_s if run else 0.0,
        run.timers if run else 0,
        attempt,
        runs,
        wall_s,
        held_to,
        list(run.held) if run else [],
        cause,
        (run.sim_s if run.noticed_s is None else run.noticed_s) if run and is_stopped else None,
    )


def run_twice(task: Task, rows: Sequence[Row], *, jobs: int = 1, every: int = TWICE_EVERY) -> list[Twice]:
    """Judge one row in `every` again in processes of another hash seed, and compare. Raises control.shards.ShardError:
    one seed killed every process that took it.
    """
    return list(_again_of(task, rows, jobs=jobs, every=every))


def _again_of(task: Task, rows: Sequence[Row], *, jobs: int, every: int) -> Iterator[Twice]:
    """The same, pair by pair as they come."""
    first = {row.seed: row for row in rows[::every]}
    work = functools.partial(judge_elsewhere, task, None)
    for batch in in_batches(work, list(first), jobs=jobs, environment={"PYTHONHASHSEED": OTHER_HASH_SEED}):
        for row in batch:
            yield Twice(row.seed, _fingerprint(first[row.seed]), _fingerprint(row))


def _fingerprint(row: Row) -> str:
    """Of all that must be the same: digest, verdict, schedule, strikes, and how much the loop did."""
    heard = RunDigest()
    same = msgspec.structs.replace(row, wall_s=0.0)
    digest: Digest = heard.close(same, None, None)
    return digest.truth


__all__ = [
    "CampaignBrokenError",
    "CampaignInterrupted",
    "Report",
    "Row",
    "Task",
    "Twice",
    "judge_batch",
    "judge_elsewhere",
    "judge_seed",
    "merged",
    "prepare",
    "row_of",
    "run_campaign",
    "run_twice",
    "with_drawn",
]
