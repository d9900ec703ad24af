"""What stops the emulated Marlin board, and what it waits for: heaters that break, users, emergency commands, forks."""

from __future__ import annotations

import asyncio
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marlin_helpers import Host, framed, with_board, with_full_board

from hil_sim.world.emulators.marlin_firmware import new_heaters
from hil_sim.world.emulators.marlin_heaters import HEATING_FAILED, MAXTEMP, MINTEMP, RUNAWAY

KILLED = "Error:Printer halted. kill() called!"


# ---- heaters that break ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("heater", "reading", "error"),
    [
        ("hotend", -14.0, "Error:MINTEMP triggered, system stopped! Heater_ID: 0"),
        ("hotend", 999.0, "Error:MAXTEMP triggered, system stopped! Heater_ID: 0"),
        ("plate", -14.0, "Error:MINTEMP triggered, system stopped! Heater_ID: bed"),
        ("plate", 999.0, "Error:MAXTEMP triggered, system stopped! Heater_ID: bed"),
    ],
)
def test_a_broken_thermistor_kills_at_once(heater: str, reading: float, error: str) -> None:
    async def story(host: Host) -> None:
        await host.stream(["M104 S200", "M140 S60", "G1 X100 F600"])
        await asyncio.sleep(3)
        broke_s = host.loop.time()
        getattr(host.board.heaters, heater).stick_sensor(broke_s, reading)
        await asyncio.sleep(0.1)
        assert host.lines[-2:] == [error, KILLED] and host.replies[-1][0] == pytest.approx(broke_s)
        stood = host.gantry.position_at(host.loop.time())
        await asyncio.sleep(30)
        assert host.gantry.position_at(host.loop.time()) == stood and 20 < stood[0] < 40
        assert host.board.heaters.hotend.target_c == host.board.heaters.plate.target_c == 0.0

    with_board(story)


def test_an_open_thermistor_of_a_heater_that_is_off_is_noticed_when_it_is_switched_on() -> None:
    async def story(host: Host) -> None:
        host.board.heaters.hotend.stick_sensor(0.0, -14.0)
        await asyncio.sleep(100)
        assert "T:-14.00 /0.00" in (await host.ask("M105"))[0]
        host.send("M104 S200")
        await asyncio.sleep(0.1)
        assert host.lines[-1] == KILLED and MINTEMP in "".join(host.lines)

    with_board(story)


def test_a_lost_cartridge_while_holding_is_a_thermal_runaway() -> None:
    async def story(host: Host) -> None:
        await host.ask("M109 S200")
        lost_s = host.loop.time()
        host.board.heaters.hotend.lose_power(lost_s)
        await asyncio.sleep(300)
        assert host.lines[-2:] == ["Error:Thermal Runaway, system stopped! Heater_ID: 0", KILLED]
        # from 200 to 196 degC towards 21 with tau 90 s, and 40 s below it
        assert host.replies[-1][0] - lost_s == pytest.approx(90 * log(179 / 175) + 40, abs=0.01)

    with_board(story)


def test_a_cartridge_that_is_missing_from_the_start_fails_to_heat() -> None:
    async def story(host: Host) -> None:
        host.board.heaters.hotend.lose_power(0.0)
        host.send("M109 S200")
        await asyncio.sleep(100)
        assert host.lines[-2:] == ["Error:Heating failed, system stopped! Heater_ID: 0", KILLED]
        assert host.replies[-1][0] == pytest.approx(40.0, abs=0.01)

    with_board(story)


def test_a_repaired_heater_goes_on() -> None:
    async def story(host: Host) -> None:
        await host.ask("M109 S200")
        host.board.heaters.hotend.lose_power(host.loop.time())
        await asyncio.sleep(20)
        host.board.heaters.hotend.repair(host.loop.time())
        await asyncio.sleep(300)
        assert not host.board.killed and "T:200.00 /200.00" in (await host.ask("M105"))[0]

    with_board(story)


def test_a_fault_outlives_a_reset_and_so_does_the_heat() -> None:
    async def story(host: Host) -> None:
        await host.ask("M109 S200")
        host.board.heaters.hotend.lose_power(host.loop.time())
        await asyncio.sleep(100)
        assert host.board.killed
        host.board.reset()
        await asyncio.sleep(1)
        hot = float((await host.ask("M105"))[0].split("T:")[1].split()[0])
        assert 60 < hot < 150
        host.send("M104 S200")
        await asyncio.sleep(60)
        assert f"Error:{HEATING_FAILED}, system stopped! Heater_ID: 0" in host.lines

    with_board(story)


