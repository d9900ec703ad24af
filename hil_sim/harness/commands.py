"""The command groups that need an emulated machine: `sim` and `demo`. `control.cli` loads them by entry point."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.command_line import json_option, say_json
from control.errors import UsageError
from hil_sim.harness.options import PACE

if TYPE_CHECKING:
    from hil_sim.harness.drive_runner import DriveScenario
    from hil_sim.harness.runner import RunResult

FILE = click.Path(path_type=Path)
RUNS = click.option(
    "--runs", type=FILE, default=Path("runs"), show_default=True, help="Where the run's folder is made."
)


@click.group()
def sim() -> None:
    """Print, drive or serve on emulated machines: no hardware is touched."""


@sim.command(
    "print",
    epilog="""\b
Examples:
  moonkiln sim print part.kiln --machine bench
  moonkiln sim print part.kiln --machine bench --pace 10
  moonkiln sim print part.kiln --scenario short_feed --json
""",
)
@click.argument("job_path", metavar="JOB.kiln", type=FILE)
@click.option(
    "--machine",
    default=None,
    metavar="NAME|FILE.toml",
    help="The host's machine file; its twin of the same name is emulated.  [default: the scenario's]",
)
@click.option(
    "--scenario", default="print", show_default=True, metavar="NAME|FILE.toml", help="What goes wrong, if anything."
)
@click.option("--pace", type=PACE, help="Hold the clock to N times real time.")
@click.option("--seed", type=click.IntRange(0), help="Another seed than the scenario's.")
@RUNS
@json_option
def sim_print(
    job_path: Path, machine: str | None, scenario: str, pace: float | None, seed: int | None, runs: Path, as_json: bool
) -> int:
    """Print JOB.kiln on emulated devices, in virtual time unless --pace says otherwise."""
    import msgspec

    from control.clock import run_id
    from control.run_command import new_run_dir
    from hil_sim.harness.runner import twin_of
    from hil_sim.harness.scenario import load_scenario
    from hil_sim.world.faults import Faults
    from hil_sim.world.machine_spec import fault_points, load_machine_spec
    from hil_sim.world.wiring import refuse_strange

    chosen = _usage(lambda: load_scenario(scenario))
    changes: dict[str, Any] = {} if machine is None else {"machine": machine}
    if seed is not None:
        changes["seed"] = seed
    run_dir = new_run_dir(runs, run_id())
    chosen = msgspec.structs.replace(chosen, **changes)
    _usage(
        lambda: refuse_strange(
            Faults(chosen.schedule()), fault_points(load_machine_spec(twin_of(chosen.machine, chosen.world)))
        )
    )
    return _conclude(_run(chosen, job_path, run_dir, pace, quiet=as_json), run_dir, as_json)


@sim.command(
    "drive",
    epilog="""\b
Examples:
  moonkiln sim drive route.json --machine osr
  moonkiln sim drive route.json --machine osr --seed 7 --soil random --json
""",
)
@click.argument("route_path", metavar="ROUTE.json", type=FILE)
@click.option(
    "--machine",
    default="osr",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="The rover's machine file; its twin of the same name is emulated.",
)
@click.option("--pace", type=PACE, help="Hold the clock to N times real time.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of noise, craters, rocks and soil.")
@click.option("--soil", type=click.Choice(["nominal", "random"]), default="nominal", show_default=True)
@RUNS
@json_option
def sim_drive(
    route_path: Path, machine: str, pace: float | None, seed: int, soil: str, runs: Path, as_json: bool
) -> int:
    """Drive ROUTE.json with an emulated rover, in virtual time unless --pace says otherwise."""
    from control.clock import run_id
    from control.run_command import new_run_dir
    from hil_sim.harness.drive_runner import DriveScenario

    scenario = DriveScenario(machine=machine, seed=seed, soil=soil)
    return _drive(scenario, route_path, new_run_dir(runs, run_id()), pace, as_json)


@sim.command(
    epilog="""\b
Examples:
  moonkiln sim serve --machine bench --dir D
  moonkiln print part.kiln --machine D/bench.toml          (in another terminal)
  moonkiln sim serve --machine osr --route route.json --dir D

