"""Does a packet-serial link ever hand over what a board did not say, or wait for one that says nothing?"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roboclaw_helpers import TICKS, crc, linked, make_line, motor, noise

from firmware_bridge.errors import FrameError, LinkTainted, LinkTimeout, Rejected, TransportError
from firmware_bridge.links.roboclaw import PAUSE_S, RoboClawLink
from firmware_bridge.links.roboclaw_frames import ADDRESSES, Deframer, ask_read, ask_text, ask_write, crc16, frame
from firmware_bridge.transport import Transport
from hil_sim.virtual_run import run_virtual
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.wire import lay_pty

BATTERY, COUNTERS, SPEEDS = 24, 78, 37
addresses = st.sampled_from(ADDRESSES)
commands = st.integers(0, 255)


# ---- framing --------------------------------------------------------------------------------------------------------


def test_the_golden_frames_are_written_and_read_bit_by_bit() -> None:
    assert frame(ask_write(0x80, 0, bytes((64,)))) == bytes.fromhex("80 00 40 73 9E")
    question = ask_read(0x80, 0x18, 2)
    assert frame(question) == bytes.fromhex("80 18")
    assert Deframer().feed(question, bytes.fromhex("00 F0 D8 E5")) == bytes.fromhex("00 F0")


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_the_crc_is_that_of_the_manuals_loop_and_can_be_continued(head: bytes, tail: bytes) -> None:
    assert crc16(head + tail).to_bytes(2, "big") == crc(head + tail)
    assert crc16(tail, crc16(head)) == crc16(head + tail)


@given(addresses, commands, st.binary(min_size=1, max_size=64), st.lists(st.integers(1, 9), max_size=20))
def test_a_reply_cut_anywhere_is_put_together(address: int, command: int, body: bytes, cuts: list[int]) -> None:
    raw = body + crc(bytes((address, command)) + body)
    question, deframer, at = ask_read(address, command, len(body)), Deframer(), 0
    found = []
    for size in [*cuts, len(raw)]:
        piece, at = raw[at : at + size], at + size
        if piece:
            found.append(deframer.feed(question, piece))
    assert [reply for reply in found if reply is not None] == [body] and not deframer.rest
    assert all(reply is None for reply in found[:-1])


@given(addresses, commands, st.binary(min_size=1, max_size=12), st.data())
def test_three_wrong_bits_or_a_wrong_command_are_always_seen(
    address: int, command: int, body: bytes, data: st.DataObject
) -> None:
    raw = bytearray(body + crc(bytes((address, command)) + body))
    flips = data.draw(st.sets(st.integers(0, 8 * len(raw) - 1), min_size=1, max_size=3))
    for bit in flips:
        raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FrameError):
        Deframer().feed(ask_read(address, command, len(body)), bytes(raw))
    other = data.draw(commands.filter(lambda other: other != command))
    with pytest.raises(FrameError):
        Deframer().feed(ask_read(address, other, len(body)), body + crc(bytes((address, command)) + body))


def test_a_version_text_ends_where_it_says() -> None:
    body = b"USB Roboclaw 2x15a v4.2.4\n\0"
    question = ask_text(0x81, 21)
    raw = body + crc(b"\x81\x15" + body)
    deframer = Deframer()
    assert all(deframer.feed(question, raw[i : i + 1]) is None for i in range(len(raw) - 1))
    assert deframer.feed(question, raw[-1:]) == body
    with pytest.raises(FrameError, match="without an end"):
        Deframer().feed(question, b"x" * 50)


@pytest.mark.parametrize("call", [(0x7F, 24, 2), (0x88, 24, 2), (0x80, 256, 2), (0x80, 24, 0)])
def test_what_is_no_packet_is_our_bug(call: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError):
        ask_read(*call)


# ---- conversations over the emulated line ---------------------------------------------------------------------------


def test_boards_share_a_line_and_answer_for_themselves() -> None:
    async def main(loop):
        line = make_line(0x80, 0x87)
        async with linked(line) as link:
            await link.write(0x80, 22, struct.pack(">i", 1111))
            await link.write(0x87, 22, struct.pack(">i", -7))
            assert await link.read(0x80, COUNTERS, 8) == struct.pack(">ii", 1111, 0)
            assert await link.read(0x87, COUNTERS, 8) == struct.pack(">ii", -7, 0)
            assert (await link.read_text(0x80, 21)).startswith("USB Roboclaw")
            assert link.counters.sent == link.counters.ok == 5 and not link.counters.drains

    run_virtual(main)


def test_a_damaged_packet_costs_a_pause_of_more_than_ten_milliseconds_and_is_sent_again() -> None:
    async def main(loop):
        faults = FaultSchedule((Fault("flip", "wheels.to_device", at_chunk=1, args={"byte": 3}),))  # type: ignore[arg-type]
        line = make_line(0x80)
        sent: list[float] = []

        def tap(t_s: float, point: str, data: bytes) -> None:
            if point == "wheels.to_device":
                sent.append(t_s)

        async with linked(line, faults=faults, tap=tap) as link:
            await link.read(0x80, BATTERY, 2)
            await link.write(0x80, SPEEDS, struct.pack(">ii", 500, 500))
            assert link.counters.retries == 1 and line.counters.bad_crc == 1
            assert motor(line, 0x80).calls[-1][1:] == ("speed", (500 / 571.66, pytest.approx(655360 / 571.66)))
            assert len(sent) == 4 and sent[2] - sent[1] > 0.010  # a read, the write, a marker, the write again

    run_virtual(main)


def test_an_acknowledgement_that_is_none_is_not_taken_for_one() -> None:
    async def main(loop):
        faults = FaultSchedule((Fault("flip", "wheels.to_host", at_chunk=0, args={"bit": 4}),))  # type: ignore[arg-type]
        line = make_line(0x80)
        async with linked(line, faults=faults) as link:
            with pytest.raises(FrameError, match="ef instead of ff"):
                await link.write(0x80, SPEEDS, bytes(8), retries=0)
            await link.write(0x80, SPEEDS, bytes(8))
            assert link.counters.frame_errors == 1 and line.counters.packets == 3 and link.counters.markers == 1

    run_virtual(main)


def test_a_byte_that_is_lost_does_not_take_the_next_packet_with_it() -> None:
    async def main(loop):
        faults = FaultSchedule((Fault("drop", "wheels.to_device", at_chunk=4),))
        line = make_line(0x80, chunk_bytes=1)
        async with linked(line, faults=faults) as link:
            await link.write(0x80, SPEEDS, struct.pack(">ii", 500, -500))
            assert line.counters.gaps == 1 and line.counters.bad_crc == 0 and link.counters.retries == 1
            assert await link.read(0x80, BATTERY, 2) == b"\x00\x78"

    run_virtual(main)


def test_a_move_by_a_distance_is_never_repeated() -> None:
    async def main(loop):
        faults = FaultSchedule((Fault("drop", "wheels.to_host", at_chunk=0),))  # its acknowledgement is lost
        line = make_line(0x80)
        async with linked(line, faults=faults) as link:
            with pytest.raises(ValueError, match="never repeated"):
                await link.write(0x80, 41, struct.pack(">iIB", 100, 50, 1))
            with pytest.raises(LinkTimeout):
                await link.write(0x80, 41, struct.pack(">iIB", 100, 50, 1), retries=0)
            assert link.counters.sent == 1 and line.counters.packets == 1

    run_virtual(main)


@pytest.mark.parametrize("chunk_bytes, seed", [(1, 1), (1, 2), (256, 3), (4, 4)])
def test_thousands_of_exchanges_on_a_line_that_flips_and_drops_one_percent_bring_no_wrong_value(
    chunk_bytes: int, seed: int
) -> None:
    """1 % of the bytes (of the chunks, where they are longer) flipped and 1 % dropped, each way, all seeded."""

    async def main(loop):
        line = make_line(0x80, 0x81, 0x85, chunk_bytes=chunk_bytes)
        truth = {}
        for address, board in line.boards.items():
            truth[address, COUNTERS] = struct.pack(">ii", address * 1000, -address)
            for channel, ticks in zip(board.channels, (address * 1000, -address), strict=True):
                channel.set_ticks(ticks, 0.0)
            board.volts = lambda t_s, volts=address / 10: volts  # type: ignore[misc]
            truth[address, BATTERY] = struct.pack(">H", address)
            truth[address, 15] = bytes((address - 0x80,))
            board.settings.timeout_steps = address - 0x80
        wrong, failed, done = 0, 0, 0
        async with linked(line, faults=noise(seed)) as link:
            for _ in range(280):
                for (address, command), value in truth.items():
                    try:
                        wrong += await link.read(address, command, len(value)) != value
                        done += 1
                    except (LinkTimeout, FrameError):
                        failed += 1
            assert link.counters.frame_errors > 20 and link.counters.timeouts > 20
        assert wrong == 0
        return done, failed

    done, failed = run_virtual(main, seed=seed)
    assert done + failed == 2520 and failed <= 25, failed


@pytest.mark.parametrize("kind", ["duplicate", "insert"])
def test_answers_that_come_twice_or_after_noise_are_never_taken_for_others(kind: str) -> None:
    async def main(loop):
        args = {"duplicate": {}, "insert": {"hex": "ff"}}[kind]
        struck = [Fault(kind, "wheels.to_host", at_chunk=n, args=args) for n in range(20, 400, 3)]  # type: ignore[arg-type]
        faults = FaultSchedule(tuple(struck))
        line = make_line(0x80, 0x81)
        for address, board in line.boards.items():
            board.channels[0].set_ticks(address, 0.0)
        wrong = 0
        async with linked(line, faults=faults) as link:
            for _ in range(150):
                for address in (0x80, 0x81):
                    raw = await link.read(address, COUNTERS, 8)
                    wrong += struct.unpack(">ii", raw)[0] != address
            assert link.counters.drains > 30
            assert (link.counters.unsolicited_bytes > 0) == (kind != "insert")
        assert wrong == 0

    run_virtual(main)


@pytest.mark.parametrize("delay_s", [0.009, 0.02, 0.045, 0.07, 0.12, 0.5])
def test_a_late_answer_is_never_taken_for_a_fresh_one(delay_s: float) -> None:
    """The wheel turns all the time, so an older answer to the same question is another number."""

    async def main(loop):
        late = [Fault("delay", "wheels.to_host", at_chunk=n, args={"delay_s": delay_s}) for n in range(60, 400, 20)]  # type: ignore[arg-type]
        line = make_line(0x80)
        async with linked(line, faults=FaultSchedule(tuple(late))) as link:
            await link.write(0x80, SPEEDS, struct.pack(">ii", 1800, 1800))
            truth = motor(line, 0x80)
            answered, failed = 0, 0
            for _ in range(300):
                await asyncio.sleep(0.02)
                asked_s = loop.time()
                try:
                    ticks, _ = struct.unpack(">ii", await link.read(0x80, COUNTERS, 8))
                except (LinkTimeout, FrameError):
                    failed += 1
                    continue
                answered += 1
                newest = truth.angle_rad(loop.time()) * TICKS
                oldest = newest - 1800 * (loop.time() - asked_s)
                assert oldest - 1 <= ticks <= newest + 1, (asked_s, loop.time())
            assert answered > 100 and (link.counters.markers > 0 or delay_s < 0.01), (answered, failed)

    run_virtual(main)


def test_a_late_acknowledgement_is_never_taken_for_the_next_ones() -> None:
    """The first write's 0xFF comes when the second, which the line loses, waits for its own."""

    async def main(loop):
        for delay_s in (0.01, 0.02, 0.03, 0.06, 0.1):
            faults = (
                Fault("delay", "wheels.to_host", at_chunk=4, args={"delay_s": delay_s}),  # type: ignore[arg-type]
                Fault("drop", "wheels.to_device", at_chunk=5),
            )
            line = make_line(0x80)
            async with linked(line, faults=FaultSchedule(faults)) as link:
                for _ in range(4):
                    await link.read(0x80, BATTERY, 2)
                with contextlib.suppress(LinkTimeout, FrameError):
                    await link.write(0x80, SPEEDS, struct.pack(">ii", 100, 100), retries=0)
                is_told = True
                try:
                    await link.write(0x80, SPEEDS, struct.pack(">ii", 200, 200), retries=0)
                except (LinkTimeout, FrameError):
                    is_told = False
                await asyncio.sleep(0.2)
                assert not is_told or motor(line, 0x80).calls[-1][2][0] == pytest.approx(200 / TICKS), delay_s

    run_virtual(main)


