"""STEP: a solid's exact surfaces, turned into triangles by gmsh in a process of its own.

gmsh is under the GPL and a large C++ library that reads hostile files: it is never loaded into this process, only run
as a program that leaves arrays behind, and stopped when it takes too long.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from slicer.errors import MeshError
from slicer.mesh_files import TRIANGLES_MAX, Triangles

STEP_TIME_S = 300.0
STEP_BYTES_MAX = 200_000_000
_CHILD = Path(__file__).with_name("step_triangles.py")


def read_step(path: Path, *, time_s: float = STEP_TIME_S) -> Triangles:
    """The surface of the solids in a STEP file, mm (gmsh converts the file's unit), 48 facets to a full turn.

    Raises:
        MeshError: gmsh is not installed, cannot read the file, finds no surface in it or takes longer than `time_s`.
    """
    if importlib.util.find_spec("gmsh") is None:
        raise MeshError(
            f"{path} cannot be read: STEP needs gmsh, which is not installed here. Install it with "
            "pip install 'moonkiln[step]', or export the part as 3MF or STL."
        )
    if path.stat().st_size > STEP_BYTES_MAX:
        raise MeshError(f"{path} is larger than {STEP_BYTES_MAX // 1_000_000} MB; export the part as 3MF or STL.")
    with tempfile.TemporaryDirectory(prefix="moonkiln-step-") as folder:
        out = Path(folder) / "triangles.npz"
        # -P: the folder of the child's file holds names of other programs' modules
        command = [sys.executable, "-P", str(_CHILD), str(path.resolve()), str(out)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=time_s
            )
        except subprocess.TimeoutExpired:
            raise MeshError(
                f"{path}: gmsh was stopped after {time_s:g} s; export the part as 3MF or STL instead."
            ) from None
        if done.returncode != 0:
            said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            what = said[-1].strip()[:200] if said else f"it ended with {done.returncode}"
            raise MeshError(f"{path} is no STEP solid, or is damaged: gmsh says: {what}")
        try:
            with np.load(out, allow_pickle=False) as arrays:
                vertices, faces = arrays["vertices"], arrays["faces"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise MeshError(f"{path}: gmsh left no triangles behind ({error}).") from error
    if len(faces) > TRIANGLES_MAX:
        raise MeshError(f"{path} comes to {len(faces)} triangles, more than {TRIANGLES_MAX}; export it as an STL.")
    return Triangles(vertices.astype(np.float64), faces.astype(np.int64), mm_per_unit=1.0)
