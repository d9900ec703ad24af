"""Does each failure that users of other hosts report end here with every line executed once, or with a sentence?

The board is the emulated one with its real buffers; the truth is what its gantry did. `docs/failure-rows.md` has the
list of the reports.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marlin_cable import COUNT, LINES, POINTS, Change, Talk, nth, once, talking
from marlin_link_helpers import Notes, lines, talk

from firmware_bridge.devices.motion import MotionController
from firmware_bridge.errors import LinkError, LinkTimeout
from firmware_bridge.links.marlin_flight import HISTORY_LINES, RX_WINDOW_BYTES, Flight
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.marlin_firmware import MarlinBuild, full_build

BUILDS = pytest.mark.parametrize(
    "build", [MarlinBuild(advanced_ok=True), MarlinBuild(advanced_ok=False)], ids=["ADVANCED_OK", "plain ok"]
)


async def streamed(talk: Talk) -> None:
    """The layer, whole: every line taken, told of and executed once, in order, and none lost to a full buffer."""
    notes = Notes(0.0003)
    async with asyncio.timeout(300):
        assert await talk.link.stream(LINES, notes) == COUNT
        await talk.link.command(b"M400")
    assert talk.ends() == POINTS and notes.acks == list(range(COUNT))
    assert talk.board.dropped_bytes == 0


def damage(line: bytes) -> bytes:
    """A byte of the command, changed by one bit."""
    at = line.index(b"X") + 1
    return line[:at] + bytes((line[at] ^ 0x02,)) + line[at + 1 :]


# ---- the acknowledgement --------------------------------------------------------------------------------------------


FAULTS: dict[str, tuple[str, Callable[[], Change]]] = {  # which way, and what becomes of one line
    "a byte that is no UTF-8": ("to_host", lambda: nth(50, b"ok", lambda line: b"\xff" + line)),
    "a lost ok": ("to_host", lambda: nth(50, b"ok", lambda line: b"")),
    "a doubled ok": ("to_host", lambda: nth(50, b"ok", lambda line: line + line)),
    "a damaged line": ("to_board", lambda: nth(1, b"N50 ", damage)),
    "a line that is lost": ("to_board", lambda: nth(1, b"N50 ", lambda line: b"")),
}


@BUILDS
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_the_fiftieth_line_is_mended(build: MarlinBuild, fault: str) -> None:
    """The first two leave other hosts waiting for ever."""
    way, change = FAULTS[fault][0], FAULTS[fault][1]()
    struck: list[bytes] = []

    def watched(line: bytes) -> bytes:
        arrives = change(line)
        if arrives != line:
            struck.append(line)
        return arrives

    async def story(talk: Talk) -> None:
        setattr(talk.cable, way, watched)
        await streamed(talk)
        assert len(struck) == 1

    talking(story, build)


@BUILDS
@pytest.mark.parametrize("damaged", [b"o\n", b"k\n", b"o*\n", b"ok\xef\n", b"ok*\n", b"okok\n", b"ok"])
@pytest.mark.parametrize("number", [3, 40, 118])
def test_an_ok_that_is_damaged_is_none_and_costs_no_line(build: MarlinBuild, damaged: bytes, number: int) -> None:
    async def story(talk: Talk) -> None:
        talk.cable.to_host = nth(number, b"ok", lambda line: damaged)
        await streamed(talk)

    talking(story, build)


def test_what_firmware_says_beside_its_answers_disturbs_nothing() -> None:
    """Host actions, prompts, an idle board's `wait`, echoes, temperatures that nobody asked for."""

    async def main() -> None:
        link, peer = await talk(echo=True)
        beside = [
            b"//action:notification 3%",
            b"//action:prompt_begin Hello",
            b"wait",
            b"echo:SD card ok",
            b" T:21.0 /0",
        ]
        count = 0

        def reply(text: str) -> list[bytes]:
            nonlocal count
            count += 1
            return [beside[count % len(beside)] + b"\n", text.encode() + b"\n"]

        peer.on_reply = reply
        notes = Notes()
        assert await link.stream(lines(100), notes) == 100
        assert peer.moves() == [line.decode() for line in lines(100)] and notes.acks == list(range(100))
        assert link.counters.probes == link.counters.resends == link.counters.noise_lines == 0

    run_virtual(lambda loop: main())


# ---- resends --------------------------------------------------------------------------------------------------------


FORKS = {
    "Resend without ok": MarlinBuild(advanced_ok=False, ok_after_resend=False),
    "Resend without ok, ADVANCED_OK": MarlinBuild(advanced_ok=True, ok_after_resend=False),
    "rs": MarlinBuild(advanced_ok=False, short_resend=True),
    "rs without ok": MarlinBuild(advanced_ok=False, short_resend=True, ok_after_resend=False),
    "no checksum without a number": MarlinBuild(advanced_ok=False, numbers_with_checksums=True),
}


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("number", [5, 60, COUNT])
def test_a_fork_that_asks_again_in_its_own_way_gets_the_line(fork: str, number: int) -> None:
    async def story(talk: Talk) -> None:
        talk.cable.to_board = once(lambda line: line.startswith(b"N%d " % number) and b"X" in line, damage)
        await streamed(talk)
        assert talk.board.resends >= 1 and talk.link.counters.resends == 1  # lines in flight make it ask again

    talking(story, FORKS[fork])


