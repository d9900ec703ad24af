"""Faults are data. This file joins the catalogues and refuses a fault that nothing would ever carry out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from hil_sim.world.faults import actuator, camera, comms, modbus, power, process, safety, sensor, stream, thermal
from hil_sim.world.faults.argument import SHOWN_CHARS
from hil_sim.world.faults.schedule import COUNTED, Fault, Faults, FaultSchedule, Kind

FAMILIES: dict[str, dict[str, Kind]] = {
    "stream": stream.KINDS,
    "comms": comms.KINDS,
    "modbus": modbus.KINDS,
    "sensor": sensor.KINDS,
    "actuator": actuator.KINDS,
    "thermal": thermal.KINDS,
    "power": power.KINDS,
    "camera": camera.KINDS,
    "process": process.KINDS,
    "safety": safety.KINDS,
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
            sentences.append(_unknown(fault.kind))
            continue
        if not any(fnmatchcase(fault.point, pattern) for pattern in kind.points):
            sentences.append(f"'{fault.kind}' strikes at {' or '.join(kind.points)}, not at '{fault.point}'.")
        elif here is not None and fault.point not in here:
            sentences.append(f"this world has no point '{fault.point}'; it has {', '.join(here)}.")
        if fault.anchor in COUNTED and fault.anchor != kind.counted:
            windows = "at_s, at_layer or at_light"
            how = f"{kind.counted}, {windows}" if kind.counted else windows
            sentences.append(f"'{fault.kind}' is anchored by {how}, not by {fault.anchor}.")
        sentences += check_args(fault.kind, kind, fault.args)
    return sentences


def check_args(name: str, kind: Kind, args: Iterable[tuple[str, object]]) -> list[str]:
    """What is wrong with the arguments of a fault of this kind, in sentences; empty if nothing."""
    given = list(args)
    sentences = []
    if strange := [arg for arg, _ in given if arg not in kind.args]:
        sentences.append(f"'{name}' knows {', '.join(kind.args) or 'no arguments'}, not {', '.join(strange)}.")
    for arg, value in given:
        if arg in kind.args and not kind.args[arg].accepts(value):
            shown = repr(value)
            shown = shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}..."
            sentences.append(f"'{name}' takes {arg} as {kind.args[arg].domain}, not {shown}.")
    return sentences


def schedule_of(rows: Iterable[Mapping[str, Any]]) -> FaultSchedule:
    """The faults of a file, as rows of plain data. Raises ValueError: what is wrong with them, whatever the world."""
    faults = []
    for row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(f"a fault is kind, point, anchor and args by name, not {row!r:.40}")
        kind = row.get("kind")
        if isinstance(kind, str) and kind not in KINDS:  # before all that an unknown kind may lack
            raise ValueError(_unknown(kind))
        faults.append(Fault.from_dict(row))
    schedule = FaultSchedule(tuple(faults))
    if sentences := check_faults(schedule):
        raise ValueError(" ".join(sentences))
    return schedule


def _unknown(kind: str) -> str:
    near = difflib.get_close_matches(kind, KINDS, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"'{kind}' is no known fault{hint}; known are {', '.join(sorted(KINDS))}."


__all__ = [
    "FAMILIES",
    "KINDS",
    "Fault",
    "FaultSchedule",
    "Faults",
    "Kind",
    "check_args",
    "check_faults",
    "schedule_of",
]
