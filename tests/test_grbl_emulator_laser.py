"""Does the emulated Grbl's beam follow laser mode as its document says, and does the plant see whole blocks?"""

from __future__ import annotations

import asyncio
import math

import pytest
from grbl_helpers import BENCH, LASER, Host, with_board

WATTS = 150.0
FINE = {**LASER, 100: 1000, 101: 1000, 102: 1000}


async def lit(host: Host, *lines: str) -> None:
    host.head.set_emission_capability(host.loop.time(), WATTS)
    await host.stream(*lines)


def pulse_width(s: float) -> float:
    """S of 1000 as the 8-bit output gives it."""
    return 0.0 if s == 0 else min(1.0, (math.floor(s * 0.254) + 1) / 255)


def test_a_vector_gets_its_energy_however_it_is_ramped_held_and_starved() -> None:
    """M4: power follows speed, so each vector gets P L / v, in one block, whatever happens on the way."""

    async def story(host: Host) -> None:
        await lit(host, "M4")
        here, wanted = (0.0, 0.0), []
        for n in range(1, 301):
            i = n - 1
            end = (round(60 + 50 * math.cos(i * 0.7) * (i % 7) / 7, 3), round(60 + 50 * math.sin(i * 0.31), 3))
            if i % 9 == 0:
                await host.ask(f"N{n} G0 X{end[0]} Y{end[1]} F6000")
            else:
                s, v = 200 + i, 20 + i % 60
                await host.ask(f"N{n} G1 X{end[0]} Y{end[1]} F{v * 60} S{s}")
                wanted.append((n, WATTS * pulse_width(s) * math.dist(here, end) / v, here, end))
            here = end
            if i % 23 == 0:
                host.send(b"!")
                await asyncio.sleep(0.7)
                host.send(b"~")
            if i % 50 == 0:
                await asyncio.sleep(0.7 if i % 100 else 60.0)  # now settle in the middle of moves, now starve it
                host.settle()
        await host.idle()
        host.settle()
        done = host.optics.executed
        assert [block.line_no for block in done] == [n for n, _, _, _ in wanted]
        for block, (_, joules, start, end) in zip(done, wanted):
            assert block.energy_j == pytest.approx(joules, rel=2e-4)
            assert block.start_mm[:2] == pytest.approx(start) and block.end_mm[:2] == pytest.approx(end)
        rows = host.optics.exposures
        assert not host.optics.dwells
        assert (0.5 * (rows[:, 6] + rows[:, 7]) * (rows[:, 1] - rows[:, 0])).sum() == pytest.approx(
            sum(block.energy_j for block in done)
        )
        assert set(rows[:, 8]) == set(range(len(done))), "each row belongs to its block"

    with_board(story, settings=FINE, line_numbers=True)


def test_no_stop_between_vectors_of_different_power() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M3 S0", "G1 X20 F3000 S500", "X40 S900", "X60 S100")
        await host.idle()
        speeds = [run.move.entry_mm_s for run in host.runs if not run.joins]
        assert speeds == pytest.approx([0.0, 50.0, 50.0])
        assert [block.s_fraction for block in host.optics.executed] == []
        host.settle()
        assert [block.s_fraction for block in host.optics.executed] == [pulse_width(s) for s in (500, 900, 100)]

    with_board(story, settings=FINE)


def test_outside_laser_mode_each_change_of_s_is_a_stop() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M3 S100", "G1 X20 F3000 S500")
        host.send("X40 S900")
        await host.until(lambda: len(host.answers) == 3)
        assert host.loop.time() > 0.49, "the second waits for the first to end"
        await host.idle()
        assert [run.move.entry_mm_s for run in host.runs if not run.joins] == [0.0, 0.0]

    with_board(story, settings={**FINE, 32: 0})


def test_m4_is_dark_at_rest_and_m3_burns_on_when_the_ring_runs_dry() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M4 S800", "G1 X10 F3000")
        await asyncio.sleep(2)
        assert host.optics.emission_w(host.loop.time()) == 0.0 and "|FS:0,0" in await host.status()
        await lit(host, "M3", "G1 X20")
        await asyncio.sleep(2)
        assert host.optics.emission_w(host.loop.time()) == pytest.approx(WATTS * pulse_width(800))
        assert "|FS:0,800" in await host.status()
        await asyncio.sleep(60)
        host.settle()
        assert host.optics.emission_w(host.loop.time()) > 0 and host.board.firmware.planner.dry_runs == 1
        await host.stream("M5")
        assert host.optics.emission_w(host.loop.time()) == 0.0
        await asyncio.sleep(1)
        host.settle()
        assert host.optics.dwells[-1].energy_j > 60 * WATTS * 0.7

    with_board(story, settings=FINE)


