"""Mesh: the surface of a part, as read from a file, welded, wound and judged."""

from __future__ import annotations

import io
import logging
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.kernels import cutting

UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
"""Millimetres in each unit that a mesh may be given in."""

UNITS_3MF_MM = {"micron": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "meter": 1000.0, "inch": 25.4, "foot": 304.8}
"""Millimetres in each unit that a 3MF file may name (3MF core specification, section 3.4)."""

FORMATS = (".stl", ".obj", ".ply", ".3mf")
FILE_BYTES_MAX = 2_000_000_000
TRIANGLES_MAX = 50_000_000
EXTENT_MIN_MM, EXTENT_MAX_MM = 1e-3, 1e5
"""A part is neither smaller than a grain of dust nor longer than a hundred metres: its unit is wrong."""

WELD_STEPS = 2**20
"""Corners closer than the extent of the part over this (0.2 um on 250 mm) are one; a key has 21 bits an axis."""


class Volume(Protocol):
    """What a part has to fit into; an Envelope is one."""

    @property
    def x_mm(self) -> float: ...
    @property
    def y_mm(self) -> float: ...
    @property
    def z_mm(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle surface.

    Attributes:
        vertices_mm: (n, 3) f8.
        faces: (m, 3) i4, vertex numbers, counter-clockwise seen from outside.
        name: what to call the part.
    """

    vertices_mm: NDArray[np.float64]
    faces: NDArray[np.int32]
    name: str

    @property
    def bounds_mm(self) -> NDArray[np.float64]:
        """(2, 3) f8, the lowest and the highest corner of the vertices in use."""
        used = self.vertices_mm[self.faces.reshape(-1)]
        return np.stack([used.min(axis=0), used.max(axis=0)])


@dataclass(frozen=True, eq=False)
class MeshReport:
    """What was found in a mesh, and what was put right.

    Attributes:
        triangles: that are left; bodies: connected surfaces among them.
        bounds_mm: (2, 3) f8; volume_mm3: enclosed, cavities taken away (meaningless while edges are open).
        open_edges: with a triangle on one side only; non_manifold_edges: with more than two triangles.
        flipped_faces: triangles that wound the wrong way and were turned; inside_out: whether whole bodies did.
        one_sided: the surface cannot be wound, inside and outside are one (a Moebius strip).
        degenerate_dropped: triangles without area that were dropped; welded_vertices: corners merged into others.
        coordinate_step_mm: how finely single precision, in which STL is written, divides coordinates at the part.
    """

    triangles: int
    bodies: int
    bounds_mm: NDArray[np.float64]
    volume_mm3: float
    open_edges: int
    non_manifold_edges: int
    flipped_faces: int
    inside_out: bool
    one_sided: bool
    degenerate_dropped: int
    welded_vertices: int
    coordinate_step_mm: float

    @property
    def is_closed(self) -> bool:
        """Whether the surface has an inside."""
        return self.open_edges == 0 and not self.one_sided

    def sentences(self) -> list[str]:
        """What a user should know before printing this part; empty when nothing is wrong."""
        told = []
        if self.open_edges:
            told.append(f"The surface is not closed: {self.open_edges} edges have a triangle on one side only.")
        if self.one_sided:
            told.append("The surface has no inside: its triangles cannot be wound to agree.")
        if self.non_manifold_edges:
            told.append(f"More than two triangles meet at {self.non_manifold_edges} edges: bodies touch there.")
        if self.inside_out:
            told.append("The part was inside out; its triangles were turned.")
        elif self.flipped_faces:
            told.append(f"{self.flipped_faces} triangles faced the wrong way and were turned.")
        if self.degenerate_dropped:
            told.append(f"{self.degenerate_dropped} triangles without area were dropped.")
        if self.coordinate_step_mm > 0.005:
            told.append(
                f"The part lies so far from its origin that single precision keeps only {self.coordinate_step_mm:.2g} "
                "mm; export it near the origin."
            )
        return told


def read_mesh(path: str | Path, *, unit: str = "mm") -> tuple[Mesh, MeshReport]:
    """Read an STL (binary or ASCII), OBJ, PLY or 3MF file.

    Args:
        path: the file; its ending tells the format.
        unit: of the file's numbers, one of `UNITS_MM`; a 3MF file names its own, which then holds.

    Returns:
        The mesh in mm, corners welded, triangles wound outwards, and the report on it. An open surface is reported, not
        refused: whether it can be cut is known when it is cut.

    Raises:
        MeshError: the file cannot be read, is empty, truncated or no mesh, holds numbers that are none, no triangle
            with an area, or a part of absurd size.
    """
    path = Path(path)
    if unit not in UNITS_MM:
        raise MeshError(f"{unit!r} is not a unit of length here; use one of {', '.join(UNITS_MM)}.")
    vertices, faces, own_scale = _load(path, _read_bytes(path))
    scale = UNITS_MM[unit] if own_scale is None else own_scale
    if len(faces) == 0:
        raise MeshError(f"{path} holds no triangle; export the part as a surface mesh.")
    if len(faces) > TRIANGLES_MAX:
        raise MeshError(f"{path} holds {len(faces)} triangles, more than {TRIANGLES_MAX}; export it more coarsely.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise MeshError(f"{path} is damaged: a triangle names a corner that the file does not hold.")
    bad = ~np.isfinite(vertices[faces]).all(axis=(1, 2))
    if bad.any():
        raise MeshError(
            f"{path} is damaged: {int(bad.sum())} triangles have a corner that is no number (NaN or infinite), "
            f"the first is triangle {int(np.argmax(bad))}; export the part again."
        )
    used = vertices[faces.reshape(-1)] * scale
    largest = float(np.ptp(used, axis=0).max())
    if not EXTENT_MIN_MM <= largest <= EXTENT_MAX_MM:
        raise MeshError(f"{path} is {largest:.4g} mm across in its largest direction; check its unit (--unit).")
    return judge(Mesh(vertices * scale, faces.astype(np.int32), path.stem))


def judge(mesh: Mesh) -> tuple[Mesh, MeshReport]:
    """Weld, clean and wind a mesh, and report on it.

    Raises:
        MeshError: no triangle with an area is left.
    """
    given = mesh
    mesh = _weld(mesh, 0.0)
    _, opened, _, _ = cutting.pair_edges(mesh.faces)
    if opened:  # twins that a border of the welding grid parted meet on the grid's other half-step
        mesh = _weld(mesh, 0.5)
    corners = len(np.unique(given.faces))
    mesh = _drop_flat(mesh)
    if len(mesh.faces) == 0:
        raise MeshError(f"{given.name} has no triangle with an area; export the part again.")
    mesh, bodies, flipped, inside_out, one_sided = _wind(mesh)
    _, opened, crowded, _ = cutting.pair_edges(mesh.faces)
    reach = float(np.abs(mesh.bounds_mm).max())
    return mesh, MeshReport(
        triangles=len(mesh.faces),
        bodies=bodies,
        bounds_mm=mesh.bounds_mm,
        volume_mm3=float(_signed_volumes(mesh).sum()),
        open_edges=opened,
        non_manifold_edges=crowded,
        flipped_faces=flipped,
        inside_out=inside_out,
        one_sided=one_sided,
        degenerate_dropped=len(given.faces) - len(mesh.faces),
        welded_vertices=corners - len(mesh.vertices_mm),
        coordinate_step_mm=float(np.spacing(np.float32(reach))),
    )


def place_on_plate(mesh: Mesh, envelope: Volume) -> Mesh:
    """Move a mesh to the middle of the build plate, its lowest point to z = 0.

    Raises:
        MeshError: it does not fit; the sentence names the axis and the excess.
    """
    low, high = mesh.bounds_mm
    size = high - low
    room = np.array([envelope.x_mm, envelope.y_mm, envelope.z_mm])
    too_long = [
        f"{size[axis]:.2f} mm in {name} where {room[axis]:g} mm are free"
        for axis, name in enumerate("xyz")
        if size[axis] > room[axis] * (1 + 1e-12)
    ]
    if too_long:
        raise MeshError(f"{mesh.name} does not fit: {' and '.join(too_long)}. Turn it, scale it or check its unit.")
    shift = np.array([0.5 * (room[0] - low[0] - high[0]), 0.5 * (room[1] - low[1] - high[1]), -low[2]])
    return replace(mesh, vertices_mm=mesh.vertices_mm + shift)


def _read_bytes(path: Path) -> bytes:
    if path.suffix.lower() not in FORMATS:
        raise MeshError(f"{path} does not end in a mesh format known here: {', '.join(FORMATS)}.")
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise MeshError(f"{path} is {size / 1e9:.1f} GB, more than a mesh may be here; export it more coarsely.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise MeshError(f"{path} does not exist.") from None
    except OSError as error:
        raise MeshError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data:
        raise MeshError(f"{path} is empty.")
    return data


def _load(path: Path, data: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64], float | None]:
    """Vertices and faces of a file's bytes, in the file's unit, and mm per unit where the file says so."""
    kind = path.suffix.lower()
    if kind == ".stl":
        data = _whole_stl(path, data)
    elif kind == ".obj":
        data = _as_utf8(data)
    elif kind == ".3mf":
        _hold_unpacked_size(path, data)
    import trimesh  # here, so that whoever only handles meshes need not wait for it

    log = logging.getLogger("trimesh")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what trimesh would print, the sentence below says
    try:
        extra: dict[str, Any] = {"skip_materials": True} if kind == ".obj" else {}
        scene = trimesh.load_scene(io.BytesIO(data), file_type=kind[1:], process=False, **extra)
        parts = []
        for node in scene.graph.nodes_geometry:
            matrix, name = scene.graph[node]
            part = scene.geometry[name]
            if not isinstance(part, trimesh.Trimesh):
                continue
            with np.errstate(invalid="ignore"):  # what is no number is found and named by the caller
                corners = np.asarray(part.vertices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
            mirrored = np.linalg.det(matrix[:3, :3]) < 0
            triangles = np.asarray(part.faces, np.int64)
            parts.append((corners, triangles[:, ::-1] if mirrored else triangles))
        unit = str(scene.units).lower() if kind == ".3mf" else None
    except Exception as error:  # trimesh raises whatever its parsers stumble on
        what = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise MeshError(f"{path} is no {kind[1:].upper()} mesh, or is damaged ({what}).") from error
    finally:
        log.setLevel(level)
    scale = None
    if unit is not None:
        scale = UNITS_3MF_MM.get(unit.removesuffix("s"))
        if scale is None:
            raise MeshError(f"{path} is given in {unit!r}; a 3MF unit is one of {', '.join(UNITS_3MF_MM)}.")
    if not parts:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64), scale
    first = np.cumsum([0, *(len(corners) for corners, _ in parts)])
    faces = np.concatenate([triangles + start for (_, triangles), start in zip(parts, first)])
    return np.concatenate([corners for corners, _ in parts]), faces, scale


def _whole_stl(path: Path, data: bytes) -> bytes:
    """The bytes of a complete STL file, whichever of its two forms it has (binary ones may begin with "solid" too)."""
    promised = 84 + 50 * int.from_bytes(data[80:84], "little") if len(data) >= 84 else -1
    if promised == len(data):
        return data
    text = data.lstrip()[:5].lower() == b"solid"
    if text and b"\0" not in data[:1000]:
        lower = data.lower()
        begun, ended = lower.count(b"outer loop"), lower.count(b"endloop")
        corners = lower.count(b"vertex")
        if begun != ended or corners != 3 * begun or b"endsolid" not in lower:
            raise MeshError(
                f"{path} is truncated: of {begun} triangles that begin, {ended} end, and 'endsolid' is "
                f"{'there' if b'endsolid' in lower else 'missing'}; export or copy the part again."
            )
        return _as_utf8(data)
    if len(data) < 84 or not any(data[80:84]):
        raise MeshError(f"{path} is no STL mesh: {len(data)} bytes without a triangle count.")
    if promised > len(data):
        raise MeshError(
            f"{path} is truncated or no STL mesh: it promises {(promised - 84) // 50} triangles in {promised} bytes "
            f"and has {len(data)} bytes; export or copy the part again."
        )
    return data[:promised]  # some programs append their own data


def _as_utf8(data: bytes) -> bytes:
    """Text in UTF-8; where it is not, names and comments are taken for Latin-1, which reads any byte."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1").encode("utf-8")
    return data


