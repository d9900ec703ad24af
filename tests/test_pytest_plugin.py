"""Does pytest run hosts on emulated machines: fixtures, seeds, verdicts, replays, xdist, a user's own host?"""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from job_helpers import write_small_job
from plugin_helpers import LIAR, Done, Run, install_entry_points, run_pytest, runner_in

import hil_sim.harness.hil_case  # noqa: F401 - as everything_imported
from control.machine_file import machine_path
from hil_sim.harness.pytest_twice import to_run_twice
from hil_sim.harness.runner import run_scenario
from hil_sim.harness.scenario import Scenario
from hil_sim.world.wiring import MACHINES

pytest_plugins = "pytester"
pytestmark = pytest.mark.timeout(400)  # some run in processes of their own, with everything to import


@pytest.fixture(scope="module")
def everything_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A whole print: pytester forgets the modules that an inner run imports, and numba cannot load into new ones."""
    folder = tmp_path_factory.mktemp("first")
    job = write_small_job(folder / "part.kiln", 1)
    run_scenario(Scenario(schema_version=1, name="first", cell_xy_mm=20.0), job, folder / "run")


@pytest.fixture
def project(everything_imported: None, pytester: pytest.Pytester) -> Path:
    """A folder with a job of two small layers and two hosts that print nothing."""
    write_small_job(pytester.path / "part.kiln", 2)
    (pytester.path / "hosts.py").write_text(LIAR, encoding="utf-8")
    pytester.makeini("[pytest]\npythonpath = .\n")
    return pytester.path


@pytest.fixture
def run(project: Path, pytester: pytest.Pytester) -> Run:
    """See `runner_in`, in the project."""
    return runner_in(pytester, "test_part.py")


@pytest.fixture
def run_apart(project: Path, tmp_path: Path) -> Run:
    """The same in a process of its own, with the plugin installed by its entry point."""
    site = install_entry_points(tmp_path / "site")

    def run(source: str, *words: str, **more: str) -> Done:
        (project / "test_part.py").write_text("import pytest\n" + source, encoding="utf-8")
        done = run_pytest(project, site, *words, **more)
        return Done(done.returncode, done.stdout)

    return run


def section(output: str, name: str) -> str:
    """The first line of a failing test's section of that name."""
    found = re.search(rf"^-+ {name} -+\n(.*)$", output, re.MULTILINE)
    assert found, output
    return found[1]


QUICK = """
@pytest.mark.hil(seeds=4, cell_xy_mm=20.0, host="hosts:coward", job="part.kiln")
def test_it(hil, host):
    host.print()
    hil.run()
    assert hil.verdict == "detected" and hil.seed != 2
"""

RESET = """
@pytest.mark.hil(machine="bench", cell_xy_mm=10.0)
def test_a_reset_is_noticed(hil, host, motion, beam, truth, trace, clock):
    host.print("part.kiln")
    hil.run(until=lambda: truth.blocks_executed == 9)
    assert truth.layers_laid == 2 and truth.layers_lost == 1 and truth.layers_repeated == 0
    assert 0 < truth.energy_j < truth.energy_planned_j
    then_s = clock.now_s
    assert motion.position_mm != (0.0, 0.0, 0.0)
    motion.reset()
    hil.run(within="1 h")
    assert hil.verdict == "detected" and "restarted" in host.outcome.reason
    assert beam.name == "beam" and truth.record.end.beam_energy_j < truth.energy_planned_j
    assert any(line.startswith("M115") or " M115" in line for line in trace.lines("motion.to_device"))
    assert trace.path.is_file() and hil.result.sim_s > then_s
"""

CLEAN = """
@pytest.mark.hil(machine="bench", cell_xy_mm=10.0, job="part.kiln")
def test_a_clean_print_is_exact(hil, host, recoater, piston, meter, heater, camera, truth, faults):
    faults.at(chunk=30).flip("motion.to_host", byte=1, bit=2)
    host.print()
    assert hil.run() is hil.result
    assert hil.verdict == "exact" and truth.layers_exposed == 2 and truth.layers_repeated == 0
    assert [strike[1:] for strike in truth.strikes] == [("motion.to_host", "flip")]
"""

