"""Does the Grbl link home, jog, set and switch off as it is asked, dark and read back?"""

from __future__ import annotations

import asyncio

import pytest
from grbl_link_helpers import FakeGrbl, Notes, talk, virtually

from firmware_bridge.errors import DeviceHalted, LinkError, Rejected, Unverified
from firmware_bridge.links.grbl import Expected, GrblLink


def test_homing_is_silent_for_seconds_and_no_reason_to_fail() -> None:
    async def main() -> None:
        link, peer = await talk()
        await link.home()
        assert link.is_homed and "$H" in peer.received and await link.position() == (0.0, 0.0, 0.0)

    virtually(main)


def test_homing_that_fails_says_why() -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.homing_ends_in = "ALARM:9"
        with pytest.raises(DeviceHalted, match="found no limit switch"):
            await link.home()
        assert not link.is_homed

    virtually(main)


def test_homing_that_is_switched_off_says_so() -> None:
    async def main() -> None:
        link = GrblLink(Expected(needs_soft_limits=False))
        peer = FakeGrbl(link)
        peer.settings[22] = "0"
        await link.handshake(3.0)
        with pytest.raises(Rejected, match="homing is switched off"):
            await link.home()

    virtually(main)


def test_a_jog_goes_there_dark_and_reads_back() -> None:
    async def main() -> None:
        link, peer = await talk()
        assert await link.jog((30.0, 20.0, 0.0), speed_mm_s=50.0) == (30.0, 20.0, 0.0)
        jog = next(line for line in peer.received if line.startswith("$J="))
        assert jog == "$J=G21G90X30Y20Z0F3000"
        assert peer.parser.spindle == "M5"
        with pytest.raises(Rejected, match="leave the machine's travel"):
            await link.jog((300.0, 0.0, 0.0), speed_mm_s=50.0)

    virtually(main)


def test_a_jog_after_a_stream_that_left_the_beam_on_is_dark() -> None:
    async def main() -> None:
        link, peer = await talk()
        await link.stream([b"M4 S0", b"G0 X1.000", b"G1 X2.000 F600 S500"], Notes())
        assert peer.parser.spindle == "M4"
        spindles: list[str] = []
        peer.mangle = lambda data: (spindles.append(peer.parser.spindle) if b"$J" in data else None, data)[1]
        await link.jog((30.0, 20.0, 0.0), speed_mm_s=50.0)
        assert spindles == ["M5"]

    virtually(main)


def test_a_jog_that_is_cancelled_stops() -> None:
    async def main() -> None:
        link, peer = await talk()
        task = asyncio.ensure_future(link.jog((100.0, 0.0, 0.0), speed_mm_s=10.0))
        await asyncio.sleep(2.0)
        assert peer.state == "Jog"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert b"\x85" in peer.written
        await link.wait_idle()
        assert 5 < (await link.position())[0] < 30

    virtually(main)


def test_a_setting_is_written_alone_and_read_back() -> None:
    async def main() -> None:
        link, peer = await talk()
        await link.set_setting(11, 0.02)
        assert peer.received[-2:] == ["$11=0.02", "$$"] and link.settings[11] == 0.02

        def stubborn(reply: str) -> list[bytes]:
            return [reply.replace("$11=0.03", "$11=0.02").encode() + b"\r\n"]

        peer.on_reply = stubborn
        with pytest.raises(Unverified, match=r"reads back as 0\.02"):
            await link.set_setting(11, 0.03)

    virtually(main)


def test_beam_off_is_seen_in_the_parsers_state() -> None:
    async def main() -> None:
        link, peer = await talk()
        await link.beam_off()
        assert peer.parser.spindle == "M5"
        real = peer.mangle
        peer.mangle = lambda data: data.replace(b"M5", b"M4") if real(data) else data
        with pytest.raises(LinkError, match="M4 instead of M5"):
            await link.beam_off()

    virtually(main)