@pytest.mark.parametrize("asked_again", [1, 3])
def test_a_request_that_lines_on_their_way_repeat_is_answered_once(asked_again: int) -> None:
    """What was in flight behind the damaged line makes firmware that drains nothing ask for the same line again."""

    async def story(talk: Talk) -> None:
        talk.cable.to_board = once(lambda line: line.startswith(b"N50 "), damage)
        talk.cable.to_host = once(
            lambda line: line.startswith(b"Resend"), lambda line: line + b"ok\n" + (line + b"ok\n") * asked_again
        )
        await streamed(talk)
        assert talk.link.counters.resends == 1 and talk.link.counters.repeated_requests == asked_again
        assert sum(line.startswith(b"N50 ") for line in talk.cable.sent) == 2

    talking(story, MarlinBuild(advanced_ok=False))


@pytest.mark.parametrize("wanted", [1, 40, 10**6, 10**8])
def test_a_line_that_nobody_can_send_is_asked_about_and_never_crashes(wanted: int) -> None:
    """Long forgotten, or never sent. What the board really wants is found out, and the layer ends exact."""

    async def main() -> None:
        link, peer = await talk(echo=True)
        count = HISTORY_LINES + 200

        def lie(number: int, text: str) -> list[str] | None:
            if number == HISTORY_LINES + 100 and lies:
                lies.clear()
                return [f"Resend: {wanted}", "ok"]
            return None

        lies = [True]
        peer.on_line = lie
        async with asyncio.timeout(300):
            assert await link.stream(lines(count), Notes()) == count
        assert not lies and peer.moves() == [line.decode() for line in lines(count)]
        assert link.counters.probes >= 1 and link.counters.resends == 0

    run_virtual(lambda loop: main())


@pytest.mark.parametrize("wanted", [1, HISTORY_LINES + 900])
def test_a_board_that_insists_on_such_a_line_ends_the_stream_with_a_sentence(wanted: int) -> None:
    async def main() -> None:
        link, peer = await talk(echo=True)

        def insist(number: int, text: str) -> list[str] | None:
            if number < HISTORY_LINES + 100:
                return None
            return [f"Error:Line Number is not Last Line Number+1, Last Line: {wanted - 1}", f"Resend: {wanted}", "ok"]

        peer.on_line = insist
        with pytest.raises(LinkError, match=f"asks for line {wanted}, but .* another program") as ended:
            async with asyncio.timeout(300):
                await link.stream(lines(HISTORY_LINES + 200), Notes())
        assert str(ended.value).endswith("home before going on.")

    run_virtual(lambda loop: main())


# ---- what goes to the board -----------------------------------------------------------------------------------------


@BUILDS
def test_nothing_goes_to_the_board_without_number_and_checksum(build: MarlinBuild) -> None:
    """Firmware carries out a line without N unchecked: the tail of a broken one must find an empty line behind it."""

    async def story(talk: Talk) -> None:
        talk.cable.to_board = once(lambda line: line.startswith(b"N30 "), damage)
        talk.cable.to_host = nth(70, b"ok", lambda line: b"")
        stream = asyncio.ensure_future(streamed(talk))
        await asyncio.sleep(0.2)
        await talk.link.command(b"M114")
        await stream
        assert talk.board.resends == 1
        for line in filter(bytes.strip, talk.cable.sent):
            match = re.fullmatch(rb"(N\d+ [GM].*)\*(\d+)\n", line)
            assert match and int(match[2]) == reduce(xor, match[1]), line
        for line, behind in zip(talk.cable.sent, talk.cable.sent[1:]):
            assert line == b"\n" or behind == b"\n", "two lines could merge by the loss of one byte"

    talking(story, build)


