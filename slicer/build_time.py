"""The time of a whole build, layer by layer and by what it is spent on: what a machine does, and what its wire costs.

`slicer.motion_time` says how a controller spends its time on one program. Here a build is put together from layers: the
way from one to the next, a new number for each line on the wire, heads that work side by side, powder and heat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from slicer.envelope import Envelope
from slicer.errors import SlicerError
from slicer.layers import Layer
from slicer.motion_time import FIRMWARES, Firmware, Program, Wire, path_program, program_time
from slicer.scan import ScanPath

if TYPE_CHECKING:
    from slicer.job import Job

FIRST_NUMBER = 10  # what a host has sent before the first line of a build: its greeting, homing, millimetres
LINES_BETWEEN = 2  # and between two layers: it asks where the machine stands
STARVED_SHARE = 0.01  # of a layer's time, from which a starving line is worth a sentence
BAUD_RATES = (57_600, 115_200, 250_000, 500_000, 1_000_000, 2_000_000)  # what boards and adapters offer


class BuildTimeError(SlicerError):
    """A machine's numbers from which no time follows."""


@dataclass(frozen=True, slots=True)
class AxisDrive:
    """A screw or a belt that moves from rest to rest: speed in mm/s, and seconds to reach it."""

    speed_mm_s: float
    ramp_s: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 < self.speed_mm_s < math.inf and 0.0 <= self.ramp_s < math.inf):
            raise BuildTimeError(f"no axis moves at {self.speed_mm_s:g} mm/s with ramps of {self.ramp_s:g} s")

    def time_s(self, way_mm: float) -> float:
        """Seconds for that way: a trapezoid, or two ramps where it is short."""
        ramps_mm = self.speed_mm_s * self.ramp_s
        if way_mm >= ramps_mm:
            return way_mm / self.speed_mm_s + self.ramp_s
        return 2.0 * math.sqrt(way_mm * self.ramp_s / self.speed_mm_s)


@dataclass(frozen=True, slots=True)
class Recoat:
    """What a fresh layer of powder costs.

    Attributes:
        blade, stroke_mm, passes: the blade goes out and back that far, so often.
        piston: lowers the bed by a layer's thickness.
        overhead_s: telegrams, looks at the drives until they stand, pictures, arming the head: per layer.
    """

    blade: AxisDrive
    stroke_mm: float
    piston: AxisDrive
    passes: int = 1
    overhead_s: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.stroke_mm < math.inf and self.passes >= 0 and 0.0 <= self.overhead_s < math.inf):
            raise BuildTimeError(
                f"no recoating has {self.passes} passes of {self.stroke_mm:g} mm and {self.overhead_s:g} s on top"
            )

    def time_s(self, thickness_mm: float) -> float:
        """Seconds for a layer of that thickness."""
        return self.piston.time_s(thickness_mm) + 2 * self.passes * self.blade.time_s(self.stroke_mm) + self.overhead_s


@dataclass(frozen=True, slots=True)
class Approach:
    """A gantry that goes to a layer's first vector and stands there before the beam is let out: from rest to rest.

    Attributes:
        gantry: of the way.
        overhead_s: questions, answers and the planner's delay.
    """

    gantry: AxisDrive
    overhead_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.overhead_s < math.inf:
            raise BuildTimeError(f"no approach has {self.overhead_s:g} s on top")

    def time_s(self, from_mm: tuple[float, float], to_mm: tuple[float, float]) -> float:
        """Seconds from one place to the other."""
        return self.gantry.time_s(math.dist(from_mm, to_mm)) + self.overhead_s


