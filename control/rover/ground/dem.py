"""Heights on a grid with a place on the Moon: read from GeoTIFF, PNG, CSV and NPZ, checked, cut and asked.

Map frame: x, y of the map's projection in metres, z the height over the sphere in metres. `heights_m[i, j]` belongs to
the CENTRE of a cell at x = x_m + j * cell_m, y = y_m + i * cell_m: i grows with y (files are stored the other way
round, and turned when they are read). NaN is no data.
"""

from __future__ import annotations

import hashlib
import io
import math
import tomllib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from control.errors import MoonkilnError
from control.files import write_atomically

MOON_RADIUS_M = 1_737_400.0
CELLS_MAX = 400_000_000  # 20,000 on a side
CELL_M_MIN, CELL_M_MAX = 1e-3, 10_000.0
HEIGHT_M_MAX = 20_000.0  # the Moon's own range is -9.1 to 10.8 km
KNOWN_TILES = Path(__file__).parent / "known_tiles.toml"

Heights = NDArray[np.float32]


class DemError(MoonkilnError):
    """A height map that cannot be used; the sentence says what to do about it."""

    exit_code = 2


@dataclass(frozen=True)
class Crs:
    """Which projection x and y are of, on a sphere (MOON_ME). `local`: a laboratory's own frame, somewhere.

    Polar stereographic with true scale at the pole: rho = 2 R tan((90 deg - |lat|) / 2); south: x = rho sin(lon),
    y = rho cos(lon); north: y = -rho cos(lon), with lon counted from `lon_0_deg` (Snyder, USGS PP 1395, ch. 21).
    Orthographic about (`lat_0_deg`, `lon_0_deg`): ch. 20.
    """

    kind: Literal["polar_stereographic", "orthographic", "local"]
    radius_m: float = MOON_RADIUS_M
    lat_0_deg: float = -90.0
    lon_0_deg: float = 0.0

    def lat_lon_deg(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Latitude and longitude (east, -180 to 180) of a place. DemError for a local frame."""
        rho = math.hypot(x_m, y_m)
        if self.kind == "polar_stereographic":
            south = self.lat_0_deg < 0
            lat = 90.0 - math.degrees(2 * math.atan2(rho, 2 * self.radius_m))
            lon = math.degrees(math.atan2(x_m, y_m if south else -y_m)) + self.lon_0_deg
            return (-lat if south else lat), _half_turn(lon)
        if self.kind == "orthographic":
            if rho > self.radius_m:
                raise DemError(f"{x_m:.0f}, {y_m:.0f} m is beyond the Moon's edge in this projection")
            lat_0 = math.radians(self.lat_0_deg)
            c = math.asin(rho / self.radius_m)
            share = 0.0 if rho == 0 else y_m * math.sin(c) / rho
            lat = math.asin(math.cos(c) * math.sin(lat_0) + share * math.cos(lat_0))
            down = rho * math.cos(lat_0) * math.cos(c) - y_m * math.sin(lat_0) * math.sin(c)
            lon = math.degrees(math.atan2(x_m * math.sin(c), down)) if rho else 0.0
            return math.degrees(lat), _half_turn(lon + self.lon_0_deg)
        raise DemError("this map has a local frame: it has no latitude. Give it a georeference to plan by the Sun.")

    def xy_m(self, lat_deg: float, lon_deg: float) -> tuple[float, float]:
        """The inverse of `lat_lon_deg`."""
        if self.kind == "polar_stereographic":
            south = self.lat_0_deg < 0
            rho = 2 * self.radius_m * math.tan(math.radians(90.0 - (-lat_deg if south else lat_deg)) / 2)
            lon = math.radians(lon_deg - self.lon_0_deg)
            return rho * math.sin(lon), rho * math.cos(lon) * (1 if south else -1)
        if self.kind == "orthographic":
            lat, lat_0 = math.radians(lat_deg), math.radians(self.lat_0_deg)
            lon = math.radians(lon_deg - self.lon_0_deg)
            x = self.radius_m * math.cos(lat) * math.sin(lon)
            y = self.radius_m * (math.cos(lat_0) * math.sin(lat) - math.sin(lat_0) * math.cos(lat) * math.cos(lon))
            return x, y
        raise DemError("this map has a local frame: it has no latitude. Give it a georeference to plan by the Sun.")

    def north_rad(self, x_m: float, y_m: float) -> float:
        """The direction of north at a place, counter-clockwise from the map's +x."""
        if self.kind == "local":
            return math.pi / 2
        if self.kind == "polar_stereographic":
            return math.atan2(y_m, x_m) if self.lat_0_deg < 0 else math.atan2(-y_m, -x_m)
        lat, lon = self.lat_lon_deg(x_m, y_m)
        x1, y1 = self.xy_m(lat + 1e-5, lon)
        x0, y0 = self.xy_m(lat - 1e-5, lon)
        return math.atan2(y1 - y0, x1 - x0)


class Georef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a picture of heights does not say itself (`FILE.toml` beside it): height = scale * value + offset.

    `west_m`, `north_m`: x of the left edge, y of the upper edge of the picture, in the map's frame.
    """

    cell_m: float
    west_m: float = 0.0
    north_m: float = 0.0
    scale_m: float = 1.0
    offset_m: float = 0.0
    no_data: float | None = None
    crs: Literal["polar_stereographic", "orthographic", "local"] = "local"
    radius_m: float = MOON_RADIUS_M
    lat_0_deg: float = -90.0
    lon_0_deg: float = 0.0
    name: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Dem:
    """A height map. See the module for frames; `sha256` is of the file it was read from ("" if none)."""

    heights_m: Heights
    x_m: float
    y_m: float
    cell_m: float
    crs: Crs
    name: str = "map"
    sha256: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.heights_m.shape
        return rows, columns

    @property
    def extent_m(self) -> tuple[float, float, float, float]:
        """x and y of the lowest and of the highest cell centre."""
        rows, columns = self.shape
        return self.x_m, self.y_m, self.x_m + (columns - 1) * self.cell_m, self.y_m + (rows - 1) * self.cell_m

    @cached_property
    def has_gaps(self) -> bool:
        """Whether some cells hold no data."""
        return bool(np.isnan(self.heights_m).any())

    def index(self, x_m: float, y_m: float) -> tuple[int, int]:
        """Row and column of the cell that holds a place. DemError outside the map."""
        rows, columns = self.shape
        if math.isfinite(x_m) and math.isfinite(y_m):
            i, j = math.floor((y_m - self.y_m) / self.cell_m + 0.5), math.floor((x_m - self.x_m) / self.cell_m + 0.5)
            if 0 <= i < rows and 0 <= j < columns:
                return i, j
        x0, y0, x1, y1 = self.extent_m
        raise DemError(
            f"{x_m:.1f}, {y_m:.1f} m is outside the map {self.name}, which reaches from x {x0:.1f} to {x1:.1f} m and"
            f" from y {y0:.1f} to {y1:.1f} m"
        )

    def point(self, i: int, j: int) -> tuple[float, float]:
        """The centre of a cell."""
        return self.x_m + j * self.cell_m, self.y_m + i * self.cell_m

    def height_at(self, x_m: NDArray[np.float64] | float, y_m: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Heights between the cell centres, bilinear; NaN outside the map and beside cells without data."""
        x, y = np.asarray(x_m, dtype=np.float64), np.asarray(y_m, dtype=np.float64)
        rows, columns = self.shape
        u, v = (x - self.x_m) / self.cell_m, (y - self.y_m) / self.cell_m
        with np.errstate(invalid="ignore"):
            inside = (u >= 0) & (v >= 0) & (u <= columns - 1) & (v <= rows - 1)
        j = np.clip(np.nan_to_num(u), 0, max(columns - 2, 0)).astype(np.int64)
        i = np.clip(np.nan_to_num(v), 0, max(rows - 2, 0)).astype(np.int64)
        du, dv = u - j, v - i
        h, right, up = self.heights_m, np.minimum(j + 1, columns - 1), np.minimum(i + 1, rows - 1)
        low = h[i, j] * (1 - du) + h[i, right] * du
        high = h[up, j] * (1 - du) + h[up, right] * du
        return np.where(inside, low * (1 - dv) + high * dv, np.nan)

    def crop(self, x_low_m: float, y_low_m: float, x_high_m: float, y_high_m: float) -> Dem:
        """The cells of a rectangle, borders included, as far as the map reaches. DemError if it does not."""
        if not (x_low_m <= x_high_m and y_low_m <= y_high_m):
            raise DemError(f"no rectangle reaches from {x_low_m}, {y_low_m} to {x_high_m}, {y_high_m} m")
        rows, columns = self.shape
        j0 = max(0, math.floor((x_low_m - self.x_m) / self.cell_m + 0.5))
        i0 = max(0, math.floor((y_low_m - self.y_m) / self.cell_m + 0.5))
        j1 = min(columns, math.floor((x_high_m - self.x_m) / self.cell_m + 0.5) + 1)
        i1 = min(rows, math.floor((y_high_m - self.y_m) / self.cell_m + 0.5) + 1)
        if j1 <= j0 or i1 <= i0:
            raise DemError(
                f"the rectangle {x_low_m:.0f} to {x_high_m:.0f}, {y_low_m:.0f} to {y_high_m:.0f} m is off {self.name}"
            )
        x, y = self.point(i0, j0)
        return replace(self, heights_m=np.ascontiguousarray(self.heights_m[i0:i1, j0:j1]), x_m=x, y_m=y)

    def lat_lon_deg(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Latitude and longitude of a place. DemError for a local frame."""
        return self.crs.lat_lon_deg(x_m, y_m)

    def north_rad(self, x_m: float, y_m: float) -> float:
        """The direction of north at a place, counter-clockwise from +x."""
        return self.crs.north_rad(x_m, y_m)


def read_dem(path: str | Path, *, georef: str | Path | None = None, layer: int | None = None) -> Dem:
    """Read a height map by its file's ending: .tif .tiff .png .csv .npz.

    PNG and CSV say nothing of scale and place: that comes from `georef`, else from `FILE.toml` beside the file, else,
    for a few well-known tiles, from their sha256. `layer` (from 1) picks one of a GeoTIFF with several.

    Raises:
        DemError: absent, damaged, not a height map, without a georeference, or with one that cannot be.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".tif", ".tiff", ".png", ".csv", ".npz"):
        raise DemError(f"{path} is no height map that can be read: .tif, .png, .csv and .npz are")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DemError(f"height map {path} cannot be read: {error.strerror}") from error
    if not content:
        raise DemError(f"height map {path} is empty")
    sha256 = hashlib.sha256(content).hexdigest()
    if kind in (".tif", ".tiff"):
        from control.rover.ground.geotiff import read_geotiff

        dem = read_geotiff(path, content, layer)
    elif kind == ".npz":
        dem = _read_npz(path, content)
    else:
        place = _georef(path, sha256, georef)
        dem = _placed(path, _read_png(path, content) if kind == ".png" else _read_csv(path, content), place)
    return replace(_checked(dem, path), name=dem.name if dem.name != "map" else path.stem, sha256=sha256)


def write_npz(dem: Dem, path: str | Path) -> None:
    """Write a map as NPZ, which `read_dem` reads back the same."""
    stream = io.BytesIO()
    crs = dem.crs
    np.savez_compressed(
        stream,
        heights_m=dem.heights_m,
        place=np.array([dem.x_m, dem.y_m, dem.cell_m, crs.radius_m, crs.lat_0_deg, crs.lon_0_deg]),
        crs=np.array(crs.kind),
        name=np.array(dem.name),
    )
    write_atomically(Path(path), stream.getvalue())


# ---- the formats


def _read_npz(path: Path, content: bytes) -> Dem:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            heights, place = file["heights_m"], file["place"]
            kind, name = str(file["crs"]), str(file["name"])
    except Exception as error:  # a damaged file breaks numpy and zipfile in many ways
        raise DemError(f"height map {path} is no NPZ that `moonkiln` wrote, or it was damaged: {error}") from error
    if kind not in ("polar_stereographic", "orthographic", "local") or place.shape != (6,) or heights.ndim != 2:
        raise DemError(f"height map {path} is an NPZ of another kind: it needs heights_m, place, crs and name")
    x, y, cell, radius, lat_0, lon_0 = map(float, place)
    return Dem(heights.astype(np.float32), x, y, cell, Crs(kind, radius, lat_0, lon_0), name)  # type: ignore[arg-type]


def _read_png(path: Path, content: bytes) -> NDArray[np.float64]:
    import cv2

    try:
        picture = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        picture = None
    if picture is None:
        raise DemError(f"height map {path} is no PNG, or it was cut short")
    if picture.ndim != 2:
        raise DemError(f"height map {path} is a coloured picture: heights are in one channel of 8 or 16 bits")
    return picture.astype(np.float64)


def _read_csv(path: Path, content: bytes) -> NDArray[np.float64]:
    try:
        rows = [line.split(",") for line in content.decode("ascii").replace("\r", "").split("\n") if line.strip()]
        if len({len(row) for row in rows}) != 1:
            raise ValueError("its rows are of different lengths")
        if len(rows) * len(rows[0]) > CELLS_MAX:
            raise ValueError("it has too many cells")
        return np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise DemError(f"height map {path} is no table of numbers: {error}") from error


def _georef(path: Path, sha256: str, given: str | Path | None) -> Georef:
    """The georeference of a file that has none in it."""
    beside = path.with_name(path.name + ".toml")
    source = Path(given) if given is not None else beside if beside.is_file() else None
    if source is None:
        known = tomllib.loads(KNOWN_TILES.read_text(encoding="utf-8"))
        if sha256 in known:
            return msgspec.convert(known[sha256], Georef)
        raise DemError(
            f"{path} does not say how large its cells are nor where it lies: write {beside.name} beside it"
            " (cell_m, west_m, north_m, scale_m, offset_m, crs), or name one with --georef"
        )
    try:
        return msgspec.convert(tomllib.loads(source.read_text(encoding="utf-8")), Georef)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DemError(f"georeference {source} cannot be used: {error}") from error


def _placed(path: Path, values: NDArray[np.float64], place: Georef) -> Dem:
    """Values as stored (upper row first) with their georeference."""
    if not all(map(math.isfinite, (place.cell_m, place.west_m, place.north_m, place.scale_m, place.offset_m))):
        raise DemError(f"the georeference of {path} holds a number that is not finite")
    heights = place.scale_m * values + place.offset_m
    if place.no_data is not None:
        heights[values == place.no_data] = np.nan
    x_m, y_m = place.west_m + place.cell_m / 2, place.north_m - (values.shape[0] - 0.5) * place.cell_m
    crs = Crs(place.crs, place.radius_m, place.lat_0_deg, place.lon_0_deg)
    return Dem(np.ascontiguousarray(heights[::-1], dtype=np.float32), x_m, y_m, place.cell_m, crs, place.name or "map")


def _checked(dem: Dem, path: Path) -> Dem:
    """A map that can be one."""
    rows, columns = dem.shape
    if rows < 2 or columns < 2 or rows * columns > CELLS_MAX:
        raise DemError(f"height map {path} has {rows} x {columns} cells; 2 x 2 to {CELLS_MAX:,} in all can be used")
    if not CELL_M_MIN <= dem.cell_m <= CELL_M_MAX:
        raise DemError(f"height map {path}: cells of {dem.cell_m:g} m cannot be; is its georeference in metres?")
    if not all(map(math.isfinite, (dem.x_m, dem.y_m))) or max(abs(dem.x_m), abs(dem.y_m)) > 1e8:
        raise DemError(f"height map {path} lies nowhere: its origin is {dem.x_m!r}, {dem.y_m!r}")
    if not (dem.crs.kind == "local" or 1.7e6 < dem.crs.radius_m < 1.78e6):
        raise DemError(
            f"height map {path} lies on a sphere of {dem.crs.radius_m:g} m, which is not the Moon (1,737,400 m)"
        )
    heights = dem.heights_m
    if not heights.flags.c_contiguous or np.isinf(heights).any():
        heights = np.ascontiguousarray(np.where(np.isinf(heights), np.float32(np.nan), heights))
    known = np.isfinite(heights)
    if not known.any():
        raise DemError(f"height map {path} holds no data: every cell is empty")
    low, high = float(heights[known].min()), float(heights[known].max())
    if max(abs(low), abs(high)) > HEIGHT_M_MAX:
        raise DemError(
            f"height map {path} reaches from {low:g} to {high:g} m; on the Moon nothing is beyond +-{HEIGHT_M_MAX:g} m."
            " Is its scale right, and its no-data value?"
        )
    return replace(dem, heights_m=heights)


def _half_turn(degrees: float) -> float:
    return math.remainder(degrees, 360.0)
