"""Do holds, doors, jogs, sleeps, resets and reports of the emulated Grbl go as its interface document says?"""

from __future__ import annotations

import asyncio

import pytest
from grbl_helpers import BENCH, Host, with_board

from hil_sim.world.emulators.grbl_states import Event, State, next_state

BANNER = "Grbl 1.1h ['$' for help]"
LOCKED = "[MSG:'$H'|'$X' to unlock]"

# What each event may do; every (state, event) pair that is not here changes nothing.
MOVES = {
    (State.IDLE, Event.CYCLE_START): State.RUN,
    (State.HOLD, Event.CYCLE_START): State.RUN,
    (State.DOOR, Event.CYCLE_START): State.RUN,
    (State.HOLD, Event.NOTHING_LEFT): State.IDLE,
    (State.DOOR, Event.NOTHING_LEFT): State.IDLE,
    (State.IDLE, Event.JOG_START): State.JOG,
    (State.RUN, Event.MOTION_END): State.IDLE,
    (State.JOG, Event.MOTION_END): State.IDLE,
    (State.IDLE, Event.FEED_HOLD): State.HOLD,
    (State.RUN, Event.FEED_HOLD): State.HOLD,
    (State.IDLE, Event.DOOR_OPENED): State.DOOR,
    (State.RUN, Event.DOOR_OPENED): State.DOOR,
    (State.HOLD, Event.DOOR_OPENED): State.DOOR,
    (State.JOG, Event.JOG_STOPPED_BY_DOOR): State.DOOR,
    (State.ALARM, Event.UNLOCK): State.IDLE,
    (State.IDLE, Event.CHECK_MODE): State.CHECK,
    (State.IDLE, Event.HOMING_START): State.HOME,
    (State.ALARM, Event.HOMING_START): State.HOME,
    (State.HOME, Event.HOMING_END): State.IDLE,
    (State.SLEEP, Event.RESET): State.ALARM,
    (State.ALARM, Event.RESET): State.ALARM,
    **{(s, Event.ALARM): State.ALARM for s in State},
    **{(s, Event.SLEEP): State.SLEEP for s in State},
    **{(s, Event.POWER_UP_LOCKED): State.ALARM for s in State},
    **{(s, Event.RESET): State.IDLE for s in State if s not in (State.SLEEP, State.ALARM)},
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair_of_state_and_event(state: State, event: Event) -> None:
    assert next_state(state, event) is MOVES.get((state, event), state)


# ---- hold and resume ------------------------------------------------------------------------------------------------


def test_a_hold_brakes_along_the_path_and_a_cycle_start_goes_on() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X40 F3000", "G1 Y30")
        await asyncio.sleep(0.5)
        at, now = host.at[0], host.loop.time()
        host.send(b"!")
        assert (await host.status()).startswith("<Hold:1|")
        await asyncio.sleep(0.3)
        # 50 ms of segments at 50 mm/s are out already, then v^2 / 2a = 2.5 mm
        assert host.at[0] == pytest.approx(at + 2.5 + 2.5, abs=0.02)
        assert (await host.status()).startswith("<Hold:0|") and "|FS:0,0" in host.lines[-1]
        await asyncio.sleep(3)
        stood = host.at
        host.send(b"~")
        assert host.at == stood
        await host.idle()
        assert host.at == (40.0, 30.0, 0.0)
        assert [run.joins for run in host.runs].count(False) == 2, "two blocks, in however many pieces"
        assert now < host.runs[-1].t0_s

    with_board(story)


def test_in_a_hold_nothing_is_read_and_resuming_reads_on() -> None:
    async def story(host: Host) -> None:
        host.send(b"!")
        host.send("G1 X5 F6000", "G5", "G90")
        await asyncio.sleep(10)
        assert not host.answers and (await host.status()).startswith("<Hold:0|")
        host.send(b"~")
        await asyncio.sleep(1)
        assert host.answers == ["ok", "error:20", "ok"] and host.at[0] == 5.0

    with_board(story)


def test_what_comes_in_a_hold_stays_in_the_ring() -> None:
    async def story(host: Host) -> None:
        await host.stream("$10=3")
        await asyncio.sleep(0.1)
        host.send(b"!")
        host.send("G1 X5 F6000", "G1 X6")
        assert "|Bf:15,110|" in await host.status()
        host.send(b"G" * 120)
        assert "|Bf:15,0|" in await host.status() and host.board.dropped_bytes == 10

    with_board(story)


def test_a_cycle_start_before_the_stop_is_complete_is_forgotten() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X40 F3000")
        await asyncio.sleep(0.3)
        host.send(b"!")
        await asyncio.sleep(0.05)
        host.send(b"~")
        await asyncio.sleep(5)
        assert (await host.status()).startswith("<Hold:0|") and host.at[0] < 40
        host.send(b"!~")  # a second hold is nothing, this cycle start counts
        await host.idle()
        assert host.at[0] == 40.0

    with_board(story)


def test_a_line_that_waits_for_the_planner_still_waits_after_a_hold() -> None:
    async def story(host: Host) -> None:
        await host.feed(*(f"G1 X{i + 1} F600" for i in range(16)))
        host.send(b"!")
        await asyncio.sleep(5)
        assert len(host.answers) == 15
        host.send(b"~")
        await asyncio.sleep(3)
        assert len(host.answers) == 16 and host.at[0] == 16.0

    with_board(story)


def test_a_dwell_does_not_run_while_it_is_held() -> None:
    async def story(host: Host) -> None:
        host.send("G4 P2")
        await asyncio.sleep(1)
        host.send(b"!")
        await asyncio.sleep(10)
        host.send(b"~")
        await host.until(lambda: bool(host.answers))
        assert host.loop.time() == pytest.approx(12.0, abs=0.1)

    with_board(story)


# ---- jogging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [b"!", b"\x85"])
def test_a_jog_is_cancelled_with_its_queue_and_the_position_is_known(stop: bytes) -> None:
    async def story(host: Host) -> None:
        await host.stream("G20", "G91", "$J=G21 G90 X40 F3000", "$J=G21 X10 F3000", "$J=G21 Y5 F3000")
        assert (await host.status()).startswith("<Jog|")
        await asyncio.sleep(0.3)
        host.send(stop)
        await asyncio.sleep(0.3)
        x, y, _ = host.at
        report = await host.status()
        assert report.startswith("<Idle|") and f"MPos:{round(x * 80) / 80:.3f},0.000" in report
        assert 10 < x < 30 and y == 0
        await host.stream("G21 G1 X1 F6000")  # relative, and from where it stands
        await host.idle()
        assert host.at[0] == pytest.approx(round(x * 80) / 80 + 1, abs=0.02)

    with_board(story)


def test_a_jog_leaves_the_modal_state_alone_and_ends_in_idle() -> None:
    async def story(host: Host) -> None:
        before = (await host.ask("$G"))[0]
        await host.stream("$J=G91 G20 X1 F100")
        await asyncio.sleep(0.5)
        assert (await host.status()).startswith("<Jog|")
        await host.idle()
        assert host.at[0] == pytest.approx(25.4, abs=0.01) and (await host.ask("$G"))[0] == before

    with_board(story)


# ---- door -----------------------------------------------------------------------------------------------------------


def test_the_door_byte_stops_switches_off_and_comes_back_with_a_delay() -> None:
    async def story(host: Host) -> None:
        await host.stream("M3 S500", "M8", "G1 X40 F3000")
        await asyncio.sleep(0.3)
        host.send(b"\x84")
        assert (await host.status()).startswith("<Door:2|") and "[MSG:Check Door]" in host.lines
        await asyncio.sleep(1)
        report = await host.status()
        assert report.startswith("<Door:0|") and "FS:0,0" in report and "|A:" not in report
        resumed_s = host.loop.time()
        host.send(b"~")
        await asyncio.sleep(1)
        assert (await host.status()).startswith("<Door:3|")
        await host.idle()
        # 4 s for the spindle, 1 s for the coolant, and then the rest of the way
        assert host.runs[-1].t0_s - resumed_s == pytest.approx(5.0, abs=0.5) and host.at[0] == 40.0

    with_board(story)


def test_an_open_door_cannot_be_resumed_until_its_pin_says_closed() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X40 F3000")
        await asyncio.sleep(0.3)
        host.inputs.door_open = True
        host.board.door_moved()
        await asyncio.sleep(1)
        report = await host.status()
        assert report.startswith("<Door:1|") and "|Pn:D" in report
        host.send(b"~")
        await asyncio.sleep(1)
        assert (await host.status()).startswith("<Door:1|")
        host.inputs.door_open = False
        host.board.door_moved()
        assert host.lines.count("[MSG:Check Door]") == 2
        assert (await host.status()).startswith("<Door:0|")
        host.send(b"~")
        await host.idle()
        assert host.at[0] == 40.0

    with_board(story, door_pin=True)


def test_a_door_during_a_jog_ends_the_jog_first() -> None:
    async def story(host: Host) -> None:
        await host.stream("$J=X40 F3000")
        await asyncio.sleep(0.3)
        host.send(b"\x84")
        await asyncio.sleep(0.02)
        assert (await host.status()).startswith("<Jog|")
        await asyncio.sleep(1)
        assert (await host.status()).startswith("<Door:0|")
        host.send(b"~")
        assert (await host.status()).startswith("<Idle|") and host.at[0] < 40

    with_board(story)


# ---- sleep, resets, alarms ------------------------------------------------------------------------------------------


def test_sleep_is_left_only_by_a_reset_and_then_locked() -> None:
    async def story(host: Host) -> None:
        await host.ask("$SLP")
        assert host.lines == ["ok", "[MSG:Sleeping]"]
        host.send("G1 X1 F100", b"~!")
        await asyncio.sleep(5)
        assert host.answers == ["ok"] and (await host.status()).startswith("<Sleep|")
        assert (await host.soft_reset()) == ["", BANNER, LOCKED]
        assert (await host.ask("$X")) == ["[MSG:Caution: Unlocked]", "ok"]

    with_board(story)


def test_a_reset_at_rest_forgets_modes_and_buffers_and_keeps_the_position() -> None:
    async def story(host: Host) -> None:
        await host.stream("G91 G1 X10 F6000", "M3 S500", "G92 X3")
        await host.idle()
        host.send(b"G0 X")
        assert (await host.soft_reset()) == ["", BANNER]
        assert (await host.ask("$G"))[0] == "[GC:G0 G54 G17 G21 G90 G94 M5 M9 T0 F0 S0]"
        assert "<Idle|MPos:10.000," in await host.status()

    with_board(story)


def test_a_reset_in_motion_is_alarm_3_and_locks_until_unlocked() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X40 F3000")
        await asyncio.sleep(0.4)
        at = host.at
        sent_s = host.loop.time()
        lines = await host.soft_reset()
        assert lines == ["ALARM:3", "", BANNER, LOCKED] and host.at == at, "dead on the spot"
        assert next(t for t, line in host.replies if line == BANNER) - sent_s >= 0.5
        assert (await host.ask("G1 X1")) == ["error:9"]
        assert (await host.status()).startswith(f"<Alarm|MPos:{at[0]:.3f}"[:16])
        assert (await host.soft_reset()) == ["", BANNER, LOCKED], "an alarm outlives a reset"
        assert (await host.ask("$X")) == ["[MSG:Caution: Unlocked]", "ok"]
        await host.stream("G91 G1 X1 F600")

    with_board(story)


def test_a_line_that_a_reset_cuts_off_is_answered_before_the_banner() -> None:
    async def story(host: Host) -> None:
        await host.feed(*(f"G1 X{i + 1} F600" for i in range(16)), "G1 X50")
        before = len(host.lines)
        lines = await host.soft_reset()
        assert lines == ["ALARM:3", "ok", "", BANNER, LOCKED]
        assert len(host.lines) == before + 5, "the line behind it is forgotten with the ring"

    with_board(story)


@pytest.mark.parametrize(("after_s", "alarm"), [(0.06, ["ALARM:3"]), (1.0, [])])
def test_a_reset_in_a_hold_is_an_alarm_only_while_it_brakes(after_s: float, alarm: list[str]) -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X40 F3000")
        await asyncio.sleep(0.4)
        host.send(b"!")
        await asyncio.sleep(after_s)
        lines = await host.soft_reset()
        assert lines == [*alarm, "", BANNER, *([LOCKED] if alarm else [])]

    with_board(story)


def test_bytes_during_the_pause_of_an_alarm_are_forgotten() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X40 F3000")
        host.send(b"\x18")
        await asyncio.sleep(0.3)
        host.send("$X", b"?")
        await asyncio.sleep(2)
        assert host.lines[-1] == LOCKED

    with_board(story)


def test_the_button_loses_the_position_and_what_comes_while_booting() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X40 F3000")
        await asyncio.sleep(0.4)
        host.board.reset()
        at = host.at
        host.send("G90")
        await asyncio.sleep(3)
        assert host.lines[1:] == ["", BANNER] and host.board.boot_bytes == 4
        assert (await host.status()).startswith("<Idle|MPos:0.000,") and host.at == at
        await host.stream("G1 X5 F600")
        await host.idle()
        assert host.at[0] == pytest.approx(at[0] + 5)

    with_board(story)


def test_opening_resets_or_not_as_the_adapter_is_wired() -> None:
    async def story(host: Host) -> None:
        await asyncio.sleep(3)
        assert host.lines == ["", BANNER]
        host.session.closed()
        host.session = host.board.attach(host._heard)
        await asyncio.sleep(3)
        assert host.lines == ["", BANNER] * 2

    with_board(story, reset_on_open=True)

    async def held(host: Host) -> None:
        await host.stream("G1 X40 F3000")
        host.session.closed()
        host.send("G1 X0")  # nobody hears a line that is closed
        await asyncio.sleep(2)
        host.session = host.board.attach(host._heard)
        await asyncio.sleep(1)
        assert BANNER not in host.lines and host.at[0] == 40.0

    with_board(held)


# ---- reports --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moving", "wco_every", "overrides_every"), [(False, 10, 10), (True, 30, 20)])
def test_wco_and_overrides_come_in_their_cadence(moving: bool, wco_every: int, overrides_every: int) -> None:
    async def story(host: Host) -> None:
        if moving:
            await host.stream("G1 X200 F600")
        reports = [await host.status() for _ in range(95)]
        wco = [i for i, text in enumerate(reports) if "|WCO:" in text]
        overrides = [i for i, text in enumerate(reports) if "|Ov:" in text]
        assert wco == list(range(0, 95, wco_every))
        assert overrides == list(range(1, 95, overrides_every)), "never in one report with WCO"

    with_board(story)


@pytest.mark.parametrize(
    ("mask", "fields"),
    [
        (1, "MPos:10.000,0.000,0.000|FS:0,0"),
        (0, "WPos:3.000,0.000,0.000|FS:0,0"),
        (3, "MPos:10.000,0.000,0.000|Bf:15,128|FS:0,0"),
        (2, "WPos:3.000,0.000,0.000|Bf:15,128|FS:0,0"),
    ],
)
def test_the_report_mask_chooses_position_and_buffers(mask: int, fields: str) -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X10 F6000", "G92 X3", f"$10={mask}")
        await host.idle()
        await host.status()
        assert f"<Idle|{fields}" in await host.status()

    with_board(story)


def test_reports_in_inches() -> None:
    async def story(host: Host) -> None:
        await host.stream("$13=1", "G1 X25.4 F2540")
        await asyncio.sleep(0.3)
        assert "|FS:100.0,0" in await host.status()
        await host.idle()
        assert "MPos:1.0000,0.0000,0.0000" in await host.status()

    with_board(story, settings={**BENCH, 100: 1000})


def test_overrides_by_real_time_bytes_are_bounded_and_reported_at_once() -> None:
    async def story(host: Host) -> None:
        await host.status(), await host.status()
        host.send(b"\x91" * 15 + b"\x93" + b"\x96" + b"\x9b\x9d")
        assert "|Ov:200,50,89" in await host.status()
        host.send(b"\x92" * 30 + b"\x94\x97" + b"\x9b" * 20)
        assert "|Ov:10,25,10" in await host.status()
        host.send(b"\x90\x95\x99")
        assert "|Ov:100,100,100" in await host.status()
        assert "|Ov:" not in await host.status()

    with_board(story)


def test_a_feed_override_acts_on_the_move_in_progress_and_m30_takes_it_back() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X100 F3000")
        await asyncio.sleep(0.3)
        host.send(b"\x92" * 5)
        await asyncio.sleep(0.3)
        assert "|FS:1500,0" in await host.status()
        await host.ask("M30")
        assert "|Ov:100,100,100" in "".join([await host.status(), await host.status(), await host.status()])

    with_board(story)


def test_accessories_are_reported_with_the_overrides() -> None:
    async def story(host: Host) -> None:
        await host.stream("M4 S500", "M8")
        reports = [await host.status() for _ in range(2)]
        assert "|A:CF" in reports[1] and "|A:" not in reports[0]
        host.send(b"\xa0")
        assert "|A:C>" in await host.status()
        assert "M9" in (await host.ask("$G"))[0]

    with_board(story)
