"""Placement: several parts turned and laid on one build plate, none on another.

Parts lie side by side, each on the plate: what counts as a part's room is its shadow, the outline of everything above
any point of the plate. A part under another's overhang is therefore refused, although it could be built.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import manifold3d
import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.kernels import cutting
from slicer.mesh import Mesh, Volume

PARTS_MAX = 1000
TURN_DEG_MAX = 36_000.0
"""A hundred turns: beyond it is no angle that anybody means, and far beyond none that a number holds."""

GAP_MM = 2.0
"""Room between parts that are laid out, unless told otherwise (assumed: several times any sintered rim)."""

_ROUNDING_MM = 1e-6
"""Parts that overlap by less lie side by side: numbers are written in fewer digits than that."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A part as it is wanted on the plate.

    Attributes:
        mesh: the part, where its file has it.
        at_mm: where the middle of its box on the plate is to lie, or None to have it laid where there is room.
        rotate_deg: turns about the x, the y and then the z axis of the plate, counter-clockwise seen from their tips.
        name: what to call it; the mesh's name if empty.
    """

    mesh: Mesh
    at_mm: tuple[float, float] | None = None
    rotate_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    name: str = ""


@dataclass(frozen=True)
class PlacedPart:
    """One part of a plate: a row of the table that goes with it.

    Attributes:
        name: unique on the plate: those that share one are numbered ("brick 2").
        at_mm: the middle of its box on the plate; rotate_deg: as it was turned.
        low_mm, high_mm: the corners of its box.
        first_face, face_count: its triangles in the plate's mesh.
    """

    name: str
    at_mm: tuple[float, float]
    rotate_deg: tuple[float, float, float]
    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    first_face: int
    face_count: int


@dataclass(frozen=True, eq=False)
class Plate:
    """What stands on a plate: all parts as one mesh, a row for each, and sentences on what a user should know."""

    mesh: Mesh
    parts: tuple[PlacedPart, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What is wanted of one mesh: how it is turned, how many of it, and where the first of them go."""

    rotate_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    copies: int = 1
    at_mm: tuple[tuple[float, float], ...] = ()


def rotated(mesh: Mesh, rotate_deg: tuple[float, float, float]) -> Mesh:
    """Turn a mesh about the x, then the y, then the z axis through the middle of its box, degrees.

    Quarter turns are exact: they move no vertex by a rounding. Raises MeshError for an angle that is no number, or over
    TURN_DEG_MAX.
    """
    for angle in rotate_deg:
        if not abs(angle) <= TURN_DEG_MAX:  # NaN fails too
            raise MeshError(f"{mesh.name} cannot be turned by {angle:g} deg; give {TURN_DEG_MAX:g} deg at most.")
    turn = np.eye(3)
    for axis, angle in enumerate(rotate_deg):
        cos, sin = _cos_sin_deg(angle)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[i, i], about[i, j], about[j, i], about[j, j] = cos, -sin, sin, cos
        turn = about @ turn
    if (turn == np.eye(3)).all():
        return mesh
    centre = mesh.bounds_mm.mean(axis=0)
    return replace(mesh, vertices_mm=(mesh.vertices_mm - centre) @ turn.T + centre)


def _cos_sin_deg(angle: float) -> tuple[float, float]:
    quarter, rest = divmod(angle, 90.0)
    if rest == 0.0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    return math.cos(math.radians(angle)), math.sin(math.radians(angle))


def arrange(parts: Sequence[Placed], copies: Sequence[int] | int, envelope: Volume, *, gap_mm: float = GAP_MM) -> Plate:
    """Lay parts and their copies on the plate: positions that are given are held, the others go where there is room.

    A part that stands alone lies in the middle. Otherwise parts are laid in their order of depth, each as far to the
    front and then to the left as its box leaves `gap_mm` free to every other; without a given position among them, the
    whole is moved to the middle. The first copy of a part with a position has it, the others are laid.

    Raises:
        MeshError: parts overlap, one lies outside the plate or is too tall, or there is no room left; the sentence
            names the parts and the measure in mm.
    """
    counts = [copies] * len(parts) if isinstance(copies, int) else list(copies)
    if len(counts) != len(parts) or not parts:
        raise MeshError(f"{len(parts)} parts cannot be placed in {len(counts)} numbers of copies; give one for each.")
    if min(counts) < 1 or sum(counts) > PARTS_MAX:
        raise MeshError(f"A plate holds 1 to {PARTS_MAX} parts, at least one of each; {sum(counts)} are asked for.")
    if not (math.isfinite(gap_mm) and gap_mm >= 0.0):
        raise MeshError(f"Parts cannot be {gap_mm:g} mm apart; give 0 mm or more.")
    room = np.array([envelope.x_mm, envelope.y_mm, envelope.z_mm])
    standing = _copies(parts, counts)
    for part in standing:
        _check_size(part, room)
    _lay(standing, room, gap_mm)
    for part in standing:
        _check_inside(part, room)
    notes = _check_apart(standing, gap_mm)
    return _plate(standing, notes)


