"""`moonkiln rover drive`: a route, driven by a real rover."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from control.command_line import json_option
from control.run_command import attended_drive, conclude_drive, new_run_dir, parse_urls

FILE = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  moonkiln rover drive route.json --machine my_rover.toml
  moonkiln rover drive route.json --machine osr --url wheels=serial:/dev/ttyUSB0?baud=115200
  moonkiln sim serve --machine osr --route route.json --dir D &  moonkiln rover drive route.json --machine D/osr.toml

Ctrl-C stops the wheels at once.
"""
)
@click.argument("route_path", metavar="ROUTE.json", type=FILE)
@click.option("--machine", required=True, metavar="NAME|FILE.toml", help="The rover's machine file.")
@click.option("--url", "urls", multiple=True, metavar="NAME=URL", help="Another place for one of its wires.")
@click.option("--runs", type=FILE, default=Path("runs"), show_default=True, help="Where the run's folder is made.")
@json_option
def drive(route_path: Path, machine: str, urls: tuple[str, ...], runs: Path, as_json: bool) -> int:
    """Drive ROUTE.json with a rover. It REALLY moves: be there, with your hand on its own switch."""
    from control.clock import run_id
    from control.host import drive_host

    run_dir, overlay = new_run_dir(runs, run_id()), parse_urls(urls)

    outcome = asyncio.run(
        attended_drive(
            lambda operator, progress: drive_host(
                route_path, machine, run_dir, urls=overlay, operator=operator, progress=progress
            ),
            as_json,
        )
    )
    return conclude_drive(outcome, run_dir, as_json)
