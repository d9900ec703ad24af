"""The first run on a machine: is it said that kernels are compiled, and does a second process compile half of them?"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

from slicer import compiling, kernels
from slicer.kernels import resolving
from slicer.kernels.offsetting import offset_outline

SQUARE = np.array([(0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0)]), np.array([0, 4])

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


@pytest.mark.timeout(600)  # two processes compile everything, perhaps beside others
def test_the_process_beside_a_plan_compiles_what_the_plan_then_finds(tmp_path: Path) -> None:
    """Were a kernel given other types there than here, it would be compiled twice for nothing."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    trimesh.creation.box((20.0, 20.0, 8.0)).export(tmp_path / "box.stl")
    pipe, hold = os.pipe()  # it ends when the pipe closes
    subprocess.run([sys.executable, "-m", "slicer.compiling"], env=environment, stdin=pipe, check=True, timeout=300)
    os.close(pipe), os.close(hold)
    words = [sys.executable, "-c", PLAN, str(tmp_path / "box.stl"), str(tmp_path / "box.kiln")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    beside = {
        "raw_offset",
        "resolved_as_given",
        "corner_losses",
        "group_boxes",
        "inset_area",
        "parallel_vectors",
        "diagonal",
        "thin_loops",
    }
    beside |= {"trace_nearest", "vectors_fit", "scan_lines", "run_lines"}
    compiled_here = done.stdout.split()
    assert "offset_outline" in compiled_here, "this plan was to be the first one"
    assert not beside & set(compiled_here)


def test_nothing_is_compiled_beside_a_plan_that_finds_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def popen(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(compiling.subprocess, "Popen", popen)
    offset_outline(*SQUARE, np.array([(-1.0, -1.0)]), np.array([(64, 64)]), np.array([(0.01, 0.01)]))
    with compiling.compiled_beside():
        pass
    monkeypatch.setattr(compiling, "is_compiled", lambda: False)
    with pytest.raises(AssertionError, match="was started"), compiling.compiled_beside():
        pass


def test_a_cache_without_the_kernel_or_of_other_sources_does_not_have_it(tmp_path: Path) -> None:
    program = """
from pathlib import Path
from slicer import compiling
folder = Path(compiling.offset_outline._cache.cache_path)
print(compiling.is_compiled())
(folder / "offsetting.offset_outline-1.py311.nbi").touch()
print(compiling.is_compiled())
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_a_plan_goes_on_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "is_compiled", lambda: False)
    monkeypatch.setattr(compiling.sys, "executable", "/no/such/python")
    went_on = False
    with compiling.compiled_beside():
        went_on = True
    assert went_on


@pytest.mark.skipif(os.name != "posix", reason="a pipe that can be waited for")
def test_the_process_beside_a_plan_ends_by_itself_when_its_pipe_closes(tmp_path: Path) -> None:
    """Before its next kernel, here the second of minutes of work; and also when the plan is killed."""
    plan = f"""
import os, sys, time
from slicer import compiling
compiling.is_compiled = lambda: False
compiling.ROOT = {str(tmp_path)!r}
with compiling.compiled_beside():
    while not os.path.exists({str(tmp_path / "began")!r}):
        time.sleep(0.01)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
"""
    beside = f"""
import os, time
from pathlib import Path
here = Path({str(tmp_path)!r})
def step():
    (here / "began").touch()
    time.sleep(0.05)
def main():
    import importlib.util, sys
    spec = importlib.util.spec_from_file_location("real", {str(Path(compiling.__file__))!r})
    sys.path.insert(0, {str(compiling.ROOT)!r})
    sys.modules.pop("slicer", None); sys.modules.pop("slicer.compiling", None)
    real = importlib.util.module_from_spec(spec); spec.loader.exec_module(real)
    real.steps = lambda: [step] * 10_000
    real.main()
    (here / "ended").touch()
main()
"""
    (tmp_path / "slicer").mkdir()
    (tmp_path / "slicer" / "__init__.py").touch()
    (tmp_path / "slicer" / "compiling.py").write_text(beside)
    for way in ("ended", "killed"):
        (tmp_path / "began").unlink(missing_ok=True)
        (tmp_path / "ended").unlink(missing_ok=True)
        subprocess.run([sys.executable, "-c", plan, way], timeout=60, cwd=compiling.ROOT)
        for _ in range(200):
            if (tmp_path / "ended").exists():
                break
            time.sleep(0.05)
        assert (tmp_path / "ended").exists(), way


def test_a_kernel_is_stale_when_any_file_of_kernels_has_changed(tmp_path: Path) -> None:
    """Numba looks at a function's own file only, and compiles what it calls into it."""
    stamps = {kernel._cache._cache_file._source_stamp for kernel in (offset_outline, resolving.resolve)}
    assert stamps == {kernels.sources_sha256(kernels.HERE)}
    (tmp_path / "a.py").write_text("one = 1\n")
    before = kernels.sources_sha256(tmp_path)
    kernels.sources_sha256.cache_clear()
    (tmp_path / "a.py").write_text("one = 2\n")
    assert kernels.sources_sha256(tmp_path) != before