@dataclass(frozen=True, slots=True)
class PlaceCheck:
    """A look at the end switches in the corner at 0, behind every so many layers and behind the last: has an axis lost
    steps? There, behind the switches, in front of them, and back, each way from rest to rest.

    Attributes:
        gantry: of the ways.
        margin_mm: how far in front of the switches and behind them it stops, in x and y.
        every_layers: behind so many layers.
        overhead_s: questions, answers and the planner's delays.
        creep: of the way from in front of the switches onto them, where the firmware stops there; None: it goes behind
            them and in front again.
    """

    gantry: AxisDrive
    margin_mm: float
    every_layers: int = 1
    overhead_s: float = 0.0
    creep: AxisDrive | None = None

    def __post_init__(self) -> None:
        if not (0.0 < self.margin_mm < math.inf and self.every_layers > 0 and 0.0 <= self.overhead_s < math.inf):
            raise BuildTimeError(
                f"no place is checked {self.margin_mm:g} mm from its switches, every {self.every_layers} layers, with"
                f" {self.overhead_s:g} s on top"
            )

    def time_s(self, from_mm: tuple[float, float]) -> float:
        """Seconds, from a place and back to it."""
        there_mm = math.hypot(from_mm[0] - self.margin_mm, from_mm[1] - self.margin_mm)
        margin_mm = math.sqrt(2.0) * self.margin_mm
        if self.creep is None:
            return 2.0 * (self.gantry.time_s(there_mm) + self.gantry.time_s(2.0 * margin_mm)) + self.overhead_s
        back_s = self.gantry.time_s(math.hypot(*from_mm))
        return self.gantry.time_s(there_mm) + self.creep.time_s(margin_mm) + back_s + self.overhead_s


@dataclass(frozen=True, slots=True)
class TimeModel:
    """What a machine is, as far as time goes. What is None is not counted, and the table says so.

    Attributes:
        firmware: of the motion controller.
        wire: the serial line that lines come over; None: they are at hand (a file on the controller's own card).
        approach: how the gantry comes to a layer's first vector; None: by the program's own first jump.
        check: the look at the end switches; None: there is none.
        recoat: the powder; starting_s, heating_s: until the machine is homed, and the bed warm, once.
        from_mm: where the gantry stands when the build begins.
    """

    firmware: Firmware = FIRMWARES["marlin"]
    wire: Wire | None = None
    recoat: Recoat | None = None
    starting_s: float | None = None
    heating_s: float | None = None
    from_mm: tuple[float, float] = (0.0, 0.0)
    check: PlaceCheck | None = None
    approach: Approach | None = None

    def __post_init__(self) -> None:
        for what, seconds in (("starting", self.starting_s), ("heating", self.heating_s)):
            if seconds is not None and not 0.0 <= seconds < math.inf:
                raise BuildTimeError(f"{what} cannot take {seconds:g} s")


@dataclass(frozen=True, slots=True)
class LayerTime:
    """Seconds of one layer. The first four are the head's that takes longest, and add up to `exposure_s`.

    Attributes:
        exposing_s: along vectors; jumping_s: to the first one, between them, and back at the end, beam off.
        waiting_s: dwells, and the controller's own rests around them.
        starved_s: what the serial line adds: first and last lines on their way, moves slowed or awaited.
        recoating_s: powder, 0 where the model has none.
        dry_runs, stood_s: times and seconds that the beam stood between two moves for want of lines.
        late_moves: moves that were slowed for want of lines.
        moves: vectors and jumps.
        enough_baud: the slowest usual line that would not starve it; None if it is not starved, or by every line.
        checking_s: the look at the end switches behind the layer.
    """

    index: int
    exposing_s: float
    jumping_s: float
    waiting_s: float
    starved_s: float
    recoating_s: float
    dry_runs: int
    stood_s: float
    late_moves: int
    moves: int
    enough_baud: int | None = None
    checking_s: float = 0.0

    @property
    def is_starved(self) -> bool:
        """Whether its lines come so late that it is worth a sentence."""
        return self.late_moves > 0 and self.starved_s > STARVED_SHARE * self.exposure_s

    @property
    def exposure_s(self) -> float:
        """From the first line sent to the last one answered."""
        return self.exposing_s + self.jumping_s + self.waiting_s + self.starved_s

    @property
    def total_s(self) -> float:
        """With the powder, and the look at the end switches."""
        return self.exposure_s + self.recoating_s + self.checking_s


@dataclass(frozen=True, slots=True)
class TimeRow:
    """One line of a table: what, seconds (None: not known of this machine), share of the total."""

    what: str
    seconds: float | None
    share: float