STANDING = """
@pytest.mark.hil(machine="bench", cell_xy_mm=10.0, job="part.kiln")
def test_devices_stand_there_before_a_host_comes(hil, clock, beam, heater, meter, recoater, piston, camera, motion):
    clock.advance("30 s")
    assert clock.now_s == 30.0 and beam.emission_w == beam.capability_w == 0.0 and not beam.is_armed
    assert heater.temp_c == pytest.approx(20.0) and meter.power_w > 0 and meter.energy_wh > 0
    assert recoater.position_mm == 4.0 and not piston.is_moving and camera.served == 0
    assert motion.position_mm == (61.0, 43.0, 0.0) and motion.crashes == 0
    assert hil.device("motion").wire.to_device.chunks == 0
"""


def test_a_host_is_printed_with_looked_into_and_struck(run: Run) -> None:
    done = run(RESET + CLEAN + STANDING, "-q")
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("options", "seeds"),
    [
        ((), [0, 1, 2, 3]),
        (("--hil-seeds", "2"), [0, 1]),
        (("--hil-seeds", "5:8"), [5, 6, 7]),
        (("--hil-seed", "17"), [17]),
    ],
)
def test_a_test_is_run_once_for_each_seed(run: Run, options: tuple[str, ...], seeds: list[int]) -> None:
    done = run(QUICK, "-q", "--collect-only", *options)
    assert re.findall(r"test_it\[seed(\d+)\]", done.stdout) == [str(seed) for seed in seeds], done.stdout


def test_a_failure_shows_the_line_that_repeats_it_byte_for_byte(run: Run, run_apart: Run, project: Path) -> None:
    source = CLEAN.replace("cell_xy_mm", "seeds=2, cell_xy_mm").replace('== "exact"', '== "exacter"')
    first = run(source, "-q", "--junitxml=first.xml", "--hil-seeds", "3:4")
    assert first.returncode == 1 and "1 failed" in first.stdout, first.stdout
    line = section(first.stdout, "hil replay")
    assert line == "pytest 'test_part.py::test_a_clean_print_is_exact[seed3]' --hil-seed 3"
    again = run_apart(source, *shlex.split(line)[1:], "-p", "no:xdist", "--junitxml=again.xml", PYTHONHASHSEED="2")
    assert again.returncode == 1 and "1 failed" in again.stdout, again.stdout
    told, repeated = properties(project / "first.xml"), properties(project / "again.xml")
    assert told == repeated and told["hil_verdict"] == "exact" and len(told["hil_wire_digest"]) == 32
    assert json.loads(told["hil_schedule"])[0]["kind"] == "flip" and told["hil_replay"] == line
    assert "verdict: exact" in first.stdout
    assert re.search(r"^ +\d+\.\d{4} s  beam\.to_host +( [0-9a-f]{2})+$", first.stdout, re.M), "the last frames"


def properties(junit: Path) -> dict[str, str]:
    """Of the one test in a JUnit file."""
    return {row.attrib["name"]: row.attrib["value"] for row in ET.parse(junit).iter("property")}


def test_it_works_with_xdist(run_apart: Run, project: Path) -> None:
    done = run_apart(QUICK, "-n", "2", "--junitxml=hil.xml", "--basetemp=runs")
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert section(done.stdout, "hil replay") == "pytest 'test_part.py::test_it[seed2]' --hil-seed 2"
    rows = ET.parse(project / "hil.xml").iter("property")
    seeds = [row.attrib["value"] for row in rows if row.attrib["name"] == "hil_seed"]
    assert sorted(seeds) == ["0", "1", "2", "3"]
    assert len(list((project / "runs").rglob("hil-run.json"))) == 4


def test_a_silent_run_fails_though_nobody_looked(run: Run) -> None:
    source = QUICK.replace("coward", "liar").replace("assert hil.verdict", "#").replace("seeds=4, ", "")
    done = run(source, "-q")
    assert done.returncode == 1 and "SILENT: layer 0 block 0 was not exposed" in done.stdout, done.stdout
    done = run(source.replace("cell_xy_mm", "allow='SILENT', cell_xy_mm"), "-q")
    assert done.returncode == 0, done.stdout


