"""Whether the light found what the recipe wants: powder of its layer, spread once and full, and a plate as warm."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from hil_sim.harness.matching import Plan
from hil_sim.harness.powder import SAME_PLANE_MM, thin_share
from hil_sim.harness.trace import Powder, Record
from hil_sim.world.plant.beam_source import FAINT_W
from slicer.recipe import Recipe

THIN_FILL = 0.4  # a layer filled to less is thin wherever one looks: a picture shows it from about a half on
THIN_MM2_MAX = 25.0  # a spot of so much can measure 20 in a picture, and a host may let less than that pass
PASSES_PER_STROKE = 2  # the blade fills the layer on its way out, and what is left of it on its way back
LAST_LOOK_S = (
    1.5  # before a host's end: a meter shows the mean of its last second, and an outcome takes a while to write
)
WELDS, SHORTS = frozenset({"heater_stuck_on"}), frozenset({"beam_stuck_on"})
RESTARTS = frozenset({"outage", "brownout", "reboot"})  # a controller begins anew on 0 degC: a colder plate is heated
PLATE_OFF_C_MAX = 25.0  # a host's own tolerance, what a controller overshoots, and a thermocouple's doubt


def wrong_conditions(plan: Plan, record: Record, recipe: Recipe, recoated: Collection[int]) -> list[str]:
    """What was not so as the recipe wants it where light fell, in sentences; empty where all was well.

    recoated: the layers that the host owns up to having spread more than once.
    """
    return [*_thin(record, recipe), *_spread_again(plan, record, recoated), *_plate(record, recipe)]


class LeftOn(NamedTuple):
    """What is on behind a host: whose it is, and a sentence."""

    device: str
    sentence: str


def left_on(record: Record, ended_s: float = math.inf) -> list[LeftOn]:
    """What is still on when a run is over, asked or not.

    ended_s: when its host had ended. What welds, shorts or restarts behind its last look is not the host's, unless it
    had done so before and been on since then; faults of answers and of sensors switch nothing on, and excuse nothing.
    """
    end, found = record.end, []

    def note(device: str, sentence: str) -> None:
        found.append(LeftOn(device, f"{sentence} when all was over"))

    def is_too_late(since_s: float | None, kinds: frozenset[str], *devices: str) -> bool:
        struck_s = [s.t_s for s in record.faults if s.kind in kinds and s.point.partition(".")[0] in devices]
        late_s = [t_s for t_s in struck_s if t_s >= ended_s - LAST_LOOK_S]
        if not late_s:
            return False
        return len(late_s) == len(struck_s) or (since_s is not None and since_s >= min(late_s))

    if end.heater_w > 0.0 and not is_too_late(end.heated_since_s, RESTARTS, "heater", "power"):
        note("heater", f"the plate's controller asked {end.heater_w:.0f} W of its heater")
    elif end.heated_w > 0.0 and not is_too_late(end.heated_since_s, WELDS, "heater"):
        note("heater", f"the plate's heater gave {end.heated_w:.0f} W, unasked,")
    if end.source_w > FAINT_W and not is_too_late(end.bright_since_s, SHORTS, "beam"):
        note("beam", f"the beam's source made {end.source_w:.0f} W of light")
    if end.supply_w > 0.0:
        note("supply", f"the supply delivered {end.supply_w:.0f} W to its load")
    return found


def _thin(record: Record, recipe: Recipe) -> list[str]:
    lit = [block for block in record.blocks if block.energy_j > 0.0]
    if not lit:
        return []
    rows = np.array([[b.t0_s, b.t1_s, *b.start_mm, *b.end_mm] for b in lit])
    share = thin_share(rows, record.powder, np.array([b.plane_drop_mm for b in lit]), THIN_FILL)
    lengths_mm = np.hypot(rows[:, 4] - rows[:, 2], rows[:, 5] - rows[:, 3])
    area_mm2 = float((share * lengths_mm).sum()) * recipe.track_width_mm
    if area_mm2 <= THIN_MM2_MAX:
        return []
    first = lit[int(np.argmax(share > 0.0))]
    return [
        f"{area_mm2:.0f} mm2 were exposed on powder less than {THIN_FILL:.0%} full, the first by the block from"
        f" {first.start_mm} mm, {first.plane_drop_mm:g} mm deep"
    ]


def _spread_again(plan: Plan, record: Record, recoated: Collection[int]) -> list[str]:
    """Each layer's powder is spread by one stroke; more are another bed than the one that was planned."""
    found = []
    for layer in np.unique(plan.layer).tolist():
        z_mm = float(plan.z_mm[plan.layer == layer][0])
        passes = _passes([strip for strip in record.powder if abs(strip.plane_drop_mm - z_mm) <= SAME_PLANE_MM])
        if passes > PASSES_PER_STROKE and layer not in recoated:
            found.append(f"layer {layer} was spread by {passes} passes of the blade, one stroke is {PASSES_PER_STROKE}")
    return found


def _passes(strips: list[Powder]) -> int:
    """How often powder was laid where it was laid most often."""
    mine = [strip for strip in strips if strip.fill_fraction > 0.0]
    ends = [(strip.x_from_mm, 1) for strip in mine] + [(strip.x_to_mm, -1) for strip in mine]
    return int(np.max(np.cumsum([step for _, step in sorted(ends)]), initial=0))


def _plate(record: Record, recipe: Recipe) -> list[str]:
    if record.end.plate_lit_c is None:
        return []
    worst_c = max(record.end.plate_lit_c, key=lambda at_c: abs(at_c - recipe.bed_temp_c))
    if abs(worst_c - recipe.bed_temp_c) <= PLATE_OFF_C_MAX:
        return []
    return [f"the plate was at {worst_c:.0f} degC under the light, and the recipe asks for {recipe.bed_temp_c:g}"]
