"""What a fault does to a picture: to what the lens draws, to the file that the camera makes of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hil_sim.world.faults.camera import CAMERA
from hil_sim.world.faults.schedule import Fault, Faults

Image = NDArray[np.uint8]
DUST_SPOT_PX = 40.0
GLARE_MM, GLARE_LEVELS = 18.0, 160.0
HOLE_BYTES = 512
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda jpeg: jpeg[: len(jpeg) // 3],
    "patched": lambda jpeg: jpeg[: len(jpeg) // 3] + b"\xff\xd9",
    "zeros": lambda jpeg: jpeg[: len(jpeg) // 2] + bytes(HOLE_BYTES) + jpeg[len(jpeg) // 2 + HOLE_BYTES :],
}
"""What a camera's memory does to a file: it ends early, ends early with an end mark all the same, or has a hole."""


@dataclass(frozen=True)
class Shot:
    """One picture to be taken under `fault`; None: a good one."""

    fault: Fault | None
    seed: int

    @property
    def blur_px(self) -> float:
        """Radius of the lens' blur."""
        return self._arg("blur", "radius_px", 6.0, 0.0)

    @property
    def light_level(self) -> float:
        """The share of the usual light that reaches the sensor."""
        return max(self._arg("exposure_step", "factor", 0.15, 1.0), 0.0)

    @property
    def glare(self) -> tuple[float, float, float, float] | None:
        """x, y (mm), radius (mm) and grey levels of a bright spot."""
        if not self._is("glare"):
            return None
        return self._arg("glare", "x", 55.0), self._arg("glare", "y", 55.0), GLARE_MM, GLARE_LEVELS

    def through_the_lens(self, image: Image) -> Image:
        """Light and lens, for a scene that does not draw them: the glare lies in the picture's middle."""
        if self.blur_px > 0.0:
            return np.asarray(cv2.GaussianBlur(image, (0, 0), self.blur_px), np.uint8)
        if self.light_level != 1.0:
            return np.asarray(np.clip(image * self.light_level, 0, 255), np.uint8)
        if self.glare is None:
            return image
        rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
        middle, radius_px = (image.shape[0] / 2, image.shape[1] / 2), 0.2 * image.shape[0]
        far = ((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / (2 * radius_px**2)
        return np.asarray(np.clip(image + GLARE_LEVELS * np.exp(-far)[:, :, None], 0, 255), np.uint8)

    def spoil(self, image: Image) -> Image:
        """What becomes of the picture before it is packed."""
        if self._is("dust"):
            return _dusty(image, min(max(self._arg("dust", "share", 0.2), 0.0), 1.0), self.seed)
        if self._is("misaligned"):
            dx_px, dy_px = self._arg("misaligned", "dx_px", 12.0), self._arg("misaligned", "dy_px", 7.0)
            shift = np.array([[1.0, 0.0, dx_px], [0.0, 1.0, dy_px]])
            moved = cv2.warpAffine(image, shift, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
            return np.asarray(moved, np.uint8)
        if self._is("wrong_size"):
            factor = max(self._arg("wrong_size", "factor", 0.25), 0.01)
            return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
        return image

    def pack(self, jpeg: bytes) -> bytes:
        """What becomes of the file."""
        if self.fault is None or self.fault.kind != "bad_jpeg":
            return jpeg
        how = str(self.fault.arg("how", "cut"))
        if how not in DAMAGES:
            raise ValueError(f"'bad_jpeg' at {self.fault.point}: how is {how!r}; give {', '.join(DAMAGES)}")
        return DAMAGES[how](jpeg)

    def _is(self, kind: str) -> bool:
        return self.fault is not None and self.fault.kind == kind

    def _arg(self, kind: str, name: str, default: float, otherwise: float = 0.0) -> float:
        """An argument of a fault of this kind; `otherwise` where there is none."""
        fault = self.fault
        return float(fault.arg(name, default)) if fault is not None and fault.kind == kind else otherwise


class FaultyCamera:
    """Asks the schedule for each picture; keeps the last good file for a camera that freezes."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._seed = seed
        self._last: bytes | None = None

    def take(self, t_s: float, develop: Callable[[Shot], bytes]) -> Callable[[], bytes] | None:
        """The picture of this moment, to be developed beside the loop; None: there will be none."""
        fault = self._faults.event(CAMERA, t_s)
        shot = Shot(fault, self._seed)
        if fault is not None and fault.kind == "no_frame":
            return None
        if fault is not None and fault.kind == "frozen" and self._last is not None:
            last = self._last
            return lambda: last

        def work() -> bytes:
            picture = develop(shot)
            self._last = picture
            return picture

        return work


def _dusty(image: Image, share: float, seed: int) -> Image:
    """Soft dark spots, always in the same places, that cover about `share` of the picture."""
    rows, columns = image.shape[:2]
    rng = random.Random(f"{seed}:dust")
    spots = round(share * rows * columns / (np.pi * DUST_SPOT_PX**2))
    clear = np.ones((rows, columns), np.float32)
    for _ in range(spots):
        centre = (rng.randrange(columns), rng.randrange(rows))
        cv2.circle(clear, centre, round(DUST_SPOT_PX), 0.45, -1)
    clear = np.asarray(cv2.GaussianBlur(clear, (0, 0), DUST_SPOT_PX / 4), np.float32)
    return np.asarray(np.clip(image * clear[:, :, None], 0, 255), np.uint8)
