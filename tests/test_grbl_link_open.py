"""Does the Grbl link connect only to a controller that suits, and say what does not?"""

from __future__ import annotations

import asyncio

import pytest
from grbl_link_helpers import FakeGrbl, Notes, talk, virtually

from firmware_bridge.errors import LinkTimeout, NotReady, Rejected, WrongModel
from firmware_bridge.links.grbl import Expected, GrblLink
from firmware_bridge.links.grbl_lines import State


def test_open_learns_who_answers_and_how_it_is_set() -> None:
    async def main() -> None:
        link, _ = await talk(numbers=True)
        assert link.identity.version == "1.1h.20190825" and link.identity.tells_line_numbers
        assert link.settings[30] == 1000.0 and link.settings[100] == 80.0
        assert await link.state() is State.IDLE and not link.is_locked
        assert await link.position() == (0.0, 0.0, 0.0)

    virtually(main)


@pytest.mark.parametrize(
    ("number", "value", "word"),
    [
        (32, "0", "laser mode"), (30, "255", "full power must be S1000"), (31, "10", "least one"), (10, "1", r"\$10=3"),
        (13, "1", "millimetres"), (20, "0", "soft limits"), (22, "0", "homing"), (101, "0.000", "steps per mm"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_suit_is_refused_with_what_to_send(number: int, value: str, word: str) -> None:
    async def main() -> None:
        link = GrblLink()
        peer = FakeGrbl(link)
        peer.settings[number] = value
        with pytest.raises(Rejected, match=word) as refusal:
            await link.handshake(3.0)
        assert f"${number} is" in str(refusal.value)

    virtually(main)


def test_a_machine_without_soft_limits_is_taken_only_where_that_is_said() -> None:
    async def main() -> None:
        link = GrblLink(Expected(needs_soft_limits=False))
        peer = FakeGrbl(link)
        peer.settings[20] = peer.settings[22] = "0"
        await link.handshake(3.0)

    virtually(main)


def test_another_firmware_is_refused() -> None:
    async def main() -> None:
        link = GrblLink()
        FakeGrbl(link).version = "[VER:0.9j.20160303:]"
        with pytest.raises(WrongModel, match=r"not Grbl 1\.1"):
            await link.handshake(3.0)

    virtually(main)


def test_nobody_answers() -> None:
    async def main() -> None:
        link = GrblLink()
        FakeGrbl(link).deaf = True
        with pytest.raises(LinkTimeout, match="does not answer"):
            await link.handshake(2.0)
        assert 2.0 <= asyncio.get_running_loop().time() < 4.0

    virtually(main)


def test_motion_that_a_dead_host_left_is_waited_for_and_its_place_kept() -> None:
    async def main() -> None:
        link = GrblLink()
        peer = FakeGrbl(link)
        peer._send(b"G1X30F1200\n")
        await asyncio.sleep(0.3)
        await link.handshake(10.0)
        assert [move.end for move in peer.done] == [(30.0, 0.0, 0.0)]
        assert not link.is_locked
        assert await link.position() == (30.0, 0.0, 0.0)

    virtually(main)


@pytest.mark.parametrize("mask", ["3", "2"])
def test_places_are_in_the_work_frame_whether_reports_are_or_not(mask: str) -> None:
    async def main() -> None:
        link = GrblLink()
        peer = FakeGrbl(link)
        peer.settings[10] = mask
        await link.handshake(3.0)
        await link.stream([b"G0 X4.000 Y2.000"], Notes())
        assert await link.position() == (4.0, 2.0, 0.0)

    virtually(main)


def test_a_locked_controller_is_opened_and_takes_no_stream_until_homed() -> None:
    async def main() -> None:
        link = GrblLink()
        peer = FakeGrbl(link)
        peer.state = "Alarm"
        await link.handshake(3.0)
        assert link.is_locked
        with pytest.raises(NotReady, match="home it"):
            await link.stream([b"G0 X1.000"], Notes())
        await link.home()
        assert not link.is_locked and link.is_homed
        assert await link.stream([b"G0 X1.000"], Notes()) == 1

    virtually(main)


def test_unlocking_is_an_explicit_request() -> None:
    async def main() -> None:
        link = GrblLink()
        peer = FakeGrbl(link)
        peer.state = "Alarm"
        await link.handshake(3.0)
        assert "$X" not in peer.received
        await link.unlock()
        assert peer.received.count("$X") == 1 and not link.is_locked and not link.is_homed

    virtually(main)
