"""Hatches in tiles: stripes, square islands and hexagons.

The grid of the tiles is anchored to the origin of the plate (a tile's centre lies there at phase 0) and turned about it
by the angle of the layer: all parts of a plate share one grid, and a part that stands alone is cut as it is among
others. From layer to layer the phase may shift it, so that the seams of one layer do not lie on those below.
The lines are those of `meander`, one set for the whole layer and direction, centred on the extent of its loops.

Nothing vanishes but pieces of up to a tenth of a spacing that the outline or a border leaves of a line. There are no
more of them than places where lines cross the outline and the borders, so length times spacing is the area to within
0.1 spacing^2 for each of these (and to within half a spacing along outline and borders, as for any set of lines).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.hatching.settings import Hatched, HatchSettings, check_extent
from slicer.kernels import tiling

TILES_MAX = 4_000_000
"""Tiles that a layer's extent may need: they are counted one by one, whether they hold a vector or not."""


TILES_AWAY_MAX = 1e12
"""Tiles between the origin of the plate and a part: more could not be told from one another."""

VECTORS_MAX = 300_000_000
"""Vectors that lines across a layer's extent may be cut into: a wrong unit is a sentence and no full memory."""


def stripes(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """Fill loops stripe by stripe: stripes `tile_mm` wide along the angle, hatched across, there and back.

    Args and Raises as `islands`. Tiles are numbered across the stripes.
    """
    return _tiled(points_mm, loop_starts, angle_rad, settings, tiling.STRIPES)


def islands(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """Fill loops like a chess board: squares of `tile_mm` along the angle, neighbours hatched at 90 degrees.

    Args:
        points_mm: (p, 2) f8 corners; loop_starts: (l + 1,) i8; loops that do not overlap, holes as loops of their own.
        angle_rad: of the grid, counter-clockwise from x.

    Returns:
        The vectors, tile by tile in rows. Within a tile, lines run there and back.

    Raises:
        ScanError: lines or tiles are so small that they cannot be counted, or the angle is none.
    """
    return _tiled(points_mm, loop_starts, angle_rad, settings, tiling.SQUARES)


def hexagons(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """Fill loops by hexagons `tile_mm` from flat to flat, hatched in three directions, 120 degrees apart; no neighbours
    share one.

    Args, Returns and Raises as `islands`.
    """
    return _tiled(points_mm, loop_starts, angle_rad, settings, tiling.HEXAGONS)


def _tiled(
    points: NDArray[np.float64], starts: NDArray[np.int64], angle: float, settings: HatchSettings, tiles: int
) -> Hatched:
    if len(points) == 0:
        return Hatched.empty()
    extent = check_extent(points, angle, settings.spacing_mm)
    if settings.tile_mm <= 2.0 * settings.shortest_mm:
        raise ScanError(
            f"Tiles of {settings.tile_mm:g} mm are too small for lines {settings.spacing_mm:g} mm apart: pieces up to "
            f"{settings.shortest_mm:g} mm are left out, and nothing would remain; make them wider."
        )
    if not (extent / settings.tile_mm + 8.0) ** 2 < TILES_MAX:
        raise ScanError(
            f"Tiles of {settings.tile_mm:g} mm need over {TILES_MAX} of them across {extent:.6g} mm; make them wider."
        )
    if not (extent / settings.spacing_mm + 1.0) * (extent / settings.tile_mm + 8.0) < VECTORS_MAX:
        raise ScanError(
            f"Lines {settings.spacing_mm:g} mm apart in tiles of {settings.tile_mm:g} mm may be over "
            f"{VECTORS_MAX} vectors across {extent:.6g} mm; make either wider."
        )
    away = float(np.abs(points).max())
    if not away / settings.tile_mm < TILES_AWAY_MAX:
        raise ScanError(
            f"The outline lies {away:.6g} mm from the origin of the plate; place the part on the plate first."
        )
    vectors, tile_starts = tiling.tiled_vectors(
        points, starts, float(settings.spacing_mm), float(angle), float(settings.phase), settings.shortest_mm, tiles,
        float(settings.tile_mm), float(settings.tile_overlap_mm), settings.room,
    )  # fmt: skip
    return Hatched(vectors[settings.room :], tile_starts, settings.room)
