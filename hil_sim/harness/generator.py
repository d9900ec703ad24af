"""A seed becomes a schedule: kinds, points, anchors and arguments drawn by the weights of `generator.toml`.

The same seed draws the same faults for the same subject, in any process. What a clean run of the subject showed (how
many chunks each point delivers, how many layers there are, how long it takes) bounds the anchors, so that what is drawn
nearly always strikes before the job's end.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hil_sim.world.faults import KINDS, Fault, FaultSchedule, check_args, check_faults
from hil_sim.world.faults.schedule import COUNTED, Value
from hil_sim.world.toml_words import UNREADABLE, what_is_wrong

SHIPPED = Path(__file__).with_name("generator.toml")
NEVER = 10**12
SPAN_S_MAX = 1e7
WEIGHT_MAX = 1e6
Span = tuple[Annotated[float, Meta(ge=0, le=SPAN_S_MAX)], Annotated[float, Meta(ge=0, le=SPAN_S_MAX)]]
Struck = Annotated[int, Meta(ge=1, le=1_000_000)]


class GeneratorError(ValueError):
    """A generator file that cannot be used."""


class ArgRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an argument is drawn from: a list, or a range with both ends in it."""

    one_of: list[Value] | None = None
    least: float | int | None = None
    most: float | int | None = None

    def draw(self, rng: Random) -> Value:
        """One value; of a range with a fraction, to three places."""
        if self.one_of:
            return rng.choice(self.one_of)
        assert self.least is not None and self.most is not None, "refused when it was read"
        if isinstance(self.least, int) and isinstance(self.most, int):
            return rng.randint(self.least, self.most)
        return round(rng.uniform(self.least, self.most), 3)

    @property
    def ends(self) -> list[Value]:
        """All that it can draw, or the least and the most of it."""
        return [*(self.one_of or []), *(end for end in (self.least, self.most) if end is not None)]

    @property
    def is_whole(self) -> bool:
        """Whether it says one of the two, wholly."""
        has_range = self.least is not None and self.most is not None and self.least <= self.most
        return bool(self.one_of) != has_range


class PlaceRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a kind is drawn with at points of its own: another unit, another speed."""

    points: Annotated[list[str], Meta(min_length=1)]
    for_s: Span | None = None
    args: dict[str, ArgRange] = {}


class KindRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one kind is drawn; see the head of `generator.toml`."""

    weight: Annotated[float, Meta(gt=0, le=WEIGHT_MAX)]
    anchors: list[str]
    most: Annotated[int, Meta(ge=1)] | None = None
    points: list[str] = []
    count: tuple[Struck, Struck] = (1, 1)
    for_s: Span = (0.5, 5.0)
    after_s: Span = (0.0, 5.0)
    may_idle: bool = False
    args: dict[str, ArgRange] = {}
    at: list[PlaceRow] = []

    def spans_at(self, point: str) -> tuple[dict[str, ArgRange], Span]:
        """Arguments and `for_s` at a point: those of the first place that fits, else the row's own."""
        place = next((row for row in self.at if any(fnmatchcase(point, pattern) for pattern in row.points)), None)
        if place is None:
            return self.args, self.for_s
        return self.args | place.args, place.for_s or self.for_s


