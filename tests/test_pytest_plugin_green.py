"""Is nothing green that tested nothing: a skip behind a bad end, a run that never began, a fault never laid?"""

from __future__ import annotations

from pathlib import Path

import pytest
from job_helpers import write_small_job
from plugin_helpers import LIAR, Run, runner_in

import hil_sim.harness.hil_case  # noqa: F401 - as everything_imported
from hil_sim.harness.runner import run_scenario
from hil_sim.harness.scenario import Scenario

pytest_plugins = "pytester"
pytestmark = pytest.mark.timeout(400)

SLEEPER = """

async def sleeper(job, machine_toml, run_dir):
    import asyncio
    await asyncio.sleep(1e6)
"""


@pytest.fixture(scope="module")
def everything_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A whole print: pytester forgets the modules that an inner run imports, and numba cannot load into new ones."""
    folder = tmp_path_factory.mktemp("first")
    job = write_small_job(folder / "part.kiln", 1)
    run_scenario(Scenario(schema_version=1, name="first", cell_xy_mm=20.0), job, folder / "run")


@pytest.fixture
def project(everything_imported: None, pytester: pytest.Pytester) -> Path:
    """A folder with a job and three hosts that print nothing."""
    write_small_job(pytester.path / "part.kiln", 1)
    (pytester.path / "hosts.py").write_text(LIAR + SLEEPER, encoding="utf-8")
    pytester.makeini("[pytest]\npythonpath = .\n")
    return pytester.path


@pytest.fixture
def run(project: Path, pytester: pytest.Pytester) -> Run:
    """See `runner_in`, in the project."""
    return runner_in(pytester, "test_part.py")


def hil_test(body: str, mark: str = "", fixtures: str = "hil, host", host: str = "coward") -> str:
    """The source of a test with that body, a line or several."""
    lines = "".join(f"    {line}\n" for line in body.split("; "))
    return (
        f"@pytest.mark.hil(cell_xy_mm=20.0, job='part.kiln', host='hosts:{host}'{mark})\n"
        f"def test_it({fixtures}):\n{lines}\n\n"
    )


@pytest.mark.parametrize(
    ("body", "tally"),
    [
        ("assert False", "1 failed in"),
        ("pytest.skip('no need')", "1 skipped in"),
        ("host.print(); hil.run(); pytest.skip('no need')", "1 skipped in"),
        ("pytest.xfail('known')", "1 xfailed in"),
    ],
)
def test_what_does_not_pass_is_told_once_where_runs_are_made_twice(run: Run, body: str, tally: str) -> None:
    done = run(hil_test(body), "-q", "--hil-twice-every", "1")
    assert tally in done.stdout and "KeyError" not in done.stdout, done.stdout


def test_a_wider_fixture_that_was_left_for_a_second_run_is_taken_down(run: Run) -> None:
    fixture = "@pytest.fixture(scope='module')\ndef peer():\n    yield\n    raise OSError('the peer hung up')\n\n\n"
    done = run(fixture + hil_test("assert False", fixtures="hil, host, peer"), "-q", "--hil-twice-every", "1")
    assert "1 failed, 1 error in" in done.stdout and "OSError: the peer hung up" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("forgotten", "named"),
    [
        ("faults.at(layer=0, after=2.0)", "faults.at(layer=0, after=2.0): lays no fault"),
        ("faults.at(1.0).disconnect", "faults.at(1.0).disconnect: lays no fault"),
    ],
)
def test_an_anchor_of_which_no_kind_is_called_is_named_when_the_run_begins(
    run: Run, forgotten: str, named: str
) -> None:
    done = run(hil_test(f"{forgotten}; host.print(); hil.run()", fixtures="hil, host, faults"), "-q")
    assert "1 failed" in done.stdout and named in done.stdout, done.stdout


def test_an_anchor_whose_fault_was_refused_has_been_told_of(run: Run) -> None:
    refused = "with pytest.raises(ValueError): faults.at(1.0).drop('nowhere.to_host', for_s=1)"
    done = run(hil_test(f"{refused}; host.print(); hil.run()", fixtures="hil, host, faults"), "-q")
    assert done.returncode == 0, done.stdout


def test_an_anchor_in_a_run_that_has_begun_is_refused(run: Run) -> None:
    done = run(hil_test("host.print(); hil.run(); faults.at(1.0)", fixtures="hil, host, faults"), "-q")
    assert "1 failed" in done.stdout and "FaultError: the run has begun" in done.stdout, done.stdout
