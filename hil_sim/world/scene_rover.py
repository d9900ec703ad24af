"""What a rover's camera sees: level ground with a seeded texture, square tags on posts, a low Sun, noise and blur.

Map frame: x, y level, z up, metres. Camera: x right, y down, z ahead; pixel (0, 0) is the centre of the first pixel.
Each tag is warped into a finer raster and averaged down, so its edges are true to a small part of a pixel. Not
rendered: relief, shadows of rocks on tags, the tag's own post.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Picture = NDArray[np.uint8]
TEXEL_M = 0.004
TEXELS = 1024
LEVELS = 6  # of the texture, each half as fine as the one before
CELL_PX = 32
CELLS = 10  # eight of the tag, one of white paper around
WHITE, BLACK = 0.85, 0.04  # albedo of paper and print
FINE_PX_MAX = 1600


@dataclass(frozen=True, slots=True)
class RoverCamera:
    """The true camera on the rover: size, focal length, where it sits (m ahead, left, up) and how far it looks down."""

    width_px: int = 1280
    height_px: int = 720
    focal_px: float = 1000.0
    ahead_m: float = 0.2
    left_m: float = 0.0
    up_m: float = 0.8
    down_rad: float = 0.10


@dataclass(frozen=True, slots=True)
class SceneTag:
    """One tag: its centre, the map azimuth that it faces (ccw from +x), its side (m, outer edge of the black rim)."""

    tag_id: int
    x_m: float
    y_m: float
    z_m: float
    facing_rad: float
    side_m: float = 0.30


@dataclass(frozen=True, slots=True)
class RoverLight:
    """Light and sensor. sun_rad: map azimuth of the Sun; elevation_rad: its height. noise: grey levels (1 sigma)."""

    sun_rad: float = 0.7
    elevation_rad: float = 0.1
    exposure: float = 235.0
    noise: float = 2.0
    blur_px: float = 0.7


class RoverScene:
    """A picture for each pose. All randomness comes from `seed` and the number of the picture."""

    def __init__(
        self,
        seed: int,
        tags: tuple[SceneTag, ...] = (),
        camera: RoverCamera | None = None,
        light: RoverLight | None = None,
    ) -> None:
        self.seed, self.tags = seed, tags
        self.camera, self.light = camera or RoverCamera(), light or RoverLight()
        self._texture = _texture(seed, self.light)
        self._prints = {tag.tag_id: _print(tag.tag_id) for tag in tags}

    def picture(self, x_m: float, y_m: float, heading_rad: float, number: int = 0, *, roll_rad: float = 0.0,
                pitch_rad: float = 0.0) -> Picture:  # fmt: skip
        """BGR (rows, columns, 3) u1 with the rover at a place. roll: right side down; pitch: nose down."""
        turn, eye = camera_pose(self.camera, x_m, y_m, heading_rad, roll_rad, pitch_rad)
        grey = self._ground(turn, eye)
        for tag in sorted(self.tags, key=lambda t: -math.hypot(t.x_m - eye[0], t.y_m - eye[1])):
            self._paste(grey, tag, turn, eye)
        if self.light.blur_px > 0:
            grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), self.light.blur_px), np.float32)
        noise = np.random.default_rng([self.seed, number]).standard_normal(grey.shape, np.float32)
        seen = np.clip(grey * np.float32(self.light.exposure) + np.float32(self.light.noise) * noise, 0, 255)
        return np.repeat(np.rint(seen).astype(np.uint8)[..., None], 3, axis=2)

    def _ground(self, turn: Floats, eye: Floats) -> NDArray[np.float32]:
        cam = self.camera
        u, v = np.meshgrid(
            (np.arange(cam.width_px) - (cam.width_px - 1) / 2) / cam.focal_px,
            (np.arange(cam.height_px) - (cam.height_px - 1) / 2) / cam.focal_px,
        )
        back = turn.T
        ray = [back[k, 0] * u + back[k, 1] * v + back[k, 2] for k in range(3)]
        reach = np.where(ray[2] < -1e-4, -eye[2] / np.minimum(ray[2], -1e-4), np.inf)
        hit = reach < 200.0
        far = np.where(hit, reach, 1.0)
        x, y = eye[0] + far * ray[0], eye[1] + far * ray[1]
        step = far * np.sqrt(np.maximum(far, 1e-6) / max(eye[2], 0.05)) / cam.focal_px  # mean of both ways of a pixel
        level = np.clip(np.rint(np.log2(np.maximum(step / TEXEL_M, 1.0))), 0, LEVELS - 1).astype(int)
        grey = np.zeros(x.shape, np.float32)
        for which in range(LEVELS):
            rows = np.flatnonzero(((level == which) & hit).any(axis=1))
            if not rows.size:
                continue
            cut = slice(int(rows[0]), int(rows[-1]) + 1)
            size = TEXELS >> which
            at = [np.mod(a[cut] / (TEXEL_M * 2**which), size).astype(np.float32) for a in (x, y)]
            seen = cv2.remap(self._texture[which], at[0], at[1], cv2.INTER_LINEAR)
            use = (level[cut] == which) & hit[cut]
            grey[cut][use] = seen[use]
        return grey

    def _paste(self, grey: NDArray[np.float32], tag: SceneTag, turn: Floats, eye: Floats) -> None:
        half = tag.side_m * CELLS / (CELLS - 2) / 2
        corners = tag_points(tag, half)
        seen = (corners - eye) @ turn.T
        normal = np.array([math.cos(tag.facing_rad), math.sin(tag.facing_rad), 0.0])
        if seen[:, 2].min() < 0.1 or float(normal @ (eye - corners.mean(axis=0))) <= 0:
            return
        cam = self.camera
        px = seen[:, :2] / seen[:, 2:] * cam.focal_px + [(cam.width_px - 1) / 2, (cam.height_px - 1) / 2]
        low = np.maximum(np.floor(px.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(px.max(axis=0)).astype(int) + 2, [cam.width_px, cam.height_px])
        if (high - low).min() < 2:
            return
        fine = int(np.clip(FINE_PX_MAX // (high - low).max(), 2, 16))
        wide, tall = (int(n) for n in (high - low) * fine)
        edge = CELLS * CELL_PX - 0.5
        source = np.array([[-0.5, -0.5], [edge, -0.5], [edge, edge], [-0.5, edge]], np.float32)
        target = ((px - low + 0.5) * fine - 0.5).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(source, target)
        paper = cv2.warpPerspective(self._prints[tag.tag_id], matrix, (wide, tall), flags=cv2.INTER_LINEAR,
                                    borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        mask = cv2.fillConvexPoly(np.zeros((tall, wide), np.float32), np.rint(target * 16).astype(np.int32), 1.0,
                                  cv2.LINE_8, 4)  # fmt: skip
        size = (wide // fine, tall // fine)
        cover = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        ink = cv2.resize(paper * mask, size, interpolation=cv2.INTER_AREA)
        sun = max(math.cos(self.light.sun_rad - tag.facing_rad), 0.0) * math.cos(self.light.elevation_rad)
        window = grey[low[1] : high[1], low[0] : high[0]]
        window *= 1.0 - cover
        window += ink * (0.4 + 0.6 * sun)


def jpeg(picture: Picture, quality: int = 92) -> bytes:
    """A picture as the camera sends it."""
    done, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "an 8-bit picture can always be packed"
    return packed.tobytes()


def camera_pose(
    camera: RoverCamera, x_m: float, y_m: float, heading_rad: float, roll_rad: float = 0.0, pitch_rad: float = 0.0
) -> tuple[Floats, Floats]:
    """(3, 3) map -> camera and (3,) the pupil in the map, of a rover (x ahead, y left, z up) on level ground at z 0."""
    c, s = math.cos(heading_rad), math.sin(heading_rad)
    yaw = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    c, s = math.cos(pitch_rad), math.sin(pitch_rad)
    pitch = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    roll = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    body = yaw @ pitch @ roll
    c, s = math.cos(camera.down_rad), math.sin(camera.down_rad)
    axes = np.array([[0.0, -1.0, 0.0], [-s, 0.0, -c], [c, 0.0, -s]])  # rows: the camera's axes in the body
    eye = np.array([x_m, y_m, 0.0]) + body @ [camera.ahead_m, camera.left_m, camera.up_m]
    return axes @ body.T, eye


def tag_points(tag: SceneTag, half_m: float) -> Floats:
    """(4, 3) corners as one who looks at the tag reads them: top left, top right, bottom right, bottom left."""
    right = np.array([-math.sin(tag.facing_rad), math.cos(tag.facing_rad), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    middle = np.array([tag.x_m, tag.y_m, tag.z_m])
    return np.array([middle + half_m * (a * right + b * up) for a, b in ((-1, 1), (1, 1), (1, -1), (-1, -1))])


def _print(tag_id: int) -> NDArray[np.float32]:
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    inner = cv2.aruco.generateImageMarker(dictionary, tag_id, (CELLS - 2) * CELL_PX)
    whole = np.pad(np.asarray(inner), CELL_PX, constant_values=255)
    return (BLACK + (WHITE - BLACK) * (whole > 127)).astype(np.float32)


def _texture(seed: int, light: RoverLight) -> list[NDArray[np.float32]]:
    """Periodic grey of regolith: relief of several sizes, lit from the side, and grains; and its coarser levels."""
    rng = np.random.default_rng(seed)
    fy = np.fft.fftfreq(TEXELS)[:, None]
    fx = np.fft.rfftfreq(TEXELS)[None, :]
    f = np.hypot(fx, fy)
    white = np.fft.rfft2(rng.standard_normal((TEXELS, TEXELS)))
    shape = np.where(f > 0, np.maximum(f, 1.0 / TEXELS) ** -1.2, 0.0)
    lit = 2j * np.pi * (fx * math.cos(light.sun_rad) + fy * math.sin(light.sun_rad))  # slope towards the Sun
    relief = np.fft.irfft2(white * shape * lit, (TEXELS, TEXELS))
    grey = 0.35 + 0.10 * relief / relief.std()
    levels = [np.clip(grey, 0.03, 0.9).astype(np.float32)]
    for _ in range(LEVELS - 1):
        last = levels[-1]
        levels.append((last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2]) / np.float32(4))
    return [np.pad(a, ((0, 1), (0, 1)), mode="wrap") for a in levels]
