"""Does the Marlin link take every line exactly once to the firmware, whatever becomes of the oks?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from marlin_link_helpers import FakeMarlin, Notes, lines, talk

from firmware_bridge.errors import DeviceHalted, DeviceReset, LinkError, LinkTimeout, TransportError
from firmware_bridge.links.marlin import MarlinLink
from hil_sim.virtual_run import run_virtual

BUILDS = pytest.mark.parametrize(
    "build",
    [
        {"echo": True},
        {"echo": False},
        {"echo": True, "advanced": True},
        {"echo": False, "temperature": True, "advanced": True},
        {"echo": False, "temperature": False},
    ],
    ids=["echo", "temperature", "advanced", "advanced-no-echo", "plain"],
)


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: main())


def moves_of(count: int) -> list[str]:
    return [line.decode() for line in lines(count)]


@BUILDS
def test_open_learns_who_answers_and_how(build: dict) -> None:
    async def main() -> None:
        link, _ = await talk(**build)
        assert link.identity.fields["FIRMWARE_NAME"] == "Marlin 2.1.2"
        assert link.capabilities == {"AUTOREPORT_TEMP": True, "EMERGENCY_PARSER": False}
        assert link.has_advanced_ok == build.get("advanced", False)
        assert link.marker == ("echo" if build["echo"] else "temperature" if build.get("temperature", True) else "")

    virtually(main)


@BUILDS
def test_every_line_once_in_order_acked_and_journalled_ahead(build: dict) -> None:
    async def main() -> None:
        link, peer = await talk(**build)
        notes = Notes(0.003)
        seen_ahead: list[bool] = []

        def check(number: int, text: str) -> None:
            if text.startswith("G1"):
                seen_ahead.append(notes.groups[-1][1] >= len(peer.moves()) - 1)

        peer.on_line = check
        assert await link.stream(lines(333), notes) == 333
        assert peer.moves() == moves_of(333)
        assert notes.acks == list(range(333))
        assert notes.groups[0] == (0, 15) and notes.groups[-1] == (320, 332)
        assert all(seen_ahead)
        assert link.counters.surplus_oks == 0 and link.counters.lost_oks == 0

    virtually(main)


@BUILDS
def test_a_cable_that_keeps_the_window_never_gets_more_than_a_receive_buffer(build: dict) -> None:
    async def main() -> None:
        link, peer = await talk(**build)
        outstanding = 0
        worst = 0
        send, deliver = peer._send, peer._deliver

        def count_send(data: bytes) -> None:
            nonlocal outstanding, worst
            outstanding += len(data)
            worst = max(worst, outstanding)
            send(data)

        echoed = 0

        def count_ok(data: bytes) -> None:
            nonlocal outstanding, echoed
            echoed += data.startswith(b"k")  # an echo says that its line has left the buffer, before its ok does
            if data.startswith(b"k") or (data.startswith(b"ok") and not echoed):
                outstanding -= sizes.pop(0)
            elif data.startswith(b"ok"):
                echoed -= 1
            deliver(data)

        sizes: list[int] = []
        take = peer._take

        def remember(line: bytes) -> None:
            sizes.append(len(line) + 2)
            take(line)

        peer._send, peer._deliver, peer._take = count_send, count_ok, remember  # type: ignore[method-assign]
        await link.stream(lines(200), Notes())
        assert 100 < worst <= 127

    virtually(main)


@BUILDS
@pytest.mark.parametrize("lost", [{5}, {5, 6, 7, 8}, {202}, set(range(40, 45))], ids=["one", "four", "last", "five"])
def test_lost_oks_cost_time_not_lines(build: dict, lost: set[int]) -> None:
    async def main() -> None:
        link, peer = await talk(**build)
        count = 0

        def reply(text: str) -> list[bytes]:
            nonlocal count
            count += text.startswith("ok")
            return [] if text.startswith("ok") and count in lost else [text.encode() + b"\n"]

        peer.on_reply = reply
        notes = Notes()
        assert await asyncio.wait_for(link.stream(lines(200), notes), 300) == 200
        assert peer.moves() == moves_of(200)
        assert notes.acks == list(range(200))

    virtually(main)


@BUILDS
def test_doubled_oks_are_no_progress(build: dict) -> None:
    """The firmware takes nothing behind line 100: with every ok doubled, no later line may count as taken."""

    async def main() -> None:
        link, peer = await talk(**build)
        peer.on_reply = lambda text: [text.encode() + b"\n"] * (2 if text.startswith("ok") else 1)

        peer.mangle = lambda line: b"" if moves_of(101)[100] in peer.taken else line
        notes = Notes()
        with pytest.raises(LinkTimeout):
            await asyncio.wait_for(link.stream(lines(200), notes), 2000)
        assert 60 < max(notes.acks) <= 100
        assert notes.acks == sorted(set(notes.acks))

    virtually(main)


@BUILDS
@pytest.mark.parametrize("with_ok", [True, False], ids=["resend-ok", "resend-alone"])
@pytest.mark.parametrize("bad", [{10}, {10, 11}, {50, 90, 130}, {202}], ids=["one", "two", "three", "last"])
def test_damaged_lines_are_sent_again(build: dict, bad: set[int], with_ok: bool) -> None:
    async def main() -> None:
        link, peer = await talk(**build)
        done: set[int] = set()

        def mangle(line: bytes) -> bytes:
            for number in bad - done:
                if line.startswith(b"N%d " % number):
                    done.add(number)
                    return line.replace(b"G1", b"G3").replace(b"M1", b"M2")
            return line

        if not with_ok:
            peer._refuse = lambda why: peer.say(  # type: ignore[method-assign]
                f"Error:{why}, Last Line: {peer.last}", f"Resend: {peer.last + 1}"
            )
        peer.mangle = mangle
        notes = Notes()
        assert await asyncio.wait_for(link.stream(lines(200), notes), 300) == 200
        assert peer.moves() == moves_of(200)
        assert notes.acks == list(range(200))
        assert done == bad and len(bad) - 1 <= link.counters.resends <= len(bad)

    virtually(main)


def test_a_line_that_vanishes_whole_is_found_by_the_next_one() -> None:
    async def main() -> None:
        link, peer = await talk()
        gone: list[bytes] = []

        def mangle(line: bytes) -> bytes:
            if line.startswith(b"N50 ") and not gone:
                gone.append(line)
                return b""
            return line

        peer.mangle = mangle
        assert await link.stream(lines(100), Notes()) == 100
        assert peer.moves() == moves_of(100)

    virtually(main)


def test_resend_storm_is_capped_with_a_sentence() -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.mangle = lambda line: line.replace(b"G1", b"G3") if line.startswith(b"N40 ") else line
        with pytest.raises(LinkError, match="10 times for line 40"):
            await link.stream(lines(100), Notes())
        with pytest.raises(LinkError, match="10 times"):
            await link.command(b"M114")

    virtually(main)


def test_resend_of_a_proven_line_stops_the_stream() -> None:
    async def main() -> None:
        link, peer = await talk()

        def reset_counter(number: int, text: str) -> list[str] | None:
            if number == 90:
                peer.last = 0
            return None

        peer.on_line = reset_counter
        with pytest.raises(LinkError, match="line counter was changed"):
            await link.stream(lines(200), Notes())

    virtually(main)


def test_a_damaged_resend_number_is_asked_about_not_believed() -> None:
    async def main() -> None:
        link, peer = await talk()
        state = {"mangled": False, "lied": False}

        def mangle(line: bytes) -> bytes:
            if line.startswith(b"N80 ") and not state["mangled"]:
                state["mangled"] = True
                return line.replace(b"G1", b"G3")
            return line

        def reply(text: str) -> list[bytes]:
            if text == "Resend: 80" and not state["lied"]:
                state["lied"] = True
                text = "Resend: 8"
            return [text.encode() + b"\n"]

        peer.mangle, peer.on_reply = mangle, reply
        notes = Notes()
        assert await link.stream(lines(200), notes) == 200
        assert peer.moves() == moves_of(200) and notes.acks == list(range(200)) and state["lied"]

    virtually(main)


def test_noise_between_the_replies_is_tolerated() -> None:
    async def main() -> None:
        link, peer = await talk()
        count = 0

        def reply(text: str) -> list[bytes]:
            nonlocal count
            count += 1
            glued = b"(" if count % 40 == 0 else b"\xc3"
            return [b"\xff\x00\xfe\n", glued, text.encode() + b"\n", b"\n"]

        peer.on_reply = reply
        assert await link.stream(lines(100), Notes()) == 100
        assert peer.moves() == moves_of(100)
        peer.say_raw(b"x" * 20000 + b"\n")
        await asyncio.sleep(0.01)
        assert (await link.command(b"M114"))[-1].startswith("X:20.00")

    virtually(main)


def test_boot_banner_in_the_middle_is_a_reset() -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.on_line = lambda number, text: ["start", "Marlin 2.1.2"] if number == 30 else None
        with pytest.raises(DeviceReset, match="restarted"):
            await link.stream(lines(100), Notes())

    virtually(main)


@pytest.mark.parametrize("word", ["Error:Printer halted. kill() called!", "!! Heater fault"])
def test_kill_is_told_to_everybody_who_waits(word: str) -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.on_line = lambda number, text: [] if "M400" in peer.taken else None
        stream = asyncio.ensure_future(link.stream(lines(100), Notes()))
        await asyncio.sleep(0.005)
        command = asyncio.ensure_future(link.command(b"M400"))
        asyncio.get_running_loop().call_later(0.1, peer.say, word)
        for waiting in (stream, command):
            with pytest.raises(DeviceHalted, match="halted"):
                await waiting
        with pytest.raises(DeviceHalted):
            await link.command(b"M105")

    virtually(main)


def test_emergency_stop_goes_raw_and_checksummed_before_everything() -> None:
    async def main() -> None:
        link, peer = await talk()
        stream = asyncio.ensure_future(link.stream(lines(500), Notes()))
        await asyncio.sleep(0.02)
        link.emergency_stop()
        assert peer.raw_lines[-2] == b"M112" and b" M112*" in peer.raw_lines[-1]
        with pytest.raises(DeviceHalted):
            await stream

    virtually(main)


def test_a_pulled_cable_ends_every_wait() -> None:
    async def main() -> None:
        link, peer = await talk()
        stream = asyncio.ensure_future(link.stream(lines(500), Notes()))
        await asyncio.sleep(0.02)
        peer.lose()
        with pytest.raises(TransportError, match="gone"):
            await stream

    virtually(main)


def test_busy_extends_and_silence_ends() -> None:
    async def main() -> None:
        link, peer = await talk()
        loop = asyncio.get_running_loop()

        def home(number: int, text: str) -> list[str] | None:
            if text != "G28":
                return [] if peer.taken.count("G28") > 1 else None
            if peer.taken.count("G28") > 1:
                return []
            for beat in range(1, 200):
                loop.call_later(2.0 * beat, peer.say, "echo:busy: processing")
            loop.call_later(400.0, peer.answer, number, "G28")
            return []

        peer.on_line = home
        # the marker behind G28 is answered early by this peer: only the command's own words matter here
        link._talk.flight.needs_markers = False
        link._talk.marker = ""
        began = loop.time()
        await link.command(b"G28")
        assert loop.time() - began > 399
        began = loop.time()
        with pytest.raises(LinkTimeout, match="acknowledged nothing"):
            await link.command(b"G28")
        assert 120 < loop.time() - began < 200

    virtually(main)


def test_temperatures_alone_keep_a_slow_line_alive_but_not_for_ever() -> None:
    async def main() -> None:
        link, peer = await talk()
        loop = asyncio.get_running_loop()
        peer.on_line = lambda number, text: []
        for beat in range(1, 600):
            loop.call_later(2.0 * beat, peer.say, " T:21.00 /0.00 B:20.00 /0.00 @:0 B@:0")
        began = loop.time()
        with pytest.raises(LinkTimeout, match="only signs of life"):
            await link.stream(lines(3), Notes())
        assert 900 < loop.time() - began < 950
        assert link.temperatures == {"T": (21.0, 0.0), "B": (20.0, 0.0)}

    virtually(main)


def test_cancelling_stops_at_once_and_the_link_lives_on() -> None:
    async def main() -> None:
        link, peer = await talk()
        notes = Notes()
        task = asyncio.ensure_future(link.stream(lines(500), notes))
        await asyncio.sleep(0.03)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sent = sum(b" G1 " in line for line in peer.raw_lines)
        assert (await link.command(b"M114"))[0].startswith("X:20.00")
        assert 0 < len(peer.moves()) == sent < 500
        assert await link.stream(lines(20), Notes()) == 20

    virtually(main)


def test_cancelled_predicate_ends_cleanly_with_the_count() -> None:
    async def main() -> None:
        link, peer = await talk()
        notes = Notes()
        taken = await link.stream(lines(500), notes, cancelled=lambda: len(peer.moves()) > 60)
        assert 60 < taken == len(peer.moves()) < 120 and notes.acks == list(range(taken))

    virtually(main)


def test_a_failing_journal_stops_the_stream_and_is_heard() -> None:
    class Full(Notes):
        async def ahead(self, first: int, last: int) -> None:
            if first >= 64:
                raise OSError("disk full")

    class Broken(Notes):
        def acked(self, index: int) -> None:
            if index == 40:
                raise RuntimeError("journal closed")

    async def main() -> None:
        link, peer = await talk()
        with pytest.raises(OSError, match="disk full"):
            await link.stream(lines(200), Full())
        assert len(peer.moves()) <= 64
        with pytest.raises(RuntimeError, match="journal closed"):
            await link.stream(lines(200), Broken())
        assert await link.stream(lines(10), Notes()) == 10

    virtually(main)


@pytest.mark.parametrize("line", [b"", b"  ", b"; note", b"G1 X1*5", b"G1\nM112", b"G1 X\xc3", b"G1 " + b"X" * 90])
def test_lines_that_would_desynchronise_are_refused_before_the_wire(line: bytes) -> None:
    async def main() -> None:
        link, peer = await talk()
        with pytest.raises(LinkError, match="not sent"):
            await link.stream([b"G1 X1", line], Notes())
        with pytest.raises(LinkError, match="not sent"):
            await link.command(line)
        assert peer.moves() == []

    virtually(main)


def test_an_unknown_streamed_line_stops_the_stream() -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.on_line = lambda number, text: ['echo:Unknown command: "G1X"', "ok"] if number == 30 else None
        with pytest.raises(LinkError, match="did not carry out"):
            await link.stream(lines(100), Notes())

    virtually(main)


def test_commands_may_be_given_while_lines_stream() -> None:
    async def main() -> None:
        link, peer = await talk()
        task = asyncio.ensure_future(link.stream(lines(200), Notes()))
        await asyncio.sleep(0.01)
        replies = await asyncio.gather(*(link.command(b"M114") for _ in range(5)))
        assert all(reply == ["X:20.00 Y:1.50 Z:0.25 E:0.00 Count X:1600 Y:120 Z:100"] for reply in replies)
        assert await task == 200
        assert peer.moves() == moves_of(200)

    virtually(main)


def test_nobody_there_is_a_sentence() -> None:
    async def main() -> None:
        link = MarlinLink()
        FakeMarlin(link).deaf = True
        with pytest.raises(LinkTimeout, match="does not answer M110"):
            await link.handshake(3.0)

    virtually(main)


def test_a_board_busy_with_an_earlier_hosts_lines_is_waited_for() -> None:
    """Their oks are no answers to us, and the hello behind them sets the line number back when its turn comes."""

    async def main() -> None:
        link = MarlinLink()
        peer = FakeMarlin(link)
        loop = asyncio.get_running_loop()
        began_s, held = loop.time(), []
        take = peer._take

        def take_later(line: bytes) -> None:
            if loop.time() < began_s + 30.0:
                held.append(line)
            else:
                take(line)

        peer._take = take_later  # type: ignore[method-assign]
        for n in range(1, 15):  # a slow vector's end now and then, and signs of life between
            loop.call_at(began_s + 2.0 * n, peer.say, "ok" if n % 4 == 0 else "echo:busy: processing")
        loop.call_at(began_s + 30.0, lambda: [take(line) for line in held])
        await link.handshake(3.0)
        assert link.marker == "echo"
        assert await link.command(b"M114") == ["X:20.00 Y:1.50 Z:0.25 E:0.00 Count X:1600 Y:120 Z:100"]

    virtually(main)
