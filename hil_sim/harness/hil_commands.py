"""The command group `hil`: hosts are put to the test, and what went wrong is repeated, made smaller, compared."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.command_line import ExitCode, Progress, json_option, say_json
from control.errors import UsageError
from hil_sim.harness.hil_shared import (
    FRAMES_SHOWN,
    KEPT_MAX,
    campaign_line,
    files_read,
    how_same,
    idle_faults,
    keep_bad,
    kept_or_told,
    nothing_left,
    or_usage,
    plain,
    report_of,
    say_counts,
    say_held,
    say_report,
    say_trial,
    subject_named,
    told,
)
from hil_sim.harness.options import FIRST_MAX, PACE, SEEDS_MAX, UNTIL

if TYPE_CHECKING:
    from hil_sim.harness.scenario import Mode

FILE = click.Path(path_type=Path)
JOB = click.option(
    "--job",
    type=FILE,
    help="The job to print, or the route to drive.  [default: the scenario's own part; of `bench` a plate of 10 x 5 mm;"
    " of a rover a short lane]",
)
HOST = click.option("--host", metavar="MODULE:NAME", help="A host of yours, a callable.  [default: moonkiln's]")
HOST_IN_ANY_TIME = click.option(
    "--host",
    metavar="MODULE:NAME|COMMAND",
    help="A host of yours: a callable, or (with --mode wire) a command.  [default: moonkiln's]",
)


@click.group()
def hil() -> None:
    """Put hosts to the test on emulated machines: scenarios, campaigns of faults, replays."""


@hil.command(
    epilog="""\b
Examples:
  moonkiln hil run short_feed
  moonkiln hil run short_feed --pace 10        (virtual time, held to ten times real time)
  moonkiln hil run short_feed --mode wire      (real time, on ptys and TCP)
  moonkiln hil run my_scenario.toml --job part.kiln --seed 7 --junit run.xml
  moonkiln hil run rover_bus_cut --job route.json
  moonkiln hil run short_feed --host my_host:print_part
  moonkiln hil run short_feed --mode wire --host "./my_host {job} {machine} {run_dir}"

Of a scenario with [random] it draws what `campaign` draws for that seed, which takes a few runs more.
0 unless an expectation of the scenario fails, one of its faults never strikes (and does not say may_idle), the oracle
says SILENT, HANG or UNSAFE, or the run crashes. DIR/run.mcap is for replay, shrink and diff."""
)
@click.argument("scenario", metavar="SCENARIO|FILE.toml")
@JOB
@HOST_IN_ANY_TIME
@click.option("--seed", type=click.IntRange(0), help="Another seed than the scenario's.")
@click.option("--mode", type=click.Choice(["virtual", "paced", "wire"]), help="[default: the scenario's own, virtual]")
@click.option("--pace", type=PACE, help="Of paced time: so many times real time.  [default: the scenario's own, 1]")
@click.option("--junit", type=FILE, help="Write JUnit XML there as well.")
@click.option("--runs", type=FILE, default=Path("runs"), show_default=True, help="Where the run's folder is made.")
@json_option
def run(
    scenario: str,
    job: Path | None,
    host: str | None,
    seed: int | None,
    mode: Mode | None,
    pace: float | None,
    junit: Path | None,
    runs: Path,
    as_json: bool,
) -> int:
    """Run one scenario, judge it, and hold it to what it expects."""
    from control.clock import run_id
    from control.run_command import new_run_dir
    from hil_sim.harness.campaign import row_of, with_drawn
    from hil_sim.harness.campaign_report import replay_line
    from hil_sim.harness.generator import load_generator
    from hil_sim.harness.keeping import run_and_keep
    from hil_sim.harness.pool import timed
    from hil_sim.harness.report_files import ReportFiles
    from hil_sim.harness.subjects import in_time, lifted, with_host

    files = ReportFiles(junit, None, None, None, runs)
    files.check(files_read(scenario, job))
    run_dir = new_run_dir(runs, run_id())
    with subject_named(scenario, job) as named, nothing_left(run_dir):
        timed_subject, mode, pace = or_usage(lambda: in_time(named, mode, pace))
        subject = or_usage(lambda: with_host(timed_subject, host))
        chosen = subject.own_seed if seed is None else seed
        bare, schedule = lifted(*or_usage(lambda: with_drawn(subject, load_generator(), chosen)))
        path = run_dir / "run.mcap"
        (trial, failed), wall_s = timed(
            lambda: kept_or_told(lambda: run_and_keep(bare, schedule, chosen, path, folder=run_dir, pace=pace))
        )
        row = row_of(trial, schedule, chosen, wall_s=wall_s, is_held=True)
        idle = idle_faults(schedule, trial)
        kept = {} if failed else {chosen: path}
        failed += files.write(report_of(bare, row), kept, "")
    if as_json:
        found: dict[str, Any] = {"mode": mode, "passed": row.is_good}
        found["expectations"] = [asdict(expectation) for expectation in row.expectations]
        found |= {"digest": row.digest} if mode != "wire" else {"late_s": trial.run.late_s if trial.run else None}
        found |= {"seed": chosen, "run": str(path) if kept else None, "never_struck": idle, "not_written": failed}
        say_json({**told(trial), **found})
    else:
        say_trial(trial)
        say_held(row.expectations)
        if mode != "wire":
            click.echo(f"digest {row.digest}")
        elif trial.run is not None:  # nothing repeats those bytes
            click.echo(f"timers were late by at most {trial.run.late_s:.3f} s")
        if kept:
            click.echo(f"replay: {replay_line(path, subject.to_dict())}")
    for sentence in failed:
        click.echo(f"moonkiln: {sentence}", err=True)
    if failed:
        return ExitCode.BAD_INPUT
    return ExitCode.OK if row.is_good else ExitCode.REFUSED


@hil.command(
    epilog="""\b
