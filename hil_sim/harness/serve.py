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
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from control.errors import UsageError
from control.host import GroundMap, ground_of, machine_file, machine_name, read_route, rover_file
from hil_sim.harness.drive_runner import DriveScenario, made_ground, site_tags, start_pose, write_track
from hil_sim.harness.trace import close_truth
from hil_sim.world.build import build_world
from hil_sim.world.build_rover import build_rover_world, load_rover_spec
from hil_sim.world.faults.schedule import FaultSchedule
from hil_sim.world.machine_spec import BedSettings, load_machine_spec
from hil_sim.world.plant.bed import compile_kernels
from hil_sim.world.wiring import DeviceLine

FLAT = GroundMap(np.zeros((201, 201), np.float32), -100.0, -100.0, 1.0)


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
    """Serve a printer in `directory` until SIGINT or SIGTERM; returns the folder with the truth.

    `machine` is the host's machine file; `world_machine` its emulated twin, None: of the same name. `announce` gets
    one JSON line a device, then `{"machine": PATH}`: from then on a host may connect.

    Raises:
        UsageError: the file for the host would replace the one that is served; nothing was laid or written.
        MoonkilnError, WorldError: the host's machine file or the world's cannot be used.
        OSError: a pty, a socket or the file cannot be made.
    """
    twin = world_machine or machine_name(machine)
    machine_toml = _new_file(directory, load_machine_spec(twin).name, machine, twin)
    directory.mkdir(parents=True, exist_ok=True)
    compile_kernels()  # before a host may come
    start_ns = _zero_ns()
    world = await build_world(
        twin,
        lay="wire",
        directory=directory.resolve(),
        settings=settings,
        faults=faults,
        seed=seed,
    )
    try:
        if reset_on_open is not None:
            world.motion_board.build = dataclasses.replace(world.motion_board.build, reset_on_open=reset_on_open)
        machine_toml.write_text(machine_file(machine, world.urls), encoding="utf-8")
        await _until_interrupted(world.devices, machine_toml, announce)
        await close_truth(world, directory, start_ns)
    finally:
        world.close()
    return directory


async def serve_rover(
    scenario: DriveScenario, route_path: Path | None, directory: Path, *, announce: Callable[[str], None] = print
) -> Path:
    """Serve a rover as `serve` does a printer: at the start of a route, or on flat ground without one.

    Raises: as `serve`.
    """
    machine_toml = _new_file(directory, load_rover_spec(scenario.twin()).name, scenario.machine, scenario.twin())
    directory.mkdir(parents=True, exist_ok=True)
    route = None if route_path is None else read_route(route_path)
    ground = FLAT if route is None or route_path is None else ground_of(route, route_path.parent)
    world = await build_rover_world(
        scenario.twin(),
        made_ground(ground, scenario),
        pose=(0.0, 0.0, 0.0) if route is None else start_pose(route),
        soil=scenario.soil_params(),
        lay="wire",
        directory=directory.resolve(),
        faults=scenario.faults,
        seed=scenario.seed,
        tags=() if route is None else site_tags(route),
    )
    try:
        machine_toml.write_text(rover_file(scenario.machine, world.urls), encoding="utf-8")
        await _until_interrupted(world.devices, machine_toml, announce)
        write_track(world.finish(), directory)
    finally:
        world.close()
    return directory


def _new_file(directory: Path, name: str, *read: str) -> Path:
    """Where the host's machine file goes: never over one of the machine files that are `read`."""
    machine_toml = directory / f"{name}.toml"
    for path in (Path(given) for given in read if given.endswith(".toml")):
        if machine_toml.exists() and path.exists() and machine_toml.samefile(path):
            raise UsageError(
                f"{path} is the machine file that is served, and {machine_toml} would be written over it with the"
                " emulated wires in [urls]: give another --dir, or move the file"
            )
    return machine_toml


def _zero_ns() -> int:
    """UTC nanoseconds at which the loop's clock read zero."""
    return time.time_ns() - round(asyncio.get_running_loop().time() * 1e9)


async def _until_interrupted(
    devices: Sequence[DeviceLine], machine_toml: Path, announce: Callable[[str], None]
) -> None:
    """Announce, and wait for SIGINT or SIGTERM. Raises what broke in the world meanwhile."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    broken: list[BaseException] = []

    def break_off(_loop: asyncio.AbstractEventLoop, context: dict) -> None:
        # asyncio only logs an exception in a callback; a world whose physics broke must not go on serving
        broken.append(context.get("exception") or RuntimeError(context["message"]))
        ended.set()

    loop.set_exception_handler(break_off)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    for device in devices:
        announce(json.dumps(device.to_dict()))
    announce(json.dumps({"machine": str(machine_toml)}))
    await ended.wait()
    if broken:
        raise broken[0]
