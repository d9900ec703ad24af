"""Does every shipped scenario end as its story says? Each is run with a small job, or on a short route."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rover_drive_helpers import HILLS, lane

from hil_sim.harness.drive_runner import DriveScenario, run_drive
from hil_sim.harness.expectations import judge_strikes
from hil_sim.harness.invariants import RULES
from hil_sim.harness.parts import make_part
from hil_sim.harness.runner import run_scenario
from hil_sim.harness.scenario import SCENARIOS, FaultRow, Part, Scenario, ScenarioError, load_scenario, schema_json
from hil_sim.harness.signals import CATALOGUE, untold
from hil_sim.world.faults import KINDS
from hil_sim.world.faults.schedule import Fault

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAMES = sorted(path.stem for path in SCENARIOS.glob("*.toml"))
LANE_M = 6.0

_jobs: dict[str, Path] = {}


def job_of(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario's own plate, sliced once for all that share it."""
    key = f"{scenario.machine} {scenario.part}"
    if key not in _jobs:
        _jobs[key] = make_part(scenario, tmp_path_factory.mktemp("part"))
    return _jobs[key]


def not_built(scenario: Scenario) -> list[str]:
    """Kinds of fault that it asks for and that nothing carries out yet."""
    return sorted({row["kind"] for row in scenario.faults} - set(KINDS))


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_ends_as_its_story_says(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    scenario = load_scenario(name)
    if missing := not_built(scenario):
        pytest.skip(f"no fault of the kind {', '.join(missing)} is carried out yet")
    if scenario.drive is not None:
        route = lane(tmp_path / "route.json", LANE_M)
        driven = run_drive(DriveScenario.of(scenario), route, tmp_path / "run", ground=HILLS)
        assert driven.passed, (driven.failures, driven.judgement.reasons, driven.outcome and driven.outcome.reason)
        assert not [str(e) for e in judge_strikes(scenario.schedule(), driven.struck) if not e.held]
        return
    result = run_scenario(scenario, job_of(scenario, tmp_path_factory), tmp_path / "run")
    assert result.passed, (result.failures, result.judgement.reasons, result.outcome and result.outcome.reason)
    assert not [str(e) for e in judge_strikes(scenario.schedule(), result.struck) if not e.held]


def test_there_are_enough_stories_and_each_is_told() -> None:
    assert len(NAMES) >= 25
    for name in NAMES:
        text = (SCENARIOS / f"{name}.toml").read_text(encoding="utf-8")
        scenario = load_scenario(name)
        assert scenario.name == name, f"{name}.toml calls itself {scenario.name}"
        assert text.startswith("# ") and len(text.split("schema_version")[0]) > 80, f"{name}.toml tells no story"
        assert any("verdict" in one.that for one in scenario.expect.end), f"{name}.toml does not say its verdict"
        assert "UNSAFE" not in text and "SILENT" not in text and "HANG" not in text, f"{name}.toml expects a bug"


@pytest.mark.parametrize("name", NAMES)
def test_the_faults_of_a_scenario_are_of_a_kind_and_at_a_point_that_fit(name: str) -> None:
    for row in load_scenario(name).faults:
        kind = KINDS.get(row["kind"])
        if kind is not None:
            assert any(fnmatchcase(row["point"], pattern) for pattern in kind.points), row
            assert set(row.get("args", {})) <= set(kind.args), row


# ---- the file


def test_the_written_schema_is_the_codes() -> None:
    written = (DOCS / "scenario.schema.json").read_text(encoding="utf-8")
    assert written == schema_json(), "run: python tests/test_scenarios.py"


def test_the_schema_knows_every_key_of_a_fault() -> None:
    known = {"kind", "point", "at_s", "for_s", "after_s", "at_layer", "at_light", "at_chunk", "at_line"}
    assert set(FaultRow.__struct_fields__) == known | {"at_request", "at_event", "count", "may_idle", "args"}
    for row in (row for name in NAMES for row in load_scenario(name).faults):
        msgspec.convert(row, FaultRow)
        Fault.from_dict(row)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "s.toml"
    path.write_text('schema_version = 1\nname = "s"\n' + text)
    return path


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('[[expect.always]]\nthat = "beam.lve"', r"there is no signal 'beam\.lve'; did you mean 'beam\.live'"),
        ('[[expect.always]]\nthat = "beam.live"\nwithin_s = 3', "unknown field `within_s`"),
        ('[[expect.eventually]]\nthat = "beam.live"\nwithin_s = -3', ">= 0"),
        ("[random]\ncount = [4, 1]", r"goes from 4 down to 1"),
        ('[[expect.end]]\nthat = "rover.tilt_deg < 5 deg"', r"there is no signal 'rover\.tilt_deg'"),
        ('[[expect.always]]\nthat = "verdict == exact"', r"is known only when the run is over: ask for it in `end`"),
        ("sim_s_max = 0", "> 0"),
        ("seed = -1", r"`int` >= 0 - at `\$.seed`"),
        ("drive = { soil = 'mud' }", "Invalid enum value 'mud'"),
        ('[[faults]]\nkind = "drop"\npoint = "motion.to_host"', "needs one anchor"),
        ("part = { layers = 0 }", ">= 1"),
    ],
)
def test_a_mistake_in_a_scenario_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        load_scenario(write(tmp_path, text))


