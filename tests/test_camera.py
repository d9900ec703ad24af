"""Do driver and emulated camera, written apart, understand each other: in memory, and over a real socket?"""

from __future__ import annotations

import asyncio
import contextlib

import cv2
import numpy as np
import pytest

from firmware_bridge.devices.camera import Camera, jpeg_size_px
from firmware_bridge.errors import LinkError, WrongModel
from firmware_bridge.links.http_snapshot import HttpSnapshotLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.camera import CameraEmulator
from hil_sim.world.scene import Scene, SceneMaps, jpeg
from hil_sim.world.wire import lay_tcp, lay_virtual

LEVEL = SceneMaps(np.zeros((15, 25)), pitch_mm=10.0)
TINY = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()


class Client:
    """Raw bytes to an emulator, without any driver."""

    def __init__(self, camera: CameraEmulator) -> None:
        self.heard = b""
        self.session = camera.attach(self._hear)

    def _hear(self, data: bytes) -> None:
        self.heard += data

    async def ask(self, request: bytes, wait_s: float = 1.0) -> bytes:
        self.heard = b""
        self.session.received(request)
        await asyncio.sleep(wait_s)
        return self.heard


GET = b"GET /snapshot.jpg HTTP/1.1\r\nHost: a\r\n\r\n"


def test_the_driver_takes_pictures_of_the_scene_at_the_moment_of_exposure():
    looked: list[float] = []

    def shoot(t_s: float):
        looked.append(t_s)
        shot = len(looked)
        return lambda: jpeg(Scene().picture(LEVEL, shot=shot, powder=shot))

    async def main(loop: VirtualLoop) -> None:
        emulator = CameraEmulator(shoot, exposure_s=0.02, readout_s=0.06)
        wire = await lay_virtual("camera", emulator)
        link = await HttpSnapshotLink.open(wire.url)
        camera = Camera(link, size_px=(1280, 960))
        await camera.identify()
        await asyncio.sleep(10.0 - loop.time())
        first, second = await camera.snapshot(), await camera.snapshot()
        assert jpeg_size_px(first) == jpeg_size_px(second) == (1280, 960) and first != second
        assert looked[1] == pytest.approx(10.02, abs=0.005) and looked[2] == pytest.approx(10.10, abs=0.01)
        assert emulator.served == 3 and not emulator.busy and await camera.poll() == {}
        await camera.safe()
        await camera.safe()
        with pytest.raises(WrongModel, match="1280 x 960 pixels, the machine file says 640 x 480"):
            await Camera(link, size_px=(640, 480)).identify()
        camera.close()

    run_virtual(main)


@pytest.mark.real_time
def test_over_a_real_socket():
    async def main() -> None:
        big = TINY[:-2] + b"\0" * 3_000_000 + b"\xff\xd9"
        wire = await lay_tcp("camera", CameraEmulator(lambda t_s: lambda: big, exposure_s=0.0, readout_s=0.001))
        try:
            link = HttpSnapshotLink(wire.url, timeout_s=10.0)
            assert await link.snapshot() == big
            assert await link.snapshot() == big
        finally:
            wire.close()

    asyncio.run(main())


def test_requests_that_break_the_contract_are_refused_and_named():
    async def main(loop: VirtualLoop) -> None:
        camera = CameraEmulator(lambda t_s: lambda: TINY)
        for request, status in [
            (GET.replace(b"GET", b"POST"), 405),
            (GET.replace(b"snapshot", b"other"), 404),
            (GET.replace(b"HTTP/1.1", b"HTTP/3"), 505),
            (GET.replace(b"Host: a\r\n", b""), 400),
            (b"\x01\x02\r\n\r\n", 400),
            (b"x" * 9000, 431),
        ]:
            heard = await Client(camera).ask(request)
            assert heard.startswith(b"HTTP/1.1 %d " % status), (request, heard)
            assert b"Content-Length: " in heard
        assert camera.served == 0 and camera.refused == 6
        heard = await Client(camera).ask(GET)
        assert heard.startswith(b"HTTP/1.1 200 OK\r\n") and heard.endswith(b"\r\n\r\n" + TINY)
        assert b"Content-Length: %d\r\n" % len(TINY) in heard

    run_virtual(main)


