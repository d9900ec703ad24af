"""Does a motion board outlast what happens to it before any host has opened its wire: its reset, a black-out?"""

from __future__ import annotations

import asyncio

import pytest

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import build_world


@pytest.mark.parametrize("bench", ["bench", "bench_grbl", "bench_rrf"])
def test_a_board_that_nobody_has_opened_yet_can_be_reset(bench: str) -> None:
    async def main(_loop: VirtualLoop) -> int:
        world = await build_world(bench)
        try:
            await asyncio.sleep(1.0)
            world.motion_board.reset()
            await asyncio.sleep(30.0)
            return world.motion_board.resets
        finally:
            world.close()

    assert run_virtual(main) == 1
