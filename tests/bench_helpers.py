"""A served bench and hosts as processes of their own, for tests on real ptys and TCP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPE = REPOSITORY / "tests" / "recipes" / "wire_small.toml"
START_S = 60.0


def moonkiln(*words: str | Path, **options: object) -> subprocess.Popen[str]:
    """The command as a process of its own, its output piped unless told otherwise."""
    settings: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY, **options}
    command = [sys.executable, "-m", "control.cli", *map(str, words)]
    return subprocess.Popen(command, **settings, env={**os.environ, "PYTHONUNBUFFERED": "1"})


@dataclass
class Bench:
    """A served bench: where it is, and what it announced."""

    folder: Path
    process: subprocess.Popen[str]
    devices: list[dict] = field(default_factory=list)
    machine: str = "bench"

    @property
    def machine_toml(self) -> Path:
        return self.folder / f"{self.machine}.toml"

    def url(self, device: str) -> str:
        return next(row["url"] for row in self.devices if row["device"] == device)

    def end(self) -> None:
        """Interrupt it and wait until the truth is on disk."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=START_S)
        assert self.process.returncode == 0, out + err


def start_bench(folder: Path, *options: str | Path, machine: str = "bench") -> Bench:
    """Serve the bench in `folder`; returns once a host may connect."""
    process = moonkiln("sim", "serve", "--machine", machine, "--dir", folder, *options)
    bench = Bench(folder, process, machine=machine)
    assert process.stdout is not None
    while True:
        line = process.stdout.readline()
        assert line, f"the bench did not start: {process.stderr.read() if process.stderr else ''}"
        row = json.loads(line)
        if "machine" in row:
            return bench
        bench.devices.append(row)


@contextlib.contextmanager
def served_bench(folder: Path, *options: str | Path, machine: str = "bench") -> Iterator[Bench]:
    """A bench that is gone afterwards, whatever happened."""
    bench = start_bench(folder, *options, machine=machine)
    try:
        yield bench
    finally:
        if bench.process.poll() is None:
            bench.process.kill()
            bench.process.communicate()


def wait_for_run(runs: Path, timeout_s: float = START_S) -> Path:
    """The folder of the one run in `runs`, as soon as its journal exists."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found = sorted(runs.glob("*/run.sqlite"))
        if found:
            return found[0].parent
        time.sleep(0.02)
    raise AssertionError(f"no run began in {runs} within {timeout_s} s")


def slice_plate(folder: Path, layers: int = 10, machine: str = "bench") -> Path:
    """The wire-mode job: a 20 x 10 mm plate of 0.5 mm layers."""
    from control.config import load_envelope
    from slicer.bricks import rectangular, write_stl
    from slicer.plan import plan_job
    from slicer.recipe import load_recipe

    mesh = folder / "plate.stl"
    write_stl(rectangular(20.0, 10.0, 0.5 * layers), mesh)
    plan_job(mesh, load_recipe(RECIPE), load_envelope(machine), folder / "plate.kiln")
    return folder / "plate.kiln"
