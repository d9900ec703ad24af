"""A process of its own: an emulated motion board on a real pty. Prints its URL, serves until stdin ends, prints truth.

    python marlin_pty_server.py DIRECTORY [--board grbl] [--advanced-ok] [--faults FILE]

FILE holds a JSON list of faults for the wire `motion`. Line 1: {"url"}. After the end of stdin: {"position_mm",
"executed": [[line_no, x0, y0, x1, y1, s], ...], "energy_j", "strikes": [[point, kind], ...],
counters of the board}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.optics import Head, Optics
from hil_sim.world.wire import lay_pty

COUNTERS = ("dropped_bytes", "boot_bytes", "deaf_bytes", "resends", "resets", "errors", "killed")  # of those it has
# laser mode, and the bench's steps, speeds and accelerations
GRBL_SETTINGS = {32: 1, 100: 80, 101: 80, 102: 400, 110: 6000, 111: 6000, 112: 1200, 120: 500, 121: 500, 122: 500}


def make_board(gantry: Gantry, options: argparse.Namespace) -> Any:
    if options.board == "grbl":
        from hil_sim.world.emulators.grbl import GrblEmulator
        from hil_sim.world.emulators.grbl_firmware import GrblBuild

        return GrblEmulator(gantry, GrblBuild(settings=GRBL_SETTINGS))
    return MarlinEmulator(gantry, MarlinBuild(advanced_ok=options.advanced_ok))


async def serve(options: argparse.Namespace) -> None:
    gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
    head = Head()
    optics = Optics(gantry, head)
    board = make_board(gantry, options)
    rows = json.loads(options.faults.read_text()) if options.faults else []
    faults = FaultSchedule(tuple(Fault.from_dict(row) for row in rows))
    wire = await lay_pty(options.directory, "motion", board, baud=115200, faults=faults)
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
        "strikes": [[point, fault.kind] for _, point, fault in wire.strikes],
        "crashes": gantry.crashes,
    }
    counters = {name: getattr(board, name) for name in COUNTERS if hasattr(board, name)}
    print(json.dumps(truth | counters), flush=True)
    wire.close()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory")
    arguments.add_argument("--board", choices=("marlin", "grbl"), default="marlin")
    arguments.add_argument("--advanced-ok", action="store_true")
    arguments.add_argument("--faults", type=Path)
    asyncio.run(serve(arguments.parse_args()))
