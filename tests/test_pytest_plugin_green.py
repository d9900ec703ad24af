"""Is nothing green that tested nothing: a skip behind a bad end, a run that never began, a fault never laid?"""

from __future__ import annotations

from pathlib import Path

import pytest
from job_helpers import write_small_job
from plugin_helpers import LIAR, Run, runner_in

import hil_sim.harness.hil_case  # noqa: F401 - as everything_imported
from hil_sim.harness.pytest_mark import CELLS_MM
from hil_sim.harness.runner import run_scenario
from hil_sim.harness.scenario import Scenario, ScenarioError, load_scenario

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


@pytest.mark.parametrize(("host", "verdict"), [("sleeper", "HANG"), ("liar", "SILENT")])
def test_a_skip_behind_a_bad_end_does_not_hide_it(run: Run, host: str, verdict: str) -> None:
    done = run(hil_test("host.print(); hil.run(within=5.0); pytest.skip('no need')", host=host), "-q")
    assert "1 failed" in done.stdout and f"{verdict}: " in done.stdout, done.stdout


def test_a_skip_behind_a_scenario_that_did_not_hold_does_not_hide_it(run: Run, project: Path) -> None:
    (project / "mine.toml").write_text(
        'schema_version = 1\nname = "mine"\n[[expect.end]]\nthat = "host.status == done"\n'
    )
    source = hil_test("host.print(); hil.run(); pytest.skip('no need')", mark=", scenario='mine.toml'")
    done = run(source, "-q")
    assert "1 failed" in done.stdout and "scenario mine: " in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("body", "mark", "host"),
    [
        ("pytest.skip('no need')", "", "coward"),
        ("host.print(); hil.run(); pytest.skip('no need')", "", "coward"),
        ("host.print(); hil.run(until=lambda: hil.clock.now_s > 1); pytest.skip('no need')", "", "sleeper"),
        ("host.print(); hil.run(within=5.0); pytest.skip('no need')", ", allow='HANG'", "sleeper"),
    ],
)
def test_a_skip_stays_one_where_no_run_ended_badly(run: Run, body: str, mark: str, host: str) -> None:
    done = run(hil_test(body, mark, host=host), "-q")
    assert done.returncode == 0 and "1 skipped" in done.stdout, done.stdout


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
    ("body", "fixtures"),
    [("pass", "hil, host"), ("pass", "hil"), ("pass", "motion"), ("clock.advance(1)", "host, clock")],
)
def test_a_test_whose_run_never_began_is_no_test(run: Run, body: str, fixtures: str) -> None:
    done = run(hil_test(body, fixtures=fixtures), "-q")
    assert "1 failed" in done.stdout and "host.print(JOB) was never called, so that no run" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("body", "mark", "fixtures"),
    [("pass", ", allow='none'", "hil, host"), ("assert motion.crashes == 0", "", "hil, motion")],
)
def test_a_look_at_the_machine_and_leave_to_begin_nothing_are_enough(
    run: Run, body: str, mark: str, fixtures: str
) -> None:
    done = run(hil_test(body, mark, fixtures), "-q")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


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


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        ("seeds=2.5", "seeds=2.5; give how many, a whole number from 1 on, or a list of seeds"),
        ("seeds=None", "seeds=None; give how many"),
        ("seeds=True", "seeds=True; give how many"),
        ("seeds=[True]", "seeds=[True]; a seed is a whole number, 0 or more, and True is none"),
        ("seeds=[]", "seeds=[]; without a seed nothing is run"),
        ("seeds=iter([1])", "; give how many, a whole number from 1 on, or a list of seeds"),
        ("machine=3", "machine=3; give a name or a path, as text"),
        ("job=''", "job=''; give a name or a path, as text"),
        ("host=3", "host=3; give a callable, 'package.module:name', or a command line"),
        ("host=[]", "host=[]; give a callable, 'package.module:name', or a command line"),
        ("cell_xy_mm='10'", "cell_xy_mm='10'; give how finely the bed is solved, in millimetres: a number from 0.1"),
        ("cell_xy_mm=0", "cell_xy_mm=0; give how finely"),
        ("cell_xy_mm=True", "cell_xy_mm=True; give how finely"),
        ("cell_xy_mm=float('nan')", "cell_xy_mm=nan; give how finely"),
        ("limit=True", "limit=True; give a span of time: 90 (in seconds), '90 s', '1.5 min' or '6 h'"),
        ("limit='soon'", "limit='soon'; 'soon' is no span of time"),
        ("limit=0", "limit=0; a run takes time: give more than 0"),
        ("allow=None", "allow=None; give one or several of SILENT, HANG, UNSAFE, none, or leave it out"),
        ("allow=['silnt']", "allow=['silnt']; 'silnt' is nothing that needs leave (did you mean SILENT?)"),
        ("allow='exact'", "'exact' is nothing that needs leave; it knows SILENT, HANG, UNSAFE, none"),
        ("allow_idle='no'", "allow_idle='no'; give True or False"),
    ],
)
def test_a_marks_odd_value_is_a_sentence_at_collection(run: Run, mark: str, sentence: str) -> None:
    done = run(f"@pytest.mark.hil({mark})\ndef test_it(hil):\n    pass\n", "-q", "--collect-only")
    assert done.returncode != 0 and f"test_part.py::test_it: {mark.partition('=')[0]}=" in done.stdout, done.stdout
    assert sentence in done.stdout and "Traceback" not in done.stdout and "TypeError" not in done.stdout, done.stdout


def test_a_mark_takes_what_can_be_meant(run: Run) -> None:
    source = "import pathlib\n" + "".join(
        f"@pytest.mark.hil({mark})\ndef test_{index}(hil):\n    pass\n"
        for index, mark in enumerate(
            [
                "seeds=range(2, 4), limit=90, allow=('SILENT', 'none'), cell_xy_mm=10",
                "machine=pathlib.Path('bench.toml'), host=['cmd', '{job}'], limit='6 h', allow=[], allow_idle=True",
                "world=None, job=None, host=None, limit=None, cell_xy_mm=None",
            ]
        )
    )
    done = run(source, "-q", "--collect-only")
    assert done.returncode == 0 and "4 tests collected" in done.stdout, done.stdout


@pytest.mark.parametrize("cell_mm", CELLS_MM)
def test_a_mark_takes_the_beds_cells_that_a_scenario_takes(tmp_path: Path, cell_mm: float) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'schema_version = 1\nname = "mine"\ncell_xy_mm = {cell_mm}\n')
    assert load_scenario(str(file)).cell_xy_mm == cell_mm
    beyond = cell_mm * (2.0 if cell_mm > 1 else 0.5)
    file.write_text(f'schema_version = 1\nname = "mine"\ncell_xy_mm = {beyond}\n')
    with pytest.raises(ScenarioError):
        load_scenario(str(file))
