"""The outcome that counts: the one that a host leaves in the run's folder, for that is what people and scripts read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from control.errors import MoonkilnError
from hil_sim.harness.oracle import Verdict

Left = TypeVar("Left")
Judged = TypeVar("Judged", bound=Any)


def kept_word(run_dir: Path, returned: Left | None, read: Callable[[Path], Left]) -> tuple[Left | None, list[str]]:
    """What a host that has ended left in `run_dir`, and sentences on where that is not what it returned.

    read: `read_outcome`, or a rover's. None: it returned nothing, or left nothing that can be read.
    """
    if returned is None:
        return None, []
    try:
        left = read(run_dir)
    except MoonkilnError as error:
        return None, [f"the host returned an outcome, and its outcome.json is not there to be read: {error}"]
    return left, [] if left == returned else ["the outcome.json that the host left is not what it returned"]


def with_doubts(judgement: Judged, doubts: Sequence[str], *, has_left: bool) -> Judged:
    """A judgement on what was left, where that is not what the host returned: one of the two is told to somebody who
    must not believe it. has_left: whether there is something left to be believed."""
    if not doubts:
        return judgement
    verdict = Verdict.SILENT if has_left and judgement.verdict.is_good else judgement.verdict
    return replace(judgement, verdict=verdict, reasons=(*doubts, *judgement.reasons))
