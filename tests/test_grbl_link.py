"""Does the Grbl link stream every line once, in order, journalled ahead, and claim only what is proven?"""

from __future__ import annotations

import asyncio
import math

import pytest
from grbl_link_helpers import Notes, differs, due_moves, layer, talk, virtually

from firmware_bridge.errors import LinkError


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