@dataclass(frozen=True, slots=True)
class BuildTime:
    """The time of a build: `layers` one by one, and the model they were worked out with."""

    layers: tuple[LayerTime, ...]
    model: TimeModel

    @property
    def exposing_s(self) -> float:
        """Along vectors."""
        return math.fsum(layer.exposing_s for layer in self.layers)

    @property
    def jumping_s(self) -> float:
        """Between them."""
        return math.fsum(layer.jumping_s for layer in self.layers)

    @property
    def waiting_s(self) -> float:
        """In dwells."""
        return math.fsum(layer.waiting_s for layer in self.layers)

    @property
    def starved_s(self) -> float:
        """For lines on the wire."""
        return math.fsum(layer.starved_s for layer in self.layers)

    @property
    def recoating_s(self) -> float:
        """For powder."""
        return math.fsum(layer.recoating_s for layer in self.layers)

    @property
    def checking_s(self) -> float:
        """For looks at the end switches."""
        return math.fsum(layer.checking_s for layer in self.layers)

    @property
    def total_s(self) -> float:
        """All of it, start and heating included where they are known."""
        once_s = (self.model.starting_s or 0.0) + (self.model.heating_s or 0.0)
        return math.fsum(layer.total_s for layer in self.layers) + once_s

    def rows(self) -> list[TimeRow]:
        """The table for people, the total last."""
        model, total = self.model, self.total_s
        parts: list[tuple[str, float | None]] = [
            ("exposing", self.exposing_s),
            ("jumping", self.jumping_s),
            ("waiting", self.waiting_s),
            ("starved by the line", self.starved_s if model.wire else None),
            ("recoating", self.recoating_s if model.recoat else None),
            *([("checking its place", self.checking_s)] if model.check else []),
            ("starting", model.starting_s),
            ("heating", model.heating_s),
            ("total", total),
        ]
        return [TimeRow(what, seconds, (seconds or 0.0) / total if total else 0.0) for what, seconds in parts]

    @property
    def not_in_total(self) -> list[str]:
        """What the build takes time for as well, and nobody has said how long."""
        model = self.model
        known = {"recoating": model.recoat, "starting": model.starting_s, "heating": model.heating_s}
        return [what for what, value in known.items() if value is None]

    def sentences(self) -> list[str]:
        """What somebody should know before this build is started: what the total leaves out, a line that is too slow, a
        beam that stands."""
        said = []
        if self.not_in_total:
            said.append(f"the total is without {' and '.join(self.not_in_total)}: nobody has said how long that takes")
        wire = self.model.wire
        starved = [layer for layer in self.layers if layer.is_starved]
        if starved and wire:
            worst = max(starved, key=lambda layer: layer.starved_s / layer.exposure_s)
            enough = [layer.enough_baud for layer in starved]
            faster = "a faster line" if None in enough else f"a line of {max(baud or 0 for baud in enough)} baud"
            said.append(
                f"{len(starved)} of {len(self.layers)} layers have vectors too short for {wire.baud} baud: the line"
                f" adds {math.fsum(layer.starved_s for layer in starved):.1f} s, most in layer {worst.index + 1}"
                f" ({100.0 * worst.starved_s / worst.exposure_s:.0f} % of its exposure). Use {faster}, or longer"
                " vectors"
            )
        stood = [layer for layer in self.layers if layer.dry_runs]
        if stood:
            said.append(
                f"the controller runs out of lines {sum(layer.dry_runs for layer in stood)} times, and its beam may"
                f" stand for {math.fsum(layer.stood_s for layer in stood):.2f} s in all"
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Parts, total and layers as plain numbers, for JSON."""
        parts = ("exposing_s", "jumping_s", "waiting_s", "starved_s", "recoating_s", "checking_s", "total_s")
        return {
            **{name: getattr(self, name) for name in parts},
            "starting_s": self.model.starting_s,
            "heating_s": self.model.heating_s,
            "not_in_total": self.not_in_total,
            "layers": [{**asdict(layer), "total_s": layer.total_s} for layer in self.layers],
        }


class PlannedLayer(Protocol):
    """A layer with its path; a `slicer.job_layer.JobLayer` is one."""

    @property
    def layer(self) -> Layer: ...
    @property
    def path(self) -> ScanPath: ...
    @property
    def jump_speed_mm_s(self) -> float | None: ...


def job_time(
    job: Job,
    model: TimeModel = TimeModel(),
    progress: Callable[[int, int], None] | None = None,
    envelope: Envelope | None = None,
) -> BuildTime:
    """The time of a job, read layer by layer, on a machine of that envelope (the job's own if None).

    `progress` is called with (layers done, layers in all).
    """
    count = job.manifest.layer_count

    def layers() -> Iterator[PlannedLayer]:
        for index in range(count):
            yield job.layer(index)
            if progress is not None:
                progress(index + 1, count)

    return build_time(layers(), envelope or job.envelope, model)


def build_time(layers: Iterable[PlannedLayer], envelope: Envelope, model: TimeModel = TimeModel()) -> BuildTime:
    """The time of layers as they come, lowest first, on a machine of this envelope.

    Where a layer belongs to several heads, each runs its own part on a gantry and a wire of its own, and the layer
    takes as long as the slowest.

    Raises:
        ScanError: a path whose numbers cannot be timed.
    """
    times: list[LayerTime] = []
    ends_mm: list[tuple[float, float]] = []  # of the first head: the one whose controller looks at its switches
    from_mm: dict[int, tuple[float, float]] = {}
    number = FIRST_NUMBER
    for planned in layers:
        recoating_s = model.recoat.time_s(planned.layer.thickness_mm) if model.recoat else 0.0
        slowest: LayerTime | None = None
        longest = 0
        for head, path in planned.path.by_head():
            at_mm = from_mm.get(head, model.from_mm)
            one, from_mm[head], lines = _path_time(path, planned, at_mm, number, recoating_s, envelope, model)
            longest = max(longest, lines)
            if slowest is None or one.exposure_s > slowest.exposure_s:
                slowest = one
        assert slowest is not None
        times.append(slowest)
        ends_mm.append(from_mm.get(0, model.from_mm))
        number += longest + LINES_BETWEEN
    if model.check:
        last = len(times) - 1
        for n in range(len(times)):
            if (n + 1) % model.check.every_layers == 0 or n == last:
                times[n] = replace(times[n], checking_s=model.check.time_s(ends_mm[n]))
    return BuildTime(tuple(times), model)


def _path_time(
    path: ScanPath,
    planned: PlannedLayer,
    from_mm: tuple[float, float],
    number: int,
    recoating_s: float,
    envelope: Envelope,
    model: TimeModel,
) -> tuple[LayerTime, tuple[float, float], int]:
    """One head's time for a layer, where it stands afterwards, and how many lines it took."""
    if not len(path):  # a host sends nothing then
        return LayerTime(planned.layer.index, 0.0, 0.0, 0.0, 0.0, recoating_s, 0, 0.0, 0, 0), from_mm, 0
    approach_s = 0.0
    if model.approach:
        begins_mm = float(path.vectors_mm[0, 0]), float(path.vectors_mm[0, 1])
        approach_s, from_mm = model.approach.time_s(from_mm, begins_mm), begins_mm
    program = path_program(path, envelope, planned.jump_speed_mm_s, is_sized=model.wire is not None)
    wire = replace(model.wire, first_number=number) if model.wire else None
    wired = program_time(program, from_mm, envelope, model.firmware, wire)
    free = wired
    if wire is not None and wired.late_moves + wired.dry_runs:  # else no move differs
        free = program_time(program, from_mm, envelope, model.firmware)
    waiting_s = free.waiting_s + free.rest_s
    one = LayerTime(
        planned.layer.index,
        free.exposing_s,
        free.jumping_s + approach_s,
        waiting_s,
        max(0.0, wired.done_s - free.exposing_s - free.jumping_s - waiting_s),
        recoating_s,
        wired.dry_runs,
        wired.stood_s,
        wired.late_moves,
        program.moves,
    )
    if wire is not None and one.is_starved:
        motion_s = one.exposing_s + free.jumping_s + one.waiting_s
        one = replace(one, enough_baud=_enough_baud(program, from_mm, envelope, model.firmware, wire, motion_s))
    return one, program.end(from_mm), len(program)


def _enough_baud(
    program: Program,
    from_mm: tuple[float, float],
    envelope: Envelope,
    firmware: Firmware,
    wire: Wire,
    motion_s: float,
) -> int | None:
    """The slowest usual line, faster than this one, that adds next to nothing to `motion_s`."""
    for baud in BAUD_RATES:
        if baud > wire.baud:
            faster = program_time(program, from_mm, envelope, firmware, replace(wire, baud=baud))
            if faster.done_s <= motion_s / (1.0 - STARVED_SHARE):
                return baud
    return None
