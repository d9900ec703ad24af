"""Slice, offset and hatch the shared frame2 part in memory: 500 layers, 2 contours, 0.1 mm hatch, 67 deg a layer.

    python benchmarks/bench_slice.py

The part is pyslm_frameGuide.stl scaled (2, 2, 1): 96 x 214 x 41 mm. Its hatch must be as long as PySLM's (36.565 km)
and CuraEngine's (36.562 km) are, so that the same work is timed.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from slicer.fill import fill_layers
from slicer.layers import cut_layers
from slicer.mesh import Mesh, read_mesh
from slicer.offsets import tally
from slicer.scan import KIND_HATCH, ScanPath

BAR_S = 0.4  # an eighth of what the fastest other slicer takes, PrusaSlicer: 3.2 s
HATCH_KM, HATCH_KM_PART = 36.56, 0.006
RUNS = 5


@dataclass(frozen=True)
class Parameters:
    """The fill of the measurement."""

    spot_mm: float = 0.1
    power_w: float = 100.0
    scan_speed_mm_s: float = 100.0
    hatch_spacing_mm: float | None = 0.1
    hatch_rotation_deg: float = 67.0
    contours: int = 2
    contour_power_w: float = 100.0
    contour_speed_mm_s: float = 100.0
    jump_speed_mm_s: float = 100.0


def frame2() -> Mesh:
    """The brick-sized part of the slicer benchmarks."""
    here = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("MOONKILN_DATA", here.parent / "shared" / "data"))
    mesh, _ = read_mesh(data / "meshes" / "pyslm_frameGuide.stl")
    return replace(mesh, vertices_mm=mesh.vertices_mm * [2.0, 2.0, 1.0])


def plan(mesh: Mesh) -> list[ScanPath]:
    """What is timed: every layer of the part, cut, offset, hatched, and kept."""
    return [path for _, path in fill_layers(cut_layers(mesh, 0.082), Parameters())]


def run() -> dict[str, object]:
    """The median of `RUNS` warm runs, and whether it keeps the bar with the right hatch length."""
    mesh = frame2()
    plan(mesh)
    walls, cpus = [], []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        paths = plan(mesh)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    made, fell_back = tally.made, tally.fell_back
    hatches = [path.of_kind(KIND_HATCH) for path in paths]
    km = sum(hatch.length_mm for hatch in hatches) / 1e6
    wall_s, cpu_s = sorted(walls)[RUNS // 2], sorted(cpus)[RUNS // 2]
    return {
        "bench": "slice",
        "part": "frame2, 500 layers, 2 contours, 0.1 mm hatch",
        "wall_s": round(wall_s, 4),
        "cpu_s": round(cpu_s, 4),
        "layers": len(paths),
        "hatch_vectors": sum(map(len, hatches)),
        "hatch_km": round(km, 4),
        "offsets": made,
        "fell_back": fell_back,
        "bar": f"wall_s <= {BAR_S} and hatch_km within {HATCH_KM_PART:.1%} of {HATCH_KM}",
        "passed": wall_s <= BAR_S and abs(km / HATCH_KM - 1.0) <= HATCH_KM_PART and len(paths) == 500,
    }


if __name__ == "__main__":
    print(json.dumps(run()))
