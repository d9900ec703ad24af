"""Does a STEP file give the solid that it describes, and gmsh's failures a sentence?"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from slicer import mesh_step
from slicer.errors import MeshError
from slicer.mesh import read_mesh

needs_gmsh = pytest.mark.skipif(importlib.util.find_spec("gmsh") is None, reason="gmsh is not installed")


@needs_gmsh
def test_step_gives_the_solid_in_mm(shared_data):
    """127.0 x 63.5 x 34.9 mm and 190,532 mm3 (MANIFEST.md beside the meshes)."""
    _, report = read_mesh(shared_data / "meshes" / "trimesh_featuretype.step", unit="inch")
    np.testing.assert_allclose(np.ptp(report.bounds_mm, axis=0), [127.0, 63.5, 34.925], atol=0.01)
    assert report.volume_mm3 == pytest.approx(190_532, rel=5e-4)
    assert report.is_closed and report.bodies == 1 and report.sentences() == []


@needs_gmsh
@pytest.mark.parametrize(
    "data", [b"ISO-10303-21;", b"no STEP at all", b"ISO-10303-21;\nHEADER;\nENDSEC;\nDATA;\n#1=FOO("]
)
def test_what_gmsh_cannot_read_is_a_sentence(tmp_path, data):
    (tmp_path / "part.step").write_bytes(data)
    with pytest.raises(MeshError, match=r"part\.step is no STEP solid, or is damaged: gmsh says: .+") as caught:
        read_mesh(tmp_path / "part.step")
    assert "\n" not in str(caught.value)


def as_if_gmsh_were_here(monkeypatch, tmp_path: Path, program: str) -> Path:
    """A child of our own in gmsh's place, and a file for it."""
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(mesh_step, "_CHILD", child)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    part = tmp_path / "part.stp"
    part.write_text("ISO-10303-21;")
    return part


def test_without_gmsh_the_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    part = as_if_gmsh_were_here(monkeypatch, tmp_path, "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MeshError, match=r"pip install 'moonkiln\[step\]'"):
        read_mesh(part)


def test_a_reader_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    part = as_if_gmsh_were_here(monkeypatch, tmp_path, "import time; time.sleep(60)")
    with pytest.raises(MeshError, match="stopped after 0"):
        mesh_step.read_step(part, time_s=0.5)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.exit('no such shape')", "gmsh says: no such shape"),
        ("import os; os.abort()", "gmsh says: it ended with -6"),
        ("", "left no triangles behind"),
        ("import sys; open(sys.argv[2], 'wb').write(b'PK')", "left no triangles behind"),
    ],
)
def test_a_reader_that_dies_or_leaves_nothing_is_a_sentence(tmp_path, monkeypatch, program, says):
    with pytest.raises(MeshError, match=says):
        read_mesh(as_if_gmsh_were_here(monkeypatch, tmp_path, program))


def test_a_reader_that_works_is_believed_in_its_unit(tmp_path, monkeypatch):
    part = as_if_gmsh_were_here(
        monkeypatch,
        tmp_path,
        "import sys, numpy as np\n"
        "v = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9.0]])\n"
        "np.savez(sys.argv[2], vertices=v, faces=np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))",
    )
    _, report = read_mesh(part, unit="inch")
    assert report.volume_mm3 == pytest.approx(121.5) and report.is_closed
