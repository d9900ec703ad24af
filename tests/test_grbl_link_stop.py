"""Does a Grbl stream hold, stop or end as it is told, and does nobody wait on a line that is dead?"""

from __future__ import annotations

import asyncio

import pytest
from grbl_link_helpers import Notes, differs, due_moves, layer, talk, virtually

from firmware_bridge.errors import BridgeError, DeviceHalted, LinkTimeout, TransportError


def test_hold_and_resume_lose_nothing() -> None:
    async def main() -> None:
        link, peer = await talk()
        plan = layer(10)
        task = asyncio.ensure_future(link.stream(plan, Notes()))
        await asyncio.sleep(1.0)
        await link.hold()
        assert peer.state == "Hold" and peer.substate == 0
        done = len(peer.done)
        await asyncio.sleep(30.0)
        assert len(peer.done) == done
        await link.resume()
        assert await task == len(plan)
        assert differs(peer.done, due_moves(plan)) == ""

    virtually(main)


def test_a_lost_hold_byte_is_said_again() -> None:
    async def main() -> None:
        link, peer = await talk()
        task = asyncio.ensure_future(link.stream(layer(10), Notes()))
        await asyncio.sleep(1.0)
        dropped: list[bytes] = []

        def lose_first(data: bytes) -> bytes:
            if data == b"!" and not dropped:
                dropped.append(data)
                return b""
            return data

        peer.mangle = lose_first
        await link.hold()
        assert dropped and peer.state == "Hold"
        await link.resume()
        await task

    virtually(main)


def test_cancel_is_hold_then_reset_at_rest_so_the_buffered_rest_never_runs_and_the_place_is_kept() -> None:
    async def main() -> None:
        link, peer = await talk()
        task = asyncio.ensure_future(link.stream(layer(30), Notes()))
        await asyncio.sleep(1.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.written.clear()
        place = await link.abort()
        assert [data for data in peer.written if data in (b"!", b"\x18")] == [b"!", b"\x18"]
        assert not link.is_locked  # no ALARM:3: it stood
        done = len(peer.done)
        await asyncio.sleep(20.0)
        assert len(peer.done) == done and peer.state == "Idle"
        assert all(abs(a - b) < 0.02 for a, b in zip(place, peer._work()))
        plan = layer(3, x_mm=50.0)
        assert await link.stream(plan, Notes()) == len(plan)

    virtually(main)


def test_the_software_stop_is_one_byte_at_once_and_ends_everything() -> None:
    async def main() -> None:
        link, peer = await talk(byte_time_s=10 / 115200)
        task = asyncio.ensure_future(link.stream(layer(0, contour=200), Notes()))
        await asyncio.sleep(1.0)
        peer.written.clear()
        link.emergency_stop()
        assert peer.written[0] == b"\x18"
        assert peer.state == "Alarm" and not peer._planner
        with pytest.raises(DeviceHalted, match="software stop"):
            await task
        with pytest.raises(DeviceHalted):
            await link.position()
        await asyncio.sleep(5.0)
        assert not any(data.startswith(b"N") for data in peer.written)

    virtually(main)


def test_a_stop_byte_waits_no_longer_than_10_ms_on_the_wire() -> None:
    async def main() -> None:
        link, peer = await talk(byte_time_s=10 / 115200)
        loop = asyncio.get_running_loop()
        free_s = 0.0
        worst_s = 0.0

        def pace(data: bytes) -> bytes:
            nonlocal free_s, worst_s
            free_s = max(free_s, loop.time()) + len(data) * 10 / 115200
            worst_s = max(worst_s, free_s - loop.time())
            return data

        peer.mangle = pace
        await link.stream(layer(5, contour=200), Notes())
        assert 0 < worst_s + 10 / 115200 < 0.010

    virtually(main)


def test_a_lost_stop_byte_is_said_again_and_a_controller_that_never_confirms_is_told_of() -> None:
    async def main() -> None:
        link, peer = await talk()
        task = asyncio.ensure_future(link.stream(layer(10), Notes()))
        await asyncio.sleep(1.0)
        peer.mangle = lambda data: data.replace(b"\x18", b"")
        link.emergency_stop()
        with pytest.raises(DeviceHalted):
            await task
        await link.is_down()
        assert sum(data == b"\x18" for data in peer.written) == 4
        assert "switch it off" in str(link.error)

    virtually(main)


# -- the line -------------------------------------------------------------------------------------------------------


def test_an_unplugged_cable_is_a_transport_error_for_everybody() -> None:
    async def main() -> None:
        link, peer = await talk()
        task = asyncio.ensure_future(link.stream(layer(20), Notes()))
        await asyncio.sleep(1.0)
        peer.lose()
        with pytest.raises(TransportError, match="gone"):
            await task
        with pytest.raises(TransportError):
            await link.position()

    virtually(main)


def test_closing_wakes_whoever_waits() -> None:
    async def main() -> None:
        link, _ = await talk()
        task = asyncio.ensure_future(link.stream(layer(20), Notes()))
        await asyncio.sleep(0.5)
        link.close()
        with pytest.raises(BridgeError, match="closed"):
            await task

    virtually(main)


def test_silence_ends_within_seconds() -> None:
    async def main() -> None:
        link, peer = await talk()
        task = asyncio.ensure_future(link.stream(layer(20), Notes()))
        await asyncio.sleep(1.0)
        peer.deaf = True
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(LinkTimeout, match="has not answered"):
            await task
        assert asyncio.get_running_loop().time() - began_s < 15.0

    virtually(main)


def test_an_idle_link_notices_a_dead_line_and_keeps_being_heard() -> None:
    async def main() -> None:
        link, peer = await talk()
        loop = asyncio.get_running_loop()
        await asyncio.sleep(20.0)
        assert loop.time() - link.heard_s < 1.5
        peer.deaf = True
        await asyncio.sleep(6.0)
        assert isinstance(link.error, LinkTimeout)

    virtually(main)
