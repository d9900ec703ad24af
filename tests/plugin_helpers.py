"""A project of somebody's own with the pytest plugin installed as pip would: by the entry points of pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import pytest

PLUGIN = "moonkiln_hil" if entry_points(group="pytest11", name="moonkiln_hil") else "hil_sim.harness.pytest_plugin"
REPOSITORY = Path(__file__).resolve().parent.parent

LIAR = '''
from control.host import Outcome, Status
from control.outcome import Totals


def word(status):
    """An outcome that claims nothing but its status."""
    totals = Totals(layers=0, blocks_claimed=0, energy_j=0.0, lines_sent=0, polls=0, duration_s=0.0, sessions=1)
    return Outcome(
        status=status, reason="so it says", exit_code=0 if status is Status.DONE else 4,
        declared=[], layers=[], totals=totals, position_mm=None,
    )


async def liar(job, machine_toml, run_dir):
    """It says that it is done, and has done nothing: SILENT."""
    return word(Status.DONE)


async def coward(job, machine_toml, run_dir):
    """It stops before it begins: detected."""
    return word(Status.STOPPED)
'''


class Done(NamedTuple):
    """A pytest run's exit code and all that it said."""

    returncode: int
    stdout: str


Run = Callable[..., Done]


def runner_in(pytester: pytest.Pytester, name: str) -> Run:
    """`run(source, *words)`: pytest on a test file of that source, in pytester's folder, in this process."""

    def run(source: str, *words: str) -> Done:
        (pytester.path / name).write_text("import pytest\n" + source, encoding="utf-8")
        result = pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:xdist", "-p", "no:randomly", *words)
        return Done(int(result.ret), result.stdout.str() + result.stderr.str())

    return run


def install_entry_points(folder: Path) -> Path:
    """A folder that, on PYTHONPATH, makes this checkout's entry points those of an installed distribution."""
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    info = folder / "moonkiln_checkout-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moonkiln-checkout\nVersion: 0\n", encoding="utf-8")
    (info / "RECORD").write_text("", encoding="utf-8")
    table = {"pytest11": groups["pytest11"]}
    rows = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in entries.items()) for group, entries in table.items()]
    (info / "entry_points.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def environment(site: Path, **more: str) -> dict[str, str]:
    """The environment of a process that finds this checkout and its entry points, and nothing of an outer pytest."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    return {**inherited, "PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}", "PYTHONUNBUFFERED": "1", **more}


def run_pytest(folder: Path, site: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`pytest WORDS` in a folder, as a process of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    return subprocess.run(
        command, cwd=folder, env=environment(site, **more), capture_output=True, text=True, timeout=300, check=False
    )