def test_a_host_that_breaks_is_shown_with_what_was_on_the_wires(run: Run, project: Path) -> None:
    (project / "hosts.py").write_text(
        LIAR + "\n\nasync def broken(job, machine_toml, run_dir):\n    raise RuntimeError('out of powder')\n"
    )
    source = QUICK.replace("coward", "broken").replace(
        "    host.print()", "    hil.faults.at(chunk=0).drop('bus0.to_host')\n    host.print()"
    )
    done = run(source, "-q", "--hil-seed", "1")
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout
    assert "RuntimeError: out of powder" in done.stdout and "(it never struck)" in done.stdout
    assert section(done.stdout, "hil replay").endswith("--hil-seed 1")


@pytest.mark.parametrize(("status", "passes"), [("stopped", True), ("done", False)])
def test_what_a_scenario_expects_is_held_too(run: Run, project: Path, status: str, passes: bool) -> None:
    (project / "mine.toml").write_text(
        f'schema_version = 1\nname = "mine"\n[[expect.end]]\nthat = "host.status == {status}"\n'
    )
    source = QUICK.replace("seeds=4", "scenario='mine.toml'").replace("    assert", "    #")
    done = run(source, "-q")
    assert (done.returncode == 0) is passes and ("scenario mine: " in done.stdout) is not passes, done.stdout


def test_a_print_that_is_never_run_is_no_test(run: Run) -> None:
    source = QUICK.replace("    hil.run()\n", "").replace("    assert", "    #")
    done = run(source, "-q", "--hil-seed", "0")
    assert done.returncode == 1 and "nothing was tested" in done.stdout, done.stdout


FICKLE = """
import itertools
import msgspec
import hosts
turns = itertools.count()


async def fickle(job, machine_toml, run_dir):
    outcome = hosts.word(hosts.Status.STOPPED)
    return msgspec.structs.replace(outcome, reason=f"turn {next(turns) if HOW else 0}")


@pytest.mark.hil(cell_xy_mm=20.0, job="part.kiln", host=fickle, seeds=2)
def test_it(hil, host):
    host.print()
    hil.run()
"""


def test_a_run_that_is_made_twice_must_come_out_the_same(run: Run, project: Path) -> None:
    source = FICKLE
    words = ("-q", "--junitxml=twice.xml", "--hil-seeds", "0:2", "--hil-twice-every", "2")
    done = run(source.replace("HOW", "True"), *words)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done.stdout
    assert "the run is not repeatable" in done.stdout and "test_it[seed0]" in done.stdout
    done = run(source.replace("HOW", "False"), *words)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
    assert len(properties(project / "twice.xml")["hil_digest"]) == 32
    names = [row.attrib["name"] for row in ET.parse(project / "twice.xml").iter("property")]
    assert names.count("hil_digest") == 2, "the second run adds nothing to the file"
    done = run(source.replace("HOW", "True"), "-q", "--hil-twice-every", "0")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("count", "every", "chosen"),
    [(19, None, []), (20, None, [0]), (250, None, [0, 100, 200]), (5, 2, [0, 2, 4]), (250, 0, [])],
)
def test_one_run_in_a_hundred_is_made_twice(count: int, every: int | None, chosen: list[int]) -> None:
    assert to_run_twice(range(count), every) == chosen  # type: ignore[arg-type, comparison-overlap]


LEFT = """
@pytest.mark.hil(cell_xy_mm=20.0, job="part.kiln"MARK)
def test_it(hil, host, clock):
    host.print()
    hil.run(until=lambda: clock.now_s >= 1.0)
"""


def test_a_run_that_is_left_before_its_end_is_no_test(run: Run) -> None:
    """Nobody has judged it: whatever it was on the way to, it would pass."""
    done = run(LEFT.replace("MARK", ""), "-q")
    assert done.returncode == 1 and "the run was left before its end" in done.stdout, done.stdout
    assert run(LEFT.replace("MARK", ", allow='none'"), "-q").returncode == 0
    assert run(LEFT.replace("MARK", "") + "    hil.run()\n", "-q").returncode == 0


IDLE = """
@pytest.mark.hil(cell_xy_mm=20.0, job="part.kiln", host="hosts:coward"MARK)
def test_it(hil, host, faults, clock):
    faults.at(0.1).open_circuit("heater.sensor", for_s=1.0)
    faults.at(WHEN).open_circuit("heater.sensor", for_s=1.0)
    clock.advance("5 s")
    host.print()
    hil.run()
"""