One JSON line a device on stdout: device, protocol, url, and unit where it has one. Ctrl-C ends it and leaves
D/truth.mcap and D/truth_maps.npz; of a rover D/truth.npz.
"""
)
@click.option(
    "--machine",
    default="bench",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="The host's machine file; its twin of the same name is emulated.",
)
@click.option("--dir", "directory", type=FILE, required=True, help="Where the ptys get their names.")
@click.option(
    "--reset-on-open", type=click.Choice(["on", "off"]), help="Whether opening the motion port resets the board."
)
@click.option("--scenario", metavar="NAME|FILE.toml", help="What goes wrong, if anything.  [default: print]")
@click.option("--job", "job_path", type=FILE, help="Fit the bed to this job's recipe and height.")
@click.option("--route", "route_path", type=FILE, help="A rover stands where this route begins, on its ground.")
def serve(
    machine: str,
    directory: Path,
    reset_on_open: str | None,
    scenario: str | None,
    job_path: Path | None,
    route_path: Path | None,
) -> None:
    """Emulated devices on real ptys and loopback TCP, until interrupted."""
    from control.host import is_rover_file

    if is_rover_file(machine):
        for option, value in (("--scenario", scenario), ("--job", job_path), ("--reset-on-open", reset_on_open)):
            if value is not None:
                raise UsageError(f"{option} is for printers, and {machine} is a rover: leave it")
        from hil_sim.harness.drive_runner import DriveScenario
        from hil_sim.harness.serve import serve_rover

        folder = _usage(
            lambda: asyncio.run(
                serve_rover(
                    DriveScenario(machine=machine), route_path, directory, announce=lambda line: click.echo(line)
                )
            )
        )
        click.echo(f"the truth is in {folder}", err=True)
        return
    if route_path is not None:
        raise UsageError(f"--route is for rovers, and {machine} is a printer: leave it")
    import msgspec

    from hil_sim.harness.runner import bed_settings, twin_of
    from hil_sim.harness.scenario import load_scenario
    from hil_sim.harness.serve import serve as serve_world
    from hil_sim.world.faults import Faults
    from hil_sim.world.machine_spec import fault_points, load_machine_spec
    from hil_sim.world.wiring import refuse_strange
    from slicer.job import Job

    chosen = msgspec.structs.replace(_usage(lambda: load_scenario(scenario or "print")), machine=machine)
    twin = twin_of(machine, chosen.world)
    _usage(lambda: refuse_strange(Faults(chosen.schedule()), fault_points(load_machine_spec(twin))))
    job = Job.open(job_path) if job_path is not None else None
    try:
        settings = _usage(lambda: bed_settings(chosen, twin, job))
        folder = asyncio.run(
            serve_world(
                machine,
                directory,
                world_machine=twin,
                settings=settings,
                faults=chosen.schedule(),
                reset_on_open=None if reset_on_open is None else reset_on_open == "on",
                seed=chosen.seed,
                announce=lambda line: click.echo(line),
            )
        )
    finally:
        if job is not None:
            job.__exit__(None, None, None)
    click.echo(f"the truth is in {folder}", err=True)


@click.command(
    epilog="""\b
Examples:
  moonkiln demo
  moonkiln demo part.stl
  moonkiln demo --quick --runs /tmp/runs
  moonkiln demo --rover           (a rover drives 200 m instead)
