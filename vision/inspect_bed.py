"""Look at the powder bed: is there powder where the beam will go, and was sintered what should be.

Classical and explainable. Each threshold stands below with its reason. Three answers, and the third is never mixed
with the first: a picture that cannot be judged gives quality "unknown" with a sentence, and no number that could be
taken for a good one.

What one camera from above can tell: powder is bright; a hollow is darker, since the bar light's knife edge leaves
what lies below the plane in half shade; thin powder lets the darker sintered layer show through. A hollow less deep
than about 0.2 mm is not seen.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vision.opencv import Picture, PictureError, Window, decode, draw_loops, encode, fill_loops, spots, window_of
from vision.rectify import PlateGeometry, Rectified, rectify

# Darker than its expected brightness by this much is thin. Grain, clumps and lines leave 2.2 % after SMOOTH_MM
# (measured on rendered beds): 12 % is over six of that. It answers to a hollow of 0.22 mm.
THIN_DARKNESS = 0.12
# One look is averaged over this square: a few grains across, a quarter of the smallest spot that has to be found (25
# mm2).
SMOOTH_MM = 1.25
# Smaller spots are clumps and noise: the largest on 80 good beds of 375 cm2 each was 1.2 mm2.
SPOT_MIN_MM2 = 4.0
# Brighter than powder can be: glare, or a thing lying on the bed. In thin layers and in glow nothing is brighter than
# powder.
BRIGHT = 1.30
BRIGHT_AREA_MM2 = 15.0
# The grain itself must be seen. A picture without grain is out of focus or damaged (the grey fill of a broken JPEG
# has 0).
GRAIN_MIN_LEVELS = 0.35
GRAIN_FLAT_PART_MAX = 0.05
# Correlation of the grain with the previous picture: another layer of powder gives 0 +- 0.05, the same powder 0.8,
# the same picture 1.
SAME_GRAIN = 0.5
# Sintered regolith is about half as bright as powder; the step is set half way.
SINTERED_RATIO = 0.76
SINTER_SMOOTH_MM = 0.75
# Red over green, against paper: hot material that still glows outshines its own tone.
GLOW_PART_MAX = 0.05
GLOW_EXCESS = 0.60
# What lies around a region is looked at only as far as the widest filter reaches.
REACH_PX = 8
PICTURE_BYTES = 60_000


@dataclass(frozen=True, eq=False)
class Region:
    """A layer's loops, widened by a margin. points_mm: (p, 2). loop_starts: (l + 1,) from 0 to p. margin_mm: >= 0.

    Regions of the same numbers are the same."""

    points_mm: NDArray[np.float64]
    loop_starts: NDArray[np.int64]
    margin_mm: float

    def __post_init__(self) -> None:
        points, starts = self.points_mm, self.loop_starts
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError(f"a layer's region needs finite points of shape (p, 2), not shape {points.shape}")
        if (
            starts.ndim != 1
            or not len(starts)
            or starts[0] != 0
            or starts[-1] != len(points)
            or (np.diff(starts) < 1).any()
        ):
            raise ValueError(f"loop_starts must rise from 0 to the {len(points)} points, not {starts.tolist()[:8]}")
        if not 0 <= self.margin_mm < 1000:
            raise ValueError(f"margin_mm must be at least 0, not {self.margin_mm}")

    @property
    def _content(self) -> tuple[bytes, bytes, float]:
        return self.points_mm.tobytes(), self.loop_starts.tobytes(), self.margin_mm

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Region) and self._content == other._content

    def loops(self) -> list[NDArray[np.float64]]:
        """Each loop's points (n, 2)."""
        return [self.points_mm[a:b] for a, b in itertools.pairwise(self.loop_starts)]

    def mask(self, plate: PlateGeometry) -> NDArray[np.bool_]:
        """Rectified pixels of the region that lie on the plate."""
        inside = fill_loops(plate.shape, [plate.to_px(loop) for loop in self.loops()])
        reach = self.margin_mm / plate.mm_per_px
        if reach < 0.5 or not inside.any():
            return inside
        near = window_of(inside, math.ceil(reach) + 1)
        away = cv2.distanceTransform((~inside[near]).astype(np.uint8), cv2.DIST_L2, 5)
        inside[near] = away <= reach
        return inside


