"""Does the hatch turn from layer to layer as it is told, and for as long as it promises?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicer.errors import ScanError
from slicer.hatching.rotation import GOLDEN_DEG, Rotation


def apart(a: float, b: float) -> float:
    """Degrees between two directions of lines."""
    return abs(math.remainder(a - b, 180.0))


def test_fixed_increment_is_added_for_each_layer():
    assert [Rotation().angle_deg(layer) for layer in (0, 1, 2, 6)] == [0.0, 67.0, 134.0, 42.0]
    assert [Rotation(-30.0, 10.0).angle_deg(layer) for layer in (0, 1)] == [10.0, 340.0]
    assert Rotation(90.0).angle_rad(1) == math.pi / 2


def test_list_of_angles_goes_round_and_the_increment_is_added_once_a_round():
    assert [Rotation(0.0, angles_deg=(0.0, 90.0)).angle_deg(layer) for layer in range(4)] == [0.0, 90.0, 0.0, 90.0]
    assert [Rotation(5.0, 1.0, (0.0, 90.0)).angle_deg(layer) for layer in range(4)] == [1.0, 91.0, 6.0, 96.0]


def test_67_degrees_return_after_180_layers_and_come_near_as_the_page_says():
    angles = [Rotation().angle_deg(layer) for layer in range(361)]
    away = [apart(angle, 0.0) for angle in angles]
    assert [layer for layer in range(1, 361) if away[layer] < 1e-9] == [180, 360]
    assert away[8] == pytest.approx(4.0) and away[43] == pytest.approx(1.0)
    assert next(layer for layer in range(1, 361) if away[layer] < 10.0) == 8 and angles[180] == 180.0


def test_golden_increment_keeps_all_layers_apart():
    for layers in range(2, 300):
        angles = sorted(Rotation(GOLDEN_DEG).angle_deg(layer) % 180.0 for layer in range(layers))
        nearest = min(apart(a, b) for a, b in zip(angles, [*angles[1:], angles[0]]))
        assert nearest > 180.0 / (layers * math.sqrt(5.0))


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.integers(0, 200_000))
def test_angle_lies_in_one_turn(increment, start, layer):
    assert 0.0 <= Rotation(increment, start).angle_deg(layer) < 360.0


@pytest.mark.parametrize(
    "words", [{"increment_deg": math.nan}, {"start_deg": math.inf}, {"angles_deg": (0.0, math.nan)}]
)
def test_angle_that_is_none_is_a_sentence(words):
    with pytest.raises(ScanError, match="finite angle"):
        Rotation(**words)


def test_endless_list_is_a_sentence():
    with pytest.raises(ScanError, match="1000 angles"):
        Rotation(angles_deg=(1.0,) * 1001)
