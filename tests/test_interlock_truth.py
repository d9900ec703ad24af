"""Does an opened door take the beam away at once, and does the truth know when?"""

from __future__ import annotations

import asyncio

import pytest

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import World, build_world
from hil_sim.world.emulators.beam_head import FIRE, POWER, SHUTTER, STATUS, TOKEN
from hil_sim.world.faults import Fault, FaultSchedule


def fire(world: World, now_s: float) -> None:
    for register, value in ((POWER, 1000), (SHUTTER, 1), (TOKEN, 1), (FIRE, 1)):
        world.beam_head.write_holding(register, [value], now_s)


@pytest.mark.parametrize("kind, point", [("door_open", "interlock.door"), ("purge_lost", "interlock.purge")])
def test_a_switch_that_opens_takes_the_beam_away_at_that_very_moment(kind: str, point: str) -> None:
    async def main(loop: VirtualLoop) -> None:
        world = await build_world("bench", faults=FaultSchedule((Fault(kind, point, at_s=0.3, for_s=2.0),)))
        fire(world, 0.0)
        await asyncio.sleep(0.29)
        assert world.beam_head.capability_w == 100.0
        await asyncio.sleep(0.02)
        assert world.beam_head.capability_w == 0.0
        assert world.beam_head.read_holding(STATUS, 1, loop.time())[0] & 1 == 0
        await asyncio.sleep(2.5)
        assert world.beam_head.read_holding(STATUS, 1, loop.time())[0] == 1, "closed again, and not armed by itself"
        name = point.split(".")[1]
        assert world.histories.changes[name] == [(0.0, 1.0), (0.3, 0.0), (2.3, 1.0)]
        assert world.histories.changes["capability_w"] == [(0.0, 100.0), (0.3, 0.0)]
        assert [(t, p) for t, p, _ in world.faults.strikes] == [(0.3, point)]
        world.close()

    run_virtual(main)


def test_a_door_that_hangs_on_a_layer_opens_so_long_after_it_began() -> None:
    async def main(loop: VirtualLoop) -> None:
        door = Fault("door_open", "interlock.door", at_layer=1, after_s=0.5, for_s=1.0)
        world = await build_world("bench", faults=FaultSchedule((door,)))
        world.spread(0.0, 0.0, 10.0, 0.5, 1.0)
        await asyncio.sleep(1.0)
        assert world.beam_head.read_holding(STATUS, 1, loop.time())[0] & 1 == 1
        world.spread(1.0, 0.0, 10.0, 1.0, 1.0)
        await asyncio.sleep(3.0)
        assert world.histories.changes["door"] == [(0.0, 1.0), (1.5, 0.0), (2.5, 1.0)]
        assert world.histories.changes["layer"] == [(0.0, 0.0), (1.0, 1.0)]
        world.close()

    run_virtual(main)


def test_a_circuit_stays_open_until_both_switches_are_closed() -> None:
    async def main(loop: VirtualLoop) -> None:
        faults = (
            Fault("door_open", "interlock.door", at_s=1.0, for_s=2.0),
            Fault("purge_lost", "interlock.purge", at_s=2.0, for_s=2.0),
        )
        world = await build_world("bench", faults=FaultSchedule(faults))
        seen = []
        for _ in range(6):
            seen.append(world.beam_head.read_holding(STATUS, 1, loop.time())[0] & 1 == 1)
            await asyncio.sleep(0.9)
        assert seen == [True, True, False, False, False, True]
        world.close()

    run_virtual(main)
