"""Over thousands of seeded terrains: does a guarded rover never tip and never enter a blocked cell?"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
from terrain_campaign import MASS_HEIGHT_M, WHEELS, send

from hil_sim.harness.tip_oracle import stance
from hil_sim.world.plant.terrain import Ground

FEW = 20
sent = lru_cache(send)


@pytest.mark.parametrize("seed", range(FEW))
def test_a_guarded_rover_neither_tips_nor_enters_blocked_ground(seed: int) -> None:
    assert sent(seed, guarded=True).outcome in ("arrived", "stopped", "refused")


def test_many_arrive_and_without_the_guard_many_tip() -> None:
    """The campaign has teeth both ways: it does not keep safe by standing still."""
    kept = [sent(seed, guarded=True).outcome for seed in range(FEW)]
    loose = [sent(seed, guarded=False).outcome for seed in range(FEW)]
    assert kept.count("arrived") >= 4 and loose.count("tipped") >= 2


def test_the_same_seed_drives_the_same() -> None:
    assert send(4, guarded=True) == sent(4, guarded=True)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_thousand_terrains(pytestconfig: pytest.Config) -> None:
    """`--rover-terrains N` of them, `--rover-out FILE` with a line for each: seed, outcomes, margin, digests."""
    count = int(pytestconfig.getoption("--rover-terrains"))
    out = pytestconfig.getoption("--rover-out")
    bad, tipped = [], 0
    for seed in range(count):
        kept, loose = send(seed, guarded=True), send(seed, guarded=False)
        tipped += loose.outcome == "tipped"
        if kept.outcome in ("tipped", "blocked"):
            bad.append((seed, kept.outcome))
        if out:
            with open(out, "a", encoding="ascii") as file:
                file.write(
                    f"{seed},{kept.outcome},{kept.least_margin_m:.3f},{kept.digest},{loose.outcome},{loose.digest}\n"
                )
    assert not bad, f"{len(bad)} of {count}: {bad[:20]}"
    assert tipped > count / 100


# ---- the oracle itself


@pytest.mark.parametrize(("slope_deg", "tips"), [(20.0, False), (27.0, False), (29.0, True), (40.0, True)])
def test_a_rover_across_a_slope_tips_where_statics_say(slope_deg: float, tips: bool) -> None:
    """Half track 0.184 m at the outer corners of the hull's narrow side, 0.2556 m at the middle wheels."""
    at = np.arange(0.0, 10.1, 0.5)
    tilted = np.tile(math.tan(math.radians(slope_deg)) * at[:, None], (1, len(at))).astype(np.float32)
    stood = stance(Ground(tilted, 0.0, 0.0, 0.5), WHEELS, MASS_HEIGHT_M, 5.0, 5.0, 0.0)
    assert abs(math.degrees(stood.roll_rad)) == pytest.approx(slope_deg, abs=0.3)
    plumb_m = MASS_HEIGHT_M * math.sin(math.radians(slope_deg))
    inside = 0.2556 - plumb_m
    assert stood.margin_m <= inside + 1e-6 and (stood.margin_m > 0) == (inside > 0)


def test_off_the_map_nothing_stands() -> None:
    assert stance(Ground(np.zeros((5, 5), np.float32), 0.0, 0.0, 1.0), WHEELS, 0.2, 50.0, 0.0, 0.0).tips
