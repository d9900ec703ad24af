"""From a camera picture to the plate's own frame: straight, to scale, with an honest error in mm.

The four markers lie in the build plane. Their 16 corners, freed of lens distortion, fix one homography; what it
leaves over is the reprojection error. The rectified picture shows +x to the right and +y upwards; its pixel (column,
row) has the middle x = (column + 0.5) mm_per_px, y = y_mm - (row + 0.5) mm_per_px.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vision.brightness import flat_field, plane_light, tone_of
from vision.camera_model import BENCH_CAMERA, CameraModel
from vision.fiducials import Fiducials, find_fiducials
from vision.opencv import Picture, PictureError, apply_homography, decode, fit_homography, resampled

# Corners are found to 0.07 px rms; a good plate leaves at most 0.09 mm (24 rendered mountings). 0.25 mm is a bent
# lens, a dirty or a moved marker.
REPROJECTION_MAX_MM = 0.25
# One moved marker hardly shows there: a homography bends along with it. But the plate is rigid: through a calibrated
# lens its x and y are at right angles and equally long. Good mountings leave 0.0001 of that; a marker 1 mm astray
# gives 0.0035.
SHEAR_MAX = 0.0018
# Sharp is 2 px (lens 0.6 px sigma, pixel 1 px). At 4.5 px (1.2 mm) thin spots begin to melt into their surroundings,
# and a little later the markers are no longer read.
EDGE_MAX_PX = 4.5
# Paper reads about 200 on a lit bench. Under 70 powder reads under 40 and 2 levels of noise are no longer small
# against 12 %.
WHITE_MIN = 70.0
# Paper that is clipped gives no measure of the light.
WHITE_MAX = 250.0
# One light lights all markers: 3:1 between them is a shadow or a glare over one.
WHITE_RATIO_MAX = 3.0
# Where the plate's pixels lie in the picture is worked out at every eighth and laid straight between: the lens bends
# the way from one to the next by under 0.003 px.
LOOKUP_STEP_PX = 8


BENCH_FIDUCIALS = {0: (-12.0, -12.0), 1: (262.0, -12.0), 2: (262.0, 162.0), 3: (-12.0, 162.0)}


@dataclass(frozen=True)
class PlateGeometry:
    """The build plate as the camera is told of it; defaults are the bench printer's.

    x_mm, y_mm: build area. fiducials: id of each DICT_4X4_50 marker -> its centre in machine mm, upright, level with
    the plane. fiducial_size_mm: outer side of the black rim. powder_ratio: brightness of loose, level powder against
    the markers' white paper, measured at commissioning. camera: calibration; None reads the picture as free of
    distortion. Raises ValueError for a geometry that cannot be.
    """

    x_mm: float = 250.0
    y_mm: float = 150.0
    fiducials: Mapping[int, tuple[float, float]] = field(default_factory=lambda: dict(BENCH_FIDUCIALS), hash=False)
    fiducial_size_mm: float = 12.0
    powder_ratio: float = 0.62
    camera: CameraModel | None = BENCH_CAMERA
    mm_per_px: float = 0.25

    def __post_init__(self) -> None:
        numbers = (self.x_mm, self.y_mm, self.fiducial_size_mm, self.powder_ratio, self.mm_per_px)
        if not np.isfinite(numbers).all() or min(numbers) <= 0:
            raise ValueError(f"plate sizes, powder_ratio and mm_per_px must be above 0, not {numbers}")
        centres = np.array(list(self.fiducials.values()), float)
        if centres.shape != (4, 2) or not np.isfinite(centres).all():
            raise ValueError(f"a plate has four fiducials, each at one x, y in mm, not {dict(self.fiducials)}")
        if self.x_mm * self.y_mm / self.mm_per_px**2 > 16e6:
            raise ValueError(
                f"mm_per_px {self.mm_per_px} gives over 16 million pixels for {self.x_mm} x {self.y_mm} mm"
            )

    @property
    def marker_ids(self) -> tuple[int, ...]:
        """The four ids, in the order in which corners are given."""
        return tuple(self.fiducials)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the rectified picture."""
        return round(self.y_mm / self.mm_per_px), round(self.x_mm / self.mm_per_px)

    def to_px(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """(n, 2) machine mm -> (n, 2) column, row of the rectified picture (pixel-centre coordinates)."""
        points = np.asarray(points_mm, float).reshape(-1, 2)
        return np.column_stack([points[:, 0] / self.mm_per_px - 0.5, (self.y_mm - points[:, 1]) / self.mm_per_px - 0.5])

    def marker_corners_mm(self) -> NDArray[np.float64]:
        """(4, 4, 2) machine mm in the order that `Fiducials.corners_px` has."""
        half = self.fiducial_size_mm / 2
        around = half * np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)], float)
        return np.array(list(self.fiducials.values()), float)[:, None, :] + around