@dataclass(frozen=True)
class LayerInspection:
    """What one look says.

    kind: "powder" or "exposed". quality: "ok" (the picture can be judged) or "unknown". reason: a sentence, always.
    coverage_fraction: part of the region covered by level powder ("exposed": part of the outline that was sintered).
    thin_area_mm2: powder that is thin or missing inside the region ("exposed": 0). boxes_mm: where, (x0, y0, x1, y1)
    in machine mm, largest first, at most 20 ("exposed": what is missing). iou: sintered area against outline,
    intersection over union;
    missing_mm2, excess_mm2: outline not sintered, and sintered outside ("exposed" only). reprojection_rms_mm: of the
    markers.
    picture_jpeg: the plate with the outline and what was found, at most 60 kB.

    Where quality is "unknown" every number is the worst there can be, so that none can be taken for a good one.
    """

    kind: str
    quality: str
    reason: str
    region_mm2: float
    coverage_fraction: float
    thin_area_mm2: float
    boxes_mm: tuple[tuple[float, float, float, float], ...] = ()
    iou: float | None = None
    missing_mm2: float | None = None
    excess_mm2: float | None = None
    reprojection_rms_mm: float | None = None
    picture_jpeg: bytes = b""

    def to_dict(self) -> dict[str, Any]:
        """All but the picture, ready for JSON."""
        plain = {name: value for name, value in vars(self).items() if name != "picture_jpeg"}
        return plain | {"boxes_mm": [list(box) for box in self.boxes_mm]}


def inspect_powder(
    image: Picture | bytes,
    plate: PlateGeometry,
    points_mm: ArrayLike,
    loop_starts: ArrayLike,
    *,
    margin_mm: float = 2.0,
    reference: Picture | bytes | None = None,
) -> LayerInspection:
    """Is there powder, level with the plane, wherever the beam will go?

    image: JPEG bytes or BGR array, taken after the recoat with the blade parked. points_mm (p, 2), loop_starts (l +
    1,): the layer's outline in the machine frame, widened by margin_mm. reference: the picture before this recoat:
    where it shows the very same grain, nothing was spread or the camera is frozen, and the answer is unknown; a
    reference that cannot be judged itself proves nothing and is left out. Never raises for a bad picture; ValueError
    for an outline off the plate.
    """
    region = _region(points_mm, loop_starts, margin_mm, plate)
    if isinstance(image, bytes) and isinstance(reference, bytes | None):
        return _powder_of_file(image, plate, region, reference)
    return _powder(image, plate, region, reference)


def _powder(
    image: Picture | bytes, plate: PlateGeometry, region: Region, reference: Picture | bytes | None
) -> LayerInspection:
    inside = region.mask(plate)
    pixel_mm2 = plate.mm_per_px**2
    region_mm2 = float(inside.sum() * pixel_mm2)
    try:
        view = rectify(image, plate)
        _refuse_unfit(view, inside)
        _refuse_same_grain(view, inside, reference)
    except PictureError as error:
        return LayerInspection(
            "powder", "unknown", str(error), region_mm2, 0.0, region_mm2, picture_jpeg=_as_seen(image)
        )

    side = _odd(SMOOTH_MM / plate.mm_per_px)
    smooth = cv2.blur(view.flat, (side, side), borderType=cv2.BORDER_REFLECT)
    thin, table = spots((smooth < 1.0 - THIN_DARKNESS) & inside, round(SPOT_MIN_MM2 / pixel_mm2))
    thin_mm2 = float(thin.sum() * pixel_mm2)
    coverage = 1.0 - thin_mm2 / region_mm2 if region_mm2 else 1.0
    reason = f"level powder covers {100 * coverage:.1f} % of the {region_mm2:.0f} mm2 to be exposed"
    if thin_mm2:
        reason += f"; {thin_mm2:.0f} mm2 in {len(table)} place(s) are thin or bare"
    return LayerInspection(
        "powder",
        "ok",
        reason,
        region_mm2,
        coverage,
        thin_mm2,
        _boxes_mm(table, plate),
        reprojection_rms_mm=view.reprojection_rms_mm,
        picture_jpeg=_report_picture(view, plate, region, thin),
    )


