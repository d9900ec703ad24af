"""GeoTIFF: the image by tifffile, the georeference by its keys, each checked before it is believed.

Read: one layer of float or integer heights in a projected system in metres on a Moon-sized sphere: polar stereographic
(NASA PGDA's polar maps) or orthographic. Keys: OGC GeoTIFF 1.1. Written: the same, float32, deflated.
"""

from __future__ import annotations

import io
import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from control.files import write_atomically
from control.rover.ground.dem import CELLS_MAX, Crs, Dem, DemError, Heights

logging.getLogger("tifffile").propagate = False  # what is wrong with a file is said here, in a sentence
logging.getLogger("tifffile").addHandler(logging.NullHandler())

POLAR_STEREOGRAPHIC, ORTHOGRAPHIC, PROJECTED, USER_DEFINED, METRE = 15, 21, 1, 32767, 9001
_NODATA, _METADATA = "GDAL_NODATA", "GDAL_METADATA"


def read_geotiff(path: Path, content: bytes, layer: int | None) -> Dem:
    """A height map from the bytes of a GeoTIFF; `layer` counts from 1. Raises DemError."""
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page: Any = file.pages[0]
            shape = page.shape
            if len(shape) not in (2, 3) or math.prod(shape) > CELLS_MAX:
                raise DemError(
                    f"height map {path} has an image of {shape}: one with at most {CELLS_MAX:,} cells is read"
                )
            keys = dict(page.geotiff_tags)
            tags = {tag.name: tag.value for tag in page.tags.values()}
            values = page.asarray()
    except DemError:
        raise
    except Exception as error:  # a damaged file breaks tifffile in many ways
        raise DemError(f"height map {path} is no TIFF that can be read, or it was cut short: {error}") from error
    values = _one_layer(path, values, tags, layer)
    crs = _crs(path, keys)
    cell_m, west_m, north_m = _place(path, keys)
    heights = values.astype(np.float64)
    no_data = _number(tags.get(_NODATA))
    if no_data is not None:
        heights[values == np.asarray(no_data).astype(values.dtype)] = np.nan
    if int(keys.get("GTRasterTypeGeoKey", 1)) == 2:  # the tie point is the centre of a cell, not its corner
        west_m, north_m = west_m - cell_m / 2, north_m + cell_m / 2
    x_m, y_m = west_m + cell_m / 2, north_m - (heights.shape[0] - 0.5) * cell_m
    return Dem(np.ascontiguousarray(heights[::-1], dtype=np.float32), x_m, y_m, cell_m, crs)


def write_geotiff(dem: Dem, values: Heights, path: str | Path) -> None:
    """Write a grid that lies where `dem` lies (f4, its shape and order, NaN no data). DemError for another shape."""
    if values.shape != dem.heights_m.shape:
        raise DemError(f"a grid of {values.shape} does not lie on a map of {dem.heights_m.shape}")
    crs = dem.crs
    keys: list[tuple[int, int, int, int]] = [(1024, 0, 1, PROJECTED), (1025, 0, 1, 1)]
    doubles: list[float] = []
    text = f"{dem.name}, {crs.kind}|".encode("ascii", "replace").decode()

    def double(key: int, value: float) -> None:
        keys.append((key, 34736, 1, len(doubles)))
        doubles.append(value)

    keys.append((1026, 34737, len(text), 0))
    keys += [(2048, 0, 1, USER_DEFINED), (2050, 0, 1, USER_DEFINED), (2054, 0, 1, 9102), (2056, 0, 1, USER_DEFINED)]
    double(2057, crs.radius_m)
    double(2058, crs.radius_m)
    keys += [(3072, 0, 1, USER_DEFINED), (3074, 0, 1, USER_DEFINED)]
    if crs.kind == "polar_stereographic":
        keys += [(3075, 0, 1, POLAR_STEREOGRAPHIC), (3076, 0, 1, METRE)]
        double(3081, crs.lat_0_deg)
        double(3082, 0.0)
        double(3083, 0.0)
        double(3092, 1.0)
        double(3095, crs.lon_0_deg)
    elif crs.kind == "orthographic":
        keys += [(3075, 0, 1, ORTHOGRAPHIC), (3076, 0, 1, METRE)]
        double(3082, 0.0)
        double(3083, 0.0)
        double(3088, crs.lon_0_deg)
        double(3089, crs.lat_0_deg)
    else:
        keys += [(3076, 0, 1, METRE)]
    keys.sort()
    directory = [1, 1, 0, len(keys), *(number for key in keys for number in key)]
    west_m, north_m = dem.x_m - dem.cell_m / 2, dem.y_m + (values.shape[0] - 0.5) * dem.cell_m
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        np.ascontiguousarray(values[::-1], dtype=np.float32),
        photometric="minisblack",
        compression="zlib",
        predictor=False,
        metadata=None,
        software="moonkiln",
        extratags=[
            (33550, "d", 3, (dem.cell_m, dem.cell_m, 0.0), True),
            (33922, "d", 6, (0.0, 0.0, 0.0, west_m, north_m, 0.0), True),
            (34735, "H", len(directory), tuple(directory), True),
            (34736, "d", len(doubles), tuple(doubles), True),
            (34737, "s", 0, text, True),
            (42113, "s", 0, "nan", True),
        ],
    )
    write_atomically(Path(path), stream.getvalue())


