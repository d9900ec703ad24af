"""How long a job will take on a machine, and on what."""

from __future__ import annotations

from pathlib import Path

import click

from control.command_line import json_option, say_json

FILE = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  moonkiln estimate part.kiln
  moonkiln estimate part.kiln --machine my_machine.toml --json | jq .total_s
"""
)
@click.argument("job_path", metavar="JOB.kiln", type=FILE)
@click.option(
    "--machine", default="bench", show_default=True, metavar="NAME|FILE.toml", help="Where it would be built."
)
@json_option
def estimate(job_path: Path, machine: str, as_json: bool) -> None:
    """Say how long a job takes on a machine: exposing, jumping, waiting, starved by the line, recoating."""
    from control.build_model import time_model
    from control.config import envelope_from, load_machine
    from slicer.build_time import job_time
    from slicer.job import Job
    from slicer.words import duration

    config = load_machine(machine)
    envelope = envelope_from(config)
    with Job.open(job_path) as job:
        time = job_time(job, time_model(config), envelope=envelope)
        sentences = [*envelope.covers(job.envelope), *time.sentences()]
    if as_json:
        say_json({"path": str(job_path), **time.to_dict(), "sentences": sentences})
        return
    for row in time.rows():
        seconds = "-" if row.seconds is None else duration(row.seconds)
        click.echo(f"  {row.what:20} {seconds:>12} {100 * row.share:5.1f} %")
    for sentence in sentences:
        click.echo(f"  note: {sentence}")
