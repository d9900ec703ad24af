"""The rover's eyes: pictures of its camera, searched beside the loop for the route's tags, sightings for the filter."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from control.offload import offload
from control.rover.config import RoverCameraDevice
from control.rover.drive.inclination import Inclination
from control.rover.drive.localise import Localiser
from control.rover.drive.sightings import CameraMount, TagFixes, TagPlace, TagSighting
from control.rover.route.route_file import Tag
from control.telemetry import Telemetry
from firmware_bridge.devices.camera import Camera
from firmware_bridge.errors import BridgeError
from vision.camera_model import CameraModel
from vision.opencv import PictureError

KEPT_MAX = 64  # sightings that wait for the filter
EXPOSURE_S = 0.02  # from the request to the moment that a picture shows, about


class Eyes:
    """Looks at the camera's rate; what it saw waits until the next cycle takes it."""

    def __init__(
        self, camera: Camera, config: RoverCameraDevice, tags: list[Tag], tilt: Inclination, telemetry: Telemetry
    ) -> None:
        lens = CameraModel(
            config.focal_px,
            ((config.width_px - 1) / 2, (config.height_px - 1) / 2),
            (config.width_px, config.height_px),
        )
        mount = CameraMount(config.ahead_m, config.left_m, config.up_m, math.radians(config.down_deg))
        places = {tag.tag_id: TagPlace(tag.x_m, tag.y_m, math.radians(tag.facing_deg), tag.side_m) for tag in tags}
        self._fixes = TagFixes(places, lens, mount)
        self._camera, self._tilt, self._telemetry = camera, tilt, telemetry
        self._period_s = 1.0 / config.poll_hz
        self._seen: deque[TagSighting] = deque(maxlen=KEPT_MAX)
        self._blind = False
        self.believed = 0

    async def look_on(self) -> None:
        """Look until cancelled. A camera that does not answer, or sends what is no picture, is told of once a spell."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            roll, pitch, asked_s = self._tilt.roll_rad, self._tilt.pitch_rad, loop.time()
            if not math.isfinite(roll + pitch):  # nobody knows yet how the rover stands
                await asyncio.sleep(self._period_s)
                continue
            try:
                jpeg = await self._camera.snapshot()
                self._seen.extend(
                    await offload(
                        # the filter's roll is left side up, the picture's right side down: the same turn
                        lambda jpeg=jpeg, t=asked_s + EXPOSURE_S, r=roll, p=pitch: self._fixes.look(  # type: ignore[misc]
                            jpeg, t, roll_rad=r, pitch_rad=p
                        )
                    )
                )
                self._blind = False
            except (BridgeError, PictureError) as error:
                if not self._blind:
                    self._telemetry.event("warning", f"the camera does not see: {error}")
                self._blind = True
            due_s = max(due_s + self._period_s, loop.time())
            await asyncio.sleep(due_s - loop.time())

    def into(self, place: Localiser, now_s: float) -> None:
        """Give the filter what was seen since the last time."""
        while self._seen:
            self.believed += self._fixes.into(place, [self._seen.popleft()], now_s)
