"""What the top camera sees: plain arrays of truth in, a BGR picture out.

One pinhole camera with a slight tilt and radial distortion looks down on the build plate. Around the build area
stands a dark frame with four ArUco markers, level with the build plane. A bar light grazes the plane behind a knife
edge: a surface below the plane lies in the edge's penumbra and is darker, which is how a hollow shows to a single
camera from above (project's choice).

What does not change between pictures (where each pixel looks, the frame, the markers) is worked out once; a picture
is then a few passes over one grey plane. All randomness comes from `seed` and the number of the picture.

Frames: machine mm (x right, y back, z up, origin at the plate's front-left corner); pixel (0, 0) is the centre of the
first pixel, u to the right, v down, and the picture shows +x to the right and +y upwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

POWDER_ALBEDO = 0.50  # of the markers' white paper = 0.85; grey regolith simulant under white light (assumed)
WHITE_ALBEDO = 0.85
SINTER_ALBEDO = 0.24  # glassy, sintered regolith is about half as bright as its powder (assumed)
FRAME_ALBEDO = 0.16  # anodised frame
SINTER_FULL = 0.35  # a third of the way to dense the grains are glazed, and the tone changes no more (assumed)
MARKER_BLACK_ALBEDO = 0.04
BLADE_ALBEDO = 0.08
BANKS = 4  # of grain and noise, kept: a seed looks at one of them through windows of its own
FULL_SCALE = 250.0  # grey level of albedo 1 under full light
COVER_DEPTH_MM = 0.12  # loose powder hides what lies below as exp(-cover / this): one or two grain diameters (assumed)
GLOW_START_C = (
    620.0  # silicon camera behind an infra-red filter: below this nothing is seen at daylight exposure (assumed)
)
BLADE_WIDTH_MM = 12.0
BLADE_TOP_MM = 20.0


@dataclass(frozen=True, slots=True)
class CameraPose:
    """The true camera. Position of its pupil in machine mm, tilts in degrees about its own x and y, roll about its
    axis."""

    width_px: int = 1280
    height_px: int = 960
    focal_px: float = 1640.0
    centre_px: tuple[float, float] = (641.3, 477.8)
    k1: float = -0.060
    k2: float = 0.004
    position_mm: tuple[float, float, float] = (120.0, 82.0, 420.0)
    tilt_x_deg: float = 0.9
    tilt_y_deg: float = -0.7
    roll_deg: float = 0.4

    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) machine -> camera; with no tilt, camera x = machine x, camera y = -machine y, camera z = -machine
        z."""
        a, b, c = np.radians([self.tilt_x_deg, self.tilt_y_deg, self.roll_deg])
        about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        return about_z @ about_y @ about_x @ np.diag([1.0, -1.0, -1.0])

    def project(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3) machine mm -> (n, 2) pixels, distorted by (1 + k1 r^2 + k2 r^4)."""
        seen = (np.asarray(points_mm, float) - np.array(self.position_mm)) @ self.rotation().T
        x, y = seen[:, 0] / seen[:, 2], seen[:, 1] / seen[:, 2]
        r2 = x * x + y * y
        factor = 1.0 + self.k1 * r2 + self.k2 * r2 * r2
        return np.column_stack(
            [self.focal_px * x * factor + self.centre_px[0], self.focal_px * y * factor + self.centre_px[1]]
        )

    def plane_points(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[Floats, Floats]:
        """Where pixels look on the build plane (z = 0): machine x and y in mm, of the shape of u."""
        xd = (u - self.centre_px[0]) / self.focal_px
        yd = (v - self.centre_px[1]) / self.focal_px
        x, y = xd, yd
        for _ in range(8):  # fixed point of the distortion; converges to 1e-9 at these k
            r2 = x * x + y * y
            factor = 1.0 + self.k1 * r2 + self.k2 * r2 * r2
            x, y = xd / factor, yd / factor
        turn = self.rotation().T
        ray = [turn[i, 0] * x + turn[i, 1] * y + turn[i, 2] for i in range(3)]
        reach = -self.position_mm[2] / ray[2]
        x_mm = self.position_mm[0] + reach * ray[0]
        y_mm = self.position_mm[1] + reach * ray[1]
        return x_mm.astype(np.float32), y_mm.astype(np.float32)


@dataclass(frozen=True, slots=True)
class ScenePlate:
    """The true frame: build area and the four markers (OpenCV DICT_4X4_50), centres in machine mm, upright in the
    picture."""

    x_mm: float = 250.0
    y_mm: float = 150.0
    marker_ids: tuple[int, int, int, int] = (0, 1, 2, 3)
    marker_centres_mm: tuple[tuple[float, float], ...] = (
        (-12.0, -12.0),
        (262.0, -12.0),
        (262.0, 162.0),
        (-12.0, 162.0),
    )
    marker_side_mm: float = 12.0
    hidden_markers: tuple[int, ...] = ()  # ids covered by dirt


@dataclass(frozen=True, slots=True)
class Lighting:
    """Light over the plate. `glare`: None or (x_mm, y_mm, radius_mm, added grey levels)."""

    level: float = 1.0
    ambient: float = 0.45
    penumbra_mm: float = 1.0  # a surface this far below the plane gets no bar light
    falloff: float = 0.12  # bar stands behind the back edge: front is darker by this fraction
    vignette: float = 0.10  # loss at the picture's corners
    glare: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class SceneMaps:
    """The truth on a grid of square cells, row 0 at the smallest y. Outside the grid there is level, loose, cold
    powder.

    height_mm: surface relative to the build plane (0 level, negative low). temp_c: of the surface.
    sintered: 0 loose powder .. 1 dense, of the first consolidated (or bare plate) material met from above.
    cover_mm: loose powder lying on that material; None: it lies bare wherever sintered > 0.
    """

    height_mm: NDArray[np.floating]
    temp_c: NDArray[np.floating] | None = None
    sintered: NDArray[np.floating] | None = None
    cover_mm: NDArray[np.floating] | None = None
    origin_mm: tuple[float, float] = (0.0, 0.0)
    pitch_mm: float = 1.0

    def __post_init__(self) -> None:
        shape = np.shape(self.height_mm)
        if len(shape) != 2 or not self.pitch_mm > 0:
            raise ValueError(
                f"scene maps need a 2-D height map and a positive pitch, not shape {shape}, pitch {self.pitch_mm}"
            )
        for name in ("temp_c", "sintered", "cover_mm"):
            given = getattr(self, name)
            if given is not None and np.shape(given) != shape:
                raise ValueError(f"scene map {name} has shape {np.shape(given)}, the height map has {shape}")
        for name in ("height_mm", "temp_c", "sintered", "cover_mm"):
            given = getattr(self, name)
            if given is not None and not np.isfinite(given).all():
                raise ValueError(f"scene map {name} holds a value that is not finite")

    def digest(self) -> bytes:
        """The same for maps of the same values, another for any others."""
        said = blake2b(repr((np.shape(self.height_mm), self.origin_mm, self.pitch_mm)).encode(), digest_size=16)
        for given in (self.height_mm, self.temp_c, self.sintered, self.cover_mm):
            said.update(b"none" if given is None else np.ascontiguousarray(given, np.float64).tobytes())
        return said.digest()


@dataclass(frozen=True)
class Scene:
    """A camera over a plate. `picture()` renders; equal arguments give equal bytes.

    seed: of powder grain and sensor noise. noise_levels: standard deviation of the sensor noise in grey levels.
    blur_px: sigma of an added defocus (0: the lens is sharp).
    """

    pose: CameraPose = field(default_factory=CameraPose)
    plate: ScenePlate = field(default_factory=ScenePlate)
    seed: int = 0
    noise_levels: float = 2.0

    def picture(
        self,
        maps: SceneMaps,
        *,
        shot: int = 0,
        powder: int = 0,
        blade_x_mm: float | None = None,
        lighting: Lighting | None = None,
        blur_px: float = 0.0,
    ) -> Picture:
        """One BGR picture, (height_px, width_px, 3) u1.

        shot: number of the picture (sensor noise). powder: number of the recoat (grain pattern: it is dealt anew by
        each pass).
        blade_x_mm: centre of the blade over the plate; None where it is parked out of view.
        """
        light = lighting or Lighting()
        view = _view(self.pose, self.plate)
        tone, gloss, glow = _tones(maps, light)
        at_x, at_y = _grid_lookup(self.pose, self.plate, maps.origin_mm, maps.pitch_mm)
        powder_rng = np.random.default_rng([self.seed, 1, powder])
        shot_rng = np.random.default_rng([self.seed, 2, shot])
        grain = _bank_window(_grain_bank(self.seed % BANKS, *view.bank_shape), view, powder_rng)

        level = _level_tone()
        seen = cv2.remap(tone, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=level)
        grey = np.asarray(seen, np.float32)
        cv2.multiply(grey, grain, dst=grey)
        if gloss is not None:
            # sparkle of glassy facets: the same grain bank, another window, only its bright tail
            facets = _bank_window(_grain_bank(self.seed % BANKS, *view.bank_shape), view, powder_rng)
            near = _window_of(gloss, maps, self.pose)
            shine = cv2.remap(gloss, at_x[near], at_y[near], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            sparkle = cv2.threshold(facets[near], 1.06, 0.0, cv2.THRESH_TOZERO)[1]
            grey[near] += np.asarray(cv2.multiply(sparkle, shine), np.float32)
        np.copyto(grey, view.still, where=view.outside)
        if blade_x_mm is not None:
            self._draw_blade(grey, blade_x_mm)
        cv2.multiply(grey, _light_field(self.pose, self.plate, light), dst=grey)
        if blur_px > 0:
            grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur_px), np.float32)

        blue = green = red = grey
        if glow is not None:
            near = _window_of(glow, maps, self.pose)
            shown = cv2.remap(glow, at_x[near], at_y[near], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            lit = np.asarray(shown, np.float32)
            np.copyto(lit, 0.0, where=view.outside[near])
            blue, green, red = grey.copy(), grey.copy(), grey
            blue[near] += 0.02 * lit
            green[near] += 0.15 * lit
            red[near] += lit
        bank = _noise_bank(self.seed % BANKS, self.noise_levels, *view.bank_shape)
        row, column = _place_in_bank(view, shot_rng)
        noise = bank[:, row : row + view.shape[0], column : column + view.shape[1]]
        planes = [cv2.add(plane, over, dtype=cv2.CV_8U) for plane, over in zip((blue, green, red), noise)]
        return np.asarray(cv2.merge(planes), np.uint8)

    def _draw_blade(self, grey: cv2.typing.MatLike, blade_x_mm: float) -> None:
        half = BLADE_WIDTH_MM / 2
        foot = [
            (blade_x_mm - half, 0.0),
            (blade_x_mm + half, 0.0),
            (blade_x_mm + half, self.plate.y_mm),
            (blade_x_mm - half, self.plate.y_mm),
        ]
        corners = np.array([(x, y, z) for z in (0.0, BLADE_TOP_MM) for x, y in foot])
        outline = cv2.convexHull(self.pose.project(corners).astype(np.float32)).reshape(-1, 2)
        cv2.fillConvexPoly(grey, np.rint(outline * 16).astype(np.int32), BLADE_ALBEDO * FULL_SCALE, cv2.LINE_8, 4)


def jpeg(picture: Picture, quality: int = 92) -> bytes:
    """The picture as JPEG bytes."""
    done, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape} as JPEG")
    return packed.tobytes()


# ---- tones on the grid of the truth


def _level_tone() -> float:
    return POWDER_ALBEDO * FULL_SCALE


def _tones(maps: SceneMaps, light: Lighting) -> tuple[Floats, Floats | None, Floats | None]:
    """Grey tone of each cell under even light, the gloss added to it, and the red glow in grey levels."""
    height = np.ascontiguousarray(maps.height_mm, np.float32)
    bar = np.clip(1.0 + height / light.penumbra_mm, 0.0, 1.0)
    lit = light.ambient + (1.0 - light.ambient) * bar
    gloss = None
    albedo = np.full(height.shape, POWDER_ALBEDO, np.float32)
    if maps.sintered is not None:
        shows = np.clip(np.asarray(maps.sintered, np.float32) / SINTER_FULL, 0.0, 1.0)
        if maps.cover_mm is not None:
            shows = shows * np.exp(-np.maximum(np.asarray(maps.cover_mm, np.float32), 0.0) / COVER_DEPTH_MM)
        albedo += (SINTER_ALBEDO - POWDER_ALBEDO) * shows
        if float(shows.max(initial=0.0)) > 0.02:
            gloss = (0.10 * FULL_SCALE * shows * lit).astype(np.float32)
    tone = (FULL_SCALE * albedo * lit).astype(np.float32)
    # the bar shines from the back: a slope that faces it (falling towards +y) is brighter, its other side is shaded
    if height.shape[0] > 1 and float(np.ptp(height)) > 0.0:
        slope = np.gradient(height, maps.pitch_mm, axis=0)
        tone *= np.clip(1.0 - 0.2 * slope, 0.6, 1.25).astype(np.float32)
    glow = None
    if maps.temp_c is not None and float(np.max(maps.temp_c, initial=0.0)) > GLOW_START_C:
        # the band just above the filter's edge: a step of 60 K doubles it, as Wien's law gives at 0.7 um and 950 degC
        hot = np.asarray(maps.temp_c, np.float32)
        glow = np.where(hot > GLOW_START_C, np.minimum(6.0 * np.exp2((hot - GLOW_START_C) / 60.0), 2000.0), 0.0).astype(
            np.float32
        )
    return tone, gloss, glow


# ---- what stays the same from picture to picture


@dataclass(frozen=True)
class _View:
    shape: tuple[int, int]
    bank_shape: tuple[int, int]
    x_mm: Floats
    y_mm: Floats
    outside: NDArray[np.bool_]
    still: Floats


@lru_cache(maxsize=4)
def _view(pose: CameraPose, plate: ScenePlate) -> _View:
    shape = (pose.height_px, pose.width_px)
    v, u = np.mgrid[0 : shape[0], 0 : shape[1]].astype(float)
    x_mm, y_mm = pose.plane_points(u, v)
    outside = (x_mm < 0) | (x_mm > plate.x_mm) | (y_mm < 0) | (y_mm > plate.y_mm)
    still = np.full(shape, FRAME_ALBEDO * FULL_SCALE, np.float32)
    for marker, centre in zip(plate.marker_ids, plate.marker_centres_mm, strict=True):
        if marker not in plate.hidden_markers:
            _paint_marker(still, pose, marker, centre, plate.marker_side_mm)
    # the lens: a spot of about 0.6 px; only the frame and markers have edges sharper than that
    soft = np.asarray(cv2.GaussianBlur(still, (0, 0), 0.6), np.float32)
    return _View(shape, (shape[0] + 192, shape[1] + 256), x_mm, y_mm, outside, soft)


def _paint_marker(still: Floats, pose: CameraPose, marker: int, centre: tuple[float, float], side_mm: float) -> None:
    """Paint one marker with a quiet white rim of 1.5 cells, each pixel averaged over 5 x 5 looks."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    cells = np.asarray(cv2.aruco.generateImageMarker(dictionary, marker, 6)) > 127
    cell_mm = side_mm / 6
    reach = side_mm / 2 + 1.5 * cell_mm
    box = np.array([(centre[0] + i * reach, centre[1] + j * reach, 0.0) for i in (-1, 1) for j in (-1, 1)])
    seen = pose.project(box)
    left, top = np.maximum(np.floor(seen.min(axis=0)).astype(int) - 2, 0)
    right, bottom = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + 3, [still.shape[1], still.shape[0]])
    if right <= left or bottom <= top:
        return
    total = np.zeros((bottom - top, right - left), np.float32)
    base = still[top:bottom, left:right].copy()
    steps = (np.arange(5) - 2) / 5
    for dv in steps:
        for du in steps:
            v, u = np.mgrid[top:bottom, left:right].astype(float)
            x, y = pose.plane_points(u + du, v + dv)
            column = np.floor((x - (centre[0] - side_mm / 2)) / cell_mm).astype(int)
            row = np.floor(((centre[1] + side_mm / 2) - y) / cell_mm).astype(int)
            within = (column >= 0) & (column < 6) & (row >= 0) & (row < 6)
            bits = cells[np.clip(row, 0, 5), np.clip(column, 0, 5)]
            paper = (np.abs(x - centre[0]) <= reach) & (np.abs(y - centre[1]) <= reach)
            albedo = np.where(within & ~bits, MARKER_BLACK_ALBEDO, WHITE_ALBEDO) * FULL_SCALE
            total += np.where(paper, albedo, base).astype(np.float32)
    still[top:bottom, left:right] = total / 25.0