@dataclass(frozen=True)
class Rectified:
    """A plate-frame picture: image (rows, columns, 3) u1 BGR; light (rows, columns) f4, grey level that paper would
    have there; rms and largest reprojection error of the 16 corners in mm; width of a sharp edge in camera pixels;
    the homography from undistorted camera pixels to machine mm. Treat the arrays as read-only: a view is shared by the
    looks at its picture."""

    plate: PlateGeometry
    image: Picture
    light: NDArray[np.float32]
    reprojection_rms_mm: float
    reprojection_max_mm: float
    edge_px: float
    homography: NDArray[np.float64]
    fiducials: Fiducials

    @cached_property
    def tone(self) -> NDArray[np.float32]:
        """(rows, columns) f4: brightness against level powder, under the light that the markers show."""
        return tone_of(self.image, self.light, self.plate.powder_ratio)

    @cached_property
    def flat(self) -> NDArray[np.float32]:
        """(rows, columns) f4: the same with the light that four markers cannot tell taken out, too."""
        return np.asarray(cv2.divide(self.tone, flat_field(self.tone, (self.plate.x_mm, self.plate.y_mm))), np.float32)


def rectify(image: Picture | bytes, plate: PlateGeometry) -> Rectified:
    """The picture in the plate's frame. PictureError, in a sentence, for a picture that must not be judged:
    markers missing, blurred, dark, clipped, unevenly lit, of another size than the calibration, or not fitting the
    plate.

    The last few JPEGs are remembered: a host judges each of its pictures two or three times over."""
    return _remembered(image, plate) if isinstance(image, bytes) else _rectified(image, plate)


@lru_cache(maxsize=3)
def _remembered(image: bytes, plate: PlateGeometry) -> Rectified:
    return _rectified(decode(image), plate)


