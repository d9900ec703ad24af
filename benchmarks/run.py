"""Run the benchmarks, each in a process of its own, and print one table.

    python benchmarks/run.py                       all of them
    python benchmarks/run.py slice help            some
    python benchmarks/run.py --json FILE --strict  keep everything in one file; a missed bar is exit code 1

Each `bench_<name>.py` has a `run() -> dict`. Its whole result goes to `results/<name>.json`; FIGURES says which key of
it is the figure, and what its bar is. A bar that is missed on a busy machine says little: without --strict the exit
code is 0 then, and 1 only for a benchmark that could not run.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT_S = 900.0


@dataclass(frozen=True)
class Figure:
    """The one number of a benchmark: its key in the result, its unit, its bar if it has one, which way is better."""

    key: str
    unit: str
    bar: float | None
    higher_is_better: bool


FIGURES = {
    "slice": Figure("wall_s", "s for frame2, 500 layers", 0.4, False),
    "counter": Figure("million_s", "s, file to ScanPaths, 1.34 M triangles, 1,000 layers", 6.0, False),
    "export": Figure("gcode_s", "s for frame2's planned layers as G-code, 58 MB", 0.76, False),
    "hatch": Figure("vectors_per_s", "hatch vectors/s a core, 0.1 mm", 50e6, True),
    "order": Figure("nearest_cpu_s", "CPU s, nearest order of 1e5 vectors", 1.0, False),
    "stream": Figure("lines_per_s", "lines/s, journal on", 5000.0, True),
    "modbus": Figure("tcp_reads_per_s", "guarded Modbus TCP reads/s", 4000.0, True),
    "stop": Figure("gcode_latest_ms", "ms, the latest of 100 stops into a G-code stream", 10.0, False),
    "load": Figure("cpu_share", "of a core: 5 devices at 10 Hz, 200 lines/s, on the wire", 0.12, False),
    "virtual_time": Figure("sim_s_per_cpu_s", "simulated s per CPU s", 80.0, True),
    "virtual_links": Figure("sim_s_per_cpu_s", "simulated s per CPU s, links alone", 150.0, True),
    "virtual_bed": Figure("sim_s_per_cpu_s", "simulated s per CPU s, the bed in cells of 3 mm", 50.0, True),
    "idle": Figure("cpu_s", "CPU s, 30 simulated days of an idle bench", 0.2, False),
    "bed": Figure("cell_updates_per_s", "cell updates/s", 40e6, True),
    "route": Figure("field_ms", "ms, cost-to-go of 4.19 M cells", 270.0, False),
    "corridor": Figure("crop_ms", "ms, one path over 4.19 M cells", 60.0, False),
    "grid": Figure("dungeon_ms", "ms a query, 512 x 512 dungeon", 3.0, False),
    "repair": Figure("p95_ms", "ms, p95 of a repair, 4.19 M cells", 10.0, False),
    "sky": Figure("horizons_36_s", "s, horizons of 4.19 M cells x 36", 5.0, False),
    "scale": Figure("exponent", "power of cost against layers or vectors", 1.1, False),
    "big": Figure("cli_mb_per_s", "MB/s to binary CLI, a job of 1e8 vectors", 150.0, True),
    "campaign": Figure("motion_s", "s, a campaign of 2,000 motion seeds, 2 processes", 60.0, False),
    "drive": Figure("sim_s_per_cpu_s", "simulated s per CPU s, a rover", None, True),
    "shrink": Figure("median_s", "s, median, a campaign's finding made small", 30.0, False),
    "help": Figure("wall_s", "s for --help", 0.3, False),
}


@dataclass(frozen=True)
class Row:
    """One benchmark's line of the table. `ratio`: how many times better than the bar; below 1 it is missed."""

    name: str
    figure: float | None
    unit: str
    bar: float | None
    ratio: float | None
    verdict: str  # pass, MISSED or FAILED