def inspect_exposed(
    before: Picture | bytes | None,
    after: Picture | bytes,
    plate: PlateGeometry,
    points_mm: ArrayLike,
    loop_starts: ArrayLike,
) -> LayerInspection:
    """Did the beam sinter what the layer asks for? Compares the picture before with the one after the exposure.

    Sintered is what became darker. Both pictures must be fit to be judged (None: there is none, so unknown), and hot
    material
    that outshines its own tone makes the answer unknown: wait, and take the picture again. What was dark before (thin
    powder) cannot become darker and counts as missing.
    """
    region = _region(points_mm, loop_starts, 0.0, plate)
    if isinstance(before, bytes | None) and isinstance(after, bytes):
        return _exposed_of_files(before, after, plate, region)
    return _exposed(before, after, plate, region)


def _exposed(
    before: Picture | bytes | None, after: Picture | bytes, plate: PlateGeometry, region: Region
) -> LayerInspection:
    wanted = region.mask(plate)
    pixel_mm2 = plate.mm_per_px**2
    region_mm2 = float(wanted.sum() * pixel_mm2)
    try:
        if before is None:
            raise PictureError("there is no picture of this layer's powder to compare with")
        first, then = rectify(before, plate), rectify(after, plate)
        _refuse_glow(then, wanted)
        _refuse_unfit(first, wanted)
    except PictureError as error:
        return LayerInspection(
            "exposed",
            "unknown",
            str(error),
            region_mm2,
            0.0,
            0.0,
            iou=0.0,
            missing_mm2=region_mm2,
            excess_mm2=0.0,
            picture_jpeg=_as_seen(after),
        )

    side = _odd(SINTER_SMOOTH_MM / plate.mm_per_px)
    floor = np.maximum(cv2.blur(first.tone, (side, side)), np.float32(0.02))
    sintered, _ = spots(cv2.blur(then.tone, (side, side)) < SINTERED_RATIO * floor, round(SPOT_MIN_MM2 / pixel_mm2))
    unsintered = wanted & ~sintered
    missing, table = spots(unsintered, round(SPOT_MIN_MM2 / pixel_mm2))
    wanted_px, sintered_px, lost_px = (int(np.count_nonzero(mask)) for mask in (wanted, sintered, unsintered))
    both, either = wanted_px - lost_px, sintered_px + lost_px
    iou = both / either if either else 1.0
    missing_mm2 = float(lost_px * pixel_mm2)
    excess_mm2 = float((sintered_px - both) * pixel_mm2)
    return LayerInspection(
        "exposed",
        "ok",
        f"sintered area and outline overlap by {iou:.3f} (intersection over union): {missing_mm2:.0f} mm2 of "
        f"{region_mm2:.0f} mm2 missing, {excess_mm2:.0f} mm2 outside",
        region_mm2,
        both * pixel_mm2 / region_mm2 if region_mm2 else 1.0,
        0.0,
        _boxes_mm(table, plate),
        iou=iou,
        missing_mm2=missing_mm2,
        excess_mm2=excess_mm2,
        reprojection_rms_mm=then.reprojection_rms_mm,
        picture_jpeg=_report_picture(then, plate, region, missing),
    )


# What was found in the last few files: runs of a campaign's seed show the same pictures until they part.
_powder_of_file = lru_cache(maxsize=16)(_powder)
_exposed_of_files = lru_cache(maxsize=16)(_exposed)


# ---- pictures not to be judged


def _refuse_unfit(view: Rectified, region: NDArray[np.bool_]) -> None:
    if not region.any():
        return
    near = window_of(region, REACH_PX)
    inside = region[near]
    pixel_mm2 = view.plate.mm_per_px**2
    bright, _ = spots((cv2.blur(view.flat[near], (5, 5)) > BRIGHT) & inside, round(SPOT_MIN_MM2 / pixel_mm2))
    if bright.sum() * pixel_mm2 >= BRIGHT_AREA_MM2:
        raise PictureError(
            f"{bright.sum() * pixel_mm2:.0f} mm2 to be exposed are brighter than powder can be; "
            "look for a glare, hot material or a thing lying on the bed"
        )
    green = view.image[near][:, :, 1].astype(np.float32)
    block = (12, 12)
    spread = cv2.blur(green * green, block) - cv2.blur(green, block) ** 2
    flat_part = float((spread[inside] < GRAIN_MIN_LEVELS**2).mean())
    if flat_part > GRAIN_FLAT_PART_MAX:
        raise PictureError(
            f"{100 * flat_part:.0f} % of the area to be exposed show no grain at all; "
            "the picture is damaged or clipped, take it again"
        )


