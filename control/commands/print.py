"""The commands that speak to a machine: print, resume, home, jog; and report, which reads what a run left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.command_line import json_option
from control.commands.arguments import check_output
from control.errors import UsageError
from control.run_command import conclude, new_run_dir, parse_urls, run_host

if TYPE_CHECKING:
    from control.operator import Operator
    from control.outcome import Outcome
    from control.run_teller import Progress as RunProgress

FILE = click.Path(path_type=Path)
MACHINE_HELP = "The machine file whose [urls] are spoken to."
URL_HELP = "Another place for one of its wires, e.g. motion=serial:/dev/ttyUSB0?baud=115200."


@click.command(
    "print",
    epilog="""\b
Examples:
  moonkiln print part.kiln --machine my_bench.toml
  moonkiln print part.kiln --machine my_bench.toml --dry-run
  moonkiln print part.kiln --machine bench --url motion=serial:/dev/ttyUSB0?baud=115200
  moonkiln sim serve --machine bench --dir D &  moonkiln print part.kiln --machine D/bench.toml

Ctrl-C stops the beam and the motion at once and leaves a run that `moonkiln resume` goes on with.
""",
)
@click.argument("job_path", metavar="JOB.kiln", type=FILE)
@click.option("--machine", required=True, metavar="NAME|FILE.toml", help=MACHINE_HELP)
@click.option("--url", "urls", multiple=True, metavar="NAME=URL", help=URL_HELP)
@click.option("--runs", type=FILE, default=Path("runs"), show_default=True, help="Where the run's folder is made.")
@click.option("--dry-run", is_flag=True, help="Move through the job with the beam disarmed, and read that back.")
@json_option
def print_job(job_path: Path, machine: str, urls: tuple[str, ...], runs: Path, dry_run: bool, as_json: bool) -> int:
    """Print JOB.kiln on a machine, layer by layer. REAL beam, heat and motion: be there."""
    from control.clock import run_id
    from control.host import print_host

    run_dir = new_run_dir(runs, run_id())
    overlay = parse_urls(urls)

    def host(operator: Operator, progress: Callable[[RunProgress], None]) -> Coroutine[Any, Any, Outcome]:
        return print_host(
            job_path, machine, run_dir, urls=overlay, dry_run=dry_run, operator=operator, progress=progress
        )

    return conclude(run_host(host, as_json), run_dir, as_json)


@click.command(
    epilog="""\b
Examples:
  moonkiln resume runs/20281102-141503
  moonkiln resume runs/20281102-141503 --url motion=serial:/dev/ttyUSB1?baud=115200
"""
)
@click.argument("run_dir", type=FILE)
@click.option("--url", "urls", multiple=True, metavar="NAME=URL", help=URL_HELP)
@json_option
def resume(run_dir: Path, urls: tuple[str, ...], as_json: bool) -> int:
    """Go on with the interrupted run in RUN_DIR, after what its journal and the machine together say."""
    from control.host import resume_host

    overlay = parse_urls(urls)

    def host(operator: Operator, progress: Callable[[RunProgress], None]) -> Coroutine[Any, Any, Outcome]:
        return resume_host(run_dir, urls=overlay, operator=operator, progress=progress)

    return conclude(run_host(host, as_json), run_dir, as_json)


@click.command(
    epilog="""\b
Examples:
  moonkiln report runs/20281102-141503
  moonkiln report runs/20281102-141503 --truth D -o report.html
"""
)
@click.argument("run_dir", type=FILE)
@click.option(
    "--truth", type=FILE, help="Folder with the simulated truth (truth.mcap and truth_maps.npz, or truth.npz)."
)
@click.option("-o", "--output", type=FILE, help="Page to write.  [default: RUN_DIR/report.html]")
def report(run_dir: Path, truth: Path | None, output: Path | None) -> None:
    """Write the report of a run, a print or a drive, as one self-contained page."""
    if output is not None:
        check_output(output, endings=(".html", ".htm"), what="a report")
    from control.rover.views.drive_report import is_drive, write_drive_report

    if is_drive(run_dir):
        click.echo(f"{write_drive_report(run_dir, truth_dir=truth, output=output)}")
        return
    from control.report import write_report

    click.echo(f"{write_report(run_dir, truth_dir=truth, output=output)}")


@click.command(
    epilog="""\b
Examples:
  moonkiln home --machine my_bench.toml
"""
)
@click.option("--machine", required=True, metavar="NAME|FILE.toml", help=MACHINE_HELP)
@click.option("--url", "urls", multiple=True, metavar="NAME=URL", help=URL_HELP)
def home(machine: str, urls: tuple[str, ...]) -> None:
    """Home the gantry and say where it stands."""
    position = asyncio.run(_move(machine, parse_urls(urls), None, None))
    click.echo("at X {:.2f} Y {:.2f} Z {:.2f} mm".format(*position))


@click.command(
    epilog="""\b
Examples:
  moonkiln jog --machine my_bench.toml --x 10
  moonkiln jog --machine my_bench.toml --x -5 --y 2.5 --speed 20
"""
)
@click.option("--machine", required=True, metavar="NAME|FILE.toml", help=MACHINE_HELP)
@click.option("--url", "urls", multiple=True, metavar="NAME=URL", help=URL_HELP)
@click.option("--x", "x_mm", type=float, default=0.0, help="Millimetres to the right.")
@click.option("--y", "y_mm", type=float, default=0.0, help="Millimetres to the back.")
@click.option("--speed", "speed_mm_s", type=click.FloatRange(0.1, 1000), default=20.0, show_default=True, help="mm/s.")
def jog(machine: str, urls: tuple[str, ...], x_mm: float, y_mm: float, speed_mm_s: float) -> None:
    """Move the gantry by a few millimetres, beam off, and say where it stands. Home it first after power-up."""
    if not (x_mm or y_mm):
        raise UsageError("give --x or --y: jog moves by what they say")
    position = asyncio.run(_move(machine, parse_urls(urls), (x_mm, y_mm), speed_mm_s))
    click.echo("at X {:.2f} Y {:.2f} Z {:.2f} mm".format(*position))


async def _move(
    machine: str, urls: dict[str, str], by_mm: tuple[float, float] | None, speed_mm_s: float | None
) -> tuple[float, float, float]:
    from control.assembly import open_motion
    from control.config import load_machine

    config = load_machine(machine).with_urls(urls)
    async with open_motion(config) as motion:
        if by_mm is None:
            await motion.home()
        else:
            motion.take_as_homed()
            await motion.jog(*by_mm, 0.0, speed_mm_s=min(speed_mm_s or 20.0, config.envelope.speed_mm_s_max))
        return await motion.position()
