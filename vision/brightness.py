"""How bright the bed is against level powder: under the light that the markers' paper shows, and with what four markers
cannot tell of it taken out."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.opencv import Picture

# Uneven light that four markers cannot tell (vignetting) is fitted by a second-order surface, and may correct by this
# much only: a wide hollow must not be explained away as light.
FLAT_FIELD_MAX = 0.10
FLAT_FIELD_CELL_MM = 5.0
# Where nothing looks like powder the light is not measured, and is held to be the markers' by so much of what a cell of
# powder weighs: little beside powder around it, all there is where a surface would be carried far beyond its powder.
UNMEASURED_WEIGHT = 0.05

Floats = NDArray[np.float32]


def plane_light(
    at_mm: NDArray[np.float64], white: NDArray[np.float64], shape: tuple[int, int], mm_per_px: float
) -> Floats:
    """Paper level over the plate, (rows, columns) f4: the plane through the markers' paper (least squares), at least 1
    grey level.

    Args:
        at_mm: (n, 2) centres of the markers. white: (n,) grey level of their paper.
        shape, mm_per_px: of the rectified picture.
    """
    terms = np.column_stack([at_mm, np.ones(len(at_mm))])
    slope_x, slope_y, level = np.linalg.lstsq(terms, white, rcond=None)[0]
    rows, columns = shape
    across = (slope_x * ((np.arange(columns) + 0.5) * mm_per_px) + level).astype(np.float32)
    along = (slope_y * ((rows - np.arange(rows) - 0.5) * mm_per_px)).astype(np.float32)
    light = across[None, :] + along[:, None]
    return np.asarray(np.maximum(light, np.float32(1.0), out=light), np.float32)


def tone_of(image: Picture, light: Floats, powder_ratio: float) -> Floats:
    """Brightness against level powder, (rows, columns) f4; of green, which glow reaches last."""
    return np.asarray(cv2.divide(cv2.extractChannel(image, 1), light, scale=1.0 / powder_ratio, dtype=cv2.CV_32F))


def flat_field(tone: Floats, size_mm: tuple[float, float]) -> Floats:
    """(rows, columns) f4: the light that a plane through four markers leaves out, within 1 +- FLAT_FIELD_MAX.

    A second-order surface is fitted to the cells of a coarse grid that look like powder; cells far from the fit
    (hollows, parts) lose their weight. Cells that do not look like powder hold it at 1, weakly: a surface through the
    quarter of a bed that was filled must not explain the bare rest away as light. Where less than a quarter of the
    plate looks like powder there is nothing to fit, and 1 is returned. size_mm: of the plate, x and y.
    """
    rows, columns = tone.shape
    grid = (max(round(size_mm[0] / FLAT_FIELD_CELL_MM), 4), max(round(size_mm[1] / FLAT_FIELD_CELL_MM), 4))
    cells = cv2.resize(tone, grid, interpolation=cv2.INTER_AREA).ravel().astype(float)
    terms = _terms(grid)
    powder = np.abs(cells - 1.0) < FLAT_FIELD_MAX + 0.02
    if powder.mean() < 0.25:
        return np.ones((rows, columns), np.float32)
    weight = powder.astype(float)
    bare = terms[~powder] * UNMEASURED_WEIGHT
    held, held_at_1 = bare.T @ terms[~powder], bare.sum(axis=0)
    factors = np.zeros(6)
    for _ in range(6):
        weighted = terms * (weight * weight)[:, None]
        factors = np.linalg.lstsq(weighted.T @ terms + held, weighted.T @ cells + held_at_1, rcond=None)[0]
        off = cells - terms @ factors
        spread = max(1.4826 * float(np.median(np.abs(off[powder]))), 0.004)
        weight = np.sqrt(powder * np.clip(1.0 - (off / (4.0 * spread)) ** 2, 0.0, None) ** 2)
    fitted = np.clip((terms @ factors).reshape(grid[1], grid[0]), 1 - FLAT_FIELD_MAX, 1 + FLAT_FIELD_MAX)
    return np.asarray(
        cv2.resize(fitted.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32
    )


@lru_cache(maxsize=4)
def _terms(grid: tuple[int, int]) -> NDArray[np.float64]:
    """(cells, 6): 1, x, y, x^2, xy, y^2 of the middles of a grid's cells, from -1 to 1; for reading only."""
    y, x = (np.mgrid[0 : grid[1], 0 : grid[0]].reshape(2, -1) + 0.5) / np.array([[grid[1]], [grid[0]]]) * 2 - 1
    terms = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    terms.flags.writeable = False
    return terms