@given(st.floats(30.0, 250.0), st.floats(0.0, 600.0), st.sampled_from(["lose", "open", "short", "same"]))
def test_protection_strikes_after_the_fault_and_never_without_one(target: float, at: float, fault: str) -> None:
    heater, _ = new_heaters()
    heater.set_target(0.0, target)
    assert heater.trip(0.0) is None
    before = heater.temperature_c(at)
    if fault == "lose":
        heater.lose_power(at)
    else:
        heater.stick_sensor(at, {"open": -14.0, "short": 999.0, "same": before}[fault])
    trip = heater.trip(at)
    if trip is None:
        # only a reading that is near enough to its set-point, or was never there and is not watched, goes unnoticed
        assert fault in ("lose", "same") and (before > target - 6.5 or target - 4 <= heater.ambient_c)
        return
    at_s, why = trip
    assert at_s >= at
    assert why == {"open": MINTEMP, "short": MAXTEMP}.get(fault, why) and why in (
        MINTEMP,
        MAXTEMP,
        RUNAWAY,
        HEATING_FAILED,
    )
    assert heater.temperature_c(at) == pytest.approx(before), "a fault does not make heat"
    if fault == "lose":
        assert heater.temperature_c(at + 90) == pytest.approx(21 + (before - 21) * exp(-1))
    heater.repair(at)
    assert heater.trip(at) is None


# ---- users ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["M108", "M876 S0"])
def test_m0_waits_for_the_user(end: str) -> None:
    async def story(host: Host) -> None:
        host.send("G1 X10 F600", "M0")
        await asyncio.sleep(7)
        assert host.oks == 1 and "echo:busy: paused for user" in host.lines
        assert "//action:prompt_begin M0/M1 Break Called" in host.lines and "//action:prompt_show" in host.lines
        host.send(end)
        await asyncio.sleep(0.01)
        assert host.oks == 3
        await host.ask("G4 S3")
        assert host.lines[-2] == "echo:busy: processing"

    with_full_board(story)


def test_m0_with_a_time_ends_by_itself() -> None:
    async def story(host: Host) -> None:
        await host.ask("M0 S5")
        assert host.loop.time() == pytest.approx(5.0, abs=1e-3)
        await host.ask("M1 P1500")
        assert host.loop.time() == pytest.approx(6.5, abs=1e-3)

    with_board(story)


def test_without_a_way_to_end_it_m0_is_unknown() -> None:
    assert with_board(lambda host: host.ask("M0"), emergency_parser=False)[0] == 'echo:Unknown command: "M0"'


def test_a_filament_change_is_long_parks_and_returns() -> None:
    async def story(host: Host) -> None:
        await host.stream(["G28", "G1 X50 Y40 Z1 F6000", "M109 S200", "M400"])
        host.send("M600")
        await asyncio.sleep(40)
        assert host.gantry.position_at(host.loop.time()) == (10.0, 140.0, 20.0)
        assert host.oks == 4 and host.lines[-1] == "echo:busy: paused for user"
        for said in ("//action:paused", "echo:Insert filament and send M108", "//action:prompt_begin Nozzle Parked"):
            assert said in host.lines
        host.send("M108")
        await asyncio.sleep(60)
        assert host.oks == 6 and "//action:resumed" in host.lines
        assert host.gantry.position_at(host.loop.time()) == (50.0, 40.0, 1.0)
        assert (await host.ask("M114"))[0].startswith("X:50.00 Y:40.00 Z:1.00")

    with_full_board(story)


def test_a_filament_change_that_is_left_alone_lets_the_nozzle_cool_and_heats_it_again() -> None:
    async def story(host: Host) -> None:
        await host.ask("M109 S200")
        host.send("M600")
        await asyncio.sleep(120)
        assert "echo:Send M108 to heat nozzle" in host.lines and host.board.heaters.hotend.target_c == 0.0
        host.send("M108")
        await asyncio.sleep(80)
        assert host.lines.count("echo:Insert filament and send M108") == 2
        assert host.board.heaters.hotend.target_c == 200.0
        host.send("M108")
        await asyncio.sleep(60)
        assert "//action:resumed" in host.lines

    with_full_board(story)


