"""The first plan on a machine: while this process compiles half of the kernels, a second one compiles the others.

Numba compiles one function at a time in a process and takes half a minute for all that a plan needs. A mesh is read
and cut first, filled and written next, so a process beside this one begins with that and leaves it in numba's cache.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slicer.kernels.offsetting import offset_outline


@contextmanager
def compiled_beside() -> Iterator[None]:
    """While the block runs, compile what a plan needs last in a process of its own, unless numba's cache has it.

    The process ends with the block. Nothing depends on it: what it has not compiled is compiled here.
    """
    if not sys.executable or is_compiled():
        yield
        return
    helper = subprocess.Popen(
        [sys.executable, "-m", "slicer.compiling"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        helper.kill()
        helper.wait()


def is_compiled() -> bool:
    """Whether numba's cache holds the kernel that takes longest."""
    folder = Path(offset_outline._cache.cache_path)  # type: ignore[attr-defined]  # numba tells it nowhere else
    return any(folder.glob("offsetting.offset_outline-*.nbi"))


def main() -> None:
    """Resolve, move, hatch, trace and pack a square, in the order in which a plan comes to the kernels of that."""
    import numpy as np

    from slicer.envelope import Envelope
    from slicer.hatching import HATCHES, HatchSettings
    from slicer.job import JobHead, JobLayer, pack_layer
    from slicer.kernels.narrowing import corner_losses
    from slicer.kernels.offsetting import raw_offset
    from slicer.kernels.resolving import POSITIVE, resolved_as_given
    from slicer.layers import Layer
    from slicer.offsets import thinned
    from slicer.ordering import trace_loops
    from slicer.recipe import load_recipe
    from slicer.scan import KIND_HATCH, ScanPath

    square = np.array([(20.0, 20.0), (40.0, 20.0), (40.0, 40.0), (20.0, 40.0)]), np.array([0, 4])
    resolved_as_given(*square, np.array([0, 1]), 30.0, 30.0, POSITIVE, np.zeros(1, np.bool_))
    raw_offset(*square, np.array([-1.0]), np.array([64]), np.array([0.01]))
    corner_losses(*square, 0.5)
    vectors = HATCHES["meander"](*square, 1.0, HatchSettings(1.0)).vectors_mm
    trace_loops(*thinned(square, 0.01), (0.0, 0.0))
    recipe, plate = load_recipe("dsel_fibre"), Envelope(250.0, 150.0, 100.0, 200.0, 100.0, 500.0)
    layer = Layer(0, 0.1, 0.1, *square)
    path = ScanPath.uniform(np.rint(vectors * 1000.0) / 1000.0, KIND_HATCH, 100.0, 50.0)
    pack_layer(JobLayer(layer, path, 100.0), JobHead("square", recipe, plate, "square.stl", "0" * 64))


if __name__ == "__main__":
    main()
