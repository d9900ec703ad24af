"""Does each fault of the camera change the picture as its catalogue says, and is a spoiled one never called good?"""

from __future__ import annotations

import asyncio
from functools import lru_cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import build_world
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.faults.camera import KINDS
from hil_sim.world.machine_spec import BedSettings
from vision.inspect_bed import LayerInspection, inspect_powder
from vision.rectify import PlateGeometry

PLATE = PlateGeometry(
    x_mm=250.0,
    y_mm=150.0,
    fiducials={0: (-12.0, -12.0), 1: (262.0, -12.0), 2: (262.0, 162.0), 3: (-12.0, 162.0)},
    fiducial_size_mm=12.0,
)
SQUARE = np.array([[30.0, 30.0], [90.0, 30.0], [90.0, 90.0], [30.0, 90.0]])


@lru_cache(maxsize=16)
def shots(kind: str) -> tuple[bytes | None, bytes | None]:
    """A good picture, and the one after it under the fault."""

    async def main(loop: VirtualLoop) -> tuple[bytes | None, bytes | None]:
        faults = FaultSchedule((Fault(kind, "camera", at_event=1),))
        world = await build_world("bench", settings=BedSettings(cell_xy_mm=10.0), faults=faults)
        taken: list[bytes | None] = []
        try:
            for _ in range(2):
                for there_mm in (0.0, 310.0, 0.0):  # each stroke deals the powder's grain anew
                    world.blade.move(loop.time(), there_mm, 150.0, 1500.0, 1500.0)
                    await asyncio.sleep(5.0)
                develop = world._shoot(loop.time())
                taken.append(None if develop is None else develop())
        finally:
            world.close()
        return taken[0], taken[1]

    return run_virtual(main)


def grey(jpeg: bytes | None) -> NDArray[np.float64]:
    assert jpeg is not None
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE), np.float64)


def sharpness(image: NDArray[np.float64]) -> float:
    return float(cv2.Laplacian(image, cv2.CV_64F).var())


def test_every_kind_has_its_row_here() -> None:
    assert set(KINDS) == set(SEEN)


SEEN = {
    "blur": "sharpness", "dust": "darker", "glare": "brighter", "no_frame": "nothing", "frozen": "same",
    "exposure_step": "darker", "misaligned": "shifted", "bad_jpeg": "damaged", "wrong_size": "smaller",
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(SEEN))
def test_each_kind_changes_the_picture_as_it_says(kind: str) -> None:
    good, struck = shots(kind)
    what = SEEN[kind]
    if what == "nothing":
        assert good is not None and struck is None
    elif what == "same":
        assert struck == good
    elif what == "damaged":
        assert good is not None and struck is not None and 0 < len(struck) < len(good) / 2
    elif what == "smaller":
        assert grey(struck).shape == tuple(round(side / 4) for side in grey(good).shape)
    elif what == "sharpness":
        assert sharpness(grey(struck)) < 0.2 * sharpness(grey(good))
    elif what == "darker":
        assert grey(struck).mean() < 0.95 * grey(good).mean()
    elif what == "brighter":
        assert grey(struck).max() > grey(good).max() or grey(struck).mean() > grey(good).mean()
    else:
        still, moved = grey(good), grey(struck)
        assert np.abs(moved[7:, 12:] - still[:-7, :-12]).mean() < np.abs(moved - still).mean()


def looked_at(kind: str) -> LayerInspection:
    good, struck = shots(kind)
    assert struck is not None
    return inspect_powder(struck, PLATE, SQUARE, np.array([0, 4]), reference=good)


def test_a_good_picture_is_good() -> None:
    good, _ = shots("no_frame")
    assert good is not None
    found = inspect_powder(good, PLATE, SQUARE, np.array([0, 4]))
    assert found.quality == "ok" and found.thin_area_mm2 == 0.0, found.reason


@pytest.mark.parametrize("kind", ["blur", "glare", "frozen", "bad_jpeg", "wrong_size", "exposure_step"])
def test_a_picture_that_cannot_be_judged_is_unknown_and_never_good(kind: str) -> None:
    found = looked_at(kind)
    assert found.quality == "unknown" and found.coverage_fraction == 0.0, found.reason


def test_dust_before_the_layer_is_thin_powder_or_unknown() -> None:
    found = looked_at("dust")
    assert found.quality == "unknown" or found.thin_area_mm2 > 10.0, found.reason


def test_a_camera_that_was_knocked_is_put_right_by_its_markers() -> None:
    found = looked_at("misaligned")
    assert found.quality == "ok" and found.thin_area_mm2 == 0.0, found.reason