class Draw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many faults a schedule has, and which points are struck more than others."""

    faults: Annotated[list[Annotated[int, Meta(ge=1, le=100)]], Meta(min_length=1)]
    points: dict[str, Annotated[float, Meta(ge=0, le=WEIGHT_MAX)]] = {}


class Generator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, eq=False):
    """A generator file, whole; itself alone is the same."""

    version: Annotated[int, Meta(ge=1)]
    draw: Draw
    kinds: dict[str, KindRow]
    left_out: dict[str, str] = {}
    stream: Annotated[int, Meta(ge=1)] | None = None
    """Names the random numbers; None: the version does."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What a clean run of a subject showed; itself alone is the same.

    points: the world's. events: how many events each counted point has before the job's end. from_s, end_s: of the job,
    loop time. layers: how many begin.
    """

    points: tuple[str, ...]
    events: Mapping[str, int]
    end_s: float
    layers: int
    from_s: float = 0.0


def load_generator(path: str | Path = SHIPPED) -> Generator:
    """Read a generator file. Raises GeneratorError: unreadable, a kind, anchor or argument that no catalogue knows."""
    try:
        generator = msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), Generator)
    except OSError as error:
        raise GeneratorError(f"generator {path} cannot be read: {error.strerror}") from error
    except UNREADABLE as error:
        raise GeneratorError(f"generator {path}: {what_is_wrong(error)}") from error
    for name in (*generator.kinds, *generator.left_out):
        if name not in KINDS:
            raise GeneratorError(f"generator {path}: '{name}' is no known fault; known are {', '.join(sorted(KINDS))}")
    for name, row in generator.kinds.items():
        if sentence := _wrong(name, row):
            raise GeneratorError(f"generator {path}: kinds.{name}: {sentence}")
    return generator


def _wrong(name: str, row: KindRow) -> str:
    kind = KINDS[name]
    possible = [anchor for anchor in (kind.counted, "at_s", "at_layer") if anchor]
    strange = [anchor for anchor in row.anchors if anchor not in possible]
    if strange or not row.anchors:
        return f"it is anchored by {', '.join(possible)}, not by {', '.join(strange) or 'nothing'}"
    every = [*row.args.items(), *(pair for place in row.at for pair in place.args.items())]
    if unknown := sorted({arg for arg, _ in every} - set(kind.args)):
        return f"it knows {', '.join(kind.args) or 'no arguments'}, not {', '.join(unknown)}"
    if halves := [arg for arg, span in every if not span.is_whole]:
        return f"args.{halves[0]} needs one_of, or least and most, one of the two"
    ends = [(arg, value) for arg, span in every for value in span.ends]
    if sentences := check_args(name, kind, ends):
        return sentences[0].removesuffix(".")
    spans = [row.for_s, *(place.for_s for place in row.at if place.for_s is not None)]
    if any(not 0 < least <= most for least, most in spans):
        return "for_s is least and most, with for_s above 0"
    if row.count[0] > row.count[1] or not 0 <= row.after_s[0] <= row.after_s[1]:
        return "count, for_s and after_s are least and most, with for_s above 0"
    return ""


def probe(points: list[str], generator: Generator) -> FaultSchedule:
    """A schedule that never strikes and makes every counted point count its events."""
    faults = []
    for point in points:
        for name, row in generator.kinds.items():
            counted = next((anchor for anchor in row.anchors if anchor in COUNTED), None)
            if counted and _strikes_at(name, row, point):
                anchored: dict[str, Any] = {counted: NEVER}
                faults.append(Fault(name, point, **anchored))
                break
    return FaultSchedule(tuple(faults))


def drawn(generator: Generator, ground: Ground, seed: int, attempt: int) -> FaultSchedule:
    """The schedule that a seed draws at its n-th attempt, faults in the order of their points and anchors.

    Raises:
        GeneratorError: this world has no place for any kind of the file.
    """
    rng = Random(f"moonkiln schedule {generator.stream or generator.version} {seed} {attempt}")
    places = _places(generator, ground)
    names, weights = list(places), [generator.kinds[name].weight for name in places]
    left = {name: row.most for name in places if (row := generator.kinds[name]).most is not None}
    faults: list[Fault] = []
    for _ in range(rng.choice(generator.draw.faults)):
        name = rng.choices(names, weights)[0]
        if left.get(name) == 0:
            others = [other for other in names if left.get(other) != 0]
            if not others:  # every kind that this world has a place for has been drawn as often as it may
                break
            name = rng.choices(others, [generator.kinds[other].weight for other in others])[0]
        if name in left:
            left[name] -= 1
        point = rng.choices(places[name], [_weight(generator.draw, p) for p in places[name]])[0]
        faults.append(_fault(name, generator.kinds[name], point, ground, rng))
    schedule = FaultSchedule(tuple(sorted(faults, key=lambda f: (f.point, str(f.to_dict())))))
    assert not (wrong := check_faults(schedule, ground.points)), wrong
    return schedule


@functools.lru_cache(maxsize=8)
def _places(generator: Generator, ground: Ground) -> dict[str, list[str]]:
    """Where each kind can strike: the same for all seeds, and ten thousands of patterns. Raises GeneratorError."""
    places = {
        name: found
        for name, row in generator.kinds.items()
        if (found := [p for p in ground.points if _strikes_at(name, row, p) and _anchors(row, ground, p)])
    }
    if not places:
        raise GeneratorError("this world has no place that any kind of the generator could strike")
    return places


def _fault(name: str, row: KindRow, point: str, ground: Ground, rng: Random) -> Fault:
    anchor = rng.choice(_anchors(row, ground, point))
    ranges, for_span = row.spans_at(point)
    args = {arg: span.draw(rng) for arg, span in ranges.items()}
    where: dict[str, Any]
    if anchor in COUNTED:
        where = {anchor: rng.randrange(ground.events[point]), "count": rng.randint(*row.count)}
    elif anchor == "at_layer":
        after_s, for_s = rng.uniform(*row.after_s), rng.uniform(*for_span)
        where = {anchor: rng.randrange(ground.layers), "after_s": round(after_s, 2), "for_s": round(for_s, 2)}
    else:
        where = {anchor: round(rng.uniform(ground.from_s, ground.end_s), 2), "for_s": round(rng.uniform(*for_span), 2)}
    return Fault(name, point, args=tuple(sorted(args.items())), **where)


def _anchors(row: KindRow, ground: Ground, point: str) -> list[str]:
    """The anchors that a point can have in this subject: nothing counts where nothing happens."""
    has = {"at_s": ground.end_s > ground.from_s, "at_layer": ground.layers > 0}
    return [anchor for anchor in row.anchors if has.get(anchor, ground.events.get(point, 0) > 0)]


def _strikes_at(name: str, row: KindRow, point: str) -> bool:
    catalogue = any(fnmatchcase(point, pattern) for pattern in KINDS[name].points)
    return catalogue and (not row.points or any(fnmatchcase(point, pattern) for pattern in row.points))


def _weight(draw: Draw, point: str) -> float:
    return next((weight for pattern, weight in draw.points.items() if fnmatchcase(point, pattern)), 1.0)
