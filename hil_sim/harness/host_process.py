"""A host as a process on the virtual loop: it can be killed and followed by another, held up, and shown a wrong clock.

The world lives on through all of it: the board carries out what it holds, the head's watchdog trips, and the next host
finds the machine as it has become.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from control.errors import MoonkilnError
from control.host import Outcome, resume_host, working_with
from hil_sim.harness.host_files import FaultyFiles
from hil_sim.harness.scenario import ScenarioError
from hil_sim.virtual_process import VirtualProcess
from hil_sim.virtual_time import SimError, VirtualLoop
from hil_sim.world.faults.process import HOST, POINTS
from hil_sim.world.faults.schedule import Fault, Faults

Host = Callable[[Path, Path, Path], Awaitable[Outcome | None]]
"""None: the host left no `outcome.json`, as one that died."""

Left = TypeVar("Left")
"""What a host leaves: a print's outcome, or a drive's."""

HOSTS_MAX = 2000  # one after the other in a run: more than any schedule kills
LOOK_S = 0.01  # how often it is asked what strikes the process itself
BACK_AFTER_S = 1.0
SETTLED_S = 20.0  # after a host that nobody follows: the devices' own watchdogs have acted by then


@dataclass
class HostStory:
    """What became of a run's hosts: sentences, the loop times at which they died, and what each saw as it began: the
    loop time, and what the wall clock showed at loop time 0 by then, ns since 1970."""

    said: list[str] = field(default_factory=list)
    died_at_s: list[float] = field(default_factory=list)
    began: list[tuple[float, int]] = field(default_factory=list)


async def resume_here(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
    """Resume a printer's run in the world that it was begun in."""
    return await resume_host(run_dir, world_lives=True)


def is_struck(faults: Faults) -> bool:
    """Whether anything of a schedule strikes the host's computer: else no process needs to be simulated."""
    return any(faults.touches(point) for point in POINTS)


def simulated(loop: asyncio.AbstractEventLoop) -> VirtualLoop:
    """The loop, on which a host can be killed and held up. Raises ScenarioError for one in real time."""
    if not isinstance(loop, VirtualLoop):
        raise ScenarioError(
            "this scenario kills or holds up the host's computer, or breaks its disk, which needs virtual time: leave "
            "those faults, or run it in virtual or paced time"
        )
    return loop


async def run_hosts(
    loop: VirtualLoop,
    faults: Faults,
    host: Callable[[Path, Path, Path], Awaitable[Left]],
    resume: Callable[[Path, Path, Path], Awaitable[Left]] | None,
    where: tuple[Path, Path, Path],
    *,
    story: HostStory,
) -> Left | None:
    """Run `host(*where)`, and `resume(*where)` after each death that the schedule lets another host follow; None: there
    is no going on with what such a host does.

    Returns the last host's outcome, None if it died and nobody followed, or if it could only raise a sentence (its disk
    takes no outcome any more): `story` tells. The world has come to rest then.

    Raises:
        SimError: hosts died again and again, more often than anybody would start one.
    """
    true_ns = loop.epoch_ns
    clock = loop.create_task(_turn_clock(loop, faults), name="wall clock")  # the computer's: it outlives its hosts
    try:
        await asyncio.sleep(0)  # it shows its first time before the first host looks
        return await _run_one_by_one(loop, faults, host, resume, where, story)
    finally:
        clock.cancel()
        loop.epoch_ns = true_ns


async def _run_one_by_one(
    loop: VirtualLoop,
    faults: Faults,
    host: Callable[[Path, Path, Path], Awaitable[Left]],
    resume: Callable[[Path, Path, Path], Awaitable[Left]] | None,
    where: tuple[Path, Path, Path],
    story: HostStory,
) -> Left | None:
    work = host
    for number in range(HOSTS_MAX):
        process = VirtualProcess(loop, f"host {number + 1}")
        disk = FaultyFiles(faults, process)
        story.began.append((loop.time(), loop.epoch_ns))
        task = process.start(_with(disk, work, where), process.name)
        striker = loop.create_task(_strike(loop, process, disk, faults), name=f"striker {number + 1}")
        try:
            awaited: set[asyncio.Future[Any]] = {task, process.died}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if not process.is_dead:
                return await _result(task, story)
        finally:
            striker.cancel()
            if not process.is_dead and not task.done():
                task.cancel()
                await asyncio.wait({task})
        fault = disk.dead_by
        story.died_at_s.append(loop.time())
        story.said.append(f"{process.name} died at {loop.time():.2f} s: {process.died.result()}")
        back_after_s = float(fault.arg("back_after_s", BACK_AFTER_S)) if fault is not None else -1.0
        if back_after_s < 0 or resume is None:
            await asyncio.sleep(SETTLED_S)
            return None
        await asyncio.sleep(back_after_s)
        work = resume
    raise SimError(f"{HOSTS_MAX} hosts have died on one run: the schedule kills each of them")


async def _result(task: asyncio.Task[Left], story: HostStory) -> Left | None:
    """A host's outcome, or None with its last sentence."""
    try:
        return task.result()
    except MoonkilnError as error:
        story.said.append(f"the host could leave no outcome and ended with: {error}")
        await asyncio.sleep(SETTLED_S)
        return None


async def _with(
    disk: FaultyFiles, work: Callable[[Path, Path, Path], Awaitable[Left]], where: tuple[Path, Path, Path]
) -> Left:
    with working_with(disk):
        return await work(*where)


async def _turn_clock(loop: VirtualLoop, faults: Faults) -> None:
    """Show a wrong wall clock while one has jumped, until cancelled."""
    true_ns = loop.epoch_ns
    jumped: Fault | None = None
    while faults.touches(HOST):
        now_s = loop.time()
        jump = next((fault for fault in faults.lasting(HOST, now_s) if fault.kind == "clock_jump"), None)
        if jump is None:
            loop.epoch_ns = true_ns
        elif jump is not jumped:
            faults.begin(jump, now_s)
            loop.epoch_ns = round((float(jump.arg("to_s", 0.0)) - now_s) * 1e9)
        jumped = jump
        await asyncio.sleep(LOOK_S)


async def _strike(loop: VirtualLoop, process: VirtualProcess, disk: FaultyFiles, faults: Faults) -> None:
    """Carry out what strikes the process itself, each fault once, until cancelled."""
    struck: set[Fault] = set()
    while faults.touches(HOST):
        now_s = loop.time()
        for fault in faults.lasting(HOST, now_s):
            if fault in struck or fault.kind == "clock_jump":
                continue
            struck.add(fault)
            faults.begin(fault, now_s)
            if fault.kind == "loop_blocked":
                process.hold(now_s + fault.for_s)
            elif fault.kind == "crash":
                disk.dead_by = fault
                process.kill("killed")
                return
        await asyncio.sleep(LOOK_S)
