"""Did a layer take the light of its plan? Two opinions: the head's read-back, and what its photodiode counted."""

from __future__ import annotations

from control.interlock import Trip
from control.watch import MachineTripped
from slicer.scan import ScanPath

ENERGY_POLLS_MIN = 40  # fewer samples of the beam say nothing about a layer's energy
COUNTED_J = 0.3  # the head counts in tenths, S in thousandths
ENERGY_SHARE = 0.25  # by which the samples of 40 polls, the worst case, stay under the truth with room to spare


def check_read_back(layer: int, planned_j: float, emitted_j: float, polls: float) -> None:
    """The head's read-back, summed over its polls, must come to the plan's energy, where enough polls fell into it.

    A coarse second opinion: polls sample a beam that jumps and ramps. It finds a head that gives another power than it
    says, or lines that lost their S, not a block that is one per cent off. Raises MachineTripped.
    """
    if polls >= ENERGY_POLLS_MIN and abs(emitted_j - planned_j) > ENERGY_SHARE * planned_j:
        reason = (
            f"the read-back over layer {layer} comes to {emitted_j:.0f} J and its plan to {planned_j:.0f} J:"
            " the beam was not what the plan asks for; look at the head"
        )
        raise MachineTripped([Trip("beam", reason)])


def counted_beyond_plan_j(
    layer: int, path: ScanPath, blocks: int, counted_j: float, dwell_j: float, share_max: float
) -> float:
    """What the head's photodiode counted must be the energy of the first `blocks` of the path, which were run.

    Args:
        dwell_j: what the time that it took leaves for a motion that stood with the beam on.
        share_max: by what share of the plan the count may be off.

    Returns the energy beyond the plan, 0.0 where there is none. Raises MachineTripped: too little light, or more than
    that.
    """
    each_j = path.power_w[:blocks] * path.lengths_mm[:blocks] / path.speed_mm_s[:blocks]
    planned_j = float(each_j.sum())
    slack_j = max(share_max * planned_j, COUNTED_J)
    if not planned_j - slack_j <= counted_j <= planned_j + slack_j + dwell_j:
        reason = (
            f"layer {layer} took {counted_j:.1f} J of light and its plan asks for {planned_j:.1f} J: the source is"
            " weak, dead or stuck on; look at the head and its supply"
        )
        raise MachineTripped([Trip("beam", reason)])
    return counted_j - planned_j if counted_j > planned_j + slack_j else 0.0
