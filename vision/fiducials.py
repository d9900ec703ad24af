"""Find the four markers around the build plate, and judge by them how sharp and how bright the picture is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.opencv import Picture, PictureError, detect_markers

MARKER_CELLS = 6  # DICT_4X4: four cells of code in a black rim of one
CONTRAST_MIN = 25.0  # grey levels between the rim and paper; noise is 2
CORNER_SHIFT_MAX_PX = 3.0  # between the corner as found and as refined
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
    along = np.linspace(0.12, 0.88, 17)
    step = 0.25
    refined = np.empty_like(quads)
    white, black, widths = np.empty(len(quads)), np.empty(len(quads)), []
    for which, quad in enumerate(quads):
        side = float(np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1).mean())
        reach = 0.9 * side / MARKER_CELLS
        across = np.arange(-reach, reach + step / 2, step)
        lines, ends = [], []
        for start, stop in zip(quad, np.roll(quad, -1, axis=0)):
            foot = start + along[:, None] * (stop - start)
            normal = np.array([stop[1] - start[1], start[0] - stop[0]]) / np.linalg.norm(stop - start)
            if np.dot(foot.mean(axis=0) - quad.mean(axis=0), normal) < 0:
                normal = -normal
            at = (foot[:, None, :] + across[None, :, None] * normal).astype(np.float32)
            seen = cv2.remap(grey, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            profile = np.asarray(seen, float)
            low, high = float(np.median(profile[:, :4])), float(np.median(profile[:, -4:]))
            if high - low < CONTRAST_MIN:
                raise PictureError(
                    f"marker {ids[which]} shows no contrast at one side ({low:.0f} to {high:.0f} of 255); "
                    "clean it and look for a shadow or a glare over it"
                )
            ends.append((low, high))
            # the area under the profile gives the place of the step: less noisy than one crossing
            bright = np.clip((profile - low) / (high - low), 0.0, 1.0)
            places = across[-1] + step / 2 - step * bright.sum(axis=1)
            points = foot + places[:, None] * normal
            good = np.abs(places - np.median(places)) < 1.5
            lines.append(_line_through(points[good]))
            # two samples apart: half a pixel, so that sensor noise does not pass for a steep edge
            rise = np.diff(np.median(profile, axis=0)[::2]).max() / (2 * step)
            widths.append((high - low) / max(rise, 1e-6))
        for k in range(4):
            corner = np.cross(lines[k - 1], lines[k])
            refined[which, k] = corner[:2] / corner[2] if abs(corner[2]) > 1e-9 else np.nan
        black[which], white[which] = np.median(np.array(ends), axis=0)
        off = np.linalg.norm(refined[which] - quad, axis=1).max()
        if not off < CORNER_SHIFT_MAX_PX:
            raise PictureError(
                f"the edges of marker {ids[which]} are not straight (a corner moves by {off:.1f} pixels); "
                "clean it, and look at focus and light"
            )
    return Fiducials(ids, refined, white, black, float(np.median(widths)))


def _line_through(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) a, b, c of a x + b y + c = 0, total least squares through (n, 2)."""
    middle = points.mean(axis=0)
    _, _, axes = np.linalg.svd(points - middle)
    a, b = axes[1]
    return np.array([a, b, -(a * middle[0] + b * middle[1])])
