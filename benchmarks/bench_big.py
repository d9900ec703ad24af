"""A plate of 1e8 vectors, from its mesh to a job file, and from there to binary CLI: time, memory, one core and two.

    python benchmarks/bench_big.py [VECTORS]

A block of 200 x 200 mm in islands of 2 mm with lines 0.05 mm apart: 400,000 vectors a layer. The job is planned and
written by one thread and by as many as there are processors, each in a process of its own, so that the peak of memory
is its own; both files are compared. It needs 120 bytes of disk a vector in the folder for temporary files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VECTORS = 100_000_000
LAYER_VECTORS = 400_000
BYTES_A_VECTOR = 120  # two jobs and a CLI file
THICKNESS_MM = 0.1
BAR_PEAK_MB, BAR_MB_S, BAR_CORES = 1000.0, 150.0, 1.6


def plan(stl: str, out: str, workers: int) -> dict[str, float]:
    """Plan and write the job; called in a process of its own."""
    from bench_counter import peak_mb

    from slicer.envelope import Envelope
    from slicer.plan import plan_job
    from slicer.recipe import load_recipe

    settings = {
        "hatch": "islands",
        "tile_mm": "2",
        "hatch_spacing_mm": "0.05",
        "spot_mm": "0.05",
        "layer_thickness_mm": str(THICKNESS_MM),
    }
    recipe = load_recipe("dsel_fibre", settings)
    plate = Envelope(250.0, 250.0, 100.0, 200.0, 200.0, 500.0)
    plan_job(Path(out).with_name("warm.stl"), recipe, plate, Path(out).with_name("warm.kiln"), workers=workers)
    wall, cpu = time.perf_counter(), time.process_time()
    manifest = plan_job(stl, recipe, plate, out, workers=workers)
    return {
        "s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mb": round(peak_mb(), 1),
        "vectors": manifest.vector_count,
        "file_mb": round(Path(out).stat().st_size / 1e6, 1),
    }


def export(kiln: str, out: str) -> dict[str, float]:
    """The job as binary CLI, long form; called in a process of its own."""
    from bench_counter import peak_mb

    from slicer.exporters.common_layer import Form, write_cli
    from slicer.exporters.source import Source
    from slicer.job import Job

    wall, cpu = time.perf_counter(), time.process_time()
    with Job.open(kiln) as job:
        write_cli(Source.of_job(job), Path(out), Form.LONG)
    wall_s = time.perf_counter() - wall
    size_mb = Path(out).stat().st_size / 1e6
    return {
        "s": round(wall_s, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mb": round(peak_mb(), 1),
        "file_mb": round(size_mb, 1),
        "mb_per_s": round(size_mb / wall_s, 1),
    }


def block(path: Path, layers: int) -> None:
    """A block of 200 x 200 mm, so many layers high."""
    import trimesh

    trimesh.creation.box((200.0, 200.0, layers * THICKNESS_MM)).export(path)


def _apart(call: str) -> dict[str, float]:
    program = f"import bench_big, json; print(json.dumps(bench_big.{call}))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def run(vectors: int = VECTORS) -> dict[str, object]:
    """The figures, and whether they keep their bars."""
    from slicer.parallel import workers_here

    result: dict[str, object] = {"bench": "big", "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < BYTES_A_VECTOR * vectors:
            raise SystemExit(f"{folder} has no room for {BYTES_A_VECTOR * vectors / 1e9:.0f} GB; set TMPDIR")
        block(folder / "block.stl", max(1, vectors // LAYER_VECTORS))
        block(folder / "warm.stl", 2)
        one, many, cli = folder / "one.kiln", folder / "many.kiln", folder / "long.cli"
        threads = workers_here()
        jobs = {"one": _apart(f"plan({str(folder / 'block.stl')!r}, {str(one)!r}, 1)")}
        jobs["many"] = _apart(f"plan({str(folder / 'block.stl')!r}, {str(many)!r}, {threads})")
        same = _sha256(one) == _sha256(many)
        one.unlink()
        jobs["cli"] = _apart(f"export({str(many)!r}, {str(cli)!r})")
    for job, figures in jobs.items():
        result |= {f"{job}_{key}": value for key, value in figures.items()}
    faster = jobs["one"]["s"] / jobs["many"]["s"]
    peak_mb = max(figures["peak_mb"] for figures in jobs.values())
    result |= {
        "threads": threads,
        "same_bytes": same,
        "cores_ratio": round(faster, 2),
        "peak_mb": peak_mb,
        "vectors_per_s": round(jobs["many"]["vectors"] / jobs["many"]["s"]),
        "bar": f"peak_mb <= {BAR_PEAK_MB:g}, cli_mb_per_s >= {BAR_MB_S:g}, cores_ratio >= {BAR_CORES} with two cores",
    }
    result["passed"] = (
        same
        and peak_mb <= BAR_PEAK_MB
        and jobs["cli"]["mb_per_s"] >= BAR_MB_S
        and (faster >= BAR_CORES or threads == 1)
    )
    return result


if __name__ == "__main__":
    print(json.dumps(run(int(float(sys.argv[1])) if len(sys.argv) > 1 else VECTORS), indent=2))
