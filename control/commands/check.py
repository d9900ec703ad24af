"""What a plan is worth: where the area went, what the beam covers, and what no track reaches."""

from __future__ import annotations

from pathlib import Path

import click

from control.command_line import Progress, json_option, say_json
from control.commands.arguments import check_output
from control.commands.slice import layer_index

FILE = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  moonkiln check part.kiln
  moonkiln check part.kiln -o report.json
  moonkiln check part.kiln --layer 3 -o layer3.json
"""
)
@click.argument("job_path", metavar="JOB.kiln", type=FILE)
@click.option("-o", "--output", type=FILE, help="Write the whole report as JSON to this file.")
@click.option("--layer", type=click.IntRange(min=1), help="Of this layer only, with its map of energy; 1 is lowest.")
@json_option
def check(job_path: Path, output: Path | None, layer: int | None, as_json: bool) -> None:
    """Say what of a job's area is hatched, covered and missing, layer by layer, by looking at its vectors alone."""
    import json

    from slicer.dropped import feature_sentence
    from slicer.job import Job
    from slicer.quality import LayerQuality, PlanQuality, job_layer_quality, job_quality
    from slicer.whole_file import whole_file

    if output is not None:
        check_output(output, inputs=(job_path,))
    report: LayerQuality | PlanQuality
    with Job.open(job_path) as job:
        if layer is not None:
            report = job_layer_quality(job, layer_index(job, layer))
        else:
            with Progress("looking", quiet=as_json) as progress:
                report = job_quality(job, progress.update)
    if output is not None:
        with whole_file(output) as stream:
            stream.write(report.to_json())
    if as_json:
        say_json(json.loads(report.to_json()))
        return
    for sentence in report.sentences():
        click.echo(sentence)
    for feature in report.features:
        click.echo(f"  {feature_sentence(feature)}")