def _hold_unpacked_size(path: Path, data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise MeshError(f"{path} is no 3MF mesh, or is damaged ({error}).") from error
    if size > FILE_BYTES_MAX:
        raise MeshError(f"{path} unpacks to {size / 1e9:.1f} GB, more than a mesh may be here.")


def _weld(mesh: Mesh, shift: float) -> Mesh:
    """One vertex for all corners in a cell of a fine grid (shifted by a part of a cell); drops faces that collapse."""
    used, corner = np.unique(mesh.faces, return_inverse=True)
    points = mesh.vertices_mm[used]
    low = points.min(axis=0)
    step = float(np.ptp(points, axis=0).max()) / WELD_STEPS or 1.0
    cell = np.floor((points - low) / step + shift).astype(np.int64)
    key = (cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2]
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    faces = number[corner.reshape(-1, 3)].astype(np.int32)
    a, b, c = faces.T
    return Mesh(points[first], faces[(a != b) & (b != c) & (c != a)], mesh.name)


def _drop_flat(mesh: Mesh) -> Mesh:
    """Drop triangles whose corners lie in a line, unless the surface needs them to be closed."""
    if len(mesh.faces) == 0:
        return mesh
    corner = mesh.vertices_mm[mesh.faces]
    edges = corner - np.roll(corner, 1, axis=1)
    longest = np.sqrt((edges**2).sum(axis=2)).max(axis=1)
    doubled = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    flat = doubled <= 1e-8 * longest * longest.max()
    if not flat.any():
        return mesh
    trimmed = replace(mesh, faces=mesh.faces[~flat])
    if flat.all() or cutting.pair_edges(trimmed.faces)[1] <= cutting.pair_edges(mesh.faces)[1]:
        return trimmed
    return mesh


def _wind(mesh: Mesh) -> tuple[Mesh, int, int, bool, bool]:
    """Wind all triangles outwards: (mesh, bodies, turned triangles, whether whole bodies were, whether none can be)."""
    pair = cutting.pair_edges(mesh.faces)[0]
    upward = (mesh.faces < np.roll(mesh.faces, -1, axis=1)).reshape(-1)
    body = np.empty(len(mesh.faces), np.int32)
    turned = np.zeros(len(mesh.faces), np.bool_)
    bodies, contradictions = cutting.wind_bodies(upward, pair, body, turned)
    size = np.bincount(body, minlength=bodies)
    against = np.bincount(body, weights=turned, minlength=bodies)
    turned ^= (2 * against > size)[body]  # the majority of a body is right until its volume says otherwise
    mesh = replace(mesh, faces=np.where(turned[:, None], mesh.faces[:, ::-1], mesh.faces))
    volume = np.bincount(body, weights=_signed_volumes(mesh), minlength=bodies)
    sense = np.sign(volume.sum()) or 1.0
    hollow = np.flatnonzero(volume * sense < 0)
    wrong = np.full(bodies, sense < 0)
    if len(hollow):  # a negative body inside another is its cavity, a negative body elsewhere is inside out
        low, high = np.full((bodies, 3), np.inf), np.full((bodies, 3), -np.inf)
        for axis in range(3):
            along = mesh.vertices_mm[mesh.faces, axis]
            np.minimum.at(low[:, axis], body, along.min(axis=1))
            np.maximum.at(high[:, axis], body, along.max(axis=1))
        for b in hollow:
            around = (low <= low[b]).all(axis=1) & (high >= high[b]).all(axis=1)
            around[b] = False
            wrong[b] ^= not around.any()
    turned ^= wrong[body]
    mesh = replace(mesh, faces=np.where(wrong[body][:, None], mesh.faces[:, ::-1], mesh.faces))
    return mesh, bodies, int(turned.sum()), bool(wrong.any()), bool(contradictions)


def _signed_volumes(mesh: Mesh) -> NDArray[np.float64]:
    """(m,) f8: the tetrahedron between each triangle and the middle of the part, positive seen from inside, mm3."""
    centre = mesh.bounds_mm.mean(axis=0)  # keeps the digits of a part that lies far away
    a, b, c = (mesh.vertices_mm[mesh.faces[:, i]] - centre for i in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0
