"""The oracle: the plant's truth against what the host says it did.

It reads the job, the truth's record and the host's outcome, nothing else, and answers with one of six verdicts:
exact, degraded (it deviated and owned up to it), detected (it stopped, safe, or owning up to what is not), SILENT (it
says done, undeclared, and did something else, or that it stopped, and something is on that it does not own up to: the
worst), HANG (it never ended), UNSAFE (a safety rule was broken in truth).

`matching` tells which executed block is which of the plan; `conditions` whether the light found its powder and its
plate as the recipe wants them; `claims` what the host says of its work and is not so.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import Enum

import numpy as np

from control.host import Outcome, Status
from hil_sim.harness.claims import contradictions, false_claims
from hil_sim.harness.conditions import left_on, wrong_conditions
from hil_sim.harness.matching import ENERGY_SHARE, POSITION_MM, Match, Plan, is_whole, match_blocks
from hil_sim.harness.trace import Record
from slicer.job import Job

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
class Judgement:
    """The verdict and the sentences behind it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    blocks_planned: int
    blocks_executed: int
    energy_planned_j: float
    energy_true_j: float


def judge(
    job: Job,
    record: Record,
    outcome: Outcome | None,
    *,
    plate_mm: tuple[float, float] | None = None,
    dry_run_asked: bool = False,
    ended_s: float = math.inf,
) -> Judgement:
    """The verdict on a run. `outcome` None: the host left none (it died, or never ended).

    Args:
        plate_mm: x and y beyond which nothing may be exposed; None takes the job's envelope.
        dry_run_asked: whether the host was told to expose nothing. Its own word for it is a claim like others.
        ended_s: when the host had ended, in loop time: nobody owns up to what strikes behind it.
    """
    plan = Plan.of(job)
    match = match_blocks(plan, record.blocks)
    reach = plate_mm or (job.envelope.x_mm, job.envelope.y_mm)
    unsafe = _unsafe(record, reach)
    wrong, owned = _deviations(plan, match, record, outcome)
    wrong += wrong_conditions(plan, record, job.recipe, _declared_layers(outcome))
    reasons: list[str] = [*unsafe]
    if unsafe:
        verdict = Verdict.UNSAFE
    elif outcome is None:
        verdict = Verdict.DETECTED
        reasons.append("the host left no outcome, and no rule of safety was broken")
        reasons += [each.sentence for each in left_on(record, ended_s)]
    else:
        false = false_claims(plan, match, record, outcome)
        if dry_run_asked:
            wrong, owned, false = [], [], contradictions(outcome) + _lit_in_the_dry(record)
        elif outcome.dry_run and outcome.status is Status.DONE:
            wrong = ["the host calls it a dry run, and nobody asked for one", *wrong]
        if outcome.status is Status.DONE:
            wrong = [*wrong, *(each.sentence for each in left_on(record, ended_s))]
        else:
            false = [*false, *_hidden(record, outcome, ended_s)]
        if outcome.status is Status.DONE and (wrong or false):
            verdict, reasons = Verdict.SILENT, [*reasons, *wrong, *false]
        elif false:
            verdict, reasons = Verdict.SILENT, [*reasons, *false]
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
        if not any(is_whole(e, want) for e in energies):
            text = "was not exposed" if not any(energies) else f"got {max(energies):.3g} J of {want:.3g} J"
            # declared or not, it must be there
            wrong.append(f"layer {plan.layer[number]} block {plan.block[number]} {text}")
        elif len(energies) > 1 and not sum(energies) <= (1 + ENERGY_SHARE) * want:
            # Whoever owns up to a block says how often it was in doubt, and that it got its energy each time.
            again, most_j = len(energies) - 1, max(energies)
            text = f"was exposed {len(energies)} times, with {most_j:.3g} J of {want:.3g} J at most"
            is_owned = again <= declared[number] and most_j <= (1 + ENERGY_SHARE) * want
            (owned if is_owned else wrong).append(f"layer {plan.layer[number]} block {plan.block[number]} {text}")
    for number, times in sorted(Counter(match.partial).items()):
        note(number, f"was begun and cut short {times} times")
    wrong += [
        f"layer {plan.layer[number]} block {plan.block[number]} was exposed at another height"
        for number in sorted(set(match.wrong_plane))
    ]
    wrong += [
        f"layer {plan.layer[number]} block {plan.block[number]} was exposed after later ones" for number in match.late
    ]
    wrong += [
        f"layer {plan.layer[number]} block {plan.block[number]} was exposed at {mm_s:.4g} mm/s of"
        f" {plan.speed_mm_s[number]:.4g}"
        for number, mm_s in match.hasty.items()
    ]
    for index in match.strays:
        block = record.blocks[index]
        if block.energy_j > 0:
            wrong.append(f"a beam went from {block.start_mm} to {block.end_mm}, which no plan holds")
    given_j = sum(block.energy_j for block in record.blocks) + sum(dwell.energy_j for dwell in record.still)
    if not abs(given_j - record.end.beam_energy_j) <= ENERGY_SHARE * max(given_j, 1.0):
        wrong.append(f"{record.end.beam_energy_j:.4g} J left the head, and moves and rests account for {given_j:.4g} J")
    for dwell in record.still:
        before = record.blocks[dwell.after_block].energy_j if 0 <= dwell.after_block < len(record.blocks) else 0.0
        if not dwell.energy_j <= max(DWELL_SHARE * before, 1e-6):
            text = f"the beam stood at {dwell.at_mm} and gave {dwell.energy_j:.3g} J"
            near = _planned_at(plan, dwell.at_mm)
            (owned if near & declared.keys() else wrong).append(text)
    return wrong, owned


