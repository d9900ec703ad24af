"""AprilTags (36h11) in a picture: which, where the camera is relative to each, and how far that may be off.

Tag frame: origin at its centre, x to the right and y up as one who looks at it reads it, z out of it. Camera frame:
x right, y down, z ahead. A square seen small has two poses that fit nearly as well (Collins and Bartoli, IPPE, 2014);
then the distance holds, but not the direction in which the tag faces, and `ambiguous` says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.camera_model import CameraModel
from vision.opencv import Picture, PictureError, decode

Floats = NDArray[np.float64]
ROVER_CAMERA = CameraModel(focal_px=1000.0, centre_px=(639.5, 359.5), size_px=(1280, 720))
CORNER_SIGMA_PX = 0.18  # of a refined corner, blur and 2 grey levels of noise; so that ranges at 15 m are honest
AMBIGUOUS_RATIO = 2.0  # the second pose must fit so much worse
RESIDUAL_MAX_PX = 1.0
SIDE_MIN_PX = 12.0


@dataclass(frozen=True, eq=False)
class TagSeen:
    """One tag in one picture.

    corners_px: (4, 2) f8 as seen. at_m: (3,) f8, the tag's centre in the camera frame. turn: (3, 3) f8, tag -> camera.
    residual_px: RMS of the corners against the pose. range_sigma_m, bearing_sigma_rad: one sigma along and across the
    ray. facing_sigma_rad: of the tag's direction; inf when `ambiguous`.
    """

    tag_id: int
    corners_px: Floats
    at_m: Floats
    turn: Floats
    residual_px: float
    range_sigma_m: float
    bearing_sigma_rad: float
    facing_sigma_rad: float
    ambiguous: bool


def find_tags(image: Picture | bytes, camera: CameraModel, sides_m: dict[int, float]) -> list[TagSeen]:
    """The tags of `sides_m` (id -> side in m, outer edge of the black rim) in a BGR picture or a JPEG.

    An id seen twice in one picture is left out: one of the two is false. PictureError: the picture is none or has not
    the size the camera is calibrated for.
    """
    bgr = decode(image)
    if (bgr.shape[1], bgr.shape[0]) != camera.size_px:
        raise PictureError(f"the picture is {bgr.shape[1]} x {bgr.shape[0]} pixels, the calibration is for"
                           f" {camera.size_px[0]} x {camera.size_px[1]}; set the camera back")  # fmt: skip
    grey = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
    found: dict[int, list[Floats]] = {}
    for tag_id, corners in _corners(grey):
        found.setdefault(tag_id, []).append(corners)
    seen = []
    for tag_id, quads in sorted(found.items()):
        if tag_id in sides_m and len(quads) == 1:
            pose = _pose(tag_id, quads[0], camera, sides_m[tag_id])
            if pose is not None:
                seen.append(pose)
    return seen


def _corners(grey: Picture) -> list[tuple[int, Floats]]:
    """Ids and corners in pixel-centre coordinates; sought in the picture at twice its size, for cells of 2.5 px."""
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_NONE
    settings.minMarkerPerimeterRate = 0.02
    settings.adaptiveThreshWinSizeMin, settings.adaptiveThreshWinSizeMax, settings.adaptiveThreshWinSizeStep = 5, 45, 20
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11), settings)
    large = cv2.resize(grey, None, fx=2.0, fy=2.0, interpolation=cv2.INTER_CUBIC)
    corners, ids, _ = detector.detectMarkers(large)
    if ids is None:
        return []
    result = []
    for tag_id, quad in zip(np.asarray(ids).reshape(-1), np.asarray(corners, np.float64).reshape(-1, 4, 2)):
        rough = (quad + 0.5) / 2 - 0.5
        refined = _refined(grey, rough)
        if refined is not None:
            result.append((int(tag_id), refined))
    return result


def _refined(grey: Picture, quad: Floats) -> Floats | None:
    """Corners as crossings of lines through the four edges; each edge placed by the area under its profile."""
    side = float(np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1).min())
    if side < SIDE_MIN_PX:
        return None
    for _ in range(2):  # the second time from a better start
        along = np.linspace(0.08, 0.92, max(12, min(int(side), 60)))
        reach = min(max(0.85 * side / 8, 1.8), 6.0)
        across = np.arange(-reach, reach + 0.1, 0.2)
        lines = []
        for start, stop in zip(quad, np.roll(quad, -1, axis=0), strict=True):
            foot = start + along[:, None] * (stop - start)
            normal = np.array([stop[1] - start[1], start[0] - stop[0]]) / np.linalg.norm(stop - start)
            if float((foot.mean(axis=0) - quad.mean(axis=0)) @ normal) < 0:
                normal = -normal
            at = (foot[:, None, :] + across[None, :, None] * normal).astype(np.float32)
            across_edge = cv2.remap(grey, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            seen = np.asarray(across_edge, float)
            low, high = float(np.median(seen[:, :3])), float(np.median(seen[:, -3:]))
            if high - low < 15.0:
                return None
            bright = np.clip((seen - low) / (high - low), -0.3, 1.3)
            places = across[-1] + 0.1 - 0.2 * bright.sum(axis=1)
            good = np.abs(places - np.median(places)) < 0.6
            points = foot[good] + places[good, None] * normal
            middle = points.mean(axis=0)
            a, b = np.linalg.svd(points - middle)[2][1]
            lines.append(np.array([a, b, -(a * middle[0] + b * middle[1])]))
        new = np.empty_like(quad)
        for k in range(4):
            crossing = np.cross(lines[k - 1], lines[k])
            if abs(crossing[2]) < 1e-9:
                return None
            new[k] = crossing[:2] / crossing[2]
        if not float(np.linalg.norm(new - quad, axis=1).max()) < 3.0:
            return None
        quad = new
    return quad


def _pose(tag_id: int, corners: Floats, camera: CameraModel, side_m: float) -> TagSeen | None:
    half = side_m / 2
    points = np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])
    matrix = np.array(
        [[camera.focal_px, 0, camera.centre_px[0]], [0, camera.focal_px, camera.centre_px[1]], [0, 0, 1.0]]
    )
    ideal = camera.undistort(corners)
    _count, turns, shifts, _ = cv2.solvePnPGeneric(
        points, ideal.reshape(4, 1, 2), matrix, None, flags=cv2.SOLVEPNP_IPPE_SQUARE
    )
    poses = []
    for turn_vector, shift in zip(turns, shifts, strict=True):
        turn = np.asarray(cv2.Rodrigues(np.asarray(turn_vector))[0], float).reshape(3, 3)
        at = np.asarray(shift, float).reshape(3)
        where = points @ turn.T + at
        if where[:, 2].min() <= 0 or not np.isfinite(where).all():
            continue
        off = where[:, :2] / where[:, 2:] * camera.focal_px + camera.centre_px - ideal
        poses.append((math.sqrt(float((off**2).sum(axis=1).mean())), turn, at))
    if not poses:
        return None
    poses.sort(key=lambda p: p[0])
    residual, turn, at = poses[0]
    if residual > RESIDUAL_MAX_PX:
        return None
    ambiguous = len(poses) > 1 and poses[1][0] < AMBIGUOUS_RATIO * max(residual, CORNER_SIGMA_PX)
    away = float(np.linalg.norm(at))
    side_px = side_m * camera.focal_px / away
    sigma_px = math.hypot(CORNER_SIGMA_PX, residual)
    tilt = math.sqrt(max(1.0 - float(turn[:, 2] @ at / away) ** 2, 0.0))  # sine between the ray and the tag's normal
    return TagSeen(
        tag_id, corners, at, turn, residual,
        range_sigma_m=away * sigma_px / side_px,
        bearing_sigma_rad=sigma_px / camera.focal_px,
        facing_sigma_rad=math.inf if ambiguous else 1.5 * sigma_px / side_px / max(tilt, 0.1),
        ambiguous=ambiguous,
    )  # fmt: skip
