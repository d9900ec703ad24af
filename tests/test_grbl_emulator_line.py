"""Are the emulated Grbl's serial side, its real-time bytes, its ring and its deafness those of the real board?"""

from __future__ import annotations

import asyncio

import pytest
from grbl_helpers import BENCH, Host, with_board
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.grbl_line import Ears, LineReader, ReceiveRing, pick_realtime
from hil_sim.world.wire import lay_virtual

# ---- pure parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept", "codes"),
    [
        (b"G9?0\n", b"G90\n", [(2, 0x3F)]),
        (b"(a!b~)", b"(ab)", [(2, 0x21), (3, 0x7E)]),
        (b"\x18", b"", [(0, 0x18)]),
        (b"G1\x90X\xffY\x84\n", b"G1XY\n", [(2, 0x90), (3, 0xFF), (4, 0x84)]),
        (b"G1 X1\r\n", b"G1 X1\r\n", []),
    ],
)
def test_realtime_bytes_are_picked_out_wherever_they_stand(sent, kept, codes) -> None:
    assert pick_realtime(sent) == (kept, codes)


@given(st.binary(max_size=300))
def test_what_is_picked_out_and_what_is_kept_is_all_there_was(data: bytes) -> None:
    kept, codes = pick_realtime(data)
    again = bytearray(kept)
    for at, code in reversed(codes):
        again.insert(at, code)
    assert bytes(again) == data and all(b < 0x80 and b not in b"\x18?!~" for b in kept)


def naive_lines(data: bytes) -> list[tuple[str, bool]]:
    """The slow twin of LineReader: byte by byte, as the firmware's loop is told."""
    lines, kept, comment, too_long = [], "", "", False
    for c in map(chr, data):
        if c in "\r\n":
            lines.append((kept, too_long))
            kept, comment, too_long = "", "", False
        elif comment or too_long:
            if c == ")" and comment == "(":
                comment = ""
        elif c <= " " or c == "/":
            pass
        elif c in "(;":
            comment = c
        elif len(kept) >= 79:
            too_long = True
        else:
            kept += c.upper()
    return lines


@settings(max_examples=300)
@given(st.lists(st.text("gG1x9 .()/;\r\n\t$=", max_size=120).map(str.encode), max_size=6))
def test_lines_are_read_alike_however_the_bytes_come(chunks: list[bytes]) -> None:
    reader, got = LineReader(), []
    for chunk in chunks:
        while chunk:
            line, chunk = reader.read(chunk)
            if line is None:
                break
            got.append((line.text, line.too_long))
    assert got == naive_lines(b"".join(chunks))


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=90), st.just(b"")), max_size=20))
def test_the_ring_holds_128_bytes_in_order_and_loses_the_newest(chunks: list[bytes]) -> None:
    ring, held, lost = ReceiveRing(128), b"", 0
    for chunk in chunks:
        if not chunk:
            assert ring.take() == held
            held = b""
            continue
        ring.put(chunk)
        room = 128 - len(held)
        held, lost = held + chunk[:room], lost + max(0, len(chunk) - room)
        assert (len(ring), ring.free, ring.lost) == (len(held), 128 - len(held), lost)


def test_a_deaf_receiver_holds_two_bytes() -> None:
    ears = Ears(1e-3)
    ears.deafen(1.0, 0.010)
    # sixteen bytes, one a millisecond, the last of them at 1.0125 s
    # (the first at 0.9975): three before, two held, eight lost, three after
    assert ears.heard(bytes(range(16)), 1.0125) == bytes([0, 1, 2, 3, 4, 13, 14, 15])
    assert ears.missed == 8


# ---- answers --------------------------------------------------------------------------------------------------------


def test_cr_and_lf_each_get_an_ok_and_so_does_an_empty_line() -> None:
    async def story(host: Host) -> None:
        host.send(b"G90\r\n")
        await asyncio.sleep(0.1)
        assert host.answers == ["ok", "ok"]
        host.send(b"\n\r(only a comment)\n ; and another\n")
        await asyncio.sleep(0.1)
        assert host.answers == ["ok"] * 6

    with_board(story)


def test_each_line_has_exactly_one_answer_and_real_time_bytes_have_none() -> None:
    async def story(host: Host) -> None:
        host.send(b"G9?0\nN5 G90*12\ng2", b"1 (a?b)\n" + b"X" * 90 + b"\n", b"?~\x90\xa5")
        await asyncio.sleep(0.1)
        assert host.answers == ["ok", "error:1", "ok", "error:11"]
        assert any(line.startswith("<Idle|") for line in host.lines)

    with_board(story)


