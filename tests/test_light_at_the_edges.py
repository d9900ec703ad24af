"""Is light seen that nobody asked for, and that is over again: behind the shutter's opening, and before it has closed?

A source whose driver fails for some milliseconds shows nothing to whoever looks before and after. The head counts what
it gives from arming to closing, so both moments lie between two looks at its count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crash_helpers import run_faulty

from hil_sim.harness.oracle import Verdict
from hil_sim.harness.small_job import small_job
from hil_sim.world.emulators.beam_head import SHUTTER, BeamHead

SHORT_S, WATTS = 0.003, 200.0  # 0.6 J, of layers of 128 J


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_job(tmp_path_factory.mktemp("plate"))


@pytest.fixture(scope="module")
def shutter(plate: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """When it opened and closed for the second layer of a sound print, loop seconds. A fault that begins later changes
    nothing of it."""
    moves: list[tuple[float, int]] = []
    write = BeamHead._write

    def noted(self: BeamHead, register: int, value: int, t_s: float) -> None:
        if register == SHUTTER:
            moves.append((t_s, value))
        write(self, register, value, t_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BeamHead, "_write", noted)
        assert run_faulty(plate, tmp_path_factory.mktemp("sound") / "run").result.verdict is Verdict.EXACT
    opened = [t_s for t_s, value in moves if value == 1]
    assert len(opened) == 2, moves
    return {"opened": opened[1], "closed": next(t_s for t_s, value in moves if value == 0 and t_s > opened[1])}


def leak(from_s: float, to_s: float) -> dict[str, Any]:
    stuck = {"kind": "beam_stuck_on", "point": "beam.source", "args": {"watts": WATTS}}
    return stuck | {"at_s": from_s, "for_s": to_s - from_s}


def test_a_leak_that_ends_soon_after_the_shutter_has_opened_is_counted(
    plate: Path, shutter: dict[str, float], tmp_path: Path
) -> None:
    ended = run_faulty(plate, tmp_path / "run", leak(shutter["opened"] - 0.5, shutter["opened"] + SHORT_S))
    assert ended.result.verdict is Verdict.DETECTED, ended.told
    assert "with its shutter open and its fire off: its source is stuck on" in ended.told


def test_a_leak_that_begins_just_before_the_shutter_closes_is_counted(
    plate: Path, shutter: dict[str, float], tmp_path: Path
) -> None:
    ended = run_faulty(plate, tmp_path / "run", leak(shutter["closed"] - 0.4 * SHORT_S, shutter["closed"] + 0.1))
    assert ended.result.record.still, "no light fell: what it is there for has changed nothing"
    assert ended.result.verdict is Verdict.DETECTED, ended.told
    assert "with its fire off: its source is stuck on" in ended.told