"""
)
@click.argument("part", type=FILE, required=False)
@click.option(
    "--quick", is_flag=True, help="A small plate instead of the brick: seconds, to see that everything works."
)
@click.option("--rover", is_flag=True, help="Plan 200 m over real heights (generated ones without them) and drive it.")
@RUNS
def demo(part: Path | None, quick: bool, rover: bool, runs: Path) -> int:
    """Make the interlocking demo brick (or take PART), slice it, print it on emulated hardware, and report."""
    if rover:
        if part is not None:
            raise UsageError(f"a rover does not print {part}: leave it, or leave --rover")
        return _demo_rover(runs, 20.0 if quick else 200.0)
    from control.clock import run_id
    from control.host import envelope_of
    from control.run_command import new_run_dir
    from hil_sim.harness.scenario import load_scenario
    from slicer.bricks import demo_brick, rectangular, write_stl
    from slicer.plan import plan_job
    from slicer.recipe import load_recipe

    run_dir = new_run_dir(runs, run_id())
    run_dir.mkdir(parents=True)
    if part is None:
        part = run_dir / ("plate.stl" if quick else "brick.stl")
        write_stl(rectangular(20.0, 10.0, 4.0) if quick else demo_brick(), part)
    recipe = load_recipe("dsel_fibre", {"scan_speed_mm_s": "2"} if quick else None)
    manifest = plan_job(part, recipe, envelope_of("bench"), run_dir / "part.kiln")
    click.echo(f"{part.name}: {manifest.layer_count} layers, {manifest.vector_count} vectors, recipe {recipe.name}")
    result = _run(load_scenario("print"), run_dir / "part.kiln", run_dir, None, quiet=False)
    return _conclude(result, run_dir, False)


def _demo_rover(runs: Path, length_m: float) -> int:
    """Plan a way over a map, drive it with an emulated rover, and report."""
    from control.clock import run_id
    from control.run_command import new_run_dir
    from hil_sim.harness.demo_rover import plan_demo
    from hil_sim.harness.drive_runner import DriveScenario

    run_dir = new_run_dir(runs, run_id())
    run_dir.mkdir(parents=True)
    route = plan_demo(run_dir, length_m)
    p = route.predicted
    click.echo(
        f"{Path(route.map.path).name}: {p.length_m:.0f} m planned, {p.duration_s / 3600:.2f} h, {p.energy_wh:.1f} Wh,"
        f" slopes to {max(p.slope_deg):.1f} deg"
    )
    return _drive(DriveScenario(machine="osr", seed=3), run_dir / "route.json", run_dir, None, False)


def _run(scenario: Any, job_path: Path, run_dir: Path, pace: float | None, *, quiet: bool) -> RunResult:
    """A run on a virtual loop, attended from the terminal."""
    from control.host import print_host
    from control.run_command import attended
    from hil_sim.harness.runner import run_scenario

    async def host(job: Path, machine_toml: Path, folder: Path) -> Any:
        return await attended(
            lambda operator, progress: print_host(job, machine_toml, folder, operator=operator, progress=progress),
            quiet,
            every_s=10.0 if pace is not None else 1000.0,
        )

    return run_scenario(scenario, job_path, run_dir, host=host, pace=pace)


def _drive(scenario: DriveScenario, route_path: Path, run_dir: Path, pace: float | None, as_json: bool) -> int:
    """A drive on a virtual loop, attended from the terminal; a verdict that may not be is an error of its own."""
    from control.host import drive_host
    from control.run_command import attended_drive, conclude_drive
    from hil_sim.harness.drive_runner import run_drive

    async def host(route: Path, machine_toml: Path, folder: Path) -> Any:
        return await attended_drive(
            lambda operator, progress: drive_host(route, machine_toml, folder, operator=operator, progress=progress),
            as_json,
            every_s=10.0 if pace is not None else 200.0,
        )

    result = _usage(lambda: run_drive(scenario, route_path, run_dir, host=host, pace=pace))
    j, track = result.judgement, result.truth.track
    found = {
        "verdict": j.verdict.value,
        "verdict_reasons": list(j.reasons),
        "true_cross_track_rms_m": j.cross_track_rms_m,
        "true_cross_track_max_m": j.cross_track_max_m,
        "goal_off_m": j.goal_off_m,
        "sim_s": result.sim_s,
    }
    code = 1
    if result.outcome is not None:
        code = conclude_drive(result.outcome, run_dir, as_json, simulated=found)
    elif as_json:
        say_json({"run_dir": str(run_dir), **found})
    if not as_json:
        click.echo(f"oracle: {j.verdict.value}: {'; '.join(j.reasons[:5])}")
        click.echo(
            f"truth: {j.goal_off_m * 100:.0f} cm from the goal, {j.cross_track_rms_m * 100:.1f} cm rms and at most"
            f" {j.cross_track_max_m * 100:.1f} cm beside the path, slip up to {track.slip.max():.0%},"
            f" tilt up to {j.tilt_max_deg:.0f} deg, {result.sim_s:.0f} simulated seconds"
        )
    return code if j.verdict.is_good else max(code, 1)


def _conclude(result: RunResult, run_dir: Path, as_json: bool) -> int:
    """Say how a run ended and what the oracle found; a verdict that may not be is an error of its own."""
    from control.run_command import conclude

    j = result.judgement
    found = {"verdict": j.verdict.value, "verdict_reasons": list(j.reasons), "sim_s": result.sim_s}
    code = 1
    if result.outcome is not None:
        code = conclude(result.outcome, run_dir, as_json, simulated=found)
    elif as_json:
        say_json({"run_dir": str(run_dir), **found})
    if not as_json:
        click.echo(f"oracle: {j.verdict.value}: {'; '.join(j.reasons[:5])}")
        click.echo(
            f"truth: {j.blocks_executed} blocks executed of {j.blocks_planned} planned,"
            f" {j.energy_true_j / 1e3:.2f} kJ of {j.energy_planned_j / 1e3:.2f} kJ,"
            f" {result.sim_s:.0f} simulated seconds"
        )
    return code if j.verdict.is_good else max(code, 1)


def _usage(make: Any) -> Any:
    try:
        return make()
    except ValueError as error:
        raise UsageError(str(error)) from error
