"""Do homing, probing, soft and hard limits of the emulated Grbl end as its alarm list says?"""

from __future__ import annotations

import asyncio

import pytest
from grbl_helpers import BENCH, FRAME, Host, with_board

from hil_sim.world.emulators.grbl_firmware import Inputs

BANNER = "Grbl 1.1h ['$' for help]"
LOCKED = "[MSG:'$H'|'$X' to unlock]"
START = (61.0, 43.0, 12.0)
# Switches at the low ends: $23 = 7 homes towards minus.
HOMING = {**BENCH, 22: 1, 23: 7, 24: 120, 25: 3000, 27: 2}


def ends() -> Inputs:
    return Inputs(limit_low_mm=(0.5, 0.5, 0.5), limit_high_mm=(249.5, 149.5, 99.5))


def test_homing_finds_the_switches_and_sets_negative_machine_space() -> None:
    async def story(host: Host) -> None:
        assert (await host.ask("G0 X1")) == ["error:9"]
        host.send("$H")
        await asyncio.sleep(0.1)
        host.send(b"?")
        await asyncio.sleep(1)
        assert len(host.lines) == 1, "no reports during homing"
        await host.until(lambda: len(host.answers) == 2)
        assert host.answers[-1] == "ok"
        assert host.at == pytest.approx((2.5, 2.5, 2.5), abs=1e-9)
        await asyncio.sleep(0.1)
        assert any(line.startswith("<Idle|MPos:-248.000,-148.000,-98.000") for line in host.lines)
        # z first, then x and y together
        z_done = max(i for i, run in enumerate(host.runs) if run.unit[2])
        assert all(run.unit[2] == 0 for run in host.runs[z_done + 1 :])
        assert any(run.unit[0] and run.unit[1] for run in host.runs) and host.gantry.crashes == 0
        towards = [run for run in host.runs if run.unit[2] < 0]
        assert [run.move.cruise_mm_s for run in towards] == pytest.approx([50.0, 2.0]), "search fast, locate slowly"
        assert [run.length_mm for run in towards] == pytest.approx([11.5, 2.0])
        await host.stream("G10 L2 P1 X-250 Y-150 Z-100", "G0 X20 Y20 Z20")
        await host.idle()
        assert host.at == pytest.approx((20.5, 20.5, 20.5), abs=0.01), "the switch is half a millimetre in"

    with_board(story, inputs=ends(), start_mm=START, frame_mm=FRAME, settings=HOMING)


def test_homing_to_the_high_ends_and_with_the_origin_there() -> None:
    async def high(host: Host) -> None:
        assert (await host.ask("$H")) == ["ok"]
        assert host.at == pytest.approx((247.5, 147.5, 97.5))
        assert "MPos:-2.000,-2.000,-2.000" in await host.status()

    with_board(high, inputs=ends(), start_mm=START, frame_mm=FRAME, settings={**HOMING, 23: 0})

    async def origin(host: Host) -> None:
        assert (await host.ask("$H")) == ["ok"]
        assert "MPos:0.000,0.000,0.000" in await host.status()
        await host.stream("$20=1", "G0 X10")
        await host.idle()
        assert (await host.ask("$J=X-1F100")) == ["error:15"]
        assert "Z," in (await host.ask("$I"))[1]

    with_board(origin, inputs=ends(), start_mm=START, frame_mm=FRAME, settings=HOMING, origin_at_home=True)


@pytest.mark.parametrize(
    ("inputs", "alarm"),
    [
        (Inputs(limit_low_mm=(0.5,) * 3, stuck="x"), 8),
        (Inputs(limit_low_mm=(0.5,) * 3, release_mm=3.0), 8),
        (Inputs(limit_low_mm=(0.5,) * 3, broken="y"), 9),
        (Inputs(), 9),
    ],
)
def test_homing_that_fails_by_its_switches(inputs: Inputs, alarm: int) -> None:
    async def story(host: Host) -> None:
        host.send("$H")
        await host.until(lambda: BANNER in host.lines)
        assert host.lines == [f"ALARM:{alarm}", "ok", "", BANNER, LOCKED]

    with_board(story, inputs=inputs, start_mm=START, frame_mm=FRAME, settings=HOMING)


@pytest.mark.parametrize(("byte", "alarm"), [(b"\x18", 6), (b"\x84", 7)])
def test_homing_that_is_broken_off(byte: bytes, alarm: int) -> None:
    async def story(host: Host) -> None:
        host.send("$H")
        await asyncio.sleep(0.15)
        host.send(byte)
        at = host.at
        await asyncio.sleep(2)
        assert host.lines == [f"ALARM:{alarm}", "ok", "", BANNER, LOCKED]
        assert host.at == at and 0.5 < at[2] < 12

    with_board(story, inputs=ends(), start_mm=START, frame_mm=FRAME, settings=HOMING)


def test_startup_lines_run_after_homing_and_not_after_an_unlock() -> None:
    async def story(host: Host) -> None:
        await host.ask("$X")
        await host.stream("$N1=G91")
        await host.soft_reset()
        host.board.reset()
        await asyncio.sleep(2)
        await host.ask("$X")
        assert host.lines.count(">G91:ok") == 1, "at the soft reset, which was not locked"
        assert (await host.ask("$H")) == [">G91:ok", "ok"]

    with_board(story, inputs=ends(), start_mm=START, frame_mm=FRAME, settings=HOMING)


# ---- soft limits ----------------------------------------------------------------------------------------------------


