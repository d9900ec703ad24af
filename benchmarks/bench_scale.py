"""What a plan costs against its layers and against its vectors, over three decades of each: is it linear?

    python benchmarks/bench_scale.py

A plate of 60 x 60 mm with nine round holes. Layers: from 10 to 10,000 of them, hatched wide, so that cutting, offsets
and what is done once a layer cost the time. Vectors: ten layers with lines from 0.2 down to 0.0002 mm apart. Each row
is the least CPU time of a few runs, mesh in memory to ScanPaths that are dropped one after the other. The figure is
the exponent: by which power of ten the cost rises where layers or vectors rise tenfold, over the last two decades.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace

import manifold3d
import numpy as np
from bench_slice import Parameters

from slicer.fill import fill_layer
from slicer.layers import cut_layers
from slicer.mesh import Mesh

LAYERS = (10, 100, 1_000, 10_000)
SPACINGS_MM = (0.2, 0.02, 0.002, 0.0002)
HEIGHT_MM = 10.0
LEAST_S = 0.5
BAR_EXPONENT = 1.1


def plate() -> Mesh:
    """60 x 60 mm with nine holes of 12 mm, 64 corners each."""
    outline = manifold3d.CrossSection.square((60.0, 60.0))
    for i in range(9):
        outline -= manifold3d.CrossSection.circle(6.0, 64).translate((10.0 + 20.0 * (i % 3), 10.0 + 20.0 * (i // 3)))
    solid = manifold3d.Manifold.extrude(outline, HEIGHT_MM).to_mesh()
    return Mesh(np.asarray(solid.vert_properties[:, :3], np.float64), np.asarray(solid.tri_verts, np.int32), "plate")


def cost_s(mesh: Mesh, layers: int, parameters: Parameters) -> tuple[float, int]:
    """(least CPU seconds of a plan, vectors)."""

    def plan() -> int:
        return sum(len(fill_layer(layer, parameters)) for layer in cut_layers(mesh, HEIGHT_MM / layers))

    return _least(plan)


def _power(first: tuple[float, ...], last: tuple[float, ...], of: int) -> float:
    """With which power of column `of` the seconds rise. What a plan costs once makes it small from the first row."""
    return math.log(last[1] / first[1]) / math.log(last[of] / first[of])


def _least(work: Callable[[], int]) -> tuple[float, int]:
    best, made, spent = math.inf, 0, 0.0
    while spent < LEAST_S:
        started = time.process_time()
        made = work()
        took = time.process_time() - started
        best, spent = min(best, took), spent + took
    return best, made


def run() -> dict[str, object]:
    """Both tables, and the exponents."""
    mesh, parameters = plate(), Parameters()
    wide = replace(parameters, hatch_spacing_mm=2.0, contours=2)
    cost_s(mesh, 10, wide)
    rows, exponents = [], {}
    for name, jobs in (
        ("layers", [(count, wide) for count in LAYERS]),
        ("vectors", [(10, replace(parameters, hatch_spacing_mm=spacing, contours=0)) for spacing in SPACINGS_MM]),
    ):
        table = [(layers, *cost_s(mesh, layers, fill)) for layers, fill in jobs]
        rows += [
            {"against": name, "layers": layers, "vectors": vectors, "cpu_s": round(seconds, 5)}
            for layers, seconds, vectors in table
        ]
        of = 0 if name == "layers" else 2
        exponents[name] = max(_power(table[0], table[-1], of), _power(table[1], table[-1], of))
    return {
        "bench": "scale",
        "load_average": os.getloadavg()[0],
        "rows": rows,
        "layers_exponent": round(exponents["layers"], 3),
        "vectors_exponent": round(exponents["vectors"], 3),
        "exponent": round(max(exponents.values()), 3),
        "bar": f"exponent <= {BAR_EXPONENT}",
        "passed": max(exponents.values()) <= BAR_EXPONENT,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
