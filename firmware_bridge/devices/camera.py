"""The top camera: a picture on request, asked for again where one was lost or damaged on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from firmware_bridge.errors import FrameError, LinkError, TransportError, WrongModel
from firmware_bridge.links.http_snapshot import HttpSnapshotLink
from firmware_bridge.signals import Reading

PAUSE_S = 0.25  # before a picture is asked for again: a camera that was left in the middle of one ends it meanwhile


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
    tries_max: how often a picture is asked for before its failure counts. Taking one changes nothing, so twice does no
    harm; whoever needs to know the moment that it shows asks once. `flaw`: what is wrong with a whole file, empty for
    nothing; awaited beside the loop where it is long work.
    """

    def __init__(
        self,
        link: HttpSnapshotLink,
        *,
        name: str = "camera",
        size_px: tuple[int, int] | None = None,
        tries_max: int = 1,
        flaw: Callable[[bytes], Awaitable[str]] | None = None,
    ) -> None:
        if tries_max < 1:
            raise ValueError(f"tries_max is {tries_max}; give 1 or more")
        self.name = name
        self._link = link
        self._size_px = size_px
        self._tries_max = tries_max
        self._flaw = flaw

    async def identify(self) -> None:
        """Take one picture. WrongModel: it is none, or of another size than the calibration is for."""
        found = jpeg_size_px(await self.snapshot())
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

    async def snapshot(self, told: Callable[[str], None] | None = None) -> bytes:
        """A picture taken now, JPEG bytes; bounded by `tries_max` times the link's time-out and the pauses between.

        `told`: hears the sentence of each try that failed and is followed by another. LinkError or TransportError of
        the last try, in a sentence.
        """
        for tries_left in range(self._tries_max - 1, -1, -1):
            try:
                return await self._take()
            except (LinkError, TransportError) as error:
                if not tries_left or self._link.is_closed:
                    raise
                if told is not None:
                    told(f"{error} Asking again.")
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("tries_max is 1 or more")

    async def _take(self) -> bytes:
        jpeg = await self._link.snapshot()
        if self._flaw is not None and (flaw := await self._flaw(jpeg)):
            raise FrameError(f"the picture of {self.name} at {self._link.url} is damaged: {flaw}.")
        return jpeg

    async def poll(self) -> dict[str, Reading]:
        """Nothing to read between pictures."""
        return {}

    async def safe(self) -> None:
        """A camera is safe as it is."""

    def close(self) -> None:
        """Give the connection back."""
        self._link.close()