Examples:
  moonkiln hil campaign motion -n 2000 -j 2
  moonkiln hil campaign bench -n 2000 -j 2 --junit bench.xml --html bench.html
  moonkiln hil campaign rover -n 500 -j 2
  moonkiln hil campaign my_scenario.toml --job part.kiln -n 100
  moonkiln hil campaign bench --host my_host:print_part -n 200 -j 2
  moonkiln hil campaign bench -n 20000 --cluster tcp://10.0.0.1:8786

WHAT is `motion` (a 40-line program to the motion board alone), `bench` (a whole print of a small plate), `rover` (a
drive of a few metres), or a scenario.
0 only with no SILENT, HANG, UNSAFE or crashed run, and every seed that is run twice the same."""
)
@click.argument("what", metavar="WHAT")
@JOB
@HOST
@click.option("--machine", help="Of `motion`, `bench` and `rover`.  [default: bench; osr]")
@click.option("-n", "count", type=click.IntRange(1, SEEDS_MAX), default=100, show_default=True, help="How many seeds.")
@click.option("-j", "--jobs", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes.")
@click.option("--cluster", metavar="tcp://HOST:PORT", help="A Dask scheduler whose workers judge the seeds.")
@click.option("--first", type=click.IntRange(0, FIRST_MAX), default=0, show_default=True, help="The first seed.")
@click.option("--generator", "generator_path", type=FILE, help="Kinds and weights.  [default: the shipped ones]")
@click.option("--twice-every", type=click.IntRange(1), default=100, show_default=True, help="Run one in N twice.")
@click.option("--junit", type=FILE, help="Write JUnit XML there.")
@click.option("--html", type=FILE, help="Write a page there.")
@click.option("--parquet", type=FILE, help="Write one row a run there (needs pyarrow).")
@click.option("--kinds", type=FILE, help="Write a CSV row a kind of fault there.")
@click.option(
    "--keep", type=FILE, default=Path("runs/hil"), show_default=True, help=f"Where bad runs go, at most {KEPT_MAX}."
)
@json_option
def campaign(
    what: str,
    job: Path | None,
    host: str | None,
    machine: str | None,
    count: int,
    jobs: int,
    cluster: str | None,
    first: int,
    generator_path: Path | None,
    twice_every: int,
    junit: Path | None,
    html: Path | None,
    parquet: Path | None,
    kinds: Path | None,
    keep: Path,
    as_json: bool,
) -> int:
    """Throw what N seeds draw at a host, and judge every run."""
    from hil_sim.harness.campaign import CampaignBrokenError, CampaignInterrupted, run_campaign
    from hil_sim.harness.cluster import reach_cluster
    from hil_sim.harness.generator import SHIPPED, load_generator
    from hil_sim.harness.report_files import ReportFiles
    from hil_sim.harness.subjects import in_virtual_time, with_host

    if jobs > 1 and cluster is not None:
        raise UsageError(f"-j {jobs} and --cluster {cluster}: the cluster's workers judge, so leave -j")
    generator = or_usage(lambda: load_generator(generator_path or SHIPPED))
    files = ReportFiles(junit, html, parquet, kinds, keep)
    files.check(files_read(what, job, machine, generator_path))
    if cluster is not None:
        reach_cluster(cluster)
    again = campaign_line(what, job=job, machine=machine, host=host, generator=generator_path)
    with subject_named(what, job, machine) as named, Progress("judging", quiet=as_json) as line:
        subject = or_usage(lambda: with_host(in_virtual_time(named), host))

        def show(done: int, total: int, bad: int) -> None:
            line.update(done, total, f"{bad} bad" if bad else "")

        ended = ExitCode.OK
        try:
            report = or_usage(
                lambda: run_campaign(
                    subject,
                    generator,
                    range(first, first + count),
                    jobs=jobs,
                    cluster=cluster,
                    progress=show,
                    twice_every=twice_every,
                )
            )
        except CampaignInterrupted as stop:
            report, ended = stop.report, ExitCode.INTERRUPTED
        except CampaignBrokenError as error:
            report, ended = error.report, ExitCode.REFUSED
            click.echo(f"moonkiln: {error}", err=True)
        if report.cut:
            click.echo(f"moonkiln: {report.cut}", err=True)
        if not as_json:
            say_counts(report)
        kept: dict[int, Path] = {}
        failed = files.write(report, kept, again)  # before the bad ones are run again, which takes a while
        if report.bad:
            try:
                keep_bad(subject, report, keep, kept)
            except KeyboardInterrupt:
                ended = ExitCode.INTERRUPTED
                click.echo(f"moonkiln: interrupted; {len(kept)} of {len(report.bad)} bad runs are kept", err=True)
            failed = files.write(report, kept, again)
    for sentence in failed:
        click.echo(f"moonkiln: {sentence}", err=True)
    say_report(report, kept, again, as_json, failed)
    if ended is not ExitCode.OK:
        return ended
    if failed:
        return ExitCode.BAD_INPUT
    return ExitCode.OK if report.is_good else ExitCode.REFUSED


@hil.command(
    epilog="""\b
