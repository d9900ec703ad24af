"""Where two kept runs part: the first difference in the order of time, and what came before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil_sim.harness.run_file import KeptRun, told

Event = tuple[float, str, bytes]
CONTEXT = 5
TOLD, ENDED, MADE_BY = ("subject", "seed", "faults", "file_hashes"), ("verdict", "reasons"), ("software", "python")
PARTS = {
    "wires": "what passed on the wires",
    "truth": "what truly happened",
    "strikes": "what struck",
    "outcome": "what the host said of it",
}
"""The parts of `digest.Digest`."""


@dataclass(frozen=True)
class Difference:
    """The first event at which two runs differ; None on the side that had ended. before: the last that both share."""

    first: Event | None
    second: Event | None
    before: tuple[Event, ...]
    alike: int

    @property
    def at_s(self) -> float:
        """Loop time of the earlier of both."""
        return min(event[0] for event in (self.first, self.second) if event is not None)

    def lines(self) -> list[str]:
        """For a reader: what both share, then what each does."""
        found = [f"  {line(event)}" for event in self.before]
        sides = (("A", self.first), ("B", self.second))
        return found + [f"{name} {'has ended' if event is None else line(event)}" for name, event in sides]


def first_difference(first: KeptRun, second: KeptRun) -> Difference | None:
    """The first event that is not the same in both, None if the runs are alike to their end."""
    ours, theirs = events(first), events(second)
    together = min(len(ours), len(theirs))
    at = next((i for i in range(together) if ours[i] != theirs[i]), together)
    if at == len(ours) == len(theirs):
        return None
    return Difference(
        ours[at] if at < len(ours) else None,
        theirs[at] if at < len(theirs) else None,
        tuple(ours[max(0, at - CONTEXT) : at]),
        at,
    )


def events(run: KeptRun) -> list[Event]:
    """Everything that a run file holds, in the order of time; of one instant the wires come first."""
    wires: list[Event] = [(chunk.t_s, chunk.point, chunk.data) for chunk in run.chunks]
    return sorted([*wires, *run.truth], key=lambda event: event[0])


def line(event: Event) -> str:
    """An event for a reader."""
    t_s, where, data = event
    return f"{t_s:12.6f} s  {where:<18} {told(data)}"


def differing_facts(first: KeptRun, second: KeptRun) -> Sequence[str]:
    """What the runs were told differently (subject, seed, schedule, machine files), how they ended differently, and
    the versions that made them.
    """
    names = (*TOLD, *ENDED, *MADE_BY)
    pairs = ((name, getattr(first.about, name), getattr(second.about, name)) for name in names)
    return [f"{name}: {ours} and {theirs}" for name, ours, theirs in pairs if ours != theirs]


def are_alike(first: KeptRun, second: KeptRun) -> bool:
    """Whether both were told the same and came to the same: verdict, reasons, and the digest of everything. The
    versions that made them do not count.
    """
    return all(getattr(first.about, name) == getattr(second.about, name) for name in (*TOLD, *ENDED, "whole"))


def unlike_parts(first: KeptRun, second: KeptRun) -> list[str]:
    """Of the digests' parts those that differ, in words; none where a run broke off and has no parts."""
    ours, theirs = first.about.digest, second.about.digest
    if ours is None or theirs is None:
        return []
    return [words for part, words in PARTS.items() if getattr(ours, part) != getattr(theirs, part)]
