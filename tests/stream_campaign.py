"""Random schedules of stream faults against a streamed layer: does it end exact, or stopped with a reason?

The host does what a print run does with a layer: stream it, wait until the machine stands, and ask where it stands. The
truth is what the gantry of the emulated board executed, move by move: place, power and speed.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from marlin_link_helpers import Notes
from stream_boards import Board, opened

from firmware_bridge.errors import BridgeError
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.faults.schedule import Fault, Faults, FaultSchedule
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual

CLOSE_MM = 0.05
KINDS = ("drop", "duplicate", "flip", "merge", "delay", "lost ok", "doubled ok")
TRIES_MAX = 40
"""Schedules drawn for one seed until one comes in which every fault has changed bytes before the end."""
STILL_S = 5.0
"""Of a machine that was said to be safe."""


@dataclass(frozen=True)
class Result:
    """How a schedule ended: "exact", "detected", "SILENT" or "moves on"; `reason` of what was detected; the faults."""

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


def streamed(board: Board, schedule: FaultSchedule) -> tuple[str, str, list[Fault], tuple[int, int, int, int]]:
    """Stream the layer once: verdict, reason, the faults that struck during the stream, and its chunks."""

    async def main(loop: VirtualLoop) -> tuple[str, str, list[Fault], tuple[int, int, int, int]]:
        gantry = Gantry(start_mm=board.start_mm)
        wire = await lay_virtual("motion", board.emulator(gantry), baud=115200, faults=schedule)
        notes = Notes(0.0003)
        reason, taken, first, began_s, motion = "", 0, (0, 0), 0.0, None
        try:
            motion = await opened(board)
            first = wire.to_device.chunks, wire.to_host.chunks
            began_s = loop.time()
            async with asyncio.timeout(900):
                taken = await motion.stream(board.lines, notes)
                await motion.wait_idle()
                x_mm, y_mm, _ = await motion.position()
            ends_mm = board.moves[-1].end_mm
            if max(abs(x_mm - ends_mm[0]), abs(y_mm - ends_mm[1])) > CLOSE_MM:
                reason = "the position does not close"
        except BridgeError as error:
            reason = str(error)
        struck = [fault for _, _, fault in wire.strikes]
        chunks = (first[0], wire.to_device.chunks - 1, first[1], wire.to_host.chunks - 1)
        if reason:
            moves_on = motion is not None and await is_safe(motion) and await is_moving(loop, gantry)
            return ("moves on" if moves_on else "detected"), reason, struck, chunks
        is_whole = taken == len(board.lines) and notes.acks == list(range(len(board.lines)))
        return ("exact" if is_whole and board.is_as_planned(gantry, began_s) else "SILENT"), "", struck, chunks

    return run_virtual(main)


async def is_safe(motion: Any) -> bool:
    """Whether the host says, after a failure, that the motion is safe."""
    try:
        await motion.safe()
    except BridgeError:
        return False
    return True


async def is_moving(loop: VirtualLoop, gantry: Gantry) -> bool:
    """Whether the gantry moves within the next seconds."""
    here_mm = gantry.position_at(loop.time())
    await asyncio.sleep(STILL_S)
    return gantry.position_at(loop.time()) != here_mm


@cache
def stream_chunks(board: Board) -> tuple[int, int, int, int]:
    """First and last chunk of the stream each way, when nothing goes wrong."""
    verdict, reason, _, chunks = streamed(board, FaultSchedule())
    assert verdict == "exact", reason
    return chunks


def judged(seed: int, board: Board) -> Result:
    """The result of one seed: of the first schedule drawn in which every fault struck while the layer was streamed."""
    rng = random.Random(f"stream campaign {seed}")
    chunks = stream_chunks(board)
    for _ in range(TRIES_MAX):
        schedule = drawn(rng, chunks)
        verdict, reason, struck, _ = streamed(board, schedule)
        if sorted(map(str, struck)) == sorted(map(str, schedule.faults)):
            return Result(seed, verdict, reason, schedule.faults)
    raise AssertionError(f"seed {seed}: no schedule in {TRIES_MAX} struck with all its faults")


NEVER_S = 1e9
BREAKS = ("reset", "reset, banner lost", "unplugged", "unplugged and back", "back under another number")


@dataclass(frozen=True)
class Broken:
    """How a stream ended whose board was reset or unplugged: what was done, the host's sentence ("done" if it saw
    nothing), whether the board had executed a part of the layer from its beginning and nothing else."""

    seed: int
    what: str
    ended: str
    is_prefix: bool


def broken_off(seed: int, board: Board) -> Broken:
    """The board is reset, or its cable pulled, at a random moment of the stream."""
    rng = random.Random(f"broken off {seed}")
    what = BREAKS[seed % len(BREAKS)]
    device = stream_chunks(board)[:2]
    at_chunk = rng.randint(device[0] + 1, device[1] - 12)  # the last chunks are those of the questions at the end
    late_s = rng.uniform(0.0, 0.02)
    faults: tuple[Fault, ...] = (
        Fault("drop", "motion.to_host", at_s=NEVER_S, for_s=1.0),
    )  # so that this way is watched
    if not what.startswith("reset"):
        back_s = -1.0 if what == "unplugged" else rng.uniform(0.0, 2.0)
        kind = "replug" if what.endswith("number") else "disconnect"
        faults = (Fault(kind, "motion.to_device", at_chunk=at_chunk, args=(("back_after_s", back_s),)),)

    async def main(loop: VirtualLoop) -> Broken:
        gantry = Gantry(start_mm=board.start_mm)
        device = board.emulator(gantry)
        wire = await lay_virtual("motion", device, baud=115200, faults=FaultSchedule(faults))

        async def push_the_button() -> None:
            while wire.to_device.chunks < at_chunk:
                await asyncio.sleep(0.002)
            await asyncio.sleep(late_s)
            if what.endswith("lost"):
                now_s = loop.time()
                lost = Fault("drop", "motion.to_host", at_s=now_s, for_s=device.build.boot_s + 0.05)
                wire.to_host.faults = Faults(FaultSchedule((lost,)))
            device.reset()

        async with asyncio.TaskGroup() as group:
            motion = await opened(board)
            began_s, ended = loop.time(), "done"
            button = group.create_task(push_the_button()) if what.startswith("reset") else None
            try:
                async with asyncio.timeout(900):
                    await motion.stream(board.lines, Notes(0.0003))
                    await motion.wait_idle()
            except BridgeError as error:
                ended = f"{type(error).__name__}: {error}"
            finally:
                if button is not None:
                    button.cancel()
        await asyncio.sleep(STILL_S)  # a board without its host runs its queue empty
        return Broken(seed, what, ended, board.is_part_of_plan(gantry, began_s))

    return run_virtual(main)