Examples:
  moonkiln hil replay runs/hil/seed-686.mcap
  moonkiln hil replay runs/hil/seed-686.mcap --until 12.5      (and what passed on the wires until then)
  moonkiln hil replay runs/hil/seed-686.mcap --pace 1          (as slow as life)

0 only if the run comes out the same, byte for byte. A run that was kept on the wire is made again in virtual time, and
must come to the same at the level of its job: verdict, reason, layers, blocks, energy."""
)
@click.argument("run_path", metavar="RUN.mcap", type=FILE)
@HOST
@click.option("--until", "until_s", type=UNTIL, help="Stop at that simulated second.")
@click.option("--pace", type=PACE, help="Hold the clock to N times real time.")
@json_option
def replay(run_path: Path, host: str | None, until_s: float | None, pace: float | None, as_json: bool) -> int:
    """Make a kept run again, and say whether the same comes out."""
    from hil_sim.harness.keeping import made_again
    from hil_sim.harness.machine_files import changed
    from hil_sim.harness.run_file import frames, read_run

    kept = or_usage(lambda: read_run(run_path))
    other = changed(kept.about.files)
    again = or_usage(lambda: made_again(kept, until_s=until_s, pace=pace, host=host))
    found: dict[str, Any] = {
        "same": again.is_same,
        "chunks": len(again.chunks),
        "apart": list(again.apart),
        "changed": other,
    }
    if again.trial is not None:
        found |= told(again.trial)
    if as_json:
        say_json(found)
    else:
        for text in frames(again.chunks, FRAMES_SHOWN):
            click.echo(text)
        if again.trial is not None:
            say_trial(again.trial)
        else:
            click.echo(f"stopped at {until_s:g} s; {len(again.chunks)} chunks until then, the last of them above")
        for sentence in other:
            click.echo(sentence)
        click.echo(how_same(kept.about, again))
    return ExitCode.REFUSED if again.is_same is False else ExitCode.OK


@hil.command(
    epilog="""\b
