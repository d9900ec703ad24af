"""The command that makes bricks: a parametric part as a mesh file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.command_line import json_option, say_json
from control.commands.arguments import check_output, overrides_of
from control.errors import UsageError

if TYPE_CHECKING:  # bricks need numpy and manifold3d; `--help` does not
    from slicer.bricks import Brick, Kind

FILE = click.Path(path_type=Path)
FORMATS = (".stl", ".3mf")
PICTURES = (".png", ".jpg")


@click.command(
    epilog="""\b
Examples:
  moonkiln brick --list
  moonkiln brick osteomorphic -o part.stl
  moonkiln brick abeille -o part.stl --picture laid.jpg
  moonkiln brick mortise-tenon --set draft_deg=5 --set clearance_mm=0.8 -o part.3mf
  moonkiln brick paver --set shrinkage_percent=2,2,29 -o tile.stl --json
"""
)
@click.argument("kind", required=False)
@click.option("--list", "listing", is_flag=True, help="Say the kinds and their measures; of KIND alone if it is given.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A measure of the finished brick.")
@click.option("-o", "--output", type=FILE, help="A .stl or .3mf file.  [default: KIND.stl]")
@click.option("--picture", type=FILE, help="Draw the brick among its neighbours as well: a .png or .jpg file.")
@json_option
def brick(
    kind: str | None,
    listing: bool,
    settings: tuple[str, ...],
    output: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Make a brick that interlocks with its like: KIND by its measures, as a mesh file.

    Measures are those of the finished brick; `--set shrinkage_percent=...` enlarges what is printed by what sintering
    will take, along all axes or `x,y,z`.
    """
    from slicer.bricks import KINDS, make_brick

    if listing:
        if settings or output is not None or picture is not None:
            raise UsageError("--list makes no brick: leave --set, -o and --picture, or leave --list")
        names = list(KINDS) if kind is None else [make_brick(kind).kind]  # an unknown kind gets the same sentence
        _say_kinds({name: KINDS[name] for name in names}, as_json)
        return
    if kind is None:
        raise UsageError(f"which kind of brick? Name one of {', '.join(KINDS)}; `moonkiln brick --list` describes them")
    output = output or Path(f"{kind}.stl")
    made = make_brick(kind, overrides_of(settings, "clearance_mm=0.8"))
    check_output(output, endings=FORMATS, what="a brick")
    if picture is not None:
        check_output(picture, endings=PICTURES, what="a picture")
    _write(made, output, picture)
    _say_brick(made, output, picture, as_json)


def _write(made: Brick, output: Path, picture: Path | None) -> None:
    from slicer.bricks import write_3mf, write_stl

    if output.suffix.lower() == ".3mf":
        write_3mf(made.mesh, output)
    else:
        write_stl(made.mesh, output)
    if picture is not None:
        from slicer.bricks.drawing import write_picture

        write_picture(made, picture)


# ---- sentences


def _say_kinds(kinds: dict[str, Kind], as_json: bool) -> None:
    from slicer.bricks.kinds import SHRINKAGE_KEY, SHRINKAGE_PERCENT_MAX

    if as_json:
        say_json({name: _kind_figures(kind) for name, kind in kinds.items()})
        return
    for name, kind in kinds.items():
        click.echo(f"{name}: {kind.meaning}")
        click.echo(f"  laid {kind.laying}")
        for measure in kind.measures:
            span = f"{measure.low:g} to {'under ' if measure.below_high else ''}{measure.high:g} {measure.unit}"
            click.echo(f"    {measure.key:20} {measure.default:>6g}  {span:20} {measure.meaning}")
        click.echo()
    span = f"0 to {SHRINKAGE_PERCENT_MAX:g} percent"
    click.echo(f"every kind:\n    {SHRINKAGE_KEY:20} {0:>6}  {span:20} what sintering takes; one number, or x,y,z")


def _kind_figures(kind: Kind) -> dict[str, Any]:
    from slicer.bricks.kinds import SHRINKAGE_KEY, SHRINKAGE_PERCENT_MAX

    measures: dict[str, Any] = {
        measure.key: {
            "unit": measure.unit,
            "default": measure.default,
            "low": measure.low,
            "high": measure.high,
            "below_high": measure.below_high,
            "meaning": measure.meaning,
        }
        for measure in kind.measures
    }
    measures[SHRINKAGE_KEY] = {
        "unit": "percent",
        "default": 0.0,
        "low": 0.0,
        "high": SHRINKAGE_PERCENT_MAX,
        "below_high": False,
        "meaning": "what sintering takes; one number, or x,y,z",
    }
    return {"meaning": kind.meaning, "laying": kind.laying, "measures": measures}


def _say_brick(made: Brick, output: Path, picture: Path | None, as_json: bool) -> None:
    from slicer.bricks import KINDS
    from slicer.mesh import judge

    _, printed = judge(made.mesh)
    _, finished = judge(made.finished())
    if as_json:
        say_json(
            {
                "path": str(output),
                "bytes": output.stat().st_size,
                "picture": None if picture is None else str(picture),
                "kind": made.kind,
                "measures": made.measures,
                "shrinkage_percent": made.shrinkage_percent,
                "triangles": printed.triangles,
                "printed": {"bounds_mm": printed.bounds_mm.tolist(), "volume_mm3": printed.volume_mm3},
                "finished": {"bounds_mm": finished.bounds_mm.tolist(), "volume_mm3": finished.volume_mm3},
                "laying": KINDS[made.kind].laying,
                "neighbours": {name: pose.tolist() for name, pose in made.neighbours().items()},
            }
        )
        return
    size, size_finished = (
        " x ".join(f"{edge:.2f}" for edge in report.bounds_mm[1] - report.bounds_mm[0])
        for report in (printed, finished)
    )
    click.echo(f"{output}: {made.kind}, {printed.triangles:,} triangles, {size} mm, {printed.volume_mm3:,.0f} mm3")
    if any(made.shrinkage_percent):
        taken = " x ".join(f"{percent:g}" for percent in made.shrinkage_percent)
        click.echo(
            f"  finished {size_finished} mm, {finished.volume_mm3:,.0f} mm3, once sintering has taken {taken} percent"
        )
    click.echo("  measures " + ", ".join(f"{key} {value:g}" for key, value in made.measures.items()))
    click.echo(f"  laid {KINDS[made.kind].laying}")
    if picture is not None:
        click.echo(f"{picture}: the brick and its neighbours, drawn apart")
