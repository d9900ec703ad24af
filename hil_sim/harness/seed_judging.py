"""What one seed comes to: the first of its schedules that counts, whether it comes to a good end, and what stopped it.

A schedule counts if something struck before the job's end. Each of its faults that may change nothing is left out once,
to see whether the run is the same; a run that was stopped is made again without its last strikes, to see for which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hil_sim.harness.following import Following, Marked
from hil_sim.harness.generator import Generator, Ground, drawn
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.subjects import Run, Stopped, Subject, SubjectError
from hil_sim.harness.trials import Trial, tried
from hil_sim.harness.unmended import STOPPED_WITHIN_S, first_strikes
from hil_sim.world.faults import Fault, FaultSchedule

ATTEMPTS_MAX = 60
"""Schedules drawn for a seed until one strikes before the job's end."""


@dataclass(frozen=True)
class Judged:
    """A trial that a seed came to, its schedule, and which of the seed's it is. cause: loop time and kind of the strike
    that it was stopped by. runs: how many were made to find that out."""

    trial: Trial
    schedule: FaultSchedule
    attempt: int
    cause: tuple[float, str] | None = None
    runs: int = 0


class _Runs:
    """The runs that one seed takes, counted."""

    def __init__(self, subject: Subject, seed: int) -> None:
        self.subject = subject
        self.seed = seed
        self.count = 0

    def made(self, schedule: FaultSchedule, **options: Any) -> Trial:
        """One more, with options as of `tried`."""
        self.count += 1
        return tried(self.subject, schedule, self.seed, **options)

    def made_unless(self, schedule: FaultSchedule, **options: Any) -> Trial | None:
        """The same; None where the options end it early."""
        try:
            return self.made(schedule, **options)
        except Stopped:
            return None


def judged(subject: Subject, generator: Generator, ground: Ground, seed: int) -> Judged:
    """The first schedule of a seed of which something struck before the job's end, or a run that is bad.

    Raises:
        SubjectError: none of ATTEMPTS_MAX schedules strikes before the job's end.
    """
    runs = _Runs(subject, seed)
    return replace(_counted(generator, ground, runs), runs=runs.count)


def _counted(generator: Generator, ground: Ground, runs: _Runs) -> Judged:
    for attempt in range(ATTEMPTS_MAX):
        heard = Marked()
        schedule = drawn(generator, ground, runs.seed, attempt)
        trial = runs.made(schedule, heard=heard)
        if trial.run is None or not trial.is_good:  # no bad run is ever left out; all of its schedule is suspect
            return Judged(trial, schedule, attempt)
        if any(t_s > trial.run.job_end_s for t_s, fault in trial.run.struck if fault in schedule.faults):
            continue
        found = Judged(trial, _that_struck(schedule, trial.run), attempt)
        may_idle = [f for f in found.schedule.faults if generator.kinds[f.kind].may_idle]
        unmended = None
        if trial.run.verdict is Verdict.DETECTED:
            alone = _by_its_own(trial.run, runs)
            if alone is not None and not alone.is_good:
                return Judged(alone, FaultSchedule(), attempt)
            if alone is None or alone.verdict != Verdict.DETECTED.value:
                found, unmended = _traced_back(found, trial.run, may_idle, runs)
        if found.trial.is_good:
            clear = trial.run.shown if found.trial is trial else frozenset()
            unclear = [f for f in may_idle if f in found.schedule.faults and f != unmended and f not in clear]
            found = _without_idle(found, unclear, heard.marks, runs)
        if found.schedule.faults:
            return found
    raise SubjectError(
        f"seed {runs.seed} draws no schedule of {runs.subject.name} in {ATTEMPTS_MAX} attempts that strikes before the"
        " job's end: widen the ranges of the generator"
    )


def _by_its_own(run: Run, runs: _Runs) -> Trial | None:
    """What the subject's own faults alone come to by when a run was stopped with those that a seed drew; None: it has
    none, or goes on."""
    if not runs.subject.has_faults:
        return None
    return runs.made_unless(FaultSchedule(), until_s=run.sim_s + STOPPED_WITHIN_S)


def _traced_back(found: Judged, run: Run, may_idle: Sequence[Fault], runs: _Runs) -> tuple[Judged, Fault | None]:
    """The same with what the stopped `run` was stopped by (see `unmended`), and that fault; with a run of fewer of its
    faults that is bad instead, and None."""
    strikes = first_strikes(run, found.schedule)
    is_idle = True  # everything that was left out up to now
    while len(strikes) > 1:
        less = strikes[-2][1]
        short = runs.made_unless(less, until_s=run.sim_s + STOPPED_WITHIN_S)
        if short is not None and not short.is_good:
            return Judged(short, less, found.attempt), None
        if short is None or short.verdict != Verdict.DETECTED.value:
            break
        last = strikes.pop()[1].faults[-1]
        is_idle = is_idle and last in may_idle and short.run is not None and short.run.digest.deeds == run.digest.deeds
        if is_idle:  # it is as if it had never been drawn
            found = replace(found, trial=short, schedule=less)
    if not strikes:
        return found, None
    t_s, so_far = strikes[-1]
    unmended = so_far.faults[-1]
    return replace(found, cause=(t_s, unmended.kind)), unmended


def _without_idle(found: Judged, faults: Sequence[Fault], marks: Sequence[bytes], runs: _Runs) -> Judged:
    """The same without those of the faults that left no trace, since nothing asked for them: the run is the same."""
    for fault in faults:
        less = FaultSchedule(tuple(f for f in found.schedule.faults if f != fault))
        without = runs.made_unless(less, heard=Following(marks))
        if without is None:
            continue
        if not without.is_good:
            return Judged(without, less, found.attempt)
        if without.run and found.trial.run and without.run.digest.deeds == found.trial.run.digest.deeds:
            found = replace(found, trial=without, schedule=less)
    return found


def _that_struck(schedule: FaultSchedule, run: Run) -> FaultSchedule:
    struck = {fault for _, fault in run.struck}
    return FaultSchedule(tuple(dict.fromkeys(f for f in schedule.faults if f in struck)))
