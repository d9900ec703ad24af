"""A process of its own: the emulated Marlin board on a real pty. Prints its URL, serves until stdin ends, prints truth.

    python marlin_pty_server.py DIRECTORY

Line 1: {"url"}. After the end of stdin: {"position_mm", "executed": [[line_no, x0, y0, x1, y1, s], ...], counters}.
"""

from __future__ import annotations

import asyncio
import json
import sys

from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.optics import Head, Optics
from hil_sim.world.wire import lay_pty


async def serve(directory: str) -> None:
    gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
    head = Head()
    optics = Optics(gantry, head)
    board = MarlinEmulator(gantry, MarlinBuild(advanced_ok="advanced" in sys.argv[2:]))
    wire = await lay_pty(directory, "motion", board, baud=115200)
    loop = asyncio.get_running_loop()
    head.set_emission_capability(loop.time(), 100.0)
    print(json.dumps({"url": wire.url}), flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    loop.remove_reader(sys.stdin)
    optics.settle(loop.time())
    truth = {
        "position_mm": gantry.position_at(loop.time()),
        "executed": [[b.line_no, *b.start_mm[:2], *b.end_mm[:2], b.s_fraction] for b in optics.executed],
        "energy_j": [b.energy_j for b in optics.executed],
        "dropped_bytes": board.dropped_bytes,
        "resends": board.resends,
        "resets": board.resets,
        "crashes": gantry.crashes,
    }
    print(json.dumps(truth), flush=True)
    wire.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
