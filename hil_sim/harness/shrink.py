"""The smallest schedule that still shows a finding: fewer faults, then plainer arguments, earlier ones, a shorter job.

What must stay is the verdict and the kind of its first reason (numbers aside). Faults go by delta debugging (halves,
then quarters, ... then each alone), arguments towards their defaults and nothing, the anchor and the job by halving.
Every run is a whole run; a bound on their number ends the search with what was found so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from hil_sim.harness.oracle import Verdict
from hil_sim.harness.subjects import Subject
from hil_sim.harness.trials import Trial, tried
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.wiring import WorldError

RUNS_MAX = 300
HALVINGS_MAX = 6
COUNTED = ("at_chunk", "at_line", "at_request", "at_event", "at_layer")
TINY_S = 0.01


class ShrinkError(ValueError):
    """There is nothing to shrink."""


@dataclass(frozen=True)
class Shrunk:
    """The smallest that was found, and what it took. is_whole: the search came to its end within its bound."""

    subject: Subject
    schedule: FaultSchedule
    seed: int
    trial: Trial
    runs: int
    is_whole: bool


class _OutOfRuns(Exception):
    pass


def shrink(
    subject: Subject,
    schedule: FaultSchedule,
    seed: int,
    *,
    runs_max: int = RUNS_MAX,
    progress: Callable[[int, FaultSchedule], None] | None = None,
) -> Shrunk:
    """Make a finding smaller.

    Args:
        runs_max: how many runs may be made.
        progress: called with the number of runs and the schedule whenever a smaller one shows the same.

    Raises:
        ShrinkError: the run comes out exact, so that there is nothing to find.
    """
    search = _Search(subject, schedule, seed, runs_max, progress)
    steps = (search.fewer_faults, search.plainer_arguments, search.earlier, search.shorter_job, search.fewer_faults)
    is_whole = True
    try:
        for step in steps:
            step()
    except _OutOfRuns:
        is_whole = False
    return Shrunk(search.subject, search.schedule, seed, search.trial, search.runs, is_whole)


class _Search:
    """The smallest so far; `accept` tries a candidate and keeps it if it shows the same."""

    def __init__(
        self,
        subject: Subject,
        schedule: FaultSchedule,
        seed: int,
        runs_max: int,
        progress: Callable[[int, FaultSchedule], None] | None,
    ) -> None:
        self.subject, self.schedule, self.seed = subject, schedule, seed
        self.runs = 1
        self._runs_max = runs_max
        self._progress = progress
        self._seen: dict[bytes, bool] = {}
        self.trial = tried(subject, schedule, seed)
        if self.trial.verdict == Verdict.EXACT.value:
            raise ShrinkError(f"seed {seed} comes out exact under this schedule: there is nothing to shrink")

    def accept(self, subject: Subject, faults: tuple[Fault, ...]) -> bool:
        """Whether this shows the same; it is the smallest so far then."""
        key = msgspec.json.encode([subject.to_dict(), [fault.to_dict() for fault in faults]])
        if key in self._seen:
            return self._seen[key]
        if self.runs >= self._runs_max:
            raise _OutOfRuns
        self.runs += 1
        schedule = FaultSchedule(faults)
        try:
            trial = tried(subject, schedule, self.seed)
        except WorldError:  # an argument that this world refuses
            self._seen[key] = False
            return False
        self._seen[key] = is_same = trial.signature == self.trial.signature
        if is_same:
            self.subject, self.schedule, self.trial = subject, schedule, trial
            if self._progress is not None:
                self._progress(self.runs, schedule)
        return is_same

    def fewer_faults(self) -> None:
        """Delta debugging: leave out ever smaller parts until each fault alone is needed."""
        parts = 2
        while self.schedule.faults:
            faults = self.schedule.faults
            size = math.ceil(len(faults) / parts)
            chunks = [faults[start : start + size] for start in range(0, len(faults), size)]
            without = (tuple(f for other in chunks if other is not chunk for f in other) for chunk in chunks)
            if any(self.accept(self.subject, rest) for rest in without):
                parts = max(parts - 1, 2)
            elif size == 1:
                return
            else:
                parts = min(parts * 2, len(faults))

    def plainer_arguments(self) -> None:
        """Each fault in turn: fewer events, shorter, without its arguments or with smaller ones."""
        for at in range(len(self.schedule.faults)):
            for plainer in _ways(self.schedule.faults[at]):
                for _ in range(HALVINGS_MAX):
                    faults = self.schedule.faults
                    smaller = plainer(faults[at])
                    if smaller is None or smaller == faults[at]:
                        break
                    if not self.accept(self.subject, (*faults[:at], smaller, *faults[at + 1 :])):
                        break

    def earlier(self) -> None:
        """Each fault that counts events in turn: as early as it still shows, by halving; less of the job is needed."""
        for at, fault in enumerate(self.schedule.faults):
            for anchor in COUNTED:
                shows, hides = getattr(fault, anchor), -1
                while shows is not None and shows - hides > 1:
                    middle, faults = (shows + hides) // 2, self.schedule.faults
                    moved = replace(faults[at], **{anchor: middle})
                    if self.accept(self.subject, (*faults[:at], moved, *faults[at + 1 :])):
                        shows = middle
                    else:
                        hides = middle

    def shorter_job(self) -> None:
        """The fewest layers or vectors, by halving."""
        shows, hides = self.subject.length, 0
        whole = self.subject
        while shows - hides > 1:
            middle = (shows + hides) // 2
            if self.accept(whole.shorter(middle), self.schedule.faults):
                shows = middle
            else:
                hides = middle


Way = Callable[[Fault], Fault | None]


def _ways(fault: Fault) -> Iterator[Way]:
    """Functions that each give a plainer fault, None where there is none."""
    yield lambda f: replace(f, count=1) if f.count > 1 else None
    yield lambda f: replace(f, count=f.count // 2) if f.count > 1 else None
    yield lambda f: replace(f, after_s=0.0) if f.after_s else None
    yield lambda f: replace(f, for_s=round(f.for_s / 2, 3)) if f.nth is None and f.for_s > 2 * TINY_S else None
    for name, _ in fault.args:
        yield partial(_without, name=name)
        yield partial(_with, name=name, value=0)
        yield partial(_halved, name=name)


def _without(fault: Fault, name: str) -> Fault | None:
    args = dict(fault.args)
    return replace(fault, args=tuple(a for a in fault.args if a[0] != name)) if name in args else None


def _with(fault: Fault, name: str, value: Any) -> Fault | None:
    args = dict(fault.args)
    if name not in args or isinstance(args[name], str) or args[name] == value:
        return None
    return replace(fault, args=tuple(sorted((args | {name: value}).items())))


def _halved(fault: Fault, name: str) -> Fault | None:
    value = dict(fault.args).get(name)
    if value is None or isinstance(value, str):
        return None
    half = value // 2 if isinstance(value, int) else round(value / 2, 3)
    return _with(fault, name, half) if half != value else None
