"""The one place that knows the shapes OpenCV hands back: version 5 dropped singleton axes for some calls and not for
others.

Everything leaves here as plain (n, k) arrays, whatever the version.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
CORNER_WINDOW_PX, CORNER_STEPS_MAX, CORNER_ACCURACY_PX = 5, 50, 0.005
POWDER_BYTES_PER_PX = 0.107  # of a JPEG of quality 80 that shows grain (measured on the bench's rectified pictures)
Window = tuple[slice, slice]
"""Rows and columns of a picture."""


class PictureError(Exception):
    """A picture from which nothing may be concluded; the message says what is wrong with it and what to do."""


def decode(image: Picture | bytes) -> Picture:
    """BGR (rows, columns, 3) u1 of a JPEG, or of an array already decoded.

    Raises PictureError for anything else. A JPEG cut short still "decodes", its lower part grey: so its end mark is
    asked for.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        if not data.startswith(b"\xff\xd8") or b"\xff\xd9" not in data[-64:]:
            raise PictureError(f"the {len(data)} bytes of the picture are not a whole JPEG; take it again")
        try:
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            decoded = None
        if decoded is None:
            raise PictureError(f"the {len(data)} bytes of the picture do not decode as JPEG; take it again")
        image = np.asarray(decoded, np.uint8)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise PictureError(f"a picture is rows x columns x 3 bytes, not {image.dtype} of shape {image.shape}")
    return image


def encode(image: Picture, limit_bytes: int) -> bytes:
    """JPEG of at most `limit_bytes`: quality goes down first, then size; the best is tried where powder would fit with
    it, so that a smooth picture may be packed coarser than it need be. Raises PictureError where nothing does."""
    for scale in (1.0, 0.7, 0.5, 0.35):
        small = image if scale == 1.0 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        is_small = small.shape[0] * small.shape[1] * POWDER_BYTES_PER_PX < limit_bytes
        for quality in (80, 65, 50, 38) if is_small else (65, 50, 38):
            done, packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if done and packed.size <= limit_bytes:
                return packed.tobytes()
    raise PictureError(f"the picture does not fit into {limit_bytes} bytes")


def detect_markers(grey: Picture) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """ids (n,) and corners (n, 4, 2) in pixel-centre coordinates of all DICT_4X4_50 markers in a grey picture."""
    return detect_markers_of(grey, cv2.aruco.DICT_4X4_50)


def detect_markers_of(grey: Picture, dictionary: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `detect_markers`, of another dictionary.

    Only the SUBPIX refinement answers in pixel-centre coordinates: the others are half a pixel off (0.13 mm on the
    bench).
    """
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    settings.cornerRefinementWinSize = CORNER_WINDOW_PX
    settings.cornerRefinementMaxIterations = CORNER_STEPS_MAX
    settings.cornerRefinementMinAccuracy = CORNER_ACCURACY_PX
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(dictionary), settings)
    corners, ids, _ = detector.detectMarkers(grey)
    if ids is None:
        return np.empty(0, np.int64), np.empty((0, 4, 2))
    return np.asarray(ids, np.int64).reshape(-1), np.asarray(corners, np.float64).reshape(-1, 4, 2)


def glimpse_markers(grey: Picture) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `detect_markers`, looked for in the picture at half its width and height, a quarter of the work, and then
    refined in the whole. Small or blurred markers may be missed: who misses one asks `detect_markers`."""
    half = np.asarray(cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    ids, corners = detect_markers(half)
    if not len(ids):
        return ids, corners
    rough = (2.0 * corners.reshape(-1, 1, 2) + 0.5).astype(np.float32)
    ends = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, CORNER_STEPS_MAX, CORNER_ACCURACY_PX)
    fine = cv2.cornerSubPix(grey, rough, (CORNER_WINDOW_PX, CORNER_WINDOW_PX), (-1, -1), ends)
    return ids, np.asarray(fine, np.float64).reshape(-1, 4, 2)


def fit_homography(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(3, 3) least-squares homography of (n, 2) onto (n, 2); None where there is none."""
    found, _ = cv2.findHomography(source.reshape(-1, 1, 2), target.reshape(-1, 1, 2), 0)
    return None if found is None else np.asarray(found, np.float64).reshape(3, 3)


def apply_homography(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) through a (3, 3) homography."""
    lifted = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return lifted[:, :2] / lifted[:, 2:]


def resampled(image: Picture, u_px: NDArray[np.float32], v_px: NDArray[np.float32]) -> Picture:
    """The BGR picture whose pixels are those of `image` at columns u and rows v, straight between its own; black beyond
    it. OpenCV looks up four channels in less than half the time of three."""
    four = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    found = cv2.remap(four, u_px, v_px, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGRA2BGR), np.uint8)


def fill_loops(shape: tuple[int, int], loops_px: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Mask of the even-odd inside of closed loops, each (n, 2) in pixel-centre coordinates."""
    mask = np.zeros(shape, np.uint8)
    if loops_px:
        cv2.fillPoly(mask, [_fixed(loop) for loop in loops_px], 255, cv2.LINE_8, 4)
    return mask > 0


def draw_loops(
    image: Picture, loops_px: Sequence[NDArray[np.float64]], colour: tuple[int, int, int], width: int = 1
) -> None:
    """Draw closed loops onto a BGR picture."""
    cv2.polylines(image, [_fixed(loop) for loop in loops_px], True, colour, width, cv2.LINE_AA, 4)


def _fixed(loop_px: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(np.clip(loop_px, -1e6, 1e6) * 16).astype(np.int32).reshape(-1, 1, 2)


def window_of(mask: NDArray[np.bool_], reach_px: int = 0) -> Window:
    """The smallest window that holds all of a mask, widened by `reach_px` as far as the picture goes; of an empty mask
    an empty one."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0 or height == 0:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(top - reach_px, 0), min(top + height + reach_px, mask.shape[0])),
        slice(max(left - reach_px, 0), min(left + width + reach_px, mask.shape[1])),
    )


def spots(mask: NDArray[np.bool_], least_px: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The connected parts of a mask of at least `least_px` pixels: what is left of it, and (n, 5) left, top, width,
    height, area."""
    left = np.zeros(mask.shape, bool)
    near = window_of(mask)
    if near[0].stop == 0:  # as it should be, of most masks of most pictures
        return left, np.empty((0, 5), np.int64)
    _, labels, table, _ = cv2.connectedComponentsWithStats(mask[near].astype(np.uint8), connectivity=8)
    table = np.array(table, np.int64).reshape(-1, 5)
    table[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]] += near[1].start, near[0].start
    keep = table[:, cv2.CC_STAT_AREA] >= least_px
    keep[0] = False  # label 0 is what lies outside
    left[near] = keep[np.asarray(labels)]
    return left, table[keep]
