"""Is what a host believed read from its record as it stands there, whole or cut short?"""

from __future__ import annotations

from pathlib import Path

import pytest

from hil_sim.harness.belief import Starts, Told, left_work_s, outcome_signals, telemetry
from hil_sim.harness.expectations import Always, AtEnd, Eventually, Expect
from hil_sim.harness.parts import make_part
from hil_sim.harness.runner import RunResult, run_scenario
from hil_sim.harness.scenario import Part, Scenario
from hil_sim.harness.series import texts
from hil_sim.virtual_time import RUN_START_EPOCH_NS

NAMES = (
    "host.state",
    "host.doing",
    "host.layers_done",
    "host.heater.bed_temp_c",
    "host.beam.quality",
    "host.no.such_c",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A quiet print of one layer, and what it is expected to be."""
    folder = tmp_path_factory.mktemp("belief")
    expect = Expect(
        always=[
            Always("abs(plate.temp_c - host.heater.bed_temp_c) < 1 degC", after="host.state == ready"),
            Always("host.beam.emission_w < 101 W"),
        ],
        eventually=[
            Eventually("host.state == exposing and beam.live", within_s=60.0),
            Eventually("host.state == ready", after="host.state == exposing"),
            Eventually("host.heater.bed_temp_c > 900 degC"),
        ],
        end=[AtEnd("host.layers_done == 1 and host.status == done and host.exit_code == 0 and verdict == exact")],
    )
    scenario = Scenario(schema_version=1, name="belief", cell_xy_mm=10.0, part=Part(layers=1), expect=expect)
    return run_scenario(scenario, make_part(scenario, folder), folder / "run")


STARTS = Starts.alone(RUN_START_EPOCH_NS)


def test_truth_and_belief_are_held_against_each_other(run: RunResult) -> None:
    assert [e.held for e in run.expectations] == [True, True, True, True, False, True], run.failures
    assert not run.passed and len(run.failures) == 1
    assert "host.heater.bed_temp_c was" in run.failures[0]


def test_the_machines_states_and_progress_are_in_order(run: RunResult) -> None:
    found = telemetry(run.run_dir, STARTS, NAMES).signals
    assert set(found) == set(NAMES)
    state = found["host.state"]
    assert state.words is not None
    said = [state.words[int(code)] for code in state.values]
    assert said[:3] == ["fault", "safe", "ready"] and {"armed", "exposing"} <= set(said) and said[-1] == "safe"
    assert found["host.layers_done"].values.tolist()[-1] == 1.0
    heater = found["host.heater.bed_temp_c"]
    assert heater.unit == "degC" and len(heater.values) > 20 and 0.0 <= heater.times_s[0] < heater.times_s[-1] < 60.0
    assert found["host.beam.quality"].value_at(30.0) == "GOOD"
    assert not len(found["host.no.such_c"].values)


def test_a_field_that_a_told_topic_does_not_have_is_named(run: RunResult) -> None:
    names = ["host.heater.bed_tmp_c", "host.heater.bed_temp_c", "host.no.such_c", "host.state", "host.doing"]
    fieldless = telemetry(run.run_dir, STARTS, names).fieldless
    assert list(fieldless) == ["host.heater.bed_tmp_c"]
    assert "did you mean 'bed_temp_c'?" in fieldless["host.heater.bed_tmp_c"]


def test_a_topic_of_what_pictures_showed_that_the_host_does_not_have_is_named(run: RunResult) -> None:
    names = ["host.vision.powdr.iou", "host.vision.powder.iou", "host.vision.exposed.iou", "host.drive.sigma_m"]
    fieldless = telemetry(run.run_dir, STARTS, names).fieldless
    assert list(fieldless) == ["host.vision.powdr.iou"]
    assert "the host tells no '/vision/powdr'; did you mean '/vision/powder'?" in fieldless["host.vision.powdr.iou"]


@pytest.mark.parametrize("is_empty_file", [False, True])
def test_where_no_telemetry_was_left_no_signal_of_it_can_be_told(is_empty_file: bool, tmp_path: Path) -> None:
    if is_empty_file:
        (tmp_path / "telemetry.mcap").touch()
    fieldless = telemetry(tmp_path, STARTS, ["host.heater.bed_temp_c", "host.status", "plate.temp_c"]).fieldless
    sentence = "the host left no telemetry, and nothing else tells 'host.heater.bed_temp_c'"
    assert fieldless == {"host.heater.bed_temp_c": sentence}


def test_a_print_leaves_work_when_its_last_state_of_rest_begins(run: RunResult) -> None:
    state = telemetry(run.run_dir, STARTS, ["host.state"]).signals["host.state"]
    left_s = left_work_s(run.run_dir, STARTS)
    assert left_s is not None and 0.0 < left_s <= run.sim_s and state.value_at(left_s) == "safe"
    assert state.value_at(left_s - 0.01) not in ("safe", "fault")


@pytest.mark.parametrize(
    ("states", "left_s"),
    [
        ("fault safe ready armed exposing fault safe", 5.0),
        ("fault safe ready safe ready armed", None),
        ("fault safe ready safe ready armed safe", 6.0),
        ("fault safe", None),
        ("", None),
    ],
)
def test_rest_that_work_follows_is_no_end_of_it(
    states: str, left_s: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(float(t_s), state) for t_s, state in enumerate(states.split())]
    found = {"host.state": texts("host.state", rows)}
    monkeypatch.setattr("hil_sim.harness.belief.telemetry", lambda *words: Told(found, {}))
    assert left_work_s(tmp_path, Starts.alone(0)) == left_s


def test_a_record_that_is_cut_short_tells_what_it_told_up_to_there(run: RunResult, tmp_path: Path) -> None:
    """A host that was killed leaves a file without its end, broken off anywhere."""
    whole = (run.run_dir / "telemetry.mcap").read_bytes()
    counts = []
    for cut in [*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1, len(whole)]:
        (tmp_path / "telemetry.mcap").write_bytes(whole[:cut])
        found = telemetry(tmp_path, STARTS, ["host.heater.bed_temp_c"]).signals
        counts.append(len(found["host.heater.bed_temp_c"].values))
    assert counts[0] == 0 and counts == sorted(counts) and counts[-1] > 20


def test_a_record_with_a_damaged_middle_is_read_up_to_it(run: RunResult, tmp_path: Path) -> None:
    whole = bytearray((run.run_dir / "telemetry.mcap").read_bytes())
    for place in range(40, len(whole), max(1, len(whole) // 40)):
        damaged = bytes(whole[:place]) + bytes([whole[place] ^ 0xFF]) + bytes(whole[place + 1 :])
        (tmp_path / "telemetry.mcap").write_bytes(damaged)
        telemetry(tmp_path, STARTS, ["host.heater.bed_temp_c", "host.state"])


def test_the_sessions_of_a_run_are_one_record(run: RunResult, tmp_path: Path) -> None:
    whole = (run.run_dir / "telemetry.mcap").read_bytes()
    names = ["host.heater.bed_temp_c"]
    for name in ("telemetry.2.mcap", "telemetry.10.mcap", "telemetry.mcap", "telemetry.old.mcap"):
        (tmp_path / name).write_bytes(whole)
    once = len(telemetry(run.run_dir, STARTS, names).signals[names[0]].values)
    assert once > 0 and len(telemetry(tmp_path, STARTS, names).signals[names[0]].values) == 3 * once


def test_a_run_without_a_record_believed_nothing(tmp_path: Path) -> None:
    assert telemetry(tmp_path, STARTS, ["host.heater.bed_temp_c"]).signals == {}


def test_a_host_that_left_no_outcome_has_the_status_none() -> None:
    found = outcome_signals(None, "detected", 5.0, 8.0)
    assert found["host.status"].value_at(4.9) == "running" and found["host.status"].value_at(5.0) == "none"
    assert found["verdict"].value_at(8.0) == "detected" and found["verdict"].value_at(7.9) is None
    assert found["host.exit_code"].value_at(8.0) is None and "host.declared" not in found


S = 10**9


@pytest.mark.parametrize(
    ("second_ns", "label_ns", "among", "found"),
    [
        (0, 1000 * S, (0, 1), (0, 1000 * S)),  # as the first host begins
        (0, 1030 * S, (0, 1), (0, 1000 * S)),
        (0, 61 * S, (0, 1), (1, 0)),  # by nobody's clock but the second's
        (0, 5 * S, (0, 1), (1, 0)),  # by nobody's at all
        (970 * S, 1025 * S, (0, 1), (0, 1000 * S)),  # either's: who died early may have left no session
        (970 * S, 1025 * S, (1, 1), (1, 970 * S)),
        (970 * S, 1025 * S, (2, 2), (1, 970 * S)),  # more sessions than hosts are known
    ],
)
def test_a_label_is_read_by_the_clock_of_the_host_that_was_at_work(
    second_ns: int, label_ns: int, among: tuple[int, int], found: tuple[int, int]
) -> None:
    assert Starts([(0.0, 1000 * S), (55.0, second_ns)]).of(label_ns, *among) == found


def test_a_clock_that_was_set_back_by_less_than_a_session_lays_none_over_another(
    run: RunResult, tmp_path: Path
) -> None:
    """Two hosts, the second under a clock that was set back so far that it shows the first's times again."""
    whole = (run.run_dir / "telemetry.mcap").read_bytes()
    for name in ("telemetry.1.mcap", "telemetry.mcap"):
        (tmp_path / name).write_bytes(whole)
    later_s = run.sim_s + 10.0
    starts = Starts([(0.0, RUN_START_EPOCH_NS), (later_s, RUN_START_EPOCH_NS - round(later_s * 1e9))])
    times_s = telemetry(tmp_path, starts, ["host.layers_done"]).signals["host.layers_done"].times_s
    assert times_s[0] < later_s < times_s[-1] and times_s[-1] == pytest.approx(times_s[-1] % later_s + later_s)