@dataclass(eq=False)
class _Standing:
    """A part on its way to the plate: turned, its lowest corner at the origin until it is moved to `low_mm`."""

    name: str
    mesh: Mesh
    wanted: Placed
    held: bool
    size_mm: NDArray[np.float64]
    low_mm: NDArray[np.float64]
    shape: list[manifold3d.CrossSection]

    @property
    def high_mm(self) -> NDArray[np.float64]:
        return self.low_mm + self.size_mm

    def outline(self) -> manifold3d.CrossSection:
        """The part's shadow where it lies; worked out once for all copies."""
        if not self.shape:
            self.shape.append(shadow(self.mesh))
        return self.shape[0].translate((float(self.low_mm[0]), float(self.low_mm[1])))


def _copies(parts: Sequence[Placed], counts: Sequence[int]) -> list[_Standing]:
    names = [part.name or part.mesh.name for part in parts]
    totals: Counter[str] = Counter()
    for name, count in zip(names, counts):
        totals[name] += count
    used: Counter[str] = Counter()
    turned: dict[tuple[int, tuple[float, float, float]], tuple[Mesh, list[manifold3d.CrossSection]]] = {}
    standing = []
    for part, name, count in zip(parts, names, counts):
        key = id(part.mesh), part.rotate_deg
        if key not in turned:
            mesh = rotated(part.mesh, part.rotate_deg)
            turned[key] = replace(mesh, vertices_mm=mesh.vertices_mm - mesh.bounds_mm[0]), []
        mesh, shape = turned[key]
        for copy in range(count):
            used[name] += 1
            called = name if totals[name] == 1 else f"{name} {used[name]}"
            held = part.at_mm is not None and copy == 0
            standing.append(_Standing(called, mesh, part, held, mesh.bounds_mm[1], np.zeros(3), shape))
    return standing


def _check_size(part: _Standing, room: NDArray[np.float64]) -> None:
    too_long = [
        f"{part.size_mm[axis]:.2f} mm in {name} where {room[axis]:g} mm are free"
        for axis, name in enumerate("xyz")
        if part.size_mm[axis] > room[axis] * (1 + 1e-12)
    ]
    if too_long:
        raise MeshError(f"{part.name} does not fit: {' and '.join(too_long)}. Turn it, scale it or check its unit.")


def _check_inside(part: _Standing, room: NDArray[np.float64]) -> None:
    for axis, name in enumerate("xy"):
        outside = max(-part.low_mm[axis], part.high_mm[axis] - room[axis])
        if outside > _ROUNDING_MM:
            raise MeshError(
                f"{part.name} lies {outside:.2f} mm outside the plate, which reaches from 0 to {room[axis]:g} "
                f"mm in {name}; its middle may lie between {part.size_mm[axis] / 2:.2f} and "
                f"{room[axis] - part.size_mm[axis] / 2:.2f} mm there."
            )


def _lay(standing: list[_Standing], room: NDArray[np.float64], gap_mm: float) -> None:
    """Give each part its place."""
    lying = [part for part in standing if part.held]
    for part in lying:
        assert part.wanted.at_mm is not None
        if not all(math.isfinite(value) for value in part.wanted.at_mm):
            raise MeshError(f"{part.name} cannot be placed at {part.wanted.at_mm}: that is no place.")
        part.low_mm = np.array([*(np.array(part.wanted.at_mm) - part.size_mm[:2] / 2), 0.0])
    free = [part for part in standing if not part.held]
    for part in sorted(free, key=lambda part: (-part.size_mm[1], -part.size_mm[0])):
        place = _first_room(part.size_mm, lying, room, gap_mm)
        if place is None:
            raise MeshError(
                f"There is no room left on the plate of {room[0]:g} x {room[1]:g} mm for {part.name} "
                f"({part.size_mm[0]:.2f} x {part.size_mm[1]:.2f} mm and {gap_mm:g} mm around it) after {len(lying)} of "
                f"{len(standing)} parts; make fewer copies, turn a part or narrow the gap."
            )
        part.low_mm = np.array([*place, 0.0])
        lying.append(part)
    if len(free) == len(standing):
        low = np.min([part.low_mm for part in lying], axis=0)
        high = np.max([part.high_mm for part in lying], axis=0)
        shift = np.array([*(room - high - low)[:2] / 2, 0.0])
        for part in lying:
            part.low_mm = part.low_mm + shift


