"""The slicing peers (PySLM, PrusaSlicer, CuraEngine, trimesh) and moonkiln on the same parts, in the same minutes.

    python benchmarks/peers.py [--install] [--scripts DIR] [--peers DIR]

DIR of the scripts holds those of the comparison (`setup.sh`, `bench_*.py`): `../shared/bench_peers`, or the variable
MOONKILN_PEERS. `--install` runs `setup.sh` where the peers are missing, as root. Each job is measured for every peer
and then for moonkiln, and a table of walls, CPU seconds, peaks of memory and ratios is printed. Without scripts or
peers this says what is missing and ends with exit code 0: a comparison that cannot be made is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCRIPTS = Path(os.environ.get("MOONKILN_PEERS", HERE.parent.parent / "shared" / "bench_peers"))
LIMIT_S = 1800.0


@dataclass(frozen=True)
class Comparison:
    """A job that peers and we do. `bars`: how many times faster we are to be than a peer, of those named."""

    job: str
    mesh: str
    ours: str  # an expression that gives (wall s, CPU s, peak MB)
    peers: tuple[tuple[str, str], ...]  # (name, words for the scripts; {mesh} and {peers} are put in)
    bars: dict[str, float]


FRAME2_FINE = (
    ("PrusaSlicer", "bench_bin.py prusa {mesh} 0.082 0.1 3 {peers}"),
    ("CuraEngine", "bench_bin.py cura {mesh} 0.082 0.1 3 {peers}"),
)
COMPARISONS = (
    Comparison(
        "frame2, 500 layers, 0.1 mm, to paths in memory (the first two: STL to G-code)",
        "frame2",
        "of_slice()",
        (*FRAME2_FINE, ("PySLM Hatcher", "bench_hatch.py Hatcher {mesh} 0.082 0.1 500 1")),
        {"PrusaSlicer": 8.0, "CuraEngine": 8.0, "PySLM Hatcher": 100.0},
    ),
    Comparison(
        "frame2, the same, to a G-code file",
        "frame2",
        "of_gcode()",
        FRAME2_FINE,
        {"PrusaSlicer": 3.5, "CuraEngine": 3.5},
    ),
    Comparison(
        "counter, 100 layers, 0.5 mm, file to paths (the first two: STL to G-code)",
        "counter",
        "of_counter('paths', {mesh!r})",
        (
            ("CuraEngine", "bench_bin.py cura {mesh} 0.258 0.5 3 {peers}"),
            ("PrusaSlicer", "bench_bin.py prusa {mesh} 0.258 0.5 3 {peers}"),
            ("PySLM Hatcher", "bench_hatch.py Hatcher {mesh} 0.258 0.5 100 3"),
        ),
        {"CuraEngine": 5.0, "PySLM Hatcher": 15.0},
    ),
    Comparison(
        "counter, contours of 1,000 layers",
        "counter",
        "of_counter('contours', {mesh!r})",
        (
            ("trimesh segments", "bench_slice.py trimesh_segments {mesh} 1000 3"),
            ("PySLM", "bench_slice.py pyslm {mesh} 1000 1"),
        ),
        {"trimesh segments": 20.0},
    ),
)


def of_slice() -> tuple[float, float, float]:
    """frame2 to paths in memory: (wall s, CPU s, peak MB)."""
    import bench_counter
    import bench_slice

    result = bench_slice.run()
    return float(str(result["wall_s"])), float(str(result["cpu_s"])), bench_counter.peak_mb()


def of_gcode() -> tuple[float, float, float]:
    """frame2 to a G-code file, the median of three after one to warm up."""
    import tempfile
    import time

    import bench_counter
    import bench_export

    walls, cpus = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(4):
            wall, cpu = time.perf_counter(), time.process_time()
            bench_export.stl_to_gcode(Path(folder) / "frame2.gcode")
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    return sorted(walls[1:])[1], sorted(cpus[1:])[1], bench_counter.peak_mb()


def of_counter(name: str, stl: str) -> tuple[float, float, float]:
    """A job of `bench_counter` on that file."""
    import bench_counter

    figures = bench_counter.job(name, stl)
    return float(str(figures["s"])), float(str(figures["cpu_s"])), float(str(figures["peak_mb"]))


def why_not(scripts: Path, peers: Path) -> str | None:
    """What is missing for a comparison, as a sentence; None if it can be made."""
    if not (scripts / "run_all.sh").is_file():
        return f"{scripts} holds no run_all.sh: give the folder of the comparison's scripts with --scripts"
    if not (peers / "v1" / "bin" / "python").is_file():
        return f"the peers are not installed in {peers}: run `PEERS={peers} bash {scripts / 'setup.sh'}` as root"
    return None


def install(scripts: Path, peers: Path) -> None:
    """Run the comparison's own set-up."""
    peers.mkdir(parents=True, exist_ok=True)
    subprocess.run(["bash", str(scripts / "setup.sh")], env={**os.environ, "PEERS": str(peers)}, check=True)