def test_a_folder_is_called_one_and_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"is a folder: name the \.toml file in it"):
        load_scenario(tmp_path)
    path = write(tmp_path, "seed = 7")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_scenario(path).seed == 7


def test_a_long_expression_is_not_repeated_whole(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="may have 1000 characters") as caught:
        load_scenario(write(tmp_path, f'[[expect.always]]\nthat = "{"(" * 5000}"'))
    assert len(str(caught.value)) < 600


def test_a_file_of_the_first_days_is_still_read(tmp_path: Path) -> None:
    old = load_scenario(write(tmp_path, 'machine = "bench"\nseed = 7\ncell_xy_mm = 2.0'))
    assert (old.seed, old.expect.each(), old.random, old.drive, old.part) == (7, [], None, None, Part())


def test_random_faults_that_nobody_drew_do_not_pass_for_a_quiet_run(tmp_path: Path) -> None:
    drawn = load_scenario(write(tmp_path, "[random]\ncount = [1, 3]\nkinds = ['flip', 'd*']"))
    with pytest.raises(ScenarioError, match="none have been drawn"):
        run_scenario(drawn, make_part(drawn, tmp_path), tmp_path / "run")


@pytest.mark.parametrize(
    "head, name", [("", "host.heter.bed_temp_c"), ("machine = 'osr'\n[drive]", "host.imuu.gyro_x")]
)
def test_telemetry_of_a_device_that_is_not_there_is_refused_before_the_host_runs(
    tmp_path: Path, head: str, name: str
) -> None:
    scenario = load_scenario(write(tmp_path, f'{head}\n[[expect.end]]\nthat = "{name} != 5"'))

    async def host(*files: Path) -> Any:
        raise AssertionError("it ran")

    device = name.split(".")[1]
    with pytest.raises(ScenarioError, match=f"no signal '{name}': this machine has no '{device}'; did you mean '"):
        if scenario.drive is not None:
            route = lane(tmp_path / "route.json", LANE_M)
            run_drive(DriveScenario.of(scenario), route, tmp_path / "run", host=host, ground=HILLS)
        else:
            run_scenario(scenario, make_part(scenario, tmp_path), tmp_path / "run", host=host)


@pytest.mark.parametrize(
    ("name", "is_rover", "sentence"),
    [
        ("host.drive.sigma_m", False, "no 'drive'"),
        ("host.rover.heater.bed_temp_c", False, "this machine is no rover: say 'host.heater...'"),
        ("host.progress.share", True, "no 'progress'"),
        ("host.vision.powder.iou", True, "no 'vision'"),
        ("host.printer.heater.bed_temp_c", True, "this machine is no printer: say 'host.heater...'"),
        ("host.layers_done", True, "only a print tells it"),
    ],
)
def test_telemetry_that_only_the_other_world_tells_is_no_signal(name: str, is_rover: bool, sentence: str) -> None:
    (found,) = untold([name], ["heater"], is_rover=is_rover)
    assert found.startswith(f"there is no signal {name!r}: ") and sentence in found
    told = [name] if is_rover else ["host.printer.heater.bed_temp_c"]
    assert untold(told, ["heater"], is_rover=False) == []


def test_a_drive_takes_no_job_and_a_print_no_route(tmp_path: Path) -> None:
    drive = load_scenario(write(tmp_path, 'machine = "osr"\n[drive]'))
    job = make_part(load_scenario("print"), tmp_path)
    with pytest.raises(ScenarioError, match="is a rover's"):
        run_scenario(drive, job, tmp_path / "run")
    with pytest.raises(ScenarioError, match="is a printer's"):
        DriveScenario.of(load_scenario("print"))


def test_the_page_lists_every_signal_and_every_safety_rule() -> None:
    page = (DOCS / "scenarios.md").read_text(encoding="utf-8")
    for name, entry in CATALOGUE.items():
        assert all(f"`{word}`" in page for word in entry.words), f"docs/scenarios.md lacks a word of {name}"
        unit = entry.unit or ("text" if entry.kind == "text" else "")
        assert f"| `{name}` | {unit} | {entry.says} |" in page, name
    assert [name for name in RULES if f"| {name} | " not in page] == []


def test_every_scenario_survives_its_own_struct() -> None:
    for name in NAMES:
        scenario = load_scenario(name)
        assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


if __name__ == "__main__":
    (DOCS / "scenario.schema.json").write_text(schema_json(), encoding="utf-8")
