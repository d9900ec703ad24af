"""What a host says of its work and is not so: its layers, their sum, the light it used, the place it stands at."""

from __future__ import annotations

import math

import numpy as np

from control.host import Outcome, Status
from control.outcome import LayerOutcome
from hil_sim.harness.matching import ENERGY_SHARE, Match, Plan, is_whole
from hil_sim.harness.trace import Record

PLACE_MM = (
    0.55  # where the gantry may stand from where a host says: its look at the end switches tells no less than 0.5
)


def contradictions(outcome: Outcome) -> list[str]:
    """Where a host's own words of how its run ended do not go together, in sentences."""
    found, is_done = [], outcome.status is Status.DONE
    if (outcome.exit_code == 0) != is_done:
        found.append(f"the host says {outcome.status.value} and exits with {outcome.exit_code}")
    if is_done and outcome.not_safe:
        found.append(f"the host says done, and that this is not safe: {'; '.join(outcome.not_safe)}")
    return found


def false_claims(plan: Plan, match: Match, record: Record, outcome: Outcome) -> list[str]:
    """What the host says of its layers, of their sum and of its place, and is not so, in sentences."""
    found = contradictions(outcome) + _unfinished(plan, outcome)
    found += [sentence for layer in outcome.layers for sentence in _false_layer(plan, match, layer)]
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


def _unfinished(plan: Plan, outcome: Outcome) -> list[str]:
    """What a host leaves open of its own word that it is done."""
    found = []
    if outcome.status is Status.DONE and not outcome.dry_run:
        planned = np.unique(plan.layer).tolist()
        committed = sorted(layer.index for layer in outcome.layers if layer.committed)
        if committed != planned or len(outcome.layers) != len(planned):
            found.append(
                f"the host says done, and has committed layers {committed} of {len(planned)}"
                f" in a list of {len(outcome.layers)}"
            )
    return found


def _false_layer(plan: Plan, match: Match, layer: LayerOutcome) -> list[str]:
    """What is not so of one layer. One that is not committed may claim less than was exposed, never more."""
    mine = np.flatnonzero(plan.layer == layer.index)
    exposed = sum(any(is_whole(e, plan.energy_j[n]) for e in match.energies_j[n]) for n in mine)
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
