"""The top camera: a picture on request."""

from __future__ import annotations

from firmware_bridge.errors import WrongModel
from firmware_bridge.links.http_snapshot import HttpSnapshotLink
from firmware_bridge.signals import Reading


def jpeg_size_px(data: bytes) -> tuple[int, int] | None:
    """(width, height) from a JPEG's frame header; None where there is none (ITU-T T.81, B.2)."""
    at = 2
    for _ in range(1000):  # segments; a picture has about ten
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA or length < 2:
            return None
        at += 2 + length
    return None


class Camera:
    """A camera behind a snapshot link. It moves and heats nothing, so it needs no watchdog and is always safe.

    size_px: (width, height) that its pictures must have, where a calibration depends on it; None takes any.
    """

    def __init__(self, link: HttpSnapshotLink, *, name: str = "camera", size_px: tuple[int, int] | None = None) -> None:
        self.name = name
        self._link = link
        self._size_px = size_px

    async def identify(self) -> None:
        """Take one picture. WrongModel: it is none, or of another size than the calibration is for."""
        found = jpeg_size_px(await self._link.snapshot())
        if found is None:
            raise WrongModel(
                f"{self.name} at {self._link.url} answers with a JPEG that has no frame header; check the camera."
            )
        if self._size_px is not None and found != self._size_px:
            raise WrongModel(
                f"{self.name} at {self._link.url} takes pictures of {found[0]} x {found[1]} pixels, "
                f"the machine file says {self._size_px[0]} x {self._size_px[1]}; "
                "set the camera back or calibrate it again."
            )

    async def snapshot(self) -> bytes:
        """A picture taken now, JPEG bytes. LinkError or TransportError in a sentence."""
        return await self._link.snapshot()

    async def poll(self) -> dict[str, Reading]:
        """Nothing to read between pictures."""
        return {}

    async def safe(self) -> None:
        """A camera is safe as it is."""

    def close(self) -> None:
        """Give the connection back."""
        self._link.close()
