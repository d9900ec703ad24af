"""A scenario: what is simulated, how finely, and what goes wrong. Data only; `scenarios/*.toml` are shipped.

A run is a scenario, a job and a commit: the seed stands in the scenario, so that a run that went wrong is repeated by
one command.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil_sim.world.build import BedSettings
from hil_sim.world.faults.schedule import Fault, FaultSchedule

SCENARIOS = Path(__file__).parent / "scenarios"
SCHEMA_VERSION = 1


class ScenarioError(ValueError):
    """A scenario file that cannot be used."""


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One scenario.

    `machine` is the host's machine file, by name or path; `world` the emulated twin's, None: the one of the same name.
    `bed` None takes the emulated machine's, with `cell_xy_mm`; `fit_bed_to_job` then sets spot, absorptivity,
    atmosphere and layer height from the job's recipe. `sim_s_max` bounds the run in simulated seconds: a host that
    hangs is told apart from one that is slow.
    """

    schema_version: Annotated[int, Meta(ge=1, le=SCHEMA_VERSION)]
    name: str
    machine: str = "bench"
    world: str | None = None
    seed: int = 0
    mode: Literal["virtual", "paced"] = "virtual"
    pace: Annotated[float, Meta(gt=0)] | None = None
    cell_xy_mm: Annotated[float, Meta(gt=0, le=20)] = 2.0
    fit_bed_to_job: bool = True
    bed: BedSettings | None = None
    sim_s_max: Annotated[float, Meta(gt=0)] = 30 * 86400.0
    faults: list[dict[str, Any]] = []

    def schedule(self) -> FaultSchedule:
        """The faults as the world asks them. Raises ScenarioError for one that can never strike."""
        try:
            return FaultSchedule(tuple(Fault.from_dict(row) for row in self.faults))
        except (TypeError, ValueError) as error:
            raise ScenarioError(f"scenario {self.name}: {error}") from error


def load_scenario(name_or_path: str | Path) -> Scenario:
    """A shipped scenario by name, or a TOML file. Raises ScenarioError with what is wrong."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = SCENARIOS / f"{name_or_path}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in SCENARIOS.glob("*.toml")))
        raise ScenarioError(f"there is no scenario {str(name_or_path)!r}; there are {shipped}, or give a .toml file")
    try:
        scenario = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Scenario)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"scenario {path}: {error}") from error
    scenario.schedule()
    return scenario
