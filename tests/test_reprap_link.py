"""Does the RepRapFirmware link say a line until it was done, once, and stop on what cannot be?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from reprap_link_helpers import FakeReprap, Notes, lines, points, talk

from firmware_bridge.errors import (
    DeviceHalted,
    DeviceReset,
    LinkError,
    LinkTimeout,
    NotReady,
    Rejected,
    TransportError,
    WrongModel,
)
from firmware_bridge.links.reprap import Expected, RepRapLink
from firmware_bridge.links.reprap_crc16 import frame_line, unframe_line
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop


def with_peer(story: Callable[[RepRapLink, FakeReprap], Awaitable[Any]]) -> Any:
    async def main(_: VirtualLoop) -> Any:
        link, peer = await talk()
        try:
            return await story(link, peer)
        finally:
            link.close()

    return run_virtual(main)


def once(peer: FakeReprap, sign: str, what: Callable[[str], Any]) -> None:
    """The first reply line that begins with `sign` is replaced."""
    left = [True]

    def mangle(reply: str) -> list[str]:
        if left and reply.startswith(sign):
            left.clear()
            return what(reply)
        return [reply]

    peer.on_reply = mangle


# ---- streams


def test_moves_share_lines_that_alternate_between_two_workplaces() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        notes = Notes()
        assert await link.stream([b"M4 I S0", *lines(40), b"M5 I", b"M400"], notes) == 43
        assert peer.moves == points(40) and notes.acks == list(range(43))
        assert notes.groups == [(0, 15), (16, 31), (32, 42)]
        said = [unframe_line(data)[1] for data in peer.written]
        frames = [text.split()[-3] for text in said if text.startswith(b"G1 ")]
        assert frames == [b"G55", b"G54"] * (len(frames) // 2) + [b"G55"] * (len(frames) % 2)
        assert len(frames) < 10 and max(map(len, peer.written)) <= 200
        shifted = [text for text in said if text.endswith(b"G54 " + b" ".join(text.split()[-2:]))]
        assert b"X310" in b"".join(said) and shifted

    with_peer(story)


def test_a_line_that_is_lost_is_said_again() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        lost = iter([True, False, False, True, True] + [False] * 100)
        peer.on_line = lambda text: not (text.startswith("G1") and next(lost))
        assert await link.stream(lines(40), Notes()) == 40
        assert peer.moves == points(40) and link.counters.repeats == 3

    with_peer(story)


@pytest.mark.parametrize("sign", ["k", "ok"])
def test_a_lost_answer_makes_nothing_happen_twice(sign: str) -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        begun = asyncio.ensure_future(link.stream(lines(40), Notes()))
        await asyncio.sleep(0.006)
        once(peer, sign, lambda reply: [])
        assert await begun == 40
        assert peer.moves == points(40)
        assert link.counters.repeats == link.counters.refused == (1 if sign == "k" else 0)

    with_peer(story)


def test_a_board_that_drops_the_rest_of_a_refused_line_is_looked_at() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        peer.drops_rest = True
        begun = asyncio.ensure_future(link.stream(lines(40), Notes()))
        await asyncio.sleep(0.006)
        once(peer, "k", lambda reply: [])
        assert await begun == 40
        assert peer.moves == points(40) and link.counters.repeats == 2

    with_peer(story)


@pytest.mark.parametrize(
    ("said", "stops"),
    [
        ("Error: driver 0.1 stalled", True),
        ("Warning: MCU is hot", False),
        ("Error: G0: target positon out3ide machine limats", False),  # of a line's second coming, damaged
    ],
)
def test_an_error_of_the_boards_own_stops_the_stream_and_a_warning_does_not(said: str, stops: bool) -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        begun = asyncio.ensure_future(link.stream(lines(40), Notes()))
        await asyncio.sleep(0.006)
        once(peer, "k", lambda reply: [said, reply])
        if stops:
            with pytest.raises(LinkError, match=r"driver 0\.1 stalled"):
                await begun
        else:
            assert await begun == 40

    with_peer(story)


@pytest.mark.parametrize("what", [["k"], ["k1"], ["o"], ["k\x80123A"], ["ok ok"]])
def test_a_damaged_token_is_none(what: list[str]) -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        once(peer, "k", lambda reply: what)
        assert await link.stream(lines(20), Notes()) == 20
        assert peer.moves == points(20) and link.counters.repeats == 1

    with_peer(story)


def test_a_doubled_line_is_refused_by_the_board_and_a_doubled_token_believed_once() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        send = peer._send
        peer._send = lambda data: (send(data), send(data))[0]  # type: ignore[method-assign]
        peer.on_reply = lambda reply: [reply, reply]
        assert await link.stream(lines(40), Notes()) == 40
        assert peer.moves == points(40) and link.counters.late_tokens > 3

    with_peer(story)


def test_a_refusal_of_a_line_that_was_not_done_stops_the_stream() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        far = [*lines(4), b"G1 X300.000 Y20.000 F1200 S500"]
        with pytest.raises(LinkError, match=r"refused a line .*outside machine limits.* instead of X 300 Y 20"):
            await link.stream(far, Notes())
        with pytest.raises(LinkError):
            await link.position()

    with_peer(story)


def test_a_board_that_has_forgotten_its_place_was_restarted() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        def forget(text: str) -> bool:
            if len(peer.moves) >= 10:
                peer.is_homed, peer.workplace, peer.place = False, "G54", dict.fromkeys("XYZ", 0.0)
            return True

        peer.on_line = forget
        with pytest.raises(DeviceReset, match=r"restarted in the middle .*insufficient axes homed"):
            await link.stream(lines(40), Notes())

    with_peer(story)


def test_a_restart_behind_the_last_move_is_found_at_the_end() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        def forget(text: str) -> bool:
            if text.startswith("M400"):
                peer.is_homed = False
            return True

        peer.on_line = forget
        with pytest.raises(DeviceReset, match="axes are not homed any more"):
            await link.stream([*lines(4), b"M400"], Notes())

    with_peer(story)


def test_a_place_that_does_not_close_is_no_done() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        def drift(text: str) -> bool:
            if text.startswith("M400"):
                peer.place["X"] += 0.02
            return True

        peer.on_line = drift
        with pytest.raises(LinkError, match=r"0\.02 mm from where the plan's end"):
            await link.stream([*lines(4), b"M400"], Notes())

    with_peer(story)


def test_a_banner_stops_the_stream() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        once(peer, "k", lambda reply: ["RepRapFirmware for Fake is up and running."])
        with pytest.raises(DeviceReset, match="it says so"):
            await link.stream(lines(4), Notes())

    with_peer(story)


@pytest.mark.parametrize("sign", [b"G21", b"M564", b"M452", b"M5 ", b"M409", b"G10"])
def test_a_board_that_restarts_while_it_is_being_set_up_is_not_taken(sign: bytes) -> None:
    """What it was told before is gone, such as the workplace that keeps a repeated line from being run twice."""

    async def main(_: VirtualLoop) -> None:
        link = RepRapLink(Expected())
        peer = FakeReprap(link)

        def restart(text: str) -> bool:
            if text.encode().startswith(sign):
                peer.on_line = lambda text: True
                link.receiver.data_received(b"RepRapFirmware for Fake is up and running.\n")
                return False
            return True

        peer.on_line = restart
        with pytest.raises(DeviceReset, match="it says so"):
            await link.handshake(3.0)

    run_virtual(main)


def test_the_banner_of_a_board_that_is_just_booting_belongs_to_its_boot() -> None:
    async def main(_: VirtualLoop) -> None:
        link = RepRapLink(Expected())
        peer = FakeReprap(link)
        lost = [True]

        def boot(text: str) -> bool:
            if lost and "M115" in text:
                lost.clear()
                link.receiver.data_received(b"RepRapFirmware for Fake is up and running.\n")
                return False
            return True

        peer.on_line = boot
        await link.handshake(3.0)
        assert link.error is None
        link.close()

    run_virtual(main)


def test_a_silent_board_is_given_up_after_repeats() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        begun = asyncio.ensure_future(link.stream(lines(40), Notes()))
        await asyncio.sleep(0.006)
        peer.deaf = True
        with pytest.raises(LinkTimeout, match="nothing came"):
            await begun
        assert 4 <= link.counters.repeats <= 10

    with_peer(story)


def test_a_cable_that_is_pulled_says_so() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        begun = asyncio.ensure_future(link.stream(lines(40), Notes()))
        await asyncio.sleep(0.006)
        peer.lose()
        with pytest.raises(TransportError, match="is gone"):
            await begun

    with_peer(story)


def test_a_stream_that_is_cancelled_tells_how_far_it_came_and_the_next_one_goes_on() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        taken = await link.stream(lines(60), Notes(), cancelled=lambda: len(peer.moves) >= 20)
        assert 20 <= taken < 60 and peer.moves == points(60)[:taken]
        assert await link.stream(lines(60)[taken:], Notes()) == 60 - taken
        assert peer.moves == points(60)

    with_peer(story)


def test_a_stream_whose_task_is_cancelled_leaves_the_next_one_its_workplace() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        begun = asyncio.ensure_future(link.stream(lines(60), Notes()))
        await asyncio.sleep(0.0075)
        begun.cancel()
        await asyncio.wait({begun})
        await asyncio.sleep(0.1)
        done = len(peer.moves)
        assert 0 < done < 60
        assert await link.stream(lines(60)[done:], Notes()) == 60 - done
        assert peer.moves == points(60)

    with_peer(story)


@pytest.mark.parametrize("line", [b"G1 X1", b"G91", b"G1 X1 Y2 F0 S1", b"M3 S5", b"G28", b"g1 X1 Y1 F1 S1", b""])
def test_what_no_plan_holds_is_not_sent(line: bytes) -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        with pytest.raises(LinkError, match="is not sent"):
            await link.stream([line], Notes())
        assert peer.moves == []
        await link.position()  # the link goes on

    with_peer(story)


def test_an_unhomed_board_is_given_no_stream() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        link.is_homed = False
        with pytest.raises(NotReady, match="home it"):
            await link.stream(lines(1), Notes())

    with_peer(story)


def test_one_stream_at_a_time() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        first = asyncio.ensure_future(link.stream(lines(40), Notes()))
        await asyncio.sleep(0.001)
        with pytest.raises(LinkError, match="one stream at a time"):
            await link.stream(lines(1), Notes())
        assert await first == 40

    with_peer(story)


# ---- commands


def test_homing_is_asked_about_and_not_doubled() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        once(
            peer, "k", lambda reply: []
        )  # the answer to G28 is lost: a question behind it is answered, and it homes again
        await link.home()
        assert peer.done.count("G28") == 2 and b"".join(peer.written).count(b"G28") == 2
        peer.on_line = lambda text: "G28" not in text
        with pytest.raises(LinkTimeout, match="lost the command to home 3 times"):
            await link.home()
        assert not link.is_homed

    with_peer(story)


def test_a_board_that_does_not_come_to_home_says_why() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        peer.model["move.axes[1].homed"] = "false"
        with pytest.raises(LinkError, match="did not home all of its axes"):
            await link.home()
        assert not link.is_homed

    with_peer(story)


def test_an_idle_board_that_restarts_is_found_out() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        await asyncio.sleep(30.0)
        assert link.error is None and asyncio.get_running_loop().time() - link.heard_s < 5.0
        peer.is_homed = False
        await asyncio.sleep(5.0)
        with pytest.raises(DeviceReset, match="not homed any more"):
            await link.position()

    with_peer(story)


def test_the_stop_is_checked_and_overtakes() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        begun = asyncio.ensure_future(link.stream(lines(40), Notes()))
        await asyncio.sleep(0.006)
        link.emergency_stop()
        stop = peer.written[-1]
        first, second = stop.lstrip(b"\n").splitlines()
        assert stop.startswith(b"\n") and first == second and unframe_line(first)[1] == b"M112"
        with pytest.raises(DeviceHalted, match="software stop"):
            await begun
        await link.halt()  # the board has said that it stands
        assert "M112" in peer.done

    with_peer(story)


def test_a_stop_that_is_lost_is_repeated_until_the_board_says_that_it_stands() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        lost = iter([True] * 5 + [False] * 100)
        peer.on_line = lambda text: not next(lost)
        await link.halt()
        assert set(peer.done) == {"M112"} and len(peer.written) == 3

    with_peer(story)


def test_a_stop_that_nobody_confirms_is_not_called_safe() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        peer.deaf = True
        with pytest.raises(LinkTimeout, match="Cut its power"):
            await link.halt()

    with_peer(story)


def test_a_restart_is_for_a_board_that_stands() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        with pytest.raises(NotReady, match="not in emergency stop"):
            await link.restart()
        await link.halt()
        await link.restart()
        assert peer.written[-1] == frame_line(1, b"M999", guard=False)

    with_peer(story)


def test_a_jog_that_the_board_refuses_is_refused() -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        await link.jog((10.0, 5.0, 0.0), speed_mm_s=20.0)
        assert await link.position() == (10.0, 5.0, 0.0)
        with pytest.raises(Rejected, match="outside machine limits"):
            await link.jog((10.0, 500.0, 0.0), speed_mm_s=20.0)

    with_peer(story)


@pytest.mark.parametrize("damaged", ["X:10.000 Machine 10.000 5.100 0.000", "X:10.0", ""])
def test_a_place_is_what_two_answers_agree_on(damaged: str) -> None:
    async def story(link: RepRapLink, peer: FakeReprap) -> None:
        await link.jog((10.0, 5.0, 0.0), speed_mm_s=20.0)
        once(peer, "X:", lambda reply: [damaged])
        assert await link.position() == (10.0, 5.0, 0.0)
        count = iter(range(100))
        peer.on_reply = lambda reply: [f"{reply[:4]}Machine {next(count)}.0 5.0 0.0" if reply[:2] == "X:" else reply]
        with pytest.raises(LinkError, match="no two answers in a row agreed"):
            await link.position()

    with_peer(story)


# ---- acquaintance


async def acquainted(change: Callable[[FakeReprap], None]) -> RepRapLink:
    link = RepRapLink()
    change(FakeReprap(link))
    await link.handshake(3.0)
    return link


REFUSED = [
    ("needs_crc", False, Rejected, "no check and with weak check"),
    ("name", "FIRMWARE_NAME:Marlin 2.1.2 PROTOCOL_VERSION:1.0", LinkTimeout, "does not answer M115"),
    ("name", "FIRMWARE_NAME: Smoothie FIRMWARE_VERSION: 3.5 X", WrongModel, "'Smoothie', and not RepRapFirmware"),
    ("name", "FIRMWARE_NAME: RepRapFirmware FIRMWARE_VERSION: 2.05 X", WrongModel, "knows no CRC"),
    ("status", "halted", DeviceHalted, "emergency stop"),
    ("deaf", True, LinkTimeout, "does not answer M115 within 3 s"),
    ("model", {"move.axes[0].max": "null"}, Rejected, "no limits for X"),
    ("model", {"move.queue[0].length": "0"}, LinkError, "which cannot be"),
]


@pytest.mark.parametrize(("field", "value", "error", "words"), REFUSED)
def test_a_board_that_is_not_fit_is_refused(field: str, value: Any, error: type[Exception], words: str) -> None:
    async def main(_: VirtualLoop) -> None:
        with pytest.raises(error, match=words):
            await acquainted(lambda peer: setattr(peer, field, value))

    run_virtual(main)


def test_what_a_stream_relies_on_is_set() -> None:
    async def main(_: VirtualLoop) -> None:
        peers: list[FakeReprap] = []
        link = await acquainted(peers.append)
        done = " ".join(peers[0].done)
        for word in ("G90", "G54", "M220 S100", "M564 H1 S1", "M452 S0 R1000", "M5"):
            assert word in done
        assert "G10 L2 P2 X-300 Y0 Z0" in done and link.board.shift_mm == 300.0 and link.is_homed
        link.close()

    run_virtual(main)


def test_a_damaged_answer_about_the_board_is_not_believed() -> None:
    async def main(_: VirtualLoop) -> None:
        said = "Accelerations (mm/sec^2): X: 900.0, Y: 900.0, Z: 100.0, E: 250.0"
        link = await acquainted(lambda peer: once(peer, "Acc", lambda reply: [said]))
        assert link.board.acceleration_mm_s2 == 500.0
        link.close()

    run_virtual(main)
