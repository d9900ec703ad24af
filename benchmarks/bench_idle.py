"""CPU seconds of thirty simulated days in which nothing happens: an empty loop, and an emulated bench without a host.

python benchmarks/bench_idle.py
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import build_world

DAYS = 30
BAR_S = 0.2
ROUNDS = 5


async def empty(loop: VirtualLoop) -> tuple[float, int]:
    """CPU seconds and timers of the wait alone."""
    return await _wait(loop)


async def bench(loop: VirtualLoop) -> tuple[float, int]:
    """The same with every device of the bench laid, and nobody connected."""
    world = await build_world("bench")
    try:
        return await _wait(loop)
    finally:
        world.close()


async def _wait(loop: VirtualLoop) -> tuple[float, int]:
    cpu_s, fired = time.process_time(), loop.fired
    await asyncio.sleep(DAYS * 86400.0)
    assert loop.time() >= DAYS * 86400.0
    return time.process_time() - cpu_s, loop.fired - fired


def run(rounds: int = ROUNDS) -> dict[str, Any]:
    """The best of `rounds`; `cpu_s` is the emulated bench's."""
    quiet = min(run_virtual(empty) for _ in range(rounds))
    standing = min(run_virtual(bench) for _ in range(rounds))
    return {
        "bench": "idle",
        "cpu_s": round(standing[0], 5),
        "empty_cpu_s": round(quiet[0], 5),
        "days": DAYS,
        "timers": standing[1],
        "load_average": round(os.getloadavg()[0], 2),
        "bar": f"cpu_s < {BAR_S} for {DAYS} simulated days",
        "passed": max(standing[0], quiet[0]) < BAR_S,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
