"""The oracle: the plant's truth against what the host says it did.

It reads the job, the truth's record and the host's outcome, nothing else, and answers with one of six verdicts:
exact, degraded (it deviated and owned up to it), detected (it stopped, safe), SILENT (it says done, undeclared, and did
something else: the worst), HANG (it never ended), UNSAFE (a safety rule was broken in truth).

Matching walks through the plan and the executed blocks side by side. A block that is not the one due may be a repeat (a
resume goes back a little) or a leap (something was left out); whatever fits neither is a stray.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from control.host import Outcome, Status
from control.outcome import LayerOutcome
from hil_sim.harness.trace import Block, Record
from slicer.job import Job

POSITION_MM = 0.05
ENERGY_SHARE = 0.01
LOOK_BLOCKS = 128  # how far a repeat or a leap is looked for
PLACE_MM = (
    0.55  # where the gantry may stand from where a host says: its look at the end switches tells no less than 0.5
)
DWELL_SHARE = 0.01  # of the energy of the block before it: more is an over-exposed spot


class Verdict(Enum):
    """What became of a run, in truth."""

    EXACT = "exact"
    DEGRADED = "degraded"
    DETECTED = "detected"
    SILENT = "SILENT"
    HANG = "HANG"
    UNSAFE = "UNSAFE"

    @property
    def is_good(self) -> bool:
        """A verdict that may pass a test."""
        return self in (Verdict.EXACT, Verdict.DEGRADED, Verdict.DETECTED)


@dataclass(frozen=True)
class Plan:
    """A job's vectors in order, flattened: (n, 4) mm, joules each, and the layer and block of each."""

    vectors_mm: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    layer: NDArray[np.int64]
    block: NDArray[np.int64]
    z_mm: NDArray[np.float64]

    @classmethod
    def of(cls, job: Job) -> Plan:
        """The plan of a whole job."""
        vectors, energy, layer, block, z_mm = [], [], [], [], []
        for index in range(job.manifest.layer_count):
            job_layer = job.layer(index)
            path, n = job_layer.path, len(job_layer.path)
            vectors.append(path.vectors_mm)
            energy.append(path.power_w * path.lengths_mm / path.speed_mm_s)
            layer.append(np.full(n, index))
            block.append(np.arange(n))
            z_mm.append(np.full(n, job_layer.layer.z_mm))
        return cls(*(np.concatenate(parts) for parts in (vectors, energy, layer, block, z_mm)))


@dataclass
class Match:
    """How executed blocks fit the plan."""

    energies_j: list[list[float]]  # per planned block, the energy of each time it was executed whole
    partial: list[int] = field(default_factory=list)  # planned blocks that were begun and cut short
    partial_j: list[float] = field(default_factory=list)  # and what each of these gave
    strays: list[int] = field(default_factory=list)  # executed blocks that no plan holds
    wrong_plane: list[int] = field(default_factory=list)  # planned blocks executed at another piston depth