def test_a_stop_does_not_wait_for_a_board_in_doubt() -> None:
    async def main(loop):
        line = make_line(0x80)
        asked: list[int] = []

        def tap(t_s: float, point: str, data: bytes) -> None:
            if point == "wheels.to_device":
                asked.append(data[1])

        async with linked(
            line, faults=FaultSchedule((Fault("drop", "wheels.to_device", at_chunk=1),)), tap=tap
        ) as link:
            await link.read(0x80, BATTERY, 2)
            with pytest.raises(LinkTimeout):
                await link.read(0x80, COUNTERS, 8, retries=0)
            await link.write(0x80, 34, bytes(4), urgent=True)
            await link.write(0x80, SPEEDS, bytes(8))
            assert asked == [BATTERY, 34, 15, SPEEDS]  # the lost one was never heard

    run_virtual(main)


def test_a_dead_board_is_known_within_half_a_second_and_does_not_slow_the_others() -> None:
    async def main(loop):
        line = make_line(0x80, 0x81, 0x82)
        async with linked(line) as link:
            for _ in range(200):  # the link learns how fast replies are
                await link.read(0x80, BATTERY, 2)
            line.boards[0x81].die(loop.time())
            died_s = loop.time()
            with pytest.raises(LinkTimeout, match="did not answer command 24"):
                await link.read(0x81, BATTERY, 2)
            assert link.silent_since_s(0x81) is not None and loop.time() - died_s < 0.1
            began_s, answers = loop.time(), 0
            while loop.time() - began_s < 10.0:
                for address in (0x80, 0x81, 0x82):
                    try:
                        await link.read(address, BATTERY, 2)
                        answers += 1
                    except LinkTimeout as error:
                        assert "silent" in str(error) or "did not answer" in str(error)
            exchange_s = 8 * 10 / 115200 + 0.0014  # bytes, the board's 1 ms, the wire both ways
            assert answers > 0.95 * 10.0 / exchange_s
            line.boards[0x81].revive(loop.time())
            await asyncio.sleep(2.0)
            await link.read(0x81, BATTERY, 2)
            assert link.silent_since_s(0x81) is None

    run_virtual(main)


