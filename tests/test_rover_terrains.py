"""Over thousands of seeded terrains: does a guarded rover never tip and never enter a blocked cell?"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
from terrain_campaign import MASS_HEIGHT_M, WHEELS, send

from hil_sim.harness.tip_oracle import Stance, stance
from hil_sim.world.plant.terrain import Ground

FEW = 20
sent = lru_cache(send)


@pytest.mark.parametrize("seed", [*range(FEW), 2559])  # 2559: backing out of a hazard, another one behind it
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
    """`--rover-terrains N` of them from `--rover-first` on, `--rover-out FILE` with a line for each: seed, outcome and
    least margin with the guard, digest of the track; the same without it.
    """
    count, first = int(pytestconfig.getoption("--rover-terrains")), int(pytestconfig.getoption("--rover-first"))
    out = pytestconfig.getoption("--rover-out")
    bad, tipped = [], 0
    for seed in range(first, first + count):
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


@pytest.mark.parametrize("heading_deg", [0.0, 90.0, 180.0, 270.0])
@pytest.mark.parametrize(("slope_deg", "tips"), [(20.0, False), (35.5, False), (38.5, True), (44.0, True)])
def test_a_rover_on_a_slope_tips_where_statics_say(slope_deg: float, tips: bool, heading_deg: float) -> None:
    """By hand: across it tips at atan(0.2556 / 0.35) = 36.1 deg, nose up or down at atan(0.267 / 0.35) = 37.3."""
    stood = _on_slope(slope_deg, heading_deg)
    tilt = math.acos(math.cos(stood.roll_rad) * math.cos(stood.pitch_rad))
    assert math.degrees(tilt) == pytest.approx(slope_deg, abs=0.1)
    assert stood.tips == tips


@pytest.mark.parametrize("heading_deg", [25.0, 90.0, 140.0, 200.0, 310.0])  # not over a corner of the hull
def test_its_signs_and_its_brink_are_those_of_a_turned_vector(heading_deg: float) -> None:
    """At the slope where the margin is nought, gravity turned into the rover's frame points at an edge of the hull."""
    low, high = 20.0, 50.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _on_slope(middle, heading_deg).tips else (middle, high)
    stood = _on_slope(low, heading_deg)
    down_x = math.sin(stood.pitch_rad)
    down_y = -math.sin(stood.roll_rad) * math.cos(stood.pitch_rad)
    down_z = math.cos(stood.roll_rad) * math.cos(stood.pitch_rad)
    plumb = MASS_HEIGHT_M * np.array([down_x, down_y]) / down_z
    feet = WHEELS - plumb
    bearing = np.sort(np.arctan2(feet[:, 1], feet[:, 0]))
    widest = np.diff(np.append(bearing, bearing[0] + math.tau)).max()  # half a turn seen from a point on an edge
    assert widest == pytest.approx(math.pi, abs=1e-3)


def _on_slope(slope_deg: float, heading_deg: float) -> Stance:
    at = np.arange(0.0, 10.1, 0.5)
    tilted = np.tile(math.tan(math.radians(slope_deg)) * at[:, None], (1, len(at))).astype(np.float32)
    ground = Ground(tilted, 0.0, 0.0, 0.5)
    return stance(ground, WHEELS, MASS_HEIGHT_M, 5.0, 5.0, math.radians(heading_deg))


def test_off_the_map_nothing_stands() -> None:
    assert stance(Ground(np.zeros((5, 5), np.float32), 0.0, 0.0, 1.0), WHEELS, 0.2, 50.0, 0.0, 0.0).tips