Examples:
  moonkiln hil shrink runs/hil/seed-686.mcap
  moonkiln hil shrink runs/hil/seed-686.mcap -o small.mcap --runs 1000"""
)
@click.argument("run_path", metavar="RUN.mcap", type=FILE)
@HOST
@click.option("-o", "--output", type=FILE, help="Where the small run goes.  [default: RUN-small.mcap]")
@click.option("--runs", "runs_max", type=click.IntRange(2), default=300, show_default=True, help="At most so many.")
@json_option
def shrink(run_path: Path, host: str | None, output: Path | None, runs_max: int, as_json: bool) -> int:
    """Look for the fewest and plainest faults, and the shortest job, that show what a kept run showed."""
    from hil_sim.harness.campaign_report import replay_line
    from hil_sim.harness.keeping import run_and_keep, schedule_of
    from hil_sim.harness.machine_files import changed
    from hil_sim.harness.report_files import check_run_file
    from hil_sim.harness.run_file import read_run
    from hil_sim.harness.shrink import shrink as shrunk_of
    from hil_sim.harness.subjects import scratch_folder

    kept = or_usage(lambda: read_run(run_path))
    target = output or run_path.with_name(f"{run_path.stem}-small.mcap")
    check_run_file(target, inputs=[run_path])
    for sentence in changed(kept.about.files):
        click.echo(sentence, err=True)
    with scratch_folder() as folder, Progress("shrinking", quiet=as_json) as line:
        subject = or_usage(lambda: kept.subject(folder, host))
        small = or_usage(
            lambda: shrunk_of(
                subject,
                schedule_of(kept),
                kept.about.seed,
                runs_max=runs_max,
                progress=lambda runs, schedule: line.update(runs, runs_max, f"{len(schedule.faults)} faults"),
            )
        )
        trial, failed = kept_or_told(
            lambda: run_and_keep(small.subject, small.schedule, small.seed, target, origins=kept.about.files)
        )
        length, whole = small.subject.length, subject.length
    faults = [fault.to_dict() for fault in small.schedule.faults]
    found = {**told(trial), "faults": faults, "length": length, "runs": small.runs, "whole": small.is_whole}
    if as_json:
        say_json({**found, "run": None if failed else str(target), "not_written": failed})
        return ExitCode.BAD_INPUT if failed else ExitCode.OK
    for fault in faults:
        click.echo(json.dumps(fault))
    say_trial(trial)
    click.echo(
        f"{len(kept.about.faults)} faults became {len(faults)}, a job of {whole} one of {length}, {small.runs} runs"
    )
    if not small.is_whole:
        click.echo(f"the bound of {runs_max} runs was reached: --runs N looks on", err=True)
    if failed:
        click.echo(f"moonkiln: {failed[0]}", err=True)
        return ExitCode.BAD_INPUT
    click.echo(f"replay: {replay_line(target, small.subject.to_dict())}")
    return ExitCode.OK


@hil.command(
    epilog="""\b
Examples:
  moonkiln hil diff seed-686.mcap seed-686-small.mcap