def test_one_request_in_flight():
    async def main(loop: VirtualLoop) -> None:
        camera = CameraEmulator(lambda t_s: lambda: TINY)
        one, two = Client(camera), Client(camera)
        one.session.received(GET[:10])
        one.session.received(GET[10:] + GET)  # pipelined: answered one after the other
        assert (await two.ask(GET, 0.01)).startswith(b"HTTP/1.1 503 ")
        await asyncio.sleep(1.0)
        assert one.heard.count(b"200 OK") == 2 and camera.served == 2
        two.session.received(GET)
        two.session.closed()  # a client that leaves early must not keep the camera busy
        await asyncio.sleep(1.0)
        assert not camera.busy
        assert (await one.ask(GET)).startswith(b"HTTP/1.1 200 ")

    run_virtual(main)


def test_a_picture_that_cannot_be_made_is_500_and_fails_the_run():
    def broken(t_s: float):
        raise ZeroDivisionError("the scene is broken")

    heard: list[BaseException] = []

    async def main(loop: VirtualLoop) -> None:
        wire = await lay_virtual("camera", CameraEmulator(broken))
        try:
            await HttpSnapshotLink(wire.url).snapshot()
        except LinkError as error:
            heard.append(error)

    with contextlib.suppress(ZeroDivisionError):
        run_virtual(main)
        pytest.fail("the run went on with a broken world")
    assert all("500 Internal Server Error" in str(error) for error in heard)


def test_the_size_is_read_from_the_frame_header_alone():
    for width, height in [(64, 48), (1280, 960), (7, 3)]:
        for flags in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]):
            data = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8), flags)[1].tobytes()
            assert jpeg_size_px(data) == (width, height)
            assert jpeg_size_px(data[:20]) is None
    assert jpeg_size_px(b"") is None and jpeg_size_px(b"\xff\xd8" + b"\xff" * 50) is None


def test_a_picture_that_is_lost_or_damaged_on_its_way_is_asked_for_again():
    """Three ways to fail and one to be well: each try is one request, and the last failure is the reason."""
    seen: list[int] = []

    def shoot(t_s: float):
        seen.append(len(seen))
        return None if seen[-1] % 3 == 0 else (lambda: TINY[:-9]) if seen[-1] % 3 == 1 else (lambda: TINY)

    async def main(loop: VirtualLoop) -> None:
        wire = await lay_virtual("camera", CameraEmulator(shoot))
        link = HttpSnapshotLink(wire.url, timeout_s=2.0)
        told: list[str] = []
        assert await Camera(link, tries_max=3).snapshot(told.append) == TINY
        assert seen == [0, 1, 2] and 2.0 < loop.time() < 3.0
        assert ["no whole picture" in told[0], "no whole JPEG" in told[1], len(told)] == [True, True, 2]
        began_s = loop.time()
        with pytest.raises(LinkError, match="no whole JPEG"):
            await Camera(link, tries_max=2).snapshot()
        assert seen == [0, 1, 2, 3, 4] and loop.time() - began_s < 2 * 2.0 + 1.0

        async def flaw(jpeg: bytes) -> str:
            return "it is damaged by the test" if len(seen) < 9 else ""

        with pytest.raises(LinkError, match=r"the picture of camera at .* is damaged: it is damaged by the test"):
            await Camera(link, flaw=flaw).snapshot()
        with pytest.raises(LinkError, match="no whole picture"):
            await Camera(link).snapshot()
        assert len(seen) == 7

    run_virtual(main)


def test_a_camera_that_was_closed_is_not_asked_again():
    async def main(loop: VirtualLoop) -> None:
        wire = await lay_virtual("camera", CameraEmulator(lambda t_s: None))
        camera = Camera(HttpSnapshotLink(wire.url, timeout_s=9.0), tries_max=9)
        asked = asyncio.ensure_future(camera.snapshot())
        await asyncio.sleep(1.0)
        camera.close()
        with pytest.raises(LinkError):
            await asked
        assert loop.time() < 1.5

    run_virtual(main)
