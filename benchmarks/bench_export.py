"""Write scan vectors in the languages of others: frame2's G-code, and a long job as binary CLI.

    python benchmarks/bench_export.py

G-code: the shared frame2 part (500 layers, 0.97 M vectors, 58 MB) to a file on disk, from layers already planned and
from the STL. The bar is 3.5 times faster than PrusaSlicer's 3.2 s, which leaves 0.76 s beside the slicing.
CLI: layers of 100,000 vectors until the file has a gigabyte; the layers are planned once, so that writing is timed.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_slice import Parameters, frame2

from slicer.envelope import Envelope
from slicer.exporters.common_layer import Form, write_cli
from slicer.exporters.dialects import DIALECTS
from slicer.exporters.gcode import write_gcode_layers
from slicer.exporters.ovf import write_ovf
from slicer.exporters.source import Source
from slicer.exporters.table import write_csv, write_npz
from slicer.fill import fill
from slicer.job import JobHead
from slicer.job_layer import JobLayer
from slicer.layers import Layer, cut_layers
from slicer.mesh import place_on_plate
from slicer.parallel import in_order, workers_here
from slicer.recipe import load_recipe
from slicer.scan import KIND_HATCH, ScanPath

GCODE_BAR_S = 0.76  # 3.2 s / 3.5, less 0.15 s
STL_BAR_S = 3.2 / 3.5
CLI_BAR_MB_S = 150.0
CLI_VECTORS, CLI_LAYER = 60_000_000, 100_000
RUNS = 3
PLATE = Envelope(250.0, 250.0, 100.0, 200.0, 200.0, 500.0)


def head(name: str) -> JobHead:
    """What a file says of itself."""
    return JobHead(name, load_recipe("dsel_fibre"), PLATE, f"{name}.stl", "0" * 64)


def layers_of_frame2() -> tuple[int, Iterator[JobLayer]]:
    """From the STL on: how many layers, and the layers as they are filled."""
    layers = cut_layers(place_on_plate(frame2(), PLATE), 0.082)

    def planned(layer: Layer) -> JobLayer:
        return JobLayer(layer, fill(layer, Parameters()).path, 150.0)

    return len(layers), in_order(planned, layers, workers_here())


def stl_to_gcode(path: Path) -> None:
    """The whole way, without a job file in between."""
    count, layers = layers_of_frame2()
    write_gcode_layers(Source(head("frame2"), layers, count, None, "bench"), path)


def long_job() -> Source:
    """One layer of hatch lines, again and again."""
    rows = np.arange(CLI_LAYER)
    x, y = rows % 20 * 12.0, rows // 20 * 0.049
    path = ScanPath.uniform(np.round(np.stack([x, y, x + 11.5, y], axis=1), 3), KIND_HATCH, 100.0, 100.0)
    count = CLI_VECTORS // CLI_LAYER
    flat = Layer(0, 0.1, 0.1, np.zeros((0, 2)), np.zeros(1, np.int64))
    layers = (JobLayer(replace(flat, index=index, z_mm=0.1 * (index + 1)), path, 150.0) for index in range(count))
    return Source(head("long"), layers, count, CLI_VECTORS, "bench")


def run() -> dict[str, object]:
    """Medians of `RUNS` warm runs."""
    layers = list(layers_of_frame2()[1])
    vectors = sum(len(layer.path) for layer in layers)

    def source() -> Source:
        return Source(head("frame2"), layers, len(layers), vectors, "bench")

    forms = {f"gcode_{name}": lambda path, d=d: write_gcode_layers(source(), path, d) for name, d in DIALECTS.items()}
    forms |= {f"cli_{form.value}": lambda path, f=form: write_cli(source(), path, f, 0.005) for form in Form}
    forms |= {
        "stl_to_gcode": stl_to_gcode,
        "ovf": lambda path: write_ovf(source(), path),
        "csv": lambda path: write_csv(source(), path),
        "npz": lambda path: write_npz(source(), path),
    }
    walls: dict[str, float] = {}
    cpus: dict[str, float] = {}
    sizes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in forms.items():
            path = Path(folder) / name
            wall_s, cpu_s = [], []
            for _ in range(RUNS + 1):  # the first one warms up
                wall, cpu = time.perf_counter(), time.process_time()
                write(path)
                wall_s.append(time.perf_counter() - wall)
                cpu_s.append(time.process_time() - cpu)
            walls[name] = sorted(wall_s[1:])[RUNS // 2]
            cpus[name] = sorted(cpu_s[1:])[RUNS // 2]
            sizes[name] = path.stat().st_size / 1e6
        path = Path(folder) / "long.cli"
        wall, cpu = time.perf_counter(), time.process_time()
        write_cli(long_job(), path, Form.LONG)
        long_wall_s, long_cpu_s = time.perf_counter() - wall, time.process_time() - cpu
        size_mb = path.stat().st_size / 1e6
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gcode_s = walls["gcode_marlin"]
    return {
        "gcode_s": gcode_s,
        "vectors": vectors,
        "stl_to_gcode_s": walls["stl_to_gcode"],
        "wall_s": walls,
        "cpu_s": cpus,
        "file_mb": sizes,
        "long_cli": {
            "vectors": CLI_VECTORS,
            "file_mb": size_mb,
            "wall_s": long_wall_s,
            "cpu_s": long_cpu_s,
            "mb_per_s": size_mb / long_wall_s,
        },
        "peak_mb": peak_mb,
        "passed": gcode_s <= GCODE_BAR_S
        and walls["stl_to_gcode"] <= STL_BAR_S
        and size_mb / long_wall_s >= CLI_BAR_MB_S,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