def test_writes_to_a_silent_board_are_not_sent_but_for_a_stop() -> None:
    async def main(loop):
        line = make_line(0x80)
        async with linked(line, timeout_s=0.02) as link:
            line.boards[0x80].die(loop.time())
            with pytest.raises(LinkTimeout):
                await link.read(0x80, BATTERY, 2)
            sent = link.counters.sent
            with pytest.raises(LinkTimeout, match="silent"):
                await link.write(0x80, SPEEDS, struct.pack(">ii", 500, 500))
            await asyncio.sleep(3.0)  # time to look whether it is back: but a read does that
            with pytest.raises(LinkTimeout, match="silent"):
                await link.write(0x80, SPEEDS, struct.pack(">ii", 500, 500))
            assert link.counters.sent == sent and link.counters.skipped == 2
            with pytest.raises(LinkTimeout, match="did not answer"):
                await link.write(0x80, 34, bytes(4), urgent=True)
            assert link.counters.sent == sent + 1

    run_virtual(main)


def test_a_stop_goes_before_all_that_waits_and_what_it_overtakes_is_not_sent() -> None:
    async def main(loop):
        line = make_line(0x80, 0x81)
        heard: list[tuple[int, int]] = []

        def tap(t_s: float, point: str, data: bytes) -> None:
            if point == "wheels.to_device":
                heard.append((data[0], data[1]))

        async with linked(line, tap=tap) as link:
            await link.read(0x80, BATTERY, 2)
            is_stopped = False
            reads = [asyncio.ensure_future(link.read(0x80, COUNTERS, 8)) for _ in range(5)]
            drive = asyncio.ensure_future(
                link.write(0x80, SPEEDS, bytes(8), unless=lambda: "a stop came" if is_stopped else None)
            )
            await asyncio.sleep(0)
            is_stopped = True
            await link.write(0x81, 34, bytes(4), urgent=True)
            with pytest.raises(Rejected, match="a stop came"):
                await drive
            await asyncio.gather(*reads)
            asked = [question for question in heard[1:] if question != (0x80, 15)]  # markers between repeated reads
            assert asked == [(0x80, COUNTERS), (0x81, 34)] + [(0x80, COUNTERS)] * 4
            assert link.counters.refused == 1

    run_virtual(main)


