"""Are the emulated Marlin board's buffers, waits and stops the real ones?"""

from __future__ import annotations

import asyncio

import pytest
from marlin_helpers import Host, framed, with_board


def steps(first: int, count: int, mm: float = 1.0) -> list[bytes]:
    """Numbered moves of `mm` each, at 10 mm/s, to and fro."""
    return [framed(first + i, f"G1 X{mm * (i % 2 == 0):.3f} F600") for i in range(count)]


def test_ok_is_withheld_while_the_planner_is_full() -> None:
    async def story(host: Host) -> None:
        for line in steps(1, 16):
            host.send(line)
            await asyncio.sleep(0.003)
        # 15 usable blocks; the 16th line waits for the first to end: 0.1 s of patience, 0.12 s of motion
        assert host.oks == 15 and host.lines[-1] == "ok N15 P0 B3"
        await asyncio.sleep(1)
        assert host.oks == 16
        run = host.gantry.history[0]
        assert host.replies[15][0] == pytest.approx(run.t1_s, abs=1e-9)
        # the first block was let go as soon as three were there
        assert run.t0_s == pytest.approx(0.0061, abs=1e-4)

    with_board(story)


def test_behind_a_full_planner_four_commands_and_128_bytes_wait_and_the_rest_is_lost() -> None:
    async def story(host: Host) -> None:
        lines = steps(1, 60, mm=20.0)
        for line in lines[:16]:
            host.send(line)
            await asyncio.sleep(0.01)
        assert host.oks == 15  # line 16 is in work and blocked; idling, the board reads three more, and then no more
        sent = b"".join(lines[16:])
        for i in range(0, len(sent), 8):
            host.send(sent[i : i + 8])
            await asyncio.sleep(0.0007)
        kept = len(b"".join(lines[16:19])) + 128
        assert host.board.dropped_bytes == len(sent) - kept
        await asyncio.sleep(60)
        # what fitted is executed; the line cut by the overflow waits for its end
        whole = sent[:kept].count(b"\n")
        assert host.oks == 16 + whole
        reply = await host.ask("")  # its end comes: number without checksum, or a checksum that is wrong
        assert reply[0].startswith("Error:")
        oks = [line for line in host.lines if line.startswith("ok N")]
        assert oks[:16] == [f"ok N{n} P{15 - n} B3" for n in range(1, 16)] + ["ok N16 P0 B0"]

    with_board(story)


def test_the_queue_counts_the_command_in_work() -> None:
    async def story(host: Host) -> None:
        host.send(b"G4 P100\nG4 P100\nG4 P100\nG4 P100\nG4 P100\n")
        await asyncio.sleep(1)
        assert [line for line in host.lines if line.startswith("ok")] == [
            "ok P15 B0", "ok P15 B0", "ok P15 B1", "ok P15 B2", "ok P15 B3",
        ]  # fmt: skip

    with_board(story)


def test_nothing_answers_at_once() -> None:
    async def story(host: Host) -> None:
        host.send("M114")
        assert not host.lines
        await asyncio.sleep(0.01)
        assert host.replies[0][0] == pytest.approx(1e-4)

    with_board(story)


def test_a_lone_block_waits_a_tenth_of_a_second_for_company() -> None:
    async def story(host: Host) -> None:
        t0 = host.loop.time()
        await host.stream(["G1 X40 F3000", "M400"])
        run = host.gantry.history[0]
        assert run.t0_s - t0 == pytest.approx(0.1001, abs=1e-6)
        assert host.loop.time() == pytest.approx(run.t1_s + 1e-9, abs=1e-3)
        assert run.t1_s - run.t0_s == pytest.approx(0.9, rel=1e-9)

    with_board(story)


def test_position_is_the_planned_one_and_counts_are_the_real_one() -> None:
    async def story(host: Host) -> None:
        await host.ask("G1 X40 F3000")
        await asyncio.sleep(0.1 + 0.45)
        assert (await host.ask("M114"))[0] == "X:40.00 Y:0.00 Z:0.00 E:0.00 Count X:1600 Y:0 Z:0"

    with_board(story)


