"""Of a run that several faults struck and that was stopped: which of them was the first that nobody mended.

Made again with all of its faults but the last to strike, it is the same run until that one would have struck. If it is
not stopped as soon as the whole run was, the last was what nobody mended; else the last is left out for good and the
next one is tried, and so on from the back: most stops come of the last strike.
"""

from __future__ import annotations

from hil_sim.harness.subjects import Run
from hil_sim.world.faults import FaultSchedule

STOPPED_WITHIN_S = 1.0
"""A run of fewer faults may be made safe by so much later than the whole, and was stopped by the same."""


def first_strikes(run: Run, schedule: FaultSchedule) -> list[tuple[float, FaultSchedule]]:
    """(its first strike, the schedule up to it) of each of the schedule's faults that struck, in the order of time."""
    found: list[tuple[float, FaultSchedule]] = []
    so_far = FaultSchedule()
    for t_s, fault in run.struck:
        if fault in schedule.faults and fault not in so_far.faults:
            so_far = FaultSchedule((*so_far.faults, fault))
            found.append((t_s, so_far))
    return found
