"""A world without a host: emulated devices on real ptys and loopback TCP, until somebody interrupts.

The folder holds the wires' names, `<machine>.toml` for a host (`moonkiln print part.kiln --machine D/bench.toml`), and
after the end the world's truth.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

from control.host import machine_file, machine_name
from hil_sim.harness.trace import close_truth
from hil_sim.world.build import BedSettings, build_world
from hil_sim.world.faults.schedule import FaultSchedule


async def serve(
    machine: str,
    directory: Path,
    *,
    world_machine: str | None = None,
    settings: BedSettings | None = None,
    faults: FaultSchedule | None = None,
    reset_on_open: bool | None = None,
    seed: int = 0,
    announce: Callable[[str], None] = print,
) -> Path:
    """Serve `machine` in `directory` until SIGINT or SIGTERM; returns the folder with the truth.

    `machine` is the host's machine file; `world_machine` its emulated twin, None: of the same name. `announce` gets
    one JSON line a device, then `{"machine": PATH}`: from then on a host may connect.
    """
    loop = asyncio.get_running_loop()
    directory.mkdir(parents=True, exist_ok=True)
    start_ns = time.time_ns() - round(loop.time() * 1e9)
    world = await build_world(
        world_machine or machine_name(machine),
        lay="wire",
        directory=directory.resolve(),
        settings=settings,
        faults=faults,
        seed=seed,
    )
    try:
        if reset_on_open is not None:
            world.marlin.build = dataclasses.replace(world.marlin.build, reset_on_open=reset_on_open)
        ended = asyncio.Event()
        broken: list[BaseException] = []

        def break_off(_loop: asyncio.AbstractEventLoop, context: dict) -> None:
            # asyncio only logs an exception in a callback; a world whose physics broke must not go on serving
            broken.append(context.get("exception") or RuntimeError(context["message"]))
            ended.set()

        loop.set_exception_handler(break_off)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        machine_toml = directory / f"{world.spec.name}.toml"
        machine_toml.write_text(machine_file(machine, world.urls), encoding="utf-8")
        for device in world.devices:
            announce(json.dumps(device.to_dict()))
        announce(json.dumps({"machine": str(machine_toml)}))
        await ended.wait()
        if broken:
            raise broken[0]
        await close_truth(world, directory, start_ns)
    finally:
        world.close()
    return directory
