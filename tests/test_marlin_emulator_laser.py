"""Does the beam follow the laser words as the contract says: inline S, synchronising M3/M4/M5, and the beam of a
dry planner?
"""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from marlin_helpers import Host, framed, with_board

WATTS = 150.0


async def lit(host: Host, *commands: str) -> None:
    host.head.set_emission_capability(host.loop.time(), WATTS)
    await host.stream(list(commands))


def test_a_vector_gets_its_energy_however_it_is_ramped() -> None:
    """M4: power follows speed, so each vector gets P L / v to 1e-9 over a long run of short, bent, starved vectors."""

    async def story(host: Host) -> None:
        await lit(host, "M4 I")
        here = (0.0, 0.0)
        wanted = []
        for n in range(1, 601):
            i = n - 1
            end = (
                round(60 + 50 * math.cos(i * 0.7) * (i % 7) / 7, 3),
                round(60 + 50 * math.sin(i * 0.31), 3),
            )
            if i % 9 == 0:
                await host.ask(framed(n, f"G0 X{end[0]} Y{end[1]} F6000 S0"))
            else:
                s, v = 200 + i, 20 + i % 60
                await host.ask(framed(n, f"G1 X{end[0]} Y{end[1]} F{v * 60} S{s}"))
                wanted.append((n, WATTS * s / 1000 * math.dist(here, end) / v))
            here = end
            if i % 50 == 0:
                await asyncio.sleep(0.7 if i % 100 else 60.0)  # now settle in the middle of moves, now starve it
                host.settle()
        await host.ask("M400")
        await asyncio.sleep(2)
        host.settle()
        done = host.optics.executed
        assert [(block.line_no, block.index) for block in done] == [(n, k) for k, (n, _) in enumerate(wanted)]
        got, want = np.array([block.energy_j for block in done]), np.array([joules for _, joules in wanted])
        assert np.max(np.abs(got / want - 1)) < 1e-9
        rows = host.optics.exposures
        by_row = 0.5 * (rows[:, 6] + rows[:, 7]) * (rows[:, 1] - rows[:, 0])
        per_block = np.bincount(rows[rows[:, 8] >= 0, 8].astype(int), by_row[rows[:, 8] >= 0])
        assert np.allclose(per_block, got, rtol=1e-7)
        assert host.optics.total_energy_j == pytest.approx(by_row.sum(), rel=1e-9)
        assert host.board.planner.dry_runs > 5 and len(host.optics.dwells) == host.board.planner.dry_runs

    with_board(story)


def test_continuous_power_ignores_speed_and_so_overheats_the_ramps() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M3 I", "G1 X40 F3000 S500", "G0 X0 S0", "M400")
        host.settle()
        (block,) = host.optics.executed
        # 0.9 s from rest to... the corner is a reversal, so also to rest
        assert block.energy_j == pytest.approx(0.5 * WATTS * 0.9)
        assert set(host.optics.exposures[:, 6]) == {75.0}
        assert not host.optics.dwells

    with_board(story)


@pytest.mark.parametrize("mode", ["M3 I", "M4 I"])
def test_a_dry_planner_is_a_beam_that_stands_for_a_second(mode: str) -> None:
    async def story(host: Host) -> None:
        await lit(host, mode, "G1 X40 F3000 S500")
        await asyncio.sleep(10)
        host.settle()
        (dwell,) = host.optics.dwells
        assert dwell.energy_j == pytest.approx(0.5 * WATTS * 1.0) and dwell.at_mm == (40.0, 0.0, 0.0)
        assert dwell.t1_s - dwell.t0_s == pytest.approx(1.0)
        assert host.optics.executed[0].t1_s == dwell.t0_s and dwell.after_block == 0
        # the next move, beam off, ends a stand early; M5 does too
        await host.stream(["G1 X60 S1000", "M400"])
        await asyncio.sleep(0.4)
        assert host.optics.emission_w(host.loop.time()) == WATTS
        await host.ask("M5")
        assert host.optics.emission_w(host.loop.time()) == 0
        await asyncio.sleep(3)
        host.settle()
        assert host.optics.dwells[1].energy_j == pytest.approx(WATTS * 0.4, rel=0.01)

    with_board(story)


