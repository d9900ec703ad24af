"""What every command that runs a host shares: the run's folder, Ctrl-C as the operator's stop, the closing lines.

`print` and `resume` use it on a stock loop, the simulator's commands on a virtual one.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from control.command_line import Progress, say_json, sentence_of
from control.errors import UsageError
from slicer.words import duration

if TYPE_CHECKING:
    from control.operator import Operator
    from control.outcome import Outcome
    from control.rover.drive_record import DriveStep
    from control.rover.outcome import DriveOutcome
    from control.run_teller import Progress as RunProgress

T = TypeVar("T")
HELD_SHOWN = 10

Host = Callable[["Operator", Callable[["RunProgress"], None]], Coroutine[Any, Any, "Outcome"]]


def new_run_dir(runs: Path, name: str) -> Path:
    """A folder of that name that does not exist yet: two runs in one second get a number."""
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        candidate = runs / f"{name}{suffix}"
        if not candidate.exists():
            return candidate
    raise UsageError(f"{runs} holds a hundred runs named {name}: choose another --runs folder")


def parse_urls(pairs: tuple[str, ...]) -> dict[str, str]:
    """`NAME=URL` words as a table. Raises UsageError for a word without '='."""
    found = {}
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not equals or not name or not url:
            raise UsageError(f"--url takes NAME=URL, not {pair!r}")
        found[name] = url
    return found


def run_host(host: Host, quiet: bool) -> Outcome:
    """Run a host on a stock loop, with Ctrl-C as the operator's stop and a progress line on stderr."""
    return asyncio.run(attended(host, quiet))


async def attended(host: Host, quiet: bool, *, every_s: float = 10.0) -> Outcome:
    """A print on the running loop, attended: Ctrl-C stops it, its progress is shown (plain lines every `every_s`)."""

    def words(p: RunProgress) -> tuple[int, int, str, float]:
        bed = f", bed {p.bed_temp_c:.0f} degC" if p.bed_temp_c is not None else ""
        return p.layer, p.layers, f"{p.doing}, {duration(p.remaining_s)} to go{bed}", p.share

    return await attended_as("printing", host, words, quiet, every_s)


async def attended_drive(
    host: Callable[..., Coroutine[Any, Any, DriveOutcome]], quiet: bool, *, every_s: float = 10.0
) -> DriveOutcome:
    """A drive on the running loop, attended in the same way."""

    def words(step: DriveStep) -> tuple[int, int, str, float]:
        share = min(max(step.progress_m / step.length_m, 0.0), 1.0)
        why = f", {step.action.lower().replace('_', ' ')}: {step.cause}" if step.cause else ""
        detail = f"{step.cross_track_m * 100:+.0f} cm beside, slip {step.slip:.0%}, battery {step.charge:.0%}{why}"
        return int(step.progress_m), math.ceil(step.length_m), detail, share

    return await attended_as("driving, m", host, words, quiet, every_s)


async def attended_as(
    label: str, host: Callable[..., Coroutine[Any, Any, T]], words: Callable[[Any], Any], quiet: bool, every_s: float
) -> T:
    """A host on the running loop: Ctrl-C asks its operator's stop, and `words` make its progress a line."""
    from control.operator import Operator

    operator = Operator()
    clock = asyncio.get_running_loop().time
    with Progress(label, quiet=quiet, clock=clock, every_s=every_s) as line, stop_on_signals(operator):
        return await host(operator, lambda p: line.update(*words(p)))


@contextlib.contextmanager
def stop_on_signals(operator: Operator) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP ask the operator's stop instead of breaking the loop in the middle of a write."""
    from control.operator import Intent

    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: the terminal or the ssh session has gone
    for number in signals:
        loop.add_signal_handler(number, operator.ask, Intent.STOP, f"stopped by {number.name}")
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def conclude(outcome: Outcome, run_dir: Path, as_json: bool, *, simulated: dict[str, Any] | None = None) -> int:
    """Say how a run ended, write its report, and return the exit code.

    `simulated`: the run's world is gone, so that resuming is not offered; what it holds is added to the JSON object.
    """
    import msgspec

    from control.outcome import Status
    from control.report import write_report

    page = _reported(write_report, run_dir)
    if as_json:
        written = None if page is None else str(page)
        say_json({"run_dir": str(run_dir), "report": written, **msgspec.to_builtins(outcome), **(simulated or {})})
        return outcome.exit_code
    totals = outcome.totals
    click.echo(
        f"{outcome.status.value}: {outcome.reason}\n{totals.layers} layers committed, {totals.lines_sent} lines sent,"
        f" {totals.blocks_claimed} vectors, {totals.energy_j / 1e3:.1f} kJ, {totals.polls} polls"
        f" in {duration(totals.duration_s)}"
    )
    for declared in outcome.declared:
        blocks = f"blocks {declared.first_block} to {declared.last_block}"
        click.echo(
            f"declared: layer {declared.layer} {declared.kind}, {blocks if declared.first_block >= 0 else 'whole'}"
        )
    click.echo(f"run: {run_dir}" + (f"\nreport: {page}" if page is not None else ""))
    if outcome.status is not Status.DONE and outcome.status is not Status.CANCELLED:
        again = f"go on with: moonkiln resume {run_dir}"
        click.echo(again if simulated is None else "its simulated world is gone: print it again", err=True)
    return outcome.exit_code


def conclude_drive(
    outcome: DriveOutcome, run_dir: Path, as_json: bool, *, simulated: dict[str, Any] | None = None
) -> int:
    """Say how a drive ended, write its report, and return the exit code."""
    import msgspec

    from control.rover.views.drive_report import write_drive_report

    page = _reported(write_drive_report, run_dir)
    if as_json:
        written = None if page is None else str(page)
        say_json({"run_dir": str(run_dir), "report": written, **msgspec.to_builtins(outcome), **(simulated or {})})
        return outcome.exit_code
    totals = outcome.totals
    click.echo(
        f"{outcome.status.value}: {outcome.reason}\n{outcome.progress_m:.1f} of {outcome.route_length_m:.1f} m,"
        f" beside the path {outcome.cross_track_rms_m * 100:.1f} cm rms, at most {outcome.cross_track_max_m * 100:.1f},"
        f" {totals.commands} commands, {totals.polls} polls, {totals.energy_wh:.1f} Wh"
        f" in {duration(totals.duration_s)}"
    )
    for held in outcome.held[:HELD_SHOWN]:
        click.echo(f"{held.action.lower().replace('_', ' ')} for {held.until_s - held.from_s:.0f} s: {held.sentence}")
    if len(outcome.held) > HELD_SHOWN:
        click.echo(f"and {len(outcome.held) - HELD_SHOWN} times more: {run_dir / 'outcome.json'}")
    click.echo(f"run: {run_dir}" + (f"\nreport: {page}" if page is not None else ""))
    return outcome.exit_code


def _reported(write: Callable[[Path], Path], run_dir: Path) -> Path | None:
    """The run's report; None, and told, if it cannot be written: how the run ended is told whatever becomes of it."""
    try:
        return write(run_dir)
    except Exception as error:
        click.echo(f"the report could not be written: {sentence_of(error)[0]}", err=True)
        click.echo(f"once that is mended: moonkiln report {run_dir}", err=True)
        return None
