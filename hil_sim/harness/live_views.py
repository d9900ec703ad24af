"""What a test sees of a run beside its devices: the truth, the wires' traffic, the clock.

All work in the middle of a run and after its end.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hil_sim.harness.live_run import LiveRun
from hil_sim.harness.matching import ENERGY_SHARE, Match, Plan, match_blocks
from hil_sim.harness.time_span import seconds_of
from hil_sim.harness.trace import MCAP_NAME, Block, Record
from hil_sim.world.build import SAME_LAYER_MM, World
from hil_sim.world.build_rover import RoverWorld
from slicer.job import Job

FRAMES_KEPT = 200_000


class Clock:
    """The run's clock: loop time, s since its start."""

    def __init__(self, run: Callable[[], LiveRun], set_going: Callable[[], None]) -> None:
        """`set_going()`: whoever has been told to work begins."""
        self._run, self._set_going = run, set_going

    @property
    def now_s(self) -> float:
        """Loop time."""
        return self._run().now_s

    def advance(self, span: float | str) -> None:
        """Let time pass: 30, "30 s", "2 h". The host works meanwhile if it was told to (`host.print`)."""
        self._set_going()
        self._run().pass_time(seconds_of(span))


class Frame(NamedTuple):
    """Bytes that a wire delivered: loop time, `NAME.to_device` or `NAME.to_host`, the bytes."""

    t_s: float
    point: str
    data: bytes

    def __str__(self) -> str:
        text = self.data.decode("ascii", "replace")
        readable = text.rstrip("\r\n").isprintable() and self.data.isascii()
        shown = text.rstrip("\r\n") if readable else self.data[:64].hex(" ")
        more = f" ... {len(self.data)} bytes" if len(shown) > 200 or (not readable and len(self.data) > 64) else ""
        return f"{self.t_s:12.4f} s  {self.point:<18} {shown[:200]}{more}"


class Trace:
    """What passed on the wires, and what the run left on disk."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.count = 0
        """How many chunks were delivered; the last 200,000 are kept."""
        self.to_device_count = 0
        """How many of them came to a device: all that a host has said."""
        self._frames: deque[Frame] = deque(maxlen=FRAMES_KEPT)
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def path(self) -> Path:
        """The run's `truth.mcap`, once it has ended."""
        return self.run_dir / MCAP_NAME

    @property
    def digest(self) -> str:
        """Of every delivered chunk with its time: equal for the same seed, code and Python minor version."""
        return self._digest.hexdigest()

    def frames(self, point: str | None = None) -> list[Frame]:
        """The chunks, of one direction of a wire ("motion.to_device") or of all, oldest first."""
        return [frame for frame in self._frames if point is None or frame.point == point]

    def lines(self, point: str) -> list[str]:
        """The text lines of one direction of a wire; bytes that are no ASCII are shown as U+FFFD."""
        data = b"".join(frame.data for frame in self.frames(point))
        return data.decode("ascii", "replace").splitlines()

    def last(self, count: int = 20) -> list[Frame]:
        """The newest chunks of all wires."""
        return list(self._frames)[-count:]

    def listen(self, world: World | RoverWorld) -> None:
        """Hear every wire of a world. No host may have connected yet."""
        for name in world.urls:
            for point in (world.wire(name).to_device, world.wire(name).to_host):
                before = point.tap

                def hear(t_s: float, place: str, data: bytes, before: Callable | None = before) -> None:
                    self._hear(t_s, place, data)
                    if before is not None:
                        before(t_s, place, data)

                point.tap = hear

    def _hear(self, t_s: float, point: str, data: bytes) -> None:
        self.count += 1
        self.to_device_count += point.endswith(".to_device")
        self._frames.append(Frame(t_s, point, data))
        self._digest.update(struct.pack("<dII", t_s, len(point), len(data)))
        self._digest.update(point.encode() + data)