@dataclass(frozen=True)
class Judgement:
    """The verdict and the sentences behind it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    blocks_planned: int
    blocks_executed: int
    energy_planned_j: float
    energy_true_j: float


def match_blocks(plan: Plan, executed: list[Block]) -> Match:
    """Walk through plan and truth side by side."""
    n = len(plan.vectors_mm)
    match = Match([[] for _ in range(n)])
    due = 0
    for index, done in enumerate(executed):
        ends = np.array([*done.start_mm, *done.end_mm])
        candidates = [due, *range(due - 1, max(-1, due - 1 - LOOK_BLOCKS), -1), *range(due + 1, due + 1 + LOOK_BLOCKS)]
        fitting = [c for c in candidates if 0 <= c < n and np.abs(plan.vectors_mm[c] - ends).max() <= POSITION_MM]
        # Layers are alike: what was exposed at a layer's height is that layer's, a repeat or not.
        at_height = [c for c in fitting if abs(plan.z_mm[c] - done.plane_drop_mm) <= POSITION_MM]
        if fitting:
            found = (at_height or fitting)[0]
            match.energies_j[found].append(done.energy_j)
            if not at_height:
                match.wrong_plane.append(found)
            due = found + 1
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


def judge(
    job: Job,
    record: Record,
    outcome: Outcome | None,
    *,
    plate_mm: tuple[float, float] | None = None,
    dry_run_asked: bool = False,
) -> Judgement:
    """The verdict on a run. `outcome` None: the host left none (it died, or never ended).

    Args:
        plate_mm: x and y beyond which nothing may be exposed; None takes the job's envelope.
        dry_run_asked: whether the host was told to expose nothing. Its own word for it is a claim like others.
    """
    plan = Plan.of(job)
    match = match_blocks(plan, record.blocks)
    reach = plate_mm or (job.envelope.x_mm, job.envelope.y_mm)
    unsafe = _unsafe(record, reach)
    wrong, owned = _deviations(plan, match, record, outcome)
    reasons: list[str] = [*unsafe]
    if unsafe:
        verdict = Verdict.UNSAFE
    elif outcome is None:
        verdict = Verdict.DETECTED
        reasons.append("the host left no outcome; the machine is safe")
    else:
        false_claims = _false_claims(plan, match, record, outcome)
        if dry_run_asked:
            wrong, owned, false_claims = [], [], _lit_in_the_dry(record)
        elif outcome.dry_run and outcome.status is Status.DONE:
            wrong = ["the host calls it a dry run, and nobody asked for one", *wrong]
        if outcome.status is Status.DONE and (wrong or false_claims):
            verdict, reasons = Verdict.SILENT, [*reasons, *wrong, *false_claims]
        elif false_claims:
            verdict, reasons = Verdict.SILENT, [*reasons, *false_claims]
        elif outcome.status is not Status.DONE:
            verdict = Verdict.DETECTED
            reasons.append(f"the host says {outcome.status.value}: {outcome.reason}")
        elif owned or outcome.declared:
            verdict = Verdict.DEGRADED
            reasons += owned or [f"declared: {sorted({d.kind for d in outcome.declared})}"]
        elif dry_run_asked:
            verdict = Verdict.EXACT
            reasons.append("a dry run was asked for, and nothing was exposed")
        else:
            verdict = Verdict.EXACT
            reasons.append(
                f"each of {len(plan.vectors_mm)} vectors was exposed once, within {ENERGY_SHARE:.0%} of its energy"
            )
    return Judgement(
        verdict,
        tuple(reasons),
        len(plan.vectors_mm),
        len(record.blocks),
        float(plan.energy_j.sum()),
        record.end.beam_energy_j,
    )


def _unsafe(record: Record, reach: tuple[float, float]) -> list[str]:
    found = [breach.sentence for breach in record.breaches]
    if record.end.beam_live:
        found.append("the beam head could still fire when the world was closed")
    if record.end.crashes:
        found.append(f"the gantry ran into its frame {record.end.crashes} times")
    outside = [
        b
        for b in record.blocks
        if b.energy_j > 0
        and not all(
            -POSITION_MM <= v <= limit + POSITION_MM
            for p in (b.start_mm, b.end_mm)
            for v, limit in zip(p, reach, strict=True)
        )
    ]
    if outside:
        found.append(f"{len(outside)} blocks were exposed beyond the plate, the first at {outside[0].start_mm}")
    return found


def _deviations(plan: Plan, match: Match, record: Record, outcome: Outcome | None) -> tuple[list[str], list[str]]:
    """What differs from the plan: undeclared, and declared."""
    declared = _declared_blocks(plan, outcome)
    wrong: list[str] = []
    owned: list[str] = []

    def note(number: int, text: str) -> None:
        where = f"layer {plan.layer[number]} block {plan.block[number]} {text}"
        (owned if number in declared else wrong).append(where)

    for number, energies in enumerate(match.energies_j):
        want = plan.energy_j[number]
        if not any(_is_whole(e, want) for e in energies):
            text = "was not exposed" if not any(energies) else f"got {max(energies):.3g} J of {want:.3g} J"
            # declared or not, it must be there
            wrong.append(f"layer {plan.layer[number]} block {plan.block[number]} {text}")
        elif len(energies) > 1 and sum(energies) > (1 + ENERGY_SHARE) * want:
            note(number, f"was exposed {len(energies)} times")
    for number, times in sorted(Counter(match.partial).items()):
        note(number, f"was begun and cut short {times} times")
    wrong += [
        f"layer {plan.layer[number]} block {plan.block[number]} was exposed at another height"
        for number in sorted(set(match.wrong_plane))
    ]
    for index in match.strays:
        block = record.blocks[index]
        if block.energy_j > 0:
            wrong.append(f"a beam went from {block.start_mm} to {block.end_mm}, which no plan holds")
    for dwell in record.still:
        before = record.blocks[dwell.after_block].energy_j if 0 <= dwell.after_block < len(record.blocks) else 0.0
        if dwell.energy_j > max(DWELL_SHARE * before, 1e-6):
            text = f"the beam stood at {dwell.at_mm} and gave {dwell.energy_j:.3g} J"
            near = _planned_at(plan, dwell.at_mm)
            (owned if near & declared else wrong).append(text)
    return wrong, owned


def _is_whole(energy_j: float, want_j: float) -> bool:
    return abs(energy_j - want_j) <= ENERGY_SHARE * want_j


def _planned_at(plan: Plan, at_mm: tuple[float, float]) -> set[int]:
    off = np.abs(plan.vectors_mm.reshape(-1, 2, 2) - np.asarray(at_mm)).max(axis=2).min(axis=1)
    return set(np.flatnonzero(off <= POSITION_MM).tolist())


def _declared_blocks(plan: Plan, outcome: Outcome | None) -> set[int]:
    """Numbers of planned blocks that the outcome owns up to."""
    found: set[int] = set()
    for d in outcome.declared if outcome else []:
        if d.kind in ("interrupted", "re_exposed", "skipped"):
            inside = (plan.layer == d.layer) & (plan.block >= d.first_block) & (plan.block <= d.last_block)
            found |= set(np.flatnonzero(inside).tolist())
    return found


def _lit_in_the_dry(record: Record) -> list[str]:
    """What a run gave that was to be dark throughout, in a sentence."""
    lit = sum(block.energy_j > 0.0 for block in record.blocks) + sum(dwell.energy_j > 0.0 for dwell in record.still)
    return [f"a dry run was asked for, and the beam was on {lit} times"] if lit else []


def _false_claims(plan: Plan, match: Match, record: Record, outcome: Outcome) -> list[str]:
    """What the host says of its layers, of their sum and of its place, and is not so, in sentences."""
    found = [sentence for layer in outcome.layers for sentence in _false_layer(plan, match, layer)]
    totals, layers = outcome.totals, outcome.layers
    for what, said, sums in (
        ("layers", totals.layers, sum(layer.committed for layer in layers)),
        ("blocks", totals.blocks_claimed, sum(layer.blocks_claimed for layer in layers)),
        ("J", totals.energy_j, sum(layer.energy_j for layer in layers)),
    ):
        if not math.isclose(said, sums, rel_tol=1e-6, abs_tol=1e-6):
            found.append(f"the host's sum is {said:.6g} {what}, and its layers come to {sums:.6g}")
    lit_j = record.end.beam_energy_j
    if not totals.energy_j <= (1 + ENERGY_SHARE) * lit_j:
        found.append(f"the host claims {totals.energy_j:.4g} J in all, and {lit_j:.4g} J left the head")
    true_mm, said_mm = record.end.gantry_mm, outcome.position_mm
    if outcome.status is Status.DONE and true_mm is not None and said_mm is not None:
        off_mm = max(abs(at - said) for at, said in zip(true_mm, said_mm, strict=True))
        if not off_mm <= PLACE_MM:
            found.append(f"the host says that the gantry stands at {said_mm} mm, and it is {off_mm:.2f} mm from there")
    return found


def _false_layer(plan: Plan, match: Match, layer: LayerOutcome) -> list[str]:
    """What is not so of one layer. One that is not committed may claim less than was exposed, never more."""
    mine = np.flatnonzero(plan.layer == layer.index)
    exposed = sum(any(_is_whole(e, plan.energy_j[n]) for e in match.energies_j[n]) for n in mine)
    if layer.blocks_claimed > exposed or (layer.committed and layer.blocks_claimed != len(mine)):
        which = f"layer {layer.index}" if layer.committed else f"layer {layer.index}, not committed,"
        return [f"{which} claims {layer.blocks_claimed} of {len(mine)} blocks; {exposed} were exposed"]
    if not layer.committed:
        return []
    # What was exposed again may be counted or not.
    least_j = sum(min(match.energies_j[n], key=lambda e: abs(e - plan.energy_j[n])) for n in mine)
    cut_j = sum(
        joules for n, joules in zip(match.partial, match.partial_j, strict=True) if plan.layer[n] == layer.index
    )
    most_j = sum(sum(match.energies_j[n]) for n in mine) + cut_j
    if not (1 - ENERGY_SHARE) * least_j <= layer.energy_j <= (1 + ENERGY_SHARE) * most_j:
        return [f"layer {layer.index} claims {layer.energy_j:.4g} J; it was given {least_j:.4g} to {most_j:.4g} J"]
    return []
