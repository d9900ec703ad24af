"""Does the passing ground tell how far the rover went?"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from hil_sim.world.scene_rover import RoverCamera, RoverScene
from vision.tags import ROVER_CAMERA
from vision.visual_odometry import GroundView, from_above, visual_step

VIEW = GroundView()


@lru_cache
def scene() -> RoverScene:
    return RoverScene(2, (), RoverCamera(down_rad=VIEW.down_rad))


def patch(x_m: float, y_m: float, heading_rad: float, number: int) -> np.ndarray:
    return from_above(scene().picture(x_m, y_m, heading_rad, number), ROVER_CAMERA, VIEW)


@pytest.mark.parametrize(
    ("ahead_m", "left_m", "turn_rad"),
    [(0.10, 0.0, 0.0), (0.10, 0.01, 0.03), (0.15, -0.02, -0.05), (-0.08, 0.0, 0.02), (0.0, 0.0, 0.0)],
)
def test_a_step_is_seen_to_1_percent(ahead_m: float, left_m: float, turn_rad: float) -> None:
    step = visual_step(patch(3.0, 4.0, 0.0, 0), patch(3.0 + ahead_m, 4.0 + left_m, turn_rad, 1), VIEW)
    assert step is not None
    assert step.distance_m == pytest.approx(ahead_m, abs=0.0015)
    assert step.sideways_m == pytest.approx(left_m, abs=0.0015)
    assert step.turn_rad == pytest.approx(turn_rad, abs=0.001)
    assert step.confidence > 0.3


def test_ground_without_texture_gives_no_step() -> None:
    flat = np.full((320, 280), 90, np.uint8)
    assert visual_step(flat, flat, VIEW) is None


def test_other_ground_gives_no_step() -> None:
    assert visual_step(patch(0.0, 0.0, 0.0, 0), patch(50.0, 9.3, 2.0, 1), VIEW) is None
