"""Find the four markers around the build plate, and judge by them how sharp and how bright the picture is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.opencv import Picture, PictureError, detect_markers, glimpse_markers

MARKER_CELLS = 6  # DICT_4X4: four cells of code in a black rim of one
CONTRAST_MIN = 25.0  # grey levels between the rim and paper; noise is 2
CORNER_SHIFT_MAX_PX = 3.0  # between the corner as found and as refined
EDGE_STEP_PX = 0.25  # between the looks along a normal to a marker's side
EDGE_ALONG = np.linspace(0.12, 0.88, 17)  # of a side, where normals are laid: away from its corners
SIDE_RATIO_MAX = 1.6  # longest against shortest marker side in one picture; a plate seen from above stays well under


@dataclass(frozen=True)
class Fiducials:
    """The markers in the order asked for.

    corners_px: (n, 4, 2) f8, top-left, top-right, bottom-right, bottom-left of each upright marker, pixel-centre
    coordinates.
    white, black: (n,) f8, grey level of each marker's paper rim and black rim. edge_px: width of the step between them.
    """

    ids: tuple[int, ...]
    corners_px: NDArray[np.float64]
    white: NDArray[np.float64]
    black: NDArray[np.float64]
    edge_px: float


def find_fiducials(image: Picture, ids: tuple[int, ...]) -> Fiducials:
    """Find each marker of `ids` exactly once in a BGR picture; PictureError says which are missing, doubled or
    misshapen."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    found, corners = glimpse_markers(grey)
    if not set(ids) <= set(found.tolist()):
        found, corners = detect_markers(grey)
    missing = [str(i) for i in ids if i not in found]
    if missing:
        raise PictureError(
            f"marker {', '.join(missing)} of {len(ids)} is not seen (mean brightness {grey.mean():.0f} of 255); "
            "clean the markers, look at light and focus, and see that the blade is parked"
        )
    doubled = [str(i) for i in ids if (found == i).sum() > 1]
    if doubled:
        raise PictureError(
            f"marker {', '.join(doubled)} is seen more than once; look for a reflection or a second print of it"
        )
    quads = np.array([corners[int(np.flatnonzero(found == i)[0])] for i in ids])
    sides = np.linalg.norm(quads - np.roll(quads, -1, axis=1), axis=2)
    if sides.max() > SIDE_RATIO_MAX * sides.min():
        raise PictureError(
            f"marker sides measure {sides.min():.0f} to {sides.max():.0f} pixels, which one flat plate cannot give; "
            "look for a false marker or a tilted camera"
        )
    return _refine(grey, ids, quads)


def _refine(grey: Picture, ids: tuple[int, ...], quads: NDArray[np.float64]) -> Fiducials:
    """Corners as the crossings of straight lines laid through each marker's four outer edges, and what those edges
    tell.

    Along normals to each side the grey goes from the black rim to paper; the area under that profile places
    the edge (the corner finder of OpenCV is off by up to 0.4 px). Edge width = (paper - black) / steepest rise: for a
    Gaussian blur of sigma s that is 2.5 s, about 2 px in a sharp picture.
    """
    refined = np.empty_like(quads)
    white, black, widths = np.empty(len(quads)), np.empty(len(quads)), []
    for which, quad in enumerate(quads):
        sides = np.roll(quad, -1, axis=0) - quad
        length = np.linalg.norm(sides, axis=1)
        reach = 0.9 * float(length.mean()) / MARKER_CELLS
        across = np.arange(-reach, reach + EDGE_STEP_PX / 2, EDGE_STEP_PX)
        normal = np.column_stack([sides[:, 1], -sides[:, 0]]) / length[:, None]
        middle = quad + 0.5 * sides
        normal *= np.where(((middle - quad.mean(axis=0)) * normal).sum(axis=1) < 0, -1.0, 1.0)[:, None]  # outwards
        foot = quad[:, None, :] + EDGE_ALONG[None, :, None] * sides[:, None, :]
        at = (foot[:, :, None, :] + across[None, None, :, None] * normal[:, None, None, :]).astype(np.float32)
        flat = at.reshape(-1, len(across), 2)
        seen = cv2.remap(grey, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        profile = np.asarray(seen, float).reshape(4, len(EDGE_ALONG), len(across))
        low, high = (_median(end.reshape(4, -1), axis=1) for end in (profile[..., :4], profile[..., -4:]))
        if (high - low).min() < CONTRAST_MIN:
            weak = int((high - low).argmin())
            raise PictureError(
                f"marker {ids[which]} shows no contrast at one side ({low[weak]:.0f} to {high[weak]:.0f} of 255); "
                "clean it and look for a shadow or a glare over it"
            )
        # the area under the profile gives the place of the step: less noisy than one crossing
        bright = np.clip((profile - low[:, None, None]) / (high - low)[:, None, None], 0.0, 1.0)
        places = across[-1] + EDGE_STEP_PX / 2 - EDGE_STEP_PX * bright.sum(axis=2)
        points = foot + places[..., None] * normal[:, None, :]
        good = np.abs(places - _median(places, axis=1)[:, None]) < 1.5
        lines = [_line_through(points[side][good[side]]) for side in range(4)]
        # two samples apart: half a pixel, so that sensor noise does not pass for a steep edge
        rise = np.diff(_median(profile, axis=1)[:, ::2], axis=1).max(axis=1) / (2 * EDGE_STEP_PX)
        widths.extend((high - low) / np.maximum(rise, 1e-6))
        refined[which] = [_crossing(lines[k - 1], lines[k]) for k in range(4)]
        black[which], white[which] = _median(low, 0), _median(high, 0)
        off = np.linalg.norm(refined[which] - quad, axis=1).max()
        if not off < CORNER_SHIFT_MAX_PX:
            raise PictureError(
                f"the edges of marker {ids[which]} are not straight (a corner moves by {off:.1f} pixels); "
                "clean it, and look at focus and light"
            )
    return Fiducials(ids, refined, white, black, float(np.median(widths)))


def _median(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """As NumPy's, of finite numbers: a quarter of its time on the few that a marker's side gives."""
    ordered = np.sort(values, axis=axis)
    half, is_odd = divmod(values.shape[axis], 2)
    upper = ordered.take(half, axis=axis)
    return upper if is_odd else np.asarray((ordered.take(half - 1, axis=axis) + upper) / 2)


Line = tuple[float, float, float]
"""a, b, c of a x + b y + c = 0, (a, b) of length 1."""


def _line_through(points: NDArray[np.float64]) -> Line:
    """Total least squares through (n, 2): the normal is the axis about which they scatter least."""
    x0, y0 = points.mean(axis=0).tolist()
    x, y = points[:, 0] - x0, points[:, 1] - y0
    turn = 0.5 * math.atan2(2.0 * float(x @ y), float(x @ x - y @ y))
    a, b = -math.sin(turn), math.cos(turn)
    return a, b, -(a * x0 + b * y0)


def _crossing(one: Line, other: Line) -> tuple[float, float]:
    """Where two lines meet; NaN where they are parallel."""
    (a, b, c), (d, e, f) = one, other
    across = a * e - b * d
    return ((b * f - c * e) / across, (c * d - a * f) / across) if abs(across) > 1e-9 else (math.nan, math.nan)