def names() -> list[str]:
    """Every benchmark there is."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def measure(name: str) -> dict[str, Any]:
    """A benchmark's result, from a process of its own; {"error": sentence} where it could not run."""
    program = "import importlib, json, sys; print(json.dumps(importlib.import_module(sys.argv[1]).run()))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, f"bench_{name}"], capture_output=True, text=True, timeout=LIMIT_S, cwd=HERE
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {LIMIT_S:g} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def row_of(name: str, result: dict[str, Any]) -> Row:
    """The line of the table for a result; the benchmark's own `passed` can only make the verdict worse."""
    known = FIGURES.get(name)
    if "error" in result or (known is not None and known.key not in result):
        return Row(name, None, known.unit if known else "", known.bar if known else None, None, "FAILED")
    if known is None:
        return Row(name, None, "", None, None, "pass" if result.get("passed", True) else "MISSED")
    figure = float(result[known.key])
    if known.bar is None:
        return Row(name, figure, known.unit, None, None, "pass" if result.get("passed", True) else "MISSED")
    ratio = figure / known.bar if known.higher_is_better else known.bar / figure
    return Row(
        name, figure, known.unit, known.bar, ratio, "pass" if ratio >= 1 and result.get("passed", True) else "MISSED"
    )


def table(rows: list[Row]) -> str:
    """The table as text."""

    def number(value: float | None) -> str:
        return "-" if value is None else format(value, ",.3g" if abs(value) < 1000 else ",.0f")

    cells = [
        ("benchmark", "figure", "unit", "bar", "x bar", ""),
        *((r.name, number(r.figure), r.unit, number(r.bar), number(r.ratio), r.verdict) for r in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    is_right = (False, True, False, True, True, False)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_right, strict=True)
        ).rstrip()
        for line in cells
    )


def beside(results: dict[str, dict[str, Any]]) -> list[str]:
    """What benchmarks note beside their figures, and what hosts of others did in the same runs; a line each."""
    lines = []
    for name, result in results.items():
        lines += [f"{name}: {note}" for note in result.get("notes", [])]
        for peer in result.get("peers", []):
            if "ratio" in peer:
                lines.append(
                    f"{name}: {peer['who']} {peer['lines_per_s']:,.0f} lines/s, moonkiln {peer['ratio']:.3g} x"
                )
            else:
                why = f"skipped: {peer['skipped']}" if "skipped" in peer else f"could not run: {peer['error']}"
                lines.append(f"{name}: {peer['who']} {why}")
    return lines


def calls_per_s(calls: int = 2_000_000, rounds: int = 5) -> float:
    """Calls of an empty function per CPU second, the best of some rounds: a yardstick of machine and interpreter.

    Most of a simulated second is Python calls. The same code on the same machine is a fifth faster or slower with
    another build of the same CPython (with or without profile-guided optimisation), and no figure of it tells.
    """

    def nothing() -> None:
        return

    best_s = float("inf")
    for _ in range(rounds):
        begin_s = time.process_time()
        for _ in range(calls):
            nothing()
        best_s = min(best_s, time.process_time() - begin_s)
    return calls / best_s


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Run the benchmarks and print one table.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())}; all without any")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every result to one file")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a bar is missed")
    options = parser.parse_args(words)
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"there is no benchmark named {unknown[0]!r}; there are {', '.join(names())}")
    results, rows = {}, []
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    for name in options.names or names():
        print(f"{name} ...", file=sys.stderr, flush=True)
        results[name] = result = measure(name)
        rows.append(row_of(name, result))
        (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print("\n".join([table(rows), *beside(results)]))
    print(f"Python {platform.python_version()}, {calls_per_s() / 1e6:.1f} M empty calls per CPU s")
    for name, result in results.items():
        if "error" in result:
            print(f"{name} could not run: {result['error']}", file=sys.stderr)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    verdicts = {row.verdict for row in rows}
    return 1 if "FAILED" in verdicts or (options.strict and "MISSED" in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