def test_a_fault_that_never_struck_is_no_test(run: Run) -> None:
    """Though another one of its kind did strike at the same place."""
    late = IDLE.replace("WHEN", "900.0")
    done = run(late.replace("MARK", ""), "-q")
    assert done.returncode == 1 and done.stdout.count("never struck") >= 1, done.stdout
    assert '"at_s": 900.0, "for_s": 1.0}: never struck, so that' in done.stdout and '"at_s": 0.1,' in done.stdout
    assert run(late.replace("MARK", ", allow_idle=True"), "-q").returncode == 0
    assert run(IDLE.replace("WHEN", "2.0").replace("MARK", ""), "-q").returncode == 0


def test_a_replay_takes_its_faults_from_the_file(run: Run, project: Path) -> None:
    source = QUICK.replace("hosts:coward", "hosts:liar") + "\n\ndef test_another():\n    pass\n"
    source = source.replace(
        "    host.print()", "    hil.faults.at(chunk=hil.seed).drop('motion.to_host')\n    host.print()"
    )
    run(source, "-q", "--hil-seed", "3", "--basetemp=runs")
    (record,) = (project / "runs").rglob("hil-run.json")
    row = json.loads(record.read_text())
    assert row["seed"] == 3 and row["faults"][0]["at_chunk"] == 3 and row["verdict"] == "SILENT"
    row["faults"].append({"kind": "drop", "point": "motion.to_host", "at_chunk": 9, "count": 1})
    (project / "edited.json").write_text(json.dumps(row))
    done = run(source, "--hil-replay", "edited.json")
    assert "1 failed" in done.stdout and "1 deselected" in done.stdout, done.stdout
    told = re.findall(r"^fault: (.*)  \(it never struck\)$", done.stdout, re.MULTILINE)
    faults = [json.loads(line) for line in told]
    assert [fault["at_chunk"] for fault in faults] == [3, 9]
    assert "byte for byte as recorded" in done.stdout
    assert section(done.stdout, "hil replay") == "pytest test_part.py --hil-replay edited.json"


