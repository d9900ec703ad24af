"""A scenario: what is simulated, how finely, what goes wrong, and what is expected. `scenarios/*.toml` are shipped.

A run is a scenario, a job and a commit: the seed stands in the scenario, so that a run that went wrong is repeated by
one command. `docs/scenario.schema.json` is made of these structs, for editors.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil_sim.harness.expectations import Expect, check_expectations, signals_of
from hil_sim.harness.signals import untold
from hil_sim.harness.time_span import PACE_MAX
from hil_sim.world.faults import KINDS, FaultSchedule, schedule_of
from hil_sim.world.faults.schedule import ANCHORS, COUNTED
from hil_sim.world.machine_spec import CELL_MM_MIN, BedSettings
from hil_sim.world.toml_words import UNREADABLE, what_is_wrong
from slicer.words import did_you_mean

SCENARIOS = Path(__file__).parent / "scenarios"
SCHEMA_VERSION = 1

Count = Annotated[int, Meta(ge=0)]
FewFaults = Annotated[int, Meta(ge=1, le=100)]
SIM_S_MAX = 10 * 365 * 86400.0
STILL_S = 86400.0  # costs nothing in virtual time; a paced run must come out as a virtual one does
STILL_S_WIRE = 3600.0
NAME = r"^[^\x00-\x1f\x7f/\\]{1,100}$"
"""A scenario's name stands in reports, on terminals and in names of files: one line, and no way into other folders."""

Value = float | int | str
Mode = Literal["virtual", "paced", "wire"]
"""Virtual time, virtual time held back to a multiple of real time, or real time on ptys and TCP."""


class ScenarioError(ValueError):
    """A scenario file that cannot be used."""


class RandomFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Faults that are drawn from the seed, beside those that are named, by the weights of the generator.

    `count`: least and most of them. `kinds`, `points`: shell patterns of what may be drawn, of the generator's kinds
    and the world's points. `from_s`, `to_s`: when those strike that are anchored in time; to_s None: the job's end.
    """

    count: tuple[FewFaults, FewFaults] = (1, 4)
    kinds: tuple[str, ...] = ("*",)
    points: tuple[str, ...] = ("*",)
    from_s: Annotated[float, Meta(ge=0)] = 0.0
    to_s: Annotated[float, Meta(gt=0)] | None = None


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is printed where no job is given: a plate, its size and layers, a recipe by name and what differs in it.

    The recipe `quick` is the harness's own: ten seconds a layer, and no waiting for the heater.
    """

    x_mm: Annotated[float, Meta(ge=2, le=250)] = 20.0
    y_mm: Annotated[float, Meta(ge=2, le=150)] = 10.0
    layers: Annotated[int, Meta(ge=1, le=1000)] = 2
    recipe: str = "quick"
    overrides: dict[str, Value] = {}


class DriveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What makes a scenario a rover's: the soil under its wheels; whether craters and rocks of the seed lie about."""

    soil: Literal["nominal", "random"] = "nominal"
    details: bool = True


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One scenario.

    `machine` is the host's machine file, by name or path; `world` the emulated twin's, None: the one of the same name.
    `bed` None takes the emulated machine's, with `cell_xy_mm`; `fit_bed_to_job` then sets spot, absorptivity,
    atmosphere and layer height from the job's recipe. `sim_s_max` bounds the run in simulated seconds: a host that
    hangs is told apart from one that is slow; `still_s_max` bounds the time in which a printer (not a rover) neither
    moves nor takes a picture (None: see `still_bound_s`). `faults`: rows of `FaultRow`. `drive` makes it a rover's, and
    then it takes a route instead of a job. `mode` is the time that it runs in where nobody says otherwise; `pace`, of a
    paced one, how many times faster than real time (None: as fast).
    """

    schema_version: Annotated[int, Meta(ge=1, le=SCHEMA_VERSION)]
    name: Annotated[str, Meta(pattern=NAME)]
    machine: str = "bench"
    world: str | None = None
    seed: Annotated[int, Meta(ge=0)] = 0
    mode: Mode = "virtual"
    pace: Annotated[float, Meta(gt=0, le=PACE_MAX)] | None = None
    cell_xy_mm: Annotated[float, Meta(ge=CELL_MM_MIN, le=20)] = 2.0
    fit_bed_to_job: bool = True
    bed: BedSettings | None = None
    sim_s_max: Annotated[float, Meta(gt=0, le=SIM_S_MAX)] = 30 * 86400.0
    still_s_max: Annotated[float, Meta(gt=0, le=SIM_S_MAX)] | None = None
    part: Part = Part()
    faults: Annotated[list[dict[str, Any]], Meta(max_length=10_000)] = []
    random: RandomFaults | None = None
    expect: Expect = Expect()
    drive: DriveSettings | None = None

    def schedule(self) -> FaultSchedule:
        """The named faults as the world asks them. Raises ScenarioError for one that can never strike."""
        try:
            return schedule_of(self.faults)
        except (TypeError, ValueError) as error:
            raise ScenarioError(f"scenario {self.name}: {error}") from error

    def still_bound_s(self, mode: Mode) -> float:
        """`still_s_max`, or what is long enough in that mode: on the wire somebody waits for it."""
        if self.still_s_max is not None:
            return self.still_s_max
        return STILL_S_WIRE if mode == "wire" else STILL_S

    def refuse_undrawn(self) -> None:
        """Raises ScenarioError for a scenario whose random faults nobody has drawn: they would never strike."""
        if self.random is not None:
            raise ScenarioError(
                f"scenario {self.name} draws faults at random and none have been drawn: `hil run` and `hil campaign` do"
            )


def refuse_untold(expect: Expect, machine_toml: str) -> None:
    """Raises ScenarioError for an expectation of telemetry that no host tells of the machine of that file's text."""
    machine = tomllib.loads(machine_toml)
    is_rover = machine.get("kind") == "rover"
    if sentences := untold(signals_of(expect), machine["devices"], is_rover=is_rover):
        raise ScenarioError(f"expect: {' '.join(sentences)}")


class FaultRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault in a scenario file: `kind` and `point` as `moonkiln hil faults` lists them, and just one anchor.

    `at_s`, `at_layer` (with `after_s` behind its powder) and `at_light` (`after_s` behind the layer's first exposed
    block: there it is the same block in any mode) begin a window of `for_s` seconds; the other anchors
    count the events of the point, from 0, and strike `count` of them. A run that it never struck has failed, unless it
    `may_idle`.
    """

    kind: str
    point: str
    at_s: Annotated[float, Meta(ge=0)] | None = None
    at_layer: Count | None = None
    at_light: Count | None = None
    after_s: Annotated[float, Meta(ge=0)] = 0.0
    for_s: Annotated[float, Meta(ge=0)] = 0.0
    at_chunk: Count | None = None
    at_line: Count | None = None
    at_request: Count | None = None
    at_event: Count | None = None
    count: Annotated[int, Meta(ge=1)] = 1
    may_idle: bool = False
    args: dict[str, Value] = {}


def load_scenario(name_or_path: str | Path) -> Scenario:
    """A shipped scenario by name, or a TOML file. Raises ScenarioError with what is wrong."""
    path = Path(name_or_path)
    if path.is_dir():
        raise ScenarioError(f"{path} is a folder: name the .toml file in it")
    if path.suffix != ".toml":
        path = SCENARIOS / f"{name_or_path}.toml"
    if not path.is_file():
        if Path(name_or_path).suffix == ".toml":
            raise ScenarioError(f"scenario {path} does not exist: give a .toml file that does, or a shipped one's name")
        shipped = sorted(p.stem for p in SCENARIOS.glob("*.toml"))
        near = did_you_mean(str(name_or_path), shipped)
        raise ScenarioError(
            f"there is no scenario {str(name_or_path)!r}{near}; there are {', '.join(shipped)}, or give a .toml file"
        )
    try:
        scenario = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8-sig")), Scenario)
    except UNREADABLE as error:
        raise ScenarioError(f"scenario {path}: {what_is_wrong(error)}") from error
    scenario.schedule()
    if sentences := check_expectations(scenario.expect, is_rover=scenario.drive is not None):
        raise ScenarioError(f"scenario {path}: {' '.join(sentences)}")
    if scenario.random is not None and (sentence := _cannot_be_drawn(scenario.random)):
        raise ScenarioError(f"scenario {path}: {sentence}")
    return scenario


def _cannot_be_drawn(wanted: RandomFaults) -> str:
    """What makes faults impossible to draw from in any world, '' if nothing."""
    least, most = wanted.count
    if least > most:
        return f"random.count goes from {least} down to {most}; write [least, most]"
    if not (wanted.kinds and wanted.points):
        return 'random.kinds and random.points are patterns of what may be drawn: leave them, or write ["*"]'
    if wanted.to_s is not None and wanted.to_s <= wanted.from_s:
        return f"random.to_s is {wanted.to_s:g} and from_s {wanted.from_s:g}: it ends before it begins"
    return ""


def time_of(
    said: Mode, said_pace: float | None, mode: Mode | None = None, pace: float | None = None
) -> tuple[Mode, float | None]:
    """The mode of a run and the pace that it is held to: what is asked for goes before what its scenario says.

    Raises ScenarioError: a pace for a mode that has none.
    """
    mode = mode or ("paced" if pace is not None else said)
    if mode == "paced":
        return mode, pace or said_pace or 1.0
    if pace is not None:
        raise ScenarioError(f"a pace of {pace:g} and the mode {mode}: only paced time has a pace")
    return mode, None


def fault_schema() -> dict[str, Any]:
    """What a row of a fault is held to beside its own keys: what its kind takes, and what goes with its anchor."""
    plain = sorted(name for name, kind in KINDS.items() if not kind.args)
    rules = [_if_kind({"enum": plain}, {"args": {"maxProperties": 0}})]
    alike: dict[tuple[tuple[str, ...], str | None], list[str]] = {}
    for name, kind in sorted(KINDS.items()):
        alike.setdefault((kind.points, kind.counted), []).append(name)
        if kind.args:
            args = {arg: each.schema() for arg, each in kind.args.items()}
            rules.append(_if_kind({"const": name}, {"args": {"properties": args, "additionalProperties": False}}))
    for (points, counted), names in alike.items():
        place = {"pattern": "|".join(f"^{_as_regex(point)}$" for point in points)}
        never = {anchor: False for anchor in COUNTED if anchor != counted}
        rules.append(_if_kind({"enum": names}, {"point": place, **never}))
    zero, once = {"const": 0}, {"const": 1}
    for anchor in ANCHORS:
        if anchor in COUNTED:
            then: dict[str, Any] = {"properties": {"for_s": zero, "after_s": zero}}
        else:
            only = {"count": once} | ({"after_s": zero} if anchor == "at_s" else {})
            then = {"required": ["for_s"], "properties": {"for_s": {"exclusiveMinimum": 0}, **only}}
        rules.append({"if": {"required": [anchor]}, "then": then})
    rules.append({"oneOf": [{"required": [anchor]} for anchor in ANCHORS]})
    return {"allOf": [{"properties": {"kind": {"enum": sorted(KINDS)}}}, *rules]}


def _as_regex(pattern: str) -> str:
    """A shell pattern of * and ? as JSON Schema writes it."""
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")


def _if_kind(which: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {"kind": which}}, "then": {"properties": properties}}


def schema_json() -> str:
    """The JSON Schema of a scenario file, for editors: `docs/scenario.schema.json` holds it."""
    (whole, rows), parts = msgspec.json.schema_components((Scenario, FaultRow), ref_template="#/$defs/{name}")
    parts["Scenario"]["properties"]["faults"]["items"] = rows
    parts["FaultRow"] |= fault_schema()
    for expectation in ("Always", "Eventually", "AtEnd"):
        parts[expectation]["properties"]["that"]["minLength"] = 1
    for patterns in ("kinds", "points"):
        parts["RandomFaults"]["properties"][patterns]["minItems"] = 1
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "scenario.toml: what is simulated, what goes wrong, what is expected",
        **whole,
        "$defs": parts,
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"