def _rectified(image: Picture, plate: PlateGeometry) -> Rectified:
    rows, columns = image.shape[:2]
    camera = plate.camera
    if camera is not None and (columns, rows) != camera.size_px:
        raise PictureError(
            f"the picture measures {columns} x {rows} pixels, the calibration is for "
            f"{camera.size_px[0]} x {camera.size_px[1]}; set the camera's resolution back or calibrate again"
        )
    marks = find_fiducials(image, plate.marker_ids)
    _check_light_and_focus(marks)

    seen = marks.corners_px.reshape(-1, 2)
    ideal = seen if camera is None else camera.undistort(seen)
    truth = plate.marker_corners_mm().reshape(-1, 2)
    homography = fit_homography(ideal, truth)
    if homography is None or not np.isfinite(homography).all():
        raise PictureError("the four markers do not span a plane in the picture; look at the camera's place")
    off = np.linalg.norm(apply_homography(homography, ideal) - truth, axis=1)
    if off.max() > REPROJECTION_MAX_MM:
        worst = marks.ids[int(off.argmax()) // 4]
        raise PictureError(
            f"the markers do not fit the plate: {off.max():.2f} mm at marker {worst} (at most "
            f"{REPROJECTION_MAX_MM} mm); see that no marker was moved, then calibrate the camera again"
        )
    shear = 0.0 if camera is None else _shear(homography, camera)
    if shear > SHEAR_MAX:
        raise PictureError(
            f"the markers do not form the plate's rectangle (off by {1000 * shear:.1f} mm in a metre, about "
            f"{shear / 0.0036:.1f} mm at one marker); see that no marker was moved, then calibrate the camera again"
        )
    u, v = _lookup(np.asarray(np.linalg.inv(homography), np.float64), plate)
    (u_min, u_max, *_), (v_min, v_max, *_) = cv2.minMaxLoc(u), cv2.minMaxLoc(v)
    if min(u_min, v_min) < 0 or u_max > columns - 1 or v_max > rows - 1:
        raise PictureError("a part of the build plate lies outside the picture; look at the camera's place")
    rms = float(np.sqrt((off**2).mean()))
    light = plane_light(np.array(list(plate.fiducials.values()), float), marks.white, plate.shape, plate.mm_per_px)
    return Rectified(plate, resampled(image, u, v), light, rms, float(off.max()), marks.edge_px, homography, marks)


def _check_light_and_focus(marks: Fiducials) -> None:
    if marks.white.min() < WHITE_MIN:
        dark = marks.ids[int(marks.white.argmin())]
        raise PictureError(
            f"the picture is too dark: paper of marker {dark} reads {marks.white.min():.0f} of 255 (at least "
            f"{WHITE_MIN:.0f}); look at the lamp and the exposure time"
        )
    if marks.white.max() > WHITE_MAX:
        bright = marks.ids[int(marks.white.argmax())]
        raise PictureError(
            f"paper of marker {bright} is overexposed ({marks.white.max():.0f} of 255); shorten the exposure time"
        )
    if marks.white.max() > WHITE_RATIO_MAX * marks.white.min():
        raise PictureError(
            f"the light is uneven: marker paper reads {marks.white.min():.0f} to {marks.white.max():.0f}; "
            "look for a shadow or a glare over a marker"
        )
    if not marks.edge_px <= EDGE_MAX_PX:
        raise PictureError(
            f"the picture is blurred: marker edges are {marks.edge_px:.1f} pixels wide (at most {EDGE_MAX_PX:g}); "
            "focus or clean the lens, and see that nothing moved during the exposure"
        )


def _shear(homography: NDArray[np.float64], camera: CameraModel) -> float:
    """How far the plate's x and y, seen through the lens, are from two equal arms at a right angle (0: exactly that).

    The inverse homography is K [r1 r2 t] up to a factor (Zhang 2000): r1 and r2 are columns of one rotation.
    """
    u, v = camera.centre_px
    lens = np.array([[camera.focal_px, 0.0, u], [0.0, camera.focal_px, v], [0.0, 0.0, 1.0]])
    arms = np.linalg.inv(homography @ lens)[:, :2]
    long_x, long_y = np.linalg.norm(arms, axis=0)
    return float(np.hypot(arms[:, 0] @ arms[:, 1] / (long_x * long_y), long_x / long_y - 1.0))


def _lookup(
    plate_to_ideal: NDArray[np.float64], plate: PlateGeometry
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """u and v, (rows, columns) f4 each: the camera pixel under each rectified pixel."""
    step = LOOKUP_STEP_PX
    rows, columns = plate.shape
    # one node more at every side, in the middle of its step, so that every pixel lies between two
    row, column = (np.arange(-1, -(-count // step) + 1) * step + (step - 1) / 2 for count in (rows, columns))
    x = (column + 0.5) * plate.mm_per_px
    y = (plate.y_mm - (row + 0.5) * plate.mm_per_px)[:, None]
    a = plate_to_ideal
    depth = a[2, 0] * x + a[2, 1] * y + a[2, 2]
    u, v = a[0, 0] * x + a[0, 1] * y + a[0, 2], a[1, 0] * x + a[1, 1] * y + a[1, 2]
    u /= depth
    v /= depth
    if plate.camera is not None:
        u, v = plate.camera.distort_planes(u, v)
    size = (len(column) * step, len(row) * step)
    fine = (cv2.resize(nodes.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) for nodes in (u, v))
    u_px, v_px = (np.asarray(plane[step : step + rows, step : step + columns], np.float32) for plane in fine)
    return u_px, v_px
