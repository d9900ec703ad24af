"""A picture of a brick among its neighbours, drawn a little apart so that one sees how they meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slicer.bricks.kinds import Brick
from slicer.bricks.solids import Floats
from slicer.errors import SlicerError
from slicer.whole_file import whole_file

PICTURES = (".png", ".jpg")
AZIMUTH_DEG, ELEVATION_DEG = 35.0, 28.0
OVERSAMPLING = 2
PAPER = (255.0, 255.0, 255.0)
BRICK, NEIGHBOUR, LINE = (214.0, 152.0, 92.0), (188.0, 186.0, 182.0), (50.0, 46.0, 44.0)  # red, green, blue
LIGHT = np.array([-0.35, 0.85, 0.40])  # towards the light, seen by the viewer: right, up, out of the picture
CREASE_COSINE = 0.9
"""Where two faces bend by more than this (26 deg), a line is drawn."""


def draw_laid(brick: Brick, *, width_px: int = 720, height_px: int = 480, apart: float = 0.2) -> NDArray[np.uint8]:
    """(height, width, 3) u1, red, green, blue: a finished brick and its neighbours from above and before, orthographic.

    Args:
        apart: by which part of the brick's longest edge each neighbour is moved away from it.
    """
    poses = brick.neighbours()
    mesh = brick.finished()
    corners, owners = [mesh.vertices_mm[mesh.faces]], [np.zeros(len(mesh.faces), np.int64)]
    for number, place in enumerate(poses.values(), 1):
        moved = corners[0] @ place[:, :3].T + place[:, 3] + apart * _direction(mesh.vertices_mm, place)
        corners.append(moved)
        owners.append(np.full(len(moved), number))
    seen = np.concatenate(corners) @ _view().T
    owner = np.concatenate(owners)
    normals = np.cross(seen[:, 1] - seen[:, 0], seen[:, 2] - seen[:, 0])
    length = np.linalg.norm(normals, axis=1)
    front = normals[:, 2] > 1e-9 * length
    seen, owner, normals = seen[front], owner[front], normals[front] / length[front, None]
    size = (width_px * OVERSAMPLING, height_px * OVERSAMPLING)
    return _shrunk(_painted(_foremost(_on_screen(seen, *size), *size), owner, normals), OVERSAMPLING)


def write_picture(brick: Brick, path: str | Path) -> None:
    """Write the picture of `draw_laid` as PNG or JPEG; the file appears whole or not at all.

    Raises:
        SlicerError: the name does not end like a picture's.
    """
    import cv2  # a quarter of a second to import, and only this function needs it

    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise SlicerError(f"{path}: a picture is written as {' or '.join(PICTURES)}; name the file so.")
    done, data = cv2.imencode(path.suffix.lower(), draw_laid(brick)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done, "cv2 refused a picture that it should be able to encode"
    with whole_file(path) as stream:
        stream.write(data.tobytes())


def _direction(vertices: Floats, place: Floats) -> Floats:
    """From the middle of a brick towards that of its neighbour, as long as the brick's longest edge."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle = 0.5 * (low + high)
    way: Floats = place[:, :3] @ middle + place[:, 3] - middle
    return way * ((high - low).max() / np.linalg.norm(way))


def _view() -> Floats:
    """(3, 3): to the viewer's right, up, and towards the viewer."""
    azimuth, elevation = np.radians([AZIMUTH_DEG, ELEVATION_DEG])
    towards = np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    return np.stack([right, np.cross(towards, right), towards])


def _on_screen(seen: Floats, width: int, height: int) -> Floats:
    """Triangles in pixels, x to the right, y down, z towards the viewer, filling the picture but for a margin."""
    low, high = seen.min(axis=(0, 1)), seen.max(axis=(0, 1))
    scale = 0.94 * min(width / (high[0] - low[0]), height / (high[1] - low[1]))
    flipped = np.array([1.0, -1.0, 1.0])
    placed: Floats = (seen - 0.5 * (low + high)) * flipped * scale + (width / 2, height / 2, 0.0)
    return placed


def _foremost(corners: Floats, width: int, height: int) -> NDArray[np.int64]:
    """(height, width): number of the triangle that is seen at every pixel's middle, or how many there are for none."""
    face = np.full((height, width), len(corners), np.int64)
    depth = np.full((height, width), -np.inf)
    low = np.maximum(np.floor(corners.min(axis=1)[:, :2]).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=1)[:, :2]).astype(int) + 1, (width, height))
    for number in range(len(corners)):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners[number].tolist()
        doubled = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if doubled == 0.0:
            continue
        (x0, y0), (x1, y1) = low[number], high[number]
        x, y = np.arange(x0, x1) + 0.5, np.arange(y0, y1)[:, None] + 0.5
        b = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / doubled
        c = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / doubled
        z = az + b * (bz - az) + c * (cz - az)
        window = depth[y0:y1, x0:x1]
        nearer = (b >= 0) & (c >= 0) & (b + c <= 1) & (z > window)
        window[nearer] = z[nearer]
        face[y0:y1, x0:x1][nearer] = number
    return face


def _painted(face: NDArray[np.int64], owner: NDArray[np.int64], normals: Floats) -> Floats:
    """Faces lit from one side, with lines along outlines and creases."""
    light = 0.62 + 0.38 * np.clip(normals @ (LIGHT / np.linalg.norm(LIGHT)), 0.0, 1.0)
    colours = np.where((owner == 0)[:, None], BRICK, NEIGHBOUR) * light[:, None]
    picture = np.concatenate([colours, [PAPER]])[face]
    brick, normal = np.append(owner, -1)[face], np.concatenate([normals, [(0.0, 0.0, 1.0)]])[face]
    for this, next_one in (
        ((slice(-1), ...), (slice(1, None), ...)),
        ((slice(None), slice(-1)), (slice(None), slice(1, None))),
    ):
        bent = (normal[this] * normal[next_one]).sum(axis=2) < CREASE_COSINE
        picture[this][bent | (brick[this] != brick[next_one])] = LINE
    return picture


def _shrunk(picture: Floats, by: int) -> NDArray[np.uint8]:
    height, width, _ = picture.shape
    mean = picture.reshape(height // by, by, width // by, by, 3).mean(axis=(1, 3))
    return np.round(mean).astype(np.uint8)
