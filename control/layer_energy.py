"""Did a layer take the light of its plan, by what the head's photodiode counted?

The sum of its polled emission would be no second opinion: two looks a second at lines of half a second see their bright
halves alone for a whole layer, or their dark ones.
"""

from __future__ import annotations

from control.interlock import Trip
from control.watch import MachineTripped
from slicer.scan import ScanPath

COUNTED_J = 0.3  # the head counts in tenths, S in thousandths


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
