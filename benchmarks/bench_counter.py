"""Cut, offset and fill the shared counter plate: 304 x 304 x 26 mm with many holes, where contours cost the time.

    python benchmarks/bench_counter.py

Three jobs, each the median of warm runs in a process of its own, so that the peak of memory is its own:
contours of 1,000 layers of the 84 k triangles in memory; the file to ScanPaths, 100 layers, 2 contours, 0.5 mm hatch;
and the same part subdivided to 1.34 M triangles, file to ScanPaths, 1,000 layers. On this part the hatch of 100 layers
is 6.645 km by PySLM and CuraEngine, so that the same work is timed.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_slice import Parameters

from slicer.fill import fill_layer
from slicer.layers import Layer, cut_layers
from slicer.mesh import Mesh, read_mesh
from slicer.offsets import tally
from slicer.parallel import in_order, workers_here
from slicer.scan import KIND_HATCH, ScanPath

BAR_CONTOURS_S, BAR_PATHS_S, BAR_MILLION_S, BAR_PEAK_MB = 0.125, 0.43, 6.0, 1500.0
HATCH_KM, HATCH_KM_PART = 6.645, 0.01
PARAMETERS = Parameters(spot_mm=0.5, hatch_spacing_mm=0.5)
RUNS = 5
JOBS = ("contours", "paths", "million")


def counter_stl() -> Path:
    """The shared part's file."""
    here = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("MOONKILN_DATA", here.parent / "shared" / "data"))
    return data / "meshes" / "trimesh_counter.unitsmm.stl"


def subdivide(source: Path, target: Path) -> None:
    """Write a mesh with each triangle cut into 16."""
    import trimesh

    mesh = trimesh.load(source, force="mesh")
    mesh.merge_vertices()
    for _ in range(2):
        mesh = mesh.subdivide()
    mesh.export(target)


def layers_of(mesh: Mesh, count: int) -> list[Layer]:
    """A mesh in so many layers."""
    return cut_layers(mesh, float(np.ptp(mesh.bounds_mm[:, 2])) / count)


def paths_of(layers: list[Layer]) -> list[ScanPath]:
    """Every layer filled, on as many threads as there are processors."""
    return list(in_order(lambda layer: fill_layer(layer, PARAMETERS), layers, workers_here()))


def job(name: str, stl: str) -> dict[str, object]:
    """One job's seconds, its peak of memory and what it made; called in a process of its own."""
    if name == "contours":
        mesh, _ = read_mesh(stl)
        return _timed(lambda: layers_of(mesh, 1000), RUNS)
    count = 100 if name == "paths" else 1000
    return _timed(lambda: paths_of(layers_of(read_mesh(stl)[0], count)), RUNS if name == "paths" else 3)


def _timed(work: Callable[[], list[Layer] | list[ScanPath]], runs: int) -> dict[str, object]:
    made = work()
    walls, cpus = [], []
    before = tally.made, tally.fell_back
    for _ in range(runs):
        del made
        wall, cpu = time.perf_counter(), time.process_time()
        made = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    paths = [one for one in made if isinstance(one, ScanPath)]
    hatch_mm = sum(path.of_kind(KIND_HATCH).length_mm for path in paths)
    return {
        "s": round(sorted(walls)[runs // 2], 4),
        "cpu_s": round(sorted(cpus)[runs // 2], 4),
        "peak_mb": round(peak_mb(), 1),
        "hatch_km": round(hatch_mm / 1e6, 4),
        "offsets": tally.made - before[0],
        "fell_back": tally.fell_back - before[1],
    }


def peak_mb() -> float:
    """The most memory this program held. (`ru_maxrss` would count what the process that started it held.)"""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return float(status.split("VmHWM:")[1].split()[0]) / 1e3
    except (OSError, IndexError):  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def run() -> dict[str, object]:
    """The figures of all jobs, and whether they keep their bars with the right hatch length."""
    result: dict[str, object] = {"bench": "counter", "threads": workers_here(), "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        fine = Path(folder) / "counter_1m.stl"
        subdivide(counter_stl(), fine)
        for name in JOBS:
            stl = fine if name == "million" else counter_stl()
            program = f"import bench_counter, json; print(json.dumps(bench_counter.job({name!r}, {str(stl)!r})))"
            done = subprocess.run(
                [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=Path(__file__).parent
            )
            result |= {f"{name}_{key}": value for key, value in json.loads(done.stdout.splitlines()[-1]).items()}
    limits = {
        "contours_s": BAR_CONTOURS_S,
        "paths_s": BAR_PATHS_S,
        "million_s": BAR_MILLION_S,
        "million_peak_mb": BAR_PEAK_MB,
    }
    result["bar"] = ", ".join(f"{key} <= {bar:g}" for key, bar in limits.items())
    km = float(str(result["paths_hatch_km"]))
    result["passed"] = abs(km / HATCH_KM - 1.0) <= HATCH_KM_PART and all(
        float(str(result[key])) <= bar for key, bar in limits.items()
    )
    return result


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
