"""Small jobs, envelopes and recipes that several tests need."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slicer.envelope import Envelope
from slicer.job import JobHead
from slicer.job_layer import JobLayer
from slicer.job_writing import write_job
from slicer.layers import Layer
from slicer.recipe import Recipe, load_recipe
from slicer.scan import KIND_CONTOUR, KIND_HATCH, ScanPath

WIRE_SMALL = Path(__file__).parent / "recipes" / "wire_small.toml"
BENCH = Envelope(250.0, 150.0, 100.0, 200.0, 100.0, 500.0)


def wire_small(**overrides: str) -> Recipe:
    return load_recipe(WIRE_SMALL, overrides)


def square_layer(index: int, *, side_mm: float = 10.0, thickness_mm: float = 0.5, power_w: float = 100.0) -> JobLayer:
    """A square outline, drawn as a contour, with three hatch lines in it."""
    corners = np.array([[50.0, 50.0], [50 + side_mm, 50.0], [50 + side_mm, 50 + side_mm], [50.0, 50 + side_mm]])
    layer = Layer(index, (index + 1) * thickness_mm, thickness_mm, corners, np.array([0, 4], np.int64))
    contour = ScanPath.uniform(np.hstack([corners, np.roll(corners, -1, axis=0)]), KIND_CONTOUR, power_w, 50.0)
    rows = 51.0 + np.arange(3.0)
    lines = np.stack([np.full(3, 51.0), rows, np.full(3, 49 + side_mm), rows], axis=1)
    lines[1] = lines[1][[2, 3, 0, 1]]
    hatch = ScanPath.uniform(lines, KIND_HATCH, 0.8 * power_w, 40.0)
    return JobLayer(layer, ScanPath.concat([contour, hatch]), 100.0)


def head(name: str = "square") -> JobHead:
    return JobHead(name, wire_small(), BENCH, f"{name}.stl", "0" * 64)


def write_small_job(path: Path, layers: int = 2) -> Path:
    write_job(path, head(), (square_layer(index) for index in range(layers)))
    return path
