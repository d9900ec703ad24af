"""Pictures of one layer: SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.job_layer import JobLayer
from slicer.scan import KIND_CONTOUR, KIND_DOWN_SKIN, KIND_HATCH, KIND_THIN, KIND_UP_SKIN, ScanPath

# one colour a meaning, on light and on dark ground; the kinds of vectors stay apart for colour-blind eyes (Okabe, Ito)
COLOURS = {
    "contour": ("#c2410c", "#ff9d66"),
    "hatch": ("#1d5fa8", "#74b3ff"),
    "up-skin": ("#00806a", "#3fd0ae"),
    "down-skin": ("#8f3f86", "#e39ad4"),
    "thin-wall": ("#8a6d00", "#f0e442"),
    "jump": ("#8a8f98", "#7d8590"),
    "part": ("#e9e4da", "#2b2f36"),
    "ground": ("#fbfaf7", "#14171c"),
}
KIND_COLOURS = {
    KIND_HATCH: "hatch",
    KIND_UP_SKIN: "up-skin",
    KIND_DOWN_SKIN: "down-skin",
    KIND_CONTOUR: "contour",
    KIND_THIN: "thin-wall",
}
"""Kind of vector -> its colour, in the order of drawing."""

MARGIN_MM = 2.0
PNG_PIXELS = 1600


@dataclass(frozen=True)
class _View:
    """The part of the plate that is drawn, in mm."""

    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float


def layer_svg(job_layer: JobLayer, envelope: Envelope) -> str:
    """One layer as an SVG text: outline, vectors by kind, and jumps; y points up as on the machine."""
    path, view = job_layer.path, _view_of(job_layer, envelope)
    top = view.y_mm + view.height_mm
    stroke = max(view.width_mm, view.height_mm) / 700.0
    paint = {name: "fill" if name in ("part", "ground") else "stroke" for name in COLOURS}
    style = "".join(f".{name}{{{paint[name]}:{light}}}" for name, (light, _) in COLOURS.items())
    dark = "".join(f".{name}{{{paint[name]}:{dark}}}" for name, (_, dark) in COLOURS.items())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {view.width_mm:.3f} {view.height_mm:.3f}"'
        f' width="{view.width_mm:.3f}mm" height="{view.height_mm:.3f}mm">',
        f"<title>Layer {job_layer.layer.index + 1}, z {job_layer.layer.z_mm:g} mm</title>",
        f"<style>path{{fill:none;stroke-width:{stroke:.4f};stroke-linecap:round;stroke-linejoin:round}}"
        f".part{{fill-rule:evenodd}}.jump{{stroke-dasharray:{3 * stroke:.4f}}}{style}"
        f"@media(prefers-color-scheme:dark){{{dark}}}</style>",
        f'<rect class="ground" width="{view.width_mm:.3f}" height="{view.height_mm:.3f}"/>',
    ]

    def drawn(name: str, chains: Iterator[NDArray[np.float64]], close: str = "") -> None:
        words = []
        for chain in chains:
            corners = " ".join(f"{x - view.x_mm:.3f},{top - y:.3f}" for x, y in chain.tolist())
            words.append(f"M{corners}{close}")
        if words:
            lines.append(f'<path class="{name}" d="{"".join(words)}"/>')

    drawn("part", _loops(job_layer), "Z")
    drawn("jump", iter(_jumps(path)))
    for kind, name in KIND_COLOURS.items():
        drawn(name, _chains(path.of_kind(kind).vectors_mm))
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def layer_png(job_layer: JobLayer, envelope: Envelope) -> bytes:
    """One layer as a PNG picture, PNG_PIXELS along its longer side; y points up as on the machine."""
    import cv2  # a quarter of a second to import, and only this function needs it

    view = _view_of(job_layer, envelope)
    scale = PNG_PIXELS / max(view.width_mm, view.height_mm)
    shift = 4  # fractional bits, so that neighbouring lines do not beat with the pixels
    size = (max(1, round(view.height_mm * scale)), max(1, round(view.width_mm * scale)))
    picture = np.full((*size, 3), _bgr("ground"), np.uint8)

    def pixels(points_mm: NDArray[np.float64]) -> NDArray[np.int32]:
        x = (points_mm[..., 0] - view.x_mm) * scale
        y = size[0] - (points_mm[..., 1] - view.y_mm) * scale
        return np.rint(np.stack([x, y], axis=-1) * 2**shift).astype(np.int32)

    loops = [pixels(loop) for loop in _loops(job_layer)]
    if loops:
        cv2.fillPoly(picture, loops, _bgr("part"), cv2.LINE_AA, shift)
    drawn = [("jump", _jumps(job_layer.path))]
    for kind, name in KIND_COLOURS.items():
        drawn.append((name, job_layer.path.of_kind(kind).vectors_mm.reshape(-1, 2, 2)))
    for name, vectors in drawn:
        if len(vectors):
            thickness = 1 if name == "jump" else 2
            cv2.polylines(picture, list(pixels(vectors)), False, _bgr(name), thickness, cv2.LINE_AA, shift)
    done, data = cv2.imencode(".png", picture)
    assert done, "cv2 could not encode a picture that it holds"
    return bytes(data)


# ---- geometry


def _view_of(job_layer: JobLayer, envelope: Envelope) -> _View:
    """The layer with a margin, or the whole plate when the layer is empty."""
    corners = np.concatenate([job_layer.layer.points_mm, job_layer.path.vectors_mm.reshape(-1, 2)])
    if not len(corners):
        return _View(0.0, 0.0, envelope.x_mm, envelope.y_mm)
    low, high = corners.min(axis=0) - MARGIN_MM, corners.max(axis=0) + MARGIN_MM
    return _View(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))


def _loops(job_layer: JobLayer) -> Iterator[NDArray[np.float64]]:
    return (job_layer.layer.points_mm[a:b] for a, b in pairwise(job_layer.layer.loop_starts.tolist()) if b > a)


def _jumps(path: ScanPath) -> NDArray[np.float64]:
    """(j, 2, 2) f8, start and end of each jump."""
    gaps = np.concatenate([path.vectors_mm[:-1, 2:], path.vectors_mm[1:, :2]], axis=1).reshape(-1, 2, 2)
    return gaps[(gaps[:, 0] != gaps[:, 1]).any(axis=1)]


def _chains(vectors_mm: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Vectors that follow each other without a jump, as one run of corners each."""
    if not len(vectors_mm):
        return
    breaks = np.flatnonzero((vectors_mm[1:, :2] != vectors_mm[:-1, 2:]).any(axis=1)) + 1
    for run in np.split(vectors_mm, breaks):
        yield np.concatenate([run[:1, :2], run[:, 2:]])


def _bgr(name: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(COLOURS[name][0][1:])
    return blue, green, red
