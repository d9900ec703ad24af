"""Does the Grbl link connect only to a controller that suits, stream every line once, and stop as it is told?"""

from __future__ import annotations

import asyncio
import math

import pytest
from grbl_link_helpers import (
    FakeGrbl,
    Notes,
    differs,
    due_moves,
    layer,
    talk,
    virtually,
)

from firmware_bridge.errors import (
    BridgeError,
    DeviceHalted,
    LinkError,
    LinkTimeout,
    NotReady,
    Rejected,
    TransportError,
    Unverified,
    WrongModel,
)
from firmware_bridge.links.grbl import Expected, GrblLink
from firmware_bridge.links.grbl_lines import State

# -- connecting -----------------------------------------------------------------------------------------------------


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


# -- streaming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("byte_time_s", [0.0, 10 / 115200])
def test_every_line_once_in_order_journalled_ahead_and_proven(numbers: bool, byte_time_s: float) -> None:
    async def main() -> None:
        link, peer = await talk(numbers=numbers, byte_time_s=byte_time_s)
        notes, plan = Notes(0.003), layer(12, contour=70)
        assert await link.stream(plan, notes) == len(plan)
        assert differs(peer.done, due_moves(plan)) == ""
        assert notes.acks == list(range(len(plan)))
        assert notes.groups[0] == (0, 15) and notes.groups[-1][1] == len(plan) - 1
        assert peer.overflowed == 0 and peer.most_in_buffer <= 127
        assert link.counters.doubts == 0
        assert peer.parser.spindle == "M5"

    virtually(main)


def test_the_receive_buffer_is_used_and_a_line_is_never_sent_before_it_is_journalled() -> None:
    async def main() -> None:
        link, peer = await talk()
        notes, plan = Notes(0.02), layer(0, contour=120)
        seen: list[bool] = []

        def check(data: bytes) -> bytes:
            if data.startswith(b"N"):
                seen.append(link.counters.lines - 2 <= (notes.groups[-1][1] if notes.groups else -1))
            return data

        peer.mangle = check
        await link.stream(plan, notes)
        assert peer.most_in_buffer > 90
        assert len(seen) > 100 and all(seen)

    virtually(main)


def test_no_carriage_return_no_space_and_no_long_line_is_sent() -> None:
    async def main() -> None:
        link, peer = await talk()
        await link.stream(layer(4, contour=12), Notes())
        data = b"".join(peer.written)
        assert b"\r" not in data and b" " not in data and b"\n\n" not in data
        assert max(map(len, data.replace(b"?", b"").split(b"\n"))) <= 79

    virtually(main)


def test_reports_are_asked_for_between_lines_5_to_20_times_a_second() -> None:
    async def main() -> None:
        link, peer = await talk()
        began_s = asyncio.get_running_loop().time()
        before = link.counters.reports
        await link.stream(layer(20), Notes())
        rate = (link.counters.reports - before) / (asyncio.get_running_loop().time() - began_s)
        assert 5 <= rate <= 20  # 8 while it streams, 20 while the end is waited for: Grbl's manual advises no more
        for chunk, following in zip(peer.written, peer.written[1:]):
            if following == b"?":
                assert chunk.endswith((b"\n", b"?"))

    virtually(main)


def test_a_wait_is_counted_by_the_host_at_rest_and_dark() -> None:
    async def main() -> None:
        link, peer = await talk()
        plan = [b"M4 S0", b"G0 X5.000 Y5.000", b"G4 P2.5", b"G1 X9.000 Y5.000 F3000 S1000", b"M5"]
        loop = asyncio.get_running_loop()
        times: dict[str, float] = {}

        def watch(data: bytes) -> bytes:
            if b"X5Y5" in data:
                times["stands"] = loop.time() + math.dist((0, 0), (5, 5)) / 100
            if b"F3000" in data:
                times["goes on"] = loop.time()
                assert peer.state == "Idle" and len(peer.done) == 1
            return data

        peer.mangle = watch
        await link.stream(plan, Notes())
        assert differs(peer.done, due_moves(plan)) == ""
        assert not any("G4" in line for line in peer.received)
        assert 2.5 <= times["goes on"] - times["stands"] < 2.7

    virtually(main)


def test_a_line_is_claimed_only_when_it_is_proven() -> None:
    async def main() -> None:
        link, peer = await talk()
        notes = Notes()
        states = 0

        def from_the_third_on_none(reply: str) -> list[bytes]:
            nonlocal states
            states += reply.startswith("[GC:")
            return [] if reply.startswith("[GC:") and states > 4 else [reply.encode() + b"\r\n"]

        peer.on_reply = from_the_third_on_none
        with pytest.raises(LinkError, match=r"cannot be proven|too noisy"):
            await link.stream(layer(6), notes)
        assert len(peer.done) >= 2  # more was done than is claimed
        assert notes.acks == [0, 1]  # M4 and the first jump: the state was seen before, behind M4, behind the jump

    virtually(main)


def test_a_cancelled_stream_ends_at_rest_and_says_how_far_it_came() -> None:
    async def main() -> None:
        link, peer = await talk()
        notes, plan = Notes(), layer(40)
        taken = await link.stream(plan, notes, cancelled=lambda: len(notes.acks) > 20)
        assert 20 < taken < len(plan)
        assert differs(peer.done, due_moves(plan[:taken])) == ""
        assert notes.acks == list(range(taken))
        assert peer.state == "Idle"
        assert await link.stream(plan[:5], Notes()) == 5  # and is usable

    virtually(main)


def test_two_streams_at_once_are_refused() -> None:
    async def main() -> None:
        link, _ = await talk()
        task = asyncio.ensure_future(link.stream(layer(10), Notes()))
        await asyncio.sleep(0.5)
        with pytest.raises(LinkError, match="streaming already"):
            await link.stream([b"G0 X1.000"], Notes())
        with pytest.raises(LinkError, match="streaming already"):
            await link.home()
        await task

    virtually(main)


def test_a_line_that_is_no_plan_stops_before_anything_of_its_group_is_sent() -> None:
    async def main() -> None:
        link, peer = await talk()
        with pytest.raises(LinkError, match=r"b'G28' is not sent"):
            await link.stream([b"G0 X1.000", b"G28"], Notes())
        assert not peer.done and link.error is None

    virtually(main)


def test_a_journal_that_fails_stops_the_machine_and_its_error_is_what_is_raised() -> None:
    class Full(Notes):
        def acked(self, index: int) -> None:
            if index > 30:
                raise OSError("no space left on device")
            super().acked(index)

    async def main() -> None:
        link, peer = await talk()
        with pytest.raises(OSError, match="no space"):
            await link.stream(layer(40), Full())
        assert peer.state == "Idle" and link.error is not None
        before = len(peer.done)
        await asyncio.sleep(5.0)
        assert len(peer.done) == before < 60

    virtually(main)


def test_streaming_keeps_a_115200_baud_line_busy() -> None:
    """Short moves, one after the other: the wire or the reading of lines is what limits, not the link."""

    async def main() -> None:
        link, _ = await talk(byte_time_s=10 / 115200)
        plan = [b"M4 S0"] + [b"G1 X%.3f Y%.3f F6000 S500" % (20 + i % 2 * 0.1, 20 + i * 0.02) for i in range(3000)]
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await link.stream(plan, Notes(0.002))
        assert 3000 / (loop.time() - began_s) > 500

    virtually(main)


# -- stopping -------------------------------------------------------------------------------------------------------


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


# -- homing, jogging, settings --------------------------------------------------------------------------------------


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
