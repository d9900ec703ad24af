"""The first run on a machine: is it said that kernels are compiled, and does a second process compile half of them?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh

from slicer import compiling

PROGRAM = """
import numpy as np
from slicer.kernels import filling
filling.diagonal(np.zeros((1, 2)))
filling.diagonal(np.zeros((1, 2), np.float32))
"""


def test_compiling_is_said_once_and_never_again(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    cold, warm = (
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
        for _ in range(2)
    )
    assert cold.returncode == warm.returncode == 0, cold.stderr + warm.stderr
    assert cold.stderr.count("compiling kernels") == 1 and warm.stderr == ""


PLAN = """
import sys, time
from numba.core import event
import slicer.compiling
from slicer.plan import plan_job
from slicer.envelope import Envelope
from slicer.recipe import load_recipe

class Listener(event.Listener):
    def on_start(self, e):
        print(e.data["dispatcher"].py_func.__name__)
    def on_end(self, e):
        pass

event.register("numba:compile", Listener())
plan_job(sys.argv[1], load_recipe("dsel_fibre"), Envelope(250.0, 150.0, 100.0, 200.0, 100.0, 500.0), sys.argv[2])
"""


def test_the_process_beside_a_plan_compiles_what_the_plan_then_finds(tmp_path: Path) -> None:
    """Were a kernel given other types there than here, it would be compiled twice for nothing."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    trimesh.creation.box((20.0, 20.0, 8.0)).export(tmp_path / "box.stl")
    subprocess.run([sys.executable, "-m", "slicer.compiling"], env=environment, check=True, timeout=300)
    words = [sys.executable, "-c", PLAN, str(tmp_path / "box.stl"), str(tmp_path / "box.kiln")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    beside = {"raw_offset", "resolved_as_given", "corner_losses", "parallel_vectors", "diagonal", "thin_loops"}
    beside |= {"trace_nearest", "vectors_fit", "scan_lines", "run_lines"}
    compiled_here = done.stdout.split()
    assert "offset_outline" in compiled_here, "this plan was to be the first one"
    assert not beside & set(compiled_here)


def test_nothing_is_compiled_beside_a_plan_that_finds_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def popen(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(compiling.subprocess, "Popen", popen)
    monkeypatch.setattr(compiling, "is_compiled", lambda: True)
    with compiling.compiled_beside():
        pass
    monkeypatch.setattr(compiling, "is_compiled", lambda: False)
    with pytest.raises(AssertionError, match="was started"), compiling.compiled_beside():
        pass


def test_the_process_beside_a_plan_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    real = subprocess.Popen
    monkeypatch.setattr(compiling, "is_compiled", lambda: False)
    monkeypatch.setattr(
        compiling.subprocess, "Popen", lambda *words, **options: started.append(real(*words, **options)) or started[0]
    )
    with pytest.raises(KeyboardInterrupt), compiling.compiled_beside():
        assert started[0].poll() is None
        raise KeyboardInterrupt
    assert started[0].poll() is not None