# ---- emergency commands ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("emergency", [True, False])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("command", ["M108", "M112", "M410"])
def test_emergency_commands_work_where_their_line_is_read(command: str, full: bool, emergency: bool) -> None:
    """With EMERGENCY_PARSER always at once; without it as long as the queue has room for the line."""

    async def story(host: Host) -> None:
        host.send("G1 X100 F600")
        await asyncio.sleep(0.5)
        host.send("M109 S200")
        await asyncio.sleep(0.5)
        for _ in range(3 if full else 1):
            host.send("M118 queued")
        await asyncio.sleep(0.5)
        before = host.oks
        host.send(command)
        await asyncio.sleep(0.01)
        is_done = {
            "M108": host.oks > before,
            "M112": host.board.killed,
            "M410": host.gantry.run_at(host.loop.time()) is None,
        }[command]
        assert is_done is (emergency or not full)

    with_board(story, emergency_parser=emergency)


def test_what_came_while_a_command_was_parsed_is_read_once_it_waits() -> None:
    async def story(host: Host) -> None:
        host.send("G4 S30", "M112")  # in the same instant: the second line finds the board parsing the first
        await asyncio.sleep(0.01)
        assert host.board.killed

    with_board(story, emergency_parser=False)


@pytest.mark.parametrize("open_resets", [True, False])
def test_a_dead_board_comes_back_with_dtr_or_the_button_alone(open_resets: bool) -> None:
    async def story(host: Host) -> None:
        await asyncio.sleep(1)
        host.send("M112")
        await asyncio.sleep(0.1)
        assert host.board.killed
        host.session.closed()
        host.session = host.board.attach(host._heard)
        await asyncio.sleep(1)
        before = host.oks
        host.send("M105")
        await asyncio.sleep(1)
        assert host.board.killed is not open_resets and host.oks - before == int(open_resets)

    with_board(story, reset_on_open=open_resets)


def test_an_error_is_told_while_a_command_waits() -> None:
    async def story(host: Host) -> None:
        host.send("G4 S30")
        await asyncio.sleep(1)
        host.send(b"N9 M105*1\n")
        await asyncio.sleep(0.01)
        assert host.lines == ["Error:Line Number is not Last Line Number+1, Last Line: 0", "Resend: 1", "ok"]

    with_board(story)


# ---- idle, forks ----------------------------------------------------------------------------------------------------
def test_an_idle_board_says_wait_and_a_working_one_does_not() -> None:
    async def story(host: Host) -> None:
        await asyncio.sleep(3.5)
        assert host.lines == ["wait"] * 3
        await host.ask("M113 S0")
        await host.ask("G4 S5")
        assert host.lines[3:] == ["ok P15 B3"] * 2
        await asyncio.sleep(2.5)
        assert host.lines[5:] == ["wait"] * 2
        host.session.closed()
        await asyncio.sleep(10)
        assert len(host.lines) == 7

    with_board(story, no_timeouts_s=1.0)


@pytest.mark.parametrize(
    ("ok_after", "short", "expected"),
    [
        (True, False, ["Resend: 1", "ok"]), (False, False, ["Resend: 1"]),
        (True, True, ["rs N1", "ok"]), (False, True, ["rs N1"]),
    ],
)  # fmt: skip
def test_older_forks_ask_again_in_their_own_way(ok_after: bool, short: bool, expected: list[str]) -> None:
    async def story(host: Host) -> list[str]:
        host.send(b"N1 M105*1\n")
        await asyncio.sleep(0.1)
        return host.lines[1:]

    assert with_board(story, ok_after_resend=ok_after, short_resend=short) == expected


@pytest.mark.parametrize("line", [b"M105*36\n", b"G1 X1*92\n"])
def test_older_forks_want_no_checksum_without_a_number(line: bytes) -> None:
    async def story(host: Host) -> list[str]:
        await host.ask(framed(1, "M400"))
        host.send(line, b"M117 next\n")
        await asyncio.sleep(0.1)
        return host.lines[1:]

    expected = ["Error:No Line Number with checksum, Last Line: 1", "ok P15 B3"]
    assert with_board(story, numbers_with_checksums=True) == expected
    assert with_board(story)[0].startswith("ok")