@pytest.mark.parametrize("mode", ["M3", "M4"])
def test_a_hold_turns_the_beam_off_and_resuming_brings_it_back(mode: str) -> None:
    """Seen on the real one: S went from 500 to 0 in Hold."""

    async def story(host: Host) -> None:
        await lit(host, f"{mode} S500", "G1 X40 F3000")
        await asyncio.sleep(0.4)
        assert "|FS:3000,500" in await host.status()
        host.send(b"!")
        await asyncio.sleep(1)
        report = await host.status()
        assert report.startswith("<Hold:0|") and "|FS:0,0" in report
        assert host.optics.emission_w(host.loop.time()) == 0.0
        await asyncio.sleep(10)
        host.send(b"~")
        assert "[MSG:Restoring spindle]" in host.lines
        await asyncio.sleep(0.15)
        assert host.optics.emission_w(host.loop.time()) > 0
        await asyncio.sleep(2)
        await host.stream("M5")
        host.settle()
        (block,) = host.optics.executed
        assert block.start_mm[0] == 0.0 and block.end_mm[0] == 40.0
        if mode == "M4":
            assert block.energy_j == pytest.approx(WATTS * pulse_width(500) * 40 / 50, rel=1e-6)
        assert sum(d.energy_j for d in host.optics.dwells) == pytest.approx(
            0.0 if mode == "M4" else host.optics.dwells[-1].energy_j
        ), "nothing burned while it was held"

    with_board(story, settings=FINE)


def test_a_spindle_stop_in_a_hold_toggles() -> None:
    async def story(host: Host) -> None:
        await host.stream("M3 S500", "G1 X40 F3000")
        host.send(b"\x9e")
        assert "|FS:" in await host.status()
        host.send(b"!")
        await asyncio.sleep(1)
        assert "|FS:0,500" in await host.status(), "a spindle is not stopped by a hold"
        host.send(b"\x9e")
        assert "|FS:0,0" in await host.status()
        host.send(b"\x9e")
        assert "[MSG:Restoring spindle]" in host.lines and "|FS:0,500" in await host.status()

    with_board(story)


def test_rapids_and_jogs_of_a_laser() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M3 S500", "G0 X20", "G1 X40 F3000", "G0 X60")
        await host.idle()
        host.settle()
        (block,) = host.optics.executed
        assert (block.start_mm[0], block.end_mm[0]) == (20.0, 40.0)
        assert host.optics.emission_w(host.loop.time()) == 0.0, "a G0 ends dark"

    with_board(story, settings=FINE)


def test_m3_without_motion_lights_a_laser_only_in_a_cutting_mode() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M3 S500")
        assert host.optics.emission_w(host.loop.time()) == 0.0, "G0 is the mode after power-up"
        await host.stream("G1 F1000")
        assert host.optics.emission_w(host.loop.time()) == pytest.approx(WATTS * pulse_width(500))
        await host.stream("S250")
        assert host.optics.emission_w(host.loop.time()) == pytest.approx(WATTS * pulse_width(250))
        await host.stream("G0")
        assert host.optics.emission_w(host.loop.time()) == 0.0
        await host.stream("G1", "M4", "S700")
        assert host.optics.emission_w(host.loop.time()) == 0.0, "dynamic power is none at rest"

    with_board(story, settings=FINE)


def test_a_spindle_override_changes_the_block_in_work() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M3 S400", "G1 X40 F3000")
        await asyncio.sleep(0.3)
        host.send(b"\x9a" * 5)
        await asyncio.sleep(0.1)
        assert host.optics.emission_w(host.loop.time()) == pytest.approx(WATTS * pulse_width(600))
        assert "|FS:3000,600" in await host.status()
        host.send(b"\x9a" * 20)
        await asyncio.sleep(0.1)
        assert "|FS:3000,800" in await host.status(), "at most 200 %"

    with_board(story, settings=FINE)


@pytest.mark.parametrize(
    ("settings", "s", "width"),
    [({}, 0, 0.0), ({}, 1, 1 / 255), ({}, 500, 128 / 255), ({}, 1000, 1.0), ({}, 5000, 1.0), ({31: 100}, 50, 1 / 255),
     ({30: 255}, 254, 254 / 255), ({31: 1000}, 3, 1.0)],
)  # fmt: skip
def test_s_becomes_one_of_255_pulse_widths(settings: dict[int, float], s: float, width: float) -> None:
    async def story(host: Host) -> None:
        await lit(host, f"M3 S{s}")
        assert host.optics.emission_w(host.loop.time()) == pytest.approx(WATTS * width)

    with_board(story, settings={**BENCH, **settings})


def test_a_reset_darkens_at_once() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M3 S500", "G1 X40 F3000")
        await asyncio.sleep(0.4)
        assert host.optics.emission_w(host.loop.time()) > 0
        host.send(b"\x18")
        assert host.optics.emission_w(host.loop.time()) == 0.0
        await asyncio.sleep(5)
        host.settle()
        assert not host.optics.dwells

    with_board(story, settings=FINE)
