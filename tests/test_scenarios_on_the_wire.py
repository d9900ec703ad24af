"""Do the shipped scenarios come to the same at the level of their jobs on real ptys and TCP as in virtual time?

python -m pytest -m soak tests/test_scenarios_on_the_wire.py --wire-out wire.csv
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rover_drive_helpers import HILLS, lane

from hil_sim.harness.drive_runner import DriveResult, DriveScenario, run_drive
from hil_sim.harness.expectations import Expect
from hil_sim.harness.job_truth import JobTruth, LayerTruth, differences, job_truth, named
from hil_sim.harness.parts import make_part
from hil_sim.harness.runner import RunResult, run_scenario
from hil_sim.harness.scenario import SCENARIOS, Mode, Scenario, ScenarioError, load_scenario
from hil_sim.world.faults.process import POINTS as HOST_POINTS
from slicer.job import Job

WIRE_S_MAX = 900.0  # a host that hangs on the wire hangs in real time
LATE_S_MAX = 0.3  # a host waits as long for a Modbus unit: a computer that is later is too busy for real time
ATTEMPTS = 3

# What is alike on the wire: verdict, status, reason, layers, blocks, and energy to 0.5 %.
ALIKE = [
    "auger_jammed", "beam_stuck_on", "beam_weak", "board_halted", "boot_noise", "brown_out", "bus_noise", "camera_gone",
    "chiller_lost", "door_bounced", "door_opened", "doubled_acks", "dusty_camera", "eclipse_mid_brick", "frozen_camera",
    "lost_acks", "low_hopper", "noisy_motion_line", "print", "purge_lost", "recoater_jam", "sensor_frozen",
    "short_feed", "slow_bus", "thermocouple_open",
]  # fmt: skip
# Where the break comes when the host's next feed, poll or frame meets a dead link: the phase of that against the light
# is chance, and moves the break by as much. All else is alike.
BY_PHASE_S = {
    "beam_link_cut": 0.6, "half_open_tcp": 0.6, "head_restarted": 0.6, "heater_silent": 1.5, "usb_pulled": 0.3,
    "usb_replugged": 0.3,
}  # fmt: skip
# Whether the stroke's own question or a poll finds the dead bus first is chance: it fails or is stopped, with a name.
BY_RACE = ["drives_lost_in_stroke"]
# How many layers are done when the plate is too hot depends on how long they take: no pictures are taken in no time.
BY_TIME = ["heater_runaway"]


def run(scenario: Scenario, job: Path, folder: Path, mode: Mode) -> tuple[RunResult, JobTruth]:
    """A run with what it came to."""
    result = run_scenario(scenario, job, folder, mode=mode)
    with Job.open(job) as opened:
        return result, job_truth(opened, result)


def apart(name: str, on_wire: JobTruth, in_time: JobTruth) -> list[str]:
    """In what two runs of a scenario differ that they must not differ in."""
    if name in BY_RACE:
        on_wire, in_time = (msgspec.structs.replace(truth, status="", reason="") for truth in (on_wire, in_time))
    if name in BY_TIME:
        both_done = min(on_wire.layers_done, in_time.layers_done)
        assert both_done > 0, "there is nothing to compare"
        on_wire, in_time = (
            msgspec.structs.replace(truth, layers=truth.layers[:both_done], strokes=0, light_j=0.0)
            for truth in (on_wire, in_time)
        )
    return differences(on_wire, in_time, late_s=BY_PHASE_S.get(name, 0.0))


def compare(scenario: Scenario, folder: Path) -> tuple[JobTruth, str]:
    """Run a scenario in both; what the wire came to, and a row of figures. What it expects must hold in both.

    What differs in a run in which the computer was late proves nothing: it is repeated, and in the end refused.
    """
    job = make_part(scenario, folder / "part")
    virtual, in_time = run(scenario, job, folder / "virtual", "virtual")
    assert virtual.passed, (virtual.failures, virtual.judgement.reasons)
    bounded = msgspec.structs.replace(scenario, sim_s_max=WIRE_S_MAX)
    told = []
    for attempt in range(ATTEMPTS):
        began_s = time.monotonic()
        wire, on_wire = run(bounded, job, folder / f"wire{attempt}", "wire")
        took_s = time.monotonic() - began_s
        row = (
            f"{scenario.name},{on_wire.verdict},{on_wire.layers_done},{sum(layer.begun for layer in in_time.layers)},"
            f"{sum(layer.begun for layer in on_wire.layers)},{in_time.light_j:.1f},{on_wire.light_j:.1f},"
            f"{virtual.sim_s:.1f},{wire.sim_s:.1f},{took_s:.0f},{wire.late_s:.3f}"
        )
        found = [*wire.failures, *apart(scenario.name, on_wire, in_time)]
        if not found:
            return on_wire, row
        told.append(f"{row}: {'; '.join(found)}")
        assert wire.late_s > LATE_S_MAX, told
    raise AssertionError(
        f"timers were late by over {LATE_S_MAX} s in each of {ATTEMPTS} runs, on a busy computer: {told}"
    )


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*ALIKE, *BY_PHASE_S, *BY_RACE, *BY_TIME])
def test_a_scenario_comes_to_the_same_on_the_wire(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    _, row = compare(load_scenario(name), tmp_path)
    if out := pytestconfig.getoption("--wire-out"):
        with open(out, "a", encoding="utf-8") as file:
            file.write(row + "\n")


# ---- rovers

LANE_M = 6.0
DRIVE_S_MAX = 300.0  # a rover that holds for its operator holds for ever


def drive(name: str, route: Path, folder: Path, mode: Mode) -> DriveResult:
    """A drive of a shipped scenario."""
    scenario = replace(DriveScenario.of(load_scenario(name)), sim_s_max=DRIVE_S_MAX)
    return run_drive(scenario, route, folder, mode=mode, ground=HILLS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_rover_whose_bus_is_cut_ends_in_the_same_way_on_the_wire(tmp_path: Path) -> None:
    """The fault is anchored in time, and a host that reads maps sets out sooner or later: not in the same place."""
    route = lane(tmp_path / "route.json", LANE_M)
    virtual = drive("rover_bus_cut", route, tmp_path / "virtual", "virtual")
    assert virtual.passed, virtual.failures
    told = []
    for attempt in range(ATTEMPTS):
        wire = drive("rover_bus_cut", route, tmp_path / f"wire{attempt}", "wire")
        if wire.passed and wire.verdict is virtual.verdict:
            return
        told.append(f"{wire.verdict.value}, late by {wire.late_s:.3f} s: {wire.failures}")
        assert wire.late_s > LATE_S_MAX, told
    raise AssertionError(f"timers were late by over {LATE_S_MAX} s in each of {ATTEMPTS} drives: {told}")


# ---- two that break off before any light, so that they are quick


def early(name: str, at_s: float) -> Scenario:
    """A scenario whose one fault comes while the host still makes ready; what it expects of a layer is left out."""
    scenario = load_scenario(name)
    (row,) = scenario.faults
    fault = {"kind": row["kind"], "point": row["point"], "at_s": at_s, "for_s": 3600.0}
    return msgspec.structs.replace(scenario, faults=[fault], expect=Expect())


@pytest.mark.parametrize(
    "name, at_s, said", [("thermocouple_open", 0.5, "thermocouple"), ("board_halted", 2.0, "halt")]
)
def test_a_stop_before_any_light_is_the_same_on_the_wire(name: str, at_s: float, said: str, tmp_path: Path) -> None:
    on_wire, _ = compare(early(name, at_s), tmp_path)
    assert (on_wire.verdict, on_wire.light_j, on_wire.strokes) == ("detected", 0.0, 0) and said in on_wire.reason


# ---- what counts as the same

LAYERS = [LayerTruth(20, 20, 0, 800.0, True), LayerTruth(20, 8, 1, 350.0, False)]
TRUTH = JobTruth("detected", "stopped", "beam: unit 1 on beam did not answer", LAYERS, 2, 0, [], 1150.0, 1600.0, 100.0)


def changed(index: int | None = None, **what: Any) -> JobTruth:
    """The truth with something else in it, or in one of its layers."""
    if index is None:
        return msgspec.structs.replace(TRUTH, **what)
    layers = list(LAYERS)
    layers[index] = msgspec.structs.replace(layers[index], **what)
    return msgspec.structs.replace(TRUTH, layers=layers)


@pytest.mark.parametrize(
    "other, sentence",
    [
        (changed(verdict="SILENT"), "verdict is 'SILENT' and was 'detected'"),
        (changed(strokes=3), "strokes is 3 and was 2"),
        (changed(declared=["recoated"]), "declared is"),
        (changed(reason="heater: unit 1 on bus0 did not answer"), "the host's reason is 'heater"),
        (changed(0, committed=False), "layers_done is 0 and was 1"),
        (changed(0, exposed=21), "layer 0 had 21 of 20 blocks begun, and 20 before"),
        (changed(0, energy_j=804.1), "layer 0 got 804.1 J and had got 800.0 J"),
        (changed(1, exposed=10), "layer 1 had 11 of 20 blocks begun, and 9 before"),
        (changed(1, energy_j=358.1), "layer 1 got 358.1 J and had got 350.0 J"),
        (changed(light_j=1158.1), "1158.1 J left the head, and 1150.0 J had left it"),
        (changed(layers=LAYERS[:1]), "the job has 1 layers and had 2"),
    ],
)
def test_what_differs_is_a_sentence(other: JobTruth, sentence: str) -> None:
    assert any(found.startswith(sentence) for found in differences(other, TRUTH, late_s=0.0)), sentence


@pytest.mark.parametrize(
    "other",
    [
        changed(reason="beam: the connection broke (reset by peer)"),  # the same link, in other words
        changed(reason="beam: unit 1 on beam did not answer, but beam could not be made safe"),
        changed(0, energy_j=803.9),
        changed(1, exposed=9, energy_j=357.9),
        changed(light_j=1157.9),
    ],
)
def test_what_a_wire_may_do_is_no_difference(other: JobTruth) -> None:
    assert differences(other, TRUTH, late_s=0.0) == []


def test_a_break_by_phase_has_its_bound() -> None:
    later = msgspec.structs.replace(changed(1, exposed=12, energy_j=409.0), light_j=1209.0)
    assert differences(later, TRUTH, late_s=0.6) == [] and len(differences(later, TRUTH, late_s=0.5)) == 2


def test_a_reason_names_what_it_says_and_of_a_link_only_whose_it_is() -> None:
    assert named("beam: layer 2 took 2750.5 J") == named("beam: layer 2 took 2754.4 J") != named("beam: it is dark")
    assert named("motion was lost: the port has gone") == named("motion was lost: the device has hung up")
    assert named("motion was lost: the port has gone") != named("bus1 was lost: the port has gone")


def test_a_window_in_the_light_opens_behind_the_layers_first_block(tmp_path: Path) -> None:
    scenario = load_scenario("door_opened")
    result, _ = run(scenario, make_part(scenario, tmp_path / "part"), tmp_path / "run", "virtual")
    (struck_s,) = (t_s for t_s, _ in result.struck)
    (row,) = scenario.faults
    heights = sorted({block.plane_drop_mm for block in result.record.blocks})
    first_s = min(b.t0_s for b in result.record.blocks if b.plane_drop_mm == heights[row["at_light"]])
    assert struck_s == pytest.approx(first_s + row["after_s"], abs=1e-6)


def test_every_printers_scenario_is_tried_on_the_wire_but_those_that_strike_the_hosts_computer() -> None:
    scenarios = [load_scenario(path.stem) for path in SCENARIOS.glob("*.toml")]
    prints = {s.name: s for s in scenarios if s.drive is None}
    of_the_host = {name for name, s in prints.items() if any(row["point"] in HOST_POINTS for row in s.faults)}
    assert sorted([*ALIKE, *BY_PHASE_S, *BY_RACE, *BY_TIME, *of_the_host]) == sorted(prints)
    assert len(ALIKE) >= 20


def test_what_strikes_the_hosts_computer_is_refused_on_the_wire(tmp_path: Path) -> None:
    scenario = load_scenario("killed_mid_layer")
    with pytest.raises(ScenarioError, match="needs virtual time"):
        run_scenario(scenario, make_part(scenario, tmp_path), tmp_path / "run", mode="wire")
