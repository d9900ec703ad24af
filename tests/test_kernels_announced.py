"""Whoever waits for the kernels to be compiled is told so, once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