@lru_cache(maxsize=4)
def _grid_lookup(
    pose: CameraPose, plate: ScenePlate, origin_mm: tuple[float, float], pitch_mm: float
) -> tuple[Floats, Floats]:
    """For each pixel its column and row in the truth's grid (cell centres at whole numbers). Plain numbers: OpenCV
    looks them up three times as fast as its fixed-point form."""
    view = _view(pose, plate)
    column = (view.x_mm - np.float32(origin_mm[0])) / np.float32(pitch_mm) - np.float32(0.5)
    row = (view.y_mm - np.float32(origin_mm[1])) / np.float32(pitch_mm) - np.float32(0.5)
    return column, row


@lru_cache(maxsize=8)
def _light_field(pose: CameraPose, plate: ScenePlate, light: Lighting) -> Floats:
    view = _view(pose, plate)
    from_bar = 1.0 - light.falloff * (1.0 - np.clip(view.y_mm / plate.y_mm, -0.2, 1.2))
    v, u = np.mgrid[0 : view.shape[0], 0 : view.shape[1]].astype(np.float32)
    off_axis = ((u - pose.centre_px[0]) ** 2 + (v - pose.centre_px[1]) ** 2) / float(np.hypot(*pose.centre_px)) ** 2
    field_of_light = (light.level * from_bar * (1.0 - light.vignette * off_axis)).astype(np.float32)
    if light.glare is not None:
        x, y, radius, added = light.glare
        spot = np.exp(-((view.x_mm - x) ** 2 + (view.y_mm - y) ** 2) / (2 * radius * radius))
        field_of_light += (added / (POWDER_ALBEDO * FULL_SCALE) * spot).astype(np.float32)
    return field_of_light


