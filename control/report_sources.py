"""The files of a run's folder, each read on its own: outcome, journal, machine file, job; and the run's own clock.

A source that is absent or damaged gives what it can and a sentence in `notes`.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.config import MachineConfig, load_machine
from control.errors import MoonkilnError
from control.journal import Journal, LayerPhase
from control.journal_file import JournalFile
from control.outcome import NAME as OUTCOME_NAME
from control.outcome import Outcome, read_outcome
from control.report_telemetry import Event, Telemetry
from slicer.errors import SlicerError
from slicer.job import Job
from slicer.job_layer import JobLayer

PHASES = (
    (re.compile(r"layer \d+: recoating"), "recoating"),
    (re.compile(r"layer \d+: exposing"), "exposing"),
    (re.compile(r"heating"), "heating"),
    (re.compile(r"bringing up|homing|waiting"), "preparing"),
)

Array = NDArray[Any]


@dataclass(frozen=True)
class Clock:
    """The run's own time: sessions one behind the other, the hours between them left out."""

    sessions_ns: tuple[tuple[int, int], ...]

    @property
    def span_s(self) -> float:
        """Seconds of all sessions together."""
        return sum(last - first for first, last in self.sessions_ns) / 1e9

    @property
    def breaks_s(self) -> list[float]:
        """Where one session ended and the next began."""
        ends = np.cumsum([(last - first) / 1e9 for first, last in self.sessions_ns])
        return [float(end) for end in ends[:-1]]

    def seconds(self, times_ns: Array) -> Array:
        """Label times -> seconds of the run; what lies between sessions falls on the break."""
        out = np.zeros(len(times_ns))
        before_s = 0.0
        for first, last in self.sessions_ns:
            inside = times_ns >= first
            out[inside] = before_s + np.clip((times_ns[inside] - first) / 1e9, 0.0, (last - first) / 1e9)
            before_s += (last - first) / 1e9
        return out


def outcome_of(run_dir: Path, notes: list[str]) -> Outcome | None:
    if not (run_dir / OUTCOME_NAME).is_file():
        return None
    try:
        return read_outcome(run_dir)
    except MoonkilnError as error:
        notes.append(str(error))
        return None


def journal_of(path: Path, notes: list[str]) -> dict[str, Any]:
    """The journal as it stands, read without a trace: a host may be at work on it, or a resume be still to come."""
    empty: dict[str, Any] = {"layers": [], "declared": [], "events": [], "facts": {}}
    if not path.is_file():
        notes.append(f"{path.name} is missing: the run's journal is not shown")
        return empty
    alone = not path.with_name(path.name + "-wal").exists()
    connection = None
    try:
        mode = "mode=ro&immutable=1" if alone else "mode=ro"  # immutable: leaves no -wal and -shm beside a closed one
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=2.0)
        journal = Journal(JournalFile(path, connection))
        return {
            "layers": [
                {"index": r.layer, "committed": r.phase is LayerPhase.COMMITTED, "phase": r.phase.value,
                 "blocks": r.blocks, "energy_j": r.energy_j}
                for r in journal.layers()
            ],
            "declared": [vars(d).copy() for d in journal.declarations()],
            "events": journal.events(),
            "facts": dict(connection.execute("select key, value from run").fetchall()),
        }  # fmt: skip
    except (sqlite3.Error, MoonkilnError, ValueError, TypeError) as error:
        notes.append(f"{path.name} cannot be read ({error}): the run's journal is not shown")
        return empty
    finally:
        if connection is not None:
            connection.close()


def machine_of(path: Path, notes: list[str]) -> MachineConfig | None:
    try:
        return load_machine(path)
    except MoonkilnError as error:
        notes.append(str(error))
        return None


def job_of(path: Path, notes: list[str]) -> tuple[Job | None, list[JobLayer]]:
    layers: list[JobLayer] = []
    try:
        job = Job.open(path)
    except SlicerError as error:
        notes.append(str(error))
        return None, layers
    for index in range(job.manifest.layer_count):
        try:
            layers.append(job.layer(index))
        except SlicerError as error:
            notes.append(f"{error}: layers from {index + 1} on are not drawn")
            break
    return job, layers


# ---- the course of the run


def phases_of(telemetry: Telemetry, clock: Clock) -> list[tuple[float, float, str, str]]:
    """What the machine was at, from one step of progress to the next; neighbours that say the same are one."""
    steps = telemetry.steps
    if not steps or not clock.sessions_ns:
        return []
    at_s = clock.seconds(np.array([step.time_ns for step in steps], np.int64)).tolist()
    stops = sorted([*clock.breaks_s, clock.span_s])
    phases: list[tuple[float, float, str, str]] = []
    for n, step in enumerate(steps):
        end_s = min([at_s[n + 1] if n + 1 < len(at_s) else clock.span_s, *(stop for stop in stops if stop > at_s[n])])
        style = next((style for words, style in PHASES if words.match(step.doing)), "between")
        if phases and phases[-1][3] == step.doing and phases[-1][1] == at_s[n]:
            phases[-1] = (phases[-1][0], end_s, style, step.doing)
        elif end_s > at_s[n]:
            phases.append((at_s[n], end_s, style, step.doing))
    return phases


def events_of(
    telemetry: Telemetry, journalled: list[tuple[int, float, str, str]], start_ns: int, clock: Clock
) -> list[dict[str, Any]]:
    """Telemetry's events, and the journal's where telemetry does not hold them; in the order of time."""
    told = {event.text for event in telemetry.events}
    events = list(telemetry.events)
    first, last = (clock.sessions_ns[0][0], clock.sessions_ns[-1][1]) if clock.sessions_ns else (0, 0)
    for _, at_s, level, text in journalled:
        if text not in told:
            time_ns = start_ns + round(at_s * 1e9)
            events.append(Event(time_ns if first <= time_ns <= last else None, str(level), str(text)))
    events.sort(key=lambda event: (event.time_ns is None, event.time_ns or 0))
    rows = []
    for event in events:
        at = None if event.time_ns is None else float(clock.seconds(np.array([event.time_ns], np.int64))[0])
        rows.append({"at_s": at, "level": event.level, "text": event.text})
    return rows