def _planned_at(plan: Plan, at_mm: tuple[float, float]) -> set[int]:
    off = np.abs(plan.vectors_mm.reshape(-1, 2, 2) - np.asarray(at_mm)).max(axis=2).min(axis=1)
    return set(np.flatnonzero(off <= POSITION_MM).tolist())


def _declared_blocks(plan: Plan, outcome: Outcome | None) -> Counter[int]:
    """Numbers of planned blocks that the outcome owns up to, and how often. One death is owned up to by two kinds, as
    interrupted and as exposed again, and is one repeat: of the kinds the one that names a block most often counts.
    """
    kinds: dict[str, Counter[int]] = {kind: Counter() for kind in ("interrupted", "re_exposed", "skipped")}
    for d in outcome.declared if outcome else []:
        if d.kind in kinds:
            inside = (plan.layer == d.layer) & (plan.block >= d.first_block) & (plan.block <= d.last_block)
            kinds[d.kind].update(np.flatnonzero(inside).tolist())
    return kinds["interrupted"] | kinds["re_exposed"] | kinds["skipped"]


def _declared_layers(outcome: Outcome | None) -> set[int]:
    """The layers that the outcome owns up to having spread again."""
    return {d.layer for d in outcome.declared if d.kind == "recoated"} if outcome else set()


def _hidden(record: Record, outcome: Outcome, ended_s: float) -> list[str]:
    """What is on behind a host that broke off and does not own up to it, in sentences.

    A device's name, one word, owns up to that device; a sentence to all.
    """
    if any(" " in text for text in outcome.not_safe):
        return []
    return [
        f"the host says {outcome.status.value}, with nothing left on of its {device}, and {sentence}"
        for device, sentence in left_on(record, ended_s)
        if device not in outcome.not_safe
    ]


def _lit_in_the_dry(record: Record) -> list[str]:
    """What a run gave that was to be dark throughout, in a sentence."""
    lit = sum(block.energy_j > 0.0 for block in record.blocks) + sum(dwell.energy_j > 0.0 for dwell in record.still)
    return [f"a dry run was asked for, and the beam was on {lit} times"] if lit else []