0 if both were told the same and came to the same: seed, schedule, verdict, reasons and digest; else 1. Another moonkiln
or Python is told of and does not count."""
)
@click.argument("first_path", metavar="A.mcap", type=FILE)
@click.argument("second_path", metavar="B.mcap", type=FILE)
@json_option
def diff(first_path: Path, second_path: Path, as_json: bool) -> int:
    """Name the first difference of two kept runs in the order of time."""
    from hil_sim.harness.run_diff import are_alike, differing_facts, first_difference, unlike_parts
    from hil_sim.harness.run_file import read_run

    first, second = or_usage(lambda: (read_run(first_path), read_run(second_path)))
    facts, difference = list(differing_facts(first, second)), first_difference(first, second)
    cut = [str(path) for path, run in ((first_path, first), (second_path, second)) if not run.about.log_is_whole]
    parts = unlike_parts(first, second)
    # of logs that were cut the digests speak, which cover them whole
    is_alike = are_alike(first, second) and (difference is None or bool(cut))
    if as_json:
        at = None if difference is None else {"at_s": difference.at_s, "alike": difference.alike}
        found = {"alike": is_alike, "facts": facts, "parts": parts, "cut": cut, "difference": at}
        say_json({**found, "lines": difference.lines() if difference else []})
        return ExitCode.OK if is_alike else ExitCode.REFUSED
    for fact in facts:
        click.echo(fact)
    for path in cut:
        click.echo(f"{path} holds only the first of what passed: it was too much to keep")
    if difference is not None:
        click.echo(f"alike for {difference.alike} events; they part at {difference.at_s:.6f} s:")
        for text in difference.lines():
            click.echo(text)
    elif is_alike:
        click.echo("both runs are alike to their end")
    else:
        click.echo("what is kept of wires and truth is alike to its end, and yet the runs are not the same")
    if parts:
        click.echo(f"by their digests they differ in {', '.join(parts)}")
    return ExitCode.OK if is_alike else ExitCode.REFUSED


@hil.command(
    epilog="""\b
Examples:
  moonkiln hil faults
  moonkiln hil faults stream --json"""
)
@click.argument("family", required=False)
@json_option
def faults(family: str | None, as_json: bool) -> int:
    """The catalogue: every kind of fault, where it strikes, and what a good host does."""
    from hil_sim.world.faults import FAMILIES

    if family is not None and family not in FAMILIES:
        raise UsageError(f"there is no family {family!r} of faults; there are {', '.join(FAMILIES)}")
    chosen = {name: kinds for name, kinds in FAMILIES.items() if family in (None, name)}
    if as_json:
        fields = ("models", "points", "args", "reaction", "bound", "test", "counted")
        table = {
            name: {kind: {field: plain(getattr(row, field)) for field in fields} for kind, row in kinds.items()}
            for name, kinds in chosen.items()
        }
        say_json({"families": table, "kinds": sum(map(len, chosen.values()))})
        return ExitCode.OK
    for name, kinds in chosen.items():
        click.echo(f"{name}:")
        for kind, row in kinds.items():
            click.echo(f"  {kind}: {row.models}")
            anchors = filter(None, (row.counted, "at_s, at_layer, at_light"))
            click.echo(f"    at {', '.join(row.points)}; anchors {', '.join(anchors)}")
            for name, arg in row.args.items():
                click.echo(f"    {name}: {arg.meaning}; {arg.domain} (left out: {arg.usual})")
            click.echo(f"    expected within {row.bound}: {row.reaction}")
    click.echo(f"{sum(map(len, chosen.values()))} kinds")
    return ExitCode.OK


@hil.command(epilog="\b\nExamples:\n  moonkiln hil schema > scenario.schema.json")
def schema() -> int:
    """The JSON Schema of scenario files, for editors: docs/scenario.schema.json, letter by letter."""
    from hil_sim.harness.scenario import schema_json

    click.echo(schema_json(), nl=False)
    return ExitCode.OK