def measure(comparison: Comparison, scripts: Path, peers: Path) -> list[dict[str, Any]]:
    """A row for each peer, and one for us; a peer that could not run has an `error` instead of figures."""
    mesh = peers / "work" / f"{comparison.mesh}.stl"
    python = peers / "v1" / "bin" / "python"
    rows = []
    for name, words in comparison.peers:
        script, *rest = (word.format(mesh=mesh, peers=peers) for word in words.split())
        try:
            figures = _json_of([str(python), str(scripts / script), *rest], scripts)
            wall, cpu, peak = figures["median_s"], figures["cpu_s"], figures["rss_peak_mb"]
            rows.append({"job": comparison.job, "who": name, "wall_s": wall, "cpu_s": cpu, "peak_mb": peak})
        except (subprocess.SubprocessError, ValueError, KeyError, IndexError, TypeError) as error:
            rows.append({"job": comparison.job, "who": name, "error": str(error)})
    call = comparison.ours.format(mesh=str(mesh))
    wall, cpu, peak = _json_of([sys.executable, "-c", f"import json, peers; print(json.dumps(peers.{call}))"], HERE)
    for row in rows:
        if "wall_s" in row:
            row["ratio"] = round(row["wall_s"] / wall, 1)
            row["bar"] = comparison.bars.get(row["who"])
    return [*rows, {"job": comparison.job, "who": "moonkiln", "wall_s": wall, "cpu_s": cpu, "peak_mb": round(peak)}]


def _json_of(command: list[str], folder: Path) -> Any:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, text=True, start_new_session=True, **pipes) as running:
        try:
            said, wrong = running.communicate(timeout=LIMIT_S)
        except BaseException:
            os.killpg(running.pid, signal.SIGKILL)  # with the slicer that it started
            raise
    if running.returncode:
        last = (wrong.strip().splitlines() or [""])[-1]
        raise ValueError(f"exit code {running.returncode}: {last}")
    return json.loads(said.strip().splitlines()[-1])


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text, a job's under its name."""
    lines, job = [], ""
    for row in rows:
        if row["job"] != job:
            job = row["job"]
            lines += ["", job, f"  {'':<18}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'times':>8}{'bar':>6}"]
        if "error" in row:
            lines.append(f"  {row['who']:<18}could not run: {row['error']}")
            continue
        ratio = f"{row['ratio']:>8.1f}" if "ratio" in row else ""
        bar = "" if row.get("bar") is None else f"{row['bar']:>6g}{'' if row['ratio'] >= row['bar'] else '  MISSED'}"
        lines.append(f"  {row['who']:<18}{row['wall_s']:>9.3f}{row['cpu_s']:>9.3f}{row['peak_mb']:>9.0f}{ratio}{bar}")
    return "\n".join(lines[1:])


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Measure the slicing peers, and moonkiln beside them.")
    parser.add_argument("--install", action="store_true", help="install the peers where they are missing (root)")
    parser.add_argument("--scripts", type=Path, default=SCRIPTS, help="where setup.sh and bench_*.py are")
    parser.add_argument("--peers", type=Path, default=HERE / "results" / "peers", help="where the peers are installed")
    options = parser.parse_args(words)
    scripts, peers = options.scripts.resolve(), options.peers.resolve()
    missing = why_not(scripts, peers)
    if missing and options.install and (scripts / "setup.sh").is_file() and hasattr(os, "geteuid") and not os.geteuid():
        install(scripts, peers)
        missing = why_not(scripts, peers)
    if missing:
        print(missing)
        return 0
    python = peers / "v1" / "bin" / "python"
    if not (peers / "work" / "frame2.stl").is_file():
        subprocess.run([python, scripts / "make_inputs.py", peers / "work"], cwd=scripts, check=True, timeout=LIMIT_S)
    rows = []
    for comparison in COMPARISONS:
        print(f"{comparison.job} ...", file=sys.stderr, flush=True)
        rows += measure(comparison, scripts, peers)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "peers.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
