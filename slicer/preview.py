"""Pictures of a job: one layer as SVG or PNG, the whole job as one self-contained page with a layer slider."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.job import Job, JobLayer
from slicer.motion_time import path_time
from slicer.recipe import RANGES, Recipe, absorbed_energy_j_kg
from slicer.scan import KIND_CONTOUR, KIND_HATCH, ScanPath
from slicer.whole_file import whole_file

# one colour a meaning, on light and on dark ground; blue and orange stay apart for colour-blind eyes
COLOURS = {
    "contour": ("#c2410c", "#ff9d66"),
    "hatch": ("#1d5fa8", "#74b3ff"),
    "jump": ("#8a8f98", "#7d8590"),
    "part": ("#e9e4da", "#2b2f36"),
    "ground": ("#fbfaf7", "#14171c"),
}
MARGIN_MM = 2.0
PAGE_VECTORS_MAX = 2_000_000  # about 25 MB of page; a larger job is shown with every second, third, ... layer
PNG_PIXELS = 1600


@dataclass(frozen=True)
class _View:
    """The part of the plate that is drawn, in mm."""

    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float


def layer_svg(job_layer: JobLayer, envelope: Envelope) -> str:
    """One layer as an SVG text: outline, contours, hatch and jumps; y points up as on the machine."""
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
    drawn("hatch", _chains(path.of_kind(KIND_HATCH).vectors_mm))
    drawn("contour", _chains(path.of_kind(KIND_CONTOUR).vectors_mm))
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
    for name, vectors in (
        ("jump", _jumps(job_layer.path)),
        ("hatch", job_layer.path.of_kind(KIND_HATCH).vectors_mm.reshape(-1, 2, 2)),
        ("contour", job_layer.path.of_kind(KIND_CONTOUR).vectors_mm.reshape(-1, 2, 2)),
    ):
        if len(vectors):
            thickness = 1 if name == "jump" else 2
            cv2.polylines(picture, list(pixels(vectors)), False, _bgr(name), thickness, cv2.LINE_AA, shift)
    done, data = cv2.imencode(".png", picture)
    assert done, "cv2 could not encode a picture that it holds"
    return bytes(data)


def write_html(job: Job, path: str | Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write the whole job as one page: canvas, layer slider, recipe with its evidence; no network, works from a file.

    Positions in the page are rounded to 1/65535 of the part's longer side (1 um for 65 mm); the page says which layers
    it holds if the job has more than PAGE_VECTORS_MAX vectors.

    Raises:
        JobError: a layer is damaged. OSError: the page cannot be written; nothing is left half-written.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    manifest = job.manifest
    step = -(-manifest.vector_count // PAGE_VECTORS_MAX)
    shown = list(range(0, manifest.layer_count, max(1, step)))
    origin = (manifest.bounds_mm[0][0] - MARGIN_MM, manifest.bounds_mm[0][1] - MARGIN_MM)
    span = max(manifest.bounds_mm[1][0] - origin[0], manifest.bounds_mm[1][1] - origin[1]) + MARGIN_MM
    text = environment.get_template("preview.html.j2").generate(
        manifest=manifest,
        recipe=job.recipe,
        recipe_rows=_recipe_rows(job.recipe),
        absorbed_mj_kg=absorbed_energy_j_kg(job.recipe) / 1e6,
        envelope=job.envelope,
        size_mm=[high - low for low, high in zip(*manifest.bounds_mm, strict=True)],
        colours=COLOURS,
        layer_step=step,
        view={"x": origin[0], "y": origin[1], "span": span, "spot": job.recipe.spot_mm},
        layers=_page_layers(job, shown, origin, span, progress),
    )
    with whole_file(path) as stream:
        for piece in text:
            stream.write(piece.encode())


def _page_layers(
    job: Job,
    shown: list[int],
    origin: tuple[float, float],
    span: float,
    progress: Callable[[int, int], None] | None,
) -> Iterator[dict[str, Any]]:
    """What the page needs of each layer: figures, and the geometry packed as base64 of 16-bit numbers."""
    for done, index in enumerate(shown, start=1):
        job_layer = job.layer(index)
        layer, path = job_layer.layer, job_layer.path
        time = path_time(path, job.envelope, job_layer.jump_speed_mm_s)

        def short(points_mm: NDArray[np.float64]) -> bytes:
            scaled = (points_mm.reshape(-1, 2) - origin) * (65535.0 / span)
            return np.rint(np.clip(scaled, 0, 65535)).astype("<u2").tobytes()

        packed = short(path.vectors_mm) + short(layer.points_mm)
        packed += layer.loop_starts.astype("<u4").tobytes() + path.kind.tobytes()
        yield {
            "figures": {
                "number": index + 1,
                "z_mm": round(layer.z_mm, 4),
                "vectors": len(path),
                "points": len(layer.points_mm),
                "loops": len(layer.loop_starts) - 1,
                "length_m": round(path.length_mm / 1e3, 3),
                "energy_kj": round(path.energy_j / 1e3, 3),
                "beam_on_s": round(time.beam_on_s, 2),
                "jumping_s": round(time.jumping_s, 2),
            },
            "data": base64.b64encode(packed).decode(),
        }
        if progress is not None:
            progress(done, len(shown))


def _recipe_rows(recipe: Recipe) -> list[dict[str, str]]:
    rows = []
    for key, (_, _, unit) in RANGES.items():
        value, evidence = getattr(recipe, key), recipe.evidence.get(key)
        rows.append(
            {
                "key": key,
                "value": "none" if value is None else f"{value:g}",
                "unit": "" if value is None else unit,
                "kind": evidence.kind if evidence else "unknown",
                "source": evidence.source if evidence else "no evidence given",
            }
        )
    return rows


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