class TruthView:
    """What truly happened so far, against the job: for a test's own assertions, beside the oracle's verdict.

    Layers count from 0. Heights are judged by the oracle alone, at the end.
    """

    def __init__(self, run: Callable[[], LiveRun], job_path: Callable[[], Path]) -> None:
        self._run = run
        self._job_path = job_path
        self._plan: Plan | None = None
        self._matched: tuple[int, Match] | None = None

    @property
    def record(self) -> Record:
        """The whole truth, once the run has ended. Raises LiveRunError before."""
        return self._run().ended().record

    @property
    def plan(self) -> Plan:
        """The job's vectors."""
        if self._plan is None:
            with Job.open(self._job_path()) as job:
                self._plan = Plan.of(job)
        return self._plan

    @property
    def blocks(self) -> list[Block]:
        """Every executed move with S > 0."""
        if (result := self._run().result) is not None:
            return result.record.blocks
        return self._run().ask(_blocks_now)

    @property
    def blocks_executed(self) -> int:
        """How many moves with S > 0 were executed."""
        if (result := self._run().result) is not None:
            return len(result.record.blocks)
        return self._run().ask(_count_now)

    @property
    def blocks_planned(self) -> int:
        """How many vectors the job has."""
        return len(self.plan.vectors_mm)

    @property
    def blocks_missing(self) -> int:
        """Vectors of the job that have not been exposed with their energy."""
        return sum(not self._is_whole(n) for n in range(self.blocks_planned))

    @property
    def blocks_repeated(self) -> int:
        """Vectors of the job that were exposed more than once."""
        return sum(self._is_repeated(n) for n in range(self.blocks_planned))

    @property
    def strays(self) -> int:
        """Executed moves that no plan holds."""
        return len(self._match.strays)

    @property
    def layers_planned(self) -> int:
        """How many layers the job has."""
        return int(self.plan.layer.max()) + 1

    @property
    def layers_laid(self) -> int:
        """For how many layers powder was spread; a second pass over one is no layer."""
        if (result := self._run().result) is not None:
            drops = [powder.plane_drop_mm for powder in result.record.powder]
        else:
            drops = self._run().ask(lambda world, _now_s: [laid.plane_drop_mm for laid in world.laid])
        count, deepest = 0, -math.inf
        for drop in drops:
            if drop > deepest + SAME_LAYER_MM:
                count, deepest = count + 1, drop
        return count

    @property
    def layers_exposed(self) -> int:
        """Layers of which every vector was exposed with its energy."""
        return self.layers_planned - self.layers_lost

    @property
    def layers_lost(self) -> int:
        """Layers of the job of which a vector has not been exposed with its energy."""
        return len({int(self.plan.layer[n]) for n in range(self.blocks_planned) if not self._is_whole(n)})

    @property
    def layers_repeated(self) -> int:
        """Layers in which a vector was exposed more than once."""
        return len({int(self.plan.layer[n]) for n in range(self.blocks_planned) if self._is_repeated(n)})

    @property
    def energy_j(self) -> float:
        """What left the beam head so far."""
        if (result := self._run().result) is not None:
            return result.record.end.beam_energy_j
        return self._run().ask(_energy_now)

    @property
    def energy_planned_j(self) -> float:
        """What the whole job asks for."""
        return float(self.plan.energy_j.sum())

    @property
    def crashes(self) -> int:
        """How often the gantry ran into its frame."""
        if (result := self._run().result) is not None:
            return result.record.end.crashes
        return self._run().ask(lambda world, _now_s: world.gantry.crashes)

    @property
    def strikes(self) -> list[tuple[float, str, str]]:
        """Faults that struck: loop time, place, kind; of a window its first moment."""
        return self._run().strikes

    @property
    def _match(self) -> Match:
        count = self.blocks_executed
        if self._matched is None or self._matched[0] != count:
            self._matched = count, match_blocks(self.plan, self.blocks)
        return self._matched[1]

    def _is_whole(self, number: int) -> bool:
        want_j = self.plan.energy_j[number]
        return any(abs(e - want_j) <= ENERGY_SHARE * want_j for e in self._match.energies_j[number])

    def _is_repeated(self, number: int) -> bool:
        energies = self._match.energies_j[number]
        return len(energies) > 1 and sum(energies) > (1 + ENERGY_SHARE) * self.plan.energy_j[number]


def _count_now(world: World, now_s: float) -> int:
    world.optics.settle(now_s)
    return len(world.optics.executed)


def _energy_now(world: World, now_s: float) -> float:
    world.optics.settle(now_s)
    return world.optics.total_energy_j


def _blocks_now(world: World, now_s: float) -> list[Block]:
    world.optics.settle(now_s)
    return [
        Block(b.t0_s, b.t1_s, b.start_mm[:2], b.end_mm[:2], b.energy_j, b.nominal_mm_s, math.nan)
        for b in world.optics.executed
    ]
