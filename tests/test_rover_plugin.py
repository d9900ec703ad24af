"""Does pytest run a rover's host as it runs a printer's: fixtures, seeds, verdicts, a replay, a user's own host?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from plugin_helpers import Run, runner_in

import hil_sim.harness.rover_case  # noqa: F401 - numba cannot load into modules that pytester makes anew
from hil_sim.harness.drive_subject import rover_subject
from hil_sim.harness.small_route import small_route
from hil_sim.world.faults import FaultSchedule

pytest_plugins = "pytester"
pytestmark = pytest.mark.timeout(400)

HOSTS = '''
import msgspec

from control.host import drive_host


async def boaster(route, machine_toml, run_dir):
    """It drives, and claims to be somewhere else: SILENT."""
    outcome = await drive_host(route, machine_toml, run_dir)
    boast = msgspec.structs.replace(outcome, position_m=(0.0, 0.0))
    boast.write(run_dir)
    return boast


async def two_words(route, machine_toml, run_dir):
    """What it returns is not what its file says."""
    outcome = await drive_host(route, machine_toml, run_dir)
    return msgspec.structs.replace(outcome, position_m=(0.0, 0.0))
'''


@pytest.fixture(scope="module")
def everything_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    rover_subject(tmp_path_factory.mktemp("first")).run(FaultSchedule(), 0)


@pytest.fixture
def project(everything_imported: None, pytester: pytest.Pytester) -> Path:
    """A folder with a route of a metre and a host that boasts."""
    small_route(pytester.path, steps=4)
    (pytester.path / "hosts.py").write_text(HOSTS, encoding="utf-8")
    pytester.makeini("[pytest]\npythonpath = .\n")
    return pytester.path


@pytest.fixture
def run(project: Path, pytester: pytest.Pytester) -> Run:
    """See `runner_in`, in the project."""
    return runner_in(pytester, "test_rover.py")


def test_a_rover_is_driven_looked_at_and_struck_in_mid_drive(run: Run) -> None:
    done = run("""
@pytest.mark.hil(machine="osr", job="route.json", seeds=2)
def test_it(hil, host, rover, truth, clock, trace, wheels):
    assert not rover.is_moving and rover.charge > 0.5
    host.drive()
    hil.run(until=lambda: truth.driven_m > 0.3, within="1 min")
    assert rover.is_moving and set(rover.wheel_speeds_rad_s) == {"fl", "ml", "rl", "fr", "mr", "rr"}
    x_m, y_m = rover.place_m
    assert 6.2 < x_m < 6.6 and abs(rover.heading_rad) < 1.0 and rover.tilt_deg < 10
    assert len(wheels.emulator.boards) == 5 and trace.frames("wheels.to_device")
    rover.cut("wheels")
    clock.advance("2 s")
    assert not rover.is_moving
    hil.run()
    assert hil.verdict == "detected" and "wheels" in host.outcome.reason
    assert truth.driven_m < 0.8 and truth.record.charge < 1.0 and truth.tilt_deg_max < 10
    assert "GO" in host.said
""")
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


def test_faults_of_a_rovers_own_places_are_laid_by_name(run: Run) -> None:
    done = run("""
@pytest.mark.hil(machine="osr", job="route.json")
def test_stalled(hil, host, faults, truth):
    faults.at(5.0).wheel_stall("wheels.fl", for_s="1 h")
    host.drive()
    hil.run(within="15 min")
    assert hil.verdict in ("degraded", "detected") and truth.strikes[0][1:] == ("wheels.fl", "wheel_stall")

@pytest.mark.hil(machine="osr", allow="none")
def test_a_printers_place_is_refused(hil, faults):
    with pytest.raises(ValueError, match="no point"):
        faults.at(5.0).stuck("heater.temp", for_s=3.0)
""")
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


def test_an_operator_stops_a_drive_over_the_campaigns_lane(run: Run) -> None:
    done = run("""
@pytest.mark.hil(machine="osr")
def test_it(hil, host, rover):
    host.drive()
    hil.run(until=lambda: rover.is_moving, within="1 min")
    host.stop()
    hil.run()
    assert hil.verdict == "detected" and host.outcome.exit_code == 130 and not rover_moves(hil)

def rover_moves(hil):
    return hil.result.outcome.progress_m > 1.0
""")
    assert done.returncode == 0, done.stdout


def test_a_host_of_the_users_that_boasts_fails_its_test_and_is_repeated(run: Run, project: Path) -> None:
    source = """
@pytest.mark.hil(machine="osr", job="route.json", host="hosts:boaster")
def test_it(hil, host):
    host.drive()
    hil.run()
"""
    done = run(source, "--basetemp", str(project / "runs"))
    assert done.returncode == 1 and "SILENT" in done.stdout and "where the host believes it" in done.stdout
    assert re.search(r"pytest 'test_rover\.py::test_it\[seed0\]' --hil-seed 0", done.stdout)
    (record,) = (project / "runs").rglob("hil-run.json")
    assert json.loads(record.read_text())["machine"] == "osr"
    kept = project / "kept.json"
    kept.write_text(record.read_text())
    again = run(source, "--hil-replay", str(kept))
    assert "byte for byte as recorded" in again.stdout


def test_a_rovers_host_whose_file_says_something_else_broke_the_contract(run: Run) -> None:
    done = run("""
@pytest.mark.hil(machine="osr", job="route.json", host="hosts:two_words")
def test_it(hil, host):
    host.drive()
    hil.run()
""")
    assert done.returncode == 1 and "returned an outcome with position_m [0.0,0.0], and its" in done.stdout, done.stdout


def test_a_rovers_scenario_is_the_base_of_a_test(run: Run) -> None:
    done = run("""
@pytest.mark.hil(scenario="rover_imu_lost", allow_idle=True, allow="none")
def test_it(hil, faults):
    assert [fault.kind for fault in faults.laid] == ["drop"] and hil.scenario.drive is not None
    assert hil.is_rover
""")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("mark", "body", "sentence"),
    [
        ('machine="osr"', "host.print()", "a rover drives: call host.drive"),
        ('machine="osr"', "hil.run()", "nothing is being driven: call host.drive"),
        ('machine="osr"', "hil.device('motion').emulator", "has no device 'motion'"),
        ('machine="bench"', "hil.rover", "bench is a printer"),
        ('machine="osr", host="true {job}"', "pass", "a rover's host is a callable"),
    ],
)
def test_what_a_rover_cannot_is_a_sentence(run: Run, mark: str, body: str, sentence: str) -> None:
    done = run(f"@pytest.mark.hil({mark})\ndef test_it(hil, host):\n    {body}\n")
    assert done.returncode == 1 and sentence in done.stdout, done.stdout


def test_a_rovers_test_is_skipped_on_the_wire_and_says_why(run: Run) -> None:
    done = run('@pytest.mark.hil(machine="osr")\ndef test_it(hil):\n    pass\n', "--hil-mode", "wire", "-rs")
    assert done.returncode == 0 and "a rover's test runs in virtual or paced time" in done.stdout, done.stdout


def test_a_projects_host_that_prints_is_not_given_to_a_rover(run: Run, project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\npythonpath = .\nhil_host = hosts:nobody\n")
    done = run("""
@pytest.mark.hil(machine="osr", job="route.json", allow="none")
def test_it(hil, host):
    assert hil.settings.host is None
""")
    assert done.returncode == 0, done.stdout
    assert "cannot be imported" in run("@pytest.mark.hil\ndef test_it(hil):\n    pass\n").stdout
