"""Does the rendered camera show what stands before it, where it stands, and the same each time?"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vision_helpers import Bed

from hil_sim.world.scene import GLOW_START_C, CameraPose, Lighting, Scene, SceneMaps, ScenePlate, jpeg

SCENE = Scene(seed=3)
POSE = SCENE.pose


def around(picture: np.ndarray, x_mm: float, y_mm: float, reach: int = 6) -> np.ndarray:
    """Mean BGR of the pixels around a point of the plate."""
    u, v = np.rint(POSE.project(np.array([[x_mm, y_mm, 0.0]]))[0]).astype(int)
    return picture[v - reach : v + reach + 1, u - reach : u + reach + 1].reshape(-1, 3).mean(axis=0)


def test_the_same_picture_for_the_same_arguments_and_new_noise_for_the_next_shot():
    bed = Bed().maps()
    first = SCENE.picture(bed, shot=1, powder=4)
    assert np.array_equal(first, Scene(seed=3).picture(bed, shot=1, powder=4))
    again, recoated, other = (
        SCENE.picture(bed, shot=2, powder=4),
        SCENE.picture(bed, shot=1, powder=5),
        Scene(seed=4).picture(bed, shot=1, powder=4),
    )
    noise = (again.astype(float) - first).std()
    assert 2.0 < noise < 3.5  # two draws of sigma 2
    inside = np.s_[400:600, 500:700]
    assert (recoated[inside].astype(float) - first[inside]).std() > 1.5 * noise  # the grain is dealt anew
    assert not np.array_equal(other, first)


@given(
    st.floats(0, 250),
    st.floats(0, 150),
    st.floats(-1.5, 1.5),
    st.floats(-1.5, 1.5),
    st.floats(-3, 3),
    st.floats(-0.1, 0.1),
)
@settings(max_examples=60)
def test_a_pixel_looks_at_the_point_that_it_shows(x, y, tilt_x, tilt_y, roll, k1):
    pose = CameraPose(tilt_x_deg=tilt_x, tilt_y_deg=tilt_y, roll_deg=roll, k1=k1)
    seen = pose.project(np.array([[x, y, 0.0]]))
    back_x, back_y = pose.plane_points(seen[:, 0], seen[:, 1])
    assert abs(back_x[0] - x) < 1e-3 and abs(back_y[0] - y) < 1e-3


def test_up_in_the_picture_is_back_and_right_is_right():
    front_left, front_right, back_left = POSE.project(np.array([[0.0, 0, 0], [250, 0, 0], [0, 150, 0]]))
    assert front_right[0] > front_left[0] + 900 and back_left[1] < front_left[1] - 500


def test_hollows_and_sintered_and_hot_places_look_as_they_should():
    bed = Bed(part=(20, 20, 40, 40))
    bed.starve(bed.box(60, 20, 80, 40), filled=0.2)
    bed.starve(bed.box(20, 20, 30, 40), filled=0.05)
    bed.expose(bed.box(100, 20, 120, 40))
    bed.temp[bed.box(140, 20, 160, 40)] = GLOW_START_C + 200
    bed.temp[bed.box(180, 20, 200, 40)] = GLOW_START_C - 50
    picture = SCENE.picture(bed.maps())
    powder = around(picture, 50, 30)
    grey = {
        "covered part": around(picture, 35, 30),
        "hollow": around(picture, 70, 30),
        "hollow over the part": around(picture, 25, 30),
        "sintered": around(picture, 110, 30),
        "warm": around(picture, 190, 30),
    }
    level = powder.mean()
    assert abs(grey["covered part"].mean() / level - 1) < 0.06 and abs(grey["warm"].mean() / level - 1) < 0.06
    assert grey["hollow"].mean() < 0.6 * level
    assert grey["hollow over the part"].mean() < 0.95 * grey["hollow"].mean()
    assert grey["sintered"].mean() < 0.5 * level
    glow = around(picture, 150, 30)
    assert glow[2] > powder[2] + 40 and glow[2] > glow[1] + 25  # red


def test_the_deeper_the_hollow_the_darker():
    tones = []
    for depth in (0.0, 0.2, 0.4, 0.8):
        bed = Bed()
        bed.height[bed.box(200, 100, 230, 130)] = -depth
        tones.append(around(SCENE.picture(bed.maps()), 215, 115).mean())
    assert all(a > b + 5 for a, b in itertools.pairwise(tones))


def test_blade_dirt_light_and_blur():
    maps = Bed().maps()
    plain = SCENE.picture(maps)
    blade = SCENE.picture(maps, blade_x_mm=125.0)
    assert around(blade, 125, 75).mean() < 0.4 * around(plain, 125, 75).mean()
    assert np.array_equal(SCENE.picture(maps, blade_x_mm=-60.0), plain)  # beside the picture
    dark = SCENE.picture(maps, lighting=Lighting(level=0.3))
    assert around(dark, 125, 75).mean() == pytest.approx(0.3 * around(plain, 125, 75).mean(), rel=0.05)
    assert SCENE.picture(maps, lighting=Lighting(glare=(125, 75, 5, 300)))[:, :, 1].max() == 255
    dirty = Scene(seed=3, plate=ScenePlate(hidden_markers=(1,))).picture(maps)
    assert around(dirty, 262, -12).mean() < 80 < around(plain, 262, -12 - 6.7, 2).mean()
    sharp = cv2.Laplacian(plain, cv2.CV_64F)[100:860, 150:1130].std()
    assert cv2.Laplacian(SCENE.picture(maps, blur_px=3.0), cv2.CV_64F)[100:860, 150:1130].std() < sharp


def test_maps_that_cannot_be_are_refused():
    flat = np.zeros((4, 5))
    with pytest.raises(ValueError, match="shape"):
        SceneMaps(np.zeros(4))
    with pytest.raises(ValueError, match="temp_c has shape"):
        SceneMaps(flat, np.zeros((5, 4)))
    with pytest.raises(ValueError, match="not finite"):
        SceneMaps(np.where(np.eye(4, 5) > 0, np.nan, flat))


def test_a_jpeg_of_it_is_small_enough_for_the_wire():
    data = jpeg(SCENE.picture(Bed().maps()))
    assert data[:3] == b"\xff\xd8\xff" and data[-2:] == b"\xff\xd9" and 50_000 < len(data) < 400_000
