"""Runs made to be kept, and kept runs made again."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from control.command_line import sentence_of
from control.errors import MoonkilnError, UsageError
from hil_sim.harness.digest import Chunk, RunDigest
from hil_sim.harness.job_truth import differences
from hil_sim.harness.machine_files import MachineFile, contents_of, renamed, sha256
from hil_sim.harness.run_file import About, KeptRun, RunFileError, write_run
from hil_sim.harness.subjects import Stopped, Subject, lifted, scratch_folder
from hil_sim.harness.trials import Trial, tried
from hil_sim.world.faults import Fault, FaultSchedule
from slicer.job import software_version


class NotKeptError(MoonkilnError):
    """A run was made, and no file could be left of it; `trial` is what it came to all the same."""

    exit_code = UsageError.exit_code

    def __init__(self, sentence: str, trial: Trial) -> None:
        super().__init__(sentence)
        self.trial = trial


@dataclass(frozen=True)
class Again:
    """A kept run that was made again, in virtual time. trial None: it was stopped before its end. chunks: what passed
    on its wires. is_same: byte for byte and at the same times; of one that was kept on the wire, at job level. None:
    there is no telling, for it was kept on the wire and is stopped before its end, or nothing passed until then. apart:
    in what it differs at job level.
    """

    trial: Trial | None
    chunks: tuple[Chunk, ...]
    is_same: bool | None
    apart: tuple[str, ...] = ()


def run_and_keep(
    subject: Subject,
    schedule: FaultSchedule,
    seed: int,
    path: Path,
    *,
    folder: Path | None = None,
    pace: float | None = None,
    origins: Mapping[str, MachineFile] | None = None,
) -> Trial:
    """Run a subject, and leave the run at `path`. `folder`: where the host's own files stay; `pace` as in
    `Subject.run`; `origins`: of a run that was kept, its machine files as they were named first.

    Raises:
        NotKeptError: the run was made, and could not be written.
        Others: as `tried`.
    """
    heard = RunDigest(keep=True)
    subject, schedule = lifted(subject, schedule)
    files = contents_of(subject)  # before the run, which may outlast them
    named = {role: MachineFile(place, sha256(content)) for role, (place, content) in files.items()} | dict(
        origins or {}
    )
    trial = tried(subject, schedule, seed, heard=heard, folder=folder, pace=pace)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_run(
            path,
            about(subject, schedule, seed, trial, log_is_whole=heard.log_is_whole, files=named),
            heard.log or [],
            trial.run.mcap if trial.run else None,
            subject.job_bytes(),
            {role: content for role, (_, content) in files.items()},
        )
    except OSError as error:
        raise NotKeptError(f"{path} was not written: {sentence_of(error)[0]}", trial) from error
    return trial


def about(
    subject: Subject,
    schedule: FaultSchedule,
    seed: int,
    trial: Trial,
    *,
    log_is_whole: bool = True,
    files: Mapping[str, MachineFile] | None = None,
) -> About:
    """What a run file says of a trial; log_is_whole: whether all that passed on its wires is kept with it; files: the
    machine files that are.
    """
    named = dict(files or {})
    data = renamed(subject.to_dict(), {role: Path(file.path).name for role, file in named.items()})
    if "job_path" in data:
        data["job_path"] = Path(data["job_path"]).name  # the job itself is attached
    return About(
        data,
        seed,
        [fault.to_dict() for fault in schedule.faults],
        trial.verdict,
        list(trial.reasons),
        whole_digest(trial),
        trial.run.digest if trial.run else None,
        software_version(),
        platform.python_version(),
        trial.run.job if trial.run else None,
        log_is_whole,
        named,
    )


def whole_digest(trial: Trial) -> str:
    """Of everything that a trial left."""
    return trial.run.digest.whole if trial.run else trial.digest


def schedule_of(kept: KeptRun) -> FaultSchedule:
    """The faults of a kept run beside its subject's own. Raises RunFileError for one that is none."""
    try:
        return FaultSchedule(tuple(Fault.from_dict(row) for row in kept.about.faults))
    except (TypeError, ValueError) as error:
        raise RunFileError(f"the run's schedule cannot be used: {error}") from error


def made_again(
    kept: KeptRun, *, until_s: float | None = None, pace: float | None = None, host: str | None = None
) -> Again:
    """Make a kept run again: the same subject, schedule and seed.

    Args:
        until_s: stop at that simulated time, and show what passed on the wires until then.
        pace: hold it to so many times real time.
        host: as `KeptRun.subject` has it.
    """
    heard = RunDigest(keep=True)
    schedule = schedule_of(kept)
    with scratch_folder() as folder:
        subject = kept.subject(folder, host)
        if until_s is not None:
            try:
                subject.run(schedule, kept.about.seed, heard=heard, until_s=until_s, pace=pace)
            except Stopped:
                chunks = tuple(chunk for chunk in heard.log or () if chunk.t_s <= until_s)
                is_same = None if kept.about.was_on_wire else _same(heard.log or (), kept.chunks, until_s)
                return Again(None, chunks, is_same)
            heard = RunDigest(keep=True)  # it had ended before that time: make it whole
        trial = tried(subject, schedule, kept.about.seed, heard=heard, pace=pace)
    chunks = tuple(heard.log or ())
    if not kept.about.was_on_wire:
        return Again(trial, chunks, whole_digest(trial) == kept.about.whole)
    if kept.about.job is None or trial.run is None or trial.run.job is None:
        return Again(trial, chunks, (trial.verdict, trial.reasons) == (kept.about.verdict, tuple(kept.about.reasons)))
    apart = tuple(differences(trial.run.job, kept.about.job))
    return Again(trial, chunks, not apart, apart)


def _same(chunks: Sequence[Chunk], kept: Sequence[Chunk], until_s: float) -> bool | None:
    """Whether the same passed at the same times before `until_s`, to the nanosecond that a file keeps; None: nothing
    did. What passed in that very nanosecond is left out: a run that is stopped there may have seen it or not.
    """
    end_ns = _ns(until_s)
    ours, theirs = ([(_ns(c.t_s), c.point, c.data) for c in row if _ns(c.t_s) < end_ns] for row in (chunks, kept))
    return ours == theirs if ours or theirs else None


def _ns(t_s: float) -> int:
    """Loop time as `write_run` keeps it."""
    return round(t_s * 1e9)
