"""Does an emulated Marlin board, given a layer with waits, wait in the dark and expose every vector with its energy?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from job_helpers import BENCH, square_layer
from marlin_helpers import Host, with_board

from slicer.exporters.gcode import layer_program


@pytest.mark.parametrize("waiting", [{2: 0.5}, {0: 1.0, 3: 0.25, 5: 75.0}, {6: 2.0}])
def test_a_wait_is_dark_and_as_long_as_planned(waiting) -> None:
    path = square_layer(0).path
    wait_s = np.zeros(len(path))
    wait_s[list(waiting)] = list(waiting.values())
    path = replace(path, wait_s=wait_s)
    program = layer_program(replace(square_layer(0), path=path), BENCH)

    async def story(host: Host) -> None:
        host.head.set_emission_capability(host.loop.time(), program.power_set_w)
        for line in program.lines:
            if line.startswith(b"G4"):  # a wire that is slow just here: whatever stands, stands in the dark
                host.settle()
            await host.ask(line.decode())
        host.settle()
        done = host.optics.executed
        assert len(done) == len(path)
        for block, vector, joules in zip(done, path.vectors_mm, path.power_w * path.lengths_mm / path.speed_mm_s):
            np.testing.assert_allclose([*block.start_mm[:2], *block.end_mm[:2]], vector, atol=1e-9)
            assert block.energy_j == pytest.approx(joules, rel=1e-6)
        assert not host.optics.dwells
        for before, after, wait in zip(done, done[1:], wait_s[1:]):
            assert after.t0_s - before.t1_s >= wait
            assert after.t0_s - before.t1_s <= wait + 1.5, "nothing but the wait and the ways"

    with_board(story)
