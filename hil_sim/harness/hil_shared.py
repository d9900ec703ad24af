"""What the commands of `hil` share: subjects by name, bad runs kept, results told, mistakes of the caller's."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from control.command_line import say_json
from control.errors import UsageError

if TYPE_CHECKING:
    from hil_sim.harness.campaign import Report, Row
    from hil_sim.harness.expectations import Expectation
    from hil_sim.harness.keeping import Again
    from hil_sim.harness.run_file import About
    from hil_sim.harness.subjects import Subject
    from hil_sim.harness.trials import Trial
    from hil_sim.world.faults import FaultSchedule

T = TypeVar("T")
MOTION, BENCH, ROVER = "motion", "bench", "rover"
ROVERS_OWN = "osr"
KEPT_MAX = 20
FRAMES_SHOWN = 20


@contextlib.contextmanager
def subject_named(what: str, job: Path | None, machine: str | None = None) -> Iterator[Subject]:
    """The subject that a word names; what had to be made for it is gone afterwards.

    job: of a rover its route. machine: None is the bench, of `rover` the osr.
    """
    from hil_sim.harness.drive_subject import driven_scenario, rover_subject
    from hil_sim.harness.motion_subject import MotionSubject
    from hil_sim.harness.scenario import load_scenario
    from hil_sim.harness.small_job import bench_subject, scenario_subject
    from hil_sim.harness.subjects import scratch_folder

    if job is not None and (what == MOTION or not job.is_file()):
        raise UsageError(
            f"{MOTION} has a program of its own: leave --job" if what == MOTION else f"{job} does not exist"
        )
    bench = machine or BENCH
    if what == MOTION:
        yield MotionSubject(machine=bench)
        return
    with scratch_folder() as folder:
        if what == ROVER:
            yield or_usage(lambda: rover_subject(folder, machine=machine or ROVERS_OWN, route=job))
            return
        if what == BENCH:
            yield or_usage(lambda: bench_subject(folder, machine=bench, job=job))
            return
        scenario = or_usage(lambda: load_scenario(what))
        if machine is not None:
            raise UsageError(f"scenario {scenario.name} names its machine, {scenario.machine}: leave --machine")
        if scenario.drive is not None:
            yield or_usage(lambda: driven_scenario(scenario, job, folder))
        else:
            yield or_usage(lambda: scenario_subject(scenario, job, folder))


def files_read(what: str, *others: Path | str | None) -> list[Path | str | None]:
    """What a run of `what` reads, as `check_output` takes it: a scenario with its machine and world, and `others`."""
    from hil_sim.harness.scenario import load_scenario

    if what in (MOTION, BENCH, ROVER):
        return [*others]
    scenario = or_usage(lambda: load_scenario(what))
    return [what, scenario.machine, scenario.world, *others]


def campaign_line(what: str, *, job: Path | None, machine: str | None, host: str | None, generator: Path | None) -> str:
    """The command of a campaign, without its seeds."""
    options = {"--job": job, "--machine": machine, "--host": host, "--generator": generator}
    given = [(option, str(value)) for option, value in options.items() if value]
    return shlex.join(["moonkiln", "hil", "campaign", what, *(word for pair in given for word in pair)])


@contextlib.contextmanager
def nothing_left(run_dir: Path) -> Iterator[None]:
    """Take the folder of a run that could not begin away again: what was given is the caller's mistake."""
    from hil_sim.harness.trials import is_mistake

    new = [folder for folder in (run_dir, *run_dir.parents) if not folder.exists()]
    try:
        yield
    except Exception as error:
        if is_mistake(error):
            shutil.rmtree(run_dir, ignore_errors=True)
            for folder in new[1:]:
                with contextlib.suppress(OSError):  # somebody else's run is in it
                    folder.rmdir()
        raise


def keep_bad(subject: Subject, report: Report, folder: Path, kept: dict[int, Path]) -> None:
    """Run the first bad ones again with everything kept; `kept` takes them one by one, so that Ctrl-C loses none."""
    from hil_sim.harness.keeping import run_and_keep
    from hil_sim.harness.subjects import settled

    for row in report.bad[:KEPT_MAX]:
        path = folder / f"seed-{row.seed}.mcap"
        run_and_keep(settled(subject), row.schedule(), row.seed, path)
        kept[row.seed] = path


def kept_or_told(keep: Callable[[], Trial]) -> tuple[Trial, list[str]]:
    """A run that is to be kept, and why it could not be: what it came to is told in any case."""
    from hil_sim.harness.keeping import NotKeptError

    try:
        return or_usage(keep), []
    except NotKeptError as error:
        return error.trial, [str(error)]


def report_of(subject: Subject, row: Row) -> Report:
    """A report of one run alone."""
    import platform

    from hil_sim.harness.campaign import Report
    from slicer.job import software_version

    return Report(subject.to_dict(), subject.name, 0, software_version(), platform.python_version(), [row], [])