def test_a_travel_move_is_beam_off_and_the_next_vector_must_say_s() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M4 I", "G1 X10 F3000 S500", "G0 X20", "G1 X30", "G1 X40 S100", "G1 X50", "M400")
        host.settle()
        assert [(b.start_mm[0], b.s_fraction) for b in host.optics.executed] == [(0, 0.5), (30, 0.1), (40, 0.1)]

    with_board(story)


def test_s_rides_in_the_block_and_is_cut_at_full_power() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M4 I", "G1 X10 F3000 S250", "G1 X20 S5000", "G1 X20 S100", "G1 X30", "M400", "M5 I")
        host.settle()
        assert [b.s_fraction for b in host.optics.executed] == [0.25, 1.0, 0.1]

    with_board(story)


@pytest.mark.parametrize("command", ["M5", "M5 I", "M4 I", "M3 I S100", "M3 S0"])
def test_laser_modes_wait_for_the_moves_before_them(command: str) -> None:
    async def story(host: Host) -> None:
        await lit(host, "M4 I", "G1 X40 F3000 S500")
        await host.ask(command)
        host.settle()
        assert host.board.planner.idle and host.optics.executed[0].t1_s == pytest.approx(host.loop.time(), abs=1e-3)

    with_board(story)


def test_outside_inline_mode_the_beam_is_on_at_once_and_stays_on_moves() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M3 S200")
        assert host.optics.emission_w(host.loop.time()) == pytest.approx(30.0)
        await asyncio.sleep(0.5)
        await host.stream(["G1 X40 F3000 S900", "M400", "M5"])
        host.settle()
        assert host.optics.executed[0].s_fraction == 0.2
        assert host.optics.dwells[0].energy_j == pytest.approx(30 * 0.6, rel=0.01)
        await host.ask("M3 S200")
        await asyncio.sleep(5)  # nothing moves: the time-out puts it off
        host.settle()
        assert host.optics.dwells[-1].energy_j == pytest.approx(30 * 1.0)

    with_board(story)


def test_leaving_inline_mode_forgets_s() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M4 I", "G1 X10 F3000 S500", "M5 I", "G1 X20 S500", "M400")
        host.settle()
        assert [b.s_fraction for b in host.optics.executed] == [0.5]

    with_board(story)


@pytest.mark.parametrize(("command", "stands"), [("M112", False), ("M410", True)])
def test_a_stop_in_motion_and_the_beam(command: str, stands: bool) -> None:
    """A kill ends the beam with the steppers; after a quick stop the last power stands until the time-out (harsher
    reading).
    """

    async def story(host: Host) -> None:
        await lit(host, "M4 I", "G1 X40 F3000 S500")
        await asyncio.sleep(0.5)
        t_stop = host.loop.time()
        host.send(command)
        assert (host.optics.emission_w(t_stop) > 0) is stands
        await asyncio.sleep(5)
        host.settle()
        (block,) = host.optics.executed
        assert block.t1_s == t_stop and 0 < block.end_mm[0] < 40
        assert block.energy_j == pytest.approx(0.5 * WATTS * block.end_mm[0] / 50, rel=1e-9)
        assert bool(host.optics.dwells) is stands

    with_board(story)


def test_homing_and_reset_put_the_beam_off() -> None:
    async def story(host: Host) -> None:
        await lit(host, "M4 I", "G1 X40 F3000 S500", "M400")
        host.send("G28")
        await asyncio.sleep(0.01)
        assert host.optics.emission_w(host.loop.time()) == 0
        await asyncio.sleep(30)
        await host.stream(["G1 X50 F3000 S500", "M400"])
        assert host.optics.emission_w(host.loop.time()) > 0
        host.board.reset()
        assert host.optics.emission_w(host.loop.time()) == 0

    with_board(story)
