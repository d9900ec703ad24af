"""Maps as pictures: shaded ground, what blocks, ways and places on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from control.report_drawing import data_url, nice_ticks
from control.rover.ground.dem import Dem

PIXELS = 720.0
LIGHT_FROM = (-1.0, 1.0, 1.2)  # the usual north-west
LEVEL_RGB = np.array([[58, 66, 86], [96, 104, 118], [150, 144, 132], [196, 182, 156], [236, 226, 204]], np.float32)
BLOCKED_RGB = np.array([196, 70, 54], np.float32)
UNKNOWN_RGB = np.array([30, 30, 36], np.float32)
LINE_POINTS_MAX = 3000

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """A way on the map: (n, 2) in m, the CSS class that paints it, and its name."""

    points_m: NDArray[np.float64]
    style: str
    name: str


@dataclass(frozen=True)
class Spot:
    """A place on the map, with its word and the CSS class that paints it."""

    x_m: float
    y_m: float
    style: str
    word: str


def shaded(dem: Dem, blocked: NDArray[np.bool_] | None = None) -> Bytes:
    """The ground in colours of its height, lit from the north-west: (rows, columns, 3) RGB, north up."""
    heights = dem.heights_m.astype(np.float32)
    known = np.isfinite(heights)
    filled = np.where(known, heights, np.nanmean(heights))
    up, right = np.gradient(filled, dem.cell_m)
    light = np.array(LIGHT_FROM) / np.linalg.norm(LIGHT_FROM)
    shade = (light[2] - right * light[0] - up * light[1]) / np.sqrt(1 + right**2 + up**2)
    low, high = np.percentile(filled, (1, 99))
    level = np.clip((filled - low) / max(high - low, 1e-6), 0, 1) * (len(LEVEL_RGB) - 1)
    index = np.minimum(level.astype(np.int64), len(LEVEL_RGB) - 2)
    part = (level - index)[..., None]
    colour = (1 - part) * LEVEL_RGB[index] + part * LEVEL_RGB[index + 1]
    colour *= np.clip(0.35 + 0.85 * shade, 0.1, 1.25)[..., None]
    if blocked is not None:
        colour[blocked] = 0.55 * colour[blocked] + 0.45 * BLOCKED_RGB
    colour[~known] = UNKNOWN_RGB
    return np.ascontiguousarray(np.clip(colour, 0, 255).astype(np.uint8)[::-1])


def coloured(values: NDArray[np.float32], low: float, high: float, anchors: Sequence[str]) -> Bytes:
    """A grid in a colour scale from `low` to `high`: (rows, columns, 3) RGB, north up; NaN is dark."""
    scale = np.array([[int(a[n : n + 2], 16) for n in (1, 3, 5)] for a in anchors], np.float32)
    level = np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-9), 0, 1) * (len(scale) - 1)
    index = np.minimum(level.astype(np.int64), len(scale) - 2)
    part = (level - index)[..., None]
    colour = (1 - part) * scale[index] + part * scale[index + 1]
    colour[~np.isfinite(values)] = UNKNOWN_RGB
    return np.ascontiguousarray(colour.astype(np.uint8)[::-1])


def png(picture: Bytes) -> bytes:
    """An RGB picture as PNG."""
    import cv2

    done, packed = cv2.imencode(".png", picture[..., ::-1])
    assert done, "an 8-bit picture can always be packed"
    return packed.tobytes()


def map_svg(dem: Dem, picture: Bytes, lines: Sequence[Line], spots: Sequence[Spot], label: str) -> Markup:
    """A map with ways and places on it, its frame in metres, and a scale bar."""
    rows, columns = dem.shape
    scale = PIXELS / max(rows, columns)
    width, height = columns * scale, rows * scale
    left_m, low_m = dem.x_m - dem.cell_m / 2, dem.y_m - dem.cell_m / 2
    per_m = scale / dem.cell_m

    def at(x_m: float, y_m: float) -> tuple[float, float]:
        return (x_m - left_m) * per_m, height - (y_m - low_m) * per_m

    out = [f'<svg class="map" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">']
    out.append(
        f'<image href="{data_url("png", png(picture))}" width="{width:.1f}" height="{height:.1f}"'
        ' preserveAspectRatio="none"/>'
    )
    for line in lines:
        points = line.points_m[:: max(1, math.ceil(len(line.points_m) / LINE_POINTS_MAX))]
        places = (at(float(x), float(y)) for x, y in np.vstack((points, line.points_m[-1:])))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(
            f'<polyline class="way {escape(line.style)}" points="{path}"><title>{escape(line.name)}</title></polyline>'
        )
    for spot in spots:
        x, y = at(spot.x_m, spot.y_m)
        out.append(f'<circle class="spot {escape(spot.style)}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
        end = "end" if x > 0.8 * width else "start"
        out.append(
            f'<text class="word" x="{x + (-10 if end == "end" else 10):.1f}" y="{y + 4:.1f}" text-anchor="{end}">'
            f"{escape(spot.word)}</text>"
        )
    bar_m = nice_ticks(0.0, columns * dem.cell_m / 3, 2)[-1]
    out.append(f'<path class="bar" d="M14 {height - 16:.1f}h{bar_m * per_m:.1f}"/>')
    out.append(f'<text class="word" x="16" y="{height - 22:.1f}">{bar_m:g} m</text></svg>')
    return Markup("".join(out))
