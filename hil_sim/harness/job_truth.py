"""What a run came to at the level of its job, and in what two runs of one scenario differ there.

In virtual time a run is the same byte for byte; on the wire timers are late by what the computer pleases, and what
compares is the work: layers, blocks, energy, the verdict, and the thing that the host's sentence names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from hil_sim.harness.matching import POSITION_MM, Plan, match_blocks
from hil_sim.harness.runner import RunResult
from hil_sim.harness.trace import Record
from hil_sim.world.plant.recoater import FEED_POINT
from slicer.job import Job

ENERGY_SHARE = 0.005
LATE_S = 1.5  # by how much the phase of a host's slowest poll, meeting a dead device, moves where a layer is broken off
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_LINK = re.compile(r"was lost|connection broke|did not answer")

Joules = Annotated[float, Meta(ge=0)]


class LayerTruth(msgspec.Struct, frozen=True):
    """One layer: blocks of the plan, how many were exposed (repeats count again), how many were begun and cut short,
    and the energy that moving light left at its height. committed: the host says that the layer is done."""

    planned: int
    exposed: int
    cut_short: int
    energy_j: Joules
    committed: bool

    @property
    def begun(self) -> int:
        """Blocks that light was on, whole or not."""
        return self.exposed + self.cut_short

    @property
    def is_broken_off(self) -> bool:
        """Begun and not ended."""
        return self.begun > 0 and self.exposed < self.planned


class JobTruth(msgspec.Struct, frozen=True):
    """A run at job level.

    status: the outcome's, or none. strokes: times that powder was fed. strays: blocks with energy that no plan holds.
    declared: kinds of deviation that the host owned up to, each once. light_j: all that left the head. planned_j and
    power_w: the job's.
    """

    verdict: str
    status: str
    reason: str
    layers: list[LayerTruth]
    strokes: int
    strays: int
    declared: list[str]
    light_j: Joules
    planned_j: Joules
    power_w: float

    @property
    def layers_done(self) -> int:
        """How many the host committed."""
        return sum(layer.committed for layer in self.layers)


def job_truth(job: Job, result: RunResult) -> JobTruth:
    """The job's view of a run's truth. In the host's reason wires have their names, wherever they were laid."""
    record, outcome = result.record, result.outcome
    reason = said(outcome.reason if outcome else "", result.urls)
    plan = Plan.of(job)
    match = match_blocks(plan, record.blocks)
    count = job.manifest.layer_count
    times = np.array([len(energies) for energies in match.energies_j])
    cut = np.bincount(plan.layer[np.array(match.partial, dtype=int)], minlength=count)
    planned = np.bincount(plan.layer, minlength=count)
    exposed = np.bincount(plan.layer, weights=times, minlength=count)
    energy_j = _energy_by_layer(np.asarray(job.manifest.z_mm), record)
    committed = {layer.index for layer in outcome.layers if layer.committed} if outcome else set()
    return JobTruth(
        result.verdict.value,
        outcome.status.value if outcome else "none",
        reason,
        [
            LayerTruth(int(planned[n]), int(exposed[n]), int(cut[n]), float(energy_j[n]), n in committed)
            for n in range(count)
        ],
        result.events.get(FEED_POINT, 0),
        sum(record.blocks[n].energy_j > 0 for n in match.strays),
        sorted({str(d.kind) for d in outcome.declared}) if outcome else [],
        record.end.beam_energy_j,
        float(plan.energy_j.sum()),
        job.recipe.power_w,
    )


def differences(run: JobTruth, kept: JobTruth, *, late_s: float = LATE_S) -> list[str]:
    """In what two runs of one scenario differ at job level, in sentences; empty if in nothing.

    Equal are verdict, status, what the host's sentence names, its declarations, strokes, layers, the blocks of each
    layer, and to 0.5 % the light of each layer and of all. A break that comes some milliseconds later weighs the more
    the earlier it came: in a layer that was broken off 0.5 % of the plan's whole energy count, and a block; with
    `late_s` as many seconds of the beam's power, whatever the blocks.
    """
    found = [
        f"{name} is {mine!r} and was {theirs!r}"
        for name in ("verdict", "status", "declared", "strokes", "strays", "layers_done")
        if (mine := getattr(run, name)) != (theirs := getattr(kept, name))
    ]
    if named(run.reason) != named(kept.reason):
        found.append(f"the host's reason is {run.reason!r} and was {kept.reason!r}")
    if len(run.layers) != len(kept.layers):
        return [*found, f"the job has {len(run.layers)} layers and had {len(kept.layers)}"]
    late_j = max(late_s * run.power_w, ENERGY_SHARE * run.planned_j)
    slack_j = 0.0
    for index, (mine, theirs) in enumerate(zip(run.layers, kept.layers, strict=True)):
        broken = mine.is_broken_off and theirs.is_broken_off
        slack_j = late_j if broken else slack_j
        if mine.begun != theirs.begun and not (broken and (late_s or abs(mine.begun - theirs.begun) <= 1)):
            found.append(f"layer {index} had {mine.begun} of {mine.planned} blocks begun, and {theirs.begun} before")
        if not _alike(mine.energy_j, theirs.energy_j, late_j if broken else 0.0):
            found.append(f"layer {index} got {mine.energy_j:.1f} J and had got {theirs.energy_j:.1f} J")
    if not _alike(run.light_j, kept.light_j, slack_j):
        found.append(f"{run.light_j:.1f} J left the head, and {kept.light_j:.1f} J had left it")
    return found


def said(reason: str, urls: Mapping[str, str]) -> str:
    """A reason in which wires have their names, wherever they were laid."""
    for name, url in urls.items():
        reason = reason.replace(url, name).replace(url.partition("?")[0], name)
    return reason


def named(reason: str) -> str:
    """What a reason says first, without its numbers; of a lost or silent link only whose it is: which exchange was
    under way, and in what words the operating system tells of it, is chance.
    """
    first = _NUMBER.sub("#", reason).partition(", but ")[0]
    return re.split(r"[:(]", first)[0].strip() if _LINK.search(first) else first


def _alike(mine_j: float, theirs_j: float, slack_j: float) -> bool:
    return abs(mine_j - theirs_j) <= max(ENERGY_SHARE * max(mine_j, theirs_j), slack_j)


def _energy_by_layer(z_mm: NDArray[np.float64], record: Record) -> NDArray[np.float64]:
    """(layers,) J of executed blocks, each given to the layer at whose height it was executed."""
    energy_j = np.zeros(len(z_mm))
    for block in record.blocks:
        nearest = int(np.abs(z_mm - block.plane_drop_mm).argmin())
        if abs(z_mm[nearest] - block.plane_drop_mm) <= POSITION_MM:
            energy_j[nearest] += block.energy_j
    return energy_j