@pytest.mark.parametrize(("length", "answer"), [(79, "ok"), (80, "error:11")])
def test_a_line_of_80_characters_is_too_long(length: int, answer: str) -> None:
    async def story(host: Host) -> None:
        line = "G1F100X0." + "0" * (length - 9)
        assert (await host.ask(line)) == [answer]
        assert (await host.ask(" ".join(line[:9]) + line[9:] + "  (comment)"))[-1] == answer, (
            "blanks and comments do not count"
        )
        assert (await host.ask("G90")) == ["ok"], "the next line is whole again"

    with_board(story)


def test_nothing_answers_at_once() -> None:
    async def story(host: Host) -> None:
        host.send("G90")
        assert not host.lines
        await asyncio.sleep(0.01)
        assert host.replies[0][0] == pytest.approx(9e-4)

    with_board(story)


def test_ok_is_withheld_while_the_planner_is_full() -> None:
    async def story(host: Host) -> None:
        await host.ask("$10=3")
        await host.feed(*(f"G1 X{i + 1} F60" for i in range(16)))
        await asyncio.sleep(0.5)
        # one is in work (1 s each), 14 wait behind it, and the 16th line is not answered
        assert host.answers == ["ok"] * 16 and "|Bf:0,128|" in await host.status()
        await asyncio.sleep(0.40)
        assert len(host.answers) == 16
        await asyncio.sleep(0.2)
        # its room is there when the last segment of the first block is made, 50 ms before that block ends
        assert len(host.answers) == 17
        block_end_s = host.runs[0].t1_s if not host.runs[1].joins else host.runs[1].t1_s
        assert host.replies[-1][0] == pytest.approx(block_end_s - 0.05, abs=2e-3)

    with_board(story)


def test_behind_a_full_planner_128_bytes_wait_and_the_rest_is_lost_without_a_word() -> None:
    async def story(host: Host) -> None:
        await host.ask("$10=3")
        await host.feed(*(f"G1 X{i + 1} F60" for i in range(16)))
        await asyncio.sleep(0.2)
        lines = b"".join(b"G1 X%d F6000\n" % i for i in range(20, 40))
        for i in range(0, len(lines), 8):
            host.send(lines[i : i + 8])
            await asyncio.sleep(0.0007)
        assert host.board.dropped_bytes == len(lines) - 128
        assert "|Bf:0,0|" in await host.status()
        await asyncio.sleep(60)
        host.send(b"\n")
        await asyncio.sleep(1)
        assert len(host.answers) == 1 + 16 + lines[:128].count(b"\n") + 1
        # the cut line, ended by the next line's end, is executed as it stands: F600 instead of F6000
        assert lines[:128].endswith(b"F600") and host.runs[-1].move.nominal_mm_s == 10.0

    with_board(story)


def test_real_time_bytes_are_heard_through_a_full_ring() -> None:
    async def story(host: Host) -> None:
        await host.feed(*(f"G1 X{i + 1} F60" for i in range(16)))
        await asyncio.sleep(0.2)
        host.send(b"G1 X50\n" * 30)
        assert host.board.dropped_bytes > 0
        host.send(b"!")
        await asyncio.sleep(0.2)
        assert (await host.status()).startswith("<Hold:0|")

    with_board(story)


def test_bytes_that_come_while_the_eeprom_is_written_are_lost() -> None:
    async def story(host: Host) -> None:
        host.send("$110=1234.5")
        await asyncio.sleep(0.003)
        host.send(b"G90\nG91\n?")
        await asyncio.sleep(0.5)
        # two bytes are in the receiver itself: what is left is half a word, and its end is another line's
        assert host.answers == ["ok"] and host.board.deaf_bytes == 7
        assert not any(line.startswith("<") for line in host.lines)
        host.send(b"0\n")
        await asyncio.sleep(0.1)
        assert host.answers == ["ok", "ok"]
        ok_s = host.replies[0][0]
        assert ok_s > 0.012, "3.4 ms for each byte that changes, and the checksum"

    with_board(story)


def test_writing_what_is_there_already_makes_nobody_deaf() -> None:
    async def story(host: Host) -> None:
        host.send("$110=6000")
        await asyncio.sleep(0.0012)
        host.send("G90")
        await asyncio.sleep(0.1)
        assert host.answers == ["ok", "ok"] and host.board.deaf_bytes == 0

    with_board(story)


def test_two_queries_before_the_report_give_one() -> None:
    async def story(host: Host) -> None:
        host.send(b"???")
        await asyncio.sleep(0.1)
        assert len([line for line in host.lines if line.startswith("<")]) == 1

    with_board(story)


