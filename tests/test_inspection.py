"""Which picture is a layer's powder told from, and is a camera that hangs seen whatever was spread?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from control import inspection
from control.config import load_machine
from control.inspection import Inspector
from hil_sim.harness.small_job import small_job
from slicer.job import Job


@pytest.mark.parametrize(
    ("before", "is_other_powder", "found"),
    [
        (None, True, None),  # nothing is known: a new job's first layer
        (b"older", True, b"older"),
        (b"older", False, None),  # the same layer spread again may keep its grain
        (b"now", False, b"now"),  # but no live camera gives the very same file twice
        (b"now", True, b"now"),
    ],
)
def test_what_the_powder_is_told_from(
    before: bytes | None,
    is_other_powder: bool,
    found: bytes | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes | None] = []

    def inspect(*_: Any, reference: bytes | None) -> None:
        asked.append(reference)

    monkeypatch.setattr(inspection, "inspect_powder", inspect)
    inspector = Inspector(load_machine("bench"))
    assert not inspector.has_seen
    if before is not None:
        inspector.remember(before, is_other_powder=is_other_powder)
    with Job.open(small_job(tmp_path, layers=1)) as job:
        for _ in range(2):
            asyncio.run(inspector.powder(b"now", job.layer(0)))
    assert asked == [found, b"now"] and inspector.has_seen
