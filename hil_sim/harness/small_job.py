"""The job that a campaign prints when it is given none: a plate of 10 x 5 mm and a few layers, sliced on the spot.

It takes every step that a brick takes, each layer several times what the motion board can hold; what it leaves out is
size. The same plate gives the same bytes, so that a campaign is the same on any machine.
"""

from __future__ import annotations

from pathlib import Path

from control.host import envelope_of
from hil_sim.harness.parts import make_part
from hil_sim.harness.scenario import Scenario, ScenarioError
from hil_sim.harness.subjects import PrintSubject
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe

RECIPE = Path(__file__).with_name("small_plate.toml")
SIZE_MM, LAYER_MM, LAYERS = (10.0, 5.0), 0.5, 2
CELL_MM = 10.0
SIM_S_MAX = 3600.0
"""Of a campaign's runs; a clean one takes 25 s."""


def small_job(folder: Path, *, machine: str = "bench", layers: int = LAYERS, bed_temp_c: float | None = None) -> Path:
    """Slice the plate into `folder`; its path. bed_temp_c: that its bed is heated to; None: the recipe's own, which
    nobody waits for.
    """
    mesh = folder / "plate.stl"
    write_stl(rectangular(*SIZE_MM, LAYER_MM * layers), mesh)
    recipe = load_recipe(RECIPE, {} if bed_temp_c is None else {"bed_temp_c": str(bed_temp_c)})
    plan_job(mesh, recipe, envelope_of(machine), folder / "plate.kiln")
    return folder / "plate.kiln"


def bench_subject(
    folder: Path, *, machine: str = "bench", layers: int = LAYERS, job: Path | None = None
) -> PrintSubject:
    """The whole bench, printing the plate or a job of the user's, its bed in coarse cells."""
    scenario = Scenario(schema_version=1, name=machine, machine=machine, cell_xy_mm=CELL_MM, sim_s_max=SIM_S_MAX)
    return PrintSubject(scenario, str(job or small_job(folder, machine=machine, layers=layers)))


def scenario_subject(scenario: Scenario, job: Path | None, folder: Path) -> PrintSubject:
    """A scenario with a job of the user's; None: with its own part, sliced into `folder`. Raises ScenarioError."""
    if job is not None:
        return PrintSubject(scenario, str(job))
    try:
        return PrintSubject(scenario, str(make_part(scenario, folder)))
    except ValueError as error:
        raise ScenarioError(f"scenario {scenario.name}: its part cannot be sliced: {error}") from error