def test_a_full_send_buffer_holds_up_the_next_line() -> None:
    async def story(host: Host) -> None:
        host.send("$$", "G90")
        await asyncio.sleep(1)
        times = [t for t, line in host.replies if line == "ok"]
        printed = sum(len(line) + 2 for line in host.lines[:-1])
        assert times[1] - times[0] == pytest.approx((printed - 104) * 10 / 115200, abs=2e-3)

    with_board(story)


def test_lines_over_a_paced_wire_come_no_faster_than_the_wire() -> None:
    """Facts: in check mode the real one took 463 lines/s with send-response, 846 with character counting."""

    async def main(loop):
        host = Host(loop)
        wire = await lay_virtual("motion", host.board, baud=115200)
        got = bytearray()

        class Receiver:
            def data_received(self, data: bytes) -> None:
                got.extend(data)

            def connection_lost(self, error) -> None:
                pass

        end = wire.connect(Receiver())
        end.write(b"$C\n")
        await asyncio.sleep(1)
        line, start_s, n = b"G1X1.2F1000\n", loop.time(), 300
        for i in range(n):
            end.write(line)
            wanted = 2 + i
            while got.count(b"ok\r\n") < wanted:
                await asyncio.sleep(1e-4)
        rate = n / (loop.time() - start_s)
        assert 370 < rate < 550
        wire.close()

    run_virtual(main)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=60), st.floats(0.0, 0.3)), max_size=12))
def test_no_bytes_break_the_board(chunks) -> None:
    """Whatever arrives, a reset and an unlock bring the prompt back."""

    async def story(host: Host) -> None:
        for data, pause_s in chunks:
            host.send(data)
            await asyncio.sleep(pause_s)
        await asyncio.sleep(1.0)
        reset = await host.soft_reset()
        if "Grbl 1.1h ['$' for help]" not in reset:  # within the pause of an alarm a reset is not heard
            reset = await host.soft_reset()
        assert "Grbl 1.1h ['$' for help]" in reset
        await host.ask("$X")
        assert (await host.status()).startswith("<Idle|")

    with_board(story, settings=BENCH)


WORDS = """
G0 G1 G2 G3 G4 G10 G17 G18 G19 G20 G21 G28 G28.1 G30 G38.2 G38.3 G43.1 G49 G53 G54 G55 G61 G80 G90 G91 G91.1 G92 G92.1
G93 G94 M0 M2 M3 M4 M5 M8 M9 X1 X-2 Y3 Y0.5 Z1 I1 J2 K1 R5 R-3 F600 F0 S500 S0 P1 P0.1 L2 L20 N7 T1 A1 P9 G99 X1e9
X99999999999999999999 N99999999 $H $X $C $J=X1F100 $G $# $$ $110=0 $100=0 $11=0 $12=0 $120=0 $20=1 $22=1 $21=1 $32=1
$SLP $N0=G1X1F100 $RST=* ! ~ ?
"""
words = st.sampled_from([*WORDS.split(), "\x18", *["\n"] * 12])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(words, st.floats(0.0, 0.05)), max_size=40))
def test_no_program_breaks_the_board(program) -> None:
    async def story(host: Host) -> None:
        for word, pause_s in program:
            host.send(word.encode() + (b"\n" if word.startswith("$") else b""))
            await asyncio.sleep(pause_s)
        host.send(b"\n")
        await asyncio.sleep(3.0)
        host.settle()
        reset = await host.soft_reset()
        assert "Grbl 1.1h ['$' for help]" in reset

    with_board(story, settings=BENCH)


harmless = st.sampled_from(
    ["", "G90", "g1x1f600", "G1 X5 (to the right) F6000", "G5", "$G", "$$", "$110=500", "X", "M3S10", "; nothing", "$#",
     "G4P0.1", "G2X1Y1R1F900", "$J=X1F100", "G91", "G28.1", "G10L20P1X0", "Z" * 85, "M30", "G92X0", "$X", "$I", "G55"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(harmless, st.sampled_from(["\n", "\r", "\r\n"]), st.booleans()), max_size=25))
def test_every_line_end_gets_one_answer_in_order(lines) -> None:
    """As long as a host waits for its answers, whatever the lines are; real-time bytes among them change nothing."""

    async def story(host: Host) -> None:
        ends = 0
        for text, end, noisy in lines:
            ends += len(end)
            half = len(text) // 2
            sent = text[:half].encode() + (b"?\x9b\xf0~" if noisy else b"") + (text[half:] + end).encode()
            await asyncio.sleep(len(sent) * 10 / 115200)
            host.send(sent)
            await host.until(lambda due=ends: len(host.answers) >= due, within_s=60)
        await asyncio.sleep(5)
        assert len(host.answers) == ends == host.board.lines_done

    with_board(story)