def test_a_caller_that_gives_up_leaves_the_line_in_order() -> None:
    async def main(loop):
        line = make_line(0x80)
        async with linked(line) as link:
            await link.read(0x80, BATTERY, 2)
            task = asyncio.ensure_future(link.read(0x80, COUNTERS, 8))
            await asyncio.sleep(0.0005)
            task.cancel()
            assert await link.read(0x80, BATTERY, 2) == b"\x00\x78"
            assert link.counters.cancelled == 1 and link.counters.ok == 3

    run_virtual(main)


class Babbler(Transport):
    """Nothing is heard of what is sent, and something always comes."""

    def __init__(self, link: RoboClawLink) -> None:
        super().__init__("fake:babble", link, 10 / 115200)
        self.sent: list[bytes] = []
        link.attach(self)

    def _send(self, data: bytes) -> None:
        self.sent.append(data)

    def _waiting_bytes(self) -> int:
        return 0

    def _release(self) -> None:
        pass

    def lose(self) -> None:
        self._finish(TransportError("fake:babble is gone"))


def test_a_line_that_never_falls_quiet_is_named_and_nothing_is_sent_on_it() -> None:
    async def main(loop):
        link = RoboClawLink()
        babbler = Babbler(link)

        def babble() -> None:
            link.data_received(b"\xff")
            loop.call_later(0.5 * PAUSE_S, babble)

        babble()
        with pytest.raises(LinkTainted, match="second host or a babbling device"):
            await link.read(0x80, BATTERY, 2)
        assert babbler.sent == [] and link.is_tainted

    run_virtual(main)


