"""Is a picture that is remembered the one that would be drawn, and never another's?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from vision_helpers import Bed

from hil_sim.world.camera_faults import Shot
from hil_sim.world.darkroom import _file_of, developed
from hil_sim.world.faults import Fault
from hil_sim.world.scene import Scene, SceneMaps
from vision.inspect_bed import Region

GOOD = Shot(None, 3)
BLUR = Fault("blur", "camera", at_event=0)
FIRST: dict[str, Any] = {"scene": Scene(seed=3), "shot": 1, "powder": 1, "blade_x_mm": None, "how": GOOD}
OTHER = [
    {"scene": Scene(seed=4)},
    {"shot": 2},
    {"powder": 2},
    {"blade_x_mm": 40.0},
    {"how": Shot(BLUR, 3)},
    {"how": Shot(replace(BLUR, kind="bad_jpeg"), 3)},
]


@pytest.mark.parametrize("change", OTHER, ids=lambda change: next(iter(change)))
def test_a_picture_of_something_else_is_drawn_anew(change: dict[str, Any]) -> None:
    maps = Bed().maps()
    first = developed(maps=maps, **FIRST)
    other = developed(maps=maps, **FIRST | change)
    assert other != first == developed(maps=Bed().maps(), **FIRST)
    _file_of.cache_clear()
    assert other == developed(maps=maps, **FIRST | change)


def grid(value: float) -> np.ndarray:
    made = np.zeros((4, 5))
    made[1, 2] = value
    return made


def full_maps(**changes: Any) -> SceneMaps:
    given = {"height_mm": grid(-0.1), "temp_c": grid(20.0), "sintered": grid(0.2), "cover_mm": grid(0.3)}
    return SceneMaps(**given | {"origin_mm": (1.0, 2.0), "pitch_mm": 3.0} | changes)


@pytest.mark.parametrize(
    "change",
    [
        *({name: grid(0.5)} for name in ("height_mm", "temp_c", "sintered", "cover_mm")),
        *({name: None} for name in ("temp_c", "sintered", "cover_mm")),
        {"origin_mm": (2.0, 1.0)},
        {"pitch_mm": 2.0},
        {"temp_c": grid(0.2), "sintered": grid(20.0)},
    ],
    ids=lambda change: "-".join(change),
)
def test_every_value_of_the_maps_is_in_their_digest(change: dict[str, Any]) -> None:
    assert full_maps(**change).digest() != full_maps().digest() == full_maps().digest()


def test_maps_of_another_shape_with_the_same_bytes_have_another_digest() -> None:
    assert SceneMaps(np.zeros((4, 5))).digest() != SceneMaps(np.zeros((5, 4))).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"points_mm": np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.5]])},
        {"loop_starts": np.array([0, 6])},
        {"margin_mm": 1.0},
    ],
    ids=lambda change: "-".join(change),
)
def test_every_number_of_a_region_tells_it_from_others(change: dict[str, Any]) -> None:
    points = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    given = {"points_mm": points, "loop_starts": np.array([0, 3, 6]), "margin_mm": 0.5}
    assert Region(**given) == Region(**given) and hash(Region(**given)) == hash(Region(**given))
    assert Region(**given | change) != Region(**given)
