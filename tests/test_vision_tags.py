"""Are tags found in rendered pictures, and is the camera where they say?"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.world.scene_rover import RoverScene, SceneTag, camera_pose
from vision.opencv import PictureError
from vision.tags import ROVER_CAMERA, TagSeen, find_tags

TAG = 5


@lru_cache
def scene() -> RoverScene:
    return RoverScene(1, (SceneTag(TAG, 4.0, 0.0, 0.6, math.pi),))


def seen_at(tag: SceneTag, heading_rad: float = 0.0, pitch_rad: float = 0.0, number: int = 0) -> list[TagSeen]:
    view = scene()
    view.tags = (tag,)
    return find_tags(view.picture(0.0, 0.0, heading_rad, number, pitch_rad=pitch_rad), ROVER_CAMERA, {TAG: tag.side_m})


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.floats(2, 14), st.floats(-0.4, 0.4), st.floats(-0.8, 0.8), st.floats(-0.1, 0.1), st.floats(-0.04, 0.04))
def test_the_tag_is_where_it_was_drawn(
    away_m: float, side: float, skew_rad: float, heading_rad: float, pitch_rad: float
) -> None:
    tag = SceneTag(TAG, away_m, side * away_m, 0.6, math.pi + skew_rad)
    (found,) = seen_at(tag, heading_rad, pitch_rad)
    turn, eye = camera_pose(scene().camera, 0.0, 0.0, heading_rad, 0.0, pitch_rad)
    true = turn @ (np.array([tag.x_m, tag.y_m, tag.z_m]) - eye)
    away = float(np.linalg.norm(true))
    assert abs(float(np.linalg.norm(found.at_m)) - away) < 4 * found.range_sigma_m
    assert float(np.linalg.norm(found.at_m / np.linalg.norm(found.at_m) - true / away)) < 1e-3
    if not found.ambiguous:
        normal = turn @ [math.cos(tag.facing_rad), math.sin(tag.facing_rad), 0.0]
        assert math.acos(min(float(found.turn[:, 2] @ normal), 1.0)) < max(4 * found.facing_sigma_rad, 0.02)


@pytest.mark.parametrize("number", range(4))
def test_a_tag_of_30_cm_is_found_15_m_away(number: int) -> None:
    assert len(seen_at(SceneTag(TAG, 15.2, 2.0 * number - 3.0, 0.6, math.pi), number=number)) == 1


def test_a_tag_from_behind_is_not_seen() -> None:
    assert seen_at(SceneTag(TAG, 4.0, 0.0, 0.6, 0.0)) == []


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(PictureError, match="calibration"):
        find_tags(np.zeros((480, 640, 3), np.uint8), ROVER_CAMERA, {TAG: 0.3})
