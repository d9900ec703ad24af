"""The `rover` command group: plan a route, drive it."""

from __future__ import annotations

import click

from control.commands.rover_drive import drive
from control.commands.rover_plan import plan
from control.commands.rover_survey import survey
from control.commands.rover_teleop import teleop


@click.group(
    epilog="""\b
Examples:
  moonkiln rover plan --map site.tif --from 120,80 --to 310,200 -o route.json
  moonkiln rover drive route.json --machine my_rover.toml
  moonkiln sim drive route.json --machine osr        (no hardware: an emulated rover)
  moonkiln rover teleop --machine my_rover.toml      (by hand)
"""
)
def rover() -> None:
    """Plan routes for rovers, and drive them."""


rover.add_command(survey)
rover.add_command(plan)
rover.add_command(drive)
rover.add_command(teleop)
