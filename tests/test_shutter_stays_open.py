"""A shutter that does not close: does the host own up to it?"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_helpers import run_faulty

from control.outcome import Status
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.small_job import small_job
from hil_sim.world.emulators.beam_head import SHUTTER, BeamHead

STICKS = {"kind": "shutter_stuck", "point": "beam.shutter"}


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_job(tmp_path_factory.mktemp("plate"))


@pytest.fixture(scope="module")
def opened_s(plate: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """When it first opened in a sound print, loop seconds."""
    moves: list[float] = []
    write = BeamHead._write

    def noted(self: BeamHead, register: int, value: int, t_s: float) -> None:
        if register == SHUTTER and value:
            moves.append(t_s)
        write(self, register, value, t_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BeamHead, "_write", noted)
        run_faulty(plate, tmp_path_factory.mktemp("sound") / "run")
    return moves[0]


def test_a_shutter_that_stays_open_is_owned_up_to(plate: Path, opened_s: float, tmp_path: Path) -> None:
    ended = run_faulty(plate, tmp_path / "run", STICKS | {"at_s": opened_s + 0.1, "for_s": 600.0})
    outcome = ended.result.outcome
    assert ended.result.verdict is Verdict.DETECTED and outcome is not None, ended.told
    assert outcome.status is Status.FAILED and outcome.not_safe == ["beam"], ended.told
    assert "shutter" in outcome.reason and "beam could not be made safe" in outcome.reason
