"""Faults are data. This file joins the catalogues and refuses a fault that nothing would ever carry out."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hil_sim.world.faults import actuator, power, stream, thermal
from hil_sim.world.faults.schedule import COUNTED, Fault, Faults, FaultSchedule, Kind

FAMILIES: dict[str, dict[str, Kind]] = {
    "stream": stream.KINDS,
    "actuator": actuator.KINDS,
    "thermal": thermal.KINDS,
    "power": power.KINDS,
}
KINDS: dict[str, Kind] = {name: kind for family in FAMILIES.values() for name, kind in family.items()}


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
        if fault.anchor in COUNTED and fault.anchor != kind.counted:
            how = f"{kind.counted}, at_s or at_layer" if kind.counted else "at_s or at_layer"
            sentences.append(f"'{fault.kind}' is anchored by {how}, not by {fault.anchor}.")
        strange = [name for name, _ in fault.args if name not in kind.args]
        if strange:
            known = ", ".join(kind.args) or "no arguments"
            sentences.append(f"'{fault.kind}' knows {known}, not {', '.join(strange)}.")
    return sentences


__all__ = ["FAMILIES", "KINDS", "Fault", "FaultSchedule", "Faults", "Kind", "check_faults"]