def test_a_replay_in_another_world_says_which_file_is_another_one(run: Run, project: Path) -> None:
    world = project / "mine.toml"
    world.write_bytes((MACHINES / "bench.toml").read_bytes())
    source = QUICK.replace('host="hosts:coward"', 'host="hosts:coward", world="mine.toml"')
    assert 'world="mine.toml"' in source
    assert run(source, "-q", "--hil-seed", "3", "--basetemp=runs").returncode == 0
    (record,) = (project / "runs").rglob("hil-run.json")
    (project / "kept.json").write_bytes(record.read_bytes())
    assert set(json.loads(record.read_text())["files"]) == {"world", "job"}
    assert "not the run that was recorded" not in run(source, "--hil-replay", "kept.json").stdout

    world.write_text(world.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    words = ("--hil-replay", "kept.json", "-W", "default::pytest.PytestWarning")
    done = run(source, *words)
    assert done.returncode == 0 and "not the run that was recorded: its world is another file now" in done.stdout
    failing = run(source + "    assert False\n", *words)
    story = failing.stdout[failing.stdout.index("- hil run -") :]
    assert "its world is another file now" in story[: story.index("the last of")]


def test_the_settings_name_machine_twin_and_host_for_a_whole_project(run: Run, project: Path) -> None:
    mine = (
        machine_path("bench")
        .read_text()
        .replace('name = "bench"', 'name = "mine"')
        .replace("x_mm = 250.0", "x_mm = 251.0")
    )
    (project / "mine.toml").write_text(mine)
    (project / "mine_world.toml").write_text(
        (MACHINES / "bench.toml")
        .read_text()
        .replace('name = "bench"', 'name = "mine"')
        .replace("61.0, 43.0", "33.0, 44.0")
    )
    (project / "pytest.ini").write_text(
        "[pytest]\npythonpath = .\nhil_machine = mine.toml\nhil_world = mine_world.toml\nhil_host = hosts:my_host\n"
    )
    (project / "hosts.py").write_text(
        LIAR + "\n\nasync def my_host(job, machine_toml, run_dir):\n"
        "    assert 'x_mm = 251.0' in machine_toml.read_text() and 'sim:motion' in machine_toml.read_text()\n"
        "    return word(Status.STOPPED)\n"
    )
    done = run(
        "def test_it(hil, host, motion):\n"
        "    host.print('part.kiln')\n"
        "    assert motion.position_mm == (33.0, 44.0, 0.0)\n"
        "    hil.run()\n"
        "    assert hil.verdict == 'detected' and host.outcome.reason == 'so it says'\n",
        "-q",
    )
    assert done.returncode == 0, done.stdout


COMMAND = """
import json, pathlib, sys, time, tomllib
job, machine_toml, run_dir, code = sys.argv[1:]
url = tomllib.loads(pathlib.Path(machine_toml).read_text())["urls"]["motion"]
assert pathlib.Path(url.split(":")[1].split("?")[0]).is_symlink() and pathlib.Path(job).is_file()
totals = dict(layers=0, blocks_claimed=0, energy_j=0.0, lines_sent=0, polls=0, duration_s=0.0, sessions=1)
outcome = dict(status="failed", reason="nobody is here", exit_code=3, declared=[], layers=[], totals=totals,
               position_mm=None, schema_version=1)
if code == "8":
    pathlib.Path(url.split(":")[1].split("?")[0]).write_bytes(b"M115\\n")
    time.sleep(1.0)
if code < "8":
    (pathlib.Path(run_dir) / "outcome.json").write_text(json.dumps(outcome))
print("done what it could")
sys.exit(int(code))
"""


def command_test(code: int, mark: str = "") -> str:
    words = [sys.executable, "command.py", "{job}", "{machine}", "{run_dir}", str(code)]
    return f"""
@pytest.mark.hil(cell_xy_mm=20.0, job="part.kiln", host={words!r}{mark})
def test_it(hil, host, trace):
    host.print()
    hil.run(within=60)
    assert hil.mode == "wire" and hil.verdict == "detected"
    assert host.outcome is None or host.outcome.reason == "nobody is here"
    assert (hil.run_dir / "host.log").read_text() == "done what it could\\n"
"""


@pytest.mark.real_time
def test_time_begins_at_zero_on_the_wire_too(run: Run) -> None:
    source = QUICK.replace("def test_it(hil, host):", "def test_it(hil, host, faults, clock, truth):").replace(
        "    host.print()",
        "    faults.at(0.2).open_circuit('heater.sensor', for_s=9)\n    clock.advance('0.5 s')\n"
        "    assert 0.5 <= clock.now_s < 30 and [s[2] for s in truth.strikes] == ['open_circuit']\n    host.print()",
    )
    done = run(source, "-q", "--hil-mode", "wire", "--hil-seed", "1")
    assert done.returncode == 0, done.stdout


def test_a_command_is_a_host_on_real_ptys(run: Run, project: Path) -> None:
    (project / "command.py").write_text(COMMAND)
    done = run(command_test(3), "-q")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
    done = run(command_test(3), "-q", "-rs", "--hil-mode", "virtual")
    assert "1 skipped" in done.stdout and "lives in real time" in done.stdout, done.stdout


def test_a_command_that_dies_left_no_outcome_and_one_that_says_two_things_broke_the_contract(
    run: Run, project: Path
) -> None:
    (project / "command.py").write_text(COMMAND)
    done = run(command_test(8), "-q")
    assert done.returncode == 1 and "it must say how it ended; it ended with exit code 8" in done.stdout, done.stdout
    assert run(command_test(8, ", allow='none'"), "-q").returncode == 0
    done = run(command_test(4), "-q")
    assert done.returncode == 1, done.stdout
    assert "the host ended with 4, and its outcome says exit_code 3 (nobody is here)" in done.stdout


def test_a_host_of_which_no_device_ever_heard_is_no_test(run: Run, project: Path) -> None:
    """A command that fails at once, and a callable that is empty, leave a safe machine: nobody has touched it."""
    (project / "command.py").write_text(COMMAND)
    done = run(command_test(9), "-q")
    assert done.returncode == 1 and "not one byte of it came to a device: nothing was tested" in done.stdout, (
        done.stdout
    )
    assert re.search(r"it ended with exit code 9, and its words are in \S+/host\.log$", done.stdout, re.MULTILINE)
    assert run(command_test(9, ", allow='none'"), "-q").returncode == 0
    (project / "hosts.py").write_text("async def empty(job, machine_toml, run_dir):\n    pass\n")
    done = run(QUICK.replace("coward", "empty"), "-q", "--hil-seed", "1")
    assert done.returncode == 1 and "nothing was tested\n" in done.stdout, done.stdout


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("mode", "pace"), [pytest.param("wire", None, marks=pytest.mark.soak), pytest.param("paced", "1000")]
)
def test_our_host_prints_on_the_wire_and_paced_too(run: Run, project: Path, mode: str, pace: str | None) -> None:
    write_small_job(project / "part.kiln", 1)
    source = CLEAN.replace("    faults.at", "    #").replace("_exposed == 2", "_exposed == 1")
    source = re.sub(r"    assert \[strike.*\n", f"    assert hil.mode == {mode!r}\n", source)
    done = run(source, "-q", "--hil-mode", mode, *(["--hil-pace", pace] if pace else []))
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        (QUICK.replace("seeds=4", "seed=4"), (), "pytest.mark.hil does not know 'seed' (did you mean seeds?)"),
        (QUICK.replace("seeds=4", "seeds=0"), (), "seeds=0; give 1 or more"),
        ("@pytest.mark.hil(seeds=3)\ndef test_it():\n    pass\n", (), "asks for no fixture of it"),
        (QUICK, ("--hil-seed", "1", "--hil-seeds", "2"), "--hil-seed and --hil-seeds do not go together"),
        (
            QUICK.replace("seeds=4", "seeds=[3, -1]"),
            (),
            "seeds=[3, -1]; a seed is a whole number, 0 or more, and -1 is",
        ),
        (
            QUICK.replace("seeds=4", "seeds='12'"),
            (),
            "seeds='12'; a seed is a whole number, 0 or more, and '1' is none",
        ),
        (QUICK, ("--hil-seed", "-1"), "--hil-seed -1: a seed is 0 or more"),
        (QUICK, ("--hil-seeds=-2:3",), "--hil-seeds -2:3: give a number of seeds, or the first (0 or more)"),
        (QUICK, ("--hil-replay", "below.json"), "--hil-replay below.json: its seed is -1; a seed is 0 or more"),
        (QUICK, ("--hil-seeds", "8:5"), "--hil-seeds 8:5: give a number of seeds"),
        (QUICK, ("--hil-pace", "-1"), "--hil-pace takes a number over 0"),
        (QUICK, ("--hil-replay", "absent.json"), "--hil-replay absent.json cannot be read"),
        (QUICK, ("--hil-replay", "pytest.ini"), "cannot be read"),
        (QUICK, ("--hil-replay", "odd.json"), "--hil-replay odd.json: 'delay' takes delay_s as a number from 0 to"),
        (QUICK.replace("part.kiln", "prat.kiln"), ("--hil-seed", "1"), "there is no job prat.kiln (looked for in"),
        (QUICK.replace("hosts:coward", "hosts:cow"), ("--hil-seed", "1"), "the host hosts:cow cannot be imported"),
    ],
)
def test_a_mistake_is_a_sentence(run: Run, project: Path, source: str, options: tuple[str, ...], sentence: str) -> None:
    late = {"kind": "delay", "point": "motion.to_host", "at_chunk": 3, "args": {"delay_s": math.nan}}
    odd = {"test": "t", "seed": 1, "mode": "virtual", "faults": [late], "wire_digest": ""}
    (project / "odd.json").write_text(json.dumps(odd))
    (project / "below.json").write_text(json.dumps({**odd, "faults": [], "seed": -1}))
    done = run(source, "-q", *options)
    assert done.returncode != 0 and sentence in done.stdout, done.stdout


def test_pytest_starts_no_heavier_for_it(project: Path, tmp_path: Path) -> None:
    site = install_entry_points(tmp_path / "site")
    (project / "test_light.py").write_text(
        "import sys\n"
        "def test_light(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('moonkiln_hil')\n"
        "    heavy = {'numpy', 'cv2', 'numba', 'msgspec', 'mcap', 'control.host', 'hil_sim.world.build'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    done = run_pytest(project, site, "-q", "-p", "no:xdist", "-p", "no:hypothesispytest", "test_light.py")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