def _first_room(
    size: NDArray[np.float64], lying: list[_Standing], room: NDArray[np.float64], gap_mm: float
) -> tuple[float, float] | None:
    """The frontmost, then leftmost place that is free, or None.

    A part that fits anywhere fits where nothing lets it slide further: at the plate's edge or a gap behind another.
    """
    if not lying:
        return 0.0, 0.0
    low, high = np.array([part.low_mm for part in lying]), np.array([part.high_mm for part in lying])
    slack = _ROUNDING_MM
    fronts = np.unique(np.concatenate([[0.0], high[:, 1] + gap_mm]))
    for y in fronts[fronts + size[1] <= room[1] + slack]:
        beside = (low[:, 1] - gap_mm < y + size[1] - slack) & (high[:, 1] + gap_mm > y + slack)
        order = np.argsort(low[beside, 0], kind="stable")
        x = 0.0
        for left, right in zip(low[beside, 0][order], high[beside, 0][order]):
            if left - gap_mm >= x + size[0] - slack:
                break
            x = max(x, right + gap_mm)
        if x + size[0] <= room[0] + slack:
            return x, float(y)
    return None


def shadow(mesh: Mesh) -> manifold3d.CrossSection:
    """The outline of a mesh seen from above, mm.

    Where triangles that face up border on others, their edges form closed loops that wind around every point under the
    surface as often as triangles lie above it; so the rim alone decides, however many triangles there are. A surface
    that is open has its downward side's shadow too.
    """
    corners = mesh.vertices_mm[mesh.faces]
    (ux, uy), (vx, vy) = ((corners[:, k, :2] - corners[:, 0, :2]).T for k in (1, 2))
    facing = ux * vy - uy * vx
    pair = cutting.pair_edges(mesh.faces)[0]
    shape = _outline_of(mesh, facing > 0.0, pair)
    if (pair < 0).any():
        shape += _outline_of(replace(mesh, faces=mesh.faces[:, ::-1]), facing < 0.0, None)
    return shape


