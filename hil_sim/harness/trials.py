"""One run that may fail in any way: a subject under a schedule, as a verdict and reasons that can be compared.

A host or a world that raises is CRASHED, one that stands still is HANG; a job, machine or scenario that nothing can be
run with is the caller's mistake, and raised. Nothing is swallowed: the error's own sentence is the reason.
"""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from control.errors import MoonkilnError, UsageError
from hil_sim.harness.digest import RunDigest
from hil_sim.harness.expectations import Expectation
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.scenario import ScenarioError
from hil_sim.harness.subjects import Run, Stopped, Subject, SubjectError
from hil_sim.virtual_time import SimError
from hil_sim.world import wire_point
from hil_sim.world.faults import FaultSchedule
from hil_sim.world.wiring import WorldError
from slicer.errors import SlicerError
from slicer.words import encodable

CRASHED = "CRASHED"
_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:e[-+]?\d+)?)")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
KIND_CHARS = 60


@dataclass(frozen=True)
class Trial:
    """A run that was made, or that could not come to its end. digest: of what was heard where there is no run."""

    verdict: str
    reasons: tuple[str, ...]
    run: Run | None
    digest: str = ""

    @property
    def is_good(self) -> bool:
        """A verdict that may pass; what a scenario expects is not asked."""
        return self.run is not None and self.run.verdict.is_good

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """How the scenario's expectations fared; none where the run broke off."""
        return self.run.expectations if self.run else ()

    @property
    def signature(self) -> tuple[str, str]:
        """Verdict and kind of reason: two trials of one signature show the same fault of the host."""
        return self.verdict, reason_kind(self.reasons[0]) if self.reasons else ""


def tried(
    subject: Subject,
    schedule: FaultSchedule,
    seed: int,
    *,
    heard: RunDigest | None = None,
    until_s: float | None = None,
    pace: float | None = None,
    folder: Path | None = None,
) -> Trial:
    """Run a subject under a schedule; `heard`, `until_s`, `pace` and `folder` as in `Subject.run`.

    Raises:
        WorldError: the schedule cannot be carried out in this world: the caller's mistake, and no finding.
        ScenarioError, SubjectError, SlicerError, MoonkilnError with the exit code of bad input, MemoryError: the same
            of the scenario, the job and the machine file, as long as nobody has said a word on any wire.
        Stopped: at `until_s`, or where `heard` wants no more of it.
    """
    heard = heard or RunDigest()
    try:
        run = subject.run(schedule, seed, heard=heard, until_s=until_s, pace=pace, folder=folder)
    except (WorldError, Stopped):
        raise
    except SimError as error:
        verdict, reason = Verdict.HANG.value, f"{type(error).__name__}: {error}"
    except Exception as error:
        if heard.chunks == 0 and is_mistake(error):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename.rpartition('/')[2]}:{last.name}"
        verdict, reason = CRASHED, f"{type(error).__name__} in {place}: {error}"
    else:
        return Trial(run.verdict.value, run.reasons, run)
    reason = encodable(reason)
    return Trial(verdict, (reason,), None, heard.close(None, None, [verdict, reason]).whole)


def is_mistake(error: Exception) -> bool:
    """Whether an error, before anything ran, is one of what was given: a job, a machine or a scenario."""
    if isinstance(error, MoonkilnError):
        return error.exit_code == UsageError.exit_code
    return isinstance(error, ScenarioError | SubjectError | SlicerError | MemoryError)


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """No wire says meanwhile that it loses bytes, which some faults are about: among thousands of runs nobody could
    tell of which one it speaks.
    """
    log = logging.getLogger(wire_point.__name__)
    was_disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was_disabled


def reason_kind(reason: str) -> str:
    """A reason without its numbers and quotations, its first words only: what makes two reasons alike."""
    return _NUMBER.sub("#", _QUOTED.sub("…", reason))[:KIND_CHARS]
