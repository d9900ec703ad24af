"""Does everything that speaks of a real machine work where the simulator is not installed?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench_helpers import RECIPE, REPOSITORY

from slicer.bricks import rectangular, write_stl

# The command in an interpreter to which hil_sim cannot be found, as if its folder were not there.
RUN = """
import sys

class Taken:
    def find_spec(self, name, path=None, target=None):
        if name == "hil_sim" or name.startswith("hil_sim."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Taken())
sys.path.insert(0, sys.argv.pop(1))
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name.partition(".")[0] == "hil_sim" else find(name, *more)
from control.cli import main
try:
    main()
finally:
    assert not [name for name in sys.modules if name.partition(".")[0] == "hil_sim"]
"""


def moonkiln(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, str(REPOSITORY), *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert "Traceback" not in done.stderr and "No module named" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plate, and its job sliced without the simulator."""
    here = tmp_path_factory.mktemp("here")
    write_stl(rectangular(20.0, 10.0, 1.0), here / "plate.stl")
    sliced = moonkiln(here, "slice", "plate.stl", "--recipe", RECIPE, "-o", "plate.kiln")
    assert sliced.returncode == 0, sliced.stderr
    return here


def test_help_names_the_commands_that_are_left(folder: Path) -> None:
    done = moonkiln(folder, "--help")
    words = {line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert done.returncode == 0 and {"slice", "print", "resume", "report", "doctor"} <= words
    assert not {"sim", "demo"} & words
    gone = moonkiln(folder, "sim", "print", "plate.kiln")
    assert gone.returncode == 2 and "There is no command 'sim'" in gone.stderr


def test_a_job_is_sliced_verified_and_exported(folder: Path) -> None:
    told = moonkiln(folder, "info", "plate.kiln", "--json")
    assert told.returncode == 0 and json.loads(told.stdout)["intact"]
    assert moonkiln(folder, "export", "plate.kiln", "--to", "gcode", "-o", "plate.gcode").returncode == 0


def test_print_fails_only_for_the_ports_that_are_not_there(folder: Path) -> None:
    done = moonkiln(folder, "print", "plate.kiln", "--machine", "bench", "--runs", "runs")
    assert done.returncode == 3, done.stderr
    assert "usb-moonkiln_motion" in done.stdout + done.stderr
    (run_dir,) = (folder / "runs").iterdir()
    assert json.loads((run_dir / "outcome.json").read_text())["status"] == "failed"


def test_resume_fails_only_for_the_run_that_is_not_there(folder: Path) -> None:
    done = moonkiln(folder, "resume", "no-such-run")
    assert done.returncode == 2 and "no run to resume" in done.stderr


def test_doctor_and_report_need_no_simulator(folder: Path) -> None:
    assert moonkiln(folder, "doctor").returncode in (0, 1)
    done = moonkiln(folder, "report", "no-such-run")
    assert done.returncode == 2 and "no-such-run" in done.stderr
