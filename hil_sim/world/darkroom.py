"""The bench camera's pictures, developed: rendered, spoiled as a fault will have it, packed as a file.

Equal arguments give equal bytes, so that a picture which was taken before is not drawn again: the runs of a campaign's
seed (the one that counts, and those that ask what a fault did) take the same pictures until they part.
"""

from __future__ import annotations

from functools import lru_cache

from hil_sim.world.camera_faults import Shot
from hil_sim.world.scene import Lighting, Scene, SceneMaps, jpeg

KEPT = 16
"""Pictures; a campaign's print takes four or five, one whose camera fails up to three times as many."""


class _Negative:
    """Maps to be drawn, known by their digest: the cache does not keep what they held."""

    def __init__(self, maps: SceneMaps) -> None:
        self.maps: SceneMaps | None = maps
        self._digest = maps.digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Negative) and self._digest == other._digest


def developed(scene: Scene, maps: SceneMaps, shot: int, powder: int, blade_x_mm: float | None, how: Shot) -> bytes:
    """The file of one picture; see `Scene.picture` for the arguments."""
    negative = _Negative(maps)
    try:
        return _file_of(scene, negative, shot, powder, blade_x_mm, how)
    finally:
        negative.maps = None


@lru_cache(maxsize=KEPT)
def _file_of(scene: Scene, negative: _Negative, shot: int, powder: int, blade_x_mm: float | None, how: Shot) -> bytes:
    assert negative.maps is not None, "given up only when its picture is done"
    picture = scene.picture(
        negative.maps,
        shot=shot,
        powder=powder,
        blade_x_mm=blade_x_mm,
        lighting=Lighting(level=how.light_level, glare=how.glare),
        blur_px=how.blur_px,
    )
    return how.pack(jpeg(how.spoil(picture)))