def _refuse_glow(view: Rectified, wanted: NDArray[np.bool_]) -> None:
    if not wanted.any():
        return
    near = window_of(wanted)
    image, inside = view.image[near], wanted[near]
    excess = (image[:, :, 2].astype(np.float32) - image[:, :, 1]) / view.light[near]
    clipped = image[:, :, 1] >= 250  # so hot that green is full too
    glowing = float(((excess > GLOW_EXCESS) | clipped)[inside].mean())
    if glowing > GLOW_PART_MAX:
        raise PictureError(
            f"{100 * glowing:.0f} % of the layer still glow and hide their tone; let it cool and take the picture again"
        )


def _refuse_same_grain(view: Rectified, region: NDArray[np.bool_], reference: Picture | bytes | None) -> None:
    if reference is None or not region.any():
        return
    try:
        earlier = rectify(reference, view.plate)
    except PictureError:
        return  # the picture before was not fit: it proves nothing, either way
    near = window_of(region, REACH_PX)
    here, there = (_grain(tone, near)[region[near]] for tone in (view.flat, earlier.tone))
    scale = float(np.sqrt((here * here).mean() * (there * there).mean()))
    alike = float((here * there).mean()) / scale if scale > 0 else 1.0
    if alike > SAME_GRAIN:
        raise PictureError(
            f"the powder shows the same grain as in the picture before (correlation {alike:.2f}); "
            "nothing was spread, or the camera repeats an old picture"
        )


def _grain(tone: NDArray[np.float32], near: Window) -> NDArray[np.float32]:
    """What is left of a window without forms larger than about 1.5 mm; clipped, so that the rims of parts do not
    outweigh the grain."""
    seen = tone[near]
    fine = cv2.blur(seen, (2, 2)) - cv2.blur(seen, (9, 9))
    return np.clip(fine, -0.1, 0.1)


# ---- regions and pictures


def _region(points_mm: ArrayLike, loop_starts: ArrayLike, margin_mm: float, plate: PlateGeometry) -> Region:
    points = (
        np.asarray(points_mm, np.float64).reshape(-1, 2)
        if np.size(points_mm) == 0
        else np.asarray(points_mm, np.float64)
    )
    region = Region(points, np.asarray(loop_starts, np.int64), margin_mm)
    if len(points) and ((points < -1e-6).any() or (points > np.array([plate.x_mm, plate.y_mm]) + 1e-6).any()):
        low, high = points.min(axis=0), points.max(axis=0)
        raise ValueError(
            f"the layer spans x {low[0]:.1f} to {high[0]:.1f}, y {low[1]:.1f} to {high[1]:.1f} mm, off the plate of "
            f"{plate.x_mm:g} x {plate.y_mm:g} mm"
        )
    return region


def _boxes_mm(table: NDArray[np.int64], plate: PlateGeometry) -> tuple[tuple[float, float, float, float], ...]:
    """The 20 largest spots as (x0, y0, x1, y1) in machine mm."""
    largest = table[np.argsort(-table[:, 4], kind="stable")][:20]
    scale = plate.mm_per_px
    return tuple(
        (float(x * scale), float(plate.y_mm - (y + h) * scale), float((x + w) * scale), float(plate.y_mm - y * scale))
        for x, y, w, h, _ in largest
    )


def _report_picture(view: Rectified, plate: PlateGeometry, region: Region, marked: NDArray[np.bool_]) -> bytes:
    """The rectified plate, the outline in green, what was found in red."""
    shown = view.image.copy()
    if marked.any():
        near = window_of(marked, 1)
        window, spot = shown[near], marked[near]
        window[spot] = (0.55 * window[spot] + 0.45 * np.array([40, 40, 255])).astype(np.uint8)
        edges = cv2.morphologyEx(spot.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        window[edges] = (40, 40, 255)
    draw_loops(shown, [plate.to_px(loop) for loop in region.loops()], (80, 220, 60))
    return encode(shown, PICTURE_BYTES)


def _as_seen(image: Picture | bytes) -> bytes:
    """The camera's picture, small, for an answer that claims nothing; empty where there is none."""
    try:
        seen = decode(image)
        scale = min(1.0, 640 / max(seen.shape[:2]))
        size = (max(int(seen.shape[1] * scale), 1), max(int(seen.shape[0] * scale), 1))
        return encode(np.asarray(cv2.resize(seen, size, interpolation=cv2.INTER_AREA), np.uint8), PICTURE_BYTES)
    except PictureError:
        return b""


def _odd(pixels: float) -> int:
    return max(int(pixels) | 1, 1)