def _one_layer(path: Path, values: Any, tags: dict[str, Any], layer: int | None) -> Any:
    if values.ndim == 2:
        if layer not in (None, 1):
            raise DemError(f"height map {path} has one layer: there is no layer {layer}")
        return values
    count = values.shape[2]
    if layer is None or not 1 <= layer <= count:
        names = _layer_names(str(tags.get(_METADATA, "")), count)
        raise DemError(f"height map {path} has {count} layers ({names}): say with --layer which one holds the heights")
    return values[:, :, layer - 1]


def _layer_names(metadata: str, count: int) -> str:
    found = dict(re.findall(r'sample="(\d{1,4})" role="description">([^<]{1,80})<', metadata))
    return ", ".join(f"{n + 1} {found.get(str(n), '')}".strip() for n in range(min(count, 20)))


def _crs(path: Path, keys: dict[str, Any]) -> Crs:
    if not keys:
        raise DemError(f"{path} is a TIFF without a georeference: a GeoTIFF is needed")
    if int(keys.get("GTModelTypeGeoKey", 0)) != PROJECTED:
        raise DemError(
            f"height map {path} is in degrees (not projected): warp it to polar stereographic first, for example with"
            " gdalwarp -t_srs '+proj=stere +lat_0=-90 +R=1737400'"
        )
    if int(keys.get("ProjLinearUnitsGeoKey", METRE)) != METRE:
        raise DemError(f"height map {path} is not in metres")
    radius_m = _number(keys.get("GeogSemiMajorAxisGeoKey"))
    if radius_m is None:
        raise DemError(f"height map {path} does not say on which sphere it lies: the Moon's radius is missing")
    minor_m = _number(keys.get("GeogSemiMinorAxisGeoKey"))
    if radius_m > 6e6 or (minor_m is not None and abs(minor_m - radius_m) > 1000.0):
        raise DemError(f"height map {path} lies on another body than the Moon: its radius is {radius_m:g} m")

    def degrees(*names: str) -> float:
        return next((float(keys[name]) for name in names if name in keys), 0.0)

    kind = int(keys.get("ProjCoordTransGeoKey", 0))
    false_m = max(abs(degrees("ProjFalseEastingGeoKey")), abs(degrees("ProjFalseNorthingGeoKey")))
    if false_m:
        raise DemError(f"height map {path} has a false origin ({false_m:g} m), which is not read: warp it without one")
    if kind == POLAR_STEREOGRAPHIC:
        lat_0 = degrees("ProjNatOriginLatGeoKey", "ProjStdParallel1GeoKey")
        scale = float(keys.get("ProjScaleAtNatOriginGeoKey", 1.0))
        if abs(abs(lat_0) - 90.0) > 1e-6 or abs(scale - 1.0) > 1e-6:
            raise DemError(
                f"height map {path}: stereographic about latitude {lat_0:g} with scale {scale:g}; only the poles with"
                " true scale there are read"
            )
        return Crs("polar_stereographic", radius_m, lat_0, degrees("ProjStraightVertPoleLongGeoKey"))
    if kind == ORTHOGRAPHIC:
        lat_0 = degrees("ProjCenterLatGeoKey", "ProjNatOriginLatGeoKey")
        return Crs("orthographic", radius_m, lat_0, degrees("ProjCenterLongGeoKey", "ProjNatOriginLongGeoKey"))
    raise DemError(f"height map {path} is in a projection that is not read (code {kind}): polar stereographic is")


def _place(path: Path, keys: dict[str, Any]) -> tuple[float, float, float]:
    scale, tie = keys.get("ModelPixelScale"), keys.get("ModelTiepoint")
    if scale is None or tie is None or len(scale) < 2 or len(tie) != 6:
        raise DemError(f"height map {path} is turned or warped, or has no place: one scale and one tie point are read")
    sx, sy = float(scale[0]), float(scale[1])
    if not (math.isfinite(sx) and math.isfinite(sy) and sx > 0 and abs(sx - sy) <= 1e-6 * sx):
        raise DemError(f"height map {path} has cells of {sx:g} x {sy:g} m: only square ones are read")
    column, row, _, x_m, y_m, _ = map(float, tie)
    return sx, x_m - column * sx, y_m + row * sy


def _number(value: Any) -> float | None:
    try:
        number = float(str(value).strip("\0 "))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
