"""The `rover` command group: plan a route, drive it."""

from __future__ import annotations

import click

from control.commands.rover_drive import drive


@click.group(
    epilog="""\b
Examples:
  moonkiln rover drive route.json --machine my_rover.toml
  moonkiln sim drive route.json --machine osr        (no hardware: an emulated rover)
"""
)
def rover() -> None:
    """Plan routes for rovers, and drive them."""


rover.add_command(drive)
