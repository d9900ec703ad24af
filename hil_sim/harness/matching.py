"""How executed blocks fit a job's plan: which block is which, what was repeated, cut short, left out or strange.

Matching walks through the plan and the executed blocks side by side. A block that is not the one due may be a repeat (a
resume goes back a little) or a leap (something was left out); whatever fits neither is a stray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hil_sim.harness.trace import Block
from slicer.job import Job

POSITION_MM = 0.05
ENERGY_SHARE = 0.01
SPEED_SHARE = 0.02  # a feed is a word with few digits; slower is what a machine's limits may ask for
LOOK_BLOCKS = 128  # how far a repeat or a leap is looked for


@dataclass(frozen=True)
class Plan:
    """A job's vectors in order, flattened: (n, 4) mm, joules and mm/s each, and the layer and block of each."""

    vectors_mm: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    speed_mm_s: NDArray[np.float64]
    layer: NDArray[np.int64]
    block: NDArray[np.int64]
    z_mm: NDArray[np.float64]

    @classmethod
    def of(cls, job: Job) -> Plan:
        """The plan of a whole job."""
        vectors, energy, speed, layer, block, z_mm = [], [], [], [], [], []
        for index in range(job.manifest.layer_count):
            job_layer = job.layer(index)
            path, n = job_layer.path, len(job_layer.path)
            vectors.append(path.vectors_mm)
            energy.append(path.power_w * path.lengths_mm / path.speed_mm_s)
            speed.append(path.speed_mm_s)
            layer.append(np.full(n, index))
            block.append(np.arange(n))
            z_mm.append(np.full(n, job_layer.layer.z_mm))
        return cls(*(np.concatenate(parts) for parts in (vectors, energy, speed, layer, block, z_mm)))


@dataclass
class Match:
    """How executed blocks fit the plan."""

    energies_j: list[list[float]]  # per planned block, the energy of each time it was executed whole
    partial: list[int] = field(default_factory=list)  # planned blocks that were begun and cut short
    partial_j: list[float] = field(default_factory=list)  # and what each of these gave
    strays: list[int] = field(default_factory=list)  # executed blocks that no plan holds
    wrong_plane: list[int] = field(default_factory=list)  # planned blocks executed at another piston depth
    late: list[int] = field(default_factory=list)  # planned blocks that came only when later ones were done
    hasty: dict[int, float] = field(default_factory=dict)  # planned blocks at more than their speed: mm/s


def match_blocks(plan: Plan, executed: list[Block]) -> Match:
    """Walk through plan and truth side by side."""
    n = len(plan.vectors_mm)
    match = Match([[] for _ in range(n)])
    due = newest = 0
    for index, done in enumerate(executed):
        ends = np.array([*done.start_mm, *done.end_mm])
        candidates = [due, *range(due - 1, max(-1, due - 1 - LOOK_BLOCKS), -1), *range(due + 1, due + 1 + LOOK_BLOCKS)]
        fitting = [c for c in candidates if 0 <= c < n and np.abs(plan.vectors_mm[c] - ends).max() <= POSITION_MM]
        # Layers are alike: what was exposed at a layer's height is that layer's, a repeat or not.
        at_height = [c for c in fitting if abs(plan.z_mm[c] - done.plane_drop_mm) <= POSITION_MM]
        if fitting:
            found = (at_height or fitting)[0]
            if found < newest and not match.energies_j[found]:
                match.late.append(found)
            match.energies_j[found].append(done.energy_j)
            if not at_height:
                match.wrong_plane.append(found)
            if not done.nominal_mm_s <= (1 + SPEED_SHARE) * plan.speed_mm_s[found]:
                match.hasty[found] = done.nominal_mm_s
            due = found + 1
            newest = max(newest, due)
            continue
        cut = next((c for c in candidates if 0 <= c < n and _begins(plan.vectors_mm[c], ends)), None)
        if cut is None:
            match.strays.append(index)
        else:
            match.partial.append(cut)
            match.partial_j.append(done.energy_j)
            due = cut
    return match


def _begins(vector_mm: NDArray[np.float64], ends_mm: NDArray[np.float64]) -> bool:
    """Whether the executed ends lie on the vector, beginning at its start: a block that was cut short."""
    if np.abs(vector_mm[:2] - ends_mm[:2]).max() > POSITION_MM:
        return False
    along, reached = vector_mm[2:] - vector_mm[:2], ends_mm[2:] - vector_mm[:2]
    length = math.hypot(*along)
    share = float(np.dot(along, reached)) / length
    off_mm = abs(float(along[0] * reached[1] - along[1] * reached[0])) / length
    return off_mm <= POSITION_MM and -POSITION_MM <= share <= length + POSITION_MM


def is_whole(energy_j: float, want_j: float) -> bool:
    """Whether a block got its energy."""
    return abs(energy_j - want_j) <= ENERGY_SHARE * want_j
