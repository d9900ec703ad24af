"""The command that writes a job in the languages of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.command_line import Progress, json_option, say_json
from control.commands.arguments import check_output
from control.commands.slice import FILE
from control.errors import UsageError

if TYPE_CHECKING:  # the exporters need numpy and numba; `--help` does not
    from slicer.exporters.source import Source, Written

FORMS = {
    "gcode": "G-code",
    "cli": "Common Layer Interface 2.0, binary",
    "cli-short": "the same in 16-bit numbers",
    "cli-ascii": "the same as text",
    "ovf": "Open Vector Format",
    "csv": "a line a vector",
    "npz": "a record a vector, for numpy",
}
CLI_FORMS = ("cli", "cli-short", "cli-ascii")
"""They count in units, and a table of parameters is written beside them."""

DIALECTS = ("marlin", "rrf", "grbl", "linuxcnc")  # those of slicer.exporters.dialects; a test holds them equal


@click.command(
    epilog="""\b
Examples:
  moonkiln export part.kiln --to gcode -o part.gcode
  moonkiln export part.kiln --to gcode --dialect grbl -o part.nc
  moonkiln export part.kiln --to cli -o part.cli
  moonkiln export part.kiln --to cli-short --unit 0.005 -o part.cli
  moonkiln export part.kiln --to ovf -o part.ovf
  moonkiln export part.kiln --to csv --json -o part.csv
"""
)
@click.argument("job_path", metavar="JOB.kiln", type=FILE)
@click.option(
    "--to",
    "form",
    type=click.Choice(list(FORMS)),
    default="gcode",
    show_default=True,
    help="; ".join(f"{name}: {words}" for name, words in FORMS.items()) + ".",
)
@click.option("--dialect", type=click.Choice(DIALECTS), help="Of G-code.  [default: marlin, as a print streams it]")
@click.option("--s-max", type=click.IntRange(1, 65_535), help="S of full power in G-code.  [default: the job's]")
@click.option("--unit", "unit_mm", type=float, metavar="MM", help="Of CLI's coordinates.  [default: 0.001]")
@click.option("--beam", type=click.IntRange(0, 255), help="Only what this head exposes.  [default: every head]")
@click.option("-o", "--output", type=FILE, required=True, help="File to write.")
@json_option
def export(
    job_path: Path,
    form: str,
    dialect: str | None,
    s_max: int | None,
    unit_mm: float | None,
    beam: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Write a job for others: as G-code exactly the lines that a print streams, comments apart."""
    for value, option, forms in (
        (dialect, "--dialect", ("gcode",)),
        (s_max, "--s-max", ("gcode",)),
        (unit_mm, "--unit", CLI_FORMS),
    ):
        if value is not None and form not in forms:
            raise UsageError(f"{option} is for --to {' and '.join(forms)}, not for {form}")
    check_output(output, inputs=(job_path,))
    from slicer.exporters.parameters import sidecar
    from slicer.exporters.source import Source
    from slicer.job import Job

    if form in CLI_FORMS:
        check_output(sidecar(output), inputs=(job_path,))
    with Job.open(job_path) as job, Progress("writing", quiet=as_json) as progress:
        source = Source.of_job(job, progress.update)
        if beam is not None:
            source = source.of_beam(beam)
        if s_max is not None:
            envelope = replace(source.head.envelope, s_max=s_max)
            source = replace(source, head=replace(source.head, envelope=envelope))
        written = _write(source, output, form, dialect or "marlin", unit_mm)
    _say_written(output, written, as_json)


def _write(source: Source, output: Path, form: str, dialect: str, unit_mm: float | None) -> Written:
    """Each exporter is loaded only when it is asked for."""
    if form == "gcode":
        from slicer.exporters.dialects import DIALECTS
        from slicer.exporters.gcode import write_gcode_layers

        return write_gcode_layers(source, output, DIALECTS[dialect])
    if form == "ovf":
        from slicer.exporters.ovf import write_ovf

        return write_ovf(source, output)
    if form in ("csv", "npz"):
        from slicer.exporters.table import write_csv, write_npz

        return (write_csv if form == "csv" else write_npz)(source, output)
    from slicer.exporters.common_layer import UNIT_MM, Form, write_cli

    forms = {"cli": Form.LONG, "cli-short": Form.SHORT, "cli-ascii": Form.ASCII}
    return write_cli(source, output, forms[form], UNIT_MM if unit_mm is None else unit_mm)


def _say_written(path: Path, written: Written, as_json: bool) -> None:
    figures: dict[str, Any] = {"vectors": written.vectors}
    if written.lines:
        figures["lines"] = written.lines
    size = path.stat().st_size
    if as_json:
        say_json({"path": str(path), "bytes": size, **figures, "notes": list(written.notes)})
        return
    told = "".join(f", {value:,} {name}" for name, value in figures.items())
    click.echo(f"{path}: {size / 1e3:,.0f} kB{told}")
    for note in written.notes:
        click.echo(f"note: {note}", err=True)