@pytest.mark.parametrize("seconds", [2, 5])
def test_busy_is_said_at_the_keepalive_interval_while_a_command_waits(seconds: int) -> None:
    async def story(host: Host) -> None:
        await host.ask(f"M113 S{seconds}")
        t0 = host.loop.time()
        await host.ask("G4 S11")
        busy = [t - t0 for t, line in host.replies if line == "echo:busy: processing"]
        assert busy == pytest.approx([seconds * (i + 1) for i in range(10 // seconds)], abs=1e-3)
        await host.ask("M113 S0")
        before = len(host.lines)
        await host.ask("G4 S11")
        assert len(host.lines) == before + 1

    with_board(story)


@pytest.mark.parametrize("command", ["G28", "M400", "M109 S60", "M190 S40", "G4 S3"])
def test_long_commands_keep_the_host_informed(command: str) -> None:
    async def story(host: Host) -> None:
        await host.stream(["G1 X100 Y100 F1200"])
        replies = await host.ask(command)
        assert "echo:busy: processing" in replies and replies[-1].startswith("ok")

    with_board(story)


def test_temperatures_come_by_themselves_also_during_a_wait() -> None:
    async def story(host: Host) -> None:
        await host.ask("M155 S2")
        await host.ask("G4 S9")
        auto = [(t, line) for t, line in host.replies if line.startswith(" T:")]
        assert [round(t) for t, _ in auto] == [2, 4, 6, 8]
        assert auto[0][1] == " T:21.00 /0.00 B:20.00 /0.00 @:0 B@:0"
        await host.ask("M155 S0")
        count = len(host.lines)
        await asyncio.sleep(10)
        assert len(host.lines) == count
        await host.ask("M140 S60")
        await asyncio.sleep(60)
        reply = (await host.ask("M105"))[0]
        assert reply.startswith("ok T:21.00 /0.00 B:4") and "/60.00" in reply and "B@:127" in reply

    with_board(story)


@pytest.mark.parametrize("emergency", [True, False])
def test_m112_kills_and_only_a_reset_helps(emergency: bool) -> None:
    async def story(host: Host) -> None:
        host.send("G1 X100 F600", "M104 S200")
        await asyncio.sleep(2)
        host.send("M112")
        await asyncio.sleep(0.1)
        assert host.lines[-1] == "Error:Printer halted. kill() called!" and host.board.killed
        stood = host.gantry.position_at(host.loop.time())
        count = len(host.lines)
        host.send("M105", framed(1, "M110 N1"), "M999")
        await asyncio.sleep(10)
        assert len(host.lines) == count
        assert host.gantry.position_at(host.loop.time()) == stood and 10 < stood[0] < 30
        host.board.reset()
        await asyncio.sleep(1)
        assert host.lines[count] == "start"
        # the board has forgotten where it is; the gantry has not moved
        assert (await host.ask("M114"))[0].startswith("X:0.00 Y:0.00") and "Count X:0 " in host.lines[-2]
        assert host.gantry.position_at(host.loop.time()) == stood
        await host.ask("G28")
        assert host.gantry.position_at(host.loop.time()) == (0.0, 0.0, 0.0)

    with_board(story, emergency_parser=emergency)


@pytest.mark.parametrize("emergency", [True, False])
def test_emergency_parser_hears_m112_through_full_buffers(emergency: bool) -> None:
    async def story(host: Host) -> None:
        host.send("G4 S30", "G4", "G4", "G4")
        await asyncio.sleep(1)
        host.send("M112")
        await asyncio.sleep(1)
        assert host.board.killed is emergency
        await asyncio.sleep(40)
        assert host.board.killed

    with_board(story, emergency_parser=emergency)


def test_a_numbered_m112_works_without_emergency_parser_when_its_turn_comes() -> None:
    async def story(host: Host) -> None:
        host.send("G4 S3", framed(1, "M112"))
        await asyncio.sleep(2.9)
        assert not host.board.killed
        await asyncio.sleep(0.2)
        assert host.board.killed

    with_board(story, emergency_parser=False)


def test_m108_ends_a_heating_wait() -> None:
    async def story(host: Host) -> None:
        host.send("M109 S200")
        await asyncio.sleep(10)
        assert host.oks == 0 and any(line.endswith("W:?") for line in host.lines)
        host.send("M108")
        await asyncio.sleep(0.01)
        assert host.oks == 2  # the wait's, and M108's own

    with_board(story)


@pytest.mark.parametrize("emergency", [True, False])
def test_m410_stops_now_forgets_the_ring_and_knows_where_it_is(emergency: bool) -> None:
    async def story(host: Host) -> None:
        await host.stream(["G1 X100 F600", "G1 Y50", "G1 X0"])
        await asyncio.sleep(3)
        t_stop = host.loop.time()
        await host.ask("M410")
        assert host.loop.time() - t_stop >= 1.0
        x, y, _ = host.gantry.position_at(host.loop.time())
        assert 25 < x < 32 and y == 0
        assert (await host.ask("M114"))[0].startswith(f"X:{x:.2f} Y:0.00")
        await asyncio.sleep(30)
        assert host.gantry.position_at(host.loop.time())[0] == x
        await host.stream(["G91", "G1 X1", "M400"])
        assert host.gantry.position_at(host.loop.time())[0] == pytest.approx(x + 1)

    with_board(story, emergency_parser=emergency)


def test_m410_ends_a_blocked_move_and_the_commands_behind_it_still_run() -> None:
    async def story(host: Host) -> None:
        for line in [*steps(1, 16, mm=50.0), b"M118 behind\n"]:
            host.send(line)
            await asyncio.sleep(0.01)
        assert host.oks == 15
        host.send("M410")
        await asyncio.sleep(0.9)
        assert host.oks == 15
        await asyncio.sleep(0.2)
        assert "behind" in host.lines and host.oks == 18

    with_board(story)


def test_opening_resets_or_not_as_the_adapter_is_wired() -> None:
    async def story(host: Host) -> None:
        host.send("M105")  # lost: the bootloader does not listen
        await asyncio.sleep(1)
        assert host.lines[0] == "start" and host.oks == 0 and host.board.boot_bytes == 5
        await host.stream(["G1 X10 F600", "M400"])
        host.session.closed()
        host.session = host.board.attach(host._heard)
        await asyncio.sleep(1)
        assert host.lines.count("start") == 2
        assert (await host.ask("M114"))[0].startswith("X:0.00")

    with_board(story, reset_on_open=True)

    async def story_held(host: Host) -> None:
        await host.ask("G1 X100 F600")
        host.session.closed()
        host.send("G1 X0")  # nobody hears a line that is closed
        await asyncio.sleep(20)
        host.session = host.board.attach(host._heard)
        assert "start" not in host.lines
        assert (await host.ask("M114"))[0].startswith("X:100.00") and "Count X:8000" in host.lines[-2]

    with_board(story_held)


def test_a_reset_in_motion_loses_the_position() -> None:
    async def story(host: Host) -> None:
        await host.ask("G1 X100 F600")
        await asyncio.sleep(4)
        host.board.reset()
        await asyncio.sleep(1)
        x = host.gantry.position_at(host.loop.time())[0]
        assert 30 < x < 45
        await host.stream(["G1 X5 F600", "M400"])  # the board believes it stood at 0
        assert host.gantry.position_at(host.loop.time())[0] == pytest.approx(x + 5)
        assert host.board.gantry.controller_at(host.loop.time())[0] == pytest.approx(5)

    with_board(story)


def test_homing_soft_end_stops_and_offsets() -> None:
    async def story(host: Host) -> None:
        # stock firmware moves before homing, without soft end stops; the frame stops it and steps are lost
        await host.stream(["G1 X-5 Y20 F3000", "M400"])
        assert host.gantry.crashes == 1 and host.gantry.position_at(host.loop.time()) == (0.0, 20.0, 0.0)
        await host.stream(["G1 X0", "M400"])
        assert host.gantry.position_at(host.loop.time())[0] == 5.0
        replies = await host.ask("G28")
        assert replies[-2] == "X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"
        assert host.gantry.position_at(host.loop.time()) == (0.0, 0.0, 0.0)
        await host.stream(["G1 X999 Y-3 F6000", "M400"])
        assert host.gantry.position_at(host.loop.time()) == (250.0, 0.0, 0.0)
        assert (await host.ask("M114"))[0].startswith("X:250.00 Y:0.00")
        await host.stream(["G92 X10", "G1 X5", "M400"])
        assert host.gantry.position_at(host.loop.time())[0] == 245.0
        assert (await host.ask("M114"))[0].startswith("X:5.00")
        await host.ask("G28 X")
        assert (await host.ask("M114"))[0].startswith("X:0.00 Y:0.00")

    with_board(story)


def test_settings_are_stored_over_a_reset_and_used() -> None:
    async def story(host: Host) -> None:
        await host.stream(["M204 S100", "M205 J0.05", "M203 X20", "M500", "M204 S300"])
        host.board.reset()
        await asyncio.sleep(1)
        replies = "\n".join(await host.ask("M503"))
        assert "M204 P100.00" in replies and "J0.05" in replies and "M203 X20.00 Y100.00" in replies
        await host.stream(["G1 X40 F6000", "M400"])
        assert host.gantry.history[-1].move.cruise_mm_s == 20.0
        assert host.gantry.history[-1].move.acceleration_mm_s2 == 100.0
        assert (await host.ask("M502"))[0] == "echo:Hardcoded Default Settings Loaded"
        assert "M204 P500.00" in "\n".join(await host.ask("M503"))

    with_board(story)


def test_small_commands_answer() -> None:
    async def story(host: Host) -> None:
        assert (await host.ask("M118 E1 hello there"))[0] == "echo:hello there"
        assert (await host.ask("M111 S6"))[0] == "echo:DEBUG:INFO,ERRORS"
        assert (await host.ask("M113"))[0] == "echo:M113 S2"
        await host.stream(["M106 S100", "M107", "M117 hi", "M17", "M18", "M84", "M82", "M501", "M220 S50"])
        assert host.board.firmware.feed_percent == 50
        assert (await host.ask("M220"))[0] == "FR:50%"
        await host.stream(["G1 X40 F3000", "M400"])
        assert host.gantry.history[-1].move.nominal_mm_s == 25.0
        replies = await host.ask("M999")
        assert replies[:2] == ["Resend: 1", "ok"]

    with_board(story)