def _outline_of(mesh: Mesh, chosen: NDArray[np.bool_], pair: NDArray[np.int32] | None) -> manifold3d.CrossSection:
    if pair is None:
        pair = cutting.pair_edges(mesh.faces)[0]
    other = np.where(pair < 0, -1, pair // 3)
    rim = np.flatnonzero(np.repeat(chosen, 3) & ((other < 0) | ~chosen[other]))
    tail, head = mesh.faces[rim // 3, rim % 3], mesh.faces[rim // 3, (rim % 3 + 1) % 3]
    return manifold3d.CrossSection(_chained(mesh.vertices_mm[:, :2], tail, head), manifold3d.FillRule.NonZero)


def _chained(
    points: NDArray[np.float64], tail: NDArray[np.int32], head: NDArray[np.int32]
) -> list[NDArray[np.float64]]:
    """Closed loops of directed edges; as many enter a vertex as leave it, so any order of leaving closes."""
    order = np.argsort(tail, kind="stable")
    start = dict(zip(*(column.tolist() for column in np.unique(tail[order], return_index=True))))
    next_head = head[order].tolist()
    sorted_tail = tail[order].tolist()
    loops = []
    for first in order.tolist():
        loop: list[int] = []
        vertex = int(tail[first])
        while (i := start.get(vertex, len(next_head))) < len(next_head) and sorted_tail[i] == vertex:
            start[vertex] = i + 1
            loop.append(vertex)
            vertex = next_head[i]
        if len(loop) > 2:
            loops.append(points[loop])
    return loops


def _check_apart(standing: list[_Standing], gap_mm: float) -> tuple[str, ...]:
    """Refuse parts that overlap, tell of those nearer than the gap; parts that were laid are apart by their boxes."""
    low = np.array([part.low_mm[:2] for part in standing])
    high = np.array([part.high_mm[:2] for part in standing])
    notes = []
    for i, part in enumerate(standing):
        reach = gap_mm - _ROUNDING_MM
        near = ((low[i] < high[:i] + reach) & (low[:i] < high[i] + reach)).all(axis=1)
        for j in np.flatnonzero(near):
            other = standing[j]
            if not (part.held or other.held):
                continue
            _check_overlap(other, part)
            around = other.outline().offset(gap_mm, manifold3d.JoinType.Round)
            if gap_mm > 0.0 and (around ^ part.outline()).area() > _ROUNDING_MM:
                notes.append(f"{other.name} and {part.name} stand less than {gap_mm:g} mm apart.")
    return tuple(notes)


def _check_overlap(one: _Standing, other: _Standing) -> None:
    common = one.outline() ^ other.outline()
    if common.is_empty():
        return
    x0, y0, x1, y1 = common.bounds()
    if min(x1 - x0, y1 - y0) <= _ROUNDING_MM or common.area() <= _ROUNDING_MM * max(x1 - x0, y1 - y0):
        return
    raise MeshError(
        f"{one.name} and {other.name} overlap on the plate by {x1 - x0:.2f} x {y1 - y0:.2f} mm about "
        f"({(x0 + x1) / 2:.2f}, {(y0 + y1) / 2:.2f}) mm; move one of them, or leave out its position to have it laid."
    )


def _plate(standing: list[_Standing], notes: tuple[str, ...]) -> Plate:
    vertices, faces, rows = [], [], []
    vertex = face = 0
    for part in standing:
        vertices.append(part.mesh.vertices_mm + part.low_mm)
        faces.append(part.mesh.faces + np.int32(vertex))
        low, high = _point(part.low_mm), _point(part.high_mm)
        middle = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
        rows.append(PlacedPart(part.name, middle, part.wanted.rotate_deg, low, high, face, len(part.mesh.faces)))
        vertex += len(part.mesh.vertices_mm)
        face += len(part.mesh.faces)
    name = standing[0].wanted.name or standing[0].mesh.name
    return Plate(Mesh(np.concatenate(vertices), np.concatenate(faces).astype(np.int32), name), tuple(rows), notes)


def _point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


# ---- what a user writes


def parse_wishes(
    names: Sequence[str], *, at: Sequence[str] = (), rotate: Sequence[str] = (), copies: Sequence[str] = ()
) -> list[Wish]:
    """Read the options `--at`, `--rotate` and `--copies`, one Wish for each name.

    Each text is `VALUE`, which holds for every part, or `NAME=VALUE`, which holds for the parts of that name and comes
    before what holds for all. Values: `--at X,Y` (mm; may be repeated, once a copy, and needs a name where there are
    several parts), `--rotate Z` or `--rotate X,Y,Z` (degrees), `--copies N`.

    Raises:
        MeshError: a text that is none of these, a name that no part has, a turn or a number of copies that is given
            twice for a part, or more positions than copies.
    """
    turns: dict[str, tuple[float, float, float]] = {}
    for name, numbers in _values("--rotate", names, rotate, (1, 3), "Z or X,Y,Z in degrees, for example --rotate 90"):
        if max(map(abs, numbers)) > TURN_DEG_MAX:
            words = ",".join(f"{number:g}" for number in numbers)
            raise MeshError(f"--rotate {words}: turn a part by {TURN_DEG_MAX:g} deg at most, either way.")
        turns[name] = (0.0, 0.0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])
    counts: dict[str, int] = {}
    for name, numbers in _values("--copies", names, copies, (1,), "a whole number, for example --copies 4"):
        if not (numbers[0].is_integer() and 1 <= numbers[0] <= PARTS_MAX):
            raise MeshError(f"--copies {numbers[0]:g}: make 1 to {PARTS_MAX} whole copies of a part.")
        counts[name] = int(numbers[0])
    places: dict[str, list[tuple[float, float]]] = {}
    for name, numbers in _values("--at", names, at, (2,), "X,Y in mm, for example --at 60,40", again=True):
        if not name and len(names) > 1:
            raise MeshError(f"--at {numbers[0]:g},{numbers[1]:g}: say of which part, as in --at {names[0]}=60,40.")
        places.setdefault(name, []).append((numbers[0], numbers[1]))
    wishes = []
    for name in names:
        at_mm = tuple(places.get(name, places.get("", [])))
        count = counts.get(name, counts.get("", max(1, len(at_mm))))
        if len(at_mm) > count:
            raise MeshError(f"--at: {name} has {len(at_mm)} positions for {count} copies; ask for more --copies.")
        wishes.append(Wish(turns.get(name, turns.get("", (0.0, 0.0, 0.0))), count, at_mm))
    return wishes


def wished(meshes: Sequence[Mesh], wishes: Sequence[Wish]) -> list[Placed]:
    """The parts that `arrange` takes, one copy of each, for what was wished of each mesh."""
    parts = []
    for mesh, wish in zip(meshes, wishes, strict=True):
        places = [*wish.at_mm, *[None] * (wish.copies - len(wish.at_mm))]
        parts += [Placed(mesh, place, wish.rotate_deg) for place in places]
    return parts


def _values(
    option: str,
    names: Sequence[str],
    texts: Sequence[str],
    lengths: tuple[int, ...],
    form: str,
    *,
    again: bool = False,
) -> Iterator[tuple[str, list[float]]]:
    """(name, or nothing for every part; numbers) of each text; a name only once unless `again`."""
    seen: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if equals and name not in names:
            raise MeshError(f"{option} {text}: no part is called {name!r}; there are {', '.join(names)}.")
        try:
            numbers = [float(word) for word in value.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in lengths or not all(map(math.isfinite, numbers)):
            raise MeshError(f"{option} {text}: write {form}.")
        if name in seen and not again:
            of = f"for {name}" if name else "for every part"
            raise MeshError(f"{option} is given twice {of}, as {seen[name]} and as {text}: give it once.")
        seen[name] = text
        yield name, numbers
