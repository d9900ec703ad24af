"""`moonkiln rover plan`: from here to there over a map."""

from __future__ import annotations

from pathlib import Path

import click

from control.command_line import json_option, say_json
from control.commands.arguments import check_output
from control.errors import MoonkilnError

FILE = click.Path(path_type=Path)


class Place(click.ParamType[tuple[float, float]]):
    """X,Y in metres, in the map's frame."""

    name = "X,Y"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Two finite numbers."""
        import math

        if isinstance(value, tuple):
            return value
        try:
            x, y = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no place: give x and y in metres, as in 120.5,80", param, ctx)
        if not (math.isfinite(x) and math.isfinite(y)):
            self.fail(f"{value!r} is no place: x and y must be finite", param, ctx)
        return x, y


@click.command(
    epilog="""\b
Examples:
  moonkiln rover plan --map site.tif --from 27210,-18060 --to 27900,-18400 -o route.json
  moonkiln rover plan --map site.tif --from 27210,-18060 --to 27900,-18400 -o route.html     (map and profile)
  moonkiln rover plan --map site.tif --from ... --to ... --sun 2028-11-02 --charge 0.8 -o route.json
"""
)
@click.option("--map", "map_path", required=True, metavar="DEM", type=FILE, help="Heights: .tif, .png, .csv or .npz.")
@click.option("--from", "start_m", required=True, type=Place(), help="Where it starts, m.")
@click.option("--to", "goal_m", required=True, type=Place(), help="Where it shall go, m.")
@click.option("--machine", default="osr", show_default=True, metavar="NAME|FILE.toml", help="The rover that drives it.")
@click.option(
    "--sun", "sun_utc", metavar="DATE", help="Departure (UTC, 2028-11-02 or 2028-11-02T06:00): plan by light."
)
@click.option("--comms", "with_earth", is_flag=True, help="Drive only where the Earth is heard (with --sun).")
@click.option("--charge", type=click.FloatRange(0, 1), help="Charge at the start, 0 to 1: is it enough?")
@click.option("--slope-max", "slope_max_deg", type=click.FloatRange(1, 60), help="Steepest ground, deg [rover's own].")
@click.option("--fence", metavar="'X,Y X,Y X,Y'", help="Corners of a polygon that must not be left.")
@click.option("--tag", "tags", multiple=True, metavar="ID,X,Y,DEG", help="An AprilTag there, facing so (ccw from +x).")
@click.option("--georef", type=FILE, help="The georeference of a map that does not say where it lies (TOML).")
@click.option("--layer", type=click.IntRange(1), help="Which layer of a GeoTIFF holds the heights.")
@click.option("-o", "--output", required=True, type=FILE, help="ROUTE.json, or ROUTE.html to look at (writes both).")
@json_option
def plan(
    map_path: Path,
    start_m: tuple[float, float],
    goal_m: tuple[float, float],
    machine: str,
    sun_utc: str | None,
    with_earth: bool,
    charge: float | None,
    slope_max_deg: float | None,
    fence: str | None,
    tags: tuple[str, ...],
    georef: Path | None,
    layer: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Plan the cheapest way that a rover can drive over a map of heights."""
    if output.suffix not in (".json", ".html"):
        raise MoonkilnError(f"{output}: a route is written as .json, or shown as .html", 2)
    route_path = output.with_suffix(".json")
    for written in {route_path, output}:
        check_output(written, inputs=(map_path, machine, georef))
    from control.rover.planning import PlanRequest, plan_request

    asked = PlanRequest(
        map_path=map_path,
        start_m=start_m,
        goal_m=goal_m,
        machine=machine,
        sun_utc=sun_utc,
        with_earth=with_earth,
        charge=charge,
        slope_max_deg=slope_max_deg,
        fence=_corners(fence),
        tags=tuple(_tag(word) for word in tags),
        georef=georef,
        layer=layer,
    )
    route = plan_request(asked, route_path, output if output.suffix == ".html" else None)
    p = route.predicted
    if as_json:
        say_json(
            {
                "route": str(route_path),
                "length_m": p.length_m,
                "duration_s": p.duration_s,
                "energy_wh": p.energy_wh,
                "slope_max_deg": max(p.slope_deg),
                "waits": [[wait.s_m, wait.for_s] for wait in route.waits],
                "havens": [[haven.x_m, haven.y_m, haven.lit_fraction] for haven in route.havens],
                "departs_utc": route.departs_utc,
            }
        )
        return
    click.echo(
        f"{route.name}: {p.length_m:.1f} m in {p.duration_s / 3600:.2f} h for {p.energy_wh:.1f} Wh, slopes to"
        f" {max(p.slope_deg):.1f} deg"
    )
    if route.departs_utc is not None:
        click.echo(f"  departs {route.departs_utc}, charge never under {100 * (p.charge_least or 0):.0f} %")
    for wait in route.waits:
        click.echo(f"  waits {wait.for_s / 3600:.1f} h at {wait.s_m:.0f} m")
    for haven in route.havens:
        click.echo(f"  haven at {haven.x_m:.0f},{haven.y_m:.0f}, lit {100 * haven.lit_fraction:.0f} % of the time")
    click.echo(f"written: {route_path}" + (f", {output}" if output != route_path else ""))


def _corners(fence: str | None) -> tuple[tuple[float, float], ...]:
    """The corners of a fence as the command line gives them."""
    if fence is None:
        return ()
    place = Place()
    corners = tuple(place.convert(word, None, None) for word in fence.split())
    if len(corners) < 3:
        raise MoonkilnError(f"a fence of {len(corners)} corners encloses nothing: give three or more", 2)
    return corners


def _tag(word: str) -> tuple[int, float, float, float]:
    """A tag as the command line gives it."""
    try:
        number, x, y, facing = word.split(",")
        tag = int(number), float(x), float(y), float(facing)
    except ValueError:
        tag = -1, 0.0, 0.0, 0.0
    if not 0 <= tag[0] <= 586:  # so many has the dictionary
        raise MoonkilnError(f"{word!r} is no tag: give number (0 to 586), x, y and direction, as in 7,120.5,80,180", 2)
    return tag
