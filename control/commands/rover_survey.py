"""`moonkiln rover survey`: what a map holds for a rover."""

from __future__ import annotations

from pathlib import Path

import click

from control.command_line import Progress, json_option, say_json

FILE = click.Path(path_type=Path)


@click.command(
    epilog="""\b
Examples:
  moonkiln rover survey site.tif -o survey
  moonkiln rover survey site.tif --machine polar --from-utc 2028-11-02 --days 59 -o survey
"""
)
@click.argument("map_path", metavar="DEM", type=FILE)
@click.option("--machine", default="osr", show_default=True, metavar="NAME|FILE.toml", help="For which rover.")
@click.option("--from-utc", default="2028-11-02", show_default=True, metavar="DATE", help="Light from then on,")
@click.option("--days", type=click.FloatRange(0.25, 400), default=29.5, show_default=True, help="for so many days.")
@click.option("--georef", type=FILE, help="The georeference of a map that does not say where it lies (TOML).")
@click.option("--layer", type=click.IntRange(1), help="Which layer of a GeoTIFF holds the heights.")
@click.option("-o", "--output", required=True, type=FILE, help="Folder for pictures, GeoTIFFs and index.html.")
@json_option
def survey(
    map_path: Path,
    machine: str,
    from_utc: str,
    days: float,
    georef: Path | None,
    layer: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Slope, roughness, steps, light, radio and havens of a map, as pictures and GeoTIFFs."""
    from control.commands.arguments import check_output_folder
    from control.rover.config import load_rover
    from control.rover.ground.dem import read_dem
    from control.rover.ground.survey import FILES, settings_for
    from control.rover.ground.survey import survey as surveyed
    from control.rover.planning import plan_settings

    check_output_folder(output, FILES, inputs=(map_path, machine, georef))
    planned = plan_settings(load_rover(machine))
    settings = settings_for(planned.costs, planned.energy, planned.reserve, from_utc, days)
    dem = read_dem(map_path, georef=georef, layer=layer)
    with Progress("surveying", quiet=as_json) as progress:
        figures = surveyed(
            dem, settings, output, progress=lambda share: progress.update(round(100 * share), 100, "cells", None)
        )
    if as_json:
        say_json({"folder": str(output), **figures})
        return
    click.echo(
        f"{figures['map']}: {figures['cells'][0]} x {figures['cells'][1]} cells of {figures['cell_m']:g} m, mean slope"
        f" {figures['slope_mean_deg']} deg, {100 * figures['open_share']:.1f} % open to {machine}"
    )
    if "lit_fraction_most" in figures:
        x, y, share = figures["lit_fraction_most"]
        click.echo(
            f"best lit place {x:.0f},{y:.0f} m: {100 * share:.0f} % of the time; {len(figures['havens'])} havens"
        )
    for note in figures["notes"]:
        click.echo(note)
    click.echo(f"written: {output / 'index.html'}")