def say_counts(report: Report) -> None:
    """How many runs of a campaign ended how, one line."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in report.verdicts.items())
    click.echo(f"{report.subject_name}: {len(report.rows)} seeds: {counts}")


def say_report(
    report: Report, kept: Mapping[int, Path], again: str, as_json: bool, not_written: Sequence[str] = ()
) -> None:
    """How a campaign ended: as JSON for programs, for people what comes after the counts. not_written: why files were
    not.
    """
    from hil_sim.harness.campaign_report import first, replay_command, schedule_json
    from hil_sim.harness.run_file import frames, read_run

    if as_json:
        bad = [
            {"seed": row.seed, "verdict": row.verdict, "reason": first(row), "faults": row.faults}
            | {"replay": replay_command(report, row, kept, again)}
            for row in report.bad
        ]
        say_json(
            {
                "subject": report.subject_name,
                "seeds": len(report.rows),
                "verdicts": report.verdicts,
                "generator_version": report.generator_version,
                "run_twice": len(report.twice),
                "unrepeatable": [pair.seed for pair in report.unrepeatable],
                "bad": bad,
                "cut": report.cut,
                "not_written": list(not_written),
            }
        )
        return
    for row in report.bad[:KEPT_MAX]:
        click.echo(f"seed {row.seed} {row.verdict}: {first(row)}\n  {schedule_json(row)}")
        click.echo(f"  replay: {replay_command(report, row, kept, again)}")
    if kept:
        click.echo(f"what passed last in the run of seed {min(kept)}:")
        for text in frames(read_run(kept[min(kept)]).chunks, FRAMES_SHOWN):
            click.echo(f"  {text}")
    if len(report.bad) > KEPT_MAX:
        click.echo(f"and {len(report.bad) - KEPT_MAX} more")
    for pair in report.unrepeatable:
        click.echo(f"seed {pair.seed} is not repeatable: {pair.first} and, in another process, {pair.again}")
    if report.twice and not report.unrepeatable:
        click.echo(f"{len(report.twice)} of them were run twice, each the same byte for byte")


def told(trial: Trial) -> dict[str, Any]:
    """A trial as JSON holds it."""
    return {
        "verdict": trial.verdict,
        "reasons": list(trial.reasons),
        "sim_s": trial.run.sim_s if trial.run else None,
        "expectations": [asdict(expectation) for expectation in trial.expectations],
    }


def say_trial(trial: Trial) -> None:
    """Verdict and reasons, one line."""
    click.echo(f"{trial.verdict}: {'; '.join(trial.reasons[:5])}")


def say_held(expectations: Iterable[Expectation]) -> None:
    """How each of them fared, one a line: whether it held, what it is, and where it failed when and at what values."""
    for expectation in expectations:
        click.echo(f"{'held  ' if expectation.held else 'FAILED'} {expectation}")


def idle_faults(schedule: FaultSchedule, trial: Trial) -> list[str]:
    """The faults that never struck, as scenario files hold them: such a run has proved less than it says."""
    if trial.run is None:
        return []
    struck = {fault for _, fault in trial.run.struck}
    return [json.dumps(f.to_dict()) for f in schedule.faults if f not in struck]


def how_same(about: About, again: Again) -> str:
    """The sentence for what a replay came to."""
    import platform

    from hil_sim.harness.machine_files import paths_in
    from slicer.job import software_version

    if again.is_same is None and not about.was_on_wire:
        return "nothing passed until then: there is nothing to compare"
    if again.is_same is None:
        return "it was kept on the wire, and this is virtual time: only whole runs can be compared"
    if about.was_on_wire and again.is_same:
        return "the same at the level of its job as it was kept on the wire"
    if again.is_same:
        return "the same as it was kept"
    if about.was_on_wire:
        why = "; ".join(again.apart) or f"it was {about.verdict}: {'; '.join(about.reasons[:2])}"
        return f"NOT the same at the level of its job as it was kept on the wire: {why}"
    lost = [path for role, path in paths_in(about.subject).items() if role not in about.files]
    if lost:
        return f"NOT the same as it was kept: {' and '.join(lost)} was not kept with it, and may be another one now"
    here = f"moonkiln {software_version()} on Python {platform.python_version()}"
    return (
        f"NOT the same as it was kept, by moonkiln {about.software} on Python {about.python}; this is {here}: another"
        " commit or Python minor may run otherwise, the same one may not"
    )


def plain(value: Any) -> Any:
    """Mappings as dicts, and arguments as theirs, so that JSON takes them."""
    if hasattr(value, "items"):
        return {name: each.to_dict() if hasattr(each, "to_dict") else each for name, each in value.items()}
    return value


def or_usage(make: Callable[[], T]) -> T:
    """Data that cannot be used is the caller's mistake, in the sentence that says so."""
    from hil_sim.harness.generator import GeneratorError
    from hil_sim.harness.run_file import RunFileError
    from hil_sim.harness.scenario import ScenarioError
    from hil_sim.harness.shrink import ShrinkError
    from hil_sim.harness.subjects import SubjectError
    from hil_sim.world.wiring import WorldError

    try:
        return make()
    except (GeneratorError, RunFileError, ScenarioError, ShrinkError, SubjectError, WorldError) as error:
        raise UsageError(str(error)) from error