def test_a_stop_is_sent_on_a_line_that_never_falls_quiet() -> None:
    """What a board needs is 10 ms without a byte of ours; what comes does not keep the stop from going."""

    async def main(loop):
        link = RoboClawLink()
        babbler = Babbler(link)

        def babble() -> None:
            link.data_received(b"\x11")
            loop.call_later(0.3 * PAUSE_S, babble)

        babble()
        asking = asyncio.ensure_future(link.read(0x80, BATTERY, 2))
        await asyncio.sleep(1.0)
        assert babbler.sent == []
        stop, began_s = ask_write(0x80, 54, struct.pack(">hIhI", 0, 327670, 0, 327670)), loop.time()
        with pytest.raises(FrameError, match="instead of ff"):
            await link.write(0x80, 54, stop.data, retries=3, urgent=True)
        assert babbler.sent == [frame(stop)] * 4 and loop.time() - began_s < 4 * 2 * PAUSE_S
        with pytest.raises(LinkTainted):
            await asking

    run_virtual(main)


def test_a_stop_waits_for_the_exchange_under_way_and_no_longer_whatever_the_line_is_like() -> None:
    """The bound: the longest question and answer, the wait for it, and 10 ms for a board that lost a byte."""

    async def main(loop):
        for dies in (False, True):
            line = make_line(0x80, 0x81)
            gone: list[float] = []

            def tap(t_s: float, point: str, data: bytes, gone: list[float] = gone) -> None:
                if point == "wheels.to_device" and data[1:2] == b"\x22":
                    gone.append(t_s)

            async with linked(line, tap=tap) as link:
                for _ in range(100):
                    await link.read(0x80, BATTERY, 2)
                if dies:
                    line.boards[0x81].die(loop.time())
                worst_s = 0.0
                for n in range(60):
                    reads = [asyncio.ensure_future(link.read(0x80 + i % 2, COUNTERS, 8)) for i in range(20)]
                    await asyncio.sleep(0.0007 * n)
                    began_s = loop.time()
                    await link.write(0x80, 34, bytes(4), urgent=True)
                    worst_s = max(worst_s, gone[-1] - began_s)
                    await asyncio.gather(*reads, return_exceptions=True)
                frame_s = 9 * 10 / 115200 + 0.0002  # the tap hears it when its last byte has come
                assert worst_s - frame_s <= (link.wait_s + PAUSE_S + 0.0015 if dies else 0.0035), worst_s

    run_virtual(main)


