"""Do the emulated RepRapFirmware board's end switches, the moves that stop at them and its limits do as a Duet's do?"""

from __future__ import annotations

from typing import Any

import pytest
from test_reprap_emulator import Host, with_board

FRAME = ((-3.0, -3.0, 0.0), (250.0, 150.0, 100.0))  # switches at 0, metal behind them


async def homed(host: Host, *commands: str) -> None:
    host.gantry.frame_mm = FRAME
    await host.stream("G28", *commands)


async def machine_mm(host: Host) -> list[float]:
    """Where the board says that it stands, in the machine's frame."""
    words = (await host.ask("M114"))[0].split("Machine ")[1].split()
    return [float(word) for word in words[:3]]


def true_mm(host: Host) -> tuple[float, ...]:
    return host.gantry.position_at(host.loop.time())


def test_the_report_tells_each_switch() -> None:
    async def story(host: Host) -> list[str]:
        await homed(host)
        said = await host.ask("M119")
        await host.stream("G1 X10 F6000", "M400")
        return said + await host.ask("M119")

    assert with_board(story) == [
        "Endstops - X: at min stop, Y: at min stop, Z: at min stop, Z probe: not stopped",
        "ok",
        "Endstops - X: not stopped, Y: at min stop, Z: at min stop, Z probe: not stopped",
        "ok",
    ]


def test_an_axis_stops_at_its_switch_and_is_counted_where_it_stopped_while_the_other_goes_on() -> None:
    async def story(host: Host) -> None:
        await homed(host, "G1 X80 Y50 F6000", "M400")
        host.gantry.lose_steps(host.loop.time(), 0, -4.0)
        assert await host.ask("G1 H4 X-0.5 Y10 F6000") == ["ok"]
        assert host.gantry.run_at(host.loop.time()) is None, "it is done when it stands"
        assert await machine_mm(host) == [4.0, 10.0, 0.0], "counted where it stopped, and not called 0"
        assert true_mm(host) == (pytest.approx(0.0, abs=0.01), pytest.approx(10.0), 0.0)
        await host.stream("G1 X4 Y1 F6000", "M400")
        assert true_mm(host) == (pytest.approx(0.0, abs=0.01), pytest.approx(1.0), 0.0), "and counted on from there"
        assert host.gantry.crashes == 0

    with_board(story)


def test_it_goes_beyond_the_limits_where_no_switch_closes() -> None:
    async def story(host: Host) -> None:
        await homed(host, "G1 X5 Y5 F6000", "M400")
        host.gantry.switch_mm[0] = -2.5
        await host.stream("M452 S0 R1000")
        assert await host.ask("G1 H4 X-2 F600 S0") == ["ok"]
        assert await machine_mm(host) == [-2.0, 5.0, 0.0]
        assert (await host.ask("G1 X-1 F600 S0"))[0] == "Error: G1: target position outside machine limits"
        assert await host.ask("G1 X0 F600 S0") == ["ok"], "and comes back"

    with_board(story)


@pytest.mark.parametrize("target", ["X5 Y0", "X-5 Y0"])
def test_an_axis_at_its_switch_does_not_move_in_either_direction(target: str) -> None:
    async def story(host: Host) -> None:
        await homed(host, f"G1 H4 {target} F6000")
        assert await machine_mm(host) == [0.0, 0.0, 0.0] and true_mm(host) == (0.0, 0.0, 0.0)

    with_board(story)


def test_the_switch_of_an_axis_that_is_not_named_stops_nothing() -> None:
    async def story(host: Host) -> None:
        await homed(host, "G1 X5 F6000", "M400")
        host.gantry.switch_mm[2] = 1.0
        await host.stream("G1 H4 X3 F600")
        assert await machine_mm(host) == [3.0, 0.0, 0.0]

    with_board(story)


def test_its_places_are_the_machines_whatever_the_workplace() -> None:
    async def story(host: Host) -> None:
        await homed(
            host, "G10 L2 P2 X-300", "G55", "G1 H4 Y5 F6000", "G54", "G1 X20 Y20 F6000", "G55", "G1 H4 X10 F600"
        )
        assert await machine_mm(host) == [10.0, 20.0, 0.0]
        await host.stream("G91", "G1 H4 X-3 F600")
        assert await machine_mm(host) == [7.0, 20.0, 0.0]

    with_board(story)


def test_homing_is_not_asked_for() -> None:
    async def story(host: Host) -> None:
        host.gantry.frame_mm, host.gantry.switch_mm[:] = FRAME, [-3.0, -3.0, 0.0]
        assert await host.ask("G1 H4 X-1 F600") == ["ok"]
        assert true_mm(host) == (-1.0, 0.0, 0.0)
        assert await host.ask("G1 X2") == ["Error: G1: insufficient axes homed", "ok"]

    with_board(story)


@pytest.mark.parametrize(("s", "fraction"), [("S0", 0.0), ("S500", 0.5), ("", 0.0)])
def test_it_is_lit_by_its_own_s_alone(s: str, fraction: float) -> None:
    async def story(host: Host) -> Any:
        await homed(host, "M452 S0 R1000", "G1 X9 F6000 S800", "M400", f"G1 H4 X5 F600 {s}")
        return host.moves[-1].move.s_fraction

    assert with_board(story) == fraction


@pytest.mark.parametrize(("h", "words"), [("H1", "H1 is not emulated"), ("H5", "parameter 'H' too high")])
def test_other_moves_of_this_kind_are_refused(h: str, words: str) -> None:
    async def story(host: Host) -> list[str]:
        await homed(host)
        return await host.ask(f"G1 {h} X5 F600")

    assert with_board(story) == [f"Error: G1: {words}", "ok"]


def test_homing_ends_at_the_switch_wherever_it_is() -> None:
    async def story(host: Host) -> None:
        await homed(host)
        host.gantry.switch_mm[1] = 2.0
        await host.stream("G1 X20 Y20 F6000", "G28")
        assert true_mm(host) == (0.0, pytest.approx(2.0), 0.0) and await machine_mm(host) == [0.0, 0.0, 0.0]

    with_board(story)


def test_limits_and_homing_rule_are_two_switches() -> None:
    async def story(host: Host) -> None:
        await homed(host, "M452 S0 R1000")
        said = "Movement outside the bed is {}permitted, movement before homing is {}permitted"
        assert await host.ask("M564") == [said.format("not ", "not "), "ok"]
        await host.stream("M564 S0")
        assert await host.ask("M564") == [said.format("", "not "), "ok"]
        assert await host.ask("G1 X-1 F600 S0") == ["ok"] and await machine_mm(host) == [-1.0, 0.0, 0.0]
        await host.stream("M564 S1 H0")
        assert await host.ask("M564") == [said.format("not ", ""), "ok"]
        assert (await host.ask("G1 X-2 F600 S0"))[0] == "Error: G1: target position outside machine limits"

    with_board(story)