def test_a_target_beyond_the_soft_limits_stops_keeps_the_position_and_wants_a_reset() -> None:
    async def story(host: Host) -> None:
        await host.ask("$H")
        await host.stream("G91 G1 X40 F3000", "X40")
        await asyncio.sleep(0.3)
        sent_s = host.loop.time()
        host.send("X500", b"?")
        await asyncio.sleep(0.45)
        host.send(b"\x18")  # within the pause of the alarm: forgotten
        await asyncio.sleep(3)
        assert host.lines[-2:] == ["ALARM:2", "[MSG:Reset to continue]"]
        alarm_s, message_s = (t for t, _ in host.replies[-2:])
        assert message_s - alarm_s == pytest.approx(0.5) and alarm_s > sent_s + 0.1, "a controlled stop comes first"
        at = host.at
        host.send(b"?", "$X", b"~")
        await asyncio.sleep(3)
        assert host.lines[-1] == "[MSG:Reset to continue]" and host.at == at
        assert (await host.soft_reset()) == ["ok", "", BANNER, LOCKED]
        report = await host.status()
        x = float(report.split("MPos:")[1].split(",")[0])
        assert report.startswith("<Alarm|") and x + 250.5 == pytest.approx(at[0], abs=0.01), "the position is kept"

    with_board(story, inputs=ends(), start_mm=START, frame_mm=FRAME, settings={**HOMING, 20: 1})


# ---- hard limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [False, True])
def test_a_limit_switch_that_closes_in_motion_is_alarm_1(waiting: bool) -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X100 F3000")
        if waiting:
            host.send("G4 P1")
        await asyncio.sleep(10)
        assert host.at[0] == pytest.approx(80.0, abs=1e-3), "it stops at the switch, without being asked"
        assert host.lines[1:] == ["ALARM:1", "[MSG:Reset to continue]"]
        closed_s = next(run.t1_s for run in reversed(host.runs))
        assert host.replies[1][0] == pytest.approx(closed_s, abs=1e-5)
        assert (await host.soft_reset()) == [*(["ok"] if waiting else []), "", BANNER, "[MSG:Check Limits]", LOCKED]
        assert "|Pn:X" in await host.status()
        await host.ask("$X")
        await host.stream("G91 G1 X-5 F600")
        await host.idle()
        assert host.at[0] == pytest.approx(75.0, abs=0.02)

    with_board(story, inputs=Inputs(limit_high_mm=(80.0, 149.0, 99.0)), settings={**BENCH, 21: 1})


def test_without_hard_limits_the_frame_stops_it_and_grbl_does_not_know() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X-20 F3000")
        await host.idle()
        assert host.gantry.crashes == 1 and host.at[0] == 0.0
        assert "MPos:-20.000" in await host.status()

    with_board(story, inputs=ends(), frame_mm=FRAME)


# ---- probing --------------------------------------------------------------------------------------------------------


def test_a_probe_touches_and_says_where() -> None:
    async def story(host: Host) -> None:
        lines = await host.ask("G38.2 Z-30 F600")
        assert lines == ["[PRB:0.000,0.000,-10.000:1]", "ok"]
        # the touch is where it was, the stop comes after the segments and the way to brake
        assert host.at[2] == pytest.approx(-10.0 - 0.5 - 0.1, abs=0.02)
        assert (await host.ask("$#"))[-2] == "[PRB:0.000,0.000,-10.000:1]"
        report = await host.status()
        assert report.startswith("<Idle|") and "|Pn:P" in report
        assert (await host.ask("G38.4 Z5 F600"))[-1] == "ok" and host.at[2] == pytest.approx(-9.4, abs=0.05)

    with_board(story, inputs=Inputs(probe_z_mm=-10.0))


@pytest.mark.parametrize(("code", "alarm"), [("G38.2", True), ("G38.3", False)])
def test_a_probe_that_misses(code: str, alarm: bool) -> None:
    async def story(host: Host) -> None:
        lines = await host.ask(f"{code} Z-5 F600")
        assert lines == (["ALARM:5"] if alarm else []) + [f"[PRB:0.000,0.000,{'0.000' if alarm else '-5.000'}:0]", "ok"]
        assert (await host.ask("G0 Z0")) == (["error:9"] if alarm else ["ok"])

    with_board(story, inputs=Inputs(probe_z_mm=-10.0))


@pytest.mark.parametrize(("code", "touching"), [("G38.2", True), ("G38.3", True), ("G38.4", False), ("G38.5", False)])
def test_a_probe_that_is_wrong_from_the_beginning(code: str, touching: bool) -> None:
    async def story(host: Host) -> None:
        assert (await host.ask(f"{code} Z-5 F600")) == ["ALARM:4", "ok"]
        assert not host.runs and (await host.ask("G0 Z0")) == ["error:9"]

    with_board(story, inputs=Inputs(probe_z_mm=0.0 if touching else -10.0))


def test_a_probe_can_be_held_and_go_on() -> None:
    async def story(host: Host) -> None:
        host.send("G38.2 Z-30 F600")
        await asyncio.sleep(0.4)
        host.send(b"!")
        await asyncio.sleep(1)
        assert (await host.status()).startswith("<Hold:0|")
        host.send(b"~")
        await host.until(lambda: bool(host.answers))
        assert host.lines[-2:] == ["[PRB:0.000,0.000,-10.000:1]", "ok"]

    with_board(story, inputs=Inputs(probe_z_mm=-10.0))
