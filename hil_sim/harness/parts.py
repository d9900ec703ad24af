"""The plate that a scenario prints where no job is given."""

from __future__ import annotations

from pathlib import Path

from control.host import envelope_of
from hil_sim.harness.scenario import Scenario
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe

QUICK = Path(__file__).parent / "quick_recipe.toml"


def make_part(scenario: Scenario, folder: Path) -> Path:
    """Slice the scenario's plate for its machine into `folder`; returns the job file.

    Raises ValueError where recipe or machine cannot be used (their own sentences).
    """
    part = scenario.part
    recipe = load_recipe(
        QUICK if part.recipe == "quick" else part.recipe, {key: str(value) for key, value in part.overrides.items()}
    )
    folder.mkdir(parents=True, exist_ok=True)
    stl = folder / "plate.stl"
    write_stl(rectangular(part.x_mm, part.y_mm, part.layers * recipe.layer_thickness_mm), stl)
    job = folder / "plate.kiln"
    plan_job(stl, recipe, envelope_of(scenario.machine), job)
    return job
