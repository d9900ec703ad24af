"""Random schedules of stream faults against a streamed layer: does it end exact, or stopped with a reason?

The host does what a print run does with a layer: stream it, wait until the machine stands, and ask where it stands. The
truth is what the gantry of the emulated board executed, move by move: place, power and speed.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import cache

from marlin_link_helpers import Notes

from firmware_bridge.devices.motion import MotionController
from firmware_bridge.errors import BridgeError
from firmware_bridge.links.marlin import MarlinLink
from hil_sim.virtual_time import VirtualLoop, run_virtual
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.plant.gantry import Gantry, Run
from hil_sim.world.wire import lay_virtual

LINES_COUNT = 120
POINTS_MM = [(20 + index * 0.25, 20 + index % 2 * 0.125) for index in range(LINES_COUNT)]
POWERS = [400 + 5 * (index % 100) for index in range(LINES_COUNT)]
LINES = [
    b"M3 I",
    *(b"G1 X%.3f Y%.3f F6000 S%d" % (x, y, power) for (x, y), power in zip(POINTS_MM, POWERS)),
    b"M5 I",
]
CLOSE_MM = 0.05
ENERGY_PART = 0.01
KINDS = ("drop", "duplicate", "flip", "merge", "delay", "lost ok", "doubled ok")
TRIES_MAX = 40
"""Schedules drawn for one seed until one comes in which every fault has changed bytes before the end."""


@dataclass(frozen=True)
class Result:
    """How a schedule ended: "exact", "detected" or "SILENT"; `reason` of what was detected; the faults."""

    seed: int
    verdict: str
    reason: str
    faults: tuple[Fault, ...]


def drawn(rng: random.Random, chunks: tuple[int, int, int, int]) -> FaultSchedule:
    """One to four faults. `chunks`: the first and last chunk of the stream towards the device, and towards the host."""
    device, host = chunks[:2], chunks[2:]
    faults = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice(KINDS)
        to_host = kind in ("lost ok", "doubled ok") or (kind not in ("merge",) and rng.random() < 0.5)
        args: dict[str, int | float] = {}
        if kind == "flip":
            args = {"byte": rng.randrange(64), "bit": rng.randrange(8)}
        elif kind == "delay":
            args = {"delay_s": rng.choice((0.05, 0.5, 3.0))}
        kind = {"lost ok": "drop", "doubled ok": "duplicate"}.get(kind, kind)
        point = "motion.to_host" if to_host else "motion.to_device"
        at_chunk = rng.randint(*(host if to_host else device))
        faults.append(Fault(kind, point, at_chunk=at_chunk, args=tuple(sorted(args.items()))))
    return FaultSchedule(tuple(faults))


def streamed(build: MarlinBuild, schedule: FaultSchedule) -> tuple[str, str, list[Fault], tuple[int, int, int, int]]:
    """Stream the layer once: verdict, reason, the faults that struck during the stream, and its chunks."""

    async def main(loop: VirtualLoop) -> tuple[str, str, list[Fault], tuple[int, int, int, int]]:
        gantry = Gantry()
        wire = await lay_virtual("motion", MarlinEmulator(gantry, build), baud=115200, faults=schedule)
        notes = Notes(0.0003)
        reason, taken, first = "", 0, (0, 0)
        try:
            link = await MarlinLink.open("sim:motion?baud=115200")
            motion = MotionController(link)
            first = wire.to_device.chunks, wire.to_host.chunks
            async with asyncio.timeout(900):
                taken = await motion.stream(LINES, notes)
                await motion.wait_idle()
                x_mm, y_mm, _ = await motion.position()
            if max(abs(x_mm - POINTS_MM[-1][0]), abs(y_mm - POINTS_MM[-1][1])) > CLOSE_MM:
                reason = "the position does not close"
        except BridgeError as error:
            reason = str(error)
        struck = [fault for _, _, fault in wire.strikes]
        chunks = (first[0], wire.to_device.chunks - 1, first[1], wire.to_host.chunks - 1)
        if reason:
            return "detected", reason, struck, chunks
        is_whole = taken == len(LINES) and notes.acks == list(range(len(LINES))) and is_as_planned(gantry)
        return ("exact" if is_whole else "SILENT"), "", struck, chunks

    return run_virtual(main)


def is_as_planned(gantry: Gantry) -> bool:
    """Whether the gantry executed every line once, in its place, with its energy."""
    runs = [run for run in gantry.history if isinstance(run, Run)]
    if len(runs) != LINES_COUNT:
        return False
    for run, (x_mm, y_mm), power in zip(runs, POINTS_MM, POWERS):
        if max(abs(run.end_mm[0] - x_mm), abs(run.end_mm[1] - y_mm)) > CLOSE_MM:
            return False
        if abs(run.move.s_fraction * 1000.0 / power - 1.0) > ENERGY_PART:
            return False
        if abs(run.move.nominal_mm_s / 100.0 - 1.0) > ENERGY_PART:
            return False
    return True


@cache
def stream_chunks(build: MarlinBuild) -> tuple[int, int, int, int]:
    """First and last chunk of the stream each way, when nothing goes wrong."""
    verdict, reason, _, chunks = streamed(build, FaultSchedule())
    assert verdict == "exact", reason
    return chunks


def judged(seed: int, build: MarlinBuild) -> Result:
    """The result of one seed: of the first schedule drawn in which every fault struck while the layer was streamed."""
    rng = random.Random(f"stream campaign {seed}")
    chunks = stream_chunks(build)
    for _ in range(TRIES_MAX):
        schedule = drawn(rng, chunks)
        verdict, reason, struck, _ = streamed(build, schedule)
        if sorted(map(str, struck)) == sorted(map(str, schedule.faults)):
            return Result(seed, verdict, reason, schedule.faults)
    raise AssertionError(f"seed {seed}: no schedule in {TRIES_MAX} struck with all its faults")


NEVER_S = 1e9
BREAKS = ("reset", "reset, banner lost", "unplugged", "unplugged and back")


def broken_off(seed: int, build: MarlinBuild) -> tuple[str, str]:
    """The board is reset or its cable pulled at a random moment of the stream: (what, how it ended)."""
    rng = random.Random(f"broken off {seed}")
    what = BREAKS[seed % len(BREAKS)]
    device = stream_chunks(build)[:2]
    at_chunk = rng.randint(device[0] + 1, device[1] - 12)  # the last chunks are those of the questions at the end
    faults: tuple[Fault, ...] = (
        Fault("drop", "motion.to_host", at_s=NEVER_S, for_s=1.0),
    )  # so that this way is watched
    if what.startswith("unplugged"):
        back_s = 0.5 if what.endswith("back") else -1.0
        args = (("back_after_s", back_s),)
        faults = (Fault("disconnect", "motion.to_device", at_chunk=at_chunk, args=args),)

    async def main(loop: VirtualLoop) -> str:
        gantry = Gantry()
        board = MarlinEmulator(gantry, build)
        wire = await lay_virtual("motion", board, baud=115200, faults=FaultSchedule(faults))

        async def push_the_button() -> None:
            while wire.to_device.chunks < at_chunk:
                await asyncio.sleep(0.002)
            if what.endswith("lost"):
                now_s = loop.time()
                lost = Fault("drop", "motion.to_host", at_s=now_s, for_s=build.boot_s + 0.05)
                wire.to_host.faults = FaultSchedule((lost,))
            board.reset()

        async with asyncio.TaskGroup() as group:
            link = await MarlinLink.open("sim:motion?baud=115200")
            button = group.create_task(push_the_button()) if what.startswith("reset") else None
            try:
                async with asyncio.timeout(900):
                    await MotionController(link).stream(LINES, Notes(0.0003))
                    await link.command(b"M400")
                return "done"
            except BridgeError as error:
                return f"{type(error).__name__}: {error}"
            finally:
                if button is not None:
                    button.cancel()

    return what, run_virtual(main)