def test_a_board_that_may_hold_half_a_packet_of_somebody_before_us_gets_its_silence_first() -> None:
    async def main(loop):
        link = RoboClawLink()
        babbler = Babbler(link)
        asking = asyncio.ensure_future(link.read(0x80, BATTERY, 2, retries=0))
        await asyncio.sleep(0.0099)
        assert babbler.sent == []
        with pytest.raises(LinkTimeout):
            await asking
        assert babbler.sent == [b"\x80\x18"]

    run_virtual(main)


def test_whoever_waits_when_the_cable_is_pulled_is_told_so() -> None:
    async def main(loop):
        link = RoboClawLink()
        babbler = Babbler(link)
        waiting = [asyncio.ensure_future(link.read(0x80, BATTERY, 2)) for _ in range(3)]
        await asyncio.sleep(2 * PAUSE_S)
        babbler.lose()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, TransportError) for result in results) and not link.is_open
        with pytest.raises(TransportError, match="gone"):
            await link.read(0x80, BATTERY, 2)

    run_virtual(main)


def test_a_slow_adapter_is_waited_for_and_a_fast_line_is_not() -> None:
    async def main(loop):
        line = make_line(0x80)
        line.boards[0x80].reply_delay_s = 0.016  # what a USB adapter holds back
        async with linked(line) as link:
            for _ in range(300):
                await link.read(0x80, BATTERY, 2)
            assert link.counters.timeouts == 0 and link.wait_s == 0.05
            line.boards[0x80].reply_delay_s = 0.001
            for _ in range(300):
                await link.read(0x80, BATTERY, 2)
            assert link.wait_s < 0.01
            line.boards[0x80].reply_delay_s = 0.016  # and again: late answers teach it
            values = [await link.read(0x80, BATTERY, 2) for _ in range(50)]
            assert set(values) == {b"\x00\x78"} and 0 < link.counters.timeouts < 10

    run_virtual(main)


# ---- a real terminal line, in real time -----------------------------------------------------------------------------


@pytest.mark.real_time
def test_the_same_link_speaks_over_a_pty(tmp_path: Path) -> None:
    async def main() -> None:
        line = make_line(0x80, 0x81)
        wire = await lay_pty(tmp_path, "wheels", line, baud=115200)
        link = await RoboClawLink.open(wire.url)
        try:
            assert (await link.read_text(0x81, 21)).startswith("USB Roboclaw")
            await link.write(0x80, 14, b"\x02")
            assert await link.read(0x80, 15, 1) == b"\x02"
            await link.write(0x80, SPEEDS, struct.pack(">ii", 500, -500))
            for _ in range(20):
                assert await link.read(0x81, BATTERY, 2) == b"\x00\x78"
        finally:
            link.close()
        async with asyncio.timeout(5.0):  # the host has left: the board's own dead-man
            while not line.boards[0x80].stopped_by_timeout:
                await asyncio.sleep(0.02)
        wire.close()
        assert motor(line, 0x80).calls[-1][1:] == ("duty", (0.0,))

    asyncio.run(main())
