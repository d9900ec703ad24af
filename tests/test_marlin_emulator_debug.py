"""Are OctoPrint's `!!DEBUG:` commands obeyed by a board that was built with them, and by no other?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marlin_helpers import Host, framed, with_board
from marlin_link_helpers import Notes
from wire_helpers import Listener

from firmware_bridge.errors import BridgeError
from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.transport import open_transport
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_debug import COMMANDS, REPETIER_FATAL
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual

KILLED = "Error:Printer halted. kill() called!"
OCTOPRINT = {  # every name of OctoPrint 1.11.8 (facts hil.md, 1b)
    "action_pause", "action_resume", "action_disconnect", "action_custom", "dont_answer", "go_awol",
    "trigger_resend_lineno", "trigger_resend_checksum", "trigger_missing_checksum", "trigger_missing_lineno",
    "trigger_fatal_error_marlin", "trigger_fatal_error_repetier", "mintemp_error", "maxtemp_error", "drop_connection",
    "prepare_ok", "rerequest_last", "resend_ratio", "toggle_klipper_connection", "sleep", "sleep_after",
    "sleep_after_next", "start_sd", "select_sd", "cancel_sd", "send", "set_ambient", "reset", "unbusy",
}  # fmt: skip


def debugged(story: Callable[[Host], Awaitable[Any]], **build: Any) -> Any:
    return with_board(story, **{"debug_commands": True, "advanced_ok": False, **build})


async def told(host: Host, command: str, settle_s: float = 0.01) -> list[str]:
    """What the board says to a debug command alone."""
    first = len(host.replies)
    host.send(f"!!DEBUG:{command}")
    await asyncio.sleep(settle_s)
    return host.lines[first:]


def test_every_name_of_octoprints_is_known() -> None:
    assert set(COMMANDS) == OCTOPRINT | {"help", "?"}


def test_a_board_without_them_knows_no_debug_commands() -> None:
    async def story(host: Host) -> None:
        assert await host.ask("!!DEBUG:send hello") == ['echo:Unknown command: "!!DEBUG:send hello"', "ok"]

    with_board(story, advanced_ok=False)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("action_pause", ["// action:pause"]),
        ("action_resume", ["// action:resume"]),
        ("action_disconnect", ["// action:disconnect"]),
        ("action_custom beep twice", ["// action:beep twice"]),
        ("action_custom", ["// action_custom: give the action, and its parameters if it has any"]),
        ("send ok and so on", ["ok and so on"]),
        ("start_sd a.gco", ["// this board has no card: nothing can be selected, printed or cancelled there"]),
        ("select_sd a.gco", ["// this board has no card: nothing can be selected, printed or cancelled there"]),
        ("cancel_sd", ["// this board has no card: nothing can be selected, printed or cancelled there"]),
        (
            "toggle_klipper_connection",
            ["// this board is a Marlin: there is no Klipper whose connection could break"],
        ),
        ("drop_connection", ["// drop_connection: this board hangs on no wire that it could drop"]),
        ("go_awoll", ["// there is no debug command 'go_awoll'; did you mean go_awol?"]),
        ("resend_ratio 101", ["// resend_ratio: 101 is out of range; give 0 to 100"]),
        ("sleep soon", ["// sleep: 'soon' is no number; give one from 0 to 86400"]),
        ("sleep_after X 3", ["// sleep_after: 'X' is no command; give one and the seconds, for instance G1 5"]),
        ("prepare_ok", ["// prepare_ok: give what shall be said in place of ok"]),
        ("set_ambient nan", ["// set_ambient: nan is out of range; give -273.15 to 200"]),
    ],
)
def test_it_says_what_it_does_or_why_not(command: str, says: list[str]) -> None:
    async def story(host: Host) -> None:
        assert await told(host, command) == says
        assert (await host.ask("M105"))[-1].startswith("ok")

    debugged(story)


def test_alone_it_lists_every_name() -> None:
    async def story(host: Host) -> None:
        host.send("!!DEBUG")
        await asyncio.sleep(0.01)
        assert [line.split(": ")[1] for line in host.lines] == list(COMMANDS)

    debugged(story)


def test_a_numbered_one_is_counted_and_not_acknowledged() -> None:
    async def story(host: Host) -> None:
        host.send(framed(1, "!!DEBUG:send hello"))
        await asyncio.sleep(0.01)
        assert host.lines == ["hello"]
        assert await host.ask(framed(2, "M400")) == ["ok"]

    debugged(story)


def test_a_damaged_one_is_refused_like_any_line() -> None:
    async def story(host: Host) -> None:
        host.send(b"N1 !!DEBUG:reset*1\n")
        await asyncio.sleep(0.01)
        assert host.lines[0].startswith("Error:checksum mismatch") and host.board.resets == 0

    debugged(story)


REFUSED = {
    "trigger_resend_lineno": "Error:Line Number is not Last Line Number+1, Last Line: 1",
    "trigger_resend_checksum": "Error:checksum mismatch, Last Line: 1",
    "trigger_missing_checksum": "Error:No Checksum with line number, Last Line: 1",
}


@pytest.mark.parametrize("command", REFUSED)
def test_the_next_numbered_line_is_refused_once_and_taken_when_it_comes_again(command: str) -> None:
    async def story(host: Host) -> None:
        await host.ask(framed(1, "M400"))
        assert await told(host, command) == []
        assert await host.ask("M400") == ["ok"]  # bare lines have no number to be refused for
        assert await host.ask(framed(2, "G1 X5 F600")) == [REFUSED[command], "Resend: 2", "ok"]
        assert host.board.planner_free == 15
        assert await host.ask(framed(2, "G1 X5 F600")) == ["ok"]
        assert host.board.planner_free == 14

    debugged(story)


def test_a_line_that_is_refused_for_want_of_its_number_is_not_asked_for() -> None:
    async def story(host: Host) -> None:
        await told(host, "trigger_missing_lineno")
        host.send(framed(1, "M400"))
        await asyncio.sleep(1.0)
        assert host.lines == ["Error:No Line Number with checksum, Last Line: 0"]
        assert await host.ask(framed(1, "M400")) == ["ok"]

    debugged(story)


def test_rerequest_last_refuses_every_numbered_line_until_a_reset() -> None:
    async def story(host: Host) -> None:
        assert await told(host, "rerequest_last") == ["// Entering rerequest loop"]
        for _ in range(3):
            assert (await host.ask(framed(1, "M400")))[1:] == ["Resend: 1", "ok"]
        assert "start" in await told(host, "reset", settle_s=1.0)
        assert await host.ask(framed(1, "M400")) == ["ok"]

    debugged(story)


def test_a_resend_ratio_refuses_every_nth_line() -> None:
    async def story(host: Host) -> None:
        await told(host, "resend_ratio 25")
        refused, n = [], 0
        while n < 20:
            answer = await host.ask(framed(n + 1, "M400"))
            refused.append(answer != ["ok"])
            n += answer == ["ok"]
        assert 0.2 < sum(refused) / len(refused) < 0.3
        await told(host, "resend_ratio 0")
        assert [await host.ask(framed(n, "M400")) for n in range(21, 31)] == [["ok"]] * 10

    debugged(story)


def test_dont_answer_swallows_the_next_line() -> None:
    async def story(host: Host) -> None:
        await told(host, "dont_answer")
        host.send(framed(1, "G1 X5 F600"))
        await asyncio.sleep(5.0)
        assert host.lines == [] and host.board.planner_free == 15
        assert await host.ask(framed(1, "G1 X5 F600")) == ["ok"]

    debugged(story)


def test_go_awol_says_nothing_any_more_and_still_moves() -> None:
    async def story(host: Host) -> None:
        assert await told(host, "go_awol") == ["// Going AWOL"]
        host.send("G1 X5 F600", "M105", "!!DEBUG:send hello")
        await asyncio.sleep(10.0)
        assert host.lines == ["// Going AWOL"]
        assert host.gantry.position_at(host.loop.time())[0] == pytest.approx(5.0)

    debugged(story)


def test_prepared_oks_are_said_in_place_of_the_next_ones() -> None:
    async def story(host: Host) -> None:
        await told(host, "prepare_ok o")
        await told(host, "prepare_ok okok 3")
        host.send("M400", "M105", "M400")
        await asyncio.sleep(0.1)
        assert host.lines[0] == "o" and host.lines[1].startswith("okok 3 T:") and host.lines[2] == "ok"

    debugged(story)


def test_a_sleep_withholds_answers_and_motion_goes_on() -> None:
    async def story(host: Host) -> None:
        await host.ask("G1 X20 F600")
        assert await told(host, "sleep 5") == ["// sleeping for 5 seconds"]
        began_s = host.loop.time()
        await host.ask("M400")
        assert host.loop.time() - began_s == pytest.approx(5.0, abs=0.1)
        assert host.gantry.position_at(began_s + 4.0)[0] == pytest.approx(20.0)

    debugged(story)


def test_a_sleep_holds_a_command_that_waits_already() -> None:
    async def story(host: Host) -> None:
        host.send("G4 S1")
        await asyncio.sleep(0.5)
        await told(host, "sleep 5")
        await asyncio.sleep(20.0)
        (at_s,) = [t for t, line in host.replies if line == "ok"]
        assert at_s == pytest.approx(5.5, abs=0.1)

    debugged(story)


def test_a_sleep_behind_a_command_comes_in_front_of_its_ok_and_fills_the_ring() -> None:
    async def story(host: Host) -> None:
        await told(host, "sleep_after M400 3")
        await told(host, "sleep_after_next M114 2")
        for command, seconds in (("M400", 3.0), ("M400", 3.0), ("M114", 2.0), ("M114", 0.0), ("M105", 0.0)):
            began_s = host.loop.time()
            answer = await host.ask(command)
            assert host.loop.time() - began_s == pytest.approx(seconds, abs=0.01), command
            assert (f"// sleeping for {seconds:g} seconds" in answer) is bool(seconds)
        host.send("M400")
        await asyncio.sleep(0.1)
        host.send(*["M105 ; a long comment that fills the ring of a board that sleeps"] * 4)
        assert host.board.dropped_bytes > 0

    debugged(story)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("trigger_fatal_error_marlin", ["Error:Thermal Runaway, system stopped! Heater_ID: bed", KILLED]),
        ("trigger_fatal_error_repetier", [REPETIER_FATAL.decode().rstrip()]),
        ("mintemp_error", ["Error:MINTEMP triggered, system stopped! Heater_ID: 0", KILLED]),
        ("maxtemp_error", ["Error:MAXTEMP triggered, system stopped! Heater_ID: 0", KILLED]),
    ],
)
def test_a_fatal_error_truly_halts_the_board(command: str, says: list[str]) -> None:
    async def story(host: Host) -> None:
        await host.stream(["M104 S200", "M3 I", "G1 X100 F600 S500"])
        await asyncio.sleep(2.0)
        assert await told(host, command) == says
        stood = host.gantry.position_at(host.loop.time())
        host.send("M105", "G1 X0")
        await asyncio.sleep(10.0)
        assert host.board.killed and host.lines[-1] == says[-1]
        assert host.gantry.position_at(host.loop.time()) == stood and 10 < stood[0] < 40
        assert host.board.heaters.hotend.target_c == 0.0

    debugged(story)


def test_a_reset_forgets_what_it_was_told_and_where_it_is() -> None:
    async def story(host: Host) -> None:
        await host.stream(["G1 X20 F6000", "M400"])
        await told(host, "sleep_after M400 30")
        assert (await told(host, "reset", settle_s=1.0))[0] == "start" and host.board.resets == 1
        began_s = host.loop.time()
        await host.ask("M400")
        assert host.loop.time() - began_s < 0.1
        assert (await host.ask("M114"))[0].startswith("X:0.00")

    debugged(story)


def test_unbusy_ends_a_wait() -> None:
    async def story(host: Host) -> None:
        host.send("M109 S200")
        await asyncio.sleep(5.0)
        assert host.oks == 0
        await told(host, "unbusy")
        assert host.oks == 1

    debugged(story)


def test_the_room_can_be_made_colder() -> None:
    async def story(host: Host) -> None:
        assert await told(host, "set_ambient -20") == ["// set ambient temperature to -20"]
        await asyncio.sleep(3600.0)
        assert "T:-20.00" in (await host.ask("M105"))[0]

    debugged(story)


@given(st.text(max_size=40))
def test_no_words_behind_it_break_the_board(text: str) -> None:
    async def story(host: Host) -> None:
        host.send(b"!!DEBUG:" + text.encode("utf-8").replace(b"\n", b"").replace(b"\r", b"") + b"\n")
        await asyncio.sleep(1.0)

    debugged(story)


# ---- on a wire


def on_wire(story: Callable[[VirtualLoop, Any, MarlinEmulator], Awaitable[None]], **build: Any) -> None:
    async def main(loop: VirtualLoop) -> None:
        board = MarlinEmulator(Gantry(), MarlinBuild(debug_commands=True, reset_on_open=False, **build))
        await story(loop, await lay_virtual("motion", board, baud=115200), board)

    run_virtual(main)


def test_a_dropped_connection_is_lost_and_comes_back() -> None:
    async def story(loop: VirtualLoop, wire: Any, board: MarlinEmulator) -> None:
        listener = Listener()
        (await open_transport(wire.url, listener)).write(b"!!DEBUG:drop_connection\n")
        await asyncio.sleep(0.5)
        assert len(listener.lost) == 1
        await asyncio.sleep(1.0)
        again = Listener()
        (await open_transport(wire.url, again)).write(b"!!DEBUG:send back\n")
        await asyncio.sleep(0.5)
        assert again.data == b"back\n" and board.resets == 0

    on_wire(story)


LINES = [b"G1 X%d.125 Y7.5 F6000 S500" % n for n in range(60)]


@pytest.mark.parametrize("advanced_ok", [True, False])
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("trigger_resend_lineno", ""),
        ("trigger_resend_checksum", ""),
        ("trigger_missing_checksum", ""),
        ("trigger_missing_lineno", ""),
        ("dont_answer", ""),
        ("prepare_ok", ""),
        ("resend_ratio 10", ""),
        ("sleep 3", ""),
        ("sleep_after_next G1 3", ""),
        ("action_custom beep", ""),
        ("set_ambient 5", ""),
        ("rerequest_last", "again and again|times"),
        ("go_awol", "answer|silent|nothing"),
        ("drop_connection", "hung up"),
        ("reset", "restarted"),
        ("trigger_fatal_error_marlin", "Runaway|halted"),
        ("mintemp_error", "MINTEMP|halted"),
        ("maxtemp_error", "MAXTEMP|halted"),
    ],
)
def test_our_host_streams_every_line_once_under_it_or_says_why_not(
    command: str, reason: str, advanced_ok: bool
) -> None:
    """The board is told in the middle of a stream, by somebody else at its port."""

    async def story(loop: VirtualLoop, wire: Any, board: MarlinEmulator) -> None:
        link = await MarlinLink.open("sim:motion?baud=115200")
        told = f"!!DEBUG:{command}".encode()
        loop.call_later(0.2, board._session.received, told + (b" o\n" if command == "prepare_ok" else b"\n"))
        words = ""
        try:
            async with asyncio.timeout(600):
                taken = await link.stream(LINES, Notes())
                await link.command(b"M400")
        except BridgeError as error:
            words = str(error)
        if reason:
            assert words and any(part in words for part in reason.split("|")), words
        else:
            ends = [round(run.end_mm[0], 3) for run in board.gantry.history if hasattr(run, "end_mm")]
            assert not words and taken == len(LINES) and ends == [n + 0.125 for n in range(60)]

    on_wire(story, advanced_ok=advanced_ok)
