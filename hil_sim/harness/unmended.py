"""Of a run that several faults struck and that was stopped: which of them was the first that nobody mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hil_sim.harness.subjects import Run
from hil_sim.harness.trials import Trial
from hil_sim.world.faults import FaultSchedule


def first_strikes(run: Run, schedule: FaultSchedule) -> list[tuple[float, FaultSchedule]]:
    """(its first strike, the schedule up to it) of each of the schedule's faults that struck, in the order of time."""
    found: list[tuple[float, FaultSchedule]] = []
    so_far = FaultSchedule()
    for t_s, fault in run.struck:
        if fault in schedule.faults and fault not in so_far.faults:
            so_far = FaultSchedule((*so_far.faults, fault))
            found.append((t_s, so_far))
    return found


def shorter_trials(
    run: Run, schedule: FaultSchedule, make: Callable[[FaultSchedule], Trial]
) -> Iterator[tuple[float, FaultSchedule, Trial]]:
    """(time, schedule, trial) of a run that was stopped by one of several faults, again with its first one alone, with
    its first two, and so on: the same run each time until the next would have struck. The strike that nobody mended is
    the last of the first of these that is stopped too; of the whole schedule's, which is not made again, if none is.
    """
    for t_s, so_far in first_strikes(run, schedule)[:-1]:
        yield t_s, so_far, make(so_far)
