"""The first plan on a machine: while this process compiles half of the kernels, a second one compiles the others.

Numba compiles one function at a time in a process and takes half a minute for all that a plan needs. A mesh is read
and cut first, filled and written next, so a process beside this one begins with that and leaves it in numba's cache.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slicer.kernels.offsetting import offset_outline

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def compiled_beside() -> Iterator[None]:
    """While the block runs, compile what a plan needs last in a process of its own, unless numba's cache has it.

    Nothing depends on that process: what it has not compiled is compiled here, and where it cannot be started the block
    runs all the same. It is never killed, for numba's cache must not be left half written: it ends by itself before its
    next kernel when the pipe to it closes, with the block or with this process, whatever ends it.
    """
    helper = None if os.name != "posix" or is_compiled() else _started()
    if helper is None:
        yield
        return
    try:
        yield
    finally:
        assert helper.stdin is not None
        helper.stdin.close()
        helper.wait()


def _started() -> subprocess.Popen[bytes] | None:
    with contextlib.suppress(OSError):  # a plan needs no second process
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "slicer.compiling"],  # -P: nothing from the user's folder is imported
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it either
        )
    return None


def is_compiled() -> bool:
    """Whether numba's cache holds the kernel that takes longest, made of these sources; or caches nothing at all."""
    cache = getattr(offset_outline, "_cache", None)
    index = getattr(cache, "_cache_file", None)  # numba tells it nowhere else
    return index is None or bool(index._load_index())


def main() -> None:
    """Resolve, move, hatch, trace and pack a square, in the order in which a plan comes to the kernels of that."""
    for step in steps():
        if select.select([sys.stdin], [], [], 0.0)[0]:  # the pipe has closed
            return
        step()


def steps() -> Iterator[Callable[[], object]]:
    """What compiles the kernels, one after the other; the plan waits for the first one, so it comes before imports."""
    import numpy as np

    from slicer.kernels.offsetting import raw_offset
    from slicer.kernels.resolving import POSITIVE, resolved_as_given

    square = np.array([(20.0, 20.0), (40.0, 20.0), (40.0, 40.0), (20.0, 40.0)]), np.array([0, 4])
    yield lambda: resolved_as_given(*square, np.array([0, 1]), 30.0, 30.0, POSITIVE, np.zeros(1, np.bool_))
    yield lambda: raw_offset(*square, np.array([-1.0]), np.array([64]), np.array([0.01]))

    from slicer.envelope import Envelope
    from slicer.hatching import HATCHES, HatchSettings
    from slicer.job import JobHead
    from slicer.job_layer import JobLayer
    from slicer.job_writing import pack_layer
    from slicer.kernels.narrowing import corner_losses, group_boxes, inset_area
    from slicer.layers import Layer
    from slicer.offsets import thinned
    from slicer.ordering import trace_loops
    from slicer.recipe import load_recipe
    from slicer.scan import KIND_HATCH, ScanPath

    recipe, plate = load_recipe("dsel_fibre"), Envelope(250.0, 150.0, 100.0, 200.0, 100.0, 500.0)
    path = ScanPath.uniform(np.array([(21.0, 21.0, 39.0, 21.0)]), KIND_HATCH, 100.0, 50.0)
    layer = JobLayer(Layer(0, 0.1, 0.1, *square), path, 100.0)
    yield lambda: corner_losses(*square, 0.5, 0.02, np.empty(1), np.empty(1))
    yield lambda: group_boxes(np.zeros((1, 4)), np.zeros(1, np.int64))
    yield lambda: inset_area(*square, 0.5, 0.02)
    yield lambda: HATCHES["meander"](*square, 1.0, HatchSettings(1.0))
    yield lambda: trace_loops(*thinned(square, 0.01), (0.0, 0.0))
    yield lambda: pack_layer(layer, JobHead("square", recipe, plate, "square.stl", "0" * 64))


if __name__ == "__main__":
    main()