@pytest.mark.parametrize("word", ['echo:Unknown command: "500"', "Error:G2/G3 bad parameters", "Error:?F out of range"])
@pytest.mark.parametrize("number", [5, 40, 102])
def test_a_line_that_is_not_carried_out_stops_the_stream(word: str, number: int) -> None:
    """The tail of a broken line that runs as a command says so in its echo; a refusal begins with `Error:`."""

    async def main() -> None:
        link, peer = await talk(echo=True)
        peer.on_line = lambda n, text: [word, "ok"] if n == number and text.startswith("G1") else None
        with pytest.raises(LinkError, match="did not carry out a streamed line") as ended:
            await link.stream(lines(100), Notes())
        assert word in str(ended.value)

    run_virtual(lambda loop: main())


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(1, 80)),
            st.tuples(st.just("ok"), st.just(0)),
            st.tuples(st.just("rewind"), st.integers(0, 9)),
            st.tuples(st.just("marker"), st.just(0)),
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_the_count_of_bytes_in_the_boards_buffer_never_drifts(steps: list[tuple[str, int]], blind: bool) -> None:
    """A window that forgets bytes stalls for ever; one that invents room overruns 128 bytes. Whatever is sent,
    acknowledged and asked for again, the count is the sum of what is under way, and nothing is lost or doubled."""
    flight = Flight(1, "" if blind else "echo", needs_markers=not blind, is_blind=blind)
    in_number_order: list[int] = []
    for what, size in steps:
        if what == "send":
            while flight.again and flight.may_send(len(flight.again[0].framed)):
                flight.launch(flight.again.popleft())
            line = b"M118 " + b"x" * size
            if not flight.again and flight.may_send(len(line) + 14):
                flight.number(line)
        elif what == "marker" and not flight.again and flight.may_send(30):
            flight.number_marker()
        elif what == "ok" and flight.entries:
            in_number_order.append(flight.pop_oldest().number)
        elif what == "rewind":  # also to a line whose ok was counted wrongly
            oldest = max(1, flight.next_number - len(flight.entries) - len(flight.again) - 3)
            number = min(oldest + size, flight.next_number)
            flight.rewind(number)
            in_number_order = [taken for taken in in_number_order if taken < number]
        assert flight.in_buffer == sum(entry.size for entry in flight.entries)
        assert flight.in_buffer <= RX_WINDOW_BYTES or len(flight.entries) == 1
        numbers = [entry.number for entry in (*flight.entries, *flight.again)]
        assert in_number_order + numbers == list(range(1, flight.next_number))


# ---- silence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [b"G28", b"M190 S60", b"M109 S200", b"G4 S90", b"M400", b"M600"])
def test_a_command_that_takes_its_time_is_waited_for(command: bytes) -> None:
    """Heating, dwelling, homing, waiting for motion or for a user who comes to change filament after four minutes."""

    async def story(talk: Talk) -> float:
        await talk.link.command(b"G28")
        if command == b"M600":
            await talk.link.command(b"M109 S200")
            for after_s in (240.0, 350.0):  # the nozzle has cooled: once to heat it, and once to go on
                talk.loop.call_later(after_s, talk.cable._send, b"M108\n")
        await talk.link.command(b"G1 X150 Y100 F300")
        began_s = talk.loop.time()
        await talk.link.command(command)
        return talk.loop.time() - began_s

    took_s = talking(story, full_build(advanced_ok=False))
    assert took_s > (350.0 if command == b"M600" else 3.0)


@pytest.mark.parametrize(
    ("command", "patience_s"),
    [(b"M114", 2), (b"G28", 120), (b"G4 S9", 120), (b"M400", 120), (b"G29", 300), (b"M109 S9", 300), (b"M190 S9", 300)],
)
def test_each_class_of_command_has_a_patience_of_its_own(command: bytes, patience_s: float) -> None:
    """Without a word from the board, not even that it is busy: as long as its class may take, and then a sentence."""

    async def main() -> float:
        link, peer = await talk(echo=True)
        peer.on_line = lambda number, text: []
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with pytest.raises(LinkTimeout, match="acknowledged nothing for"):
            await link.command(command)
        return loop.time() - began_s

    took_s = run_virtual(lambda loop: main())
    assert patience_s <= took_s <= patience_s + 20.0


def test_a_place_that_is_only_planned_is_not_taken_for_where_it_stands() -> None:
    """M114 is answered at once with the end of the last planned move; the host asks when motion has ended."""

    async def story(talk: Talk) -> None:
        motion = MotionController(talk.link)
        await motion.home()
        assert await motion.jog(60.0, 40.0, 0.0, speed_mm_s=20.0) == (60.0, 40.0, 0.0)
        assert talk.gantry.position_at(talk.loop.time()) == pytest.approx((60.0, 40.0, 0.0))
        await talk.link.command(b"G1 X100 Y40 F600")
        assert await motion.position() == (100.0, 40.0, 0.0)
        assert talk.gantry.position_at(talk.loop.time())[0] < 65.0, "this is how the firmware answers"
        await motion.wait_idle()
        assert talk.gantry.position_at(talk.loop.time()) == pytest.approx((100.0, 40.0, 0.0))

    talking(story, MarlinBuild(advanced_ok=False))


# ---- who answers ----------------------------------------------------------------------------------------------------


def test_a_capability_that_is_not_told_is_not_there() -> None:
    """Marlin 1.1 tells none: nothing is asked of it that it might not know."""

    async def story(talk: Talk) -> None:
        assert talk.link.capabilities == {}
        await streamed(talk)
        assert not any(b"M155" in line or b"M113" in line for line in talk.cable.sent)

    async def main(talk: Talk) -> None:
        talk.cable.to_host = lambda line: b"" if line.startswith(b"Cap:") else line
        talk.link.identity.capabilities.clear()
        await talk.link.handshake(10.0)
        await story(talk)

    talking(main, MarlinBuild(advanced_ok=False))
