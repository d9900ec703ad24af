"""The commands that need no machine: slice, info, preview."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.command_line import ExitCode, Progress, json_option, say_json
from control.commands.arguments import check_output, check_output_folder, overrides_of
from control.errors import MoonkilnError, UsageError

if TYPE_CHECKING:  # the slicer needs numpy and numba; `--help` does not
    from control.slice_each import Sliced
    from slicer.errors import SlicerError
    from slicer.job import Job, Manifest
    from slicer.mesh import MeshReport
    from slicer.recipe import Recipe

FILE = click.Path(path_type=Path)
UNITS = ("mm", "cm", "m", "inch")


@click.command(
    "slice",
    epilog="""\b
Examples:
  moonkiln slice part.stl --recipe dsel_fibre -o part.kiln
  moonkiln slice part.3mf --recipe my_recipe.toml --machine my_machine.toml
  moonkiln slice part.stl --recipe dlr_solar --unit cm --set power_w=190 --set contours=2
  moonkiln slice part.obj --recipe dsel_fibre --json
  moonkiln slice brick.stl pin.stl --recipe dsel_fibre --copies pin=4 --at brick=80,75 --rotate brick=90
  moonkiln slice part.stl --recipe my_recipe.toml --set hatch=islands --set tile_mm=4 --set skin_layers=2
  moonkiln slice bricks/*.stl --recipe dsel_fibre --each -j 4 -o jobs
  moonkiln slice bricks/*.stl --recipe dsel_fibre --each --cluster tcp://10.0.0.1:8786 -o jobs
""",
)
@click.argument("parts", metavar="PART...", type=FILE, nargs=-1, required=True)
@click.option("--recipe", "recipe_name", required=True, metavar="NAME|FILE.toml", help="A shipped recipe, or a file.")
@click.option("--machine", default="bench", show_default=True, metavar="NAME|FILE.toml", help="Whose envelope to fit.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@click.option("--unit", type=click.Choice(UNITS), help="Of the numbers of an STL, OBJ or PLY.  [default: mm]")
@click.option(
    "--close-gaps", "gap_mm", type=float, default=0.0, metavar="MM", help="Close gaps of the surface so wide."
)
@click.option("--at", multiple=True, metavar="[NAME=]X,Y", help="Where the middle of a part goes, mm.")
@click.option("--rotate", multiple=True, metavar="[NAME=]Z|X,Y,Z", help="Turn a part, degrees.")
@click.option("--copies", multiple=True, metavar="[NAME=]N", help="How many of a part.")
@click.option("--each", is_flag=True, help="Slice each PART to a job of its own; -o is their folder then.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, help="Processes for --each.  [default: 1]")
@click.option("--cluster", metavar="tcp://HOST:PORT", help="A Dask scheduler whose workers slice, for --each.")
@click.option("-o", "--output", type=FILE, help="Job file to write.  [default: PART with .kiln, in this folder]")
@json_option
def slice_part(
    parts: tuple[Path, ...],
    recipe_name: str,
    machine: str,
    settings: tuple[str, ...],
    unit: str | None,
    gap_mm: float,
    at: tuple[str, ...],
    rotate: tuple[str, ...],
    copies: tuple[str, ...],
    each: bool,
    jobs: int,
    cluster: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Turn the mesh PART (STL, OBJ, PLY, 3MF or STEP), or several that share the plate, into a job file."""
    from control.config import load_envelope
    from slicer.errors import SlicerError
    from slicer.notes import sentences as notes_of
    from slicer.placement import parse_wishes
    from slicer.plan import plan_job
    from slicer.recipe import load_recipe

    _check_spread(each, jobs, cluster)
    inputs: tuple[Path | str, ...] = (*parts, recipe_name, machine)
    if each:
        output = output or Path()
        _check_folder(output, parts, inputs)
    else:
        output = output or Path(f"{parts[0].stem}.kiln")
        check_output(output, inputs=inputs)
    recipe = load_recipe(recipe_name, overrides_of(settings, "power_w=60"))
    _check_unit(unit, parts)
    envelope = load_envelope(machine)
    wishes = None
    if at or rotate or copies or (len(parts) > 1 and not each):
        wishes = parse_wishes([part.stem for part in parts], at=at, rotate=rotate, copies=copies)
    if each:
        from control.slice_each import slice_each

        output.mkdir(parents=True, exist_ok=True)
        done = slice_each(
            parts, output, recipe, envelope, unit=unit or "mm", gap_mm=gap_mm, wishes=wishes, jobs=jobs, cluster=cluster
        )
        _say_each(done, len(parts), output, recipe, as_json)
        return
    reports: list[MeshReport] = []
    try:
        with Progress("slicing", quiet=as_json) as progress:
            manifest = plan_job(
                parts, recipe, envelope, output, unit=unit or "mm", gap_mm=gap_mm, wishes=wishes,
                progress=progress.update, on_report=reports.append,
            )  # fmt: skip
    except SlicerError as error:
        if not reports:
            raise
        raise _refused(error, parts, reports) from error
    if as_json:
        figures = [_report_figures(report) for report in reports]
        say_json({"path": str(output), "mesh_report": figures[0], "mesh_reports": figures, **_without_layers(manifest)})
        return
    for part, report in zip(parts, reports, strict=True):
        _say_report(part, report)
    for placed in manifest.parts:
        x, y = placed["at_mm"]
        turned = (
            ""
            if not any(placed["rotate_deg"])
            else f", turned by {', '.join(f'{a:g}' for a in placed['rotate_deg'])} deg"
        )
        click.echo(f"  {placed['name']}: middle at x {x:.2f}, y {y:.2f} mm{turned}")
    for sentence in notes_of(manifest.notes, recipe.spot_mm):
        click.echo(f"  note: {sentence}")
    click.echo(f"{output}: {job_sentence(manifest)}")
    click.echo(recipe_sentence(recipe))


@click.command(
    epilog="""\b
Examples:
  moonkiln info part.kiln
  moonkiln info part.kiln --json | jq .build_time_s
"""
)
@click.argument("job_path", metavar="JOB.kiln", type=FILE)
@json_option
def info(job_path: Path, as_json: bool) -> None:
    """Verify every byte of a job file and say what is in it, with the evidence behind each number."""
    from slicer.job import Job
    from slicer.recipe import RANGES, absorbed_energy_j_kg
    from slicer.strategy import shown, unit_of

    with Job.open(job_path) as job:
        job.verify()
        manifest, recipe = job.manifest, job.recipe
        if as_json:
            say_json(
                {
                    "path": str(job_path),
                    "sha256": job.sha256,
                    "intact": True,
                    "absorbed_energy_j_kg": absorbed_energy_j_kg(recipe),
                    **_without_layers(manifest),
                    "z_mm": manifest.z_mm,
                    "thickness_mm": manifest.thickness_mm,
                }
            )
            return
        low, high = manifest.bounds_mm
        size = " x ".join(f"{b - a:.2f}" for a, b in zip(low, high, strict=True))
        click.echo(f"{manifest.name}: {job_sentence(manifest)}")
        click.echo(f"  part      {manifest.mesh_name}, {size} mm, sha256 {manifest.mesh_sha256[:16]}...")
        click.echo(f"  machine   {_envelope_sentence(manifest.envelope)}")
        click.echo(
            f"  file      intact, format {manifest.schema_version}, moonkiln {manifest.software_version},"
            f" sha256 {job.sha256[:16]}..."
        )
        click.echo(f"  {recipe_sentence(recipe)}")
        for key, (_, _, unit) in RANGES.items():
            value = getattr(recipe, key)
            evidence = recipe.evidence.get(key)
            grounds = f"{evidence.kind}: {evidence.source}" if evidence else "no evidence given"
            click.echo(f"    {key:20} {'none' if value is None else f'{value:g}':>8} {unit:6} {grounds}")
        for key, value in recipe.strategy.to_dict().items():
            click.echo(f"    {key:20} {shown(value):>8} {unit_of(key):6} chosen, not the default")
        for sentence in job.notes_told():
            click.echo(f"  note: {sentence}")


@click.command(
    epilog="""\b
Examples:
  moonkiln preview part.kiln -o preview.html
  moonkiln preview part.kiln --layer 3 -o layer3.svg
  moonkiln preview part.kiln --layer 1 -o layer1.png
"""
)
@click.argument("job_path", metavar="JOB.kiln", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="A .html page of all layers, or .svg / .png of one.")
@click.option("--layer", type=click.IntRange(min=1), help="For .svg and .png; 1, the default, is lowest.")
@json_option
def preview(job_path: Path, output: Path, layer: int | None, as_json: bool) -> None:
    """Draw a job: one self-contained page with a layer slider, or one layer as a picture."""
    from slicer.job import Job
    from slicer.preview import layer_png, layer_svg, write_html
    from slicer.whole_file import whole_file

    check_output(output, inputs=(job_path,))
    kind = output.suffix.lower()
    if kind not in (".html", ".svg", ".png"):
        raise UsageError(f"{output}: a preview is a .html page or a .svg or .png picture; name the file so")
    if kind == ".html" and layer is not None:
        raise UsageError(f"{output}: a page shows all layers, so --layer {layer} is for a .svg or .png picture")
    with Job.open(job_path) as job:
        if kind == ".html":
            with Progress("drawing", quiet=as_json) as progress:
                write_html(job, output, progress=progress.update)
        else:
            job_layer = job.layer(layer_index(job, layer or 1))
            data = layer_png(job_layer, job.envelope) if kind == ".png" else layer_svg(job_layer, job.envelope).encode()
            with whole_file(output) as stream:
                stream.write(data)
    _say_written(output, as_json)


# ---- sentences


def job_sentence(manifest: Manifest) -> str:
    """What a job amounts to, in one line."""
    from slicer.words import duration

    thickness = f" of {manifest.thickness_mm[0]:g} mm" if len(set(manifest.thickness_mm)) == 1 else ""
    return (
        f"{manifest.layer_count} layers{thickness}, {manifest.vector_count:,} vectors,"
        f" {manifest.length_mm / 1e3:,.2f} m of scan, {duration(manifest.build_time_s)} of motion"
        f" (beam on {duration(manifest.beam_on_s)}),"
        f" {manifest.energy_j / 1e3:,.1f} kJ of beam; recoating and heating come on top"
    )


def recipe_sentence(recipe: Recipe) -> str:
    """A recipe in one line: what it does, its absorbed energy, which of its numbers are assumptions or have no evidence
    at all."""
    from slicer.recipe import absorbed_energy_j_kg, without_evidence

    assumed = [key for key, evidence in recipe.evidence.items() if evidence.kind == "assumed"]
    unknown = without_evidence(recipe)
    grounds = [f"assumed are {', '.join(assumed)}"] if assumed else []
    grounds += [f"without evidence are {', '.join(unknown)}"] if unknown else []
    return (
        f"recipe    {recipe.name}: {recipe.process} in {recipe.atmosphere},"
        f" {absorbed_energy_j_kg(recipe) / 1e6:.2f} MJ/kg absorbed;"
        f" {'; '.join(grounds) if grounds else 'assumed are no numbers'}"
    )


def _say_each(done: Iterator[Sliced], count: int, folder: Path, recipe: Recipe, as_json: bool) -> None:
    """Tell of each job as it comes. Raises MoonkilnError at the end if parts were refused."""
    from slicer.notes import sentences as notes_of

    rows: list[dict[str, Any]] = []
    refusals: list[str] = []
    with Progress("slicing", quiet=as_json) as progress:
        for number, one in enumerate(done, 1):
            progress.update(number, count, one.part.name)
            row: dict[str, Any] = {
                "part": str(one.part), "mesh_reports": [_report_figures(report) for report in one.reports],
            }  # fmt: skip
            rows.append(row)
            if one.manifest is None:
                refusals.append(f"{one.part}: {one.refusal}")
                row["error"] = one.refusal
            else:
                path = folder / f"{one.part.stem}.kiln"
                row |= {"path": str(path), **_without_layers(one.manifest)}
            if as_json:
                continue
            for report in one.reports:
                _say_report(one.part, report, err=one.manifest is None)
            if one.manifest is not None:
                for sentence in notes_of(one.manifest.notes, recipe.spot_mm):
                    click.echo(f"  note: {sentence}")
                click.echo(f"{path}: {job_sentence(one.manifest)}")
    if refusals:
        raise MoonkilnError(
            f"{len(refusals)} of {count} parts were refused: {' '.join(refusals)}", ExitCode.BAD_INPUT, {"jobs": rows}
        )
    if as_json:
        say_json({"jobs": rows})
    else:
        click.echo(recipe_sentence(recipe))


def _refused(error: SlicerError, parts: tuple[Path, ...], reports: list[MeshReport]) -> MoonkilnError:
    """Tell what was found in the meshes that were read, and make the error that ends the command: it has that too."""
    for part, report in zip(parts, reports, strict=False):  # the last one may not have been read
        _say_report(part, report, err=True)
    figures = {"mesh_reports": [_report_figures(report) for report in reports]}
    return MoonkilnError(str(error), ExitCode.BAD_INPUT, figures)


def _say_report(part: Path, report: MeshReport, *, err: bool = False) -> None:
    click.echo(f"{part}: {_report_sentence(report)}", err=err)
    for sentence in report.sentences():
        click.echo(f"  note: {sentence}", err=err)


def _report_sentence(report: MeshReport) -> str:
    size = " x ".join(f"{edge:.2f}" for edge in report.bounds_mm[1] - report.bounds_mm[0])
    bodies = "1 body" if report.bodies == 1 else f"{report.bodies} bodies"
    triangles = "1 triangle" if report.triangles == 1 else f"{report.triangles:,} triangles"
    volume = f"{report.volume_mm3:,.0f} mm3" if report.is_closed else "not closed"
    return f"{triangles}, {bodies}, {size} mm, {volume}"


def _report_figures(report: MeshReport) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(report), "bounds_mm": report.bounds_mm.tolist(), "sentences": report.sentences()}


def _envelope_sentence(envelope: dict[str, Any]) -> str:
    return (
        f"{envelope['x_mm']:g} x {envelope['y_mm']:g} x {envelope['z_mm']:g} mm, {envelope['beam_power_w_max']:g} W,"
        f" {envelope['speed_mm_s_max']:g} mm/s, {envelope['acceleration_mm_s2']:g} mm/s2"
    )


def _without_layers(manifest: Manifest) -> dict[str, Any]:
    from dataclasses import asdict

    return {key: value for key, value in asdict(manifest).items() if key not in ("z_mm", "thickness_mm")}


def _say_written(path: Path, as_json: bool, **figures: int) -> None:
    size = path.stat().st_size
    if as_json:
        say_json({"path": str(path), "bytes": size, **figures})
    else:
        click.echo(f"{path}: {size / 1e3:,.0f} kB" + "".join(f", {value:,} {name}" for name, value in figures.items()))


# ---- checks of arguments


def _check_spread(each: bool, jobs: int, cluster: str | None) -> None:
    if not each and (jobs > 1 or cluster is not None):
        given = f"--cluster {cluster}" if cluster is not None else f"-j {jobs}"
        raise UsageError(f"{given} is for many jobs: add --each to slice every part to a job of its own")
    if jobs > 1 and cluster is not None:
        raise UsageError(f"-j {jobs} and --cluster {cluster}: the cluster's workers slice, so leave -j")
    if cluster is not None:
        from control.shards import check_cluster

        check_cluster(cluster)


def _check_folder(folder: Path, parts: tuple[Path, ...], inputs: tuple[Path | str, ...]) -> None:
    names: dict[str, Path] = {}
    for part in parts:
        other = names.setdefault(f"{part.stem}.kiln", part)
        if other is not part:
            raise UsageError(f"{other} and {part} would both be written to {folder / part.stem}.kiln: rename one")
    check_output_folder(folder, names, inputs=inputs)


def _check_unit(unit: str | None, parts: tuple[Path, ...]) -> None:
    from slicer.mesh_files import NAMING_UNIT

    if unit is not None and all(part.suffix.lower() in NAMING_UNIT for part in parts):
        raise UsageError(
            f"--unit {unit}: {parts[0]} names its unit itself, as every {parts[0].suffix} file does: leave the option,"
            " or change the unit where the part was made"
        )


def layer_index(job: Job, number: int) -> int:
    """The index of a layer that a user counts from 1. Raises UsageError where the job has none."""
    if number > job.manifest.layer_count:
        raise UsageError(f"--layer {number}: job {job.path} has {job.manifest.layer_count} layers")
    return number - 1
