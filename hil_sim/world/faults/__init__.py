"""Faults are data. This file joins the catalogues and refuses a fault that nothing would ever carry out."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hil_sim.world.faults import power, process, stream, thermal
from hil_sim.world.faults.schedule import Fault, FaultSchedule, Kind

KINDS: dict[str, Kind] = {**stream.KINDS, **process.KINDS, **thermal.KINDS, **power.KINDS}


def check_faults(schedule: FaultSchedule, points: Iterable[str] | None = None) -> list[str]:
    """What is wrong with a schedule, in sentences; empty if nothing.

    points: the points that this world has (a fault elsewhere would be accepted and do nothing); None: any name will do.
    """
    here = None if points is None else sorted(points)
    sentences = []
    for fault in schedule.faults:
        kind = KINDS.get(fault.kind)
        if kind is None:
            sentences.append(f"'{fault.kind}' is no known fault; known are {', '.join(sorted(KINDS))}.")
            continue
        if not any(fnmatchcase(fault.point, pattern) for pattern in kind.points):
            sentences.append(f"'{fault.kind}' strikes at {' or '.join(kind.points)}, not at '{fault.point}'.")
        elif here is not None and fault.point not in here:
            sentences.append(f"this world has no point '{fault.point}'; it has {', '.join(here)}.")
        if kind.is_timed and fault.at_s is None:
            sentences.append(f"'{fault.kind}' lasts for a time: give at_s and for_s, not at_chunk.")
        strange = [name for name, _ in fault.args if name not in kind.args]
        if strange:
            known = ", ".join(kind.args) or "no arguments"
            sentences.append(f"'{fault.kind}' knows {known}, not {', '.join(strange)}.")
    return sentences


__all__ = ["KINDS", "Fault", "FaultSchedule", "Kind", "check_faults"]
