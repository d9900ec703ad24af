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


@lru_cache(maxsize=KEPT)
def developed(scene: Scene, maps: SceneMaps, shot: int, powder: int, blade_x_mm: float | None, how: Shot) -> bytes:
    """The file of one picture; see `Scene.picture` for the arguments."""
    picture = scene.picture(
        maps,
        shot=shot,
        powder=powder,
        blade_x_mm=blade_x_mm,
        lighting=Lighting(level=how.light_level, glare=how.glare),
        blur_px=how.blur_px,
    )
    return how.pack(jpeg(how.spoil(picture)))