@lru_cache(maxsize=BANKS)
def _grain_bank(bank: int, rows: int, columns: int) -> Floats:
    """Powder: grain of about a pixel, clumps, and faint recoat lines along the blade's travel (x); mean 1."""
    rng = np.random.default_rng([bank, 3])
    grain = cv2.GaussianBlur(rng.standard_normal((rows, columns), np.float32), (0, 0), 0.8)
    clumps = cv2.GaussianBlur(rng.standard_normal((rows, columns), np.float32), (0, 0), 4.0)
    lines = cv2.GaussianBlur(rng.standard_normal((rows, 1), np.float32), (1, 0), 0.01, sigmaY=2.0)
    mixed = 1.0 + 0.035 * grain / grain.std() + 0.012 * clumps / clumps.std() + 0.008 * lines / lines.std()
    return np.asarray(mixed, np.float32)


@lru_cache(maxsize=BANKS)
def _noise_bank(bank: int, levels: float, rows: int, columns: int) -> Floats:
    """(3, rows, columns): a plane each of blue, green and red."""
    noise = np.float32(levels) * np.random.default_rng([bank, 4]).standard_normal((rows, columns, 3), np.float32)
    return np.ascontiguousarray(np.moveaxis(noise, 2, 0))


def _bank_window(bank: Floats, view: _View, rng: np.random.Generator) -> Floats:
    row, column = _place_in_bank(view, rng)
    return bank[row : row + view.shape[0], column : column + view.shape[1]]


def _place_in_bank(view: _View, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a bank where a picture's window begins."""
    rows, columns = view.bank_shape
    return int(rng.integers(0, rows - view.shape[0])), int(rng.integers(0, columns - view.shape[1]))


def _window_of(plane: Floats, maps: SceneMaps, pose: CameraPose) -> tuple[slice, slice]:
    """Rows and columns of the picture in which a plane of the truth's grid may show anything but 0."""
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    # a cell is blended into its neighbours; the lens bows straight rims, so that more than their ends is asked
    x_mm, y_mm = (
        origin + maps.pitch_mm * np.linspace(cells[0] - 1.0, cells[-1] + 2.0, 9)
        for origin, cells in zip(maps.origin_mm, (columns, rows))
    )
    at = np.stack(np.meshgrid(x_mm, y_mm), axis=-1).reshape(-1, 2)
    seen = pose.project(np.column_stack([at, np.zeros(len(at))]))
    left, top = np.clip(np.floor(seen.min(axis=0)).astype(int) - 2, 0, [pose.width_px, pose.height_px])
    right, bottom = np.clip(np.ceil(seen.max(axis=0)).astype(int) + 3, 0, [pose.width_px, pose.height_px])
    return slice(int(top), int(bottom)), slice(int(left), int(right))
